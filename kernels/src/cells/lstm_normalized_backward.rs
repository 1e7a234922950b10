//! The backward pass of the LSTM cell with layer normalization. A gate's ds needs the dz of all its units, so a row is
//! visited once to o, once to i, f and g, and once to c. The parts are those of
//! [`lstm_options_backward`](crate::cells::lstm_options_backward).

use crate::cells::gates::{Moments, Place, load, store};
use crate::cells::lstm::LSTM_GATES;
use crate::cells::lstm_options::{CANDIDATE, FORGET, INPUT, OUTPUT, Updated};
use crate::cells::lstm_options_backward::LstmOptionsBackwardRows;
use crate::simd::{Operation, Simd, Together};

/// The backward pass of the cell for some rows.
#[derive(Clone, Copy)]
pub(crate) struct LstmNormalizedBackwardRows(pub(crate) LstmOptionsBackwardRows);

impl LstmNormalizedBackwardRows {
    /// z of i, f and g of some vectors, c, and what becomes of it.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    #[expect(clippy::type_complexity, reason = "passed in registers")]
    unsafe fn recompute<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; 3],
    ) -> ([[S::Vector; W]; 3], [S::Vector; W], Updated<[S::Vector; W]>) {
        let (rows, family) = (&self.0, &self.0.family);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let gates = [INPUT, FORGET, CANDIDATE];
            let z = family.gates.preactivations(s, rows.recorded, gates, places, moments);
            let previous = load(s, rows.previous_cell, places);
            let limited = family.gates.clipped(Together::<_, 3>(Together::<S, W>(s)), z);
            (z, previous, family.update(s, limited, previous))
        }
    }

    /// dz of o of some vectors, and the part of dc̃ that comes from o · h(c̃) and from c′.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn reach_output<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; LSTM_GATES],
    ) {
        let (rows, [others @ .., output]) = (&self.0, moments);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let (_, _, Updated { cell, .. }) = self.recompute(s, places, others);
            let [z] = rows.family.gates.preactivations(s, rows.recorded, [OUTPUT], places, &[*output]);
            let carry = load(s, rows.cell_gradient.to_read(), places);
            let limited = rows.family.gates.clipped(Together::<S, W>(s), z);
            let exposed = rows.family.expose(s, limited, cell);
            let [dz, d_cell] = rows.through_exposed(s, places, z, cell, &exposed, carry);
            rows.store_gradient(s, OUTPUT, places, dz);
            store(s, rows.exposed_gradient, places, d_cell);
        }
    }

    /// dz of i, f and g of some vectors from ds of o and dc̃, and the part of dc that comes from c̃ and c′.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn reach_others<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; 3],
    ) {
        let rows = &self.0;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let (z, previous, updated) = self.recompute(s, places, moments);
            let ds_output = rows.load_gradient(s, OUTPUT, places);
            let d_cell = load(s, rows.exposed_gradient.to_read(), places);
            let d_cell = rows.see(s, places, 2, ds_output, updated.cell, d_cell);
            let carry = load(s, rows.cell_gradient.to_read(), places);
            let [dz_input, dz_forget, dz_candidate, d_previous] =
                rows.through_update(s, places, z, &updated, previous, carry, d_cell);
            rows.store_gradient(s, INPUT, places, dz_input);
            rows.store_gradient(s, FORGET, places, dz_forget);
            rows.store_gradient(s, CANDIDATE, places, dz_candidate);
            store(s, rows.cell_gradient, places, d_previous);
        }
    }

    /// dc of a vector from its part and from ds of i and f, which may see c.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at this place.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn reach_cell<S: Simd<Element = f32>>(&self, s: S, places: &[(usize, Place); 1]) {
        let rows = &self.0;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let ds = [rows.load_gradient(s, INPUT, places), rows.load_gradient(s, FORGET, places)];
            let previous = load(s, rows.previous_cell, places);
            let d_previous = load(s, rows.cell_gradient.to_read(), places);
            let d_previous = rows.through_peepholes(s, places, ds, previous, d_previous);
            store(s, rows.cell_gradient, places, d_previous);
        }
    }

    /// A row.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], and there is such a row.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn row<S: Simd<Element = f32>>(&self, s: S, row: usize) {
        let (rows, gates) = (&self.0, &self.0.family.gates);
        // SAFETY: the caller vouches for the row, all of whose units are visited and no others.
        unsafe {
            let all = [INPUT, FORGET, CANDIDATE, OUTPUT];
            let moments = gates.row_moments(s, rows.recorded, row, all);
            for places in gates.in_groups::<S, 1>(row..row + 1) {
                self.reach_output(s, &places, &moments);
            }
            let ([others @ .., output], gradients) = (moments, &rows.gate_gradients);
            gates.normalize_backward(s, rows.recorded, row, [OUTPUT], &[output], gradients);
            for places in gates.in_groups::<S, 1>(row..row + 1) {
                self.reach_others(s, &places, &others);
            }
            let of = [INPUT, FORGET, CANDIDATE];
            gates.normalize_backward(s, rows.recorded, row, of, &others, gradients);
            for places in gates.in_groups::<S, 1>(row..row + 1) {
                self.reach_cell(s, &places);
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for LstmNormalizedBackwardRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        for row in 0..self.0.rows {
            // SAFETY: `Kernels::lstm_options_backward_step` checked that all rows have the units, padded where they
            // must be.
            unsafe { self.row(s, row) };
        }
    }
}
