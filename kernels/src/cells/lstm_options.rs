//! The cell of the LSTM family, with every option, over gate sums in memory.
//!
//! The plain cell is the epilogue of a tile. An option costs more than the few percent that this saves, and layer
//! normalization needs all units of a gate before the first activation. So the general cell is a pass of its own over the
//! sums that a product has written: the products are the same, and the plain cell pays nothing for it.
//!
//! ```text
//! for each row:
//!     s_i += p_i · c,  s_f += p_f · c                            peepholes
//!     i = f(clip z_i),  f = f(clip z_f),  g = g(clip z_g)        z = s, or normalized over the units of a gate
//!     f = 1 − i,  or i = 1 − f                                   if they are coupled
//!     c̃ = clip(f · c + i · g)
//!     c′ = m · c̃ + (1 − m) · c                                   zoneout
//!     s_o += p_o · c̃
//!     o = f(clip z_o)
//!     exposed = o · h(c̃)
//! ```
//!
//! The sums with the peepholes' terms stay where they are: the backward pass computes all else again.

use crate::cells::function::ActivationFunction;
use crate::cells::gates::{GateLayout, Gates, Lines, Moments, Place, clip};
use crate::cells::lstm::LSTM_GATES;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::ops::Range;

/// The gates in a packed row.
pub(crate) const INPUT: usize = 0;
pub(crate) const FORGET: usize = 1;
pub(crate) const CANDIDATE: usize = 2;
pub(crate) const OUTPUT: usize = 3;

/// Whether the gates i and f are two, or one and its complement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Coupling {
    /// Two gates.
    #[default]
    Independent,
    /// f = 1 − i: ONNX's `input_forget`. The weights of f are not read.
    ForgetFromInput,
    /// i = 1 − f: TensorFlow Lite, where the input gate then has no tensors. The weights of i are not read.
    InputFromForget,
}

/// The three activation functions of a cell, which ONNX calls f, g and h.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Activations {
    /// f, of the gates i, f and o.
    pub gate: ActivationFunction,
    /// g, of the candidate.
    pub candidate: ActivationFunction,
    /// h, of the cell state on its way out.
    pub cell: ActivationFunction,
}

impl Default for Activations {
    /// σ, tanh, tanh
    fn default() -> Self {
        use ActivationFunction::{Sigmoid, Tanh};
        Self { gate: Sigmoid, candidate: Tanh, cell: Tanh }
    }
}

impl Activations {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of(&self, gate: usize) -> ActivationFunction {
        if gate == CANDIDATE { self.candidate } else { self.gate }
    }
}

/// The options of a cell that are not tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellOptions {
    /// f, g and h.
    pub activations: Activations,
    /// Whether i and f are one.
    pub coupling: Coupling,
    /// Limit of what enters the activations of the gates; infinite for none.
    pub gate_limit: f32,
    /// Limit of c̃; infinite for none.
    pub cell_limit: f32,
    /// Limit of what enters h(c̃); infinite for none.
    pub hidden_limit: f32,
}

/// What the cell and its backward pass have in common.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) gates: Gates<LstmPanels>,
    pub(crate) options: CellOptions,
    /// p_i, p_f and p_o, padded, if there are any.
    pub(crate) peepholes: RawRows,
    /// How much of c̃ to take; all, if there are no such rows. One element per unit.
    pub(crate) cell_share: RawRows,
}

/// The panels of an LSTM, as in `PanelLayout::gate_column`: units share vectors where that saves one.
#[derive(Clone, Copy)]
pub(crate) struct LstmPanels;

impl GateLayout for LstmPanels {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn gates(self) -> usize {
        LSTM_GATES
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn place<S: Simd>(self, unit: usize, count: usize) -> Place {
        let is_shared = (count * LSTM_GATES).div_ceil(S::LANES) < LSTM_GATES;
        Place { unit, count, first: unit * LSTM_GATES, width: if is_shared { count } else { S::LANES } }
    }
}

impl Family {
    /// Peephole number `index` (of i, f, o).
    ///
    /// # Safety
    /// - There are peepholes, and a vector of them at `unit`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn peephole<S: Simd<Element = f32>>(
        &self,
        s: S,
        index: usize,
        unit: usize,
    ) -> S::Vector {
        // SAFETY: the caller vouches for it.
        unsafe { s.load(self.peepholes.at(index, unit)) }
    }

    /// i and f after coupling, from the values of both gates.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn coupled<S: Simd<Element = f32>>(
        &self,
        s: S,
        [input, forget]: [S::Vector; 2],
    ) -> [S::Vector; 2] {
        let one = s.splat(1.0);
        match self.options.coupling {
            Coupling::Independent => [input, forget],
            Coupling::ForgetFromInput => [input, s.sub(one, input)],
            Coupling::InputFromForget => [s.sub(one, forget), forget],
        }
    }

    /// f · c + i · g, and c̃.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn update<S: Simd<Element = f32>>(
        &self,
        s: S,
        [input, forget, candidate]: [S::Vector; 3],
        previous: S::Vector,
    ) -> [S::Vector; 2] {
        let update = s.mul_add(input, candidate, s.mul(forget, previous));
        [update, s.flush(clip(s, update, self.options.cell_limit))]
    }

    /// What of c̃ enters h.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn shown<S: Simd<Element = f32>>(&self, s: S, cell: S::Vector) -> S::Vector {
        let limit = self.options.hidden_limit;
        if limit == f32::INFINITY { cell } else { clip(s, cell, limit) }
    }

    /// How much of c̃ to take, if not all.
    ///
    /// # Safety
    /// - If there are shares, row `row` has the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn share<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        place: Place,
    ) -> Option<S::Vector> {
        if self.cell_share.is_none() {
            return None;
        }
        // SAFETY: the caller vouches for it.
        Some(unsafe { s.load_first(self.cell_share.at(row, place.unit), place.count) })
    }
}

/// The forward pass of the cell for some rows. States are padded to whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct LstmOptionsRows {
    pub(crate) rows: usize,
    pub(crate) family: Family,
    /// Packed rows: W·x + R·h + b, which get the terms of the peepholes.
    pub(crate) sums: RawRowsMut,
    pub(crate) previous_cell: RawRows,
    /// Where c′ goes; may be where c is.
    pub(crate) cell: RawRowsMut,
    /// Where o · h(c̃) goes.
    pub(crate) exposed: RawRowsMut,
}

impl LstmOptionsRows {
    /// A group of vectors.
    ///
    /// # Safety
    /// - The contract of [`LstmOptionsRows::run`] for its rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>) {
        let (family, gates) = (&self.family, &self.family.gates);
        let functions = &family.options.activations;
        let has_peepholes = !family.peepholes.is_none();
        let is_normalized = gates.normalization.is_some();
        let none = Moments::none(s);
        let mut lines = Lines::<4>::new();
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            if has_peepholes {
                for (_, row, place) in gates.chunks::<S>(&group).flat_map(|chunk| gates.places::<S>(chunk)) {
                    let previous = s.load(self.previous_cell.at(row, place.unit));
                    for gate in [INPUT, FORGET] {
                        see(s, family, self.sums.at(row, 0), gate, gate, place, previous);
                    }
                }
            }
            let sums = self.sums.to_read();
            let moments = gates.group_moments(s, sums, &group, [INPUT, FORGET, CANDIDATE]);
            for chunk in gates.chunks::<S>(&group) {
                let len = chunk.len::<S>();
                let [input, forget, candidate, output] = lines.lines(len);
                for (at, row, place) in gates.places::<S>(chunk) {
                    for (gate, line) in [input, forget, candidate].into_iter().enumerate() {
                        let z = gates.preactivation(s, sums, row, gate, place, &moments[gate]);
                        s.store(line.add(at), gates.clipped(s, z));
                    }
                }
                gates.activate(s, functions.gate, input, 2 * len);
                gates.activate(s, functions.candidate, candidate, len);
                for (at, row, place) in gates.places::<S>(chunk) {
                    let previous = s.load(self.previous_cell.at(row, place.unit));
                    let [i, f] = family.coupled(s, [s.load(input.add(at)), s.load(forget.add(at))]);
                    let [_, cell] = family.update(s, [i, f, s.load(candidate.add(at))], previous);
                    s.store(candidate.add(at), family.shown(s, cell));
                    let mut kept = cell;
                    if let Some(share) = family.share(s, row, place) {
                        let before = s.neg_mul_add(share, previous, previous);
                        kept = s.flush(s.mul_add(share, cell, before));
                    }
                    s.store(self.cell.at(row, place.unit), kept);
                    if has_peepholes {
                        see(s, family, self.sums.at(row, 0), OUTPUT, 2, place, cell);
                    }
                    if !is_normalized {
                        let z = gates.preactivation(s, sums, row, OUTPUT, place, &none);
                        s.store(output.add(at), gates.clipped(s, z));
                    }
                }
                gates.activate(s, functions.cell, candidate, len);
                if is_normalized {
                    for (at, row, place) in gates.places::<S>(chunk) {
                        s.store(self.exposed.at(row, place.unit), s.load(candidate.add(at)));
                    }
                } else {
                    gates.activate(s, functions.gate, output, len);
                    for (at, row, place) in gates.places::<S>(chunk) {
                        let exposed = s.mul(s.load(output.add(at)), s.load(candidate.add(at)));
                        s.store(self.exposed.at(row, place.unit), exposed);
                    }
                }
            }
            // Normalized, o needs the sums of all units.
            if is_normalized {
                let [moments] = gates.group_moments(s, sums, &group, [OUTPUT]);
                for chunk in gates.chunks::<S>(&group) {
                    let len = chunk.len::<S>();
                    let [line, ..] = lines.lines(len);
                    for (at, row, place) in gates.places::<S>(chunk) {
                        let z = gates.preactivation(s, sums, row, OUTPUT, place, &moments);
                        s.store(line.add(at), gates.clipped(s, z));
                    }
                    gates.activate(s, functions.gate, line, len);
                    for (at, row, place) in gates.places::<S>(chunk) {
                        let exposed = self.exposed.at(row, place.unit);
                        s.store(exposed, s.mul(s.load(line.add(at)), s.load(exposed)));
                    }
                }
            }
        }
    }
}

/// Adds a peephole's term to the sums of a gate.
///
/// # Safety
/// - `sums` is valid for reads and writes of a packed row, and there are peepholes of the units of `place`.
#[cfg_attr(not(unoptimized), inline(always))]
unsafe fn see<S: Simd<Element = f32>>(
    s: S,
    family: &Family,
    sums: *mut f32,
    gate: usize,
    peephole: usize,
    place: Place,
    seen: S::Vector,
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let at = sums.add(place.column(gate));
        let peephole = family.peephole(s, peephole, place.unit);
        s.store_first(at, s.mul_add(peephole, seen, s.load_first(at, place.count)), place.count);
    }
}

impl<S: Simd<Element = f32>> Operation<S> for LstmOptionsRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        for group in self.family.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::lstm_options_step` checked that all rows have the units, padded where they must be.
            unsafe { self.group(s, group) };
        }
    }
}
