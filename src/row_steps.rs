//! Which steps of which rows a call runs, and what the output of the others is.

use crate::error::Error;
use crate::fingerprint;
use crate::integers::integers;
use crate::view::{Sequence, StepMask};
use quadgate_kernels::Kernels;

/// How many steps each row has: `[B]`, in the type in which the caller has them.
///
/// Calls take anything that makes one, so nobody need name this type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Lengths<'a> {
    /// Rust's own.
    Usize(&'a [usize]),
    /// ONNX's `sequence_lens`.
    I32(&'a [i32]),
    /// PyTorch's `lengths`.
    I64(&'a [i64]),
}

integers!(Lengths: usize => Usize, i32 => I32, i64 => I64);

impl Lengths<'_> {
    /// The length of a row. It was checked.
    pub(crate) fn of(self, row: usize) -> usize {
        self.get(row).unwrap_or(0)
    }
}

/// What the output of steps is that are not run, see [`Forward::padding`](crate::Forward::padding).
///
/// | | past a row's length | where a mask is false |
/// |---|---|---|
/// | PyTorch, `pad_packed_sequence` | `padding_value`, by default zero | |
/// | ONNX, `sequence_lens` | zero | |
/// | Keras, `LSTM` and `GRU` alone | | h as it was |
/// | Keras, `Bidirectional` (`zero_output_for_mask`) | | zero |
/// | without a choice | zero | h as it was |
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Padding {
    /// Zero.
    Zero,
    /// h as it was: that of the step before it in the order of reading, the initial one before the first.
    Repeat,
    /// This number.
    Value(f32),
}

/// The steps that are run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps<'a> {
    /// The first steps of each row.
    Lengths(Lengths<'a>),
    /// The steps where this is true.
    Mask(StepMask<'a>),
    /// All of them: so that x is gathered, without what is too small to compute with.
    All,
}

/// Which steps of which rows are run, and what the output of the others is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSteps<'a> {
    pub(crate) steps: Steps<'a>,
    pub(crate) padding: Padding,
}

/// What a call says of that, unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowStepArguments<'a> {
    pub(crate) lengths: Option<Lengths<'a>>,
    pub(crate) mask: Option<StepMask<'a>>,
    pub(crate) padding: Option<Padding>,
}

impl<'a> RowStepArguments<'a> {
    /// The steps, if they fit a sequence; `None` if every step is run.
    pub(crate) fn checked(self, [steps, batch]: [usize; 2]) -> Result<Option<RowSteps<'a>>, Error> {
        let Self { lengths, mask, padding } = self;
        if let Some(lengths) = lengths {
            Error::check_dimension("lengths", "batch", batch, lengths.len())?;
            for row in 0..batch {
                match lengths.get(row) {
                    Some(found) if found > steps => {
                        return Err(Error::RowLength { argument: "lengths", row, expected: steps, found });
                    }
                    None => return Err(Error::NegativeLength { argument: "lengths", row }),
                    _ => {}
                }
            }
        }
        if let Some(mask) = mask {
            mask.check("mask", [steps, batch])?;
        }
        let (steps, default) = match (lengths, mask) {
            (Some(_), Some(_)) => return Err(Error::Exclusive { argument: "mask", other: "lengths" }),
            (Some(lengths), None) => (Steps::Lengths(lengths), Padding::Zero),
            (None, Some(mask)) => (Steps::Mask(mask), Padding::Repeat),
            (None, None) => return Ok(None),
        };
        // Of no rows every step is run, however many there are.
        Ok((batch > 0).then_some(RowSteps { steps, padding: padding.unwrap_or(default) }))
    }
}

impl RowSteps<'_> {
    /// All steps, if x has numbers too small to compute with, so that it is gathered without them; else `None`.
    pub(crate) fn if_small(input: Sequence<'_>, kernels: &Kernels) -> Option<Self> {
        input.has_small(kernels).then_some(RowSteps { steps: Steps::All, padding: Padding::Zero })
    }

    /// Whether a row runs at a time. Bounds were checked.
    pub(crate) fn runs(&self, time: usize, row: usize) -> bool {
        match self.steps {
            Steps::Lengths(lengths) => time < lengths.of(row),
            Steps::Mask(mask) => mask.runs(time, row),
            Steps::All => true,
        }
    }

    /// Whether the output of a step that is not run is h as it was.
    pub(crate) fn repeats(&self) -> bool {
        self.padding == Padding::Repeat
    }

    /// What the output is of a step that is not run, if it is not h as it was.
    pub(crate) fn padding_value(&self) -> Option<f32> {
        match self.padding {
            Padding::Zero => Some(0.0),
            Padding::Repeat => None,
            Padding::Value(value) => Some(value),
        }
    }

    /// What a tape remembers of it, for a sequence of a shape; nothing of all steps, which is as good as no word of
    /// them.
    pub(crate) fn recorded(self, [steps, batch]: [usize; 2]) -> Option<Recorded> {
        let (argument, fingerprint) = match self.steps {
            Steps::Lengths(lengths) => (
                "lengths",
                (0..batch)
                    .fold(fingerprint::EMPTY, |sum, row| fingerprint::with(sum, lengths.of(row) as u64)),
            ),
            Steps::Mask(mask) => {
                let all = (0..steps).flat_map(|t| (0..batch).map(move |row| mask.runs(t, row)));
                ("mask", all.fold(fingerprint::EMPTY, |sum, runs| fingerprint::with(sum, u64::from(runs))))
            }
            Steps::All => return None,
        };
        Some(Recorded { argument, fingerprint, padding: self.padding })
    }
}

/// What a tape remembers of which steps were run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    argument: &'static str,
    fingerprint: u64,
    pub(crate) padding: Padding,
}

impl Recorded {
    /// `Ok` if a backward pass is asked for the steps that were recorded.
    pub(crate) fn check(recorded: Option<Self>, asked: Option<Self>) -> Result<(), Error> {
        let steps = |of: Option<Self>| of.map(|of| (of.argument, of.fingerprint));
        match asked.or(recorded) {
            Some(Recorded { argument, .. }) if steps(recorded) != steps(asked) => {
                Err(Error::NotRecorded { argument })
            }
            _ => Ok(()),
        }
    }
}
