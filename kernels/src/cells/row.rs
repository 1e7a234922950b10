//! All steps of one row of a narrow layer, in one call.
//!
//! ```text
//! for each step:
//!     for each two panels, or three where three are left, to and fro:
//!         start + W·x + R·h    in registers, in the order of a tile
//!         the cell of their lines
//! ```
//!
//! The cells are those of the sweep, and sums are added up in the order of its tiles, so the bits are the same. A sweep
//! finds out for each step what is the same in all of them, calls a function for each tile and one for the cell: for 16
//! units that takes longer than what they compute. Here it is one function, and what does not change is known before
//! the first step.
//!
//! Each sum is a chain of multiply-adds that wait for each other, so a panel alone, of four such chains or fewer,
//! leaves most of the CPU idle. The last panel, which may have fewer vectors, goes through the same K loop as the one
//! or two before it.

use crate::cells::lines::{Cell, Line, spread_gates};
use crate::gemm::micro::CHAIN;
use crate::gemm::panel::PANEL_VECTORS;
use crate::simd::{MAX_LANES, Operation, Simd, each, repeat};
use crate::views::{RawRows, RawRowsMut};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

/// Most panels of a layer whose rows are led here.
pub(crate) const MOST_PANELS: usize = 16;

/// A cell of four sums for each unit, whose rows can be led here.
pub(crate) trait RowCell<S: Simd> {
    /// Whether W adds nothing to the last vector of each panel, and R nothing to the first. All panels are full then,
    /// whatever the number of units.
    const IS_STAGGERED: bool;

    /// What the cell of a step reads and writes.
    type Step: Cell<S>;

    /// The cell of a step of some units: from h to h', which also goes to `output`, if that is there.
    fn step(
        &self,
        previous_hidden: RawRows,
        hidden: RawRowsMut,
        output: RawRowsMut,
        units: usize,
    ) -> Self::Step;
}

/// All steps of one row. Who makes one vouches that
/// - there are `steps` rows of `start` (or one, at stride 0), `input` and `output`, if there is one: with all vectors
///   of a row of sums, `inputs` elements, and `units` elements,
/// - both weights are packed for the sums of the cell, of `inputs` and of `units` inputs,
/// - `hidden` and what `cell` reads and writes are rows padded to whole vectors, and all that is written is exclusively
///   borrowed,
/// - the layer has no more than [`MOST_PANELS`] panels.
pub(crate) struct Row<C> {
    pub(crate) steps: usize,
    /// Whether the first step is that of the last row of `start`, `input` and `output`.
    pub(crate) is_reverse: bool,
    /// Whether the first step walks the panels from the last to the first; steps take turns, so that each begins with
    /// weights that are still in the cache.
    pub(crate) is_backward: bool,
    /// What the sums of each step start from.
    pub(crate) start: RawRows,
    /// x, and its weights.
    pub(crate) input: RawRows,
    pub(crate) input_weights: *const f32,
    /// Elements of x; 0 if W·x is in `start`.
    pub(crate) inputs: usize,
    pub(crate) recurrent_weights: *const f32,
    pub(crate) units: usize,
    /// Where h goes, in turn; the first step reads the second.
    pub(crate) hidden: [RawRowsMut; 2],
    /// Where h goes once more, if anywhere.
    pub(crate) output: RawRowsMut,
    /// What else the cell reads and writes.
    pub(crate) cell: C,
}

/// Most panels that go through a K loop together.
const fn most_lines<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 3 } else { 2 }
}

/// By reference: copying one takes as long as some units.
impl<S: Simd<Element = f32>, C: RowCell<S>> Operation<S> for &Row<C> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        // The units that fill no panel, and the vectors that they share; four would be a full panel.
        let rest = self.units % S::LANES;
        let narrow =
            if C::IS_STAGGERED { 0 } else { (rest * PANEL_VECTORS).div_ceil(S::LANES) % PANEL_VECTORS };
        let panels = self.units.div_ceil(S::LANES);
        debug_assert!(panels <= MOST_PANELS);
        let tiles = if most_lines::<S>() == 3 { (panels / 2).max(1) } else { panels.div_ceil(2) };
        for step in 0..self.steps {
            // SAFETY: whoever made this vouches for all of it.
            unsafe {
                let step = Step::new(s, self, step);
                for n in 0..tiles {
                    let n = if step.is_backward { tiles - 1 - n } else { n };
                    if n + 1 < tiles {
                        step.tile(s, 2 * n, 2, 0);
                    } else {
                        step.tile(s, 2 * n, panels - 2 * n, narrow);
                    }
                }
            }
        }
    }
}

/// A step of a row.
struct Step<'a, S: Simd, C: RowCell<S>> {
    row: &'a Row<C>,
    start: *const f32,
    input: *const f32,
    hidden: *const f32,
    is_backward: bool,
    cell: C::Step,
}

/// Sums of P full panels, and of N vectors of the one after them.
type Sums<V, const P: usize, const N: usize> = ([[V; PANEL_VECTORS]; P], [V; N]);

/// Memory for the sums of a tile, a line for each panel.
#[repr(C, align(64))]
struct Lines(MaybeUninit<[f32; 3 * PANEL_VECTORS * MAX_LANES]>);

impl<'a, S: Simd<Element = f32>, C: RowCell<S>> Step<'a, S, C> {
    /// # Safety
    /// - There is such a step, and whoever made the row vouches for what [`Row`] says.
    #[inline(always)]
    unsafe fn new(_s: S, row: &'a Row<C>, step: usize) -> Self {
        let time = if row.is_reverse { row.steps - 1 - step } else { step };
        let (to, from) = (row.hidden[step % 2], row.hidden[1 - step % 2]);
        // SAFETY: the caller vouches for all rows.
        unsafe {
            let output = if row.output.is_none() { row.output } else { row.output.row(time) };
            Self {
                row,
                start: row.start.at(time, 0),
                input: if row.inputs > 0 { row.input.at(time, 0) } else { ptr::null() },
                hidden: from.at(0, 0).cast_const(),
                is_backward: row.is_backward != (step % 2 == 1),
                cell: row.cell.step(from.to_read(), to, output, row.units),
            }
        }
    }

    /// Some panels from panel `first` on, the last of them of `narrow` vectors if that is not 0.
    ///
    /// # Safety
    /// - As of [`Step::new`]; there are such panels, no more than [`most_lines`].
    #[inline(always)]
    unsafe fn tile(&self, s: S, first: usize, panels: usize, narrow: usize) {
        debug_assert!(0 < panels && panels <= most_lines::<S>());
        let mut buffer = Lines(MaybeUninit::uninit());
        let sums: *mut f32 = buffer.0.as_mut_ptr().cast();
        let line = |n: usize| Line {
            row: 0,
            unit: (first + n) * S::LANES,
            sums: sums.wrapping_add(n * PANEL_VECTORS * S::LANES),
        };
        // SAFETY: the caller vouches for the panels, whose sums are written before they are read.
        unsafe {
            if narrow == 0 {
                match panels {
                    1 => {
                        if const { most_lines::<S>() == 3 } {
                            self.sums::<1, 0>(s, first, sums);
                        } else {
                            return self.panel::<1, 0>(s, first);
                        }
                    }
                    2 => self.sums::<2, 0>(s, first, sums),
                    _ => {
                        if const { most_lines::<S>() == 3 } {
                            self.sums::<3, 0>(s, first, sums);
                        } else {
                            unreachable!("no more than two panels");
                        }
                    }
                }
            } else if const { !C::IS_STAGGERED } {
                match (panels, narrow) {
                    (1, 1) => return self.panel::<0, 1>(s, first),
                    (1, 2) => return self.panel::<0, 2>(s, first),
                    (1, _) => return self.panel::<0, 3>(s, first),
                    (2, 1) => self.sums::<1, 1>(s, first, sums),
                    (2, 2) => self.sums::<1, 2>(s, first, sums),
                    (2, _) => self.sums::<1, 3>(s, first, sums),
                    _ => {
                        if const { most_lines::<S>() == 3 } {
                            match narrow {
                                1 => self.sums::<2, 1>(s, first, sums),
                                2 => self.sums::<2, 2>(s, first, sums),
                                _ => self.sums::<2, 3>(s, first, sums),
                            }
                        } else {
                            unreachable!("no more than two panels");
                        }
                    }
                }
            } else {
                unreachable!("none is narrow where terms are staggered");
            }
            match panels {
                1 => self.cell.lines(s, &[line(0)]),
                2 => self.cell.lines(s, &[line(0), line(1)]),
                _ => {
                    if const { most_lines::<S>() == 3 } {
                        self.cell.lines(s, &[line(0), line(1), line(2)]);
                    }
                }
            }
        }
    }

    /// One panel, full or of N vectors. Its cell is compiled for each width: a step of so few units waits for its sums,
    /// which stay in registers here. For 12 units a step takes 0.94 × the time; for 16, a full panel of AVX-512, it
    /// would take 1.06 ×.
    ///
    /// # Safety
    /// - As of [`Step::tile`]; P is 1 and N is 0, or P is 0.
    #[inline(always)]
    unsafe fn panel<const P: usize, const N: usize>(&self, s: S, first: usize) {
        let mut buffer = Lines(MaybeUninit::uninit());
        let sums: *mut f32 = buffer.0.as_mut_ptr().cast();
        // SAFETY: the caller vouches for the panel, whose sums are written before they are read.
        unsafe {
            self.sums::<P, N>(s, first, sums);
            self.cell.lines(s, &[Line { row: 0, unit: first * S::LANES, sums }]);
        }
    }

    /// The sums of P full panels from panel `first` on, and of N vectors of the one after them, which are spread: a
    /// line for each.
    ///
    /// # Safety
    /// - As of [`Step::new`]; there are such panels, and `to` is valid for writes of their lines.
    #[inline(always)]
    unsafe fn sums<const P: usize, const N: usize>(&self, s: S, first: usize, to: *mut f32) {
        let width = PANEL_VECTORS * S::LANES;
        let row = self.row;
        // SAFETY: the caller vouches for the panels, so for the vectors of `start`, the weights, and the lines.
        unsafe {
            let mut sums = (repeat(repeat(s.zero())), repeat(s.zero()));
            let start = self.start.add(first * width);
            each!(p in P => {
                each!(g in PANEL_VECTORS => {
                    sums.0[p][g] = s.load(start.add(p * width + g * S::LANES));
                });
            });
            each!(n in N => {
                sums.1[n] = s.load(start.add(P * width + n * S::LANES));
            });
            if const { C::IS_STAGGERED } {
                sums = add::<S, P, N, 0, 3>(s, sums, self.input, row.inputs, row.input_weights, first);
                sums = add::<S, P, N, 1, 4>(s, sums, self.hidden, row.units, row.recurrent_weights, first);
            } else {
                sums = add::<S, P, N, 0, 4>(s, sums, self.input, row.inputs, row.input_weights, first);
                sums = add::<S, P, N, 0, 4>(s, sums, self.hidden, row.units, row.recurrent_weights, first);
            }
            let (full, narrow) = sums;
            each!(p in P => {
                each!(g in PANEL_VECTORS => {
                    s.store(to.add(p * width + g * S::LANES), full[p][g]);
                });
            });
            if const { N > 0 } {
                spread_gates(s, narrow.as_ptr().cast(), N, row.units, to.add(P * width));
            }
        }
    }
}

/// Adds left · weights to sums, to the vectors `FROM..TO` of full panels, which have no others: chains of at most
/// [`CHAIN`] k, one after the other.
///
/// # Safety
/// - `left` is valid for reads of `depth` elements, and `weights` are packed for so many inputs, with P full panels
///   from panel `first` on, and one of N vectors after them if that is not 0.
#[inline(always)]
unsafe fn add<S, const P: usize, const N: usize, const FROM: usize, const TO: usize>(
    s: S,
    mut totals: Sums<S::Vector, P, N>,
    left: *const f32,
    depth: usize,
    weights: *const f32,
    first: usize,
) -> Sums<S::Vector, P, N>
where
    S: Simd<Element = f32>,
{
    let panel_step = depth * (TO - FROM) * S::LANES;
    let weights = weights.wrapping_add(first * panel_step);
    let mut k = 0;
    while k < depth {
        let chain = k..depth.min(k + CHAIN);
        k = chain.end;
        // SAFETY: the caller vouches for the elements and the weights.
        let sums = unsafe { product::<S, P, N, FROM, TO>(s, left, chain, weights, panel_step) };
        each!(p in P => {
            for g in FROM..TO {
                totals.0[p][g] = s.add(totals.0[p][g], sums.0[p][g]);
            }
        });
        each!(n in N => {
            totals.1[n] = s.add(totals.1[n], sums.1[n]);
        });
    }
    totals
}

/// left · weights of the k of a chain.
///
/// # Safety
/// - As of [`add`], and it has these k.
#[inline(always)]
unsafe fn product<S, const P: usize, const N: usize, const FROM: usize, const TO: usize>(
    s: S,
    left: *const f32,
    chain: Range<usize>,
    weights: *const f32,
    panel_step: usize,
) -> Sums<S::Vector, P, N>
where
    S: Simd<Element = f32>,
{
    let mut sums = (repeat(repeat(s.zero())), repeat(s.zero()));
    // SAFETY: the caller vouches for each k.
    unsafe {
        // A loop that ends at once and then does not is guessed wrong each time (steps of X = 1).
        if chain.len() == 1 {
            return multiply_add::<S, P, N, FROM, TO>(s, sums, left, chain.start, weights, panel_step);
        }
        s.align_loop();
        for k in chain {
            sums = multiply_add::<S, P, N, FROM, TO>(s, sums, left, k, weights, panel_step);
        }
    }
    sums
}

/// One k of it.
///
/// # Safety
/// - As of [`add`], and it has this k.
#[inline(always)]
unsafe fn multiply_add<S, const P: usize, const N: usize, const FROM: usize, const TO: usize>(
    s: S,
    mut sums: Sums<S::Vector, P, N>,
    left: *const f32,
    k: usize,
    weights: *const f32,
    panel_step: usize,
) -> Sums<S::Vector, P, N>
where
    S: Simd<Element = f32>,
{
    // SAFETY: the caller vouches for the element and the vectors.
    unsafe {
        let x = s.splat(*left.add(k));
        let (full, narrow) =
            (weights.add(k * (TO - FROM) * S::LANES), weights.add(P * panel_step + k * N * S::LANES));
        each!(p in P => {
            for g in FROM..TO {
                sums.0[p][g] =
                    s.mul_add(x, s.load(full.add(p * panel_step + (g - FROM) * S::LANES)), sums.0[p][g]);
            }
        });
        each!(n in N => {
            sums.1[n] = s.mul_add(x, s.load(narrow.add(n * S::LANES)), sums.1[n]);
        });
    }
    sums
}
