//! Group `denormals`: whether numbers of some size slow a layer down, as denormal numbers do on many CPUs. A forward
//! pass and a training step, on the caller's thread, beside the same with normal numbers.

use crate::call::Call;
use crate::forward::ForwardPass;
use crate::layer;
use crate::run::Case;
use crate::sequences::Pass;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use crate::train::TrainingStep;
use quadgate::Threads;
use quadgate::reference::NaiveLstm;

const SHAPE: [usize; 4] = [50, 8, 128, 128];

/// What a call computes with.
struct Numbers {
    naive: NaiveLstm<f32>,
    input: Vec<f32>,
    initial_cell: Option<Vec<f32>>,
}

/// Makes numbers of normal ones.
type Change = fn(&mut Numbers);

const CASES: [(&str, Change); 11] = [
    ("normal", |_| ()),
    ("x-denormal", |numbers| scale(&mut numbers.input, 1e-39)),
    ("x-1e-37", |numbers| numbers.input.iter_mut().for_each(|x| *x = 1e-37f32.copysign(*x))),
    ("w-denormal", |numbers| scale(&mut numbers.naive.weight_ih, 1e-38)),
    ("weights-denormal", |numbers| {
        let NaiveLstm { weight_ih, weight_hh, bias, .. } = &mut numbers.naive;
        [weight_ih, weight_hh, bias].into_iter().for_each(|weights| scale(weights, 1e-38));
    }),
    ("bias-o-86", |numbers| numbers.gate_bias(3).fill(-86.0)),
    ("bias-o-100", |numbers| numbers.gate_bias(3).fill(-100.0)),
    ("bias-i-86", |numbers| numbers.gate_bias(0).fill(-86.0)),
    ("bias-f-86", |numbers| numbers.gate_bias(1).fill(-86.0)),
    ("x-1e30", |numbers| scale(&mut numbers.input, 1e30)),
    ("c-decays", Numbers::decay),
];

impl Numbers {
    /// Normal numbers.
    fn new(shape: Shape) -> Self {
        Self { naive: layer::naive(shape), input: layer::input(shape), initial_cell: None }
    }

    /// The biases of i, f, g or o.
    fn gate_bias(&mut self, gate: usize) -> &mut [f32] {
        let units = self.naive.hidden_size;
        &mut self.naive.bias[gate * units..][..units]
    }

    /// f = 1/2 and g = 0, and a c that is denormal after half of the steps.
    fn decay(&mut self) {
        let [_, b, x, h] = SHAPE;
        let NaiveLstm { weight_ih, weight_hh, bias, .. } = &mut self.naive;
        for (weights, inputs) in [(weight_ih, x), (weight_hh, h), (bias, 1)] {
            weights[h * inputs..3 * h * inputs].fill(0.0);
        }
        self.initial_cell = Some(vec![2f32.powi(-100); b * h]);
    }
}

fn scale(values: &mut [f32], by: f32) {
    values.iter_mut().for_each(|value| *value *= by);
}

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    let shape = Shape::from(SHAPE);
    let config = layer::config(shape, Threads::Serial);
    for (name, change) in CASES {
        for (pass, config) in [("forward", config.clone()), ("train", config.clone().training())] {
            let case = format!("{name}-{pass}-{shape}");
            if group.skips(&case) {
                continue;
            }
            let mut numbers = Numbers::new(shape);
            change(&mut numbers);
            let lstm = layer::lstm(&numbers.naive, &config);
            let plan = lstm.plan(shape.t, shape.b);
            let work = match config.is_for_training() {
                true => TrainingStep::work(shape, plan),
                false => ForwardPass::work(shape, plan),
            };
            let mut call = Call::new(&lstm, shape);
            (call.input, call.initial_cell) = (numbers.input, numbers.initial_cell);
            let run = group.measure(Case::serial(case, &lstm, shape, work), None, || call.run(&lstm));
            let beside = format!("denormals/normal-{pass}-{shape}");
            group.keep(run.map(|run| if name == "normal" { run } else { run.beside(beside) }));
        }
    }
}
