//! The cell of a gated recurrent unit whose reset gate comes after the product, over the sums of a tile.
//!
//! ```text
//! n  = tanh(x̂ + σ(r) · ĥ)                  x̂ = W·x + b and ĥ = R·h + b of the candidate
//! h' = n + σ(z) · (h − n)
//! ```
//!
//! The candidate's two products do not meet before the reset gate has come between, so a unit has four sums: x̂, r, z and ĥ, in
//! this order, so that what W feeds lies side by side, and what R feeds too. Like that of an LSTM ([`super::lstm`]), the cell is
//! cut into two pieces, which run beside the K loops of the next tile where there are registers for that.

use crate::cells::activation::{CONSTANTS, Constants, flush, sigmoid, tanh};
use crate::cells::lstm::spread_gates;
use crate::gemm::micro::{Deferred, Sums, SumsBuffer};
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::hint::black_box;

/// Sums of a unit, in the order of the packed weights: x̂, r, z and ĥ.
pub(crate) const GRU_SUMS: usize = PANEL_VECTORS;

/// Where the cell reads and writes, from the first unit of the sweep. Rows of `hidden` and `recorded` are padded to whole vectors;
/// what comes to stand in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct GruRows {
    /// h.
    pub(crate) previous_hidden: RawRows,
    /// Where h' goes.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `previous_hidden` and `output`.
    pub(crate) units: usize,
    /// Where n, σ(r), σ(z) and ĥ go, if anywhere, as packed rows.
    pub(crate) recorded: RawRowsMut,
}

impl Destination for GruRows {}

impl GruRows {
    /// Piece 0 is n, which takes the place of x̂; piece 1 is h'.
    ///
    /// # Safety
    /// - As of [`Deferred::piece`]: whoever made the sweep vouches, at each of its rows and panels, for a vector of `hidden`, for
    ///   four of `recorded`, if there are any, and for `units` elements in each row of `previous_hidden`, and of `output` if there
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
        let [n, r, z, h] = [0, 1, 2, 3].map(|sum| sum * S::LANES);
        debug_assert!(piece < 2 && unit < self.units);
        // SAFETY: the caller vouches for the sums and the rows.
        unsafe {
            if piece == 0 {
                let reset = sigmoid(s, s.load(sums.add(r)), constants);
                let product = s.load(sums.add(h));
                let candidate = tanh(s, s.mul_add(reset, product, s.load(sums.add(n))), constants);
                if !self.recorded.is_none() {
                    let recorded = self.recorded.at(row, unit * GRU_SUMS);
                    s.store(recorded.add(n), candidate);
                    s.store(recorded.add(r), reset);
                    s.store(recorded.add(h), product);
                }
                s.store(sums.add(n), candidate);
            } else {
                let update = sigmoid(s, s.load(sums.add(z)), constants);
                if !self.recorded.is_none() {
                    s.store(self.recorded.at(row, unit * GRU_SUMS + z), update);
                }
                let count = (self.units - unit).min(S::LANES);
                let candidate = s.load(sums.add(n));
                let previous = s.load_first(self.previous_hidden.at(row, unit), count);
                let hidden = s.mul_add(update, s.sub(previous, candidate), candidate);
                let hidden = flush(s, hidden, constants);
                s.store(self.hidden.at(row, unit), hidden);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden, count);
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>> Deferred<S> for GruRows {
    const PIECES: usize = 2;

    #[inline(always)]
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32) {
        let unit = vector / GRU_SUMS * S::LANES;
        // See `LstmRows`.
        // SAFETY: the caller vouches for all of it.
        unsafe { GruRows::piece(self, s, piece, row, unit, sums, black_box(&CONSTANTS)) }
    }
}

/// The cell of all lines of a tile.
pub(crate) struct FinishGru<'a> {
    rows: &'a GruRows,
    tile: &'a Sums,
}

impl<'a> FinishGru<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there, and nobody else's.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a GruRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishGru<'_> {
    type Output = ();

    /// A piece of all lines, then the next piece, so that the chains of the lines hide each other's latency.
    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let first = tile.vector / GRU_SUMS * S::LANES;
        let line_len = GRU_SUMS * S::LANES;
        let mut spread = SumsBuffer::new();
        let mut sums = tile.sums;
        // SAFETY: `new`'s caller vouches for the tile, whose lines lie one after the other; spread, they do so too.
        unsafe {
            if tile.width < GRU_SUMS {
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
