//! A layer that reads from the last step to the first, forward and backward.

use crate::common::golden::{GoldenFile, transpose};
use crate::common::lengths::PartialCase;
use crate::common::{
    Case, Cotangents, Gradients, Layout, Recording, Run, Sizes, assert_close, assert_gradients_close, bits,
    gradient_bits, levels, max_error, outcome_bits, relative_error, runs, small_sizes, widen,
};
use proptest::prelude::*;
use quadgate::reference::{NaiveGradients, NaiveOutput, NaiveRun};
use quadgate::{
    Backward, Direction, Forward, GradientMode, Lstm, LstmConfig, LstmWeights, Matrix, MatrixMut, Schedule,
    Sequence, SequenceMut, Split,
};
use std::num::NonZeroUsize;

/// States here stay within ±4, so this is about five units in their last place.
const TOLERANCE: f64 = 2e-6;

/// Relative to the largest entry of each tensor, which may be the only one and a difference of larger terms.
const GRADIENT_TOLERANCE: f64 = 1e-5;

/// The steps of a time-major sequence, from the last to the first.
fn reversed<T: Copy>(values: &[T], steps: usize) -> Vec<T> {
    let step = values.len() / steps.max(1);
    (0..steps).rev().flat_map(|t| values[t * step..][..step].to_vec()).collect()
}

fn reversed_case(case: &Case) -> Case {
    Case { x: reversed(&case.x, case.sizes.steps), ..case.clone() }
}

/// The oracle's reverse layer in f64, and its gradients.
fn expected(case: Case, cotangents: Cotangents) -> (NaiveOutput<f64>, NaiveGradients<f64>) {
    PartialCase::new(case, NaiveRun::All, None, cotangents).expected(Direction::Reverse)
}

/// Gradients agree with those of a forward layer on the reversed sequence: bit for bit, but for the parameters, whose
/// sums over time go the other way.
fn assert_mirrored(found: &Gradients, mirrored: &Gradients, steps: usize, context: &dyn std::fmt::Debug) {
    assert_eq!(bits(&found.input), bits(&reversed(&mirrored.input, steps)), "{context:?}");
    assert_eq!(bits(&found.initial_hidden), bits(&mirrored.initial_hidden), "{context:?}");
    assert_eq!(bits(&found.initial_cell), bits(&mirrored.initial_cell), "{context:?}");
    let error = relative_error(&found.parameters, &widen(&mirrored.parameters));
    assert!(error <= GRADIENT_TOLERANCE, "{error:e} in {context:?}");
}

proptest! {
    #[test]
    fn a_reverse_layer_is_a_forward_layer_on_the_reversed_sequence_bit_for_bit(
        seed in any::<u64>(),
        sizes in small_sizes(0..8),
        run in runs(),
    ) {
        let case = Case::random(seed, sizes);
        let backwards = run.direction(Direction::Reverse);
        let mut mirrored = reversed_case(&case).forward(run);
        mirrored.output = reversed(&mirrored.output, sizes.steps);
        prop_assert_eq!(outcome_bits(&case.forward(backwards)), outcome_bits(&mirrored));
        // Single steps come in the order in which the caller gives them.
        let steps = reversed_case(&case).step_by_step(backwards);
        prop_assert_eq!(bits(&steps.last_cell), bits(&mirrored.last_cell));
        prop_assert_eq!(bits(&reversed(&steps.output, sizes.steps)), bits(&mirrored.output));
    }

    #[test]
    fn gradients_of_a_reverse_layer_are_those_of_a_forward_layer_on_the_reversed_sequence(
        seed in any::<u64>(),
        sizes in small_sizes(0..8),
        run in runs(),
    ) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let found = case.gradients(run.direction(Direction::Reverse), Recording::Full, &cotangents, None);
        let cotangents = Cotangents { output: reversed(&cotangents.output, sizes.steps), ..cotangents };
        let mirrored = reversed_case(&case).gradients(run, Recording::Full, &cotangents, None);
        assert_mirrored(&found, &mirrored, sizes.steps, &(sizes, run));
    }

    #[test]
    fn a_reverse_layer_and_its_gradients_agree_with_the_oracle(
        seed in any::<u64>(),
        sizes in small_sizes(0..8),
        run in runs(),
    ) {
        let run = run.direction(Direction::Reverse);
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let (output, gradients) = expected(case.clone(), cotangents.clone());
        assert_close(&case.forward(run), &output, TOLERANCE, &(sizes, run));
        let found = case.gradients(run, Recording::Full, &cotangents, None);
        assert_gradients_close(&found, &gradients, GRADIENT_TOLERANCE, &(sizes, run));
    }

    #[test]
    fn threads_schedule_layout_and_tape_do_not_change_the_bits_of_a_reverse_layer(
        seed in any::<u64>(),
        sizes in small_sizes(0..8),
        threads in 1usize..6,
        every in proptest::option::of(1usize..9),
        layout in prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    ) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let checkpoints = Recording::Checkpoints(every.and_then(NonZeroUsize::new));
        for isa in levels() {
            let plain = Run::on(isa).direction(Direction::Reverse);
            let forward = outcome_bits(&case.forward(plain));
            let gradients = gradient_bits(&case.gradients(plain, Recording::Full, &cotangents, None));
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for split in [Split::Rows, Split::Units] {
                    let run = plain.threads(threads).schedule(schedule).split(split).layout(layout);
                    prop_assert_eq!(&outcome_bits(&case.forward(run)), &forward, "{:?}", run);
                    for recording in [Recording::Full, checkpoints] {
                        let found = case.gradients(run, recording, &cotangents, None);
                        prop_assert_eq!(&gradient_bits(&found), &gradients, "{:?} {:?}", run, recording);
                    }
                }
            }
        }
    }
}

/// Steps of the segments of checkpointed tapes: of every kind where a pass takes little, and longer than a block.
fn segments(units: usize) -> impl Iterator<Item = Option<NonZeroUsize>> {
    let segments: &[usize] = if units < 70 { &[0, 7, 256, 300] } else { &[256] };
    segments.iter().copied().map(NonZeroUsize::new)
}

#[test]
fn blocks_longer_and_shorter_than_a_reversed_sequence_agree_with_the_oracle() {
    // Blocks of the backward pass have 256 rows; those of the hoisted schedule fewer than 300 steps of 70 units.
    for (steps, batch, units) in
        [(300, 1, 9), (520, 1, 9), (129, 3, 9), (9, 100, 9), (2, 300, 9), (300, 2, 70)]
    {
        let sizes = Sizes { steps, batch, inputs: 3, units };
        let (case, cotangents) = (Case::random(1, sizes), Cotangents::random(1, sizes));
        let (output, gradients) = expected(case.clone(), cotangents.clone());
        for isa in levels() {
            let run = Run::on(isa).direction(Direction::Reverse);
            let hoisted = run.schedule(Schedule::Hoisted);
            let fused = case.forward(run.schedule(Schedule::Fused));
            assert_close(&fused, &output, TOLERANCE, &(sizes, run));
            assert_eq!(outcome_bits(&case.forward(hoisted)), outcome_bits(&fused), "{sizes:?}");
            let full = case.gradients(hoisted, Recording::Full, &cotangents, None);
            assert_gradients_close(&full, &gradients, GRADIENT_TOLERANCE, &(sizes, run));
            for every in segments(units) {
                let checkpointed = case.gradients(hoisted, Recording::Checkpoints(every), &cotangents, None);
                assert_eq!(gradient_bits(&checkpointed), gradient_bits(&full), "{sizes:?} {every:?}");
            }
        }
    }
}

#[test]
fn onnx_reverse_is_a_reverse_layer() {
    let golden = GoldenFile::load("onnx_lstm_reverse");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [w, r, b, x] = ["W", "R", "Bias", "X"].map(|name| golden.narrow(name));
    let [h0, c0] = ["initial_h", "initial_c"].map(|name| golden.narrow(name));
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let config =
                LstmConfig::new(inputs, units).direction(Direction::Reverse).isa(isa).schedule(schedule);
            let weights = LstmWeights::onnx(&config, &w, &r, Some(&b), None).unwrap();
            let lstm = Lstm::new(&config, &weights).unwrap();
            let mut output = vec![0.0; steps * batch * units];
            let (mut last_hidden, mut last_cell) = (vec![0.0; batch * units], vec![0.0; batch * units]);
            let call = Forward::new(Sequence::time_major(&x, steps, batch, inputs))
                .initial_hidden(Matrix::new(&h0, batch, units))
                .initial_cell(Matrix::new(&c0, batch, units))
                .output(SequenceMut::time_major(&mut output, steps, batch, units))
                .last_hidden(MatrixMut::new(&mut last_hidden, batch, units))
                .last_cell(MatrixMut::new(&mut last_cell, batch, units));
            lstm.forward(&mut lstm.workspace(batch).unwrap(), call).unwrap();
            // With one direction, Y [T, 1, B, H] is [T, B, H].
            for (name, found) in [("Y", &output), ("Y_h", &last_hidden), ("Y_c", &last_cell)] {
                let error = max_error(found, &golden.tensor(name));
                assert!(error <= 5e-6, "{name}: {error:e} on {isa}, {schedule:?}");
            }
        }
    }
}

#[test]
fn keras_go_backwards_is_a_reverse_layer_whose_output_it_leaves_in_the_order_made() {
    let golden = GoldenFile::load("keras_lstm_backwards");
    let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
    let [kernel, recurrent, bias, x] =
        ["kernel", "recurrent_kernel", "bias", "x"].map(|name| golden.narrow(name));
    let in_time = |name: &str| {
        let in_order_made = transpose(&golden.tensor(name), [batch, steps, units]);
        reversed(&in_order_made, steps)
    };
    let cotangent: Vec<f32> = in_time("cot_out").into_iter().map(|value| value as f32).collect();
    for isa in levels() {
        let config = LstmConfig::new(inputs, units).direction(Direction::Reverse).isa(isa).training();
        let weights = LstmWeights::keras(&config, &kernel, &recurrent, Some(&bias)).unwrap();
        let lstm = Lstm::new(&config, &weights).unwrap();
        let (mut workspace, mut tape) = (lstm.workspace(batch).unwrap(), lstm.tape(steps, batch).unwrap());
        let mut output = vec![0.0; steps * batch * units];
        let (mut last_hidden, mut last_cell) = (vec![0.0; batch * units], vec![0.0; batch * units]);
        let x = Sequence::batch_major(&x, batch, steps, inputs);
        let call = Forward::new(x)
            .output(SequenceMut::time_major(&mut output, steps, batch, units))
            .last_hidden(MatrixMut::new(&mut last_hidden, batch, units))
            .last_cell(MatrixMut::new(&mut last_cell, batch, units))
            .tape(&mut tape);
        lstm.forward(&mut workspace, call).unwrap();
        let mut dx = vec![0.0; steps * batch * inputs];
        let ranges = config.parameters().unwrap();
        let mut parameters = vec![0.0; ranges.total()];
        let call = Backward::new(x)
            .output_cotangent(Sequence::time_major(&cotangent, steps, batch, units))
            .input_gradient(SequenceMut::batch_major(&mut dx, batch, steps, inputs))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        lstm.backward(&mut workspace, &mut tape, call).unwrap();
        let columns = |name: &str, rows| transpose(&golden.tensor(name), [rows, 4 * units, 1]);
        for (name, found, expected) in [
            ("out", &output[..], in_time("out")),
            ("hn", &last_hidden, golden.tensor("hn")),
            ("cn", &last_cell, golden.tensor("cn")),
            ("x", &dx, golden.tensor("grad.x")),
            ("kernel", &parameters[ranges.weight_ih], columns("grad.kernel", inputs)),
            ("recurrent_kernel", &parameters[ranges.weight_hh], columns("grad.recurrent_kernel", units)),
            ("bias", &parameters[ranges.bias], golden.tensor("grad.bias")),
        ] {
            let error = relative_error(found, &expected);
            assert!(error <= 5e-6, "{name}: {error:e} on {isa}");
        }
    }
}
