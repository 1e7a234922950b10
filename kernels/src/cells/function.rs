//! The activation functions of ONNX's LSTM, for the general cell.
//!
//! σ and tanh are those of the plain cell. The exponential functions share its reduction:
//!
//! ```text
//! eʸ − 1 = (2ⁿ − 1 + 2ⁿ·r) + 2ⁿ·(eʳ − 1 − r)
//! ln(1 + u) = 2·artanh(u / (2 + u)) = 2·(q + q³/3 + q⁵/5 + …),  q ≤ ⅓ for u ≤ 1
//! ```

use crate::cells::activation::{
    Apply, CONSTANTS, Constants, Function, Sigmoid, Tanh, polynomial, sigmoid, tanh,
};
use crate::simd::{Arithmetic, Operation, Simd};

/// An activation function of [ONNX's LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), α and β said aloud.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[allow(missing_docs)] // alpha and beta are the α and β of the equations.
#[non_exhaustive]
pub enum ActivationFunction {
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh x
    Tanh,
    /// max(0, x)
    Relu,
    /// max(0, min(1, α·x + β))
    HardSigmoid { alpha: f32, beta: f32 },
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + eˣ)
    Softplus,
    /// α·x + β
    Affine { alpha: f32, beta: f32 },
    /// x where x ≥ 0, else α·x
    LeakyRelu { alpha: f32 },
    /// x where x > α, else 0
    ThresholdedRelu { alpha: f32 },
    /// α·tanh(β·x)
    ScaledTanh { alpha: f32, beta: f32 },
    /// x where x ≥ 0, else α·(eˣ − 1)
    Elu { alpha: f32 },
}

/// 1/3, 1/5, …: ln(1 + u) as above, relative error 1.4e-9.
const ARTANH: [f32; 7] = [1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0];

/// Below this e^y has no normal result.
const LOWEST: f32 = -87.0;

impl ActivationFunction {
    /// α and β, zero where there is none.
    pub fn parameters(self) -> [f32; 2] {
        use ActivationFunction::*;
        match self {
            Sigmoid | Tanh | Relu | Softsign | Softplus => [0.0, 0.0],
            LeakyRelu { alpha } | ThresholdedRelu { alpha } | Elu { alpha } => [alpha, 0.0],
            HardSigmoid { alpha, beta } | Affine { alpha, beta } | ScaledTanh { alpha, beta } => {
                [alpha, beta]
            }
        }
    }

    /// φ(x); NaN for NaN.
    #[inline(always)]
    pub(crate) fn value<S: Simd<Element = f32>>(
        self,
        s: S,
        x: S::Vector,
        constants: &Constants,
    ) -> S::Vector {
        let (zero, one) = (s.zero(), s.splat(1.0));
        match self {
            Self::Sigmoid => sigmoid(s, x, constants),
            Self::Tanh => tanh(s, x, constants),
            Self::Relu => s.at_least(zero, x),
            Self::HardSigmoid { alpha, beta } => {
                let line = s.mul_add(s.splat(alpha), x, s.splat(beta));
                s.at_least(zero, s.at_most(one, line))
            }
            Self::Softsign => s.div(x, s.add(one, magnitude(s, x))),
            Self::Softplus => {
                let [_, power] = exponential(s, s.sub(zero, magnitude(s, x)), constants);
                s.add(s.at_least(zero, x), ln_of_one_plus(s, power))
            }
            Self::Affine { alpha, beta } => s.mul_add(s.splat(alpha), x, s.splat(beta)),
            Self::LeakyRelu { alpha } => s.select_less(x, zero, s.mul(s.splat(alpha), x), x),
            // x · 0 rather than 0, so that NaN stays NaN.
            Self::ThresholdedRelu { alpha } => s.select_less(s.splat(alpha), x, x, s.mul(x, zero)),
            Self::ScaledTanh { alpha, beta } => {
                s.mul(s.splat(alpha), tanh(s, s.mul(s.splat(beta), x), constants))
            }
            Self::Elu { alpha } => {
                let [below, _] = exponential(s, s.at_most(zero, x), constants);
                s.select_less(x, zero, s.mul(s.splat(alpha), below), x)
            }
        }
    }

    /// φ′(x), where `value` is φ(x); at a kink, the derivative of one of the sides.
    #[inline(always)]
    pub(crate) fn slope<S: Simd<Element = f32>>(
        self,
        s: S,
        x: S::Vector,
        value: S::Vector,
        constants: &Constants,
    ) -> S::Vector {
        let (zero, one) = (s.zero(), s.splat(1.0));
        match self {
            Self::Sigmoid => s.mul(value, s.sub(one, value)),
            Self::Tanh => s.neg_mul_add(value, value, one),
            Self::Relu => s.select_less(zero, x, one, zero),
            Self::HardSigmoid { alpha, beta } => {
                let line = s.mul_add(s.splat(alpha), x, s.splat(beta));
                let slope = s.select_less(line, zero, zero, s.splat(alpha));
                s.select_less(one, line, zero, slope)
            }
            Self::Softsign => {
                let denominator = s.add(one, magnitude(s, x));
                s.div(one, s.mul(denominator, denominator))
            }
            Self::Softplus => sigmoid(s, x, constants),
            Self::Affine { alpha, .. } => s.splat(alpha),
            Self::LeakyRelu { alpha } => s.select_less(x, zero, s.splat(alpha), one),
            Self::ThresholdedRelu { alpha } => s.select_less(s.splat(alpha), x, one, zero),
            Self::ScaledTanh { alpha, beta } => {
                let inner = tanh(s, s.mul(s.splat(beta), x), constants);
                s.mul(s.splat(alpha * beta), s.neg_mul_add(inner, inner, one))
            }
            Self::Elu { alpha } => {
                let [_, power] = exponential(s, s.at_most(zero, x), constants);
                s.select_less(x, zero, s.mul(s.splat(alpha), power), one)
            }
        }
    }
}

impl Function for ActivationFunction {
    #[inline(always)]
    fn of<S: Simd<Element = f32>>(self, s: S, x: S::Vector) -> S::Vector {
        self.value(s, x, &CONSTANTS)
    }
}

/// Replaces every element x of a slice by φ(x).
pub(crate) struct Activate<'a> {
    values: &'a mut [f32],
    function: ActivationFunction,
}

impl<'a> Activate<'a> {
    pub(crate) fn new(values: &'a mut [f32], function: ActivationFunction) -> Self {
        Self { values, function }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for Activate<'_> {
    type Output = ();

    /// The usual functions have loops of their own, in which constants stay in registers.
    #[inline(always)]
    fn run(self, s: S) {
        match self.function {
            ActivationFunction::Sigmoid => Apply::new(self.values, Sigmoid).run(s),
            ActivationFunction::Tanh => Apply::new(self.values, Tanh).run(s),
            ActivationFunction::HardSigmoid { alpha, beta } => {
                Apply::new(self.values, ActivationFunction::HardSigmoid { alpha, beta }).run(s)
            }
            function => Apply::new(self.values, function).run(s),
        }
    }
}

/// Replaces every element x of a slice by φ′(x), given φ(x).
pub(crate) struct Slopes<'a> {
    inputs: &'a mut [f32],
    values: &'a [f32],
    function: ActivationFunction,
}

impl<'a> Slopes<'a> {
    pub(crate) fn new(inputs: &'a mut [f32], values: &'a [f32], function: ActivationFunction) -> Self {
        Self { inputs, values, function }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for Slopes<'_> {
    type Output = ();

    /// Of whole vectors; the usual functions have loops of their own.
    #[inline(always)]
    fn run(self, s: S) {
        match self.function {
            ActivationFunction::Sigmoid => self.of(s, ActivationFunction::Sigmoid),
            ActivationFunction::Tanh => self.of(s, ActivationFunction::Tanh),
            ActivationFunction::HardSigmoid { alpha, beta } => {
                self.of(s, ActivationFunction::HardSigmoid { alpha, beta });
            }
            function => self.of(s, function),
        }
    }
}

impl Slopes<'_> {
    #[inline(always)]
    fn of<S: Simd<Element = f32>>(self, s: S, function: ActivationFunction) {
        for (input, value) in self.inputs.chunks_exact_mut(S::LANES).zip(self.values.chunks_exact(S::LANES)) {
            // SAFETY: both chunks have LANES elements.
            unsafe {
                let slope = function.slope(s, s.load(input.as_ptr()), s.load(value.as_ptr()), &CONSTANTS);
                s.store(input.as_mut_ptr(), slope);
            }
        }
    }
}

/// |x|
#[inline(always)]
pub(crate) fn magnitude<A: Arithmetic<Element = f32>>(a: A, x: A::Vector) -> A::Vector {
    a.xor(x, a.sign_of(x, a.splat(-0.0)))
}

/// eʸ − 1 and eʸ for y ≤ 0; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
fn exponential<S: Simd<Element = f32>>(s: S, y: S::Vector, constants: &Constants) -> [S::Vector; 2] {
    let y = s.at_least(s.splat(LOWEST), y);
    let round = s.splat(constants.round);
    let shifted = s.mul_add(s.sub(y, s.splat(constants.tanh_shift)), s.splat(constants.log2_e), round);
    let n = s.sub(shifted, round);
    let [high, low] = constants.ln_2_parts;
    let r = s.neg_mul_add(n, s.splat(low), s.neg_mul_add(n, s.splat(high), y));
    let power = s.power_of_two(shifted);
    let scaled = s.mul(r, power);
    let rest = s.mul(scaled, polynomial(s, r, &constants.expm1));
    let below = s.add(s.add(s.sub(power, s.splat(1.0)), scaled), rest);
    [below, s.add(power, s.add(scaled, rest))]
}

/// ln(1 + u) for 0 ≤ u ≤ 1; NaN for NaN.
#[cfg_attr(not(unoptimized), inline(always))]
fn ln_of_one_plus<S: Simd<Element = f32>>(s: S, u: S::Vector) -> S::Vector {
    let q = s.div(u, s.add(s.splat(2.0), u));
    let sum = s.mul_add(q, polynomial(s, s.mul(q, q), &ARTANH), q);
    s.add(sum, sum)
}
