//! One step of one row of a cell of any kind, forward and backward, and zoneout around it.

use super::cell::{NaiveCell, NaiveInputs, NaiveKind, NaiveState, StepGradients, Sum};
use super::gate::{complement, mix};
use super::parameters::NaiveParameters;
use super::real::{add, masked};
use super::{gru, lstm, rnn};

/// What a step computes: the new state, and on the way there all that its backward pass reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveStep {
    /// The state after the step
    pub state: NaiveState,
    way: Way,
}

/// What lies on the way, by kind.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    Lstm(lstm::Step),
    Gru(gru::Step),
    Rnn(Sum),
}

impl NaiveCell {
    /// One step of one row.
    pub fn step(&self, inputs: NaiveInputs<'_>) -> NaiveStep {
        let (new, way) = match self.kind {
            NaiveKind::Lstm => {
                let (state, step) = lstm::step(self, inputs);
                (state, Way::Lstm(step))
            }
            NaiveKind::Gru { resets_before } => {
                let (hidden, step) = gru::step(self, resets_before, inputs);
                (NaiveState { hidden, cell: Vec::new() }, Way::Gru(step))
            }
            NaiveKind::Rnn => {
                let (hidden, sum) = rnn::step(self, inputs);
                (NaiveState { hidden, cell: Vec::new() }, Way::Rnn(sum))
            }
        };
        let NaiveInputs { state: before, masks, .. } = inputs;
        let state = NaiveState {
            hidden: mix(&new.hidden, &before.hidden, masks.hidden),
            cell: mix(&new.cell, &before.cell, masks.cell),
        };
        NaiveStep { state, way }
    }

    /// The backward pass of a step: from the cotangent of the state after it to that of the state before it, which is
    /// returned. The gradients of x and of the parameters are added to what is there.
    pub fn step_backward(
        &self,
        inputs: NaiveInputs<'_>,
        step: &NaiveStep,
        cotangent: &NaiveState,
        input_gradient: &mut [f64],
        parameter_gradients: &mut NaiveParameters,
    ) -> NaiveState {
        let masks = inputs.masks;
        let d_hidden = masked(&cotangent.hidden, masks.hidden);
        let d_cell = masked(&cotangent.cell, masks.cell);
        let mut gradients = StepGradients { input: input_gradient, parameters: parameter_gradients };
        let mut before = match &step.way {
            Way::Lstm(step) => lstm::step_backward(self, inputs, step, [d_hidden, d_cell], &mut gradients),
            Way::Gru(step) => gru::step_backward(self, inputs, step, &d_hidden, &mut gradients),
            Way::Rnn(sum) => rnn::step_backward(self, inputs, sum, &d_hidden, &mut gradients),
        };
        for (before, after, mask) in [
            (&mut before.hidden, &cotangent.hidden, masks.hidden),
            (&mut before.cell, &cotangent.cell, masks.cell),
        ] {
            if let Some(mask) = mask {
                add(before, &masked(after, Some(&complement(mask))));
            }
        }
        before
    }
}
