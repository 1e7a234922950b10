//! The gated recurrent unit with its reset gate before the product: a step is two products, and the second one waits
//! for the gate of all units.

use crate::cell::step::{BackwardStep, Step};
use crate::memory::views;
use crate::shape::Shape;
use quadgate_kernels::{GruResetBeforeBackwardStep, GruResetBeforeStep, Kernels, Start};

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
    /// One step of all units of some rows.
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { order, start, input, recurrent, hidden, tape, output, scratch, .. } = step;
        let rows = recurrent.rows.rows();
        let [scratch, gated, recorded] = self.split_scratch(scratch, rows);
        self.kernels.gru_reset_before_step(GruResetBeforeStep {
            start,
            input,
            recurrent,
            order,
            gated: views::rows_mut(gated, rows, self.shape.padded_units()),
            recorded: match tape {
                Some(tape) => tape.gates,
                None => views::rows_mut(recorded, rows, self.shape.recorded_width()),
            },
            hidden,
            output,
            units: self.shape.units,
            scratch,
        });
    }

    /// The backward pass of one step of all units of some rows.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>) {
        let BackwardStep { last_hidden_gradient, recurrent, weights, cotangent, recorded, .. } = step;
        let BackwardStep { previous_hidden, cell_gradient: carry, gate_gradients, scratch, .. } = step;
        let rows = carry.rows();
        let [scratch, candidate_gradients, _] = self.split_scratch(scratch, rows);
        let start = match recurrent {
            None => Start::Sums(last_hidden_gradient),
            Some(_) => Start::Zero,
        };
        self.kernels.gru_reset_before_backward_step(GruResetBeforeBackwardStep {
            start,
            recurrent,
            weights,
            from: self.shape.plain_recurrent_columns().end,
            cotangent,
            recorded,
            previous_hidden,
            carry,
            gate_gradients,
            candidate_gradients: views::rows_mut(candidate_gradients, rows, self.shape.padded_units()),
            units: self.shape.units,
            scratch,
        });
    }

    /// The parts of the scratch of some rows, see [`scratch_parts`].
    fn split_scratch<'s>(&self, scratch: &'s mut [f32], rows: usize) -> [&'s mut [f32]; 3] {
        let [kernels, gated, _] = scratch_parts(self.shape).map(|each| rows * each);
        let (kernels, rest) = scratch.split_at_mut(kernels);
        let (gated, recorded) = rest.split_at_mut(gated);
        [kernels, gated, recorded]
    }
}
