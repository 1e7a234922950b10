//! Several vectors, worked on side by side.
//!
//! An activation is a chain of dependent operations. The CPU hides their latency by doing other work meanwhile, but
//! looks ahead only so far; where the same is to be done to several vectors, each operation on all of them before the
//! next one is work enough. Code is written once, for one vector or for several.

use crate::simd::{Arithmetic, each, repeat};

/// W vectors of what `A` works on: an instruction set, or several of its vectors again.
#[derive(Clone, Copy)]
pub(crate) struct Together<A, const W: usize>(pub(crate) A);

/// Operations that do to each vector what they do to one.
macro_rules! on_each {
    ($(fn $name:ident($first:ident $(, $argument:ident)*);)*) => {$(
        #[cfg_attr(not(unoptimized), inline(always))]
        fn $name(self, mut $first: Self::Vector $(, $argument: Self::Vector)*) -> Self::Vector {
            each!(n in W => {
                $first[n] = self.0.$name($first[n] $(, $argument[n])*);
            });
            $first
        }
    )*};
}

impl<A: Arithmetic, const W: usize> Arithmetic for Together<A, W> {
    type Element = A::Element;
    type Vector = [A::Vector; W];

    #[cfg_attr(not(unoptimized), inline(always))]
    fn splat(self, value: A::Element) -> Self::Vector {
        repeat(self.0.splat(value))
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn reciprocal(self, a: Self::Vector) -> Self::Vector {
        if const { W > 1 } { self.reciprocal_of_many(a) } else { repeat(self.0.reciprocal(a[0])) }
    }

    on_each! {
        fn add(a, b);
        fn sub(a, b);
        fn mul(a, b);
        fn div(a, b);
        fn reciprocal_of_many(a);
        fn sqrt(a);
        fn mul_add(a, b, c);
        fn neg_mul_add(a, b, c);
        fn at_most(limit, value);
        fn at_least(limit, value);
        fn sign_of(v, sign_bit);
        fn xor(v, sign);
        fn or(a, b);
        fn select_less(a, b, then, other);
        fn flush(v);
        fn power_of_two(shifted);
    }
}
