//! The gated recurrent unit with its reset gate before the product: a step is two products, and the second one waits
//! for the gate of all units.
//!
//! ```text
//! first half:   r, z of some units, and r ∘ h          backward:  dZz, dZn of some units
//! second half:  n and h' of some units                            dZr
//! ```
//!
//! Threads that share units meet between the halves; one that has all of them runs both.

use crate::cell::step::{BackwardStep, Half, Step};
use crate::memory::views;
use crate::shape::Shape;
use quadgate_kernels::{
    GruHiddenGradient, GruResetBeforeBackwardStep, GruResetBeforeStep, Kernels, Packed, Rows, Start, Term,
};
use std::ops::Range;

/// The gated recurrent unit.
#[derive(Clone, Copy)]
pub(crate) struct GruResetBefore {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
}

/// Elements of scratch for each row: of the kernels, for r ∘ h or dZ of n, and for r, z and n where there is no tape.
fn scratch_parts(shape: Shape) -> [usize; 3] {
    [shape.panel_width(), shape.padded_units(), shape.recorded_width()]
}

/// Elements of all of them.
pub(crate) fn scratch_per_row(shape: Shape) -> usize {
    scratch_parts(shape).into_iter().sum()
}

impl GruResetBefore {
    /// One step, or a half of it, of some units of some rows.
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { groups, start, input, recurrent, order, hidden, tape, output, half, scratch, .. } = step;
        let (rows, shape) = (recurrent.rows.rows(), self.shape);
        let [scratch, gated, recorded] = self.split_scratch(scratch, rows, half.is_none());
        let units = self.units(&groups);
        let mut step = GruResetBeforeStep {
            start,
            start_stride: self.start_stride(start, &groups),
            input,
            recurrent,
            order,
            vectors: groups,
            previous_hidden: recurrent.rows.columns(units.clone()),
            recorded: match tape {
                Some(tape) => tape.gates,
                None => views::rows_mut(recorded, rows, shape.recorded_width()),
            },
            units: units.len(),
            scratch,
        };
        match half {
            Some(Half::First(gated)) => self.kernels.gru_gates_step(&mut step, gated.all()),
            Some(Half::Second(gated)) => self.kernels.gru_candidate_step(&mut step, *gated, hidden, output),
            None => {
                let mut gated = views::rows_mut(gated, rows, shape.padded_units());
                self.kernels.gru_gates_step(&mut step, gated.all());
                self.kernels.gru_candidate_step(&mut step, gated.read(), hidden, output);
            }
        }
    }

    /// The backward pass of one step, or a half of it, of some units of some rows.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>) {
        let BackwardStep { vectors, last_hidden_gradient, recurrent, weights, cotangent, recorded, .. } =
            step;
        let BackwardStep { previous_hidden, cell_gradient: carry, gate_gradients, half, scratch, .. } = step;
        let (rows, shape) = (carry.rows(), self.shape);
        let [scratch, gradients, _] = self.split_scratch(scratch, rows, half.is_none());
        let units = self.units(&vectors).len();
        let mut step = GruResetBeforeBackwardStep {
            vectors,
            recorded,
            previous_hidden,
            carry,
            gate_gradients,
            units,
            scratch,
        };
        let start = match recurrent {
            None => Start::Sums(last_hidden_gradient),
            Some(_) => Start::Zero,
        };
        let hidden_gradient = GruHiddenGradient { start, recurrent, cotangent };
        match half {
            Some(Half::First(gradients)) => {
                self.kernels.gru_candidate_backward_step(&mut step, hidden_gradient, gradients);
            }
            Some(Half::Second(gradients)) => {
                self.kernels.gru_gates_backward_step(&mut step, self.candidate(gradients, weights));
            }
            None => {
                let mut gradients = views::rows_mut(gradients, rows, shape.padded_units());
                self.kernels.gru_candidate_backward_step(&mut step, hidden_gradient, gradients.all());
                self.kernels.gru_gates_backward_step(&mut step, self.candidate(gradients.read(), weights));
            }
        }
    }

    /// dZn·R of all units.
    fn candidate<'s>(&self, gradients: Rows<'s>, weights: Packed<'s>) -> Term<'s> {
        let (units, from) = (self.shape.units, self.shape.plain_recurrent_columns().end);
        Term { rows: gradients.columns(0..units), weights, from }
    }

    /// The units of some vectors.
    fn units(&self, vectors: &Range<usize>) -> Range<usize> {
        vectors.start * self.shape.lanes..self.shape.units.min(vectors.end * self.shape.lanes)
    }

    /// Columns of what sums start from, from one gate to the next: a bias has those of all units, sums those of some.
    fn start_stride(&self, start: Start<'_>, groups: &Range<usize>) -> usize {
        match start {
            Start::Sums(_) => groups.len() * self.shape.lanes,
            Start::Zero | Start::Bias(_) => self.shape.padded_units(),
        }
    }

    /// The parts of the scratch of some rows, see [`scratch_parts`]; for a half of a step all is for the kernels.
    fn split_scratch<'s>(&self, scratch: &'s mut [f32], rows: usize, is_whole: bool) -> [&'s mut [f32]; 3] {
        if !is_whole {
            return [scratch, &mut [], &mut []];
        }
        let [kernels, gated, _] = scratch_parts(self.shape).map(|each| rows * each);
        let (kernels, rest) = scratch.split_at_mut(kernels);
        let (gated, recorded) = rest.split_at_mut(gated);
        [kernels, gated, recorded]
    }
}
