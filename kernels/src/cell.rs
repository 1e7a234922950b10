//! The LSTM cell as the epilogue of a gate tile.
//!
//! ```text
//! c' = σ(f) · c + σ(i) · tanh(g)
//! h' = σ(o) · tanh(c')
//! ```
//!
//! The sums of i, f, g and o of the same units arrive in registers; only c and h are read or written.
//!
//! 1. The activations are long chains of dependent operations. The CPU hides their latency by working on several at
//!    once, but looks ahead only so far. So each function has a loop of its own over the whole tile, through a buffer
//!    on the stack, rather than each row its whole cell (measured with AVX-512, in multiply-add slots per row and
//!    vector of units: 101 against 145, of which 81 are the activations').
//! 2. States that decay would end in denormal numbers, which many CPUs compute slowly. So a cell state below
//!    [`FLUSH`] in magnitude becomes zero. The threshold leaves room for the products that follow: h = o · tanh(c) and
//!    R · h stay normal unless a gate or a weight is itself below 2⁻²⁶.

use crate::activation::{sigmoid, tanh};
use crate::simd::{CacheLines, Simd, store_first};
use crate::tile::Epilogue;
use crate::views::{RawRows, RawRowsMut};

/// Cell states of smaller magnitude become zero: 2⁻¹⁰⁰.
pub(crate) const FLUSH: f32 = f32::from_bits((127 - 100) << 23);

/// Gates of an LSTM, in the order of the packed weights: i, f, g, o.
pub(crate) const LSTM_GATES: usize = 4;

/// Where the cell reads and writes. Rows are padded to whole vectors but those of `output`.
#[derive(Clone, Copy)]
pub(crate) struct LstmRows {
    /// c.
    pub(crate) previous_cell: RawRows,
    /// Where c' goes; may be where c is.
    pub(crate) cell: RawRowsMut,
    /// Where h' goes.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `output`.
    pub(crate) units: usize,
    /// With a tape: where σ(i), σ(f), tanh(g) and σ(o) go, as packed rows.
    pub(crate) gates: RawRowsMut,
}

/// The epilogue. With TAPE, it also records the gates.
#[derive(Clone, Copy)]
pub(crate) struct LstmCell<const TAPE: bool>(pub(crate) LstmRows);

impl<S: Simd<Element = f32>, const TAPE: bool> Epilogue<S, LSTM_GATES> for LstmCell<TAPE> {
    #[inline(always)]
    unsafe fn finish<const R: usize, const P: usize>(
        self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; LSTM_GATES]; P]; R],
    ) {
        let rows = self.0;
        let panel = vector / LSTM_GATES;
        let [i, f, g, o] = [0, 1, 2, 3];
        let mut gates = CacheLines(sums);
        let gates = &mut gates.0;
        for r in 0..R {
            for p in 0..P {
                for gate in [i, f, o] {
                    gates[r][p][gate] = sigmoid(s, gates[r][p][gate]);
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                gates[r][p][g] = tanh(s, gates[r][p][g]);
            }
        }
        for r in 0..R {
            for p in 0..P {
                let (row, unit) = (row + r, (panel + p) * S::LANES);
                // SAFETY: whoever made the sweep vouches for a vector of either cell state, and with TAPE for four of
                // `gates`, at each of its rows and panels.
                unsafe {
                    if TAPE {
                        for gate in 0..LSTM_GATES {
                            let column = unit * LSTM_GATES + gate * S::LANES;
                            s.store(rows.gates.at(row, column), gates[r][p][gate]);
                        }
                    }
                    let previous = s.load(rows.previous_cell.at(row, unit));
                    let cell = s.mul_add(gates[r][p][i], gates[r][p][g], s.mul(gates[r][p][f], previous));
                    let cell = flush(s, cell);
                    s.store(rows.cell.at(row, unit), cell);
                    gates[r][p][g] = cell;
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                let (row, unit) = (row + r, (panel + p) * S::LANES);
                let hidden = s.mul(gates[r][p][o], tanh(s, gates[r][p][g]));
                // SAFETY: whoever made the sweep vouches for a vector of `hidden` at each of its rows and panels, and
                // for `units` elements in each row of `output`, if there is one.
                unsafe {
                    s.store(rows.hidden.at(row, unit), hidden);
                    if !rows.output.is_none() {
                        store_first(s, rows.output.at(row, unit), hidden, (rows.units - unit).min(S::LANES));
                    }
                }
            }
        }
    }
}

/// Zero where |v| is below [`FLUSH`], else `v`.
#[inline(always)]
pub(crate) fn flush<S: Simd<Element = f32>>(s: S, v: S::Vector) -> S::Vector {
    s.select_less(s.abs(v), s.splat(FLUSH), s.zero(), v)
}
