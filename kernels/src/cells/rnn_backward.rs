//! The backward pass of the plain recurrent cell, over the sums of dZ' · R.
//!
//! ```text
//! dh = dZ' · R + cotangent of h             dZ' of the step after this one
//! dZ = dh · φ'(z)                           tanh: 1 − h²;  max(0, ·): 1 where h > 0, else 0
//! ```
//!
//! φ' follows from h, so nothing but h is recorded. Gradients that decay become zero like states.

use crate::cells::activation::{CONSTANTS, flush};
use crate::cells::rnn::Nonlinearity;
use crate::gemm::micro::Sums;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep.
#[derive(Clone, Copy)]
pub(crate) struct RnnBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// h of this step, rows padded to whole vectors.
    pub(crate) hidden: RawRows,
    /// Where dZ goes.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
    pub(crate) function: Nonlinearity,
}

impl Destination for RnnBackwardRows {}

/// The backward pass of the cell of all lines of a tile.
pub(crate) struct FinishRnnBackward<'a> {
    rows: &'a RnnBackwardRows,
    tile: &'a Sums,
}

impl<'a> FinishRnnBackward<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there. Whoever made the sweep
    ///   vouches, at each of its rows and vectors, for a vector of `hidden`, and for `units` elements in each row of the others.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a RnnBackwardRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishRnnBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let vectors = tile.panels * tile.width;
        let one = s.splat(1.0);
        for row in 0..tile.rows {
            for vector in 0..vectors {
                let unit = (tile.vector + vector) * S::LANES;
                debug_assert!(unit < rows.units);
                let count = (rows.units - unit).min(S::LANES);
                let row_of_all = tile.row + row;
                // SAFETY: `new`'s caller vouches for the tile, all of whose vectors are visited, and for the rows.
                unsafe {
                    let mut dh = s.load(tile.sums.add((row * vectors + vector) * S::LANES));
                    if !rows.cotangent.is_none() {
                        dh = s.add(dh, s.load_first(rows.cotangent.at(row_of_all, unit), count));
                    }
                    let dh = flush(s, dh, &CONSTANTS);
                    let hidden = s.load(rows.hidden.at(row_of_all, unit));
                    let dz = match rows.function {
                        Nonlinearity::Tanh => s.mul(dh, s.neg_mul_add(hidden, hidden, one)),
                        Nonlinearity::Relu => s.select_less(s.zero(), hidden, dh, s.zero()),
                    };
                    s.store_first(rows.gate_gradients.at(row_of_all, unit), dz, count);
                }
            }
        }
    }
}
