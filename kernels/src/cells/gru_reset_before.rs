//! The cell of a gated recurrent unit whose reset gate comes before the product, in two sweeps: the second one's
//! product needs what the first one makes of all units. Each is of all units or of some.
//!
//! ```text
//! gates:      r = σ(zr), z = σ(zz), gated = r · h
//! candidate:  n = tanh(zn)                  zn = W·x + R·gated + b
//!             h' = n + z · (h − n)
//! ```

use crate::cells::activation::{GATE_CONSTANTS, sigmoid, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Where the gates read and write. The sweep has the vectors of its units of r, then those of z, or those of one alone.
#[derive(Clone, Copy)]
pub(crate) struct GruGateRows {
    /// h.
    pub(crate) previous_hidden: RawRows,
    /// Where r · h goes, padded to whole vectors.
    pub(crate) gated: RawRowsMut,
    /// Where r and z go: a vector of each, and one for n, of each vector of units.
    pub(crate) recorded: RawRowsMut,
    /// How many of its vectors are of r.
    pub(crate) vectors: usize,
    /// Units of `previous_hidden`.
    pub(crate) units: usize,
}

impl Destination for GruGateRows {}

/// Vectors that a step records of each vector of units: of r, z and n.
const RECORDED: usize = 3;

impl<S: Simd<Element = f32>> Cell<S> for GruGateRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let (mut sums, mut previous) = (repeat(s.zero()), repeat(s.zero()));
        let resets = self.vectors * S::LANES;
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows, for the vectors
        // of `gated` and three times as many of `recorded`, and for `units` elements of `previous_hidden`, which fill
        // them but for a part of the last.
        unsafe {
            each!(n in W => {
                let Line { row, unit, sums: from } = &lines[n];
                sums[n] = s.load(*from);
                if *unit < resets {
                    let count = (self.units - unit).min(S::LANES);
                    previous[n] = s.load_first(self.previous_hidden.at(*row, *unit), count);
                }
            });
            let gates = sigmoid(a, sums, constants);
            let gated = a.mul(gates, previous);
            each!(n in W => {
                let Line { row, unit, .. } = lines[n];
                if unit < resets {
                    s.store(self.recorded.at(row, RECORDED * unit), gates[n]);
                    s.store(self.gated.at(row, unit), gated[n]);
                } else {
                    s.store(self.recorded.at(row, RECORDED * (unit - resets) + S::LANES), gates[n]);
                }
            });
        }
    }
}

/// Where the candidate reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct GruCandidateRows {
    /// h.
    pub(crate) previous_hidden: RawRows,
    /// Where r and z are and n goes: a vector of each, of each vector of units.
    pub(crate) recorded: RawRowsMut,
    /// Where h' goes, padded to whole vectors.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `previous_hidden` and `output`.
    pub(crate) units: usize,
}

impl Destination for GruCandidateRows {}

impl<S: Simd<Element = f32>> Cell<S> for GruCandidateRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let [mut sums, mut update, mut previous] = repeat(repeat(s.zero()));
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows, for the vectors
        // of `hidden` and three times as many of `recorded`, and for `units` elements of the others, which fill them
        // but for a part of the last.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, sums: from } = &lines[n];
                sums[n] = s.load(*from);
                update[n] = s.load(self.recorded.at(*row, RECORDED * unit + S::LANES).cast_const());
                previous[n] = s.load_first(self.previous_hidden.at(*row, *unit), count(line));
            });
            let [m, denominator] = tanh_fraction(a, sums, constants);
            let candidate = a.mul(m, a.reciprocal(denominator));
            let hidden = a.mul_add(update, a.sub(previous, candidate), candidate);
            let hidden = a.flush(hidden);
            each!(n in W => {
                let line @ Line { row, unit, .. } = &lines[n];
                s.store(self.recorded.at(*row, RECORDED * unit + 2 * S::LANES), candidate[n]);
                s.store(self.hidden.at(*row, *unit), hidden[n]);
                if !self.output.is_none() {
                    s.store_first(self.output.at(*row, *unit), hidden[n], count(line));
                }
            });
        }
    }
}
