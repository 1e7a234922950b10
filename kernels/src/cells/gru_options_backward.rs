//! The backward pass of the gated recurrent unit with options, over gradients of h̃ in memory.
//!
//! ```text
//! dn = dh̃ · (1 − z),  dz = dh̃ · (h − n),  carry += dh̃ · z
//! ds of x̂ or n, and of z, of them, see the gates
//! dĥ = dx̂ · r,  dr = dx̂ · ĥ                              unless r is a cell of its own
//! ```
//!
//! The sums of the forward pass are there; all else is computed again. Gradients that decay become zero like states.

use crate::cells::function::ActivationFunction;
use crate::cells::gates::{Chunk, GateGradients, Lines, Place, clip_backward};
use crate::cells::gru_options::{CANDIDATE, GruFamily, GruLines, RESET, UPDATE};
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::ops::Range;

/// The backward pass of the cell for some rows.
#[derive(Clone, Copy)]
pub(crate) struct GruOptionsBackwardRows {
    pub(crate) rows: usize,
    pub(crate) family: GruFamily,
    /// Packed rows.
    pub(crate) sums: RawRows,
    /// h and dh̃, one element per unit.
    pub(crate) previous_hidden: RawRows,
    pub(crate) hidden_gradient: RawRows,
    /// What is carried to h, one element per unit.
    pub(crate) carry: RawRowsMut,
    /// Where ds goes, in the rows of the gates that are there.
    pub(crate) gate_gradients: GateGradients,
}

/// Lines of values and slopes of z, r and n, of what enters their functions, and of ĥ.
const LINES: usize = 10;

impl GruOptionsBackwardRows {
    /// A chunk: dz of each gate, which is ds without a normalization.
    ///
    /// # Safety
    /// - As of [`GruOptionsBackwardRows::group`]; the lines are those of the chunk, which were evaluated.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn through_cell<S: Simd<Element = f32>>(
        &self,
        s: S,
        chunk: Chunk,
        lines: &GruLines,
        slopes: [*mut f32; 3],
    ) {
        let (family, one) = (&self.family, s.splat(1.0));
        // SAFETY: the caller vouches for the rows and lines.
        unsafe {
            for (at, row, place) in family.gates.places::<S>(chunk) {
                let count = place.count;
                let gradient = s.flush(s.load_first(self.hidden_gradient.at(row, place.unit), count));
                let previous = s.load_first(self.previous_hidden.at(row, place.unit), count);
                let [update, reset, candidate] = lines.values.map(|line| s.load(line.add(at)));
                let carry = self.carry.at(row, place.unit);
                let kept = s.mul_add(gradient, update, s.load_first(carry, count));
                s.store_first(carry, s.flush(kept), count);
                // From the gradient of a value to that of what enters its function.
                let through = |which: usize, gradient: S::Vector| {
                    let slope = s.load(slopes[which].add(at));
                    let entering = s.load(lines.preactivations[which].add(at));
                    clip_backward(s, entering, family.gates.limit, s.mul(gradient, slope))
                };
                let d_update = through(UPDATE, s.mul(gradient, s.sub(previous, candidate)));
                let d_candidate = through(CANDIDATE, s.mul(gradient, s.sub(one, update)));
                self.store(s, row, family.update, place, d_update);
                self.store(s, row, family.candidate, place, d_candidate);
                if let Some([gate, product]) = family.reset {
                    let d_reset = through(RESET, s.mul(d_candidate, s.load(lines.product.add(at))));
                    self.store(s, row, gate, place, d_reset);
                    self.store(s, row, product, place, s.mul(d_candidate, reset));
                }
            }
        }
    }

    /// Stores the gradient of a gate.
    ///
    /// # Safety
    /// - As of [`GruOptionsBackwardRows::group`], for the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn store<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        gate: usize,
        place: Place,
        gradient: S::Vector,
    ) {
        let row = row * self.family.gates.layout.gates + gate;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            s.store_first(self.gate_gradients.sums.at(row, place.unit), s.flush(gradient), place.count)
        };
    }

    /// A group of vectors.
    ///
    /// # Safety
    /// - The contract of [`GruOptionsBackwardRows::run`] for its rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>, memory: &mut Lines<LINES>) {
        let (family, gates) = (&self.family, &self.family.gates);
        let row = gates.row_of::<S>(&group);
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let moments = family.moments(s, self.sums, row);
            for chunk in gates.chunks::<S>(&group) {
                let len = chunk.len::<S>();
                let [z, r, n, values @ .., product] = memory.lines(len);
                let [update, reset, candidate, slopes @ ..] = values;
                let preactivations = [z, r, n];
                let lines = GruLines { preactivations, values: [update, reset, candidate], product };
                family.evaluate(s, self.sums, chunk, &moments, &lines);
                let gate_len = if family.reset.is_some() { 2 * len } else { len };
                let of = |which: usize, function: ActivationFunction, len: usize| {
                    family.limit(s, lines.preactivations[which], slopes[which], len);
                    gates.slope(s, function, slopes[which], lines.values[which], len);
                };
                of(UPDATE, family.functions.gate, gate_len);
                of(CANDIDATE, family.functions.candidate, len);
                self.through_cell(s, chunk, &lines, slopes);
            }
            let of = [family.update, family.candidate];
            let gradients = &self.gate_gradients;
            let own = [moments.update, moments.candidate];
            gates.normalize_backward(s, self.sums, row, of, &own, gradients);
            if let Some(of) = family.reset {
                gates.normalize_backward(s, self.sums, row, of, &moments.reset, gradients);
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for GruOptionsBackwardRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        let mut memory = Lines::new();
        for group in self.family.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::gru_options_backward_step` checked that all rows have the units.
            unsafe { self.group(s, group, &mut memory) };
        }
    }
}
