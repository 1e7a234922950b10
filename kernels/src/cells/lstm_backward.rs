//! The backward pass of the LSTM cell, over the sums of dZ' · R, which is what the next step adds to dh.
//!
//! ```text
//! dh  = dZ' · R + cotangent of h            dZ' of the step after this one
//! dc += dh · o · (1 − tanh²(c))
//! dZi = dc · g · i · (1 − i)
//! dZf = dc · c₋ · f · (1 − f)               c₋ of the step before this one
//! dZg = dc · i · (1 − g²)
//! dZo = dh · tanh(c) · o · (1 − o)
//! dc  = dc · f                              for the step before
//! ```
//!
//! The sums of a unit are those of a tile; the gates and cell states come from the tape. tanh(c) is computed again
//! rather than recorded: it costs less than the memory. Gradients that decay become zero like states.

use crate::cells::activation::{GATE_CONSTANTS, gate_gradient, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::cells::lstm::LSTM_GATES;
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep. Rows are padded to whole
/// vectors but those of `cotangent` and `gate_gradients`; what stands in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct LstmBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// σ(i), σ(f), tanh(g) and σ(o), as packed rows.
    pub(crate) gates: RawRows,
    /// c of this step.
    pub(crate) cell: RawRows,
    /// c of the step before.
    pub(crate) previous_cell: RawRows,
    /// dc, replaced by that of the step before.
    pub(crate) cell_gradient: RawRowsMut,
    /// Where dZ goes: four rows for each row, one for each gate.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
}

impl Destination for LstmBackwardRows {}

impl<S: Simd<Element = f32>> Cell<S> for LstmBackwardRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    /// The tape. A group of lines is too much work for the CPU to look ahead to the loads of the next one (a training
    /// step at 100,32,256,256 takes 3 % less time).
    #[inline(always)]
    unsafe fn fetch(&self, s: S, &Line { row, unit, .. }: &Line) {
        // SAFETY: the caller vouches for the row and unit, of which there is a vector in each array.
        unsafe {
            let gates = self.gates.at(row, unit * LSTM_GATES);
            each!(gate in LSTM_GATES => {
                s.prefetch(gates.add(gate * S::LANES));
            });
            s.prefetch(self.cell.at(row, unit));
            s.prefetch(self.previous_cell.at(row, unit));
            if !self.cotangent.is_none() {
                s.prefetch(self.cotangent.at(row, unit));
            }
        }
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let (one, normal) = (a.splat(constants.one), a.splat(constants.normal));
        let zero = repeat(s.zero());
        let (mut dh, mut gates, mut cell, mut previous, mut carry) =
            (zero, [zero; LSTM_GATES], zero, zero, zero);
        let count = |line: &Line| (self.units - line.unit).min(S::LANES);
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches for a vector of each padded array
        // (four of gates) at each row and unit, and for `units` elements in each row of `cotangent` and
        // `gate_gradients`.
        unsafe {
            each!(n in W => {
                let line @ Line { row, unit, sums } = &lines[n];
                dh[n] = s.load(*sums);
                if !self.cotangent.is_none() {
                    dh[n] = s.add(dh[n], s.load_first(self.cotangent.at(*row, *unit), count(line)));
                }
                each!(gate in LSTM_GATES => {
                    gates[gate][n] = s.load(self.gates.at(*row, unit * LSTM_GATES).add(gate * S::LANES));
                });
                cell[n] = s.load(self.cell.at(*row, *unit));
                previous[n] = s.load(self.previous_cell.at(*row, *unit));
                carry[n] = s.load(self.cell_gradient.at(*row, *unit).cast_const());
            });
            let [i, f, g, o] = gates;
            let dh = a.flush(dh);
            let [m, denominator] = tanh_fraction(a, cell, constants);
            let tanh_cell = a.mul(m, a.reciprocal(denominator));
            let slope = a.neg_mul_add(tanh_cell, tanh_cell, one);
            let dc = a.mul_add(a.mul(dh, o), slope, a.add(carry, normal));
            let dc = a.flush(dc);
            // The slope of σ is v − v².
            let gradients = [
                gate_gradient(a, dc, g, a.neg_mul_add(i, i, i), constants),
                gate_gradient(a, dc, previous, a.neg_mul_add(f, f, f), constants),
                gate_gradient(a, dc, i, a.neg_mul_add(g, g, one), constants),
                gate_gradient(a, dh, tanh_cell, a.neg_mul_add(o, o, o), constants),
            ];
            let carry = a.mul(dc, f);
            each!(n in W => {
                let line @ Line { row, unit, .. } = &lines[n];
                s.store(self.cell_gradient.at(*row, *unit), carry[n]);
                each!(gate in LSTM_GATES => {
                    let to = self.gate_gradients.at(row * LSTM_GATES + gate, *unit);
                    s.store_first(to, gradients[gate][n], count(line));
                });
            });
        }
    }
}
