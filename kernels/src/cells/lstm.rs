//! The LSTM cell, over the sums of a tile of gates.
//!
//! ```text
//! c' = σ(f) · c + σ(i) · tanh(g)
//! h' = σ(o) · tanh(c')
//! ```
//!
//! The sums of i, f, g and o of the same units lie side by side; beside them only c and h are read or written.
//!
//! 1. The activations are long chains of dependent operations. The CPU hides their latency by working on several things at
//!    once, but looks ahead only so far. So the cell is cut into two pieces, which run beside the K loops of the next tile
//!    (see [`Deferred`]) or, one after the other, over all rows of the tile.
//! 2. A cell state that decays becomes zero before it is a denormal number, see [`flush`].

use crate::cells::activation::{CONSTANTS, Constants, flush, sigmoid, tanh};
use crate::gemm::micro::{Deferred, Sums, SumsBuffer};
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::hint::black_box;

/// Gates of an LSTM, in the order of the packed weights: i, f, g, o.
pub(crate) const LSTM_GATES: usize = PANEL_VECTORS;

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
    /// Where σ(i), σ(f), tanh(g) and σ(o) go, if anywhere, as packed rows.
    pub(crate) gates: RawRowsMut,
}

impl Destination for LstmRows {}

impl LstmRows {
    /// Piece 0 is c', which takes the place of tanh(g); piece 1 is h'.
    ///
    /// # Safety
    /// - As of [`Deferred::piece`]: whoever made the sweep vouches, at each of its rows and panels, for a vector of either cell
    ///   state and of `hidden`, for four of `gates`, if there are any, and for `units` elements in each row of `output`, if there
    ///   is one.
    #[inline(always)]
    unsafe fn piece<S: Simd<Element = f32>>(
        &self,
        s: S,
        piece: usize,
        row: usize,
        unit: usize,
        sums: *mut f32,
        constants: &Constants,
    ) {
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gate * S::LANES);
        debug_assert!(piece < 2 && unit < self.units);
        // SAFETY: the caller vouches for the sums and the rows.
        unsafe {
            if piece == 0 {
                let input = sigmoid(s, s.load(sums.add(i)), constants);
                let forget = sigmoid(s, s.load(sums.add(f)), constants);
                let candidate = tanh(s, s.load(sums.add(g)), constants);
                if !self.gates.is_none() {
                    let gates = self.gates.at(row, unit * LSTM_GATES);
                    s.store(gates.add(i), input);
                    s.store(gates.add(f), forget);
                    s.store(gates.add(g), candidate);
                }
                let previous = s.load(self.previous_cell.at(row, unit));
                let cell = s.mul_add(input, candidate, s.mul(forget, previous));
                let cell = flush(s, cell, constants);
                s.store(self.cell.at(row, unit), cell);
                s.store(sums.add(g), cell);
            } else {
                let output = sigmoid(s, s.load(sums.add(o)), constants);
                if !self.gates.is_none() {
                    s.store(self.gates.at(row, unit * LSTM_GATES + o), output);
                }
                let hidden = s.mul(output, tanh(s, s.load(sums.add(g)), constants));
                s.store(self.hidden.at(row, unit), hidden);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden, (self.units - unit).min(S::LANES));
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>> Deferred<S> for LstmRows {
    const PIECES: usize = 2;

    #[inline(always)]
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32) {
        let unit = vector / LSTM_GATES * S::LANES;
        // The constants are loaded anew for each piece: else the compiler keeps some in registers during the K loop, which needs
        // them all, and spills sums instead (measured at 50,64,512,512: 7 % of a training step).
        // SAFETY: the caller vouches for all of it.
        unsafe { LstmRows::piece(self, s, piece, row, unit, sums, black_box(&CONSTANTS)) }
    }
}

/// The cell of all lines of a tile.
pub(crate) struct FinishLstm<'a> {
    rows: &'a LstmRows,
    tile: &'a Sums,
}

impl<'a> FinishLstm<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there, and nobody else's.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a LstmRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishLstm<'_> {
    type Output = ();

    /// A piece of some lines, then the next piece, so that the chains of the lines hide each other's latency.
    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let first = tile.vector / LSTM_GATES * S::LANES;
        let line_len = LSTM_GATES * S::LANES;
        let mut spread = SumsBuffer::new();
        let mut sums = tile.sums;
        // SAFETY: `new`'s caller vouches for the tile, whose lines lie one after the other; spread, they do so too.
        unsafe {
            if tile.width < LSTM_GATES {
                let to = spread.as_mut_ptr();
                for line in 0..tile.lines() {
                    let from = sums.add(line * tile.width * S::LANES);
                    spread_gates(s, from, tile.width, rows.units, to.add(line * line_len));
                }
                sums = to;
            }
            for piece in 0..2 {
                for row in 0..tile.rows {
                    for panel in 0..tile.panels {
                        let line = sums.add((row * tile.panels + panel) * line_len);
                        rows.piece(s, piece, tile.row + row, first + panel * S::LANES, line, &CONSTANTS);
                    }
                }
            }
        }
    }
}

/// Spreads the gates of a line of the last panel, where its units share `width` vectors, over vectors of their own.
///
/// # Safety
/// - `sums` is valid for reads of `width` vectors, 0 < `width` < 4, and `to` for writes of four.
#[inline(always)]
pub(crate) unsafe fn spread_gates<S: Simd<Element = f32>>(
    s: S,
    sums: *const f32,
    width: usize,
    units: usize,
    to: *mut f32,
) {
    let units = units % S::LANES;
    debug_assert!(width < LSTM_GATES && (units * LSTM_GATES).div_ceil(S::LANES) == width);
    for gate in 0..LSTM_GATES {
        // Of three vectors, the first two gates lie in the first two, and the others in the last two.
        let low = usize::from(width == 3 && gate >= 2);
        let high = (low + 1).min(width - 1);
        // SAFETY: the caller vouches for the vectors of either.
        unsafe {
            let [low_vector, high_vector] = [low, high].map(|vector| sums.add(vector * S::LANES));
            let from = gate * units - low * S::LANES;
            let spread = s.concat_shift(s.load(low_vector), s.load(high_vector), from);
            s.store(to.add(gate * S::LANES), spread);
        }
    }
}
