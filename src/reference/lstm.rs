//! One step of an LSTM, forward and backward.

use super::activation::NaiveActivation;
use super::cell::{NaiveCell, NaiveCoupling, NaiveInputs, NaiveState, StepGradients, Sum, Terms};
use super::gate::{clip, complement, passes};
use super::parameters::NaiveParameters;
use super::real::{add, add_scaled, dot, masked};

const INPUT: usize = 0;
const FORGET: usize = 1;
const CANDIDATE: usize = 2;
const OUTPUT: usize = 3;

/// What a step computes on the way to the new state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The gates i, f, g and o
    gates: [Gate; 4],
    /// f ⊙ c + i ⊙ g
    update: Vec<f64>,
    /// c̃
    cell: Vec<f64>,
    /// o ⊙ h(c̃)
    exposed: Vec<f64>,
    /// V·(o ⊙ h(c̃)) + v; the same as `exposed` without a projection
    projected: Vec<f64>,
}

/// One gate of all units.
#[derive(Clone, Debug, PartialEq)]
struct Gate {
    sum: Sum,
    /// φ(clip z), or the complement of the gate that this one is coupled to
    value: Vec<f64>,
}

/// One step of one row: h̃ and c̃, and what they are made of.
pub(super) fn step(of: &NaiveCell, inputs: NaiveInputs<'_>) -> (NaiveState, Step) {
    let before = inputs.state;
    let mut input = gate(of, INPUT, inputs, &before.cell);
    let mut forget = gate(of, FORGET, inputs, &before.cell);
    let candidate = gate(of, CANDIDATE, inputs, &[]);
    match of.coupling {
        NaiveCoupling::Independent => {}
        NaiveCoupling::ForgetFromInput => forget.value = complement(&input.value),
        NaiveCoupling::InputFromForget => input.value = complement(&forget.value),
    }
    let units = 0..of.hidden_size;
    let (i, f, g) = (&input.value, &forget.value, &candidate.value);
    let update: Vec<f64> = units.clone().map(|u| f[u] * before.cell[u] + i[u] * g[u]).collect();
    let cell: Vec<f64> = update.iter().map(|&update| clip(update, of.clip.cell)).collect();

    let output = gate(of, OUTPUT, inputs, &cell);
    let exposed: Vec<f64> =
        units.map(|u| output.value[u] * of.activations.cell.value(clip(cell[u], of.clip.hidden))).collect();
    let projected = project(of, &exposed);
    let hidden: Vec<f64> = match of.parameters.projection {
        Some(_) => projected.iter().map(|&h| clip(h, of.clip.projection)).collect(),
        None => projected.clone(),
    };
    let state = NaiveState { hidden, cell: cell.clone() };
    (state, Step { gates: [input, forget, candidate, output], update, cell, exposed, projected })
}

/// From the cotangents of h̃ and c̃ to those of the state before the step.
pub(super) fn step_backward(
    of: &NaiveCell,
    inputs: NaiveInputs<'_>,
    step: &Step,
    [d_hidden, mut d_cell]: [Vec<f64>; 2],
    gradients: &mut StepGradients<'_>,
) -> NaiveState {
    let before = inputs.state;
    let units = 0..of.hidden_size;
    let [i, f, g, o] = step.gates.each_ref().map(|gate| &gate.value);
    let mut d_before = NaiveState::zeros(of, 1);

    // h̃
    let d_exposed = project_backward(of, step, &d_hidden, gradients.parameters);
    let mut d_output = vec![0.0; of.hidden_size];
    for u in units.clone() {
        let (cell, limit) = (step.cell[u], of.clip.hidden);
        let (value, slope) = (
            of.activations.cell.value(clip(cell, limit)),
            of.activations.cell.derivative(clip(cell, limit)) * passes(cell, limit),
        );
        d_output[u] = d_exposed[u] * value;
        d_cell[u] += d_exposed[u] * o[u] * slope;
    }
    // o sees c̃ through its peephole.
    let (d_h, d_c) = (&mut d_before.hidden, &mut d_before.cell);
    gate_backward(of, OUTPUT, inputs, step, &d_output, &step.cell, [d_h, &mut d_cell], gradients);

    // c̃
    let (mut d_input, mut d_forget, mut d_candidate) = (d_output.clone(), d_output.clone(), d_output);
    for u in units {
        let d_update = d_cell[u] * passes(step.update[u], of.clip.cell);
        d_input[u] = d_update * g[u];
        d_forget[u] = d_update * before.cell[u];
        d_candidate[u] = d_update * i[u];
        d_c[u] += d_update * f[u];
        match of.coupling {
            NaiveCoupling::Independent => {}
            NaiveCoupling::ForgetFromInput => {
                d_input[u] -= d_forget[u];
                d_forget[u] = 0.0;
            }
            NaiveCoupling::InputFromForget => {
                d_forget[u] -= d_input[u];
                d_input[u] = 0.0;
            }
        }
    }
    let seen = &before.cell;
    gate_backward(of, INPUT, inputs, step, &d_input, seen, [d_h, d_c], gradients);
    gate_backward(of, FORGET, inputs, step, &d_forget, seen, [d_h, d_c], gradients);
    gate_backward(of, CANDIDATE, inputs, step, &d_candidate, &[], [d_h, &mut Vec::new()], gradients);
    d_before
}

/// One gate of all units, with `seen` the cell state that its peephole looks at.
fn gate(of: &NaiveCell, gate: usize, inputs: NaiveInputs<'_>, seen: &[f64]) -> Gate {
    let hidden = of.seen(gate, inputs.masks, &inputs.state.hidden);
    let peephole = peephole(of, gate).map(|peephole| masked(peephole, Some(seen)));
    let (x, hidden, other) = (Some(inputs.x), Some(&hidden[..]), peephole.as_deref());
    let sum = of.sum(Terms { gate, bias: gate, x, hidden, other });
    let value = of.value(activation(of, gate), &sum.preactivation);
    Gate { sum, value }
}

/// From the cotangent of a gate's value to all that it depends on: h, and what its peephole sees, whose cotangents are
/// added to.
#[allow(clippy::too_many_arguments)] // One gate reads and writes all of a step.
fn gate_backward(
    of: &NaiveCell,
    gate: usize,
    inputs: NaiveInputs<'_>,
    step: &Step,
    d_value: &[f64],
    seen: &[f64],
    [d_hidden, d_seen]: [&mut Vec<f64>; 2],
    gradients: &mut StepGradients<'_>,
) {
    let sum = &step.gates[gate].sum;
    let d_preactivation = of.value_backward(activation(of, gate), &sum.preactivation, d_value);
    let hidden = of.seen(gate, inputs.masks, &inputs.state.hidden);
    let terms = Terms { gate, bias: gate, x: Some(inputs.x), hidden: Some(&hidden), other: None };
    let [d_masked_hidden, d_sum] = of.sum_backward(terms, sum, d_preactivation, gradients);
    if let (Some(peephole), Some(d_peephole)) = (peephole(of, gate), &mut gradients.parameters.peephole) {
        add(&mut d_peephole[peephole_rows(of, gate)], &masked(&d_sum, Some(seen)));
        add(d_seen, &masked(&d_sum, Some(peephole)));
    }
    add(d_hidden, &of.seen(gate, inputs.masks, &d_masked_hidden));
}

/// V·x + v, or x without a projection.
fn project(of: &NaiveCell, exposed: &[f64]) -> Vec<f64> {
    let Some(projection) = &of.parameters.projection else { return exposed.to_vec() };
    let mut projected: Vec<f64> =
        projection.chunks_exact(of.hidden_size).map(|row| dot(row, exposed)).collect();
    if let Some(bias) = &of.parameters.projection_bias {
        add(&mut projected, bias);
    }
    projected
}

/// From the cotangent of h̃ to that of o ⊙ h(c̃).
fn project_backward(
    of: &NaiveCell,
    step: &Step,
    d_hidden: &[f64],
    gradients: &mut NaiveParameters,
) -> Vec<f64> {
    let (Some(projection), Some(d_projection)) = (&of.parameters.projection, &mut gradients.projection)
    else {
        return d_hidden.to_vec();
    };
    let mut d_exposed = vec![0.0; of.hidden_size];
    for (p, &d) in d_hidden.iter().enumerate() {
        let d = d * passes(step.projected[p], of.clip.projection);
        let row = p * of.hidden_size..(p + 1) * of.hidden_size;
        add_scaled(&mut d_exposed, d, &projection[row.clone()]);
        add_scaled(&mut d_projection[row], d, &step.exposed);
        if let Some(d_bias) = &mut gradients.projection_bias {
            d_bias[p] += d;
        }
    }
    d_exposed
}

/// The rows of a gate in the peepholes, which g has none of.
fn peephole_rows(of: &NaiveCell, gate: usize) -> std::ops::Range<usize> {
    let row = [0, 1, usize::MAX, 2][gate];
    row * of.hidden_size..(row + 1) * of.hidden_size
}

fn peephole(of: &NaiveCell, gate: usize) -> Option<&[f64]> {
    let peephole = of.parameters.peephole.as_ref().filter(|_| gate != CANDIDATE)?;
    Some(&peephole[peephole_rows(of, gate)])
}

fn activation(of: &NaiveCell, gate: usize) -> NaiveActivation {
    if gate == CANDIDATE { of.activations.candidate } else { of.activations.gate }
}
