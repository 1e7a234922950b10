//! The plain recurrent cell: its whole step is one fused kernel, forward and backward.

use crate::cell::step::{BackwardStep, Step};
use crate::shape::Shape;
use quadgate_kernels::{Kernels, Nonlinearity, RnnBackwardStep, RnnStep, Start};
use std::ops::Range;

/// The plain recurrent cell.
#[derive(Clone, Copy)]
pub(crate) struct PlainRnn {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
    pub(crate) function: Nonlinearity,
}

impl PlainRnn {
    /// One step of some groups of units and rows. There is nothing to record but h.
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { groups, order, start, input, recurrent, hidden, output, scratch, .. } = step;
        let vectors = recurrent.weights.layout().vectors_of(groups);
        self.kernels.rnn_step(RnnStep {
            start,
            terms: if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] },
            units: self.units(&vectors),
            vectors,
            order,
            function: self.function,
            hidden,
            output,
            scratch,
        });
    }

    /// The backward pass of one step of some units and rows.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>) {
        let BackwardStep { vectors, last_hidden_gradient, recurrent, cotangent, hidden, .. } = step;
        let BackwardStep { gate_gradients, scratch, .. } = step;
        let start = match recurrent {
            None => Start::Sums(last_hidden_gradient),
            Some(_) => Start::Zero,
        };
        self.kernels.rnn_backward_step(RnnBackwardStep {
            start,
            recurrent,
            units: self.units(&vectors),
            vectors,
            function: self.function,
            cotangent,
            hidden,
            gate_gradients,
            scratch,
        });
    }

    /// Units of some vectors.
    fn units(&self, vectors: &Range<usize>) -> usize {
        let lanes = self.shape.lanes;
        self.shape.units.min(vectors.end * lanes) - vectors.start * lanes
    }
}
