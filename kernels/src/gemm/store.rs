//! No epilogue: the sums are written as they are, or added to what is there.

use crate::gemm::micro::Sums;
use crate::gemm::sweep::{Destination, Place};
use crate::simd::{Operation, Simd};
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

impl Destination for Store {
    /// Where all of the vectors are there in full, a tile writes them itself.
    #[inline(always)]
    unsafe fn place(&self, row: usize, vector: usize, vectors: usize, lanes: usize) -> Option<Place> {
        let column = vector * lanes;
        debug_assert!(column < self.columns);
        if self.columns - column < vectors * lanes {
            return None;
        }
        // SAFETY: whoever made the sweep vouches for `columns` elements in each of its rows.
        let to = unsafe { self.to.at(row, column) };
        Some(Place { to, stride: self.to.stride(), add: self.add })
    }
}

/// The vectors of some tiles, of which the last ones are there in part or not at all.
pub(crate) struct FinishStore<'a> {
    store: &'a Store,
    tiles: &'a [Sums],
}

impl<'a> FinishStore<'a> {
    /// # Safety
    /// - The tiles belong to the sweep that `store` was made for, which still runs; their sums are there.
    #[inline(always)]
    pub(crate) unsafe fn new(store: &'a Store, tiles: &'a [Sums]) -> Self {
        Self { store, tiles }
    }
}

impl<S: Simd<Element = f32>> Operation<S> for FinishStore<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { store, tiles } = self;
        for tile in tiles {
            let vectors = tile.panels * tile.width;
            for row in 0..tile.rows {
                for vector in 0..vectors {
                    let column = (tile.vector + vector) * S::LANES;
                    let count = store.columns.saturating_sub(column).min(S::LANES);
                    if count == 0 {
                        break;
                    }
                    // SAFETY: `new`'s caller vouches for the tiles, and for `columns` elements in each row of the
                    // sweep.
                    unsafe {
                        let sum = s.load(tile.sums.add((row * vectors + vector) * S::LANES));
                        let to = store.to.at(tile.row + row, column);
                        let sum = if store.add { s.add(s.load_first(to, count), sum) } else { sum };
                        s.store_first(to, sum, count);
                    }
                }
            }
        }
    }
}
