//! Which steps of which rows a call runs, rightly said or not.

use crate::layout::Verdict;
use crate::rarely;
use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::reference::NaiveRun;
use quadgate::{Backward, Forward, StepMask};

/// Which steps of which rows a call runs.
#[derive(Debug)]
pub enum RowSteps {
    All,
    Lengths(Vec<usize>),
    /// Whether a step is run, and T and B.
    Mask(Vec<bool>, [usize; 2]),
}

impl RowSteps {
    /// All steps half of the time; now and then lengths or a mask that do not fit.
    pub fn draw(u: &mut Unstructured<'_>, [steps, batch]: [usize; 2]) -> arbitrary::Result<Self> {
        let wrong = usize::from(rarely(u)?);
        Ok(match u.int_in_range(0..=3)? {
            0 | 1 => Self::All,
            2 => {
                let longest = if rarely(u)? { steps + wrong } else { steps };
                let rows = if rarely(u)? { batch + wrong } else { batch };
                Self::Lengths((0..rows).map(|_| u.int_in_range(0..=longest)).collect::<Result<_, _>>()?)
            }
            _ => {
                let seed: u64 = u.arbitrary()?;
                let of_step = |position: usize| (seed >> (position % 61)) & 1 == 0;
                Self::Mask((0..steps * batch).map(of_step).collect(), [steps, batch + wrong])
            }
        })
    }

    /// Whether they fit.
    pub fn verdict(&self, [steps, batch]: [usize; 2]) -> Verdict {
        let fit = match self {
            Self::All => true,
            Self::Lengths(lengths) => lengths.len() == batch && lengths.iter().all(|&length| length <= steps),
            Self::Mask(_, shape) => *shape == [steps, batch],
        };
        if fit { Verdict::Right } else { Verdict::Wrong }
    }

    /// Whether every step of every row is run.
    pub fn are_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub fn of_forward<'a, T>(&'a self, call: Forward<'a, T>) -> Forward<'a, T> {
        match self {
            Self::All => call,
            Self::Lengths(lengths) => call.lengths(lengths),
            Self::Mask(mask, [steps, batch]) => call.mask(StepMask::time_major(mask, *steps, *batch)),
        }
    }

    pub fn of_backward<'a, T>(&'a self, call: Backward<'a, T>) -> Backward<'a, T> {
        match self {
            Self::All => call,
            Self::Lengths(lengths) => call.lengths(lengths),
            Self::Mask(mask, [steps, batch]) => call.mask(StepMask::time_major(mask, *steps, *batch)),
        }
    }

    /// As the oracle says it. They fit.
    pub fn naive(&self) -> NaiveRun {
        match self {
            Self::All => NaiveRun::All,
            Self::Lengths(lengths) => NaiveRun::Lengths(lengths.clone()),
            Self::Mask(mask, _) => NaiveRun::Mask(mask.clone()),
        }
    }
}
