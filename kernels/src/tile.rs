//! The tile: the inner loop of everything.
//!
//! ```text
//! for each panel (G gates × L units), for each block of R rows:
//!     sum[r][g] = start[r][g]                                    // R·G vectors, in registers
//!     for each term (rows, weights):                             // W·x, then R·h
//!         for k in 0..depth:
//!             for r, g:  sum[r][g] += rows[r][k] · weights[k][g] // one fused multiply-add each
//!     epilogue(row, panel, sum)                                  // the cell, or a plain store
//! ```
//!
//! What the real code adds:
//!
//! 1. R is a constant, so that the sums live in registers. Rows are split evenly into blocks of at most
//!    [`Simd::TILE_ROWS`]: 8 rows are 4 + 4 rather than 6 + 2, because a tile of few rows asks the cache for more
//!    weights per multiply-add.
//! 2. A tile of few rows takes two panels at once (P = 2). One row of one panel is only G chains of dependent
//!    multiply-adds, too few to hide their latency. (Not more: with four panels of 64 units at batch 1 there is one tile,
//!    and no K loop left to run beside its epilogue, which cost 13 %.)
//! 3. Each sum is one chain over k in a fixed order, whatever R, P and L are. So the result does not depend on them.
//! 4. The sweep may begin and end inside a panel, and the last panel may be narrower: such tiles have fewer vectors.
//! 5. Where a panel is too large to stay in the second cache while the blocks of rows pass over it, k is cut into parts of
//!    [`PART_BYTES`] of weights; the sums of all rows wait in a scratch buffer between the parts.
//! 6. While the first blocks of rows pass over a part, the next part is fetched from memory (into the first cache, from which
//!    most of it soon falls to the second; fetching it into the second alone is as fast).
//! 7. Before the second term, the epilogue asks for what it will read: totals, to which it adds.
//! 8. Panels are walked forward or backward: at batch 1 the weights stream through the caches once a step, and
//!    turning round makes the next step begin with what is still there.
//! 9. An epilogue with pieces waits for the K loop of the next tile and runs beside it, see `parked.rs`.

use crate::panel::GROUP;
use crate::parked::{Finisher, Parked, Pieces, parks};
use crate::simd::{Operation, Simd};

/// A product to be added to the sums.
///
/// There are two kinds, and a constant says which. Usually the left factor is read by rows and the right one is packed.
/// In a weight gradient, dZᵀ · x, both factors have a row per k: the left one is read by columns, and nothing is packed.
#[derive(Clone, Copy)]
pub(crate) struct Product<E> {
    /// The left factor.
    pub(crate) left: *const E,
    /// Elements between its rows.
    pub(crate) left_stride: usize,
    /// The right factor.
    pub(crate) right: *const E,
    /// Elements between its panels; where it is not packed, between its rows.
    pub(crate) right_stride: usize,
    /// The first k of a packed right factor that counts.
    pub(crate) from: usize,
    /// How many k there are.
    pub(crate) depth: usize,
}

impl<E> Product<E> {
    /// Adds nothing.
    pub(crate) const NONE: Self = Self {
        left: core::ptr::null(),
        left_stride: 0,
        right: core::ptr::null(),
        right_stride: 0,
        from: 0,
        depth: 0,
    };
}

/// Where the weights of a full panel begin, of the first k that counts: to be fetched, so it may be past the end.
#[inline(always)]
fn weights_of<S: Simd>(term: &Product<S::Element>, vector: usize) -> *const S::Element {
    let panel = (vector / GROUP).wrapping_mul(term.right_stride);
    term.right.wrapping_add(panel.wrapping_add(term.from * GROUP * S::LANES))
}

/// Cache lines to fetch during a K loop: one for each k.
#[derive(Clone, Copy)]
struct Ahead<E> {
    line: *const E,
    step: usize,
}

impl<E> Ahead<E> {
    fn stopped(self) -> Self {
        Self { step: 0, ..self }
    }
}

/// All tiles of some rows and some vectors of columns.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<E> {
    /// Rows to compute.
    pub(crate) rows: usize,
    /// First and last vector to compute, of those of the right factors.
    pub(crate) vectors: [usize; 2],
    /// Vectors in a row of the right factors.
    pub(crate) all_vectors: usize,
    /// Whether to walk the panels from the last to the first.
    pub(crate) backward: bool,
    /// What the sums start from, from the first vector to compute; null for zero.
    pub(crate) start: *const E,
    /// Elements between the starts of two rows; 0 if all rows share one, as with a bias.
    pub(crate) start_stride: usize,
    /// The terms, in the order in which they are added.
    pub(crate) terms: [Product<E>; 2],
    /// Room for a full panel of sums for each row; null if there is none, and then k is not cut.
    pub(crate) scratch: *mut E,
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Bytes of a panel that are read at once while the blocks of rows pass over it. Measured with AVX-512 at one thread, in
/// percent of the multiply-add peak for 128 and 256 KiB: 98 and 97 at T,B,X,H = 25,64,2048,2048; 93 and 93 at
/// 20,128,1024,1024; 80 and 71 at 25,16,1024,1024.
pub const PART_BYTES: usize = 128 << 10;

/// What becomes of the sums of a tile.
pub(crate) trait Epilogue<S: Simd, const G: usize>: Pieces<S> {
    /// Consumes the sums of R rows from `row` and of P · G vectors from `vector`, counted from the first of the sweep: at
    /// once, or, if it has pieces and there is a place, by parking them.
    ///
    /// # Safety
    /// - The rows and vectors belong to the sweep that the epilogue was made for.
    /// - The place is empty, and that of a [`Finisher`] of this epilogue.
    unsafe fn consume<const R: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; G]; P]; R],
        place: Option<&mut Parked<S::Vector>>,
    );

    /// Asks, while the sums of the same rows and vectors are on their way, for what `consume` will read from memory.
    ///
    /// # Safety
    /// - The rows and vectors belong to the sweep that the epilogue was made for.
    #[inline(always)]
    unsafe fn fetch<const R: usize, const P: usize>(&self, _s: S, _row: usize, _vector: usize) {}
}

/// An epilogue for panels of any width.
pub(crate) trait AnyWidth<S: Simd>:
    Epilogue<S, 1> + Epilogue<S, 2> + Epilogue<S, 3> + Epilogue<S, GROUP>
{
}
impl<S: Simd, F: Epilogue<S, 1> + Epilogue<S, 2> + Epilogue<S, 3> + Epilogue<S, GROUP>> AnyWidth<S> for F {}

/// A sweep and its epilogue, as work for [`Simd::vectorize`].
///
/// With BY_COLUMNS, the left factors are read by columns and the right ones are not packed.
///
/// Both are borrowed, since moving them takes as long as a few units of a narrow layer.
pub(crate) struct RunSweep<'a, E, F, const BY_COLUMNS: bool> {
    sweep: &'a Sweep<E>,
    epilogue: &'a F,
}

impl<'a, E, F, const BY_COLUMNS: bool> RunSweep<'a, E, F, BY_COLUMNS> {
    /// # Safety
    /// For every row r, every vector v from `vectors[0]` to `vectors[1]`, and its panel p = v / GROUP of w vectors:
    /// - `start + r · start_stride + (v − vectors[0]) · LANES` is valid for reads of a vector, or `start` is null,
    /// - for each term, `left + r · left_stride` is valid for reads of `depth` elements, and
    ///   `right + p · right_stride` for reads of `(from + depth) · w` vectors;
    ///   by columns: `left + r + k · left_stride` for a read of one element and `right + k · right_stride + v · LANES` for
    ///   reads of a vector, for all k < depth,
    /// - `scratch` is valid for reads and writes of rows · GROUP vectors, or null,
    /// - `epilogue.consume` and, until the sweep ends, the pieces of the epilogue may be called for each of its rows and
    ///   vectors. They write to nothing that the sweep reads, nor to what is read for another row or vector.
    #[inline(always)]
    pub(crate) unsafe fn new(sweep: &'a Sweep<E>, epilogue: &'a F) -> Self {
        Self { sweep, epilogue }
    }
}

impl<S, F, const BY_COLUMNS: bool> Operation<S> for RunSweep<'_, S::Element, F, BY_COLUMNS>
where
    S: Simd,
    F: AnyWidth<S>,
{
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let Self { sweep, epilogue } = self;
        // Without rows, nothing is known of any address.
        if sweep.rows == 0 {
            return;
        }
        let blocks = RowBlocks::of::<S>(sweep.rows);
        let [first, end] = sweep.vectors;
        debug_assert!(first <= end && end <= sweep.all_vectors);
        // (2) above: two panels at once while their sums fit the registers.
        let most = if sweep.rows <= S::TILE_ROWS / 2 { 2 } else { 1 };
        let mut left = end - first;
        let finisher = &mut Finisher::new(epilogue);
        while left > 0 {
            // The first and the last panel may be there in part.
            let vectors = if sweep.backward {
                left.min((first + left - 1) % GROUP + 1)
            } else {
                left.min(GROUP - (end - left) % GROUP)
            };
            let panels = if vectors == GROUP { most.min(left / GROUP) } else { 1 };
            let begin = if sweep.backward { first + left - panels * vectors } else { end - left };
            // The K loop of a narrower panel hides no tile of another one, see `parked.rs`.
            let are_last = vectors < GROUP || left - panels * vectors < GROUP;
            let columns = Columns { vector: begin, panels, are_last };
            // SAFETY: `new`'s caller vouches for the sweep, and the vectors lie inside it.
            unsafe {
                match vectors {
                    1 => all_parts::<S, F, 1, BY_COLUMNS>(s, sweep, finisher, blocks, columns),
                    2 => all_parts::<S, F, 2, BY_COLUMNS>(s, sweep, finisher, blocks, columns),
                    3 => all_parts::<S, F, 3, BY_COLUMNS>(s, sweep, finisher, blocks, columns),
                    _ => all_parts::<S, F, GROUP, BY_COLUMNS>(s, sweep, finisher, blocks, columns),
                }
            }
            left -= panels * vectors;
        }
        debug_assert!(finisher.is_idle());
    }
}

/// Rows split evenly into blocks of at most [`Simd::TILE_ROWS`].
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
    fn of<S: Simd>(rows: usize) -> Self {
        let count = rows.div_ceil(S::TILE_ROWS);
        // A single row is in a hurry, and a division takes its time.
        if count <= 1 {
            return Self { count, height: rows, taller: 0 };
        }
        Self { count, height: rows / count, taller: rows % count }
    }
}

/// What the sums of a tile start from: that of row 0, and the elements between rows.
type Start<E> = (*const E, usize);

/// Some panels of G vectors.
#[derive(Clone, Copy)]
struct Columns {
    /// The first vector.
    vector: usize,
    panels: usize,
    /// Whether their last tile finishes at once, since no full panel follows or they are narrower.
    are_last: bool,
}

/// All parts of k, for some panels.
///
/// # Safety
/// - The contract of the sweep holds, it has these columns, and `blocks` are of its rows.
/// - `finisher` has the epilogue of the sweep.
#[inline(always)]
unsafe fn all_parts<S: Simd, F: Epilogue<S, G>, const G: usize, const BY_COLUMNS: bool>(
    s: S,
    sweep: &Sweep<S::Element>,
    finisher: &mut Finisher<'_, F, S::Vector>,
    blocks: RowBlocks,
    columns: Columns,
) {
    let vector = columns.vector;
    let mut start = (sweep.start, sweep.start_stride);
    if !sweep.start.is_null() {
        // SAFETY: the contract of the sweep covers the start of each of its vectors.
        start.0 = unsafe { sweep.start.add((vector - sweep.vectors[0]) * S::LANES) };
    }
    let mut terms = sweep.terms;
    let next_panel = if sweep.backward { vector.wrapping_sub(GROUP) } else { vector + GROUP };
    let after_all = weights_of::<S>(&terms[0], next_panel);
    let most = PART_BYTES / size_of::<S::Element>() / (GROUP * S::LANES);
    if !BY_COLUMNS && !sweep.scratch.is_null() && blocks.count > 1 {
        let partial = PartialSums { sums: sweep.scratch, stride: GROUP * S::LANES };
        while terms[0].depth + terms[1].depth > most {
            if terms[0].depth == 0 {
                terms.swap(0, 1);
            }
            // A part of at most `most`, such that those of this term are of equal size.
            let parts = terms[0].depth.div_ceil(most);
            let depth = terms[0].depth.div_ceil(parts);
            let part = Product { depth, ..terms[0] };
            if depth == terms[0].depth && terms[1].depth == 0 {
                break;
            }
            let left = terms[0].left.wrapping_add(depth);
            let rest =
                Product { left, from: terms[0].from + depth, depth: terms[0].depth - depth, ..terms[0] };
            let next = weights_of::<S>(if rest.depth > 0 { &rest } else { &terms[1] }, vector);
            // SAFETY: the part lies inside the term, and the scratch has GROUP vectors for each row.
            unsafe {
                let (part, columns) = ([part, Product::NONE], Columns { panels: 1, ..columns });
                let finisher = &mut Finisher::new(&partial);
                all_rows::<S, _, G, false>(s, sweep, finisher, start, part, next, blocks, columns);
            }
            start = (sweep.scratch, partial.stride);
            terms[0] = rest;
        }
    }
    // SAFETY: the terms are those of the sweep, or what is left of them.
    unsafe {
        all_rows::<S, F, G, BY_COLUMNS>(s, sweep, finisher, start, terms, after_all, blocks, columns);
    }
}

/// Keeps sums until the next part of k.
#[derive(Clone, Copy)]
struct PartialSums<E> {
    sums: *mut E,
    stride: usize,
}

impl<S: Simd> Pieces<S> for PartialSums<S::Element> {}

impl<S: Simd, const G: usize> Epilogue<S, G> for PartialSums<S::Element> {
    #[inline(always)]
    unsafe fn consume<const R: usize, const P: usize>(
        &self,
        s: S,
        row: usize,
        _vector: usize,
        sums: [[[S::Vector; G]; P]; R],
        _place: Option<&mut Parked<S::Vector>>,
    ) {
        for r in 0..R {
            for p in 0..P {
                for g in 0..G {
                    // SAFETY: the contract of the sweep covers a panel of sums for each row, and there is one panel.
                    unsafe {
                        s.store(
                            self.sums.add((row + r) * self.stride + (p * G + g) * S::LANES),
                            sums[r][p][g],
                        )
                    };
                }
            }
        }
    }
}

/// The tiles of all rows, for some panels.
///
/// # Safety
/// - The contract of the sweep holds for these terms and the epilogue of `finisher`, it has these columns, and `blocks` are
///   of its rows.
/// - `start` is valid for reads of these vectors for each row, or null.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "passed in registers")]
unsafe fn all_rows<S: Simd, F: Epilogue<S, G>, const G: usize, const BY_COLUMNS: bool>(
    s: S,
    sweep: &Sweep<S::Element>,
    finisher: &mut Finisher<'_, F, S::Vector>,
    start: Start<S::Element>,
    terms: [Product<S::Element>; 2],
    next: *const S::Element,
    blocks: RowBlocks,
    Columns { vector, panels, are_last }: Columns,
) {
    let mut row = 0;
    for block in 0..blocks.count {
        // (6) above: each block of rows fetches one line per k.
        let line = LINE_BYTES / size_of::<S::Element>();
        let fetching = !BY_COLUMNS && block * line < G * S::LANES;
        let ahead = if fetching {
            Ahead { line: next.wrapping_add(block * terms[0].depth * line), step: line }
        } else {
            Ahead { line: next, step: 0 }
        };
        let rows = blocks.height + usize::from(block < blocks.taller);
        let is_last = are_last && block + 1 == blocks.count;
        macro_rules! tiles {
            ($($R:literal x $P:literal)*) => {
                match (rows, panels) {
                    // SAFETY: the rows lie inside the sweep, and the vectors too.
                    $(($R, $P) if $R * $P <= S::TILE_ROWS => unsafe {
                        tile::<S, F, G, $R, $P, BY_COLUMNS>(
                            s, sweep, finisher, start, &terms, ahead, row, vector, is_last,
                        )
                    },)*
                    shape => unreachable!("a tile of {shape:?} rows and panels"),
                }
            };
        }
        tiles!(6 x 1 5 x 1 4 x 1 3 x 1 2 x 1 1 x 1 1 x 2 2 x 2 3 x 2);
        row += rows;
    }
}

/// One tile: R rows × P panels × G vectors.
///
/// # Safety
/// - As of [`all_rows`], for the rows `row..row + R` and the vectors `vector..vector + P · G`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "passed in registers")]
unsafe fn tile<S, F, const G: usize, const R: usize, const P: usize, const BY_COLUMNS: bool>(
    s: S,
    sweep: &Sweep<S::Element>,
    finisher: &mut Finisher<'_, F, S::Vector>,
    (start, start_stride): Start<S::Element>,
    [first, second]: &[Product<S::Element>; 2],
    ahead: Ahead<S::Element>,
    row: usize,
    vector: usize,
    is_last: bool,
) where
    S: Simd,
    F: Epilogue<S, G>,
{
    debug_assert!(row + R <= sweep.rows);
    debug_assert!(sweep.vectors[0] <= vector && vector + P * G <= sweep.vectors[1]);
    let mut sums = [[[s.zero(); G]; P]; R];
    // SAFETY: the contract of the sweep covers the rows and vectors, and calls of its epilogue for them.
    unsafe {
        if !start.is_null() {
            let start = start.add(row * start_stride);
            for r in 0..R {
                for p in 0..P {
                    for g in 0..G {
                        sums[r][p][g] = s.load(start.add(r * start_stride + (p * G + g) * S::LANES));
                    }
                }
            }
        }
        let depth = first.depth + second.depth;
        let interval = finisher.interval(depth);
        let all_vectors = sweep.all_vectors;
        let sums = accumulate::<S, F, G, R, P, BY_COLUMNS>(
            s,
            sums,
            all_vectors,
            first,
            ahead,
            row,
            vector,
            finisher,
            interval,
        );
        let ahead = ahead.stopped();
        finisher.epilogue.fetch::<R, P>(s, row, vector - sweep.vectors[0]);
        let sums = accumulate::<S, F, G, R, P, BY_COLUMNS>(
            s,
            sums,
            all_vectors,
            second,
            ahead,
            row,
            vector,
            finisher,
            interval,
        );
        finisher.consume(s, row, vector - sweep.vectors[0], sums, depth, is_last);
    }
}

/// The K loop: sums + left · right.
///
/// # Safety
/// - As of [`tile`], for the sweep that `term` belongs to.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "passed in registers")]
unsafe fn accumulate<S, F, const G: usize, const R: usize, const P: usize, const BY_COLUMNS: bool>(
    s: S,
    mut sums: [[[S::Vector; G]; P]; R],
    all_vectors: usize,
    term: &Product<S::Element>,
    ahead: Ahead<S::Element>,
    row: usize,
    vector: usize,
    finisher: &mut Finisher<'_, F, S::Vector>,
    interval: usize,
) -> [[[S::Vector; G]; P]; R]
where
    S: Simd,
    F: Pieces<S>,
{
    if term.depth == 0 {
        return sums;
    }
    let (row_step, k_step) = if BY_COLUMNS { (1, term.left_stride) } else { (term.left_stride, 1) };
    let (panel, in_panel) = (vector / GROUP, vector % GROUP);
    let (right_step, panel_step, start) = if BY_COLUMNS {
        (term.right_stride, GROUP * S::LANES, vector * S::LANES)
    } else {
        // A constant where it can be: full panels are the rule.
        let width = if G == GROUP { GROUP } else { GROUP.min(all_vectors - panel * GROUP) };
        let step = width * S::LANES;
        (step, term.right_stride, panel * term.right_stride + term.from * step + in_panel * S::LANES)
    };
    // SAFETY: the contract of the sweep covers the elements of each row and k and the vectors of each panel and k, and the
    // sweep still runs, so that the pieces of its epilogue may be called.
    unsafe {
        let left = term.left.add(row * row_step);
        let right = term.right.add(start);
        let mut k = 0;
        while k < term.depth {
            let end = if parks::<S, F>() { term.depth.min(k.saturating_add(interval)) } else { term.depth };
            s.align_loop();
            while k < end {
                // A tile of few rows has no load to spare.
                if R >= 5 && !BY_COLUMNS {
                    s.prefetch(ahead.line.wrapping_add(k * ahead.step));
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
            finisher.advance(s);
        }
    }
    sums
}
