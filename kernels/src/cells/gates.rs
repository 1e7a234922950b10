//! Gates over their sums in memory: what cells with options share, forward and backward.
//!
//! ```text
//! z = s,  or scale · (s − mean s) / √(var s + ε) + shift        over the units of a gate
//! value = φ(clip z)
//! ```
//!
//! Backward, ds = dz without normalization. With it, n = (s − mean) / √(var + ε) and dn = scale · dz,
//!
//! ```text
//! ds = (dn − mean dn − n · mean(dn · n)) / √(var + ε)
//! ```
//!
//! 1. Some vectors of units are at work together, whatever rows they are of; what they have of a gate lies in a line of
//!    a small buffer.
//! 2. Sums over the units of a gate have the same order of additions for any number of lanes; see [`RowSum`].

use crate::cells::activation::{CONSTANTS, tanh};
use crate::cells::function::{ActivationFunction, magnitude};
use crate::cells::lines::Line;
use crate::simd::{Arithmetic, MAX_LANES, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::{array, slice};

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

/// Elements of a line: what the vectors of units of a [`Chunk`] have of a gate. So many are at work together that
/// looking up their activation function costs little, and that their chains of operations hide each other's latency; so
/// few that all lines stay in the first cache.
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
        array::from_fn(|line| unsafe { base.add(line * len) })
    }
}

/// Memory for what some vectors of units have of some gates.
#[repr(C, align(64))]
struct FewVectors(MaybeUninit<[f32; MAX_LANES * MOST_VECTORS]>);

/// Most of these: three gates of four vectors.
const MOST_VECTORS: usize = 12;

impl FewVectors {
    /// Writes some, one after the other.
    #[cfg_attr(not(unoptimized), inline(always))]
    fn store<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &mut self,
        s: S,
        x: &[[S::Vector; W]; N],
    ) -> *mut f32 {
        const { assert!(N * W <= MOST_VECTORS) };
        let line = self.0.as_mut_ptr().cast::<f32>();
        each!(n in N => {
            each!(w in W => {
                // SAFETY: there is room for so many vectors.
                unsafe { s.store(line.add((n * W + w) * S::LANES), x[n][w]) };
            });
        });
        line
    }

    /// Reads them.
    ///
    /// # Safety
    /// - `line` is valid for reads of so many vectors.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn load<S: Simd<Element = f32>, const N: usize, const W: usize>(
        s: S,
        line: *const f32,
        x: &mut [[S::Vector; W]; N],
    ) {
        each!(n in N => {
            each!(w in W => {
                // SAFETY: the caller vouches for the vectors.
                x[n][w] = unsafe { s.load(line.add((n * W + w) * S::LANES)) };
            });
        });
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

/// How the gates of a unit lie in a packed row.
pub(crate) trait GateLayout: Copy {
    /// How many there are.
    fn gates(self) -> usize;

    /// Where they lie of so many units from one on that is a multiple of the lanes.
    fn place<S: Simd>(self, unit: usize, count: usize) -> Place;
}

/// Where the gates of one vector of units lie in a packed row.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) unit: usize,
    /// Units of the vector.
    pub(crate) count: usize,
    /// The first column of the first gate.
    pub(crate) first: usize,
    /// From the first column of a gate to that of the next.
    pub(crate) width: usize,
}

impl Place {
    /// The first column of a gate.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn column(self, gate: usize) -> usize {
        self.first + gate * self.width
    }
}

/// Gates of whole vectors of units: one gate after the other in a row, or in each panel of it.
#[derive(Clone, Copy)]
pub(crate) struct WholeVectors {
    pub(crate) gates: usize,
    /// Columns before the gates of a unit, for each unit before it.
    pub(crate) by_unit: usize,
    /// From the first column of a gate to that of the next.
    pub(crate) width: usize,
}

impl GateLayout for WholeVectors {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn gates(self) -> usize {
        self.gates
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn place<S: Simd>(self, unit: usize, count: usize) -> Place {
        Place { unit, count, first: unit * self.by_unit, width: self.width }
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
        Self { parts: repeat(s.zero()) }
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

/// ±limit at most; no limit if it is infinite.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn clip<A: Arithmetic<Element = f32>>(a: A, x: A::Vector, limit: f32) -> A::Vector {
    if limit == f32::INFINITY { x } else { a.at_least(a.splat(-limit), a.at_most(a.splat(limit), x)) }
}

/// The gradient through [`clip`]: `gradient` inside the limits, 0 outside.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn clip_backward<A: Arithmetic<Element = f32>>(
    a: A,
    x: A::Vector,
    limit: f32,
    gradient: A::Vector,
) -> A::Vector {
    a.select_less(a.splat(limit), magnitude(a, x), a.splat(0.0), gradient)
}

/// Vectors of padded rows.
///
/// # Safety
/// - There is a vector at each of these places.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) unsafe fn load<S: Simd<Element = f32>, const W: usize>(
    s: S,
    rows: RawRows,
    places: &[(usize, Place); W],
) -> [S::Vector; W] {
    let mut vectors = repeat(s.zero());
    each!(n in W => {
        let (row, place) = places[n];
        // SAFETY: the caller vouches for it.
        vectors[n] = unsafe { s.load(rows.at(row, place.unit)) };
    });
    vectors
}

/// Writes them.
///
/// # Safety
/// - There is a vector at each of these places.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) unsafe fn store<S: Simd<Element = f32>, const W: usize>(
    s: S,
    rows: RawRowsMut,
    places: &[(usize, Place); W],
    vectors: [S::Vector; W],
) {
    each!(n in W => {
        let (row, place) = places[n];
        // SAFETY: the caller vouches for it.
        unsafe { s.store(rows.at(row, place.unit), vectors[n]) };
    });
}

/// The gates of some units.
#[derive(Clone, Copy)]
pub(crate) struct Gates<L> {
    pub(crate) units: usize,
    pub(crate) layout: L,
    /// Limit of what enters their activations; infinite for none.
    pub(crate) limit: f32,
    pub(crate) normalization: Option<RawNormalization>,
    /// Replaces each x of a slice by φ(x), on the instruction set of the cell.
    pub(crate) activate: unsafe fn(&mut [f32], ActivationFunction),
    /// Replaces each x of a slice by φ′(x), given φ(x).
    pub(crate) slopes: unsafe fn(&mut [f32], &[f32], ActivationFunction),
}

/// Where the backward pass of gates writes.
#[derive(Clone, Copy)]
pub(crate) struct GateGradients {
    /// ds: for each row a row for each gate, one element per unit.
    pub(crate) sums: RawRowsMut,
    /// The terms of the gradients of a normalization: for each row dz · n of each gate, then dz of each gate.
    pub(crate) terms: RawRowsMut,
}

impl<L: GateLayout> Gates<L> {
    /// Vectors of units.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn panels<S: Simd>(&self) -> usize {
        self.units.div_ceil(S::LANES)
    }

    /// Where a vector of units lies.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn place<S: Simd>(&self, panel: usize) -> Place {
        let unit = panel * S::LANES;
        self.layout.place::<S>(unit, (self.units - unit).min(S::LANES))
    }

    /// Rows of some lines, and where they lie in them.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn places_of<S: Simd, const W: usize>(&self, lines: &[Line; W]) -> [(usize, Place); W] {
        lines.map(|line| (line.row, self.place::<S>(line.unit / S::LANES)))
    }

    /// All vectors of units of some rows, W at a time. Where fewer are left, the last one stands for those that are
    /// missing: the same is computed from the same, and written twice.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn in_groups<S: Simd, const W: usize>(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = [(usize, Place); W]> {
        let (gates, panels) = (*self, self.panels::<S>());
        let (mut row, mut panel) = (rows.start, 0);
        (0..(rows.len() * panels).div_ceil(W)).map(move |_| {
            let mut places = repeat((row, gates.place::<S>(panel)));
            each!(n in W => {
                places[n] = (row, gates.place::<S>(panel));
                if panel + 1 < panels {
                    panel += 1;
                } else if row + 1 < rows.end {
                    (row, panel) = (row + 1, 0);
                }
            });
            places
        })
    }

    /// The moments of one gate of a row; without normalization such that nothing changes.
    ///
    /// # Safety
    /// - `sums` is valid for reads of a packed row.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn moments<S: Simd<Element = f32>>(
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
            let place = self.place::<S>(panel);
            // SAFETY: the caller vouches for the row.
            sum.add(s, panel, unsafe { s.load_first(sums.add(place.column(gate)), place.count) });
        }
        let mean = sum.mean(s, self.units);
        let ones = [1.0; MAX_LANES];
        let mut squares = RowSum::new(s);
        for panel in 0..self.panels::<S>() {
            let place = self.place::<S>(panel);
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

    /// The moments of some gates of a row; without normalization such that nothing changes.
    ///
    /// # Safety
    /// - `sums` has such a packed row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn row_moments<S: Simd<Element = f32>, const N: usize>(
        &self,
        s: S,
        sums: RawRows,
        row: usize,
        gates: [usize; N],
    ) -> [Moments<S::Vector>; N] {
        let mut moments = repeat(Moments::none(s));
        if self.normalization.is_some() {
            each!(n in N => {
                // SAFETY: the caller vouches for the row.
                moments[n] = unsafe { self.moments(s, sums.at(row, 0), gates[n]) };
            });
        }
        moments
    }

    /// All vectors of `rows` rows in groups that can be done one after the other: a row if gates are normalized, which
    /// takes all units of a row, else a chunk.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn groups<S: Simd>(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let (panels, all) = (self.panels::<S>(), rows * self.panels::<S>());
        let len = if self.normalization.is_some() { panels } else { LINE_LEN / S::LANES };
        (0..all).step_by(len).map(move |first| first..all.min(first + len))
    }

    /// The row of a group, its first one: the only one if gates are normalized.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn row_of<S: Simd>(&self, group: &Range<usize>) -> usize {
        group.start / self.panels::<S>()
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
        let (gates, panels) = (*self, self.panels::<S>());
        let Chunk { mut row, mut panel, count } = chunk;
        (0..count).map(move |n| {
            let place = (n * S::LANES, row, gates.place::<S>(panel));
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

    /// z of some gates of some vectors of units.
    ///
    /// # Safety
    /// - As of [`Gates::preactivation`].
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn preactivations<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        sums: RawRows,
        gates: [usize; N],
        places: &[(usize, Place); W],
        moments: &[Moments<S::Vector>; N],
    ) -> [[S::Vector; W]; N] {
        let mut z = repeat(repeat(s.zero()));
        each!(n in N => {
            each!(w in W => {
                let (row, place) = places[w];
                // SAFETY: the caller vouches for the rows.
                z[n][w] = unsafe { self.preactivation(s, sums, row, gates[n], place, &moments[n]) };
            });
        });
        z
    }

    /// clip z
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn clipped<A: Arithmetic<Element = f32>>(&self, a: A, preactivation: A::Vector) -> A::Vector {
        let limit = self.limit;
        if limit == f32::INFINITY { preactivation } else { clip(a, preactivation, limit) }
    }

    /// φ(x) of some vectors.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn values<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        function: ActivationFunction,
        mut x: [[S::Vector; W]; N],
    ) -> [[S::Vector; W]; N] {
        let a = Together::<_, N>(Together::<S, W>(s));
        // The usual ones without a call, with the same bits.
        match function {
            ActivationFunction::Tanh => return tanh(a, x, &CONSTANTS),
            ActivationFunction::HardSigmoid { alpha, beta } => {
                let line = a.mul_add(a.splat(alpha), x, a.splat(beta));
                return a.at_least(a.splat(0.0), a.at_most(a.splat(1.0), line));
            }
            _ => {}
        }
        let mut memory = FewVectors(MaybeUninit::uninit());
        let line = memory.store(s, &x);
        // SAFETY: all of these vectors were written.
        unsafe {
            self.activate(s, function, line, N * W * S::LANES);
            FewVectors::load(s, line, &mut x);
        }
        x
    }

    /// φ′(x) of some vectors, given φ(x).
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn slopes_of<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        function: ActivationFunction,
        mut x: [[S::Vector; W]; N],
        values: [[S::Vector; W]; N],
    ) -> [[S::Vector; W]; N] {
        let mut memory = [const { FewVectors(MaybeUninit::uninit()) }; 2];
        let [line, values] = [memory[0].store(s, &x), memory[1].store(s, &values)];
        // SAFETY: all of these vectors were written.
        unsafe {
            self.slope(s, function, line, values, N * W * S::LANES);
            FewVectors::load(s, line, &mut x);
        }
        x
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

    /// Replaces each x of `len` elements by φ′(x), given φ(x).
    ///
    /// # Safety
    /// - Both lines are valid for reads of so many elements, which were written, and `line` for writes.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn slope<S: Simd<Element = f32>>(
        &self,
        _s: S,
        function: ActivationFunction,
        line: *mut f32,
        values: *const f32,
        len: usize,
    ) {
        // SAFETY: the caller vouches for the lines, which differ; that there is an `S` shows that the CPU has it.
        unsafe {
            (self.slopes)(slice::from_raw_parts_mut(line, len), slice::from_raw_parts(values, len), function);
        }
    }

    /// Turns dz of some gates of a row into ds, given their moments, and writes the terms of the gradients of scale and
    /// shift. Does nothing without a normalization.
    ///
    /// # Safety
    /// - There is such a row: a packed one of `sums`, and those of all units of `gradients`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn normalize_backward<S: Simd<Element = f32>, const N: usize>(
        &self,
        s: S,
        sums: RawRows,
        row: usize,
        gates: [usize; N],
        moments: &[Moments<S::Vector>; N],
        gradients: &GateGradients,
    ) {
        let Some(normalization) = self.normalization else { return };
        let all = self.layout.gates();
        for (gate, moments) in gates.into_iter().zip(moments) {
            let (mut sum, mut product) = (RowSum::new(s), RowSum::new(s));
            // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
            unsafe {
                for panel in 0..self.panels::<S>() {
                    let place = self.place::<S>(panel);
                    let (column, count) = (place.column(gate), place.count);
                    let dz = s.load_first(gradients.sums.at(row * all + gate, place.unit), count);
                    // Past the last unit dz is zero, and so are the terms.
                    let value = s.load_first(sums.at(row, column), count);
                    let normal = s.mul(s.sub(value, moments.mean), moments.scale);
                    let terms = row * 2 * all + gate;
                    s.store_first(gradients.terms.at(terms, place.unit), s.mul(dz, normal), count);
                    s.store_first(gradients.terms.at(terms + all, place.unit), dz, count);
                    let d_normal = s.mul(dz, s.load_first(normalization.scale.add(column), count));
                    sum.add(s, panel, d_normal);
                    product.add(s, panel, s.mul(d_normal, normal));
                }
                let (mean, mean_product) = (sum.mean(s, self.units), product.mean(s, self.units));
                for panel in 0..self.panels::<S>() {
                    let place = self.place::<S>(panel);
                    let (column, count) = (place.column(gate), place.count);
                    let at = gradients.sums.at(row * all + gate, place.unit);
                    let value = s.load_first(sums.at(row, column), count);
                    let normal = s.mul(s.sub(value, moments.mean), moments.scale);
                    let scale = s.load_first(normalization.scale.add(column), count);
                    let d_normal = s.mul(s.load_first(at, count), scale);
                    let centered = s.neg_mul_add(normal, mean_product, s.sub(d_normal, mean));
                    s.store_first(at, s.mul(centered, moments.scale), count);
                }
            }
        }
    }
}
