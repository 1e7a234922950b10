//! Files as exporters write them: one that ONNX Runtime has answered, and others that are put together here, against
//! the layers of `quadgate` and numbers by hand.

use quadgate::{
    ActivationFunction, Activations, Clip, Direction, Forward, Lstm, LstmConfig, LstmWeights, Matrix,
    Sequence, SequenceMut,
};
use quadgate_onnx::{Call, Clipping, Initial, Model, Operator, RowLengths};
use safetensors::SafeTensors;

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/data/onnx/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn nodes_answer_as_onnx_runtime_does() {
    let model = Model::parse(&bytes("lstms.onnx"), Clipping::Runtime).unwrap();
    let file = bytes("lstms.safetensors");
    let file = SafeTensors::deserialize(&file).unwrap();
    let tensor = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let (steps, batch) = (6, 3);
    let mut input = tensor("x");
    for (lstm, number) in model.nodes().iter().zip([1, 2]) {
        let output = lstm.run(&Call::new(&input, steps, batch)).unwrap();
        for (name, found) in [("y", &output.y), ("h", &output.y_h), ("c", &output.y_c)] {
            let expected = tensor(&format!("{name}{number}"));
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 5e-6, "{name}{number}: {found}, {expected}");
            }
        }
        // What lies between the nodes: [T, D, B, H] to [T, B, D·H].
        let (count, units) = (lstm.layers().len(), lstm.hidden_size());
        input = (0..steps * batch)
            .flat_map(|row| (0..count).map(move |direction| [row / batch * count + direction, row % batch]))
            .flat_map(|[slot, row]| output.y[(slot * batch + row) * units..][..units].to_vec())
            .collect();
    }
    let names: Vec<_> =
        model.nodes().iter().map(|lstm| (lstm.name(), lstm.input(), lstm.outputs()[0])).collect();
    assert_eq!(names, [("both_ways", "x", Some("y1")), ("coupled", "joined", Some("y2"))]);
    let others: Vec<_> = model.other_nodes().iter().map(|(kind, &count)| (kind.as_str(), count)).collect();
    assert_eq!(others, [("Reshape", 1), ("Transpose", 1)]);
    let whole = bytes("lstms.onnx");
    for len in (0..whole.len() - 1000).step_by(97) {
        assert!(Model::parse(&whole[..len], Clipping::Runtime).is_err(), "{len} bytes");
    }
}

/// Messages of protocol buffers.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn int(mut self, field: u64, number: i64) -> Self {
        self.varint(field << 3);
        self.varint(number as u64);
        self
    }

    fn float(mut self, field: u64, number: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn string(self, field: u64, string: &str) -> Self {
        self.bytes(field, string.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn shaped(name: &str, shape: &[usize]) -> Message {
    let dims = shape.iter().fold(Message::default(), |tensor, &size| tensor.int(1, size as i64));
    dims.int(2, 1).string(8, name)
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Message {
    shaped(name, shape).bytes(9, &raw(values))
}

/// One whose bytes lie beside the file.
fn external(name: &str, shape: &[usize], location: &str, offset: usize) -> Message {
    let entry = |key: &str, value: &str| Message::default().string(1, key).string(2, value);
    let length = 4 * shape.iter().product::<usize>();
    shaped(name, shape)
        .message(13, &entry("location", location))
        .message(13, &entry("offset", &offset.to_string()))
        .message(13, &entry("length", &length.to_string()))
        .int(14, 1)
}

/// Types of attributes.
const FLOAT: i64 = 1;
const INT: i64 = 2;
const STRING: i64 = 3;
const TENSOR: i64 = 4;
const GRAPH: i64 = 5;
const FLOATS: i64 = 6;
const INTS: i64 = 7;
const STRINGS: i64 = 8;

fn attribute(name: &str, kind: i64) -> Message {
    Message::default().string(1, name).int(20, kind)
}

fn node(kind: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.string(1, input));
    let node = outputs.iter().fold(node, |node, output| node.string(2, output)).string(4, kind);
    attributes.iter().fold(node, |node, attribute| node.message(5, attribute))
}

fn graph(nodes: &[Message], tensors: &[Message]) -> Message {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node));
    tensors.iter().fold(graph, |graph, tensor| graph.message(5, tensor))
}

fn file(nodes: &[Message], tensors: &[Message]) -> Vec<u8> {
    Message::default().int(1, 9).message(7, &graph(nodes, tensors)).0
}

const X: usize = 2;
const H: usize = 3;

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed * 11) % 23) as f32 / 23.0 - 0.5).collect()
}

/// Weights of so many directions.
fn weights(count: usize) -> [Vec<f32>; 3] {
    [numbers(count * 4 * H * X, 1), numbers(count * 4 * H * H, 2), numbers(count * 8 * H, 3)]
}

fn weight_tensors(count: usize) -> Vec<Message> {
    let [w, r, b] = weights(count);
    vec![
        tensor("w", &[count, 4 * H, X], &w),
        tensor("r", &[count, 4 * H, H], &r),
        tensor("b", &[count, 8 * H], &b),
    ]
}

/// A layer of one of these directions, with this configuration.
fn layer(count: usize, number: usize, config: LstmConfig) -> Lstm {
    let all = weights(count);
    let [w, r, b] = all.each_ref().map(|all| &all[number * all.len() / count..][..all.len() / count]);
    Lstm::new(&config, &LstmWeights::onnx(&config, w, r, Some(b), None).unwrap()).unwrap()
}

fn config() -> LstmConfig {
    LstmConfig::new(X, H)
}

/// Every h, `[T, B, H]`, of a layer.
fn answer(
    lstm: &Lstm,
    x: &[f32],
    [steps, batch]: [usize; 2],
    initial: [&[f32]; 2],
    lengths: &[i32],
) -> Vec<f32> {
    let mut h = vec![0.0; steps * batch * H];
    let call = Forward::new(Sequence::time_major(x, steps, batch, X))
        .initial_hidden(Matrix::new(initial[0], batch, H))
        .initial_cell(Matrix::new(initial[1], batch, H))
        .lengths(lengths)
        .output(SequenceMut::time_major(&mut h, steps, batch, H));
    lstm.forward(&mut lstm.workspace(batch).unwrap(), call).unwrap();
    h
}

/// A recorded answer of ONNX Runtime, written to a file as an exporter would: its tensors are initializers but for X.
struct Recorded {
    golden: Vec<u8>,
    config: serde_json::Value,
}

impl Recorded {
    fn load(name: &str) -> Self {
        let path = format!("{}/../tests/data/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(&golden).unwrap();
        let config = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
        Self { golden, config }
    }

    fn sizes(&self) -> [usize; 2] {
        ["T", "B"].map(|key| self.config[key].as_u64().unwrap() as usize)
    }

    fn tensor(&self, name: &str) -> Option<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.golden).unwrap();
        let (data, _) = file.tensor(name).ok()?.data().as_chunks::<4>();
        Some(data.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn file(&self) -> Vec<u8> {
        let file_of = SafeTensors::deserialize(&self.golden).unwrap();
        let mut attributes = Vec::new();
        for (name, value) in self.config["attributes"].as_object().unwrap() {
            let list = value.as_array().into_iter().flatten();
            attributes.push(match name.as_str() {
                "direction" => attribute(name, STRING).string(4, value.as_str().unwrap()),
                "activations" => {
                    list.fold(attribute(name, STRINGS), |all, name| all.string(9, name.as_str().unwrap()))
                }
                "activation_alpha" | "activation_beta" => list
                    .fold(attribute(name, FLOATS), |all, number| {
                        all.float(7, number.as_f64().unwrap() as f32)
                    }),
                "clip" => attribute(name, FLOAT).float(2, value.as_f64().unwrap() as f32),
                _ => attribute(name, INT).int(3, value.as_i64().unwrap()),
            });
        }
        let inputs: Vec<&str> =
            self.config["inputs"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let tensors: Vec<Message> = inputs
            .iter()
            .filter(|&&name| !name.is_empty() && name != "X")
            .map(|&name| {
                let found = file_of.tensor(name).unwrap();
                let dims =
                    found.shape().iter().fold(Message::default(), |all, &size| all.int(1, size as i64));
                let kind = if name == "sequence_lens" { 6 } else { 1 };
                dims.int(2, kind).string(8, name).bytes(9, found.data())
            })
            .collect();
        let operator = self.config["op"].as_str().unwrap();
        file(&[node(operator, &inputs, &["Y", "Y_h", "Y_c"], &attributes)], &tensors)
    }
}

#[test]
fn every_recorded_answer_of_onnx_runtime_comes_out_of_a_file() {
    let directory = format!("{}/../tests/data/golden", env!("CARGO_MANIFEST_DIR"));
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut count = [0; 3];
    for name in names.filter_map(|name| name.into_string().ok()) {
        let Some(name) = name.strip_suffix(".safetensors").filter(|name| name.starts_with("onnx_")) else {
            continue;
        };
        let recorded = Recorded::load(name);
        let [steps, batch] = recorded.sizes();
        let x = recorded.tensor("X").unwrap();
        let model = Model::parse(&recorded.file(), Clipping::Runtime).unwrap();
        let found = model.nodes()[0].run(&Call::new(&x, steps, batch)).unwrap();
        for (what, found) in [("Y", found.y), ("Y_h", found.y_h), ("Y_c", found.y_c)] {
            let expected = recorded.tensor(what).unwrap_or_default();
            assert_eq!(found.len(), expected.len(), "{name}: {what}");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 5e-6, "{name}: {what}: {found}, {expected}");
            }
        }
        let operators = [Operator::Lstm, Operator::Gru, Operator::Rnn];
        let which = operators.iter().position(|&of| of == model.nodes()[0].operator()).unwrap();
        count[which] += 1;
    }
    assert_eq!(count, [12, 6, 3]);
}

#[test]
fn what_writers_say_in_other_words_is_read() {
    let read = |attributes: &[Message], tensors: &[Message]| {
        let lstm = node("LSTM", &["x", "w", "r", "b", "lens"], &["y"], attributes).string(7, "ai.onnx");
        Model::parse(&file(&[lstm], tensors), Clipping::Runtime)
    };
    let functions = ["sigmoid", "TANH", "tanh"];
    let attributes = [
        // A zero that is not written, letters of any case, and what the first version of the operator had.
        attribute("layout", INT),
        attribute("input_forget", INT),
        attribute("direction", STRING).string(4, "Forward"),
        functions.iter().fold(attribute("activations", STRINGS), |all, name| all.string(9, name)),
        attribute("output_sequence", INT).int(3, 1),
    ];
    let [w, r, b] = weights(1);
    // Lists of numbers in the place of bytes; lengths in the file.
    let listed = |name: &str, shape: &[usize], values: &[f32]| {
        values.iter().fold(shaped(name, shape), |tensor, &value| tensor.float(4, value))
    };
    let lengths = Message::default().int(1, 2).int(2, 6).string(8, "lens").int(5, 3).int(5, 1);
    let mut tensors = vec![
        listed("w", &[1, 4 * H, X], &w),
        listed("r", &[1, 4 * H, H], &r),
        listed("b", &[1, 8 * H], &b),
        lengths,
    ];
    let x = numbers(3 * 2 * X, 4);
    let model = read(&attributes, &tensors).unwrap();
    assert_eq!(model.nodes()[0].lengths(), &RowLengths::Stored(vec![3, 1]));
    let found = model.nodes()[0].run(&Call::new(&x, 3, 2)).unwrap();
    let zeros = [0.0; 2 * H];
    assert_eq!(found.y, answer(&layer(1, 0, config()), &x, [3, 2], [&zeros; 2], &[3, 1]));
    assert!(model.nodes()[0].run(&Call::new(&x, 3, 2).lengths(&[3, 3])).unwrap() != found);
    // What cannot be read says so: another type, and a matrix that lies the other way round.
    tensors[3] = Message::default().int(1, 2).int(2, 7).string(8, "lens");
    let error = read(&[], &tensors).unwrap_err().to_string();
    assert!(error.contains("sequence_lens: expected elements of type INT32, found INT64"), "{error}");
    tensors[3] = Message::default();
    tensors[1] = listed("r", &[1, H, 4 * H], &r);
    let error = read(&[], &tensors).unwrap_err().to_string();
    assert!(error.contains("R: expected [1, 12, 3] as W has it, found [1, 3, 12]"), "{error}");
}

#[test]
fn floats_of_16_bits_are_widened_and_those_of_64_refused() {
    // Each number of weights is a whole number of 16ths, which either type has: sign, exponent and 7 bits.
    let number = |i: usize| (i * 37 % 97) as f32 / 16.0 - 3.0;
    let of = |shape: &[usize]| (0..shape.iter().product()).map(number).collect::<Vec<f32>>();
    let bf16 = |x: f32| (x.to_bits() >> 16) as u16;
    let f16 = |x: f32| match x.to_bits() {
        0 => 0,
        bits => (bits >> 16 & 0x8000 | ((bits >> 23 & 0xff) - 112) << 10 | bits >> 13 & 0x3ff) as u16,
    };
    assert_eq!([f16(1.0), f16(-2.5), bf16(1.0), bf16(-2.5)], [0x3c00, 0xc100, 0x3f80, 0xc020]);
    let shapes = [("w", &[1, 4 * H, X][..]), ("r", &[1, 4 * H, H]), ("b", &[1, 8 * H])];
    let lstm = node("LSTM", &["x", "w", "r", "b"], &["y"], &[]);
    let answer = |tensors: [Message; 3]| {
        let model = Model::parse(&file(std::slice::from_ref(&lstm), &tensors), Clipping::Runtime)?;
        model.nodes()[0].run(&Call::new(&[0.25; 3 * X], 3, 1))
    };
    let expected = answer(shapes.map(|(name, shape)| tensor(name, shape, &of(shape)))).unwrap();
    let typed = |name: &str, shape: &[usize], kind: i64| {
        shape
            .iter()
            .fold(Message::default(), |all, &size| all.int(1, size as i64))
            .int(2, kind)
            .string(8, name)
    };
    for (kind, bits) in [(10, &f16 as &dyn Fn(f32) -> u16), (16, &bf16)] {
        let raw = shapes.map(|(name, shape)| {
            let bytes: Vec<u8> = of(shape).into_iter().flat_map(|x| bits(x).to_le_bytes()).collect();
            typed(name, shape, kind).bytes(9, &bytes)
        });
        let listed = shapes.map(|(name, shape)| {
            of(shape).into_iter().fold(typed(name, shape, kind), |all, x| all.int(5, bits(x).into()))
        });
        assert_eq!([answer(raw).unwrap(), answer(listed).unwrap()], [expected.clone(), expected.clone()]);
    }
    let double = |(name, shape)| typed(name, shape, 11).bytes(9, &vec![0; 8 * of(shape).len()]);
    let error = answer(shapes.map(double)).unwrap_err().to_string();
    assert_eq!(error, "node 0: W: expected elements of type FLOAT, FLOAT16 or BFLOAT16, found DOUBLE");
}

#[test]
fn calls_that_do_not_fit_a_node_are_refused() {
    let tensors = [tensor("w", &[1, 3, 0], &[]), tensor("r", &[1, 3, 1], &[0.0; 3])];
    let gru = node("GRU", &["x", "w", "r"], &["y"], &[]);
    let model = Model::parse(&file(&[gru], &tensors), Clipping::Runtime).unwrap();
    let run = |call: Call<'_>| model.nodes()[0].run(&call).unwrap_err().to_string();
    assert!(run(Call::new(&[], 1, 1).initial_c(&[0.0])).contains("initial_c: expected none"));
    for (steps, batch) in [(1 << 45, 1), (0, 1 << 45), (usize::MAX, 2), (usize::MAX / 4, 1)] {
        let error = run(Call::new(&[], steps, batch));
        assert!(error.starts_with("expected a size that"), "{error}");
    }
    let gru = node("GRU", &["x", "w", "r"], &["y"], &[attribute("layout", INT).int(3, 1)]);
    let model = Model::parse(&file(&[gru], &tensors), Clipping::Runtime).unwrap();
    for steps in [0, 1 << 45, usize::MAX] {
        assert!(model.nodes()[0].run(&Call::new(&[], steps, 0)).unwrap().y.is_empty());
    }
}

#[test]
fn each_direction_has_functions_of_its_own_in_either_layout() {
    let (steps, batch) = (4, 3);
    let x = numbers(steps * batch * X, 4);
    // [B, T, X]
    let turned: Vec<f32> = (0..batch)
        .flat_map(|row| (0..steps).map(move |step| step * batch + row))
        .flat_map(|row| x[row * X..][..X].to_vec())
        .collect();
    let functions = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "ScaledTanh"];
    let activations =
        functions.iter().fold(attribute("activations", STRINGS), |list, name| list.string(9, name));
    let alphas =
        [0.3, 1.5].into_iter().fold(attribute("activation_alpha", FLOATS), |list, x| list.float(7, x));
    let betas = [0.4, 0.5].into_iter().fold(attribute("activation_beta", FLOATS), |list, x| list.float(7, x));
    let other = Activations {
        gate: ActivationFunction::HardSigmoid { alpha: 0.3, beta: 0.4 },
        candidate: ActivationFunction::Relu,
        cell: ActivationFunction::ScaledTanh { alpha: 1.5, beta: 0.5 },
    };
    let layers =
        [layer(2, 0, config()), layer(2, 1, config().direction(Direction::Reverse).activations(other))];
    let (zeros, lengths) = (vec![0.0; batch * H], [4, 2, 3]);
    let expected = layers.each_ref().map(|lstm| answer(lstm, &x, [steps, batch], [&zeros, &zeros], &lengths));
    for layout in [0, 1] {
        let attributes = [
            attribute("direction", STRING).string(4, "bidirectional"),
            attribute("hidden_size", INT).int(3, H as i64),
            attribute("layout", INT).int(3, layout),
            activations.clone(),
            alphas.clone(),
            betas.clone(),
        ];
        let lstm = node("LSTM", &["x", "w", "r", "b", "lens"], &["y"], &attributes);
        let model = Model::parse(&file(&[lstm], &weight_tensors(2)), Clipping::Runtime).unwrap();
        let lstm = &model.nodes()[0];
        assert_eq!(
            (lstm.lengths(), lstm.is_batch_major(), lstm.name()),
            (&RowLengths::Given { name: "lens".into() }, layout == 1, "node 0")
        );
        let input = if layout == 1 { &turned } else { &x };
        let missing = lstm.run(&Call::new(input, steps, batch)).unwrap_err();
        assert!(missing.to_string().contains("lens"), "{missing}");
        let output = lstm.run(&Call::new(input, steps, batch).lengths(&lengths)).unwrap();
        for step in 0..steps {
            for direction in 0..2 {
                for row in 0..batch {
                    let at = match layout {
                        0 => (step * 2 + direction) * batch + row,
                        _ => (row * steps + step) * 2 + direction,
                    };
                    let found = &output.y[at * H..][..H];
                    assert_eq!(found, &expected[direction][(step * batch + row) * H..][..H]);
                    // Y_h is h after the last step that is read.
                    let last = if direction == 0 { lengths[row] as usize - 1 } else { 0 };
                    if step == last {
                        let at = if layout == 0 { direction * batch + row } else { row * 2 + direction };
                        assert_eq!(&output.y_h[at * H..][..H], found);
                    }
                }
            }
        }
    }
}

#[test]
fn initial_states_are_stored_filled_or_given() {
    let (steps, batch) = (2, 2);
    let x = numbers(steps * batch * X, 5);
    let [h, c] = [6, 7].map(|seed| numbers(batch * H, seed));
    let constant = |value: f32| attribute("value", TENSOR).message(5, &tensor("", &[1], &[value]));
    let nodes = |inputs: [&str; 2]| {
        let all = ["x", "w", "r", "b", "", inputs[0], inputs[1]];
        [
            node("ConstantOfShape", &["shape"], &["filled"], &[constant(0.25)]),
            node("ConstantOfShape", &["shape"], &["zeros"], &[]),
            node("Expand", &["one", "shape"], &["expanded"], &[]),
            node("Expand", &["stored_h", "shape"], &["unequal"], &[]),
            node(
                "Constant",
                &[],
                &["constant"],
                &[attribute("value", TENSOR).message(5, &tensor("", &[1, batch, H], &h))],
            ),
            node("Identity", &["constant"], &["copy"], &[]),
            node("Slice", &["everything"], &["cut"], &[]),
            node("LSTM", &all, &["y"], &[]),
        ]
    };
    let mut tensors = weight_tensors(1);
    tensors.push(tensor("stored_h", &[1, batch, H], &h));
    tensors.push(tensor("one", &[1, 1, 1], &[-0.5]));
    let filled = |value: f32| vec![value; batch * H];
    let given = |name: &str, from: &str| Initial::Given { name: name.into(), from: from.into() };
    for (name, initial, value) in [
        ("", Initial::Filled(0.0), Some(filled(0.0))),
        ("filled", Initial::Filled(0.25), Some(filled(0.25))),
        ("zeros", Initial::Filled(0.0), Some(filled(0.0))),
        ("expanded", Initial::Filled(-0.5), Some(filled(-0.5))),
        ("stored_h", Initial::Stored(h.clone()), Some(h.clone())),
        ("constant", Initial::Stored(h.clone()), Some(h.clone())),
        ("copy", Initial::Stored(h.clone()), Some(h.clone())),
        ("h0", given("h0", "an input of the graph"), None),
        ("unequal", given("unequal", "Expand"), None),
        ("cut", given("cut", "Slice"), None),
    ] {
        let model = Model::parse(&file(&nodes([name, "c0"]), &tensors), Clipping::Runtime).unwrap();
        let lstm = &model.nodes()[0];
        assert_eq!(lstm.initial(), [initial, given("c0", "an input of the graph")]);
        let call = Call::new(&x, steps, batch).initial_c(&c);
        let (hidden, output) = match value {
            Some(value) => (value, lstm.run(&call)),
            None => {
                let missing = lstm.run(&call).unwrap_err().to_string();
                assert!(missing.contains("initial_h") && missing.contains(name), "{missing}");
                (h.clone(), lstm.run(&call.initial_h(&h)))
            }
        };
        let expected = answer(&layer(1, 0, config()), &x, [steps, batch], [&hidden, &c], &[2, 2]);
        assert_eq!(output.unwrap().y, expected, "{name}");
    }
}

#[test]
fn a_stored_state_of_another_shape_is_refused() {
    let lstm = node("LSTM", &["x", "w", "r", "b", "", "h"], &["y"], &[]);
    for shape in [&[2, 1, H][..], &[1, H, 2], &[2, H]] {
        let mut tensors = weight_tensors(1);
        tensors.push(tensor("h", shape, &numbers(2 * H, 6)));
        let error = Model::parse(&file(std::slice::from_ref(&lstm), &tensors), Clipping::Runtime);
        let error = error.unwrap_err().to_string();
        let expected = "initial_h: expected [directions, batch, units] with 1 directions and 3 units, found";
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn clips_are_those_of_the_runtime_or_of_the_standard() {
    let tensors =
        [tensor("w", &[1, 4, 0], &[]), tensor("r", &[1, 4, 1], &[0.0; 4]), tensor("c0", &[1, 1, 1], &[5.0])];
    let lstm =
        node("LSTM", &["x", "w", "r", "", "", "", "c0"], &[], &[attribute("clip", FLOAT).float(2, 1.0)]);
    for (clipping, expected) in [(Clipping::Runtime, 0.493_307), (Clipping::Standard, 0.380_797)] {
        let model = Model::parse(&file(std::slice::from_ref(&lstm), &tensors), clipping).unwrap();
        let y = model.nodes()[0].run(&Call::new(&[], 1, 1)).unwrap().y;
        assert!((y[0] - expected).abs() < 1e-6, "{y:?}");
    }
    let clip = Clip::onnx(1.0);
    assert_eq!((clip.gate, clip.hidden), (Some(1.0), Some(1.0)));
}

#[test]
fn tensors_may_lie_beside_the_file_and_nowhere_else() {
    let directory = std::env::temp_dir().join(format!("quadgate-onnx-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [w, r, b] = weights(1);
    std::fs::write(directory.join("model.bin"), [raw(&w), raw(&r), raw(&b)].concat()).unwrap();
    let lstm = node("LSTM", &["x", "w", "r", "b"], &["y"], &[]);
    let tensors = |location: &str, more: usize| {
        vec![
            external("w", &[1, 4 * H, X], location, 0),
            external("r", &[1, 4 * H, H], location, 4 * w.len()),
            external("b", &[1, 8 * H], location, 4 * (w.len() + r.len()) + more),
        ]
    };
    let path = directory.join("model.onnx");
    let open = |tensors: &[Message]| {
        std::fs::write(&path, file(std::slice::from_ref(&lstm), tensors)).unwrap();
        Model::open(&path)
    };
    let x = numbers(3 * X, 8);
    for location in ["model.bin", "./model.bin"] {
        let y = open(&tensors(location, 0)).unwrap().nodes()[0].run(&Call::new(&x, 3, 1)).unwrap().y;
        assert_eq!(y, answer(&layer(1, 0, config()), &x, [3, 1], [&[0.0; H], &[0.0; H]], &[3]));
    }
    for (location, more, expected) in [
        ("model.bin", 4, "model.bin"),
        ("../model.bin", 0, "beside"),
        ("/etc/passwd", 0, "beside"),
        ("none", 0, "none"),
    ] {
        let error = open(&tensors(location, more)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let inside = Model::parse(&file(&[lstm], &tensors("model.bin", 0)), Clipping::Runtime).unwrap_err();
    assert!(inside.to_string().contains("by its path"), "{inside}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_file_without_recurrent_nodes_is_told_what_it_has() {
    let of = |nodes: &[Message]| Model::parse(&file(nodes, &[]), Clipping::Runtime).unwrap_err().to_string();
    let plain = |kind: &str| node(kind, &["a"], &["b"], &[]);
    let body = attribute("body", GRAPH).message(6, &graph(&[plain("LSTM")], &[]));
    for (nodes, expected) in [
        (vec![plain("DynamicQuantizeLSTM"), plain("MatMul")], "quantized"),
        (vec![plain("GRU").string(7, "mine")], "1 GRU"),
        (vec![node("Loop", &["a"], &["b"], &[body])], "Loop/LSTM"),
        (vec![plain("Scan")], "loops"),
        (vec![plain("Sigmoid"), plain("Tanh"), plain("Sigmoid")], "2 Sigmoid, 1 Tanh"),
        (vec![], "no node at all"),
    ] {
        let error = of(&nodes);
        assert!(
            error.starts_with("expected LSTM, GRU or RNN nodes, found none") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn what_does_not_fit_names_the_node_and_the_input() {
    let of = |inputs: &[&str], attributes: &[Message]| {
        let lstm = node("LSTM", inputs, &["y"], attributes).string(3, "encoder");
        Model::parse(&file(&[lstm], &weight_tensors(1)), Clipping::Runtime).unwrap_err().to_string()
    };
    let right = ["x", "w", "r", "b"];
    for (error, expected) in [
        (of(&["x", "w", "elsewhere"], &[]), "encoder: R: expected elsewhere"),
        (of(&["x", "w"], &[]), "encoder: R: expected a tensor"),
        (of(&right, &[attribute("hidden_size", INT).int(3, 9)]), "encoder: hidden_size: expected 3"),
        (
            of(&right, &[attribute("direction", STRING).string(4, "bidirectional")]),
            "encoder: W: expected 2 directions",
        ),
        (
            of(&right, &[attribute("direction", STRING).string(4, "up")]),
            "attribute direction of LSTM: expected forward, reverse",
        ),
        (of(&right, &[attribute("layout", INT).int(3, 2)]), "attribute layout of LSTM"),
        (of(&right, &[attribute("surprise", INT).int(3, 1)]), "attribute surprise of LSTM"),
        (of(&right, &[attribute("activations", STRINGS).string(9, "Tanh")]), "3 for each direction"),
        (of(&right, &[attribute("activations", STRINGS).string(9, "Cosine")]), "Cosine"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let lstm = node("LSTM", &right, &["y"], &[]);
    let model = Model::parse(&file(&[lstm], &weight_tensors(1)), Clipping::Runtime).unwrap();
    let error = model.nodes()[0].run(&Call::new(&[0.0; 3], 2, 1)).unwrap_err().to_string();
    assert_eq!(error, "X: expected 4 elements, found 3");
    assert!(model.nodes()[0].run(&Call::new(&[], usize::MAX, 2)).is_err());
}

/// Integers of 64 bits.
fn integers(name: &str, values: &[i64]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().int(1, values.len() as i64).int(2, 7).string(8, name).bytes(9, &bytes)
}

/// Blocks of rows in another order.
fn blocks(rows: &[f32], order: [usize; 4]) -> Vec<f32> {
    order.into_iter().flat_map(|block| &rows[block * rows.len() / 4..][..rows.len() / 4]).copied().collect()
}

#[test]
fn gates_are_brought_into_order_by_nodes_as_pytorch_does() {
    let named = |name: &str, part: &str| format!("{name}_{part}");
    let list = |name: &str, values: &[i64]| {
        values.iter().fold(attribute(name, INTS), |all, &value| all.int(8, value))
    };
    let axis = |axis: i64| attribute("axis", INT).int(3, axis);
    let (size, hidden) = (4 * H as i64, H as i64);
    let mut tensors = vec![
        integers("first", &[0]),
        integers("matrix", &[1, -1, X as i64]),
        integers("sizes", &[hidden; 4]),
        tensor("half", &[], &[0.5]),
    ];
    // Negative ones count from the end, and those past it mean the end.
    let places = [[0, hidden], [hidden, -2 * hidden], [-2 * hidden, 3 * hidden], [3 * hidden, i64::MAX]];
    for (gate, [start, end]) in places.into_iter().enumerate() {
        tensors.push(integers(&format!("start{gate}"), &[start]));
        tensors.push(integers(&format!("end{gate}"), &[end]));
    }
    let mut nodes = Vec::new();
    // The gates i, f, g, o of a tensor as i, o, f, g.
    let mut reorder = |name: &str, cut: &[Message]| {
        let parts = ["i", "f", "g", "o"].map(|gate| named(name, gate));
        nodes.extend_from_slice(cut);
        if cut.is_empty() {
            for (gate, part) in parts.iter().enumerate() {
                let [start, end] = ["start", "end"].map(|place| format!("{place}{gate}"));
                nodes.push(node("Slice", &[name, &start, &end, "first"], &[part], &[]));
            }
        }
        let order = [0, 3, 1, 2].map(|gate| parts[gate].as_str());
        nodes.push(node("Concat", &order, &[&named(name, "onnx")], &[axis(-2 * i64::from(cut.len() > 1))]));
    };
    let all = weights(2);
    for direction in 0..2 {
        let of = |which: usize| &all[which][direction * all[which].len() / 2..][..all[which].len() / 2];
        let [w, r] = [0, 1].map(|which| blocks(of(which), [0, 2, 3, 1]));
        let [b, c] = [0, 1].map(|which| blocks(&of(2)[which * 4 * H..][..4 * H], [0, 2, 3, 1]));
        let names = ["w", "r", "b", "c"].map(|name| format!("{name}{direction}"));
        let [w_name, r_name, b_name, c_name] = names.each_ref().map(String::as_str);
        // One of them lies the other way round.
        let turned: Vec<f32> =
            (0..X).flat_map(|x| (0..4 * H).map(move |row| [row, x])).map(|[row, x]| w[row * X + x]).collect();
        let parts = ["i", "f", "g", "o"].map(|gate| named(w_name, gate));
        let parts = parts.each_ref().map(String::as_str);
        if direction == 0 {
            tensors.push(tensor(w_name, &[4 * H, X], &w));
            reorder(w_name, &[]);
        } else {
            tensors.push(tensor("turned", &[X, 4 * H], &turned));
            let turn = node("Transpose", &["turned"], &[w_name], &[list("perm", &[1, 0])]);
            reorder(w_name, &[turn, node("Split", &[w_name, "sizes"], &parts, &[])]);
        }
        tensors.push(tensor(r_name, &[4 * H, H], &r));
        reorder(r_name, &[]);
        for (name, values) in [(b_name, &b), (c_name, &c)] {
            tensors.push(tensor(name, &[4 * H], values));
            reorder(name, &[]);
        }
    }
    for direction in 0..2 {
        let of = |name: &str| format!("{name}{direction}");
        let [w, r, b, c] = ["w", "r", "b", "c"].map(|name| named(&of(name), "onnx"));
        nodes.push(node("Reshape", &[&w, "matrix"], &[&of("W")], &[]));
        nodes.push(node("Unsqueeze", &[&r], &[&of("R")], &[list("axes", &[0])]));
        nodes.push(node("Concat", &[&b, &c], &[&of("joined")], &[axis(0)]));
        nodes.push(node("Unsqueeze", &[&of("joined"), "first"], &[&of("cast")], &[]));
        nodes.push(node("Cast", &[&of("cast")], &[&of("B")], &[attribute("to", INT).int(3, 1)]));
    }
    for name in ["W", "R", "B"] {
        let parts = [0, 1].map(|direction| format!("{name}{direction}"));
        nodes.push(node("Concat", &[&parts[0], &parts[1]], &[name], &[axis(0)]));
    }
    // States of both layers of a stack, of which this one takes its part.
    nodes.push(node("Expand", &["half", "shape"], &["filled"], &[]));
    nodes.push(node("Slice", &["filled", "start0", "end0", "first"], &["h0"], &[]));
    let both = attribute("direction", STRING).string(4, "bidirectional");
    let model = |nodes: &[Message], names: [&str; 3], tensors: &[Message]| {
        let inputs = ["x", names[0], names[1], names[2], "", "h0"];
        let lstm = node("LSTM", &inputs, &["y"], std::slice::from_ref(&both));
        Model::parse(&file(&[nodes, &[lstm]].concat(), tensors), Clipping::Runtime)
    };
    let found = model(&nodes, ["W", "R", "B"], &tensors).unwrap();
    assert_eq!(found.nodes()[0].initial()[0], Initial::Filled(0.5));
    let plain = model(&[], ["w", "r", "b"], &weight_tensors(2)).unwrap();
    let (x, half) = (numbers(3 * 2 * X, 9), [0.5; 2 * 2 * H]);
    let answer = |model: Model| model.nodes()[0].run(&Call::new(&x, 3, 2).initial_h(&half)).unwrap();
    assert_eq!(answer(found), answer(plain));

    // What cannot be made names the node.
    tensors.push(integers("size", &[size]));
    let refused = |made: &[Message], expected: &str| {
        let error = model(made, ["W", "R", "B"], &tensors).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    for (kind, inputs, attributes, expected) in [
        ("Concat", &["W", "W"][..], vec![axis(0)], "too many nodes"),
        ("Concat", &["w0", "r0"], vec![axis(0)], "alike but for axis 0"),
        ("Concat", &["w0", "r0"], vec![axis(2)], "an axis of 2, found 2"),
        ("Slice", &["w0"], vec![], "starts and ends"),
        ("Slice", &["x", "first", "sizes"], vec![], "an input of the graph"),
        ("Slice", &["w0", "first", "sizes"], vec![], "as many ends"),
        ("Reshape", &["w0", "sizes"], vec![], "a shape of 24 elements"),
        ("Split", &["w0", "size"], vec![], ""),
        ("Transpose", &["w0"], vec![list("perm", &[0, 0])], "each of 2 axes once"),
        ("Squeeze", &["w0", "first"], vec![], "1 element of axis 0"),
        ("Unsqueeze", &["w0", "size"], vec![], "an axis of 3, found 12"),
        ("Cast", &["w0"], vec![attribute("to", INT).int(3, 10)], "what Cast computes"),
        ("Add", &["w0", "w0"], vec![], "what Add computes: export"),
    ] {
        refused(&[node(kind, inputs, &["W"], &attributes)], expected);
    }
}
