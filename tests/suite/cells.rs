//! Gated and plain recurrent layers, with options and without: forward and backward against the oracle in f64, and the
//! same bits however they are run.

use crate::common::cells::{
    CellCase, KINDS, Kind, Tensors, assert_finite_differences, largest_error, tensor_bits, widened,
};
use crate::common::{Random, Recording, Run, bits, fused_levels, levels, runs};
use proptest::prelude::*;
use quadgate::reference::{NaiveActivation, NaiveRun};
use quadgate::{
    ActivationFunction, Backward, Error, Forward, GradientMode, Gru, GruConfig, GruWeights, LstmGradients,
    Matrix, ResetGate, Rnn, RnnConfig, RnnWeights, Schedule, Sequence, Split,
};
use std::num::NonZeroUsize;

/// Relative to the largest entry of a tensor.
const TOLERANCE: f64 = 1e-5;

fn recordings() -> impl Strategy<Value = Recording> {
    prop_oneof![
        Just(Recording::Full),
        (1usize..5).prop_map(|every| Recording::Checkpoints(NonZeroUsize::new(every)))
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.to_vec())
}

/// A layer without options half of the time.
fn case(seed: u64, kind: Kind, sizes: [usize; 4]) -> CellCase {
    let (random, mut case) = (&mut Random(seed ^ 0x0b7), CellCase::random(seed, kind, sizes));
    if random.bits().is_multiple_of(2) {
        return case.with_options(random);
    }
    if kind == Kind::Rnn && random.bits().is_multiple_of(2) {
        case.candidate = NaiveActivation::Relu;
    }
    case
}

/// How far the answers move when every weight moves by 3e-6 of itself: what rounding may do to them, and far more where
/// a number is at a kink of a function or at a limit.
fn sensitivity(case: &CellCase, expected: &Tensors<f64>) -> f64 {
    let moved = [1, 2, 3].map(|seed| largest_error(&case.moved(seed, 3e-6).expected(), expected).0);
    moved.into_iter().fold(0.0, f64::max)
}

/// Whether f32 can hold all that came of a case: some functions have no bounds, and states may grow.
fn is_bounded<F: Copy + Into<f64>>(tensors: &Tensors<F>) -> bool {
    tensors.iter().all(|(_, of)| of.iter().all(|&value| value.into().abs() < 1e6))
}

proptest! {
    #[test]
    fn every_level_agrees_with_the_oracle_in_values_and_gradients(
        seed in any::<u64>(),
        kind in kinds(),
        sizes in [0usize..7, 0usize..9, 0usize..20, 1usize..70],
        run in runs(),
        recording in recordings(),
    ) {
        let case = case(seed, kind, sizes).partial(&mut Random(seed ^ 0x1e55));
        let expected = case.expected();
        prop_assume!(is_bounded(&expected));
        let sensitivity = sensitivity(&case, &expected);
        prop_assume!(sensitivity < 1e-3);
        let (error, tensor) = largest_error(&widened(&case.found(run, recording)), &expected);
        prop_assert!(error <= TOLERANCE + sensitivity, "{tensor}: {error:e} with {case:?}");
    }

    #[test]
    fn threads_schedule_split_tape_and_level_do_not_change_the_bits(
        seed in any::<u64>(),
        kind in kinds(),
        sizes in [1usize..7, 1usize..9, 0usize..20, 1usize..150],
        run in runs(),
        recording in recordings(),
    ) {
        let case = case(seed, kind, sizes).partial(&mut Random(seed ^ 0x1e55));
        let fused = fused_levels();
        let isa = if fused.contains(&run.isa) { fused[0] } else { run.isa };
        let expected = case.found(Run::on(isa).schedule(Schedule::Fused), Recording::Full);
        prop_assume!(is_bounded(&expected));
        prop_assert_eq!(tensor_bits(&case.found(run, recording)), tensor_bits(&expected));
    }

    #[test]
    fn nan_left_in_a_workspace_and_a_tape_changes_no_bit(
        seed in any::<u64>(),
        kind in kinds(),
        sizes in [1usize..7, 1usize..9, 0usize..20, 1usize..70],
        run in runs(),
        recording in recordings(),
    ) {
        let whole = case(seed, kind, sizes);
        let clean = whole.clone().partial(&mut Random(seed ^ 0x1e55));
        let expected = clean.found(run, recording);
        prop_assume!(is_bounded(&expected));
        let layer = clean.layer(run);
        let (mut workspace, mut tape) = clean.memory(&layer, recording);
        // Calls of all steps and of a part of them have buffers of their own.
        for dirty in [whole.of_nan(), clean.clone().of_nan()] {
            dirty.found_with(&layer, &mut workspace, &mut tape, run);
        }
        let found = clean.found_with(&layer, &mut workspace, &mut tape, run);
        prop_assert_eq!(tensor_bits(&found), tensor_bits(&expected));
    }

    #[test]
    fn rows_of_any_length_have_the_bits_of_calls_for_them_alone(
        seed in any::<u64>(),
        kind in kinds(),
        sizes in [1usize..7, 1usize..6, 0usize..5, 1usize..70],
        run in runs(),
    ) {
        let [steps, batch, inputs, units] = sizes;
        let random = &mut Random(seed);
        let lengths: Vec<usize> = (0..batch).map(|_| random.bits() as usize % (steps + 1)).collect();
        let case = CellCase { run: NaiveRun::Lengths(lengths.clone()), ..case(seed, kind, sizes) };
        let found = case.found(run, Recording::Full);
        prop_assume!(is_bounded(&found));
        for (row, &steps) in lengths.iter().enumerate() {
            let alone = tensor_bits(&case.alone(row, steps).found(run, Recording::Full));
            for (which, width) in [(0, units), (2, inputs)] {
                let of_row = |t: usize| &found[which].1[(t * batch + row) * width..][..width];
                let values: Vec<u32> = (0..steps).flat_map(|t| bits(of_row(t))).collect();
                prop_assert_eq!(&values, &alone[which].1);
            }
            for which in [1, 7] {
                prop_assert_eq!(&bits(&found[which].1[row * units..][..units]), &alone[which].1);
            }
        }
    }

    #[test]
    fn single_steps_have_the_bits_of_the_sequence(
        seed in any::<u64>(),
        kind in kinds(),
        sizes in [1usize..7, 1usize..9, 0usize..20, 1usize..70],
        run in runs(),
    ) {
        let case = CellCase { recurrent_mask: None, share: None, ..case(seed, kind, sizes) };
        let found = case.found(run, Recording::Full);
        prop_assume!(is_bounded(&found));
        let [output, last] = case.stepped(run);
        prop_assert_eq!(tensor_bits(&vec![("output", output), ("last", last)]), tensor_bits(&found[..2].to_vec()));
    }
}

/// As of an LSTM.
#[test]
fn memory_grows_a_full_tape_need_not_be_written_and_gradients_go_to_each_tensor() {
    for kind in KINDS {
        let [steps, batch, inputs, units] = [5, 3, 4, 18];
        let case = CellCase::random(3, kind, [steps, batch, inputs, units]);
        let run = Run::on(*levels().last().unwrap());
        let expected = case.found(run, Recording::Full);
        crate::of_layer!(&case.layer(run), layer => {
            let config = layer.config();
            assert_eq!((config.output_size(), config.reading_direction()), (units, case.direction));
            assert!(config.is_for_training());
            let (mut workspace, mut tape) = (layer.workspace(1).unwrap(), layer.tape(1, 1).unwrap());
            layer.reserve_workspace(&mut workspace, batch).unwrap();
            layer.reserve_tape(&mut tape, steps, batch).unwrap();
            assert_eq!(workspace.bytes(), layer.workspace_bytes(batch).unwrap());
            assert_eq!(tape.bytes(), layer.tape_bytes(steps, batch).unwrap());
            let every = NonZeroUsize::new(2);
            let mut checkpoints = layer.checkpointed_tape(steps, batch, every).unwrap();
            assert_eq!(checkpoints.bytes(), layer.checkpointed_tape_bytes(steps, batch, every).unwrap());

            let input = Sequence::time_major(&case.x, steps, batch, inputs);
            for tape in [&mut tape, &mut checkpoints] {
                let call = Forward::new(input).initial_hidden(Matrix::new(&case.initial, batch, units));
                layer.forward(&mut workspace, call.tape(tape)).unwrap();
            }
            let ranges = config.parameters().unwrap();
            let mut tensors = [&ranges.weight_ih, &ranges.weight_hh, &ranges.bias]
                .map(|range| vec![f32::NAN; range.len()]);
            let [weight_ih, weight_hh, bias] = tensors.each_mut().map(|tensor| &mut tensor[..]);
            let gradients = LstmGradients { weight_ih, weight_hh, bias, ..LstmGradients::default() };
            let call = Backward::new(input)
                .output_cotangent(Sequence::time_major(&case.cotangents[0], steps, batch, units))
                .last_hidden_cotangent(Matrix::new(&case.cotangents[1], batch, units))
                .tensor_gradients(gradients, GradientMode::Overwrite);
            layer.backward_of(&mut workspace, &tape, call).unwrap();
            for (tensor, (name, expected)) in tensors.iter().zip(&expected[3..6]) {
                assert_eq!(bits(tensor), bits(expected), "{name}");
            }
            let refused = layer.backward_of(&mut workspace, &checkpoints, Backward::new(input)).unwrap_err();
            assert!(matches!(refused, Error::Unsupported { argument: "tape", .. }), "{refused}");
        });
    }
}

/// Smooth functions, no limit, and all else.
#[test]
fn the_oracles_gradients_are_its_finite_differences() {
    for kind in KINDS {
        let random = &mut Random(11);
        let sizes = [4, 2, 3, 5];
        let plain = CellCase::random(3, kind, sizes);
        assert_finite_differences(&plain);
        let options = CellCase {
            gate: NaiveActivation::ScaledTanh { alpha: 0.75, beta: 0.5 },
            candidate: NaiveActivation::Softplus,
            normalization: Some((random.vec(kind.sums() * sizes[3], 1.0), 0.01)),
            recurrent_mask: Some(random.vec(sizes[1] * sizes[3], 2.0)),
            share: Some(random.vec(sizes[0] * sizes[1] * sizes[3], 1.0)),
            clip: Some(1.5),
            ..plain
        };
        assert_finite_differences(&options);
    }
}

#[test]
fn a_rate_of_zoneout_is_the_share_that_it_leaves() {
    for kind in KINDS {
        let [steps, batch, units] = [4, 3, 18];
        let case = CellCase::random(2, kind, [steps, batch, 2, units]);
        let shared = CellCase { share: Some(vec![0.75; steps * batch * units]), ..case.clone() };
        let rated = CellCase { zoneout: Some(0.25), ..case };
        let run = Run::on(*levels().last().unwrap());
        let found = rated.found(run, Recording::Full);
        assert_eq!(tensor_bits(&found), tensor_bits(&shared.found(run, Recording::Full)));
        assert_eq!(rated.stepped(run), [found[0].1.clone(), found[1].1.clone()]);
    }
}

/// What is refused of a configuration of one input and two units, and of calls of it.
macro_rules! assert_refusals {
    ($config:expr, $weights:ident, $layer:ident, $gates:expr, $with_scales:expr) => {{
        let config = $config;
        let weights =
            $weights::pytorch(&config, &[0.5; 2 * $gates], &[0.5; 4 * $gates], None, None).unwrap();
        let scaled = $with_scales(weights);
        let refused = |config, weights: &$weights<'_>| $layer::new(&config, weights).unwrap_err();
        for (config, argument) in [
            (config.clone().clip(0.0), "gate clip"),
            (config.clone().zoneout(1.5), "zoneout of h"),
            (config.clone().layer_normalization(0.0), "epsilon"),
        ] {
            let refused = refused(config, &weights);
            assert!(matches!(refused, Error::Value { argument: of, .. } if of == argument), "{refused}");
        }
        let normalized = config.clone().layer_normalization(1e-5);
        let missing = refused(normalized.clone(), &weights);
        assert!(matches!(missing, Error::Missing { argument: "layer normalization", .. }), "{missing}");
        let unexpected = refused(config.clone(), &scaled);
        assert!(matches!(unexpected, Error::Unexpected { argument: "layer normalization", .. }), "{unexpected}");
        for (config, weights) in
            [(normalized.clone(), &scaled), (config.clone().recurrent_dropout(), &weights)]
        {
            let refused = refused(config.split(Split::Units), weights);
            assert!(matches!(refused, Error::Unsupported { argument: "split over units", .. }), "{refused}");
        }

        let layer = $layer::new(&config, &weights).unwrap();
        let mut workspace = layer.workspace(1).unwrap();
        let x = || Forward::new(Sequence::time_major(&[1.0], 1, 1, 1));
        let share = || Sequence::time_major(&[1.0, 1.0], 1, 1, 2);
        for (call, argument) in [
            (x().hidden_share(share()), "hidden_share"),
            (x().recurrent_mask(Matrix::new(&[1.0, 1.0], 1, 2)), "recurrent_mask"),
        ] {
            let refused = layer.forward(&mut workspace, call).unwrap_err();
            assert!(matches!(refused, Error::Unexpected { argument: of, .. } if of == argument), "{refused}");
        }
        let layer = $layer::new(&config.clone().zoneout(0.5), &weights).unwrap();
        let refused = layer.forward(&mut workspace, x()).unwrap_err();
        assert!(matches!(refused, Error::Unsupported { argument: "workspace", .. }), "{refused}");
        let mut workspace = layer.workspace(1).unwrap();
        let refused = layer.forward(&mut workspace, x().cell_share(share())).unwrap_err();
        assert!(matches!(refused, Error::Unexpected { argument: "cell_share", .. }), "{refused}");

        // Scales go where the gradients are, and come back.
        let layer = $layer::new(&normalized, &scaled).unwrap();
        let ranges = normalized.parameters().unwrap();
        let mut parameters = vec![0.0; ranges.total()];
        layer.read_parameters(&mut parameters).unwrap();
        let scales = &parameters[ranges.layer_normalization];
        assert!(scales.chunks(2).enumerate().all(|(gate, of)| of == [gate as f32 + 1.0; 2]), "{scales:?}");
    }};
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    assert_refusals!(RnnConfig::new(1, 2), RnnWeights, Rnn, 1, |weights: RnnWeights<'static>| {
        let refused = weights.with_layer_normalization(&[1.0; 3]).unwrap_err();
        assert!(matches!(refused, Error::Length { argument: "layer_normalization", .. }), "{refused}");
        weights.with_layer_normalization(&[1.0; 2]).unwrap()
    });
    for reset_gate in [ResetGate::AfterProduct, ResetGate::BeforeProduct] {
        let config = GruConfig::new(1, 2).reset_gate(reset_gate);
        let is_apart = reset_gate == ResetGate::AfterProduct;
        assert_refusals!(config, GruWeights, Gru, 3, |weights: GruWeights<'static>| {
            let scales: [&[f32]; 3] = [&[1.0; 2], &[2.0; 2], &[3.0; 2]];
            let [own, other] = [is_apart, !is_apart].map(|there| there.then_some(&[4.0f32; 2][..]));
            let refused = weights.with_layer_normalization(scales, other).unwrap_err();
            match is_apart {
                true => assert!(matches!(refused, Error::Missing { .. }), "{refused}"),
                false => assert!(matches!(refused, Error::Unexpected { .. }), "{refused}"),
            }
            weights.with_layer_normalization(scales, own).unwrap()
        });
    }
    let function = ActivationFunction::Elu { alpha: f32::NAN };
    let config = RnnConfig::new(1, 1).activation(function);
    let weights = RnnWeights::pytorch(&config, &[0.5], &[0.5], None, None).unwrap();
    let refused = Rnn::new(&config, &weights).unwrap_err();
    assert!(matches!(refused, Error::Value { argument: "activation", .. }), "{refused}");
}
