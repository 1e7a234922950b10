//! The sweep: all tiles of some rows and some columns. It is compiled once, for all instruction sets.
//!
//! ```text
//! for each panel (or two), for each block of R rows:
//!     the K loops of a tile
//!     its epilogue
//! ```
//!
//! What the real code adds:
//!
//! 1. Rows are split evenly into blocks of at most [`Tiles::rows`]: 8 rows are 4 + 4 rather than 6 + 2, because a tile
//!    of few rows asks the cache for more weights per multiply-add.
//! 2. A tile of few rows takes two panels at once. One row of one panel is only four chains of dependent multiply-adds,
//!    too few to hide their latency. (Not more: with four panels of 64 units at batch 1 there is one tile, and no K
//!    loop left to run beside its epilogue, which cost 13 %.)
//! 3. The sweep may begin and end inside a panel, and the last panel may be narrower: such tiles have fewer vectors.
//! 4. Where a panel is too large to stay in the second cache while the blocks of rows pass over it, k is cut into parts
//!    of [`PART_BYTES`] of weights; the sums of all rows wait in a scratch buffer between the parts.
//! 5. While the blocks of rows pass over a part, each fetches an equal share of the next one from memory (into the
//!    first cache, from which most of it soon falls to the second; fetching it into the second alone is as fast). If
//!    the first blocks fetch all of it, a line per k, they wait for the last cache (on a Xeon of Intel's
//!    20,128,1024,1024 takes 2 to 12 % longer).
//! 6. Panels are walked forward or backward: at batch 1 the weights stream through the caches once a step, and turning
//!    round makes the next step begin with what is still there.
//! 7. The sums of a tile go where they belong if there is no epilogue; else they lie in a small buffer in the first
//!    cache, from where the epilogue takes those of several tiles at once, or, if it is
//!    [deferred](crate::gemm::micro::Deferred), those of one tile beside the next.

use crate::gemm::micro::{CHAIN, FETCHING_ROWS, LINE, MOST_LINES, Sums, SumsBuffer, Tile, WAITING_LINES};
use crate::gemm::panel::PANEL_VECTORS;
use core::mem::MaybeUninit;
use core::{ptr, slice};

/// Least k of the next tile beside each piece of a deferred epilogue.
const LEAST_K: usize = 4;

/// Bytes of a panel that are read at once while the blocks of rows pass over it. Measured with AVX-512 at one thread,
/// in percent of the multiply-add peak for 128 and 256 KiB: 98 and 97 at T,B,X,H = 25,64,2048,2048; 93 and 93 at
/// 20,128,1024,1024; 80 and 71 at 25,16,1024,1024.
pub const PART_BYTES: usize = 128 << 10;

/// The tiles of one instruction set: for each width of their panels, for each shape, see [`shape_index`].
pub(crate) type TileTable<F> = [[Option<F>; SHAPES]; PANEL_VECTORS];

/// One row to six of one panel, and one to three of two.
pub(crate) const SHAPES: usize = MOST_LINES + MOST_LINES / 2;

/// Where a shape stands in a table.
#[inline(always)]
pub(crate) const fn shape_index(rows: usize, panels: usize) -> usize {
    debug_assert!(rows > 0 && rows * panels <= MOST_LINES && panels <= 2);
    (panels - 1) * MOST_LINES + rows - 1
}

/// The K loops of one instruction set.
pub(crate) struct Tiles {
    /// Elements of a vector.
    pub(crate) lanes: usize,
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    /// Inputs of a panel that have [`PART_BYTES`] of weights.
    pub(crate) part_depth: usize,
    /// Most rows of a tile beside whose K loop an epilogue can hide, on the CPU.
    pub(crate) hiding_rows: usize,
    pub(crate) table: TileTable<unsafe fn(&Tile)>,
    /// Those of staggered terms, whose panels are full.
    pub(crate) staggered: [Option<unsafe fn(&Tile)>; SHAPES],
}

/// A tile that finishes another one meanwhile.
pub(crate) type DeferringTile<C> = unsafe fn(&Tile, &C, &Sums);

/// What becomes of the sums of a tile, on one instruction set. `C` says where to read and write.
pub(crate) struct Epilogue<C: 'static> {
    /// Finishes some tiles.
    pub(crate) finish: unsafe fn(&C, &[Sums]),
    /// Tiles of full panels that finish the tile before them meanwhile, by shape: those that leave registers for that.
    pub(crate) deferring: &'static [Option<DeferringTile<C>>],
    /// Pieces of such an epilogue for each row of a panel.
    pub(crate) pieces: usize,
}

/// Where an epilogue writes.
pub(crate) trait Destination {
    /// Where the sums of `vectors` vectors from `vector` on belong that need no epilogue.
    ///
    /// # Safety
    /// - The rows and vectors belong to the sweep that this was made for.
    #[inline(always)]
    unsafe fn place(&self, _row: usize, _vector: usize, _vectors: usize, _lanes: usize) -> Option<Place> {
        None
    }
}

/// A place for sums.
pub(crate) struct Place {
    pub(crate) to: *mut f32,
    /// Elements between rows.
    pub(crate) stride: usize,
    /// Whether to add to what is there.
    pub(crate) add: bool,
}

/// A product to be added to the sums.
///
/// There are two kinds. Usually the left factor is read by rows and the right one is packed. In a weight gradient, dZᵀ
/// · x, both factors have a row per k: the left one is read by columns, and nothing is packed.
#[derive(Clone, Copy)]
pub(crate) struct Term {
    /// The left factor.
    pub(crate) left: *const f32,
    /// Elements between its rows.
    pub(crate) left_stride: usize,
    /// The right factor.
    pub(crate) right: *const f32,
    /// Elements between its panels; where it is not packed, between its rows.
    pub(crate) right_stride: usize,
    /// The first k of a packed right factor that counts.
    pub(crate) from: usize,
    /// How many k there are.
    pub(crate) depth: usize,
}

impl Term {
    /// Adds nothing.
    pub(crate) const NONE: Self =
        Self { left: ptr::null(), left_stride: 0, right: ptr::null(), right_stride: 0, from: 0, depth: 0 };
}

/// All tiles of some rows and some vectors of columns.
#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    /// Rows to compute.
    pub(crate) rows: usize,
    /// First and last vector to compute, of those of the right factors.
    pub(crate) vectors: [usize; 2],
    /// Vectors in a row of the right factors.
    pub(crate) all_vectors: usize,
    /// Whether to walk the panels from the last to the first.
    pub(crate) backward: bool,
    /// Whether left factors are read by columns, and right ones are not packed.
    pub(crate) by_columns: bool,
    /// Whether the first term adds nothing to the last vector of each panel, and the second nothing to the first. All
    /// panels are full then, and packed.
    pub(crate) is_staggered: bool,
    /// What the sums start from, from the first vector to compute; null for zero.
    pub(crate) start: *const f32,
    /// Elements between the starts of two rows; 0 if all rows share one, as with a bias.
    pub(crate) start_stride: usize,
    /// The terms, in the order in which they are added.
    pub(crate) terms: [Term; 2],
    /// Room for a full panel of sums for each row; null if there is none, and then k is not cut.
    pub(crate) scratch: *mut f32,
}

/// Rows split evenly into blocks.
#[derive(Clone, Copy)]
struct RowBlocks {
    count: usize,
    /// Rows of a block.
    height: usize,
    /// How many blocks have one row more.
    taller: usize,
}

impl RowBlocks {
    #[inline(always)]
    fn new(rows: usize, most: usize) -> Self {
        // Few rows are in a hurry, and a division takes its time.
        if rows <= most {
            return Self { count: 1, height: rows, taller: 0 };
        }
        let count = rows.div_ceil(most);
        Self { count, height: rows / count, taller: rows % count }
    }
}

/// Some panels of `width` vectors, which lie side by side.
#[derive(Clone, Copy)]
struct Columns {
    /// The first vector.
    vector: usize,
    panels: usize,
    width: usize,
    /// Whether another full panel follows, beside whose K loop an epilogue can run.
    may_defer: bool,
}

/// A sweep at work.
struct Run<'a, C: 'static> {
    tiles: &'a Tiles,
    sweep: &'a Sweep,
    epilogue: &'a Epilogue<C>,
    destination: &'a C,
    buffer: SumsBuffer,
    /// The next tile. It stays where it is, since copying what was just written takes as long as some units of a narrow
    /// layer.
    tile: Tile,
    /// The tile whose epilogue is deferred; no lines if there is none.
    waiting: Sums,
    /// The tiles that are to be finished together: how many, and how many lines they have. None while another waits.
    gathered: [MaybeUninit<Sums>; MOST_GATHERED],
    gathered_tiles: usize,
    gathered_lines: usize,
}

/// Most tiles that are finished together: with one row and two panels each, sixteen lines.
const MOST_GATHERED: usize = 8;

/// Runs a sweep.
///
/// # Safety
/// - The CPU has the instruction set of `tiles` and `epilogue`.
///
/// For every row r, every vector v from `vectors[0]` to `vectors[1]`, and its panel p = v / PANEL_VECTORS of w vectors:
/// - `start + r · start_stride + (v − vectors[0]) · lanes` is valid for reads of a vector, or `start` is null,
/// - for each term, `left + r · left_stride` is valid for reads of `depth` elements, and
///   `right + p · right_stride` for reads of `(from + depth) · w` vectors;
///   by columns: `left + r + k · left_stride` for a read of one element and `right + k · right_stride + v · lanes` for
///   reads of a vector, for all k < depth,
/// - `scratch` is valid for reads and writes of rows · PANEL_VECTORS vectors, or null,
/// - the epilogue may be called for each of its rows and vectors until the sweep ends, and a place of the destination
///   written (and read, to add). They write to nothing that the sweep reads, nor to what is read for another row or
///   vector.
pub(crate) unsafe fn run<C: Destination + 'static>(
    tiles: &Tiles,
    sweep: &Sweep,
    epilogue: &Epilogue<C>,
    destination: &C,
) {
    // Without rows, nothing is known of any address.
    if sweep.rows == 0 {
        return;
    }
    let mut run = Run {
        tiles,
        sweep,
        epilogue,
        destination,
        buffer: SumsBuffer::new(),
        tile: Tile::NONE,
        waiting: Sums::NONE,
        gathered: [const { MaybeUninit::uninit() }; MOST_GATHERED],
        gathered_tiles: 0,
        gathered_lines: 0,
    };
    let blocks = RowBlocks::new(sweep.rows, tiles.rows);
    let [first, end] = sweep.vectors;
    debug_assert!(first <= end && end <= sweep.all_vectors);
    // (2) above: two panels at once while their sums fit the registers.
    let most = if sweep.rows <= tiles.rows / 2 { 2 } else { 1 };
    let mut left = end - first;
    while left > 0 {
        // The first and the last panel may be there in part.
        let width = if sweep.backward {
            left.min((first + left - 1) % PANEL_VECTORS + 1)
        } else {
            left.min(PANEL_VECTORS - (end - left) % PANEL_VECTORS)
        };
        let panels = if width == PANEL_VECTORS { most.min(left / PANEL_VECTORS) } else { 1 };
        let vector = if sweep.backward { first + left - panels * width } else { end - left };
        left -= panels * width;
        // The K loop of a narrower panel is too short of work to hide anything (25 units at batch 7: 29 % slower).
        let may_defer = width == PANEL_VECTORS && left >= PANEL_VECTORS;
        // SAFETY: the caller vouches for the sweep, and the vectors lie inside it.
        unsafe { run.all_parts(blocks, Columns { vector, panels, width, may_defer }) };
    }
    debug_assert_eq!(run.waiting.rows, 0);
    // SAFETY: the caller vouches for calls of the epilogue.
    unsafe { run.finish_gathered() };
}

impl<C: Destination> Run<'_, C> {
    /// All parts of k, for some panels.
    ///
    /// # Safety
    /// - The contract of [`run`] holds, the sweep has these columns, and `blocks` are of its rows.
    #[inline(always)]
    unsafe fn all_parts(&mut self, blocks: RowBlocks, columns: Columns) {
        let (sweep, lanes) = (self.sweep, self.tiles.lanes);
        let Columns { vector, width, .. } = columns;
        self.tile.start = sweep.start;
        self.tile.start_stride = sweep.start_stride;
        if !sweep.start.is_null() {
            // SAFETY: the contract of the sweep covers the start of each of its vectors.
            self.tile.start = unsafe { sweep.start.add((vector - sweep.vectors[0]) * lanes) };
        }
        // Few rows fetch nothing ahead.
        let after_all = if sweep.rows < FETCHING_ROWS {
            ptr::null()
        } else if sweep.by_columns {
            // The panels of a block follow each other.
            let [Term { right, right_stride, depth, .. }, _] = sweep.terms;
            right.wrapping_add(depth * right_stride)
        } else {
            let next_panel =
                if sweep.backward { vector.wrapping_sub(PANEL_VECTORS) } else { vector + PANEL_VECTORS };
            let first = usize::from(sweep.terms[0].depth == 0);
            self.weights_of(&sweep.terms[first], next_panel)
        };
        let most = self.tiles.part_depth;
        let depth = sweep.terms[0].depth + sweep.terms[1].depth;
        // SAFETY: the caller vouches for the sweep.
        unsafe {
            if depth > most && !sweep.by_columns && !sweep.scratch.is_null() && blocks.count > 1 {
                self.in_parts(most, after_all, blocks, columns);
            } else {
                self.set_terms(&sweep.terms, vector, width);
                self.all_rows(after_all, blocks, columns, None);
            }
        }
    }

    /// The same with k cut into parts of at most `most`.
    ///
    /// # Safety
    /// - As of [`Run::all_parts`]; there is scratch.
    #[cold]
    unsafe fn in_parts(&mut self, most: usize, after_all: *const f32, blocks: RowBlocks, columns: Columns) {
        let (sweep, Columns { vector, width, panels, .. }) = (self.sweep, columns);
        let mut terms = sweep.terms;
        let place = Place { to: sweep.scratch, stride: PANEL_VECTORS * self.tiles.lanes, add: false };
        debug_assert!(panels == 1 && !place.to.is_null());
        while terms[0].depth + terms[1].depth > most {
            // The first term that there is.
            let at = usize::from(terms[0].depth == 0);
            let term = terms[at];
            // A part of at most `most` and of whole chains, such that those of this term are of about equal size.
            let parts = term.depth.div_ceil(most);
            let depth = term.depth.min(term.depth.div_ceil(parts).next_multiple_of(CHAIN));
            if depth == term.depth && terms[1 - at].depth == 0 {
                break;
            }
            let mut part = [Term::NONE; 2];
            part[at] = Term { depth, ..term };
            let rest = Term {
                left: term.left.wrapping_add(depth),
                from: term.from + depth,
                depth: term.depth - depth,
                ..term
            };
            let next = self.weights_of(if rest.depth > 0 { &rest } else { &terms[1] }, vector);
            // SAFETY: the part lies inside the term, and the scratch has PANEL_VECTORS vectors for each row.
            unsafe {
                self.set_terms(&part, vector, width);
                self.all_rows(next, blocks, columns, Some(&place));
            }
            (self.tile.start, self.tile.start_stride) = (sweep.scratch, place.stride);
            terms[at] = rest;
        }
        // SAFETY: the terms are what is left of those of the sweep.
        unsafe {
            self.set_terms(&terms, vector, width);
            self.all_rows(after_all, blocks, columns, None);
        }
    }

    /// Where the weights of a full panel begin, of the first k that counts: to be fetched, so it may be past the end.
    #[inline(always)]
    fn weights_of(&self, term: &Term, vector: usize) -> *const f32 {
        let panel = (vector / PANEL_VECTORS).wrapping_mul(term.right_stride);
        term.right.wrapping_add(panel.wrapping_add(term.from * self.stored(PANEL_VECTORS) * self.tiles.lanes))
    }

    /// Vectors of a panel of weights that has `width` vectors of sums.
    #[inline(always)]
    fn stored(&self, width: usize) -> usize {
        width - usize::from(self.sweep.is_staggered)
    }

    /// Makes terms those of the next tile, from row 0 and vector `vector` on.
    #[inline(always)]
    fn set_terms(&mut self, terms: &[Term; 2], vector: usize, width: usize) {
        let lanes = self.tiles.lanes;
        let (panel, in_panel) = (vector / PANEL_VECTORS, vector % PANEL_VECTORS);
        // Where some vectors of a panel are not wanted, it is wider than the tile.
        let panel_width = if width == PANEL_VECTORS {
            PANEL_VECTORS
        } else {
            PANEL_VECTORS.min(self.sweep.all_vectors - panel * PANEL_VECTORS)
        };
        let right_step = self.stored(panel_width) * lanes;
        for (tile, term) in self.tile.terms.iter_mut().zip(terms) {
            tile.depth = term.depth;
            if term.depth == 0 {
                continue;
            }
            tile.left = term.left;
            if self.sweep.by_columns {
                (tile.row_step, tile.k_step) = (1, term.left_stride);
                (tile.right_step, tile.panel_step) = (term.right_stride, PANEL_VECTORS * lanes);
                tile.right = term.right.wrapping_add(vector * lanes);
            } else {
                (tile.row_step, tile.k_step) = (term.left_stride, 1);
                (tile.right_step, tile.panel_step) = (right_step, term.right_stride);
                let first = panel * term.right_stride + term.from * right_step + in_panel * lanes;
                tile.right = term.right.wrapping_add(first);
            }
        }
    }

    /// The tiles of all rows, for the panels whose start and terms the next tile has. Their sums are kept at a place
    /// between parts of k, or are complete.
    ///
    /// # Safety
    /// - The contract of [`run`] holds for the terms, it has these columns, and `blocks` are of its rows.
    /// - The start is valid for reads of these vectors for each row, or null; `between` for writes.
    #[inline(always)]
    unsafe fn all_rows(
        &mut self,
        next: *const f32,
        blocks: RowBlocks,
        columns: Columns,
        between: Option<&Place>,
    ) {
        let Columns { panels, width, .. } = columns;
        // One block is in a hurry.
        if blocks.count == 1 && between.is_none() {
            (self.tile.ahead, self.tile.ahead_step) = (next, if next.is_null() { 0 } else { LINE });
            // SAFETY: the caller vouches for all rows.
            unsafe { self.finished_tiles(0, [1, blocks.height], columns, true) };
            return;
        }
        // (5) above.
        let elements = if next.is_null() { 0 } else { self.stored(width) * self.tiles.lanes };
        let ahead_step = elements.div_ceil(blocks.count).min(LINE);
        let (mut block, mut row) = (0, 0);
        while block < blocks.count {
            let is_taller = block < blocks.taller;
            let rows = blocks.height + usize::from(is_taller);
            let left = if is_taller { blocks.taller } else { blocks.count } - block;
            self.tile.ahead = next.wrapping_add(block * self.tile.fetching_depth() * ahead_step);
            self.tile.ahead_step = ahead_step;
            // SAFETY: the caller vouches for all rows.
            let done = unsafe {
                match between {
                    Some(place) => {
                        self.tile.to = place.to.add(row * place.stride);
                        self.tile.to_stride = place.stride;
                        self.sums(left, rows, panels, width);
                        left
                    }
                    None => {
                        let is_end = block + left == blocks.count;
                        self.finished_tiles(row, [left, rows], columns, is_end)
                    }
                }
            };
            block += done;
            if block == blocks.count {
                return;
            }
            row += done * rows;
            for term in &mut self.tile.terms {
                term.left = term.left.wrapping_add(done * rows * term.row_step);
            }
            if !self.tile.start.is_null() {
                self.tile.start = self.tile.start.wrapping_add(done * rows * self.tile.start_stride);
            }
        }
    }

    /// The sums of the next tile, alone, of so many blocks of so many rows.
    ///
    /// # Safety
    /// - As of [`Run::all_rows`], for its rows.
    #[inline(always)]
    unsafe fn sums(&mut self, blocks: usize, rows: usize, panels: usize, width: usize) {
        self.tile.blocks = blocks;
        debug_assert!(!self.sweep.is_staggered || width == PANEL_VECTORS);
        let table =
            if self.sweep.is_staggered { &self.tiles.staggered } else { &self.tiles.table[width - 1] };
        let run = table[shape_index(rows, panels)];
        // SAFETY: the caller vouches for the tile, and blocks have no more rows than the largest tile.
        unsafe { run.expect("tiles of every shape")(&self.tile) };
    }

    /// The next tile, of some blocks of rows of those that are left of this height, and what becomes of its sums.
    /// Returns how many blocks it was.
    ///
    /// # Safety
    /// - As of [`Run::all_rows`], for its rows, whose destination is the sweep's.
    #[inline(always)]
    unsafe fn finished_tiles(
        &mut self,
        row: usize,
        [left, rows]: [usize; 2],
        columns: Columns,
        is_end: bool,
    ) -> usize {
        let Columns { vector, panels, width, may_defer } = columns;
        let (vectors, lanes) = (panels * width, self.tiles.lanes);
        debug_assert!(row + left * rows <= self.sweep.rows);
        debug_assert!(self.sweep.vectors[0] <= vector && vector + vectors <= self.sweep.vectors[1]);
        let vector = vector - self.sweep.vectors[0];
        // SAFETY: the caller vouches for the rows and vectors, the place that the destination names, and calls of the
        // epilogue.
        unsafe {
            if let Some(Place { to, stride, add }) = self.destination.place(row, vector, vectors, lanes) {
                if add {
                    // What is gathered has the buffer.
                    self.finish_gathered();
                    (self.tile.to, self.tile.to_stride) = (self.buffer.as_mut_ptr(), vectors * lanes);
                    (self.tile.into, self.tile.into_stride) = (to, stride);
                } else {
                    (self.tile.to, self.tile.to_stride) = (to, stride);
                }
                self.sums(left, rows, panels, width);
                self.tile.into = ptr::null_mut();
                return left;
            }
            let sums = self.buffer.as_mut_ptr();
            self.tile.to_stride = vectors * lanes;
            let deferring = self.epilogue.deferring.get(shape_index(rows, panels)).copied().flatten();
            let Some(deferring) =
                deferring.filter(|_| width == PANEL_VECTORS && rows <= self.tiles.hiding_rows)
            else {
                // The tile before may have left room for one that this one has not.
                if self.waiting.rows > 0 {
                    (self.epilogue.finish)(self.destination, &[self.waiting]);
                    self.waiting.rows = 0;
                }
                let lines = rows * panels;
                if self.gathered_tiles == MOST_GATHERED || self.gathered_lines + lines > WAITING_LINES {
                    self.finish_gathered();
                }
                let blocks = left.min((WAITING_LINES - self.gathered_lines) / lines);
                let sums = sums.add(self.gathered_lines * PANEL_VECTORS * lanes);
                self.tile.to = sums;
                self.sums(blocks, rows, panels, width);
                let tiles = Sums { sums, row, vector, rows: blocks * rows, panels, width };
                self.gathered[self.gathered_tiles].write(tiles);
                self.gathered_tiles += 1;
                self.gathered_lines += blocks * lines;
                return blocks;
            };
            self.finish_gathered();
            // Not where those of the tile that waits are.
            let other_half = sums.add(WAITING_LINES / 2 * PANEL_VECTORS * lanes);
            let sums = if self.waiting.rows > 0 && self.waiting.sums == sums { other_half } else { sums };
            self.tile.to = sums;
            if self.waiting.rows > 0 {
                self.tile.blocks = 1;
                deferring(&self.tile, self.destination, &self.waiting);
            } else {
                self.sums(1, rows, panels, width);
            }
            self.waiting = Sums { sums, row, vector, rows, panels, width };
            // The last tile has no next one, and each piece needs some k beside it.
            let has_next = may_defer || left > 1 || !is_end;
            let depth = self.tile.terms[0].depth + self.tile.terms[1].depth;
            if !has_next || depth < LEAST_K * rows * panels * self.epilogue.pieces {
                (self.epilogue.finish)(self.destination, &[self.waiting]);
                self.waiting.rows = 0;
            }
            1
        }
    }

    /// The epilogue of the tiles that were gathered.
    ///
    /// # Safety
    /// - The contract of [`run`] holds.
    #[inline(always)]
    unsafe fn finish_gathered(&mut self) {
        if self.gathered_tiles > 0 {
            // SAFETY: so many were written; they are of this sweep, and the buffer has their sums.
            unsafe {
                let tiles = slice::from_raw_parts(self.gathered.as_ptr().cast(), self.gathered_tiles);
                (self.epilogue.finish)(self.destination, tiles);
            }
            (self.gathered_tiles, self.gathered_lines) = (0, 0);
        }
    }
}
