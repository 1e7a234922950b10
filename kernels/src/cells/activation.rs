//! Sigmoid and tanh, within 2 ULP of the real function over the whole f32 range.
//!
//! Both rest on exp, reduced the classic way (Cody and Waite, *Software Manual for the Elementary Functions*, 1980):
//!
//! ```text
//! n = round(x / ln 2),  r = x − n · ln 2,  eˣ = 2ⁿ · eʳ,  |r| ≤ ½ ln 2
//! σ(x)    = 1 / (1 + e⁻ˣ)
//! tanh(x) = m / (m + 2),   m = e^{2|x|} − 1,   with the sign of x
//! ```
//!
//! 1. eʳ and (eʳ − 1)/r are minimax polynomials of degree 6 and 5, in Horner form: one multiply-add a degree.
//! 2. Rounding by adding 1.5 · 2²³ and the bias of exponents leaves the exponent in the low bits, from where a shift
//!    moves it into place.
//! 3. m comes from 2ⁿ · (eʳ − 1) + (2ⁿ − 1) without cancellation, so tanh is as exact near 0 as elsewhere. Where n = 0,
//!    [`tanh`] is x and a small correction, which hides the rounding of m and of m + 2; elsewhere m / (m + 2) forgives
//!    relative errors of m as m grows, and one constant for ln 2 is enough.
//! 4. σ for x < −87.3 is a denormal number or zero in truth; the clamp of the exponent makes it 2⁻¹²⁶.
//! 5. Both are fractions, so a product of two needs but one division: σ(a) · tanh(b) = m / ((1 + e⁻ᵃ) · (m + 2)). Cells
//!    take them as [`sigmoid_denominator`] and [`tanh_fraction`].
//! 6. Every operation is exactly rounded, so all levels with a fused multiply-add agree to the bit.

use crate::simd::{Arithmetic, MAX_LANES, Operation, Simd};
use core::f32::consts::{LN_2, LOG2_E};

/// What the functions compute with.
///
/// Deferred epilogues take it through [`black_box`](core::hint::black_box): then it is loaded anew for each piece of a
/// tile. Else the compiler would load the vectors once, keep some in registers during the K loop, which needs them all,
/// and spill sums instead (measured at 50,64,512,512: 7 % of a training step).
pub(crate) struct Constants {
    pub(crate) one: f32,
    two: f32,
    /// −0: the sign bit.
    sign_bit: f32,
    /// Below it, tanh(x) = x. So large that no square of what is larger is a denormal number.
    linear: f32,
    /// 2⁻¹⁰⁰: less than half a unit in the last place of all that [`Arithmetic::flush`] keeps. Added to a product, it
    /// makes of a denormal number, which many CPUs compute slowly, a normal one.
    pub(crate) normal: f32,
    pub(crate) log2_e: f32,
    /// 1.5 · 2²³ + 127: adding it rounds to an integer and leaves that, with the bias of exponents, in the low bits.
    pub(crate) round: f32,
    ln_2: f32,
    /// ln 2 in two parts; the first has 10 bits, so that n times it is exact even without a fused multiply-add.
    pub(crate) ln_2_parts: [f32; 2],
    /// Where σ ends below.
    sigmoid_lowest: f32,
    /// From 17.4 on σ rounds to 1; the limit only has to keep the exponent in range.
    sigmoid_highest: f32,
    /// (e⁻ᵐ − 1)/m, degree 5 in m: relative error of e⁻ᵐ 3.1e-9.
    exp: [f32; 6],
    /// From 9.02 on tanh rounds to 1.
    tanh_highest: f32,
    /// Moves the interval of r up, so that n = 0 reaches as far as 2|x| = 0.51: beyond it m / (m + 2) is exact enough.
    pub(crate) tanh_shift: f32,
    /// (eʳ − 1 − r)/r², degree 4, on −0.185 … 0.512: relative error of eʳ − 1 1.5e-8.
    pub(crate) expm1: [f32; 5],
}

/// For functions of single numbers. σ is a normal number from −87.33654 on; there is no f32 between that and where it
/// ends.
pub(crate) static CONSTANTS: Constants = Constants::with_lowest(-87.336_54);

/// For gates. A closed one is 2⁻⁶³, rather than a smaller number that makes denormal numbers of all that it is
/// multiplied with; an error of 10⁻¹⁹.
pub(crate) static GATE_CONSTANTS: Constants = Constants::with_lowest(-43.668_274);

impl Constants {
    const fn with_lowest(sigmoid_lowest: f32) -> Self {
        Constants {
            one: 1.0,
            two: 2.0,
            sign_bit: -0.0,
            linear: f32::from_bits((127 - 40) << 23),
            normal: f32::from_bits((127 - 100) << 23),
            log2_e: LOG2_E,
            round: 12_582_912.0 + 127.0,
            ln_2: LN_2,
            ln_2_parts: [355.0 / 512.0, -2.121_944_4e-4],
            sigmoid_lowest,
            sigmoid_highest: 40.0,
            exp: [-1.0, 0.499_999_94, -0.166_665_21, 0.041_668_255, -0.008_368_662, 0.001_382_144_6],
            tanh_highest: 9.2,
            tanh_shift: 0.1635,
            expm1: [0.500_000_06, 0.166_668_24, 0.041_659_895, 0.008_292_688, 0.001_589_483_9],
        }
    }
}

/// x · (c0 + x · (c1 + …)), by Horner.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn polynomial<A: Arithmetic<Element = f32>, const N: usize>(
    a: A,
    x: A::Vector,
    coefficients: &[f32; N],
) -> A::Vector {
    let mut sum = a.splat(coefficients[N - 1]);
    for k in (0..N - 1).rev() {
        sum = a.mul_add(sum, x, a.splat(coefficients[k]));
    }
    a.mul(sum, x)
}

/// 1 + e⁻ˣ, of which σ(x) is the reciprocal; a normal number, or NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn sigmoid_denominator<A: Arithmetic<Element = f32>>(
    a: A,
    x: A::Vector,
    constants: &Constants,
) -> A::Vector {
    let (one, round) = (a.splat(constants.one), a.splat(constants.round));
    let x = a.at_least(a.splat(constants.sigmoid_lowest), a.at_most(a.splat(constants.sigmoid_highest), x));
    // n = round(−x / ln 2), m = x + n · ln 2, so e⁻ˣ = 2ⁿ · e⁻ᵐ.
    let shifted = a.neg_mul_add(x, a.splat(constants.log2_e), round);
    let n = a.sub(shifted, round);
    let [high, low] = constants.ln_2_parts;
    let m = a.mul_add(n, a.splat(low), a.mul_add(n, a.splat(high), x));
    let power = a.power_of_two(shifted);
    // 1 + e⁻ˣ = (1 + 2ⁿ · (e⁻ᵐ − 1)) + 2ⁿ
    a.add(a.mul_add(power, polynomial(a, m, &constants.exp), one), power)
}

/// σ(x) = 1 / (1 + e⁻ˣ), within 2 ULP where the result is a normal number, in [0, 1]; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn sigmoid<A: Arithmetic<Element = f32>>(a: A, x: A::Vector, constants: &Constants) -> A::Vector {
    a.reciprocal(sigmoid_denominator(a, x, constants))
}

/// m = e^{2|x|} − 1 with the sign of x, and |m| + 2: tanh(x) is their quotient, within 3 ULP. Both are normal numbers
/// if x is 0 or one; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn tanh_fraction<A: Arithmetic<Element = f32>>(
    a: A,
    x: A::Vector,
    constants: &Constants,
) -> [A::Vector; 2] {
    let sign = a.sign_of(x, a.splat(constants.sign_bit));
    let half = a.at_most(a.splat(constants.tanh_highest), a.xor(x, sign));
    let Exponential { high, scaled, rest, .. } = exponential_of_twice(a, half, constants);
    let m = a.mul_add(scaled, rest, high);
    [a.xor(m, sign), a.add(m, a.splat(constants.two))]
}

/// tanh(x), within 2 ULP, odd, |tanh| ≤ 1; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn tanh<A: Arithmetic<Element = f32>>(a: A, x: A::Vector, constants: &Constants) -> A::Vector {
    let (zero, one, linear) = (a.splat(0.0), a.splat(constants.one), a.splat(constants.linear));
    let sign = a.sign_of(x, a.splat(constants.sign_bit));
    let half = a.at_most(a.splat(constants.tanh_highest), a.xor(x, sign));
    // No product below is a denormal number then.
    let bounded = a.at_least(linear, half);
    let Exponential { n, high, scaled, rest } = exponential_of_twice(a, bounded, constants);
    let low = a.mul(scaled, rest);
    let m = a.add(high, low);
    // Where n = 0, m / (m + 2) = x + (low − x · m) / (m + 2), whose second summand is small.
    let base = a.select_less(n, one, half, zero);
    let rest = a.select_less(n, one, a.neg_mul_add(bounded, m, low), m);
    let rest = a.select_less(half, linear, zero, rest);
    let magnitude = a.mul_add(rest, a.reciprocal(a.add(m, a.splat(constants.two))), base);
    a.xor(magnitude, sign)
}

/// eʸ − 1 = high + scaled · rest, with y = 2 · half ≥ 0.
struct Exponential<V> {
    /// y = n · ln 2 + r
    n: V,
    /// 2ⁿ − 1 + 2ⁿ · r
    high: V,
    /// 2ⁿ · r
    scaled: V,
    /// (eʳ − 1 − r)/r
    rest: V,
}

#[cfg_attr(not(unoptimized), inline(always))]
fn exponential_of_twice<A: Arithmetic<Element = f32>>(
    a: A,
    half: A::Vector,
    constants: &Constants,
) -> Exponential<A::Vector> {
    let round = a.splat(constants.round);
    let (y, two) = (a.add(half, half), a.splat(constants.two));
    // y less the shift, without waiting for y.
    let below = a.mul_add(half, two, a.splat(-constants.tanh_shift));
    let shifted = a.mul_add(below, a.splat(constants.log2_e), round);
    let n = a.sub(shifted, round);
    let r = a.neg_mul_add(n, a.splat(constants.ln_2), y);
    let power = a.power_of_two(shifted);
    let scaled = a.mul(r, power);
    let high = a.add(a.sub(power, a.splat(constants.one)), scaled);
    Exponential { n, high, scaled, rest: polynomial(a, r, &constants.expm1) }
}

/// gradient · value · slope, flushed: the gradient of the sum that a gate is a function of. No number on the way is a
/// denormal one.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn gate_gradient<A: Arithmetic<Element = f32>>(
    a: A,
    gradient: A::Vector,
    value: A::Vector,
    slope: A::Vector,
    constants: &Constants,
) -> A::Vector {
    let normal = a.splat(constants.normal);
    let product = a.mul_add(a.mul_add(gradient, value, normal), slope, normal);
    a.flush(product)
}

/// A function of one variable, applied to each lane.
///
/// A trait rather than a closure: the compiler would not inline a closure's call into a function with other target
/// features, and each vector operation would become a call.
pub(crate) trait Function: Copy {
    /// The function.
    fn of<S: Simd<Element = f32>>(self, s: S, x: S::Vector) -> S::Vector;
}

/// [`sigmoid`]
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;
/// [`tanh`]
#[derive(Clone, Copy)]
pub(crate) struct Tanh;
/// [`Arithmetic::reciprocal_of_many`]
#[derive(Clone, Copy)]
pub(crate) struct Reciprocal;

impl Function for Sigmoid {
    #[inline(always)]
    fn of<S: Simd<Element = f32>>(self, s: S, x: S::Vector) -> S::Vector {
        sigmoid(s, x, &CONSTANTS)
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn of<S: Simd<Element = f32>>(self, s: S, x: S::Vector) -> S::Vector {
        tanh(s, x, &CONSTANTS)
    }
}

impl Function for Reciprocal {
    #[inline(always)]
    fn of<S: Simd<Element = f32>>(self, s: S, x: S::Vector) -> S::Vector {
        s.reciprocal_of_many(x)
    }
}

/// Replaces every element of a slice by its image.
pub(crate) struct Apply<'a, F> {
    values: &'a mut [f32],
    function: F,
}

impl<'a, F> Apply<'a, F> {
    pub(crate) fn new(values: &'a mut [f32], function: F) -> Self {
        Self { values, function }
    }
}

impl<S: Simd<Element = f32>, F: Function> Operation<S> for Apply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let mut chunks = self.values.chunks_exact_mut(S::LANES);
        for chunk in &mut chunks {
            // SAFETY: a chunk has LANES elements.
            unsafe { s.store(chunk.as_mut_ptr(), self.function.of(s, s.load(chunk.as_ptr()))) };
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let mut lanes = [0.0; MAX_LANES];
            lanes[..rest.len()].copy_from_slice(rest);
            // SAFETY: the buffer has at least LANES elements.
            unsafe { s.store(lanes.as_mut_ptr(), self.function.of(s, s.load(lanes.as_ptr()))) };
            rest.copy_from_slice(&lanes[..rest.len()]);
        }
    }
}
