//! Stacks of gated recurrent units and of plain recurrent layers: PyTorch's answers, the bits of their layers one after
//! the other however they are arranged, and what they refuse.

use crate::common::golden::{GoldenFile, assert_relative};
use crate::common::stack::{gather_states, spread_states};
use crate::common::{GAP, Random, bits, widen};
use proptest::prelude::*;
use quadgate::{
    ActivationFunction, Arrangement, Backward, Direction, Directions, Dropout, Error, Forward, GradientMode,
    Gru, GruConfig, GruStack, GruWeights, Initialization, Matrix, MatrixMut, Nonlinearity, ResetGate, Rnn,
    RnnConfig, RnnStack, RnnWeights, Sequence, SequenceMut, StackBackward, StackConfig, StackForward,
    Threads,
};
use std::num::NonZeroUsize;

fn arrangements() -> [(Arrangement, Threads); 3] {
    let two = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    [(Arrangement::InTurn, Threads::Serial), (Arrangement::InTurn, two), (Arrangement::SideBySide, two)]
}

#[test]
fn pytorchs_answers_of_two_layers_in_both_directions_with_lengths() {
    let golden = GoldenFile::load("gru_bidirectional_two_layers_lengths");
    let [steps, batch, inputs, units] =
        ["seq_len", "batch", "input_size", "hidden_size"].map(|key| golden.size(key));
    let lengths: Vec<usize> = golden.config["lengths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|length| length.as_u64().unwrap() as usize)
        .collect();
    let suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"];
    let tensors = suffixes.map(|suffix| {
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| golden.narrow(&format!("{name}{suffix}")))
    });
    let [x, h0, cotangent, last_cotangent] = ["x", "h0", "cot_out", "cot_hn"].map(|name| golden.narrow(name));
    for (arrangement, threads) in arrangements() {
        let config = StackConfig::of(GruConfig::new(inputs, units), 2, Directions::Concatenated)
            .training()
            .arrangement(arrangement)
            .threads(threads);
        let weights: Vec<_> = tensors
            .iter()
            .enumerate()
            .map(|(index, [weight_ih, weight_hh, bias_ih, bias_hh])| {
                let config = config.directed_layer(index);
                GruWeights::pytorch(&config, weight_ih, weight_hh, Some(bias_ih), Some(bias_hh)).unwrap()
            })
            .collect();
        let stack = GruStack::new(&config, &weights).unwrap();
        let (mut workspace, mut tape) =
            (stack.workspace(steps, batch).unwrap(), stack.tape(steps, batch).unwrap());
        let input = Sequence::time_major(&x, steps, batch, inputs);
        let (mut output, mut last) =
            (vec![f32::NAN; steps * batch * 2 * units], vec![f32::NAN; 4 * batch * units]);
        let call = StackForward::new(input)
            .initial_hidden(Matrix::new(&h0, 4 * batch, units))
            .lengths(&lengths)
            .output(SequenceMut::time_major(&mut output, steps, batch, 2 * units))
            .last_hidden(MatrixMut::new(&mut last, 4 * batch, units))
            .tape(&mut tape);
        stack.forward(&mut workspace, call).unwrap();
        assert_relative("out", &widen(&output), &golden.tensor("out"), 1e-6);
        assert_relative("hn", &widen(&last), &golden.tensor("hn"), 1e-6);

        let mut parameters = vec![f32::NAN; config.total_parameters().unwrap()];
        let mut input_gradient = vec![f32::NAN; x.len()];
        let mut initial_gradient = vec![f32::NAN; 4 * batch * units];
        let call = StackBackward::new(input)
            .lengths(&lengths)
            .output_cotangent(Sequence::time_major(&cotangent, steps, batch, 2 * units))
            .last_hidden_cotangent(Matrix::new(&last_cotangent, 4 * batch, units))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut initial_gradient, 4 * batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        stack.backward(&mut workspace, &mut tape, call).unwrap();
        assert_relative("dx", &widen(&input_gradient), &golden.tensor("grad.x"), 1e-6);
        assert_relative("dh0", &widen(&initial_gradient), &golden.tensor("grad.h0"), 1e-6);
        for (index, suffix) in suffixes.into_iter().enumerate() {
            let ranges = config.parameters(index).unwrap();
            let bias = &parameters[ranges.bias];
            let second_bias = [&bias[..2 * units], &bias[3 * units..]].concat();
            for (name, found) in [
                ("weight_ih", &parameters[ranges.weight_ih]),
                ("weight_hh", &parameters[ranges.weight_hh]),
                ("bias_ih", &bias[..3 * units]),
                ("bias_hh", &second_bias),
            ] {
                let expected = golden.tensor(&format!("grad.{name}{suffix}"));
                assert_relative(name, &widen(found), &expected, 1e-6);
            }
        }
    }
}

/// Tensors of directed layers of so many gates, of `[X, H]` each.
fn tensors(seed: u64, gates: usize, sizes: &[[usize; 2]]) -> Vec<[Vec<f32>; 4]> {
    let mut random = Random(seed);
    sizes
        .iter()
        .map(|[inputs, units]| {
            let (rows, scale) = (gates * units, 1.0 / (*units as f32).sqrt());
            [rows * inputs, rows * units, rows, rows].map(|len| random.vec(len, scale))
        })
        .collect()
}

/// `[X, H]` of layers of one direction, of these widths.
fn layer_sizes(inputs: usize, units: &[usize]) -> Vec<[usize; 2]> {
    std::iter::once(&inputs).chain(units).zip(units).map(|(&inputs, &units)| [inputs, units]).collect()
}

/// The outputs of one directed layer after the other, of one direction.
fn in_turn(
    x: &[f32],
    [steps, batch]: [usize; 2],
    sizes: &[[usize; 2]],
    mut forward: impl FnMut(usize, Sequence<'_>, SequenceMut<'_>),
) -> Vec<f32> {
    let mut below = x.to_vec();
    for (layer, &[inputs, units]) in sizes.iter().enumerate() {
        let mut output = vec![f32::NAN; steps * batch * units];
        forward(
            layer,
            Sequence::time_major(&below, steps, batch, inputs),
            SequenceMut::time_major(&mut output, steps, batch, units),
        );
        below = output;
    }
    below
}

/// Units of a few layers, the same or each its own.
fn widths() -> impl Strategy<Value = Vec<usize>> {
    let alike = (1usize..40, 1usize..5).prop_map(|(units, layers)| vec![units; layers]);
    prop_oneof![alike, proptest::collection::vec(1usize..40, 1..5)]
}

proptest! {
    #[test]
    fn a_stack_of_gated_units_has_the_bits_of_its_layers(
        seed in any::<u64>(),
        [steps, batch] in [1usize..20, 1usize..5],
        units in widths(),
        resets_before in [any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()],
        reverse in any::<bool>(),
        has_options in any::<bool>(),
    ) {
        let inputs = 3;
        let (direction, directions) =
            if reverse { (Direction::Reverse, Directions::Reverse) } else { (Direction::Forward, Directions::Forward) };
        let sizes = layer_sizes(inputs, &units);
        let tensors = tensors(seed, 3, &sizes);
        let x = Random(seed + 1).vec(steps * batch * inputs, 1.0);
        let weights_of = |config: &GruConfig, index: usize| {
            let [weight_ih, weight_hh, bias_ih, bias_hh] = &tensors[index];
            GruWeights::pytorch(config, weight_ih, weight_hh, Some(bias_ih), Some(bias_hh)).unwrap()
        };
        let layer = |index: usize| {
            let [inputs, units] = sizes[index];
            let place = if resets_before[index] { ResetGate::BeforeProduct } else { ResetGate::AfterProduct };
            let config = GruConfig::new(inputs, units).reset_gate(place);
            if has_options { config.clip(0.75).zoneout(0.25) } else { config }
        };
        let expected = in_turn(&x, [steps, batch], &sizes, |index, input, output| {
            let config = layer(index).direction(direction);
            let gru = Gru::new(&config, &weights_of(&config, index)).unwrap();
            gru.forward(&mut gru.workspace(batch).unwrap(), Forward::new(input).output(output)).unwrap();
        });
        for (arrangement, threads) in arrangements() {
            let config = StackConfig::of_layers((0..units.len()).map(layer), directions)
                .unwrap()
                .arrangement(arrangement)
                .threads(threads);
            let weights: Vec<_> =
                (0..units.len()).map(|index| weights_of(&config.directed_layer(index), index)).collect();
            let stack = GruStack::new(&config, &weights).unwrap();
            let (mut output, width) = (vec![f32::NAN; expected.len()], config.output_size());
            let call = StackForward::new(Sequence::time_major(&x, steps, batch, inputs))
                .output(SequenceMut::time_major(&mut output, steps, batch, width));
            stack.forward(&mut stack.workspace(steps, batch).unwrap(), call).unwrap();
            prop_assert_eq!(bits(&output), bits(&expected));
            if !reverse {
                let mut state = stack.state(batch).unwrap();
                for (x, output) in x.chunks(batch * inputs).zip(output.chunks(batch * width)) {
                    stack.step(&mut state, Matrix::new(x, batch, inputs)).unwrap();
                    for (row, output) in output.chunks(width).enumerate() {
                        prop_assert_eq!(bits(state.hidden(row).unwrap()), bits(output));
                    }
                }
            }
        }
    }

    #[test]
    fn a_stack_of_plain_layers_has_the_bits_of_its_layers(
        seed in any::<u64>(),
        [steps, batch] in [1usize..20, 1usize..5],
        units in widths(),
        has_options in any::<bool>(),
    ) {
        let inputs = 3;
        let sizes = layer_sizes(inputs, &units);
        let tensors = tensors(seed, 1, &sizes);
        let x = Random(seed + 1).vec(steps * batch * inputs, 1.0);
        let weights_of = |config: &RnnConfig, index: usize| {
            let [weight_ih, weight_hh, bias_ih, bias_hh] = &tensors[index];
            RnnWeights::pytorch(config, weight_ih, weight_hh, Some(bias_ih), Some(bias_hh)).unwrap()
        };
        let layer = |index: usize| {
            let [inputs, units] = sizes[index];
            let config = RnnConfig::new(inputs, units).nonlinearity(Nonlinearity::Relu);
            if has_options { config.activation(ActivationFunction::Softsign).zoneout(0.25) } else { config }
        };
        let expected = in_turn(&x, [steps, batch], &sizes, |index, input, output| {
            let rnn = Rnn::new(&layer(index), &weights_of(&layer(index), index)).unwrap();
            rnn.forward(&mut rnn.workspace(batch).unwrap(), Forward::new(input).output(output)).unwrap();
        });
        for (arrangement, threads) in arrangements() {
            let config = StackConfig::of_layers((0..units.len()).map(layer), Directions::Forward).unwrap();
            let config = config.arrangement(arrangement).threads(threads);
            let weights: Vec<_> =
                (0..units.len()).map(|index| weights_of(&config.directed_layer(index), index)).collect();
            let stack = RnnStack::new(&config, &weights).unwrap();
            let mut output = vec![f32::NAN; expected.len()];
            let call = StackForward::new(Sequence::time_major(&x, steps, batch, inputs))
                .output(SequenceMut::time_major(&mut output, steps, batch, config.output_size()));
            stack.forward(&mut stack.workspace(steps, batch).unwrap(), call).unwrap();
            prop_assert_eq!(bits(&output), bits(&expected));
        }
    }

    #[test]
    fn gradients_of_a_stack_have_the_bits_of_its_layers_from_the_last_to_the_first(
        seed in any::<u64>(),
        [steps, batch] in [1usize..9, 1usize..5],
        units in widths(),
        every in proptest::option::of(1usize..4),
    ) {
        let (inputs, widest) = (3, units.iter().copied().max().unwrap());
        let layer = |[inputs, units]: [usize; 2]| GruConfig::new(inputs, units).training();
        let layers = layer_sizes(inputs, &units).into_iter().map(layer);
        let config = StackConfig::of_layers(layers, Directions::Forward).unwrap();
        let parameters = Random(seed).vec(config.total_parameters().unwrap(), 0.3);
        let weights = config.weights(&parameters).unwrap();
        let x = Random(seed + 1).vec(steps * batch * inputs, 1.0);
        let last: Vec<Vec<f32>> = units.iter().map(|&units| Random(seed + 2).vec(batch * units, 1.0)).collect();

        // Layer by layer, each with a tape of its own.
        let grus: Vec<Gru> = (0..units.len())
            .map(|index| Gru::new(&config.directed_layer(index), &weights[index]).unwrap())
            .collect();
        let mut tapes: Vec<_> = grus.iter().map(|gru| gru.tape(steps, batch).unwrap()).collect();
        let mut inputs_of_layers = vec![x.clone()];
        for (gru, tape) in grus.iter().zip(&mut tapes) {
            let (inputs, units) = (gru.config().input_size(), gru.config().hidden_size());
            let mut output = vec![f32::NAN; steps * batch * units];
            let below = Sequence::time_major(&inputs_of_layers[inputs_of_layers.len() - 1], steps, batch, inputs);
            let call = Forward::new(below).output(SequenceMut::time_major(&mut output, steps, batch, units));
            gru.forward(&mut gru.workspace(batch).unwrap(), call.tape(tape)).unwrap();
            inputs_of_layers.push(output);
        }
        let cotangent = Random(seed + 3).vec(inputs_of_layers.pop().unwrap().len(), 1.0);
        let (mut above, mut expected, mut expected_initial) = (cotangent.clone(), Vec::new(), Vec::new());
        for (index, gru) in grus.iter().enumerate().rev() {
            let (inputs, units) = (gru.config().input_size(), gru.config().hidden_size());
            let mut own = vec![f32::NAN; gru.config().parameters().unwrap().total()];
            let (mut dx, mut initial) = (vec![f32::NAN; steps * batch * inputs], vec![f32::NAN; batch * units]);
            let call = Backward::new(Sequence::time_major(&inputs_of_layers[index], steps, batch, inputs))
                .output_cotangent(Sequence::time_major(&above, steps, batch, units))
                .last_hidden_cotangent(Matrix::new(&last[index], batch, units))
                .input_gradient(SequenceMut::time_major(&mut dx, steps, batch, inputs))
                .initial_hidden_gradient(MatrixMut::new(&mut initial, batch, units))
                .parameter_gradients(&mut own, GradientMode::Overwrite);
            gru.backward(&mut gru.workspace(batch).unwrap(), &mut tapes[index], call).unwrap();
            expected.splice(0..0, own);
            expected_initial.splice(0..0, initial);
            above = dx;
        }

        for (arrangement, threads) in arrangements() {
            let stack = GruStack::new(&config.clone().arrangement(arrangement).threads(threads), &weights).unwrap();
            let mut workspace = stack.workspace(steps, batch).unwrap();
            let mut tape = match every {
                None => stack.tape(steps, batch).unwrap(),
                Some(every) => stack.checkpointed_tape(steps, batch, NonZeroUsize::new(every)).unwrap(),
            };
            let input = Sequence::time_major(&x, steps, batch, inputs);
            stack.forward(&mut workspace, StackForward::new(input).tape(&mut tape)).unwrap();
            let mut found = vec![f32::NAN; parameters.len()];
            let mut dx = vec![f32::NAN; x.len()];
            let mut initial = vec![GAP; units.len() * batch * widest];
            let last = spread_states(&last.concat(), batch, &units, f32::NAN);
            let call = StackBackward::new(input)
                .output_cotangent(Sequence::time_major(&cotangent, steps, batch, config.output_size()))
                .last_hidden_cotangent(Matrix::new(&last, units.len() * batch, widest))
                .input_gradient(SequenceMut::time_major(&mut dx, steps, batch, inputs))
                .initial_hidden_gradient(MatrixMut::new(&mut initial, units.len() * batch, widest))
                .parameter_gradients(&mut found, GradientMode::Overwrite);
            stack.backward(&mut workspace, &mut tape, call).unwrap();
            prop_assert_eq!(bits(&found), bits(&expected));
            prop_assert_eq!(bits(&dx), bits(&above));
            prop_assert_eq!(bits(&gather_states(&initial, batch, &units)), bits(&expected_initial));
        }
    }

    #[test]
    fn gradients_of_a_stack_with_dropout_are_the_same_however_it_is_run(
        seed in any::<u64>(),
        [steps, batch, units] in [1usize..9, 1usize..5, 1usize..20],
        resets_before in any::<bool>(),
        has_options in any::<bool>(),
        every in 1usize..4,
    ) {
        let inputs = 3;
        let reset_gate = if resets_before { ResetGate::BeforeProduct } else { ResetGate::AfterProduct };
        let tensors = tensors(seed, 3, &[[inputs, units], [inputs, units], [units, units], [units, units]]);
        let x = Random(seed + 1).vec(steps * batch * inputs, 1.0);
        let cotangent = Random(seed + 2).vec(steps * batch * units, 1.0);
        let mut found = Vec::new();
        for (arrangement, threads) in arrangements() {
            for every in [0, every] {
                let mut layer = GruConfig::new(inputs, units).reset_gate(reset_gate);
                if has_options {
                    layer = layer.zoneout(0.25).layer_normalization(0.01);
                }
                let config = StackConfig::of(layer, 2, Directions::Summed)
                    .training()
                    .arrangement(arrangement)
                    .threads(threads);
                let weights: Vec<_> = tensors.iter().enumerate().map(|(index, [w, r, b, c])| {
                    let weights = GruWeights::pytorch(&config.directed_layer(index), w, r, Some(b), Some(c));
                    let (weights, apart) = (weights.unwrap(), (!resets_before).then_some(&c[..units]));
                    match has_options {
                        true => weights.with_layer_normalization([&b[..units]; 3], apart).unwrap(),
                        false => weights,
                    }
                }).collect();
                let stack = GruStack::new(&config, &weights).unwrap();
                let mut workspace = stack.workspace(steps, batch).unwrap();
                let mut tape = match NonZeroUsize::new(every) {
                    None => stack.tape(steps, batch).unwrap(),
                    every => stack.checkpointed_tape(steps, batch, every).unwrap(),
                };
                let input = Sequence::time_major(&x, steps, batch, inputs);
                let dropout = Dropout::new(0.5, 7).unwrap();
                stack.forward(&mut workspace, StackForward::new(input).dropout(dropout).tape(&mut tape)).unwrap();
                let mut parameters = vec![f32::NAN; config.total_parameters().unwrap()];
                let call = StackBackward::new(input)
                    .output_cotangent(Sequence::time_major(&cotangent, steps, batch, units))
                    .parameter_gradients(&mut parameters, GradientMode::Overwrite);
                stack.backward(&mut workspace, &mut tape, call).unwrap();
                prop_assert!(parameters.iter().all(|gradient| gradient.is_finite()));
                found.push(bits(&parameters));
            }
        }
        prop_assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_cell_state_and_weights_of_another_reset_gate_are_refused() {
    let config = StackConfig::of(GruConfig::new(1, 1), 2, Directions::Forward).training();
    let weights = GruWeights::pytorch(&config.directed_layer(0), &[1.0; 3], &[1.0; 3], None, None).unwrap();
    let stack = GruStack::new(&config, &[weights; 2]).unwrap();
    let (mut workspace, mut tape) = (stack.workspace(1, 1).unwrap(), stack.tape(1, 1).unwrap());
    let input = Sequence::time_major(&[1.0], 1, 1, 1);
    let call = StackForward::new(input).initial_cell(Matrix::new(&[], 2, 0));
    let refused = stack.forward(&mut workspace, call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "initial_cell", .. }), "{refused}");
    let call = StackBackward::new(input).last_cell_cotangent(Matrix::new(&[], 2, 0));
    let refused = stack.backward(&mut workspace, &mut tape, call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "last_cell_cotangent", .. }), "{refused}");

    let before = GruConfig::new(1, 1).reset_gate(ResetGate::BeforeProduct);
    let config = StackConfig::of(before, 2, Directions::Forward);
    let refused = GruStack::new(&config, &[weights; 2]).unwrap_err();
    assert!(matches!(refused, Error::DirectedLayer { index: 0, .. }), "{refused}");
}

#[test]
fn a_clone_keeps_its_weights_and_gives_back_the_parameters_that_were_packed() {
    let config = StackConfig::of(GruConfig::new(3, 17), 2, Directions::Summed);
    let [first, second] =
        [1, 2].map(|seed| config.initial_parameters(&Initialization::PYTORCH, seed).unwrap());
    let [of_first, of_second] = [&first, &second].map(|parameters| config.weights(parameters).unwrap());
    let mut stack = GruStack::new(&config, &of_first).unwrap();
    let clone = stack.clone();
    stack.set_weights(&of_second).unwrap();
    for (stack, expected) in [(&stack, &second), (&clone, &first)] {
        let mut found = vec![f32::NAN; config.total_parameters().unwrap()];
        stack.read_parameters(&mut found).unwrap();
        assert_eq!(&found, expected);
        let refused = stack.read_parameters(&mut found[1..]).unwrap_err();
        assert!(matches!(refused, Error::Length { argument: "parameters", .. }), "{refused}");
    }
}

#[test]
fn a_stack_of_plain_layers_gives_back_the_buffer_that_it_was_made_of() {
    let layers = [RnnConfig::new(3, 17), RnnConfig::new(34, 2)];
    let config = StackConfig::of_layers(layers, Directions::Concatenated).unwrap();
    let parameters = config.initial_parameters(&Initialization::PYTORCH, 1).unwrap();
    let stack = RnnStack::new(&config, &config.weights(&parameters).unwrap()).unwrap();
    let mut found = vec![f32::NAN; parameters.len()];
    stack.read_parameters(&mut found).unwrap();
    assert_eq!(found, parameters);
    let refused = config.weights(&parameters[1..]).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "parameters", .. }), "{refused}");
}

#[cfg(feature = "rayon")]
#[test]
fn layers_that_would_meet_twice_a_step_run_side_by_side_unless_they_are_wide() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for (units, expected) in [(112, Arrangement::SideBySide), (512, Arrangement::InTurn)] {
        let layer = GruConfig::new(units, units).reset_gate(ResetGate::BeforeProduct);
        let config = StackConfig::of(layer, 4, Directions::Forward);
        let parameters = vec![0.0; config.total_parameters().unwrap()];
        let stack = GruStack::new(&config, &config.weights(&parameters).unwrap()).unwrap();
        assert_eq!(pool.install(|| stack.plan(100, 1)).arrangement, expected, "{units} units");
    }
}
