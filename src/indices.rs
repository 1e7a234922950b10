//! Indices of steps into a table.

use crate::error::Error;
use crate::integers::integers;
use crate::row_steps::RowSteps;
use crate::view::check_bounds;

/// A list of indices, such as characters or tokens, in the type in which the caller has them.
///
/// Calls take anything that makes one, so nobody need name this type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Indices<'a> {
    /// Rust's own.
    Usize(&'a [usize]),
    /// Bytes.
    U8(&'a [u8]),
    /// What most tokenizers put out.
    U32(&'a [u32]),
    /// ONNX's and TensorFlow's.
    I32(&'a [i32]),
    /// PyTorch's.
    I64(&'a [i64]),
}

integers!(Indices: usize => Usize, u8 => U8, u32 => U32, i32 => I32, i64 => I64);

/// Indices of the steps of a sequence: `steps × batch` of them.
///
/// Element (t, b) is at `t · time_stride + b · batch_stride`. The list may be longer than that reaches.
#[derive(Clone, Copy, Debug)]
pub struct StepIndices<'a> {
    list: Indices<'a>,
    pub(crate) shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Indices<'a> {
    /// The index at a place. It was checked.
    pub(crate) fn of(self, at: usize) -> usize {
        self.get(at).unwrap_or(0)
    }

    /// `Ok` if the index at a place, that of `row` at time `step`, is one of a table of so many entries.
    fn check(self, at: usize, [step, row]: [usize; 2], entries: usize) -> Result<(), Error> {
        if self.get(at).is_some_and(|index| index < entries) {
            return Ok(());
        }
        let found = match self {
            Indices::Usize(list) => list[at] as i128,
            Indices::U8(list) => list[at].into(),
            Indices::U32(list) => list[at].into(),
            Indices::I32(list) => list[at].into(),
            Indices::I64(list) => list[at].into(),
        };
        Err(Error::NoSuchEntry { argument: "indices", step, row, entries, found })
    }

    /// `Ok` if there is one of the entries for each row of a batch.
    pub(crate) fn check_rows(self, batch: usize, entries: usize) -> Result<(), Error> {
        Error::check_dimension("indices", "batch", batch, self.len())?;
        (0..batch).try_for_each(|row| self.check(row, [0, row], entries))
    }
}

impl<'a> StepIndices<'a> {
    /// `[T, B]`, dense.
    pub fn time_major(list: impl Into<Indices<'a>>, steps: usize, batch: usize) -> Self {
        Self { list: list.into(), shape: [steps, batch], strides: [batch, 1] }
    }

    /// `[B, T]`, dense, as most frameworks have them.
    pub fn batch_major(list: impl Into<Indices<'a>>, batch: usize, steps: usize) -> Self {
        Self { list: list.into(), shape: [steps, batch], strides: [1, steps] }
    }

    /// Any strides: `shape` is `[steps, batch]`, `strides` is `[time_stride, batch_stride]`.
    pub fn with_strides(list: impl Into<Indices<'a>>, shape: [usize; 2], strides: [usize; 2]) -> Self {
        Self { list: list.into(), shape, strides }
    }

    /// `Ok` if every index lies inside the list, and those of steps that are run are entries of a table.
    pub(crate) fn check(&self, row_steps: Option<RowSteps<'_>>, entries: usize) -> Result<(), Error> {
        let [steps, batch] = self.shape;
        check_bounds("indices", [steps, batch, 1], self.strides, self.list.len())?;
        if batch == 0 {
            return Ok(());
        }
        for time in 0..steps {
            for row in (0..batch).filter(|&row| row_steps.is_none_or(|steps| steps.runs(time, row))) {
                self.list.check(self.at(time, row), [time, row], entries)?;
            }
        }
        Ok(())
    }

    /// The index of a row at a time. It was checked.
    pub(crate) fn of(&self, time: usize, row: usize) -> usize {
        self.list.of(self.at(time, row))
    }

    fn at(&self, time: usize, row: usize) -> usize {
        time * self.strides[0] + row * self.strides[1]
    }
}
