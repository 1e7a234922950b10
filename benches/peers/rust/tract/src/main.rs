//! tract.

use std::sync::Arc;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;
use worker::{Call, Case, Cell, Mode, serve, threads};

struct Tract {
    model: Arc<TypedRunnableModel>,
    /// The whole sequence, or each of its steps.
    sequences: Vec<TValue>,
    next: usize,
    /// h, and c of an LSTM.
    state: TVec<TValue>,
    is_stream: bool,
    outputs: TVec<TValue>,
}

impl Call for Tract {
    fn run(&mut self) {
        let mut inputs = tvec![self.sequences[self.next].clone()];
        inputs.extend(self.state.drain(..));
        self.outputs = self.model.run(inputs).expect("the model runs");
        if self.is_stream {
            self.state = self.outputs.clone();
        }
        self.next = (self.next + 1) % self.sequences.len();
    }

    fn answer(&mut self) -> Vec<f32> {
        self.outputs[0].to_plain_array_view::<f32>().expect("h is f32").iter().copied().collect()
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    if threads() > 1 {
        set_default_executor(Executor::multithread(threads()));
    }
    let model = tract_onnx::onnx().model_for_path(&case.model).and_then(|model| model.into_optimized());
    let model = model.and_then(|model| model.into_runnable()).expect("tract reads the model");
    let t = if mode == Mode::Step { 1 } else { case.t };
    let tensor = |shape: &[usize], values: &[f32]| {
        Tensor::from_shape(shape, values).expect("as many values as the shape says").into_tvalue()
    };
    let sequence = |values: &[f32]| tensor(&[t, case.b, case.x], values);
    let sequences = case.input.chunks(t * case.b * case.x).map(sequence).collect();
    let zeros = tensor(&[1, case.b, case.h], &vec![0.0; case.b * case.h]);
    let is_stream = mode == Mode::Step;
    let states = if case.cell == Cell::Lstm { 2 } else { 1 };
    let state = if is_stream { (0..states).map(|_| zeros.clone()).collect() } else { tvec![] };
    Box::new(Tract { model, sequences, next: 0, state, is_stream, outputs: tvec![] })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve(load)
}
