//! Other frameworks' recorded answers of gated and plain recurrent layers with options: the oracle's and the crate's on
//! every level.

use crate::common::cells::{CellCase, Kind, Tensors, largest_error, widened};
use crate::common::golden::{GoldenFile, activations, transpose};
use crate::common::{Recording, Run, levels};
use quadgate::reference::NaiveActivation;
use quadgate::{GruConfig, GruWeights, ResetGate, RnnConfig, RnnWeights};

/// Fails unless the oracle and the crate yield what is recorded of a case.
fn check(name: &str, case: &CellCase, recorded: &Tensors<f64>) {
    let of = |tensors: Tensors<f64>| -> Tensors<f64> {
        tensors.into_iter().filter(|(name, _)| recorded.iter().any(|(other, _)| name == other)).collect()
    };
    let (error, tensor) = largest_error(&of(case.expected()), recorded);
    assert!(error <= 5e-6, "{name}: the oracle's {tensor}: {error:e}");
    for isa in levels() {
        let (error, tensor) =
            largest_error(&of(widened(&case.found(Run::on(isa), Recording::Full))), recorded);
        assert!(error <= 5e-6, "{name}, {isa}: {tensor}: {error:e}");
    }
}

/// ONNX Runtime in float32, forward alone.
fn check_onnx(name: &str, kind: Kind) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] = ["T", "B", "I", "H"].map(|key| golden.size(key));
    let [w, r, b] = ["W", "R", "Bias"].map(|name| golden.narrow(name));
    let default = match kind {
        Kind::Gru(_) => vec![NaiveActivation::Sigmoid, NaiveActivation::Tanh],
        Kind::Rnn => vec![NaiveActivation::Tanh],
    };
    let functions = activations(&golden).unwrap_or(default);
    let mut case = CellCase {
        gate: functions[0],
        candidate: functions[functions.len() - 1],
        clip: golden.config["attributes"]["clip"].as_f64().map(|limit| limit as f32),
        x: golden.narrow("X"),
        initial: golden.narrow("initial_h"),
        ..CellCase::random(1, kind, [steps, batch, inputs, units])
    };
    let [first, second] = &mut case.biases;
    let (to_w, to_r) = (&mut case.weight_ih, &mut case.weight_hh);
    match kind {
        Kind::Gru(reset_gate) => {
            let config = GruConfig::new(inputs, units).reset_gate(reset_gate);
            let weights = GruWeights::onnx(&config, &w, &r, Some(&b)).unwrap();
            weights.export_pytorch(to_w, to_r, Some(first), Some(second)).unwrap();
        }
        Kind::Rnn => {
            let weights = RnnWeights::onnx(&RnnConfig::new(inputs, units), &w, &r, Some(&b)).unwrap();
            weights.export_pytorch(to_w, to_r, Some(first), Some(second)).unwrap();
        }
    }
    check(name, &case, &vec![("output", golden.tensor("Y")), ("last", golden.tensor("Y_h"))]);
}

/// Keras in float32 with one mask of h for all gates, and gradients of the output alone.
fn check_keras(name: &str, kind: Kind) {
    let golden = GoldenFile::load(name);
    let [steps, batch, inputs, units] = ["T", "B", "X", "H"].map(|key| golden.size(key));
    let [kernel, recurrent, bias] = ["kernel", "recurrent_kernel", "bias"].map(|name| golden.narrow(name));
    let time_major = |name: &str, width| transpose(&golden.tensor(name), [batch, steps, width]);
    let narrow = |values: Vec<f64>| -> Vec<f32> { values.into_iter().map(|value| value as f32).collect() };
    let mut case = CellCase {
        recurrent_mask: Some(golden.narrow("recurrent_mask")),
        x: narrow(time_major("x", inputs)),
        initial: golden.narrow("initial"),
        cotangents: [narrow(time_major("cot_out", units)), vec![0.0; batch * units]],
        ..CellCase::random(1, kind, [steps, batch, inputs, units])
    };
    if golden.config["activation"] == "softsign" {
        case.candidate = NaiveActivation::Softsign;
    }
    let read = |case: &mut CellCase, [kernel, recurrent, bias]: [&[f32]; 3]| {
        let [first, second] = &mut case.biases;
        let (to_w, to_r) = (&mut case.weight_ih, &mut case.weight_hh);
        match kind {
            Kind::Gru(reset_gate) => {
                let config = GruConfig::new(inputs, units).reset_gate(reset_gate);
                let weights = GruWeights::keras(&config, kernel, recurrent, Some(bias)).unwrap();
                weights.export_pytorch(to_w, to_r, Some(first), Some(second)).unwrap();
            }
            Kind::Rnn => {
                let weights =
                    RnnWeights::keras(&RnnConfig::new(inputs, units), kernel, recurrent, Some(bias)).unwrap();
                weights.export_pytorch(to_w, to_r, Some(first), Some(second)).unwrap();
            }
        }
    };
    read(&mut case, [&kernel, &recurrent, &bias]);
    // Gradients have the layouts of what they are gradients of.
    let [kernel, recurrent, bias] =
        ["grad.kernel", "grad.recurrent_kernel", "grad.bias"].map(|name| golden.narrow(name));
    let mut gradients = case.clone();
    read(&mut gradients, [&kernel, &recurrent, &bias]);
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let [first, second] = &gradients.biases;
    let of_product = if kind == Kind::Gru(ResetGate::AfterProduct) { &second[2 * units..] } else { &[] };
    let recorded = vec![
        ("output", time_major("out", units)),
        ("last", golden.tensor("hn")),
        ("dx", time_major("grad.x", inputs)),
        ("dW", wide(&gradients.weight_ih)),
        ("dR", wide(&gradients.weight_hh)),
        ("db", wide(&[first, of_product].concat())),
        ("dh0", golden.tensor("grad.initial")),
    ];
    check(name, &case, &recorded);
}

#[test]
fn onnx_runtimes_answers_of_other_functions_and_a_limit() {
    for name in ["onnx_rnn_scaled_tanh_clip", "onnx_rnn_elu"] {
        check_onnx(name, Kind::Rnn);
    }
    for name in ["onnx_gru_lbr_hard_sigmoid_softsign", "onnx_gru_lbr_clip"] {
        check_onnx(name, Kind::Gru(ResetGate::AfterProduct));
    }
    for name in ["onnx_gru_hard_sigmoid_softsign", "onnx_gru_clip"] {
        check_onnx(name, Kind::Gru(ResetGate::BeforeProduct));
    }
}

#[test]
fn keras_answers_with_recurrent_dropout() {
    check_keras("keras_rnn_recurrent_dropout", Kind::Rnn);
    check_keras("keras_gru_recurrent_dropout_reset_after", Kind::Gru(ResetGate::AfterProduct));
    check_keras("keras_gru_recurrent_dropout_reset_before", Kind::Gru(ResetGate::BeforeProduct));
}
