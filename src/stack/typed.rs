//! A stack of cells of one kind, as users see it.

use crate::config::{GruConfig, LstmConfig, RnnConfig};
use crate::error::Error;
use crate::lstm::Lstm;
use crate::stack::backward::StackBackward;
use crate::stack::config::StackConfig;
use crate::stack::forward::StackForward;
use crate::stack::kinds::LayerConfig;
use crate::stack::layers::Layers;
use crate::stack::memory::{StackTape, StackWorkspace};
use crate::stack::plan::StackPlan;
use crate::stack::step::StackState;
use crate::view::Matrix;
use quadgate_kernels::Isa;
use std::num::NonZeroUsize;

/// Layers of [`Lstm`]s.
pub type LstmStack = Stack<LstmConfig>;

/// Layers of [`Gru`](crate::Gru)s.
pub type GruStack = Stack<GruConfig>;

/// Layers of [`Rnn`](crate::Rnn)s.
pub type RnnStack = Stack<RnnConfig>;

/// Layers of cells of one kind, each of which reads the output of the one before it: an [`LstmStack`], a [`GruStack`]
/// or an [`RnnStack`].
///
/// With → and ← the two directions of a layer, and h⁰ = x:
///
/// ```text
/// one direction:  hˡ_t = layerˡ(hˡ⁻¹)_t
/// concatenated:   hˡ_t = [layer→ˡ(hˡ⁻¹)_t | layer←ˡ(hˡ⁻¹)_t]
/// summed:         hˡ_t =  layer→ˡ(hˡ⁻¹)_t + layer←ˡ(hˡ⁻¹)_t
/// ```
///
/// The result has the same bits for any threads, schedule, split and tape, as those of its layers. A clone shares the
/// packed weights.
///
/// A stack of LSTMs:
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
///
/// One whose layers differ, from one buffer of all parameters:
///
/// ```
/// use quadgate::{Directions, Initialization, LstmConfig, LstmStack, Matrix, StackConfig};
///
/// let layers = [LstmConfig::new(40, 20), LstmConfig::new(20, 10).projection(3), LstmConfig::new(3, 5)];
/// let config = StackConfig::of_layers(layers, Directions::Forward)?;
/// let parameters = config.initial_parameters(&Initialization::PYTORCH, 1)?;
/// let stack = LstmStack::new(&config, &config.weights(&parameters)?)?;
/// let mut state = stack.state(1)?;
/// stack.step(&mut state, Matrix::new(&[0.5; 40], 1, 40))?;
/// assert_eq!(state.hidden(0).unwrap().len(), 5);
/// # Ok::<(), quadgate::Error>(())
/// ```
///
/// One of gated recurrent units:
///
/// ```
/// use quadgate::{Directions, GruConfig, GruStack, GruWeights, Matrix, StackConfig};
///
/// // Two layers of one unit: every weight 1, no bias.
/// let config = StackConfig::of(GruConfig::new(1, 1), 2, Directions::Forward);
/// let weights = GruWeights::pytorch(&config.directed_layer(0), &[1.0; 3], &[1.0; 3], None, None)?;
/// let stack = GruStack::new(&config, &[weights, weights])?;
/// let mut state = stack.state(1)?;
/// stack.step(&mut state, Matrix::new(&[0.5], 1, 1))?;
/// assert!(state.hidden(0).unwrap()[0] > 0.0);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stack<C> {
    config: StackConfig<C>,
    layers: Layers,
}

impl<C: LayerConfig> Stack<C> {
    /// Chooses the kernels and packs the weights, once. There is one entry of `weights` for each directed layer, in
    /// PyTorch's order: l0, l0_reverse, l1, and so on, checked against [`StackConfig::directed_layer`].
    ///
    /// # Errors
    /// - [`Error::Zero`] if there is no layer,
    /// - [`Error::Count`] if there are more or fewer weights than directed layers,
    /// - [`Error::DirectedLayer`] if weights do not fit their layer,
    /// - what [`Lstm::new`] refuses.
    pub fn new(config: &StackConfig<C>, weights: &[C::Weights<'_>]) -> Result<Self, Error> {
        if config.layers() == 0 {
            return Err(Error::Zero { argument: "layers" });
        }
        check_all_weights(config, weights)?;
        let layers = weights.iter().enumerate().map(|(index, weights)| {
            let config = config.directed_layer(index);
            config.layer().check()?;
            let mut layer = Lstm::empty(config.layer())?;
            C::pack(weights, &mut layer)?;
            Ok(layer)
        });
        let layers = Layers { config: config.of_any_kind(), layers: layers.collect::<Result<_, Error>>()? };
        Ok(Self { config: config.clone(), layers })
    }

    /// Replaces all weights, as after an optimizer's step; see [`Lstm::set_weights`].
    ///
    /// # Errors
    /// As for [`Stack::new`]; nothing has been replaced then.
    pub fn set_weights(&mut self, weights: &[C::Weights<'_>]) -> Result<(), Error> {
        check_all_weights(&self.config, weights)?;
        self.layers.layers.iter_mut().zip(weights).try_for_each(|(layer, weights)| C::pack(weights, layer))
    }

    /// Writes all parameters to one buffer, as [`StackConfig::parameters`] lays them out; see
    /// [`Lstm::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length.
    pub fn read_parameters(&self, parameters: &mut [f32]) -> Result<(), Error> {
        let (expected, found) = (self.config.total_parameters()?, parameters.len());
        if found != expected {
            return Err(Error::length("parameters", expected, found));
        }
        let mut rest = parameters;
        self.layers.layers.iter().try_for_each(|layer| {
            let len = layer.config().parameters()?.total();
            layer.read_parameters(rest.split_off_mut(..len).unwrap_or_default())
        })
    }

    /// The configuration.
    pub fn config(&self) -> &StackConfig<C> {
        &self.config
    }

    /// The instruction set in use, by the first layer: one of few hidden units may use another than the others.
    pub fn isa(&self) -> Isa {
        self.layers.layers[0].isa()
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.layers.layers.iter().map(Lstm::packed_bytes).sum()
    }

    /// How a call of this shape would run.
    pub fn plan(&self, steps: usize, batch: usize) -> StackPlan {
        self.layers.plan(steps, batch)
    }

    /// Scratch for [`Stack::forward`] and [`Stack::backward`] with up to `steps` steps of up to `batch` rows.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn workspace(&self, steps: usize, batch: usize) -> Result<StackWorkspace, Error> {
        self.layers.workspace(steps, batch)
    }

    /// Makes sure that a workspace has room for `steps` steps of `batch` rows of this stack: it is left as it is, or
    /// replaced.
    ///
    /// # Errors
    /// As for [`Stack::workspace`].
    pub fn reserve_workspace(
        &self,
        workspace: &mut StackWorkspace,
        steps: usize,
        batch: usize,
    ) -> Result<(), Error> {
        self.layers.reserve_workspace(workspace, steps, batch)
    }

    /// Bytes that a workspace for `steps` steps of `batch` rows would own.
    ///
    /// # Errors
    /// [`Error::Overflow`] if they could not be addressed.
    pub fn workspace_bytes(&self, steps: usize, batch: usize) -> Result<usize, Error> {
        self.layers.workspace_bytes(steps, batch)
    }

    /// A tape for up to `steps` steps of up to `batch` rows, which keeps everything; see
    /// [`Lstm::tape`](crate::Lstm::tape).
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn tape(&self, steps: usize, batch: usize) -> Result<StackTape, Error> {
        self.layers.tape(steps, batch)
    }

    /// A tape whose layers keep h and c every `every` steps; see
    /// [`Lstm::checkpointed_tape`](crate::Lstm::checkpointed_tape). The output of each layer but the last is kept
    /// whole.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn checkpointed_tape(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<StackTape, Error> {
        self.layers.checkpointed_tape(steps, batch, every)
    }

    /// Makes sure that a tape has room for `steps` steps of `batch` rows of this stack: it is left as it is, or
    /// replaced by one that keeps as much, with nothing recorded.
    ///
    /// # Errors
    /// As for [`Stack::tape`].
    pub fn reserve_tape(&self, tape: &mut StackTape, steps: usize, batch: usize) -> Result<(), Error> {
        self.layers.reserve_tape(tape, steps, batch)
    }

    /// A state of zeros for [`Stack::step`].
    ///
    /// # Errors
    /// - [`Error::Unsupported`] if a layer reads from the last step to the first, and so needs the whole sequence,
    /// - [`Error::Overflow`] if it could not be addressed.
    pub fn state(&self, batch: usize) -> Result<StackState, Error> {
        self.layers.state(batch)
    }

    /// Runs one time step through all layers: reads x, `[B, X]`, and advances h and c of `state`.
    ///
    /// This is the call for streaming, without dropout. The new h of the last layer is [`StackState::hidden`]. A
    /// sequence fed step by step yields the same bits as [`Stack::forward`]. Allocates nothing.
    ///
    /// ```
    /// use quadgate::{Directions, LstmStack, LstmWeights, Matrix, StackConfig};
    ///
    /// // Two layers of one unit: every weight 1, no bias.
    /// let config = StackConfig::new(1, 1, 2, Directions::Forward);
    /// let weights = LstmWeights::pytorch(&config.directed_layer(0), &[1.0; 4], &[1.0; 4], None, None)?;
    /// let stack = LstmStack::new(&config, &[weights.clone(), weights])?;
    /// let mut state = stack.state(1)?;
    /// for x in [0.5, -0.25, 1.0] {
    ///     stack.step(&mut state, Matrix::new(&[x], 1, 1))?;
    /// }
    /// assert!(state.hidden(0).unwrap()[0] > 0.0);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then. [`Error::Unsupported`] if
    /// a layer reads from the last step to the first.
    pub fn step(&self, state: &mut StackState, input: Matrix<'_>) -> Result<(), Error> {
        self.layers.step(state, input)
    }

    /// Runs the whole sequence through all layers.
    ///
    /// Allocates nothing and, under [`Threads::Serial`](crate::Threads::Serial), locks nothing.
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then.
    pub fn forward(&self, workspace: &mut StackWorkspace, call: StackForward<'_>) -> Result<(), Error> {
        self.layers.forward(workspace, call)
    }

    /// Computes gradients of the sequence that `tape` recorded: [`Lstm::backward`](crate::Lstm::backward) of each
    /// directed layer, from the last layer to the first.
    ///
    /// The gradient of what a layer reads is the sum over its directions, and the cotangent of the output of the layer
    /// below it. The tape may be used again. Allocates nothing. The bits do not depend on threads, tape or instruction
    /// set.
    ///
    /// ```
    /// use quadgate::{
    ///     Directions, GradientMode, LstmStack, LstmWeights, Sequence, StackBackward, StackConfig, StackForward,
    /// };
    ///
    /// // One unit that reads one number, both ways.
    /// let config = StackConfig::new(1, 1, 1, Directions::Summed).training();
    /// let weights = LstmWeights::pytorch(&config.directed_layer(0), &[1.0; 4], &[1.0; 4], None, None)?;
    /// let stack = LstmStack::new(&config, &[weights, weights])?;
    /// let (mut workspace, mut tape) = (stack.workspace(3, 1)?, stack.tape(3, 1)?);
    /// let x = Sequence::time_major(&[0.5, -0.25, 0.5], 3, 1, 1);
    /// stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape))?;
    ///
    /// let mut gradients = vec![0.0; config.total_parameters()?];
    /// let call = StackBackward::new(x)
    ///     .output_cotangent(Sequence::time_major(&[1.0; 3], 3, 1, 1))
    ///     .parameter_gradients(&mut gradients, GradientMode::Overwrite);
    /// stack.backward(&mut workspace, &mut tape, call)?;
    /// // The sequence looks the same from both ends, and so do the gradients but for the order of their sums.
    /// let (forward, reverse) = (config.parameters(0)?, config.parameters(1)?);
    /// let (forward, reverse) = (&gradients[forward.weight_ih], &gradients[reverse.weight_ih]);
    /// assert!(forward.iter().zip(reverse).all(|(a, b)| (a - b).abs() < 1e-6));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit, nothing has been written then; among them
    /// [`Error::NotForTraining`] and [`Error::NothingRecorded`].
    pub fn backward(
        &self,
        workspace: &mut StackWorkspace,
        tape: &mut StackTape,
        call: StackBackward<'_>,
    ) -> Result<(), Error> {
        self.layers.backward(workspace, tape, call)
    }
}

impl Stack<LstmConfig> {
    /// The directed layers, in PyTorch's order.
    pub fn directed_layers(&self) -> &[Lstm] {
        &self.layers.layers
    }
}

/// `Ok` if there are weights for each directed layer, of its sizes.
fn check_all_weights<C: LayerConfig>(
    config: &StackConfig<C>,
    weights: &[C::Weights<'_>],
) -> Result<(), Error> {
    let (expected, found) = (config.directed_layers(), weights.len());
    if found != expected {
        return Err(Error::Count { argument: "weights", each: "layer and direction", expected, found });
    }
    let mut numbered = weights.iter().enumerate();
    numbered.try_for_each(|(index, weights)| {
        let of_layer = |error| Error::DirectedLayer { index, error: Box::new(error) };
        config.directed_layer(index).check_weights(weights).map_err(of_layer)
    })
}
