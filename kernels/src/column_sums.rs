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
    vectors: usize,
}

impl ColumnSums {
    /// # Safety
    /// - `rows + r · row_stride` is valid for reads of `vectors` vectors, for all r < `count`,
    /// - `sums` is valid for writes of `vectors` vectors, and overlaps none of the rows.
    pub(crate) unsafe fn new(
        rows: *const f32,
        count: usize,
        row_stride: usize,
        sums: *mut f32,
        vectors: usize,
    ) -> Self {
        Self { rows, count, row_stride, sums, vectors }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for ColumnSums {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let mut vector = 0;
        while vector < self.vectors {
            // The last group steps back to a full one; a sum that is computed twice is the same.
            let first = if self.vectors >= TOGETHER { vector.min(self.vectors - TOGETHER) } else { vector };
            let together = if self.vectors >= TOGETHER { TOGETHER } else { 1 };
            let mut sums = [s.zero(); TOGETHER];
            for row in 0..self.count {
                for n in 0..together {
                    // SAFETY: `new`'s caller vouches for `vectors` vectors in each row, and first + n is one of them.
                    let loaded =
                        unsafe { s.load(self.rows.add(row * self.row_stride + (first + n) * S::LANES)) };
                    sums[n] = s.add(sums[n], loaded);
                }
            }
            for n in 0..together {
                // SAFETY: as above.
                unsafe { s.store(self.sums.add((first + n) * S::LANES), sums[n]) };
            }
            vector = first + together;
        }
    }
}
