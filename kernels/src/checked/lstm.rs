//! The plain LSTM cell: arguments, and the checks that make calling its kernels safe.

use crate::cells::lstm::{LSTM_GATES, LstmRows};
use crate::cells::lstm_backward::LstmBackwardRows;
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use core::ops::Range;

/// What an LSTM step records for its backward pass.
#[derive(Debug)]
pub struct Tape<'a> {
    /// c of the step before, padded to whole panels. Without a tape, `cell` is replaced in place.
    pub previous_cell: Rows<'a>,
    /// Where σ(i), σ(f), tanh(g) and σ(o) go, a packed row each.
    pub gates: RowsMut<'a>,
}

/// One LSTM step for some rows: sums = start + Σ terms, then the cell.
#[derive(Debug)]
pub struct LstmStep<'a> {
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order.
    pub terms: [Option<Term<'a>>; 2],
    /// The panels of the weights to compute. All other arguments are of the hidden units in these panels alone.
    pub panels: Range<usize>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// c, replaced by c'; with a tape, where c' goes. Rows padded to whole panels.
    pub cell: RowsMut<'a>,
    /// h', rows padded to whole panels.
    pub hidden: RowsMut<'a>,
    /// h' once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// What to record.
    pub tape: Option<Tape<'a>>,
    /// Hidden units in the panels, not padded.
    pub units: usize,
    /// Makes long sums of many rows faster, if it has room for a full panel of sums for each row.
    pub scratch: &'a mut [f32],
}

/// The backward pass of one LSTM step for some rows.
///
/// dh = start + dZ' · R + cotangent; then dZ and dc of the cell. All but `cotangent` and `gate_gradients` are padded to
/// whole vectors.
#[derive(Debug)]
pub struct LstmBackwardStep<'a> {
    /// What dh starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZ' of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// The vectors of units to compute. All other arguments are of the hidden units in these vectors alone.
    pub vectors: Range<usize>,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
    /// σ(i), σ(f), tanh(g) and σ(o) as recorded, a packed row each.
    pub gates: Rows<'a>,
    /// c of this step.
    pub cell: Rows<'a>,
    /// c of the step before.
    pub previous_cell: Rows<'a>,
    /// dc, replaced by that of the step before.
    pub cell_gradient: RowsMut<'a>,
    /// Where dZ goes: for each row four rows, one for each gate, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// Hidden units in the vectors, not padded.
    pub units: usize,
    /// As of [`LstmStep`].
    pub scratch: &'a mut [f32],
}

impl Kernels {
    /// One LSTM step: σ and tanh of the gate sums, then c' = f∘c + i∘g and h' = o∘tanh(c').
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_step(&self, step: LstmStep<'_>) {
        let LstmStep { start, terms, panels, order, mut cell, mut hidden, mut output, mut tape, .. } = step;
        let LstmStep { units, scratch, .. } = step;
        let rows = cell.rows();
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes(), 1);
        assert_eq!(panels.len(), layout.panels(), "panels of {units} units");
        let sweep =
            check_sweep(layout, panels.start.saturating_mul(LSTM_GATES), rows, order, start, terms, scratch);
        let padded = layout.panels() * self.lanes();
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("h", (hidden.rows(), hidden.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        if let Some(tape) = &tape {
            check_rows("previous c", (tape.previous_cell.rows(), tape.previous_cell.width()), rows, padded);
            check_rows("gates", (tape.gates.rows(), tape.gates.width()), rows, LSTM_GATES * padded);
        }
        let cell = cell.raw();
        let rows = LstmRows {
            // Without a tape, c is replaced in place.
            previous_cell: tape.as_ref().map_or(cell.to_read(), |tape| tape.previous_cell.raw()),
            cell,
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            units,
            gates: tape.as_mut().map_or(RawRowsMut::NONE, |tape| tape.gates.raw()),
        };
        // SAFETY: `check_sweep` checked what the sweep reads; the states have a vector and the gates four for each row
        // and panel, and `output` has `units` elements for each row, all exclusively borrowed where written.
        unsafe { sweep::run(&self.tiles, &sweep, &self.lstm, &rows) }
    }

    /// The backward pass of one LSTM step: see [`LstmBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_backward_step(&self, step: LstmBackwardStep<'_>) {
        let LstmBackwardStep { start, recurrent, vectors, cotangent, gates, cell, previous_cell, .. } = step;
        let (mut cell_gradient, mut gate_gradients) = (step.cell_gradient, step.gate_gradients);
        let (rows, units) = (cell_gradient.rows(), step.units);
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {units} units");
        let terms = [recurrent, None];
        let sweep = check_sweep(layout, vectors.start, rows, Order::Forward, start, terms, step.scratch);
        let padded = layout.width();
        check_rows("gates", (gates.rows(), gates.width()), rows, LSTM_GATES * padded);
        check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), LSTM_GATES * rows, units);
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("previous c", (previous_cell.rows(), previous_cell.width()), rows, padded);
        check_rows("dc", (cell_gradient.rows(), cell_gradient.width()), rows, padded);
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, units);
        }
        let backward = LstmBackwardRows {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            gates: gates.raw(),
            cell: cell.raw(),
            previous_cell: previous_cell.raw(),
            cell_gradient: cell_gradient.raw(),
            gate_gradients: gate_gradients.raw(),
            units,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; each padded array has its vectors for each row and panel,
        // `cotangent` and each gate of dZ have `units` elements for each row, and what is written is exclusively
        // borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.lstm_backward, &backward) }
    }
}
