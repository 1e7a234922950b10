//! Loads the LSTM nodes of an ONNX file, and runs each on a sine wave.
//!
//! ```text
//! cargo run --release --example onnx_lstm -- model.onnx
//! ```
//!
//! Weights, attributes and initial states are those of the [operator](https://onnx.ai/onnx/operators/onnx__LSTM.html); what a
//! node says and this example does not know is an error.

use quadgate::{
    ActivationFunction, Activations, Clip, Coupling, Directions, LstmConfig, LstmStack, LstmWeights, Matrix,
    Sequence, SequenceMut, StackConfig, StackForward,
};
use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, ModelProto, NodeProto, TensorProto};
use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STEPS: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onnx_lstm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else { return Err("usage: onnx_lstm model.onnx".into()) };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let nodes = load(&bytes).map_err(|error| format!("{path}: {error}"))?;
    println!("{} LSTM nodes", nodes.len());
    for node in &nodes {
        let config = node.stack.config();
        let (inputs, hidden) = (config.input_size(), config.hidden_size());
        let batch = node.initial_rows().unwrap_or(1);
        let x: Vec<f32> = (0..STEPS * batch * inputs).map(|i| (i as f32 * 0.1).sin()).collect();
        let y = node.run(&x, STEPS, batch)?;
        println!("{}: {inputs} features, {hidden} units, {:?}", node.name, config.directions());
        println!("    sum of all h: {:.6}", y.iter().copied().map(f64::from).sum::<f64>());
    }
    Ok(())
}

/// An LSTM node: its layer, in one direction or both, and the initial states that the file holds.
pub(crate) struct LstmNode {
    /// The name of the node.
    pub(crate) name: String,
    /// One layer.
    pub(crate) stack: LstmStack,
    /// `[directions, B, H]`
    initial: [Option<Vec<f32>>; 2],
}

impl LstmNode {
    /// B, if the file fixes it by initial states.
    pub(crate) fn initial_rows(&self) -> Option<usize> {
        let states = self.initial.iter().flatten().next()?;
        Some(states.len() / self.stack.config().directed_layers() / self.stack.config().hidden_size())
    }

    /// Every h of x `[T, B, X]`: `[T, B, directions · H]`.
    pub(crate) fn run(&self, x: &[f32], steps: usize, batch: usize) -> Result<Vec<f32>> {
        let config = self.stack.config();
        let (inputs, width) = (config.input_size(), config.output_size());
        let rows = config.directed_layers() * batch;
        let mut y = vec![0.0; steps * batch * width];
        let mut call = StackForward::new(Sequence::time_major(x, steps, batch, inputs))
            .output(SequenceMut::time_major(&mut y, steps, batch, width));
        if let [Some(hidden), _] = &self.initial {
            call = call.initial_hidden(Matrix::new(hidden, rows, config.hidden_size()));
        }
        if let [_, Some(cell)] = &self.initial {
            call = call.initial_cell(Matrix::new(cell, rows, config.hidden_size()));
        }
        self.stack.forward(&mut self.stack.workspace(steps, batch)?, call)?;
        Ok(y)
    }
}

/// All LSTM nodes of a file, in its order.
pub(crate) fn load(file: &[u8]) -> Result<Vec<LstmNode>> {
    let model = ModelProto::parse_buf(file).map_err(|error| format!("expected an ONNX file: {error:?}"))?;
    let graph = model.graph.ok_or("expected a graph, found none")?;
    let nodes = graph.node.iter().filter(|node| node.op_type.as_deref() == Some("LSTM"));
    nodes
        .map(|node| {
            let name = node.name.clone().unwrap_or_default();
            lstm(&graph, node, &name).map_err(|error| format!("node {name:?}: {error}").into())
        })
        .collect()
}

/// One node.
fn lstm(graph: &GraphProto, node: &NodeProto, name: &str) -> Result<LstmNode> {
    // X, W, R, B, sequence_lens, initial_h, initial_c, P; a name may be empty.
    let tensor = |input: usize, what: &str| -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(name) = node.input.get(input).filter(|name| !name.is_empty()) else { return Ok(None) };
        let found = graph.initializer.iter().find(|tensor| tensor.name.as_ref() == Some(name));
        let found = found.ok_or_else(|| format!("{what}: expected {name} among the file's tensors"))?;
        floats(found).map(Some).map_err(|error| format!("{what}: {error}").into())
    };
    if node.input.get(4).is_some_and(|name| !name.is_empty()) {
        return Err("sequence_lens: a call's, not a layer's; give them with `StackForward::lengths`".into());
    }
    let (shape, w) = tensor(1, "W")?.ok_or("W: expected a tensor, found none")?;
    let (_, r) = tensor(2, "R")?.ok_or("R: expected a tensor, found none")?;
    let &[count, rows, inputs] = shape.as_slice() else {
        return Err(format!("W: expected [directions, 4H, X], found {shape:?}").into());
    };
    let hidden = rows / 4;
    let data = |input, what| tensor(input, what).map(|tensor| tensor.map(|(_, data)| data));
    let (bias, peepholes) = (data(3, "B")?, data(7, "P")?);
    let initial =
        [tensor(5, "initial_h")?, tensor(6, "initial_c")?].map(|states| states.map(|(_, data)| data));

    let layer = LstmConfig::new(inputs, hidden);
    let (layer, directions) = attributes(layer, &node.attribute, peepholes.is_some())?;
    if directions.count() != count {
        return Err(format!("W: expected {} directions, found {count}", directions.count()).into());
    }
    let config = StackConfig::of(layer, 1, directions);
    let weights: Vec<LstmWeights<'_>> = (0..count)
        .map(|direction| {
            fn part(all: &[f32], direction: usize, count: usize) -> &[f32] {
                all.chunks(all.len().div_ceil(count).max(1)).nth(direction).unwrap_or_default()
            }
            LstmWeights::onnx(
                &config.directed_layer(direction),
                part(&w, direction, count),
                part(&r, direction, count),
                bias.as_deref().map(|all| part(all, direction, count)),
                peepholes.as_deref().map(|all| part(all, direction, count)),
            )
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok(LstmNode { name: name.into(), stack: LstmStack::new(&config, &weights)?, initial })
}

/// The configuration that the attributes of a node ask for, and its directions.
fn attributes(
    layer: LstmConfig,
    attributes: &[AttributeProto],
    peepholes: bool,
) -> Result<(LstmConfig, Directions)> {
    let mut layer = if peepholes { layer.peepholes() } else { layer };
    let mut directions = Directions::Forward;
    let (mut names, mut alphas, mut betas) = (&[][..], &[][..], &[][..]);
    for attribute in attributes {
        match attribute.name.as_deref().unwrap_or_default() {
            "direction" => {
                directions = match attribute.s.as_deref() {
                    Some("forward") => Directions::Forward,
                    Some("reverse") => Directions::Reverse,
                    Some("bidirectional") => Directions::Concatenated,
                    other => return Err(format!("direction: found {other:?}").into()),
                }
            }
            "hidden_size" => {
                let (expected, found) = (layer.hidden_size(), attribute.i);
                if found != i64::try_from(expected).ok() {
                    return Err(format!("hidden_size: expected {expected} as in W, found {found:?}").into());
                }
            }
            "clip" => layer = layer.clip(Clip { gate: attribute.f, ..Clip::default() }),
            "input_forget" if attribute.i == Some(1) => layer = layer.coupling(Coupling::ForgetFromInput),
            // The same that is said by leaving them out.
            "input_forget" | "layout" if attribute.i == Some(0) => {}
            "activations" => names = &attribute.strings,
            "activation_alpha" => alphas = &attribute.floats,
            "activation_beta" => betas = &attribute.floats,
            other => return Err(format!("attribute {other}: expected a known one of a known value").into()),
        }
    }
    if names.is_empty() {
        return Ok((layer, directions));
    }
    let functions = functions(names, alphas, betas)?;
    // Those of the forward direction, then those of the reverse one.
    let (forward, reverse) = functions.split_at(functions.len().min(3));
    match forward {
        &[gate, candidate, cell] if reverse.is_empty() || reverse == forward => {
            Ok((layer.activations(Activations { gate, candidate, cell }), directions))
        }
        _ => Err(format!("activations: expected three, the same both ways, found {names:?}").into()),
    }
}

/// Functions by name. Those that have α or β take the next one of the lists, or ONNX's default.
fn functions(names: &[String], alphas: &[f32], betas: &[f32]) -> Result<Vec<ActivationFunction>> {
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    let function = |name: &String| {
        let mut alpha = |default| alphas.next().unwrap_or(default);
        let mut beta = |default| betas.next().unwrap_or(default);
        Ok(match name.as_str() {
            "Sigmoid" => ActivationFunction::Sigmoid,
            "Tanh" => ActivationFunction::Tanh,
            "Relu" => ActivationFunction::Relu,
            "Softsign" => ActivationFunction::Softsign,
            "Softplus" => ActivationFunction::Softplus,
            "HardSigmoid" => ActivationFunction::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "Affine" => ActivationFunction::Affine { alpha: alpha(1.0), beta: beta(0.0) },
            "LeakyRelu" => ActivationFunction::LeakyRelu { alpha: alpha(0.01) },
            "ThresholdedRelu" => ActivationFunction::ThresholdedRelu { alpha: alpha(1.0) },
            "ScaledTanh" => ActivationFunction::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
            "Elu" => ActivationFunction::Elu { alpha: alpha(1.0) },
            other => return Err(format!("activations: expected one of ONNX's list, found {other}").into()),
        })
    };
    names.iter().map(function).collect()
}

/// Shape and elements of a tensor of floats in the file itself.
fn floats(tensor: &TensorProto) -> Result<(Vec<usize>, Vec<f32>)> {
    if tensor.data_type != Some(DataType::FLOAT) {
        return Err(format!("expected floats, found {:?}", tensor.data_type).into());
    }
    let shape: Vec<usize> =
        tensor.dims.iter().map(|&size| usize::try_from(size)).collect::<std::result::Result<_, _>>()?;
    let data = match &tensor.raw_data {
        Some(raw) => {
            let raw = raw.borrow();
            let (elements, _) = raw.as_chunks::<4>();
            elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        None => tensor.float_data.clone(),
    };
    if shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) != Some(data.len()) {
        return Err(format!("expected as many elements as {shape:?} has, found {}", data.len()).into());
    }
    Ok((shape, data))
}
