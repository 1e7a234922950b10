//! Bad arguments get an error that names them, and nothing is written.

use crate::common::refused::{Refused, assert_refused};
use quadgate::{
    Backward, Error, Forward, Gate, GateOrder, Isa, Lstm, LstmConfig, LstmWeights, Matrix, MatrixMut,
    Orientation, Sequence, SequenceMut, StepMask,
};

const STEPS: usize = 3;
const BATCH: usize = 2;
const INPUTS: usize = 4;
const UNITS: usize = 5;

/// A mask of every step.
static MASK: [bool; STEPS * BATCH] = [true; STEPS * BATCH];

fn layer(inputs: usize, units: usize) -> Lstm {
    let config = LstmConfig::new(inputs, units);
    let (w, r) = (vec![0.1; 4 * units * inputs], vec![0.1; 4 * units * units]);
    Lstm::new(&config, &LstmWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap()
}

/// Runs a call that must fail, with one argument replaced, and checks that nothing was written.
fn refused(change: impl for<'a> FnOnce(Forward<'a>, &'a mut [f32]) -> Forward<'a>) -> Error {
    let lstm = layer(INPUTS, UNITS);
    let mut workspace = lstm.workspace(BATCH).unwrap();
    let x = [1.0; STEPS * BATCH * INPUTS];
    let mut output = [7.0; STEPS * BATCH * UNITS];
    let (mut last_hidden, mut last_cell) = ([7.0; BATCH * UNITS], [7.0; BATCH * UNITS]);
    let mut spare = [7.0; 100];
    let call = Forward::new(Sequence::time_major(&x, STEPS, BATCH, INPUTS))
        .output(SequenceMut::time_major(&mut output, STEPS, BATCH, UNITS))
        .last_hidden(MatrixMut::new(&mut last_hidden, BATCH, UNITS))
        .last_cell(MatrixMut::new(&mut last_cell, BATCH, UNITS));
    let error = lstm.forward(&mut workspace, change(call, &mut spare)).unwrap_err();
    for written in [&output[..], &last_hidden, &last_cell, &spare] {
        assert!(written.iter().all(|&value| value == 7.0), "{error}");
    }
    assert!(!error.to_string().is_empty());
    error
}

/// The same for the input alone.
fn refused_input(data: &[f32], shape: [usize; 3], strides: [usize; 2]) -> Error {
    let lstm = layer(INPUTS, UNITS);
    let mut workspace = lstm.workspace(BATCH).unwrap();
    lstm.forward(&mut workspace, Forward::new(Sequence::with_strides(data, shape, strides))).unwrap_err()
}

#[test]
fn an_input_of_the_wrong_width_or_length_is_named() {
    let x = [0.0; STEPS * BATCH * INPUTS];
    assert_eq!(
        refused_input(&x, [STEPS, BATCH, INPUTS - 1], [BATCH * INPUTS, INPUTS]),
        Refused::Dimension { argument: "input", dimension: "features", expected: INPUTS, found: INPUTS - 1 }
    );
    assert_eq!(
        refused_input(&x[1..], [STEPS, BATCH, INPUTS], [BATCH * INPUTS, INPUTS]),
        Refused::TooShort { argument: "input", expected: x.len(), found: x.len() - 1 }
    );
    assert_eq!(
        refused_input(&x, [STEPS, BATCH, INPUTS], [usize::MAX, INPUTS]),
        Refused::Overflow { argument: "input" }
    );
    assert_eq!(
        refused_input(&x, [usize::MAX, BATCH, INPUTS], [1, 1]),
        Refused::Overflow { argument: "input" }
    );
}

#[test]
fn an_output_of_the_wrong_shape_is_named() {
    for (shape, dimension, expected, found) in [
        ([STEPS + 1, BATCH, UNITS], "steps", STEPS, STEPS + 1),
        ([STEPS, BATCH - 1, UNITS], "batch", BATCH, BATCH - 1),
        ([STEPS, BATCH, UNITS + 1], "features", UNITS, UNITS + 1),
    ] {
        let error = refused(|call, spare| call.output(SequenceMut::with_strides(spare, shape, [20, 10])));
        assert_eq!(error, Refused::Dimension { argument: "output", dimension, expected, found });
    }
}

#[test]
fn output_rows_that_overlap_are_refused() {
    for strides in [[0, UNITS], [UNITS, 0], [UNITS, UNITS], [1, UNITS * STEPS], [2 * UNITS, UNITS - 1]] {
        let shape = [STEPS, BATCH, UNITS];
        let error = refused(|call, spare| call.output(SequenceMut::with_strides(spare, shape, strides)));
        assert_eq!(error, Refused::Overlap { argument: "output", expected: UNITS, found: strides });
    }
    let error = refused(|call, spare| call.last_cell(MatrixMut::new(spare, BATCH, UNITS).stride(UNITS - 1)));
    assert_eq!(error, Refused::Overlap { argument: "last_cell", expected: UNITS, found: [0, UNITS - 1] });
}

#[test]
fn an_output_that_is_too_short_is_named() {
    let error =
        refused(|call, spare| call.output(SequenceMut::time_major(&mut spare[..29], STEPS, BATCH, UNITS)));
    assert_eq!(error, Refused::TooShort { argument: "output", expected: 30, found: 29 });
    let error = refused(|call, spare| {
        call.output(SequenceMut::with_strides(spare, [STEPS, BATCH, UNITS], [usize::MAX / 2, usize::MAX / 2]))
    });
    assert_eq!(error, Refused::Overflow { argument: "output" });
}

#[test]
fn states_of_the_wrong_shape_are_named() {
    static ZEROS: [f32; 100] = [0.0; 100];
    let wide = Matrix::new(&ZEROS, BATCH, UNITS + 1);
    let error = refused(|call, _| call.initial_hidden(wide));
    assert_eq!(
        error,
        Refused::Dimension {
            argument: "initial_hidden",
            dimension: "width",
            expected: UNITS,
            found: UNITS + 1
        }
    );
    let error = refused(|call, _| call.initial_cell(Matrix::new(&ZEROS, BATCH + 1, UNITS)));
    assert_eq!(
        error,
        Refused::Dimension { argument: "initial_cell", dimension: "rows", expected: BATCH, found: BATCH + 1 }
    );
    let error = refused(|call, _| call.initial_cell(Matrix::new(&ZEROS[..9], BATCH, UNITS)));
    assert_eq!(error, Refused::TooShort { argument: "initial_cell", expected: 10, found: 9 });
    let error = refused(|call, spare| call.last_hidden(MatrixMut::new(&mut spare[..9], BATCH, UNITS)));
    assert_eq!(error, Refused::TooShort { argument: "last_hidden", expected: 10, found: 9 });
}

#[test]
fn a_workspace_or_state_of_another_layer_is_refused() {
    let lstm = layer(INPUTS, UNITS);
    let x = [0.0; STEPS * BATCH * INPUTS];
    let call = || Forward::new(Sequence::time_major(&x, STEPS, BATCH, INPUTS));
    let mut small = lstm.workspace(BATCH - 1).unwrap();
    assert!(matches!(
        lstm.forward(&mut small, call()),
        Err(Error::Workspace { argument: "workspace", expected: [BATCH, _], found: [1, _], .. })
    ));
    let mut other = layer(INPUTS, UNITS + 40).workspace(BATCH).unwrap();
    assert!(matches!(lstm.forward(&mut other, call()), Err(Error::Workspace { argument: "workspace", .. })));
    let mut state = layer(INPUTS, UNITS + 40).state(BATCH).unwrap();
    let rows = Matrix::new(&x, BATCH, INPUTS);
    assert!(matches!(lstm.step(&mut state, rows), Err(Error::Workspace { argument: "state", .. })));
    // The error says what is not alike, though as many vectors have room for both.
    let [expected, found] = [UNITS, UNITS + 1].map(|units| [BATCH, units]);
    assert_refused(
        lstm.step(&mut layer(INPUTS, UNITS + 1).state(BATCH).unwrap(), rows),
        Refused::Workspace { argument: "state", expected, found },
    );
    let (expected, found) = (INPUTS, INPUTS + 1);
    let mut other = layer(found, UNITS);
    assert_refused(
        lstm.step(&mut other.state(BATCH).unwrap(), rows),
        Refused::Dimension { argument: "state", dimension: "input size", expected, found },
    );
    assert_refused(
        lstm.forward(&mut other.workspace(BATCH).unwrap(), call()),
        Refused::Dimension { argument: "workspace", dimension: "input size", expected, found },
    );
    let config = LstmConfig::new(INPUTS, UNITS).projection(UNITS - 1);
    let all = vec![0.0; config.parameters().unwrap().total()];
    other = Lstm::new(&config, &LstmWeights::from_parameters(&config, &all).unwrap()).unwrap();
    assert_refused(
        lstm.step(&mut other.state(BATCH).unwrap(), rows),
        Refused::Dimension { argument: "state", dimension: "output size", expected: UNITS, found: UNITS - 1 },
    );
}

#[test]
fn step_names_an_input_of_the_wrong_shape() {
    let lstm = layer(INPUTS, UNITS);
    let mut state = lstm.state(BATCH).unwrap();
    let x = [0.0; 100];
    assert_refused(
        lstm.step(&mut state, Matrix::new(&x, BATCH, INPUTS + 1)),
        Refused::Dimension { argument: "input", dimension: "width", expected: INPUTS, found: INPUTS + 1 },
    );
    assert_refused(
        lstm.step(&mut state, Matrix::new(&x, BATCH + 1, INPUTS)),
        Refused::Dimension { argument: "input", dimension: "rows", expected: BATCH, found: BATCH + 1 },
    );
    assert_refused(
        lstm.step(&mut state, Matrix::new(&x[..7], BATCH, INPUTS)),
        Refused::TooShort { argument: "input", expected: 8, found: 7 },
    );
    assert!(state.hidden(0).unwrap().iter().all(|&h| h == 0.0));
    assert_eq!((state.hidden(BATCH), state.cell(usize::MAX)), (None, None));
    assert!(state.set_hidden(Matrix::new(&x, BATCH, UNITS + 1)).is_err());
    assert!(state.set_cell(Matrix::new(&x[..1], BATCH, UNITS)).is_err());
}

#[test]
fn weights_of_the_wrong_length_are_named() {
    let config = LstmConfig::new(INPUTS, UNITS);
    let (w, r, b) = ([0.0; 80], [0.0; 100], [0.0; 20]);
    let load = |w, r, b1, b2| LstmWeights::pytorch(&config, w, r, b1, b2).map(|_| ()).unwrap_err();
    assert_eq!(
        load(&w[1..], &r, None, None),
        Refused::Length { argument: "weight_ih", expected: 80, found: 79 }
    );
    assert_eq!(
        load(&w, &r[1..], None, None),
        Refused::Length { argument: "weight_hh", expected: 100, found: 99 }
    );
    let short = Some(&b[1..]);
    assert_eq!(load(&w, &r, short, None), Refused::Length { argument: "bias_ih", expected: 20, found: 19 });
    assert_eq!(
        load(&w, &r, Some(&b), short),
        Refused::Length { argument: "bias_hh", expected: 20, found: 19 }
    );
    let neutral =
        LstmWeights::new(&config, GateOrder::IOFG, Orientation::InputsByGates, &w, &r, [short, None])
            .unwrap_err();
    assert_eq!(neutral, Refused::Length { argument: "first bias", expected: 20, found: 19 });
}

#[test]
fn sizes_that_make_no_layer_are_refused() {
    let empty = |inputs, units| LstmWeights::pytorch(&LstmConfig::new(inputs, units), &[], &[], None, None);
    assert_eq!(empty(3, 0).unwrap_err(), Refused::Zero { argument: "hidden size" });
    assert_eq!(empty(3, usize::MAX).unwrap_err(), Refused::Overflow { argument: "hidden size" });
    assert_eq!(empty(usize::MAX, 1).unwrap_err(), Refused::Overflow { argument: "weight_ih" });
    // So many units that R without the projection could not be addressed.
    let projected = LstmConfig::new(0, 1 << (usize::BITS / 2)).projection(1);
    let expected = 4 << (usize::BITS / 2);
    assert_eq!(
        LstmWeights::pytorch(&projected, &[], &[0.0; 12], None, None).unwrap_err(),
        Refused::Length { argument: "weight_hh", expected, found: 12 }
    );
    let narrow = LstmConfig::new(1, 1);
    let weights = LstmWeights::pytorch(&narrow, &[0.0; 4], &[0.0; 4], None, None).unwrap();
    assert_eq!(
        Lstm::new(&LstmConfig::new(1, 2), &weights).unwrap_err(),
        Refused::Dimension { argument: "weights", dimension: "hidden size", expected: 2, found: 1 }
    );
}

#[test]
fn batches_that_cannot_be_addressed_are_refused() {
    let lstm = layer(INPUTS, UNITS);
    for batch in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 4] {
        let overflow = Refused::Overflow { argument: "batch" };
        assert_eq!(lstm.workspace(batch).unwrap_err(), overflow);
        assert_eq!(lstm.state(batch).unwrap_err(), overflow);
    }
    assert_eq!(lstm.workspace_bytes(usize::MAX).unwrap_err(), Refused::Overflow { argument: "batch" });
}

/// More rows than any 64-bit machine has memory for, though their bytes can be counted.
#[cfg(target_pointer_width = "64")]
#[test]
fn what_there_is_no_memory_for_is_an_error() {
    use quadgate::{Directions, LstmStack, Rnn, RnnConfig, RnnWeights, StackConfig, Zoneout};
    let most = 1 << 45;
    let memory = |error: Error| match error {
        Error::OutOfMemory { argument, bytes, .. } => {
            assert!(bytes >= most, "{bytes} bytes");
            argument
        }
        other => panic!("{other}"),
    };
    let (w, r) = ([0.1; 4 * UNITS * INPUTS], [0.1; 4 * UNITS * UNITS]);
    let options = LstmConfig::new(INPUTS, UNITS).zoneout(Zoneout::default()).recurrent_dropout();
    for config in [LstmConfig::new(INPUTS, UNITS), LstmConfig::new(INPUTS, UNITS).training(), options] {
        let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap();
        assert_eq!(memory(lstm.workspace(most).unwrap_err()), "batch");
        assert_eq!(memory(lstm.state(most).unwrap_err()), "batch");
        for [steps, batch] in [[most, 1], [1, most], [1 << 23, 1 << 22]] {
            assert_eq!(memory(lstm.tape(steps, batch).unwrap_err()), "steps and batch");
        }
        assert_eq!(memory(lstm.checkpointed_tape(4, most, None).unwrap_err()), "steps and batch");
    }
    let config = StackConfig::new(INPUTS, UNITS, 1, Directions::Summed).training();
    let weights = LstmWeights::pytorch(&config.directed_layer(0), &w, &r, None, None).unwrap();
    let stack = LstmStack::new(&config, &[weights, weights]).unwrap();
    assert_eq!(memory(stack.workspace(most, 1).unwrap_err()), "steps and batch");
    assert_eq!(memory(stack.workspace(1, most).unwrap_err()), "batch");
    assert_eq!(memory(stack.tape(most, 1).unwrap_err()), "steps and batch");
    let config = StackConfig::new(INPUTS, UNITS, 1, Directions::Forward);
    assert_eq!(memory(LstmStack::new(&config, &[weights]).unwrap().state(most).unwrap_err()), "batch");
    let config = RnnConfig::new(INPUTS, UNITS).training();
    let (w, r) = (&w[..UNITS * INPUTS], &r[..UNITS * UNITS]);
    let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, w, r, None, None).unwrap()).unwrap();
    assert_eq!(memory(rnn.workspace(most).unwrap_err()), "batch");
    assert_eq!(memory(rnn.tape(most, 1).unwrap_err()), "steps and batch");
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    assert_eq!(
        refused(|call, _| call.lengths(&[1])),
        Refused::Dimension { argument: "lengths", dimension: "batch", expected: BATCH, found: 1 }
    );
    assert_eq!(
        refused(|call, _| call.lengths(&[STEPS, STEPS + 1])),
        Refused::RowLength { argument: "lengths", row: 1, expected: STEPS, found: STEPS + 1 }
    );
    assert_eq!(
        refused(|call, _| call.lengths(&[usize::MAX, 0])),
        Refused::RowLength { argument: "lengths", row: 0, expected: STEPS, found: usize::MAX }
    );
    assert_eq!(
        refused(|call, _| call.lengths(&[1i32, 4])),
        Refused::RowLength { argument: "lengths", row: 1, expected: STEPS, found: 4 }
    );
    let negative = |row| Refused::NegativeLength { argument: "lengths", row };
    assert_eq!(refused(|call, _| call.lengths(&[1, -1])), negative(1));
    assert_eq!(refused(|call, _| call.lengths(&[i64::MIN, 1])), negative(0));
}

#[test]
fn a_mask_that_does_not_fit_is_named() {
    for (steps, batch, dimension, expected, found) in
        [(STEPS + 1, BATCH, "steps", STEPS, STEPS + 1), (STEPS, BATCH - 1, "batch", BATCH, BATCH - 1)]
    {
        let error = refused(|call, _| call.mask(StepMask::time_major(&MASK, steps, batch)));
        assert_eq!(error, Refused::Dimension { argument: "mask", dimension, expected, found });
    }
    let (expected, found) = (STEPS * BATCH, STEPS * BATCH - 1);
    for mask in [
        StepMask::time_major(&MASK[1..], STEPS, BATCH),
        StepMask::batch_major(&MASK[1..], BATCH, STEPS),
        StepMask::with_strides(&MASK[1..], [STEPS, BATCH], [BATCH, 1]),
    ] {
        assert_eq!(
            refused(|call, _| call.mask(mask)),
            Refused::TooShort { argument: "mask", expected, found }
        );
    }
    let strides = [usize::MAX, 1];
    assert_eq!(
        refused(|call, _| call.mask(StepMask::with_strides(&MASK, [STEPS, BATCH], strides))),
        Refused::Overflow { argument: "mask" }
    );
}

#[test]
fn lengths_and_a_mask_together_are_refused() {
    assert_eq!(
        refused(|call, _| call.lengths(&[1, 2]).mask(StepMask::time_major(&MASK, STEPS, BATCH))),
        Refused::Exclusive { argument: "mask", other: "lengths" }
    );
}

#[test]
fn a_backward_pass_of_other_steps_than_were_recorded_is_refused() {
    let config = LstmConfig::new(INPUTS, UNITS).training();
    let (w, r) = (vec![0.1; 4 * UNITS * INPUTS], vec![0.1; 4 * UNITS * UNITS]);
    let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap();
    let (mut workspace, mut tape) = (lstm.workspace(BATCH).unwrap(), lstm.tape(STEPS, BATCH).unwrap());
    let x = [1.0; STEPS * BATCH * INPUTS];
    let x = Sequence::time_major(&x, STEPS, BATCH, INPUTS);
    let mut mask = [true; STEPS * BATCH];
    mask[2] = false;
    // One false element, elsewhere.
    let mut other = [true; STEPS * BATCH];
    other[3] = false;
    let (mask, other) =
        (StepMask::time_major(&mask, STEPS, BATCH), StepMask::time_major(&other, STEPS, BATCH));
    let kinds: [fn(Backward<'_>) -> Backward<'_>; 3] =
        [|call| call, |call| call.lengths(&[1, 2]), |call| call.lengths(&[2, 1])];
    let refused = |argument| Err(Refused::NotRecorded { argument });
    let forwards = [
        (
            Forward::new(x),
            [Ok(()), refused("lengths"), refused("lengths")],
            [refused("mask"), refused("mask")],
        ),
        (
            Forward::new(x).lengths(&[1, 2]),
            [refused("lengths"), Ok(()), refused("lengths")],
            [refused("mask"), refused("mask")],
        ),
        (
            Forward::new(x).mask(mask),
            [refused("mask"), refused("lengths"), refused("lengths")],
            [Ok(()), refused("mask")],
        ),
    ];
    for (forward, expected, expected_of_masks) in forwards {
        lstm.forward(&mut workspace, forward.tape(&mut tape)).unwrap();
        for (kind, expected) in kinds.iter().zip(expected) {
            let found = lstm.backward(&mut workspace, &mut tape, kind(Backward::new(x)));
            assert_eq!(found.map_err(Refused::from), expected);
        }
        for (mask, expected) in [mask, other].into_iter().zip(expected_of_masks) {
            let found = lstm.backward(&mut workspace, &mut tape, Backward::new(x).mask(mask));
            assert_eq!(found.map_err(Refused::from), expected);
        }
    }
}

#[test]
fn byte_counts_are_those_of_what_is_made() {
    let lstm = layer(INPUTS, UNITS);
    assert_eq!(lstm.workspace_bytes(3).unwrap(), lstm.workspace(3).unwrap().bytes());
    assert!(lstm.packed_bytes() >= 4 * 4 * UNITS * (INPUTS + UNITS + 1));
}

#[test]
fn a_gate_order_must_name_each_gate() {
    let twice = [Gate::Input, Gate::Forget, Gate::Input, Gate::Output];
    assert_refused(GateOrder::new(twice), Refused::GateOrder { missing: "candidate gate" });
    assert_eq!(GateOrder::new(Gate::ALL), Ok(GateOrder::IFGO));
}

#[test]
fn an_instruction_set_that_the_cpu_lacks_is_refused() {
    let config = LstmConfig::new(1, 1);
    let weights = LstmWeights::pytorch(&config, &[0.0; 4], &[0.0; 4], None, None).unwrap();
    let foreign = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
    assert!(matches!(
        Lstm::new(&config.isa(foreign), &weights),
        Err(Error::UnsupportedIsa { expected, .. }) if expected == foreign
    ));
}

#[test]
fn empty_sequences_batches_and_inputs_are_answered() {
    let lstm = layer(0, UNITS);
    let mut workspace = lstm.workspace(BATCH).unwrap();
    // No steps: the last states are the initial ones.
    let initial = [0.25; BATCH * UNITS];
    let (mut last_hidden, mut last_cell) = ([7.0; BATCH * UNITS], [7.0; BATCH * UNITS]);
    let call = Forward::new(Sequence::time_major(&[], 0, BATCH, 0))
        .initial_hidden(Matrix::new(&initial, BATCH, UNITS))
        .last_hidden(MatrixMut::new(&mut last_hidden, BATCH, UNITS))
        .last_cell(MatrixMut::new(&mut last_cell, BATCH, UNITS));
    lstm.forward(&mut workspace, call).unwrap();
    assert_eq!((last_hidden, last_cell), (initial, [0.0; BATCH * UNITS]));
    // No rows.
    let call = Forward::new(Sequence::batch_major(&[], 0, STEPS, 0)).output(SequenceMut::batch_major(
        &mut [],
        0,
        STEPS,
        UNITS,
    ));
    lstm.forward(&mut workspace, call).unwrap();
    // No inputs: only R·h and the bias.
    let mut output = [7.0; STEPS * BATCH * UNITS];
    let call = Forward::new(Sequence::time_major(&[], STEPS, BATCH, 0)).output(SequenceMut::time_major(
        &mut output,
        STEPS,
        BATCH,
        UNITS,
    ));
    lstm.forward(&mut workspace, call).unwrap();
    assert_eq!(output, [0.0; STEPS * BATCH * UNITS]);
    lstm.forward(&mut lstm.workspace(0).unwrap(), Forward::new(Sequence::time_major(&[], 0, 0, 0))).unwrap();
}

/// What a layer of such options says, with weights of a plain one.
fn refused_options(option: impl FnOnce(LstmConfig) -> LstmConfig) -> Error {
    let config = option(LstmConfig::new(INPUTS, UNITS));
    let (w, r) = (vec![0.1; 4 * UNITS * INPUTS], vec![0.1; 4 * UNITS * config.output_size()]);
    let weights = LstmWeights::pytorch(&config, &w, &r, None, None).unwrap();
    Lstm::new(&config, &weights).unwrap_err()
}

#[test]
fn options_that_make_no_sense_are_named() {
    use quadgate::{ActivationFunction, Activations, Clip, Zoneout};
    let value = |error: Error| match error {
        Error::Value { argument, .. } => argument,
        other => panic!("{other}"),
    };
    for limit in [0.0, -1.0, f32::NAN] {
        let clip = Clip { gate: Some(limit), ..Clip::default() };
        assert_eq!(value(refused_options(|config| config.clip(clip))), "gate clip");
        let clip = Clip { hidden: Some(limit), ..Clip::default() };
        assert_eq!(value(refused_options(|config| config.clip(clip))), "hidden clip");
        let clip = Clip { cell: Some(limit), ..Clip::default() };
        assert_eq!(value(refused_options(|config| config.clip(clip))), "cell clip");
        let clip = Clip { projection: Some(limit), ..Clip::default() };
        assert_eq!(value(refused_options(|config| config.clip(clip).projection(2))), "projection clip");
    }
    for rate in [-0.1, 1.1, f32::NAN] {
        let zoneout = Zoneout { hidden: rate, cell: 0.0 };
        assert_eq!(value(refused_options(|config| config.zoneout(zoneout))), "zoneout of h");
        let zoneout = Zoneout { hidden: 0.0, cell: rate };
        assert_eq!(value(refused_options(|config| config.zoneout(zoneout))), "zoneout of c");
    }
    for epsilon in [0.0, -0.0, -1e-5, f32::NAN, f32::INFINITY] {
        assert_eq!(value(refused_options(|config| config.layer_normalization(epsilon))), "epsilon");
    }
    let gate = ActivationFunction::LeakyRelu { alpha: f32::NAN };
    let activations = Activations { gate, ..Activations::default() };
    assert_eq!(value(refused_options(|config| config.activations(activations))), "activation of gates");

    assert_eq!(refused_options(|config| config.projection(0)), Refused::Zero { argument: "projection" });
    let unexpected = Refused::Unexpected { argument: "projection bias" };
    assert_eq!(refused_options(LstmConfig::projection_bias), unexpected);
    let clip = Clip { projection: Some(1.0), ..Clip::default() };
    let unexpected = Refused::Unexpected { argument: "projection clip" };
    assert_eq!(refused_options(|config| config.clip(clip)), unexpected);
    let split = |config: LstmConfig| config.layer_normalization(1e-5).split(quadgate::Split::Units);
    assert!(matches!(refused_options(split), Error::Unsupported { argument: "split over units", .. }));
}

#[test]
fn tensors_of_options_that_are_missing_unexpected_or_of_the_wrong_length_are_named() {
    let missing = |argument| Refused::Missing { argument };
    assert_eq!(refused_options(LstmConfig::peepholes), missing("peepholes"));
    assert_eq!(refused_options(|config| config.layer_normalization(0.1)), missing("layer normalization"));
    assert_eq!(refused_options(|config| config.projection(3)), missing("projection"));

    let config = LstmConfig::new(INPUTS, UNITS);
    let (w, r) = (vec![0.1; 4 * UNITS * INPUTS], vec![0.1; 4 * UNITS * UNITS]);
    let weights = LstmWeights::pytorch(&config, &w, &r, None, None).unwrap();
    let right = [0.0; UNITS];
    let unexpected = |weights: &LstmWeights<'_>, argument| {
        assert_eq!(Lstm::new(&config, weights).unwrap_err(), Refused::Unexpected { argument });
    };
    unexpected(&weights.with_peepholes([&right; 3]).unwrap(), "peepholes");
    unexpected(&weights.with_layer_normalization([&right; 4]).unwrap(), "layer normalization");
    let projection = [0.0; UNITS * UNITS];
    let rows = Orientation::GatesByInputs;
    unexpected(&weights.with_projection(rows, &projection, None).unwrap(), "projection");

    let short = &right[1..];
    let length = |argument, expected, found| Refused::Length { argument, expected, found };
    assert_eq!(
        weights.with_peepholes([&right, short, &right]).unwrap_err(),
        length("peephole of f", UNITS, UNITS - 1)
    );
    assert_eq!(
        weights.with_layer_normalization([&right, &right, &right, short]).unwrap_err(),
        length("normalization scale of o", UNITS, UNITS - 1)
    );
    assert_eq!(
        weights.with_projection(rows, &projection[1..], None).unwrap_err(),
        length("projection", UNITS * UNITS, UNITS * UNITS - 1)
    );
    assert_eq!(
        weights.with_projection(rows, &projection, Some(short)).unwrap_err(),
        length("projection bias", UNITS, UNITS - 1)
    );
}

#[test]
fn masks_that_no_option_asks_for_or_of_the_wrong_shape_are_named() {
    static DATA: [f32; STEPS * BATCH * UNITS] = [1.0; STEPS * BATCH * UNITS];
    let data = &DATA;
    let share = Sequence::time_major(data, STEPS, BATCH, UNITS);
    let mask = Matrix::new(&data[..BATCH * UNITS], BATCH, UNITS);
    let unexpected = |argument| Refused::Unexpected { argument };
    assert_eq!(refused(|call, _| call.hidden_share(share)), unexpected("hidden_share"));
    assert_eq!(refused(|call, _| call.cell_share(share)), unexpected("cell_share"));
    assert_eq!(refused(|call, _| call.recurrent_mask(mask)), unexpected("recurrent_mask"));

    let config = LstmConfig::new(INPUTS, UNITS).zoneout(quadgate::Zoneout::default()).recurrent_dropout();
    let (w, r) = (vec![0.1; 4 * UNITS * INPUTS], vec![0.1; 4 * UNITS * UNITS]);
    let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap();
    let x = [1.0; STEPS * BATCH * INPUTS];
    let call = || Forward::new(Sequence::time_major(&x, STEPS, BATCH, INPUTS));
    let mut workspace = lstm.workspace(BATCH).unwrap();
    let narrow = Sequence::time_major(data, STEPS, BATCH, UNITS - 1);
    assert_eq!(
        lstm.forward(&mut workspace, call().cell_share(narrow)).unwrap_err(),
        Refused::Dimension {
            argument: "cell_share",
            dimension: "features",
            expected: UNITS,
            found: UNITS - 1
        }
    );
    let mask = Matrix::new(data, BATCH + 1, UNITS);
    let error = lstm.forward(&mut workspace, call().recurrent_mask(mask)).unwrap_err();
    assert!(error.to_string().starts_with("recurrent_mask"), "{error}");
    // What was made for another layer is not taken.
    let mut other = layer(INPUTS, UNITS).workspace(BATCH).unwrap();
    assert!(matches!(
        lstm.forward(&mut other, call()).unwrap_err(),
        Error::Unsupported { argument: "workspace", .. }
    ));
}
