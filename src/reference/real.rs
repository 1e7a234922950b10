//! The arithmetic of the oracle, over `f32` and `f64`.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The arithmetic that the oracle needs.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// A small count.
    fn of(count: usize) -> Self;
    /// eˣ
    fn exp(self) -> Self;
    /// ln(1 + x)
    fn ln_1p(self) -> Self;
    /// eˣ − 1
    fn exp_m1(self) -> Self;
    /// tanh x
    fn tanh(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
}

macro_rules! impl_real {
    ($($float:ident),*) => {$(
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn of(count: usize) -> Self {
                count as $float
            }
            fn exp(self) -> Self {
                $float::exp(self)
            }
            fn ln_1p(self) -> Self {
                $float::ln_1p(self)
            }
            fn exp_m1(self) -> Self {
                $float::exp_m1(self)
            }
            fn tanh(self) -> Self {
                $float::tanh(self)
            }
            fn sqrt(self) -> Self {
                $float::sqrt(self)
            }
        }
    )*};
}
impl_real!(f32, f64);

/// σ(x) = 1 / (1 + e⁻ˣ)
pub fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + (-x).exp())
}

/// Σ aₖ·bₖ
pub(super) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(R::ZERO, |sum, (&a, &b)| sum + a * b)
}

/// y += factor·x
pub(super) fn add_scaled<R: Real>(y: &mut [R], factor: R, x: &[R]) {
    assert_eq!(y.len(), x.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = *y + factor * x;
    }
}

/// y += x
pub(super) fn add<R: Real>(y: &mut [R], x: &[R]) {
    add_scaled(y, R::ONE, x);
}

/// a ⊙ b, or a alone without a b.
pub(super) fn masked<R: Real>(a: &[R], b: Option<&[R]>) -> Vec<R> {
    let Some(b) = b else { return a.to_vec() };
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}
