//! ONNX's activations with their derivatives.

use super::real::sigmoid;

/// An activation of [ONNX's LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), α and β said aloud.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // alpha and beta are the α and β of the equations.
pub enum NaiveActivation {
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh x
    Tanh,
    /// max(0, x)
    Relu,
    /// max(0, min(1, α·x + β))
    HardSigmoid { alpha: f64, beta: f64 },
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + eˣ)
    Softplus,
    /// α·x + β
    Affine { alpha: f64, beta: f64 },
    /// x where x ≥ 0, else α·x
    LeakyRelu { alpha: f64 },
    /// x where x > α, else 0
    ThresholdedRelu { alpha: f64 },
    /// α·tanh(β·x)
    ScaledTanh { alpha: f64, beta: f64 },
    /// x where x ≥ 0, else α·(eˣ − 1)
    Elu { alpha: f64 },
}

/// The three activations of a cell, which ONNX calls f, g and h.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NaiveActivations {
    /// f, of the gates i, f and o
    pub gate: NaiveActivation,
    /// g, of the candidate
    pub candidate: NaiveActivation,
    /// h, of the cell state on its way out
    pub cell: NaiveActivation,
}

impl Default for NaiveActivations {
    /// σ, tanh, tanh
    fn default() -> Self {
        use NaiveActivation::{Sigmoid, Tanh};
        Self { gate: Sigmoid, candidate: Tanh, cell: Tanh }
    }
}

impl NaiveActivation {
    /// φ(x)
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Relu if x > 0.0 => x,
            Self::Relu => 0.0,
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::Softsign => x / (1.0 + x.abs()),
            // The larger of x and 0 taken out, so that eˣ cannot overflow.
            Self::Softplus => Self::Relu.value(x) + (-x.abs()).exp().ln_1p(),
            Self::Affine { alpha, beta } => alpha * x + beta,
            Self::LeakyRelu { alpha } if x < 0.0 => alpha * x,
            Self::ThresholdedRelu { alpha } if x <= alpha => 0.0,
            Self::LeakyRelu { .. } | Self::ThresholdedRelu { .. } => x,
            Self::ScaledTanh { alpha, beta } => alpha * (beta * x).tanh(),
            Self::Elu { alpha } if x < 0.0 => alpha * x.exp_m1(),
            Self::Elu { .. } => x,
        }
    }

    /// φ′(x); at a kink, the derivative of one of the sides.
    pub fn derivative(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
            Self::Tanh => 1.0 - x.tanh() * x.tanh(),
            Self::Relu if x > 0.0 => 1.0,
            Self::Relu => 0.0,
            Self::HardSigmoid { alpha, beta } => match alpha * x + beta {
                line if line < 0.0 => 0.0,
                line if line > 1.0 => 0.0,
                _ => alpha,
            },
            Self::Softsign => 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())),
            Self::Softplus => sigmoid(x),
            Self::Affine { alpha, .. } => alpha,
            Self::LeakyRelu { alpha } if x < 0.0 => alpha,
            Self::ThresholdedRelu { alpha } if x <= alpha => 0.0,
            Self::LeakyRelu { .. } | Self::ThresholdedRelu { .. } => 1.0,
            Self::ScaledTanh { alpha, beta } => alpha * beta * Self::Tanh.derivative(beta * x),
            Self::Elu { alpha } if x < 0.0 => alpha * x.exp(),
            Self::Elu { .. } => 1.0,
        }
    }
}
