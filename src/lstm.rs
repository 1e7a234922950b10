//! A layer: packed weights and the calls that run them.

use crate::cell::Cell;
use crate::cell::gru::Gru;
use crate::cell::gru_reset_before::GruResetBefore;
use crate::cell::kind::{CellKind, ResetGate};
use crate::cell::lstm::PlainLstm;
use crate::cell::options::WithOptions;
use crate::cell::rnn::PlainRnn;
use crate::cell::row;
use crate::cell::step::{Masks, Step, StepExtras};
use crate::config::{LstmConfig, Schedule, Split};
use crate::error::Error;
use crate::memory::state::{State, StepRows};
use crate::memory::tape::Tape;
use crate::memory::views;
use crate::memory::workspace::{self, Workspace};
use crate::options::Options;
use crate::pack::{PackedWeights, Packer};
use crate::plan::Plan;
use crate::recurrence::forward::Pass;
use crate::recurrence::given::Given;
use crate::recurrence::ragged::Ragged;
use crate::recurrence::source::Source;
use crate::row_steps::{Lengths, Padding, RowStepArguments, RowSteps};
use crate::shape::Shape;
use crate::shared::SharedWeights;
use crate::stack::dropout::Dropout;
use crate::view::{Matrix, MatrixMut, Sequence, SequenceMut, StepMask, check_sequence};
use crate::weights::LstmWeights;
use quadgate_kernels::{
    Caches, Isa, Kernels, NarrowRow, Permutation, Rows, RowsMut, Start, Term, without_small,
};
use std::mem;

/// A single LSTM layer in one [direction](crate::Direction), with packed weights.
///
/// For each time step t and each row of the batch, with ∘ the element-wise product:
///
/// ```text
/// i = σ(W_i·x_t + R_i·h_{t−1} + b_i)        g = tanh(W_g·x_t + R_g·h_{t−1} + b_g)
/// f = σ(W_f·x_t + R_f·h_{t−1} + b_f)        o = σ(W_o·x_t + R_o·h_{t−1} + b_o)
/// c_t = f ∘ c_{t−1} + i ∘ g                 h_t = o ∘ tanh(c_t)
/// ```
///
/// In reverse, h_{t+1} and c_{t+1} take the place of h_{t−1} and c_{t−1}.
///
/// (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000.)
///
/// [`LstmConfig`] has options that change this cell: projection, peepholes, coupled gates, limits, other activations,
/// layer normalization, zoneout and recurrent dropout. With a projection, h has P elements rather than H, here and in
/// all that follows. A layer without options runs the fused kernels of the plain cell.
///
/// The layer is immutable and [`Sync`]: threads may share it by reference, each with a workspace of its own. A clone
/// shares the packed weights too, until one of them gets others.
///
/// ```
/// use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Sequence, SequenceMut};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = LstmConfig::new(inputs, hidden);
/// let (weight_ih, weight_hh) = (vec![0.1; 4 * hidden * inputs], vec![0.2; 4 * hidden * hidden]);
/// let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?;
/// let lstm = Lstm::new(&config, &weights)?;
///
/// let mut workspace = lstm.workspace(batch)?;
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * hidden];
/// lstm.forward(
///     &mut workspace,
///     Forward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, hidden)),
/// )?;
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lstm {
    pub(crate) config: LstmConfig,
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: SharedWeights,
    /// Most rows of a step that are led one after the other, each by one call of a kernel.
    led_rows: usize,
}

/// The arguments of [`Lstm::forward`] or, with another tape, of [`LstmStack::forward`](crate::LstmStack::forward): the
/// input, and whatever else is wanted.
///
/// With D directed layers, D = layers · directions, states of a stack are `[D · B, H]` where those of a layer are
/// `[B, H]`: PyTorch's `[D, B, H]` of h_0, c_0, h_n and c_n. With a projection, h has P elements instead of H. Of
/// layers that differ, rows are those of [the widest](crate::StackConfig::of_layers).
#[derive(Debug)]
pub struct Forward<'a, T = Tape> {
    pub(crate) input: Sequence<'a>,
    /// Of a layer, in the place of W·x. Then x has no features.
    pub(crate) given: Option<Given<'a>>,
    pub(crate) initial_hidden: Option<Matrix<'a>>,
    pub(crate) initial_cell: Option<Matrix<'a>>,
    pub(crate) output: Option<SequenceMut<'a>>,
    /// Of a layer.
    pub(crate) cell_output: Option<SequenceMut<'a>>,
    pub(crate) last_hidden: Option<MatrixMut<'a>>,
    pub(crate) last_cell: Option<MatrixMut<'a>>,
    pub(crate) tape: Option<&'a mut T>,
    pub(crate) masks: MaskArguments<'a>,
    pub(crate) row_steps: RowStepArguments<'a>,
    /// Of a stack.
    pub(crate) dropout: Option<Dropout>,
}

/// What a call says about options, unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MaskArguments<'a> {
    pub(crate) hidden_share: Option<Sequence<'a>>,
    pub(crate) cell_share: Option<Sequence<'a>>,
    pub(crate) recurrent_mask: Option<Matrix<'a>>,
}

impl<'a> MaskArguments<'a> {
    /// The masks, if they are of the shape of a call and the layer has the options.
    pub(crate) fn checked(
        &self,
        config: &LstmConfig,
        [steps, batch]: [usize; 2],
    ) -> Result<Masks<'a>, Error> {
        let (options, outputs, units) = (config.options(), config.output_size(), config.hidden_size());
        let has_zoneout = options.zoneout.is_some();
        for (argument, share, width) in
            [("hidden_share", self.hidden_share, outputs), ("cell_share", self.cell_share, units)]
        {
            let Some(share) = share else { continue };
            if !has_zoneout || (argument == "cell_share" && !config.has_cell_state()) {
                return Err(Error::Unexpected { argument });
            }
            check_sequence(argument, [steps, batch, width], share.shape)?;
            share.check_bounds(argument)?;
        }
        let recurrent = self.recurrent_mask.map(|mask| mask.checked("recurrent_mask", batch, outputs));
        if recurrent.is_some() && !options.recurrent_dropout {
            return Err(Error::Unexpected { argument: "recurrent_mask" });
        }
        Ok(Masks {
            hidden_keep: self.hidden_share,
            cell_keep: self.cell_share,
            recurrent: recurrent.transpose()?,
        })
    }
}

/// Builder methods that [`Forward`] and [`Backward`](crate::Backward) share: both passes must be told the same.
macro_rules! mask_builders {
    ($name:ident) => {
        impl<'a> $name<'a> {
            /// Zoneout of h: how much of the new h to take, `[T, B, H]` (`[T, B, P]` with a projection) in any strides,
            /// instead of 1 − rate. For a layer with [`LstmConfig::zoneout`](crate::LstmConfig::zoneout), or that of
            /// another cell.
            ///
            /// h_t = share ∘ h̃_t + (1 − share) ∘ h_{t−1}; in training, share is 0 or 1 at random.
            pub fn hidden_share(mut self, share: $crate::Sequence<'a>) -> Self {
                self.masks.hidden_share = Some(share);
                self
            }

            /// The same of c, `[T, B, H]`, of an LSTM.
            pub fn cell_share(mut self, share: $crate::Sequence<'a>) -> Self {
                self.masks.cell_share = Some(share);
                self
            }

            /// Recurrent dropout: factors of h, `[B, H]` (`[B, P]` with a projection), on its way into the gates at
            /// every step: R·(mask ∘ h_{t−1}). For a layer with
            /// [`LstmConfig::recurrent_dropout`](crate::LstmConfig::recurrent_dropout), or that of another cell. A
            /// gated recurrent unit whose reset gate comes before the product has R·(r ∘ mask ∘ h_{t−1}) in its
            /// candidate, and mixes that with h as it was.
            ///
            /// (Gal and Ghahramani 2016; Keras' `recurrent_dropout`, whose factors are 0 or 1 / (1 − rate).)
            pub fn recurrent_mask(mut self, mask: $crate::Matrix<'a>) -> Self {
                self.masks.recurrent_mask = Some(mask);
                self
            }
        }
    };
}
pub(crate) use mask_builders;
mask_builders!(Forward);

impl<'a> Forward<'a> {
    /// Writes every c of a layer, `[T, B, H]`, in any strides: at t that after the step which reads x_t, in either
    /// direction. Where no step is run, it is as [`Forward::padding`] says of h.
    ///
    /// ```
    /// # use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Sequence, SequenceMut};
    /// # let config = LstmConfig::new(1, 1);
    /// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
    /// let (x, mut c) = ([1.0; 3], [0.0; 3]);
    /// let call = Forward::new(Sequence::time_major(&x, 3, 1, 1))
    ///     .cell_output(SequenceMut::time_major(&mut c, 3, 1, 1));
    /// lstm.forward(&mut lstm.workspace(1)?, call)?;
    /// assert!(0.0 < c[0] && c[0] < c[1] && c[1] < c[2]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn cell_output(mut self, output: SequenceMut<'a>) -> Self {
        self.cell_output = Some(output);
        self
    }
}

impl<'a, T> Forward<'a, T> {
    /// Reads x, `[T, B, X]` in any strides. T and B may be zero.
    pub fn new(input: Sequence<'a>) -> Self {
        Self {
            input,
            given: None,
            initial_hidden: None,
            initial_cell: None,
            output: None,
            cell_output: None,
            last_hidden: None,
            last_cell: None,
            tape: None,
            masks: MaskArguments::default(),
            row_steps: RowStepArguments::default(),
            dropout: None,
        }
    }

    /// Starts from this h, `[B, H]` (`[D · B, H]`), instead of zeros: that before the first step that is run.
    #[doc(alias = "h_0")]
    pub fn initial_hidden(mut self, hidden: Matrix<'a>) -> Self {
        self.initial_hidden = Some(hidden);
        self
    }

    /// Starts from this c, `[B, H]` (`[D · B, H]`), instead of zeros.
    #[doc(alias = "c_0")]
    pub fn initial_cell(mut self, cell: Matrix<'a>) -> Self {
        self.initial_cell = Some(cell);
        self
    }

    /// Writes every h (of the last layer), `[T, B, H]` or, if directions are concatenated, `[T, B, 2H]`, in any
    /// strides; h of x_t at t, in either direction.
    pub fn output(mut self, output: SequenceMut<'a>) -> Self {
        self.output = Some(output);
        self
    }

    /// Writes h after the last step that is run (in reverse, after t = 0), `[B, H]` (`[D · B, H]`); the initial one if
    /// T = 0.
    #[doc(alias = "last_h")]
    #[doc(alias = "h_n")]
    pub fn last_hidden(mut self, hidden: MatrixMut<'a>) -> Self {
        self.last_hidden = Some(hidden);
        self
    }

    /// Writes c after the last step that is run, `[B, H]` (`[D · B, H]`); the initial one if T = 0.
    #[doc(alias = "c_n")]
    pub fn last_cell(mut self, cell: MatrixMut<'a>) -> Self {
        self.last_cell = Some(cell);
        self
    }

    /// Records what the backward pass needs.
    pub fn tape(mut self, tape: &'a mut T) -> Self {
        self.tape = Some(tape);
        self
    }

    /// Runs only the first `lengths[b]` steps of each row b: `[B]` of `usize`, `i32` or `i64`, each from 0 to T.
    ///
    /// The output past a row's end is zero, unless [`Forward::padding`] says otherwise, and the last states are those
    /// at its end; in reverse, a row begins there. A row of length 0 keeps its initial states. Rows need not be sorted.
    /// The time that a call takes goes with the sum of the lengths. Outputs and states have the bits of a call for the
    /// row alone.
    ///
    /// These are PyTorch's packed sequences with `enforce_sorted=False` (which have no rows of length 0) and ONNX's
    /// `sequence_lens` (where ONNX Runtime sets the last states of a row of length 0 to zero).
    ///
    /// ```
    /// # use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Sequence, SequenceMut};
    /// # let config = LstmConfig::new(1, 1);
    /// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
    /// let (x, mut h) = ([1.0; 6], [f32::NAN; 6]);
    /// let call = Forward::new(Sequence::batch_major(&x, 2, 3, 1))
    ///     .lengths(&[2, 3])
    ///     .output(SequenceMut::batch_major(&mut h, 2, 3, 1));
    /// lstm.forward(&mut lstm.workspace(2)?, call)?;
    /// assert_eq!((h[2], &h[..2]), (0.0, &h[3..5]));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    #[doc(alias = "pack_padded_sequence")]
    #[doc(alias = "sequence_lens")]
    pub fn lengths(mut self, lengths: impl Into<Lengths<'a>>) -> Self {
        self.row_steps.lengths = Some(lengths.into());
        self
    }

    /// Runs only the steps of each row at which the mask, `[T, B]`, is true; there can be no lengths beside it.
    ///
    /// At the others the state stays as it is, and the output is h as it was: the initial h before the first step that
    /// is run. These are the masks of a layer of Keras; its `Bidirectional` puts out zeros there: [`Forward::padding`].
    /// The time that a call takes goes with the number of steps that are run.
    ///
    /// ```
    /// # use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Sequence, SequenceMut, StepMask};
    /// # let config = LstmConfig::new(1, 1);
    /// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
    /// let (x, mut h) = ([1.0; 4], [f32::NAN; 4]);
    /// let call = Forward::new(Sequence::time_major(&x, 4, 1, 1))
    ///     .mask(StepMask::time_major(&[false, true, false, true], 4, 1))
    ///     .output(SequenceMut::time_major(&mut h, 4, 1, 1));
    /// lstm.forward(&mut lstm.workspace(1)?, call)?;
    /// assert_eq!((h[0], h[2]), (0.0, h[1]));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn mask(mut self, mask: StepMask<'a>) -> Self {
        self.row_steps.mask = Some(mask);
        self
    }

    /// What the output of steps that are not run is, beside [`Forward::lengths`] or [`Forward::mask`]; frameworks
    /// differ: [`Padding`]. Without either all steps are run, and it makes no difference. A tape remembers it for the
    /// backward pass.
    ///
    /// ```
    /// # use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Padding, Sequence, SequenceMut, StepMask};
    /// # let config = LstmConfig::new(1, 1);
    /// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
    /// let (x, mut h) = ([1.0; 3], [f32::NAN; 3]);
    /// let call = Forward::new(Sequence::time_major(&x, 3, 1, 1))
    ///     .mask(StepMask::time_major(&[true, false, true], 3, 1))
    ///     .padding(Padding::Zero) // as Keras' Bidirectional
    ///     .output(SequenceMut::time_major(&mut h, 3, 1, 1));
    /// lstm.forward(&mut lstm.workspace(1)?, call)?;
    /// assert!(h[0] > 0.0 && h[1] == 0.0 && h[2] > h[0]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn padding(mut self, padding: Padding) -> Self {
        self.row_steps.padding = Some(padding);
        self
    }
}

impl Lstm {
    /// Chooses the kernels and packs the weights, once.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if `weights` were checked against other sizes than `config`'s,
    /// - [`Error::Missing`] or [`Error::Unexpected`] if `weights` lack what `config`'s options need, or have more,
    /// - [`Error::Value`], [`Error::Zero`] or [`Error::Unexpected`] if an option makes no sense; [`Error::Unsupported`]
    ///   if threads are to share units, and an option needs whole rows,
    /// - [`Error::UnsupportedIsa`] or [`Error::UnknownIsa`] if an instruction set is demanded that cannot be had,
    /// - [`Error::Overflow`] if the packed weights could not be addressed.
    pub fn new(config: &LstmConfig, weights: &LstmWeights<'_>) -> Result<Self, Error> {
        config.check()?;
        weights.check(config)?;
        let mut lstm = Self::empty(config)?;
        lstm.replace_weights(|packed, packer| packed.pack(packer, weights))?;
        Ok(lstm)
    }

    /// A layer of the kind of `config` without weights.
    pub(crate) fn empty(config: &LstmConfig) -> Result<Self, Error> {
        let kernels = config.kernels()?;
        let shape = Shape {
            inputs: config.input_size(),
            units: config.hidden_size(),
            outputs: config.output_size(),
            lanes: kernels.lanes(),
            caches: Caches::of_this_cpu(),
            kind: config.kind(),
            has_options: config.cell_has_extras(),
        };
        let weights = SharedWeights::new(shape, config.options(), config.is_for_training())?;
        let led_rows = match weights.options() {
            None => row::most_led(kernels, shape, shape.inputs, true),
            Some(_) => 0,
        };
        Ok(Self { config: config.clone(), kernels, weights, led_rows })
    }

    /// Replaces the weights, as after an optimizer's step. Allocates nothing, unless a clone shares the weights that
    /// there were; it keeps them. What a tape has recorded before has no backward pass any more.
    ///
    /// # Errors
    /// [`Error::Dimension`] if `weights` were checked against other sizes than the layer's; [`Error::Missing`] or
    /// [`Error::Unexpected`] if they lack what its options need, or have more.
    #[doc(alias = "parameters_mut")]
    pub fn set_weights(&mut self, weights: &LstmWeights<'_>) -> Result<(), Error> {
        weights.check(&self.config)?;
        self.replace_weights(|packed, packer| packed.pack(packer, weights))
    }

    /// Writes all parameters to one buffer, as [`LstmConfig::parameters`] lays them out: the numbers that were packed,
    /// biases added up. [`LstmWeights::from_parameters`] makes weights of it, which can be exported for any framework.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(1, 1);
    /// let (kernel, recurrent_kernel) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
    /// let lstm = Lstm::new(&config, &LstmWeights::keras(&config, &kernel, &recurrent_kernel, None)?)?;
    ///
    /// let mut parameters = vec![0.0; config.parameters()?.total()];
    /// lstm.read_parameters(&mut parameters)?;
    /// let (mut w, mut r, mut b) = ([0.0; 4], [0.0; 4], [0.0; 8]);
    /// LstmWeights::from_parameters(&config, &parameters)?.export_onnx(&mut w, &mut r, Some(&mut b), None)?;
    /// assert_eq!(w, [1.0, 4.0, 2.0, 3.0]); // i, o, f, g
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length.
    #[doc(alias = "state_dict")]
    pub fn read_parameters(&self, parameters: &mut [f32]) -> Result<(), Error> {
        let ranges = self.config.parameters()?;
        if parameters.len() != ranges.total() {
            return Err(Error::length("parameters", ranges.total(), parameters.len()));
        }
        self.weights.unpack(&ranges, parameters);
        Ok(())
    }

    /// Packs other weights.
    pub(crate) fn replace_weights(
        &mut self,
        pack: impl FnOnce(&mut PackedWeights, Packer),
    ) -> Result<(), Error> {
        let packer = Packer::new(&self.config, self.kernels);
        let (options, training) = (self.config.options(), self.config.is_for_training());
        self.weights.replace(options, training, |packed| pack(packed, packer))
    }

    /// The configuration.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// How a call of this shape would run.
    pub fn plan(&self, steps: usize, batch: usize) -> Plan {
        self.plan_of([steps, batch], usize::MAX)
    }

    /// How a call would run with no more than `most` threads.
    pub(crate) fn plan_of(&self, steps_and_batch: [usize; 2], most: usize) -> Plan {
        Plan::new(&self.config, self.isa(), self.shape(), steps_and_batch, most)
    }

    /// The same, if a workspace has room for it.
    pub(crate) fn plan_within(
        &self,
        workspace: &Workspace,
        [steps, batch]: [usize; 2],
        most: usize,
    ) -> Result<Plan, Error> {
        self.check_plan(workspace, batch, self.plan_of([steps, batch], most))
    }

    /// The same for a call that may give the sums of W·x.
    pub(crate) fn plan_of_call(
        &self,
        workspace: &Workspace,
        sizes: [usize; 2],
        most: usize,
        is_given: bool,
    ) -> Result<Plan, Error> {
        if !is_given {
            return self.plan_within(workspace, sizes, most);
        }
        let plan = Plan::of_given_sums(&self.config, self.isa(), self.shape(), sizes, most);
        self.check_plan(workspace, sizes[1], plan)
    }

    /// A plan, if a workspace has room for it.
    fn check_plan(&self, workspace: &Workspace, batch: usize, plan: Plan) -> Result<Plan, Error> {
        workspace.state.check("workspace", self.shape(), self.options(), batch)?;
        let halves = if self.runs_halves(plan) { 2 } else { 0 };
        let between_halves = halves * self.shape().padded_units() * batch;
        for (expected, found) in [
            (self.sums_len(plan, batch), workspace.sums.len()),
            (between_halves, workspace.tools.between_halves.len()),
        ] {
            if found < expected {
                return Err(Error::length("workspace", expected, found));
            }
        }
        Ok(plan)
    }

    /// Scratch for [`Lstm::forward`] with up to `batch` rows and any number of steps.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn workspace(&self, batch: usize) -> Result<Workspace, Error> {
        Workspace::new(&self.config, self.shape(), batch)
    }

    /// Makes sure that a workspace has room for `batch` rows of this layer: it is left as it is, or replaced.
    ///
    /// # Errors
    /// As for [`Lstm::workspace`].
    pub fn reserve_workspace(&self, workspace: &mut Workspace, batch: usize) -> Result<(), Error> {
        if !workspace.fits(&self.config, self.shape(), batch) {
            *workspace = self.workspace(batch)?;
        }
        Ok(())
    }

    /// Bytes that a workspace for `batch` rows would own.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn workspace_bytes(&self, batch: usize) -> Result<usize, Error> {
        workspace::bytes(&self.config, self.shape(), batch).ok_or(Error::Overflow { argument: "batch" })
    }

    /// A state of zeros for [`Lstm::step`].
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn state(&self, batch: usize) -> Result<State, Error> {
        State::new(self.shape(), self.config.options(), batch)
    }

    /// Runs the whole sequence.
    ///
    /// Allocates nothing and, under [`Threads::Serial`](crate::Threads::Serial), locks nothing.
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then.
    pub fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
        let Forward { input, initial_hidden, initial_cell, output, last_hidden, .. } = call;
        let Forward { cell_output, last_cell, tape, masks, row_steps, given, .. } = call;
        self.config.check_cell_state("initial_cell", initial_cell.is_some())?;
        self.config.check_cell_state("last_cell", last_cell.is_some())?;
        self.config.check_cell_state("cell_output", cell_output.is_some())?;
        let [steps, batch, _] = input.shape;
        let (hidden_size, output_size) = (self.config.hidden_size(), self.config.output_size());
        let row_steps = row_steps.checked([steps, batch])?;
        self.check_input(input, given, row_steps)?;
        let initial_hidden =
            initial_hidden.map(|rows| rows.checked("initial_hidden", batch, output_size)).transpose()?;
        let initial_cell =
            initial_cell.map(|rows| rows.checked("initial_cell", batch, hidden_size)).transpose()?;
        let output =
            output.map(|output| output.checked("output", [steps, batch, output_size])).transpose()?;
        let cell_output = cell_output
            .map(|output| output.checked("cell_output", [steps, batch, hidden_size]))
            .transpose()?;
        let last_hidden =
            last_hidden.map(|rows| rows.checked("last_hidden", batch, output_size)).transpose()?;
        let last_cell = last_cell.map(|rows| rows.checked("last_cell", batch, hidden_size)).transpose()?;
        let cell = self.cell(masks.checked(&self.config, [steps, batch])?);
        let plan = self.plan_of_call(workspace, [steps, batch], usize::MAX, given.is_some())?;
        if let Some(tape) = &tape {
            tape.check_room(self.shape(), self.config.options(), steps, batch)?;
        }
        let row_steps = row_steps.or_else(|| RowSteps::if_small(input, self.kernels));
        let (initial, sizes) = ([initial_hidden, initial_cell], [steps, batch]);
        let run = self.begin(plan, cell, workspace, initial, tape, sizes, row_steps);
        let mut run = ForwardRun { given, ..run };
        run.steps(input, [output, cell_output]);
        run.end(last_hidden, last_cell);
        Ok(())
    }

    /// `Ok` if x, or what is given in the place of W·x, fits the layer.
    pub(crate) fn check_input(
        &self,
        input: Sequence<'_>,
        given: Option<Given<'_>>,
        row_steps: Option<RowSteps<'_>>,
    ) -> Result<(), Error> {
        if let Some(given) = given {
            return given.check(&self.weights, row_steps);
        }
        let [steps, batch, _] = input.shape;
        check_sequence("input", [steps, batch, self.config.input_size()], input.shape)?;
        input.check_bounds("input")
    }

    /// Begins a forward pass of `steps` steps and `batch` rows whose arguments were checked.
    #[allow(clippy::too_many_arguments)] // All of a call.
    pub(crate) fn begin<'a>(
        &'a self,
        plan: Plan,
        cell: Cell<'a>,
        workspace: &'a mut Workspace,
        [initial_hidden, initial_cell]: [Option<Rows<'_>>; 2],
        mut tape: Option<&'a mut Tape>,
        [steps, batch]: [usize; 2],
        row_steps: Option<RowSteps<'a>>,
    ) -> ForwardRun<'a> {
        let Workspace { state, ragged, .. } = &mut *workspace;
        match row_steps {
            None => state.load(0..batch, initial_hidden, initial_cell),
            Some(row_steps) => {
                let order = ragged.sort(row_steps, [steps, batch]);
                state.load(order.rows().iter().copied(), initial_hidden, initial_cell);
            }
        }
        if let Some(tape) = &mut tape {
            let (state, [hidden_len, cell_len]) = (&mut workspace.state, self.state_lengths(batch));
            tape.begin([steps, batch], row_steps, self.weights.id());
            tape.hidden[..hidden_len].copy_from_slice(&state.latest_hidden()[..hidden_len]);
            tape.cell[..cell_len].copy_from_slice(&state.latest_cell()[..cell_len]);
        }
        ForwardRun { lstm: self, plan, cell, given: None, workspace, tape, batch, row_steps, done: 0 }
    }

    /// `steps` steps from `first_step`, in the order in which they are run.
    pub(crate) fn pass<'a>(
        &'a self,
        plan: Plan,
        cell: Cell<'a>,
        (input, given): (Sequence<'a>, Option<Given<'a>>),
        ragged: Option<Ragged<'a>>,
        first_step: usize,
        steps: usize,
    ) -> Pass<'a> {
        let (kernels, weights) = (self.kernels, &*self.weights);
        let direction = self.config.reading_direction();
        let source = Source { input, given, direction, ragged, first_step, steps };
        Pass { kernels, weights, cell, plan, source }
    }

    /// The cell of the layer with what a call says about it.
    #[inline]
    pub(crate) fn cell<'a>(&'a self, masks: Masks<'a>) -> Cell<'a> {
        let (kernels, shape, options) = (self.kernels, self.shape(), self.config.options());
        match (self.config.kind(), self.weights.options()) {
            (_, Some(tensors)) => Cell::WithOptions(WithOptions { kernels, shape, options, tensors, masks }),
            (CellKind::Gru(ResetGate::AfterProduct), None) => Cell::Gru(Gru { kernels, shape }),
            (CellKind::Gru(ResetGate::BeforeProduct), None) => {
                Cell::GruResetBefore(GruResetBefore { kernels, shape })
            }
            (CellKind::Rnn(function), None) => Cell::Rnn(PlainRnn { kernels, shape, function }),
            (CellKind::Lstm, None) => Cell::Lstm(PlainLstm { kernels, shape }),
        }
    }

    /// Runs one time step: reads x, `[B, X]`, and advances h and c of `state`.
    ///
    /// This is the call for streaming. The new h is [`State::hidden`]. A sequence fed step by step yields the same bits
    /// as [`Lstm::forward`]; feed a reverse layer from the last step to the first. Allocates nothing, and runs on the
    /// caller's thread alone: where a step takes many microseconds (512 units 0.1 to 0.3 ms), `forward` over one step
    /// may share it between threads.
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then.
    pub fn step(&self, state: &mut State, input: Matrix<'_>) -> Result<(), Error> {
        let batch = state.batch();
        let x = input.checked("input", batch, self.config.input_size())?;
        self.check_state(state, batch)?;
        // What other rows need takes longer than some units, so it is elsewhere.
        if batch == 1 && self.led_rows > 0 && !self.kernels.has_small(x.row(0)) {
            self.step_row(state, x, 0);
            state.advance(1);
        } else if batch > 0 {
            self.step_rows(state, x);
        }
        Ok(())
    }

    /// The next step of one row of a state that was made for this layer, whose x has nothing too small to compute with;
    /// the layer leads rows.
    #[inline]
    fn step_row(&self, state: &mut State, x: Rows<'_>, row: usize) {
        let weights = &*self.weights;
        let (order, hidden, cell) = state.row_in_turn(row);
        let row = NarrowRow {
            start: Start::Bias(weights.bias()),
            input: x,
            weights: weights.packed(),
            steps: 1,
            is_reverse: false,
            order,
            hidden,
            output: None,
            units: self.config.hidden_size(),
        };
        row::lead(self.kernels, self.config.kind(), row, cell);
    }

    /// The next step of a state that was made for this layer, of any rows.
    #[inline(never)]
    fn step_rows(&self, state: &mut State, x: Rows<'_>) {
        let batch = x.rows();
        if (0..batch).all(|row| !self.kernels.has_small(x.row(row))) {
            return self.run_step_of(state, x);
        }
        // Out of the state meanwhile, since a step borrows that.
        let mut clean = mem::take(&mut state.input);
        let width = self.config.input_size();
        for row in 0..batch {
            let to = &mut clean[row * width..][..width];
            to.iter_mut().zip(x.row(row)).for_each(|(to, &x)| *to = without_small(x));
        }
        self.run_step_of(state, views::rows(&clean, batch, width));
        state.input = clean;
    }

    /// The same, of rows that have nothing too small to compute with.
    fn run_step_of(&self, state: &mut State, x: Rows<'_>) {
        if x.rows() <= self.led_rows {
            for row in 0..x.rows() {
                self.step_row(state, x.rows_of(row..row + 1), row);
            }
            return state.advance(1);
        }
        self.run_step(state, Start::Bias(self.weights.bias()), self.weights.input_term(x));
    }

    /// The next step of a state that was made for this layer, with what the sums of all rows start from, and what is
    /// added to that.
    pub(crate) fn run_step(&self, state: &mut State, start: Start<'_>, input: Option<Term<'_>>) {
        let (batch, weights) = (state.batch(), &*self.weights);
        let cell = self.cell(Masks::default());
        let StepRows { order, from, to, cell: cell_state, preactivations, scratch } = state.step_rows();
        let mut extras = cell.has_extras().then(|| StepExtras {
            masks: cell.masks_of(&(0..batch), [None, None]),
            preactivations: Some(preactivations),
            projected: None,
        });
        cell.step(Step {
            groups: 0..self.shape().groups(),
            order,
            start,
            input,
            recurrent: weights.recurrent_term(from),
            hidden: to,
            cell: cell_state,
            tape: None,
            output: None,
            extras: extras.as_mut(),
            half: None,
            scratch,
        });
        state.advance(1);
    }

    /// The options, if there are any.
    #[inline]
    fn options(&self) -> Option<&Options> {
        self.weights.options().map(|_| self.config.options())
    }

    /// `Ok` if a state is that of this layer, with at least `batch` rows.
    #[inline]
    pub(crate) fn check_state(&self, state: &State, batch: usize) -> Result<(), Error> {
        state.check("state", self.shape(), self.options(), batch)
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        self.weights.shape()
    }

    /// Elements of h and of c of all rows, padded.
    fn state_lengths(&self, batch: usize) -> [usize; 2] {
        [self.shape().padded_outputs() * batch, self.shape().padded_cell() * batch]
    }

    /// Steps whose sums a plan keeps: those of a block, if they are hoisted, and one more for a cell with extras, or for
    /// what the halves of a step record.
    fn sums_steps(&self, plan: Plan) -> usize {
        let hoisted = if plan.schedule == Schedule::Hoisted { plan.block_steps } else { 0 };
        hoisted + usize::from(self.config.cell_has_extras() || self.runs_halves(plan))
    }

    /// Whether threads meet in the middle of each step.
    fn runs_halves(&self, plan: Plan) -> bool {
        plan.split == Split::Units && self.shape().has_halves()
    }

    /// Elements of `sums` that a plan uses.
    pub(crate) fn sums_len(&self, plan: Plan, batch: usize) -> usize {
        self.sums_steps(plan) * batch * self.shape().sums_width()
    }
}

/// A forward pass at work, some steps at a time. Its arguments were checked.
pub(crate) struct ForwardRun<'a> {
    lstm: &'a Lstm,
    plan: Plan,
    cell: Cell<'a>,
    /// What is given in the place of W·x, if it is.
    given: Option<Given<'a>>,
    workspace: &'a mut Workspace,
    tape: Option<&'a mut Tape>,
    batch: usize,
    /// Which steps are run, if not all. All of them must then be run at once.
    row_steps: Option<RowSteps<'a>>,
    /// Steps that were run.
    done: usize,
}

impl ForwardRun<'_> {
    /// Runs the next steps: those that `input` has, which every h and every c are to have too.
    pub(crate) fn steps(
        &mut self,
        input: Sequence<'_>,
        mut outputs: [Option<quadgate_kernels::SequenceMut<'_>>; 2],
    ) {
        let Self { lstm, plan, cell, given, batch, row_steps, done, .. } = *self;
        if batch == 0 {
            return;
        }
        let Workspace { state, sums, tools, ragged, .. } = &mut *self.workspace;
        let (direction, times) = (lstm.config.reading_direction(), input.shape[0]);
        let (ragged, mut room, row_mask) = match row_steps {
            None => (None, None, cell.row_mask()),
            Some(row_steps) => {
                let (ragged, room, mask) = ragged.begin(row_steps, direction, times, cell.row_mask());
                (Some(ragged), Some(room), mask)
            }
        };
        let cell = cell.with_row_mask(row_mask);
        if let Some(ragged) = &ragged {
            let [output, cell_output] = &mut outputs;
            if let Some(output) = output {
                ragged.write_idle(output, plan.threads, |position| state.hidden(position));
            }
            if let Some(output) = cell_output {
                ragged.write_idle(output, plan.threads, |position| state.cell(position));
            }
        }
        let steps = ragged.map_or(times, |ragged| ragged.steps());
        let pass = |first_step, steps| lstm.pass(plan, cell, (input, given), ragged, first_step, steps);
        match (&mut self.tape, ragged) {
            (None, ragged) => {
                pass(0, steps).run(state.rows(batch), sums, room.as_mut(), outputs, tools);
                if ragged.is_none() {
                    state.advance(steps);
                }
            }
            (Some(tape), Some(ragged)) => {
                let counts = ragged.counts();
                tape.record(
                    steps,
                    state,
                    |at| counts[at],
                    |first_step, steps, states| {
                        let outputs = outputs
                            .each_mut()
                            .map(|output| output.as_mut().map(quadgate_kernels::SequenceMut::all));
                        pass(first_step, steps).run(states, sums, room.as_mut(), outputs, tools);
                    },
                );
            }
            (Some(tape), None) => {
                let segment = tape.segment();
                let mut first_step = 0;
                while first_step < steps {
                    let before = done + first_step;
                    let in_segment = before % segment;
                    if in_segment == 0 {
                        tape.carry(steps_in_last_segment(before, segment), batch);
                        tape.save(before / segment, batch);
                    }
                    let count = (segment - in_segment).min(steps - first_step);
                    let outputs = outputs
                        .each_mut()
                        .map(|output| output.as_mut().map(quadgate_kernels::SequenceMut::all));
                    let states = tape.segment_mut(batch, in_segment);
                    pass(first_step, count).run(states, sums, None, outputs, tools);
                    first_step += count;
                }
            }
        }
        self.done += times;
    }

    /// Writes the last states.
    pub(crate) fn end(self, last_hidden: Option<RowsMut<'_>>, last_cell: Option<RowsMut<'_>>) {
        if self.row_steps.is_some() {
            let (state, (order, counts)) = (&self.workspace.state, self.workspace.ragged.sorted());
            // Without a tape, each row has left h in the slot that its last step wrote.
            let steps_of = |position: usize| if self.tape.is_some() { 0 } else { counts[position] };
            write_rows_in_order(order, last_hidden, |at| state.hidden_after(at, steps_of(at)));
            write_rows_in_order(order, last_cell, |at| state.cell(at));
            return;
        }
        let state = &mut self.workspace.state;
        if let Some(tape) = self.tape {
            let [hidden_len, cell_len] = self.lstm.state_lengths(self.batch);
            let last = steps_in_last_segment(self.done, tape.segment());
            let (hidden, cell) = (&tape.hidden[last * hidden_len..], &tape.cell[last * cell_len..]);
            state.latest_hidden()[..hidden_len].copy_from_slice(&hidden[..hidden_len]);
            state.latest_cell()[..cell_len].copy_from_slice(&cell[..cell_len]);
        }
        write_rows(last_hidden, |row| state.hidden(row));
        write_rows(last_cell, |row| state.cell(row));
    }
}

/// How many of so many steps are in the last segment that has any.
fn steps_in_last_segment(steps: usize, segment: usize) -> usize {
    steps.checked_sub(1).map_or(0, |last| last % segment + 1)
}

/// Copies rows to where the caller wants them.
pub(crate) fn write_rows<'a>(to: Option<RowsMut<'_>>, from: impl Fn(usize) -> Option<&'a [f32]>) {
    let Some(mut to) = to else { return };
    for row in 0..to.rows() {
        if let Some(from) = from(row) {
            to.row_mut(row).copy_from_slice(from);
        }
    }
}

/// Copies rows that lie by position to where the caller wants them.
pub(crate) fn write_rows_in_order<'a>(
    order: Permutation<'_>,
    to: Option<RowsMut<'_>>,
    from: impl Fn(usize) -> Option<&'a [f32]>,
) {
    let Some(mut to) = to else { return };
    for (position, &row) in order.rows().iter().enumerate() {
        if let Some(from) = from(position) {
            to.row_mut(row).copy_from_slice(from);
        }
    }
}
