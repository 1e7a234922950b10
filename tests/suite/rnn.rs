//! The plain recurrent layer: forward and backward against the oracle in f64 and PyTorch's answers, the same bits however it is
//! run, and what it refuses.

use crate::common::golden::GoldenFile;
use crate::common::{Random, bits, fused_levels, levels, narrow, widen};
use proptest::prelude::*;
use quadgate::reference::{NaiveRnn, NaiveRnnGradients};
use quadgate::{
    Backward, Direction, Error, Forward, GradientMode, Isa, Matrix, MatrixMut, Nonlinearity, Rnn, RnnConfig,
    RnnWeights, Schedule, Sequence, SequenceMut, Split, Threads,
};
use std::num::NonZeroUsize;

/// A layer with its data.
#[derive(Clone, Debug)]
struct Case {
    sizes: [usize; 4],
    function: Nonlinearity,
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    biases: [Vec<f32>; 2],
    x: Vec<f32>,
    initial: Vec<f32>,
    cotangents: [Vec<f32>; 2],
}

/// How to run it.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    isa: Option<Isa>,
    schedule: Option<Schedule>,
    split: Option<Split>,
    threads: usize,
    every: usize,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    output: Vec<f32>,
    last: Vec<f32>,
    gradients: NaiveRnnGradients<f32>,
}

impl Case {
    fn random(seed: u64, sizes: [usize; 4], function: Nonlinearity) -> Self {
        let [steps, batch, inputs, units] = sizes;
        let mut random = Random(seed);
        let scale = 1.0 / (units as f32).sqrt();
        Self {
            sizes,
            function,
            weight_ih: random.vec(units * inputs, scale),
            weight_hh: random.vec(units * units, scale),
            biases: [random.vec(units, scale), random.vec(units, scale)],
            x: random.vec(steps * batch * inputs, 1.0),
            initial: random.vec(batch * units, 1.0),
            cotangents: [random.vec(steps * batch * units, 1.0), random.vec(batch * units, 1.0)],
        }
    }

    fn rnn(&self, run: Run) -> Rnn {
        let [.., inputs, units] = self.sizes;
        let mut config = RnnConfig::new(inputs, units).nonlinearity(self.function).training();
        if let Some(isa) = run.isa {
            config = config.isa(isa);
        }
        if let Some(schedule) = run.schedule {
            config = config.schedule(schedule);
        }
        if let Some(split) = run.split {
            config = config.split(split);
        }
        let threads = NonZeroUsize::new(run.threads).map_or(Threads::Serial, Threads::Exactly);
        let config = config.threads(threads);
        let [first, second] = &self.biases;
        let weights =
            RnnWeights::pytorch(&config, &self.weight_ih, &self.weight_hh, Some(first), Some(second));
        Rnn::new(&config, &weights.unwrap()).unwrap()
    }

    fn found(&self, run: Run) -> Found {
        let [steps, batch, inputs, units] = self.sizes;
        let rnn = self.rnn(run);
        let mut workspace = rnn.workspace(batch).unwrap();
        let mut tape = match NonZeroUsize::new(run.every) {
            None => rnn.tape(steps, batch).unwrap(),
            every => rnn.checkpointed_tape(steps, batch, every).unwrap(),
        };
        let (mut output, mut last) = (vec![f32::NAN; steps * batch * units], vec![f32::NAN; batch * units]);
        let input = Sequence::time_major(&self.x, steps, batch, inputs);
        let call = Forward::new(input)
            .initial_hidden(Matrix::new(&self.initial, batch, units))
            .output(SequenceMut::time_major(&mut output, steps, batch, units))
            .last_hidden(MatrixMut::new(&mut last, batch, units))
            .tape(&mut tape);
        rnn.forward(&mut workspace, call).unwrap();
        let ranges = rnn.config().parameters().unwrap();
        let mut parameters = vec![f32::NAN; ranges.total()];
        let mut input_gradient = vec![f32::NAN; self.x.len()];
        let mut initial_hidden = vec![f32::NAN; batch * units];
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&self.cotangents[0], steps, batch, units))
            .last_hidden_cotangent(Matrix::new(&self.cotangents[1], batch, units))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut initial_hidden, batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        rnn.backward(&mut workspace, &mut tape, call).unwrap();
        let gradients = NaiveRnnGradients {
            input: input_gradient,
            weight_ih: parameters[ranges.weight_ih].to_vec(),
            weight_hh: parameters[ranges.weight_hh].to_vec(),
            bias: parameters[ranges.bias].to_vec(),
            initial_hidden,
        };
        Found { output, last, gradients }
    }

    fn expected(&self) -> (Vec<f64>, NaiveRnnGradients<f64>) {
        let [steps, batch, inputs, units] = self.sizes;
        let [first, second] = self.biases.each_ref().map(|bias| widen(bias));
        let naive = NaiveRnn {
            input_size: inputs,
            hidden_size: units,
            is_relu: self.function == Nonlinearity::Relu,
            weight_ih: widen(&self.weight_ih),
            weight_hh: widen(&self.weight_hh),
            bias: first.iter().zip(&second).map(|(a, b)| a + b).collect(),
        };
        let (x, initial) = (widen(&self.x), widen(&self.initial));
        let [output, last] = self.cotangents.each_ref().map(|cotangents| widen(cotangents));
        let gradients = naive.backward(steps, batch, &x, &initial, [&output, &last]);
        (naive.forward(steps, batch, &x, &initial), gradients)
    }
}

fn all_bits(found: &Found) -> Vec<u32> {
    let Found { output, last, gradients } = found;
    let NaiveRnnGradients { input, weight_ih, weight_hh, bias, initial_hidden } = gradients;
    let all = [output, last, input, weight_ih, weight_hh, bias, initial_hidden];
    all.into_iter().flat_map(|values| bits(values)).collect()
}

/// Within a part of the largest entry, or of the terms of sums that cancel.
fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.05f64, |largest, x| largest.max(x.abs()));
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * largest, "{what}, {at}: {found} is not {expected}");
    }
}

fn assert_found(found: &Found, (output, gradients): &(Vec<f64>, NaiveRnnGradients<f64>), tolerance: f64) {
    assert_near("output", &found.output, output, tolerance);
    for (what, found, expected) in [
        ("dx", &found.gradients.input, &gradients.input),
        ("dW", &found.gradients.weight_ih, &gradients.weight_ih),
        ("dR", &found.gradients.weight_hh, &gradients.weight_hh),
        ("db", &found.gradients.bias, &gradients.bias),
        ("dh0", &found.gradients.initial_hidden, &gradients.initial_hidden),
    ] {
        assert_near(what, found, expected, tolerance);
    }
}

proptest! {
    #[test]
    fn every_level_agrees_with_the_oracle_forward_and_backward(
        seed in any::<u64>(),
        sizes in [1usize..9, 1usize..16, 0usize..12, 1usize..80],
    ) {
        let case = Case::random(seed, sizes, Nonlinearity::Tanh);
        for isa in levels() {
            assert_found(&case.found(Run { isa: Some(isa), ..Run::default() }), &case.expected(), 1e-5);
        }
    }

    #[test]
    fn threads_schedule_split_tape_and_level_do_not_change_the_bits(
        seed in any::<u64>(),
        sizes in [1usize..12, 1usize..10, 0usize..12, 1usize..150],
        is_relu in any::<bool>(),
        every in 1usize..5,
    ) {
        let function = if is_relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
        let case = Case::random(seed, sizes, function);
        let mut found = Vec::new();
        for isa in fused_levels() {
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for (split, threads) in [(Split::Rows, 0), (Split::Rows, 3), (Split::Units, 2)] {
                    for every in [0, every] {
                        let (isa, schedule, split) = (Some(isa), Some(schedule), Some(split));
                        found.push(all_bits(&case.found(Run { isa, schedule, split, threads, every })));
                    }
                }
            }
        }
        prop_assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn steps_and_rows_of_any_length_have_the_bits_of_calls_for_them_alone(
        seed in any::<u64>(),
        units in 1usize..70,
        lengths in prop::collection::vec(0usize..7, 1..6),
    ) {
        let (steps, batch, inputs) = (6, lengths.len(), 3);
        let case = Case::random(seed, [steps, batch, inputs, units], Nonlinearity::Tanh);
        let rnn = case.rnn(Run::default());
        let mut output = vec![f32::NAN; steps * batch * units];
        let call = Forward::new(Sequence::time_major(&case.x, steps, batch, inputs))
            .initial_hidden(Matrix::new(&case.initial, batch, units))
            .lengths(&lengths)
            .output(SequenceMut::time_major(&mut output, steps, batch, units));
        rnn.forward(&mut rnn.workspace(batch).unwrap(), call).unwrap();
        for (row, &length) in lengths.iter().enumerate() {
            let mut state = rnn.state(1).unwrap();
            state.set_hidden(Matrix::new(&case.initial[row * units..][..units], 1, units)).unwrap();
            for t in 0..steps {
                let found = &output[(t * batch + row) * units..][..units];
                if t >= length {
                    prop_assert!(found.iter().all(|&h| h == 0.0));
                    continue;
                }
                let x = &case.x[(t * batch + row) * inputs..][..inputs];
                rnn.step(&mut state, Matrix::new(x, 1, inputs)).unwrap();
                prop_assert_eq!(bits(found), bits(state.hidden(0).unwrap()));
            }
        }
    }
}

#[test]
fn the_oracles_gradients_are_its_finite_differences() {
    let case = Case::random(3, [4, 2, 3, 5], Nonlinearity::Tanh);
    let (_, gradients) = case.expected();
    let loss = |case: &Case| -> f64 {
        let (output, _) = case.expected();
        let last = &output[output.len() - case.initial.len()..];
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
        dot(&output, &case.cotangents[0]) + dot(last, &case.cotangents[1])
    };
    let check = |what: &str, part: fn(&mut Case) -> &mut Vec<f32>, gradient: &[f64]| {
        for at in 0..gradient.len() {
            let (mut more, mut less) = (case.clone(), case.clone());
            part(&mut more)[at] += 1.0 / 1024.0;
            part(&mut less)[at] -= 1.0 / 1024.0;
            let step = f64::from(part(&mut more)[at]) - f64::from(part(&mut less)[at]);
            let difference = (loss(&more) - loss(&less)) / step;
            assert!((difference - gradient[at]).abs() < 1e-4, "{what} {at}: {difference}, {}", gradient[at]);
        }
    };
    check("x", |case| &mut case.x, &gradients.input);
    check("W", |case| &mut case.weight_ih, &gradients.weight_ih);
    check("R", |case| &mut case.weight_hh, &gradients.weight_hh);
    check("b", |case| &mut case.biases[0], &gradients.bias);
    check("h0", |case| &mut case.initial, &gradients.initial_hidden);
}

/// A direction of a recorded layer of PyTorch: its name of tensors, and the columns of outputs that are its own.
fn golden(name: &str, suffix: &str, direction: Direction, function: Nonlinearity) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] =
        ["seq_len", "batch", "input_size", "hidden_size"].map(|key| golden.size(key));
    let index = usize::from(direction == Direction::Reverse);
    let tensor = |name: &str| golden.optional(name).unwrap_or_else(|| panic!("{name}"));
    let parameter = |name: &str| narrow(&tensor(&format!("{name}_l0{suffix}")));
    let config = RnnConfig::new(inputs, units).nonlinearity(function).direction(direction).training();
    let (weight_ih, weight_hh) = (parameter("weight_ih"), parameter("weight_hh"));
    let (bias_ih, bias_hh) = (parameter("bias_ih"), parameter("bias_hh"));
    let weights = RnnWeights::pytorch(&config, &weight_ih, &weight_hh, Some(&bias_ih), Some(&bias_hh));
    let rnn = Rnn::new(&config, &weights.unwrap()).unwrap();
    let mut workspace = rnn.workspace(batch).unwrap();
    let mut tape = rnn.tape(steps, batch).unwrap();

    let own = |all: &[f64]| narrow(&all[index * batch * units..][..batch * units]);
    let columns = |all: &[f64]| -> Vec<f64> {
        let width = all.len() / (steps * batch);
        all.chunks(width).flat_map(|row| row[index * units..][..units].to_vec()).collect()
    };
    let (x, initial) = (narrow(&tensor("x")), own(&tensor("h0")));
    let input = Sequence::time_major(&x, steps, batch, inputs);
    let mut output = vec![0.0; steps * batch * units];
    let mut last = vec![0.0; batch * units];
    let call = Forward::new(input)
        .initial_hidden(Matrix::new(&initial, batch, units))
        .output(SequenceMut::time_major(&mut output, steps, batch, units))
        .last_hidden(MatrixMut::new(&mut last, batch, units))
        .tape(&mut tape);
    rnn.forward(&mut workspace, call).unwrap();
    assert_near("out", &output, &columns(&tensor("out")), 1e-6);
    assert_near("hn", &last, &tensor("hn")[index * batch * units..][..batch * units], 1e-6);

    let ranges = config.parameters().unwrap();
    let mut parameters = vec![0.0; ranges.total()];
    let mut initial_gradient = vec![0.0; batch * units];
    let (cotangent, last_cotangent) = (narrow(&columns(&tensor("cot_out"))), own(&tensor("cot_hn")));
    let call = Backward::new(input)
        .output_cotangent(Sequence::time_major(&cotangent, steps, batch, units))
        .last_hidden_cotangent(Matrix::new(&last_cotangent, batch, units))
        .initial_hidden_gradient(MatrixMut::new(&mut initial_gradient, batch, units))
        .parameter_gradients(&mut parameters, GradientMode::Overwrite);
    rnn.backward(&mut workspace, &mut tape, call).unwrap();
    for (name, range) in
        [("weight_ih", ranges.weight_ih), ("weight_hh", ranges.weight_hh), ("bias_ih", ranges.bias)]
    {
        let expected = tensor(&format!("grad.{name}_l0{suffix}"));
        assert_near(name, &parameters[range], &expected, 1e-6);
    }
    let expected = tensor("grad.h0");
    assert_near("h0", &initial_gradient, &expected[index * batch * units..][..batch * units], 1e-6);
}

#[test]
fn pytorchs_answers_of_tanh() {
    golden("rnn_tanh", "", Direction::Forward, Nonlinearity::Tanh);
}

#[test]
fn pytorchs_answers_of_relu_in_either_direction() {
    golden("rnn_relu_bidirectional", "", Direction::Forward, Nonlinearity::Relu);
    golden("rnn_relu_bidirectional", "_reverse", Direction::Reverse, Nonlinearity::Relu);
}

#[test]
fn onnx_runtimes_answers_of_relu_in_reverse() {
    let golden = GoldenFile::load("onnx_rnn_relu_reverse");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [w, r, b, x, initial] = ["W", "R", "Bias", "X", "initial_h"].map(|name| golden.narrow(name));
    let config = RnnConfig::new(inputs, units).nonlinearity(Nonlinearity::Relu).direction(Direction::Reverse);
    let rnn = Rnn::new(&config, &RnnWeights::onnx(&config, &w, &r, Some(&b)).unwrap()).unwrap();
    let (mut output, mut last) = (vec![0.0; steps * batch * units], vec![0.0; batch * units]);
    let call = Forward::new(Sequence::time_major(&x, steps, batch, inputs))
        .initial_hidden(Matrix::new(&initial, batch, units))
        .output(SequenceMut::time_major(&mut output, steps, batch, units))
        .last_hidden(MatrixMut::new(&mut last, batch, units));
    rnn.forward(&mut rnn.workspace(batch).unwrap(), call).unwrap();
    assert_near("Y", &output, &golden.tensor("Y"), 5e-6);
    assert_near("Y_h", &last, &golden.tensor("Y_h"), 5e-6);
}

#[test]
fn weights_go_to_frameworks_and_back() {
    let config = RnnConfig::new(2, 2);
    let weights = RnnWeights::pytorch(
        &config,
        &[1.0, 2.0, 3.0, 4.0],
        &[5.0, 6.0, 7.0, 8.0],
        Some(&[1.0, 2.0]),
        Some(&[10.0, 20.0]),
    )
    .unwrap();
    let (mut w, mut r, mut one, mut two) = ([0.0; 4], [0.0; 4], [0.0; 2], [0.0; 4]);
    weights.export_keras(&mut w, &mut r, Some(&mut one)).unwrap();
    assert_eq!((w, r, one), ([1.0, 3.0, 2.0, 4.0], [5.0, 7.0, 6.0, 8.0], [11.0, 22.0]));
    let keras = RnnWeights::keras(&config, &w, &r, Some(&one)).unwrap();
    let (mut w, mut r) = ([0.0; 4], [0.0; 4]);
    keras.export_onnx(&mut w, &mut r, Some(&mut two)).unwrap();
    assert_eq!((w, r, two), ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [11.0, 22.0, 0.0, 0.0]));
    weights.export_onnx(&mut w, &mut r, Some(&mut two)).unwrap();
    assert_eq!(two, [1.0, 2.0, 10.0, 20.0]);
    let refused = weights.export_pytorch(&mut w, &mut r, None, None).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "first bias", .. }), "{refused}");
}

#[test]
fn a_cell_state_is_refused() {
    let case = Case::random(1, [2, 1, 1, 1], Nonlinearity::Tanh);
    let rnn = case.rnn(Run::default());
    let mut workspace = rnn.workspace(1).unwrap();
    let input = Sequence::time_major(&case.x, 2, 1, 1);
    let call = Forward::new(input).initial_cell(Matrix::new(&[0.0], 1, 1));
    let refused = rnn.forward(&mut workspace, call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "initial_cell", .. }), "{refused}");
    let mut last = [0.0];
    let call = Forward::new(input).last_cell(MatrixMut::new(&mut last, 1, 1));
    let refused = rnn.forward(&mut workspace, call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "last_cell", .. }), "{refused}");
    let refused = rnn.state(1).unwrap().set_cell(Matrix::new(&[0.0], 1, 1)).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "cell", .. }), "{refused}");
}

#[test]
fn tensors_of_other_sizes_are_refused_by_name() {
    let config = RnnConfig::new(3, 2);
    let w = [0.0; 8];
    let of = |input: usize, recurrent: usize, bias: usize| {
        RnnWeights::pytorch(&config, &w[..input], &w[..recurrent], Some(&w[..bias]), None).unwrap_err()
    };
    for (refused, name) in [(of(5, 4, 2), "input"), (of(6, 3, 2), "recurrent"), (of(6, 4, 1), "first bias")] {
        assert!(matches!(refused, Error::Length { argument, .. } if argument == name), "{refused}");
    }
    assert!(matches!(
        RnnWeights::pytorch(&RnnConfig::new(3, 0), &[], &[], None, None),
        Err(Error::Zero { argument: "hidden size", .. })
    ));
}
