//! What a layer of gated recurrent units is, apart from its weights.

use super::LstmConfig;
use crate::cell::kind::CellKind;
use crate::error::Error;
use crate::layer::config_methods;
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
    /// X features in, H hidden units.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self { layer: LstmConfig::new(input_size, hidden_size).of_kind(CellKind::Gru) }
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
        let ranges = self.layer.parameters()?;
        Ok(GruParameterRanges { weight_ih: ranges.weight_ih, weight_hh: ranges.weight_hh, bias: ranges.bias })
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
    /// If there are two biases `[3H]`, the first three of these are the gradient of the first one, and the first two and the last
    /// that of the second.
    pub bias: Range<usize>,
}

impl GruParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.bias.end
    }
}
