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
//! 1. The sums with the peepholes' terms stay where they are: the backward pass computes all else again.
//! 2. Some vectors of units are at work together, whatever rows they are of; what they have of a gate lies in a line of
//!    a small buffer.
//! 3. Sums over the units of a gate have the same order of additions for any number of lanes; see [`RowSum`].

use crate::cells::function::{ActivationFunction, magnitude};
use crate::cells::lstm::LSTM_GATES;
use crate::simd::{MAX_LANES, Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice;

/// The gates in a packed row.
pub(crate) const INPUT: usize = 0;
pub(crate) const FORGET: usize = 1;
pub(crate) const CANDIDATE: usize = 2;
pub(crate) const OUTPUT: usize = 3;

/// Whether the gates i and f are two, or one and its complement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// Layer normalization of the gates: z = scale · (s − mean s) / √(var s + ε) + shift, over the units of each gate.
#[derive(Clone, Copy, Debug)]
pub struct Normalization<'a> {
    /// A packed row.
    pub scale: &'a [f32],
    /// A packed row.
    pub shift: &'a [f32],
    /// ε
    pub epsilon: f32,
}

/// [`Normalization`] as the kernels see it.
#[derive(Clone, Copy)]
pub(crate) struct RawNormalization {
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
    pub(crate) normalization: Option<RawNormalization>,
    /// How much of c̃ to take; all, if there are no such rows. One element per unit.
    pub(crate) cell_share: RawRows,
    /// Replaces each x of a slice by φ(x), on the instruction set of the cell.
    pub(crate) activate: unsafe fn(&mut [f32], ActivationFunction),
}

/// Elements of a line: what the vectors of units of a [`Chunk`] have of a gate. So many are at work together that looking up
/// their activation function costs little, and that their chains of operations hide each other's latency; so few that all
/// lines stay in the first cache.
const LINE_LEN: usize = 256;

/// Memory for lines, on the stack. Not zeros to start with.
#[repr(C, align(64))]
pub(crate) struct Lines<const N: usize>(MaybeUninit<[[f32; LINE_LEN]; N]>);

impl<const N: usize> Lines<N> {
    pub(crate) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Where lines of `len` elements lie, one after the other.
    pub(crate) fn lines(&mut self, len: usize) -> [*mut f32; N] {
        assert!(len <= LINE_LEN);
        let base = self.0.as_mut_ptr().cast::<f32>();
        // SAFETY: there is room for N lines of that length.
        core::array::from_fn(|line| unsafe { base.add(line * len) })
    }
}

/// Some vectors of units, row after row.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    /// Row and panel of the first one.
    row: usize,
    panel: usize,
    count: usize,
}

impl Chunk {
    /// Elements of its lines.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn len<S: Simd>(self) -> usize {
        self.count * S::LANES
    }
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
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn of<S: Simd>(panel: usize, units: usize) -> Self {
        let unit = panel * S::LANES;
        let count = (units - unit).min(S::LANES);
        // As in `PanelLayout::gate_column`: units share vectors where that saves one.
        let shared = (count * LSTM_GATES).div_ceil(S::LANES) < LSTM_GATES;
        Self { unit, count, width: if shared { count } else { S::LANES } }
    }

    /// The first column of a gate.
    #[cfg_attr(not(unoptimized), inline(always))]
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
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn none<S: Simd<Element = f32, Vector = V>>(s: S) -> Self {
        Moments { mean: s.zero(), scale: s.splat(1.0) }
    }
}

/// A sum over the units of a row: lane j of 16 adds up the units j, 16 + j, …, whatever the width of a vector.
pub(crate) struct RowSum<V> {
    parts: [V; 4],
}

impl<V: Copy> RowSum<V> {
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn new<S: Simd<Element = f32, Vector = V>>(s: S) -> Self {
        Self { parts: [s.zero(); 4] }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn add<S: Simd<Element = f32, Vector = V>>(&mut self, s: S, panel: usize, value: V) {
        let part = panel % (MAX_LANES / S::LANES);
        self.parts[part] = s.add(self.parts[part], value);
    }

    /// The sum divided by `count`, in every lane.
    #[cfg_attr(not(unoptimized), inline(always))]
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
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn clip<S: Simd<Element = f32>>(s: S, x: S::Vector, limit: f32) -> S::Vector {
    s.at_least(s.splat(-limit), s.at_most(s.splat(limit), x))
}

/// The gradient through [`clip`]: `gradient` inside the limits, 0 outside.
#[cfg_attr(not(unoptimized), inline(always))]
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
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn panels<S: Simd>(&self) -> usize {
        self.units.div_ceil(S::LANES)
    }

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

    /// The moments of one gate of a row; without normalization such that nothing changes.
    ///
    /// # Safety
    /// - `sums` is valid for reads of a packed row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn moments<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: *const f32,
        gate: usize,
    ) -> Moments<S::Vector> {
        let Some(normalization) = self.normalization else {
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
            let centered = s.mul(s.sub(value, mean), present);
            squares.add(s, panel, s.mul(centered, centered));
        }
        let variance = s.add(squares.mean(s, self.units), s.splat(normalization.epsilon));
        Moments { mean, scale: s.div(s.splat(1.0), s.sqrt(variance)) }
    }

    /// The moments of some gates of a group.
    ///
    /// # Safety
    /// - `sums` has a packed row for each row of the group.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn group_moments<S: Simd<Element = f32>, const N: usize>(
        &self,
        s: S,
        sums: RawRows,
        group: &Range<usize>,
        gates: [usize; N],
    ) -> [Moments<S::Vector>; N] {
        let mut moments = [Moments::none(s); N];
        if self.normalization.is_some() {
            // A group is a row then.
            let row = group.start / self.panels::<S>();
            for n in 0..N {
                // SAFETY: the caller vouches for the row.
                moments[n] = unsafe { self.moments(s, sums.at(row, 0), gates[n]) };
            }
        }
        moments
    }

    /// All vectors of `rows` rows in groups that can be done one after the other: a row if gates are normalized, which takes all
    /// units of a row, else a chunk.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn groups<S: Simd>(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let (panels, all) = (self.panels::<S>(), rows * self.panels::<S>());
        let len = if self.normalization.is_some() { panels } else { LINE_LEN / S::LANES };
        (0..all).step_by(len).map(move |first| first..all.min(first + len))
    }

    /// The chunks of a group.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn chunks<S: Simd>(&self, group: &Range<usize>) -> impl Iterator<Item = Chunk> {
        let (panels, end) = (self.panels::<S>(), group.end);
        group.clone().step_by(LINE_LEN / S::LANES).map(move |first| Chunk {
            row: first / panels,
            panel: first % panels,
            count: (LINE_LEN / S::LANES).min(end - first),
        })
    }

    /// For each vector of a chunk, where it lies in a line, its row, and its place in that.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn places<S: Simd>(&self, chunk: Chunk) -> impl Iterator<Item = (usize, usize, Place)> {
        let (units, panels) = (self.units, self.panels::<S>());
        let Chunk { mut row, mut panel, count } = chunk;
        (0..count).map(move |n| {
            let place = (n * S::LANES, row, Place::of::<S>(panel, units));
            panel += 1;
            if panel == panels {
                (row, panel) = (row + 1, 0);
            }
            place
        })
    }

    /// z of a gate, from its sums.
    ///
    /// # Safety
    /// - Row `row` of `sums` is a packed row with the units of `place`, as are the tensors of the normalization.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn preactivation<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: RawRows,
        row: usize,
        gate: usize,
        place: Place,
        moments: &Moments<S::Vector>,
    ) -> S::Vector {
        let (column, count) = (place.column(gate), place.count);
        // SAFETY: the caller vouches for the row and the tensors.
        unsafe {
            let sum = s.load_first(sums.at(row, column), count);
            let Some(RawNormalization { scale, shift, .. }) = self.normalization else { return sum };
            let normal = s.mul(s.sub(sum, moments.mean), moments.scale);
            let scale = s.load_first(scale.add(column), count);
            s.mul_add(normal, scale, s.load_first(shift.add(column), count))
        }
    }

    /// clip z
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn clipped<S: Simd<Element = f32>>(&self, s: S, preactivation: S::Vector) -> S::Vector {
        let limit = self.options.gate_limit;
        if limit == f32::INFINITY { preactivation } else { clip(s, preactivation, limit) }
    }

    /// Replaces each x of `len` elements by φ(x).
    ///
    /// # Safety
    /// - `line` is valid for reads and writes of so many, which were written.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn activate<S: Simd<Element = f32>>(
        &self,
        _s: S,
        function: ActivationFunction,
        line: *mut f32,
        len: usize,
    ) {
        // SAFETY: the caller vouches for the line; that there is an `S` shows that the CPU has it.
        unsafe { (self.activate)(slice::from_raw_parts_mut(line, len), function) };
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
        let family = &self.family;
        let functions = &family.options.activations;
        let has_peepholes = !family.peepholes.is_none();
        let is_normalized = family.normalization.is_some();
        let none = Moments::none(s);
        let mut lines = Lines::<4>::new();
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            if has_peepholes {
                for (_, row, place) in family.chunks::<S>(&group).flat_map(|chunk| family.places::<S>(chunk))
                {
                    let previous = s.load(self.previous_cell.at(row, place.unit));
                    for gate in [INPUT, FORGET] {
                        see(s, family, self.sums.at(row, 0), gate, gate, place, previous);
                    }
                }
            }
            let sums = self.sums.to_read();
            let moments = family.group_moments(s, sums, &group, [INPUT, FORGET, CANDIDATE]);
            for chunk in family.chunks::<S>(&group) {
                let len = chunk.len::<S>();
                let [input, forget, candidate, output] = lines.lines(len);
                for (at, row, place) in family.places::<S>(chunk) {
                    for (gate, line) in [input, forget, candidate].into_iter().enumerate() {
                        let z = family.preactivation(s, sums, row, gate, place, &moments[gate]);
                        s.store(line.add(at), family.clipped(s, z));
                    }
                }
                family.activate(s, functions.gate, input, 2 * len);
                family.activate(s, functions.candidate, candidate, len);
                for (at, row, place) in family.places::<S>(chunk) {
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
                        let z = family.preactivation(s, sums, row, OUTPUT, place, &none);
                        s.store(output.add(at), family.clipped(s, z));
                    }
                }
                family.activate(s, functions.cell, candidate, len);
                if is_normalized {
                    for (at, row, place) in family.places::<S>(chunk) {
                        s.store(self.exposed.at(row, place.unit), s.load(candidate.add(at)));
                    }
                } else {
                    family.activate(s, functions.gate, output, len);
                    for (at, row, place) in family.places::<S>(chunk) {
                        let exposed = s.mul(s.load(output.add(at)), s.load(candidate.add(at)));
                        s.store(self.exposed.at(row, place.unit), exposed);
                    }
                }
            }
            // Normalized, o needs the sums of all units.
            if is_normalized {
                let [moments] = family.group_moments(s, sums, &group, [OUTPUT]);
                for chunk in family.chunks::<S>(&group) {
                    let len = chunk.len::<S>();
                    let [line, ..] = lines.lines(len);
                    for (at, row, place) in family.places::<S>(chunk) {
                        let z = family.preactivation(s, sums, row, OUTPUT, place, &moments);
                        s.store(line.add(at), family.clipped(s, z));
                    }
                    family.activate(s, functions.gate, line, len);
                    for (at, row, place) in family.places::<S>(chunk) {
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
        for group in self.family.groups::<S>(self.rows) {
            // SAFETY: `Kernels::lstm_options_step` checked that all rows have the units, padded where they must be.
            unsafe { self.group(s, group) };
        }
    }
}
