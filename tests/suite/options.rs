//! Layers with any options of the LSTM family, against the oracle in f64.

use crate::common::family::{FamilyCase, all_tensors, largest_difference, random_cell};
use crate::common::{Random, Recording, Run, fnv, fused_levels, runs};
use proptest::prelude::*;
use quadgate::reference::{NaiveCallGradients, NaiveMasks, NaiveResult};
use quadgate::{Lstm, LstmConfig, LstmWeights, Matrix, Schedule};
use std::num::NonZeroUsize;

/// Relative to the largest entry of a tensor.
const TOLERANCE: f64 = 1e-5;

/// What comes of a case.
type Answer = (NaiveResult, NaiveCallGradients);

fn recordings() -> impl Strategy<Value = Recording> {
    prop_oneof![
        Just(Recording::Full),
        (1usize..5).prop_map(|every| Recording::Checkpoints(NonZeroUsize::new(every)))
    ]
}

fn case(seed: u64, sizes: [usize; 2], inputs: usize, units: usize) -> FamilyCase {
    let random = &mut Random(seed);
    let cell = random_cell(random, inputs, units);
    let reverse = random.bits().is_multiple_of(2);
    FamilyCase::random(random, sizes, cell, reverse)
}

/// The same with what a recorded case has not: a limit of what enters h.
fn any_case(seed: u64, sizes: [usize; 2], inputs: usize, units: usize) -> FamilyCase {
    let random = &mut Random(seed ^ 0xc11b);
    let mut case = case(seed, sizes, inputs, units);
    case.layer.cells[0].clip.hidden =
        random.bits().is_multiple_of(3).then(|| f64::from(random.uniform(0.3).abs()) + 0.25);
    case
}

/// How far the answers move when every weight moves by 3e-6 of itself, up or down: what rounding may do to them, and
/// far more where a number is at a kink of a function or at a limit.
fn sensitivity(case: &FamilyCase, expected: &Answer) -> f64 {
    let moved = [1, 2, 3].map(|seed| largest_difference(&case.moved(seed, 3e-6).expected(), expected).0);
    moved.into_iter().fold(0.0, f64::max)
}

/// Whether f32 can hold all that came of a case: some functions have no bounds, and states may grow.
fn is_bounded((result, gradients): &Answer) -> bool {
    all_tensors(result, gradients).iter().all(|(_, of)| of.iter().all(|value| value.abs() < 1e6))
}

fn bits((result, gradients): &Answer) -> Vec<(String, Vec<u64>)> {
    let tensors = all_tensors(result, gradients).into_iter();
    tensors.map(|(name, of)| (name, of.iter().map(|value| value.to_bits()).collect())).collect()
}

/// Units are shared where the options allow it.
fn allowed(case: &FamilyCase, run: Run) -> Run {
    let parameters = &case.layer.cells[0].parameters;
    let needs_rows = parameters.projection.is_some()
        || parameters.normalization.is_some()
        || case.call.masks[0].recurrent.is_some();
    Run { split: if needs_rows { None } else { run.split }, ..run }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn any_options_agree_with_the_oracle_in_values_and_gradients(
        seed in any::<u64>(),
        sizes in [0usize..7, 0usize..9],
        inputs in 0usize..20,
        units in 1usize..36,
        run in runs(),
        recording in recordings(),
    ) {
        let case = any_case(seed, sizes, inputs, units).partial(&mut Random(seed ^ 0x1e55));
        let expected = case.expected();
        prop_assume!(is_bounded(&expected));
        let sensitivity = sensitivity(&case, &expected);
        prop_assume!(sensitivity < 1e-3);
        let run = allowed(&case, run);
        let (error, tensor) = largest_difference(&case.run(run, recording), &expected);
        prop_assert!(error <= TOLERANCE + sensitivity, "{tensor}: {error:e} with {:?}, {run:?}", case.config(run));
    }

    #[test]
    fn any_way_to_run_options_has_the_same_bits(
        seed in any::<u64>(),
        sizes in [1usize..7, 1usize..9],
        inputs in 0usize..20,
        units in 1usize..40,
        run in runs(),
        recording in recordings(),
    ) {
        let case = any_case(seed, sizes, inputs, units).partial(&mut Random(seed ^ 0x1e55));
        let fused = fused_levels();
        let isa = if fused.contains(&run.isa) { fused[0] } else { run.isa };
        let expected = case.run(Run::on(isa).schedule(Schedule::Fused), Recording::Full);
        prop_assume!(is_bounded(&expected));
        let found = case.run(allowed(&case, run), recording);
        prop_assert_eq!(bits(&found), bits(&expected));
    }

    #[test]
    fn nan_left_in_a_workspace_and_a_tape_changes_no_bit(
        seed in any::<u64>(),
        sizes in [1usize..7, 1usize..9],
        inputs in 0usize..20,
        units in 1usize..40,
        run in runs(),
        recording in recordings(),
    ) {
        let whole = any_case(seed, sizes, inputs, units);
        let clean = whole.clone().partial(&mut Random(seed ^ 0x1e55));
        let run = allowed(&clean, run);
        let expected = clean.run(run, recording);
        prop_assume!(is_bounded(&expected));
        let lstm = clean.training_layer(run);
        let (mut workspace, mut tape) = clean.memory(&lstm, recording);
        // Calls of all steps and of a part of them have buffers of their own.
        for dirty in [whole.of_nan(), clean.clone().of_nan()] {
            dirty.run_with(&lstm, &mut workspace, &mut tape, run);
        }
        let (untaped, taped, gradients) = clean.run_with(&lstm, &mut workspace, &mut tape, run);
        prop_assert_eq!(&untaped, &taped);
        prop_assert_eq!(bits(&(taped, gradients)), bits(&expected));
    }

    #[test]
    fn steps_of_any_options_have_the_bits_of_the_sequence(
        seed in any::<u64>(),
        sizes in [1usize..7, 1usize..9],
        inputs in 0usize..20,
        units in 1usize..40,
        run in runs(),
    ) {
        let mut case = any_case(seed, sizes, inputs, units);
        case.call.masks[0] = NaiveMasks::default();
        let run = allowed(&case, run);
        let expected = case.run(run, Recording::Full);
        prop_assume!(is_bounded(&expected));
        prop_assert_eq!(case.step_by_step(run), expected.0);
    }
}

#[test]
fn recorded_checksums_of_options_hold_on_every_level_with_fused_multiply_add() {
    const RECORDED: [u64; 6] = [
        0x5484_da48_89e3_3de6,
        0x21e3_a5a8_f222_5fd6,
        0x964a_c900_b10d_ede4,
        0x7b81_0d1a_480c_b6bd,
        0xe770_b626_1fa0_7e95,
        0x1328_56d8_24a6_e8c1,
    ];
    for isa in fused_levels() {
        let checksum = |seed: u64| {
            let case = case(seed, [5, 3], 7, 20 + seed as usize);
            let answer = case.run(Run::on(isa), Recording::Full);
            assert!(is_bounded(&answer));
            let tensors = bits(&answer);
            fnv(tensors.iter().flat_map(|(_, bits)| bits.iter().flat_map(|bits| bits.to_le_bytes())))
        };
        let found = [1, 2, 3, 4, 5, 6].map(checksum);
        assert_eq!(found, RECORDED, "{isa}: {found:#x?}");
    }
}

#[test]
fn a_step_of_no_rows_does_nothing_whatever_the_options() {
    let config = LstmConfig::new(3, 5).recurrent_dropout();
    let weights = LstmWeights::pytorch(&config, &[0.1; 60], &[0.1; 100], None, None).unwrap();
    let lstm = Lstm::new(&config, &weights).unwrap();
    let mut state = lstm.state(0).unwrap();
    lstm.step(&mut state, Matrix::new(&[], 0, 3)).unwrap();
    assert_eq!(state.hidden(0), None);
}
