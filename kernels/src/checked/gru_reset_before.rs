//! The gated recurrent unit whose reset gate comes before the product: arguments, and the checks that make calling its
//! kernels safe.
//!
//! Its weights are three matrices of plain columns in one: of r, z and n, each padded to whole vectors of units. A step
//! has two parts, of which the second reads what the first makes of all units; each is done by all units or by some.

use crate::cells::gru_reset_before::{GruCandidateRows, GruGateRows};
use crate::cells::gru_reset_before_backward::{GATES, GruResetBeforeBackwardRows};
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use core::ops::Range;

/// One step of some units for some rows, of which each part is called by itself.
#[derive(Debug)]
pub struct GruResetBeforeStep<'a> {
    /// What the sums of r start from, in other columns those of z, and in others those of n.
    pub start: Start<'a>,
    /// Columns of `start` from one gate to the next.
    pub start_stride: usize,
    /// W·x, unless the sums start from it. The weights have the columns of all gates.
    pub input: Option<Term<'a>>,
    /// R·h. The weights have the columns of all gates.
    pub recurrent: Term<'a>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// Vectors of units.
    pub vectors: Range<usize>,
    /// h before of these units.
    pub previous_hidden: Rows<'a>,
    /// Where r, z and n go: for each vector of these units one each.
    pub recorded: RowsMut<'a>,
    /// Hidden units, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// The backward pass of one step of some units for some rows, of which each part is called by itself.
#[derive(Debug)]
pub struct GruResetBeforeBackwardStep<'a> {
    /// Vectors of units.
    pub vectors: Range<usize>,
    /// r, z and n as recorded.
    pub recorded: Rows<'a>,
    /// h of the step before, padded.
    pub previous_hidden: Rows<'a>,
    /// The part of dh of this step that did not pass through R, zero at the last step; replaced by that of the step
    /// before. Padded.
    pub carry: RowsMut<'a>,
    /// Where dZr, dZz and dZn go: for each row three rows, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// Hidden units, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// Where dh of a step comes from.
#[derive(Clone, Copy, Debug)]
pub struct GruHiddenGradient<'a> {
    /// What it starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZr and dZz of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
}

/// The gate whose product waits for the others, n.
const CANDIDATE: usize = 2;

/// W·x, if there is any, and then another product.
fn terms<'a>(input: Option<Term<'a>>, other: Term<'a>) -> [Option<Term<'a>>; 2] {
    if input.is_some() { [input, Some(other)] } else { [Some(other), None] }
}

/// How many vectors there are of all units, if a step has so many rows of its units, which take these columns.
#[inline]
fn check_step(step: &GruResetBeforeStep<'_>, units: PanelLayout, rows: usize) -> usize {
    let GruResetBeforeStep { recurrent, vectors, previous_hidden, recorded, .. } = step;
    check_units(step.units);
    let all = recurrent.weights.layout().vectors() / GATES;
    assert!(vectors.end <= all, "{vectors:?} of {all} vectors");
    assert_eq!(vectors.len(), units.vectors(), "vectors of the units");
    check_rows("h before", (previous_hidden.rows(), previous_hidden.width()), rows, step.units);
    check_rows("recorded", (recorded.rows(), recorded.width()), rows, GATES * units.width());
    all
}

/// The same of the backward pass, in which all columns are of units.
#[inline]
fn check_backward_step(step: &GruResetBeforeBackwardStep<'_>, units: PanelLayout, rows: usize) {
    let GruResetBeforeBackwardStep { vectors, recorded, previous_hidden, carry, gate_gradients, .. } = step;
    check_units(step.units);
    let padded = units.width();
    assert_eq!(vectors.len(), units.vectors(), "vectors of the units");
    check_rows("recorded", (recorded.rows(), recorded.width()), rows, GATES * padded);
    check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, padded);
    check_rows("carry", (carry.rows(), carry.width()), rows, padded);
    check_rows("dZ", (gate_gradients.rows(), gate_gradients.width()), GATES * rows, step.units);
}

impl Kernels {
    /// The first part of a step of a gated recurrent unit whose reset gate comes before the product: r, z = σ(W·x + R·h
    /// + b), and r ∘ h of the units, padded, to `gated`.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_gates_step(&self, step: &mut GruResetBeforeStep<'_>, mut gated: RowsMut<'_>) {
        let rows = gated.rows();
        let layout = PanelLayout::of_columns(step.units, self.lanes(), 1);
        let all = check_step(step, layout, rows);
        let GruResetBeforeStep { start, start_stride, input, recurrent, order, units, .. } = *step;
        let (first, padded) = (step.vectors.start, layout.width());
        check_rows("gated h", (rows, gated.width()), rows, padded);
        let mut gate_rows = GruGateRows {
            previous_hidden: step.previous_hidden.raw(),
            gated: gated.raw(),
            recorded: step.recorded.raw(),
            vectors: layout.vectors(),
            units,
        };
        if layout.vectors() == all && start_stride == padded {
            // Those of all units follow each other.
            let both = PanelLayout::of_columns(2 * padded, self.lanes(), 1);
            let start = start.columns(0..2 * padded);
            let sweep =
                check_sweep(both, first, rows, order, start, terms(input, recurrent), &mut *step.scratch);
            // SAFETY: `check_sweep` checked what the sweep reads, whose columns are r of the units, then z. `gated` has
            // the vectors of the units for each row and `recorded` three times as many, `previous_hidden` has `units`
            // elements, all exclusively borrowed where written. The sweep does not read what it writes.
            return unsafe { sweep::run(&self.tiles, &sweep, &self.gru_gates, &gate_rows) };
        }
        let [reset, update] = [0, 1].map(|gate| {
            let start = start.columns(gate * start_stride..gate * start_stride + padded);
            let (first, terms) = (gate * all + first, terms(input, recurrent));
            check_sweep(layout, first, rows, order, start, terms, &mut *step.scratch)
        });
        // SAFETY: as above, with columns of r, and then, where no vector is of r, of z.
        unsafe {
            sweep::run(&self.tiles, &reset, &self.gru_gates, &gate_rows);
            gate_rows.vectors = 0;
            sweep::run(&self.tiles, &update, &self.gru_gates, &gate_rows);
        }
    }

    /// The second part of such a step: n = tanh(W·x + R·(r ∘ h) + b) and h' = n + z ∘ (h − n), where `gated` has r ∘ h
    /// of all units. h' goes to `hidden`, padded, and to `output`, one element per unit.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_candidate_step(
        &self,
        step: &mut GruResetBeforeStep<'_>,
        gated: Rows<'_>,
        mut hidden: RowsMut<'_>,
        mut output: Option<RowsMut<'_>>,
    ) {
        let rows = hidden.rows();
        let layout = PanelLayout::of_columns(step.units, self.lanes(), 1);
        let all = check_step(step, layout, rows);
        let GruResetBeforeStep { start, start_stride, input, recurrent, order, units, .. } = *step;
        let padded = layout.width();
        check_rows("h", (rows, hidden.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        let first = CANDIDATE * all + step.vectors.start;
        let start = start.columns(CANDIDATE * start_stride..CANDIDATE * start_stride + padded);
        let terms = terms(input, Term { rows: gated.columns(0..recurrent.rows.width()), ..recurrent });
        let sweep = check_sweep(layout, first, rows, order, start, terms, &mut *step.scratch);
        let rows = GruCandidateRows {
            previous_hidden: step.previous_hidden.raw(),
            recorded: step.recorded.raw(),
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            units,
        };
        // SAFETY: `check_sweep` checked what the sweep reads. `hidden` has all vectors of the units for each row and
        // `recorded` three times as many, h and `output` have `units` elements, all exclusively borrowed where written.
        // The sweep does not read what it writes.
        unsafe { sweep::run(&self.tiles, &sweep, &self.gru_candidate, &rows) }
    }

    /// The first part of the backward pass of such a step: dZz, dZn and a part of what is carried to the step before.
    /// dZn goes to `candidate_gradients` as well, padded.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_candidate_backward_step(
        &self,
        step: &mut GruResetBeforeBackwardStep<'_>,
        hidden_gradient: GruHiddenGradient<'_>,
        mut candidate_gradients: RowsMut<'_>,
    ) {
        let GruHiddenGradient { start, recurrent, cotangent } = hidden_gradient;
        let rows = candidate_gradients.rows();
        let layout = PanelLayout::of_columns(step.units, self.lanes(), 1);
        check_backward_step(step, layout, rows);
        check_rows("dZ of n", (rows, candidate_gradients.width()), rows, layout.width());
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, step.units);
        }
        let terms = [recurrent, None];
        let first = step.vectors.start;
        let sweep = check_sweep(layout, first, rows, Order::Forward, start, terms, &mut *step.scratch);
        let rows = GruResetBeforeBackwardRows::<false> {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            recorded: step.recorded.raw(),
            previous_hidden: step.previous_hidden.raw(),
            carry: step.carry.raw(),
            gate_gradients: step.gate_gradients.raw(),
            candidate_gradients: candidate_gradients.raw(),
            units: step.units,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; each padded array has its vectors for each row,
        // `recorded` three times as many, `cotangent` and each row of dZ have `units` elements, and what is written is
        // exclusively borrowed. The sweep does not read what it writes.
        unsafe { sweep::run(&self.tiles, &sweep, &self.gru_candidate_backward, &rows) }
    }

    /// The second part, with dZn of all units times R with a column per unit: dZr, and the rest of what is carried.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_gates_backward_step(&self, step: &mut GruResetBeforeBackwardStep<'_>, candidate: Term<'_>) {
        let rows = candidate.rows.rows();
        let layout = PanelLayout::of_columns(step.units, self.lanes(), 1);
        check_backward_step(step, layout, rows);
        let terms = [Some(candidate), None];
        let (first, scratch) = (step.vectors.start, &mut *step.scratch);
        let sweep = check_sweep(layout, first, rows, Order::Forward, Start::Zero, terms, scratch);
        let rows = GruResetBeforeBackwardRows::<true> {
            cotangent: RawRows::NONE,
            recorded: step.recorded.raw(),
            previous_hidden: step.previous_hidden.raw(),
            carry: step.carry.raw(),
            gate_gradients: step.gate_gradients.raw(),
            candidate_gradients: RawRowsMut::NONE,
            units: step.units,
        };
        // SAFETY: as of the first part.
        unsafe { sweep::run(&self.tiles, &sweep, &self.gru_gates_backward, &rows) }
    }
}
