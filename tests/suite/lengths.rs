//! Rows of different lengths and masked steps, forward and backward. What other frameworks answer is in
//! `family_goldens`.

use crate::common::lengths::{Kind, PartialCase, kinds};
use crate::common::stack::StackCase;
use crate::common::{
    self, Case, Cotangents, GAP, Layout, Random, Recording, Run, Sizes, assert_close, assert_gradients_close,
    bits, gradient_bits, levels, outcome_bits, relative_error, runs, small_sizes,
};
use proptest::prelude::*;
use quadgate::reference::{NaiveRun, NaiveState};
use quadgate::{
    Direction, Directions, Forward, Lengths, Lstm, LstmStack, LstmWeights, Padding, Schedule, Sequence,
    SequenceMut, Split, StackConfig, StackForward, StepMask,
};
use std::num::NonZeroUsize;

/// States here stay within ±4, so this is about five units in their last place.
const TOLERANCE: f64 = 2e-6;

/// Relative to the largest entry of each tensor, which may be the only one and a difference of larger terms.
const GRADIENT_TOLERANCE: f64 = 1e-5;

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Forward), Just(Direction::Reverse)]
}

fn recordings() -> impl Strategy<Value = Recording> {
    prop_oneof![
        Just(Recording::Full),
        proptest::option::of(1usize..9)
            .prop_map(|every| Recording::Checkpoints(every.and_then(NonZeroUsize::new))),
    ]
}

proptest! {
    #[test]
    fn outputs_and_gradients_agree_with_the_oracle(
        seed in any::<u64>(),
        sizes in small_sizes(0..10),
        kind in kinds(),
        direction in directions(),
        run in runs(),
        recording in recordings(),
    ) {
        let partial = PartialCase::random(seed, sizes, kind);
        let run = run.direction(direction);
        let context = (&partial.steps, sizes, run, recording);
        let (output, gradients) = partial.expected(direction);
        assert_close(&partial.forward(run), &output, TOLERANCE, &context);
        let (recorded, found) = partial.gradients(run, recording);
        assert_close(&recorded, &output, TOLERANCE, &context);
        assert_gradients_close(&found, &gradients, GRADIENT_TOLERANCE, &context);
    }

    #[test]
    fn threads_schedule_layout_and_tape_do_not_change_the_bits(
        seed in any::<u64>(),
        sizes in small_sizes(0..10),
        kind in kinds(),
        direction in directions(),
        threads in 1usize..5,
        recording in recordings(),
        layout in prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    ) {
        let partial = PartialCase::random(seed, sizes, kind);
        for isa in levels() {
            let plain = Run::on(isa).direction(direction);
            let forward = outcome_bits(&partial.forward(plain));
            let gradients = gradient_bits(&partial.gradients(plain, Recording::Full).1);
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for split in [Split::Rows, Split::Units] {
                    let run = plain.threads(threads).schedule(schedule).split(split).layout(layout);
                    prop_assert_eq!(&outcome_bits(&partial.forward(run)), &forward, "{:?}", run);
                    let (recorded, found) = partial.gradients(run, recording);
                    prop_assert_eq!(&outcome_bits(&recorded), &forward, "{:?} {:?}", run, recording);
                    prop_assert_eq!(&gradient_bits(&found), &gradients, "{:?} {:?}", run, recording);
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_bits_of_a_plain_call_of_the_steps_that_it_runs(
        seed in any::<u64>(),
        sizes in small_sizes(0..10),
        kind in kinds(),
        direction in directions(),
        run in runs(),
    ) {
        let mut partial = PartialCase::random(seed, sizes, kind);
        if partial.repeats() {
            // A repeated output has a cotangent of its own, which a plain call has no place for.
            for t in 0..sizes.steps {
                for b in (0..sizes.batch).filter(|&b| !partial.runs(t, b)).collect::<Vec<_>>() {
                    let row = (t * sizes.batch + b) * sizes.units;
                    partial.cotangents.output[row..row + sizes.units].fill(0.0);
                }
            }
        }
        let run = run.direction(direction);
        let (outcome, gradients) = partial.gradients(run, Recording::Full);
        for b in 0..sizes.batch {
            let (alone, times) = partial.alone(b);
            let (expected, expected_gradients) = alone.gradients(run, Recording::Full);
            let row = |values: &[f32], width: usize| bits(&values[b * width..][..width]);
            let at = |values: &[f32], width: usize| -> Vec<u32> {
                let rows = times.iter().map(|t| (t * sizes.batch + b) * width);
                rows.flat_map(|row| bits(&values[row..][..width])).collect()
            };
            let Sizes { inputs, units, .. } = sizes;
            prop_assert_eq!(at(&outcome.output, units), bits(&expected.output));
            prop_assert_eq!(row(&outcome.last_hidden, units), bits(&expected.last_hidden));
            prop_assert_eq!(row(&outcome.last_cell, units), bits(&expected.last_cell));
            prop_assert_eq!(at(&gradients.input, inputs), bits(&expected_gradients.input));
            prop_assert_eq!(row(&gradients.initial_hidden, units), bits(&expected_gradients.initial_hidden));
            prop_assert_eq!(row(&gradients.initial_cell, units), bits(&expected_gradients.initial_cell));
            if sizes.batch == 1 {
                prop_assert_eq!(bits(&gradients.parameters), bits(&expected_gradients.parameters));
            }
        }
    }

    #[test]
    fn lengths_of_all_steps_and_a_mask_of_all_steps_have_the_bits_of_a_plain_call(
        seed in any::<u64>(),
        sizes in small_sizes(0..10),
        direction in directions(),
        run in runs(),
    ) {
        let run = run.direction(direction);
        let with = |steps| PartialCase::new(Case::random(seed, sizes), steps, None, Cotangents::random(seed, sizes));
        let (outcome, gradients) = with(NaiveRun::All).gradients(run, Recording::Full);
        let lengths = NaiveRun::Lengths(vec![sizes.steps; sizes.batch]);
        for steps in [lengths, NaiveRun::Mask(vec![true; sizes.steps * sizes.batch])] {
            let (found, found_gradients) = with(steps).gradients(run, Recording::Full);
            prop_assert_eq!(outcome_bits(&found), outcome_bits(&outcome));
            prop_assert_eq!(gradient_bits(&found_gradients), gradient_bits(&gradients));
        }
    }

    #[test]
    fn nan_left_in_a_workspace_and_a_tape_changes_no_bit(
        seed in any::<u64>(),
        sizes in small_sizes(0..10),
        more in (0usize..3, 0usize..6),
        kind in proptest::option::of(kinds()),
        direction in directions(),
        run in runs(),
        recording in recordings(),
    ) {
        let run = run.direction(direction);
        let of = |sizes, kind: Option<Kind>| match kind {
            Some(kind) => PartialCase::random(seed, sizes, kind),
            None => PartialCase::new(Case::random(seed, sizes), NaiveRun::All, None, Cotangents::random(seed, sizes)),
        };
        let large = Sizes { steps: sizes.steps + more.0, batch: sizes.batch + more.1, ..sizes };
        // Calls of all steps and of a part of them have buffers of their own.
        let dirty = [of(large, None).of_nan(), of(large, kind).of_nan()];
        let clean = of(sizes, kind);
        let (outcome, gradients) = clean.gradients(run, recording);

        let lstm = clean.case.lstm(run);
        let mut workspace = lstm.workspace(large.batch).unwrap();
        for dirty in &dirty {
            dirty.forward_with(&lstm, &mut workspace, run, None);
        }
        let found = clean.forward_with(&lstm, &mut workspace, run, None);
        prop_assert_eq!(outcome_bits(&found), outcome_bits(&outcome));

        let lstm = clean.training_layer(run);
        let (mut workspace, mut tape) = dirty[0].memory(&lstm, recording);
        for dirty in &dirty {
            dirty.gradients_with(&lstm, &mut workspace, &mut tape, run);
        }
        let (found, found_gradients) = clean.gradients_with(&lstm, &mut workspace, &mut tape, run);
        prop_assert_eq!(outcome_bits(&found), outcome_bits(&outcome));
        prop_assert_eq!(gradient_bits(&found_gradients), gradient_bits(&gradients));
    }
}

proptest! {
    #[test]
    fn stacks_agree_with_the_oracle(
        seed in any::<u64>(),
        sizes in common::stack::sizes(),
        form in common::stack::forms(),
        kind in kinds(),
        run in runs(),
        recording in recordings(),
    ) {
        let steps = PartialCase::random(seed, sizes, kind).steps;
        let padding = common::lengths::padding_of(&mut Random(seed));
        let case = StackCase { steps, padding, ..StackCase::random(seed, sizes, form) };
        let cotangents = case.cotangents(seed);
        let (expected, expected_gradients) = case.expected(&cotangents);
        let context = (&case.steps, sizes, form, run, recording);
        let assert = |name: &str, found: &[f32], expected: &[f64]| {
            let error = relative_error(found, expected);
            assert!(error <= GRADIENT_TOLERANCE, "{name}: {error:e} in {context:?}");
        };
        let states = |states: &[NaiveState]| {
            let part = |of: fn(&NaiveState) -> &Vec<f64>| states.iter().flat_map(of).copied().collect();
            [part(|state| &state.hidden), part(|state| &state.cell)] as [Vec<f64>; 2]
        };
        let outcome = case.forward(run);
        let [last_hidden, last_cell] = states(&expected.last);
        assert("output", &outcome.output, &expected.output);
        assert("last h", &outcome.last_hidden, &last_hidden);
        assert("last c", &outcome.last_cell, &last_cell);

        let gradients = case.gradients(run, recording, &cotangents, None);
        let [initial_hidden, initial_cell] = states(&expected_gradients.initial);
        assert("dx", &gradients.input, &expected_gradients.input);
        assert("dh0", &gradients.initial_hidden, &initial_hidden);
        assert("dc0", &gradients.initial_cell, &initial_cell);
        let parameters: Vec<f64> = expected_gradients
            .parameters
            .iter()
            .flat_map(|of| [&of.weight_ih[..], &of.weight_hh, &of.bias].concat())
            .collect();
        assert("parameters", &gradients.parameters, &parameters);
    }
}

/// Steps of the segments of checkpointed tapes: of every kind where a pass takes little, and longer than a block.
fn segments(units: usize) -> impl Iterator<Item = Option<NonZeroUsize>> {
    let segments: &[usize] = if units < 70 { &[0, 7, 256, 300] } else { &[256] };
    segments.iter().copied().map(NonZeroUsize::new)
}

#[test]
fn blocks_longer_and_shorter_than_the_rows_agree_with_the_oracle() {
    // Blocks of the backward pass have 256 rows: 300 steps of one row, 9 of 100.
    for (steps, batch, units) in
        [(300, 1, 9), (520, 2, 9), (129, 3, 9), (9, 100, 9), (2, 300, 9), (300, 2, 70)]
    {
        let sizes = Sizes { steps, batch, inputs: 3, units };
        for (kind, direction) in [
            (Kind::Lengths, Direction::Forward),
            (Kind::Lengths, Direction::Reverse),
            (Kind::Mask(3), Direction::Forward),
            (Kind::Mask(3), Direction::Reverse),
        ] {
            let partial = PartialCase::random(1, sizes, kind);
            let (output, expected) = partial.expected(direction);
            for isa in levels() {
                let run = Run::on(isa).direction(direction).schedule(Schedule::Hoisted).threads(2);
                let (outcome, full) = partial.gradients(run, Recording::Full);
                assert_close(&outcome, &output, TOLERANCE, &(sizes, kind, run));
                assert_gradients_close(&full, &expected, GRADIENT_TOLERANCE, &(sizes, kind, run));
                for every in segments(units) {
                    let (_, found) = partial.gradients(run, Recording::Checkpoints(every));
                    assert_eq!(gradient_bits(&found), gradient_bits(&full), "{sizes:?} {kind:?} {every:?}");
                }
            }
        }
    }
}

#[test]
fn a_masked_step_repeats_as_in_a_layer_of_keras_or_is_zero_as_in_its_bidirectional() {
    // Weights of zero and a bias of one for g: h = σ(0)·tanh(σ(0)·tanh 1) after one step.
    let h = (0.5 * (0.5 * 1f32.tanh()).tanh() * 1e4).round() / 1e4;
    let config = StackConfig::new(1, 1, 1, Directions::Concatenated);
    let bias = [0.0, 0.0, 1.0, 0.0];
    let layer = config.directed_layer(0);
    let weights = LstmWeights::keras(&layer, &[0.0; 4], &[0.0; 4], Some(&bias)).unwrap();
    let stack = LstmStack::new(&config, &[weights, weights]).unwrap();
    let lstm = Lstm::new(&layer, &weights).unwrap();
    let x = Sequence::time_major(&[0.0, 0.0], 2, 1, 1);
    let mask = StepMask::time_major(&[true, false], 2, 1);
    let one = vec![1i64];
    let lengths: [Lengths<'_>; 3] = [(&[1usize]).into(), (&[1i32]).into(), (&one).into()];
    let rounded = |values: &[f32]| values.iter().map(|h| (h * 1e4).round() / 1e4).collect::<Vec<f32>>();
    for (padding, of_mask, of_lengths) in [
        (None, [h, 0.0], [0.0, 0.0]),
        (Some(Padding::Repeat), [h, 0.0], [h, 0.0]),
        (Some(Padding::Zero), [0.0, 0.0], [0.0, 0.0]),
        (Some(Padding::Value(7.0)), [7.0, 7.0], [7.0, 7.0]),
    ] {
        let of = |call: Forward<'_>, stacked: StackForward<'_>, [forward, reverse]: [f32; 2]| {
            let (mut one, mut both) = ([GAP; 2], [GAP; 4]);
            let call = padding.into_iter().fold(call, Forward::padding);
            let stacked = padding.into_iter().fold(stacked, StackForward::padding);
            let call = call.output(SequenceMut::time_major(&mut one, 2, 1, 1));
            let stacked = stacked.output(SequenceMut::time_major(&mut both, 2, 1, 2));
            lstm.forward(&mut lstm.workspace(1).unwrap(), call).unwrap();
            stack.forward(&mut stack.workspace(2, 1).unwrap(), stacked).unwrap();
            assert_eq!(rounded(&one), [h, forward], "{padding:?}");
            assert_eq!(rounded(&both), [h, h, forward, reverse], "{padding:?}");
        };
        of(Forward::new(x).mask(mask), StackForward::new(x).mask(mask), of_mask);
        for lengths in lengths {
            of(Forward::new(x).lengths(lengths), StackForward::new(x).lengths(lengths), of_lengths);
        }
    }
}
