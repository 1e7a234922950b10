//! Loads the LSTM nodes of an ONNX file, and runs each on a sine wave.
//!
//! ```text
//! cargo run --release -p quadgate-onnx --example onnx_lstm -- model.onnx
//! ```

use quadgate_onnx::{Call, Error, Initial, Model};
use std::process::ExitCode;

const STEPS: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        eprintln!("usage: onnx_lstm model.onnx");
        return ExitCode::FAILURE;
    };
    match run(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onnx_lstm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str) -> Result<(), Error> {
    let model = Model::open(path.as_ref())?;
    for lstm in model.lstms() {
        let (inputs, hidden, directions) = (lstm.input_size(), lstm.hidden_size(), lstm.layers().len());
        // The file may fix the batch by a state that it holds; what is given with each call is zero here.
        let stored = lstm.initial().iter().find_map(|state| match state {
            Initial::Stored(state) => Some(state.len() / (directions * hidden)),
            _ => None,
        });
        let batch = stored.unwrap_or(1);
        let x: Vec<f32> = (0..STEPS * batch * inputs).map(|i| (i as f32 * 0.1).sin()).collect();
        let (zeros, lengths) = (vec![0.0; directions * batch * hidden], vec![STEPS as i32; batch]);
        let mut call = Call::new(&x, STEPS, batch);
        let [hidden_state, cell_state] = lstm.initial();
        if let Initial::Given { .. } = hidden_state {
            call = call.initial_h(&zeros);
        }
        if let Initial::Given { .. } = cell_state {
            call = call.initial_c(&zeros);
        }
        if lstm.lengths().is_some() {
            call = call.lengths(&lengths);
        }
        let output = lstm.run(&call)?;
        println!("{}: {inputs} features, {hidden} units, {directions} directions", lstm.name());
        println!("    sum of all h: {:.6}", output.y.iter().copied().map(f64::from).sum::<f64>());
    }
    println!("not run: {:?}", model.other_nodes());
    Ok(())
}
