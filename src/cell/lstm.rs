//! The plain LSTM: its whole step is one fused kernel, forward and backward.

use crate::cell::step::{BackwardStep, Step};
use crate::shape::Shape;
use quadgate_kernels::{Kernels, LstmBackwardStep, LstmRowSteps, LstmStep, Start};

/// The plain LSTM.
#[derive(Clone, Copy)]
pub(crate) struct PlainLstm {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
}

/// Bytes of weights up to which a row is led through all of its steps in one call, wherever epilogues of larger layers can hide
/// beside K loops that wait for the second cache.
const NARROW_BYTES: usize = 40 << 10;

impl PlainLstm {
    /// Whether a row alone is best led by [`PlainLstm::row`]. `inputs` count unless W·x is hoisted.
    #[inline]
    pub(crate) fn is_narrow(&self, inputs: usize) -> bool {
        let units = self.shape.units;
        let fits = self.shape.blocks() <= LstmRowSteps::MOST_PANELS;
        fits && (16 * units * (units + inputs) <= NARROW_BYTES || !self.kernels.hides_epilogues())
    }

    /// All steps of one row.
    #[inline]
    pub(crate) fn row(&self, row: LstmRowSteps<'_>) {
        self.kernels.lstm_row_steps(row);
    }

    /// One step of some panels and rows.
    #[inline]
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { panels, order, start, input, recurrent, hidden, cell, tape, output, scratch, .. } = step;
        let lanes = self.shape.lanes;
        let units = self.shape.units.min(panels.end * lanes) - panels.start * lanes;
        let terms = if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] };
        self.kernels.lstm_step(LstmStep {
            start,
            terms,
            panels,
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
