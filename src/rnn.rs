//! The plain recurrent layer: the simplest cell behind the same seam as the LSTM.

use crate::cell::kind::CellKind;
use crate::config::{LstmConfig, Schedule, Split, Threads};
use crate::direction::Direction;
use crate::error::Error;
use crate::lstm::{Forward, Lstm};
use crate::memory::state::State;
use crate::memory::tape::Tape;
use crate::memory::workspace::Workspace;
use crate::pack::GateTensors;
use crate::plan::Plan;
use crate::training::Backward;
use crate::view::Matrix;
use crate::weights::{GateMatrix, Orientation};
use quadgate_kernels::{Isa, Nonlinearity};
use std::num::NonZeroUsize;
use std::ops::Range;

/// The shape of a plain recurrent layer and how it shall run.
///
/// ```
/// use quadgate::{Nonlinearity, RnnConfig};
///
/// let config = RnnConfig::new(40, 100).nonlinearity(Nonlinearity::Relu).training();
/// assert_eq!((config.input_size(), config.hidden_size()), (40, 100));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RnnConfig {
    /// The same sizes and ways to run, of this kind of cell.
    layer: LstmConfig,
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

    /// Sets which way the layer reads; see [`LstmConfig::direction`].
    pub fn direction(self, direction: Direction) -> Self {
        Self { layer: self.layer.direction(direction) }
    }

    /// Demands an instruction set; see [`LstmConfig::isa`].
    pub fn isa(self, isa: Isa) -> Self {
        Self { layer: self.layer.isa(isa) }
    }

    /// Demands a schedule; see [`LstmConfig::schedule`].
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { layer: self.layer.schedule(schedule) }
    }

    /// Demands what threads share; see [`LstmConfig::split`].
    pub fn split(self, split: Split) -> Self {
        Self { layer: self.layer.split(split) }
    }

    /// Sets how many threads a call may use.
    pub fn threads(self, threads: Threads) -> Self {
        Self { layer: self.layer.threads(threads) }
    }

    /// Prepares the layer for [`Rnn::backward`].
    pub fn training(self) -> Self {
        Self { layer: self.layer.training() }
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.layer.hidden_size()
    }

    /// Where each parameter lies in a contiguous buffer of all of them, or of their gradients.
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self) -> Result<RnnParameterRanges, Error> {
        let ranges = self.layer.parameters()?;
        Ok(RnnParameterRanges { weight_ih: ranges.weight_ih, weight_hh: ranges.weight_hh, bias: ranges.bias })
    }
}

/// Where each parameter of a plain recurrent layer lies in a contiguous buffer.
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

/// The weights of a plain recurrent layer, borrowed from the tensors of a framework.
#[derive(Clone, Copy, Debug)]
pub struct RnnWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    input: GateMatrix<'a>,
    recurrent: GateMatrix<'a>,
    biases: [Option<&'a [f32]>; 2],
}

impl<'a> RnnWeights<'a> {
    /// Weights of either orientation: W is `[H, X]` and R `[H, H]` in [`Orientation::GatesByInputs`], as in PyTorch and ONNX;
    /// `[X, H]` and `[H, H]`, R the other way round too, in [`Orientation::InputsByGates`], as in Keras. Up to two biases `[H]`
    /// are added up.
    ///
    /// # Errors
    /// [`Error::Length`] names the slice whose length is wrong; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn new(
        config: &RnnConfig,
        orientation: Orientation,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        if units == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        let matrix = |argument, data: &'a [f32], inputs: usize| {
            let expected = units.checked_mul(inputs).ok_or(Error::Overflow { argument })?;
            check_len(argument, expected, data.len())?;
            Ok(GateMatrix { data, strides: orientation.place(units, inputs).strides })
        };
        let (input, recurrent) = (matrix("input", input, inputs)?, matrix("recurrent", recurrent, units)?);
        for (argument, bias) in ["first bias", "second bias"].into_iter().zip(biases) {
            bias.map_or(Ok(()), |bias| check_len(argument, units, bias.len()))?;
        }
        Ok(Self { input_size: inputs, hidden_size: units, input, recurrent, biases })
    }

    /// PyTorch's `weight_ih_l0 [H, X]`, `weight_hh_l0 [H, H]`, `bias_ih_l0 [H]` and `bias_hh_l0 [H]`, both biases added up.
    /// Source: `torch.nn.RNN`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn pytorch(
        config: &RnnConfig,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias_ih: Option<&'a [f32]>,
        bias_hh: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::new(config, Orientation::GatesByInputs, weight_ih, weight_hh, [bias_ih, bias_hh])
    }

    /// Keras' `kernel [X, H]`, `recurrent_kernel [H, H]` and `bias [H]`. Source: `keras/src/layers/rnn/simple_rnn.py`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn keras(
        config: &RnnConfig,
        kernel: &'a [f32],
        recurrent_kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::new(config, Orientation::InputsByGates, kernel, recurrent_kernel, [bias, None])
    }

    /// `Ok` if they are of a layer's sizes.
    fn check(&self, config: &RnnConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size)?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size)
    }
}

fn check_len(argument: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
}

impl GateTensors for RnnWeights<'_> {
    fn read_gates(&self) -> impl Iterator<Item = usize> {
        0..1
    }

    fn input(&self, _gate: usize) -> GateMatrix<'_> {
        self.input
    }

    fn recurrent(&self, _gate: usize) -> GateMatrix<'_> {
        self.recurrent
    }

    fn bias(&self, _gate: usize, unit: usize) -> f32 {
        self.biases.iter().flatten().map(|bias| bias[unit]).sum()
    }
}

/// A single plain recurrent layer in one [direction](Direction), with packed weights.
///
/// ```text
/// h_t = φ(W·x_t + R·h_{t−1} + b)
/// ```
///
/// (Elman 1990.) φ is tanh or max(0, ·). Calls take the same arguments as those of [`Lstm`]; there is no c, so one that names c is
/// refused.
///
/// ```
/// use quadgate::{Forward, Rnn, RnnConfig, RnnWeights, Sequence, SequenceMut};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = RnnConfig::new(inputs, hidden);
/// let (weight_ih, weight_hh) = (vec![0.1; hidden * inputs], vec![0.2; hidden * hidden]);
/// let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?)?;
///
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * hidden];
/// rnn.forward(
///     &mut rnn.workspace(batch)?,
///     Forward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, hidden)),
/// )?;
/// assert!((h[0] - 0.3f32.tanh()).abs() < 1e-6);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Debug)]
pub struct Rnn {
    config: RnnConfig,
    layer: Lstm,
}

impl Rnn {
    /// Chooses the kernels and packs the weights, once.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if `weights` were checked against other sizes than `config`'s,
    /// - [`Error::UnsupportedIsa`] or [`Error::UnknownIsa`] if an instruction set is demanded that cannot be had,
    /// - [`Error::Overflow`] if the packed weights could not be addressed.
    pub fn new(config: &RnnConfig, weights: &RnnWeights<'_>) -> Result<Self, Error> {
        weights.check(config)?;
        let mut layer = Lstm::empty(&config.layer)?;
        layer.weights.pack_gates(weights);
        Ok(Self { config: config.clone(), layer })
    }

    /// Replaces the weights, as after an optimizer's step. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Dimension`] if `weights` were checked against other sizes than the layer's.
    pub fn set_weights(&mut self, weights: &RnnWeights<'_>) -> Result<(), Error> {
        weights.check(&self.config)?;
        self.layer.weights.pack_gates(weights);
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &RnnConfig {
        &self.config
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.layer.isa()
    }

    /// How a call of this shape would run.
    pub fn plan(&self, steps: usize, batch: usize) -> Plan {
        self.layer.plan(steps, batch)
    }

    /// Scratch for calls with up to `batch` rows and any number of steps.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn workspace(&self, batch: usize) -> Result<Workspace, Error> {
        self.layer.workspace(batch)
    }

    /// A state of zeros for [`Rnn::step`]: h alone.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn state(&self, batch: usize) -> Result<State, Error> {
        self.layer.state(batch)
    }

    /// A tape for up to `steps` steps of up to `batch` rows: it keeps h of each step, about T·B·H elements.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn tape(&self, steps: usize, batch: usize) -> Result<Tape, Error> {
        self.layer.tape(steps, batch)
    }

    /// A tape that keeps h every `every` steps; see [`Lstm::checkpointed_tape`].
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn checkpointed_tape(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<Tape, Error> {
        self.layer.checkpointed_tape(steps, batch, every)
    }

    /// Runs the whole sequence; see [`Lstm::forward`].
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then. [`Error::Unexpected`] for a c.
    pub fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
        refuse("initial_cell", call.initial_cell.is_some())?;
        refuse("last_cell", call.last_cell.is_some())?;
        self.layer.forward(workspace, call)
    }

    /// Runs one time step: reads x, `[B, X]`, and advances h of `state`; see [`Lstm::step`].
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then.
    pub fn step(&self, state: &mut State, input: Matrix<'_>) -> Result<(), Error> {
        self.layer.step(state, input)
    }

    /// Computes gradients of the sequence that `tape` recorded: backpropagation through time.
    ///
    /// ```text
    /// dh_t = Rᵀ·dz_{t+1} + ∂ℓ/∂h_t         dz_t = dh_t ∘ φ′(z_t)
    /// dx_t = Wᵀ·dz_t                       dW = Σ dz_t·x_tᵀ,  dR = Σ dz_t·h_{t−1}ᵀ,  db = Σ dz_t
    /// ```
    ///
    /// # Errors
    /// As for [`Lstm::backward`]; [`Error::Unexpected`] for a c.
    pub fn backward(
        &self,
        workspace: &mut Workspace,
        tape: &mut Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        refuse("last_cell_cotangent", call.last_cell_cotangent.is_some())?;
        refuse("initial_cell_gradient", call.initial_cell_gradient.is_some())?;
        self.layer.backward(workspace, tape, call)
    }
}

/// An error if there is a c, which such a cell has not.
fn refuse(argument: &'static str, is_there: bool) -> Result<(), Error> {
    if is_there { Err(Error::Unexpected { argument }) } else { Ok(()) }
}
