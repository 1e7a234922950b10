//! The backward pass of a gated recurrent unit whose reset gate comes after the product, over the sums of dZ' · R.
//!
//! ```text
//! dh   = dZ' · R + cotangent of h + carry   dZ' and carry of the step after this one
//! dx̂   = dh · (1 − z) · (1 − n²)            of the candidate's W·x + b
//! dZr  = dx̂ · ĥ · r · (1 − r)
//! dZz  = dh · (h₋ − n) · z · (1 − z)        h₋ of the step before this one
//! dĥ   = dx̂ · r                             of the candidate's R·h + b
//! carry = dh · z                            for the step before
//! ```
//!
//! Gates and ĥ come from the tape. Gradients that decay become zero like states.

use crate::cells::activation::{CONSTANTS, flush};
use crate::cells::gru::GRU_SUMS;
use crate::gemm::micro::Sums;
use crate::gemm::sweep::Destination;
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};

/// Where the backward pass of the cell reads and writes, from the first unit of the sweep. Rows are padded to whole vectors but
/// those of `cotangent` and `gate_gradients`.
#[derive(Clone, Copy)]
pub(crate) struct GruBackwardRows {
    /// Cotangent of h, if there is one.
    pub(crate) cotangent: RawRows,
    /// n, σ(r), σ(z) and ĥ, as packed rows.
    pub(crate) recorded: RawRows,
    /// h of the step before.
    pub(crate) previous_hidden: RawRows,
    /// The part of dh that does not pass through R, replaced by that of the step before.
    pub(crate) carry: RawRowsMut,
    /// Where dx̂, dZr, dZz and dĥ go: a row each for each row.
    pub(crate) gate_gradients: RawRowsMut,
    /// Units of `cotangent` and of `gate_gradients`.
    pub(crate) units: usize,
}

impl Destination for GruBackwardRows {}

impl GruBackwardRows {
    /// One vector of units of a row, with its sums.
    ///
    /// # Safety
    /// - `row` and `unit` belong to the sweep that this was made for. Whoever made that vouches for a vector of each padded array
    ///   (four of `recorded`) at each row and vector, and for `units` elements in each row of `cotangent` and `gate_gradients`.
    #[inline(always)]
    unsafe fn vector<S: Simd<Element = f32>>(&self, s: S, row: usize, unit: usize, sums: S::Vector) {
        debug_assert!(unit < self.units);
        let one = s.splat(CONSTANTS.one);
        let count = (self.units - unit).min(S::LANES);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut dh = sums;
            if !self.cotangent.is_none() {
                dh = s.add(dh, s.load_first(self.cotangent.at(row, unit), count));
            }
            let carry = self.carry.at(row, unit);
            let dh = flush(s, s.add(dh, s.load(carry)), &CONSTANTS);
            let recorded = self.recorded.at(row, unit * GRU_SUMS);
            let [n, r, z, product] = [
                s.load(recorded),
                s.load(recorded.add(S::LANES)),
                s.load(recorded.add(2 * S::LANES)),
                s.load(recorded.add(3 * S::LANES)),
            ];
            let previous = s.load(self.previous_hidden.at(row, unit));
            let kept = s.sub(one, z);
            s.store(carry, s.mul(dh, z));
            let dn = s.mul(s.mul(dh, kept), s.neg_mul_add(n, n, one));
            let dr = s.mul(s.mul(dn, product), s.mul(r, s.sub(one, r)));
            let dz = s.mul(s.mul(dh, s.sub(previous, n)), s.mul(z, kept));
            for (sum, gradient) in [dn, dr, dz, s.mul(dn, r)].into_iter().enumerate() {
                s.store_first(self.gate_gradients.at(row * GRU_SUMS + sum, unit), gradient, count);
            }
        }
    }
}

/// The backward pass of the cell of all lines of a tile.
pub(crate) struct FinishGruBackward<'a> {
    rows: &'a GruBackwardRows,
    tile: &'a Sums,
}

impl<'a> FinishGruBackward<'a> {
    /// # Safety
    /// - The tile belongs to the sweep that `rows` were made for, which still runs; its sums are there.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &'a GruBackwardRows, tile: &'a Sums) -> Self {
        Self { rows, tile }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishGruBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { rows, tile } = self;
        let vectors = tile.panels * tile.width;
        for row in 0..tile.rows {
            for vector in 0..vectors {
                // SAFETY: `new`'s caller vouches for the tile, all of whose vectors are visited.
                unsafe {
                    let sums = s.load(tile.sums.add((row * vectors + vector) * S::LANES));
                    rows.vector(s, tile.row + row, (tile.vector + vector) * S::LANES, sums);
                }
            }
        }
    }
}
