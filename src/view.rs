//! The caller's memory: slices with shapes and strides, checked when a call uses them.

use crate::Error;
use quadgate_kernels::{Kernels, Rows, RowsMut};
use std::ops::Range;

/// A sequence to read: `steps × batch` rows of `features` elements.
///
/// Row (t, b) starts at `t · time_stride + b · batch_stride`. Strides are in elements; rows may overlap. The slice may
/// be longer than that reaches. The features of a row follow each other: of a view with another stride of its features,
/// such as `[features, T]`, make a copy first, which costs little beside a step.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) shape: [usize; 3],
    pub(crate) strides: [usize; 2],
}

/// A sequence to write: `steps × batch` rows of `features` elements that do not overlap.
///
/// Row (t, b) starts at `t · time_stride + b · batch_stride`. Strides are in elements. The slice may be longer than
/// that reaches; what lies between the rows stays as it is.
#[derive(Debug)]
pub struct SequenceMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) shape: [usize; 3],
    pub(crate) strides: [usize; 2],
}

/// A matrix to read: `rows` rows of `width` elements, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    width: usize,
    stride: usize,
}

/// A matrix to write: `rows` rows of `width` elements, `stride` apart, that do not overlap.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    width: usize,
    stride: usize,
}

/// Constructors that the readable and the writable sequence share.
macro_rules! sequence_constructors {
    ($name:ident, $slice:ty) => {
        impl<'a> $name<'a> {
            /// `[T, B, features]`, dense.
            pub fn time_major(data: $slice, steps: usize, batch: usize, features: usize) -> Self {
                // A product that overflows saturates, and is refused when the sequence is used.
                let strides = [batch.saturating_mul(features), features];
                Self { data, shape: [steps, batch, features], strides }
            }

            /// `[B, T, features]`, dense.
            #[doc(alias = "batch_first")]
            pub fn batch_major(data: $slice, batch: usize, steps: usize, features: usize) -> Self {
                let strides = [features, steps.saturating_mul(features)];
                Self { data, shape: [steps, batch, features], strides }
            }

            /// Any strides: `shape` is `[steps, batch, features]`, `strides` is `[time_stride, batch_stride]`.
            pub fn with_strides(data: $slice, shape: [usize; 3], strides: [usize; 2]) -> Self {
                Self { data, shape, strides }
            }
        }
    };
}
sequence_constructors!(Sequence, &'a [f32]);
sequence_constructors!(SequenceMut, &'a mut [f32]);

/// Constructors that the readable and the writable matrix share.
macro_rules! matrix_constructors {
    ($name:ident, $slice:ty) => {
        impl<'a> $name<'a> {
            /// `[rows, width]`, dense.
            pub fn new(data: $slice, rows: usize, width: usize) -> Self {
                Self { data, rows, width, stride: width }
            }

            /// Sets the distance between the starts of two rows, in elements.
            pub fn stride(mut self, stride: usize) -> Self {
                self.stride = stride;
                self
            }

            /// The first `width` elements of each row. Bounds were checked.
            pub(crate) fn first_columns(self, width: usize) -> Self {
                Self { width, ..self }
            }

            fn check_shape(&self, argument: &'static str, rows: usize, width: usize) -> Result<(), Error> {
                Error::check_dimension(argument, "rows", rows, self.rows)?;
                Error::check_dimension(argument, "width", width, self.width)
            }
        }
    };
}
matrix_constructors!(Matrix, &'a [f32]);
matrix_constructors!(MatrixMut, &'a mut [f32]);

/// Which steps of which rows are run: `steps × batch` booleans, true where a step is run.
///
/// Element (t, b) is at `t · time_stride + b · batch_stride`. The slice may be longer than that reaches.
#[derive(Clone, Copy, Debug)]
pub struct StepMask<'a> {
    data: &'a [bool],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> StepMask<'a> {
    /// `[T, B]`, dense.
    pub fn time_major(data: &'a [bool], steps: usize, batch: usize) -> Self {
        Self { data, shape: [steps, batch], strides: [batch, 1] }
    }

    /// `[B, T]`, dense, as Keras has it.
    pub fn batch_major(data: &'a [bool], batch: usize, steps: usize) -> Self {
        Self { data, shape: [steps, batch], strides: [1, steps] }
    }

    /// Any strides: `shape` is `[steps, batch]`, `strides` is `[time_stride, batch_stride]`.
    pub fn with_strides(data: &'a [bool], shape: [usize; 2], strides: [usize; 2]) -> Self {
        Self { data, shape, strides }
    }

    /// `Ok` if the mask has the shape that a call demands, and every element lies inside the slice.
    pub(crate) fn check(&self, argument: &'static str, [steps, batch]: [usize; 2]) -> Result<(), Error> {
        Error::check_dimension(argument, "steps", steps, self.shape[0])?;
        Error::check_dimension(argument, "batch", batch, self.shape[1])?;
        check_bounds(argument, [steps, batch, 1], self.strides, self.data.len())
    }

    /// Whether row `row` runs at time `t`. Bounds were checked.
    pub(crate) fn runs(&self, t: usize, row: usize) -> bool {
        self.data[t * self.strides[0] + row * self.strides[1]]
    }
}

/// `Ok` if every row of a sequence lies inside a slice of `found` elements.
pub(crate) fn check_bounds(
    argument: &'static str,
    [steps, batch, features]: [usize; 3],
    strides: [usize; 2],
    found: usize,
) -> Result<(), Error> {
    if steps == 0 || batch == 0 || features == 0 {
        return Ok(());
    }
    let needed = (steps - 1)
        .checked_mul(strides[0])
        .and_then(|time| (batch - 1).checked_mul(strides[1])?.checked_add(time)?.checked_add(features))
        .ok_or(Error::Overflow { argument })?;
    if needed <= found { Ok(()) } else { Err(Error::TooShort { argument, expected: needed, found }) }
}

/// `Ok` if a sequence has the shape that a call demands.
pub(crate) fn check_sequence(
    argument: &'static str,
    expected: [usize; 3],
    found: [usize; 3],
) -> Result<(), Error> {
    for (i, dimension) in ["steps", "batch", "features"].into_iter().enumerate() {
        Error::check_dimension(argument, dimension, expected[i], found[i])?;
    }
    Ok(())
}

impl<'a> Matrix<'a> {
    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The elements from the first row on, and the distance between the starts of two rows.
    pub(crate) fn elements(self) -> (&'a [f32], usize) {
        (self.data, self.stride)
    }
}

/// Parts of matrices whose bounds were checked.
impl<'a> Matrix<'a> {
    /// `rows` rows from row `first` on.
    pub(crate) fn part(self, first: usize, rows: usize) -> Matrix<'a> {
        Matrix { data: &self.data[start(first * self.stride, self.data.len())..], rows, ..self }
    }
}

impl<'a> MatrixMut<'a> {
    /// The first `rows` rows, and the others. Bounds were checked.
    pub(crate) fn split(self, rows: usize) -> (MatrixMut<'a>, MatrixMut<'a>) {
        let Self { data, rows: all, width, stride } = self;
        let at = start(rows * stride, data.len());
        let (first, second) = data.split_at_mut(at);
        (
            MatrixMut { data: first, rows, width, stride },
            MatrixMut { data: second, rows: all - rows, width, stride },
        )
    }
}

impl MatrixMut<'_> {
    /// `rows` rows from row `first` on.
    pub(crate) fn part(&mut self, first: usize, rows: usize) -> MatrixMut<'_> {
        let start = start(first * self.stride, self.data.len());
        MatrixMut { data: &mut self.data[start..], rows, width: self.width, stride: self.stride }
    }

    /// All of it, for a while.
    pub(crate) fn all(&mut self) -> MatrixMut<'_> {
        self.part(0, self.rows)
    }
}

/// Where a part starts: without rows it may lie past the end of the slice.
fn start(start: usize, len: usize) -> usize {
    start.min(len)
}

impl SequenceMut<'_> {
    /// `features` features from feature `first` on, of each row. Bounds were checked.
    pub(crate) fn columns(&mut self, first: usize, features: usize) -> SequenceMut<'_> {
        let start = start(first, self.data.len());
        let [steps, batch, _] = self.shape;
        SequenceMut { data: &mut self.data[start..], shape: [steps, batch, features], strides: self.strides }
    }

    /// All of it, for a while.
    pub(crate) fn all(&mut self) -> SequenceMut<'_> {
        self.columns(0, self.shape[2])
    }

    /// Adds the elements of another sequence of the same shape. Bounds were checked.
    pub(crate) fn add(&mut self, terms: Sequence<'_>) {
        let [steps, batch, features] = self.shape;
        if features == 0 || batch == 0 {
            return;
        }
        for t in 0..steps {
            for row in 0..batch {
                let to = &mut self.data[t * self.strides[0] + row * self.strides[1]..][..features];
                let from = &terms.data[t * terms.strides[0] + row * terms.strides[1]..][..features];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}

impl<'a> SequenceMut<'a> {
    /// The rows, if they have the shape that a call demands.
    pub(crate) fn checked(
        self,
        argument: &'static str,
        shape: [usize; 3],
    ) -> Result<quadgate_kernels::SequenceMut<'a>, Error> {
        check_sequence(argument, shape, self.shape)?;
        quadgate_kernels::SequenceMut::new(self.data, self.shape, self.strides)
            .map_err(|error| Error::view(argument, shape[2], self.strides, error))
    }
}

impl<'a> SequenceMut<'a> {
    /// The rows. Bounds were checked.
    pub(crate) fn rows(self) -> quadgate_kernels::SequenceMut<'a> {
        let shape = self.shape;
        self.checked("rows", shape).expect("bounds were checked before the call ran")
    }
}

impl<'a> Sequence<'a> {
    /// `Ok` if every row lies inside the slice.
    pub(crate) fn check_bounds(&self, argument: &'static str) -> Result<(), Error> {
        check_bounds(argument, self.shape, self.strides, self.data.len())
    }

    /// `features` features from feature `first` on, of each row. Bounds were checked.
    pub(crate) fn columns(self, first: usize, features: usize) -> Sequence<'a> {
        let [steps, batch, _] = self.shape;
        let data = &self.data[start(first, self.data.len())..];
        Sequence { data, shape: [steps, batch, features], strides: self.strides }
    }

    /// The steps of `range`. Bounds were checked.
    pub(crate) fn steps(self, range: Range<usize>) -> Sequence<'a> {
        let [_, batch, features] = self.shape;
        let data = &self.data[start(range.start.saturating_mul(self.strides[0]), self.data.len())..];
        Sequence { data, shape: [range.len(), batch, features], strides: self.strides }
    }

    /// Row (t, row). Bounds were checked.
    pub(crate) fn row(&self, t: usize, row: usize) -> &'a [f32] {
        let features = self.shape[2];
        let start = if features == 0 { 0 } else { t * self.strides[0] + row * self.strides[1] };
        &self.data[start..][..features]
    }

    /// Rows `first..first + rows` of the batch at step `t`.
    pub(crate) fn batch_rows(&self, t: usize, first: usize, rows: usize) -> Rows<'a> {
        self.rows(t, first, rows, self.strides[1])
    }

    /// Rows `first..first + rows` of the batch at steps `t..t + steps`, one step after the other; `None` unless they
    /// are equally far apart.
    pub(crate) fn all_rows(&self, t: usize, steps: usize, first: usize, rows: usize) -> Option<Rows<'a>> {
        let even = steps <= 1 || rows.checked_mul(self.strides[1]) == Some(self.strides[0]);
        even.then(|| self.rows(t, first, steps * rows, self.strides[1]))
    }

    /// Whether any number is too small to compute with. Bounds were checked.
    pub(crate) fn has_small(&self, kernels: &Kernels) -> bool {
        let [steps, batch, features] = self.shape;
        let len = steps.saturating_mul(batch).saturating_mul(features);
        let is_dense = (batch <= 1 || self.strides[1] == features)
            && (steps <= 1 || batch.checked_mul(features) == Some(self.strides[0]));
        match self.data.get(..len) {
            _ if len == 0 => false,
            Some(data) if is_dense => kernels.has_small(data),
            _ => (0..steps).any(|t| (0..batch).any(|row| kernels.has_small(self.row(t, row)))),
        }
    }

    /// Steps `t..t + steps` of batch row `row`.
    pub(crate) fn time_rows(&self, t: usize, steps: usize, row: usize) -> Rows<'a> {
        self.rows(t, row, steps, self.strides[0])
    }

    fn rows(&self, t: usize, row: usize, count: usize, stride: usize) -> Rows<'a> {
        let features = self.shape[2];
        // Rows without elements may lie past the end of the slice.
        let start = if count == 0 || features == 0 { 0 } else { t * self.strides[0] + row * self.strides[1] };
        Rows::new(&self.data[start..], count, features, stride)
            .expect("bounds were checked before the call ran")
    }
}

impl<'a> Matrix<'a> {
    /// The rows, if they have the shape that a call demands.
    #[inline]
    pub(crate) fn checked(
        self,
        argument: &'static str,
        rows: usize,
        width: usize,
    ) -> Result<Rows<'a>, Error> {
        self.check_shape(argument, rows, width)?;
        Rows::new(self.data, rows, width, self.stride)
            .map_err(|error| Error::view(argument, width, [0, self.stride], error))
    }
}

impl<'a> MatrixMut<'a> {
    /// The rows, if they have the shape that a call demands.
    pub(crate) fn checked(
        self,
        argument: &'static str,
        rows: usize,
        width: usize,
    ) -> Result<RowsMut<'a>, Error> {
        self.check_shape(argument, rows, width)?;
        RowsMut::new(self.data, rows, width, self.stride)
            .map_err(|error| Error::view(argument, width, [0, self.stride], error))
    }

    /// The same as a sequence of one step, which can be cut between threads.
    pub(crate) fn checked_slot(
        self,
        argument: &'static str,
        rows: usize,
        width: usize,
    ) -> Result<quadgate_kernels::SequenceMut<'a>, Error> {
        self.check_shape(argument, rows, width)?;
        quadgate_kernels::SequenceMut::new(self.data, [1, rows, width], [0, self.stride])
            .map_err(|error| Error::view(argument, width, [0, self.stride], error))
    }
}
