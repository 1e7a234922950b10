//! Weights of every named framework: read as the framework means them, and written back as they were.

use crate::common::golden::{GoldenFile, assert_relative, transpose};
use crate::common::refused::Refused;
use crate::common::{Random, levels, widen};
use proptest::prelude::*;
use quadgate::{
    Backward, Coupling, Directions, Error, Forward, Gru, GruConfig, GruWeights, JoinedTensors, Lstm,
    LstmConfig, LstmStack, LstmWeights, Matrix, MatrixMut, Orientation, ResetGate, Rnn, RnnConfig,
    RnnWeights, SeparateTensors, Sequence, SequenceMut, StackConfig, Threads, WeightLayout,
};

const INPUTS: usize = 3;
const UNITS: usize = 2;

/// The gates of PyTorch.
const PYTORCH: [char; 4] = ['i', 'f', 'g', 'o'];

/// What each element of W, R, the biases and the peepholes is called, as a number.
fn w(gate: char, unit: usize, k: usize) -> f32 {
    1000.0 + gate_number(gate) + (10 * unit + k) as f32
}

fn r(gate: char, unit: usize, k: usize) -> f32 {
    2000.0 + gate_number(gate) + (10 * unit + k) as f32
}

fn b(which: usize, gate: char, unit: usize) -> f32 {
    3000.0 + 1000.0 * which as f32 + gate_number(gate) + unit as f32
}

fn p(gate: char, unit: usize) -> f32 {
    5000.0 + gate_number(gate) + unit as f32
}

fn gate_number(gate: char) -> f32 {
    100.0 * PYTORCH.iter().position(|&other| other == gate).unwrap() as f32
}

/// `[4H, inputs]` of the gates in an order.
fn rows(order: &str, inputs: usize, element: impl Fn(char, usize, usize) -> f32) -> Vec<f32> {
    let mut values = Vec::new();
    for gate in order.chars() {
        for unit in 0..UNITS {
            values.extend((0..inputs).map(|k| element(gate, unit, k)));
        }
    }
    values
}

/// `[inputs, 4H]` of the gates in an order.
fn columns(order: &str, inputs: usize, element: impl Fn(char, usize, usize) -> f32) -> Vec<f32> {
    let mut values = Vec::new();
    for k in 0..inputs {
        for gate in order.chars() {
            values.extend((0..UNITS).map(|unit| element(gate, unit, k)));
        }
    }
    values
}

/// A vector of the gates in an order.
fn vector(order: &str, element: impl Fn(char, usize) -> f32) -> Vec<f32> {
    order.chars().flat_map(|gate| (0..UNITS).map(|unit| element(gate, unit)).collect::<Vec<_>>()).collect()
}

fn config() -> LstmConfig {
    LstmConfig::new(INPUTS, UNITS)
}

/// Fails unless the weights are the named numbers, with this many biases, and peepholes or not.
fn assert_meaning(framework: &str, weights: &LstmWeights<'_>, biases: usize, peepholes: bool) {
    let mut weight_ih = vec![f32::NAN; 4 * UNITS * INPUTS];
    let mut weight_hh = vec![f32::NAN; 4 * UNITS * UNITS];
    let mut bias_ih = vec![f32::NAN; 4 * UNITS];
    let mut bias_hh = vec![f32::NAN; 4 * UNITS];
    let mut peephole = vec![f32::NAN; 3 * UNITS];
    let tensors = JoinedTensors {
        input: &mut weight_ih[..],
        recurrent: &mut weight_hh,
        biases: [Some(&mut bias_ih), Some(&mut bias_hh)],
        peepholes: Some(&mut peephole),
    };
    weights.export_joined(WeightLayout::PYTORCH, tensors).unwrap();
    assert_eq!(weight_ih, rows("ifgo", INPUTS, w), "{framework}");
    assert_eq!(weight_hh, rows("ifgo", UNITS, r), "{framework}");
    assert_eq!(bias_ih, vector("ifgo", |gate, unit| b(0, gate, unit)), "{framework}");
    let second = |gate, unit| if biases == 2 { b(1, gate, unit) } else { 0.0 };
    assert_eq!(bias_hh, vector("ifgo", second), "{framework}");
    let expected = |gate, unit| if peepholes { p(gate, unit) } else { 0.0 };
    assert_eq!(peephole, vector("ifo", expected), "{framework}");
}

#[test]
fn pytorch_has_rows_of_i_f_g_o_and_two_biases() {
    let (w, r) = (rows("ifgo", INPUTS, w), rows("ifgo", UNITS, r));
    let [ih, hh] = [0, 1].map(|which| vector("ifgo", |gate, unit| b(which, gate, unit)));
    let weights = LstmWeights::pytorch(&config(), &w, &r, Some(&ih), Some(&hh)).unwrap();
    assert_meaning("PyTorch", &weights, 2, false);
}

#[test]
fn keras_has_columns_of_i_f_c_o_and_one_bias() {
    let (w, r) = (columns("ifgo", INPUTS, w), columns("ifgo", UNITS, r));
    let bias = vector("ifgo", |gate, unit| b(0, gate, unit));
    assert_meaning("Keras", &LstmWeights::keras(&config(), &w, &r, Some(&bias)).unwrap(), 1, false);
}

#[test]
fn tensorflow_has_one_matrix_of_columns_of_i_c_f_o_or_in_version_2_of_i_f_c_o() {
    for (order, version) in [("igfo", 1), ("ifgo", 2)] {
        let w = [columns(order, INPUTS, w), columns(order, UNITS, r)].concat();
        let bias = vector(order, |gate, unit| b(0, gate, unit));
        let [wci, wcf, wco] = ["i", "f", "o"].map(|gate| vector(gate, p));
        let import = match version {
            1 => LstmWeights::tensorflow_block,
            _ => LstmWeights::tensorflow_block_v2,
        };
        let weights = import(&config(), &w, Some(&bias), Some([&wci, &wcf, &wco])).unwrap();
        assert_meaning(order, &weights, 1, true);
    }
}

#[test]
fn onnx_has_rows_of_i_o_f_c_two_biases_in_one_and_peepholes_i_o_f() {
    let (w, r) = (rows("iofg", INPUTS, w), rows("iofg", UNITS, r));
    let bias = [0, 1].map(|which| vector("iofg", |gate, unit| b(which, gate, unit))).concat();
    let peepholes = vector("iof", p);
    let weights = LstmWeights::onnx(&config(), &w, &r, Some(&bias), Some(&peepholes)).unwrap();
    assert_meaning("ONNX", &weights, 2, true);
}

#[test]
fn onednn_has_columns_of_i_f_c_o_and_peepholes_i_f_o() {
    let (w, r) = (columns("ifgo", INPUTS, w), columns("ifgo", UNITS, r));
    let (bias, peepholes) = (vector("ifgo", |gate, unit| b(0, gate, unit)), vector("ifo", p));
    let weights = LstmWeights::onednn_ldigo(&config(), &w, &r, Some(&bias), Some(&peepholes)).unwrap();
    assert_meaning("oneDNN", &weights, 1, true);
}

#[test]
fn openvino_has_rows_of_f_i_c_o_and_one_bias() {
    let (w, r) = (rows("figo", INPUTS, w), rows("figo", UNITS, r));
    let bias = vector("figo", |gate, unit| b(0, gate, unit));
    assert_meaning("OpenVINO", &LstmWeights::openvino(&config(), &w, &r, Some(&bias)).unwrap(), 1, false);
}

#[test]
fn coreml_has_rows_of_i_f_o_z_and_peepholes_i_f_o() {
    let (w, r) = (rows("ifog", INPUTS, w), rows("ifog", UNITS, r));
    let (bias, peepholes) = (vector("ifog", |gate, unit| b(0, gate, unit)), vector("ifo", p));
    let weights = LstmWeights::coreml(&config(), &w, &r, Some(&bias), Some(&peepholes)).unwrap();
    assert_meaning("Core ML", &weights, 1, true);
}

#[test]
fn cudnn_and_tflite_have_rows_and_burn_columns_of_each_gate() {
    let each = |element: &dyn Fn(&str) -> Vec<f32>| ["i", "f", "g", "o"].map(element);
    let biases = [0, 1].map(|which| each(&|gate| vector(gate, |gate, unit| b(which, gate, unit))));
    let biases = biases.each_ref().map(|biases| Some(biases.each_ref().map(Vec::as_slice)));
    let peepholes = ["i", "f", "o"].map(|gate| vector(gate, p));
    let peepholes = Some(peepholes.each_ref().map(Vec::as_slice));

    let (input, recurrent) = (each(&|gate| rows(gate, INPUTS, w)), each(&|gate| rows(gate, UNITS, r)));
    let tensors = SeparateTensors {
        input: input.each_ref().map(Vec::as_slice),
        recurrent: recurrent.each_ref().map(Vec::as_slice),
        biases,
        peepholes: None,
    };
    assert_meaning("cuDNN", &LstmWeights::cudnn(&config(), tensors).unwrap(), 2, false);
    let tensors = SeparateTensors { biases: [biases[0], None], peepholes, ..tensors };
    assert_meaning("TensorFlow Lite", &LstmWeights::tflite(&config(), tensors).unwrap(), 1, true);

    let (input, recurrent) = (each(&|gate| columns(gate, INPUTS, w)), each(&|gate| columns(gate, UNITS, r)));
    let tensors = SeparateTensors {
        input: input.each_ref().map(Vec::as_slice),
        recurrent: recurrent.each_ref().map(Vec::as_slice),
        biases,
        peepholes: None,
    };
    assert_meaning("burn", &LstmWeights::burn(&config(), tensors).unwrap(), 2, false);
}

/// Random tensors of a layer, and room for the same.
struct Tensors {
    config: LstmConfig,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    p: Vec<f32>,
}

impl Tensors {
    fn random(seed: u64, inputs: usize, units: usize, biases: usize) -> Self {
        let random = &mut Random(seed);
        Self {
            config: LstmConfig::new(inputs, units),
            w: random.vec(4 * units * inputs, 1.0),
            r: random.vec(4 * units * units, 1.0),
            b: random.vec(biases * 4 * units, 1.0),
            p: random.vec(3 * units, 1.0),
        }
    }

    fn room(&self) -> Self {
        let room = |of: &Vec<f32>| vec![f32::NAN; of.len()];
        Self {
            config: self.config.clone(),
            w: room(&self.w),
            r: room(&self.r),
            b: room(&self.b),
            p: room(&self.p),
        }
    }

    fn separate(&self, peepholes: bool) -> SeparateTensors<&[f32]> {
        let units = self.config.hidden_size();
        let gates = |values| parts::<4>(values);
        let mut biases = self.b.chunks_exact(4 * units).map(gates);
        SeparateTensors {
            input: gates(&self.w),
            recurrent: gates(&self.r),
            biases: [biases.next(), biases.next()],
            peepholes: peepholes.then(|| parts(&self.p)),
        }
    }

    fn separate_mut(&mut self, peepholes: bool) -> SeparateTensors<&mut [f32]> {
        let units = self.config.hidden_size();
        let mut biases = self.b.chunks_exact_mut(4 * units).map(parts_mut::<4>);
        SeparateTensors {
            input: parts_mut(&mut self.w),
            recurrent: parts_mut(&mut self.r),
            biases: [biases.next(), biases.next()],
            peepholes: peepholes.then(|| parts_mut(&mut self.p)),
        }
    }

    fn assert_same(&self, other: &Self, peepholes: bool) {
        assert_eq!((&self.w, &self.r, &self.b), (&other.w, &other.r, &other.b));
        assert!(!peepholes || self.p == other.p);
    }
}

fn parts<const N: usize>(values: &[f32]) -> [&[f32]; N] {
    let len = values.len() / N;
    std::array::from_fn(|part| &values[part * len..][..len])
}

fn parts_mut<const N: usize>(values: &mut [f32]) -> [&mut [f32]; N] {
    let len = values.len() / N;
    let mut rest = values;
    std::array::from_fn(|_| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        part
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_read_is_written_back_as_it_was(seed: u64, inputs in 0usize..6, units in 1usize..6) {
        let one = Tensors::random(seed, inputs, units, 1);
        let two = Tensors::random(seed, inputs, units, 2);
        let config = &one.config;

        let mut room = two.room();
        let (ih, hh) = two.b.split_at(4 * units);
        let weights = LstmWeights::pytorch(config, &two.w, &two.r, Some(ih), Some(hh)).unwrap();
        let (ih, hh) = room.b.split_at_mut(4 * units);
        weights.export_pytorch(&mut room.w, &mut room.r, Some(ih), Some(hh)).unwrap();
        two.assert_same(&room, false);

        let mut room = one.room();
        let weights = LstmWeights::keras(config, &one.w, &one.r, Some(&one.b)).unwrap();
        weights.export_keras(&mut room.w, &mut room.r, Some(&mut room.b)).unwrap();
        one.assert_same(&room, false);

        let joined = [&one.w[..], &one.r].concat();
        let (mut w, mut room) = (vec![f32::NAN; joined.len()], one.room());
        let weights =
            LstmWeights::tensorflow_block(config, &joined, Some(&one.b), Some(parts(&one.p))).unwrap();
        weights.export_tensorflow_block(&mut w, Some(&mut room.b), Some(parts_mut(&mut room.p))).unwrap();
        prop_assert_eq!((&joined, &one.b, &one.p), (&w, &room.b, &room.p));

        let (mut w, mut room) = (vec![f32::NAN; joined.len()], one.room());
        let weights =
            LstmWeights::tensorflow_block_v2(config, &joined, Some(&one.b), Some(parts(&one.p))).unwrap();
        weights.export_tensorflow_block_v2(&mut w, Some(&mut room.b), Some(parts_mut(&mut room.p))).unwrap();
        prop_assert_eq!((&joined, &one.b, &one.p), (&w, &room.b, &room.p));

        let mut room = two.room();
        let weights = LstmWeights::onnx(config, &two.w, &two.r, Some(&two.b), Some(&two.p)).unwrap();
        weights.export_onnx(&mut room.w, &mut room.r, Some(&mut room.b), Some(&mut room.p)).unwrap();
        two.assert_same(&room, true);

        let mut room = one.room();
        let weights = LstmWeights::onednn_ldigo(config, &one.w, &one.r, Some(&one.b), Some(&one.p)).unwrap();
        weights.export_onednn_ldigo(&mut room.w, &mut room.r, Some(&mut room.b), Some(&mut room.p)).unwrap();
        one.assert_same(&room, true);

        let mut room = one.room();
        let weights = LstmWeights::openvino(config, &one.w, &one.r, Some(&one.b)).unwrap();
        weights.export_openvino(&mut room.w, &mut room.r, Some(&mut room.b)).unwrap();
        one.assert_same(&room, false);

        let mut room = one.room();
        let weights = LstmWeights::coreml(config, &one.w, &one.r, Some(&one.b), Some(&one.p)).unwrap();
        weights.export_coreml(&mut room.w, &mut room.r, Some(&mut room.b), Some(&mut room.p)).unwrap();
        one.assert_same(&room, true);

        let mut room = two.room();
        let weights = LstmWeights::cudnn(config, two.separate(false)).unwrap();
        weights.export_cudnn(room.separate_mut(false)).unwrap();
        two.assert_same(&room, false);

        let mut room = one.room();
        let weights = LstmWeights::tflite(config, one.separate(true)).unwrap();
        weights.export_tflite(room.separate_mut(true)).unwrap();
        one.assert_same(&room, true);

        let mut room = two.room();
        let weights = LstmWeights::burn(config, two.separate(false)).unwrap();
        weights.export_burn(room.separate_mut(false)).unwrap();
        two.assert_same(&room, false);
    }
}

#[test]
fn two_biases_are_summed_where_there_is_room_for_one_and_a_forget_bias_is_added() {
    let (w, r) = ([0.5; 4 * UNITS * INPUTS], [0.5; 4 * UNITS * UNITS]);
    let (ih, hh) = ([1.0; 4 * UNITS], [2.0; 4 * UNITS]);
    let weights = LstmWeights::pytorch(&config(), &w, &r, Some(&ih), Some(&hh)).unwrap().forget_bias(10.0);
    let (mut kernel, mut recurrent, mut bias) = (w, r, [f32::NAN; 4 * UNITS]);
    weights.export_keras(&mut kernel, &mut recurrent, Some(&mut bias)).unwrap();
    assert_eq!(bias, [3.0, 3.0, 13.0, 13.0, 3.0, 3.0, 3.0, 3.0]);

    let (mut first, mut second) = ([f32::NAN; 4 * UNITS], [f32::NAN; 4 * UNITS]);
    weights.export_pytorch(&mut kernel, &mut recurrent, Some(&mut first), Some(&mut second)).unwrap();
    assert_eq!(first, [1.0, 1.0, 11.0, 11.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(second, hh);
}

#[test]
fn a_layer_runs_with_the_forget_bias() {
    let x = [0.3, -0.2, 0.7];
    let (w, r) = ([0.1; 4 * UNITS * INPUTS], [0.2; 4 * UNITS * UNITS]);
    let mut bias = [0.0; 4 * UNITS];
    let run = |weights: LstmWeights<'_>| {
        let lstm = Lstm::new(&config(), &weights).unwrap();
        let mut state = lstm.state(1).unwrap();
        state.set_cell(Matrix::new(&[1.0; UNITS], 1, UNITS)).unwrap();
        lstm.step(&mut state, Matrix::new(&x, 1, INPUTS)).unwrap();
        state.hidden(0).unwrap().to_vec()
    };
    let by_constant = run(LstmWeights::pytorch(&config(), &w, &r, None, None).unwrap().forget_bias(1.5));
    bias[UNITS..2 * UNITS].fill(1.5);
    let by_tensor = run(LstmWeights::pytorch(&config(), &w, &r, Some(&bias), None).unwrap());
    assert_eq!(by_constant, by_tensor);
}

#[test]
fn an_export_without_room_for_a_bias_or_peephole_is_refused_and_writes_nothing() {
    let (w, r) = ([0.5; 4 * UNITS * INPUTS], [0.5; 4 * UNITS * UNITS]);
    let (b, p) = ([1.0; 8 * UNITS], [1.0; 3 * UNITS]);
    let (mut w_room, mut r_room, mut b_room) = ([7.0; 24], [7.0; 16], [7.0; 16]);

    let weights = LstmWeights::onnx(&config(), &w, &r, Some(&b), Some(&p)).unwrap();
    let error = weights.export_onnx(&mut w_room, &mut r_room, None, None).unwrap_err();
    assert_eq!(error, Refused::Missing { argument: "B" });
    let error = weights.export_onnx(&mut w_room, &mut r_room, Some(&mut b_room), None).unwrap_err();
    assert_eq!(error, Refused::Missing { argument: "P" });
    let error = weights.export_openvino(&mut w_room, &mut r_room, Some(&mut b_room[..8])).unwrap_err();
    assert_eq!(error, Refused::Missing { argument: "peepholes" });
    let mut joined = [7.0; 40];
    let error = weights.export_tensorflow_block(&mut joined, Some(&mut b_room[..8]), None).unwrap_err();
    assert_eq!(error, Refused::Missing { argument: "wci, wcf and wco" });
    for written in [&w_room[..], &r_room, &b_room, &joined] {
        assert!(written.iter().all(|&value| value == 7.0));
    }
}

#[test]
fn a_tensor_of_the_wrong_length_is_named_as_the_framework_names_it() {
    let config = &config();
    let (w, r, b, p) = (&[0.0; 24][..], &[0.0; 16][..], &[0.0; 8][..], &[0.0; 6][..]);
    let two = &[0.0; 16][..];
    let length = |argument, expected, found| Refused::Length { argument, expected, found };
    for (result, expected) in [
        (LstmWeights::pytorch(config, &w[1..], r, None, None), length("weight_ih", 24, 23)),
        (LstmWeights::pytorch(config, w, r, None, Some(&b[1..])), length("bias_hh", 8, 7)),
        (LstmWeights::keras(config, w, &r[1..], None), length("recurrent_kernel", 16, 15)),
        (LstmWeights::tensorflow_block(config, w, None, None), length("w", 40, 24)),
        (
            LstmWeights::tensorflow_block_v2(config, &[0.0; 40], Some(b), Some([&p[..2], &p[..1], &p[..2]])),
            length("wcf", 2, 1),
        ),
        (LstmWeights::onnx(config, w, r, Some(b), None), length("B", 16, 8)),
        (LstmWeights::onnx(config, w, r, Some(two), Some(b)), length("P", 6, 8)),
        (LstmWeights::onednn_ldigo(config, w, r, Some(b), Some(&p[1..])), length("weights_peephole", 6, 5)),
        (LstmWeights::openvino(config, w, &r[1..], None), length("R", 16, 15)),
        (LstmWeights::coreml(config, w, r, Some(two), None), length("bias", 8, 16)),
        (
            LstmWeights::cudnn(
                config,
                SeparateTensors {
                    input: [&w[..6], &w[..6], &w[..5], &w[..6]],
                    recurrent: [&r[..4]; 4],
                    biases: [None, None],
                    peepholes: None,
                },
            ),
            length("input weights of g", 6, 5),
        ),
        (
            LstmWeights::burn(
                config,
                SeparateTensors {
                    input: [&w[..6]; 4],
                    recurrent: [&r[..4]; 4],
                    biases: [Some([&b[..2]; 4]), Some([&b[..2], &b[..2], &b[..2], b])],
                    peepholes: None,
                },
            ),
            length("second bias of o", 2, 8),
        ),
    ] {
        assert_eq!(result.unwrap_err(), expected);
    }
    let error = LstmWeights::keras(&LstmConfig::new(3, 0), &[], &[], None).unwrap_err();
    assert_eq!(error, Refused::Zero { argument: "hidden size" });
    let error = LstmWeights::onnx(&LstmConfig::new(usize::MAX, 2), w, r, None, None).unwrap_err();
    assert_eq!(error, Refused::Overflow { argument: "W" });
    let error = LstmWeights::tensorflow_block(&LstmConfig::new(usize::MAX, 2), w, None, None).unwrap_err();
    assert_eq!(error, Refused::Overflow { argument: "w" });
}

#[test]
fn a_layer_refuses_peepholes() {
    let (w, r, p) = ([0.0; 24], [0.0; 16], [0.0; 6]);
    let weights = LstmWeights::onnx(&config(), &w, &r, None, Some(&p)).unwrap();
    assert_eq!(Lstm::new(&config(), &weights).unwrap_err(), Refused::Unexpected { argument: "peepholes" });
}

/// Every h `[T, B, H]`, the last h and the last c of a layer with these weights.
fn run(
    weights: &LstmWeights<'_>,
    [steps, batch]: [usize; 2],
    x: &[f32],
    initial: [&[f32]; 2],
) -> [Vec<f64>; 3] {
    let (inputs, units) = (weights.input_size(), weights.hidden_size());
    let lstm = Lstm::new(&LstmConfig::new(inputs, units), weights).unwrap();
    let mut output = vec![f32::NAN; steps * batch * units];
    let (mut last_hidden, mut last_cell) = (vec![f32::NAN; batch * units], vec![f32::NAN; batch * units]);
    let call = Forward::new(Sequence::time_major(x, steps, batch, inputs))
        .initial_hidden(Matrix::new(initial[0], batch, units))
        .initial_cell(Matrix::new(initial[1], batch, units))
        .output(SequenceMut::time_major(&mut output, steps, batch, units))
        .last_hidden(MatrixMut::new(&mut last_hidden, batch, units))
        .last_cell(MatrixMut::new(&mut last_cell, batch, units));
    lstm.forward(&mut lstm.workspace(batch).unwrap(), call).unwrap();
    [output, last_hidden, last_cell].map(|values| widen(&values))
}

#[test]
fn weights_of_onnx_give_the_answers_of_onnx_runtime() {
    let golden = GoldenFile::load("onnx_lstm_plain");
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [x, w, r, b, h, c] =
        ["X", "W", "R", "Bias", "initial_h", "initial_c"].map(|name| golden.narrow(name));
    let weights = LstmWeights::onnx(&LstmConfig::new(inputs, units), &w, &r, Some(&b), None).unwrap();
    let found = run(&weights, [steps, batch], &x, [&h, &c]);
    for (name, found) in ["Y", "Y_h", "Y_c"].into_iter().zip(found) {
        assert_relative(name, &found, &golden.tensor(name), 5e-6);
    }
}

#[test]
fn weights_of_keras_give_the_answers_of_keras() {
    for name in ["keras_lstm", "keras_lstm_wide", "keras_lstm_backwards"] {
        let golden = GoldenFile::load(name);
        let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
        let [kernel, recurrent, bias] =
            ["kernel", "recurrent_kernel", "bias"].map(|name| golden.narrow(name));
        let mut x = transpose(&golden.narrow("x"), [batch, steps, inputs]);
        if golden.config["go_backwards"] == true {
            x = x.chunks_exact(batch * inputs).rev().flatten().copied().collect();
        }
        let config = LstmConfig::new(inputs, units);
        let weights = LstmWeights::keras(&config, &kernel, &recurrent, Some(&bias)).unwrap();
        let zeros = vec![0.0; batch * units];
        let [output, last_hidden, last_cell] = run(&weights, [steps, batch], &x, [&zeros, &zeros]);
        assert_relative(name, &output, &transpose(&golden.tensor("out"), [batch, steps, units]), 5e-6);
        assert_relative(name, &last_hidden, &golden.tensor("hn"), 5e-6);
        assert_relative(name, &last_cell, &golden.tensor("cn"), 5e-6);
    }
}

#[test]
fn weights_of_tensorflow_lite_give_its_answers() {
    let golden = GoldenFile::load("tflite_lstm_plain");
    let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
    let gates = ["input", "forget", "cell", "output"];
    let input = gates.map(|gate| golden.narrow(&format!("input_to_{gate}")));
    let recurrent = gates.map(|gate| golden.narrow(&format!("recurrent_to_{gate}")));
    let bias = gates.map(|gate| golden.narrow(&format!("{gate}_bias")));
    let tensors = SeparateTensors {
        input: input.each_ref().map(Vec::as_slice),
        recurrent: recurrent.each_ref().map(Vec::as_slice),
        biases: [Some(bias.each_ref().map(Vec::as_slice)), None],
        peepholes: None,
    };
    let weights = LstmWeights::tflite(&LstmConfig::new(inputs, units), tensors).unwrap();
    let zeros = vec![0.0; batch * units];
    let [output, ..] = run(&weights, [steps, batch], &golden.narrow("x"), [&zeros, &zeros]);
    assert_relative("output", &output, &golden.tensor("y"), 5e-6);
}

#[test]
fn each_tensor_of_a_gate_that_is_not_read_may_be_empty_but_not_of_another_length() {
    static ONES: [f32; 9] = [0.25; 9];
    let right = [6, 4, 2, 2, 2];
    for (coupling, unread, peephole) in [(Coupling::InputFromForget, 0, 0), (Coupling::ForgetFromInput, 1, 1)]
    {
        let config = config().coupling(coupling).peepholes();
        let answer = |lengths: [usize; 5]| -> Result<Vec<f32>, Error> {
            let of = |which: usize| -> [&[f32]; 4] {
                let mut tensors = [&ONES[..right[which]]; 4];
                tensors[unread] = &ONES[..lengths[which]];
                tensors
            };
            let mut peepholes = [&ONES[..2]; 3];
            peepholes[peephole] = &ONES[..lengths[4]];
            let tensors = SeparateTensors {
                input: of(0),
                recurrent: of(1),
                biases: [Some(of(2)), Some(of(3))],
                peepholes: Some(peepholes),
            };
            let weights = LstmWeights::separate(&config, Orientation::GatesByInputs, tensors)?;
            let (mut w, mut b, mut p) = ([7.0; 40], [7.0; 8], [[7.0; 2]; 3]);
            let room = p.each_mut().map(|peephole| &mut peephole[..]);
            weights.export_tensorflow_block(&mut w, Some(&mut b), Some(room))?;
            assert_eq!(p[peephole], if lengths[4] == 0 { [0.0; 2] } else { [0.25; 2] });
            let mut h = [0.0; 6];
            let lstm = Lstm::new(&config, &weights)?;
            let call = Forward::new(Sequence::time_major(&ONES, 3, 1, 3));
            lstm.forward(&mut lstm.workspace(1)?, call.output(SequenceMut::time_major(&mut h, 3, 1, 2)))?;
            Ok(h.to_vec())
        };
        let expected = answer(right).unwrap();
        for subset in 0..1 << 5 {
            let lengths =
                [0, 1, 2, 3, 4].map(|which| if subset >> which & 1 == 1 { 0 } else { right[which] });
            assert_eq!(answer(lengths).unwrap(), expected, "{lengths:?}");
            for which in 0..5 {
                for wrong in [1, right[which] - 1, right[which] + 1] {
                    let mut lengths = lengths;
                    lengths[which] = wrong;
                    assert!(
                        matches!(answer(lengths), Err(Error::Length { found, .. }) if found == wrong),
                        "{lengths:?}"
                    );
                }
            }
        }
    }
}

/// Keras' `transpose_input(from_cudnn=False)` of one gate's `[rows, columns]`: `kernel.T.reshape(kernel.shape)`.
fn to_cudnn(kernel: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let transposed = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
    transposed.map(|(row, column)| kernel[row * columns + column]).collect()
}

/// `np.hstack` of the gates' `[rows, H]`.
fn stacked(gates: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let row = |row: usize| gates.iter().flat_map(move |gate| gate.chunks(UNITS).nth(row).unwrap().to_vec());
    (0..rows).flat_map(row).collect()
}

#[test]
fn files_of_cudnn_lstm_are_read_and_written_as_keras_converts_them() {
    // NumPy's answer.
    assert_eq!(to_cudnn(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, 3), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let config = &config();
    let columns = |inputs: usize, of: fn(char, usize, usize) -> f32| {
        PYTORCH.map(|gate| {
            let kernel: Vec<f32> =
                (0..inputs).flat_map(|k| (0..UNITS).map(move |unit| of(gate, unit, k))).collect();
            to_cudnn(&kernel, inputs, UNITS)
        })
    };
    let (kernel, recurrent) = (stacked(&columns(INPUTS, w), INPUTS), stacked(&columns(UNITS, r), UNITS));
    let bias: Vec<f32> = (0..2)
        .flat_map(|which| {
            PYTORCH.iter().flat_map(move |&gate| (0..UNITS).map(move |unit| b(which, gate, unit)))
        })
        .collect();
    let mut parameters = vec![7.0; config.parameters().unwrap().total()];
    let weights = LstmWeights::keras_cudnn(config, &kernel, &recurrent, &bias, &mut parameters).unwrap();
    let (mut weight_ih, mut weight_hh, mut sum) = ([0.0; 24], [0.0; 16], [0.0; 8]);
    weights.export_pytorch(&mut weight_ih, &mut weight_hh, Some(&mut sum), None).unwrap();
    assert_eq!(weight_ih[..], rows("ifgo", INPUTS, w));
    assert_eq!(weight_hh[..], rows("ifgo", UNITS, r));
    let both: Vec<f32> = bias[..8].iter().zip(&bias[8..]).map(|(a, b)| a + b).collect();
    assert_eq!(sum[..], both);

    let two =
        LstmWeights::pytorch(config, &weight_ih, &weight_hh, Some(&bias[..8]), Some(&bias[8..])).unwrap();
    let (mut to_kernel, mut to_recurrent, mut to_bias) = ([0.0; 24], [0.0; 16], [0.0; 16]);
    two.export_keras_cudnn(&mut to_kernel, &mut to_recurrent, &mut to_bias).unwrap();
    assert_eq!((&to_kernel[..], &to_recurrent[..], &to_bias[..]), (&kernel[..], &recurrent[..], &bias[..]));
}

#[test]
fn parameters_in_one_buffer_make_the_layer_that_their_tensors_make() {
    let config = config().peepholes().layer_normalization(0.5).projection(3).projection_bias();
    let ranges = config.parameters().unwrap();
    let parameters = Random(11).vec(ranges.total(), 1.0);
    let part = |range: &std::ops::Range<usize>| &parameters[range.clone()];
    let (p, s) = (part(&ranges.peepholes), part(&ranges.layer_normalization));
    let tensors = LstmWeights::pytorch(
        &config,
        part(&ranges.weight_ih),
        part(&ranges.weight_hh),
        Some(part(&ranges.bias)),
        None,
    )
    .and_then(|weights| weights.with_peepholes([&p[..2], &p[2..4], &p[4..]]))
    .and_then(|weights| weights.with_layer_normalization([&s[..2], &s[2..4], &s[4..6], &s[6..]]))
    .and_then(|weights| {
        let bias = Some(part(&ranges.projection_bias));
        weights.with_projection(Orientation::GatesByInputs, part(&ranges.projection), bias)
    })
    .unwrap();
    let answer = |weights: &LstmWeights<'_>| {
        let lstm = Lstm::new(&config, weights).unwrap();
        let mut h = [0.0; 4 * 3];
        let x = Random(12).vec(4 * INPUTS, 1.0);
        let call = Forward::new(Sequence::time_major(&x, 4, 1, INPUTS));
        let output = SequenceMut::time_major(&mut h, 4, 1, 3);
        lstm.forward(&mut lstm.workspace(1).unwrap(), call.output(output)).unwrap();
        h
    };
    let weights = LstmWeights::from_parameters(&config, &parameters).unwrap();
    assert_eq!(answer(&weights), answer(&tensors));
    let short = LstmWeights::from_parameters(&config, &parameters[1..]);
    assert!(matches!(short, Err(Error::Length { argument: "parameters", .. })), "{short:?}");
}

#[test]
fn an_error_of_a_length_says_which_convention_has_as_many_elements() {
    let config = &config();
    let zeros = &[0.0; 100];
    let [w, r, b] = [24, 16, 8].map(|len| &zeros[..len]);
    let hint = |result: Result<LstmWeights<'_>, Error>| match result.unwrap_err() {
        error @ Error::Length { hint, .. } => {
            assert_eq!(error.to_string().contains("as many as"), hint.is_some(), "{error}");
            hint.unwrap_or_default().to_owned()
        }
        other => panic!("{other}"),
    };
    let keras = |w, r, b| hint(LstmWeights::keras(config, w, r, Some(b)));
    assert!(keras(w, r, &zeros[..16]).contains("keras_cudnn"));
    assert!(keras(&zeros[..40], r, b).contains("tensorflow_block"));
    assert!(keras(&zeros[..18], r, b).contains("GRU"));
    assert!(keras(w, &zeros[..12], b).contains("GRU"));
    assert!(keras(&zeros[..6], r, b).contains("separate"));
    assert!(keras(w, r, &zeros[..2]).contains("one gate"));
    assert!(keras(&zeros[..48], r, b).contains("two directions"));
    assert!(keras(w, &zeros[..8], b).contains("projection"));
    assert!(hint(LstmWeights::onnx(config, w, r, Some(b), None)).contains("one bias"));
    assert!(hint(LstmWeights::tensorflow_block(config, w, None, None)).contains("keras"));
    let mut parameters = vec![7.0; config.parameters().unwrap().total()];
    assert!(hint(LstmWeights::keras_cudnn(config, w, r, b, &mut parameters)).contains("one bias"));
    assert!(parameters.iter().all(|&parameter| parameter == 7.0));
    assert_eq!(keras(&w[1..], r, b), "");
    assert_eq!(keras(&[], r, b), "");
}

#[test]
fn a_layer_gives_back_what_was_packed() {
    for isa in levels() {
        for units in [1, 4, 13, 16, 21, 70] {
            let plain = LstmConfig::new(5, units).isa(isa);
            for config in [
                plain.clone(),
                LstmConfig::new(0, units).isa(isa),
                plain.clone().training().projection(3).projection_bias(),
                plain.clone().projection(units + 3).peepholes().layer_normalization(0.1),
            ] {
                let parameters = Random(13).vec(config.parameters().unwrap().total(), 1.0);
                let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters).unwrap());
                let mut found = vec![f32::NAN; parameters.len()];
                lstm.unwrap().read_parameters(&mut found).unwrap();
                assert_eq!(found, parameters, "{config:?}");
            }
            let config = StackConfig::new(5, units, 2, Directions::Concatenated).isa(isa);
            let parameters = Random(14).vec(config.total_parameters().unwrap(), 1.0);
            let mut found = vec![f32::NAN; parameters.len()];
            let stack = LstmStack::new(&config, &config.weights(&parameters).unwrap()).unwrap();
            stack.read_parameters(&mut found).unwrap();
            assert_eq!(found, parameters);
            assert!(stack.read_parameters(&mut found[1..]).is_err() && config.weights(&found[1..]).is_err());

            let config = GruConfig::new(5, units).isa(isa);
            let parameters = Random(15).vec(config.parameters().unwrap().total(), 1.0);
            let mut found = vec![f32::NAN; parameters.len()];
            let gru = Gru::new(&config, &GruWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
            gru.read_parameters(&mut found).unwrap();
            assert_eq!(found, parameters);

            let config = RnnConfig::new(5, units).isa(isa);
            let ranges = config.parameters().unwrap();
            let parameters = Random(16).vec(ranges.total(), 1.0);
            let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
            let mut found = vec![f32::NAN; parameters.len()];
            let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, w, r, Some(b), None).unwrap()).unwrap();
            rnn.read_parameters(&mut found).unwrap();
            assert_eq!(found, parameters);
        }
    }
}

#[test]
fn files_of_cudnn_gru_are_read_and_written_as_keras_converts_them() {
    let config = GruConfig::new(INPUTS, UNITS);
    let gates = 3;
    // Of Keras' GRU with `reset_after`: [X, 3H], [H, 3H], [2, 3H].
    let kernel = Random(21).vec(INPUTS * gates * UNITS, 1.0);
    let recurrent = Random(22).vec(UNITS * gates * UNITS, 1.0);
    let bias = Random(23).vec(2 * gates * UNITS, 1.0);
    let saved = |kernel: &[f32], rows: usize| {
        let blocks: Vec<Vec<f32>> = (0..gates)
            .map(|gate| {
                let row = |row: usize| kernel[(row * gates + gate) * UNITS..][..UNITS].to_vec();
                to_cudnn(&(0..rows).flat_map(row).collect::<Vec<f32>>(), rows, UNITS)
            })
            .collect();
        stacked(&blocks, rows)
    };
    let (of_kernel, of_recurrent) = (saved(&kernel, INPUTS), saved(&recurrent, UNITS));
    let mut parameters = vec![7.0; config.parameters().unwrap().total()];
    let weights =
        GruWeights::keras_cudnn(&config, &of_kernel, &of_recurrent, &bias, &mut parameters).unwrap();
    let answer = |weights: &GruWeights<'_>| {
        let mut h = [0.0; 5 * UNITS];
        let x = Random(24).vec(5 * INPUTS, 1.0);
        let gru = Gru::new(&config, weights).unwrap();
        let call = Forward::new(Sequence::time_major(&x, 5, 1, INPUTS));
        let output = SequenceMut::time_major(&mut h, 5, 1, UNITS);
        gru.forward(&mut gru.workspace(1).unwrap(), call.output(output)).unwrap();
        h
    };
    let expected = GruWeights::keras(&config, &kernel, &recurrent, Some(&bias)).unwrap();
    assert_eq!(answer(&weights), answer(&expected));
    let (mut w, mut r, mut b) = (vec![0.0; kernel.len()], vec![0.0; recurrent.len()], vec![0.0; bias.len()]);
    expected.export_keras_cudnn(&mut w, &mut r, &mut b).unwrap();
    assert_eq!((w, r, b), (of_kernel.clone(), of_recurrent.clone(), bias.clone()));
    let mut parameters = vec![7.0; config.parameters().unwrap().total()];
    for (kernel, recurrent, bias) in [
        (&of_kernel[1..], &of_recurrent[..], &bias[..]),
        (&of_kernel, &of_recurrent[1..], &bias),
        (&of_kernel, &of_recurrent, &bias[1..]),
    ] {
        assert!(matches!(
            GruWeights::keras_cudnn(&config, kernel, recurrent, bias, &mut parameters),
            Err(Error::Length { .. })
        ));
    }
    // The reset gate of a CuDNNGRU comes after the product, and nothing is normalized.
    let before = config.clone().reset_gate(ResetGate::BeforeProduct);
    for config in [&before, &config.clone().layer_normalization(0.1)] {
        let mut parameters = vec![7.0; config.parameters().unwrap().total()];
        let read =
            GruWeights::keras_cudnn(config, &of_kernel, &of_recurrent, &bias, &mut parameters).unwrap_err();
        assert!(matches!(read, Error::Unsupported { argument: "CuDNNGRU", .. }), "{read}");
        assert!(parameters.iter().all(|&parameter| parameter == 7.0));
    }
    let weights = GruWeights::keras(&before, &kernel, &recurrent, Some(&bias[..3 * UNITS])).unwrap();
    let (mut w, mut r, mut b) = (vec![7.0; kernel.len()], vec![7.0; recurrent.len()], vec![7.0; bias.len()]);
    let refused = weights.export_keras_cudnn(&mut w, &mut r, &mut b).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "CuDNNGRU", .. }), "{refused}");
    assert!(parameters.iter().all(|&parameter| parameter == 7.0));
}

#[test]
fn large_weights_are_packed_the_same_by_any_number_of_threads_in_either_orientation() {
    let (inputs, units) = (700, 500);
    let mut random = Random(25);
    let config = LstmConfig::new(inputs, units).training();
    let mut parameters = random.vec(config.parameters().unwrap().total(), 0.04);
    let ranges = config.parameters().unwrap();
    let (x, cotangent) = (random.vec(2 * inputs, 1.0), random.vec(2 * units, 1.0));
    let kernel = transpose(&parameters[ranges.weight_ih.clone()], [4 * units, inputs, 1]);
    let recurrent_kernel = transpose(&parameters[ranges.weight_hh.clone()], [4 * units, units, 1]);
    parameters[ranges.bias].fill(0.0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let mut expected = None;
    for threads in [Threads::Serial, Threads::Auto, Threads::Exactly(2.try_into().unwrap())] {
        let config = config.clone().threads(threads);
        let by_units = LstmWeights::from_parameters(&config, &parameters).unwrap();
        let by_inputs = LstmWeights::keras(&config, &kernel, &recurrent_kernel, None).unwrap();
        for weights in [by_units, by_inputs] {
            let lstm = pool.install(|| Lstm::new(&config, &weights).unwrap());
            let mut found = vec![7.0; parameters.len()];
            lstm.read_parameters(&mut found).unwrap();
            assert!(found == parameters, "{threads:?}");

            let (mut workspace, mut tape) = (lstm.workspace(1).unwrap(), lstm.tape(2, 1).unwrap());
            let input = Sequence::time_major(&x, 2, 1, inputs);
            lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
            let mut gradient = vec![0.0; x.len()];
            let call = Backward::new(input)
                .output_cotangent(Sequence::time_major(&cotangent, 2, 1, units))
                .input_gradient(SequenceMut::time_major(&mut gradient, 2, 1, inputs));
            lstm.backward(&mut workspace, &mut tape, call).unwrap();
            assert!(*expected.get_or_insert(gradient.clone()) == gradient, "{threads:?}");
        }
    }
}
