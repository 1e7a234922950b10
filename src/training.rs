//! Tapes and the backward pass of a layer.

use crate::cell::options_backward::CellGradients;
use crate::config::ParameterRanges;
use crate::error::Error;
use crate::lstm::{Lstm, MaskArguments, mask_builders, write_rows, write_rows_in_order};
use crate::memory::tape::{self, Tape, automatic_segment};
use crate::memory::workspace::Workspace;
use crate::plan::block_steps;
use crate::recurrence::backward::{BackwardPass, Outputs, Parameters, Segment};
use crate::recurrence::given::{Given, GivenGradient};
use crate::recurrence::ragged_backward::RaggedBackward;
use crate::row_steps::{Lengths, RowStepArguments, RowSteps};
use crate::view::{Matrix, MatrixMut, Sequence, SequenceMut, StepMask, check_sequence};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};

/// What happens to parameter gradients that are already in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GradientMode {
    /// They are replaced.
    Overwrite,
    /// The new ones are added to them.
    Accumulate,
}

/// The arguments of [`Lstm::backward`] or, with another tape, of [`LstmStack::backward`](crate::LstmStack::backward):
/// the input of the forward pass, the cotangents that are given, and the gradients that are wanted.
///
/// For a loss ℓ, the cotangent of an output is ∂ℓ/∂output; what is not given counts as zero. States of a stack are laid
/// out as in [`Forward`](crate::Forward).
///
/// ```
/// use quadgate::{Backward, Forward, GradientMode, Lstm, LstmConfig, LstmWeights, Matrix, Sequence};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = LstmConfig::new(inputs, hidden).training();
/// let (weight_ih, weight_hh) = (vec![0.1; 4 * hidden * inputs], vec![0.2; 4 * hidden * hidden]);
/// let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?;
/// let lstm = Lstm::new(&config, &weights)?;
/// let (mut workspace, mut tape) = (lstm.workspace(batch)?, lstm.tape(steps, batch)?);
///
/// let x = vec![1.0; steps * batch * inputs];
/// let input = Sequence::time_major(&x, steps, batch, inputs);
/// lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape))?;
///
/// // The loss is the sum of the last h.
/// let cotangent = vec![1.0; batch * hidden];
/// let mut gradients = vec![0.0; config.parameters()?.total()];
/// let call = Backward::new(input)
///     .last_hidden_cotangent(Matrix::new(&cotangent, batch, hidden))
///     .parameter_gradients(&mut gradients, GradientMode::Overwrite);
/// lstm.backward(&mut workspace, &mut tape, call)?;
/// assert!(gradients[config.parameters()?.weight_ih][0] > 0.0);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Debug)]
pub struct Backward<'a, T = Tape> {
    pub(crate) input: Sequence<'a>,
    /// Of a layer, in the place of W·x. Then x has no features.
    pub(crate) given: Option<Given<'a>>,
    pub(crate) output_cotangent: Option<Sequence<'a>>,
    /// Of a layer.
    pub(crate) cell_output_cotangent: Option<Sequence<'a>>,
    pub(crate) last_hidden_cotangent: Option<Matrix<'a>>,
    pub(crate) last_cell_cotangent: Option<Matrix<'a>>,
    pub(crate) input_gradient: Option<SequenceMut<'a>>,
    /// Of given sums.
    pub(crate) sums_gradient: Option<SequenceMut<'a>>,
    /// Of a table.
    pub(crate) table_gradient: Option<(MatrixMut<'a>, GradientMode)>,
    pub(crate) initial_hidden_gradient: Option<MatrixMut<'a>>,
    pub(crate) initial_cell_gradient: Option<MatrixMut<'a>>,
    pub(crate) parameter_gradients: Option<(&'a mut [f32], GradientMode)>,
    /// Of a layer.
    pub(crate) tensor_gradients: Option<(LstmGradients<'a>, GradientMode)>,
    pub(crate) masks: MaskArguments<'a>,
    pub(crate) row_steps: RowStepArguments<'a>,
    /// The tape is an argument of its own.
    pub(crate) tape: PhantomData<fn(&mut T)>,
}

mask_builders!(Backward);

impl<'a, T> Backward<'a, T> {
    /// Reads x again, `[T, B, X]` in any strides: the elements that the forward pass read.
    pub fn new(input: Sequence<'a>) -> Self {
        Self {
            input,
            given: None,
            output_cotangent: None,
            cell_output_cotangent: None,
            last_hidden_cotangent: None,
            last_cell_cotangent: None,
            input_gradient: None,
            sums_gradient: None,
            table_gradient: None,
            initial_hidden_gradient: None,
            initial_cell_gradient: None,
            parameter_gradients: None,
            tensor_gradients: None,
            masks: MaskArguments::default(),
            row_steps: RowStepArguments::default(),
            tape: PhantomData,
        }
    }

    /// ∂ℓ/∂h of every step (of the last layer), `[T, B, H]` or, if directions are concatenated, `[T, B, 2H]`, in any
    /// strides.
    pub fn output_cotangent(mut self, cotangent: Sequence<'a>) -> Self {
        self.output_cotangent = Some(cotangent);
        self
    }

    /// ∂ℓ/∂h of the last step, `[B, H]` (`[D · B, H]`), beside what [`Backward::output_cotangent`] says of it.
    pub fn last_hidden_cotangent(mut self, cotangent: Matrix<'a>) -> Self {
        self.last_hidden_cotangent = Some(cotangent);
        self
    }

    /// ∂ℓ/∂c of the last step, `[B, H]` (`[D · B, H]`).
    pub fn last_cell_cotangent(mut self, cotangent: Matrix<'a>) -> Self {
        self.last_cell_cotangent = Some(cotangent);
        self
    }

    /// Writes ∂ℓ/∂x, `[T, B, X]` in any strides.
    pub fn input_gradient(mut self, gradient: SequenceMut<'a>) -> Self {
        self.input_gradient = Some(gradient);
        self
    }

    /// Writes ∂ℓ/∂h₀, `[B, H]` (`[D · B, H]`).
    pub fn initial_hidden_gradient(mut self, gradient: MatrixMut<'a>) -> Self {
        self.initial_hidden_gradient = Some(gradient);
        self
    }

    /// Writes ∂ℓ/∂c₀, `[B, H]` (`[D · B, H]`).
    pub fn initial_cell_gradient(mut self, gradient: MatrixMut<'a>) -> Self {
        self.initial_cell_gradient = Some(gradient);
        self
    }

    /// Writes the gradients of all parameters to one buffer, ordered as
    /// [`LstmConfig::parameters`](crate::LstmConfig::parameters) or
    /// [`StackConfig::parameters`](crate::StackConfig::parameters) says.
    #[doc(alias = "gradients")]
    pub fn parameter_gradients(mut self, gradients: &'a mut [f32], mode: GradientMode) -> Self {
        self.parameter_gradients = Some((gradients, mode));
        self
    }

    /// The lengths that the forward pass was given with [`Forward::lengths`](crate::Forward::lengths).
    ///
    /// Cotangents past a row's end are not read, and the gradient of x there is zero.
    pub fn lengths(mut self, lengths: impl Into<Lengths<'a>>) -> Self {
        self.row_steps.lengths = Some(lengths.into());
        self
    }

    /// The mask that the forward pass was given with [`Forward::mask`](crate::Forward::mask).
    ///
    /// The cotangent of a step that was not run is one of the h that it repeats, or not read if it repeated none
    /// ([`Forward::padding`](crate::Forward::padding)); the gradient of its x is zero.
    pub fn mask(mut self, mask: StepMask<'a>) -> Self {
        self.row_steps.mask = Some(mask);
        self
    }
}

impl<'a> Backward<'a> {
    /// ∂ℓ/∂c of every step of a layer, `[T, B, H]`, in any strides: the cotangent of
    /// [`Forward::cell_output`](crate::Forward::cell_output).
    pub fn cell_output_cotangent(mut self, cotangent: Sequence<'a>) -> Self {
        self.cell_output_cotangent = Some(cotangent);
        self
    }

    /// Writes the gradients of all parameters of a layer to a buffer for each tensor.
    pub fn tensor_gradients(mut self, gradients: LstmGradients<'a>, mode: GradientMode) -> Self {
        self.tensor_gradients = Some((gradients, mode));
        self
    }
}

/// Where gradients of the tensors of a layer go, those of options if it has them; row-major, gates i, f, g, o.
///
/// A layer of another cell takes it too, for the tensors that it has: of the lengths and with the gates of
/// [`GruParameterRanges`](crate::GruParameterRanges) or [`RnnParameterRanges`](crate::RnnParameterRanges).
///
/// ```
/// # use quadgate::{Backward, Forward, GradientMode, Lstm, LstmConfig, LstmGradients, LstmWeights, Matrix, Sequence};
/// # let config = LstmConfig::new(1, 1).training();
/// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
/// # let (mut workspace, mut tape) = (lstm.workspace(1)?, lstm.tape(2, 1)?);
/// # let x = Sequence::time_major(&[1.0; 2], 2, 1, 1);
/// # lstm.forward(&mut workspace, Forward::new(x).tape(&mut tape))?;
/// let (mut w, mut r, mut b) = ([0.0; 4], [0.0; 4], [0.0; 4]);
/// let gradients =
///     LstmGradients { weight_ih: &mut w, weight_hh: &mut r, bias: &mut b, ..LstmGradients::default() };
/// let call = Backward::new(x)
///     .last_hidden_cotangent(Matrix::new(&[1.0], 1, 1))
///     .tensor_gradients(gradients, GradientMode::Overwrite);
/// lstm.backward(&mut workspace, &mut tape, call)?;
/// assert!(b[0] > 0.0);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LstmGradients<'a> {
    /// Of `weight_ih`, `[4H, X]`.
    pub weight_ih: &'a mut [f32],
    /// Of `weight_hh`, `[4H, H]`; `[4H, P]` with a projection.
    pub weight_hh: &'a mut [f32],
    /// Of the sum of the biases, `[4H]`, which is that of each.
    pub bias: &'a mut [f32],
    /// Of the peepholes of i, f and o, `[3H]`.
    pub peepholes: &'a mut [f32],
    /// Of the scales of the layer normalization, `[4H]`.
    pub layer_normalization: &'a mut [f32],
    /// Of V, `[P, H]`.
    pub projection: &'a mut [f32],
    /// Of the bias of the projection, `[P]`.
    pub projection_bias: &'a mut [f32],
}

impl<'a> LstmGradients<'a> {
    /// The parts of a buffer of all of them.
    fn parts(ranges: &ParameterRanges, gradients: &'a mut [f32]) -> Self {
        let mut rest = gradients;
        let mut next = |range: &Range<usize>| rest.split_off_mut(..range.len()).unwrap_or_default();
        Self {
            weight_ih: next(&ranges.weight_ih),
            weight_hh: next(&ranges.weight_hh),
            bias: next(&ranges.bias),
            peepholes: next(&ranges.peepholes),
            layer_normalization: next(&ranges.layer_normalization),
            projection: next(&ranges.projection),
            projection_bias: next(&ranges.projection_bias),
        }
    }

    /// `Ok` if each has the length of its parameter.
    fn check(&self, ranges: &ParameterRanges) -> Result<(), Error> {
        for (argument, gradient, range) in [
            ("gradient of weight_ih", &self.weight_ih, &ranges.weight_ih),
            ("gradient of weight_hh", &self.weight_hh, &ranges.weight_hh),
            ("gradient of bias", &self.bias, &ranges.bias),
            ("gradient of peepholes", &self.peepholes, &ranges.peepholes),
            ("gradient of layer_normalization", &self.layer_normalization, &ranges.layer_normalization),
            ("gradient of projection", &self.projection, &ranges.projection),
            ("gradient of projection_bias", &self.projection_bias, &ranges.projection_bias),
        ] {
            if gradient.len() != range.len() {
                return Err(Error::length(argument, range.len(), gradient.len()));
            }
        }
        Ok(())
    }

    /// The same for a backward pass.
    fn parameters(self, mode: GradientMode) -> Parameters<'a> {
        let Self { weight_ih, weight_hh, bias, .. } = self;
        let Self { peepholes, layer_normalization, projection, projection_bias, .. } = self;
        let others = CellGradients { peepholes, layer_normalization, projection, projection_bias };
        Parameters { weight_ih, weight_hh, bias, others, add: mode == GradientMode::Accumulate }
    }
}

/// A tape for a backward pass: one that has to run segments again writes to it.
pub(crate) enum TapeAccess<'a> {
    Read(&'a Tape),
    Write(&'a mut Tape),
}

impl TapeAccess<'_> {
    /// `Ok` if a pass of so many steps need not write to a tape that it may but read.
    fn check_access(&self, steps: usize) -> Result<(), Error> {
        match self {
            TapeAccess::Read(tape) if steps > tape.segment() => {
                let because = "checkpoints, whose steps are run again: give the tape to `backward`";
                Err(Error::Unsupported { argument: "tape", because })
            }
            _ => Ok(()),
        }
    }
}

impl Deref for TapeAccess<'_> {
    type Target = Tape;

    fn deref(&self) -> &Tape {
        match self {
            TapeAccess::Read(tape) => tape,
            TapeAccess::Write(tape) => tape,
        }
    }
}

impl Lstm {
    /// A tape for up to `steps` steps of up to `batch` rows, which keeps everything: about 6·T·B·H elements.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn tape(&self, steps: usize, batch: usize) -> Result<Tape, Error> {
        let segment = NonZeroUsize::new(steps).unwrap_or(NonZeroUsize::MIN);
        Tape::new(self.shape(), self.config.options(), [steps, batch], segment)
    }

    /// A tape that keeps h and c every `every` steps; the backward pass computes the rest again, with the same bits.
    ///
    /// Without a choice, `every` is the one that needs the least memory, which then grows with √T.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn checkpointed_tape(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<Tape, Error> {
        Tape::new(self.shape(), self.config.options(), [steps, batch], segment(steps, every))
    }

    /// Makes sure that a tape has room for `steps` steps of `batch` rows of this layer: it is left as it is, or
    /// replaced by one that keeps as much, with nothing recorded.
    ///
    /// # Errors
    /// As for [`Lstm::tape`].
    pub fn reserve_tape(&self, tape: &mut Tape, steps: usize, batch: usize) -> Result<(), Error> {
        if tape.check_room(self.shape(), self.config.options(), steps, batch).is_err() {
            *tape = match tape.every() {
                None => self.tape(steps, batch)?,
                every => self.checkpointed_tape(steps, batch, every)?,
            };
        }
        Ok(())
    }

    /// Bytes that [`Lstm::tape`] would own.
    ///
    /// # Errors
    /// [`Error::Overflow`] if they could not be addressed.
    pub fn tape_bytes(&self, steps: usize, batch: usize) -> Result<usize, Error> {
        tape::bytes(self.shape(), self.config.options(), [steps, batch], steps.max(1))
            .ok_or(Error::Overflow { argument: "steps and batch" })
    }

    /// Bytes that [`Lstm::checkpointed_tape`] would own.
    ///
    /// # Errors
    /// [`Error::Overflow`] if they could not be addressed.
    pub fn checkpointed_tape_bytes(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<usize, Error> {
        tape::bytes(self.shape(), self.config.options(), [steps, batch], segment(steps, every).get())
            .ok_or(Error::Overflow { argument: "steps and batch" })
    }

    /// Computes gradients of the sequence that `tape` recorded: backpropagation through time.
    ///
    /// With dz the gradients of what enters the activations, for t from the last step to the first:
    ///
    /// ```text
    /// dh_t = Rᵀ·dz_{t+1} + ∂ℓ/∂h_t                         dz_i = dc ∘ g ∘ i ∘ (1 − i)
    /// dc   = dc_{t+1} ∘ f_{t+1} + dh ∘ o ∘ (1 − tanh²(c))  dz_f = dc ∘ c_{t−1} ∘ f ∘ (1 − f)
    /// dx_t = Wᵀ·dz_t                                       dz_g = dc ∘ i ∘ (1 − g²)
    /// dW   = Σ dz_t·x_tᵀ,  dR = Σ dz_t·h_{t−1}ᵀ,  db = Σ dz_t     dz_o = dh ∘ tanh(c) ∘ o ∘ (1 − o)
    /// ```
    ///
    /// In reverse, the same with t − 1 and t + 1 exchanged, from the first time to the last.
    ///
    /// The tape may be used again. For truncated backpropagation, carry the states from call to call and give no
    /// cotangent for the last ones. After an optimizer's step, [`Lstm::set_weights`] brings the new weights to the
    /// layer. Allocates nothing. The bits do not depend on threads, tape or instruction set, as in [`Lstm::forward`].
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit, nothing has been written then; among them
    /// [`Error::NotForTraining`] and [`Error::NothingRecorded`]; of a tape that another layer recorded
    /// [`Error::OtherWeights`], and [`Error::WeightsReplaced`] after [`Lstm::set_weights`].
    pub fn backward(
        &self,
        workspace: &mut Workspace,
        tape: &mut Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        self.backward_on(usize::MAX, workspace, TapeAccess::Write(tape), call)
    }

    /// The same from a tape that is only read, as several backward passes of one forward pass may at the same time.
    ///
    /// # Errors
    /// Those of [`Lstm::backward`]; [`Error::Unsupported`] if the tape has checkpoints, whose steps must be run again.
    pub fn backward_of(
        &self,
        workspace: &mut Workspace,
        tape: &Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        self.backward_on(usize::MAX, workspace, TapeAccess::Read(tape), call)
    }

    /// Where the gradient of what is given goes, if it is of its shape.
    fn given_gradient<'a>(
        &self,
        given: Option<Given<'_>>,
        sums: Option<SequenceMut<'a>>,
        table: Option<(MatrixMut<'a>, GradientMode)>,
    ) -> Result<GivenGradient<'a>, Error> {
        let width = self.shape().given_width();
        match (given, sums, table) {
            (_, None, None) => Ok(GivenGradient::None),
            (Some(Given::Sums(of)), Some(sums), None) => {
                let [steps, batch, _] = of.shape;
                Ok(GivenGradient::Sums(sums.checked("sums_gradient", [steps, batch, width])?))
            }
            (Some(Given::Table(of, _)), None, Some((table, mode))) => {
                let rows = table.checked_slot("table_gradient", of.entries(), width)?;
                Ok(GivenGradient::Table { rows, add: mode == GradientMode::Accumulate })
            }
            (Some(Given::Table(..)), ..) | (None, Some(_), _) => {
                Err(Error::Unexpected { argument: "sums_gradient" })
            }
            (Some(Given::Sums(_)), ..) | (None, None, Some(_)) => {
                Err(Error::Unexpected { argument: "table_gradient" })
            }
        }
    }

    /// The same, with no more than `most` threads.
    pub(crate) fn backward_on(
        &self,
        most: usize,
        workspace: &mut Workspace,
        mut tape: TapeAccess<'_>,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        let input = call.input;
        let [steps, batch, _] = input.shape;
        let given = call.given;
        let (inputs, units) = (self.config.input_size(), self.config.hidden_size());
        let output_size = self.config.output_size();
        self.config.check_cell_state("last_cell_cotangent", call.last_cell_cotangent.is_some())?;
        self.config.check_cell_state("initial_cell_gradient", call.initial_cell_gradient.is_some())?;
        self.config.check_cell_state("cell_output_cotangent", call.cell_output_cotangent.is_some())?;
        if !self.config.is_for_training() {
            return Err(Error::NotForTraining { argument: "layer" });
        }
        let row_steps = call.row_steps.checked([steps, batch])?;
        self.check_input(input, given, row_steps)?;
        if let Some(cotangent) = call.output_cotangent {
            check_sequence("output_cotangent", [steps, batch, output_size], cotangent.shape)?;
            cotangent.check_bounds("output_cotangent")?;
        }
        if let Some(cotangent) = call.cell_output_cotangent {
            check_sequence("cell_output_cotangent", [steps, batch, units], cotangent.shape)?;
            cotangent.check_bounds("cell_output_cotangent")?;
        }
        let last_hidden = call
            .last_hidden_cotangent
            .map(|rows| rows.checked("last_hidden_cotangent", batch, output_size))
            .transpose()?;
        let last_cell = call
            .last_cell_cotangent
            .map(|rows| rows.checked("last_cell_cotangent", batch, units))
            .transpose()?;
        let given_gradient = self.given_gradient(given, call.sums_gradient, call.table_gradient)?;
        if given.is_some() && call.input_gradient.is_some() {
            return Err(Error::Unexpected { argument: "input_gradient" });
        }
        let input_gradient = call
            .input_gradient
            .map(|rows| rows.checked("input_gradient", [steps, batch, inputs]))
            .transpose()?;
        let initial_hidden = call
            .initial_hidden_gradient
            .map(|rows| rows.checked("initial_hidden_gradient", batch, output_size))
            .transpose()?;
        let initial_cell = call
            .initial_cell_gradient
            .map(|rows| rows.checked("initial_cell_gradient", batch, units))
            .transpose()?;
        let ranges = self.config.parameters()?;
        let gradients = match (call.parameter_gradients, call.tensor_gradients) {
            (Some(_), Some(_)) => {
                return Err(Error::Exclusive { argument: "tensor_gradients", other: "parameter_gradients" });
            }
            (Some((gradients, _)), None) if gradients.len() != ranges.total() => {
                return Err(Error::length("parameter_gradients", ranges.total(), gradients.len()));
            }
            (Some((gradients, mode)), None) => Some((LstmGradients::parts(&ranges, gradients), mode)),
            (None, gradients) => gradients,
        };
        gradients.as_ref().map_or(Ok(()), |(gradients, _)| gradients.check(&ranges))?;
        let masks = call.masks.checked(&self.config, [steps, batch])?;
        let row_steps =
            tape.check_recorded(self.config.options(), [steps, batch], row_steps, &self.weights)?;
        // Steps that are run again read x as the forward pass did; gradients are cleared of what is small as x is kept.
        let runs_again = tape.segment() < steps;
        let row_steps = row_steps
            .or_else(|| if runs_again { RowSteps::if_small(call.input, self.kernels) } else { None });
        tape.check_access(steps)?;
        let plan = self.plan_of_call(workspace, [steps, batch], most, given.is_some())?;
        let Workspace { sums, tools, backward, ragged, .. } = workspace;
        let Some(backward) = backward else { return Err(Error::NotForTraining { argument: "workspace" }) };

        let direction = self.config.reading_direction();
        let cell = self.cell(masks);
        let (mut ragged, row_mask) = match row_steps {
            None => (None, cell.row_mask()),
            Some(row_steps) => {
                ragged.sort(row_steps, [steps, batch]);
                let (ragged, room, mask) = ragged.begin(row_steps, direction, steps, cell.row_mask());
                (Some((ragged, room)), mask)
            }
        };
        let cell = cell.with_row_mask(row_mask);
        let order = ragged.as_ref().map(|(ragged, _)| ragged.order());
        let mut scratch = backward.scratch(self.shape(), batch, order, last_hidden, last_cell);
        let mut outputs = Outputs {
            input: input_gradient,
            given: given_gradient,
            parameters: gradients.map(|(gradients, mode)| gradients.parameters(mode)),
        };
        if let (Some(_), Some(Parameters { weight_ih, add: false, .. })) = (given, &mut outputs.parameters) {
            weight_ih.fill(0.0);
        }
        if let GivenGradient::Table { rows, add: false } = &mut outputs.given {
            (0..rows.batch()).for_each(|row| rows.row_mut(0, row).fill(0.0));
        }
        let (kernels, weights) = (self.kernels, &*self.weights);
        let (cotangent, cell_cotangent) = (call.output_cotangent, call.cell_output_cotangent);
        // Of a call without x this is that of a layer without inputs.
        let shape = if given.is_some() { self.shape().without_inputs() } else { self.shape() };
        let block_steps = block_steps(shape, batch);
        let pass = BackwardPass {
            kernels,
            weights,
            shape,
            cell,
            input,
            given,
            cotangent,
            cell_cotangent,
            direction,
            plan,
            block_steps,
        };
        if let Some((ragged, _)) = &ragged {
            RaggedBackward { pass, ragged: *ragged }.clear_idle(&mut outputs);
        }
        let steps = ragged.as_ref().map_or(steps, |(ragged, _)| ragged.steps());
        let rows_exist = batch > 0;
        let segments = if rows_exist { steps.div_ceil(tape.segment()) } else { 0 };
        for index in (0..segments).rev() {
            let first_step = index * tape.segment();
            let end = (first_step + tape.segment()).min(steps);
            // The forward pass left the last segment on the tape; a backward pass leaves the first.
            if let (false, TapeAccess::Write(tape)) = (tape.holds(index), &mut tape) {
                tape.restore(index, batch);
                let rows = ragged.as_ref().map(|(ragged, _)| *ragged);
                let forward = self.pass(plan, cell, (input, given), rows, first_step, end - first_step);
                let room = ragged.as_mut().map(|(_, room)| room);
                forward.run(tape.segment_mut(batch, 0), sums, room, [None, None], tools);
            }
            let segment = Segment {
                first_step,
                hidden: &tape.hidden,
                cell: &tape.cell,
                recorded: &tape.recorded,
                projected: &tape.projected,
            };
            match &mut ragged {
                None => pass.run(segment, end, &mut scratch, tools, &mut outputs),
                Some((ragged, room)) => {
                    let pass = RaggedBackward { pass, ragged: *ragged };
                    pass.run(segment, end, &mut scratch, room, tools, &mut outputs);
                }
            }
        }
        if let Some(Parameters { weight_ih, weight_hh, bias, others, add: false }) = outputs.parameters {
            // There was no block to overwrite them.
            let CellGradients { peepholes, layer_normalization, projection, projection_bias } = others;
            let tensors = [weight_ih, weight_hh, bias, peepholes, layer_normalization];
            for gradient in tensors.into_iter().chain([projection, projection_bias]) {
                gradient.fill(0.0);
            }
        }
        if let Some((ragged, _)) = &ragged {
            RaggedBackward { pass, ragged: *ragged }.add_initial_cell_cotangents(&mut scratch);
        }
        if initial_hidden.is_some() {
            match &ragged {
                None => pass.first_hidden_gradient(batch, &mut scratch, tools),
                Some((ragged, _)) => {
                    RaggedBackward { pass, ragged: *ragged }.first_hidden_gradient(&mut scratch, tools);
                }
            }
        }
        let (padded_outputs, padded_cell) = (self.shape().padded_outputs(), self.shape().padded_carry());
        let hidden = |row: usize| Some(&scratch.hidden_gradient[row * padded_outputs..][..output_size]);
        let cell = |row: usize| Some(&scratch.cell_gradient[row * padded_cell..][..units]);
        match order {
            None => {
                write_rows(initial_hidden, hidden);
                write_rows(initial_cell, cell);
            }
            Some(order) => {
                write_rows_in_order(order, initial_hidden, hidden);
                write_rows_in_order(order, initial_cell, cell);
            }
        }
        Ok(())
    }
}

/// Steps in a segment of a checkpointed tape.
fn segment(steps: usize, every: Option<NonZeroUsize>) -> NonZeroUsize {
    let automatic = || NonZeroUsize::new(automatic_segment(steps)).unwrap_or(NonZeroUsize::MIN);
    every.unwrap_or_else(automatic)
}
