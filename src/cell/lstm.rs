//! The plain LSTM: its whole step is one fused kernel, forward and backward.

use crate::cell::step::{BackwardStep, Step};
use crate::shape::Shape;
use quadgate_kernels::{Kernels, LstmBackwardStep, LstmStep, Start};

/// The plain LSTM.
#[derive(Clone, Copy)]
pub(crate) struct PlainLstm {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
}

impl PlainLstm {
    /// One step of some groups of units and rows.
    #[inline]
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { groups, order, start, input, recurrent, hidden, cell, tape, output, scratch, .. } = step;
        let lanes = self.shape.lanes;
        let units = self.shape.units.min(groups.end * lanes) - groups.start * lanes;
        let terms = if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] };
        self.kernels.lstm_step(LstmStep {
            start,
            terms,
            panels: groups,
            order,
            cell,
            hidden,
            output,
            tape,
            units,
            scratch,
        });
    }

    /// The backward pass of one step of some units and rows.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>) {
        let BackwardStep { vectors, last_hidden_gradient, recurrent, cotangent, recorded, .. } = step;
        let BackwardStep { cell, previous_cell, cell_gradient, gate_gradients, scratch, .. } = step;
        let lanes = self.shape.lanes;
        let units = self.shape.units.min(vectors.end * lanes) - vectors.start * lanes;
        let start = match recurrent {
            None => Start::Sums(last_hidden_gradient),
            Some(_) => Start::Zero,
        };
        self.kernels.lstm_backward_step(LstmBackwardStep {
            start,
            recurrent,
            vectors,
            cotangent,
            gates: recorded,
            cell,
            previous_cell,
            cell_gradient,
            gate_gradients,
            units,
            scratch,
        });
    }
}
