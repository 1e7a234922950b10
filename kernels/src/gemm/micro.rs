//! The K loops: one tile of a product, in registers.
//!
//! ```text
//! sum[r][v] = start[r][v]                                    // R rows × P panels of G vectors
//! for each term (rows, weights):                             // W·x, then R·h
//!     for k in 0..depth:
//!         for r, v:  sum[r][v] += rows[r][k] · weights[k][v] // one fused multiply-add each
//! to[r][v] = sum[r][v]                                       // or to[r][v] + sum[r][v]
//! ```
//!
//! What the real code adds:
//!
//! 1. R, P and G are constants, so that the sums live in registers. Nothing else is compiled per shape: what becomes of the
//!    sums is decided by whoever asked for the tile, and finds them in memory.
//! 2. Each sum is one chain over k in a fixed order, whatever R, P and G are. So the result does not depend on them.
//! 3. Left factors are read by rows, or by columns as in a weight gradient dZᵀ · x, and right ones from panels or from plain
//!    rows: that is but two strides.
//! 4. Before the second term, what the sums will be added to is asked for.
//! 5. Where the instruction set has registers to spare, a tile may take along the [`Deferred`] epilogue of the tile before it,
//!    and do a piece of it every few k. An epilogue of activations is long chains of dependent operations: alone it leaves the
//!    multiply-add pipes without work for most of its time, between two k of another tile it takes no more from them than
//!    its own multiply-adds, divisions and stores. docs/PERFORMANCE.md has what that buys.

use crate::gemm::panel::PANEL_VECTORS;
use crate::simd::{MAX_LANES, Operation, Simd};
use core::ptr;

/// Rows times panels of the largest tile of any instruction set.
pub(crate) const MOST_LINES: usize = 6;

/// A product to be added to the sums, from the first row and the first vector of the tile on.
#[derive(Clone, Copy)]
pub(crate) struct TileTerm {
    /// The left factor at k = 0.
    pub(crate) left: *const f32,
    /// Elements between its rows.
    pub(crate) row_step: usize,
    /// Elements from one k to the next.
    pub(crate) k_step: usize,
    /// The right factor at k = 0.
    pub(crate) right: *const f32,
    /// Elements from one k to the next.
    pub(crate) right_step: usize,
    /// Elements between its panels.
    pub(crate) panel_step: usize,
    /// How many k there are.
    pub(crate) depth: usize,
}

/// What a tile, or several blocks of rows, read and write. The vectors of a row, P · G of them, lie side by side in `start` and `to`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// What the sums start from; null for zero.
    pub(crate) start: *const f32,
    /// Elements between its rows.
    pub(crate) start_stride: usize,
    /// What is added, in this order.
    pub(crate) terms: [TileTerm; 2],
    /// Cache lines to fetch: [`LINE`] elements at each k of the first term, for this many of the blocks. The address need not be
    /// valid.
    pub(crate) ahead: *const f32,
    pub(crate) fetching: usize,
    /// Where the sums go.
    pub(crate) to: *mut f32,
    /// Elements between its rows.
    pub(crate) to_stride: usize,
    /// Whether they are added to what is there.
    pub(crate) add: bool,
    /// How many such blocks of rows there are, one below the other.
    pub(crate) blocks: usize,
}

/// Rows from which a tile fetches cache lines ahead: one of fewer has no load to spare.
pub(crate) const FETCHING_ROWS: usize = 5;

/// Elements of a cache line.
pub(crate) const LINE: usize = 64 / size_of::<f32>();

impl Tile {
    /// Nothing.
    pub(crate) const NONE: Self = {
        let term = TileTerm {
            left: ptr::null(),
            row_step: 0,
            k_step: 0,
            right: ptr::null(),
            right_step: 0,
            panel_step: 0,
            depth: 0,
        };
        Self {
            start: ptr::null(),
            start_stride: 0,
            terms: [term; 2],
            ahead: ptr::null(),
            fetching: 0,
            to: ptr::null_mut(),
            to_stride: 0,
            add: false,
            blocks: 0,
        }
    };
}

/// Tiles whose sums wait in memory: `rows × panels` lines of `width` vectors each, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) sums: *mut f32,
    /// The first row and vector, counted from the first of the sweep.
    pub(crate) row: usize,
    pub(crate) vector: usize,
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    /// Vectors of a panel: [`PANEL_VECTORS`], or fewer in a panel that is there in part.
    pub(crate) width: usize,
}

impl Sums {
    /// None.
    pub(crate) const NONE: Self =
        Self { sums: ptr::null_mut(), row: 0, vector: 0, rows: 0, panels: 1, width: PANEL_VECTORS };

    /// How many lines there are.
    #[inline(always)]
    pub(crate) fn lines(&self) -> usize {
        self.rows * self.panels
    }
}

/// Lines that wait for an epilogue at once: enough for its call to cost little, and for their chains of operations to hide each
/// other's latency.
pub(crate) const WAITING_LINES: usize = 32;

/// Memory for the sums of some tiles, which begins at a cache line: a vector across two lines is stored and loaded at half speed.
#[repr(C, align(64))]
pub(crate) struct SumsBuffer(core::mem::MaybeUninit<[f32; WAITING_LINES * PANEL_VECTORS * MAX_LANES]>);

impl SumsBuffer {
    /// Not zeros to start with: that would take as long as some units of a narrow layer.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(core::mem::MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// The epilogue of full panels, in pieces of a line each, to be done beside the K loops of the next tile.
///
/// Pieces are small, so that the CPU finds multiply-adds of the K loop to do while it waits for their results; but what one
/// piece leaves for the next is stored, so they are few.
pub(crate) trait Deferred<S: Simd> {
    /// How many pieces there are; 0 where no tile waits.
    const PIECES: usize;

    /// Does piece `piece` of a line, whose sums are those of the tile, or what the pieces before have left in their place.
    ///
    /// # Safety
    /// - The row and the panel from `vector` on belong to the sweep that this was made for, and it still runs.
    /// - `sums` is valid for reads and writes of a full panel.
    /// - `piece < PIECES`. Of the pieces of this line, those before were done, and this one was not.
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32);
}

/// No tile waits.
pub(crate) struct Immediate;

impl<S: Simd> Deferred<S> for Immediate {
    const PIECES: usize = 0;

    #[inline(always)]
    unsafe fn piece(&self, _s: S, _piece: usize, _row: usize, _vector: usize, _sums: *mut f32) {
        unreachable!("no tile waits")
    }
}

/// The pieces of a tile that waits, as they are done.
struct Waiting<'a, D> {
    epilogue: &'a D,
    tile: &'a Sums,
    /// Pieces that are left, of all lines.
    left: usize,
    piece: usize,
    line: usize,
}

impl<D> Waiting<'_, D> {
    /// Does one piece; there is one.
    ///
    /// # Safety
    /// - The tile waits for this epilogue, its sums are there, and the sweep of both still runs.
    #[inline(always)]
    unsafe fn advance<S: Simd>(&mut self, s: S)
    where
        D: Deferred<S>,
    {
        debug_assert!(self.left > 0 && self.line < self.tile.lines());
        // One panel or two; a division takes its time.
        let (row, panel) =
            if self.tile.panels == 2 { (self.line / 2, self.line % 2) } else { (self.line, 0) };
        // SAFETY: the caller vouches for the tile. Each piece of a line is done once, after the ones before.
        unsafe {
            let sums = self.tile.sums.add(self.line * PANEL_VECTORS * S::LANES);
            let (row, vector) = (self.tile.row + row, self.tile.vector + panel * PANEL_VECTORS);
            self.epilogue.piece(s, self.piece, row, vector, sums);
        }
        self.left -= 1;
        self.line += 1;
        if self.line == self.tile.lines() {
            (self.line, self.piece) = (0, self.piece + 1);
        }
    }
}

/// One tile, as work for [`Simd::vectorize`].
pub(crate) struct RunTile<'a, D, const G: usize, const R: usize, const P: usize> {
    tile: &'a Tile,
    epilogue: &'a D,
    waiting: &'a Sums,
}

impl<'a, D, const G: usize, const R: usize, const P: usize> RunTile<'a, D, G, R, P> {
    /// A tile, and the one before it, whose epilogue is to be done meanwhile.
    ///
    /// # Safety
    /// - For each of `blocks` times R rows and P · G vectors, `start` is valid for reads, or null, and `to` for writes, of reads too if sums are
    ///   added,
    /// - for each term, each of its k and each of these rows, `left` is valid for a read of an element, and for each of its k and of P
    ///   panels, `right` for reads of G vectors,
    /// - `waiting` has no lines, or there is one block, and it is a tile of full panels that waits for `epilogue` in a sweep that still runs; its sums may
    ///   lie where `to` is, and nowhere else that this tile reads or writes. Nor does the epilogue write to what is read here.
    #[inline(always)]
    pub(crate) unsafe fn new(tile: &'a Tile, epilogue: &'a D, waiting: &'a Sums) -> Self {
        Self { tile, epilogue, waiting }
    }
}

impl<S, D, const G: usize, const R: usize, const P: usize> Operation<S> for RunTile<'_, D, G, R, P>
where
    S: Simd<Element = f32>,
    D: Deferred<S>,
{
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { tile, epilogue, waiting } = self;
        let left = if D::PIECES > 0 { waiting.lines() * D::PIECES } else { 0 };
        let mut waiting = Waiting { epilogue, tile: waiting, left, piece: 0, line: 0 };
        // After how many k to do a piece.
        let depth = tile.terms[0].depth + tile.terms[1].depth;
        let interval = depth.checked_div(left).map_or(usize::MAX, |interval| interval.max(1));
        debug_assert!(left == 0 || tile.blocks == 1);
        for block in 0..tile.blocks {
            let row = block * R;
            let mut sums = [[[s.zero(); G]; P]; R];
            // SAFETY: `new`'s caller vouches for all of it.
            unsafe {
                if !tile.start.is_null() {
                    let start = tile.start.add(row * tile.start_stride);
                    for r in 0..R {
                        for p in 0..P {
                            for g in 0..G {
                                let at = r * tile.start_stride + (p * G + g) * S::LANES;
                                sums[r][p][g] = s.load(start.add(at));
                            }
                        }
                    }
                }
                let (mut ahead, mut ahead_step) = (tile.ahead, 0);
                if block < tile.fetching {
                    ahead = ahead.wrapping_add(block * tile.terms[0].depth * LINE);
                    ahead_step = LINE;
                }
                let to = tile.to.add(row * tile.to_stride);
                sums = accumulate(s, sums, &tile.terms[0], row, ahead, ahead_step, &mut waiting, interval);
                if tile.add {
                    for r in 0..R {
                        for n in 0..P * G {
                            s.prefetch(to.add(r * tile.to_stride + n * S::LANES));
                        }
                    }
                }
                sums = accumulate(s, sums, &tile.terms[1], row, ahead, 0, &mut waiting, interval);
                while D::PIECES > 0 && waiting.left > 0 {
                    waiting.advance(s);
                }
                for r in 0..R {
                    for p in 0..P {
                        for g in 0..G {
                            let to = to.add(r * tile.to_stride + (p * G + g) * S::LANES);
                            let sum = sums[r][p][g];
                            s.store(to, if tile.add { s.add(s.load(to), sum) } else { sum });
                        }
                    }
                }
            }
        }
    }
}

/// The K loop: sums + left · right, from a row of the left factor on. Accumulators travel by value, see [`Simd`].
///
/// # Safety
/// - As of [`RunTile::new`], for one of its terms.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "passed in registers")]
unsafe fn accumulate<S, D, const G: usize, const R: usize, const P: usize>(
    s: S,
    mut sums: [[[S::Vector; G]; P]; R],
    term: &TileTerm,
    row: usize,
    ahead: *const f32,
    ahead_step: usize,
    waiting: &mut Waiting<'_, D>,
    interval: usize,
) -> [[[S::Vector; G]; P]; R]
where
    S: Simd<Element = f32>,
    D: Deferred<S>,
{
    let TileTerm { left, row_step, k_step, right, right_step, panel_step, depth } = *term;
    if depth == 0 {
        return sums;
    }
    let left = left.wrapping_add(row * row_step);
    let mut k = 0;
    // SAFETY: the caller vouches for the elements of each row and k, the vectors of each panel and k, and the tile that waits.
    unsafe {
        while k < depth {
            let end = if D::PIECES > 0 { depth.min(k.saturating_add(interval)) } else { depth };
            s.align_loop();
            while k < end {
                if R >= FETCHING_ROWS {
                    s.prefetch(ahead.wrapping_add(k * ahead_step));
                }
                let right = right.add(k * right_step);
                let mut inputs = [s.zero(); R];
                for r in 0..R {
                    inputs[r] = s.splat(*left.add(r * row_step + k * k_step));
                }
                for p in 0..P {
                    for g in 0..G {
                        let weight = s.load(right.add(p * panel_step + g * S::LANES));
                        for r in 0..R {
                            sums[r][p][g] = s.mul_add(inputs[r], weight, sums[r][p][g]);
                        }
                    }
                }
                k += 1;
            }
            if D::PIECES > 0 && waiting.left > 0 {
                waiting.advance(s);
            }
        }
    }
    sums
}
