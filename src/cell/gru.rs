//! The gated recurrent unit with its reset gate after the product: its whole step is one fused kernel, forward and
//! backward.

use crate::cell::step::{BackwardStep, Step};
use crate::shape::Shape;
use quadgate_kernels::{GruBackwardStep, GruStep, Kernels, Start};

/// The gated recurrent unit.
#[derive(Clone, Copy)]
pub(crate) struct Gru {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
}

impl Gru {
    /// One step of some groups of units and rows.
    #[inline]
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { groups, order, start, input, recurrent, hidden, tape, output, scratch, .. } = step;
        let lanes = self.shape.lanes;
        let units = groups.start * lanes..self.shape.units.min(groups.end * lanes);
        let previous_hidden = recurrent.rows.columns(units.clone());
        self.kernels.gru_step(GruStep {
            start,
            terms: if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] },
            panels: groups,
            order,
            previous_hidden,
            hidden,
            output,
            recorded: tape.map(|tape| tape.gates),
            units: units.len(),
            scratch,
        });
    }

    /// The backward pass of one step of some units and rows.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>) {
        let BackwardStep { vectors, last_hidden_gradient, recurrent, cotangent, recorded, .. } = step;
        let BackwardStep { previous_hidden, cell_gradient: carry, gate_gradients, scratch, .. } = step;
        let lanes = self.shape.lanes;
        let units = self.shape.units.min(vectors.end * lanes) - vectors.start * lanes;
        let start = match recurrent {
            None => Start::Sums(last_hidden_gradient),
            Some(_) => Start::Zero,
        };
        self.kernels.gru_backward_step(GruBackwardStep {
            start,
            recurrent,
            vectors,
            cotangent,
            recorded,
            previous_hidden,
            carry,
            gate_gradients,
            units,
            scratch,
        });
    }
}
