//! The gated recurrent unit: arguments, and the checks that make calling its kernels safe.

use crate::cells::gru::{GRU_SUMS, GruRows};
use crate::cells::gru_backward::GruBackwardRows;
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use core::ops::Range;

/// One step of a gated recurrent unit for some rows: sums = start + Σ terms, then the cell.
///
/// The sums of a unit are x̂ = W·x + b of the candidate, r, z, and ĥ = R·h + b of the candidate. Weights have four
/// columns for each unit, padded to whole vectors; those of ĥ are [blank](crate::Blank) in W, and those of x̂ in R.
#[derive(Debug)]
pub struct GruStep<'a> {
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order.
    pub terms: [Option<Term<'a>>; 2],
    /// The panels of the weights to compute. All other arguments are of the hidden units in these panels alone.
    pub panels: Range<usize>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// h, one element per unit (or more).
    pub previous_hidden: Rows<'a>,
    /// Where h' goes, rows padded to whole panels.
    pub hidden: RowsMut<'a>,
    /// h' once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// Where n, σ(r), σ(z) and ĥ go for the backward pass, a packed row each.
    pub recorded: Option<RowsMut<'a>>,
    /// Hidden units in the panels, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// The backward pass of one step of a gated recurrent unit for some rows.
///
/// dh = start + dZ' · R + cotangent + carry; then dZ, and the carry of the step before. All but `cotangent` and
/// `gate_gradients` are padded to whole vectors.
#[derive(Debug)]
pub struct GruBackwardStep<'a> {
    /// What dh starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZr, dZz and dĥ of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// The vectors of units to compute. All other arguments are of the hidden units in these vectors alone.
    pub vectors: Range<usize>,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
    /// n, σ(r), σ(z) and ĥ as recorded, a packed row each.
    pub recorded: Rows<'a>,
    /// h of the step before.
    pub previous_hidden: Rows<'a>,
    /// dh · z of the step after, zero at the last step; replaced by that of this one.
    pub carry: RowsMut<'a>,
    /// Where dx̂, dZr, dZz and dĥ go: for each row four rows, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// Hidden units in the vectors, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

impl Kernels {
    /// One step of a gated recurrent unit: n = tanh(x̂ + σ(r) ∘ ĥ), h' = n + σ(z) ∘ (h − n).
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_step(&self, step: GruStep<'_>) {
        let GruStep { start, terms, panels, order, previous_hidden, mut hidden, mut output, .. } = step;
        let GruStep { mut recorded, units, scratch, .. } = step;
        let rows = hidden.rows();
        check_units(units);
        let layout = PanelLayout::of_gates(GRU_SUMS, units.next_multiple_of(self.lanes()), self.lanes(), 1);
        assert_eq!(panels.len(), layout.panels(), "panels of {units} units");
        let sweep =
            check_sweep(layout, panels.start.saturating_mul(GRU_SUMS), rows, order, start, terms, scratch);
        let padded = layout.panels() * self.lanes();
        check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, units);
        check_rows("h", (rows, hidden.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        if let Some(recorded) = &recorded {
            check_rows("recorded", (recorded.rows(), recorded.width()), rows, GRU_SUMS * padded);
        }
        let rows = GruRows {
            previous_hidden: previous_hidden.raw(),
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            units,
            recorded: recorded.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
        };
        // SAFETY: `check_sweep` checked what the sweep reads; h' has a vector and `recorded` four for each row and
        // panel, h and `output` have `units` elements for each row, all exclusively borrowed where written.
        unsafe { sweep::run(&self.tiles, &sweep, &self.gru, &rows) }
    }

    /// The backward pass of one step of a gated recurrent unit: see [`GruBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_backward_step(&self, step: GruBackwardStep<'_>) {
        let GruBackwardStep { start, recurrent, vectors, cotangent, recorded, previous_hidden, .. } = step;
        let (mut carry, mut gate_gradients) = (step.carry, step.gate_gradients);
        let (rows, units) = (carry.rows(), step.units);
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {units} units");
        let terms = [recurrent, None];
        let sweep = check_sweep(layout, vectors.start, rows, Order::Forward, start, terms, step.scratch);
        let padded = layout.width();
        check_rows("recorded", (recorded.rows(), recorded.width()), rows, GRU_SUMS * padded);
        check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), GRU_SUMS * rows, units);
        check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, padded);
        check_rows("carry", (rows, carry.width()), rows, padded);
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, units);
        }
        let backward = GruBackwardRows {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            recorded: recorded.raw(),
            previous_hidden: previous_hidden.raw(),
            carry: carry.raw(),
            gate_gradients: gate_gradients.raw(),
            units,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; each padded array has its vectors for each row and panel,
        // `cotangent` and each row of dZ have `units` elements, and what is written is exclusively borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.gru_backward, &backward) }
    }
}
