//! The backward pass of the plain recurrent cell, over the sums of dZ' · R.
//!
//! ```text
//! dh = dZ' · R + cotangent of h             dZ' of the step after this one
//! dZ = dh · φ'(z)                           tanh: 1 − h²;  max(0, ·): 1 where h > 0, else 0
//! ```
//!
//! φ' follows from h, so nothing but h is recorded. Gradients that decay become zero like states.

use crate::cells::activation::{GATE_CONSTANTS, gate_gradient};
use crate::cells::lines::{Cell, Line};
use crate::cells::rnn::Nonlinearity;
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep.
#[derive(Clone, Copy)]
pub(crate) struct RnnBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// h of this step, rows padded to whole vectors.
    pub(crate) hidden: RawRows,
    /// Where dZ goes.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
    pub(crate) function: Nonlinearity,
}

impl Destination for RnnBackwardRows {}

impl<S: Simd<Element = f32>> Cell<S> for RnnBackwardRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let (zero, one) = (repeat(s.zero()), a.splat(constants.one));
        let (mut dh, mut hidden) = (zero, zero);
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a
        // vector of `hidden`, and for `units` elements in each row of the others.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, sums } = &lines[n];
                dh[n] = s.load(*sums);
                if !self.cotangent.is_none() {
                    dh[n] = s.add(dh[n], s.load_first(self.cotangent.at(*row, *unit), count(line)));
                }
                hidden[n] = s.load(self.hidden.at(*row, *unit));
            });
            let dh = a.flush(dh);
            let dz = match self.function {
                Nonlinearity::Tanh => {
                    gate_gradient(a, dh, a.neg_mul_add(hidden, hidden, one), one, constants)
                }
                Nonlinearity::Relu => a.select_less(zero, hidden, dh, zero),
            };
            each!(n in W => {
                let line @ Line { row, unit, .. } = &lines[n];
                s.store_first(self.gate_gradients.at(*row, *unit), dz[n], count(line));
            });
        }
    }
}
