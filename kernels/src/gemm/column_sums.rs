//! Sums over rows: what the gradient of a bias is.

use crate::simd::{Operation, Simd};

/// Columns whose sums are kept in registers at once, in vectors.
const TOGETHER: usize = 4;

/// sums[column] = Σ over rows of rows[row][column]
pub(crate) struct ColumnSums {
    rows: *const f32,
    count: usize,
    row_stride: usize,
    sums: *mut f32,
    columns: usize,
}

impl ColumnSums {
    /// # Safety
    /// - `rows + r · row_stride` is valid for reads of `columns` elements, for all r < `count`,
    /// - `sums` is valid for writes of `columns` elements, and overlaps none of the rows.
    pub(crate) unsafe fn new(
        rows: *const f32,
        count: usize,
        row_stride: usize,
        sums: *mut f32,
        columns: usize,
    ) -> Self {
        Self { rows, count, row_stride, sums, columns }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for ColumnSums {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let mut column = 0;
        while column < self.columns {
            let group = TOGETHER * S::LANES;
            if self.columns >= group {
                // The last group steps back to a full one; a sum that is computed twice is the same.
                let first = column.min(self.columns - group);
                let mut sums = [s.zero(); TOGETHER];
                for row in 0..self.count {
                    for n in 0..TOGETHER {
                        // SAFETY: each row has `columns` elements, which the group does not exceed.
                        let loaded =
                            unsafe { s.load(self.rows.add(row * self.row_stride + first + n * S::LANES)) };
                        sums[n] = s.add(sums[n], loaded);
                    }
                }
                for n in 0..TOGETHER {
                    // SAFETY: as above.
                    unsafe { s.store(self.sums.add(first + n * S::LANES), sums[n]) };
                }
                column = first + group;
            } else {
                let count = S::LANES.min(self.columns - column);
                let mut sum = s.zero();
                for row in 0..self.count {
                    // SAFETY: each row has `columns` elements.
                    let loaded =
                        unsafe { s.load_first(self.rows.add(row * self.row_stride + column), count) };
                    sum = s.add(sum, loaded);
                }
                // SAFETY: as above.
                unsafe { s.store_first(self.sums.add(column), sum, count) };
                column += count;
            }
        }
    }
}
