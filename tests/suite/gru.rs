//! The gated recurrent unit: forward and backward against the oracle in f64 and other frameworks' answers, the same bits however
//! it is run, weights there and back, and what it refuses.

use crate::common::golden::{GoldenFile, assert_relative, transpose};
use crate::common::{Random, bits, fnv, fused_levels, levels, widen};
use proptest::prelude::*;
use quadgate::reference::{NaiveGru, NaiveGruGradients};
use quadgate::{
    Backward, Direction, Error, Forward, GradientMode, Gru, GruConfig, GruGateOrder, GruTensors, GruWeights,
    Isa, Matrix, MatrixMut, Orientation, ResetGate, Rnn, RnnConfig, RnnWeights, Schedule, Sequence,
    SequenceMut, Split, Threads,
};
use std::num::NonZeroUsize;

/// A layer with its data.
#[derive(Clone, Debug)]
struct Case {
    sizes: [usize; 4],
    reset_gate: ResetGate,
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
    gradients: NaiveGruGradients<f32>,
}

/// The gradients of two biases `[3H]` from that of one `[4H]`, or `[3H]` with the reset gate before the product.
fn of_two_biases(reset_gate: ResetGate, bias: &[f32]) -> [Vec<f32>; 2] {
    if reset_gate == ResetGate::BeforeProduct {
        return [bias.to_vec(), bias.to_vec()];
    }
    let units = bias.len() / 4;
    [bias[..3 * units].to_vec(), [&bias[..2 * units], &bias[3 * units..]].concat()]
}

impl Case {
    fn random(seed: u64, sizes: [usize; 4], reset_gate: ResetGate) -> Self {
        let [steps, batch, inputs, units] = sizes;
        let mut random = Random(seed);
        let scale = 1.0 / (units as f32).sqrt();
        Self {
            sizes,
            reset_gate,
            weight_ih: random.vec(3 * units * inputs, scale),
            weight_hh: random.vec(3 * units * units, scale),
            biases: [random.vec(3 * units, scale), random.vec(3 * units, scale)],
            x: random.vec(steps * batch * inputs, 1.0),
            initial: random.vec(batch * units, 1.0),
            cotangents: [random.vec(steps * batch * units, 1.0), random.vec(batch * units, 1.0)],
        }
    }

    fn gru(&self, run: Run) -> Gru {
        let [.., inputs, units] = self.sizes;
        let mut config = GruConfig::new(inputs, units).reset_gate(self.reset_gate).training();
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
            GruWeights::pytorch(&config, &self.weight_ih, &self.weight_hh, Some(first), Some(second));
        Gru::new(&config, &weights.unwrap()).unwrap()
    }

    fn found(&self, run: Run) -> Found {
        let [steps, batch, inputs, units] = self.sizes;
        let gru = self.gru(run);
        let mut workspace = gru.workspace(batch).unwrap();
        let mut tape = match NonZeroUsize::new(run.every) {
            None => gru.tape(steps, batch).unwrap(),
            every => gru.checkpointed_tape(steps, batch, every).unwrap(),
        };
        let (mut output, mut last) = (vec![f32::NAN; steps * batch * units], vec![f32::NAN; batch * units]);
        let input = Sequence::time_major(&self.x, steps, batch, inputs);
        let call = Forward::new(input)
            .initial_hidden(Matrix::new(&self.initial, batch, units))
            .output(SequenceMut::time_major(&mut output, steps, batch, units))
            .last_hidden(MatrixMut::new(&mut last, batch, units))
            .tape(&mut tape);
        gru.forward(&mut workspace, call).unwrap();
        let ranges = gru.config().parameters().unwrap();
        let mut parameters = vec![f32::NAN; ranges.total()];
        let mut input_gradient = vec![f32::NAN; self.x.len()];
        let mut initial_hidden = vec![f32::NAN; batch * units];
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&self.cotangents[0], steps, batch, units))
            .last_hidden_cotangent(Matrix::new(&self.cotangents[1], batch, units))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut initial_hidden, batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        gru.backward(&mut workspace, &mut tape, call).unwrap();
        let [bias_ih, bias_hh] = of_two_biases(self.reset_gate, &parameters[ranges.bias]);
        let gradients = NaiveGruGradients {
            input: input_gradient,
            weight_ih: parameters[ranges.weight_ih].to_vec(),
            weight_hh: parameters[ranges.weight_hh].to_vec(),
            bias_ih,
            bias_hh,
            initial_hidden,
        };
        Found { output, last, gradients }
    }

    fn naive(&self) -> NaiveGru<f64> {
        let [.., inputs, units] = self.sizes;
        let [bias_ih, bias_hh] = self.biases.each_ref().map(|bias| widen(bias));
        let (weight_ih, weight_hh) = (widen(&self.weight_ih), widen(&self.weight_hh));
        let resets_before = self.reset_gate == ResetGate::BeforeProduct;
        NaiveGru {
            input_size: inputs,
            hidden_size: units,
            resets_before,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }

    fn expected(&self) -> (Vec<f64>, NaiveGruGradients<f64>) {
        let [steps, batch, ..] = self.sizes;
        let naive = self.naive();
        let (x, initial) = (widen(&self.x), widen(&self.initial));
        let [output, last] = self.cotangents.each_ref().map(|cotangents| widen(cotangents));
        let gradients = naive.backward(steps, batch, &x, &initial, [&output, &last]);
        (naive.forward(steps, batch, &x, &initial), gradients)
    }
}

fn all_bits(found: &Found) -> Vec<u32> {
    let Found { output, last, gradients } = found;
    let NaiveGruGradients { input, weight_ih, weight_hh, bias_ih, bias_hh, initial_hidden } = gradients;
    let all = [output, last, input, weight_ih, weight_hh, bias_ih, bias_hh, initial_hidden];
    all.into_iter().flat_map(|values| bits(values)).collect()
}

/// Within a part of the largest entry.
fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    // A sum that cancels has the error of its terms.
    let largest = expected.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    assert_relative(what, &widen(found), expected, tolerance * (0.05 / largest).max(1.0));
}

fn assert_found(found: &Found, (output, gradients): &(Vec<f64>, NaiveGruGradients<f64>), tolerance: f64) {
    assert_near("output", &found.output, output, tolerance);
    for (what, found, expected) in [
        ("dx", &found.gradients.input, &gradients.input),
        ("dW", &found.gradients.weight_ih, &gradients.weight_ih),
        ("dR", &found.gradients.weight_hh, &gradients.weight_hh),
        ("db of W", &found.gradients.bias_ih, &gradients.bias_ih),
        ("db of R", &found.gradients.bias_hh, &gradients.bias_hh),
        ("dh0", &found.gradients.initial_hidden, &gradients.initial_hidden),
    ] {
        assert_near(what, found, expected, tolerance);
    }
}

fn reset_gates() -> impl Strategy<Value = ResetGate> {
    prop_oneof![Just(ResetGate::AfterProduct), Just(ResetGate::BeforeProduct)]
}

proptest! {
    #[test]
    fn every_level_agrees_with_the_oracle_forward_and_backward(
        seed in any::<u64>(),
        sizes in [1usize..9, 1usize..16, 0usize..12, 1usize..80],
        reset_gate in reset_gates(),
    ) {
        let case = Case::random(seed, sizes, reset_gate);
        for isa in levels() {
            assert_found(&case.found(Run { isa: Some(isa), ..Run::default() }), &case.expected(), 1e-5);
        }
    }

    #[test]
    fn threads_schedule_split_tape_and_level_do_not_change_the_bits(
        seed in any::<u64>(),
        sizes in [1usize..12, 1usize..10, 0usize..12, 1usize..150],
        every in 1usize..5,
        reset_gate in reset_gates(),
    ) {
        let case = Case::random(seed, sizes, reset_gate);
        let mut found = Vec::new();
        for isa in fused_levels() {
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for (split, threads) in [(Split::Rows, 0), (Split::Rows, 3), (Split::Units, 2)] {
                    if split == Split::Units && reset_gate == ResetGate::BeforeProduct {
                        continue;
                    }
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
        reverse in any::<bool>(),
        reset_gate in reset_gates(),
    ) {
        let (steps, batch, inputs) = (6, lengths.len(), 3);
        let case = Case::random(seed, [steps, batch, inputs, units], reset_gate);
        let config = case.gru(Run::default()).config().clone();
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let config = config.direction(direction);
        let weights = GruWeights::pytorch(
            &config, &case.weight_ih, &case.weight_hh, Some(&case.biases[0]), Some(&case.biases[1]));
        let gru = Gru::new(&config, &weights.unwrap()).unwrap();
        let mut output = vec![f32::NAN; steps * batch * units];
        let call = Forward::new(Sequence::time_major(&case.x, steps, batch, inputs))
            .initial_hidden(Matrix::new(&case.initial, batch, units))
            .lengths(&lengths)
            .output(SequenceMut::time_major(&mut output, steps, batch, units));
        gru.forward(&mut gru.workspace(batch).unwrap(), call).unwrap();
        for (row, &length) in lengths.iter().enumerate() {
            let mut state = gru.state(1).unwrap();
            state.set_hidden(Matrix::new(&case.initial[row * units..][..units], 1, units)).unwrap();
            let of = |t: usize| &output[(t * batch + row) * units..][..units];
            for step in 0..length {
                let t = if reverse { length - 1 - step } else { step };
                let x = &case.x[(t * batch + row) * inputs..][..inputs];
                gru.step(&mut state, Matrix::new(x, 1, inputs)).unwrap();
                prop_assert_eq!(bits(of(t)), bits(state.hidden(0).unwrap()));
            }
            prop_assert!((length..steps).all(|t| of(t).iter().all(|&h| h == 0.0)));
        }
    }

    #[test]
    fn gradients_of_rows_of_any_length_are_those_of_calls_for_them_alone(
        seed in any::<u64>(),
        units in 1usize..40,
        lengths in prop::collection::vec(0usize..7, 1..6),
        reset_gate in reset_gates(),
    ) {
        let (steps, batch, inputs) = (6, lengths.len(), 3);
        let mut case = Case::random(seed, [steps, batch, inputs, units], reset_gate);
        let gru = case.gru(Run::default());
        let mut workspace = gru.workspace(batch).unwrap();
        let mut tape = gru.checkpointed_tape(steps, batch, NonZeroUsize::new(2)).unwrap();
        let input = Sequence::time_major(&case.x, steps, batch, inputs);
        let initial = Matrix::new(&case.initial, batch, units);
        let call = Forward::new(input).initial_hidden(initial).lengths(&lengths).tape(&mut tape);
        gru.forward(&mut workspace, call).unwrap();
        let mut input_gradient = vec![f32::NAN; case.x.len()];
        let mut initial_gradient = vec![f32::NAN; batch * units];
        let mut parameters = vec![f32::NAN; gru.config().parameters().unwrap().total()];
        let call = Backward::new(input)
            .lengths(&lengths)
            .output_cotangent(Sequence::time_major(&case.cotangents[0], steps, batch, units))
            .last_hidden_cotangent(Matrix::new(&case.cotangents[1], batch, units))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, steps, batch, inputs))
            .initial_hidden_gradient(MatrixMut::new(&mut initial_gradient, batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        gru.backward(&mut workspace, &mut tape, call).unwrap();
        let mut weight_hh = vec![0.0; 3 * units * units];
        let all = case.clone();
        for (row, &length) in lengths.iter().enumerate() {
            let of_row = |all: &[f32], width: usize| -> Vec<f32> {
                (0..length).flat_map(|t| all[(t * batch + row) * width..][..width].to_vec()).collect()
            };
            case.sizes = [length, 1, inputs, units];
            case.x = of_row(&all.x, inputs);
            case.initial = all.initial[row * units..][..units].to_vec();
            case.cotangents =
                [of_row(&all.cotangents[0], units), all.cotangents[1][row * units..][..units].to_vec()];
            let (_, expected) = case.expected();
            assert_near("dx", &of_row(&input_gradient, inputs), &expected.input, 1e-5);
            assert_near("dh0", &initial_gradient[row * units..][..units], &expected.initial_hidden, 1e-5);
            weight_hh.iter_mut().zip(&expected.weight_hh).for_each(|(sum, of_row)| *sum += of_row);
        }
        let ranges = gru.config().parameters().unwrap();
        assert_near("dR", &parameters[ranges.weight_hh], &weight_hh, 1e-5);
    }

    #[test]
    fn weights_go_to_any_layout_and_back(
        seed in any::<u64>(),
        inputs in 0usize..5,
        units in 1usize..6,
        is_zrn in any::<bool>(),
        by_inputs in any::<bool>(),
    ) {
        let case = Case::random(seed, [1, 1, inputs, units], ResetGate::AfterProduct);
        let config = GruConfig::new(inputs, units);
        let (order, orientation) = (
            if is_zrn { GruGateOrder::ZRN } else { GruGateOrder::RZN },
            if by_inputs { Orientation::InputsByGates } else { Orientation::GatesByInputs },
        );
        let [first, second] = &case.biases;
        let weights =
            GruWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(first), Some(second)).unwrap();
        let empty = || [vec![0.0; 3 * units * inputs], vec![0.0; 3 * units * units],
            vec![0.0; 3 * units], vec![0.0; 3 * units]];
        let [mut w, mut r, mut b, mut c] = empty();
        weights.export(order, orientation, &mut w, &mut r, [Some(&mut b), Some(&mut c)]).unwrap();
        let there = GruWeights::new(&config, order, orientation, &w, &r, [Some(&b), Some(&c)]).unwrap();
        let [mut w, mut r, mut b, mut c] = empty();
        there.export_pytorch(&mut w, &mut r, Some(&mut b), Some(&mut c)).unwrap();
        prop_assert_eq!([&w, &r, &b, &c], [&case.weight_ih, &case.weight_hh, first, second]);
    }
}

fn assert_finite_differences(reset_gate: ResetGate) {
    let case = Case::random(3, [4, 2, 3, 5], reset_gate);
    let (_, gradients) = case.expected();
    let loss = |case: &Case| -> f64 {
        let [steps, batch, ..] = case.sizes;
        let output = case.naive().forward(steps, batch, &widen(&case.x), &widen(&case.initial));
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
    check("b of W", |case| &mut case.biases[0], &gradients.bias_ih);
    check("b of R", |case| &mut case.biases[1], &gradients.bias_hh);
    check("h0", |case| &mut case.initial, &gradients.initial_hidden);
}

#[test]
fn the_oracles_gradients_are_its_finite_differences() {
    assert_finite_differences(ResetGate::AfterProduct);
    assert_finite_differences(ResetGate::BeforeProduct);
}

fn pytorchs_answers(name: &str) {
    let golden = GoldenFile::load(name);
    let sizes = ["seq_len", "batch", "input_size", "hidden_size"].map(|key| golden.size(key));
    let case = Case {
        sizes,
        reset_gate: ResetGate::AfterProduct,
        weight_ih: golden.narrow("weight_ih_l0"),
        weight_hh: golden.narrow("weight_hh_l0"),
        biases: [golden.narrow("bias_ih_l0"), golden.narrow("bias_hh_l0")],
        x: golden.narrow("x"),
        initial: golden.narrow("h0"),
        cotangents: [golden.narrow("cot_out"), golden.narrow("cot_hn")],
    };
    let gradients = NaiveGruGradients {
        input: golden.tensor("grad.x"),
        weight_ih: golden.tensor("grad.weight_ih_l0"),
        weight_hh: golden.tensor("grad.weight_hh_l0"),
        bias_ih: golden.tensor("grad.bias_ih_l0"),
        bias_hh: golden.tensor("grad.bias_hh_l0"),
        initial_hidden: golden.tensor("grad.h0"),
    };
    let expected = (golden.tensor("out"), gradients);
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let found = case.found(Run { isa: Some(isa), schedule: Some(schedule), ..Run::default() });
            assert_found(&found, &expected, 1e-6);
            assert_near("hn", &found.last, &golden.tensor("hn"), 1e-6);
        }
    }
    let (output, gradients) = case.expected();
    assert_relative("the oracle's output", &output, &expected.0, 1e-12);
    assert_relative("the oracle's dR", &gradients.weight_hh, &expected.1.weight_hh, 1e-12);
    assert_relative("the oracle's db of R", &gradients.bias_hh, &expected.1.bias_hh, 1e-12);
}

#[test]
fn pytorchs_answers_of_a_few_units() {
    pytorchs_answers("gru_small");
}

#[test]
fn pytorchs_answers_of_fifty_units() {
    pytorchs_answers("gru_mid");
}

fn keras_answers(name: &str, reset_gate: ResetGate) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
    let config = GruConfig::new(inputs, units).reset_gate(reset_gate).training();
    let [kernel, recurrent_kernel, bias, x, cotangent] =
        ["kernel", "recurrent_kernel", "bias", "x", "cot_out"].map(|name| golden.narrow(name));
    let weights = GruWeights::keras(&config, &kernel, &recurrent_kernel, Some(&bias)).unwrap();
    let gru = Gru::new(&config, &weights).unwrap();
    let (mut workspace, mut tape) = (gru.workspace(batch).unwrap(), gru.tape(steps, batch).unwrap());
    let input = Sequence::batch_major(&x, batch, steps, inputs);
    let (mut output, mut last) = (vec![0.0; steps * batch * units], vec![0.0; batch * units]);
    let call = Forward::new(input)
        .output(SequenceMut::batch_major(&mut output, batch, steps, units))
        .last_hidden(MatrixMut::new(&mut last, batch, units))
        .tape(&mut tape);
    gru.forward(&mut workspace, call).unwrap();
    assert_near("out", &output, &golden.tensor("out"), 5e-6);
    assert_near("hn", &last, &golden.tensor("hn"), 5e-6);
    let mut parameters = vec![0.0; config.parameters().unwrap().total()];
    let mut input_gradient = vec![0.0; x.len()];
    let call = Backward::new(input)
        .output_cotangent(Sequence::batch_major(&cotangent, batch, steps, units))
        .input_gradient(SequenceMut::batch_major(&mut input_gradient, batch, steps, inputs))
        .parameter_gradients(&mut parameters, GradientMode::Overwrite);
    gru.backward(&mut workspace, &mut tape, call).unwrap();
    assert_near("dx", &input_gradient, &golden.tensor("grad.x"), 5e-6);
    // Gradients have the layouts of what they are gradients of.
    let ranges = config.parameters().unwrap();
    let [bias_ih, bias_hh] = of_two_biases(reset_gate, &parameters[ranges.bias]);
    let (weight_ih, weight_hh) = (&parameters[ranges.weight_ih], &parameters[ranges.weight_hh]);
    // Keras without `reset_after` has one bias.
    let second = (reset_gate == ResetGate::AfterProduct).then_some(&bias_hh[..]);
    let gradients = GruWeights::pytorch(&config, weight_ih, weight_hh, Some(&bias_ih), second).unwrap();
    let [mut kernel, mut recurrent_kernel, mut bias] =
        [kernel, recurrent_kernel, bias].map(|tensor| vec![0.0; tensor.len()]);
    gradients.export_keras(&mut kernel, &mut recurrent_kernel, Some(&mut bias)).unwrap();
    assert_near("kernel", &kernel, &golden.tensor("grad.kernel"), 5e-6);
    assert_near("recurrent_kernel", &recurrent_kernel, &golden.tensor("grad.recurrent_kernel"), 5e-6);
    assert_near("bias", &bias, &golden.tensor("grad.bias"), 5e-6);
}

#[test]
fn keras_answers_with_either_place_of_the_reset_gate() {
    keras_answers("keras_gru_reset_after", ResetGate::AfterProduct);
    keras_answers("keras_gru_reset_before", ResetGate::BeforeProduct);
}

#[test]
fn onnx_runtimes_answers_with_the_reset_gate_before_the_product() {
    let golden = GoldenFile::load("onnx_gru_plain");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [w, r, b, x, initial] = ["W", "R", "Bias", "X", "initial_h"].map(|name| golden.narrow(name));
    let config = GruConfig::new(inputs, units).reset_gate(ResetGate::BeforeProduct);
    let gru = Gru::new(&config, &GruWeights::onnx(&config, &w, &r, Some(&b)).unwrap()).unwrap();
    let (mut output, mut last) = (vec![0.0; steps * batch * units], vec![0.0; batch * units]);
    let call = Forward::new(Sequence::time_major(&x, steps, batch, inputs))
        .initial_hidden(Matrix::new(&initial, batch, units))
        .output(SequenceMut::time_major(&mut output, steps, batch, units))
        .last_hidden(MatrixMut::new(&mut last, batch, units));
    gru.forward(&mut gru.workspace(batch).unwrap(), call).unwrap();
    assert_near("Y", &output, &golden.tensor("Y"), 5e-6);
    assert_near("Y_h", &last, &golden.tensor("Y_h"), 5e-6);
}

#[test]
fn threads_cannot_share_units_that_wait_for_all_reset_gates() {
    let config = GruConfig::new(1, 1).reset_gate(ResetGate::BeforeProduct);
    let weights = GruWeights::pytorch(&config, &[1.0; 3], &[1.0; 3], None, None).unwrap();
    let refused = Gru::new(&config.clone().split(Split::Units), &weights).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "split over units", .. }), "{refused}");
    let refused = Gru::new(&config.reset_gate(ResetGate::AfterProduct), &weights).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "weights", .. }), "{refused}");
}

#[test]
fn onnx_runtimes_answers_of_two_directions_and_lengths() {
    let golden = GoldenFile::load("onnx_gru_lbr_bidirectional_lens");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let lengths: Vec<usize> = golden.tensor("sequence_lens").into_iter().map(|len| len as usize).collect();
    let [w, r, b, x, initial] = ["W", "R", "Bias", "X", "initial_h"].map(|name| golden.narrow(name));
    let part = |all: &[f32], index: usize| all[index * all.len() / 2..(index + 1) * all.len() / 2].to_vec();
    // [T, D, B, H]
    let outputs = transpose(&golden.tensor("Y"), [steps, 2, batch * units]);
    let last_states = golden.tensor("Y_h");
    for (index, direction) in [Direction::Forward, Direction::Reverse].into_iter().enumerate() {
        let config = GruConfig::new(inputs, units).direction(direction);
        let [w, r, b, initial] = [&w, &r, &b, &initial].map(|all| part(all, index));
        let gru = Gru::new(&config, &GruWeights::onnx(&config, &w, &r, Some(&b)).unwrap()).unwrap();
        let (mut output, mut last) = (vec![0.0; steps * batch * units], vec![0.0; batch * units]);
        let call = Forward::new(Sequence::time_major(&x, steps, batch, inputs))
            .initial_hidden(Matrix::new(&initial, batch, units))
            .lengths(&lengths)
            .output(SequenceMut::time_major(&mut output, steps, batch, units))
            .last_hidden(MatrixMut::new(&mut last, batch, units));
        gru.forward(&mut gru.workspace(batch).unwrap(), call).unwrap();
        let expected = &outputs[index * outputs.len() / 2..][..output.len()];
        assert_near("Y", &output, expected, 5e-6);
        assert_near("Y_h", &last, &last_states[index * last.len()..][..last.len()], 5e-6);
    }
}

/// One unit that reads one number: W of r, z and n is 1, 2, 3, R is 4, 5, 6, the biases are 10, 20, 30 and 1, 2, 3.
fn numbered(config: &GruConfig) -> GruWeights<'static> {
    GruWeights::pytorch(
        config,
        &[1.0, 2.0, 3.0],
        &[4.0, 5.0, 6.0],
        Some(&[10.0, 20.0, 30.0]),
        Some(&[1.0, 2.0, 3.0]),
    )
    .unwrap()
}

#[test]
fn each_framework_has_its_order_of_gates_and_biases() {
    let after = GruConfig::new(1, 1);
    let before = GruConfig::new(1, 1).reset_gate(ResetGate::BeforeProduct);
    let (mut w, mut r) = ([0.0; 3], [0.0; 3]);

    let (mut two, mut four, mut three) = ([0.0; 6], [0.0; 4], [0.0; 3]);
    numbered(&after).export_keras(&mut w, &mut r, Some(&mut two)).unwrap();
    assert_eq!((w, r, two), ([2.0, 1.0, 3.0], [5.0, 4.0, 6.0], [20.0, 10.0, 30.0, 2.0, 1.0, 3.0]));
    numbered(&before).export_keras(&mut w, &mut r, Some(&mut three)).unwrap();
    assert_eq!(three, [22.0, 11.0, 33.0]);
    numbered(&before).export_onnx(&mut w, &mut r, Some(&mut two)).unwrap();
    assert_eq!((w, r, two), ([2.0, 1.0, 3.0], [5.0, 4.0, 6.0], [20.0, 10.0, 30.0, 2.0, 1.0, 3.0]));
    // u, r, o and u′ of oneDNN; z, r, W of h and R of h of OpenVINO.
    numbered(&after).export_onednn_ldigo(&mut w, &mut r, Some(&mut four)).unwrap();
    assert_eq!((w, r, four), ([2.0, 1.0, 3.0], [5.0, 4.0, 6.0], [22.0, 11.0, 30.0, 3.0]));
    numbered(&after).export_openvino(&mut w, &mut r, Some(&mut four)).unwrap();
    assert_eq!((w, r, four), ([2.0, 1.0, 3.0], [5.0, 4.0, 6.0], [22.0, 11.0, 30.0, 3.0]));
    numbered(&before).export_openvino(&mut w, &mut r, Some(&mut three)).unwrap();
    assert_eq!(three, [22.0, 11.0, 33.0]);

    let (mut w_ru, mut w_c, mut b_ru, mut b_c) = ([0.0; 4], [0.0; 2], [0.0; 2], [0.0]);
    numbered(&before).export_tensorflow_block([&mut w_ru, &mut w_c], Some([&mut b_ru, &mut b_c])).unwrap();
    assert_eq!((w_ru, w_c, b_ru, b_c), ([1.0, 2.0, 4.0, 5.0], [3.0, 6.0], [11.0, 22.0], [33.0]));
    let refused = numbered(&after).export_tensorflow_block([&mut w_ru, &mut w_c], None).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "layout of GRUBlockCell", .. }), "{refused}");

    let mut cells = [[0.0]; 12];
    let [a, b, c, d, e, f, g, h, i, j, k, l] = cells.each_mut().map(|cell| &mut cell[..]);
    let tensors =
        GruTensors { input: [a, b, c], recurrent: [d, e, f], biases: [Some([g, h, i]), Some([j, k, l])] };
    numbered(&after).export_cudnn(tensors).unwrap();
    let expected = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 30.0, 1.0, 2.0, 3.0];
    assert_eq!(cells.as_flattened(), expected);
}

#[test]
fn layouts_are_read_as_they_were_written() {
    for reset_gate in [ResetGate::AfterProduct, ResetGate::BeforeProduct] {
        let (inputs, units) = (3, 2);
        let case = Case::random(9, [4, 2, inputs, units], reset_gate);
        let config = GruConfig::new(inputs, units).reset_gate(reset_gate);
        let [first, second] = &case.biases;
        let weights =
            GruWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(first), Some(second))
                .unwrap();
        let run = |weights: GruWeights<'_>| {
            let gru = Gru::new(&config, &weights).unwrap();
            let mut output = vec![f32::NAN; 4 * 2 * units];
            let call = Forward::new(Sequence::time_major(&case.x, 4, 2, inputs))
                .output(SequenceMut::time_major(&mut output, 4, 2, units));
            gru.forward(&mut gru.workspace(2).unwrap(), call).unwrap();
            bits(&output)
        };
        let expected = run(weights);
        let (mut w, mut r) = (vec![0.0; 3 * units * inputs], vec![0.0; 3 * units * units]);
        let biases = if reset_gate == ResetGate::AfterProduct { 4 } else { 3 };
        let mut bias = vec![0.0; biases * units];
        weights.export_onednn_ldigo(&mut w, &mut r, Some(&mut bias)).unwrap();
        assert_eq!(run(GruWeights::onednn_ldigo(&config, &w, &r, Some(&bias)).unwrap()), expected);
        weights.export_openvino(&mut w, &mut r, Some(&mut bias)).unwrap();
        assert_eq!(run(GruWeights::openvino(&config, &w, &r, Some(&bias)).unwrap()), expected);
        let mut both = vec![0.0; 6 * units];
        weights.export_onnx(&mut w, &mut r, Some(&mut both)).unwrap();
        assert_eq!(run(GruWeights::onnx(&config, &w, &r, Some(&both)).unwrap()), expected);

        let (mut input, mut recurrent) = ([const { [0.0; 6] }; 3], [const { [0.0; 4] }; 3]);
        let mut biases = [[[0.0; 2]; 3]; 2];
        let mut biases_mut =
            biases.each_mut().map(|biases| Some(biases.each_mut().map(|bias| &mut bias[..])));
        let tensors = GruTensors {
            input: input.each_mut().map(|gate| &mut gate[..]),
            recurrent: recurrent.each_mut().map(|gate| &mut gate[..]),
            biases: [biases_mut[0].take(), biases_mut[1].take()],
        };
        weights.export_burn(tensors).unwrap();
        let tensors = GruTensors {
            input: input.each_ref().map(|gate| &gate[..]),
            recurrent: recurrent.each_ref().map(|gate| &gate[..]),
            biases: biases.each_ref().map(|biases| Some(biases.each_ref().map(|bias| &bias[..]))),
        };
        assert_eq!(run(GruWeights::burn(&config, tensors).unwrap()), expected);
        if reset_gate == ResetGate::BeforeProduct {
            let (mut w_ru, mut w_c, mut b_ru, mut b_c) = ([0.0; 20], [0.0; 10], [0.0; 4], [0.0; 2]);
            weights.export_tensorflow_block([&mut w_ru, &mut w_c], Some([&mut b_ru, &mut b_c])).unwrap();
            let read = GruWeights::tensorflow_block(&config, [&w_ru, &w_c], Some([&b_ru, &b_c])).unwrap();
            assert_eq!(run(read), expected);
        }
    }
}

#[test]
fn recorded_checksums_hold_on_every_level_with_fused_multiply_add() {
    let recorded: [([usize; 4], ResetGate, u64); 6] = [
        ([1, 1, 1, 1], ResetGate::AfterProduct, 0x83ff_3ba7_6dbb_7c56),
        ([7, 3, 5, 6], ResetGate::AfterProduct, 0x318f_a470_6a00_06af),
        ([13, 1, 17, 33], ResetGate::AfterProduct, 0x2d00_cff2_6da9_019a),
        ([6, 9, 40, 100], ResetGate::AfterProduct, 0xffca_3495_d3af_246a),
        ([7, 3, 5, 6], ResetGate::BeforeProduct, 0xf622_2d49_b7c7_88fe),
        ([6, 9, 40, 100], ResetGate::BeforeProduct, 0xaa97_2042_da96_b247),
    ];
    for isa in fused_levels() {
        let found = recorded.map(|(sizes, reset_gate, _)| {
            let case = Case::random(1, sizes, reset_gate);
            let found = case.found(Run { isa: Some(isa), ..Run::default() });
            fnv(all_bits(&found).into_iter().flat_map(u32::to_le_bytes))
        });
        assert_eq!(found, recorded.map(|(.., checksum)| checksum), "{isa}: {found:#x?}");
    }
}

#[test]
fn infinite_inputs_saturate_gates_as_far_as_they_meet_weights_of_one_sign() {
    // W·x of the candidate is infinite, and its R·h is not touched.
    for units in [1, 16, 17] {
        let config = GruConfig::new(1, units);
        let (w, r) = (vec![1.0; 3 * units], vec![0.5; 3 * units * units]);
        let gru = Gru::new(&config, &GruWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap();
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let config = config.clone().schedule(schedule);
            let gru = Gru::new(&config, &GruWeights::pytorch(&config, &w, &r, None, None).unwrap()).unwrap();
            let mut output = vec![f32::NAN; 2 * units];
            let call = Forward::new(Sequence::time_major(&[f32::NEG_INFINITY, f32::NEG_INFINITY], 2, 1, 1))
                .output(SequenceMut::time_major(&mut output, 2, 1, units));
            gru.forward(&mut gru.workspace(1).unwrap(), call).unwrap();
            assert!(output.iter().all(|&h| (h + 1.0).abs() < 1e-6), "{units}, {schedule:?}: {output:?}");
        }
        let mut state = gru.state(1).unwrap();
        gru.step(&mut state, Matrix::new(&[f32::NEG_INFINITY], 1, 1)).unwrap();
        assert!(state.hidden(0).unwrap().iter().all(|&h| (h + 1.0).abs() < 1e-6));
    }
}

#[test]
fn a_buffer_of_all_parameters_makes_the_same_layer() {
    let case = Case::random(5, [4, 2, 3, 17], ResetGate::AfterProduct);
    let [first, second] = &case.biases;
    let units = 17;
    let config = GruConfig::new(3, units);
    let sums = first.iter().zip(second).map(|(a, b)| a + b).take(2 * units);
    let bias: Vec<f32> = sums.chain(first[2 * units..].iter().chain(&second[2 * units..]).copied()).collect();
    let parameters = [&case.weight_ih[..], &case.weight_hh, &bias].concat();
    let gru = Gru::new(&config, &GruWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
    let run = |gru: &Gru| {
        let mut output = vec![f32::NAN; 4 * 2 * units];
        let call = Forward::new(Sequence::time_major(&case.x, 4, 2, 3)).output(SequenceMut::time_major(
            &mut output,
            4,
            2,
            units,
        ));
        gru.forward(&mut gru.workspace(2).unwrap(), call).unwrap();
        bits(&output)
    };
    assert_eq!(run(&gru), run(&case.gru(Run::default())));
    let refused = GruWeights::from_parameters(&config, &parameters[1..]).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "parameters", .. }), "{refused}");
}

#[test]
fn a_cell_state_is_refused() {
    let case = Case::random(1, [2, 1, 1, 1], ResetGate::AfterProduct);
    let gru = case.gru(Run::default());
    let mut workspace = gru.workspace(1).unwrap();
    let input = Sequence::time_major(&case.x, 2, 1, 1);
    let call = Forward::new(input).initial_cell(Matrix::new(&[0.0], 1, 1));
    let refused = gru.forward(&mut workspace, call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "initial_cell", .. }), "{refused}");
    let call = Backward::new(input).last_cell_cotangent(Matrix::new(&[0.0], 1, 1));
    let refused = gru.backward(&mut workspace, &mut gru.tape(2, 1).unwrap(), call).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "last_cell_cotangent", .. }), "{refused}");
    let refused = gru.state(1).unwrap().set_cell(Matrix::new(&[0.0], 1, 1)).unwrap_err();
    assert!(matches!(refused, Error::Unexpected { argument: "cell", .. }), "{refused}");
}

#[test]
fn what_another_cell_made_is_refused() {
    let case = Case::random(1, [2, 1, 1, 1], ResetGate::AfterProduct);
    let gru = case.gru(Run::default());
    let config = RnnConfig::new(1, 1).training();
    let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &[1.0], &[1.0], None, None).unwrap()).unwrap();
    let input = || Sequence::time_major(&case.x, 2, 1, 1);
    let mut tape = rnn.tape(2, 1).unwrap();
    let refused =
        gru.forward(&mut gru.workspace(1).unwrap(), Forward::new(input()).tape(&mut tape)).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "tape", .. }), "{refused}");
    let refused = gru.forward(&mut rnn.workspace(1).unwrap(), Forward::new(input())).unwrap_err();
    assert!(matches!(refused, Error::Workspace { argument: "workspace", .. }), "{refused}");
    let refused = gru.step(&mut rnn.state(1).unwrap(), Matrix::new(&[0.0], 1, 1)).unwrap_err();
    assert!(matches!(refused, Error::Workspace { argument: "state", .. }), "{refused}");
}

#[test]
fn tensors_of_other_sizes_are_refused_by_name() {
    let config = GruConfig::new(3, 2);
    let w = [0.0; 24];
    let of = |input: usize, recurrent: usize, bias: usize| {
        GruWeights::pytorch(&config, &w[..input], &w[..recurrent], Some(&w[..bias]), None).unwrap_err()
    };
    let refusals = [(of(17, 12, 6), "weight_ih"), (of(18, 11, 6), "weight_hh"), (of(18, 12, 5), "bias_ih")];
    for (refused, name) in refusals {
        assert!(matches!(refused, Error::Length { argument, .. } if argument == name), "{refused}");
    }
    let refused = GruWeights::keras(&config, &w[..18], &w[..12], Some(&w[..11])).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "bias", expected: 12, found: 11, .. }), "{refused}");
    let refused = GruWeights::pytorch(&GruConfig::new(3, 0), &[], &[], None, None).unwrap_err();
    assert!(matches!(refused, Error::Zero { argument: "hidden size", .. }), "{refused}");
    let refused = GruWeights::pytorch(&GruConfig::new(3, usize::MAX / 2), &[], &[], None, None).unwrap_err();
    assert!(matches!(refused, Error::Overflow { argument: "hidden size", .. }), "{refused}");
}

#[test]
fn a_bias_without_room_is_not_dropped() {
    let case = Case::random(1, [1, 1, 2, 3], ResetGate::AfterProduct);
    let config = GruConfig::new(2, 3);
    let [first, second] = &case.biases;
    let (mut w, mut r, mut b) = (vec![7.0; 18], vec![7.0; 27], vec![7.0; 9]);
    let both =
        GruWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(first), Some(second)).unwrap();
    let refused = both.export_pytorch(&mut w, &mut r, Some(&mut b), None).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "bias_hh", .. }), "{refused}");
    let one = GruWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(first), None).unwrap();
    let refused = one.export_pytorch(&mut w, &mut r, None, Some(&mut b)).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "bias_ih", .. }), "{refused}");
    assert!([w, r, b].iter().flatten().all(|&element| element == 7.0));
}
