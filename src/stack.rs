//! Layers on top of each other, in one direction or both.
//!
//! Each directed layer is an [`Lstm`], which writes its part of the rows of the layer's output; what goes from layer to layer
//! lies in buffers of the caller's workspace or tape. A stack runs its layers, and the directions of a layer, one after the
//! other or side by side, as its plan says. Layers of one direction run side by side in the forward pass alone, and only if
//! all rows run all steps.

mod backward;
mod config;
mod dropout;
mod forward;
mod memory;
mod plan;
mod step;

pub use backward::StackBackward;
pub use config::{Directions, StackConfig};
pub use dropout::Dropout;
pub use memory::{StackTape, StackWorkspace};
pub use plan::{Arrangement, StackPlan};
pub use step::StackState;

use crate::view::check_sequence;
use crate::{Error, Forward, Isa, Lstm, LstmWeights};

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
/// The result has the same bits for any threads, schedule, split and tape, as that of [`Lstm`].
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
#[derive(Debug)]
pub struct LstmStack {
    config: StackConfig,
    /// The directed layers, in PyTorch's order.
    layers: Vec<Lstm>,
}

/// The arguments of [`LstmStack::forward`].
pub type StackForward<'a> = Forward<'a, StackTape>;

impl StackForward<'_> {
    /// Applies dropout to what goes from each layer to the next. A tape records it for [`LstmStack::backward`].
    pub fn dropout(mut self, dropout: Dropout) -> Self {
        self.dropout = Some(dropout);
        self
    }
}

impl LstmStack {
    /// Chooses the kernels and packs the weights, once. There is one entry of `weights` for each directed layer, in
    /// PyTorch's order: l0, l0_reverse, l1, and so on, checked against [`StackConfig::directed_layer`].
    ///
    /// # Errors
    /// - [`Error::Zero`] if there is no layer,
    /// - [`Error::Length`] if there are more or fewer weights than directed layers,
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

    /// Replaces all weights, as after an optimiser's step. Allocates nothing.
    ///
    /// # Errors
    /// As for [`LstmStack::new`]; nothing has been replaced then.
    pub fn set_weights(&mut self, weights: &[LstmWeights<'_>]) -> Result<(), Error> {
        check_all_weights(&self.config, weights)?;
        self.layers.iter_mut().zip(weights).try_for_each(|(lstm, weights)| lstm.set_weights(weights))
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
        StackPlan::new(self, [steps, batch], usize::MAX)
    }

    /// `Ok` if every argument fits.
    fn check_forward(
        &self,
        workspace: &StackWorkspace,
        call: &mut StackForward<'_>,
    ) -> Result<StackPlan, Error> {
        let [steps, batch, _] = call.input.shape;
        let ([hidden, cell], width) = (self.config.state_widths(), self.config.output_size());
        check_sequence("input", [steps, batch, self.config.input_size()], call.input.shape)?;
        call.input.check_bounds("input")?;
        let rows = self.state_rows(batch)?;
        for (argument, states, width) in
            [("initial_hidden", call.initial_hidden, hidden), ("initial_cell", call.initial_cell, cell)]
        {
            states.map(|states| states.checked(argument, rows, width)).transpose()?;
        }
        let output = call.output.as_mut();
        output.map(|output| output.all().checked("output", [steps, batch, width])).transpose()?;
        for (argument, states, width) in
            [("last_hidden", &mut call.last_hidden, hidden), ("last_cell", &mut call.last_cell, cell)]
        {
            states.as_mut().map(|states| states.all().checked(argument, rows, width)).transpose()?;
        }
        let row_steps = call.row_steps.checked([steps, batch])?;
        // A row of a reverse layer may begin anywhere, so blocks of steps cannot pass through layers.
        let is_whole = row_steps.is_some() && self.config.directions().count() == 1;
        let plan = self.plan_within(workspace, [steps, batch], if is_whole { 1 } else { usize::MAX })?;
        call.tape.as_ref().map_or(Ok(()), |tape| self.check_tape(tape, [steps, batch]))?;
        Ok(plan)
    }

    /// Rows of the states of all directed layers.
    fn state_rows(&self, batch: usize) -> Result<usize, Error> {
        batch.checked_mul(self.layers.len()).ok_or(Error::Overflow { argument: "input" })
    }
}

/// `Ok` if there are weights for each directed layer, of its sizes.
fn check_all_weights(config: &StackConfig, weights: &[LstmWeights<'_>]) -> Result<(), Error> {
    let (expected, found) = (config.directed_layers(), weights.len());
    if found != expected {
        return Err(Error::Length { argument: "weights", expected, found });
    }
    let mut numbered = weights.iter().enumerate();
    numbered.try_for_each(|(index, weights)| weights.check(&config.directed_layer(index)))
}
