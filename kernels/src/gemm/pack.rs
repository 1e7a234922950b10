//! Copies a matrix into rows of another order, without what is too small to compute with: how weights are packed.

use crate::gemm::micro::LINE;
use crate::simd::{MAX_LANES, Operation, Simd};
use crate::small::without_small;
use core::ptr;

/// Rows that are filled at a time where a matrix is transposed: as many as vectors that are transposed at a time.
const ROWS: usize = 4;

/// to\[r · to_row + c\] = from\[r · from_row + c · from_column\] for all rows and columns; zero where that is below
/// 2⁻⁶³.
pub(crate) struct Rearrange {
    from: *const f32,
    from_row: usize,
    from_column: usize,
    to: *mut f32,
    to_row: usize,
    rows: usize,
    columns: usize,
    past_caches: bool,
}

impl Rearrange {
    /// # Safety
    /// For all r < `rows` and c < `columns`:
    /// - `from + r · from_row + c · from_column` is valid for reads, and `to + r · to_row + c` for writes,
    /// - none of the former is one of the latter.
    pub(crate) unsafe fn new(
        from: *const f32,
        [from_row, from_column]: [usize; 2],
        to: *mut f32,
        to_row: usize,
        [rows, columns]: [usize; 2],
        past_caches: bool,
    ) -> Self {
        Self { from, from_row, from_column, to, to_row, rows, columns, past_caches }
    }

    /// Whether whole vectors of the result are written past the caches: if they are whole cache lines.
    #[inline(always)]
    fn streams<S: Simd<Element = f32>>(&self) -> bool {
        let are_lines = S::LANES == LINE && self.to_row.is_multiple_of(LINE);
        self.past_caches && are_lines && self.to.addr().is_multiple_of(size_of::<[f32; LINE]>())
    }

    /// Writes a vector of the result.
    ///
    /// # Safety
    /// - It is one of the result, from a multiple of LANES columns on, and `streams` is what [`Rearrange::streams`]
    ///   says.
    #[inline(always)]
    unsafe fn store<S: Simd<Element = f32>>(&self, s: S, to: *mut f32, value: S::Vector, streams: bool) {
        // SAFETY: the caller vouches for the vector, which is a cache line if it is streamed.
        unsafe { if streams { s.stream(to, value) } else { s.store(to, value) } }
    }

    /// Rows that lie in rows.
    #[inline(always)]
    fn copy<S: Simd<Element = f32>>(&self, s: S) {
        let streams = self.streams::<S>();
        for row in 0..self.rows {
            for column in (0..self.columns).step_by(S::LANES) {
                let count = S::LANES.min(self.columns - column);
                // SAFETY: the columns of a row are consecutive in both matrices.
                unsafe {
                    let x = s.load_first(self.from.add(row * self.from_row + column), count);
                    let to = self.to.add(row * self.to_row + column);
                    if count == S::LANES {
                        self.store(s, to, s.flush(x), streams);
                    } else {
                        s.store_first(to, s.flush(x), count);
                    }
                }
            }
        }
    }

    /// Rows that lie in columns: blocks of four rows, a vector of columns each, are transposed in registers.
    #[inline(always)]
    fn transpose<S: Simd<Element = f32>>(&self, s: S) {
        let streams = self.streams::<S>();
        for column in (0..self.columns).step_by(S::LANES) {
            let count = S::LANES.min(self.columns - column);
            // SAFETY: the first row has this column.
            let (from, to) = unsafe { (self.from.add(column * self.from_column), self.to.add(column)) };
            let whole = if count == S::LANES { self.rows - self.rows % ROWS } else { 0 };
            for row in (0..whole).step_by(ROWS) {
                // SAFETY: four rows of LANES columns from here on are in both matrices; the rows of a column are
                // consecutive in `from`.
                unsafe {
                    let block = transposed(s, from.add(row), self.from_column);
                    for n in 0..ROWS {
                        self.store(s, self.to_row(to, row + n), block[n], streams);
                    }
                }
            }
            for row in (whole..self.rows).step_by(ROWS) {
                let rows = ROWS.min(self.rows - row);
                let mut padded = [0.0; ROWS * MAX_LANES];
                // SAFETY: `rows` rows of `count` columns from here on are in both matrices, and LANES columns of four
                // rows in the buffer.
                unsafe {
                    for n in 0..count {
                        let column = from.add(n * self.from_column + row);
                        ptr::copy_nonoverlapping(column, padded.as_mut_ptr().add(n * ROWS), rows);
                    }
                    let block = transposed(s, padded.as_ptr(), ROWS);
                    for n in 0..rows {
                        s.store_first(self.to_row(to, row + n), block[n], count);
                    }
                }
            }
        }
    }

    /// Where a row of the result begins.
    ///
    /// # Safety
    /// - `to` is in the first row, and `row < self.rows`.
    #[inline(always)]
    unsafe fn to_row(&self, to: *mut f32, row: usize) -> *mut f32 {
        debug_assert!(row < self.rows);
        // SAFETY: the caller vouches for the row.
        unsafe { to.add(row * self.to_row) }
    }
}

/// Four rows of LANES columns each, without what is too small; a column lies in four consecutive elements, `stride`
/// from the next.
///
/// # Safety
/// - `from + c · stride` is valid for reads of four elements, for all c < LANES.
#[inline(always)]
unsafe fn transposed<S: Simd<Element = f32>>(s: S, from: *const f32, stride: usize) -> [S::Vector; ROWS] {
    // Vector n has the columns n, n + 4, …
    // SAFETY: the caller vouches for the columns.
    let vectors = unsafe {
        [
            s.load_fours(from, 4 * stride),
            s.load_fours(from.add(stride), 4 * stride),
            s.load_fours(from.add(2 * stride), 4 * stride),
            s.load_fours(from.add(3 * stride), 4 * stride),
        ]
    };
    let [a, b, c, d] = s.transpose_fours(vectors);
    [s.flush(a), s.flush(b), s.flush(c), s.flush(d)]
}

impl<S: Simd<Element = f32>> Operation<S> for Rearrange {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        if self.from_column == 1 {
            self.copy(s);
        } else if self.from_row == 1 {
            self.transpose(s);
        } else {
            for row in 0..self.rows {
                for column in 0..self.columns {
                    // SAFETY: the element is in both matrices.
                    unsafe {
                        let x = *self.from.add(row * self.from_row + column * self.from_column);
                        *self.to.add(row * self.to_row + column) = without_small(x);
                    }
                }
            }
        }
        if self.past_caches {
            s.end_streams();
        }
    }
}
