//! Which way a layer reads a sequence: a mapping from its steps to times, and nothing else.

use std::ops::Range;

/// Which way a layer reads a sequence.
///
/// ```text
/// Forward:  h_t from x_t and h_{t−1}, for t = 0, 1, …, T − 1
/// Reverse:  h_t from x_t and h_{t+1}, for t = T − 1, …, 1, 0
/// ```
///
/// Either way the output at t belongs to x_t. The initial states are those before the first step that is run, the last
/// ones those after the last: in reverse, after t = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// From the first time to the last.
    #[default]
    Forward,
    /// From the last time to the first: PyTorch's `reverse` half, ONNX's `reverse`, Keras' `go_backwards` with the
    /// output put back in the order of time.
    Reverse,
}

impl Direction {
    /// The time that step `step` of `steps` reads.
    pub(crate) fn time(self, step: usize, steps: usize) -> usize {
        match self {
            Direction::Forward => step,
            Direction::Reverse => steps - 1 - step,
        }
    }

    /// The times that the steps of `range` read, of `steps` in all.
    pub(crate) fn times(self, range: Range<usize>, steps: usize) -> Range<usize> {
        match self {
            Direction::Forward => range,
            Direction::Reverse => steps - range.end..steps - range.start,
        }
    }
}
