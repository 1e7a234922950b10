//! Copies a matrix into rows of another order, without what is too small to compute with: how weights are packed.

use crate::small::{four_without_small, without_small};
use wide::f32x4;

/// Side of a block that is turned in registers.
const BLOCK: usize = 4;

/// Rows that are filled before the next columns: their lines stay in the first cache meanwhile.
const ROWS: usize = 128;

/// to\[r · to_row + c\] = from\[r · from_row + c · from_column\] for all `rows` and `columns`; zero where that is below 2⁻⁶³.
///
/// Fast where either stride of `from` is 1: then rows are copied, or blocks of 4 × 4 turned.
///
/// # Panics
/// If a slice ends too soon.
pub fn rearrange(
    from: &[f32],
    [from_row, from_column]: [usize; 2],
    to: &mut [f32],
    to_row: usize,
    [rows, columns]: [usize; 2],
) {
    let blocks = columns - columns % BLOCK;
    let done = if from_column == 1 {
        for row in 0..rows {
            let (from, to) = (&from[row * from_row..][..columns], &mut to[row * to_row..][..columns]);
            for (to, from) in to.chunks_exact_mut(BLOCK).zip(from.chunks_exact(BLOCK)) {
                to.copy_from_slice(&vector(from).to_array());
            }
        }
        [rows, blocks]
    } else if from_row == 1 {
        let whole = rows - rows % BLOCK;
        for first in (0..whole).step_by(ROWS) {
            let count = ROWS.min(whole - first);
            for column in (0..blocks).step_by(BLOCK) {
                let line = |n: usize| from[(column + n) * from_column + first..][..count].chunks_exact(BLOCK);
                let lines = line(0).zip(line(1)).zip(line(2).zip(line(3)));
                for (block, ((a, b), (c, d))) in lines.enumerate() {
                    let turned = f32x4::transpose([a, b, c, d].map(vector));
                    let row = first + block * BLOCK;
                    for (n, line) in turned.into_iter().enumerate() {
                        to[(row + n) * to_row + column..][..BLOCK].copy_from_slice(&line.to_array());
                    }
                }
            }
        }
        [whole, blocks]
    } else {
        [0, 0]
    };
    for row in 0..rows {
        let first = if row < done[0] { done[1] } else { 0 };
        for column in first..columns {
            to[row * to_row + column] = without_small(from[row * from_row + column * from_column]);
        }
    }
}

/// Four numbers, zero where they are too small.
#[inline]
fn vector(block: &[f32]) -> f32x4 {
    four_without_small(f32x4::new([block[0], block[1], block[2], block[3]]))
}
