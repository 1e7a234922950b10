//! The plain recurrent layer: other frameworks' answers, weights there and back, and what it refuses. That it agrees
//! with the oracle is a matter of `cells`.

use crate::common::cells::assert_near;
use crate::common::golden::GoldenFile;
use crate::common::narrow;
use quadgate::{
    Backward, Direction, Error, Forward, GradientMode, Matrix, MatrixMut, Nonlinearity, Orientation, Rnn,
    RnnConfig, RnnWeights, Sequence, SequenceMut,
};

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
    assert!(matches!(refused, Error::Missing { argument: "bias_ih", .. }), "{refused}");
}

/// X = 1 and H = 2: W of unit u is 1 + u, R from unit k to unit u is 10·(u + 1) + k, the biases of u are 100 + u and
/// 200 + u.
const ROWS: [f32; 4] = [10.0, 11.0, 20.0, 21.0];
const COLUMNS: [f32; 4] = [10.0, 20.0, 11.0, 21.0];

/// Fails unless these are those weights, with two biases or with one that is the sum.
fn assert_numbered(framework: &str, weights: &RnnWeights<'_>, two: bool) {
    let (mut w, mut r, mut first, mut second) = ([0.0; 2], [0.0; 4], [0.0; 2], [0.0; 2]);
    weights.export_pytorch(&mut w, &mut r, Some(&mut first), Some(&mut second)).unwrap();
    assert_eq!((w, r), ([1.0, 2.0], ROWS), "{framework}");
    let expected = if two { ([100.0, 101.0], [200.0, 201.0]) } else { ([300.0, 302.0], [0.0; 2]) };
    assert_eq!((first, second), expected, "{framework}");
}

#[test]
fn each_framework_has_its_orientation_and_its_biases_both_ways() {
    let config = &RnnConfig::new(1, 2);
    let (w, sum) = ([1.0, 2.0], [300.0, 302.0]);
    let (first, second): (&[f32], &[f32]) = (&[100.0, 101.0], &[200.0, 201.0]);
    let both = [Some(first), Some(second)];
    let pytorch = RnnWeights::pytorch(config, &w, &ROWS, both[0], both[1]).unwrap();

    let one = Some(&sum[..]);
    let found = RnnWeights::onednn_ldigo(config, &w, &COLUMNS, one).unwrap();
    assert_numbered("oneDNN", &found, false);
    assert_numbered("OpenVINO", &RnnWeights::openvino(config, &w, &ROWS, one).unwrap(), false);
    assert_numbered("TensorFlow Lite", &RnnWeights::tflite(config, &w, &ROWS, one).unwrap(), false);
    assert_numbered("cuDNN", &RnnWeights::cudnn(config, &w, &ROWS, both).unwrap(), true);
    assert_numbered("burn", &RnnWeights::burn(config, &w, &COLUMNS, both).unwrap(), true);
    let kernel = [&w[..], &COLUMNS].concat();
    let found = RnnWeights::tensorflow_basic(config, &kernel, one).unwrap();
    assert_numbered("TensorFlow", &found, false);

    let (mut to_w, mut to_r, mut bias) = ([0.0; 2], [0.0; 4], [0.0; 2]);
    pytorch.export_onednn_ldigo(&mut to_w, &mut to_r, Some(&mut bias)).unwrap();
    assert_eq!((to_w, to_r, bias), (w, COLUMNS, sum), "oneDNN");
    pytorch.export_openvino(&mut to_w, &mut to_r, Some(&mut bias)).unwrap();
    assert_eq!((to_w, to_r, bias), (w, ROWS, sum), "OpenVINO");
    pytorch.export_tflite(&mut to_w, &mut to_r, Some(&mut bias)).unwrap();
    assert_eq!((to_w, to_r, bias), (w, ROWS, sum), "TensorFlow Lite");
    let mut to_kernel = [0.0; 6];
    pytorch.export_tensorflow_basic(&mut to_kernel, Some(&mut bias)).unwrap();
    assert_eq!((&to_kernel[..], bias), (&kernel[..], sum), "TensorFlow");
    let mut second_bias = [0.0; 2];
    let rooms = [Some(&mut bias[..]), Some(&mut second_bias[..])];
    pytorch.export_cudnn(&mut to_w, &mut to_r, rooms).unwrap();
    assert_eq!((to_w, to_r, &bias[..], &second_bias[..]), (w, ROWS, first, second), "cuDNN");
    let rooms = [Some(&mut bias[..]), Some(&mut second_bias[..])];
    pytorch.export_burn(&mut to_w, &mut to_r, rooms).unwrap();
    assert_eq!((to_w, to_r, &bias[..], &second_bias[..]), (w, COLUMNS, first, second), "burn");

    // W and R side by side in one matrix, as Neural Amp Modeler has those of an LSTM.
    let fused = [1.0, 10.0, 11.0, 2.0, 20.0, 21.0];
    let (of_x, of_h) = (Matrix::new(&fused, 2, 1).stride(3), Matrix::new(&fused[1..], 2, 2).stride(3));
    let found = RnnWeights::from_matrices(config, Orientation::GatesByInputs, of_x, of_h, both).unwrap();
    assert_numbered("matrices", &found, true);

    let refused = RnnWeights::tensorflow_basic(config, &kernel[1..], one).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "kernel", .. }), "{refused}");
    let refused = pytorch.export_openvino(&mut to_w, &mut to_r, None).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "B", .. }), "{refused}");
    let refused = RnnWeights::openvino(config, &w, &ROWS, Some(&[0.0; 4])).unwrap_err();
    assert!(
        matches!(refused, Error::Length { argument: "B", hint: Some(hint), .. } if hint.contains("onnx"))
    );
}

#[test]
fn a_cell_state_is_refused() {
    let config = RnnConfig::new(1, 1);
    let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &[0.5], &[0.5], None, None).unwrap()).unwrap();
    let mut workspace = rnn.workspace(1).unwrap();
    let input = Sequence::time_major(&[1.0; 2], 2, 1, 1);
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
    for names in [
        ["weight_ih", "weight_hh", "bias_ih"],
        ["kernel", "recurrent_kernel", "bias"],
        ["input weights", "recurrent weights", "first bias"],
    ] {
        for (name, lengths) in names.into_iter().zip([[5, 4, 2], [6, 3, 2], [6, 4, 1]]) {
            let [input, recurrent, bias] = lengths.map(|len| &w[..len]);
            let refused = match names[0] {
                "weight_ih" => RnnWeights::pytorch(&config, input, recurrent, Some(bias), None),
                "kernel" => RnnWeights::keras(&config, input, recurrent, Some(bias)),
                _ => {
                    RnnWeights::new(&config, Orientation::GatesByInputs, input, recurrent, [Some(bias), None])
                }
            };
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::Length { argument, .. } if argument == name), "{refused}");
        }
    }
    assert!(matches!(
        RnnWeights::pytorch(&RnnConfig::new(3, 0), &[], &[], None, None),
        Err(Error::Zero { argument: "hidden size", .. })
    ));
}
