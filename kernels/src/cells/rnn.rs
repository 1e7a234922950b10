//! The plain recurrent cell, over the sums of a tile: a panel has the sums of four vectors of units.
//!
//! ```text
//! h' = φ(z)                                 φ is tanh, or max(0, ·)
//! ```

use crate::cells::activation::{CONSTANTS, flush, tanh};
use crate::gemm::micro::Sums;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::RawRowsMut;

/// The function of a plain recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// tanh
    #[default]
    Tanh,
    /// max(0, ·)
    Relu,
}

/// Where the cell writes, from the first unit of the sweep.
#[derive(Clone, Copy)]
pub(crate) struct RnnRows {
    /// Where h' goes, rows padded to whole vectors; what comes to stand in the padding means nothing.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `output`.
    pub(crate) units: usize,
    pub(crate) function: Nonlinearity,
}

impl Destination for RnnRows {}

/// The cell of all lines of a tile.
pub(crate) struct FinishRnn<'a> {
    rows: &'a RnnRows,
    tile: &'a Sums,
}

impl<'a> FinishRnn<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there. Whoever made the sweep
    ///   vouches, at each of its rows and vectors, for a vector of `hidden`, and for `units` elements in each row of `output`.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a RnnRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishRnn<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let vectors = tile.panels * tile.width;
        for row in 0..tile.rows {
            for vector in 0..vectors {
                let unit = (tile.vector + vector) * S::LANES;
                debug_assert!(unit < rows.units);
                // SAFETY: `new`'s caller vouches for the tile, all of whose vectors are visited, and for the rows.
                unsafe {
                    let sum = s.load(tile.sums.add((row * vectors + vector) * S::LANES));
                    let hidden = match rows.function {
                        Nonlinearity::Tanh => tanh(s, sum, &CONSTANTS),
                        Nonlinearity::Relu => s.at_least(s.zero(), sum),
                    };
                    let hidden = flush(s, hidden, &CONSTANTS);
                    s.store(rows.hidden.at(tile.row + row, unit), hidden);
                    if !rows.output.is_none() {
                        let count = (rows.units - unit).min(S::LANES);
                        s.store_first(rows.output.at(tile.row + row, unit), hidden, count);
                    }
                }
            }
        }
    }
}
