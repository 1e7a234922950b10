//! What a plain recurrent layer is, apart from its weights.

use super::{LstmConfig, ParameterRanges};
use crate::cell::kind::CellKind;
use crate::error::Error;
use crate::layer::config_methods;
use quadgate_kernels::Nonlinearity;
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

    /// Sets φ.
    pub fn nonlinearity(self, function: Nonlinearity) -> Self {
        Self { layer: self.layer.of_kind(CellKind::Rnn(function)) }
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
}

impl RnnParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.bias.end
    }
}

impl From<ParameterRanges> for RnnParameterRanges {
    fn from(ParameterRanges { weight_ih, weight_hh, bias, .. }: ParameterRanges) -> Self {
        Self { weight_ih, weight_hh, bias }
    }
}
