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
//! 2. A cell state that decays becomes zero before it is a denormal number, see [`flush`].

use crate::activation::{CONSTANTS, flush, sigmoid, tanh};
use crate::panel::GROUP;
use crate::simd::{CacheLines, MAX_LANES, Simd};
use crate::tile::Epilogue;
use crate::views::{RawRows, RawRowsMut};
use core::hint::black_box;

/// Gates of an LSTM, in the order of the packed weights: i, f, g, o.
pub(crate) const LSTM_GATES: usize = GROUP;

/// Where the cell reads and writes, from the first unit of the sweep. Rows are padded to whole vectors but those of
/// `output`; what comes to stand in the padding means nothing.
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
        &self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; LSTM_GATES]; P]; R],
    ) {
        let rows = &self.0;
        let panel = vector / LSTM_GATES;
        let constants = black_box(&CONSTANTS);
        let [i, f, g, o] = [0, 1, 2, 3];
        let mut gates = CacheLines(sums);
        let gates = &mut gates.0;
        for r in 0..R {
            for p in 0..P {
                for gate in [i, f, o] {
                    gates[r][p][gate] = sigmoid(s, gates[r][p][gate], constants);
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                gates[r][p][g] = tanh(s, gates[r][p][g], constants);
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
                    let cell = flush(s, cell, constants);
                    s.store(rows.cell.at(row, unit), cell);
                    gates[r][p][g] = cell;
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                let (row, unit) = (row + r, (panel + p) * S::LANES);
                let hidden = s.mul(gates[r][p][o], tanh(s, gates[r][p][g], constants));
                // SAFETY: whoever made the sweep vouches for a vector of `hidden` at each of its rows and panels, and
                // for `units` elements in each row of `output`, if there is one.
                unsafe {
                    s.store(rows.hidden.at(row, unit), hidden);
                    if !rows.output.is_none() {
                        s.store_first(rows.output.at(row, unit), hidden, (rows.units - unit).min(S::LANES));
                    }
                }
            }
        }
    }
}

/// The epilogue of the last panel where its units share vectors: spreads their gates over vectors of their own.
macro_rules! shared_vectors {
    ($($W:literal)*) => {$(
        impl<S: Simd<Element = f32>, const TAPE: bool> Epilogue<S, $W> for LstmCell<TAPE> {
            #[inline(always)]
            unsafe fn finish<const R: usize, const P: usize>(
                &self,
                s: S,
                row: usize,
                vector: usize,
                sums: [[[S::Vector; $W]; P]; R],
            ) {
                let units = self.0.units % S::LANES;
                debug_assert!(P == 1 && units * LSTM_GATES <= $W * S::LANES);
                // Gate after gate, `units` elements each; the last load reads beyond.
                let mut gates = CacheLines([0.0f32; (LSTM_GATES + 1) * MAX_LANES]);
                let mut spread = [[[s.zero(); LSTM_GATES]; P]; R];
                for r in 0..R {
                    for p in 0..P {
                        // SAFETY: the buffer has W + 1 ≤ 5 vectors, and gate · units + LANES ≤ 4 · LANES elements.
                        unsafe {
                            for w in 0..$W {
                                s.store(gates.0.as_mut_ptr().add(w * S::LANES), sums[r][p][w]);
                            }
                            for gate in 0..LSTM_GATES {
                                spread[r][p][gate] = s.load(gates.0.as_ptr().add(gate * units));
                            }
                        }
                    }
                }
                // SAFETY: the caller vouches for the rows and the panel.
                unsafe { Epilogue::<S, LSTM_GATES>::finish(self, s, row, vector, spread) }
            }
        }
    )*};
}
shared_vectors!(1 2 3);
