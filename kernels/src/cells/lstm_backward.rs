//! The backward pass of the LSTM cell, over the sums of dZ' · R, which is what the next step adds to dh.
//!
//! ```text
//! dh  = dZ' · R + cotangent of h            dZ' of the step after this one
//! dc += dh · o · (1 − tanh²(c))
//! dZi = dc · g · i · (1 − i)
//! dZf = dc · c₋ · f · (1 − f)               c₋ of the step before this one
//! dZg = dc · i · (1 − g²)
//! dZo = dh · tanh(c) · o · (1 − o)
//! dc  = dc · f                              for the step before
//! ```
//!
//! The sums of a unit are those of a tile; the gates and cell states come from the tape. tanh(c) is computed again
//! rather than recorded: it costs less than the memory. Gradients that decay become zero like states.

use crate::cells::activation::{CONSTANTS, flush, tanh};
use crate::cells::lstm::LSTM_GATES;
use crate::gemm::micro::Sums;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep. Rows are padded to whole
/// vectors but those of `cotangent` and `gate_gradients`; what stands in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct LstmBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// σ(i), σ(f), tanh(g) and σ(o), as packed rows.
    pub(crate) gates: RawRows,
    /// c of this step.
    pub(crate) cell: RawRows,
    /// c of the step before.
    pub(crate) previous_cell: RawRows,
    /// dc, replaced by that of the step before.
    pub(crate) cell_gradient: RawRowsMut,
    /// Where dZ goes: four rows for each row, one for each gate.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
}

impl Destination for LstmBackwardRows {}

impl LstmBackwardRows {
    /// One vector of units of a row, with its sums.
    ///
    /// # Safety
    /// - `row` and `unit` belong to the sweep that this was made for. Whoever made that vouches for a vector of each padded array
    ///   (four of gates) at each row and vector, and for `units` elements in each row of `cotangent` and `gate_gradients`.
    #[inline(always)]
    unsafe fn vector<S: Simd<Element = f32>>(&self, s: S, row: usize, unit: usize, sums: S::Vector) {
        debug_assert!(unit < self.units);
        let constants = &CONSTANTS;
        let one = s.splat(constants.one);
        let count = (self.units - unit).min(S::LANES);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut dh = sums;
            if !self.cotangent.is_none() {
                dh = s.add(dh, s.load_first(self.cotangent.at(row, unit), count));
            }
            let dh = flush(s, dh, constants);
            let gates = self.gates.at(row, unit * LSTM_GATES);
            let [i, f, g, o] = [
                s.load(gates),
                s.load(gates.add(S::LANES)),
                s.load(gates.add(2 * S::LANES)),
                s.load(gates.add(3 * S::LANES)),
            ];
            let tanh_cell = tanh(s, s.load(self.cell.at(row, unit)), constants);
            let previous = s.load(self.previous_cell.at(row, unit));
            let carry = self.cell_gradient.at(row, unit);
            let slope = s.neg_mul_add(tanh_cell, tanh_cell, one);
            let dc = flush(s, s.mul_add(s.mul(dh, o), slope, s.load(carry)), constants);
            s.store(carry, s.mul(dc, f));
            let di = s.mul(s.mul(dc, g), s.mul(i, s.sub(one, i)));
            let df = s.mul(s.mul(dc, previous), s.mul(f, s.sub(one, f)));
            let dg = s.mul(s.mul(dc, i), s.neg_mul_add(g, g, one));
            let d_o = s.mul(s.mul(dh, tanh_cell), s.mul(o, s.sub(one, o)));
            for (gate, gradient) in [di, df, dg, d_o].into_iter().enumerate() {
                s.store_first(self.gate_gradients.at(row * LSTM_GATES + gate, unit), gradient, count);
            }
        }
    }
}

/// The backward pass of the cell of all lines of a tile.
pub(crate) struct FinishLstmBackward<'a> {
    rows: &'a LstmBackwardRows,
    tile: &'a Sums,
}

impl<'a> FinishLstmBackward<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a LstmBackwardRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishLstmBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let vectors = tile.panels * tile.width;
        for row in 0..tile.rows {
            for vector in 0..vectors {
                // SAFETY: `new`'s caller vouches for the tile, all of whose vectors are visited.
                unsafe {
                    let sums = s.load(tile.sums.add((row * vectors + vector) * S::LANES));
                    rows.vector(s, tile.row + row, (tile.vector + vector) * S::LANES, sums);
                }
            }
        }
    }
}
