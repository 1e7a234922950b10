//! The LSTM cell with layer normalization, a pass over gate sums in memory: what is a sum over the units of a gate
//! needs all of them.
//!
//! ```text
//! for each row:
//!     s_i += p_i · c,  s_f += p_f · c
//!     the moments of i, f and g
//!     c̃ and c′,  s_o += p_o · c̃
//!     the moments of o
//!     exposed = o · h(c̃)
//! ```
//!
//! The parts are those of [`lstm_options`](crate::cells::lstm_options), over several vectors of units side by side.

use crate::cells::gates::{Moments, Place, load, store};
use crate::cells::lstm_options::{CANDIDATE, FORGET, INPUT, LstmOptionsRows, OUTPUT};
use crate::simd::{Operation, Simd, Together, each, repeat};

/// The forward pass of the cell for some rows, over sums that were written.
#[derive(Clone, Copy)]
pub(crate) struct LstmNormalizedRows {
    pub(crate) rows: usize,
    pub(crate) step: LstmOptionsRows,
}

impl LstmNormalizedRows {
    /// Adds the terms of a peephole to the sums of some vectors.
    ///
    /// # Safety
    /// - As of [`LstmNormalizedRows::row`].
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn see<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        [gate, peephole]: [usize; 2],
        places: &[(usize, Place); W],
        seen: [S::Vector; W],
    ) {
        if self.step.family.peepholes.is_none() {
            return;
        }
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut sums = repeat(s.zero());
            each!(n in W => {
                let (row, place) = places[n];
                sums[n] = s.load_first(self.step.recorded.at(row, place.column(gate)), place.count);
            });
            let sums = self.step.family.see(s, peephole, places, seen, sums);
            each!(n in W => {
                let (row, place) = places[n];
                s.store_first(self.step.recorded.at(row, place.column(gate)), sums[n], place.count);
            });
        }
    }

    /// c̃ and c′ of some vectors. c̃ is left where what is exposed will be.
    ///
    /// # Safety
    /// - As of [`LstmNormalizedRows::row`].
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn update<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; 3],
    ) {
        let (family, gates) = (&self.step.family, [INPUT, FORGET, CANDIDATE]);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let z = family.gates.preactivations(s, self.step.recorded.to_read(), gates, places, moments);
            let previous = load(s, self.step.previous_cell, places);
            let limited = family.gates.clipped(Together::<_, 3>(Together::<S, W>(s)), z);
            let cell = family.update(s, limited, previous).cell;
            self.see(s, [OUTPUT, 2], places, cell);
            each!(n in W => {
                let (row, place) = places[n];
                s.store(self.step.cell.at(row, place.unit), family.kept(s, places[n], cell[n], previous[n]));
            });
            store(s, self.step.exposed, places, cell);
        }
    }

    /// o · h(c̃) of some vectors.
    ///
    /// # Safety
    /// - As of [`LstmNormalizedRows::row`].
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn expose<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; 1],
    ) {
        let family = &self.step.family;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let cell = load(s, self.step.exposed.to_read(), places);
            let [z] = family.gates.preactivations(s, self.step.recorded.to_read(), [OUTPUT], places, moments);
            let exposed = family.expose(s, family.gates.clipped(Together::<S, W>(s), z), cell).exposed;
            store(s, self.step.exposed, places, exposed);
            self.step.store_output(s, places, exposed);
        }
    }

    /// A row.
    ///
    /// # Safety
    /// - There is such a row of each array: a packed row of sums and of the normalization, whole vectors of all units
    ///   of the states, of `exposed` and of the peepholes, and all units of the shares.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn row<S: Simd<Element = f32>, const W: usize>(&self, s: S, row: usize) {
        let gates = &self.step.family.gates;
        // SAFETY: the caller vouches for the row, all of whose units are visited and no others.
        unsafe {
            if !self.step.family.peepholes.is_none() {
                for places in gates.in_groups::<S, 1>(row..row + 1) {
                    let previous = load(s, self.step.previous_cell, &places);
                    self.see(s, [INPUT, 0], &places, previous);
                    self.see(s, [FORGET, 1], &places, previous);
                }
            }
            let sums = self.step.recorded.to_read();
            let moments = gates.row_moments(s, sums, row, [INPUT, FORGET, CANDIDATE]);
            for places in gates.in_groups::<S, W>(row..row + 1) {
                self.update(s, &places, &moments);
            }
            let moments = gates.row_moments(s, sums, row, [OUTPUT]);
            for places in gates.in_groups::<S, W>(row..row + 1) {
                self.expose(s, &places, &moments);
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for LstmNormalizedRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        for row in 0..self.rows {
            // SAFETY: `Kernels::lstm_options_step` checked that all rows have the units, padded where they must be.
            unsafe {
                if const { S::SIDE_BY_SIDE } { self.row::<S, 2>(s, row) } else { self.row::<S, 1>(s, row) }
            }
        }
    }
}
