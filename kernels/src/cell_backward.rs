//! The backward pass of the LSTM cell as the epilogue of the product dZ' · R, which is what the next step adds to dh.
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
//! The sums of a unit arrive in registers; the gates and cell states come from the tape. tanh(c) is computed again
//! rather than recorded: it costs less than the memory. Gradients that decay become zero like states.

use crate::activation::{CONSTANTS, flush, tanh};
use crate::cell::LSTM_GATES;
use crate::parked::{Parked, Pieces};
use crate::simd::Simd;
use crate::tile::Epilogue;
use crate::views::{RawRows, RawRowsMut};
use core::hint::black_box;

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep. Rows are padded to whole
/// vectors but those of `cotangent` and `gate_gradients`; what stands in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct LstmCellBackward {
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

impl<S: Simd<Element = f32>> Pieces<S> for LstmCellBackward {}

impl<S: Simd<Element = f32>, const G: usize> Epilogue<S, G> for LstmCellBackward {
    #[inline(always)]
    unsafe fn consume<const R: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; G]; P]; R],
        _place: Option<&mut Parked<S::Vector>>,
    ) {
        let constants = black_box(&CONSTANTS);
        let one = s.splat(constants.one);
        for r in 0..R {
            for p in 0..P {
                for n in 0..G {
                    let (row, panel) = (row + r, vector + p * G + n);
                    let unit = panel * S::LANES;
                    let gate_column = panel * LSTM_GATES * S::LANES;
                    let count = (self.units - unit).min(S::LANES);
                    // SAFETY: whoever made the sweep vouches for a vector of each padded array (four of gates) at each
                    // row and vector, and for `units` elements in each row of `cotangent` and `gate_gradients`.
                    unsafe {
                        let mut dh = sums[r][p][n];
                        if !self.cotangent.is_none() {
                            dh = s.add(dh, s.load_first(self.cotangent.at(row, unit), count));
                        }
                        let dh = flush(s, dh, constants);
                        let [i, f, g, o] = load_gates(s, self.gates.at(row, gate_column));
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
                            let to = self.gate_gradients.at(row * LSTM_GATES + gate, unit);
                            s.store_first(to, gradient, count);
                        }
                    }
                }
            }
        }
    }
}

/// The gates of one row and panel.
///
/// # Safety
/// - `from` is valid for reads of four vectors.
#[inline(always)]
unsafe fn load_gates<S: Simd>(s: S, from: *const S::Element) -> [S::Vector; LSTM_GATES] {
    let mut gates = [s.zero(); LSTM_GATES];
    for gate in 0..LSTM_GATES {
        // SAFETY: the caller vouches for four vectors.
        gates[gate] = unsafe { s.load(from.add(gate * S::LANES)) };
    }
    gates
}
