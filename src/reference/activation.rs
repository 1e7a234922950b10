//! ONNX's activations with their derivatives.

use super::real::{Real, sigmoid};

/// An activation of [ONNX's LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), α and β said aloud.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // alpha and beta are the α and β of the equations.
pub enum NaiveActivation<R> {
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh x
    Tanh,
    /// max(0, x)
    Relu,
    /// max(0, min(1, α·x + β))
    HardSigmoid { alpha: R, beta: R },
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + eˣ)
    Softplus,
    /// α·x + β
    Affine { alpha: R, beta: R },
    /// x where x ≥ 0, else α·x
    LeakyRelu { alpha: R },
    /// x where x > α, else 0
    ThresholdedRelu { alpha: R },
    /// α·tanh(β·x)
    ScaledTanh { alpha: R, beta: R },
    /// x where x ≥ 0, else α·(eˣ − 1)
    Elu { alpha: R },
}

/// The three activations of a cell, which ONNX calls f, g and h.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NaiveActivations<R> {
    /// f, of the gates i, f and o
    pub gate: NaiveActivation<R>,
    /// g, of the candidate
    pub candidate: NaiveActivation<R>,
    /// h, of the cell state on its way out
    pub cell: NaiveActivation<R>,
}

impl<R> Default for NaiveActivations<R> {
    /// σ, tanh, tanh
    fn default() -> Self {
        use NaiveActivation::{Sigmoid, Tanh};
        Self { gate: Sigmoid, candidate: Tanh, cell: Tanh }
    }
}

impl<R: Real> NaiveActivation<R> {
    /// φ(x)
    pub fn value(self, x: R) -> R {
        let (zero, one) = (R::ZERO, R::ONE);
        match self {
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Relu if x > zero => x,
            Self::Relu => zero,
            Self::HardSigmoid { alpha, beta } => match alpha * x + beta {
                line if line < zero => zero,
                line if line > one => one,
                line => line,
            },
            Self::Softsign => x / (one + absolute(x)),
            // The larger of x and 0 taken out, so that eˣ cannot overflow.
            Self::Softplus => Self::Relu.value(x) + (-absolute(x)).exp().ln_1p(),
            Self::Affine { alpha, beta } => alpha * x + beta,
            Self::LeakyRelu { alpha } if x < zero => alpha * x,
            Self::ThresholdedRelu { alpha } if x <= alpha => zero,
            Self::LeakyRelu { .. } | Self::ThresholdedRelu { .. } => x,
            Self::ScaledTanh { alpha, beta } => alpha * (beta * x).tanh(),
            Self::Elu { alpha } if x < zero => alpha * x.exp_m1(),
            Self::Elu { .. } => x,
        }
    }

    /// φ′(x); at a kink, the derivative of one of the sides.
    pub fn derivative(self, x: R) -> R {
        let (zero, one) = (R::ZERO, R::ONE);
        match self {
            Self::Sigmoid => sigmoid(x) * (one - sigmoid(x)),
            Self::Tanh => one - x.tanh() * x.tanh(),
            Self::Relu if x > zero => one,
            Self::Relu => zero,
            Self::HardSigmoid { alpha, beta } => match alpha * x + beta {
                line if line < zero || line > one => zero,
                _ => alpha,
            },
            Self::Softsign => one / ((one + absolute(x)) * (one + absolute(x))),
            Self::Softplus => sigmoid(x),
            Self::Affine { alpha, .. } => alpha,
            Self::LeakyRelu { alpha } if x < zero => alpha,
            Self::ThresholdedRelu { alpha } if x <= alpha => zero,
            Self::LeakyRelu { .. } | Self::ThresholdedRelu { .. } => one,
            Self::ScaledTanh { alpha, beta } => alpha * beta * Self::Tanh.derivative(beta * x),
            Self::Elu { alpha } if x < zero => alpha * x.exp(),
            Self::Elu { .. } => one,
        }
    }
}

/// |x|
fn absolute<R: Real>(x: R) -> R {
    if x < R::ZERO { -x } else { x }
}
