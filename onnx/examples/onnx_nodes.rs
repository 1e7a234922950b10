//! Loads the recurrent nodes of an ONNX file, and runs each on a sine wave.
//!
//! ```text
//! cargo run --release -p quadgate-onnx --example onnx_nodes -- model.onnx
//! ```

use quadgate_onnx::{Call, Error, Initial, Model, RowLengths};
use std::process::ExitCode;

const STEPS: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        eprintln!("usage: onnx_nodes model.onnx");
        return ExitCode::FAILURE;
    };
    match run(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onnx_nodes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str) -> Result<(), Error> {
    let model = Model::open(path.as_ref())?;
    for node in model.nodes() {
        let (inputs, hidden, directions) = (node.input_size(), node.hidden_size(), node.layers().len());
        // The file may fix the batch by a state that it holds; what is given with each call is zero here.
        let stored = node.initial().iter().find_map(|state| match state {
            Initial::Stored(state) => Some(state.len() / (directions * hidden)),
            _ => None,
        });
        let batch = stored.unwrap_or(1);
        let x: Vec<f32> = (0..STEPS * batch * inputs).map(|i| (i as f32 * 0.1).sin()).collect();
        let (zeros, lengths) = (vec![0.0; directions * batch * hidden], vec![STEPS as i32; batch]);
        let mut call = Call::new(&x, STEPS, batch);
        if let Some(Initial::Given { .. }) = node.initial().first() {
            call = call.initial_h(&zeros);
        }
        if let Some(Initial::Given { .. }) = node.initial().get(1) {
            call = call.initial_c(&zeros);
        }
        if node.lengths() != &RowLengths::Full {
            call = call.lengths(&lengths);
        }
        let output = node.run(&call)?;
        let (name, operator) = (node.name(), node.operator());
        println!("{name}: {operator}, {inputs} features, {hidden} units, {directions} directions");
        println!("    sum of all h: {:.6}", output.y.iter().copied().map(f64::from).sum::<f64>());
    }
    println!("not run: {:?}", model.other_nodes());
    Ok(())
}
