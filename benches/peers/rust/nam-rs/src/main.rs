//! nam-rs. It reads one sample a step and tells one number of h, the product with the weights of a model's last layer:
//! here one unit of h. So there is a copy of the model for each unit; the first is timed.

use nam_rs::{Lstm, LstmConfig, ModelConfig, NamModel};
use std::process;
use worker::{BLOCK, Call, Case, Mode, serve};

struct Nam {
    models: Vec<Lstm>,
    /// x of the next call, and then what the first model makes of it.
    buffer: Vec<f32>,
    next: usize,
    case: Case,
}

impl Call for Nam {
    fn run(&mut self) {
        let steps = self.buffer.len();
        self.buffer.copy_from_slice(&self.case.input[self.next..][..steps]);
        self.models[0].process_buffer(&mut self.buffer);
        self.next = (self.next + steps) % self.case.t;
    }

    fn answer(&mut self) -> Vec<f32> {
        let (steps, t) = (self.buffer.len(), self.case.t);
        let input = &self.case.input[(self.next + t - steps) % t..][..steps];
        let mut units = vec![self.buffer.clone()];
        for model in &mut self.models[1..] {
            let mut unit = input.to_vec();
            model.process_buffer(&mut unit);
            units.push(unit);
        }
        (0..steps).flat_map(|step| units.iter().map(move |unit| unit[step])).collect()
    }
}

/// A model whose output is a unit of h.
fn model(case: &Case, unit: usize) -> Lstm {
    let &Case { x, h, .. } = case;
    let rows = case.weight_ih.chunks(x).zip(case.weight_hh.chunks(h));
    let mut weights: Vec<f32> = rows.flat_map(|(w, r)| [w, r].concat()).collect();
    weights.extend(&case.bias);
    // h and c to begin with, the weights of the last layer, and its bias.
    weights.extend(vec![0.0; 2 * h]);
    weights.extend((0..h).map(|n| if n == unit { 1.0 } else { 0.0 }));
    weights.push(0.0);
    let config = ModelConfig::Lstm(LstmConfig { input_size: x, hidden_size: h, num_layers: 1 });
    let (version, architecture) = ("0.5.4".to_string(), "LSTM".to_string());
    let model = NamModel { version, architecture, config, weights, sample_rate: None, metadata: None };
    Lstm::new(&model).expect("a model of as many weights")
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    if [case.b, case.x] != [1, 1] {
        eprintln!("one sample a step");
        process::exit(1);
    }
    let models = (0..case.h).map(|unit| model(&case, unit)).collect();
    let steps = if mode == Mode::Step { 1 } else { BLOCK };
    Box::new(Nam { models, buffer: vec![0.0; steps], next: 0, case })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve(load)
}
