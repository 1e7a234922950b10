//! The backward pass of a gated recurrent unit whose reset gate comes before the product, in two sweeps, each of all
//! units or of some.
//!
//! ```text
//! candidate:  dh  = dZ' · R + cotangent of h + carry    dZ' of r and z, and carry, of the step after this one
//!             dZn = dh · (1 − z) · (1 − n²)
//!             dZz = dh · (h₋ − n) · z · (1 − z)         h₋ of the step before this one
//!             carry = dh · z
//! gates:      d   = dZn · R                             the gradient of r · h₋
//!             dZr = d · h₋ · r · (1 − r)
//!             carry += d · r                            for the step before
//! ```
//!
//! Gates come from the tape. Gradients that decay become zero like states.

use crate::cells::activation::{GATE_CONSTANTS, gate_gradient};
use crate::cells::lines::{Cell, Line};
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Rows of dZ for each row: of r, z and n.
pub(crate) const GATES: usize = 3;

/// Where a sweep of the backward pass of the cell reads and writes. Rows are padded to whole vectors but those of
/// `cotangent` and `gate_gradients`.
#[derive(Clone, Copy)]
pub(crate) struct GruResetBeforeBackwardRows<const IS_SECOND: bool> {
    /// Cotangent of h, if there is one; for the first sweep.
    pub(crate) cotangent: RawRows,
    /// A vector of each of r, z and n, of each vector of units.
    pub(crate) recorded: RawRows,
    /// h of the step before.
    pub(crate) previous_hidden: RawRows,
    /// The part of dh that does not pass through R; replaced by that of the step before.
    pub(crate) carry: RawRowsMut,
    /// Where dZr, dZz and dZn go: a row each for each row.
    pub(crate) gate_gradients: RawRowsMut,
    /// Where dZn of the first sweep goes once more, for the second one.
    pub(crate) candidate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
}

impl<const IS_SECOND: bool> Destination for GruResetBeforeBackwardRows<IS_SECOND> {}

impl<S: Simd<Element = f32>, const IS_SECOND: bool> Cell<S> for GruResetBeforeBackwardRows<IS_SECOND> {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let one = a.splat(constants.one);
        let zero = repeat(s.zero());
        let [mut sums, mut previous, mut carry] = [zero; 3];
        let mut recorded = repeat(zero);
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows, for the vectors
        // of each padded array, three times as many of `recorded`, and for `units` elements in each row of the others,
        // which fill them but for a part of the last.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, sums: from } = &lines[n];
                sums[n] = s.load(*from);
                if !IS_SECOND && !self.cotangent.is_none() {
                    sums[n] = s.add(sums[n], s.load_first(self.cotangent.at(*row, *unit), count(line)));
                }
                previous[n] = s.load(self.previous_hidden.at(*row, *unit));
                carry[n] = s.load(self.carry.at(*row, *unit).cast_const());
                each!(gate in GATES => {
                    recorded[gate][n] = s.load(self.recorded.at(*row, GATES * unit + gate * S::LANES));
                });
            });
            let [r, z, candidate] = recorded;
            let store = |gate: usize, gradients: &[S::Vector; W]| {
                each!(n in W => {
                    let line @ Line { row, unit, .. } = &lines[n];
                    s.store_first(
                        self.gate_gradients.at(row * GATES + gate, *unit),
                        gradients[n],
                        count(line),
                    );
                });
            };
            let carry = if IS_SECOND {
                let gated = a.flush(sums);
                store(0, &gate_gradient(a, gated, previous, a.neg_mul_add(r, r, r), constants));
                a.mul_add(gated, r, carry)
            } else {
                let dh = a.flush(a.add(sums, carry));
                let slope = a.neg_mul_add(candidate, candidate, one);
                let dn = gate_gradient(a, dh, a.sub(one, z), slope, constants);
                let slope = a.neg_mul_add(z, z, z);
                store(1, &gate_gradient(a, dh, a.sub(previous, candidate), slope, constants));
                store(2, &dn);
                each!(n in W => {
                    s.store(self.candidate_gradients.at(lines[n].row, lines[n].unit), dn[n]);
                });
                a.mul(dh, z)
            };
            each!(n in W => {
                s.store(self.carry.at(lines[n].row, lines[n].unit), carry[n]);
            });
        }
    }
}
