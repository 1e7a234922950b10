//! What a layer is, apart from its weights.

use crate::{Direction, Error};
use quadgate_kernels::{Isa, Kernels};
use std::num::NonZeroUsize;
use std::ops::Range;

/// The environment variable that forces an instruction set where the configuration does not.
pub(crate) const ISA_VARIABLE: &str = "QUADGATE_ISA";

/// How the two products of a step, W·x and R·h, are arranged in time.
///
/// The results have the same bits either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
pub enum Split {
    /// Each thread takes some rows through all of time. They never wait for each other.
    Rows,
    /// Each thread takes some hidden units of all rows, a step at a time, and waits for the others after each step. For
    /// batches that are too narrow to give each thread rows enough.
    Units,
}

/// How many threads a call may use.
///
/// The results have the same bits for any choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LstmConfig {
    input_size: usize,
    hidden_size: usize,
    direction: Direction,
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
            input_size,
            hidden_size,
            direction: Direction::Forward,
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
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Demands an instruction set. Without this, the environment variable `QUADGATE_ISA` decides, and without that
    /// the CPU.
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
        let bias_len = self.hidden_size.checked_mul(4).ok_or(overflow("hidden size"))?;
        let ih_len = bias_len.checked_mul(self.input_size).ok_or(overflow("input size"))?;
        let hh_end = bias_len
            .checked_mul(self.hidden_size)
            .and_then(|len| len.checked_add(ih_len))
            .ok_or(overflow("hidden size"))?;
        let len = hh_end.checked_add(bias_len).ok_or(overflow("hidden size"))?;
        Ok(ParameterRanges { weight_ih: 0..ih_len, weight_hh: ih_len..hh_end, bias: hh_end..len })
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
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

    /// The kernels to use: those demanded here, else in the environment, else the best of the CPU.
    pub(crate) fn kernels(&self) -> Result<&'static Kernels, Error> {
        select_kernels(self.isa)
    }
}

/// Where each parameter of a layer lies in a contiguous buffer: W, R, b, in PyTorch's layout, gates i, f, g, o.
///
/// One buffer for all parameters, and one of the same shape for their gradients, make an optimiser's step or an
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
    /// `weight_hh [4H, H]`, row-major.
    pub weight_hh: Range<usize>,
    /// The sum of the biases, `[4H]`. If there are two, this is the gradient of each.
    pub bias: Range<usize>,
}

impl ParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.bias.end
    }

    /// The ranges after `first` other elements.
    pub(crate) fn after(self, first: usize) -> Option<Self> {
        let after =
            |range: Range<usize>| Some(range.start.checked_add(first)?..range.end.checked_add(first)?);
        Some(Self {
            weight_ih: after(self.weight_ih)?,
            weight_hh: after(self.weight_hh)?,
            bias: after(self.bias)?,
        })
    }
}

/// The kernels of `isa`, else of the environment's choice, else the best of the CPU.
pub(crate) fn select_kernels(isa: Option<Isa>) -> Result<&'static Kernels, Error> {
    let isa = match (isa, std::env::var_os(ISA_VARIABLE)) {
        (Some(isa), _) => isa,
        (None, None) => return Ok(Kernels::best()),
        (None, Some(name)) => {
            let name = name.to_string_lossy();
            Isa::from_name(&name).ok_or_else(|| Error::UnknownIsa { found: name.into_owned() })?
        }
    };
    Kernels::new(isa).ok_or(Error::UnsupportedIsa { expected: isa, found: Kernels::best().isa() })
}
