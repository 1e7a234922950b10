//! Loads an `nn.LSTM` that PyTorch saved as safetensors, and runs it on a sine wave.
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

use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, MatrixMut, Sequence, SequenceMut};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: pytorch_safetensors lstm.safetensors [prefix]";
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
    let (path, prefix) = match arguments.as_slice() {
        [path] => (path, ""),
        [path, prefix] => (path, prefix.as_str()),
        _ => return Err(USAGE.into()),
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let lstm = load(&bytes, prefix).map_err(|error| format!("{path}: {error}"))?;
    let (inputs, hidden) = (lstm.config().input_size(), lstm.config().hidden_size());
    println!("layer: {inputs} features, {hidden} units, on {}", lstm.isa());

    let x: Vec<f32> = (0..STEPS * inputs).map(|i| (i as f32 * 0.1).sin()).collect();
    let mut output = vec![0.0; STEPS * hidden];
    let mut last_cell = vec![0.0; hidden];
    lstm.forward(
        &mut lstm.workspace(1)?,
        Forward::new(Sequence::time_major(&x, STEPS, 1, inputs))
            .output(SequenceMut::time_major(&mut output, STEPS, 1, hidden))
            .last_cell(MatrixMut::new(&mut last_cell, 1, hidden)),
    )?;

    println!("x [{STEPS}, 1, {inputs}] → h [{STEPS}, 1, {hidden}]");
    println!("sum of all h: {:.6}", output.iter().copied().map(f64::from).sum::<f64>());
    println!("last h: {}", start_of(&output[(STEPS - 1) * hidden..]));
    println!("last c: {}", start_of(&last_cell));
    Ok(())
}

/// The first layer of the `nn.LSTM` whose tensors' names start with `prefix`.
fn load(file: &[u8], prefix: &str) -> Result<Lstm> {
    let tensors =
        SafeTensors::deserialize(file).map_err(|error| format!("expected a safetensors file: {error}"))?;
    let find = |name: &str| find(&tensors, &format!("{prefix}{name}"));
    let (weight_ih, weight_hh) = (find("weight_ih_l0")?, find("weight_hh_l0")?);
    let config = config(&weight_ih, &weight_hh)?;
    // A layer made with bias=False has neither; a layer with only one of the two is broken.
    let has_bias = ["bias_ih_l0", "bias_hh_l0"].iter().any(|name| find(name).is_ok());
    let bias = |name| if has_bias { floats(&find(name)?).map(Some) } else { Ok(None) };
    let (bias_ih, bias_hh) = (bias("bias_ih_l0")?, bias("bias_hh_l0")?);

    let (weight_ih, weight_hh) = (floats(&weight_ih)?, floats(&weight_hh)?);
    let weights =
        LstmWeights::pytorch(&config, &weight_ih, &weight_hh, bias_ih.as_deref(), bias_hh.as_deref())?;
    Ok(Lstm::new(&config, &weights)?)
}

fn find<'a>(tensors: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>> {
    tensors.tensor(name).map_err(|_| {
        let mut names = tensors.names();
        names.sort_unstable();
        format!("expected a tensor {name}, found only: {}", names.join(", ")).into()
    })
}

/// The layer's sizes, from the shapes [4H, X] and [4H, H].
fn config(weight_ih: &TensorView<'_>, weight_hh: &TensorView<'_>) -> Result<LstmConfig> {
    match (weight_ih.shape(), weight_hh.shape()) {
        (&[rows, inputs], &[rows_hh, hidden]) if rows == rows_hh && rows / 4 == hidden && rows % 4 == 0 => {
            Ok(LstmConfig::new(inputs, hidden))
        }
        (ih, hh) => {
            Err(format!("expected an LSTM's weights [4H, X] and [4H, H], found {ih:?} and {hh:?}").into())
        }
    }
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
