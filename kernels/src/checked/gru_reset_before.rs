//! The gated recurrent unit whose reset gate comes before the product: arguments, and the checks that make calling its
//! kernels safe.
//!
//! Its weights are three matrices of plain columns in one: of r, z and n, each padded to whole vectors of units.

use crate::cells::gru_reset_before::{GruCandidateRows, GruGateRows};
use crate::cells::gru_reset_before_backward::{GATES, GruResetBeforeBackwardRows};
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::{Packed, PanelLayout};
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};

/// One step of such a unit for some rows.
#[derive(Debug)]
pub struct GruResetBeforeStep<'a> {
    /// What the sums start from, of all gates: a row of r, z and n, padded each.
    pub start: Start<'a>,
    /// W·x, unless the sums start from it. The weights have the columns of all gates.
    pub input: Option<Term<'a>>,
    /// R·h. The weights have the columns of all gates.
    pub recurrent: Term<'a>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// r ∘ h, rows padded to whole vectors: written, then read.
    pub gated: RowsMut<'a>,
    /// Where r, z and n go, padded each.
    pub recorded: RowsMut<'a>,
    /// Where h' goes, rows padded to whole vectors.
    pub hidden: RowsMut<'a>,
    /// h' once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// Hidden units, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// The backward pass of one step of such a unit for some rows.
#[derive(Debug)]
pub struct GruResetBeforeBackwardStep<'a> {
    /// What dh starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZr and dZz of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// R with a column per unit.
    pub weights: Packed<'a>,
    /// The input of `weights` that belongs to dZn of the first unit.
    pub from: usize,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
    /// r, z and n as recorded, padded each.
    pub recorded: Rows<'a>,
    /// h of the step before, padded.
    pub previous_hidden: Rows<'a>,
    /// The part of dh of this step that did not pass through R, zero at the last step; replaced by that of the step
    /// before. Padded.
    pub carry: RowsMut<'a>,
    /// Where dZr, dZz and dZn go: for each row three rows, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// dZn, padded: written, then read.
    pub candidate_gradients: RowsMut<'a>,
    /// Hidden units, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// W·x, if there is any, and then another product.
fn terms<'a>(input: Option<Term<'a>>, other: Term<'a>) -> [Option<Term<'a>>; 2] {
    if input.is_some() { [input, Some(other)] } else { [Some(other), None] }
}

impl Kernels {
    /// One step of a gated recurrent unit whose reset gate comes before the product: r, z = σ(…), n = tanh(W·x + R·(r ∘
    /// h) + b), h' = n + z ∘ (h − n).
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_reset_before_step(&self, step: GruResetBeforeStep<'_>) {
        let GruResetBeforeStep { start, input, recurrent, order, mut gated, mut recorded, .. } = step;
        let GruResetBeforeStep { mut hidden, mut output, units, scratch, .. } = step;
        let rows = hidden.rows();
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        let (vectors, padded) = (layout.vectors(), layout.width());
        let previous = recurrent.rows;
        check_rows("h before", (previous.rows(), previous.width()), rows, units);
        check_rows("gated h", (gated.rows(), gated.width()), rows, padded);
        check_rows("recorded", (recorded.rows(), recorded.width()), rows, 3 * padded);
        check_rows("h", (rows, hidden.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        let of_gates = PanelLayout::of_columns(2 * padded, self.lanes(), 1);
        let of_gates_start = start.columns(0..2 * padded);
        let gates =
            check_sweep(of_gates, 0, rows, order, of_gates_start, terms(input, recurrent), &mut *scratch);
        let second = Term { rows: gated.read().columns(0..units), ..recurrent };
        let start = start.columns(2 * padded..3 * padded);
        let candidate = check_sweep(layout, 2 * vectors, rows, order, start, terms(input, second), scratch);
        let (previous_hidden, recorded) = (previous.raw(), recorded.raw());
        let gate_rows = GruGateRows { previous_hidden, gated: gated.raw(), recorded, vectors, units };
        let candidate_rows = GruCandidateRows {
            previous_hidden,
            recorded,
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            vectors,
            units,
        };
        // SAFETY: `check_sweep` checked what the sweeps read. `gated` and `hidden` have all vectors of units for each
        // row and `recorded` three times as many, h and `output` have `units` elements, all exclusively borrowed where
        // written. The first sweep does not read what it writes; it writes what the second one reads, whose own places
        // it does not read.
        unsafe {
            sweep::run(&self.tiles, &gates, &self.gru_gates, &gate_rows);
            sweep::run(&self.tiles, &candidate, &self.gru_candidate, &candidate_rows);
        }
    }

    /// The backward pass of such a step.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_reset_before_backward_step(&self, step: GruResetBeforeBackwardStep<'_>) {
        let GruResetBeforeBackwardStep { start, recurrent, weights, from, cotangent, recorded, .. } = step;
        let GruResetBeforeBackwardStep { previous_hidden, mut carry, mut gate_gradients, .. } = step;
        let GruResetBeforeBackwardStep { mut candidate_gradients, units, scratch, .. } = step;
        let rows = carry.rows();
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        let (vectors, padded) = (layout.vectors(), layout.width());
        check_rows("recorded", (recorded.rows(), recorded.width()), rows, 3 * padded);
        check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), GATES * rows, units);
        check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, padded);
        check_rows("carry", (rows, carry.width()), rows, padded);
        check_rows("dZ of n", (candidate_gradients.rows(), candidate_gradients.width()), rows, padded);
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, units);
        }
        let terms = [recurrent, None];
        let first = check_sweep(layout, 0, rows, Order::Forward, start, terms, &mut *scratch);
        let term = Term { rows: candidate_gradients.read().columns(0..units), weights, from };
        let second = check_sweep(layout, 0, rows, Order::Forward, Start::Zero, [Some(term), None], scratch);
        let backward = GruResetBeforeBackwardRows::<false> {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            recorded: recorded.raw(),
            previous_hidden: previous_hidden.raw(),
            carry: carry.raw(),
            gate_gradients: gate_gradients.raw(),
            candidate_gradients: candidate_gradients.raw(),
            vectors,
            units,
        };
        // SAFETY: `check_sweep` checked what the sweeps read; each padded array has its vectors for each row,
        // `cotangent` and each row of dZ have `units` elements, and what is written is exclusively borrowed. No sweep
        // reads what it writes.
        unsafe {
            sweep::run(&self.tiles, &first, &self.gru_candidate_backward, &backward);
            sweep::run(&self.tiles, &second, &self.gru_gates_backward, &backward.second());
        }
    }
}
