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
//!    multiply-adds, too few to hide their latency.
//! 3. Each sum is one chain over k in a fixed order, whatever R, P and L are. So the result does not depend on them.
//! 4. Panels are walked forward or backward: at batch 1 the weights stream through the caches once a step, and
//!    turning round makes the next step begin with what is still there.

use crate::simd::{Operation, Simd};
use core::ops::Range;

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
    /// The right factor: panel 0, at the first k that counts.
    pub(crate) right: *const E,
    /// Elements between panels.
    pub(crate) panel_stride: usize,
    /// Elements between the rows of the right factor, where it is not packed.
    pub(crate) right_stride: usize,
    /// How many k there are.
    pub(crate) depth: usize,
}

impl<E> Product<E> {
    /// Adds nothing.
    pub(crate) const NONE: Self = Self {
        left: core::ptr::null(),
        left_stride: 0,
        right: core::ptr::null(),
        panel_stride: 0,
        right_stride: 0,
        depth: 0,
    };
}

/// All tiles of some rows and some panels.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a, E> {
    /// Rows to compute.
    pub(crate) rows: usize,
    /// Panels to compute.
    pub(crate) panels: &'a Range<usize>,
    /// Vectors in a full panel.
    pub(crate) group: usize,
    /// Vectors in a row; the last panel ends with the last of them.
    pub(crate) vectors: usize,
    /// Whether to walk the panels from the last to the first.
    pub(crate) backward: bool,
    /// What the sums start from: a row of vectors; null for zero.
    pub(crate) start: *const E,
    /// Elements between the starts of two rows; 0 if all rows share one, as with a bias.
    pub(crate) start_stride: usize,
    /// The terms, in the order in which they are added.
    pub(crate) terms: [Product<E>; 2],
}

/// What becomes of the sums of a tile.
pub(crate) trait Epilogue<S: Simd, const G: usize>: Copy {
    /// Consumes the sums of R rows from `row` and of P · G vectors from `vector`.
    ///
    /// # Safety
    /// - The rows and vectors belong to the sweep that the epilogue was made for.
    unsafe fn finish<const R: usize, const P: usize>(
        self,
        s: S,
        row: usize,
        vector: usize,
        sums: [[[S::Vector; G]; P]; R],
    );
}

/// A sweep over panels of exactly G vectors, and its epilogue, as work for [`Simd::vectorize`].
pub(crate) struct RunSweep<'a, E, F, const G: usize> {
    sweep: Sweep<'a, E>,
    epilogue: F,
}

/// A sweep over panels of G vectors, the last of which may be narrower, and its epilogue.
///
/// With BY_COLUMNS, the left factors are read by columns.
pub(crate) struct RunColumns<'a, E, F, const BY_COLUMNS: bool> {
    sweep: Sweep<'a, E>,
    epilogue: F,
}

/// Vectors in a panel of [`RunColumns`].
pub(crate) const COLUMN_GROUP: usize = 4;

/// The contract of both sweeps.
///
/// For every row r and panel p, with `group` vectors to a full panel and `width` vectors in panel p:
/// - `start + r · start_stride + p · group · LANES` is valid for reads of `width` vectors, or `start` is null,
/// - for each term, `left + r · left_stride` is valid for reads of `depth` elements,
///   and `right + p · panel_stride` for reads of `depth · width` vectors;
///   by columns: `left + r + k · left_stride` for a read of one element and
///   `right + p · panel_stride + k · right_stride` for reads of `width` vectors, for all k < depth,
/// - `epilogue.finish` may be called, and writes to nothing that the sweep reads later.
macro_rules! constructor {
    () => {
        /// # Safety
        /// See above.
        #[inline(always)]
        pub(crate) unsafe fn new(sweep: Sweep<'a, E>, epilogue: F) -> Self {
            Self { sweep, epilogue }
        }
    };
}

impl<'a, E, F, const G: usize> RunSweep<'a, E, F, G> {
    constructor!();
}

impl<'a, E, F, const BY_COLUMNS: bool> RunColumns<'a, E, F, BY_COLUMNS> {
    constructor!();
}

impl<S: Simd, F: Epilogue<S, G>, const G: usize> Operation<S> for RunSweep<'_, S::Element, F, G> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let (sweep, epilogue) = (&self.sweep, self.epilogue);
        let panels = sweep.panels.len();
        // (2) above: two panels at once while their sums fit the registers.
        let together = if sweep.rows <= S::TILE_ROWS / 2 { 2 } else { 1 };
        let groups = panels.div_ceil(together);
        for i in 0..groups {
            let group = if sweep.backward { groups - 1 - i } else { i };
            let panel = sweep.panels.start + group * together;
            let paired = together == 2 && panel + 1 < sweep.panels.end;
            // SAFETY: `new`'s caller vouches for the sweep, and the panels lie inside it.
            unsafe { all_rows::<S, F, G, false>(s, sweep, epilogue, panel * G, paired) };
        }
    }
}

impl<S, F, const BY_COLUMNS: bool> Operation<S> for RunColumns<'_, S::Element, F, BY_COLUMNS>
where
    S: Simd,
    F: Epilogue<S, 1> + Epilogue<S, 2> + Epilogue<S, 3> + Epilogue<S, COLUMN_GROUP>,
{
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let (sweep, epilogue) = (&self.sweep, self.epilogue);
        let together = if sweep.rows <= S::TILE_ROWS / 2 { 2 } else { 1 };
        let end = sweep.vectors.min(sweep.panels.end * COLUMN_GROUP);
        let mut vector = sweep.panels.start * COLUMN_GROUP;
        while vector < end {
            // SAFETY: `new`'s caller vouches for the sweep, and the vectors lie inside it.
            unsafe {
                match end - vector {
                    1 => all_rows::<S, F, 1, BY_COLUMNS>(s, sweep, epilogue, vector, false),
                    2 => all_rows::<S, F, 2, BY_COLUMNS>(s, sweep, epilogue, vector, false),
                    3 => all_rows::<S, F, 3, BY_COLUMNS>(s, sweep, epilogue, vector, false),
                    rest => {
                        let paired = together == 2 && rest >= 2 * COLUMN_GROUP;
                        all_rows::<S, F, COLUMN_GROUP, BY_COLUMNS>(s, sweep, epilogue, vector, paired);
                        vector += if paired { COLUMN_GROUP } else { 0 };
                    }
                }
            }
            vector += COLUMN_GROUP;
        }
    }
}

/// The tiles of all rows, for one panel of G vectors or two.
///
/// # Safety
/// - The contract of the sweep holds, and it has the vectors `vector..vector + G`, or up to `2 · G` if `paired`.
#[inline(always)]
unsafe fn all_rows<S: Simd, F: Epilogue<S, G>, const G: usize, const BY_COLUMNS: bool>(
    s: S,
    sweep: &Sweep<'_, S::Element>,
    epilogue: F,
    vector: usize,
    paired: bool,
) {
    let blocks = sweep.rows.div_ceil(S::TILE_ROWS);
    let mut row = 0;
    for block in 0..blocks {
        let end = (block + 1) * sweep.rows / blocks;
        // SAFETY: row..end lies inside the sweep, and the vectors too.
        unsafe {
            match (end - row, paired) {
                (1, true) => tile::<S, F, G, 1, 2, BY_COLUMNS>(s, sweep, epilogue, row, vector),
                (2, true) if S::TILE_ROWS >= 4 => {
                    tile::<S, F, G, 2, 2, BY_COLUMNS>(s, sweep, epilogue, row, vector)
                }
                (3, true) if S::TILE_ROWS >= 6 => {
                    tile::<S, F, G, 3, 2, BY_COLUMNS>(s, sweep, epilogue, row, vector)
                }
                (1, _) => tile::<S, F, G, 1, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector),
                (2, _) => tile::<S, F, G, 2, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector),
                (3, _) => tile::<S, F, G, 3, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector),
                (4, _) if S::TILE_ROWS >= 4 => {
                    tile::<S, F, G, 4, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector)
                }
                (5, _) if S::TILE_ROWS >= 5 => {
                    tile::<S, F, G, 5, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector)
                }
                (6, _) if S::TILE_ROWS >= 6 => {
                    tile::<S, F, G, 6, 1, BY_COLUMNS>(s, sweep, epilogue, row, vector)
                }
                (rows, _) => unreachable!("a block of {rows} rows"),
            }
        }
        row = end;
    }
}

/// One tile: R rows × P panels × G vectors.
///
/// # Safety
/// - The contract of the sweep holds, and it has the rows `row..row + R` and the vectors `vector..vector + P · G`.
#[inline(always)]
unsafe fn tile<S, F, const G: usize, const R: usize, const P: usize, const BY_COLUMNS: bool>(
    s: S,
    sweep: &Sweep<'_, S::Element>,
    epilogue: F,
    row: usize,
    vector: usize,
) where
    S: Simd,
    F: Epilogue<S, G>,
{
    debug_assert!(row + R <= sweep.rows);
    debug_assert!(vector + P * G <= sweep.vectors);
    let mut sums = [[[s.zero(); G]; P]; R];
    // SAFETY: the rows and vectors are covered by the contract of the sweep.
    unsafe {
        if !sweep.start.is_null() {
            let start = sweep.start.add(row * sweep.start_stride + vector * S::LANES);
            for r in 0..R {
                for p in 0..P {
                    for g in 0..G {
                        sums[r][p][g] = s.load(start.add(r * sweep.start_stride + (p * G + g) * S::LANES));
                    }
                }
            }
        }
        let [first, second] = &sweep.terms;
        let sums = accumulate::<S, G, R, P, BY_COLUMNS>(s, sums, first, row, vector / sweep.group);
        let sums = accumulate::<S, G, R, P, BY_COLUMNS>(s, sums, second, row, vector / sweep.group);
        epilogue.finish(s, row, vector, sums);
    }
}

/// The K loop: sums + left · right.
///
/// # Safety
/// - As of [`tile`], for the sweep that `term` belongs to.
#[inline(always)]
unsafe fn accumulate<S: Simd, const G: usize, const R: usize, const P: usize, const BY_COLUMNS: bool>(
    s: S,
    mut sums: [[[S::Vector; G]; P]; R],
    term: &Product<S::Element>,
    row: usize,
    panel: usize,
) -> [[[S::Vector; G]; P]; R] {
    let (row_step, k_step) = if BY_COLUMNS { (1, term.left_stride) } else { (term.left_stride, 1) };
    let right_step = if BY_COLUMNS { term.right_stride } else { G * S::LANES };
    if term.depth == 0 {
        return sums;
    }
    // SAFETY: the contract of the sweep covers the elements of each row and k and the vectors of each panel and k.
    unsafe {
        let left = term.left.add(row * row_step);
        let right = term.right.add(panel * term.panel_stride);
        for k in 0..term.depth {
            let right = right.add(k * right_step);
            let mut inputs = [s.zero(); R];
            for r in 0..R {
                inputs[r] = s.splat(*left.add(r * row_step + k * k_step));
            }
            for p in 0..P {
                for g in 0..G {
                    let weight = s.load(right.add(p * term.panel_stride + g * S::LANES));
                    for r in 0..R {
                        sums[r][p][g] = s.mul_add(inputs[r], weight, sums[r][p][g]);
                    }
                }
            }
        }
    }
    sums
}
