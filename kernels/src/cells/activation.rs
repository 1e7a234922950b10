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
//! 1. eʳ and (eʳ − 1)/r are minimax polynomials of degree 6 and 5, in Horner form: one multiply-add a degree. What
//!    bounds an LSTM at wide batches is the multiply-add pipes. A division takes no more of them than two multiply-adds
//!    (AVX-512 on Zen 5), so estimates that trade it for several lose.
//! 2. Rounding by adding 1.5 · 2²³ leaves n in the low bits, from where a shift moves it to the exponent.
//! 3. m comes from 2ⁿ · (eʳ − 1) + (2ⁿ − 1) without cancellation, so tanh is as exact near 0 as elsewhere. Where n = 0,
//!    the result is x and a small correction, which hides the rounding of m and of m + 2; elsewhere m / (m + 2) forgives
//!    relative errors of m as m grows, and one constant for ln 2 is enough.
//! 4. σ for x < −87.3 is a denormal number or zero in truth; the clamp of the exponent makes it at least 2⁻¹²⁷.
//! 5. Every operation is exactly rounded, so all levels with a fused multiply-add agree to the bit.

use crate::simd::{MAX_LANES, Operation, Simd};
use core::f32::consts::{LN_2, LOG2_E};

/// What the functions compute with.
///
/// Epilogues take it through [`black_box`]: then it is loaded anew for each piece of a tile. Else the compiler would load the
/// vectors once, keep some in registers during the K loop, which needs them all, and spill sums instead (measured at
/// 50,64,512,512: 7 % of a training step).
pub(crate) struct Constants {
    pub(crate) one: f32,
    two: f32,
    /// −0: the sign bit.
    sign_bit: f32,
    /// See [`flush`].
    smallest: f32,
    pub(crate) log2_e: f32,
    /// 1.5 · 2²³: adding it rounds to an integer, whose low bits then end the bit pattern.
    pub(crate) round: f32,
    ln_2: f32,
    /// ln 2 in two parts; the first has 10 bits, so that n times it is exact even without a fused multiply-add.
    pub(crate) ln_2_parts: [f32; 2],
    /// e⁸⁸·⁰² is just below 2¹²⁷: σ(−88.02) is the first power of two below the normal numbers.
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

pub(crate) static CONSTANTS: Constants = Constants {
    one: 1.0,
    two: 2.0,
    sign_bit: -0.0,
    smallest: f32::from_bits((127 - 100) << 23),
    log2_e: LOG2_E,
    round: 12_582_912.0,
    ln_2: LN_2,
    ln_2_parts: [355.0 / 512.0, -2.121_944_4e-4],
    sigmoid_lowest: -88.02,
    sigmoid_highest: 40.0,
    exp: [-1.0, 0.499_999_94, -0.166_665_21, 0.041_668_255, -0.008_368_662, 0.001_382_144_6],
    tanh_highest: 9.2,
    tanh_shift: 0.1635,
    expm1: [0.500_000_06, 0.166_668_24, 0.041_659_895, 0.008_292_688, 0.001_589_483_9],
};

/// x · (c0 + x · (c1 + …)), by Horner.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn polynomial<S: Simd<Element = f32>, const N: usize>(
    s: S,
    x: S::Vector,
    coefficients: &[f32; N],
) -> S::Vector {
    let mut sum = s.splat(coefficients[N - 1]);
    for k in (0..N - 1).rev() {
        sum = s.mul_add(sum, x, s.splat(coefficients[k]));
    }
    s.mul(sum, x)
}

/// σ(x) = 1 / (1 + e⁻ˣ), within 2 ULP where the result is a normal number, in [0, 1]; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn sigmoid<S: Simd<Element = f32>>(s: S, x: S::Vector, constants: &Constants) -> S::Vector {
    let (one, round) = (s.splat(constants.one), s.splat(constants.round));
    let x = s.at_least(s.splat(constants.sigmoid_lowest), s.at_most(s.splat(constants.sigmoid_highest), x));
    // n = round(−x / ln 2), m = x + n · ln 2, so e⁻ˣ = 2ⁿ · e⁻ᵐ.
    let shifted = s.neg_mul_add(x, s.splat(constants.log2_e), round);
    let n = s.sub(shifted, round);
    let [high, low] = constants.ln_2_parts;
    let m = s.mul_add(n, s.splat(low), s.mul_add(n, s.splat(high), x));
    let power = s.power_of_two(shifted);
    // 1 + e⁻ˣ = (1 + 2ⁿ · (e⁻ᵐ − 1)) + 2ⁿ
    let denominator = s.add(s.mul_add(power, polynomial(s, m, &constants.exp), one), power);
    s.div(one, denominator)
}

/// tanh(x), within 2 ULP, odd, |tanh| ≤ 1; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn tanh<S: Simd<Element = f32>>(s: S, x: S::Vector, constants: &Constants) -> S::Vector {
    let (one, round) = (s.splat(constants.one), s.splat(constants.round));
    let sign = s.sign_of(x, s.splat(constants.sign_bit));
    let half = s.at_most(s.splat(constants.tanh_highest), s.xor(x, sign));
    let y = s.add(half, half);
    let shifted = s.mul_add(s.sub(y, s.splat(constants.tanh_shift)), s.splat(constants.log2_e), round);
    let n = s.sub(shifted, round);
    let r = s.neg_mul_add(n, s.splat(constants.ln_2), y);
    let power = s.power_of_two(shifted);
    // m = e^y − 1 = high + low, with high = 2ⁿ − 1 + 2ⁿ·r and low = 2ⁿ·r · (eʳ − 1 − r)/r
    let scaled = s.mul(r, power);
    let high = s.add(s.sub(power, one), scaled);
    let low = s.mul(scaled, polynomial(s, r, &constants.expm1));
    let m = s.add(high, low);
    // Where n = 0, m / (m + 2) = x + (low − x · m) / (m + 2), whose second summand is small.
    let base = s.select_less(n, one, half, s.zero());
    let rest = s.select_less(n, one, s.neg_mul_add(half, m, low), m);
    let magnitude = s.add(base, s.div(rest, s.add(m, s.splat(constants.two))));
    s.xor(magnitude, sign)
}

/// Zero where |v| < 2⁻¹⁰⁰, else `v`.
///
/// States and gradients that decay would end in denormal numbers, which many CPUs compute slowly. The threshold leaves
/// room for the products that follow: h = o · tanh(c) and R · h stay normal unless a gate or a weight is itself below
/// 2⁻²⁶.
#[inline(always)]
pub(crate) fn flush<S: Simd<Element = f32>>(s: S, v: S::Vector, constants: &Constants) -> S::Vector {
    let magnitude = s.xor(v, s.sign_of(v, s.splat(constants.sign_bit)));
    s.select_less(magnitude, s.splat(constants.smallest), s.zero(), v)
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
