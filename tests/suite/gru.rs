//! The gated recurrent unit: other frameworks' answers, weights there and back, and what it refuses. That it agrees
//! with the oracle is a matter of `cells`.

use crate::common::cells::{CellCase, Kind, Layer, assert_near, largest_error, widened};
use crate::common::golden::{GoldenFile, transpose};
use crate::common::{Recording, Run, bits, fnv, fused_levels, levels};
use proptest::prelude::*;
use quadgate::{
    Backward, Direction, Error, Forward, GradientMode, Gru, GruConfig, GruGate, GruGateOrder, GruTensors,
    GruWeights, Initialization, Matrix, MatrixMut, Orientation, ResetGate, Rnn, RnnConfig, RnnWeights,
    Schedule, Sequence, SequenceMut, Split, Threads,
};

/// The gradients of two biases `[3H]` from that of one `[4H]`, or `[3H]` with the reset gate before the product.
fn of_two_biases(reset_gate: ResetGate, bias: &[f32]) -> [Vec<f32>; 2] {
    if reset_gate == ResetGate::BeforeProduct {
        return [bias.to_vec(), bias.to_vec()];
    }
    let units = bias.len() / 4;
    [bias[..3 * units].to_vec(), [&bias[..2 * units], &bias[3 * units..]].concat()]
}

fn case(seed: u64, sizes: [usize; 4], reset_gate: ResetGate) -> CellCase {
    CellCase::random(seed, Kind::Gru(reset_gate), sizes)
}

/// The layer of a case.
fn plain(case: &CellCase) -> Gru {
    match case.layer(Run::on(*levels().last().unwrap())) {
        Layer::Gru(gru) => gru,
        Layer::Rnn(_) => unreachable!("a gated recurrent unit"),
    }
}

proptest! {
    #[test]
    fn weights_go_to_any_layout_and_back(
        seed in any::<u64>(),
        inputs in 0usize..5,
        units in 1usize..6,
        gates in Just(vec![GruGate::Reset, GruGate::Update, GruGate::Candidate]).prop_shuffle(),
        by_inputs in any::<bool>(),
    ) {
        let case = case(seed, [1, 1, inputs, units], ResetGate::AfterProduct);
        let config = GruConfig::new(inputs, units);
        let order = GruGateOrder::new([gates[0], gates[1], gates[2]]).unwrap();
        let (orientation, [rows, other_rows], [width, other_width]) = match by_inputs {
            true => (Orientation::InputsByGates, [inputs, units], [3 * units; 2]),
            false => (Orientation::GatesByInputs, [3 * units; 2], [inputs, units]),
        };
        let [first, second] = &case.biases;
        let weights =
            GruWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(first), Some(second)).unwrap();
        let empty = || [vec![0.0; 3 * units * inputs], vec![0.0; 3 * units * units],
            vec![0.0; 3 * units], vec![0.0; 3 * units]];
        let [mut w, mut r, mut b, mut c] = empty();
        weights.export(order, orientation, &mut w, &mut r, [Some(&mut b), Some(&mut c)]).unwrap();
        // The same in matrices whose rows lie apart.
        let apart = |values: &[f32], width: usize| -> Vec<f32> {
            let rows = values.chunks(width.max(1)).flat_map(|row| [row, &[f32::NAN; 2]].concat());
            rows.collect()
        };
        let (far_w, far_r) = (apart(&w, width), apart(&r, other_width));
        let biases = [Some(&b[..]), Some(&c[..])];
        let matrices = [
            Matrix::new(&far_w, rows, width).stride(width + 2),
            Matrix::new(&far_r, other_rows, other_width).stride(other_width + 2),
        ];
        for there in [
            GruWeights::new(&config, order, orientation, &w, &r, biases).unwrap(),
            GruWeights::from_matrices(&config, order, orientation, matrices[0], matrices[1], biases).unwrap(),
        ] {
            let [mut w, mut r, mut b, mut c] = empty();
            there.export_pytorch(&mut w, &mut r, Some(&mut b), Some(&mut c)).unwrap();
            prop_assert_eq!([&w, &r, &b, &c], [&case.weight_ih, &case.weight_hh, first, second]);
        }
    }
}

fn pytorchs_answers(name: &str) {
    let golden = GoldenFile::load(name);
    let sizes = ["seq_len", "batch", "input_size", "hidden_size"].map(|key| golden.size(key));
    let case = CellCase {
        weight_ih: golden.narrow("weight_ih_l0"),
        weight_hh: golden.narrow("weight_hh_l0"),
        biases: [golden.narrow("bias_ih_l0"), golden.narrow("bias_hh_l0")],
        x: golden.narrow("x"),
        initial: golden.narrow("h0"),
        cotangents: [golden.narrow("cot_out"), golden.narrow("cot_hn")],
        ..case(0, sizes, ResetGate::AfterProduct)
    };
    let bias = [&golden.tensor("grad.bias_ih_l0")[..], &golden.tensor("grad.bias_hh_l0")[2 * sizes[3]..]];
    let expected = vec![
        ("output", golden.tensor("out")),
        ("last", golden.tensor("hn")),
        ("dx", golden.tensor("grad.x")),
        ("dW", golden.tensor("grad.weight_ih_l0")),
        ("dR", golden.tensor("grad.weight_hh_l0")),
        ("db", bias.concat()),
        ("dscale", vec![]),
        ("dh0", golden.tensor("grad.h0")),
    ];
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let found = case.found(Run::on(isa).schedule(schedule), Recording::Full);
            let (error, tensor) = largest_error(&widened(&found), &expected);
            assert!(error <= 1e-6, "{tensor}: {error:e}");
        }
    }
    let (error, tensor) = largest_error(&case.expected(), &expected);
    assert!(error <= 1e-12, "the oracle's {tensor}: {error:e}");
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
fn threads_cannot_share_units_that_wait_for_all_reset_gates_and_have_options() {
    let config = GruConfig::new(1, 1).reset_gate(ResetGate::BeforeProduct).split(Split::Units);
    let weights = GruWeights::pytorch(&config, &[1.0; 3], &[1.0; 3], None, None).unwrap();
    assert!(Gru::new(&config, &weights).is_ok());
    let refused = Gru::new(&config.clone().clip(1.0), &weights).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "split over units", .. }), "{refused}");
    let refused = Gru::new(&config.reset_gate(ResetGate::AfterProduct), &weights).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "weights", .. }), "{refused}");
}

#[test]
fn a_workspace_of_a_layer_that_shares_no_units_is_refused_by_one_that_does_and_nothing_is_written() {
    let config = GruConfig::new(3, 40).reset_gate(ResetGate::BeforeProduct).training();
    let parameters = config.initial_parameters(&Initialization::PYTORCH, 1).unwrap();
    let layer = |config: &GruConfig| {
        Gru::new(config, &GruWeights::from_parameters(config, &parameters).unwrap()).unwrap()
    };
    let of_rows = layer(&config.clone().threads(Threads::Serial));
    let of_units = layer(&config.clone().split(Split::Units).schedule(Schedule::Fused));
    let x = [0.5; 6];
    let (mut workspace, mut output) = (of_rows.workspace(1).unwrap(), [f32::NAN; 80]);
    let call = Forward::new(Sequence::time_major(&x, 2, 1, 3)).output(SequenceMut::time_major(
        &mut output,
        2,
        1,
        40,
    ));
    let refused = of_units.forward(&mut workspace, call).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "workspace", .. }), "{refused}");
    assert!(output.iter().all(|h| h.is_nan()));
    of_units.reserve_workspace(&mut workspace, 1).unwrap();
    of_units.forward(&mut workspace, Forward::new(Sequence::time_major(&x, 2, 1, 3))).unwrap();
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

    // The same turned.
    let (mut gate, mut candidate, mut b_gate, mut b_candidate) = ([0.0; 4], [0.0; 2], [0.0; 2], [0.0]);
    let rooms = Some([&mut b_gate[..], &mut b_candidate]);
    numbered(&before).export_tflite([&mut gate, &mut candidate], rooms).unwrap();
    assert_eq!(
        (gate, candidate, b_gate, b_candidate),
        ([1.0, 4.0, 2.0, 5.0], [3.0, 6.0], [11.0, 22.0], [33.0])
    );
    let refused = numbered(&before).export_tflite([&mut gate, &mut candidate], None).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "gate_bias and candidate_bias", .. }), "{refused}");

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
        let case = case(9, [4, 2, inputs, units], reset_gate);
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
            let found = case(1, sizes, reset_gate).found(Run::on(isa), Recording::Full);
            let values = found.iter().flat_map(|(name, values)| match *name {
                "db" => of_two_biases(reset_gate, values).concat(),
                _ => values.clone(),
            });
            fnv(values.flat_map(f32::to_le_bytes))
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
    let case = case(5, [4, 2, 3, 17], ResetGate::AfterProduct);
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
    assert_eq!(run(&gru), run(&plain(&case)));
    let refused = GruWeights::from_parameters(&config, &parameters[1..]).unwrap_err();
    assert!(matches!(refused, Error::Length { argument: "parameters", .. }), "{refused}");
}

#[test]
fn a_cell_state_is_refused() {
    let case = case(1, [2, 1, 1, 1], ResetGate::AfterProduct);
    let gru = plain(&case);
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
    let case = case(1, [2, 1, 1, 1], ResetGate::AfterProduct);
    let gru = plain(&case);
    let config = RnnConfig::new(1, 1).training();
    let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &[1.0], &[1.0], None, None).unwrap()).unwrap();
    let input = || Sequence::time_major(&case.x, 2, 1, 1);
    let mut tape = rnn.tape(2, 1).unwrap();
    let refused =
        gru.forward(&mut gru.workspace(1).unwrap(), Forward::new(input()).tape(&mut tape)).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "tape", .. }), "{refused}");
    let refused = gru.forward(&mut rnn.workspace(1).unwrap(), Forward::new(input())).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "workspace", .. }), "{refused}");
    let refused = gru.step(&mut rnn.state(1).unwrap(), Matrix::new(&[0.0], 1, 1)).unwrap_err();
    assert!(matches!(refused, Error::Unsupported { argument: "state", .. }), "{refused}");
}

#[test]
fn an_order_without_a_gate_is_refused() {
    use GruGate::{Candidate, Reset, Update};
    assert_eq!(GruGateOrder::new([Update, Reset, Candidate]).unwrap(), GruGateOrder::ZRN);
    let refused = GruGateOrder::new([Reset, Reset, Candidate]).unwrap_err();
    assert!(matches!(refused, Error::GateOrder { missing: "update gate", .. }), "{refused}");
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
fn an_error_of_a_length_says_which_convention_has_as_many_elements() {
    let zeros = &[0.0; 100];
    let after = &GruConfig::new(3, 2);
    let before = &GruConfig::new(3, 2).reset_gate(ResetGate::BeforeProduct);
    let hint = |result: Result<GruWeights<'_>, Error>| match result.unwrap_err() {
        Error::Length { hint, .. } => hint.unwrap_or_default(),
        other => panic!("{other}"),
    };
    let keras = |config, w: usize, r: usize, b: usize| {
        hint(GruWeights::keras(config, &zeros[..w], &zeros[..r], Some(&zeros[..b])))
    };
    assert!(keras(after, 18, 12, 6).contains("before the product"));
    assert!(keras(after, 18, 12, 8).contains("added up"));
    assert!(keras(before, 18, 12, 12).contains("reset_after"));
    assert!(keras(before, 24, 12, 6).contains("LSTM"));
    assert!(keras(before, 18, 4, 6).contains("separate"));
    assert!(keras(before, 36, 12, 6).contains("two directions"));
    assert!(keras(before, 20, 12, 6).contains("tensorflow_block"));
    assert_eq!(keras(before, 19, 12, 6), "");
    let openvino =
        |config, b: usize| hint(GruWeights::openvino(config, &zeros[..18], &zeros[..12], Some(&zeros[..b])));
    assert!(openvino(after, 6).contains("before the product"));
    assert!(openvino(before, 8).contains("after the product"));
    assert!(openvino(after, 12).contains("onnx"));
}

#[test]
fn scales_of_a_normalization_are_written_as_they_were_read() {
    for reset_gate in [ResetGate::AfterProduct, ResetGate::BeforeProduct] {
        let config = GruConfig::new(1, 2).reset_gate(reset_gate);
        let weights = GruWeights::pytorch(&config, &[0.5; 6], &[0.5; 12], None, None).unwrap();
        let (mut to, mut apart) = ([[0.0; 2]; 3], [0.0; 2]);
        let is_apart = reset_gate == ResetGate::AfterProduct;
        let mut export = |weights: GruWeights<'_>| {
            let scales = to.each_mut().map(|scale| &mut scale[..]);
            weights.export_layer_normalization(scales, is_apart.then_some(&mut apart[..]))
        };
        let refused = export(weights).unwrap_err();
        assert!(matches!(refused, Error::Missing { argument: "layer normalization", .. }), "{refused}");
        let own = is_apart.then_some(&[7.0f32, 8.0][..]);
        let scales: [&[f32]; 3] = [&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]];
        export(weights.with_layer_normalization(scales, own).unwrap()).unwrap();
        assert_eq!(
            (to, apart),
            ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], if is_apart { [7.0, 8.0] } else { [0.0; 2] })
        );
    }
    let config = RnnConfig::new(1, 2);
    let weights = RnnWeights::pytorch(&config, &[0.5; 2], &[0.5; 4], None, None).unwrap();
    let mut to = [0.0; 2];
    weights.with_layer_normalization(&[1.0, 2.0]).unwrap().export_layer_normalization(&mut to).unwrap();
    assert_eq!(to, [1.0, 2.0]);
    let refused = weights.export_layer_normalization(&mut to).unwrap_err();
    assert!(matches!(refused, Error::Missing { argument: "layer normalization", .. }), "{refused}");
}

#[test]
fn a_bias_without_room_is_not_dropped() {
    let case = case(1, [1, 1, 2, 3], ResetGate::AfterProduct);
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
