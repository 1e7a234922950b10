//! The plainest epilogue: the sums are written as they are, or added to what is there.

use crate::simd::{Simd, load_first, store_first};
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

impl<S: Simd<Element = f32>, const G: usize> Epilogue<S, G> for Store {
    #[inline(always)]
    unsafe fn finish<const R: usize, const P: usize>(
        self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; G]; P]; R],
    ) {
        for r in 0..R {
            for p in 0..P {
                for g in 0..G {
                    let column = (vector + p * G + g) * S::LANES;
                    let count = (self.columns - column).min(S::LANES);
                    // SAFETY: whoever made the sweep vouches for `columns` elements in each of its rows.
                    unsafe {
                        let to = self.to.at(row + r, column);
                        let sum = if self.add {
                            s.add(load_first(s, to, count), sums[r][p][g])
                        } else {
                            sums[r][p][g]
                        };
                        store_first(s, to, sum, count);
                    }
                }
            }
        }
    }
}
