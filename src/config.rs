//! What a layer is, apart from its weights.

mod gru;
mod rnn;
#[cfg(feature = "serde")]
mod serialized;

pub use gru::{GruConfig, GruParameterRanges};
pub use rnn::{RnnConfig, RnnParameterRanges};

use crate::cell::kind::CellKind;
use crate::direction::Direction;
use crate::environment;
use crate::error::Error;
use crate::options::{Clip, Options, Zoneout};
use quadgate_kernels::{Activations, Coupling, Isa, Kernels};
use std::num::NonZeroUsize;
use std::ops::Range;

/// How the two products of a step, W·x and R·h, are arranged in time.
///
/// The results have the same bits either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Schedule {
    /// Both in one pass over the fused matrix, each step. Best for wide batches.
    Fused,
    /// W·x for a block of time steps at once, into a bounded scratch, then R·h alone each step. Best for narrow
    /// batches, where a step is bound by reading the weights.
    Hoisted,
}

/// What threads share: rows of the batch, or hidden units.
///
/// The results have the same bits either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Split {
    /// Each thread takes some rows through all of time. They never wait for each other.
    Rows,
    /// Each thread takes some hidden units of all rows, a step at a time, and waits for the others after each step. For
    /// batches that are too narrow to give each thread rows enough, and for large weights, of which each thread then
    /// reads its part alone.
    Units,
}

/// How many threads a call may use.
///
/// The results have the same bits for any choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Threads {
    /// As many as pay, at most those of the current rayon pool.
    #[default]
    Auto,
    /// The caller's thread alone: no other thread is touched, nothing is locked.
    Serial,
    /// This many (at most one for each row, or for each block of hidden units), run by the current rayon pool.
    Exactly(NonZeroUsize),
}

/// The shape of an LSTM layer and how it shall run.
///
/// ```
/// use quadgate::{LstmConfig, Schedule, Threads};
///
/// let config = LstmConfig::new(40, 100).threads(Threads::Serial).schedule(Schedule::Fused);
/// assert_eq!((config.input_size(), config.hidden_size()), (40, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LstmConfig {
    kind: CellKind,
    input_size: usize,
    hidden_size: usize,
    direction: Direction,
    options: Options,
    isa: Option<Isa>,
    schedule: Option<Schedule>,
    split: Option<Split>,
    threads: Threads,
    training: bool,
}

impl LstmConfig {
    /// A layer that reads `input_size` (X ≥ 0) features and has `hidden_size` (H ≥ 1) units.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self {
            kind: CellKind::Lstm,
            input_size,
            hidden_size,
            direction: Direction::Forward,
            options: Options::default(),
            isa: None,
            schedule: None,
            split: None,
            threads: Threads::Auto,
            training: false,
        }
    }

    /// The same layer for other inputs.
    pub(crate) fn input(mut self, input_size: usize) -> Self {
        self.input_size = input_size;
        self
    }

    /// Sets which way the layer reads; without this, forward.
    ///
    /// ```
    /// use quadgate::{Direction, LstmConfig};
    ///
    /// let config = LstmConfig::new(40, 100).direction(Direction::Reverse);
    /// assert_eq!(config.reading_direction(), Direction::Reverse);
    /// ```
    #[doc(alias = "go_backwards")]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Projects the output: h = V·(o ∘ tanh c), with V `[P, H]` and P = `size`, is what goes out and comes back.
    ///
    /// PyTorch's `proj_size`; oneDNN's LSTMP; TensorFlow Lite's projection. P may be larger than H, which PyTorch
    /// refuses.
    ///
    /// ```
    /// use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Orientation, Sequence, SequenceMut};
    ///
    /// let config = LstmConfig::new(3, 8).projection(2);
    /// let (weight_ih, weight_hh, weight_hr) = ([0.1; 32 * 3], [0.2; 32 * 2], [0.3; 2 * 8]);
    /// let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?
    ///     .with_projection(Orientation::GatesByInputs, &weight_hr, None)?;
    /// let lstm = Lstm::new(&config, &weights)?;
    ///
    /// let mut h = [0.0; 5 * 2];
    /// let call = Forward::new(Sequence::time_major(&[1.0; 5 * 3], 5, 1, 3));
    /// lstm.forward(&mut lstm.workspace(1)?, call.output(SequenceMut::time_major(&mut h, 5, 1, 2)))?;
    /// assert_eq!(h[0], h[1]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    #[doc(alias = "proj_size")]
    pub fn projection(mut self, size: usize) -> Self {
        self.options.projection = Some(size);
        self
    }

    /// Adds a bias, `[P]`, to the projection, as TensorFlow Lite can.
    pub fn projection_bias(mut self) -> Self {
        self.options.projection_bias = true;
        self
    }

    /// Lets gates see the cell state: p_i ∘ c_{t−1} and p_f ∘ c_{t−1} are added to what enters i and f, p_o ∘ c_t to
    /// what enters o, with `[H]` elements each.
    ///
    /// (Gers and Schmidhuber 2000; ONNX's and oneDNN's peepholes.)
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(1, 1).peepholes();
    /// let weights = LstmWeights::pytorch(&config, &[0.5; 4], &[0.5; 4], None, None)?
    ///     .with_peepholes([&[0.1], &[0.2], &[0.3]])?;
    /// let lstm = Lstm::new(&config, &weights)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn peepholes(mut self) -> Self {
        self.options.peepholes = true;
        self
    }

    /// Makes one gate of i and f: f = 1 − i, ONNX's `input_forget`, or i = 1 − f, TensorFlow Lite's.
    ///
    /// The weights of the other one are there, but not read; their gradients are zero.
    ///
    /// ```
    /// use quadgate::{Coupling, LstmConfig};
    ///
    /// let config = LstmConfig::new(40, 100).coupling(Coupling::ForgetFromInput);
    /// ```
    #[doc(alias = "input_forget")]
    pub fn coupling(mut self, coupling: Coupling) -> Self {
        self.options.coupling = coupling;
        self
    }

    /// Limits what enters the gates, the cell state, or the projection.
    ///
    /// ```
    /// use quadgate::{Clip, LstmConfig};
    ///
    /// let config = LstmConfig::new(40, 100).clip(Clip { gate: Some(3.0), ..Clip::default() });
    /// ```
    pub fn clip(mut self, clip: Clip) -> Self {
        self.options.clip = clip;
        self
    }

    /// Replaces σ and tanh by other functions, as ONNX's `activations`.
    ///
    /// ```
    /// use quadgate::{ActivationFunction, Activations, LstmConfig};
    ///
    /// let gate = ActivationFunction::HardSigmoid { alpha: 0.2, beta: 0.5 };
    /// let config = LstmConfig::new(40, 100).activations(Activations { gate, ..Activations::default() });
    /// ```
    pub fn activations(mut self, activations: Activations) -> Self {
        self.options.activations = activations;
        self
    }

    /// Normalizes what enters each gate over the hidden units, before the bias is added:
    /// scale ∘ (s − mean s) / √(var s + ε) + b, where s has the peephole's term in it.
    ///
    /// (Ba, Kiros and Hinton 2016; TensorFlow Lite's layer-normalized LSTM, whose ε is 10⁻⁸.) ε must be above 0, since
    /// all units of a gate may have the same s.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(1, 2).layer_normalization(1e-5);
    /// let weights = LstmWeights::pytorch(&config, &[0.5; 8], &[0.5; 16], None, None)?
    ///     .with_layer_normalization([&[1.0; 2]; 4])?;
    /// let lstm = Lstm::new(&config, &weights)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn layer_normalization(mut self, epsilon: f32) -> Self {
        self.options.normalization = Some(epsilon);
        self
    }

    /// Keeps a part of the old state in each step: h_t = (1 − rate) ∘ h̃_t + rate ∘ h_{t−1}, and the same of c.
    ///
    /// A call may give shares of its own, such as random ones for training.
    ///
    /// ```
    /// use quadgate::{LstmConfig, Zoneout};
    ///
    /// let config = LstmConfig::new(40, 100).zoneout(Zoneout { hidden: 0.05, cell: 0.5 });
    /// ```
    pub fn zoneout(mut self, zoneout: Zoneout) -> Self {
        self.options.zoneout = Some(zoneout);
        self
    }

    /// Lets calls mask h on its way back into the gates: see
    /// [`Forward::recurrent_mask`](crate::Forward::recurrent_mask).
    ///
    /// ```
    /// use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Matrix, Sequence, SequenceMut};
    ///
    /// let config = LstmConfig::new(1, 2).recurrent_dropout();
    /// let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[0.5; 8], &[0.5; 16], None, None)?)?;
    /// let (x, mut h) = ([1.0; 3], [0.0; 3 * 2]);
    /// // One of the two units is not seen by the gates, the other twice.
    /// let call = Forward::new(Sequence::time_major(&x, 3, 1, 1)).recurrent_mask(Matrix::new(&[0.0, 2.0], 1, 2));
    /// lstm.forward(&mut lstm.workspace(1)?, call.output(SequenceMut::time_major(&mut h, 3, 1, 2)))?;
    /// assert_eq!(h[4], h[5]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn recurrent_dropout(mut self) -> Self {
        self.options.recurrent_dropout = true;
        self
    }

    /// Demands an instruction set. Without this, the environment variable `QUADGATE_ISA` decides, and without that
    /// the CPU and the number of hidden units.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Demands a schedule. Without this, the plan chooses by the shape.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Demands what threads share. Without this, the plan chooses by the shape.
    pub fn split(mut self, split: Split) -> Self {
        self.split = Some(split);
        self
    }

    /// Sets how many threads a call may use.
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Prepares the layer for [`Lstm::backward`](crate::Lstm::backward): weights are packed a second time, transposed,
    /// and workspaces hold what the backward pass needs.
    pub fn training(mut self) -> Self {
        self.training = true;
        self
    }

    /// Where each parameter lies in a contiguous buffer of all of them, or of their gradients.
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self) -> Result<ParameterRanges, Error> {
        let overflow = |argument| Error::Overflow { argument };
        let bias_len = self.hidden_size.checked_mul(self.kind.gates()).ok_or(overflow("hidden size"))?;
        let rows = self.hidden_size * self.kind.weight_gates();
        let ih_len = rows.checked_mul(self.input_size).ok_or(overflow("input size"))?;
        let hh_len = rows.checked_mul(self.output_size()).ok_or(overflow("hidden size"))?;
        let Options { projection, projection_bias, peepholes, normalization, .. } = self.options;
        let size = projection.unwrap_or(0);
        let projection_len = size.checked_mul(self.hidden_size).ok_or(overflow("projection"))?;
        let mut end = 0usize;
        let mut next = |len: usize| {
            let start = end;
            end = end.checked_add(len).ok_or(overflow("hidden size"))?;
            Ok(start..end)
        };
        Ok(ParameterRanges {
            weight_ih: next(ih_len)?,
            weight_hh: next(hh_len)?,
            bias: next(bias_len)?,
            peepholes: next(if peepholes { bias_len / 4 * 3 } else { 0 })?,
            layer_normalization: next(if normalization.is_some() { bias_len } else { 0 })?,
            projection: next(projection_len)?,
            projection_bias: next(if projection_bias { size } else { 0 })?,
        })
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// Elements of h: P with a projection, else H.
    pub fn output_size(&self) -> usize {
        self.options.projection.unwrap_or(self.hidden_size)
    }

    /// The same sizes of another kind of cell.
    pub(crate) fn of_kind(self, kind: CellKind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn kind(&self) -> CellKind {
        self.kind
    }

    /// Whether steps of the cell need more than a plain one's.
    pub(crate) fn cell_has_extras(&self) -> bool {
        !self.options.are_plain()
    }

    /// `Ok` if every option makes sense, and threads can share what they shall.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.options.check(self.kind)?;
        if self.needs_whole_rows() && self.split == Some(Split::Units) {
            let because = "a projection, layer normalization or recurrent dropout, or a reset gate before the product \
                           with options";
            return Err(Error::Unsupported { argument: "split over units", because });
        }
        Ok(())
    }

    /// Whether the cell has a state beside h.
    pub(crate) fn has_cell_state(&self) -> bool {
        self.kind.has_cell_state()
    }

    /// Elements of h, and of c; none if the cell has no such state.
    pub(crate) fn state_widths(&self) -> [usize; 2] {
        [self.output_size(), if self.has_cell_state() { self.hidden_size } else { 0 }]
    }

    /// `Ok` if it has the instruction set, threads and use of another layer, which cannot differ within a stack.
    pub(crate) fn check_runs_as(&self, other: &LstmConfig) -> Result<(), Error> {
        for (argument, is_same) in [
            ("isa", self.isa == other.isa),
            ("threads", self.threads == other.threads),
            ("training", self.training == other.training),
        ] {
            if !is_same {
                let because = "another choice in the first layer: make it for the whole stack";
                return Err(Error::Unsupported { argument, because });
            }
        }
        Ok(())
    }

    /// An error if a call names a c, and the cell has none.
    pub(crate) fn check_cell_state(&self, argument: &'static str, is_there: bool) -> Result<(), Error> {
        if is_there && !self.has_cell_state() { Err(Error::Unexpected { argument }) } else { Ok(()) }
    }

    /// Whether a step needs all units of a row, so that threads cannot share them.
    pub(crate) fn needs_whole_rows(&self) -> bool {
        self.options.need_whole_rows() || (self.cell_has_extras() && self.kind.has_gated_product())
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Which way the layer reads.
    pub fn reading_direction(&self) -> Direction {
        self.direction
    }

    pub(crate) fn forced_schedule(&self) -> Option<Schedule> {
        self.schedule
    }

    pub(crate) fn forced_split(&self) -> Option<Split> {
        self.split
    }

    /// Whether the layer is prepared for [`Lstm::backward`](crate::Lstm::backward).
    pub fn is_for_training(&self) -> bool {
        self.training
    }

    pub(crate) fn thread_choice(&self) -> Threads {
        self.threads
    }

    /// The kernels to use: those demanded here, else in the environment, else the best of the CPU for a layer of this
    /// size.
    pub(crate) fn kernels(&self) -> Result<&'static Kernels, Error> {
        // Products, which are nearly all of a plain recurrent layer, are faster in wide vectors: 8 units with 16 rows
        // 1.10 ×.
        let is_mostly_product = matches!(self.kind, CellKind::Rnn(_));
        environment::kernels(self.isa, if is_mostly_product { usize::MAX } else { self.hidden_size() })
    }
}

/// Where each parameter of a layer lies in a contiguous buffer: W, R, b, in PyTorch's layout, gates i, f, g, o; then
/// those of options, which are empty without the option.
///
/// One buffer for all parameters, and one of the same shape for their gradients, make an optimizer's step or an
/// all-reduce one call.
///
/// ```
/// let ranges = quadgate::LstmConfig::new(3, 5).parameters()?;
/// assert_eq!((ranges.weight_ih, ranges.weight_hh, ranges.bias), (0..60, 60..160, 160..180));
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterRanges {
    /// `weight_ih [4H, X]`, row-major.
    pub weight_ih: Range<usize>,
    /// `weight_hh [4H, H]`, row-major; `[4H, P]` with a projection.
    pub weight_hh: Range<usize>,
    /// The sum of the biases, `[4H]`. If there are two, this is the gradient of each.
    pub bias: Range<usize>,
    /// Peepholes of i, f and o, `[3H]`.
    pub peepholes: Range<usize>,
    /// Scales of the layer normalization, `[4H]`.
    pub layer_normalization: Range<usize>,
    /// V, `[P, H]`, row-major.
    pub projection: Range<usize>,
    /// Bias of the projection, `[P]`.
    pub projection_bias: Range<usize>,
}

impl ParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.projection_bias.end
    }

    /// The ranges after `first` other elements.
    pub(crate) fn after(self, first: usize) -> Option<Self> {
        let after =
            |range: Range<usize>| Some(range.start.checked_add(first)?..range.end.checked_add(first)?);
        Some(Self {
            weight_ih: after(self.weight_ih)?,
            weight_hh: after(self.weight_hh)?,
            bias: after(self.bias)?,
            peepholes: after(self.peepholes)?,
            layer_normalization: after(self.layer_normalization)?,
            projection: after(self.projection)?,
            projection_bias: after(self.projection_bias)?,
        })
    }
}
