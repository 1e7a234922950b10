//! Where the rows of a slice lie, right or wrong, and which of the two.

use crate::rarely;
use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::{Matrix, MatrixMut, Sequence, SequenceMut};
use std::ops::RangeInclusive;

/// The longest slice that is made.
const MAX_LEN: usize = 1 << 14;

/// The shape, strides and length of a slice. A matrix is a sequence of one step.
#[derive(Debug)]
pub struct Layout {
    pub kind: Kind,
    /// Steps, batch, features.
    pub shape: [usize; 3],
    /// Time, batch.
    pub strides: [usize; 2],
    pub len: usize,
}

#[derive(Debug)]
pub enum Kind {
    TimeMajor,
    BatchMajor,
    Strided,
}

/// What must become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Must succeed.
    Right,
    /// May be refused as overlapping.
    Exotic,
    /// Must be refused.
    Wrong,
}

impl Layout {
    /// A layout for `shape`, now and then with one of the dimensions `changeable` changed.
    pub fn draw(
        u: &mut Unstructured<'_>,
        mut shape: [usize; 3],
        changeable: RangeInclusive<usize>,
    ) -> arbitrary::Result<Self> {
        if rarely(u)? && u.arbitrary()? {
            shape[u.int_in_range(changeable)?] =
                if rarely(u)? { usize::MAX } else { u.int_in_range(0..=50)? };
        }
        let [steps, batch, features] = shape;
        let (kind, strides) = match u.int_in_range(0..=3)? {
            0 => (Kind::TimeMajor, [batch.saturating_mul(features), features]),
            1 => (Kind::BatchMajor, [features, steps.saturating_mul(features)]),
            _ => (Kind::Strided, Self::draw_strides(u, shape)?),
        };
        let mut layout = Layout { kind, shape, strides, len: 0 };
        let exact = layout.extent().min(MAX_LEN as u128) as usize;
        layout.len = match u.int_in_range(0..=31)? {
            0..=19 => exact,
            20..=29 => exact + u.int_in_range(1..=20)?,
            30 => exact.saturating_sub(1),
            _ => u.int_in_range(0..=exact)?,
        };
        Ok(layout)
    }

    fn draw_strides(
        u: &mut Unstructured<'_>,
        [steps, batch, features]: [usize; 3],
    ) -> arbitrary::Result<[usize; 2]> {
        let row = features.saturating_add(u.int_in_range(0..=9)?);
        let gap = u.int_in_range(0..=9)?;
        let after = |rows: usize| rows.saturating_mul(row).saturating_add(gap);
        match u.int_in_range(0..=15)? {
            // Padded rows.
            0..=6 => Ok([after(batch), row]),
            7..=11 => Ok([row, after(steps)]),
            // Zero, overlapping, interleaved.
            12 => Ok([u.int_in_range(0..=50)?, u.int_in_range(0..=50)?]),
            13 => Ok([u.int_in_range(0..=400)?, u.int_in_range(0..=400)?]),
            _ => {
                // So large that sums and products overflow, or nearly.
                let mut large = || Ok((usize::MAX >> u.int_in_range(0..=6)?) - u.int_in_range(0..=3)?);
                let (first, second) = (large()?, large()?);
                Ok(*u.choose(&[[first, second], [first, row], [row, second]])?)
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Elements from the start of the first row to the end of the last.
    fn extent(&self) -> u128 {
        if self.is_empty() {
            return 0;
        }
        let [steps, batch, features] = self.shape.map(|size| size as u128);
        let [time, row] = self.strides.map(|stride| stride as u128);
        ((steps - 1).saturating_mul(time))
            .saturating_add((batch - 1).saturating_mul(row))
            .saturating_add(features)
    }

    /// Where row (t, b) starts; 0 if rows have no elements, since then it may lie anywhere.
    pub fn start(&self, t: usize, b: usize) -> usize {
        if self.is_empty() { 0 } else { t * self.strides[0] + b * self.strides[1] }
    }

    /// Whether rows of `shape` can be read.
    pub fn for_reading(&self, shape: [usize; 3]) -> Verdict {
        let right = self.shape == shape && self.extent() <= self.len as u128;
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Whether rows of `shape` can be written.
    pub fn for_writing(&self, shape: [usize; 3]) -> Verdict {
        match self.for_reading(shape) {
            Verdict::Right if self.is_nested() => Verdict::Right,
            Verdict::Right if self.is_disjoint() => Verdict::Exotic,
            _ => Verdict::Wrong,
        }
    }

    /// Whether all rows of a step lie before those of the next, or all rows of a sequence before those of the next.
    fn is_nested(&self) -> bool {
        let [steps, batch, features] = self.shape;
        let [time, row] = self.strides;
        let apart = |count: usize, stride: usize, reach: usize| count <= 1 || stride >= reach;
        let reach = |count: usize, stride: usize| (count - 1) * stride + features;
        self.is_empty()
            || apart(batch, row, features) && apart(steps, time, reach(batch, row))
            || apart(steps, time, features) && apart(batch, row, reach(steps, time))
    }

    /// Whether no two rows share an element.
    fn is_disjoint(&self) -> bool {
        let [steps, batch, features] = self.shape;
        let mut starts: Vec<usize> =
            (0..steps).flat_map(|t| (0..batch).map(move |b| self.start(t, b))).collect();
        starts.sort_unstable();
        starts.windows(2).all(|pair| pair[1] - pair[0] >= features)
    }

    pub fn sequence<'a>(&self, data: &'a [f32]) -> Sequence<'a> {
        let [steps, batch, features] = self.shape;
        match self.kind {
            Kind::TimeMajor => Sequence::time_major(data, steps, batch, features),
            Kind::BatchMajor => Sequence::batch_major(data, batch, steps, features),
            Kind::Strided => Sequence::with_strides(data, self.shape, self.strides),
        }
    }

    pub fn sequence_mut<'a>(&self, data: &'a mut [f32]) -> SequenceMut<'a> {
        let [steps, batch, features] = self.shape;
        match self.kind {
            Kind::TimeMajor => SequenceMut::time_major(data, steps, batch, features),
            Kind::BatchMajor => SequenceMut::batch_major(data, batch, steps, features),
            Kind::Strided => SequenceMut::with_strides(data, self.shape, self.strides),
        }
    }

    /// The rows of one step.
    pub fn matrix<'a>(&self, data: &'a [f32], t: usize) -> Matrix<'a> {
        Matrix::new(&data[self.start(t, 0)..], self.shape[1], self.shape[2]).stride(self.strides[1])
    }

    pub fn matrix_mut<'a>(&self, data: &'a mut [f32]) -> MatrixMut<'a> {
        MatrixMut::new(data, self.shape[1], self.shape[2]).stride(self.strides[1])
    }
}
