//! Sequences without rows: they cost nothing, whatever number of steps they have, and are checked as others are.

use quadgate::{
    Arrangement, Backward, Directions, Error, Forward, GradientMode, Lstm, LstmConfig, LstmStack,
    LstmWeights, MatrixMut, Sequence, SequenceMut, StackBackward, StackConfig, StackForward, StepMask,
    Threads, Zoneout,
};
use std::num::NonZeroUsize;

const INPUTS: usize = 3;
const UNITS: usize = 5;
const STEPS: [usize; 5] = [0, 1, 6, usize::MAX - 1, usize::MAX];
const EVERY: [Option<NonZeroUsize>; 3] = [None, NonZeroUsize::new(1), NonZeroUsize::new(usize::MAX)];

fn weights(config: &LstmConfig) -> LstmWeights<'_> {
    static DATA: [f32; 1000] = [0.1; 1000];
    let (w, r) = (&DATA[..20 * config.input_size()], &DATA[..20 * UNITS]);
    LstmWeights::pytorch(config, w, r, None, None).unwrap()
}

/// Which of the steps are run: all, or those of lengths or a mask.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    Lengths,
    Mask,
}

const WHICH: [Which; 3] = [Which::All, Which::Lengths, Which::Mask];

#[test]
fn a_layer_runs_any_number_of_steps_of_no_rows_at_once() {
    let config = LstmConfig::new(INPUTS, UNITS).training();
    let lstm = Lstm::new(&config, &weights(&config)).unwrap();
    let mut workspace = lstm.workspace(2).unwrap();
    for steps in STEPS {
        let x = Sequence::time_major(&[], steps, 0, INPUTS);
        let tapes = EVERY.map(|every| lstm.checkpointed_tape(steps, 0, every).unwrap());
        for mut tape in tapes.into_iter().chain([lstm.tape(steps, 0).unwrap()]) {
            for which in WHICH {
                let mask = StepMask::time_major(&[], steps, 0);
                let output = SequenceMut::time_major(&mut [], steps, 0, UNITS);
                let call = Forward::new(x).output(output).last_cell(MatrixMut::new(&mut [], 0, UNITS));
                let call = match which {
                    Which::All => call,
                    Which::Lengths => call.lengths(&[0usize; 0]),
                    Which::Mask => call.mask(mask),
                };
                lstm.forward(&mut workspace, call.tape(&mut tape)).unwrap();
                let mut gradients = vec![7.0; config.parameters().unwrap().total()];
                let call = Backward::new(x)
                    .input_gradient(SequenceMut::time_major(&mut [], steps, 0, INPUTS))
                    .parameter_gradients(&mut gradients, GradientMode::Overwrite);
                let call = match which {
                    Which::All => call,
                    Which::Lengths => call.lengths(&[0usize; 0]),
                    Which::Mask => call.mask(mask),
                };
                lstm.backward(&mut workspace, &mut tape, call).unwrap();
                assert!(gradients.iter().all(|&gradient| gradient == 0.0), "{steps} steps, {which:?}");
            }
        }
    }
}

#[test]
fn a_stack_runs_any_number_of_steps_of_no_rows_at_once() {
    let two = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    for directions in [Directions::Forward, Directions::Reverse, Directions::Concatenated, Directions::Summed]
    {
        for arrangement in [Arrangement::InTurn, Arrangement::SideBySide] {
            let config = StackConfig::new(INPUTS, UNITS, 3, directions).training().threads(two);
            let config = config.arrangement(arrangement);
            let configs: Vec<_> = (0..config.directed_layers()).map(|i| config.directed_layer(i)).collect();
            let all: Vec<_> = configs.iter().map(weights).collect();
            let stack = LstmStack::new(&config, &all).unwrap();
            for steps in STEPS {
                let mut workspace = stack.workspace(steps, 0).unwrap();
                let x = Sequence::time_major(&[], steps, 0, INPUTS);
                for every in EVERY {
                    let mut tape = stack.checkpointed_tape(steps, 0, every).unwrap();
                    for which in WHICH {
                        let mask = StepMask::time_major(&[], steps, 0);
                        let output = SequenceMut::time_major(&mut [], steps, 0, config.output_size());
                        let call = StackForward::new(x).output(output);
                        let call = match which {
                            Which::All => call,
                            Which::Lengths => call.lengths(&[0usize; 0]),
                            Which::Mask => call.mask(mask),
                        };
                        stack.forward(&mut workspace, call.tape(&mut tape)).unwrap();
                        let mut gradients = vec![7.0; config.total_parameters().unwrap()];
                        let call = StackBackward::new(x)
                            .input_gradient(SequenceMut::time_major(&mut [], steps, 0, INPUTS))
                            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
                        let call = match which {
                            Which::All => call,
                            Which::Lengths => call.lengths(&[0usize; 0]),
                            Which::Mask => call.mask(mask),
                        };
                        stack.backward(&mut workspace, &mut tape, call).unwrap();
                        assert!(gradients.iter().all(|&gradient| gradient == 0.0));
                    }
                }
            }
        }
    }
}

/// Calls with an input of so many steps and no rows, and one argument of `other` steps.
fn mismatched(steps: usize, other: usize) -> Vec<(&'static str, Result<(), Error>)> {
    let config = LstmConfig::new(INPUTS, UNITS).training().zoneout(Zoneout::default());
    let lstm = Lstm::new(&config, &weights(&config)).unwrap();
    let (mut workspace, mut tape) = (lstm.workspace(2).unwrap(), lstm.tape(other, 0).unwrap());
    let (x, of_other) =
        (Sequence::time_major(&[], steps, 0, INPUTS), Sequence::time_major(&[], other, 0, UNITS));
    let mask = StepMask::time_major(&[], other, 0);
    let mut results = Vec::new();
    let mut forward = |name, call| results.push((name, lstm.forward(&mut workspace, call)));
    forward("output", Forward::new(x).output(SequenceMut::time_major(&mut [], other, 0, UNITS)));
    forward("hidden_share", Forward::new(x).hidden_share(of_other));
    forward("cell_share", Forward::new(x).cell_share(of_other));
    forward("mask", Forward::new(x).mask(mask));
    forward("tape", Forward::new(x).tape(&mut tape));
    let recorded = Sequence::time_major(&[], other, 0, INPUTS);
    lstm.forward(&mut workspace, Forward::new(recorded).tape(&mut tape)).unwrap();
    let mut backward = |name, call| results.push((name, lstm.backward(&mut workspace, &mut tape, call)));
    backward("tape", Backward::new(x));
    backward("output_cotangent", Backward::new(x).output_cotangent(of_other));
    backward("mask", Backward::new(x).mask(mask));
    let gradient = SequenceMut::time_major(&mut [], other, 0, INPUTS);
    backward("input_gradient", Backward::new(x).input_gradient(gradient));

    let config = StackConfig::of(LstmConfig::new(INPUTS, UNITS).training(), 1, Directions::Concatenated);
    let configs = [config.directed_layer(0), config.directed_layer(1)];
    let all = configs.each_ref().map(|config| weights(config));
    let stack = LstmStack::new(&config, &all).unwrap();
    let mut small = stack.workspace(other, 0).unwrap();
    let mut workspace = stack.workspace(steps, 0).unwrap();
    results.push(("workspace", stack.forward(&mut small, StackForward::new(x))));
    let mut tape = stack.tape(other, 0).unwrap();
    let output = SequenceMut::time_major(&mut [], other, 0, 2 * UNITS);
    results.push(("output", stack.forward(&mut workspace, StackForward::new(x).output(output))));
    results.push(("tape", stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape))));
    results
}

#[test]
fn every_argument_must_have_the_steps_of_the_input_even_if_there_are_no_rows() {
    for (argument, result) in mismatched(usize::MAX - 1, 6) {
        match result {
            Err(Error::Dimension { argument: found, dimension: "steps", .. }) => assert_eq!(found, argument),
            other => panic!("{argument}: {other:?}"),
        }
    }
}
