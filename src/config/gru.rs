//! What a layer of gated recurrent units is, apart from its weights.

use super::{LstmConfig, ParameterRanges};
use crate::cell::kind::{CellKind, ResetGate};
use crate::error::Error;
use crate::layer::config_methods;
use quadgate_kernels::{Activations, GruActivations};
use std::ops::Range;

/// The shape of a layer of gated recurrent units and how it shall run.
///
/// ```
/// use quadgate::GruConfig;
///
/// let config = GruConfig::new(40, 100).training();
/// assert_eq!((config.input_size(), config.hidden_size()), (40, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GruConfig {
    /// The same sizes and ways to run, of this kind of cell.
    pub(crate) layer: LstmConfig,
}

impl GruConfig {
    /// X features in, H hidden units, the reset gate after the product.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self { layer: LstmConfig::new(input_size, hidden_size) }.reset_gate(ResetGate::AfterProduct)
    }

    /// Sets where the reset gate is applied.
    ///
    /// Before the product, threads that share units ([`Split::Units`](crate::Split::Units)) meet twice a step; with
    /// options they cannot share them.
    ///
    /// ```
    /// use quadgate::{GruConfig, ResetGate};
    ///
    /// let config = GruConfig::new(40, 100).reset_gate(ResetGate::BeforeProduct);
    /// assert_eq!(config.parameters()?.bias.len(), 3 * 100);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    #[doc(alias = "linear_before_reset")]
    #[doc(alias = "reset_after")]
    pub fn reset_gate(self, reset_gate: ResetGate) -> Self {
        Self { layer: self.layer.of_kind(CellKind::Gru(reset_gate)) }
    }

    /// Replaces σ of the gates r and z, and tanh of the candidate, by other functions: ONNX's `activations`.
    ///
    /// ```
    /// use quadgate::{ActivationFunction, GruActivations, GruConfig};
    ///
    /// let gate = ActivationFunction::HardSigmoid { alpha: 0.2, beta: 0.5 };
    /// let config = GruConfig::new(40, 100).activations(GruActivations { gate, ..GruActivations::default() });
    /// ```
    pub fn activations(self, activations: GruActivations) -> Self {
        let GruActivations { gate, candidate } = activations;
        Self { layer: self.layer.activations(Activations { gate, candidate, ..Activations::default() }) }
    }

    /// Normalizes sums over the hidden units, before their bias is added: scale ∘ (s − mean s) / √(var s + ε) + b,
    /// where s is W·x + R·h of r, of z, and with the reset gate before the product of n. With the reset gate after it
    /// W·x and R·h of n are normalized each for itself, as in Ba, Kiros and Hinton 2016. ε must be above 0.
    ///
    /// ```
    /// use quadgate::{Gru, GruConfig, GruWeights};
    ///
    /// let config = GruConfig::new(1, 2).layer_normalization(1e-5);
    /// let weights = GruWeights::pytorch(&config, &[0.5; 6], &[0.5; 12], None, None)?
    ///     .with_layer_normalization([&[1.0; 2]; 3], Some(&[1.0; 2]))?;
    /// let gru = Gru::new(&config, &weights)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn layer_normalization(self, epsilon: f32) -> Self {
        Self { layer: self.layer.layer_normalization(epsilon) }
    }

    /// Where the reset gate is applied.
    pub(crate) fn place_of_reset_gate(&self) -> ResetGate {
        match self.layer.kind() {
            CellKind::Gru(reset_gate) => reset_gate,
            CellKind::Lstm | CellKind::Rnn(_) => ResetGate::default(),
        }
    }

    /// Where each parameter lies in a contiguous buffer of all of them, or of their gradients.
    ///
    /// ```
    /// let ranges = quadgate::GruConfig::new(3, 5).parameters()?;
    /// assert_eq!((ranges.weight_ih, ranges.weight_hh, ranges.bias), (0..45, 45..120, 120..140));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self) -> Result<GruParameterRanges, Error> {
        self.layer.parameters().map(GruParameterRanges::from)
    }
}

config_methods!(GruConfig, Gru);

/// Where each parameter of a layer of gated recurrent units lies in a contiguous buffer: W, R, b, gates r, z, n.
/// [`GruWeights::from_parameters`](crate::GruWeights::from_parameters) reads such a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GruParameterRanges {
    /// `weight_ih [3H, X]`, row-major.
    pub weight_ih: Range<usize>,
    /// `weight_hh [3H, H]`, row-major.
    pub weight_hh: Range<usize>,
    /// `[4H]`: the sums of both biases of r and of z, that of W of n, and that of R of n.
    ///
    /// If there are two biases `[3H]`, the first three of these are the gradient of the first one, and the first two
    /// and the last that of the second. With the reset gate before the product `[3H]`: the sums of both biases, as of
    /// an LSTM.
    pub bias: Range<usize>,
    /// Scales of the layer normalization, as many as biases; empty without the option.
    pub layer_normalization: Range<usize>,
}

impl GruParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.layer_normalization.end
    }
}

impl From<ParameterRanges> for GruParameterRanges {
    fn from(ranges: ParameterRanges) -> Self {
        let ParameterRanges { weight_ih, weight_hh, bias, layer_normalization, .. } = ranges;
        Self { weight_ih, weight_hh, bias, layer_normalization }
    }
}
