//! The gated recurrent unit with options, over sums in memory.
//!
//! ```text
//! r = f(clip zr),  z = f(clip zz)           z of a sum is the sum, or that normalized over the units
//! n = g(clip(x̂ + r · ĥ))                    x̂ = W·x and ĥ = R·h of the candidate, each with its bias, or each normalized
//! h̃ = n + z · (h − n)
//! ```
//!
//! Where the reset gate comes before the product, it is a cell of its own, see
//! [`rnn_options`](crate::cells::rnn_options), and there are z and n alone: n = g(clip zn).

use crate::cells::function::ActivationFunction;
use crate::cells::gates::{Chunk, Gates, Lines, Moments, WholeVectors};
use crate::simd::{Operation, Simd, repeat};
use crate::views::{RawRows, RawRowsMut};
use core::ops::Range;

/// The two activation functions of a gated recurrent unit, which ONNX calls f and g.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GruActivations {
    /// f, of the gates r and z.
    pub gate: ActivationFunction,
    /// g, of the candidate.
    pub candidate: ActivationFunction,
}

impl Default for GruActivations {
    /// σ, tanh
    fn default() -> Self {
        Self { gate: ActivationFunction::Sigmoid, candidate: ActivationFunction::Tanh }
    }
}

/// What the cell and its backward pass have in common.
#[derive(Clone, Copy)]
pub(crate) struct GruFamily {
    pub(crate) gates: Gates<WholeVectors>,
    pub(crate) functions: GruActivations,
    /// Which sums are z and n or x̂.
    pub(crate) update: usize,
    pub(crate) candidate: usize,
    /// Which are r and ĥ, unless r is a cell of its own.
    pub(crate) reset: Option<[usize; 2]>,
}

/// The moments of the sums.
#[derive(Clone, Copy)]
pub(crate) struct GruMoments<V> {
    pub(crate) update: Moments<V>,
    pub(crate) candidate: Moments<V>,
    /// Of r and ĥ.
    pub(crate) reset: [Moments<V>; 2],
}

/// What a step makes of the sums of a chunk: a line each. z and r are neighbors.
pub(crate) struct GruLines {
    /// What enters the functions: z, r, and that of n.
    pub(crate) preactivations: [*mut f32; 3],
    /// The same after the limit, and then the values.
    pub(crate) values: [*mut f32; 3],
    /// ĥ
    pub(crate) product: *mut f32,
}

/// Places in these.
pub(crate) const UPDATE: usize = 0;
pub(crate) const RESET: usize = 1;
pub(crate) const CANDIDATE: usize = 2;

impl GruFamily {
    /// The moments of a row, such that nothing changes of those that are not there.
    ///
    /// # Safety
    /// - `sums` has such a packed row.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn moments<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: RawRows,
        row: usize,
    ) -> GruMoments<S::Vector> {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let [update, candidate] = self.gates.row_moments(s, sums, row, [self.update, self.candidate]);
            let reset = match self.reset {
                Some(gates) => self.gates.row_moments(s, sums, row, gates),
                None => repeat(Moments::none(s)),
            };
            GruMoments { update, candidate, reset }
        }
    }

    /// The gates and the candidate of a chunk, from its sums.
    ///
    /// # Safety
    /// - `sums` has a packed row for each row of the chunk; the lines are valid for reads and writes.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn evaluate<S: Simd<Element = f32>>(
        &self,
        s: S,
        sums: RawRows,
        chunk: Chunk,
        moments: &GruMoments<S::Vector>,
        lines: &GruLines,
    ) {
        let (gates, len) = (&self.gates, chunk.len::<S>());
        // SAFETY: the caller vouches for the rows and the lines.
        unsafe {
            for (at, row, place) in gates.places::<S>(chunk) {
                let z = gates.preactivation(s, sums, row, self.update, place, &moments.update);
                s.store(lines.preactivations[UPDATE].add(at), z);
                let n = gates.preactivation(s, sums, row, self.candidate, place, &moments.candidate);
                s.store(lines.preactivations[CANDIDATE].add(at), n);
                if let Some([reset, product]) = self.reset {
                    let r = gates.preactivation(s, sums, row, reset, place, &moments.reset[0]);
                    s.store(lines.preactivations[RESET].add(at), r);
                    let product = gates.preactivation(s, sums, row, product, place, &moments.reset[1]);
                    s.store(lines.product.add(at), product);
                }
            }
            // z and r are neighbors.
            let gate_len = if self.reset.is_some() { 2 * len } else { len };
            self.limit(s, lines.preactivations[UPDATE], lines.values[UPDATE], gate_len);
            gates.activate(s, self.functions.gate, lines.values[UPDATE], gate_len);
            if self.reset.is_some() {
                for at in (0..len).step_by(S::LANES) {
                    let n = lines.preactivations[CANDIDATE].add(at);
                    let (r, product) = (lines.values[RESET].add(at), lines.product.add(at));
                    s.store(n, s.mul_add(s.load(r), s.load(product), s.load(n)));
                }
            }
            self.limit(s, lines.preactivations[CANDIDATE], lines.values[CANDIDATE], len);
            gates.activate(s, self.functions.candidate, lines.values[CANDIDATE], len);
        }
    }

    /// Writes `len` numbers, limited as what enters the functions.
    ///
    /// # Safety
    /// - Both are valid for so many, which are a multiple of the lanes.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn limit<S: Simd<Element = f32>>(
        &self,
        s: S,
        from: *const f32,
        to: *mut f32,
        len: usize,
    ) {
        for at in (0..len).step_by(S::LANES) {
            // SAFETY: the caller vouches for both.
            unsafe { s.store(to.add(at), self.gates.clipped(s, s.load(from.add(at)))) };
        }
    }
}

/// The forward pass of the cell for some rows.
#[derive(Clone, Copy)]
pub(crate) struct GruOptionsRows {
    pub(crate) rows: usize,
    pub(crate) family: GruFamily,
    /// Packed rows.
    pub(crate) sums: RawRows,
    /// h, one element per unit.
    pub(crate) previous_hidden: RawRows,
    /// Where h̃ goes, padded to whole vectors; what comes to stand in the padding means nothing.
    pub(crate) hidden: RawRowsMut,
}

impl GruOptionsRows {
    /// A group of vectors.
    ///
    /// # Safety
    /// - The contract of [`GruOptionsRows::run`] for its rows.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn group<S: Simd<Element = f32>>(&self, s: S, group: Range<usize>, memory: &mut Lines<7>) {
        let family = &self.family;
        // SAFETY: the caller vouches for the rows, all of whose units are visited and no others.
        unsafe {
            let moments = family.moments(s, self.sums, family.gates.row_of::<S>(&group));
            for chunk in family.gates.chunks::<S>(&group) {
                let [z, r, n, update, reset, candidate, product] = memory.lines(chunk.len::<S>());
                let lines =
                    GruLines { preactivations: [z, r, n], values: [update, reset, candidate], product };
                family.evaluate(s, self.sums, chunk, &moments, &lines);
                for (at, row, place) in family.gates.places::<S>(chunk) {
                    let (update, candidate) = (s.load(update.add(at)), s.load(candidate.add(at)));
                    let previous = s.load_first(self.previous_hidden.at(row, place.unit), place.count);
                    let hidden = s.mul_add(update, s.sub(previous, candidate), candidate);
                    s.store(self.hidden.at(row, place.unit), s.flush(hidden));
                }
            }
        }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for GruOptionsRows {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn run(self, s: S) {
        let mut memory = Lines::new();
        for group in self.family.gates.groups::<S>(self.rows) {
            // SAFETY: `Kernels::gru_options_step` checked that all rows have the units, padded where they must be.
            unsafe { self.group(s, group, &mut memory) };
        }
    }
}
