//! Rows of states: beams, streams that come and go, what is saved. A row goes on as it would have alone.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{Random, bits};
use quadgate::{
    Directions, Error, Lstm, LstmConfig, LstmStack, LstmWeights, Matrix, Rnn, RnnConfig, RnnWeights,
    StackConfig, StackState, State,
};

const INPUTS: usize = 3;

/// Layers whose h and c are as wide, or not, padded or not.
fn configs() -> [LstmConfig; 4] {
    let config = |units| LstmConfig::new(INPUTS, units);
    [config(1), config(16), config(21), config(21).projection(5)]
}

fn layer(config: &LstmConfig) -> Lstm {
    let all = Random(1).vec(config.parameters().unwrap().total(), 0.4);
    Lstm::new(config, &LstmWeights::from_parameters(config, &all).unwrap()).unwrap()
}

fn stack(config: &LstmConfig) -> LstmStack {
    let config = StackConfig::of(config.clone(), 3, Directions::Forward);
    let layers = [0, 1, 2].map(|index| config.directed_layer(index));
    let all = layers.each_ref().map(|config| Random(2).vec(config.parameters().unwrap().total(), 0.4));
    let weights: Vec<_> = layers
        .iter()
        .zip(&all)
        .map(|(config, all)| LstmWeights::from_parameters(config, all).unwrap())
        .collect();
    LstmStack::new(&config, &weights).unwrap()
}

fn row_of(state: &State, row: usize) -> Vec<u32> {
    bits(&[state.hidden(row).unwrap(), state.cell(row).unwrap()].concat())
}

fn stack_row_of(state: &StackState, row: usize) -> Vec<u32> {
    state.layers().iter().flat_map(|state| row_of(state, row)).collect()
}

/// x of a stream at a step.
fn x(stream: u64, step: u64) -> Vec<f32> {
    Random(1000 * stream + step).vec(INPUTS, 1.0)
}

fn all(streams: &[u64], step: u64) -> Vec<f32> {
    streams.iter().flat_map(|&stream| x(stream, step)).collect()
}

#[test]
fn gathered_rows_go_on_as_the_rows_that_they_were() {
    for config in configs() {
        let lstm = layer(&config);
        // One step or two: h lies in either slot.
        for steps in 1..3 {
            let (mut from, mut to) = (lstm.state(4).unwrap(), lstm.state(4).unwrap());
            for step in 0..steps {
                lstm.step(&mut from, Matrix::new(&all(&[0, 1, 2, 3], step), 4, INPUTS)).unwrap();
            }
            lstm.step(&mut to, Matrix::new(&all(&[7, 8, 9, 6], 0), 4, INPUTS)).unwrap();
            let order = [2, 2, 0, 3];
            to.gather(&from, &order).unwrap();
            for (row, &of) in order.iter().enumerate() {
                assert_eq!(row_of(&to, row), row_of(&from, of));
            }
            lstm.step(&mut from, Matrix::new(&all(&[0, 1, 2, 3], 9), 4, INPUTS)).unwrap();
            lstm.step(&mut to, Matrix::new(&all(&[2, 2, 0, 3], 9), 4, INPUTS)).unwrap();
            for (row, of) in order.into_iter().enumerate() {
                assert_eq!(row_of(&to, row), row_of(&from, of));
            }
        }
    }
}

#[test]
fn streams_that_end_begin_split_and_join_have_the_bits_of_streams_alone() {
    for config in configs() {
        let stack = stack(&config);
        let alone = |stream: u64, steps: std::ops::Range<u64>| {
            let mut state = stack.state(1).unwrap();
            for step in steps {
                stack.step(&mut state, Matrix::new(&x(stream, step), 1, INPUTS)).unwrap();
            }
            stack_row_of(&state, 0)
        };
        let mut state = stack.state(3).unwrap();
        let step = |state: &mut StackState, streams: &[u64], step| {
            stack.step(state, Matrix::new(&all(streams, step), streams.len(), INPUTS)).unwrap();
        };
        step(&mut state, &[0, 1, 2], 0);
        // Stream 1 ends, stream 5 begins in its row.
        state.reset_row(1).unwrap();
        step(&mut state, &[0, 5, 2], 1);
        assert_eq!(stack_row_of(&state, 0), alone(0, 0..2));
        assert_eq!(stack_row_of(&state, 1), alone(5, 1..2));
        // Streams 5 and 2 move elsewhere, and come back between two others.
        let (mut away, mut joined) = (stack.state(2).unwrap(), stack.state(4).unwrap());
        away.copy_rows(0, &state, 1..3).unwrap();
        step(&mut away, &[5, 2], 2);
        joined.copy_rows(1, &away, 0..2).unwrap();
        step(&mut joined, &[8, 5, 2, 9], 3);
        assert_eq!(stack_row_of(&joined, 1), alone(5, 1..4));
        assert_eq!(stack_row_of(&joined, 2), alone(2, 0..4));
        assert_eq!(stack_row_of(&joined, 3), alone(9, 3..4));
        // What was saved goes on where it is restored.
        let mut saved = vec![f32::NAN; joined.saved_len()];
        joined.save(&mut saved).unwrap();
        let mut restored = stack.state(4).unwrap();
        restored.restore(&saved).unwrap();
        for state in [&mut joined, &mut restored] {
            step(state, &[8, 5, 2, 9], 4);
            assert_eq!(stack_row_of(state, 1), alone(5, 1..5));
        }
    }
}

#[test]
fn a_row_that_is_set_is_that_of_a_state_that_is_set() {
    for config in configs() {
        let lstm = layer(&config);
        let (outputs, units) = (config.output_size(), config.hidden_size());
        let (h, c) = (Random(3).vec(2 * outputs, 1.0), Random(4).vec(2 * units, 1.0));
        let (mut whole, mut by_rows) = (lstm.state(2).unwrap(), lstm.state(2).unwrap());
        whole.set_hidden(Matrix::new(&h, 2, outputs)).unwrap();
        whole.set_cell(Matrix::new(&c, 2, units)).unwrap();
        for row in 0..2 {
            by_rows.set_row(row, &h[row * outputs..][..outputs], &c[row * units..][..units]).unwrap();
        }
        let mut saved = vec![0.0; whole.saved_len()];
        whole.save(&mut saved).unwrap();
        assert_eq!(saved, [h, c].concat());
        for state in [&mut whole, &mut by_rows] {
            lstm.step(state, Matrix::new(&all(&[0, 1], 0), 2, INPUTS)).unwrap();
        }
        assert_eq!([0, 1].map(|row| row_of(&whole, row)), [0, 1].map(|row| row_of(&by_rows, row)));
    }
    // A cell without c.
    let config = RnnConfig::new(1, 3);
    let rnn =
        Rnn::new(&config, &RnnWeights::pytorch(&config, &[0.1; 3], &[0.2; 9], None, None).unwrap()).unwrap();
    let (mut state, mut other) = (rnn.state(2).unwrap(), rnn.state(2).unwrap());
    state.set_row(1, &[1.0, 2.0, 3.0], &[]).unwrap();
    other.gather(&state, &[1, 1]).unwrap();
    assert_eq!((other.hidden(0), other.saved_len()), (state.hidden(1), 6));
}

#[test]
fn rows_that_are_not_there_and_states_of_other_layers_are_refused_and_nothing_is_written() {
    let config = LstmConfig::new(INPUTS, 5);
    let (lstm, deep) = (layer(&config), stack(&config));
    let (from, mut to) = (lstm.state(2).unwrap(), lstm.state(3).unwrap());
    lstm.step(&mut to, Matrix::new(&all(&[0, 1, 2], 0), 3, INPUTS)).unwrap();
    let before = [0, 1, 2].map(|row| row_of(&to, row));
    let no_row = |argument, row, rows| Refused::NoSuchRow { argument, row, rows };
    assert_refused(to.gather(&from, &[0, 1, 2]), no_row("order", 2, 2));
    let rows = Refused::Dimension { argument: "order", dimension: "rows", expected: 3, found: 2 };
    assert_refused(to.gather(&from, &[0, 1]), rows);
    assert_refused(to.copy_rows(0, &from, 0..3), no_row("rows", 2, 2));
    assert_refused(to.copy_rows(2, &from, 0..2), no_row("to", 3, 3));
    assert_refused(to.copy_rows(usize::MAX, &from, 0..2), no_row("to", usize::MAX, 3));
    assert_refused(to.reset_row(3), no_row("row", 3, 3));
    assert_refused(to.set_row(3, &[0.0; 5], &[0.0; 5]), no_row("row", 3, 3));
    assert!(matches!(to.set_row(0, &[0.0; 4], &[0.0; 5]), Err(Error::Length { argument: "hidden", .. })));
    assert!(matches!(to.set_row(0, &[0.0; 5], &[0.0; 6]), Err(Error::Length { argument: "cell", .. })));
    assert!(matches!(to.restore(&[0.0; 29]), Err(Error::Length { argument: "saved state", .. })));
    for other in [LstmConfig::new(INPUTS, 40), config.clone().peepholes()] {
        let other = layer(&other).state(3).unwrap();
        let refused = to.gather(&other, &[0, 1, 2]).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Workspace { argument: "from", .. } | Error::Unsupported { argument: "from", .. }
            ),
            "{refused}"
        );
    }
    to.copy_rows(9, &from, 1..1).unwrap();
    assert_eq!([0, 1, 2].map(|row| row_of(&to, row)), before);

    // The last layer alone does not fit.
    let (mut to, mut from) = (deep.state(2).unwrap(), deep.state(2).unwrap());
    deep.step(&mut from, Matrix::new(&all(&[0, 1], 0), 2, INPUTS)).unwrap();
    from.layers_mut()[2] = lstm.state(1).unwrap();
    let before = [0, 1].map(|row| stack_row_of(&to, row));
    to.gather(&from, &[1, 0]).unwrap_err();
    to.copy_rows(0, &from, 0..2).unwrap_err();
    to.restore(&[1.0; 3]).unwrap_err();
    to.reset_row(2).unwrap_err();
    assert_eq!([0, 1].map(|row| stack_row_of(&to, row)), before);
}
