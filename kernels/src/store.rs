//! The plainest epilogue: the sums are written as they are, or added to what is there.

use crate::parked::{Parked, Pieces};
use crate::simd::Simd;
use crate::tile::Epilogue;
use crate::views::RawRowsMut;

/// Where the sums go.
#[derive(Clone, Copy)]
pub(crate) struct Store {
    /// The rows to write.
    pub(crate) to: RawRowsMut,
    /// Columns to write; vectors may reach beyond.
    pub(crate) columns: usize,
    /// Whether to add to what is there.
    pub(crate) add: bool,
}

impl<S: Simd<Element = f32>> Pieces<S> for Store {}

impl<S: Simd<Element = f32>, const G: usize> Epilogue<S, G> for Store {
    #[inline(always)]
    unsafe fn consume<const R: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; G]; P]; R],
        _place: Option<&mut Parked<S::Vector>>,
    ) {
        let column = vector * S::LANES;
        let left = self.columns - column;
        for r in 0..R {
            for p in 0..P {
                for g in 0..G {
                    let first = (p * G + g) * S::LANES;
                    // SAFETY: whoever made the sweep vouches for `columns` elements in each of its rows.
                    unsafe {
                        let to = self.to.at(row + r, column + first);
                        // The same branch for the whole tile: all of its vectors are there in full, or not.
                        if left >= P * G * S::LANES {
                            let sum = sums[r][p][g];
                            s.store(to, if self.add { s.add(s.load(to), sum) } else { sum });
                        } else {
                            let (sum, count) = (sums[r][p][g], (left - first).min(S::LANES));
                            let sum = if self.add { s.add(s.load_first(to, count), sum) } else { sum };
                            s.store_first(to, sum, count);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn fetch<const R: usize, const P: usize>(&self, s: S, row: usize, vector: usize) {
        if !self.add {
            return;
        }
        for r in 0..R {
            // SAFETY: whoever made the sweep vouches for `columns` elements in each of its rows.
            let to = unsafe { self.to.at(row + r, vector * S::LANES) };
            for n in 0..P * G {
                // Vectors may reach beyond the columns.
                s.prefetch(to.wrapping_add(n * S::LANES));
            }
        }
    }
}
