//! The oracle of the whole LSTM family, and the kernels on every level, against recorded answers of PyTorch, ONNX
//! Runtime, Keras and TensorFlow Lite.

use crate::common::family::run_stack;
use crate::common::golden::{GoldenFile, activations, assert_relative, transpose};
use crate::common::{Run, levels};
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCall, NaiveCallGradients, NaiveCell, NaiveCoupling,
    NaiveDirections, NaiveLayer, NaiveParameters, NaiveResult, NaiveRun, NaiveStack, NaiveState,
};

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The states of `cells` from tensors `[cells, B, P]` and `[cells, B, H]`; zeros for what is missing.
fn states(
    cells: &[NaiveCell],
    batch: usize,
    hidden: Option<Vec<f64>>,
    cell: Option<Vec<f64>>,
) -> Vec<NaiveState> {
    let zeros: Vec<_> = cells.iter().map(|cell| NaiveState::zeros(cell, batch)).collect();
    let parts = |values: &Option<Vec<f64>>, index: usize, len: usize| {
        values.as_ref().map_or(vec![0.0; len], |values| values[index * len..][..len].to_vec())
    };
    zeros
        .iter()
        .enumerate()
        .map(|(index, zero)| NaiveState {
            hidden: parts(&hidden, index, zero.hidden.len()),
            cell: parts(&cell, index, zero.cell.len()),
        })
        .collect()
}

fn assert_states(context: &str, found: &[NaiveState], hidden: &[f64], cell: &[f64], tolerance: f64) {
    let found_hidden: Vec<f64> = found.iter().flat_map(|state| state.hidden.clone()).collect();
    let found_cell: Vec<f64> = found.iter().flat_map(|state| state.cell.clone()).collect();
    assert_relative(&format!("{context}: last h"), &found_hidden, hidden, tolerance);
    assert_relative(&format!("{context}: last c"), &found_cell, cell, tolerance);
}

/// Rows of `width` elements of the blocks of a matrix, in another order of the blocks.
fn reorder(values: &[f64], order: &[usize]) -> Vec<f64> {
    let block = values.len() / order.len();
    order.iter().flat_map(|&from| values[from * block..][..block].to_vec()).collect()
}

/// An answer to be checked, and how close it must be.
struct Answer {
    context: String,
    result: NaiveResult,
    gradients: NaiveCallGradients,
    tolerance: f64,
}

/// The oracle's answer, and that of the kernels on every level with one and two threads. Their tolerances.
fn answers(
    name: &str,
    stack: &NaiveStack,
    call: &NaiveCall,
    cotangents: &NaiveResult,
    [of_oracle, of_kernels]: [f64; 2],
) -> Vec<Answer> {
    let mut answers = vec![Answer {
        context: format!("{name}, oracle"),
        result: stack.forward(call, &[]),
        gradients: stack.backward(call, &[], cotangents),
        tolerance: of_oracle,
    }];
    for run in levels().into_iter().flat_map(|isa| [Run::on(isa), Run::on(isa).threads(2)]) {
        let (result, gradients) = run_stack(stack, call, cotangents, run);
        let context = format!("{name}, {run:?}");
        answers.push(Answer { context, result, gradients, tolerance: of_kernels });
    }
    answers
}

/// Cotangents of zero.
fn no_cotangents(call: &NaiveCall, result: &NaiveResult) -> NaiveResult {
    let zeros = |values: &Vec<f64>| vec![0.0; values.len()];
    NaiveResult {
        output: zeros(&result.output),
        last: call
            .initial
            .iter()
            .map(|state| NaiveState { hidden: zeros(&state.hidden), cell: zeros(&state.cell) })
            .collect(),
    }
}

/// PyTorch in float64, with all gradients.
fn check_pytorch(name: &str) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units, layers] =
        ["seq_len", "batch", "input_size", "hidden_size", "num_layers"].map(|key| golden.size(key));
    let outputs = match golden.size("proj_size") {
        0 => units,
        projection => projection,
    };
    let bidirectional = golden.config["bidirectional"].as_bool().unwrap();
    let batch_first = golden.config["batch_first"].as_bool().unwrap();
    let directions = if bidirectional { NaiveDirections::Concatenated } else { NaiveDirections::Forward };
    let suffixes = if bidirectional { &["", "_reverse"][..] } else { &[""] };

    let mut names = Vec::new();
    let stack = NaiveStack {
        layers: (0..layers)
            .map(|layer| NaiveLayer {
                directions,
                cells: suffixes
                    .iter()
                    .map(|suffix| {
                        let tensor = |kind: &str| golden.optional(&format!("{kind}_l{layer}{suffix}"));
                        let bias = match (tensor("bias_ih"), tensor("bias_hh")) {
                            (Some(ih), Some(hh)) => sum(&ih, &hh),
                            _ => vec![0.0; 4 * units],
                        };
                        names.push(format!("l{layer}{suffix}"));
                        NaiveCell {
                            output_size: outputs,
                            ..NaiveCell::new(
                                if layer == 0 { inputs } else { suffixes.len() * outputs },
                                units,
                                NaiveParameters {
                                    projection: tensor("weight_hr"),
                                    ..NaiveParameters::new(
                                        tensor("weight_ih").unwrap(),
                                        tensor("weight_hh").unwrap(),
                                        bias,
                                    )
                                },
                            )
                        }
                    })
                    .collect(),
            })
            .collect(),
    };
    let cells: Vec<_> = stack.layers.iter().flat_map(|layer| layer.cells.clone()).collect();
    let time_major = |values: Vec<f64>, width| {
        if batch_first { transpose(&values, [batch, steps, width]) } else { values }
    };
    let width = suffixes.len() * outputs;
    let run = match golden.config["lengths"].as_array() {
        Some(lengths) => {
            NaiveRun::Lengths(lengths.iter().map(|length| length.as_u64().unwrap() as usize).collect())
        }
        None => NaiveRun::All,
    };
    let call = NaiveCall {
        initial: states(&cells, batch, golden.optional("h0"), golden.optional("c0")),
        run,
        ..NaiveCall::new([steps, batch], time_major(golden.tensor("x"), inputs), &cells)
    };

    let cotangents = NaiveResult {
        output: time_major(golden.tensor("cot_out"), width),
        last: states(&cells, batch, golden.optional("cot_hn"), golden.optional("cot_cn")),
    };
    // Where the gates saturate, a rounding of what enters them counts for more.
    let of_kernels = if name == "lstm_saturated" { 1e-5 } else { 1e-6 };
    for answer in answers(name, &stack, &call, &cotangents, [1e-12, of_kernels]) {
        let Answer { context, result, gradients, tolerance } = answer;
        assert_relative(&context, &result.output, &time_major(golden.tensor("out"), width), tolerance);
        assert_states(&context, &result.last, &golden.tensor("hn"), &golden.tensor("cn"), tolerance);
        let dx = format!("{context}: gradient of x");
        assert_relative(&dx, &gradients.input, &time_major(golden.tensor("grad.x"), inputs), tolerance);
        if golden.optional("grad.h0").is_some() {
            let (hidden, cell) = (golden.tensor("grad.h0"), golden.tensor("grad.c0"));
            assert_states(&format!("{context}: gradient"), &gradients.initial, &hidden, &cell, tolerance);
        }
        for (cell, found) in names.iter().zip(&gradients.parameters) {
            for (kind, found) in found.named() {
                let kinds = match kind {
                    "weight_ih" => vec!["weight_ih"],
                    "weight_hh" => vec!["weight_hh"],
                    "projection" => vec!["weight_hr"],
                    // Each of PyTorch's two has the gradient of the sum; a layer without bias has none.
                    "bias" if golden.config["bias"].as_bool().unwrap() => vec!["bias_ih", "bias_hh"],
                    "bias" => vec![],
                    other => panic!("{other}"),
                };
                for kind in kinds {
                    let tensor = format!("grad.{kind}_{cell}");
                    let expected = golden.tensor(&tensor);
                    assert_relative(&format!("{context}: {tensor}"), found, &expected, tolerance);
                }
            }
        }
    }
}

/// ONNX Runtime in float32, forward alone.
fn check_onnx(name: &str) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let attributes = &golden.config["attributes"];
    let directions = match attributes["direction"].as_str().unwrap() {
        "forward" => NaiveDirections::Forward,
        "reverse" => NaiveDirections::Reverse,
        "bidirectional" => NaiveDirections::Concatenated,
        other => panic!("{other}"),
    };
    let functions = activations(&golden);
    let activation = |index: usize| match &functions {
        Some(functions) => functions[index],
        None if index == 0 => NaiveActivation::Sigmoid,
        None => NaiveActivation::Tanh,
    };
    let cells: Vec<_> = (0..directions.count())
        .map(|direction| {
            let tensor = |kind: &str| {
                let values = golden.optional(kind)?;
                let len = values.len() / directions.count();
                Some(values[direction * len..][..len].to_vec())
            };
            // ONNX has i, o, f, c.
            let gates = |values: &[f64]| reorder(values, &[0, 2, 3, 1]);
            let bias = tensor("Bias").unwrap();
            let (input_bias, recurrent_bias) = bias.split_at(4 * units);
            let mut cell = NaiveCell::new(
                inputs,
                units,
                NaiveParameters {
                    // And i, o, f.
                    peephole: tensor("P").map(|values| reorder(&values, &[0, 2, 1])),
                    ..NaiveParameters::new(
                        gates(&tensor("W").unwrap()),
                        gates(&tensor("R").unwrap()),
                        gates(&sum(input_bias, recurrent_bias)),
                    )
                },
            );
            cell.activations =
                NaiveActivations { gate: activation(0), candidate: activation(1), cell: activation(2) };
            cell.clip.gate = attributes["clip"].as_f64();
            if attributes["input_forget"].as_u64() == Some(1) {
                cell.coupling = NaiveCoupling::ForgetFromInput;
            }
            cell
        })
        .collect();
    let run = match golden.optional("sequence_lens") {
        Some(lengths) => NaiveRun::Lengths(lengths.into_iter().map(|length| length as usize).collect()),
        None => NaiveRun::All,
    };
    let call = NaiveCall {
        initial: states(&cells, batch, golden.optional("initial_h"), golden.optional("initial_c")),
        run,
        ..NaiveCall::new([steps, batch], golden.tensor("X"), &cells)
    };
    let stack = NaiveStack { layers: vec![NaiveLayer { cells, directions }] };
    let cotangents = no_cotangents(&call, &stack.forward(&call, &[]));
    // Y is [T, D, B, H].
    let expected: Vec<f64> = golden
        .tensor("Y")
        .chunks_exact(directions.count() * batch * units)
        .flat_map(|step| transpose(step, [directions.count(), batch, units]))
        .collect();
    for answer in answers(name, &stack, &call, &cotangents, [5e-6; 2]) {
        let Answer { context, result, tolerance, .. } = answer;
        assert_relative(&context, &result.output, &expected, tolerance);
        assert_states(&context, &result.last, &golden.tensor("Y_h"), &golden.tensor("Y_c"), tolerance);
    }
}

/// Keras in float32, with gradients of the output alone.
fn check_keras(name: &str) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
    let backwards = golden.config["go_backwards"].as_bool().unwrap();
    let columns = |values: &[f64], rows| transpose(values, [rows, 4 * units, 1]);
    let cells = vec![NaiveCell::new(
        inputs,
        units,
        NaiveParameters::new(
            columns(&golden.tensor("kernel"), inputs),
            columns(&golden.tensor("recurrent_kernel"), units),
            golden.tensor("bias"),
        ),
    )];
    let time_major = |name: &str, width| transpose(&golden.tensor(name), [batch, steps, width]);
    // With go_backwards Keras leaves the output in the order in which it was made.
    let output = |name: &str| {
        let values = time_major(name, units);
        if !backwards {
            return values;
        }
        values.chunks_exact(batch * units).rev().flatten().copied().collect()
    };
    let run = match golden.optional("mask") {
        Some(mask) => {
            NaiveRun::Mask(transpose(&mask, [batch, steps, 1]).iter().map(|&mask| mask != 0.0).collect())
        }
        None => NaiveRun::All,
    };
    let call = NaiveCall { run, ..NaiveCall::new([steps, batch], time_major("x", inputs), &cells) };
    let directions = if backwards { NaiveDirections::Reverse } else { NaiveDirections::Forward };
    let cotangents =
        NaiveResult { output: output("cot_out"), last: vec![NaiveState::zeros(&cells[0], batch)] };
    let stack = NaiveStack { layers: vec![NaiveLayer { cells, directions }] };
    for answer in answers(name, &stack, &call, &cotangents, [5e-6; 2]) {
        let Answer { context, result, gradients, tolerance } = answer;
        assert_relative(&context, &result.output, &output("out"), tolerance);
        assert_states(&context, &result.last, &golden.tensor("hn"), &golden.tensor("cn"), tolerance);
        let NaiveCallGradients { input, parameters, .. } = gradients;
        let parameters = &parameters[0];
        let recurrent = columns(&golden.tensor("grad.recurrent_kernel"), units);
        for (tensor, found, expected) in [
            ("x", &input, time_major("grad.x", inputs)),
            ("kernel", &parameters.weight_ih, columns(&golden.tensor("grad.kernel"), inputs)),
            ("recurrent_kernel", &parameters.weight_hh, recurrent),
            ("bias", &parameters.bias, golden.tensor("grad.bias")),
        ] {
            assert_relative(&format!("{context}: gradient of {tensor}"), found, &expected, tolerance);
        }
    }
}

/// TensorFlow Lite in float32, forward alone, from a zero state.
fn check_tflite(name: &str) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units, outputs] = ["T", "B", "X", "H", "P"].map(|key| golden.size(key));
    // One tensor for each gate; a coupled layer has none for the input gate.
    let gates = |names: [&str; 4], len: usize| -> Vec<f64> {
        names
            .into_iter()
            .flat_map(|name| {
                golden.optional(name).unwrap_or_else(|| {
                    assert!(name.contains("input") && golden.config["coupled"] == true, "{name}");
                    vec![0.0; len]
                })
            })
            .collect()
    };
    let optional = |there: &str, tensor: Vec<f64>| golden.optional(there).map(|_| tensor);
    let peephole = || {
        let zeros = vec![0.0; units];
        let of = |name| golden.optional(name).unwrap_or(zeros.clone());
        [of("cell_to_input"), of("cell_to_forget"), of("cell_to_output")].concat()
    };
    let norms = || {
        let ones = vec![1.0; units];
        let of = |name| golden.optional(name).unwrap_or(ones.clone());
        [of("input_norm"), of("forget_norm"), of("cell_norm"), of("output_norm")].concat()
    };
    let weight_ih = ["input_to_input", "input_to_forget", "input_to_cell", "input_to_output"];
    let weight_hh = ["recurrent_to_input", "recurrent_to_forget", "recurrent_to_cell", "recurrent_to_output"];
    let bias = ["input_bias", "forget_bias", "cell_bias", "output_bias"];
    let mut cell = NaiveCell::new(
        inputs,
        units,
        NaiveParameters {
            peephole: optional("cell_to_output", peephole()),
            normalization: optional("output_norm", norms()),
            projection: golden.optional("projection_weights"),
            projection_bias: golden.optional("projection_bias"),
            ..NaiveParameters::new(
                gates(weight_ih, units * inputs),
                gates(weight_hh, units * outputs),
                gates(bias, units),
            )
        },
    );
    cell.output_size = outputs;
    cell.epsilon = 1e-8;
    let limit = |key: &str| golden.config[key].as_f64().filter(|&limit| limit > 0.0);
    cell.clip.cell = limit("cell_clip");
    cell.clip.projection = limit("proj_clip");
    if golden.config["coupled"] == true {
        cell.coupling = NaiveCoupling::InputFromForget;
    }
    let cells = vec![cell];
    let call = NaiveCall::new([steps, batch], golden.tensor("x"), &cells);
    let layer = NaiveLayer { cells, directions: NaiveDirections::Forward };
    let cotangents = no_cotangents(&call, &layer.forward(&call));
    for answer in answers(name, &NaiveStack { layers: vec![layer] }, &call, &cotangents, [5e-6; 2]) {
        assert_relative(&answer.context, &answer.result.output, &golden.tensor("y"), answer.tolerance);
    }
}

macro_rules! goldens {
    ($check:ident: $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $check(stringify!($name));
        }
    )*};
}

goldens! { check_pytorch:
    lstm_batch_first
    lstm_bidirectional
    lstm_bidirectional_three_layers
    lstm_lengths
    lstm_lengths_bidirectional_two_layers
    lstm_long
    lstm_mid
    lstm_no_bias
    lstm_odd
    lstm_one_step
    lstm_projection
    lstm_projection_bidirectional_two_layers
    lstm_saturated
    lstm_small
    lstm_two_layers
    lstm_wide_batch
    lstm_zero_state
}

goldens! { check_onnx:
    onnx_lstm_bidirectional
    onnx_lstm_clip
    onnx_lstm_hard_sigmoid
    onnx_lstm_input_forget
    onnx_lstm_input_forget_peephole
    onnx_lstm_lens
    onnx_lstm_peephole
    onnx_lstm_peephole_bidirectional_lens
    onnx_lstm_plain
    onnx_lstm_reverse
    onnx_lstm_reverse_lens
    onnx_lstm_softsign_relu
}

goldens! { check_keras:
    keras_lstm
    keras_lstm_backwards
    keras_lstm_masked
    keras_lstm_wide
}

goldens! { check_tflite:
    tflite_lstm_plain
    tflite_lstm_peephole_clip
    tflite_lstm_projection_bias_clip
    tflite_lstm_layer_norm
    tflite_lstm_layer_norm_peephole
    tflite_lstm_coupled_layer_norm_peephole_projection_clips
}
