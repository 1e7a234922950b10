//! The cell of a gated recurrent unit whose reset gate comes after the product, over the sums of a tile.
//!
//! ```text
//! n  = tanh(x̂ + σ(r) · ĥ)                  x̂ = W·x + b and ĥ = R·h + b of the candidate
//! h' = n + σ(z) · (h − n)
//! ```
//!
//! The candidate's two products do not meet before the reset gate has come between, so a unit has four sums: x̂, r, z
//! and ĥ, in this order: W feeds the first three, and R the last three. All panels are full, so that no vector has sums
//! of both.
//!
//! The cell runs over several lines side by side. Beside the K loops of the next tile, as that of an LSTM, it was
//! slower: by 32 % at 100,16,128,128 with AVX-512 on a Xeon, 53 % at 28,32,28,50, 2 to 8 % at batch 1.

use crate::cells::activation::{Constants, GATE_CONSTANTS, sigmoid, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::cells::row::RowCell;
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Sums of a unit, in the order of the packed weights: x̂, r, z and ĥ.
pub(crate) const GRU_SUMS: usize = PANEL_VECTORS;

/// Where the cell reads and writes, from the first unit of the sweep. Rows of `hidden` and `recorded` are padded to
/// whole vectors; what comes to stand in the padding means nothing.
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

/// A row that is led through its steps has no state beside h.
pub(crate) struct GruRowCell;

impl<S: Simd<Element = f32>> RowCell<S> for GruRowCell {
    const IS_STAGGERED: bool = true;
    type Step = GruRows;

    #[inline(always)]
    fn step(&self, previous: RawRows, hidden: RawRowsMut, output: RawRowsMut, units: usize) -> GruRows {
        GruRows { previous_hidden: previous, hidden, output, units, recorded: RawRowsMut::NONE }
    }
}

/// Of the sums of x̂, r and ĥ: n and σ(r).
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

/// Of the sum of z, of n and of h: h' and σ(z).
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
        let mut sums = repeat(repeat(s.zero()));
        let mut previous = repeat(s.zero());
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a
        // vector of `hidden`, for four of `recorded`, if there are any, and for `units` elements in each row of
        // `previous_hidden`, and of `output` if there is one.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, .. } = &lines[n];
                each!(sum in GRU_SUMS => {
                    sums[sum][n] = s.load(line.sums.add(sum * S::LANES));
                });
                previous[n] = s.load_first(self.previous_hidden.at(*row, *unit), count(line));
            });
            let [input, reset, update, product] = sums;
            let [candidate, reset] = candidate(a, [input, reset, product], constants);
            let [hidden, update] = mix(a, update, candidate, previous, constants);
            each!(n in W => {
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
            });
        }
    }
}
