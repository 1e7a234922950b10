//! What must hold of the oracle itself: its derivatives are those of its values, and its options do what they say.

use crate::common::golden::assert_relative;
use crate::common::{self, Random};
use proptest::prelude::*;
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCall, NaiveCell, NaiveClip, NaiveCoupling, NaiveDirections,
    NaiveKind, NaiveLayer, NaiveLstm, NaiveMasks, NaiveParameters, NaiveResult, NaiveRun, NaiveStack,
    NaiveState,
};

/// Rounding alone.
const EXACT: f64 = 1e-13;

fn vec(random: &mut Random, len: usize, scale: f32) -> Vec<f64> {
    common::widen(&random.vec(len, scale))
}

/// A cell without options.
fn plain_cell(random: &mut Random, inputs: usize, units: usize) -> NaiveCell {
    let parameters = NaiveParameters::new(
        vec(random, 4 * units * inputs, 1.0),
        vec(random, 4 * units * units, 1.0),
        vec(random, 4 * units, 1.0),
    );
    NaiveCell::new(inputs, units, parameters)
}

/// A call of `cells` with random input and states.
fn random_call(random: &mut Random, sizes: [usize; 2], cells: &[NaiveCell]) -> NaiveCall {
    let [steps, batch] = sizes;
    let input = vec(random, steps * batch * cells[0].input_size, 1.0);
    NaiveCall { initial: random_states(random, batch, cells), ..NaiveCall::new(sizes, input, cells) }
}

fn random_states(random: &mut Random, batch: usize, cells: &[NaiveCell]) -> Vec<NaiveState> {
    cells
        .iter()
        .map(|cell| NaiveState {
            hidden: vec(random, batch * cell.output_size, 1.0),
            cell: vec(random, batch * cell.hidden_size, 1.0),
        })
        .collect()
}

fn forward_layer(cell: NaiveCell) -> NaiveLayer {
    NaiveLayer { cells: vec![cell], directions: NaiveDirections::Forward }
}

fn assert_same(found: &NaiveResult, expected: &NaiveResult) {
    assert_relative("output", &found.output, &expected.output, EXACT);
    for (found, expected) in found.last.iter().zip(&expected.last) {
        assert_relative("last h", &found.hidden, &expected.hidden, EXACT);
        assert_relative("last c", &found.cell, &expected.cell, EXACT);
    }
}

#[test]
fn a_cell_without_options_is_the_plain_lstm() {
    let random = &mut Random(1);
    let (sizes, inputs, units) = ([4, 3], 2, 5);
    let cell = plain_cell(random, inputs, units);
    let naive = NaiveLstm {
        input_size: inputs,
        hidden_size: units,
        weight_ih: cell.parameters.weight_ih.clone(),
        weight_hh: cell.parameters.weight_hh.clone(),
        bias: cell.parameters.bias.clone(),
    };
    let layer = forward_layer(cell);
    let call = random_call(random, sizes, &layer.cells);
    let (result, state) = (layer.forward(&call), &call.initial[0]);
    let expected = naive.forward(sizes, &call.input, &state.hidden, &state.cell);
    assert_relative("output", &result.output, &expected.output, EXACT);
    assert_relative("last h", &result.last[0].hidden, &expected.last_hidden, EXACT);
    assert_relative("last c", &result.last[0].cell, &expected.last_cell, EXACT);
}

#[test]
fn a_recurrent_mask_that_never_changes_scales_columns_of_r() {
    let random = &mut Random(2);
    let ([steps, batch], units) = ([4, 3], 5);
    let mut layer = forward_layer(plain_cell(random, 2, units));
    let mut call = random_call(random, [steps, batch], &layer.cells);
    let mask = vec(random, 4 * units, 2.0);
    call.masks[0].recurrent = Some(mask.repeat(steps * batch));
    let masked = layer.forward(&call);

    for (row, weights) in layer.cells[0].parameters.weight_hh.chunks_exact_mut(units).enumerate() {
        let gate = row / units;
        weights.iter_mut().zip(&mask[gate * units..]).for_each(|(weight, mask)| *weight *= mask);
    }
    call.masks[0].recurrent = None;
    assert_same(&masked, &layer.forward(&call));
}

#[test]
fn zoneout_of_zeros_and_ones_chooses_between_the_old_and_the_new_state() {
    let random = &mut Random(3);
    let (steps, units) = (6, 5);
    let layer = forward_layer(plain_cell(random, 2, units));
    let mut call = random_call(random, [steps, 1], &layer.cells);
    let choices = |random: &mut Random| -> Vec<f64> {
        (0..steps * units).map(|_| (random.bits() % 2) as f64).collect()
    };
    let (hidden, cell) = (choices(random), choices(random));
    call.masks[0] = NaiveMasks { recurrent: None, hidden: Some(hidden.clone()), cell: Some(cell.clone()) };

    let mut state = call.initial[0].clone();
    let mut output = Vec::new();
    for t in 0..steps {
        let x = call.input[t * 2..][..2].to_vec();
        let one = NaiveCall { initial: vec![state.clone()], ..NaiveCall::new([1, 1], x, &layer.cells) };
        let new = layer.forward(&one).last.remove(0);
        for u in 0..units {
            if hidden[t * units + u] == 1.0 {
                state.hidden[u] = new.hidden[u];
            }
            if cell[t * units + u] == 1.0 {
                state.cell[u] = new.cell[u];
            }
        }
        output.extend_from_slice(&state.hidden);
    }
    assert_same(&layer.forward(&call), &NaiveResult { output, last: vec![state] });
}

#[test]
fn dropout_that_never_changes_scales_columns_of_the_next_w() {
    let random = &mut Random(4);
    let ([steps, batch], units) = ([4, 3], 5);
    let layers =
        vec![forward_layer(plain_cell(random, 2, units)), forward_layer(plain_cell(random, units, 3))];
    let cells: Vec<_> = layers.iter().flat_map(|layer| layer.cells.clone()).collect();
    let call = random_call(random, [steps, batch], &cells);
    let mask = vec(random, units, 2.0);
    let mut stack = NaiveStack { layers };
    let dropped = stack.forward(&call, &[Some(mask.repeat(steps * batch))]);

    for weights in stack.layers[1].cells[0].parameters.weight_ih.chunks_exact_mut(units) {
        weights.iter_mut().zip(&mask).for_each(|(weight, mask)| *weight *= mask);
    }
    assert_same(&dropped, &stack.forward(&call, &[]));
}

#[test]
fn summed_directions_are_the_sum_of_the_concatenated_ones() {
    let random = &mut Random(5);
    let cells = vec![plain_cell(random, 2, 5), plain_cell(random, 2, 5)];
    let mut call = random_call(random, [4, 3], &cells);
    call.run = NaiveRun::Lengths(vec![2, 4, 0]);
    let concatenated =
        NaiveLayer { cells: cells.clone(), directions: NaiveDirections::Concatenated }.forward(&call);
    let summed = NaiveLayer { cells, directions: NaiveDirections::Summed }.forward(&call);
    let sum: Vec<f64> = concatenated
        .output
        .chunks_exact(10)
        .flat_map(|row| (0..5).map(|u| row[u] + row[5 + u]).collect::<Vec<_>>())
        .collect();
    assert_same(&summed, &NaiveResult { output: sum, last: concatenated.last });
}

#[test]
fn a_row_of_length_zero_keeps_its_state_and_puts_out_zeros() {
    let random = &mut Random(6);
    let layer = forward_layer(plain_cell(random, 2, 5));
    let mut call = random_call(random, [4, 1], &layer.cells);
    call.run = NaiveRun::Lengths(vec![0]);
    let result = layer.forward(&call);
    assert!(result.output.iter().all(|&h| h == 0.0));
    assert_eq!(result.last, call.initial);
}

#[test]
fn a_mask_that_ends_a_row_is_its_length_but_for_what_is_put_out_after_it() {
    let random = &mut Random(7);
    let units = 5;
    for directions in [NaiveDirections::Forward, NaiveDirections::Reverse] {
        let layer = NaiveLayer { directions, ..forward_layer(plain_cell(random, 2, units)) };
        let mut call = random_call(random, [4, 2], &layer.cells);
        call.run = NaiveRun::Lengths(vec![4, 2]);
        let by_length = layer.forward(&call);
        call.run = NaiveRun::Mask(vec![true, true, true, true, true, false, true, false]);
        let by_mask = layer.forward(&call);
        assert_eq!(by_mask.last, by_length.last);
        for position in 0..8 {
            let row = position * units..(position + 1) * units;
            let held = match (position, directions) {
                (5 | 7, NaiveDirections::Reverse) => &call.initial[0].hidden[units..],
                (5 | 7, _) => &by_length.output[3 * units..4 * units],
                _ => &by_length.output[row.clone()],
            };
            assert_eq!(&by_mask.output[row], held, "position {position}, {directions:?}");
        }
    }
}

#[test]
fn layer_normalized_gates_do_not_see_the_scale_of_the_weights() {
    let random = &mut Random(8);
    let units = 5;
    let mut cell = plain_cell(random, 2, units);
    cell.parameters.normalization = Some(vec(random, 4 * units, 1.0));
    let mut scaled = cell.clone();
    scaled.parameters.weight_ih.iter_mut().for_each(|weight| *weight *= 7.0);
    scaled.parameters.weight_hh.iter_mut().for_each(|weight| *weight *= 7.0);
    let layer = forward_layer(cell);
    let call = random_call(random, [4, 3], &layer.cells);
    assert_same(&forward_layer(scaled).forward(&call), &layer.forward(&call));
}

#[test]
fn activations_are_those_of_onnx_at_chosen_points() {
    use NaiveActivation::*;
    for (activation, x, expected) in [
        (Sigmoid, 0.0, 0.5),
        (Sigmoid, 2.0, 0.880_797_077_977_882_3),
        (Tanh, -0.5, -0.462_117_157_260_009_8),
        (Relu, -3.0, 0.0),
        (Relu, 3.0, 3.0),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, 1.0, 0.7),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, 9.0, 1.0),
        (HardSigmoid { alpha: 0.2, beta: 0.5 }, -9.0, 0.0),
        (Softsign, -3.0, -0.75),
        (Softplus, 0.0, std::f64::consts::LN_2),
        (Softplus, 800.0, 800.0),
        (Softplus, -800.0, 0.0),
        (Affine { alpha: 2.0, beta: -1.0 }, 3.0, 5.0),
        (LeakyRelu { alpha: 0.01 }, -2.0, -0.02),
        (LeakyRelu { alpha: 0.01 }, 2.0, 2.0),
        (ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0),
        (ThresholdedRelu { alpha: 1.0 }, 1.5, 1.5),
        (ScaledTanh { alpha: 2.0, beta: 0.5 }, -1.0, -0.924_234_314_520_019_7),
        (Elu { alpha: 2.0 }, -1.0, -1.264_241_117_657_115_4),
        (Elu { alpha: 2.0 }, 1.0, 1.0),
    ] {
        let found = activation.value(x);
        assert!((found - expected).abs() <= 1e-15, "{activation:?} of {x}: {found}, not {expected}");
    }
}

/// A whole problem: a stack, what it reads, and the cotangents of what it yields.
#[derive(Clone, Debug)]
struct Problem {
    stack: NaiveStack,
    call: NaiveCall,
    dropout: Vec<Option<Vec<f64>>>,
    cotangents: NaiveResult,
}

impl Problem {
    /// Any combination of options.
    fn random(seed: u64) -> Self {
        let random = &mut Random(seed);
        let mut below = |bound: usize| (random.bits() % bound as u64) as usize;
        let [steps, batch, inputs, layers] = [below(4), 1 + below(2), below(4), 1 + below(2)];
        let directions = [
            NaiveDirections::Forward,
            NaiveDirections::Reverse,
            NaiveDirections::Concatenated,
            NaiveDirections::Summed,
        ][below(4)];
        let run = match below(3) {
            0 => NaiveRun::All,
            1 => NaiveRun::Lengths((0..batch).map(|_| below(steps + 1)).collect()),
            _ => NaiveRun::Mask((0..steps * batch).map(|_| below(2) == 1).collect()),
        };
        let mut width = inputs;
        let layers: Vec<_> = (0..layers)
            .map(|_| {
                let (units, projected) = (1 + below(3), below(2) == 1);
                let outputs = if projected { 1 + below(3) } else { units };
                let seeds = (0..directions.count()).map(|_| below(usize::MAX) as u64);
                let cells = seeds.map(|seed| random_cell(seed, [width, units, outputs], projected)).collect();
                let layer = NaiveLayer { cells, directions };
                width = layer.output_size();
                layer
            })
            .collect();
        let cells: Vec<_> = layers.iter().flat_map(|layer| layer.cells.clone()).collect();
        let mut call = NaiveCall { run, ..random_call(random, [steps, batch], &cells) };
        for (masks, cell) in call.masks.iter_mut().zip(&cells) {
            let mut mask = |width: usize| {
                let values = vec(random, steps * batch * width, 1.5);
                (random.bits() % 2 == 1).then_some(values)
            };
            *masks = NaiveMasks {
                recurrent: mask(4 * cell.output_size),
                hidden: mask(cell.output_size),
                cell: mask(cell.hidden_size),
            };
        }
        let dropout = layers[..layers.len() - 1]
            .iter()
            .map(|layer| {
                let values = vec(random, steps * batch * layer.output_size(), 1.5);
                (random.bits() % 2 == 1).then_some(values)
            })
            .collect();
        let cotangents = NaiveResult {
            output: vec(random, steps * batch * width, 1.0),
            last: random_states(random, batch, &cells),
        };
        Problem { stack: NaiveStack { layers }, call, dropout, cotangents }
    }

    /// ⟨result, cotangents⟩
    fn loss(&self) -> f64 {
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let result = self.stack.forward(&self.call, &self.dropout);
        let states = result.last.iter().zip(&self.cotangents.last);
        dot(&result.output, &self.cotangents.output)
            + states.map(|(a, b)| dot(&a.hidden, &b.hidden) + dot(&a.cell, &b.cell)).sum::<f64>()
    }

    /// Everything that has a gradient: a name and the values.
    fn variables(&mut self) -> Vec<(&'static str, &mut [f64])> {
        let mut variables: Vec<(&'static str, &mut [f64])> = vec![("x", &mut self.call.input)];
        for state in &mut self.call.initial {
            variables.push(("initial h", &mut state.hidden));
            variables.push(("initial c", &mut state.cell));
        }
        for cell in self.stack.layers.iter_mut().flat_map(|layer| &mut layer.cells) {
            variables.extend(cell.parameters.named_mut());
        }
        variables
    }

    /// The oracle's gradients, in the order of [`Problem::variables`].
    fn gradients(&self) -> Vec<Vec<f64>> {
        let gradients = self.stack.backward(&self.call, &self.dropout, &self.cotangents);
        let mut all = vec![gradients.input];
        for state in gradients.initial {
            all.extend([state.hidden, state.cell]);
        }
        for parameters in &gradients.parameters {
            all.extend(parameters.named().into_iter().map(|(_, values)| values.to_vec()));
        }
        all
    }

    /// The loss with one element of one variable moved.
    fn moved(&self, variable: usize, element: usize, by: f64) -> f64 {
        let mut moved = self.clone();
        moved.variables()[variable].1[element] += by;
        moved.loss()
    }
}

fn random_cell(seed: u64, [inputs, units, outputs]: [usize; 3], projected: bool) -> NaiveCell {
    let random = &mut Random(seed);
    let mut some = |len: usize| {
        let values = vec(random, len, 1.0);
        (random.bits() % 2 == 1).then_some(values)
    };
    let (peephole, normalization) = (some(3 * units), some(4 * units));
    let projection_bias = some(outputs).filter(|_| projected);
    let mut limit = |at: f64| random.bits().is_multiple_of(3).then_some(at);
    let clip = NaiveClip { gate: limit(0.8), hidden: limit(0.5), cell: limit(0.7), projection: limit(0.6) };
    let mut activation = || {
        use NaiveActivation::*;
        [
            Sigmoid,
            Tanh,
            Relu,
            HardSigmoid { alpha: 0.2, beta: 0.5 },
            Softsign,
            Softplus,
            Affine { alpha: 0.4, beta: 0.3 },
            LeakyRelu { alpha: 0.1 },
            ThresholdedRelu { alpha: 0.2 },
            ScaledTanh { alpha: 1.5, beta: 0.6 },
            Elu { alpha: 0.7 },
        ][(random.bits() % 11) as usize]
    };
    let activations = NaiveActivations { gate: activation(), candidate: activation(), cell: activation() };
    let coupling =
        [NaiveCoupling::Independent, NaiveCoupling::ForgetFromInput, NaiveCoupling::InputFromForget]
            [(random.bits() % 3) as usize];
    NaiveCell {
        kind: NaiveKind::Lstm,
        input_size: inputs,
        hidden_size: units,
        output_size: outputs,
        parameters: NaiveParameters {
            peephole,
            normalization,
            projection: projected.then(|| vec(random, outputs * units, 1.0)),
            projection_bias,
            ..NaiveParameters::new(
                vec(random, 4 * units * inputs, 1.0),
                vec(random, 4 * units * outputs, 1.0),
                vec(random, 4 * units, 1.0),
            )
        },
        activations,
        coupling,
        clip,
        // Large enough for two units to be normalized smoothly.
        epsilon: 0.01,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn gradients_are_the_finite_differences_of_the_values(seed: u64) {
        const STEP: f64 = 1e-5;
        let mut problem = Problem::random(seed);
        let names: Vec<_> = problem.variables().into_iter().map(|(name, values)| (name, values.len())).collect();
        let gradients = problem.gradients();
        let (mut kinks, mut count) = (0, 0);
        for (variable, &(name, len)) in names.iter().enumerate() {
            prop_assert_eq!(gradients[variable].len(), len);
            for element in 0..len {
                let gradient = gradients[variable][element];
                let difference = |step: f64| {
                    let [right, left] = [step, -step].map(|by| problem.moved(variable, element, by));
                    (right - left) / (2.0 * step)
                };
                let (difference, closer) = (difference(STEP), difference(STEP / 10.0));
                let scale = 1.0 + gradient.abs();
                count += 1;
                // Where the two differ there is a kink or a jump between them, and no derivative.
                if (difference - closer).abs() > 1e-7 * scale {
                    kinks += 1;
                    continue;
                }
                prop_assert!(
                    (difference - gradient).abs() <= 1e-6 * scale,
                    "{} {} [{}]: gradient {}, finite difference {}", variable, name, element, gradient, difference
                );
            }
        }
        prop_assume!(kinks * 2 <= count);
    }
}
