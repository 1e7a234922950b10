//! What adapters of other libraries need: clones, keys of maps, strided weights, gradients by tensor, memory that
//! grows, tapes that are read, packed sequences, and an error where weights would be mixed.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{Random, bits};
use quadgate::{
    ActivationFunction, Activations, Backward, BatchSizes, Clip, Coupling, Direction, Directions, Error,
    Forward, GradientMode, GruConfig, Lstm, LstmConfig, LstmGradients, LstmStack, LstmWeights, Matrix,
    Nonlinearity, Orientation, RnnConfig, Schedule, Sequence, SequenceMut, StackBackward, StackConfig,
    StackForward, Threads, WeightLayout, Zoneout,
};
use std::collections::HashSet;
use std::num::NonZeroUsize;

const STEPS: usize = 5;
const BATCH: usize = 3;
const INPUTS: usize = 4;
const UNITS: usize = 7;

fn config() -> LstmConfig {
    LstmConfig::new(INPUTS, UNITS).training()
}

fn parameters(config: &LstmConfig, seed: u64) -> Vec<f32> {
    Random(seed).vec(config.parameters().unwrap().total(), 0.5)
}

fn layer(config: &LstmConfig, seed: u64) -> Lstm {
    Lstm::new(config, &LstmWeights::from_parameters(config, &parameters(config, seed)).unwrap()).unwrap()
}

fn x() -> Vec<f32> {
    Random(9).vec(STEPS * BATCH * INPUTS, 1.0)
}

fn answer(lstm: &Lstm) -> Vec<u32> {
    let (x, width) = (x(), lstm.config().output_size());
    let mut h = vec![f32::NAN; STEPS * BATCH * width];
    let call = Forward::new(Sequence::time_major(&x, STEPS, BATCH, INPUTS))
        .output(SequenceMut::time_major(&mut h, STEPS, BATCH, width));
    lstm.forward(&mut lstm.workspace(BATCH).unwrap(), call).unwrap();
    bits(&h)
}

#[test]
fn clones_share_their_weights_until_one_gets_others() {
    let config = config();
    let original = layer(&config, 1);
    let mut clone = original.clone();
    let (first, second) = (answer(&original), answer(&layer(&config, 2)));
    assert_eq!(answer(&clone), first);
    let other = parameters(&config, 2);
    clone.set_weights(&LstmWeights::from_parameters(&config, &other).unwrap()).unwrap();
    assert_eq!((answer(&original), answer(&clone)), (first, second));

    let config = StackConfig::of(config, 2, Directions::Forward);
    let layers = [config.directed_layer(0), config.directed_layer(1)];
    let all = layers.each_ref().map(|config| parameters(config, 3));
    let weights: Vec<_> = layers
        .iter()
        .zip(&all)
        .map(|(config, all)| LstmWeights::from_parameters(config, all).unwrap())
        .collect();
    let stack = LstmStack::new(&config, &weights).unwrap();
    let clone = stack.clone();
    assert_eq!(answer(&clone.directed_layers()[0]), answer(&stack.directed_layers()[0]));
}

#[test]
fn equal_configurations_and_no_others_are_one_key() {
    let plain = || LstmConfig::new(3, 5);
    let gate = |alpha| Activations {
        gate: ActivationFunction::HardSigmoid { alpha, beta: 0.5 },
        ..Activations::default()
    };
    let all = || {
        [
            plain(),
            LstmConfig::new(5, 3),
            plain().training(),
            plain().projection(2),
            plain().peepholes(),
            plain().coupling(Coupling::ForgetFromInput),
            plain().clip(Clip { gate: Some(1.0), ..Clip::default() }),
            plain().clip(Clip { cell: Some(1.0), ..Clip::default() }),
            plain().clip(Clip { gate: Some(2.0), ..Clip::default() }),
            plain().activations(gate(0.2)),
            plain().activations(gate(0.25)),
            plain().layer_normalization(1e-5),
            plain().zoneout(Zoneout { hidden: 0.1, cell: 0.2 }),
            plain().zoneout(Zoneout { hidden: 0.2, cell: 0.1 }),
            plain().recurrent_dropout(),
            plain().threads(Threads::Serial),
            plain().schedule(Schedule::Fused),
            plain().layer_normalization(f32::NAN),
        ]
    };
    let mut keys: HashSet<LstmConfig> = all().into_iter().collect();
    assert_eq!(keys.len(), all().len());
    assert!(all().into_iter().all(|config| !keys.insert(config)));
    let stacks = |layer: LstmConfig| StackConfig::of(layer, 2, Directions::Summed);
    let stacks: HashSet<StackConfig> = all().into_iter().chain(all()).map(stacks).collect();
    assert_eq!(stacks.len(), all().len());
    let rnn =
        [Nonlinearity::Tanh, Nonlinearity::Relu].map(|function| RnnConfig::new(3, 5).nonlinearity(function));
    assert_eq!(HashSet::from(rnn).len(), 2);
    assert_eq!(HashSet::from([GruConfig::new(3, 5), GruConfig::new(3, 5)]).len(), 1);
}

#[test]
fn weights_that_were_set_between_both_passes_are_refused() {
    let config = config();
    let data = x();
    let input = Sequence::time_major(&data, STEPS, BATCH, INPUTS);
    let mut lstm = layer(&config, 1);
    let (mut workspace, mut tape) = (lstm.workspace(BATCH).unwrap(), lstm.tape(STEPS, BATCH).unwrap());
    let refused = || Refused::WeightsReplaced { argument: "tape" };
    lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
    let mut clone = lstm.clone();
    let other = parameters(&config, 2);
    let other = LstmWeights::from_parameters(&config, &other).unwrap();
    lstm.set_weights(&other).unwrap();
    let mut gradients = vec![7.0; config.parameters().unwrap().total()];
    let call = Backward::new(input).parameter_gradients(&mut gradients, GradientMode::Overwrite);
    assert_refused(lstm.backward(&mut workspace, &mut tape, call), refused());
    assert!(gradients.iter().all(|&gradient| gradient == 7.0));
    // A clone still has the weights, until it gets others.
    clone.backward(&mut workspace, &mut tape, Backward::new(input)).unwrap();
    clone.set_weights(&other).unwrap();
    assert_refused(clone.backward(&mut workspace, &mut tape, Backward::new(input)), refused());
    lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
    assert_refused(clone.backward(&mut workspace, &mut tape, Backward::new(input)), refused());
    lstm.backward(&mut workspace, &mut tape, Backward::new(input)).unwrap();

    let config = StackConfig::of(config, 1, Directions::Concatenated);
    let of = |seed| parameters(&config.directed_layer(0), seed);
    let (first, second) = (of(1), of(2));
    let weights = |all| LstmWeights::from_parameters(&config.directed_layer(0), all).unwrap();
    let mut stack = LstmStack::new(&config, &[weights(&first), weights(&second)]).unwrap();
    let mut workspace = stack.workspace(STEPS, BATCH).unwrap();
    let mut tape = stack.tape(STEPS, BATCH).unwrap();
    stack.forward(&mut workspace, StackForward::new(input).tape(&mut tape)).unwrap();
    stack.set_weights(&[weights(&second), weights(&first)]).unwrap();
    assert_refused(stack.backward(&mut workspace, &mut tape, StackBackward::new(input)), refused());
}

#[test]
fn a_tape_that_another_layer_of_the_same_shape_recorded_is_refused() {
    let data = x();
    let input = Sequence::time_major(&data, STEPS, BATCH, INPUTS);
    let recorder = layer(&config(), 1);
    let mut workspace = recorder.workspace(BATCH).unwrap();
    // Other weights; the same, read in the other direction; the same, made again.
    for other in [layer(&config(), 2), layer(&config().direction(Direction::Reverse), 1), layer(&config(), 1)]
    {
        for every in [None, NonZeroUsize::new(1)] {
            let mut tape = recorder.tape(STEPS, BATCH).unwrap();
            if every.is_some() {
                tape = recorder.checkpointed_tape(STEPS, BATCH, every).unwrap();
            }
            recorder.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
            let mut gradients = vec![7.0; config().parameters().unwrap().total()];
            let call = Backward::new(input).parameter_gradients(&mut gradients, GradientMode::Overwrite);
            let refused = Refused::OtherWeights { argument: "tape" };
            assert_refused(other.backward(&mut workspace, &mut tape, call), refused);
            assert!(gradients.iter().all(|&gradient| gradient == 7.0));
            recorder.clone().backward(&mut workspace, &mut tape, Backward::new(input)).unwrap();
        }
    }
}

#[test]
fn matrices_with_gaps_or_turned_make_the_layer_that_dense_ones_make() {
    for config in [config(), config().projection(3)] {
        let ranges = config.parameters().unwrap();
        let all = parameters(&config, 4);
        let outputs = config.output_size();
        let bias = &all[ranges.bias.clone()];
        let with_projection = |weights: LstmWeights<'_>| -> Vec<u32> {
            let weights = match outputs == UNITS {
                true => weights,
                false => weights
                    .with_projection(Orientation::GatesByInputs, &all[ranges.projection.clone()], None)
                    .unwrap(),
            };
            answer(&Lstm::new(&config, &weights).unwrap())
        };
        let (w, r) = (&all[ranges.weight_ih.clone()], &all[ranges.weight_hh.clone()]);
        let expected = with_projection(LstmWeights::pytorch(&config, w, r, Some(bias), None).unwrap());
        for gap in [0, 2] {
            // W and R side by side, and both turned, one above the other, with gaps.
            let stride = INPUTS + outputs + gap;
            let mut fused = vec![f32::NAN; 4 * UNITS * stride];
            let turned_stride = 4 * UNITS + gap;
            let mut turned = vec![f32::NAN; (INPUTS + outputs) * turned_stride];
            for row in 0..4 * UNITS {
                for column in 0..INPUTS + outputs {
                    let value = match column.checked_sub(INPUTS) {
                        None => w[row * INPUTS + column],
                        Some(column) => r[row * outputs + column],
                    };
                    fused[row * stride + column] = value;
                    turned[column * turned_stride + row] = value;
                }
            }
            let w = Matrix::new(&fused, 4 * UNITS, INPUTS).stride(stride);
            let r = Matrix::new(&fused[INPUTS..], 4 * UNITS, outputs).stride(stride);
            let layout = WeightLayout::PYTORCH;
            let found = LstmWeights::from_matrices(&config, layout, w, r, [Some(bias), None]).unwrap();
            assert_eq!(with_projection(found), expected);
            let w = Matrix::new(&turned, INPUTS, 4 * UNITS).stride(turned_stride);
            let r = Matrix::new(&turned[INPUTS * turned_stride..], outputs, 4 * UNITS).stride(turned_stride);
            let found =
                LstmWeights::from_matrices(&config, WeightLayout::KERAS, w, r, [Some(bias), None]).unwrap();
            assert_eq!(with_projection(found), expected);
            let wrong = LstmWeights::from_matrices(&config, layout, w, r, [None, None]).unwrap_err();
            assert!(matches!(wrong, Error::Dimension { argument: "input weights", dimension: "rows", .. }));
        }
    }
}

#[test]
fn gradients_by_tensor_are_those_in_one_buffer_and_a_full_tape_need_not_be_written() {
    let data = x();
    let input = Sequence::time_major(&data, STEPS, BATCH, INPUTS);
    for config in [config(), config().projection(3).projection_bias().peepholes().layer_normalization(0.1)] {
        let lstm = layer(&config, 5);
        let width = config.output_size();
        let cotangent = Random(6).vec(STEPS * BATCH * width, 1.0);
        let cotangent = Sequence::time_major(&cotangent, STEPS, BATCH, width);
        let (mut workspace, mut tape) = (lstm.workspace(BATCH).unwrap(), lstm.tape(STEPS, BATCH).unwrap());
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
        let ranges = config.parameters().unwrap();
        let mut expected = vec![0.0; ranges.total()];
        let call = Backward::new(input)
            .output_cotangent(cotangent)
            .parameter_gradients(&mut expected, GradientMode::Overwrite);
        lstm.backward_of(&mut workspace, &tape, call).unwrap();
        let mut tensors = [
            &ranges.weight_ih,
            &ranges.weight_hh,
            &ranges.bias,
            &ranges.peepholes,
            &ranges.layer_normalization,
            &ranges.projection,
            &ranges.projection_bias,
        ]
        .map(|range| vec![f32::NAN; range.len()]);
        let [weight_ih, weight_hh, bias, peepholes, layer_normalization, projection, projection_bias] =
            tensors.each_mut().map(|tensor| &mut tensor[..]);
        let gradients = LstmGradients {
            weight_ih,
            weight_hh,
            bias,
            peepholes,
            layer_normalization,
            projection,
            projection_bias,
        };
        let call = Backward::new(input)
            .output_cotangent(cotangent)
            .tensor_gradients(gradients, GradientMode::Overwrite);
        lstm.backward(&mut workspace, &mut tape, call).unwrap();
        assert_eq!(bits(&tensors.concat()), bits(&expected));

        let (mut short, mut both) = ([7.0; 3], vec![7.0; ranges.total()]);
        let wrong = || LstmGradients { weight_ih: &mut [], ..LstmGradients::default() };
        let gradients = LstmGradients { weight_ih: &mut short, ..LstmGradients::default() };
        let call = Backward::new(input).tensor_gradients(gradients, GradientMode::Overwrite);
        assert!(matches!(
            lstm.backward(&mut workspace, &mut tape, call),
            Err(Error::Length { argument: "gradient of weight_ih", found: 3, .. })
        ));
        let call = Backward::new(input)
            .parameter_gradients(&mut both, GradientMode::Overwrite)
            .tensor_gradients(wrong(), GradientMode::Overwrite);
        let other = Refused::Exclusive { argument: "tensor_gradients", other: "parameter_gradients" };
        assert_refused(lstm.backward(&mut workspace, &mut tape, call), other);

        let mut checkpoints = lstm.checkpointed_tape(STEPS, BATCH, NonZeroUsize::new(2)).unwrap();
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut checkpoints)).unwrap();
        let found = lstm.backward_of(&mut workspace, &checkpoints, Backward::new(input));
        assert!(matches!(found, Err(Error::Unsupported { argument: "tape", .. })));
        assert_eq!((short, both.iter().all(|&value| value == 7.0)), ([7.0; 3], true));
    }
}

#[test]
fn memory_grows_where_a_call_needs_more_and_else_stays() {
    let config = config();
    let lstm = layer(&config, 1);
    let (mut workspace, mut tape) = (lstm.workspace(1).unwrap(), lstm.tape(1, 1).unwrap());
    let mut checkpoints = lstm.checkpointed_tape(4, 1, NonZeroUsize::new(2)).unwrap();
    let data = x();
    let input = Sequence::time_major(&data, STEPS, BATCH, INPUTS);
    lstm.reserve_workspace(&mut workspace, BATCH).unwrap();
    for tape in [&mut tape, &mut checkpoints] {
        lstm.reserve_tape(tape, STEPS, BATCH).unwrap();
        lstm.forward(&mut workspace, Forward::new(input).tape(tape)).unwrap();
        // It is still there with what it has recorded.
        let bytes = (workspace.bytes(), tape.bytes());
        lstm.reserve_workspace(&mut workspace, BATCH - 1).unwrap();
        lstm.reserve_tape(tape, STEPS - 1, BATCH).unwrap();
        assert_eq!((workspace.bytes(), tape.bytes()), bytes);
        lstm.backward(&mut workspace, tape, Backward::new(input)).unwrap();
    }
    assert!(checkpoints.bytes() < tape.bytes());
    let wide = layer(&LstmConfig::new(INPUTS, 40).training(), 1);
    wide.reserve_workspace(&mut workspace, 1).unwrap();
    wide.reserve_tape(&mut tape, STEPS, 1).unwrap();
    let input = Sequence::time_major(&data, STEPS, 1, INPUTS);
    wide.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
    wide.backward(&mut workspace, &mut tape, Backward::new(input)).unwrap();

    for directions in [Directions::Forward, Directions::Summed] {
        let config = StackConfig::of(config.clone(), 2, directions);
        let layers: Vec<_> =
            (0..config.directed_layers()).map(|index| config.directed_layer(index)).collect();
        let all: Vec<_> = layers.iter().map(|config| parameters(config, 3)).collect();
        let weights: Vec<_> = layers
            .iter()
            .zip(&all)
            .map(|(config, all)| LstmWeights::from_parameters(config, all).unwrap())
            .collect();
        let stack = LstmStack::new(&config, &weights).unwrap();
        let (mut workspace, mut tape) = (stack.workspace(1, 1).unwrap(), stack.tape(1, 1).unwrap());
        for (steps, batch) in [(STEPS, 1), (2, BATCH), (STEPS, BATCH), (1, 1)] {
            stack.reserve_workspace(&mut workspace, steps, batch).unwrap();
            stack.reserve_tape(&mut tape, steps, batch).unwrap();
            let input = Sequence::time_major(&data, steps, batch, INPUTS);
            stack.forward(&mut workspace, StackForward::new(input).tape(&mut tape)).unwrap();
            stack.backward(&mut workspace, &mut tape, StackBackward::new(input)).unwrap();
        }
        assert_eq!((workspace.steps(), workspace.batch()), (STEPS, BATCH));
    }
}

#[test]
fn packed_sequences_that_cannot_be_are_refused() {
    let sizes = BatchSizes::new(&[2, 1]).unwrap();
    assert_eq!((sizes.steps(), sizes.batch(), sizes.rows()), (2, 2, 3));
    let dimension =
        Refused::Dimension { argument: "batch_sizes", dimension: "rows of a step", expected: 1, found: 2 };
    assert_refused(BatchSizes::new(&[1, 2]), dimension);
    assert_refused(BatchSizes::new(&[1, -2]), Refused::NegativeLength { argument: "batch_sizes", row: 1 });
    assert_refused(
        BatchSizes::new(&[i64::MAX, i64::MAX, i64::MAX]),
        Refused::Overflow { argument: "batch_sizes" },
    );
    let (mut short, mut right) = ([7.0; 7], [7.0; 8]);
    assert_refused(
        sizes.unpack(&[1.0; 6], 2, &mut short),
        Refused::Length { argument: "padded", expected: 8, found: 7 },
    );
    assert_refused(
        sizes.unpack(&[1.0; 5], 2, &mut right),
        Refused::Length { argument: "data", expected: 6, found: 5 },
    );
    assert_refused(sizes.lengths(&mut [0]), Refused::Length { argument: "lengths", expected: 2, found: 1 });
    assert_eq!((short, right), ([7.0; 7], [7.0; 8]));
    for sizes in [&[][..], &[0, 0], &[3, 3]] {
        let sizes = BatchSizes::new(sizes).unwrap();
        sizes.unpack(&[], 0, &mut []).unwrap();
        sizes.pack(&[], 0, &mut []).unwrap();
    }
}
