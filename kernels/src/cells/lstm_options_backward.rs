//! The backward pass of the LSTM cell with options, over gradients of o · h(c̃) in memory.
//!
//! ```text
//! do = d · h(c̃),   dc̃ = d · o · h′(c̃) + m · dc′
//! ds_o of do;      dc̃ += p_o · ds_o
//! du = dc̃ inside the clip, else 0                               u = f · c + i · g
//! di = du · g,  df = du · c,  dg = du · i                         one of di and df minus the other, if coupled
//! ds_i, ds_f, ds_g of them
//! dc = du · f + (1 − m) · dc′ + p_i · ds_i + p_f · ds_f
//! ```
//!
//! where ds of a gate is d · φ′(clip z) inside the clip, else 0: that is dz, and without normalization ds too; with it,
//! see [`gates`](crate::cells::gates).
//!
//! What the forward pass recorded is there: the gates, or sums of which they are computed again. With normalization, a
//! gate's ds needs the dz of all its units, so the pass stops between these parts, see
//! [`lstm_normalized_backward`](crate::cells::lstm_normalized_backward).

use crate::cells::activation::GATE_CONSTANTS;
use crate::cells::function::ActivationFunction;
use crate::cells::gates::{GateGradients, Moments, Place, clip_backward, load, store};
use crate::cells::lstm::LSTM_GATES;
use crate::cells::lstm_options::{CANDIDATE, Coupling, Exposed, FORGET, Family, INPUT, OUTPUT, Updated};
use crate::simd::{Arithmetic, Operation, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// Rows of products whose sums are the gradients of peepholes: of i, f and o.
pub(crate) const PEEPHOLE_TERMS: usize = 3;

/// The backward pass of the cell for some rows. Who makes one vouches that states, `exposed_gradient`, `exposed` and
/// the peepholes have whole vectors of all units for each row, `recorded` and the normalization a packed row, the
/// others all units, and that none overlaps another.
#[derive(Clone, Copy)]
pub(crate) struct LstmOptionsBackwardRows {
    pub(crate) rows: usize,
    pub(crate) family: Family,
    /// Packed rows: values of the gates, or their sums with the peepholes' terms, see [`Family::records_values`].
    pub(crate) recorded: RawRows,
    pub(crate) previous_cell: RawRows,
    /// dc′, replaced by dc.
    pub(crate) cell_gradient: RawRowsMut,
    /// The gradient of o · h(c̃), replaced by dc̃.
    pub(crate) exposed_gradient: RawRowsMut,
    pub(crate) gate_gradients: GateGradients,
    /// Where o · h(c̃) goes, if anywhere.
    pub(crate) exposed: RawRowsMut,
    /// Where the terms of the peepholes' gradients go: three rows for each row.
    pub(crate) peephole_terms: RawRowsMut,
}

impl LstmOptionsBackwardRows {
    /// dz of gates of one function from the gradients of their values.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn through_function<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        function: ActivationFunction,
        z: [[S::Vector; W]; N],
        values: [[S::Vector; W]; N],
        gradients: [[S::Vector; W]; N],
    ) -> [[S::Vector; W]; N] {
        let a = Together::<_, N>(Together::<S, W>(s));
        let limit = self.family.gates.limit;
        let slopes = self.family.slopes(s, function, self.family.gates.clipped(a, z), values);
        let dz = a.mul_add(gradients, slopes, a.splat(GATE_CONSTANTS.normal));
        clip_backward(a, z, limit, a.flush(dz))
    }

    /// dz of o, and the part of dc̃ that comes from o · h(c̃) and from c′; writes o · h(c̃).
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn through_exposed<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        z: [S::Vector; W],
        cell: [S::Vector; W],
        of_cell: &Exposed<[S::Vector; W]>,
        mut carry: [S::Vector; W],
    ) -> [[S::Vector; W]; 2] {
        let (a, family) = (Together::<S, W>(s), &self.family);
        let functions = &family.options.activations;
        let &Exposed { output, shown, entering, exposed } = of_cell;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let gradient = a.flush(load(s, self.exposed_gradient.to_read(), places));
            if !self.exposed.is_none() {
                store(s, self.exposed, places, exposed);
            }
            each!(n in W => {
                if let Some(share) = family.share(s, places[n].0, places[n].1) {
                    carry[n] = s.mul(carry[n], share);
                }
            });
            let [slope] = family.slopes(s, functions.cell, [entering], [shown]);
            let slope = clip_backward(a, cell, family.options.hidden_limit, slope);
            let normal = a.splat(GATE_CONSTANTS.normal);
            let d_shown = a.mul_add(gradient, output, normal);
            let d_cell = a.flush(a.mul_add(d_shown, slope, a.add(carry, normal)));
            let d_output = a.mul_add(gradient, shown, normal);
            let [dz] = self.through_function(s, functions.gate, [z], [output], [d_output]);
            [dz, d_cell]
        }
    }

    /// dz of i, f and g from dc̃, and the part of dc that comes from c̃ and c′.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    #[expect(clippy::too_many_arguments, reason = "passed in registers")]
    pub(crate) unsafe fn through_update<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        [z_input, z_forget, z_candidate]: [[S::Vector; W]; 3],
        updated: &Updated<[S::Vector; W]>,
        previous: [S::Vector; W],
        carry: [S::Vector; W],
        d_cell: [S::Vector; W],
    ) -> [[S::Vector; W]; 4] {
        let (a, family) = (Together::<S, W>(s), &self.family);
        let functions = &family.options.activations;
        let normal = a.splat(GATE_CONSTANTS.normal);
        let d_update = clip_backward(a, updated.update, family.options.cell_limit, d_cell);
        let [input, forget, candidate] = updated.gates;
        let mut d_input = a.mul_add(d_update, candidate, normal);
        let mut d_forget = a.mul_add(d_update, previous, normal);
        let d_candidate = a.mul_add(d_update, input, normal);
        let mut d_previous = a.mul_add(d_update, forget, normal);
        each!(n in W => {
            // SAFETY: the caller vouches for the rows.
            if let Some(share) = unsafe { family.share(s, places[n].0, places[n].1) } {
                d_previous[n] = s.add(d_previous[n], s.neg_mul_add(share, carry[n], carry[n]));
            }
        });
        match family.options.coupling {
            Coupling::Independent => {}
            Coupling::ForgetFromInput => {
                d_input = a.sub(d_input, d_forget);
                d_forget = a.splat(0.0);
            }
            Coupling::InputFromForget => {
                d_forget = a.sub(d_forget, d_input);
                d_input = a.splat(0.0);
            }
        }
        let [dz_input, dz_forget] = self.through_function(
            s,
            functions.gate,
            [z_input, z_forget],
            [input, forget],
            [d_input, d_forget],
        );
        let [dz_candidate] =
            self.through_function(s, functions.candidate, [z_candidate], [candidate], [d_candidate]);
        [dz_input, dz_forget, dz_candidate, d_previous]
    }

    /// dc from its part and from ds of i and f, which may see c.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn through_peepholes<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        [ds_input, ds_forget]: [[S::Vector; W]; 2],
        previous: [S::Vector; W],
        d_previous: [S::Vector; W],
    ) -> [S::Vector; W] {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let d_previous = self.see(s, places, 0, ds_input, previous, d_previous);
            let d_previous = self.see(s, places, 1, ds_forget, previous, d_previous);
            Together::<S, W>(s).flush(d_previous)
        }
    }

    /// Adds what a peephole (of i, f, o) passes on to the gradient of what it sees, and writes its term.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn see<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        peephole: usize,
        ds: [S::Vector; W],
        seen: [S::Vector; W],
        d_seen: [S::Vector; W],
    ) -> [S::Vector; W] {
        if self.family.peepholes.is_none() {
            return d_seen;
        }
        each!(n in W => {
            let (row, place) = places[n];
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let term = self.peephole_terms.at(row * PEEPHOLE_TERMS + peephole, place.unit);
                s.store_first(term, s.mul(ds[n], seen[n]), place.count);
            }
        });
        // SAFETY: the caller vouches for the peepholes.
        unsafe { self.family.see(s, peephole, places, ds, d_seen) }
    }

    /// Writes the gradients of the sums of a gate.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn store_gradient<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        gate: usize,
        places: &[(usize, Place); W],
        gradient: [S::Vector; W],
    ) {
        each!(n in W => {
            let (row, place) = places[n];
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let to = self.gate_gradients.sums.at(row * LSTM_GATES + gate, place.unit);
                s.store_first(to, gradient[n], place.count);
            }
        });
    }

    /// Reads them.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places, and they were written.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn load_gradient<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        gate: usize,
        places: &[(usize, Place); W],
    ) -> [S::Vector; W] {
        let mut gradient = repeat(s.zero());
        each!(n in W => {
            let (row, place) = places[n];
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let from = self.gate_gradients.sums.at(row * LSTM_GATES + gate, place.unit);
                gradient[n] = s.load_first(from, place.count);
            }
        });
        gradient
    }

    /// Some vectors, without normalization.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows`], at these places, and `FROM_VALUES` is [`Family::records_values`].
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn vectors<S: Simd<Element = f32>, const W: usize, const FROM_VALUES: bool>(
        &self,
        s: S,
        places: &[(usize, Place); W],
    ) {
        let (a, family) = (Together::<S, W>(s), &self.family);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let all = [INPUT, FORGET, CANDIDATE, OUTPUT];
            let none = repeat(Moments::none(s));
            // Values stand for z as well: nobody asks for it then.
            let [z @ .., z_output] = family.gates.preactivations(s, self.recorded, all, places, &none);
            let previous = load(s, self.previous_cell, places);
            let (updated, exposed);
            if FROM_VALUES {
                updated = family.updated(s, z, previous);
                exposed = family.exposed(s, z_output, updated.cell);
            } else {
                updated = family.update(s, family.gates.clipped(Together::<_, 3>(a), z), previous);
                exposed = family.expose(s, family.gates.clipped(a, z_output), updated.cell);
            }
            let carry = load(s, self.cell_gradient.to_read(), places);
            let [dz_output, d_cell] =
                self.through_exposed(s, places, z_output, updated.cell, &exposed, carry);
            self.store_gradient(s, OUTPUT, places, dz_output);
            let d_cell = self.see(s, places, 2, dz_output, updated.cell, d_cell);
            let [dz_input, dz_forget, dz_candidate, d_previous] =
                self.through_update(s, places, z, &updated, previous, carry, d_cell);
            self.store_gradient(s, INPUT, places, dz_input);
            self.store_gradient(s, FORGET, places, dz_forget);
            self.store_gradient(s, CANDIDATE, places, dz_candidate);
            let d_previous = self.through_peepholes(s, places, [dz_input, dz_forget], previous, d_previous);
            store(s, self.cell_gradient, places, d_previous);
        }
    }

    /// All vectors, W of them side by side.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn all<S: Simd<Element = f32>, const W: usize, const FROM_VALUES: bool>(&self, s: S) {
        for places in self.family.gates.in_groups::<S, W>(0..self.rows) {
            // SAFETY: whoever made this vouches for the rows, of which these are some vectors.
            unsafe { self.vectors::<S, W, FROM_VALUES>(s, &places) };
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for LstmOptionsBackwardRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        if const { S::SIDE_BY_SIDE } {
            if self.family.records_values() { self.all::<S, 2, true>(s) } else { self.all::<S, 2, false>(s) }
        } else if self.family.records_values() {
            self.all::<S, 1, true>(s);
        } else {
            self.all::<S, 1, false>(s);
        }
    }
}
