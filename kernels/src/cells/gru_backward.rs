//! The backward pass of a gated recurrent unit whose reset gate comes after the product, over the sums of dZ' · R.
//!
//! ```text
//! dh   = dZ' · R + cotangent of h + carry   dZ' and carry of the step after this one
//! dx̂   = dh · (1 − z) · (1 − n²)            of the candidate's W·x + b
//! dZr  = dx̂ · ĥ · r · (1 − r)
//! dZz  = dh · (h₋ − n) · z · (1 − z)        h₋ of the step before this one
//! dĥ   = dx̂ · r                             of the candidate's R·h + b
//! carry = dh · z                            for the step before
//! ```
//!
//! Gates and ĥ come from the tape. Gradients that decay become zero like states.

use crate::cells::activation::{GATE_CONSTANTS, gate_gradient};
use crate::cells::gru::GRU_SUMS;
use crate::cells::lines::{Cell, Line};
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep. Rows are padded to whole
/// vectors but those of `cotangent` and `gate_gradients`.
#[derive(Clone, Copy)]
pub(crate) struct GruBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// n, σ(r), σ(z) and ĥ, as packed rows.
    pub(crate) recorded: RawRows,
    /// h of the step before.
    pub(crate) previous_hidden: RawRows,
    /// The part of dh that does not pass through R, replaced by that of the step before.
    pub(crate) carry: RawRowsMut,
    /// Where dx̂, dZr, dZz and dĥ go: a row each for each row.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
}

impl Destination for GruBackwardRows {}

impl<S: Simd<Element = f32>> Cell<S> for GruBackwardRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let one = a.splat(constants.one);
        let zero = repeat(s.zero());
        let (mut dh, mut recorded, mut previous) = (zero, [zero; GRU_SUMS], zero);
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches for a vector of each padded array
        // (four of `recorded`) at each row and unit, and for `units` elements in each row of `cotangent` and
        // `gate_gradients`.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, sums } = &lines[n];
                dh[n] = s.load(*sums);
                if !self.cotangent.is_none() {
                    dh[n] = s.add(dh[n], s.load_first(self.cotangent.at(*row, *unit), count(line)));
                }
                dh[n] = s.add(dh[n], s.load(self.carry.at(*row, *unit).cast_const()));
                each!(sum in GRU_SUMS => {
                    recorded[sum][n] = s.load(self.recorded.at(*row, unit * GRU_SUMS).add(sum * S::LANES));
                });
                previous[n] = s.load(self.previous_hidden.at(*row, *unit));
            });
            let [n, r, z, product] = recorded;
            let dh = a.flush(dh);
            let kept = a.sub(one, z);
            let carry = a.mul(dh, z);
            let dn = gate_gradient(a, dh, kept, a.neg_mul_add(n, n, one), constants);
            let gradients = [
                dn,
                gate_gradient(a, dn, product, a.neg_mul_add(r, r, r), constants),
                gate_gradient(a, dh, a.sub(previous, n), a.neg_mul_add(z, z, z), constants),
                gate_gradient(a, dn, r, one, constants),
            ];
            each!(n in W => {
                let line @ Line { row, unit, .. } = &lines[n];
                s.store(self.carry.at(*row, *unit), carry[n]);
                each!(sum in GRU_SUMS => {
                    let to = self.gate_gradients.at(row * GRU_SUMS + sum, *unit);
                    s.store_first(to, gradients[sum][n], count(line));
                });
            });
        }
    }
}
