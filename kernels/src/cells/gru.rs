//! The cell of a gated recurrent unit whose reset gate comes after the product, over the sums of a tile.
//!
//! ```text
//! n  = tanh(x̂ + σ(r) · ĥ)                  x̂ = W·x + b and ĥ = R·h + b of the candidate
//! h' = n + σ(z) · (h − n)
//! ```
//!
//! The candidate's two products do not meet before the reset gate has come between, so a unit has four sums: x̂, r, z and ĥ, in
//! this order, so that what W feeds lies side by side, and what R feeds too. Like that of an LSTM ([`super::lstm`]), the cell is
//! cut into two pieces, which run over several lines side by side, or beside the K loops of the next tile.

use crate::cells::activation::{Constants, GATE_CONSTANTS, sigmoid, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::gemm::micro::Deferred;
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together};
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

/// The first piece of the cell, of the sums of x̂, r and ĥ: n and σ(r).
#[inline(always)]
fn candidate<A: Arithmetic<Element = f32>>(
    a: A,
    [input, reset, hidden]: [A::Vector; 3],
    constants: &Constants,
) -> [A::Vector; 2] {
    let reset = sigmoid(a, reset, constants);
    let sum = a.mul_add(reset, hidden, a.add(input, a.splat(constants.normal)));
    let [m, denominator] = tanh_fraction(a, sum, constants);
    [a.mul(m, a.reciprocal(denominator)), reset]
}

/// The second piece, of the sum of z, of n and of h: h' and σ(z).
#[inline(always)]
fn mix<A: Arithmetic<Element = f32>>(
    a: A,
    update: A::Vector,
    candidate: A::Vector,
    previous: A::Vector,
    constants: &Constants,
) -> [A::Vector; 2] {
    let update = sigmoid(a, update, constants);
    let hidden = a.mul_add(update, a.sub(previous, candidate), candidate);
    [a.flush(hidden), update]
}

impl<S: Simd<Element = f32>> Cell<S> for GruRows {
    const GATES: usize = GRU_SUMS;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let mut sums = [[s.zero(); W]; GRU_SUMS];
        let mut previous = [s.zero(); W];
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a vector of
        // `hidden`, for four of `recorded`, if there are any, and for `units` elements in each row of `previous_hidden`, and of
        // `output` if there is one.
        unsafe {
            for n in 0..W {
                let line @ Line { row, unit, .. } = &lines[n];
                for sum in 0..GRU_SUMS {
                    sums[sum][n] = s.load(line.sums.add(sum * S::LANES));
                }
                previous[n] = s.load_first(self.previous_hidden.at(*row, *unit), count(line));
            }
            let [input, reset, update, product] = sums;
            let [candidate, reset] = candidate(a, [input, reset, product], constants);
            let [hidden, update] = mix(a, update, candidate, previous, constants);
            for n in 0..W {
                let line @ Line { row, unit, .. } = &lines[n];
                s.store(self.hidden.at(*row, *unit), hidden[n]);
                if !self.output.is_none() {
                    s.store_first(self.output.at(*row, *unit), hidden[n], count(line));
                }
                if !self.recorded.is_none() {
                    let to = self.recorded.at(*row, unit * GRU_SUMS);
                    for (sum, value) in [candidate, reset, update, product].iter().enumerate() {
                        s.store(to.add(sum * S::LANES), value[n]);
                    }
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>> Deferred<S> for GruRows {
    const PIECES: usize = 2;

    /// Piece 0 is n, which takes the place of x̂; piece 1 is h'.
    #[inline(always)]
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32) {
        let unit = vector / GRU_SUMS * S::LANES;
        let [n, r, z, h] = [0, 1, 2, 3].map(|sum| sum * S::LANES);
        debug_assert!(piece < 2 && unit < self.units);
        let constants = black_box(&GATE_CONSTANTS);
        // SAFETY: the caller vouches for the sums, and for the rows as of `lines`.
        unsafe {
            if piece == 0 {
                let product = s.load(sums.add(h));
                let before = [s.load(sums.add(n)), s.load(sums.add(r)), product];
                let [candidate, reset] = candidate(s, before, constants);
                if !self.recorded.is_none() {
                    let recorded = self.recorded.at(row, unit * GRU_SUMS);
                    s.store(recorded.add(n), candidate);
                    s.store(recorded.add(r), reset);
                    s.store(recorded.add(h), product);
                }
                s.store(sums.add(n), candidate);
            } else {
                let count = (self.units - unit).min(S::LANES);
                let previous = s.load_first(self.previous_hidden.at(row, unit), count);
                let sums = [s.load(sums.add(z)), s.load(sums.add(n))];
                let [hidden, update] = mix(s, sums[0], sums[1], previous, constants);
                if !self.recorded.is_none() {
                    s.store(self.recorded.at(row, unit * GRU_SUMS + z), update);
                }
                s.store(self.hidden.at(row, unit), hidden);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden, count);
                }
            }
        }
    }
}
