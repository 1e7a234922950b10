//! Stacks of layers in one direction or both, against the oracle, PyTorch and ONNX Runtime.

use crate::common::family::{Tensors, config_of, move_numbers, random_cell};
use crate::common::golden::{GoldenFile, assert_relative, transpose};
use crate::common::lengths::{Kind, PartialCase, kinds, padding_of};
use crate::common::refused::{Refused, assert_refused};
use crate::common::stack::{Form, StackCase, dropouts, forms, gather_states, naive, sizes, spread_states};
use crate::common::{
    Case, Cotangents, GAP, Gradients, Layout, Outcome, Random, Recording, Run, Sizes, bits, fused_levels,
    gradient_bits, levels, max_error, outcome_bits, relative_error, runs, widen,
};
use proptest::prelude::*;
use quadgate::reference::{
    NaiveCall, NaiveCallGradients, NaiveCell, NaiveLayer, NaiveMasks, NaiveResult, NaiveRun, NaiveStack,
    NaiveState,
};
use quadgate::{
    Arrangement, Directions, Dropout, Error, Forward, GradientMode, Lstm, LstmStack, LstmWeights, Matrix,
    MatrixMut, Schedule, Sequence, SequenceMut, Split, StackBackward, StackConfig, StackForward, State,
    Threads,
};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// States here stay within ±4, so this is about five units in their last place; twice that for a sum of two.
const TOLERANCE: f64 = 4e-6;

/// Relative to the largest entry of each tensor, which may be the only one and a difference of larger terms.
const GRADIENT_TOLERANCE: f64 = 1e-5;

/// The same with options, beside what rounding does to weights near a kink of a function or a limit.
const OPTIONS_TOLERANCE: f64 = 3e-5;

fn joined(states: &[NaiveState], of: fn(&NaiveState) -> &Vec<f64>) -> Vec<f64> {
    states.iter().flat_map(|state| of(state).clone()).collect()
}

fn assert_close(found: &Outcome, expected: &NaiveResult, tolerance: f64, context: &dyn std::fmt::Debug) {
    for (name, found, expected) in [
        ("output", &found.output, &expected.output),
        ("last h", &found.last_hidden, &joined(&expected.last, |state| &state.hidden)),
        ("last c", &found.last_cell, &joined(&expected.last, |state| &state.cell)),
    ] {
        let error = max_error(found, expected);
        assert!(error <= tolerance, "{name}: error {error:e} > {tolerance:e} in {context:?}");
    }
}

fn assert_gradients_close(
    found: &Gradients,
    expected: &NaiveCallGradients,
    tolerance: f64,
    context: &dyn std::fmt::Debug,
) {
    let mut rest = &found.parameters[..];
    for (layer, expected) in expected.parameters.iter().enumerate() {
        let tensors = [&expected.weight_ih, &expected.weight_hh, &expected.bias];
        // A weight's gradient is dz times an input. An input near zero may be what is left of larger numbers, and is
        // then no more exact than they are: what counts is the gradient beside dz, which is that of the bias.
        let dz = expected.bias.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        for (tensor, expected) in tensors.into_iter().enumerate() {
            let (found, others) = rest.split_at(expected.len());
            rest = others;
            let beside_dz = if tensor < 2 { max_error(found, expected) / (1e-2 * dz) } else { f64::INFINITY };
            let error = relative_error(found, expected).min(beside_dz);
            assert!(
                error <= tolerance,
                "gradient of tensor {tensor} of {layer}: error {error:e} in {context:?}"
            );
        }
    }
    assert!(rest.is_empty());
    for (name, found, expected) in [
        ("input", &found.input, &expected.input),
        ("initial h", &found.initial_hidden, &joined(&expected.initial, |state| &state.hidden)),
        ("initial c", &found.initial_cell, &joined(&expected.initial, |state| &state.cell)),
    ] {
        let error = relative_error(found, expected);
        assert!(error <= tolerance, "gradient of {name}: error {error:e} in {context:?}");
    }
}

proptest! {
    #[test]
    fn output_and_last_states_agree_with_the_oracle(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        dropout in dropouts(),
        run in runs(),
    ) {
        let case = StackCase::random(seed, sizes, form).dropout(dropout);
        let (expected, _) = case.expected(&case.cotangents(seed));
        assert_close(&case.forward(run), &expected, TOLERANCE, &(sizes, form, run));
    }

    #[test]
    fn gradients_agree_with_the_oracle(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        dropout in dropouts(),
        run in runs(),
        every in proptest::option::of(1usize..8),
    ) {
        let case = StackCase::random(seed, sizes, form).dropout(dropout);
        let cotangents = case.cotangents(seed);
        let (_, expected) = case.expected(&cotangents);
        let recording = every.map_or(Recording::Full, |every| Recording::Checkpoints(NonZeroUsize::new(every)));
        let found = case.gradients(run, recording, &cotangents, None);
        assert_gradients_close(&found, &expected, GRADIENT_TOLERANCE, &(sizes, form, run));
    }

    #[test]
    fn threads_arrangement_schedule_split_layout_and_tape_do_not_change_the_bits(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        dropout in dropouts(),
        threads in 1usize..6,
        every in proptest::option::of(1usize..8),
        layout in prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    ) {
        let case = StackCase::random(seed, sizes, form).dropout(dropout);
        let cotangents = case.cotangents(seed);
        let checkpoints = Recording::Checkpoints(every.and_then(NonZeroUsize::new));
        for isa in levels() {
            let plain = Run::on(isa);
            let forward = outcome_bits(&case.forward(plain));
            let gradients = gradient_bits(&case.gradients(plain, Recording::Full, &cotangents, None));
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for run in [
                    plain.arrangement(Arrangement::InTurn).split(Split::Rows),
                    plain.arrangement(Arrangement::InTurn).split(Split::Units),
                    plain.arrangement(Arrangement::SideBySide),
                ] {
                    let run = run.threads(threads).schedule(schedule).layout(layout);
                    prop_assert_eq!(&outcome_bits(&case.forward(run)), &forward, "{:?}", run);
                    let found = case.gradients(run, checkpoints, &cotangents, None);
                    prop_assert_eq!(&gradient_bits(&found), &gradients, "{:?}", run);
                }
            }
        }
    }

    #[test]
    fn every_level_with_fused_multiply_add_has_the_same_bits(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
    ) {
        let case = StackCase::random(seed, sizes, form);
        let cotangents = case.cotangents(seed);
        let answers = fused_levels().into_iter().map(|isa| {
            let gradients = case.gradients(Run::on(isa), Recording::Full, &cotangents, None);
            (outcome_bits(&case.forward(Run::on(isa))), gradient_bits(&gradients))
        });
        let answers: Vec<_> = answers.collect();
        prop_assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_stack_is_its_directed_layers_one_after_the_other_bit_for_bit(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        run in runs(),
    ) {
        let case = StackCase::random(seed, sizes, form);
        let stack = case.stack(&case.config(run));
        let (count, batch) = (form.directions.count(), sizes.batch);
        let (mut x, mut last_hidden, mut states) = (case.x.clone(), Vec::new(), 0);
        for (layer, directed) in stack.directed_layers().chunks(count).enumerate() {
            let (mut outputs, units) = (Vec::new(), case.units[layer]);
            for lstm in directed {
                let mut output = vec![0.0; sizes.steps * batch * units];
                let mut last = vec![0.0; batch * units];
                let call = Forward::new(Sequence::time_major(&x, sizes.steps, batch, lstm.config().input_size()))
                    .initial_hidden(Matrix::new(&case.initial_hidden[states..], batch, units))
                    .initial_cell(Matrix::new(&case.initial_cell[states..], batch, units))
                    .output(SequenceMut::time_major(&mut output, sizes.steps, batch, units))
                    .last_hidden(MatrixMut::new(&mut last, batch, units));
                lstm.forward(&mut lstm.workspace(batch).unwrap(), call).unwrap();
                outputs.push(output);
                last_hidden.extend(last);
                states += batch * units;
            }
            x = match form.directions {
                Directions::Forward | Directions::Reverse => outputs.remove(0),
                Directions::Summed => outputs[0].iter().zip(&outputs[1]).map(|(a, b)| a + b).collect(),
                Directions::Concatenated => {
                    let rows = outputs[0].chunks(units).zip(outputs[1].chunks(units));
                    rows.flat_map(|(a, b)| [a, b].concat()).collect()
                }
                other => unreachable!("no test of {other:?}"),
            };
        }
        let found = case.forward(run);
        prop_assert_eq!(bits(&found.output), bits(&x));
        prop_assert_eq!(bits(&found.last_hidden), bits(&last_hidden));
    }

    #[test]
    fn a_sequence_fed_step_by_step_has_the_bits_of_the_whole(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        run in runs(),
    ) {
        let case = StackCase::random(seed, sizes, Form { directions: Directions::Forward, ..form });
        let Sizes { steps, batch, inputs, .. } = sizes;
        let stack = case.stack(&case.config(run));
        let mut state = stack.state(batch).unwrap();
        let mut begin = 0;
        for (state, &units) in state.layers_mut().iter_mut().zip(&case.units) {
            state.set_hidden(Matrix::new(&case.initial_hidden[begin..], batch, units)).unwrap();
            state.set_cell(Matrix::new(&case.initial_cell[begin..], batch, units)).unwrap();
            begin += batch * units;
        }
        let mut output = Vec::new();
        for t in 0..steps {
            let x = &case.x[t * batch * inputs..];
            stack.step(&mut state, Matrix::new(x, batch, inputs)).unwrap();
            output.extend((0..batch).flat_map(|row| state.hidden(row).unwrap()));
        }
        let rows = |of: fn(&State, usize) -> &[f32]| -> Vec<f32> {
            let rows = state.layers().iter().flat_map(|state| (0..batch).map(move |row| of(state, row)));
            rows.flatten().copied().collect()
        };
        let last_hidden = rows(|state, row| state.hidden(row).unwrap());
        let last_cell = rows(|state, row| state.cell(row).unwrap());
        let found = Outcome { output, last_hidden, last_cell };
        prop_assert_eq!(outcome_bits(&found), outcome_bits(&case.forward(run)));
    }

    #[test]
    fn options_are_those_of_all_layers_or_of_each(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        run in runs(),
    ) {
        check_options(seed, sizes, form, Run { split: None, ..run })?;
    }

    #[test]
    fn accumulating_adds_to_what_is_there(
        seed in any::<u64>(),
        sizes in sizes(),
        form in forms(),
        run in runs(),
    ) {
        let case = StackCase::random(seed, sizes, form);
        let cotangents = case.cotangents(seed);
        let alone = case.gradients(run, Recording::Full, &cotangents, None).parameters;
        let before = Random(seed).vec(alone.len(), 1.0);
        let together = case.gradients(run, Recording::Full, &cotangents, Some(before.clone())).parameters;
        for ((&a, &b), &sum) in alone.iter().zip(&before).zip(&together) {
            prop_assert!((a + b - sum).abs() <= 4.0 * f32::EPSILON * (a.abs() + b.abs() + 1.0));
        }
    }

    #[test]
    fn a_workspace_and_a_tape_serve_fewer_steps_and_smaller_batches_and_remember_nothing(
        seed in any::<u64>(),
        large in sizes(),
        form in forms(),
        run in runs(),
        less in (0usize..7, 0usize..9),
    ) {
        let small = Sizes { steps: less.0.min(large.steps), batch: less.1.min(large.batch), ..large };
        let [large, small] = [large, small].map(|sizes| StackCase::random(seed, sizes, form));
        let stack = large.stack(&large.config(run).training());
        let mut workspace = stack.workspace(large.sizes.steps, large.sizes.batch).unwrap();
        let mut tape = stack.tape(large.sizes.steps, large.sizes.batch).unwrap();
        for case in [&large, &small, &large] {
            let cotangents = case.cotangents(seed);
            let found = case.forward_with(&stack, &mut workspace, Some(&mut tape), run);
            prop_assert_eq!(outcome_bits(&found), outcome_bits(&case.forward(run)));
            // A call without a tape does not disturb it.
            case.forward_with(&stack, &mut workspace, None, run);
            let found = case.backward_with(&stack, &mut workspace, &mut tape, run, &cotangents, None);
            let expected = case.gradients(run, Recording::Full, &cotangents, None);
            prop_assert_eq!(gradient_bits(&found), gradient_bits(&expected));
        }
    }

    #[test]
    fn nan_left_in_a_workspace_and_a_tape_changes_no_bit(
        seed in any::<u64>(),
        sizes in sizes(),
        more in (0usize..3, 0usize..6),
        form in forms(),
        kind in proptest::option::of(kinds()),
        dropout in dropouts(),
        run in runs(),
        every in proptest::option::of(1usize..8),
    ) {
        let recording = every.map_or(Recording::Full, |every| Recording::Checkpoints(NonZeroUsize::new(every)));
        let of = |sizes, kind: Option<Kind>| {
            let steps = kind.map_or(NaiveRun::All, |kind| PartialCase::random(seed, sizes, kind).steps);
            let padding = padding_of(&mut Random(seed));
            StackCase { steps, padding, ..StackCase::random(seed, sizes, form).dropout(dropout) }
        };
        let large = Sizes { steps: sizes.steps + more.0, batch: sizes.batch + more.1, ..sizes };
        let clean = of(sizes, kind);
        let stack = clean.stack(&clean.config(run).training());
        let mut workspace = stack.workspace(large.steps, large.batch).unwrap();
        let mut tape = match recording {
            Recording::Full => stack.tape(large.steps, large.batch),
            Recording::Checkpoints(every) => stack.checkpointed_tape(large.steps, large.batch, every),
        }
        .unwrap();
        // Calls of all steps and of a part of them have buffers of their own.
        for dirty in [of(large, None).of_nan(), of(large, kind).of_nan()] {
            let cotangents = dirty.cotangents(seed).of_nan();
            dirty.forward_with(&stack, &mut workspace, None, run);
            dirty.forward_with(&stack, &mut workspace, Some(&mut tape), run);
            dirty.backward_with(&stack, &mut workspace, &mut tape, run, &cotangents, None);
        }
        let (outcome, cotangents) = (outcome_bits(&clean.forward(run)), clean.cotangents(seed));
        let found = clean.forward_with(&stack, &mut workspace, None, run);
        prop_assert_eq!(outcome_bits(&found), &outcome[..]);
        let found = clean.forward_with(&stack, &mut workspace, Some(&mut tape), run);
        prop_assert_eq!(outcome_bits(&found), &outcome[..]);
        let found = clean.backward_with(&stack, &mut workspace, &mut tape, run, &cotangents, None);
        let expected = clean.gradients(run, recording, &cotangents, None);
        prop_assert_eq!(gradient_bits(&found), gradient_bits(&expected));
    }

    #[test]
    fn byte_counts_are_those_of_what_is_made(
        sizes in sizes(),
        form in forms(),
        run in runs(),
        training in any::<bool>(),
    ) {
        let case = StackCase::random(0, sizes, form);
        let config = case.config(run);
        let stack = case.stack(&if training { config.training() } else { config });
        let workspace = stack.workspace(sizes.steps, sizes.batch).unwrap();
        prop_assert_eq!(stack.workspace_bytes(sizes.steps, sizes.batch).unwrap(), workspace.bytes());
        prop_assert_eq!((workspace.steps(), workspace.batch()), (sizes.steps, sizes.batch));
    }
}

/// A recorded stack of PyTorch, with the output and gradients that it expects.
fn pytorch(name: &str) -> (StackCase, Cotangents, NaiveResult, NaiveCallGradients) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units, layers] =
        ["seq_len", "batch", "input_size", "hidden_size", "num_layers"].map(|key| golden.size(key));
    let bidirectional = golden.config["bidirectional"].as_bool().unwrap();
    let directions = if bidirectional { Directions::Concatenated } else { Directions::Forward };
    let suffixes = if bidirectional { &["", "_reverse"][..] } else { &[""] };
    let names: Vec<String> = (0..layers)
        .flat_map(|layer| suffixes.iter().map(move |suffix| format!("l{layer}{suffix}")))
        .collect();
    let sizes = Sizes { steps, batch, inputs, units };
    let mut case = StackCase::random(0, sizes, (layers, directions));
    for (cell, name) in case.cells.iter_mut().zip(&names) {
        let tensor = |kind: &str| golden.narrow(&format!("{kind}_{name}"));
        *cell = Case {
            weight_ih: tensor("weight_ih"),
            weight_hh: tensor("weight_hh"),
            bias_ih: tensor("bias_ih"),
            bias_hh: tensor("bias_hh"),
            ..cell.clone()
        };
    }
    [case.x, case.initial_hidden, case.initial_cell] = ["x", "h0", "c0"].map(|name| golden.narrow(name));
    let [output, last_hidden, last_cell] = ["cot_out", "cot_hn", "cot_cn"].map(|name| golden.narrow(name));
    let cotangents = Cotangents { output, last_hidden, last_cell };
    // The oracle's shapes, with PyTorch's numbers.
    let (mut result, mut gradients) = case.expected(&cotangents);
    result.output = golden.tensor("out");
    gradients.input = golden.tensor("grad.x");
    let states = |states: &mut [NaiveState], hidden: &str, cell: &str| {
        let (hidden, cell) = (golden.tensor(hidden), golden.tensor(cell));
        for (index, state) in states.iter_mut().enumerate() {
            state.hidden = hidden[index * batch * units..][..batch * units].to_vec();
            state.cell = cell[index * batch * units..][..batch * units].to_vec();
        }
    };
    states(&mut result.last, "hn", "cn");
    states(&mut gradients.initial, "grad.h0", "grad.c0");
    for (parameters, name) in gradients.parameters.iter_mut().zip(&names) {
        let tensor = |kind: &str| golden.tensor(&format!("grad.{kind}_{name}"));
        parameters.weight_ih = tensor("weight_ih");
        parameters.weight_hh = tensor("weight_hh");
        parameters.bias = tensor("bias_ih");
        assert_relative(name, &parameters.bias, &tensor("bias_hh"), 1e-12);
    }
    (case, cotangents, result, gradients)
}

fn check_pytorch(name: &str) {
    let (case, cotangents, result, gradients) = pytorch(name);
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            for layout in [Layout::TimeMajor, Layout::BatchMajor] {
                let run = Run::on(isa).schedule(schedule).layout(layout);
                assert_close(&case.forward(run), &result, 5e-7, &(name, run));
                let found = case.gradients(run, Recording::Full, &cotangents, None);
                assert_gradients_close(&found, &gradients, 1e-6, &(name, run));
            }
        }
    }
}

#[test]
fn two_layers_are_pytorchs() {
    check_pytorch("lstm_two_layers");
}

#[test]
fn two_directions_are_pytorchs() {
    check_pytorch("lstm_bidirectional");
}

#[test]
fn three_layers_of_two_directions_are_pytorchs() {
    check_pytorch("lstm_bidirectional_three_layers");
}

#[test]
fn onnx_bidirectional_is_a_stack_of_one_layer() {
    let golden = GoldenFile::load("onnx_lstm_bidirectional");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [w, r, b, x] = ["W", "R", "Bias", "X"].map(|name| golden.narrow(name));
    let [h0, c0] = ["initial_h", "initial_c"].map(|name| golden.narrow(name));
    let half = |values: &[f32], direction: usize| {
        let len = values.len() / 2;
        values[direction * len..][..len].to_vec()
    };
    let [forward, reverse] =
        [0, 1].map(|direction| [half(&w, direction), half(&r, direction), half(&b, direction)]);
    // Y is [T, D, B, H].
    let output: Vec<f64> = golden
        .tensor("Y")
        .chunks_exact(2 * batch * units)
        .flat_map(|step| transpose(step, [2, batch, units]))
        .collect();
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let config = StackConfig::new(inputs, units, 1, Directions::Concatenated);
            let config = config.isa(isa).schedule(schedule);
            let weights = [&forward, &reverse]
                .map(|[w, r, b]| LstmWeights::onnx(&config.directed_layer(0), w, r, Some(b), None).unwrap());
            let stack = LstmStack::new(&config, &weights).unwrap();
            let mut found = vec![0.0; steps * batch * 2 * units];
            let (mut last_hidden, mut last_cell) =
                (vec![0.0; 2 * batch * units], vec![0.0; 2 * batch * units]);
            let call = StackForward::new(Sequence::time_major(&x, steps, batch, inputs))
                .initial_hidden(Matrix::new(&h0, 2 * batch, units))
                .initial_cell(Matrix::new(&c0, 2 * batch, units))
                .output(SequenceMut::time_major(&mut found, steps, batch, 2 * units))
                .last_hidden(MatrixMut::new(&mut last_hidden, 2 * batch, units))
                .last_cell(MatrixMut::new(&mut last_cell, 2 * batch, units));
            stack.forward(&mut stack.workspace(steps, batch).unwrap(), call).unwrap();
            for (name, found, expected) in [
                ("Y", &found, output.clone()),
                ("Y_h", &last_hidden, golden.tensor("Y_h")),
                ("Y_c", &last_cell, golden.tensor("Y_c")),
            ] {
                let error = max_error(found, &expected);
                assert!(error <= 5e-6, "{name}: {error:e} on {isa}, {schedule:?}");
            }
        }
    }
}

const SIZES: Sizes = Sizes { steps: 3, batch: 2, inputs: 4, units: 5 };

/// Layers and directions with everything that a stack can have.
const FORM: (usize, Directions) = (3, Directions::Concatenated);

fn plain() -> Run {
    Run::on(levels()[0])
}

#[test]
fn what_is_not_given_is_zero_and_what_is_not_asked_for_changes_nothing() {
    for directions in [Directions::Forward, Directions::Concatenated, Directions::Summed] {
        let mut case = StackCase::random(3, SIZES, (3, directions));
        case.initial_hidden.fill(0.0);
        case.initial_cell.fill(0.0);
        let mut cotangents = case.cotangents(3);
        cotangents.output.fill(0.0);
        cotangents.last_cell.fill(0.0);
        let expected = case.forward(plain());
        let expected_gradients = case.gradients(plain(), Recording::Full, &cotangents, None);

        let stack = case.stack(&case.config(plain()).training());
        let (mut workspace, mut tape) = (stack.workspace(3, 2).unwrap(), stack.tape(3, 2).unwrap());
        let x = Sequence::time_major(&case.x, 3, 2, 4);
        let rows = case.state_rows();
        let mut last_cell = vec![0.0; rows * 5];
        let call = StackForward::new(x).last_cell(MatrixMut::new(&mut last_cell, rows, 5)).tape(&mut tape);
        stack.forward(&mut workspace, call).unwrap();
        assert_eq!(last_cell, expected.last_cell);
        let mut dc0 = vec![0.0; rows * 5];
        let call = StackBackward::new(x)
            .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, rows, 5))
            .initial_cell_gradient(MatrixMut::new(&mut dc0, rows, 5));
        stack.backward(&mut workspace, &mut tape, call).unwrap();
        let error = relative_error(&dc0, &widen(&expected_gradients.initial_cell));
        assert!(error <= GRADIENT_TOLERANCE, "{directions:?}: {error:e}");
    }
}

#[test]
fn states_may_lie_in_rows_with_gaps() {
    let case = StackCase::random(5, SIZES, FORM);
    let expected = case.forward(plain());
    let rows = case.state_rows();
    let spaced: Vec<f32> =
        case.initial_hidden.chunks(5).flat_map(|row| [row, &[f32::NAN; 2]].concat()).collect();
    let mut last_hidden = vec![7.0; rows * 8];
    let stack = case.stack(&case.config(plain()));
    let call = StackForward::new(Sequence::time_major(&case.x, 3, 2, 4))
        .initial_hidden(Matrix::new(&spaced, rows, 5).stride(7))
        .initial_cell(Matrix::new(&case.initial_cell, rows, 5))
        .last_hidden(MatrixMut::new(&mut last_hidden, rows, 5).stride(8));
    stack.forward(&mut stack.workspace(3, 2).unwrap(), call).unwrap();
    for (found, expected) in last_hidden.chunks(8).zip(expected.last_hidden.chunks(5)) {
        assert_eq!((&found[..5], &found[5..]), (expected, &[7.0; 3][..]));
    }
}

#[test]
fn replaced_weights_are_those_of_both_passes() {
    let (old, new) = (StackCase::random(1, SIZES, FORM), StackCase::random(2, SIZES, FORM));
    let config = old.config(plain()).training();
    let mut stack = old.stack(&config);
    stack.set_weights(&new.weights(&config)).unwrap();
    let (mut workspace, mut tape) = (stack.workspace(3, 2).unwrap(), stack.tape(3, 2).unwrap());
    let found = new.forward_with(&stack, &mut workspace, Some(&mut tape), plain());
    assert_eq!(outcome_bits(&found), outcome_bits(&new.forward(plain())));
    let cotangents = new.cotangents(2);
    let found = new.backward_with(&stack, &mut workspace, &mut tape, plain(), &cotangents, None);
    let expected = new.gradients(plain(), Recording::Full, &cotangents, None);
    assert_eq!(gradient_bits(&found), gradient_bits(&expected));
}

#[test]
fn stacks_that_cannot_be_made_are_refused() {
    let case = StackCase::random(0, SIZES, FORM);
    let config = case.config(plain());
    let weights = case.weights(&config);
    let none = StackConfig::new(4, 5, 0, Directions::Forward);
    assert_eq!(LstmStack::new(&none, &[]).unwrap_err(), Refused::Zero { argument: "layers" });
    assert_eq!(
        LstmStack::new(&config, &weights[..5]).unwrap_err(),
        Refused::Count { argument: "weights", each: "layer and direction", expected: 6, found: 5 }
    );
    let mut stack = LstmStack::new(&config, &weights).unwrap();
    let swapped = [weights[2], weights[1], weights[0], weights[3], weights[4], weights[5]];
    let refused = Refused::Dimension { argument: "weights", dimension: "input size", expected: 4, found: 10 };
    for found in [LstmStack::new(&config, &swapped).unwrap_err(), stack.set_weights(&swapped).unwrap_err()] {
        assert!(
            matches!(&found, Error::DirectedLayer { index: 0, error, .. } if **error == refused),
            "{found}"
        );
    }
    assert_eq!(
        stack.workspace_bytes(usize::MAX, 2).unwrap_err(),
        Refused::Overflow { argument: "steps and batch" }
    );
    assert_eq!(
        stack.workspace(usize::MAX, 2).unwrap_err(),
        Refused::Overflow { argument: "steps and batch" }
    );
    let vast = StackConfig::new(4, 5, usize::MAX, Directions::Summed);
    assert_refused(vast.total_parameters(), Refused::Overflow { argument: "layers" });
}

/// Runs a call that must fail, with one argument replaced, and checks that nothing was written.
fn refused(change: impl for<'a> FnOnce(StackForward<'a>, &'a mut [f32]) -> StackForward<'a>) -> Error {
    let case = StackCase::random(0, SIZES, FORM);
    let stack = case.stack(&case.config(plain()));
    let mut workspace = stack.workspace(3, 2).unwrap();
    let (mut output, mut last_hidden, mut last_cell) = (vec![7.0; 60], vec![7.0; 60], vec![7.0; 60]);
    let mut spare = vec![7.0; 200];
    let call = StackForward::new(Sequence::time_major(&case.x, 3, 2, 4))
        .output(SequenceMut::time_major(&mut output, 3, 2, 10))
        .last_hidden(MatrixMut::new(&mut last_hidden, 12, 5))
        .last_cell(MatrixMut::new(&mut last_cell, 12, 5));
    let error = stack.forward(&mut workspace, change(call, &mut spare)).unwrap_err();
    for written in [&output, &last_hidden, &last_cell, &spare] {
        assert!(written.iter().all(|&value| value == 7.0), "{error}");
    }
    error
}

#[test]
fn forward_names_what_does_not_fit_and_writes_nothing() {
    static ZEROS: [f32; 100] = [0.0; 100];
    let dimension =
        |argument, dimension, expected, found| Refused::Dimension { argument, dimension, expected, found };
    let input = |features| StackForward::new(Sequence::with_strides(&ZEROS, [3, 2, features], [10, 5]));
    assert_eq!(refused(|_, _| input(3)), dimension("input", "features", 4, 3));
    let long = StackForward::new(Sequence::time_major(&ZEROS, 4, 2, 4));
    assert_eq!(refused(|_, _| long), dimension("workspace", "steps", 4, 3));
    let wide = StackForward::new(Sequence::time_major(&ZEROS, 3, 3, 4));
    assert_eq!(refused(|_, _| wide), dimension("workspace", "batch", 3, 2));
    let short = StackForward::new(Sequence::time_major(&ZEROS[..23], 3, 2, 4));
    assert_eq!(refused(|_, _| short), Refused::TooShort { argument: "input", expected: 24, found: 23 });
    assert_eq!(
        refused(|call, spare| call.output(SequenceMut::time_major(spare, 3, 2, 5))),
        dimension("output", "features", 10, 5)
    );
    assert_eq!(
        refused(|call, spare| call.output(SequenceMut::with_strides(spare, [3, 2, 10], [5, 30]))),
        Refused::Overlap { argument: "output", expected: 10, found: [5, 30] }
    );
    assert_eq!(
        refused(|call, _| call.initial_hidden(Matrix::new(&ZEROS, 2, 5))),
        dimension("initial_hidden", "rows", 12, 2)
    );
    assert_eq!(
        refused(|call, _| call.initial_cell(Matrix::new(&ZEROS[..59], 12, 5))),
        Refused::TooShort { argument: "initial_cell", expected: 60, found: 59 }
    );
    assert_eq!(
        refused(|call, spare| call.last_hidden(MatrixMut::new(spare, 12, 10))),
        dimension("last_hidden", "width", 5, 10)
    );
    assert_eq!(
        refused(|call, spare| call.last_cell(MatrixMut::new(&mut spare[..59], 12, 5))),
        Refused::TooShort { argument: "last_cell", expected: 60, found: 59 }
    );
}

#[test]
fn workspaces_and_tapes_of_other_stacks_are_refused() {
    let case = StackCase::random(0, SIZES, FORM);
    let stack = case.stack(&case.config(plain()).training());
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    let dimension =
        |argument, dimension, expected, found| Refused::Dimension { argument, dimension, expected, found };
    for (form, name, expected, found) in [
        ((2, Directions::Concatenated), "layers", 3, 2),
        ((3, Directions::Reverse), "directions", 2, 1),
        ((3, Directions::Summed), "output size", 10, 5),
    ] {
        let other = StackCase::random(0, SIZES, form);
        let other = other.stack(&other.config(plain()).training());
        let mut workspace = other.workspace(3, 2).unwrap();
        let refused = stack.forward(&mut workspace, StackForward::new(x));
        assert_refused(refused, dimension("workspace", name, expected, found));
        let (mut workspace, mut tape) = (stack.workspace(3, 2).unwrap(), other.tape(3, 2).unwrap());
        let refused = stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape));
        assert_refused(refused, dimension("tape", name, expected, found));
        let refused = stack.backward(&mut workspace, &mut tape, StackBackward::new(x));
        assert_refused(refused, dimension("tape", name, expected, found));
    }
    let other = StackCase::random(0, Sizes { inputs: 9, ..SIZES }, FORM);
    let other = other.stack(&other.config(plain()).training());
    let refused = stack.forward(&mut other.workspace(3, 2).unwrap(), StackForward::new(x));
    assert_refused(refused, dimension("workspace", "input size", SIZES.inputs, 9));
    let mut tape = stack.tape(2, 2).unwrap();
    let refused = stack.forward(&mut stack.workspace(3, 2).unwrap(), StackForward::new(x).tape(&mut tape));
    assert_refused(refused, dimension("tape", "steps", 3, 2));
}

#[test]
fn backward_names_what_does_not_fit_and_writes_nothing() {
    let case = StackCase::random(0, SIZES, FORM);
    let stack = case.stack(&case.config(plain()).training());
    let (mut workspace, mut tape) = (stack.workspace(3, 2).unwrap(), stack.tape(3, 2).unwrap());
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    let refused = stack.backward(&mut workspace, &mut tape, StackBackward::new(x));
    assert_refused(refused, Refused::NothingRecorded { argument: "tape" });
    stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape)).unwrap();

    let total = stack.config().total_parameters().unwrap();
    let (mut gradients, mut dx, mut spare) = (vec![7.0; total], vec![7.0; 24], vec![7.0; 100]);
    {
        let mut refused = |change: &dyn for<'a> Fn(StackBackward<'a>, &'a mut [f32]) -> StackBackward<'a>| {
            let call = StackBackward::new(x)
                .input_gradient(SequenceMut::time_major(&mut dx, 3, 2, 4))
                .parameter_gradients(&mut gradients, GradientMode::Overwrite);
            stack.backward(&mut workspace, &mut tape, change(call, &mut spare)).unwrap_err()
        };
        let dimension = |argument, dimension, expected, found| Refused::Dimension {
            argument,
            dimension,
            expected,
            found,
        };
        static ZEROS: [f32; 100] = [0.0; 100];
        assert_eq!(
            refused(&|_, _| StackBackward::new(Sequence::time_major(&ZEROS, 2, 2, 4))),
            dimension("tape", "steps", 2, 3)
        );
        assert_eq!(
            refused(&|call, _| call.output_cotangent(Sequence::time_major(&ZEROS, 3, 2, 5))),
            dimension("output_cotangent", "features", 10, 5)
        );
        assert_eq!(
            refused(&|call, _| call.last_hidden_cotangent(Matrix::new(&ZEROS, 2, 5))),
            dimension("last_hidden_cotangent", "rows", 12, 2)
        );
        assert_eq!(
            refused(&|call, _| call.last_cell_cotangent(Matrix::new(&ZEROS[..59], 12, 5))),
            Refused::TooShort { argument: "last_cell_cotangent", expected: 60, found: 59 }
        );
        assert_eq!(
            refused(&|call, spare| call.input_gradient(SequenceMut::time_major(spare, 3, 2, 5))),
            dimension("input_gradient", "features", 4, 5)
        );
        assert_eq!(
            refused(&|call, spare| call.initial_hidden_gradient(MatrixMut::new(spare, 6, 5))),
            dimension("initial_hidden_gradient", "rows", 12, 6)
        );
        assert_eq!(
            refused(&|call, spare| call.initial_cell_gradient(MatrixMut::new(spare, 12, 5).stride(4))),
            Refused::Overlap { argument: "initial_cell_gradient", expected: 5, found: [0, 4] }
        );
        assert_eq!(
            refused(&|call, spare| call.parameter_gradients(spare, GradientMode::Overwrite)),
            Refused::Length { argument: "parameter_gradients", expected: total, found: 100 }
        );
    }
    for written in [&gradients, &dx, &spare] {
        assert!(written.iter().all(|&value| value == 7.0));
    }

    let inference = case.stack(&case.config(plain()));
    assert_refused(
        inference.backward(&mut workspace, &mut tape, StackBackward::new(x)),
        Refused::NotForTraining { argument: "stack" },
    );
    let mut workspace = inference.workspace(3, 2).unwrap();
    assert_refused(
        stack.backward(&mut workspace, &mut tape, StackBackward::new(x)),
        Refused::NotForTraining { argument: "workspace" },
    );
}

/// A stack whose layers have options that are drawn at random, the same or, in a mixed form, each its own, against the
/// oracle; with one thread, and as `run` says.
fn check_options(
    seed: u64,
    Sizes { steps, batch, inputs, units }: Sizes,
    form: Form,
    run: Run,
) -> Result<(), TestCaseError> {
    let Form { layers, directions, .. } = form;
    let mut random = Random(seed);
    let mut of_layers = vec![random_cell(&mut random, inputs, form.units(units)[0])];
    for &units in &form.units(units)[1..] {
        let below = &of_layers[of_layers.len() - 1];
        let is_doubled = directions == Directions::Concatenated;
        let inputs = if is_doubled { 2 * below.output_size } else { below.output_size };
        if form.is_mixed() {
            of_layers.push(random_cell(&mut random, inputs, units));
        } else {
            of_layers.push(NaiveCell { input_size: inputs, ..below.clone() });
        }
    }
    let config = |run: Run| {
        let mut layers_of_run =
            of_layers.iter().map(|cell| run.apply(config_of(cell, &NaiveMasks::default())).training());
        let config = if form.is_mixed() {
            StackConfig::of_layers(layers_of_run, directions).unwrap()
        } else {
            StackConfig::of(layers_of_run.next().unwrap(), layers, directions)
        };
        run.arrangement.into_iter().fold(config, StackConfig::arrangement)
    };
    let config_of_run = config(run);
    let (width, rows) = (config_of_run.output_size(), config_of_run.directed_layers() * batch);
    let cells: Vec<NaiveCell> = (0..config_of_run.directed_layers())
        .map(|index| {
            let mut cell = of_layers[index / directions.count()].clone();
            let (inputs, units) = (cell.input_size, cell.hidden_size);
            assert_eq!(config_of_run.directed_layer(index).input_size(), inputs);
            let weight_ih = random.vec(4 * units * inputs, 1.0 / (units as f32).sqrt());
            cell.parameters.weight_ih = widen(&weight_ih);
            cell
        })
        .collect();
    let tensors: Vec<_> = cells.iter().map(|cell| Tensors::of(&cell.parameters)).collect();
    let outputs: Vec<usize> = cells.iter().map(|cell| cell.output_size).collect();
    let units: Vec<usize> = cells.iter().map(|cell| cell.hidden_size).collect();
    let [h0, dh, c0, dc] = [&outputs, &outputs, &units, &units]
        .map(|widths| random.vec(batch * widths.iter().sum::<usize>(), 1.0));
    let spread = |states: &[f32], widths: &[usize]| spread_states(states, batch, widths, f32::NAN);
    let [spread_h0, spread_dh] = [&h0, &dh].map(|states| spread(states, &outputs));
    let [spread_c0, spread_dc] = [&c0, &dc].map(|states| spread(states, &units));
    let [hidden_width, cell_width] = config_of_run.state_widths();
    let (x, dy) = (random.vec(steps * batch * inputs, 1.0), random.vec(steps * batch * width, 1.0));

    let answer = |config: &StackConfig| {
        let numbered = tensors.iter().enumerate();
        let weights = numbered.map(|(index, tensors)| tensors.weights(&config.directed_layer(index)));
        let stack = LstmStack::new(config, &weights.collect::<Vec<_>>()).unwrap();
        let (mut workspace, mut tape) =
            (stack.workspace(steps, batch).unwrap(), stack.tape(steps, batch).unwrap());
        let x = Sequence::time_major(&x, steps, batch, inputs);
        let mut found = Outcome {
            output: vec![f32::NAN; steps * batch * width],
            last_hidden: vec![GAP; rows * hidden_width],
            last_cell: vec![GAP; rows * cell_width],
        };
        let call = StackForward::new(x)
            .initial_hidden(Matrix::new(&spread_h0, rows, hidden_width))
            .initial_cell(Matrix::new(&spread_c0, rows, cell_width))
            .output(SequenceMut::time_major(&mut found.output, steps, batch, width))
            .last_hidden(MatrixMut::new(&mut found.last_hidden, rows, hidden_width))
            .last_cell(MatrixMut::new(&mut found.last_cell, rows, cell_width))
            .tape(&mut tape);
        stack.forward(&mut workspace, call).unwrap();
        found.last_hidden = gather_states(&found.last_hidden, batch, &outputs);
        found.last_cell = gather_states(&found.last_cell, batch, &units);
        let mut gradients = Gradients {
            input: vec![f32::NAN; steps * batch * inputs],
            initial_hidden: vec![GAP; rows * hidden_width],
            initial_cell: vec![GAP; rows * cell_width],
            parameters: vec![f32::NAN; config.total_parameters().unwrap()],
        };
        let call = StackBackward::new(x)
            .output_cotangent(Sequence::time_major(&dy, steps, batch, width))
            .last_hidden_cotangent(Matrix::new(&spread_dh, rows, hidden_width))
            .last_cell_cotangent(Matrix::new(&spread_dc, rows, cell_width))
            .input_gradient(SequenceMut::time_major(&mut gradients.input, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut gradients.initial_hidden, rows, hidden_width))
            .initial_cell_gradient(MatrixMut::new(&mut gradients.initial_cell, rows, cell_width))
            .parameter_gradients(&mut gradients.parameters, GradientMode::Overwrite);
        stack.backward(&mut workspace, &mut tape, call).unwrap();
        gradients.initial_hidden = gather_states(&gradients.initial_hidden, batch, &outputs);
        gradients.initial_cell = gather_states(&gradients.initial_cell, batch, &units);
        (found, gradients)
    };
    let (found, gradients) = answer(&config_of_run);
    let (plain, plain_gradients) = answer(&config(Run::on(run.isa)));
    // Some functions have no bounds. Of the NaN that follow an overflow, nothing says which sign they have.
    let all = [outcome_bits(&plain), gradient_bits(&plain_gradients)].concat();
    prop_assume!(all.into_iter().all(|bits| !f32::from_bits(bits).is_nan()));
    prop_assert_eq!(outcome_bits(&found), outcome_bits(&plain));
    prop_assert_eq!(gradient_bits(&gradients), gradient_bits(&plain_gradients));

    let states = |hidden: &[f32], cell: &[f32]| -> Vec<NaiveState> {
        let (mut hidden, mut cell) = (hidden, cell);
        let own = |rest: &mut &[f32], width: usize| widen(rest.split_off(..batch * width).unwrap());
        let state = |(&outputs, &units)| NaiveState {
            hidden: own(&mut hidden, outputs),
            cell: own(&mut cell, units),
        };
        outputs.iter().zip(&units).map(state).collect()
    };
    let cotangents = NaiveResult { output: widen(&dy), last: states(&dh, &dc) };
    // The oracle's tensors, with numbers that are moved by up to so much of themselves, in a direction of that number.
    let oracle = |direction: u64, by: f64| -> Vec<Vec<f64>> {
        let (mut cells, mut random) = (cells.clone(), Random(direction));
        for cell in &mut cells {
            move_numbers(cell, || 1.0 + by * f64::from(random.uniform(1.0)));
        }
        let initial = states(&h0, &c0);
        let call = NaiveCall { initial, ..NaiveCall::new([steps, batch], widen(&x), &cells) };
        let (chunks, directions) = (cells.chunks(directions.count()), naive(directions));
        let layers = chunks.map(|cells| NaiveLayer { cells: cells.to_vec(), directions }).collect();
        let stack = NaiveStack { layers };
        let (result, gradients) = (stack.forward(&call, &[]), stack.backward(&call, &[], &cotangents));
        let parameters = gradients.parameters.into_iter();
        [
            result.output.clone(),
            joined(&result.last, |state| &state.hidden),
            joined(&result.last, |state| &state.cell),
            gradients.input,
            joined(&gradients.initial, |state| &state.hidden),
            joined(&gradients.initial, |state| &state.cell),
        ]
        .into_iter()
        .chain(parameters.flat_map(|of| [of.weight_ih, of.weight_hh, of.bias]))
        .collect()
    };
    let expected = oracle(1, 0.0);
    let distance = |left: &[f64], right: &[f64]| {
        let largest = right.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let pairs = left.iter().zip(right);
        pairs.map(|(left, right)| (left - right).abs()).fold(0.0, f64::max) / largest
    };
    // To and fro: of a number at a kink of a function or at a limit, one of the two is on the other side, as f32 may
    // be.
    let sensitivity = [(1, 3e-6), (1, -3e-6), (2, 3e-6), (2, -3e-6)]
        .into_iter()
        .flat_map(|(direction, by)| oracle(direction, by).into_iter().zip(&expected))
        .map(|(moved, expected)| distance(&moved, expected))
        .fold(0.0, f64::max);
    prop_assume!(sensitivity < 1e-3 && expected.iter().flatten().all(|value| value.abs() < 1e6));
    let mut tensors = vec![
        &found.output[..],
        &found.last_hidden,
        &found.last_cell,
        &gradients.input,
        &gradients.initial_hidden,
        &gradients.initial_cell,
    ];
    for index in 0..config_of_run.directed_layers() {
        let ranges = config_of_run.parameters(index).unwrap();
        let ranges = [ranges.weight_ih, ranges.weight_hh, ranges.bias];
        tensors.extend(ranges.map(|range| &gradients.parameters[range]));
    }
    for (number, (found, expected)) in tensors.into_iter().zip(&expected).enumerate() {
        let error = distance(&widen(found), expected);
        let allowed = OPTIONS_TOLERANCE + sensitivity;
        prop_assert!(error <= allowed, "tensor {number}: {error:e} > {allowed:e} in {config_of_run:?}");
    }
    Ok(())
}

#[test]
fn many_layers_side_by_side_have_the_bits_of_one_after_the_other_and_are_the_oracles() {
    let sizes = Sizes { steps: 37, batch: 2, inputs: 3, units: 5 };
    let other = |units: [usize; 12]| units.map(|units| Some(units).filter(|&units| units != 5));
    for (layers, units) in [
        (19, [5; 12]),
        // The first of these have widths of their own, so that groups of layers begin among them and among the others.
        (19, [5, 9, 2, 5, 5, 5, 5, 5, 5, 5, 5, 5]),
        (17, [4, 9, 2, 5, 18, 3, 1, 6, 17, 20, 7, 5]),
        (12, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
    ] {
        for directions in [Directions::Forward, Directions::Reverse] {
            let form = Form { layers, directions, units: other(units) };
            let case = StackCase::random(1, sizes, form).dropout(Dropout::new(0.25, 5).ok());
            let cotangents = case.cotangents(2);
            let bits = |run: Run| {
                let gradients = case.gradients(run, Recording::Checkpoints(None), &cotangents, None);
                (outcome_bits(&case.forward(run)), gradient_bits(&gradients))
            };
            let (expected, expected_gradients) = case.expected(&cotangents);
            assert_close(&case.forward(plain()), &expected, TOLERANCE, &form);
            let gradients = case.gradients(plain(), Recording::Full, &cotangents, None);
            let error = relative_error(&gradients.input, &expected_gradients.input);
            assert!(error <= GRADIENT_TOLERANCE, "{form:?}: {error:e}");
            let serial = bits(plain());
            for threads in [2, 3, 9] {
                let run = plain().threads(threads).arrangement(Arrangement::SideBySide);
                assert!(bits(run) == serial, "{form:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn a_busy_pool_does_not_stall_layers_side_by_side() {
    let case = StackCase::random(1, Sizes { steps: 50, ..SIZES }, (5, Directions::Forward));
    let run = plain().threads(5).arrangement(Arrangement::SideBySide);
    let expected = outcome_bits(&case.forward(plain()));
    for threads in 1..4 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let is_done = AtomicBool::new(false);
        pool.scope(|scope| {
            // As far as they come to run, these keep all threads but one from helping.
            for _ in 1..threads {
                scope.spawn(|_| {
                    while !is_done.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                });
            }
            let found = outcome_bits(&case.forward(run));
            is_done.store(true, Ordering::Release);
            assert!(found == expected, "{threads} threads");
        });
    }
}

#[test]
fn a_plan_says_what_was_demanded_and_one_thread_has_no_choice() {
    let threads = |number| Threads::Exactly(NonZeroUsize::new(number).unwrap());
    for directions in [Directions::Forward, Directions::Concatenated] {
        let case = StackCase::random(0, SIZES, (3, directions));
        for (demanded, number, expected) in [
            (Some(Arrangement::SideBySide), 2, Arrangement::SideBySide),
            (Some(Arrangement::InTurn), 2, Arrangement::InTurn),
            (Some(Arrangement::SideBySide), 1, Arrangement::InTurn),
            (None, 1, Arrangement::InTurn),
        ] {
            let config = case.config(plain()).threads(threads(number));
            let plan = case.stack(&demanded.into_iter().fold(config, StackConfig::arrangement)).plan(50, 1);
            assert_eq!(plan.arrangement, expected, "{directions:?}, {demanded:?}, {number} threads");
            assert!(plan.threads <= number);
        }
        let alone = StackCase::random(0, SIZES, (1, Directions::Reverse));
        let alone = alone.config(plain()).threads(threads(4)).arrangement(Arrangement::SideBySide);
        let alone = StackCase::random(0, SIZES, (1, Directions::Reverse)).stack(&alone);
        assert_eq!(alone.plan(50, 1).arrangement, Arrangement::InTurn);
    }
}

#[test]
fn stacks_that_need_the_end_of_a_sequence_have_no_steps() {
    let because = "a reverse direction, which begins with the last step: give whole sequences to `forward`";
    let refused = Refused::Unsupported { argument: "step", because };
    let forward = StackCase::random(0, SIZES, (2, Directions::Forward));
    let forward = forward.stack(&forward.config(plain()));
    let mut state = forward.state(2).unwrap();
    for directions in [Directions::Reverse, Directions::Concatenated, Directions::Summed] {
        let case = StackCase::random(0, SIZES, (2, directions));
        let stack = case.stack(&case.config(plain()));
        assert_eq!(stack.state(2).unwrap_err(), refused);
        assert_refused(stack.step(&mut state, Matrix::new(&case.x, 2, 4)), refused.clone());
    }
    let other = StackCase::random(0, SIZES, (3, Directions::Forward));
    let other = other.stack(&other.config(plain()));
    let x = [0.0; 10];
    let dimension =
        |argument, dimension, expected, found| Refused::Dimension { argument, dimension, expected, found };
    let found = other.step(&mut state, Matrix::new(&x, 2, 4));
    assert_refused(found, dimension("state", "layers", 3, 2));
    assert_refused(forward.step(&mut state, Matrix::new(&x, 2, 5)), dimension("input", "width", 4, 5));
    let wide = StackCase::random(0, Sizes { units: 40, ..SIZES }, (2, Directions::Forward));
    let wide = wide.stack(&wide.config(plain()));
    let found = wide.step(&mut state, Matrix::new(&x, 2, 4));
    assert!(matches!(found, Err(Error::Workspace { argument: "state", .. })), "{found:?}");
    assert!(state.layers().iter().all(|state| state.hidden(1).unwrap().iter().all(|&h| h == 0.0)));
}

#[test]
fn a_step_that_is_refused_leaves_the_states_of_all_layers() {
    let case = StackCase::random(7, SIZES, (3, Directions::Forward));
    let stack = case.stack(&case.config(plain()));
    let other = StackCase::random(7, Sizes { units: SIZES.units + 40, ..SIZES }, (3, Directions::Forward));
    let other = other.stack(&other.config(plain()));
    let (batch, x) = (2, Matrix::new(&case.x, 2, SIZES.inputs));
    let numbers = |state: &quadgate::StackState| -> Vec<f32> {
        let rows = |state: &quadgate::State| {
            let of_row = |row| [state.hidden(row).unwrap(), state.cell(row).unwrap()].concat();
            (0..state.batch()).flat_map(of_row).collect::<Vec<_>>()
        };
        state.layers().iter().flat_map(rows).collect()
    };
    for layer in 0..3 {
        let wrong = [0, 1, 3, 20].map(|batch| stack.state(batch).unwrap());
        for wrong in wrong.into_iter().chain([other.state(batch).unwrap()]) {
            let mut state = stack.state(batch).unwrap();
            stack.step(&mut state, x).unwrap();
            state.layers_mut()[layer] = wrong.layers()[layer].clone();
            let before = numbers(&state);
            stack.step(&mut state, x).unwrap_err();
            assert_eq!(bits(&numbers(&state)), bits(&before), "layer {layer} of {} rows", wrong.batch());
        }
    }
}

#[test]
fn a_workspace_made_for_one_thread_serves_several() {
    let case = StackCase::random(0, Sizes { units: 100, ..SIZES }, FORM);
    let serial = case.stack(&case.config(plain()));
    let threads = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    let threaded =
        case.stack(&case.config(plain()).threads(threads).split(Split::Units).schedule(Schedule::Fused));
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    threaded.forward(&mut serial.workspace(3, 2).unwrap(), StackForward::new(x)).unwrap();
    let [serial, threaded]: [&Lstm; 2] = [&serial, &threaded].map(|stack| &stack.directed_layers()[0]);
    threaded.forward(&mut serial.workspace(2).unwrap(), Forward::new(x)).unwrap();
}
