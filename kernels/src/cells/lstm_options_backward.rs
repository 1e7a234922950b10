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
//! where ds of a gate is d · φ′(clip z) inside the clip, else 0: that is dz, and without normalization ds too; with it, see
//! [`gates`](crate::cells::gates).
//!
//! The sums of the forward pass are there; gates and c̃ are computed again. With normalization, a gate's ds needs the dz of
//! all its units, so the row is visited once to o, once to i, f and g, and once to c.

use crate::cells::gates::{Chunk, GateGradients, Lines, Moments, Place, clip_backward};
use crate::cells::lstm::LSTM_GATES;
use crate::cells::lstm_options::{CANDIDATE, Coupling, FORGET, Family, INPUT, OUTPUT};
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::ops::Range;

/// Rows of products whose sums are the gradients of peepholes: of i, f and o.
pub(crate) const PEEPHOLE_TERMS: usize = 3;

/// The backward pass of the cell for some rows. States are padded to whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct LstmOptionsBackwardRows {
    pub(crate) rows: usize,
    pub(crate) family: Family,
    /// Packed rows: the sums, with the peepholes' terms.
    pub(crate) sums: RawRows,
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

/// What is computed again of a chunk: a line each.
struct Recomputed {
    /// z, φ(clip z) and φ′(clip z) of each gate.
    preactivations: [*mut f32; LSTM_GATES],
    values: [*mut f32; LSTM_GATES],
    slopes: [*mut f32; LSTM_GATES],
    /// f · c + i · g, c̃, h(clip c̃) and h′(clip c̃).
    update: *mut f32,
    cell: *mut f32,
    shown: *mut f32,
    shown_slope: *mut f32,
}

/// Lines of [`Recomputed`].
const LINES: usize = 3 * LSTM_GATES + 4;

/// Gates in the order of their lines: those of the same function side by side.
const LINE_ORDER: [usize; LSTM_GATES] = [INPUT, FORGET, OUTPUT, CANDIDATE];

impl Recomputed {
    fn new(lines: &mut Lines<LINES>, len: usize) -> Self {
        let lines = lines.lines(len);
        let of_gates = |part: usize| {
            let mut of_gates = [lines[0]; LSTM_GATES];
            for (n, gate) in LINE_ORDER.into_iter().enumerate() {
                of_gates[gate] = lines[part * LSTM_GATES + n];
            }
            of_gates
        };
        let [.., update, cell, shown, shown_slope] = lines;
        let (preactivations, values, slopes) = (of_gates(0), of_gates(1), of_gates(2));
        Self { preactivations, values, slopes, update, cell, shown, shown_slope }
    }
}

impl LstmOptionsBackwardRows {
    /// Computes a chunk again.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`]; the lines are valid for reads and writes.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn recompute<S: Simd<Element = f32>>(
        &self,
        s: S,
        chunk: Chunk,
        moments: &[Moments<S::Vector>; LSTM_GATES],
        lines: &Recomputed,
    ) {
        let family = &self.family;
        let functions = &family.options.activations;
        let len = chunk.len::<S>();
        // SAFETY: the caller vouches for the rows and the lines; that there is an `S` shows that the CPU has it.
        unsafe {
            for (at, row, place) in family.gates.places::<S>(chunk) {
                for gate in LINE_ORDER {
                    let z = family.gates.preactivation(s, self.sums, row, gate, place, &moments[gate]);
                    let clipped = family.gates.clipped(s, z);
                    s.store(lines.preactivations[gate].add(at), z);
                    s.store(lines.values[gate].add(at), clipped);
                    s.store(lines.slopes[gate].add(at), clipped);
                }
            }
            // Three gates have the same function, and their lines lie side by side.
            for (gate, len) in [(INPUT, 3 * len), (CANDIDATE, len)] {
                let function = functions.of(gate);
                family.gates.activate(s, function, lines.values[gate], len);
                family.gates.slope(s, function, lines.slopes[gate], lines.values[gate], len);
            }
            let [input, forget, candidate] = [INPUT, FORGET, CANDIDATE].map(|gate| lines.values[gate]);
            for (at, row, place) in family.gates.places::<S>(chunk) {
                let previous = s.load(self.previous_cell.at(row, place.unit));
                let [i, f] = family.coupled(s, [s.load(input.add(at)), s.load(forget.add(at))]);
                let [update, cell] = family.update(s, [i, f, s.load(candidate.add(at))], previous);
                s.store(lines.update.add(at), update);
                s.store(lines.cell.add(at), cell);
                for line in [lines.shown, lines.shown_slope] {
                    s.store(line.add(at), family.shown(s, cell));
                }
            }
            family.gates.activate(s, functions.cell, lines.shown, len);
            family.gates.slope(s, functions.cell, lines.shown_slope, lines.shown, len);
        }
    }

    /// dz of a gate from the gradient of its value.
    ///
    /// # Safety
    /// - The lines were written.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn through_activation<S: Simd<Element = f32>>(
        &self,
        s: S,
        gate: usize,
        gradient: S::Vector,
        lines: &Recomputed,
        at: usize,
    ) -> S::Vector {
        // SAFETY: the caller vouches for the lines.
        let (slope, preactivation) =
            unsafe { (s.load(lines.slopes[gate].add(at)), s.load(lines.preactivations[gate].add(at))) };
        clip_backward(s, preactivation, self.family.gates.limit, s.mul(gradient, slope))
    }

    /// dz of o, and the part of dc̃ that comes from o · h(c̃) and from c′; writes o · h(c̃).
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`]; the lines are those of the chunk.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn through_exposed<S: Simd<Element = f32>>(&self, s: S, chunk: Chunk, lines: &Recomputed) {
        let family = &self.family;
        for (at, row, place) in family.gates.places::<S>(chunk) {
            // SAFETY: the caller vouches for the rows and lines.
            unsafe {
                let (output, shown) = (s.load(lines.values[OUTPUT].add(at)), s.load(lines.shown.add(at)));
                let exposed_gradient = self.exposed_gradient.at(row, place.unit);
                let gradient = s.flush(s.load(exposed_gradient));
                if !self.exposed.is_none() {
                    s.store(self.exposed.at(row, place.unit), s.mul(output, shown));
                }
                let mut carry = s.load(self.cell_gradient.at(row, place.unit));
                if let Some(share) = family.share(s, row, place) {
                    carry = s.mul(carry, share);
                }
                let (cell, slope) = (s.load(lines.cell.add(at)), s.load(lines.shown_slope.add(at)));
                let slope = clip_backward(s, cell, family.options.hidden_limit, slope);
                let d_cell = s.flush(s.mul_add(s.mul(gradient, output), slope, carry));
                let dz = self.through_activation(s, OUTPUT, s.mul(gradient, shown), lines, at);
                s.store_first(self.gate_gradient(row, OUTPUT, place), dz, place.count);
                s.store(exposed_gradient, d_cell);
            }
        }
    }

    /// dz of i, f and g from ds of o and dc̃, and the part of dc that comes from c̃ and c′.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`]; the lines are those of the chunk.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn through_update<S: Simd<Element = f32>>(&self, s: S, chunk: Chunk, lines: &Recomputed) {
        let family = &self.family;
        for (at, row, place) in family.gates.places::<S>(chunk) {
            // SAFETY: the caller vouches for the rows and lines.
            unsafe {
                let ds_output = s.load_first(self.gate_gradient(row, OUTPUT, place), place.count);
                let d_cell = s.load(self.exposed_gradient.at(row, place.unit));
                let d_cell = self.see(s, row, place, 2, ds_output, s.load(lines.cell.add(at)), d_cell);
                let update = s.load(lines.update.add(at));
                let d_update = clip_backward(s, update, family.options.cell_limit, d_cell);
                let previous = s.load(self.previous_cell.at(row, place.unit));
                let values = [INPUT, FORGET, CANDIDATE].map(|gate| lines.values[gate]);
                let candidate = s.load(values[CANDIDATE].add(at));
                let gates = [s.load(values[INPUT].add(at)), s.load(values[FORGET].add(at))];
                let [input, forget] = family.coupled(s, gates);
                let mut d_input = s.mul(d_update, candidate);
                let mut d_forget = s.mul(d_update, previous);
                let d_candidate = s.mul(d_update, input);
                let mut d_previous = s.mul(d_update, forget);
                let carry = self.cell_gradient.at(row, place.unit);
                if let Some(share) = family.share(s, row, place) {
                    let carry = s.load(carry);
                    d_previous = s.add(d_previous, s.neg_mul_add(share, carry, carry));
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
                for (gate, gradient) in [d_input, d_forget, d_candidate].into_iter().enumerate() {
                    let dz = self.through_activation(s, gate, gradient, lines, at);
                    s.store_first(self.gate_gradient(row, gate, place), dz, place.count);
                }
                s.store(carry, d_previous);
            }
        }
    }

    /// dc from its part and from ds of i and f, which may see c.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`].
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn through_peepholes<S: Simd<Element = f32>>(&self, s: S, chunk: Chunk) {
        for (_, row, place) in self.family.gates.places::<S>(chunk) {
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let at = self.cell_gradient.at(row, place.unit);
                let previous = s.load(self.previous_cell.at(row, place.unit));
                let mut d_previous = s.load(at);
                for gate in [INPUT, FORGET] {
                    let ds = s.load_first(self.gate_gradient(row, gate, place), place.count);
                    d_previous = self.see(s, row, place, gate, ds, previous, d_previous);
                }
                s.store(at, s.flush(d_previous));
            }
        }
    }

    /// Where the gradient of a gate goes.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`], for the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn gate_gradient(&self, row: usize, gate: usize, place: Place) -> *mut f32 {
        // SAFETY: the caller vouches for the rows.
        unsafe { self.gate_gradients.sums.at(row * LSTM_GATES + gate, place.unit) }
    }

    /// Adds what the peephole of a gate passes on to the gradient of what it sees, and writes its term.
    ///
    /// # Safety
    /// - As of [`LstmOptionsBackwardRows::group`], for the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
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

    /// A group of vectors.
    ///
    /// # Safety
    /// - States, `exposed_gradient`, `exposed` and the peepholes have whole vectors of all units for each of its rows, `sums` and the
    ///   normalization a packed row, the others all units, and none overlaps another.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>, memory: &mut Lines<LINES>) {
        let gates = &self.family.gates;
        let chunks = || gates.chunks::<S>(&group);
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let moments = gates.group_moments(s, self.sums, &group, [INPUT, FORGET, CANDIDATE, OUTPUT]);
            for chunk in chunks() {
                let lines = Recomputed::new(memory, chunk.len::<S>());
                self.recompute(s, chunk, &moments, &lines);
                self.through_exposed(s, chunk, &lines);
            }
            let [others @ .., output] = moments;
            let (sums, gradients) = (self.sums, &self.gate_gradients);
            gates.normalize_backward(s, sums, &group, [OUTPUT], &[output], gradients);
            for chunk in chunks() {
                let lines = Recomputed::new(memory, chunk.len::<S>());
                // If there is but one, the lines are still its own.
                if chunks().nth(1).is_some() {
                    self.recompute(s, chunk, &moments, &lines);
                }
                self.through_update(s, chunk, &lines);
            }
            gates.normalize_backward(s, sums, &group, [INPUT, FORGET, CANDIDATE], &others, gradients);
            for chunk in chunks() {
                self.through_peepholes(s, chunk);
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for LstmOptionsBackwardRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        let mut memory = Lines::new();
        for group in self.family.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::lstm_options_backward_step` checked that all rows have the units, padded where they must be.
            unsafe { self.group(s, group, &mut memory) };
        }
    }
}
