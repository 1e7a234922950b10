//! What the attributes of a node say.

use crate::Error;
use crate::operator::Operator;
use quadgate::{ActivationFunction, Direction};
use rten_onnx::onnx::AttributeProto;

/// What the attributes of a node say.
pub(crate) struct Attributes {
    pub(crate) directions: Vec<Direction>,
    /// `layout` = 1
    pub(crate) is_batch_major: bool,
    pub(crate) clip: Option<f32>,
    /// `input_forget` = 1
    pub(crate) couples_gates: bool,
    /// `linear_before_reset`
    pub(crate) resets_after: bool,
    /// Of one direction after the other; none if they are the usual ones.
    pub(crate) functions: Vec<ActivationFunction>,
}

impl Attributes {
    /// Reads those of a node with so many units.
    pub(crate) fn read(
        operator: Operator,
        attributes: &[AttributeProto],
        hidden: usize,
    ) -> Result<Self, Error> {
        let mut found = Self {
            directions: vec![Direction::Forward],
            is_batch_major: false,
            clip: None,
            couples_gates: false,
            resets_after: false,
            functions: Vec::new(),
        };
        let (mut names, mut alphas, mut betas) = (&[][..], &[][..], &[][..]);
        for attribute in attributes {
            let name = attribute.name.as_deref().unwrap_or_default();
            let unknown = |expected| {
                Err(Error::new(format!("attribute {name} of {operator}: expected {expected}, found another")))
            };
            // Some writers leave out a number that is zero.
            match (name, attribute.i.unwrap_or(0)) {
                ("direction", _) => {
                    let direction = attribute.s.as_deref().unwrap_or_default();
                    found.directions = match direction.to_ascii_lowercase().as_str() {
                        "forward" => vec![Direction::Forward],
                        "reverse" => vec![Direction::Reverse],
                        "bidirectional" => vec![Direction::Forward, Direction::Reverse],
                        _ => return unknown("forward, reverse or bidirectional"),
                    }
                }
                ("hidden_size", size) if i64::try_from(hidden) == Ok(size) => {}
                ("hidden_size", size) => {
                    return Err(Error::new(format!("hidden_size: expected {hidden} as in W, found {size}")));
                }
                ("clip", _) => found.clip = attribute.f,
                ("layout", 0 | 1) => found.is_batch_major = attribute.i == Some(1),
                ("input_forget", 0 | 1) if operator == Operator::Lstm => {
                    found.couples_gates = attribute.i == Some(1);
                }
                ("linear_before_reset", value) if operator == Operator::Gru => {
                    found.resets_after = value != 0
                }
                // Of the first version of the operators: Y is computed anyway.
                ("output_sequence", _) => {}
                ("activations", _) => names = &attribute.strings,
                ("activation_alpha", _) => alphas = &attribute.floats,
                ("activation_beta", _) => betas = &attribute.floats,
                _ => return unknown("one that the operator has, and a value that it may have"),
            }
        }
        found.functions = functions(names, alphas, betas)?;
        let (each, len) = (operator.functions(), found.functions.len());
        if len != 0 && len != each * found.directions.len() {
            return Err(Error::new(format!("activations: expected {each} for each direction, found {len}")));
        }
        Ok(found)
    }

    /// The functions of a direction; none if they are the usual ones.
    pub(crate) fn functions_of(&self, direction: usize) -> &[ActivationFunction] {
        let each = self.functions.len() / self.directions.len();
        &self.functions[direction * each..][..each]
    }
}

/// Functions by name, in any case of letters, as ONNX Runtime reads them. Those that have α or β take the next one of
/// the lists, or ONNX's default.
fn functions(names: &[String], alphas: &[f32], betas: &[f32]) -> Result<Vec<ActivationFunction>, Error> {
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    let function = |name: &String| {
        let mut alpha = |default| alphas.next().unwrap_or(default);
        let mut beta = |default| betas.next().unwrap_or(default);
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => ActivationFunction::Sigmoid,
            "tanh" => ActivationFunction::Tanh,
            "relu" => ActivationFunction::Relu,
            "softsign" => ActivationFunction::Softsign,
            "softplus" => ActivationFunction::Softplus,
            "hardsigmoid" => ActivationFunction::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "affine" => ActivationFunction::Affine { alpha: alpha(1.0), beta: beta(0.0) },
            "leakyrelu" => ActivationFunction::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => ActivationFunction::ThresholdedRelu { alpha: alpha(1.0) },
            "scaledtanh" => ActivationFunction::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
            "elu" => ActivationFunction::Elu { alpha: alpha(1.0) },
            _ => return Err(Error::new(format!("activations: expected one of ONNX's list, found {name}"))),
        })
    };
    names.iter().map(function).collect()
}
