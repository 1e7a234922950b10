//! The backward pass of the general cell, over gradients of o · h(c̃) in memory.
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
//! where ds of a gate is d · φ′(clip z) inside the clip, else 0: that is dz, and without normalisation ds too. With it,
//! n = (s − mean) / √(var + ε) and dn = scale · dz,
//!
//! ```text
//! ds = (dn − mean dn − n · mean(dn · n)) / √(var + ε)
//! ```
//!
//! The sums of the forward pass are there; gates and c̃ are computed again. With normalisation, a gate's ds needs the dz of
//! all its units, so the row is visited once to o, once to i, f and g, and once to c.

use crate::activation::{CONSTANTS, flush};
use crate::cell::LSTM_GATES;
use crate::general_cell::{
    CANDIDATE, Coupling, FORGET, Family, Gate, INPUT, Moments, OUTPUT, Place, RowSum, Update, clip,
    clip_backward,
};
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};

/// Rows of products whose sums are the gradients of peepholes: of i, f and o.
pub(crate) const PEEPHOLE_TERMS: usize = 3;

/// Rows of products whose sums are the gradients of a normalisation: dz · n of each gate, then dz of each gate.
pub(crate) const NORMALISATION_TERMS: usize = 2 * LSTM_GATES;

/// The backward pass of the cell for some rows. States are padded to whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct GeneralBackward {
    pub(crate) rows: usize,
    pub(crate) family: Family,
    /// Packed rows: the sums, with the peepholes' terms.
    pub(crate) sums: RawRows,
    pub(crate) previous_cell: RawRows,
    /// dc′, replaced by dc.
    pub(crate) cell_gradient: RawRowsMut,
    /// The gradient of o · h(c̃), replaced by dc̃.
    pub(crate) exposed_gradient: RawRowsMut,
    /// Where ds goes: four rows for each row, one for each gate, one element per unit.
    pub(crate) gate_gradients: RawRowsMut,
    /// Where o · h(c̃) goes, if anywhere.
    pub(crate) exposed: RawRowsMut,
    /// Where the terms of the peepholes' gradients go: three rows for each row.
    pub(crate) peephole_terms: RawRowsMut,
    /// Where the terms of the normalisation's gradients go: eight rows for each row.
    pub(crate) normalisation_terms: RawRowsMut,
}

impl GeneralBackward {
    /// do and the part of dc̃ that comes from o · h(c̃) and from c′; writes o · h(c̃).
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`], for the units of `place`.
    #[inline(always)]
    unsafe fn through_exposed<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        place: Place,
        update: &Update<S::Vector>,
        output: &Gate<S::Vector>,
    ) -> [S::Vector; 2] {
        let (family, cell) = (&self.family, update.cell);
        let function = family.options.activations.cell;
        let shown = function.value(s, cell, &CONSTANTS);
        let slope = function.slope(s, cell, shown, &CONSTANTS);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let gradient = flush(s, s.load(self.exposed_gradient.at(row, place.unit)), &CONSTANTS);
            if !self.exposed.is_none() {
                s.store(self.exposed.at(row, place.unit), s.mul(output.value, shown));
            }
            let mut carry = s.load(self.cell_gradient.at(row, place.unit));
            if let Some(share) = family.share(s, row, place) {
                carry = s.mul(carry, share);
            }
            let d_cell = flush(s, s.mul_add(s.mul(gradient, output.value), slope, carry), &CONSTANTS);
            [s.mul(gradient, shown), d_cell]
        }
    }

    /// dz of a gate from the gradient of its value.
    #[inline(always)]
    fn through_activation<S: Simd<Element = f32>>(
        &self,
        s: S,
        gate: usize,
        gradient: S::Vector,
        of: &Gate<S::Vector>,
    ) -> S::Vector {
        let options = &self.family.options;
        let clipped = clip(s, of.preactivation, options.gate_limit);
        let slope = options.activations.of(gate).slope(s, clipped, of.value, &CONSTANTS);
        clip_backward(s, of.preactivation, options.gate_limit, s.mul(gradient, slope))
    }

    /// dz of i, f and g from dc̃, and the part of dc that comes from c̃ and c′.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`], for the units of `place`.
    #[inline(always)]
    unsafe fn through_update<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        place: Place,
        update: &Update<S::Vector>,
        d_cell: S::Vector,
    ) -> ([S::Vector; 3], S::Vector) {
        let family = &self.family;
        let d_update = clip_backward(s, update.update, family.options.cell_limit, d_cell);
        let mut d_input = s.mul(d_update, update.gates[CANDIDATE].value);
        let mut d_forget = s.mul(d_update, update.previous);
        let d_candidate = s.mul(d_update, update.input);
        let mut d_previous = s.mul(d_update, update.forget);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            if let Some(share) = family.share(s, row, place) {
                let carry = s.load(self.cell_gradient.at(row, place.unit));
                d_previous = s.add(d_previous, s.neg_mul_add(share, carry, carry));
            }
        }
        match family.options.coupling {
            Coupling::Independent => {}
            Coupling::ForgetFromInput => {
                d_input = s.sub(d_input, d_forget);
                d_forget = s.zero();
            }
            Coupling::InputFromForget => {
                d_forget = s.sub(d_forget, d_input);
                d_input = s.zero();
            }
        }
        let dz = [
            self.through_activation(s, INPUT, d_input, &update.gates[INPUT]),
            self.through_activation(s, FORGET, d_forget, &update.gates[FORGET]),
            self.through_activation(s, CANDIDATE, d_candidate, &update.gates[CANDIDATE]),
        ];
        (dz, d_previous)
    }

    /// Where the gradient of a gate goes.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`], for the units of `place`.
    #[inline(always)]
    unsafe fn gate_gradient(&self, row: usize, gate: usize, place: Place) -> *mut f32 {
        // SAFETY: the caller vouches for the rows.
        unsafe { self.gate_gradients.at(row * LSTM_GATES + gate, place.unit) }
    }

    /// Adds what the peephole of a gate passes on to the gradient of what it sees, and writes its term.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`], for the units of `place`.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "passed in registers")]
    unsafe fn see<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        place: Place,
        peephole: usize,
        ds: S::Vector,
        seen: S::Vector,
        d_seen: S::Vector,
    ) -> S::Vector {
        if self.family.peepholes.is_none() {
            return d_seen;
        }
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let term = self.peephole_terms.at(row * PEEPHOLE_TERMS + peephole, place.unit);
            s.store_first(term, s.mul(ds, seen), place.count);
            s.mul_add(self.family.peephole(s, peephole, place.unit), ds, d_seen)
        }
    }

    /// One row without normalisation.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`].
    #[inline(always)]
    unsafe fn plain_row<S: Simd<Element = f32>>(&self, s: S, row: usize) {
        let family = &self.family;
        let none = Moments { mean: s.zero(), scale: s.zero() };
        for panel in 0..family.panels::<S>() {
            let place = Place::of::<S>(panel, family.units);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let sums = self.sums.at(row, 0);
                let previous = self.previous_cell.at(row, place.unit);
                let update = family.update(s, sums, place, &[none; 3], previous);
                let output = family.gate(s, sums, OUTPUT, place, &none);
                let [d_output, d_cell] = self.through_exposed(s, row, place, &update, &output);
                let ds_output = self.through_activation(s, OUTPUT, d_output, &output);
                let d_cell = self.see(s, row, place, 2, ds_output, update.cell, d_cell);
                let (ds, mut d_previous) = self.through_update(s, row, place, &update, d_cell);
                for gate in [INPUT, FORGET] {
                    d_previous = self.see(s, row, place, gate, ds[gate], update.previous, d_previous);
                }
                s.store(self.cell_gradient.at(row, place.unit), flush(s, d_previous, &CONSTANTS));
                for gate in [INPUT, FORGET, CANDIDATE] {
                    s.store_first(self.gate_gradient(row, gate, place), ds[gate], place.count);
                }
                s.store_first(self.gate_gradient(row, OUTPUT, place), ds_output, place.count);
            }
        }
    }

    /// One row with normalisation.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`].
    #[inline(always)]
    unsafe fn normalised_row<S: Simd<Element = f32>>(&self, s: S, row: usize) {
        let family = &self.family;
        let panels = family.panels::<S>();
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let sums = self.sums.at(row, 0);
            let moments = [
                family.moments(s, sums, INPUT),
                family.moments(s, sums, FORGET),
                family.moments(s, sums, CANDIDATE),
            ];
            let output_moments = family.moments(s, sums, OUTPUT);
            for panel in 0..panels {
                let place = Place::of::<S>(panel, family.units);
                let previous = self.previous_cell.at(row, place.unit);
                let update = family.update(s, sums, place, &moments, previous);
                let output = family.gate(s, sums, OUTPUT, place, &output_moments);
                let [d_output, d_cell] = self.through_exposed(s, row, place, &update, &output);
                let dz = self.through_activation(s, OUTPUT, d_output, &output);
                s.store_first(self.gate_gradient(row, OUTPUT, place), dz, place.count);
                s.store(self.exposed_gradient.at(row, place.unit), d_cell);
            }
            self.normalise_gate(s, row, OUTPUT, &output_moments);
            for panel in 0..panels {
                let place = Place::of::<S>(panel, family.units);
                let previous = self.previous_cell.at(row, place.unit);
                let update = family.update(s, sums, place, &moments, previous);
                let at = self.exposed_gradient.at(row, place.unit);
                let ds_output = s.load_first(self.gate_gradient(row, OUTPUT, place), place.count);
                let d_cell = self.see(s, row, place, 2, ds_output, update.cell, s.load(at));
                let (dz, d_previous) = self.through_update(s, row, place, &update, d_cell);
                for gate in [INPUT, FORGET, CANDIDATE] {
                    s.store_first(self.gate_gradient(row, gate, place), dz[gate], place.count);
                }
                s.store(self.cell_gradient.at(row, place.unit), d_previous);
            }
            for gate in [INPUT, FORGET, CANDIDATE] {
                self.normalise_gate(s, row, gate, &moments[gate]);
            }
            for panel in 0..panels {
                let place = Place::of::<S>(panel, family.units);
                let at = self.cell_gradient.at(row, place.unit);
                let previous = s.load(self.previous_cell.at(row, place.unit));
                let mut d_previous = s.load(at);
                for gate in [INPUT, FORGET] {
                    let ds = s.load_first(self.gate_gradient(row, gate, place), place.count);
                    d_previous = self.see(s, row, place, gate, ds, previous, d_previous);
                }
                s.store(at, flush(s, d_previous, &CONSTANTS));
            }
        }
    }

    /// Turns dz of a gate of a row into ds, and writes the terms of the gradients of scale and shift.
    ///
    /// # Safety
    /// - As of [`GeneralBackward::row`]; there is a normalisation.
    #[inline(always)]
    unsafe fn normalise_gate<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        gate: usize,
        moments: &Moments<S::Vector>,
    ) {
        let family = &self.family;
        let Some(normalisation) = family.normalisation else { return };
        let (mut sum, mut product) = (RowSum::new(s), RowSum::new(s));
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            for panel in 0..family.panels::<S>() {
                let place = Place::of::<S>(panel, family.units);
                let (column, count) = (place.column(gate), place.count);
                let dz = s.load_first(self.gate_gradient(row, gate, place), count);
                // Past the last unit dz is zero, and so are the terms.
                let value = s.load_first(self.sums.at(row, column), count);
                let normal = s.mul(s.sub(value, moments.mean), moments.scale);
                let terms = row * NORMALISATION_TERMS + gate;
                s.store_first(self.normalisation_terms.at(terms, place.unit), s.mul(dz, normal), count);
                s.store_first(self.normalisation_terms.at(terms + LSTM_GATES, place.unit), dz, count);
                let d_normal = s.mul(dz, s.load_first(normalisation.scale.add(column), count));
                sum.add(s, panel, d_normal);
                product.add(s, panel, s.mul(d_normal, normal));
            }
            let (mean, mean_product) = (sum.mean(s, family.units), product.mean(s, family.units));
            for panel in 0..family.panels::<S>() {
                let place = Place::of::<S>(panel, family.units);
                let (column, count) = (place.column(gate), place.count);
                let at = self.gate_gradient(row, gate, place);
                let value = s.load_first(self.sums.at(row, column), count);
                let normal = s.mul(s.sub(value, moments.mean), moments.scale);
                let scale = s.load_first(normalisation.scale.add(column), count);
                let d_normal = s.mul(s.load_first(at, count), scale);
                let centred = s.neg_mul_add(normal, mean_product, s.sub(d_normal, mean));
                s.store_first(at, s.mul(centred, moments.scale), count);
            }
        }
    }

    /// One row.
    ///
    /// # Safety
    /// - `row` is less than `rows`. States, `exposed_gradient`, `exposed` and the peepholes have whole vectors of all
    ///   units, `sums` and the normalisation a packed row, the others all units, and none overlaps another.
    #[inline(always)]
    unsafe fn row<S: Simd<Element = f32>>(&self, s: S, row: usize) {
        debug_assert!(row < self.rows);
        // SAFETY: the caller vouches for it.
        unsafe {
            match self.family.normalisation {
                None => self.plain_row(s, row),
                Some(_) => self.normalised_row(s, row),
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for GeneralBackward {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        for row in 0..self.rows {
            // SAFETY: `Kernels::general_cell_backward` checked that all rows have the units, padded where they must be.
            unsafe { self.row(s, row) };
        }
    }
}
