//! The cell of the LSTM family, with every option, over gate sums in memory.
//!
//! The plain cell is the epilogue of a tile. An option costs more than the few percent that this saves, and layer
//! normalisation needs all units of a gate before the first activation. So the general cell is a pass of its own over the
//! sums that a product has written: the products are the same, and the plain cell pays nothing for it.
//!
//! ```text
//! for each row:
//!     s_i += p_i · c,  s_f += p_f · c                            peepholes
//!     i = f(clip z_i),  f = f(clip z_f),  g = g(clip z_g)        z = s, or normalised over the units of a gate
//!     f = 1 − i,  or i = 1 − f                                   if they are coupled
//!     c̃ = clip(f · c + i · g)
//!     c′ = m · c̃ + (1 − m) · c                                   zoneout
//!     s_o += p_o · c̃
//!     o = f(clip z_o)
//!     exposed = o · h(c̃)
//! ```
//!
//! 1. The sums with the peepholes' terms stay where they are: the backward pass computes all else again.
//! 2. Some vectors of units are at work together, see [`CHUNK`]; what they have of a gate lies in a line of a small buffer.
//! 3. Sums over the units of a gate have the same order of additions for any number of lanes; see [`RowSum`].

use crate::cells::activation::{CONSTANTS, flush};
use crate::cells::function::{ActivationFunction, magnitude};
use crate::cells::lstm::LSTM_GATES;
use crate::simd::{MAX_LANES, Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::mem::MaybeUninit;
use core::ops::Range;

/// The gates in a packed row.
pub(crate) const INPUT: usize = 0;
pub(crate) const FORGET: usize = 1;
pub(crate) const CANDIDATE: usize = 2;
pub(crate) const OUTPUT: usize = 3;

/// Whether the gates i and f are two, or one and its complement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    #[inline(always)]
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
}

/// Layer normalisation of the gates: z = scale · (s − mean s) / √(var s + ε) + shift, over the units of each gate.
#[derive(Clone, Copy, Debug)]
pub struct Normalisation<'a> {
    /// A packed row.
    pub scale: &'a [f32],
    /// A packed row.
    pub shift: &'a [f32],
    /// ε
    pub epsilon: f32,
}

/// [`Normalisation`] as the kernels see it.
#[derive(Clone, Copy)]
pub(crate) struct RawNormalisation {
    pub(crate) scale: *const f32,
    pub(crate) shift: *const f32,
    pub(crate) epsilon: f32,
}

/// What the cell and its backward pass have in common.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) units: usize,
    pub(crate) options: CellOptions,
    /// p_i, p_f and p_o, padded, if there are any.
    pub(crate) peepholes: RawRows,
    pub(crate) normalisation: Option<RawNormalisation>,
    /// How much of c̃ to take; all, if there are no such rows. One element per unit.
    pub(crate) cell_share: RawRows,
    /// Replaces each x of a slice by φ(x), on the instruction set of the cell.
    pub(crate) activate: unsafe fn(&mut [f32], ActivationFunction),
}

/// Vectors of units that are at work together: an activation function is looked up once for all of them, and their chains of
/// operations hide each other's latency.
pub(crate) const CHUNK: usize = 8;

/// Lines of a vector for each vector of units of a chunk, on the stack. Not zeros to start with.
#[repr(C, align(64))]
pub(crate) struct Lines<const N: usize>(MaybeUninit<[[f32; CHUNK * MAX_LANES]; N]>);

impl<const N: usize> Lines<N> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Where a line lies.
    #[inline(always)]
    pub(crate) fn line(&mut self, line: usize) -> *mut f32 {
        assert!(line < N);
        // SAFETY: the line is one of N.
        unsafe { self.0.as_mut_ptr().cast::<f32>().add(line * CHUNK * MAX_LANES) }
    }
}

/// Some vectors of units of a row: those of the panels `first..first + count`.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    first: usize,
    pub(crate) count: usize,
}

/// Some panels in chunks.
#[inline(always)]
pub(crate) fn chunks(panels: Range<usize>) -> impl Iterator<Item = Chunk> {
    let end = panels.end;
    panels.step_by(CHUNK).map(move |first| Chunk { first, count: CHUNK.min(end - first) })
}

/// Where the gates of one vector of units lie in a packed row.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) unit: usize,
    /// Units of the vector.
    pub(crate) count: usize,
    /// From the first column of a gate to that of the next.
    width: usize,
}

impl Place {
    #[inline(always)]
    pub(crate) fn of<S: Simd>(panel: usize, units: usize) -> Self {
        let unit = panel * S::LANES;
        let count = (units - unit).min(S::LANES);
        // As in `PanelLayout::gate_column`: units share vectors where that saves one.
        let shared = (count * LSTM_GATES).div_ceil(S::LANES) < LSTM_GATES;
        Self { unit, count, width: if shared { count } else { S::LANES } }
    }

    /// The first column of a gate.
    #[inline(always)]
    pub(crate) fn column(self, gate: usize) -> usize {
        self.unit * LSTM_GATES + gate * self.width
    }
}

/// The mean of a gate, and 1 / √(var + ε).
#[derive(Clone, Copy)]
pub(crate) struct Moments<V> {
    pub(crate) mean: V,
    pub(crate) scale: V,
}

impl<V> Moments<V> {
    /// Such that nothing changes.
    #[inline(always)]
    pub(crate) fn none<S: Simd<Element = f32, Vector = V>>(s: S) -> Self {
        Moments { mean: s.zero(), scale: s.splat(1.0) }
    }
}

/// A sum over the units of a row: lane j of 16 adds up the units j, 16 + j, …, whatever the width of a vector.
pub(crate) struct RowSum<V> {
    parts: [V; 4],
}

impl<V: Copy> RowSum<V> {
    #[inline(always)]
    pub(crate) fn new<S: Simd<Element = f32, Vector = V>>(s: S) -> Self {
        Self { parts: [s.zero(); 4] }
    }

    #[inline(always)]
    pub(crate) fn add<S: Simd<Element = f32, Vector = V>>(&mut self, s: S, panel: usize, value: V) {
        let part = panel % (MAX_LANES / S::LANES);
        self.parts[part] = s.add(self.parts[part], value);
    }

    /// The sum divided by `count`, in every lane.
    #[inline(always)]
    pub(crate) fn mean<S: Simd<Element = f32, Vector = V>>(&self, s: S, count: usize) -> V {
        let mut lanes = [0.0f32; MAX_LANES];
        for part in 0..MAX_LANES / S::LANES {
            // SAFETY: the parts fill the lanes.
            unsafe { s.store(lanes.as_mut_ptr().add(part * S::LANES), self.parts[part]) };
        }
        let mut width = MAX_LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        s.splat(lanes[0] / count as f32)
    }
}

/// ±limit at most.
#[inline(always)]
pub(crate) fn clip<S: Simd<Element = f32>>(s: S, x: S::Vector, limit: f32) -> S::Vector {
    s.at_least(s.splat(-limit), s.at_most(s.splat(limit), x))
}

/// The gradient through [`clip`]: `gradient` inside the limits, 0 outside.
#[inline(always)]
pub(crate) fn clip_backward<S: Simd<Element = f32>>(
    s: S,
    x: S::Vector,
    limit: f32,
    gradient: S::Vector,
) -> S::Vector {
    s.select_less(s.splat(limit), magnitude(s, x), s.zero(), gradient)
}

impl Family {
    /// Vectors of units.
    #[inline(always)]
    pub(crate) fn panels<S: Simd>(&self) -> usize {
        self.units.div_ceil(S::LANES)
    }

    /// Peephole number `index` (of i, f, o).
    ///
    /// # Safety
    /// - There are peepholes, and a vector of them at `unit`.
    #[inline(always)]
    pub(crate) unsafe fn peephole<S: Simd<Element = f32>>(
        &self,
        s: S,
        index: usize,
        unit: usize,
    ) -> S::Vector {
        // SAFETY: the caller vouches for it.
        unsafe { s.load(self.peepholes.at(index, unit)) }
    }

    /// The moments of one gate of a row; without normalisation such that nothing changes.
    ///
    /// # Safety
    /// - `sums` is valid for reads of a packed row.
    #[inline(always)]
    pub(crate) unsafe fn moments<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: *const f32,
        gate: usize,
    ) -> Moments<S::Vector> {
        let Some(normalisation) = self.normalisation else {
            return Moments::none(s);
        };
        let mut sum = RowSum::new(s);
        for panel in 0..self.panels::<S>() {
            let place = Place::of::<S>(panel, self.units);
            // SAFETY: the caller vouches for the row.
            sum.add(s, panel, unsafe { s.load_first(sums.add(place.column(gate)), place.count) });
        }
        let mean = sum.mean(s, self.units);
        let ones = [1.0; MAX_LANES];
        let mut squares = RowSum::new(s);
        for panel in 0..self.panels::<S>() {
            let place = Place::of::<S>(panel, self.units);
            // SAFETY: the caller vouches for the row, and there are ones for every lane.
            let (value, present) = unsafe {
                let value = s.load_first(sums.add(place.column(gate)), place.count);
                (value, s.load_first(ones.as_ptr(), place.count))
            };
            let centred = s.mul(s.sub(value, mean), present);
            squares.add(s, panel, s.mul(centred, centred));
        }
        let variance = s.add(squares.mean(s, self.units), s.splat(normalisation.epsilon));
        Moments { mean, scale: s.div(s.splat(1.0), s.sqrt(variance)) }
    }

    /// The places of a chunk.
    #[inline(always)]
    pub(crate) fn places<S: Simd>(&self, chunk: Chunk) -> impl Iterator<Item = (usize, Place)> {
        let units = self.units;
        (0..chunk.count).map(move |n| (n * S::LANES, Place::of::<S>(chunk.first + n, units)))
    }

    /// z of a gate, from the sums of a row.
    ///
    /// # Safety
    /// - `sums` is valid for reads of a packed row, as are the tensors of the normalisation; `to` for writes of a line.
    #[inline(always)]
    pub(crate) unsafe fn preactivations<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: *const f32,
        gate: usize,
        chunk: Chunk,
        moments: &Moments<S::Vector>,
        to: *mut f32,
    ) {
        for (at, place) in self.places::<S>(chunk) {
            let (column, count) = (place.column(gate), place.count);
            // SAFETY: the caller vouches for the row, the tensors and the line.
            unsafe {
                let mut preactivation = s.load_first(sums.add(column), count);
                if let Some(RawNormalisation { scale, shift, .. }) = self.normalisation {
                    let normal = s.mul(s.sub(preactivation, moments.mean), moments.scale);
                    let scale = s.load_first(scale.add(column), count);
                    preactivation = s.mul_add(normal, scale, s.load_first(shift.add(column), count));
                }
                s.store(to.add(at), preactivation);
            }
        }
    }

    /// φ(clip z) of a gate.
    ///
    /// # Safety
    /// - `preactivations` is valid for reads of a line, which was written, and `to` for writes; they may be the same.
    #[inline(always)]
    pub(crate) unsafe fn gate_values<S: Simd<Element = f32>>(
        &self,
        s: S,
        gate: usize,
        chunk: Chunk,
        preactivations: *const f32,
        to: *mut f32,
    ) {
        // SAFETY: the caller vouches for the lines.
        unsafe {
            for at in (0..chunk.count).map(|n| n * S::LANES) {
                s.store(to.add(at), clip(s, s.load(preactivations.add(at)), self.options.gate_limit));
            }
            self.activate(s, self.options.activations.of(gate), chunk, to);
        }
    }

    /// Replaces each x of a line by φ(x).
    ///
    /// # Safety
    /// - `line` is valid for reads and writes of a line, which was written.
    #[inline(always)]
    pub(crate) unsafe fn activate<S: Simd<Element = f32>>(
        &self,
        _s: S,
        function: ActivationFunction,
        chunk: Chunk,
        line: *mut f32,
    ) {
        // SAFETY: the caller vouches for the line; that there is an `S` shows that the CPU has it.
        unsafe {
            (self.activate)(core::slice::from_raw_parts_mut(line, chunk.count * S::LANES), function);
        }
    }

    /// i and f after coupling, from the values of both gates.
    #[inline(always)]
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
    #[inline(always)]
    pub(crate) fn update<S: Simd<Element = f32>>(
        &self,
        s: S,
        [input, forget, candidate]: [S::Vector; 3],
        previous: S::Vector,
    ) -> [S::Vector; 2] {
        let update = s.mul_add(input, candidate, s.mul(forget, previous));
        [update, flush(s, clip(s, update, self.options.cell_limit), &CONSTANTS)]
    }

    /// How much of c̃ to take, if not all.
    ///
    /// # Safety
    /// - If there are shares, row `row` has the units of `place`.
    #[inline(always)]
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
pub(crate) struct GeneralForward {
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

impl GeneralForward {
    /// One row.
    ///
    /// # Safety
    /// - The contract of [`GeneralForward::run`] for this row.
    #[inline(always)]
    unsafe fn row<S: Simd<Element = f32>>(&self, s: S, row: usize) {
        let family = &self.family;
        // SAFETY: the caller vouches for the row, all of whose units are visited and no others.
        unsafe {
            let sums = self.sums.at(row, 0);
            let panels = family.panels::<S>();
            if !family.peepholes.is_none() {
                for panel in 0..panels {
                    let place = Place::of::<S>(panel, family.units);
                    let previous = s.load(self.previous_cell.at(row, place.unit));
                    for gate in [INPUT, FORGET] {
                        see(s, family, sums, gate, gate, place, previous);
                    }
                }
            }
            let moments = [
                family.moments(s, sums, INPUT),
                family.moments(s, sums, FORGET),
                family.moments(s, sums, CANDIDATE),
            ];
            let functions = &family.options.activations;
            let mut lines = Lines::<3>::new();
            let [input, forget, candidate] = [INPUT, FORGET, CANDIDATE].map(|gate| lines.line(gate));
            for chunk in chunks(0..panels) {
                for (gate, line) in [input, forget, candidate].into_iter().enumerate() {
                    family.preactivations(s, sums, gate, chunk, &moments[gate], line);
                    family.gate_values(s, gate, chunk, line, line);
                }
                for (at, place) in family.places::<S>(chunk) {
                    let previous = s.load(self.previous_cell.at(row, place.unit));
                    let gates = [s.load(input.add(at)), s.load(forget.add(at))];
                    let [i, f] = family.coupled(s, gates);
                    let [_, cell] = family.update(s, [i, f, s.load(candidate.add(at))], previous);
                    if !family.peepholes.is_none() {
                        see(s, family, sums, OUTPUT, 2, place, cell);
                    }
                    s.store(candidate.add(at), cell);
                    let mut kept = cell;
                    if let Some(share) = family.share(s, row, place) {
                        let before = s.neg_mul_add(share, previous, previous);
                        kept = flush(s, s.mul_add(share, cell, before), &CONSTANTS);
                    }
                    s.store(self.cell.at(row, place.unit), kept);
                }
                family.activate(s, functions.cell, chunk, candidate);
                for (at, place) in family.places::<S>(chunk) {
                    s.store(self.exposed.at(row, place.unit), s.load(candidate.add(at)));
                }
            }
            let moments = family.moments(s, sums, OUTPUT);
            for chunk in chunks(0..panels) {
                let line = input;
                family.preactivations(s, sums, OUTPUT, chunk, &moments, line);
                family.gate_values(s, OUTPUT, chunk, line, line);
                for (at, place) in family.places::<S>(chunk) {
                    let exposed = self.exposed.at(row, place.unit);
                    s.store(exposed, s.mul(s.load(line.add(at)), s.load(exposed)));
                }
            }
        }
    }
}

/// Adds a peephole's term to the sums of a gate.
///
/// # Safety
/// - `sums` is valid for reads and writes of a packed row, and there are peepholes of the units of `place`.
#[inline(always)]
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

impl<S: Simd<Element = f32>> Operation<S> for GeneralForward {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        for row in 0..self.rows {
            // SAFETY: `Kernels::general_cell` checked that all rows have the units, padded where they must be.
            unsafe { self.row(s, row) };
        }
    }
}
