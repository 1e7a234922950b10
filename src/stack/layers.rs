//! The layers of a stack.

use crate::error::Error;
use crate::lstm::Lstm;
use crate::stack::config::StackConfig;
use crate::stack::plan::StackPlan;
use crate::weights::LstmWeights;
use quadgate_kernels::Isa;

/// Layers of LSTMs, each of which reads the output of the one before it.
///
/// With → and ← the two directions of a layer, and h⁰ = x:
///
/// ```text
/// one direction:  hˡ_t = LSTMˡ(hˡ⁻¹)_t
/// concatenated:   hˡ_t = [LSTM→ˡ(hˡ⁻¹)_t | LSTM←ˡ(hˡ⁻¹)_t]
/// summed:         hˡ_t =  LSTM→ˡ(hˡ⁻¹)_t + LSTM←ˡ(hˡ⁻¹)_t
/// ```
///
/// The result has the same bits for any threads, schedule, split and tape, as that of [`Lstm`]. A clone shares the packed
/// weights.
///
/// ```
/// use quadgate::{Directions, LstmStack, LstmWeights, Sequence, SequenceMut, StackConfig, StackForward};
///
/// let (steps, batch, inputs, hidden, layers) = (5, 2, 3, 4, 2);
/// let config = StackConfig::new(inputs, hidden, layers, Directions::Concatenated);
/// // PyTorch's weight_ih_l0, weight_ih_l0_reverse, weight_ih_l1, weight_ih_l1_reverse, and so on.
/// let weight_ih = [inputs, inputs, 2 * hidden, 2 * hidden].map(|inputs| vec![0.1; 4 * hidden * inputs]);
/// let weight_hh = vec![0.2; 4 * hidden * hidden];
/// let weights = (0..config.directed_layers())
///     .map(|index| {
///         LstmWeights::pytorch(&config.directed_layer(index), &weight_ih[index], &weight_hh, None, None)
///     })
///     .collect::<Result<Vec<_>, _>>()?;
/// let stack = LstmStack::new(&config, &weights)?;
///
/// let mut workspace = stack.workspace(steps, batch)?;
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * 2 * hidden];
/// stack.forward(
///     &mut workspace,
///     StackForward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, 2 * hidden)),
/// )?;
/// // A constant sequence looks the same from both ends, but for the order of sums.
/// let (forward, reverse) = (h[0], h[(steps - 1) * batch * 2 * hidden + hidden]);
/// assert!((forward - reverse).abs() < 1e-6);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LstmStack {
    pub(super) config: StackConfig,
    /// The directed layers, in PyTorch's order.
    pub(super) layers: Vec<Lstm>,
}

impl LstmStack {
    /// Chooses the kernels and packs the weights, once. There is one entry of `weights` for each directed layer, in
    /// PyTorch's order: l0, l0_reverse, l1, and so on, checked against [`StackConfig::directed_layer`].
    ///
    /// # Errors
    /// - [`Error::Zero`] if there is no layer,
    /// - [`Error::Count`] if there are more or fewer weights than directed layers,
    /// - [`Error::DirectedLayer`] if weights do not fit their layer,
    /// - what [`Lstm::new`] refuses.
    pub fn new(config: &StackConfig, weights: &[LstmWeights<'_>]) -> Result<Self, Error> {
        if config.layers() == 0 {
            return Err(Error::Zero { argument: "layers" });
        }
        check_all_weights(config, weights)?;
        let layers = weights.iter().enumerate();
        let layers = layers.map(|(index, weights)| Lstm::new(&config.directed_layer(index), weights));
        Ok(Self { config: config.clone(), layers: layers.collect::<Result<_, _>>()? })
    }

    /// Replaces all weights, as after an optimizer's step; see [`Lstm::set_weights`].
    ///
    /// # Errors
    /// As for [`LstmStack::new`]; nothing has been replaced then.
    pub fn set_weights(&mut self, weights: &[LstmWeights<'_>]) -> Result<(), Error> {
        check_all_weights(&self.config, weights)?;
        self.layers.iter_mut().zip(weights).try_for_each(|(lstm, weights)| lstm.set_weights(weights))
    }

    /// Writes all parameters to one buffer, as [`StackConfig::parameters`] lays them out; see [`Lstm::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length.
    pub fn read_parameters(&self, parameters: &mut [f32]) -> Result<(), Error> {
        let (expected, found) = (self.config.total_parameters()?, parameters.len());
        if found != expected {
            return Err(Error::length("parameters", expected, found));
        }
        let mut rest = parameters;
        self.layers.iter().try_for_each(|lstm| {
            let len = lstm.config().parameters()?.total();
            lstm.read_parameters(rest.split_off_mut(..len).unwrap_or_default())
        })
    }

    /// The configuration.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The directed layers, in PyTorch's order.
    pub fn directed_layers(&self) -> &[Lstm] {
        &self.layers
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.layers[0].isa()
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.layers.iter().map(Lstm::packed_bytes).sum()
    }

    /// How a call of this shape would run.
    pub fn plan(&self, steps: usize, batch: usize) -> StackPlan {
        StackPlan::new(&self.config, &self.layers, [steps, batch], usize::MAX)
    }
}

/// `Ok` if there are weights for each directed layer, of its sizes.
fn check_all_weights(config: &StackConfig, weights: &[LstmWeights<'_>]) -> Result<(), Error> {
    let (expected, found) = (config.directed_layers(), weights.len());
    if found != expected {
        return Err(Error::Count { argument: "weights", each: "layer and direction", expected, found });
    }
    let mut numbered = weights.iter().enumerate();
    numbered.try_for_each(|(index, weights)| {
        let of_layer = |error| Error::DirectedLayer { index, error: Box::new(error) };
        weights.check(&config.directed_layer(index)).map_err(of_layer)
    })
}
