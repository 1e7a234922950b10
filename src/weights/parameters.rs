//! Weights in one contiguous buffer, as [`LstmConfig::parameters`] lays them out.

use super::LstmWeights;
use super::layout::{Orientation, check};
use crate::{Error, LstmConfig};

impl<'a> LstmWeights<'a> {
    /// The parameters of a layer in one buffer, laid out as [`LstmConfig::parameters`] says: what a training loop holds and an
    /// optimizer changes.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5).peepholes();
    /// let mut parameters = vec![0.1; config.parameters()?.total()];
    /// parameters[config.parameters()?.bias][5..10].fill(1.0); // of the forget gate
    /// let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters)?)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &LstmConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
        let mut weights = Self::pytorch(config, w, r, Some(b), None)?;
        let units = config.hidden_size();
        let (options, peepholes) = (config.options(), &parameters[ranges.peepholes]);
        if options.peepholes {
            weights = weights.with_peepholes([0, 1, 2].map(|gate| &peepholes[gate * units..][..units]))?;
        }
        if options.normalization.is_some() {
            let scales = &parameters[ranges.layer_normalization];
            let of = |gate: usize| &scales[gate * units..][..units];
            weights = weights.with_layer_normalization([0, 1, 2, 3].map(of))?;
        }
        if options.projection.is_some() {
            let bias = options.projection_bias.then(|| &parameters[ranges.projection_bias]);
            let projection = &parameters[ranges.projection];
            weights = weights.with_projection(Orientation::GatesByInputs, projection, bias)?;
        }
        Ok(weights)
    }
}
