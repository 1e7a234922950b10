//! What a plain recurrent layer is, apart from its weights.

use super::{LstmConfig, ParameterRanges};
use crate::cell::kind::CellKind;
use crate::error::Error;
use crate::layer::config_methods;
use quadgate_kernels::{ActivationFunction, Activations, Nonlinearity};
use std::ops::Range;

/// The shape of a plain recurrent layer and how it shall run.
///
/// ```
/// use quadgate::{Nonlinearity, RnnConfig};
///
/// let config = RnnConfig::new(40, 100).nonlinearity(Nonlinearity::Relu).training();
/// assert_eq!((config.input_size(), config.hidden_size()), (40, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RnnConfig {
    /// The same sizes and ways to run, of this kind of cell.
    pub(crate) layer: LstmConfig,
}

impl RnnConfig {
    /// X features in, H hidden units, with tanh.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self { layer: LstmConfig::new(input_size, hidden_size) }.nonlinearity(Nonlinearity::Tanh)
    }

    /// Sets φ to one of those that a plain layer runs in the registers of its tiles.
    pub fn nonlinearity(self, function: Nonlinearity) -> Self {
        Self { layer: self.layer.activations(Activations::default()).of_kind(CellKind::Rnn(function)) }
    }

    /// Sets φ to any function of ONNX's list.
    ///
    /// ```
    /// use quadgate::{ActivationFunction, Nonlinearity, RnnConfig};
    ///
    /// let config = RnnConfig::new(40, 100).activation(ActivationFunction::ScaledTanh { alpha: 1.5, beta: 0.5 });
    /// assert_eq!(config.activation(ActivationFunction::Relu), RnnConfig::new(40, 100).nonlinearity(Nonlinearity::Relu));
    /// ```
    #[doc(alias = "activations")]
    pub fn activation(self, function: ActivationFunction) -> Self {
        match function {
            ActivationFunction::Tanh => self.nonlinearity(Nonlinearity::Tanh),
            ActivationFunction::Relu => self.nonlinearity(Nonlinearity::Relu),
            candidate => {
                let config = self.nonlinearity(Nonlinearity::default());
                Self { layer: config.layer.activations(Activations { candidate, ..Activations::default() }) }
            }
        }
    }

    /// Normalizes what enters φ over the hidden units, before the bias is added: scale ∘ (s − mean s) / √(var s + ε) +
    /// b, with s = W·x + R·h. (Ba, Kiros and Hinton 2016.) ε must be above 0.
    ///
    /// ```
    /// use quadgate::{Rnn, RnnConfig, RnnWeights};
    ///
    /// let config = RnnConfig::new(1, 2).layer_normalization(1e-5);
    /// let weights = RnnWeights::pytorch(&config, &[0.5; 2], &[0.5; 4], None, None)?;
    /// let rnn = Rnn::new(&config, &weights.with_layer_normalization(&[1.0; 2])?)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn layer_normalization(self, epsilon: f32) -> Self {
        Self { layer: self.layer.layer_normalization(epsilon) }
    }

    /// Where each parameter lies in a contiguous buffer of all of them, or of their gradients.
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self) -> Result<RnnParameterRanges, Error> {
        self.layer.parameters().map(RnnParameterRanges::from)
    }
}

config_methods!(RnnConfig, Rnn);

/// Where each parameter of a plain recurrent layer lies in a contiguous buffer.
/// [`RnnWeights::from_parameters`](crate::RnnWeights::from_parameters) reads such a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RnnParameterRanges {
    /// `weight_ih [H, X]`, row-major.
    pub weight_ih: Range<usize>,
    /// `weight_hh [H, H]`, row-major.
    pub weight_hh: Range<usize>,
    /// The sum of the biases, `[H]`. If there are two, this is the gradient of each.
    pub bias: Range<usize>,
    /// Scale of the layer normalization, `[H]`; empty without the option.
    pub layer_normalization: Range<usize>,
}

impl RnnParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.layer_normalization.end
    }
}

impl From<ParameterRanges> for RnnParameterRanges {
    fn from(ranges: ParameterRanges) -> Self {
        let ParameterRanges { weight_ih, weight_hh, bias, layer_normalization, .. } = ranges;
        Self { weight_ih, weight_hh, bias, layer_normalization }
    }
}
