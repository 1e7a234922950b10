//! One step of a plain recurrent cell, forward and backward.

use super::cell::{NaiveCell, NaiveInputs, NaiveState, StepGradients, Sum, Terms};

/// One step of one row: h̃, and what it is made of.
pub(super) fn step(of: &NaiveCell, inputs: NaiveInputs<'_>) -> (Vec<f64>, Sum) {
    let sum = of.sum(terms(inputs.x, &of.seen(0, inputs.masks, &inputs.state.hidden)));
    (of.value(of.activations.candidate, &sum.preactivation), sum)
}

/// From the cotangent of h̃ to that of h.
pub(super) fn step_backward(
    of: &NaiveCell,
    inputs: NaiveInputs<'_>,
    sum: &Sum,
    d_hidden: &[f64],
    gradients: &mut StepGradients<'_>,
) -> NaiveState {
    let d_preactivation = of.value_backward(of.activations.candidate, &sum.preactivation, d_hidden);
    let seen = of.seen(0, inputs.masks, &inputs.state.hidden);
    let [d_seen, _] = of.sum_backward(terms(inputs.x, &seen), sum, d_preactivation, gradients);
    NaiveState { hidden: of.seen(0, inputs.masks, &d_seen), cell: Vec::new() }
}

fn terms<'a>(x: &'a [f64], seen: &'a [f64]) -> Terms<'a> {
    Terms { gate: 0, bias: 0, x: Some(x), hidden: Some(seen), other: None }
}
