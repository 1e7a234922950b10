//! The backward pass of the plain recurrent cell with options, over gradients of h̃ in memory.
//!
//! ```text
//! dz = dh̃ · φ′(clip z) inside the clip, else 0          ds of it, see the gates
//! ```
//!
//! The sums of the forward pass are there; all else is computed again. Gradients that decay become zero like states.

use crate::cells::function::ActivationFunction;
use crate::cells::gates::{GateGradients, Gates, Lines, WholeVectors, clip_backward};
use crate::simd::{Operation, Simd};
use crate::views::RawRows;
use core::ops::Range;

/// The backward pass of the cell for some rows.
#[derive(Clone, Copy)]
pub(crate) struct RnnOptionsBackwardRows {
    pub(crate) rows: usize,
    pub(crate) gates: Gates<WholeVectors>,
    /// The gate, of all.
    pub(crate) gate: usize,
    pub(crate) function: ActivationFunction,
    /// Packed rows.
    pub(crate) sums: RawRows,
    /// dh̃, one element per unit.
    pub(crate) hidden_gradient: RawRows,
    /// Where ds goes, in the rows of this gate.
    pub(crate) gate_gradients: GateGradients,
}

impl RnnOptionsBackwardRows {
    /// A group of vectors.
    ///
    /// # Safety
    /// - The contract of [`RnnOptionsBackwardRows::run`] for its rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>, memory: &mut Lines<3>) {
        let (gates, gate) = (&self.gates, self.gate);
        let (all, row) = (gates.layout.gates, gates.row_of::<S>(&group));
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let moments = gates.row_moments(s, self.sums, row, [gate]);
            for chunk in gates.chunks::<S>(&group) {
                let len = chunk.len::<S>();
                let [preactivation, value, slope] = memory.lines(len);
                for (at, row, place) in gates.places::<S>(chunk) {
                    let z = gates.preactivation(s, self.sums, row, gate, place, &moments[0]);
                    s.store(preactivation.add(at), z);
                    s.store(value.add(at), gates.clipped(s, z));
                    s.store(slope.add(at), gates.clipped(s, z));
                }
                gates.activate(s, self.function, value, len);
                gates.slope(s, self.function, slope, value, len);
                for (at, row, place) in gates.places::<S>(chunk) {
                    let gradient = s.load_first(self.hidden_gradient.at(row, place.unit), place.count);
                    let dz = s.mul(s.flush(gradient), s.load(slope.add(at)));
                    let dz = clip_backward(s, s.load(preactivation.add(at)), gates.limit, dz);
                    let to = self.gate_gradients.sums.at(row * all + gate, place.unit);
                    s.store_first(to, s.flush(dz), place.count);
                }
            }
            gates.normalize_backward(s, self.sums, row, [gate], &moments, &self.gate_gradients);
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for RnnOptionsBackwardRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        let mut memory = Lines::new();
        for group in self.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::rnn_options_backward_step` checked that all rows have the units.
            unsafe { self.group(s, group, &mut memory) };
        }
    }
}
