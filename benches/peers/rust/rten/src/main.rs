//! rten. It packs R at each call; only W can be packed before.

use rten::{Model, ModelOptions, NodeId, Value, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::mem;
use worker::{Call, Case, Mode, serve};

struct Rten {
    model: Model,
    /// X, and for a step h₀, and c₀ of an LSTM.
    inputs: Vec<NodeId>,
    /// Y, or for a step Y_h, and Y_c of an LSTM.
    outputs: Vec<NodeId>,
    /// The whole sequence, or each of its steps.
    sequences: Vec<NdTensor<f32, 3>>,
    next: usize,
    state: Vec<Value>,
    hidden: Option<Value>,
}

impl Call for Rten {
    fn run(&mut self) {
        let mut inputs = vec![(self.inputs[0], self.sequences[self.next].view().into())];
        let state = mem::take(&mut self.state).into_iter().map(ValueOrView::Value);
        inputs.extend(self.inputs[1..].iter().copied().zip(state));
        let mut outputs = self.model.run(inputs, &self.outputs, None).expect("the model runs");
        if self.inputs.len() == 1 {
            self.hidden = outputs.pop();
        } else {
            self.state = outputs;
        }
        self.next = (self.next + 1) % self.sequences.len();
    }

    fn answer(&mut self) -> Vec<f32> {
        match self.hidden.as_ref().unwrap_or_else(|| &self.state[0]) {
            Value::FloatTensor(hidden) => hidden.to_vec(),
            _ => unreachable!("h is f32"),
        }
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    let mut options = ModelOptions::with_all_ops();
    let model = options.prepack_weights(true).load_file(&case.model).expect("rten reads the model");
    let (inputs, outputs) = (model.input_ids().to_vec(), model.output_ids().to_vec());
    let t = if mode == Mode::Step { 1 } else { case.t };
    let sequence = |values: &[f32]| NdTensor::from_data([t, case.b, case.x], values.to_vec());
    let sequences = case.input.chunks(t * case.b * case.x).map(sequence).collect();
    let zeros = || NdTensor::<f32, 3>::zeros([1, case.b, case.h]).into();
    let state = inputs[1..].iter().map(|_| zeros()).collect();
    Box::new(Rten { model, inputs, outputs, sequences, next: 0, state, hidden: None })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve(load)
}
