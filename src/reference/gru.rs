//! One step of a gated recurrent unit, forward and backward.

use super::cell::{NaiveCell, NaiveInputs, NaiveState, StepGradients, Sum, Terms};
use super::gate::{complement, mix};
use super::real::{add, masked};

/// r, z and n in weights; in sums and biases r, z, and n or its x̂ = W·x, with ĥ = R·h of n after them.
const RESET: usize = 0;
const UPDATE: usize = 1;
const CANDIDATE: usize = 2;
const PRODUCT: usize = 3;

/// What a step computes on the way to the new h.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Of r, z, and n or x̂
    sums: [Sum; 3],
    /// ĥ, where the reset gate comes after the product
    product: Option<Sum>,
    reset: Vec<f64>,
    update: Vec<f64>,
    /// h as R of n sees it: r ⊙ h where the reset gate comes before the product
    seen: Vec<f64>,
    /// What enters the activation of n
    entering: Vec<f64>,
    candidate: Vec<f64>,
}

/// One step of one row, and h̃.
pub(super) fn step(of: &NaiveCell, resets_before: bool, inputs: NaiveInputs<'_>) -> (Vec<f64>, Step) {
    let h = &inputs.state.hidden;
    let [reset_sum, update_sum] = [RESET, UPDATE].map(|gate| {
        let seen = of.seen(gate, inputs.masks, h);
        of.sum(terms(gate, inputs, &seen))
    });
    let [reset, update] =
        [&reset_sum, &update_sum].map(|sum| of.value(of.activations.gate, &sum.preactivation));
    let mut seen = of.seen(CANDIDATE, inputs.masks, h);
    if resets_before {
        seen = masked(&seen, Some(&reset));
    }
    let all = terms(CANDIDATE, inputs, &seen);
    let (own, product) = if resets_before {
        (of.sum(all), None)
    } else {
        let [of_x, of_h] = apart(all);
        (of.sum(of_x), Some(of.sum(of_h)))
    };
    let mut entering = own.preactivation.clone();
    if let Some(product) = &product {
        add(&mut entering, &masked(&reset, Some(&product.preactivation)));
    }
    let candidate = of.value(of.activations.candidate, &entering);
    let hidden = mix(&candidate, h, Some(&complement(&update)));
    let sums = [reset_sum, update_sum, own];
    (hidden, Step { sums, product, reset, update, seen, entering, candidate })
}

/// From the cotangent of h̃ to that of h.
pub(super) fn step_backward(
    of: &NaiveCell,
    inputs: NaiveInputs<'_>,
    step: &Step,
    d_hidden: &[f64],
    gradients: &mut StepGradients<'_>,
) -> NaiveState {
    let h = &inputs.state.hidden;
    // h̃ = (1 − z) ⊙ n + z ⊙ h
    let d_candidate = masked(d_hidden, Some(&complement(&step.update)));
    let difference: Vec<f64> = h.iter().zip(&step.candidate).map(|(&h, &n)| h - n).collect();
    let d_update = masked(d_hidden, Some(&difference));
    let mut d_h = masked(d_hidden, Some(&step.update));

    let d_entering = of.value_backward(of.activations.candidate, &step.entering, &d_candidate);
    let all = terms(CANDIDATE, inputs, &step.seen);
    let (d_seen, d_reset) = match &step.product {
        None => {
            let [d_gated, _] = of.sum_backward(all, &step.sums[CANDIDATE], d_entering, gradients);
            let ungated = of.seen(CANDIDATE, inputs.masks, h);
            (masked(&d_gated, Some(&step.reset)), masked(&d_gated, Some(&ungated)))
        }
        Some(product) => {
            let [of_x, of_h] = apart(all);
            let d_reset = masked(&d_entering, Some(&product.preactivation));
            let d_product = masked(&d_entering, Some(&step.reset));
            of.sum_backward(of_x, &step.sums[CANDIDATE], d_entering, gradients);
            let [d_seen, _] = of.sum_backward(of_h, product, d_product, gradients);
            (d_seen, d_reset)
        }
    };
    add(&mut d_h, &of.seen(CANDIDATE, inputs.masks, &d_seen));
    for (gate, d_value) in [(RESET, d_reset), (UPDATE, d_update)] {
        let sum = &step.sums[gate];
        let d_preactivation = of.value_backward(of.activations.gate, &sum.preactivation, &d_value);
        let seen = of.seen(gate, inputs.masks, h);
        let [d_seen, _] = of.sum_backward(terms(gate, inputs, &seen), sum, d_preactivation, gradients);
        add(&mut d_h, &of.seen(gate, inputs.masks, &d_seen));
    }
    NaiveState { hidden: d_h, cell: Vec::new() }
}

/// W·x + R·h of a gate.
fn terms<'a>(gate: usize, inputs: NaiveInputs<'a>, seen: &'a [f64]) -> Terms<'a> {
    Terms { gate, bias: gate, x: Some(inputs.x), hidden: Some(seen), other: None }
}

/// W·x and R·h each for itself.
fn apart(all: Terms<'_>) -> [Terms<'_>; 2] {
    let Terms { gate, bias, x, hidden, other } = all;
    [Terms { gate, bias, x, hidden: None, other }, Terms { gate, bias: PRODUCT, x: None, hidden, other }]
}
