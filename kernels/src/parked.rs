//! Tiles that wait, to be finished piece by piece beside the K loop of the next one.
//!
//! ```text
//! tile n:       K loop                                                    park its sums
//! tile n + 1:   some k, a piece of tile n, some k, a piece of tile n, …   park its sums
//! ```
//!
//! An epilogue of activations is long chains of dependent operations. Alone it leaves the multiply-add pipes without work for
//! most of its time; between two k of another tile's loop it takes no more from them than its own multiply-adds, divisions
//! and stores. docs/PERFORMANCE.md has what that buys.
//!
//! 1. The last tile of a sweep has no next one. It finishes at once: a piece of all of its rows, then the next piece, so
//!    that the chains of the rows hide each other's latency.
//! 2. So does the last tile before a narrower panel, and the last tile of one: such a K loop is too short of work to hide
//!    anything (25 units at batch 7: 29 % slower). And so do tiles that [`hides`] says no to.
//! 3. A piece works with the few registers that the sums of the next tile leave. Where there are only 16, no tile waits
//!    ([`Simd::PARKS`]).
//! 4. Pieces are small, so that the CPU finds multiply-adds of the K loop to do while it waits for their results; but what
//!    one piece leaves for the next is stored, so they are few.

use crate::panel::GROUP;
use crate::simd::{CacheLines, Simd};
use crate::tile::Epilogue;
use core::mem::MaybeUninit;

/// The pieces of an epilogue, for a row of one panel each.
pub(crate) trait Pieces<S: Simd> {
    /// How many there are; an epilogue without pieces finishes each tile at once.
    const PIECES: usize = 0;

    /// Does piece `piece` of a row and the panel from `vector` on. `sums` are its sums, or what the pieces before have left
    /// in their place.
    ///
    /// # Safety
    /// - The row and the panel belong to the sweep that the epilogue was made for.
    /// - `piece < PIECES`. Of the pieces of this row and panel, those before were done, and this one was not.
    #[inline(always)]
    unsafe fn piece(
        &self,
        _s: S,
        _piece: usize,
        _row: usize,
        _vector: usize,
        _sums: &mut [S::Vector; GROUP],
    ) {
        unreachable!("an epilogue without pieces")
    }
}

/// Whether tiles wait. Known to the compiler, so that code without waiting has no trace of it.
#[inline(always)]
pub(crate) const fn parks<S: Simd, F: Pieces<S>>() -> bool {
    S::PARKS && F::PIECES > 0
}

/// Whether the next K loop, which has `depth` k like this one, hides the pieces of this tile.
///
/// Each piece needs some k beside it. And the many rows of a narrow panel hide each other's latency better than that loop
/// does. With both rules 9 to 12 units are a third faster than without at batch 18, and 17, 18, 33, 40 and 50 units up to 17 %
/// at batch 33; without the second, 2 to 10 % less at batch 33.
#[inline(always)]
const fn hides<S: Simd, F: Pieces<S>, const G: usize, const R: usize, const P: usize>(depth: usize) -> bool {
    const LEAST_K: usize = 4;
    const MANY_ROWS: usize = 5;
    depth >= LEAST_K * R * P * F::PIECES && (G == GROUP || R < MANY_ROWS)
}

/// Most rows times panels of a tile.
const MOST_LINES: usize = 6;

/// The place of the tile that waits. A line is a row of one panel.
pub(crate) struct Parked<V> {
    /// Not zeros to start with: that would take as long as some units of a narrow layer.
    lines: MaybeUninit<CacheLines<[[V; GROUP]; MOST_LINES]>>,
    /// Lines of the tile that waits; 0 if none does.
    count: usize,
    /// Where the tile lies.
    row: usize,
    vector: usize,
    panels: usize,
    /// The piece to do next, and of which line.
    piece: usize,
    line: usize,
}

impl<V: Copy> Parked<V> {
    /// An empty place.
    #[inline(always)]
    fn empty() -> Self {
        Self { lines: MaybeUninit::uninit(), count: 0, row: 0, vector: 0, panels: 1, piece: 0, line: 0 }
    }

    /// Parks a tile.
    #[inline(always)]
    fn park<const R: usize, const P: usize>(
        &mut self,
        row: usize,
        vector: usize,
        sums: [[[V; GROUP]; P]; R],
    ) {
        const { assert!(R > 0 && R * P <= MOST_LINES && P <= 2) };
        debug_assert_eq!(self.count, 0);
        // SAFETY: the place begins with an array of at least as many lines.
        unsafe { self.lines.as_mut_ptr().cast::<[[[V; GROUP]; P]; R]>().write(sums) };
        (self.count, self.row, self.vector, self.panels) = (R * P, row, vector, P);
        (self.piece, self.line) = (0, 0);
    }
}

/// Parks a tile if there is a place, else does all of its pieces.
///
/// # Safety
/// - The R rows from `row` and the P panels from `vector` on belong to the sweep that the epilogue was made for.
/// - The place is empty, and that of a [`Finisher`] of this epilogue.
#[inline(always)]
pub(crate) unsafe fn park_or_finish<S: Simd, F: Pieces<S>, const R: usize, const P: usize>(
    s: S,
    epilogue: &F,
    row: usize,
    vector: usize,
    sums: [[[S::Vector; GROUP]; P]; R],
    place: Option<&mut Parked<S::Vector>>,
) {
    if let Some(parked) = place {
        return parked.park(row, vector, sums);
    }
    let mut sums = CacheLines(sums);
    for piece in 0..F::PIECES {
        for r in 0..R {
            for p in 0..P {
                // SAFETY: the caller vouches for the rows and panels, and pieces come in their order.
                unsafe { epilogue.piece(s, piece, row + r, vector + p * GROUP, &mut sums.0[r][p]) };
            }
        }
    }
}

/// An epilogue, and the tile that waits for it.
pub(crate) struct Finisher<'a, F, V> {
    pub(crate) epilogue: &'a F,
    parked: Parked<V>,
}

impl<'a, F, V: Copy> Finisher<'a, F, V> {
    /// No tile waits.
    #[inline(always)]
    pub(crate) fn new(epilogue: &'a F) -> Self {
        Self { epilogue, parked: Parked::empty() }
    }

    /// Whether no tile waits.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        self.parked.count == 0
    }

    /// After how many k of `depth` to advance.
    #[inline(always)]
    pub(crate) fn interval<S: Simd<Vector = V>>(&self, depth: usize) -> usize
    where
        F: Pieces<S>,
    {
        let pieces = self.parked.count * F::PIECES;
        match depth.checked_div(pieces) {
            Some(interval) => interval.max(1),
            None => usize::MAX,
        }
    }

    /// Does a piece of the tile that waits, if there is one.
    ///
    /// # Safety
    /// - The sweep that the epilogue was made for still runs.
    #[inline(always)]
    pub(crate) unsafe fn advance<S: Simd<Vector = V>>(&mut self, s: S)
    where
        F: Pieces<S>,
    {
        let parked = &mut self.parked;
        if !parks::<S, F>() || parked.count == 0 {
            return;
        }
        debug_assert!(parked.piece < F::PIECES && parked.line < parked.count);
        // One panel or two; a division takes its time.
        let (row, panel) =
            if parked.panels == 2 { (parked.line / 2, parked.line % 2) } else { (parked.line, 0) };
        let (row, vector) = (parked.row + row, parked.vector + panel * GROUP);
        // SAFETY: `park` wrote `count` lines; who parked them vouched for the rows and panels, and that this is their
        // epilogue. Each piece of a line is done once, after the ones before.
        unsafe {
            let line = &mut *parked.lines.as_mut_ptr().cast::<[V; GROUP]>().add(parked.line);
            self.epilogue.piece(s, parked.piece, row, vector, line);
        }
        parked.line += 1;
        if parked.line == parked.count {
            (parked.line, parked.piece) = (0, parked.piece + 1);
            if parked.piece == F::PIECES {
                parked.count = 0;
            }
        }
    }

    /// Finishes the tile that waits, if there is one, and then consumes the sums of the next, of `depth` k: if that is the
    /// last of the sweep, at once, so that none is left.
    ///
    /// # Safety
    /// - The rows and vectors belong to the sweep that the epilogue was made for, and it still runs.
    #[inline(always)]
    pub(crate) unsafe fn consume<S: Simd<Vector = V>, const G: usize, const R: usize, const P: usize>(
        &mut self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[V; G]; P]; R],
        depth: usize,
        is_last: bool,
    ) where
        F: Epilogue<S, G>,
    {
        // SAFETY: the caller vouches for the sweep and the tile.
        unsafe {
            while parks::<S, F>() && self.parked.count > 0 {
                self.advance(s);
            }
            let waits = parks::<S, F>() && !is_last && hides::<S, F, G, R, P>(depth);
            let place = waits.then_some(&mut self.parked);
            self.epilogue.consume(s, row, vector, sums, place);
        }
    }
}
