//! Strided views of the caller's memory, bounds checked once, when they are made.
//!
//! [`SequenceMut`] is the one type through which threads share a buffer: it can be cut between rows of the batch, and
//! the pieces, though interleaved in memory, never touch the same element.

use core::marker::PhantomData;
use core::ops::Range;

/// Why a view cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// The slice is shorter than the shape and strides reach.
    TooShort {
        /// Elements that the shape and strides reach.
        needed: usize,
        /// Elements in the slice.
        found: usize,
    },
    /// Two rows of a mutable view would share elements (or interleave in a way that is not supported).
    Overlap,
    /// The extent does not fit a `usize`.
    Overflow,
}

/// Elements that `rows` rows of `width` reach, `stride` apart; 0 if there are none.
#[inline]
fn reach(rows: usize, width: usize, stride: usize) -> Result<usize, ViewError> {
    if rows == 0 || width == 0 {
        return Ok(0);
    }
    let last = (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(width));
    last.ok_or(ViewError::Overflow)
}

/// Elements that rows of `width` at two strides reach; 0 if there are none.
fn extent(dims: [(usize, usize); 2], width: usize) -> Result<usize, ViewError> {
    if width == 0 || dims.iter().any(|&(count, _)| count == 0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(width, |sum, &(count, stride)| sum.checked_add((count - 1).checked_mul(stride)?))
        .ok_or(ViewError::Overflow)
}

#[inline]
fn check_len(needed: usize, found: usize) -> Result<(), ViewError> {
    if needed <= found { Ok(()) } else { Err(ViewError::TooShort { needed, found }) }
}

/// Rows of elements to read, `stride` apart. Rows may overlap or coincide (stride 0).
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    base: *const f32,
    rows: usize,
    width: usize,
    stride: usize,
    /// Shared access to the elements of the rows, and to nothing between them.
    _rows: PhantomData<&'a [f32]>,
}

// SAFETY: like `&[f32]`, the view only reads its elements, which nothing writes during 'a.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// `rows` rows of `width` elements, `stride` apart, from the start of `data`.
    #[inline]
    pub fn new(data: &'a [f32], rows: usize, width: usize, stride: usize) -> Result<Self, ViewError> {
        check_len(reach(rows, width, stride)?, data.len())?;
        Ok(Self { base: data.as_ptr(), rows, width, stride, _rows: PhantomData })
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements in a row.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Distance between rows.
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `row`; empty if there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [f32] {
        if row >= self.rows || self.width == 0 {
            return &[];
        }
        // SAFETY: whoever made the view checked that its rows lie inside what is borrowed for 'a. Nothing writes them
        // meanwhile.
        unsafe { core::slice::from_raw_parts(self.base.add(row * self.stride), self.width) }
    }

    /// Some of the rows, as far as there are any.
    #[inline]
    pub fn rows_of(self, rows: Range<usize>) -> Self {
        let end = rows.end.min(self.rows);
        let start = rows.start.min(end);
        // Without rows there may be no elements at all.
        let base =
            if start < end { self.base.wrapping_add(start.wrapping_mul(self.stride)) } else { self.base };
        Self { base, rows: end - start, ..self }
    }

    /// The same elements with every `parts` rows joined into one; `None` unless rows are a multiple of that and dense.
    #[inline]
    pub fn join(self, parts: usize) -> Option<Self> {
        let rows = self.rows.checked_div(parts)?;
        let fits = rows * parts == self.rows && (self.stride == self.width || self.rows <= 1);
        // `rows` times `width` are elements of a slice, so the product fits if there are any.
        let width = if self.rows == 0 { 0 } else { self.width * parts };
        fits.then_some(Self { rows, width, stride: width, ..self })
    }

    /// Some columns of each row, as far as there are any.
    #[inline]
    pub fn columns(self, columns: Range<usize>) -> Self {
        let end = columns.end.min(self.width);
        let start = columns.start.min(end);
        // Without rows there may be no elements at all.
        let base = if self.rows > 0 { self.base.wrapping_add(start) } else { self.base };
        Self { base, width: end - start, ..self }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.base
    }
}

/// Rows of elements to write, `stride` apart, that do not overlap.
#[derive(Debug)]
pub struct RowsMut<'a> {
    base: *mut f32,
    rows: usize,
    width: usize,
    stride: usize,
    /// Exclusive access to the elements of the rows, and to nothing between them.
    _rows: PhantomData<&'a mut [f32]>,
}

impl<'a> RowsMut<'a> {
    /// `rows` rows of `width` elements, `stride` apart, from the start of `data`.
    #[inline]
    pub fn new(data: &'a mut [f32], rows: usize, width: usize, stride: usize) -> Result<Self, ViewError> {
        check_len(reach(rows, width, stride)?, data.len())?;
        if rows > 1 && stride < width {
            return Err(ViewError::Overlap);
        }
        Ok(Self { base: data.as_mut_ptr(), rows, width, stride, _rows: PhantomData })
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements in a row.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }

    /// All of them, for a while.
    #[inline]
    pub fn all(&mut self) -> RowsMut<'_> {
        RowsMut { ..*self }
    }

    /// All of them, to read.
    #[inline]
    pub fn read(&self) -> Rows<'_> {
        let Self { base, rows, width, stride, .. } = *self;
        Rows { base, rows, width, stride, _rows: PhantomData }
    }

    /// Some columns of each row, as far as there are any.
    #[inline]
    pub fn columns(&mut self, columns: Range<usize>) -> RowsMut<'_> {
        let end = columns.end.min(self.width);
        let start = columns.start.min(end);
        // Without rows there may be no elements at all.
        let base = if self.rows > 0 { self.base.wrapping_add(start) } else { self.base };
        RowsMut { base, width: end - start, ..*self }
    }

    /// Row `row`; empty if there is no such row.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        if row >= self.rows || self.width == 0 {
            return &mut [];
        }
        // SAFETY: whoever made the view checked that its rows lie inside the slice; `self` borrows them exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.base.add(row * self.stride), self.width) }
    }

    /// Cuts the view before row `at` (clamped to the rows).
    #[inline]
    pub fn split(self, at: usize) -> (Self, Self) {
        let at = at.min(self.rows);
        // Rows without elements may have any stride; an empty second half could lie outside the slice.
        let offset = if at < self.rows && self.width > 0 { at * self.stride } else { 0 };
        // SAFETY: if the offset is not 0, row `at` exists, and whoever made the view checked that it lies inside the
        // slice.
        let second = unsafe { self.base.add(offset) };
        (Self { rows: at, ..self }, Self { base: second, rows: self.rows - at, ..self })
    }

    /// The first `rows` rows, or all if there are fewer.
    #[inline]
    pub fn first(self, rows: usize) -> Self {
        self.split(rows).0
    }
}

/// A mutable sequence: `steps × batch` rows of `width` elements at two strides, that do not overlap.
///
/// [`SequenceMut::split_rows`] cuts it between batch rows, so that several threads can each write their own rows at
/// every step.
// What the proofs rest on; `new` checks it, and every cut keeps it:
// - Each row lies inside the slice, and rows do not overlap.
// - Where there is no row since there are no steps, or since the batch is empty, the strides of the other dimension
//   still lead to places inside the slice, or to its end: those of rows of the view that this one was cut from, or 0.
#[derive(Debug)]
pub struct SequenceMut<'a> {
    base: *mut f32,
    steps: usize,
    batch: usize,
    width: usize,
    time_stride: usize,
    batch_stride: usize,
    /// Exclusive access to the elements of the rows, and to nothing between them.
    _rows: PhantomData<&'a mut [f32]>,
}

// SAFETY: like `&mut [f32]`, the view is the only access to its elements, and f32 may move between threads.
unsafe impl Send for SequenceMut<'_> {}

impl<'a> SequenceMut<'a> {
    /// Row (t, b) starts at `t · time_stride + b · batch_stride`.
    ///
    /// Rows must not overlap: the smaller stride (of the dimensions longer than one) is at least `width`, and the
    /// larger at least what all rows of the smaller reach.
    #[inline]
    pub fn new(
        data: &'a mut [f32],
        [steps, batch, width]: [usize; 3],
        [time_stride, batch_stride]: [usize; 2],
    ) -> Result<Self, ViewError> {
        let (time, rows) = ((steps, time_stride), (batch, batch_stride));
        check_len(extent([time, rows], width)?, data.len())?;
        let base = data.as_mut_ptr();
        if [steps, batch, width].contains(&0) {
            // There is no element, and strides could put its place anywhere.
            return Ok(Self {
                base,
                steps,
                batch,
                width,
                time_stride: 0,
                batch_stride: 0,
                _rows: PhantomData,
            });
        }
        // A dimension of one row has no stride to speak of. The extent fits a `usize`, so the reaches do too.
        let apart = |(count, stride): (usize, usize), reach| count == 1 || stride >= reach;
        let reach = |(count, stride): (usize, usize)| (count - 1) * stride + width;
        let nested = |inner, outer| apart(inner, width) && apart(outer, reach(inner));
        if !nested(time, rows) && !nested(rows, time) {
            return Err(ViewError::Overlap);
        }
        Ok(Self { base, steps, batch, width, time_stride, batch_stride, _rows: PhantomData })
    }

    /// A sequence without elements.
    #[inline]
    pub fn empty() -> Self {
        let base = core::ptr::NonNull::dangling().as_ptr();
        Self { base, steps: 0, batch: 0, width: 0, time_stride: 0, batch_stride: 0, _rows: PhantomData }
    }

    /// Number of steps: of slots, where they are used in turn.
    #[inline]
    pub fn slots(&self) -> usize {
        self.steps
    }

    /// Elements in a row.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Some columns of all rows.
    ///
    /// # Safety
    /// - As long as the result is used, nothing else reads or writes these columns at the steps at which it is used. No
    ///   assertion can see that.
    #[inline]
    pub(crate) unsafe fn shared_columns(&self, columns: Range<usize>) -> SequenceMut<'_> {
        let end = columns.end.min(self.width);
        let start = columns.start.min(end);
        // Without rows there may be no elements at all.
        let offset = if self.steps > 0 && self.batch > 0 { start } else { 0 };
        // SAFETY: if the offset is not 0, row (0, 0) exists, and its column `start` is in the slice or one past its
        // end.
        let base = unsafe { self.base.add(offset) };
        SequenceMut { base, width: end - start, ..*self }
    }

    /// The rows of step `t`; `None` past the end.
    #[inline]
    pub fn into_step(self, t: usize) -> Option<RowsMut<'a>> {
        let (rows, width, stride) = (self.batch, self.width, self.batch_stride);
        self.base_of(t).map(|base| RowsMut { base, rows, width, stride, _rows: PhantomData })
    }

    /// Number of batch rows.
    #[inline]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Cuts the view before batch row `at` (clamped to the batch).
    #[inline]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let at = at.min(self.batch);
        // An empty second half keeps the base: its offset could lie outside the slice.
        let offset = if at < self.batch { at * self.batch_stride } else { 0 };
        // SAFETY: if the offset is not 0, batch row `at` exists, so its place at step 0 is inside the slice or at its
        // end.
        let second = unsafe { self.base.add(offset) };
        (Self { batch: at, ..self }, Self { base: second, batch: self.batch - at, ..self })
    }

    /// Cuts the view before step `at` (clamped to the steps).
    #[inline]
    pub fn split_steps(self, at: usize) -> (Self, Self) {
        let at = at.min(self.steps);
        // An empty second half keeps the base: its offset could lie outside the slice.
        let second = self.base_of(at).unwrap_or(self.base);
        (Self { steps: at, ..self }, Self { base: second, steps: self.steps - at, ..self })
    }

    /// Cuts the view before column `at` (clamped to the width).
    #[inline]
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        let at = at.min(self.width);
        // Without rows there may be no elements at all.
        let offset = if self.steps > 0 && self.batch > 0 { at } else { 0 };
        // SAFETY: if the offset is not 0, row (0, 0) exists, and its column `at` is in the slice or one past its end.
        let second = unsafe { self.base.add(offset) };
        (Self { width: at, ..self }, Self { base: second, width: self.width - at, ..self })
    }

    /// All rows of all steps, one step after the other; `None` unless they are equally far apart.
    #[inline]
    pub fn all_rows(&mut self) -> Option<RowsMut<'_>> {
        let Self { base, steps, batch, width, time_stride, batch_stride, .. } = *self;
        let even = steps <= 1 || batch.checked_mul(batch_stride) == Some(time_stride);
        // That many rows have elements in a slice, or none has.
        let rows = steps.checked_mul(batch)?;
        even.then_some(RowsMut { base, rows, width, stride: batch_stride, _rows: PhantomData })
    }

    /// All of it, for a while.
    #[inline]
    pub fn all(&mut self) -> SequenceMut<'_> {
        SequenceMut { ..*self }
    }

    /// The steps of `range` (clamped to those that there are).
    #[inline]
    pub fn steps(&mut self, range: Range<usize>) -> SequenceMut<'_> {
        let end = range.end.min(self.steps);
        let start = range.start.min(end);
        // An empty range keeps the base: its offset could lie outside the slice.
        let base = if start < end { self.base_of(start).unwrap_or(self.base) } else { self.base };
        SequenceMut { base, steps: end - start, ..*self }
    }

    /// The rows of step `t`; `None` past the end.
    #[inline]
    pub fn step(&mut self, t: usize) -> Option<RowsMut<'_>> {
        let (rows, width, stride) = (self.batch, self.width, self.batch_stride);
        self.base_of(t).map(|base| RowsMut { base, rows, width, stride, _rows: PhantomData })
    }

    /// The rows of step `t`, to read; `None` past the end.
    #[inline]
    pub fn read(&self, t: usize) -> Option<Rows<'_>> {
        let (rows, width, stride) = (self.batch, self.width, self.batch_stride);
        self.base_of(t).map(|base| Rows { base, rows, width, stride, _rows: PhantomData })
    }

    /// The rows of step `t`, and those of another step to read; `None` past the end or if both are the same step.
    #[inline]
    pub fn step_beside(&mut self, t: usize, other: usize) -> Option<(RowsMut<'_>, Rows<'_>)> {
        if t == other {
            return None;
        }
        let (rows, width, stride) = (self.batch, self.width, self.batch_stride);
        // Rows of different steps do not overlap: `new` saw to it.
        let (base, other) = (self.base_of(t)?, self.base_of(other)?);
        Some((
            RowsMut { base, rows, width, stride, _rows: PhantomData },
            Rows { base: other, rows, width, stride, _rows: PhantomData },
        ))
    }

    /// Row (t, row); empty if there is none.
    #[inline]
    pub fn row_mut(&mut self, t: usize, row: usize) -> &mut [f32] {
        match self.base_of(t) {
            Some(base) if row < self.batch && self.width > 0 => {
                // SAFETY: the row exists, so it lies inside the slice; `self` borrows it exclusively.
                unsafe { core::slice::from_raw_parts_mut(base.add(row * self.batch_stride), self.width) }
            }
            _ => &mut [],
        }
    }

    /// The same rows once more.
    ///
    /// # Safety
    /// - No row is used through both views. No assertion can see that.
    #[inline]
    pub(crate) unsafe fn alias(&self) -> Self {
        Self { ..*self }
    }

    /// All steps of batch row `row`; `None` past the end.
    #[inline]
    pub fn batch_row(&mut self, row: usize) -> Option<RowsMut<'_>> {
        self.all().into_batch_row(row)
    }

    /// The same, for as long as the sequence lasts.
    #[inline]
    pub fn into_batch_row(self, row: usize) -> Option<RowsMut<'a>> {
        if row >= self.batch {
            return None;
        }
        // SAFETY: batch row `row` exists, so its place at step 0 is inside the slice or at its end.
        let base = unsafe { self.base.add(row * self.batch_stride) };
        let (rows, width, stride) = (self.steps, self.width, self.time_stride);
        Some(RowsMut { base, rows, width, stride, _rows: PhantomData })
    }

    /// Where row (t, 0) starts; `None` past the end.
    #[inline]
    fn base_of(&self, t: usize) -> Option<*mut f32> {
        if t >= self.steps {
            return None;
        }
        // SAFETY: step `t` exists, so the place of its batch row 0 is inside the slice or at its end.
        Some(unsafe { self.base.add(t * self.time_stride) })
    }
}

/// Rows to read as a kernel sees them: where they start and how far they are apart. The shape was checked before.
#[derive(Clone, Copy)]
pub(crate) struct RawRows {
    base: *const f32,
    stride: usize,
}

/// Rows to write as a kernel sees them.
#[derive(Clone, Copy)]
pub(crate) struct RawRowsMut {
    base: *mut f32,
    stride: usize,
}

/// What both kinds of raw rows can do.
macro_rules! raw_rows {
    ($name:ident, $pointer:ty, $null:expr) => {
        impl $name {
            /// No rows.
            pub(crate) const NONE: Self = Self { base: $null, stride: 0 };

            /// Whether there are no rows.
            #[inline(always)]
            pub(crate) fn is_none(self) -> bool {
                self.base.is_null()
            }

            /// Where an element lies.
            ///
            /// # Safety
            /// - The element belongs to the view that these rows are of, and that view is still borrowed.
            #[inline(always)]
            pub(crate) unsafe fn at(self, row: usize, column: usize) -> $pointer {
                debug_assert!(!self.is_none());
                // SAFETY: whoever made the view checked that its elements lie inside a slice.
                unsafe { self.base.add(row * self.stride + column) }
            }
        }
    };
}
raw_rows!(RawRows, *const f32, core::ptr::null());
raw_rows!(RawRowsMut, *mut f32, core::ptr::null_mut());

impl RawRowsMut {
    /// One row.
    #[inline]
    pub(crate) fn one(row: &mut [f32]) -> Self {
        Self { base: row.as_mut_ptr(), stride: 0 }
    }

    /// Elements between two rows.
    #[inline(always)]
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// One of them, as row 0.
    ///
    /// # Safety
    /// - As of [`RawRowsMut::at`], for the first element of that row.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> Self {
        // SAFETY: the caller vouches for the element.
        Self { base: unsafe { self.at(row, 0) }, stride: 0 }
    }

    /// The same rows, to read.
    #[inline]
    pub(crate) fn to_read(self) -> RawRows {
        RawRows { base: self.base, stride: self.stride }
    }
}

impl RawRows {
    /// One row for any number of them.
    #[inline]
    pub(crate) fn one(row: &[f32]) -> Self {
        Self { base: row.as_ptr(), stride: 0 }
    }
}

impl Rows<'_> {
    #[inline]
    pub(crate) fn raw(&self) -> RawRows {
        RawRows { base: self.base, stride: self.stride }
    }
}

impl RowsMut<'_> {
    #[inline]
    pub(crate) fn raw(&mut self) -> RawRowsMut {
        RawRowsMut { base: self.base, stride: self.stride }
    }
}
