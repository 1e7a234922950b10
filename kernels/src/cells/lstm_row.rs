//! All steps of one row of a narrow LSTM, in one call.
//!
//! ```text
//! for each step:
//!     for each panel:  start + W·x + R·h    in registers, one or two panels at a time, to and fro
//!     the cell of all lines
//! ```
//!
//! The tiles and the cell are those of the sweep, so the bits are the same. A sweep finds out for each step what is the same in all
//! of them, calls a function for each tile and one for the cell: for 16 units that takes longer than what they compute. Here it is
//! one function, and what does not change is known before the first step.

use crate::cells::lines::Finish;
use crate::cells::lstm::{LSTM_GATES, LstmRows};
use crate::gemm::micro::{Immediate, RunTile, Sums, SumsBuffer, Tile, TileTerm};
use crate::simd::{Operation, Simd};
use crate::views::{RawRows, RawRowsMut};
use core::ptr;

/// Most panels of a layer whose rows are led here.
pub(crate) const MOST_PANELS: usize = 16;

/// All steps of one row. Who makes one vouches that
/// - there are `steps` rows of `start` (or one, at stride 0), `input` and `output`, if there is one: with all vectors of a row of
///   sums, `inputs` elements, and `units` elements,
/// - both weights are packed, of `inputs` and of `units` inputs,
/// - `hidden` and `cell` are rows padded to whole vectors, and all that is written is exclusively borrowed,
/// - the layer has no more than [`MOST_PANELS`] panels.
pub(crate) struct LstmRow {
    pub(crate) steps: usize,
    /// Whether the first step is that of the last row of `start`, `input` and `output`.
    pub(crate) is_reverse: bool,
    /// Whether the first step walks the panels from the last to the first; steps take turns, so that each begins with weights that are
    /// still in the cache.
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
    /// c, replaced.
    pub(crate) cell: RawRowsMut,
    /// Where h goes once more, if anywhere.
    pub(crate) output: RawRowsMut,
}

impl<S: Simd<Element = f32>> Operation<S> for LstmRow {
    type Output = ();

    #[inline(always)]
    fn run(self, s: S) {
        let row = &self;
        let (mut whole, rest) = (row.units / S::LANES, row.units % S::LANES);
        let mut narrow = (rest * LSTM_GATES).div_ceil(S::LANES);
        if narrow == LSTM_GATES {
            (whole, narrow) = (whole + 1, 0);
        }
        debug_assert!(whole + usize::from(narrow > 0) <= MOST_PANELS);
        let mut buffer = SumsBuffer::new();
        let (first, line_len) = (buffer.as_mut_ptr(), LSTM_GATES * S::LANES);
        // All whole panels are one tile for the cell.
        let tiles = [
            Sums { sums: first, row: 0, vector: 0, rows: 1, panels: whole, width: LSTM_GATES },
            Sums {
                sums: first.wrapping_add(whole * line_len),
                row: 0,
                vector: whole * LSTM_GATES,
                rows: 1,
                panels: 1,
                width: narrow,
            },
        ];
        let tiles = &tiles[usize::from(whole == 0)..1 + usize::from(narrow > 0)];
        for step in 0..row.steps {
            let time = if row.is_reverse { row.steps - 1 - step } else { step };
            let (to, from) = (row.hidden[step % 2], row.hidden[1 - step % 2]);
            // SAFETY: whoever made this vouches for all rows, vectors and weights; the buffer has a line for each panel.
            unsafe {
                let start = row.start.at(time, 0);
                let input = if row.inputs > 0 { row.input.at(time, 0) } else { ptr::null() };
                let term = |left: *const f32, weights: *const f32, depth: usize| {
                    let panel_step = depth * line_len;
                    TileTerm {
                        left,
                        row_step: 0,
                        k_step: 1,
                        right: weights,
                        right_step: line_len,
                        panel_step,
                        depth,
                    }
                };
                let all = Tile {
                    start,
                    terms: [
                        term(input, row.input_weights, row.inputs),
                        term(from.at(0, 0).cast_const(), row.recurrent_weights, row.units),
                    ],
                    to: first,
                    blocks: 1,
                    ..Tile::NONE
                };
                // The tile from a panel on.
                let tile = |panel: usize| {
                    let terms = all.terms.map(|term| TileTerm {
                        right: term.right.wrapping_add(panel * term.panel_step),
                        ..term
                    });
                    let (start, to) = (start.add(panel * line_len), first.add(panel * line_len));
                    Tile { start, terms, to, ..all }
                };
                let is_backward = row.is_backward != (step % 2 == 1);
                let tiles_of_panels = whole.div_ceil(2);
                let count = tiles_of_panels + usize::from(narrow > 0);
                for n in 0..count {
                    let n = if is_backward { count - 1 - n } else { n };
                    if n == tiles_of_panels {
                        let mut tile = tile(whole);
                        for term in &mut tile.terms {
                            term.right_step = narrow * S::LANES;
                        }
                        match narrow {
                            1 => RunTile::<_, 1, 1, 1>::new(&tile, &Immediate, &Sums::NONE).run(s),
                            2 => RunTile::<_, 2, 1, 1>::new(&tile, &Immediate, &Sums::NONE).run(s),
                            _ => RunTile::<_, 3, 1, 1>::new(&tile, &Immediate, &Sums::NONE).run(s),
                        }
                    } else if 2 * n + 1 < whole {
                        RunTile::<_, LSTM_GATES, 1, 2>::new(&tile(2 * n), &Immediate, &Sums::NONE).run(s);
                    } else {
                        RunTile::<_, LSTM_GATES, 1, 1>::new(&tile(2 * n), &Immediate, &Sums::NONE).run(s);
                    }
                }
                let output = if row.output.is_none() { row.output } else { row.output.row(time) };
                let rows = LstmRows {
                    previous_cell: row.cell.to_read(),
                    cell: row.cell,
                    hidden: to,
                    output,
                    units: row.units,
                    gates: RawRowsMut::NONE,
                };
                Finish::new(&rows, tiles).run(s);
            }
        }
    }
}
