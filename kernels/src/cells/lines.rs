//! Epilogues over all lines of some tiles.
//!
//! ```text
//! line:  a vector of units of a row, with its sums: four vectors of gates, or one of plain columns
//! for each group of W lines:  the cell, all of them side by side
//! ```
//!
//! 1. W lines at once hide the latency of each other's chains of operations, see [`Together`](crate::simd::Together).
//!    What is left over goes line by line; one of two goes in both places.
//! 2. Units that do not fill a panel share vectors. Their gates are spread over vectors of their own first.

use crate::gemm::micro::{Sums, SumsBuffer, WAITING_LINES};
use crate::gemm::panel::PANEL_VECTORS;
use crate::simd::{Operation, Simd, each, repeat};
use core::mem::MaybeUninit;
use core::slice;

/// A vector of units of a row.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) row: usize,
    pub(crate) unit: usize,
    /// The sums of its gates, a vector each, one after the other.
    pub(crate) sums: *const f32,
}

/// Most lines of some tiles: those of a plain matrix have four in each panel.
const MOST_LINES: usize = WAITING_LINES * PANEL_VECTORS;

/// An epilogue over lines.
pub(crate) trait Cell<S: Simd> {
    /// Sums of a unit: 1 or [`PANEL_VECTORS`].
    const GATES: usize;

    /// Units of the sweep.
    fn units(&self) -> usize;

    /// Asks for what the cell will read of a line, if that may be far away.
    ///
    /// # Safety
    /// - The row and the unit belong to the sweep that this was made for.
    #[inline(always)]
    unsafe fn fetch(&self, _s: S, _line: &Line) {}

    /// The cell of W lines. All is read before anything is written.
    ///
    /// # Safety
    /// - The rows and units belong to the sweep that this was made for, which still runs, and each line has
    ///   [`Cell::GATES`] vectors of sums.
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]);
}

/// The epilogue of all lines of some tiles.
pub(crate) struct Finish<'a, C> {
    cell: &'a C,
    tiles: &'a [Sums],
}

impl<'a, C> Finish<'a, C> {
    /// # Safety
    /// - The tiles belong to the sweep that `cell` was made for, which still runs; their sums are there, and nobody
    ///   else's. They have no more than [`WAITING_LINES`] lines of panels together.
    #[inline(always)]
    pub(crate) unsafe fn new(cell: &'a C, tiles: &'a [Sums]) -> Self {
        Self { cell, tiles }
    }
}

impl<S: Simd<Element = f32>, C: Cell<S>> Operation<S> for Finish<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        // SAFETY: `new`'s caller vouches for the tiles.
        unsafe {
            if const { S::REGISTERS >= 32 } { self.in_groups::<S, 4>(s) } else { self.in_groups::<S, 2>(s) }
        }
    }
}

impl<C> Finish<'_, C> {
    /// # Safety
    /// - As of [`Finish::new`].
    #[inline(always)]
    unsafe fn in_groups<S: Simd<Element = f32>, const W: usize>(self, s: S)
    where
        C: Cell<S>,
    {
        let mut spread = SumsBuffer::new();
        let mut spread_lines = 0;
        // Not filled to start with: that would take as long as some lines.
        let (mut lines, mut count) = ([MaybeUninit::<Line>::uninit(); MOST_LINES], 0);
        for tile in self.tiles {
            // The lines of a row of the tile, and the vectors of each.
            let (in_row, width) =
                if C::GATES == 1 { (tile.panels * tile.width, 1) } else { (tile.panels, tile.width) };
            let first = tile.vector / C::GATES * S::LANES;
            for row in 0..tile.rows {
                for line in 0..in_row {
                    debug_assert!(count < MOST_LINES && spread_lines < WAITING_LINES);
                    // SAFETY: the caller vouches for the tile, whose lines lie one after the other, and for no more of
                    // them than there is room for.
                    unsafe {
                        let mut sums = tile.sums.add((row * in_row + line) * width * S::LANES);
                        if const { C::GATES > 1 } && width < C::GATES {
                            let to = spread.as_mut_ptr().add(spread_lines * PANEL_VECTORS * S::LANES);
                            spread_gates(s, sums, width, self.cell.units(), to);
                            sums = to;
                            spread_lines += 1;
                        }
                        lines[count].write(Line { row: tile.row + row, unit: first + line * S::LANES, sums });
                        count += 1;
                    }
                }
            }
        }
        // SAFETY: these were written.
        let mut lines = unsafe { slice::from_raw_parts(lines.as_ptr().cast::<Line>(), count) };
        // SAFETY: as above.
        unsafe {
            while let Some((group, rest)) = lines.split_first_chunk::<W>() {
                for line in rest.iter().take(W) {
                    self.cell.fetch(s, line);
                }
                self.cell.lines(s, group);
                lines = rest;
            }
            if const { W > 2 } {
                for line in lines {
                    self.cell.lines(s, &[*line]);
                }
            } else if let Some(last) = lines.first() {
                // The same is computed from the same and written twice, which takes no longer than one line alone, and
                // leaves one function less to compile. Of four, one row of 16 units would take 15 % longer.
                self.cell.lines(s, &repeat::<_, W>(*last));
            }
        }
    }
}

/// Spreads the gates of a line of the last panel, where its units share `width` vectors, over vectors of their own.
///
/// # Safety
/// - `sums` is valid for reads of `width` vectors, 0 < `width` < 4, and `to` for writes of four.
#[inline(always)]
pub(crate) unsafe fn spread_gates<S: Simd<Element = f32>>(
    s: S,
    sums: *const f32,
    width: usize,
    units: usize,
    to: *mut f32,
) {
    let units = units % S::LANES;
    debug_assert!(width < PANEL_VECTORS && (units * PANEL_VECTORS).div_ceil(S::LANES) == width);
    each!(gate in PANEL_VECTORS => {
        // Of three vectors, the first two gates lie in the first two, and the others in the last two.
        let low = usize::from(width == 3 && gate >= 2);
        let high = (low + 1).min(width - 1);
        // SAFETY: the caller vouches for the vectors of either.
        unsafe {
            let [low_vector, high_vector] = [low, high].map(|vector| sums.add(vector * S::LANES));
            let from = gate * units - low * S::LANES;
            let spread = s.concat_shift(s.load(low_vector), s.load(high_vector), from);
            s.store(to.add(gate * S::LANES), spread);
        }
    });
}
