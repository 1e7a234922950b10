//! Loads an `nn.LSTM` that PyTorch saved as safetensors, of any depth, in one direction or both, with or without a
//! projection, and runs it on a sine wave.
//!
//! In Python:
//!
//! ```text
//! safetensors.torch.save_file(lstm.state_dict(), "lstm.safetensors")
//! ```
//!
//! Then:
//!
//! ```text
//! cargo run --release --example pytorch_safetensors -- lstm.safetensors
//! ```
//!
//! For an LSTM inside a larger model, add what stands before the names of its tensors, such as `encoder.lstm.`.
//!
//! With `--save copy.safetensors` as its last arguments it writes the weights that the layers hold to another such
//! file, which `nn.LSTM` loads, and reads it back.

use quadgate::{
    Directions, LstmConfig, LstmStack, LstmWeights, MatrixMut, Orientation, Sequence, SequenceMut,
    StackConfig, StackForward,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: pytorch_safetensors lstm.safetensors [prefix] [--save copy.safetensors]";
const STEPS: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pytorch_safetensors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (arguments, copy) = match arguments.as_slice() {
        [arguments @ .., flag, copy] if flag == "--save" => (arguments, Some(copy)),
        arguments => (arguments, None),
    };
    let (path, prefix) = match arguments {
        [path] => (path, ""),
        [path, prefix] => (path, prefix.as_str()),
        _ => return Err(USAGE.into()),
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let stack = load(&bytes, prefix).map_err(|error| format!("{path}: {error}"))?;
    let config = stack.config();
    let (inputs, hidden, width) = (config.input_size(), config.hidden_size(), config.output_size());
    println!("{} layers of {hidden} units, {:?}, on {}", config.layers(), config.directions(), stack.isa());

    let x: Vec<f32> = (0..STEPS * inputs).map(|i| (i as f32 * 0.1).sin()).collect();
    let mut output = vec![0.0; STEPS * width];
    let rows = config.directed_layers();
    let mut last_cell = vec![0.0; rows * hidden];
    stack.forward(
        &mut stack.workspace(STEPS, 1)?,
        StackForward::new(Sequence::time_major(&x, STEPS, 1, inputs))
            .output(SequenceMut::time_major(&mut output, STEPS, 1, width))
            .last_cell(MatrixMut::new(&mut last_cell, rows, hidden)),
    )?;

    println!("x [{STEPS}, 1, {inputs}] → h [{STEPS}, 1, {width}]");
    println!("sum of all h: {:.6}", output.iter().copied().map(f64::from).sum::<f64>());
    println!("last h: {}", start_of(&output[(STEPS - 1) * width..]));
    println!("last c of the last layer: {}", start_of(&last_cell[(rows - 1) * hidden..]));
    if let Some(copy) = copy {
        std::fs::write(copy, save(&stack)?).map_err(|error| format!("{copy}: {error}"))?;
        let same = parameters(&load(&std::fs::read(copy)?, "")?)? == parameters(&stack)?;
        println!("{copy}: read back {}", if same { "as written" } else { "otherwise than written" });
    }
    Ok(())
}

/// All parameters of a stack.
pub(crate) fn parameters(stack: &LstmStack) -> Result<Vec<f32>> {
    let mut parameters = vec![0.0; stack.config().total_parameters()?];
    stack.read_parameters(&mut parameters)?;
    Ok(parameters)
}

/// A safetensors file of a stack, with PyTorch's names. The bias of W is the sum of both biases, that of R zero.
pub(crate) fn save(stack: &LstmStack) -> Result<Vec<u8>> {
    let (config, parameters) = (stack.config(), parameters(stack)?);
    let directions = config.directions().count();
    let mut tensors: Vec<(String, [usize; 2], Vec<u8>)> = Vec::new();
    for index in 0..config.directed_layers() {
        let (layer, ranges) = (config.directed_layer(index), config.parameters(index)?);
        let (rows, outputs) = (4 * layer.hidden_size(), layer.output_size());
        let suffix = format!("_l{}{}", index / directions, ["", "_reverse"][index % directions]);
        let zeros = vec![0.0; rows];
        for (kind, shape, numbers) in [
            ("weight_ih", [rows, layer.input_size()], &parameters[ranges.weight_ih]),
            ("weight_hh", [rows, outputs], &parameters[ranges.weight_hh]),
            ("bias_ih", [rows, 0], &parameters[ranges.bias]),
            ("bias_hh", [rows, 0], &zeros),
            ("weight_hr", [outputs, layer.hidden_size()], &parameters[ranges.projection]),
        ] {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            tensors.push((format!("{kind}{suffix}"), shape, bytes));
        }
    }
    let views =
        tensors.iter().filter(|(name, _, bytes)| !(name.starts_with("weight_hr") && bytes.is_empty()));
    let views = views.map(|(name, [rows, columns], bytes)| {
        let shape = if name.starts_with("bias") { vec![*rows] } else { vec![*rows, *columns] };
        Ok((name, TensorView::new(Dtype::F32, shape, bytes)?))
    });
    let views: Vec<_> = views.collect::<std::result::Result<_, SafeTensorError>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// The tensors of one layer in one direction, as PyTorch names them.
#[derive(Default)]
struct Tensors {
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
    weight_hr: Option<Vec<f32>>,
}

/// The `nn.LSTM` whose tensors' names start with `prefix`.
pub(crate) fn load(file: &[u8], prefix: &str) -> Result<LstmStack> {
    let tensors =
        SafeTensors::deserialize(file).map_err(|error| format!("expected a safetensors file: {error}"))?;
    let has = |name: &str| tensors.tensor(&format!("{prefix}{name}")).is_ok();
    let find = |name: &str| find(&tensors, &format!("{prefix}{name}"));
    let both = has("weight_ih_l0_reverse");
    let layers = (0..).take_while(|layer| has(&format!("weight_ih_l{layer}"))).count().max(1);
    let projection = if has("weight_hr_l0") { Some(find("weight_hr_l0")?) } else { None };
    let layer = layer(&find("weight_ih_l0")?, &find("weight_hh_l0")?, projection.as_ref())?;
    let directions = if both { Directions::Concatenated } else { Directions::Forward };
    let config = StackConfig::of(layer, layers, directions);

    let suffixes: &[&str] = if both { &["", "_reverse"] } else { &[""] };
    let mut all = Vec::new();
    for layer in 0..layers {
        for suffix in suffixes {
            let needed = |kind: &str| floats(&find(&format!("{kind}_l{layer}{suffix}"))?);
            // A layer made with bias=False has neither; a layer with only one of the two is broken.
            let has_bias = ["bias_ih", "bias_hh"].iter().any(|kind| has(&format!("{kind}_l{layer}{suffix}")));
            let optional = |kind: &str, there: bool| there.then(|| needed(kind)).transpose();
            all.push(Tensors {
                weight_ih: needed("weight_ih")?,
                weight_hh: needed("weight_hh")?,
                bias_ih: optional("bias_ih", has_bias)?,
                bias_hh: optional("bias_hh", has_bias)?,
                weight_hr: optional("weight_hr", projection.is_some())?,
            });
        }
    }
    let weights: Vec<LstmWeights<'_>> = all
        .iter()
        .enumerate()
        .map(|(index, tensors)| {
            let Tensors { weight_ih, weight_hh, bias_ih, bias_hh, weight_hr } = tensors;
            let config = config.directed_layer(index);
            let weights =
                LstmWeights::pytorch(&config, weight_ih, weight_hh, bias_ih.as_deref(), bias_hh.as_deref())?;
            match weight_hr {
                Some(weight_hr) => weights.with_projection(Orientation::GatesByInputs, weight_hr, None),
                None => Ok(weights),
            }
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok(LstmStack::new(&config, &weights)?)
}

fn find<'a>(tensors: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>> {
    tensors.tensor(name).map_err(|_| {
        let mut names = tensors.names();
        names.sort_unstable();
        format!("expected a tensor {name}, found only: {}", names.join(", ")).into()
    })
}

/// The first layer's sizes, from the shapes `[4H, X]` and `[4H, H]`, or `[4H, P]` and `[P, H]` with a projection.
fn layer(
    weight_ih: &TensorView<'_>,
    weight_hh: &TensorView<'_>,
    weight_hr: Option<&TensorView<'_>>,
) -> Result<LstmConfig> {
    match (weight_ih.shape(), weight_hh.shape(), weight_hr.map(TensorView::shape)) {
        (&[rows, inputs], &[rows_hh, outputs], projection) if rows == rows_hh && rows % 4 == 0 => {
            let config = LstmConfig::new(inputs, rows / 4);
            match projection {
                None if outputs == rows / 4 => return Ok(config),
                Some(&[size, hidden]) if size == outputs && hidden == rows / 4 => {
                    return Ok(config.projection(size));
                }
                _ => {}
            }
        }
        _ => {}
    }
    let (ih, hh) = (weight_ih.shape(), weight_hh.shape());
    Err(format!("expected an LSTM's weights [4H, X] and [4H, H], found {ih:?} and {hh:?}").into())
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("expected tensors of F32, found {:?}", tensor.dtype()).into());
    }
    let (elements, _) = tensor.data().as_chunks::<4>();
    Ok(elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn start_of(values: &[f32]) -> String {
    let start: Vec<String> = values.iter().take(4).map(|value| format!("{value:.6}")).collect();
    let dots = if values.len() > 4 { ", …" } else { "" };
    format!("{}{dots}", start.join(", "))
}
