//! The plain recurrent cell with options: one gate over its sums in memory. A gate of another cell may be such a one.
//!
//! ```text
//! h̃ = φ(clip z)                             z = s, or normalized over the units
//! ```

use crate::cells::function::ActivationFunction;
use crate::cells::gates::{Gates, Lines, WholeVectors};
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::ops::Range;

/// The forward pass of the cell for some rows.
#[derive(Clone, Copy)]
pub(crate) struct RnnOptionsRows {
    pub(crate) rows: usize,
    pub(crate) gates: Gates<WholeVectors>,
    /// The gate, of all.
    pub(crate) gate: usize,
    pub(crate) function: ActivationFunction,
    /// Packed rows.
    pub(crate) sums: RawRows,
    /// Where h̃ goes, padded to whole vectors; what comes to stand in the padding means nothing.
    pub(crate) hidden: RawRowsMut,
}

impl RnnOptionsRows {
    /// A group of vectors.
    ///
    /// # Safety
    /// - The contract of [`RnnOptionsRows::run`] for its rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>, memory: &mut Lines<1>) {
        let gates = &self.gates;
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let [moments] = gates.row_moments(s, self.sums, gates.row_of::<S>(&group), [self.gate]);
            for chunk in gates.chunks::<S>(&group) {
                let [line] = memory.lines(chunk.len::<S>());
                for (at, row, place) in gates.places::<S>(chunk) {
                    let z = gates.preactivation(s, self.sums, row, self.gate, place, &moments);
                    s.store(line.add(at), gates.clipped(s, z));
                }
                gates.activate(s, self.function, line, chunk.len::<S>());
                for (at, row, place) in gates.places::<S>(chunk) {
                    s.store(self.hidden.at(row, place.unit), s.flush(s.load(line.add(at))));
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for RnnOptionsRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        let mut memory = Lines::new();
        for group in self.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::rnn_options_step` checked that all rows have the units, padded where they must be.
            unsafe { self.group(s, group, &mut memory) };
        }
    }
}
