//! Group `options`: what the options of the LSTM family cost beside a plain layer of the same sizes, on the caller's
//! thread.
//!
//! A layer with options has a cell of its own; the plain layer runs its own kernels, whether options exist or not.

use crate::layer::{self, FITS, random};
use crate::roofline::Roofline;
use crate::run::{Case, Work};
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::reference::NaiveLstm;
use quadgate::{
    ActivationFunction, Activations, Backward, Clip, Coupling, Forward, GradientMode, Lstm, LstmConfig,
    LstmWeights, Orientation, Sequence, SequenceMut, Threads, Zoneout,
};

/// Layers that are bound by reading R, by the products, and by the cell.
const SHAPES: [[usize; 4]; 3] = [[100, 1, 128, 128], [100, 16, 128, 128], [28, 32, 28, 50]];

/// Adds an option to a configuration.
type AddOption = fn(LstmConfig) -> LstmConfig;

/// The options, each alone.
const OPTIONS: [(&str, AddOption); 8] = [
    ("plain", |config| config),
    ("peepholes", LstmConfig::peepholes),
    ("coupled", |config| config.coupling(Coupling::ForgetFromInput)),
    ("clipped", |config| config.clip(Clip { gate: Some(3.0), ..Clip::default() })),
    ("hard-sigmoid", |config| {
        let gate = ActivationFunction::HardSigmoid { alpha: 0.2, beta: 0.5 };
        config.activations(Activations { gate, ..Activations::default() })
    }),
    ("zoneout", |config| config.zoneout(Zoneout { hidden: 0.1, cell: 0.1 })),
    ("normalised", |config| config.layer_normalization(1e-5)),
    ("projected", |config| {
        let half = config.hidden_size() / 2;
        config.projection(half)
    }),
];

/// Weights of any of these layers.
struct Tensors {
    naive: NaiveLstm<f32>,
    peephole: Vec<f32>,
    scale: Vec<f32>,
    projection: Vec<f32>,
}

impl Tensors {
    fn new(shape: Shape) -> Self {
        let scale = 1.0 / (shape.h as f32).sqrt();
        Self {
            naive: layer::naive(shape),
            peephole: random(shape.h, scale, 8),
            scale: vec![1.0; shape.h],
            projection: random(shape.h * shape.h, scale, 9),
        }
    }

    fn lstm(&self, name: &str, config: &LstmConfig) -> Lstm {
        let (units, outputs) = (config.hidden_size(), config.output_size());
        let NaiveLstm { weight_ih, weight_hh, bias, .. } = &self.naive;
        let weight_hh = &weight_hh[..4 * units * outputs];
        let weights = LstmWeights::pytorch(config, weight_ih, weight_hh, Some(bias), None).expect(FITS);
        let weights = match name {
            "peepholes" => weights.with_peepholes([&self.peephole; 3]),
            "normalised" => weights.with_layer_normalization([&self.scale; 4]),
            "projected" => {
                let projection = &self.projection[..outputs * units];
                weights.with_projection(Orientation::GatesByInputs, projection, None)
            }
            _ => Ok(weights),
        };
        Lstm::new(config, &weights.expect(FITS)).expect(FITS)
    }
}

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for shape in SHAPES.map(Shape::from) {
        let tensors = Tensors::new(shape);
        for (name, option) in OPTIONS {
            let config = option(layer::config(shape, Threads::Serial));
            for (pass, config) in [("forward", config.clone()), ("train", config.training())] {
                let case = format!("{name}-{pass}-{shape}");
                if group.skips(&case) {
                    continue;
                }
                let lstm = tensors.lstm(name, &config);
                if config.is_for_training() {
                    measure(group, case, shape, &lstm, training_step(&lstm, shape));
                } else {
                    measure(group, case, shape, &lstm, forward(&lstm, shape));
                }
            }
        }
    }
}

fn measure(group: &mut Group<'_>, name: String, shape: Shape, lstm: &Lstm, call: impl FnMut() + Send) {
    let outputs = lstm.config().output_size() as f64 / shape.h as f64;
    // R, and with a projection V too, are smaller by that.
    let recurrent = if outputs < 1.0 { outputs * 1.25 } else { 1.0 };
    let is_training = lstm.config().is_for_training();
    let of_plain = Roofline::of(shape, is_training);
    let passes = if is_training { 3.0 } else { 1.0 };
    let flops = passes * 8.0 * shape.rows() * shape.h as f64 * (shape.x as f64 + recurrent * shape.h as f64);
    let flops_per_step = recurrent * of_plain.flops_per_step;
    let work = Work::Products {
        flops,
        roofline: Roofline {
            flops_at_once: flops - of_plain.steps * flops_per_step,
            flops_per_step,
            bytes_per_step: recurrent * of_plain.bytes_per_step,
            ..of_plain
        },
        weight_bytes: shape.t as f64 * recurrent * shape.recurrent_weight_bytes(),
    };
    let case = Case::serial(name, lstm, shape, work);
    let run = group.measure(case, None, call);
    group.keep(run);
}

fn forward(lstm: &Lstm, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, .. } = shape;
    let outputs = lstm.config().output_size();
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * outputs]);
    let mut workspace = lstm.workspace(b).expect(FITS);
    move || {
        let output = SequenceMut::time_major(&mut output, t, b, outputs);
        let call = Forward::new(Sequence::time_major(&input, t, b, x)).output(output);
        lstm.forward(&mut workspace, call).expect(FITS);
    }
}

fn training_step(lstm: &Lstm, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, .. } = shape;
    let outputs = lstm.config().output_size();
    let (input, cotangent) = (layer::input(shape), random(t * b * outputs, 1.0, 5));
    let mut workspace = lstm.workspace(b).expect(FITS);
    let mut tape = lstm.tape(t, b).expect(FITS);
    let mut input_gradient = vec![0.0; input.len()];
    let mut gradients = vec![0.0; lstm.config().parameters().expect(FITS).total()];
    move || {
        let input = Sequence::time_major(&input, t, b, x);
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).expect(FITS);
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&cotangent, t, b, outputs))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, t, b, x))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        lstm.backward(&mut workspace, &mut tape, call).expect(FITS);
    }
}
