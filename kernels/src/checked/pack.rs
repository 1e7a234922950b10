//! Copies of matrices: the checks that make calling their kernel safe.

use crate::dispatch::Kernels;
use crate::gemm::pack::Rearrange;

impl Kernels {
    /// to\[r · to_row + c\] = from\[r · from_row + c · from_column\] for all `rows` and `columns`; zero where that is
    /// below 2⁻⁶³, see [`without_small`](crate::without_small).
    ///
    /// Fast where either stride of `from` is 1: then rows are copied, or transposed in blocks. `past_caches` says that
    /// nobody will read the result soon, or that it is larger than the caches.
    ///
    /// # Panics
    /// If a slice ends too soon. No element is written then.
    pub fn rearrange(
        &self,
        from: &[f32],
        [from_row, from_column]: [usize; 2],
        to: &mut [f32],
        to_row: usize,
        [rows, columns]: [usize; 2],
        past_caches: bool,
    ) {
        if rows == 0 || columns == 0 {
            return;
        }
        let last = |row: usize, column: usize| {
            row.checked_mul(rows - 1)?.checked_add(column.checked_mul(columns - 1)?)
        };
        let ends_in = |last: Option<usize>, len: usize| last.is_some_and(|last| last < len);
        assert!(ends_in(last(from_row, from_column), from.len()), "{rows} × {columns} elements to read");
        assert!(ends_in(last(to_row, 1), to.len()), "{rows} × {columns} elements to write");
        // SAFETY: by the assertions all elements are in the slices, of which one is exclusively borrowed; holding the
        // table is the proof that the CPU has the instruction set.
        unsafe {
            let strides = [from_row, from_column];
            let (from, to, size) = (from.as_ptr(), to.as_mut_ptr(), [rows, columns]);
            let rearrange = Rearrange::new(from, strides, to, to_row, size, past_caches);
            (self.rearrange)(rearrange)
        }
    }
}
