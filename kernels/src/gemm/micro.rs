//! The K loops: one tile of a product, in registers.
//!
//! ```text
//! to[r][v] = start[r][v]                                     // R rows × P panels of G vectors
//! for each term (rows, weights):                             // W·x, then R·h
//!     for each block of CHAIN k:
//!         sum[r][v] = 0
//!         for k in block:
//!             for r, v:  sum[r][v] += rows[r][k] · weights[k][v] // one fused multiply-add each
//!         to[r][v] += sum[r][v]
//! ```
//!
//! What the real code adds:
//!
//! 1. R, P and G are constants, so that the sums live in registers. Nothing else is compiled per shape: what becomes of
//!    the sums is decided by whoever asked for the tile, and finds them in memory.
//! 2. Each sum has a fixed order, whatever R, P and G are, so the result does not depend on them: chains of at most
//!    [`CHAIN`] k, counted from the first k of a term, added one after the other to what the sum starts from. Short
//!    chains are closer to the real sum than one over all k, and break the wait of each multiply-add for the one
//!    before.
//! 3. Left factors are read by rows, or by columns as in a weight gradient dZᵀ · x, and right ones from panels or from
//!    plain rows: that is but two strides.
//! 4. Terms may be staggered: the first adds to all vectors of a panel but the last, the second to all but the first.
//!    Those of a gated recurrent unit are, whose four sums x̂, r, z and ĥ have three products each of W and of R. Their
//!    panels have the three vectors alone.
//! 5. Totals stay in registers where there are enough, else between two chains they lie in memory.
//! 6. Where the instruction set has registers to spare, a tile may take along the [`Deferred`] epilogue of the tile
//!    before it, and do a piece of it every few k. An epilogue of activations is long chains of dependent operations:
//!    alone it leaves the multiply-add pipes without work for most of its time, between two k of another tile it takes
//!    no more from them than its own multiply-adds, divisions and stores. docs/PERFORMANCE.md has what that buys.

use crate::gemm::panel::PANEL_VECTORS;
use crate::simd::{MAX_LANES, Operation, Simd};
use core::ops::Range;
use core::ptr;

/// Most k of a chain of multiply-adds. docs/NUMERICS.md has the errors, which grow with it. With 128 a training step at
/// 50,64,512,512 takes 7 % longer (AVX-512 on an Emerald Rapids), with 512 it is no faster.
pub(crate) const CHAIN: usize = 256;

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

/// What a tile, or several blocks of rows, read and write. The vectors of a row, P · G of them, lie side by side in
/// `start` and `to`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// What the sums start from; null for zero.
    pub(crate) start: *const f32,
    /// Elements between its rows.
    pub(crate) start_stride: usize,
    /// What is added, in this order.
    pub(crate) terms: [TileTerm; 2],
    /// What to fetch meanwhile: so many elements from here on for each k of the first term that there is, those of the
    /// next block behind those of this one. The address need not be valid.
    pub(crate) ahead: *const f32,
    pub(crate) ahead_step: usize,
    /// Where the sums go.
    pub(crate) to: *mut f32,
    /// Elements between its rows.
    pub(crate) to_stride: usize,
    /// What the sums are added to in the end, null if nothing; then all blocks of rows use the first of `to` for their
    /// totals.
    pub(crate) into: *mut f32,
    /// Elements between its rows.
    pub(crate) into_stride: usize,
    /// How many such blocks of rows there are, one below the other.
    pub(crate) blocks: usize,
}

impl Tile {
    /// How many k the first term has that there is: it fetches.
    #[inline(always)]
    pub(crate) fn fetching_depth(&self) -> usize {
        let [first, second] = &self.terms;
        if first.depth > 0 { first.depth } else { second.depth }
    }
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
            ahead_step: 0,
            to: ptr::null_mut(),
            to_stride: 0,
            into: ptr::null_mut(),
            into_stride: 0,
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

/// Lines that wait for an epilogue at once: enough for its call to cost little, and for their chains of operations to
/// hide each other's latency.
pub(crate) const WAITING_LINES: usize = 32;

/// Memory for the sums of some tiles, which begins at a cache line: a vector across two lines is stored and loaded at
/// half speed.
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
/// Pieces are small, so that the CPU finds multiply-adds of the K loop to do while it waits for their results; but what
/// one piece leaves for the next is stored, so they are few.
pub(crate) trait Deferred<S: Simd> {
    /// How many pieces there are; 0 where no tile waits.
    const PIECES: usize;

    /// Whether terms are staggered: the first adds nothing to the last vector of a full panel, and the second nothing
    /// to the first.
    const IS_STAGGERED: bool = false;

    /// Does piece `piece` of a line, whose sums are those of the tile, or what the pieces before have left in their
    /// place.
    ///
    /// # Safety
    /// - The row and the panel from `vector` on belong to the sweep that this was made for, and it still runs.
    /// - `sums` is valid for reads and writes of a full panel.
    /// - `piece < PIECES`. Of the pieces of this line, those before were done, and this one was not.
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32);
}

/// No tile waits.
pub(crate) struct Immediate;

/// The same with staggered terms.
pub(crate) struct ImmediateStaggered;

impl<S: Simd> Deferred<S> for ImmediateStaggered {
    const PIECES: usize = 0;
    const IS_STAGGERED: bool = true;

    #[inline(always)]
    unsafe fn piece(&self, _s: S, _piece: usize, _row: usize, _vector: usize, _sums: *mut f32) {
        unreachable!("no tile waits")
    }
}

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
    /// - For each of `blocks` times R rows and P · G vectors, `start` is valid for reads, or null, and `to` and `into`,
    ///   if that is not null, for reads and writes,
    /// - for each term, each of its k and each of these rows, `left` is valid for a read of an element, and for each of
    ///   its k and of P panels, `right` for reads of G vectors,
    /// - `waiting` has no lines, or there is one block, and it is a tile of full panels that waits for `epilogue` in a
    ///   sweep that still runs; its sums lie where this tile neither reads nor writes. Nor does the epilogue write to
    ///   what is read here.
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
        let left = if const { D::PIECES > 0 } { waiting.lines() * D::PIECES } else { 0 };
        let mut waiting = Waiting { epilogue, tile: waiting, left, piece: 0, line: 0 };
        // After how many k to do a piece.
        let depth = tile.terms[0].depth + tile.terms[1].depth;
        let interval = depth.checked_div(left).map_or(usize::MAX, |interval| interval.max(1));
        debug_assert!(left == 0 || tile.blocks == 1);
        // The totals, the sums of a chain, the inputs and a weight; an epilogue needs the rest.
        let totals_fit = const { D::PIECES == 0 && 2 * G * P * R + R < S::REGISTERS };
        for block in 0..tile.blocks {
            let row = block * R;
            let mut ahead_step = tile.ahead_step;
            let ahead = tile.ahead.wrapping_add(block * tile.fetching_depth() * ahead_step);
            // SAFETY: `new`'s caller vouches for all of it.
            unsafe {
                let adds = !tile.into.is_null();
                let to = tile.to.add(if adds { 0 } else { row * tile.to_stride });
                let into = tile.into.wrapping_add(row * tile.into_stride);
                let (mut from, mut from_stride) = (tile.start, tile.start_stride);
                if !from.is_null() {
                    from = from.add(row * from_stride);
                }
                let mut totals = [[[s.zero(); G]; P]; R];
                if totals_fit || depth == 0 {
                    totals = add_at(s, totals, from, from_stride);
                }
                let mut left = depth;
                for (index, term) in tile.terms.iter().enumerate() {
                    if term.depth == 0 {
                        continue;
                    }
                    let mut first = 0;
                    while first < term.depth {
                        let chain = first..term.depth.min(first + CHAIN);
                        (first, left) = (chain.end, left - chain.len());
                        // Asked for earlier, it would be pushed out of the first cache again (a training step at
                        // 100,32,256,256 takes 3.6 % longer).
                        if adds && left == 0 {
                            for r in 0..R {
                                for n in 0..P * G {
                                    s.prefetch(into.add(r * tile.into_stride + n * S::LANES));
                                }
                            }
                        }
                        let rest = &mut waiting;
                        let sums = if const { D::IS_STAGGERED } {
                            if index == 0 {
                                accumulate::<S, D, G, R, P, 0, 3>(
                                    s, term, row, chain, ahead, ahead_step, rest, interval,
                                )
                            } else {
                                accumulate::<S, D, G, R, P, 1, G>(
                                    s, term, row, chain, ahead, ahead_step, rest, interval,
                                )
                            }
                        } else if totals_fit && chain.len() == 1 {
                            // A loop that ends at once and then does not is guessed wrong each time (steps of X = 1).
                            product(s, term, row, chain.start)
                        } else {
                            accumulate::<S, D, G, R, P, 0, G>(
                                s, term, row, chain, ahead, ahead_step, rest, interval,
                            )
                        };
                        if totals_fit {
                            totals = add(s, totals, sums);
                        } else {
                            let sums = add_at(s, sums, from, from_stride);
                            if adds && left == 0 {
                                store_at(s, add_at(s, sums, into, tile.into_stride), into, tile.into_stride);
                            } else {
                                store_at(s, sums, to, tile.to_stride);
                            }
                            (from, from_stride) = (to, tile.to_stride);
                        }
                    }
                    ahead_step = 0;
                }
                if totals_fit || depth == 0 {
                    if adds {
                        store_at(s, add_at(s, totals, into, tile.into_stride), into, tile.into_stride);
                    } else {
                        store_at(s, totals, to, tile.to_stride);
                    }
                }
            }
        }
        // SAFETY: as above; without blocks nothing waits.
        unsafe {
            while const { D::PIECES > 0 } && waiting.left > 0 {
                waiting.advance(s);
            }
        }
    }
}

/// a + b
#[inline(always)]
fn add<S: Simd, const G: usize, const R: usize, const P: usize>(
    s: S,
    mut a: [[[S::Vector; G]; P]; R],
    b: [[[S::Vector; G]; P]; R],
) -> [[[S::Vector; G]; P]; R] {
    for r in 0..R {
        for p in 0..P {
            for g in 0..G {
                a[r][p][g] = s.add(a[r][p][g], b[r][p][g]);
            }
        }
    }
    a
}

/// What lies at `from`, or zero if that is null, plus `sums`.
///
/// # Safety
/// - `from` is null, or valid for reads of P · G vectors in each of R rows.
#[inline(always)]
unsafe fn add_at<S: Simd<Element = f32>, const G: usize, const R: usize, const P: usize>(
    s: S,
    mut sums: [[[S::Vector; G]; P]; R],
    from: *const f32,
    stride: usize,
) -> [[[S::Vector; G]; P]; R] {
    for r in 0..R {
        for p in 0..P {
            for g in 0..G {
                let at = r * stride + (p * G + g) * S::LANES;
                // SAFETY: the caller vouches for the vectors of each row.
                let start = if from.is_null() { s.zero() } else { unsafe { s.load(from.add(at)) } };
                sums[r][p][g] = s.add(start, sums[r][p][g]);
            }
        }
    }
    sums
}

/// # Safety
/// - `to` is valid for writes of P · G vectors in each of R rows.
#[inline(always)]
unsafe fn store_at<S: Simd<Element = f32>, const G: usize, const R: usize, const P: usize>(
    s: S,
    sums: [[[S::Vector; G]; P]; R],
    to: *mut f32,
    stride: usize,
) {
    for r in 0..R {
        for p in 0..P {
            for g in 0..G {
                // SAFETY: the caller vouches for the vectors of each row.
                unsafe { s.store(to.add(r * stride + (p * G + g) * S::LANES), sums[r][p][g]) };
            }
        }
    }
}

/// left · right of one k.
///
/// # Safety
/// - As of [`RunTile::new`], for one of its terms, which has this k.
#[inline(always)]
unsafe fn product<S: Simd<Element = f32>, const G: usize, const R: usize, const P: usize>(
    s: S,
    term: &TileTerm,
    row: usize,
    k: usize,
) -> [[[S::Vector; G]; P]; R] {
    let mut sums = [[[s.zero(); G]; P]; R];
    for r in 0..R {
        // SAFETY: the caller vouches for the elements of each row and k, and the vectors of each panel and k.
        unsafe {
            let input = s.splat(*term.left.add((row + r) * term.row_step + k * term.k_step));
            for p in 0..P {
                for g in 0..G {
                    let weight = term.right.add(k * term.right_step + p * term.panel_step + g * S::LANES);
                    sums[r][p][g] = s.mul_add(input, s.load(weight), s.zero());
                }
            }
        }
    }
    sums
}

/// The K loop: left · right over some k, from a row of the left factor on, for the vectors `FROM..TO` of each panel.
/// Accumulators travel by value, see [`Simd`].
///
/// # Safety
/// - As of [`RunTile::new`], for one of its terms, which has these k.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "passed in registers")]
unsafe fn accumulate<
    S,
    D,
    const G: usize,
    const R: usize,
    const P: usize,
    const FROM: usize,
    const TO: usize,
>(
    s: S,
    term: &TileTerm,
    row: usize,
    chain: Range<usize>,
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
    debug_assert!(chain.start < chain.end && chain.end <= depth);
    let left = left.wrapping_add(row * row_step);
    let mut sums = [[[s.zero(); G]; P]; R];
    let mut k = chain.start;
    // SAFETY: the caller vouches for the elements of each row and k, the vectors of each panel and k, and the tile that
    // waits.
    unsafe {
        while k < chain.end {
            let end =
                if const { D::PIECES > 0 } { chain.end.min(k.saturating_add(interval)) } else { chain.end };
            s.align_loop();
            while k < end {
                if const { R >= FETCHING_ROWS } {
                    s.prefetch(ahead.wrapping_add(k * ahead_step));
                }
                let right = right.add(k * right_step);
                let mut inputs = [s.zero(); R];
                for r in 0..R {
                    inputs[r] = s.splat(*left.add(r * row_step + k * k_step));
                }
                for p in 0..P {
                    for g in FROM..TO {
                        let weight = s.load(right.add(p * panel_step + (g - FROM) * S::LANES));
                        for r in 0..R {
                            sums[r][p][g] = s.mul_add(inputs[r], weight, sums[r][p][g]);
                        }
                    }
                }
                k += 1;
            }
            if const { D::PIECES > 0 } && waiting.left > 0 {
                waiting.advance(s);
            }
        }
    }
    sums
}
