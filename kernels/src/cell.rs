//! The LSTM cell as the epilogue of a gate tile.
//!
//! ```text
//! c' = σ(f) · c + σ(i) · tanh(g)
//! h' = σ(o) · tanh(c')
//! ```
//!
//! The sums of i, f, g and o of the same units arrive in registers; only c and h are read or written.
//!
//! 1. The activations are long chains of dependent operations. The CPU hides their latency by working on several things at
//!    once, but looks ahead only so far. So the cell is cut into two pieces, which run beside the K loop of the next tile
//!    (see `parked.rs`) or, one after the other, over all rows of the tile.
//! 2. A cell state that decays becomes zero before it is a denormal number, see [`flush`].

use crate::activation::{CONSTANTS, flush, sigmoid, tanh};
use crate::panel::GROUP;
use crate::parked::{self, Parked, Pieces};
use crate::simd::Simd;
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

impl<S: Simd<Element = f32>, const TAPE: bool> Pieces<S> for LstmCell<TAPE> {
    const PIECES: usize = 2;

    /// c', which takes the place of tanh(g), and then h'.
    #[inline(always)]
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: &mut [S::Vector; GROUP]) {
        let rows = &self.0;
        let constants = black_box(&CONSTANTS);
        let [i, f, g, o] = [0, 1, 2, 3];
        let unit = vector / LSTM_GATES * S::LANES;
        // SAFETY: whoever made the sweep vouches, at each of its rows and panels, for a vector of either cell state and of
        // `hidden`, with TAPE for four of `gates`, and for `units` elements in each row of `output`, if there is one.
        unsafe {
            let column = |gate: usize| unit * LSTM_GATES + gate * S::LANES;
            if piece == 0 {
                let input = sigmoid(s, sums[i], constants);
                let forget = sigmoid(s, sums[f], constants);
                let candidate = tanh(s, sums[g], constants);
                if TAPE {
                    s.store(rows.gates.at(row, column(i)), input);
                    s.store(rows.gates.at(row, column(f)), forget);
                    s.store(rows.gates.at(row, column(g)), candidate);
                }
                let previous = s.load(rows.previous_cell.at(row, unit));
                let cell = s.mul_add(input, candidate, s.mul(forget, previous));
                let cell = flush(s, cell, constants);
                s.store(rows.cell.at(row, unit), cell);
                sums[g] = cell;
            } else {
                let output = sigmoid(s, sums[o], constants);
                if TAPE {
                    s.store(rows.gates.at(row, column(o)), output);
                }
                let hidden = s.mul(output, tanh(s, sums[g], constants));
                s.store(rows.hidden.at(row, unit), hidden);
                if !rows.output.is_none() {
                    s.store_first(rows.output.at(row, unit), hidden, (rows.units - unit).min(S::LANES));
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>, const TAPE: bool> Epilogue<S, LSTM_GATES> for LstmCell<TAPE> {
    #[inline(always)]
    unsafe fn consume<const R: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; LSTM_GATES]; P]; R],
        place: Option<&mut Parked<S::Vector>>,
    ) {
        // SAFETY: the caller vouches for the rows and panels.
        unsafe { parked::park_or_finish(s, self, row, vector, sums, place) }
    }
}

/// The epilogue of the last panel where its units share vectors: spreads their gates over vectors of their own.
macro_rules! shared_vectors {
    ($($W:literal)*) => {$(
        impl<S: Simd<Element = f32>, const TAPE: bool> Epilogue<S, $W> for LstmCell<TAPE> {
            #[inline(always)]
            unsafe fn consume<const R: usize, const P: usize>(
                &self,
                s: S,
                row: usize,
                vector: usize,
                sums: [[[S::Vector; $W]; P]; R],
                place: Option<&mut Parked<S::Vector>>,
            ) {
                let units = self.0.units % S::LANES;
                debug_assert!(P == 1 && (units * LSTM_GATES).div_ceil(S::LANES) == $W);
                let mut spread = [[[s.zero(); LSTM_GATES]; P]; R];
                for r in 0..R {
                    for p in 0..P {
                        for gate in 0..LSTM_GATES {
                            // Of three vectors, the first two gates lie in the first two, and the others in the last two.
                            let low = usize::from($W == 3 && gate >= 2);
                            let high = (low + 1).min($W - 1);
                            let from = gate * units - low * S::LANES;
                            spread[r][p][gate] = s.window(sums[r][p][low], sums[r][p][high], from);
                        }
                    }
                }
                // SAFETY: the caller vouches for the rows and the panel.
                unsafe { Epilogue::<S, LSTM_GATES>::consume(self, s, row, vector, spread, place) }
            }
        }
    )*};
}
shared_vectors!(1 2 3);
