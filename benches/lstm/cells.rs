//! Groups `gru` and `rnn`: forward passes, training steps and single steps of layers of the other cells, without
//! baselines.

use crate::forward;
use crate::layer::{self, FITS, random};
use crate::roofline::Roofline;
use crate::run::{Case, Work};
use crate::runner::Runner;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::step;
use crate::suite::Group;
use quadgate::{
    Backward, Error, Forward, GradientMode, Gru, GruConfig, GruWeights, Matrix, MatrixMut, Plan, ResetGate,
    Rnn, RnnConfig, RnnWeights, Schedule, Sequence, SequenceMut, State, Tape, Threads, Workspace,
};

/// A cell.
#[derive(Clone, Copy)]
enum Kind {
    Gru(ResetGate),
    Rnn,
}

/// A layer of one of them.
enum Layer {
    Gru(Gru),
    Rnn(Rnn),
}

/// Runs a method of whichever layer it is.
macro_rules! of_layer {
    ($layer:expr, $name:ident => $call:expr) => {
        match $layer {
            Layer::Gru($name) => $call,
            Layer::Rnn($name) => $call,
        }
    };
}

impl Kind {
    /// Rows of W and R for each unit.
    fn gates(self) -> usize {
        match self {
            Kind::Gru(_) => 3,
            Kind::Rnn => 1,
        }
    }

    /// A layer with random weights.
    fn layer(self, shape: Shape, threads: Threads, training: bool) -> Layer {
        let scale = 1.0 / (shape.h as f32).sqrt();
        let rows = self.gates() * shape.h;
        let (weight_ih, weight_hh) = (random(rows * shape.x, scale, 2), random(rows * shape.h, scale, 3));
        let biases = [random(rows, scale, 4), random(rows, scale, 5)];
        let [first, second] = biases.each_ref().map(|bias| Some(&bias[..]));
        match self {
            Kind::Gru(reset_gate) => {
                let config = GruConfig::new(shape.x, shape.h).reset_gate(reset_gate).threads(threads);
                let config = if training { config.training() } else { config };
                let weights = GruWeights::pytorch(&config, &weight_ih, &weight_hh, first, second);
                Layer::Gru(weights.and_then(|weights| Gru::new(&config, &weights)).expect(FITS))
            }
            Kind::Rnn => {
                let config = RnnConfig::new(shape.x, shape.h).threads(threads);
                let config = if training { config.training() } else { config };
                let weights = RnnWeights::pytorch(&config, &weight_ih, &weight_hh, first, second);
                Layer::Rnn(weights.and_then(|weights| Rnn::new(&config, &weights)).expect(FITS))
            }
        }
    }

    /// The work of a call: that of an LSTM with as many gates.
    fn work(self, shape: Shape, plan: Plan, training: bool) -> Work {
        let part = self.gates() as f64 / 4.0;
        let Roofline { flops_at_once, steps, flops_per_step, bytes_per_step } = Roofline::of(shape, training);
        let passes = if training { 2.0 } else { 1.0 };
        Work::Products {
            flops: part * if training { shape.training_flops() } else { shape.forward_flops() },
            roofline: Roofline {
                flops_at_once: part * flops_at_once,
                steps,
                flops_per_step: part * flops_per_step,
                bytes_per_step: part * bytes_per_step,
            },
            weight_bytes: passes * part * forward::weight_bytes(shape, plan),
        }
    }
}

impl Layer {
    fn plan(&self, shape: Shape) -> Plan {
        of_layer!(self, layer => layer.plan(shape.t, shape.b))
    }

    fn workspace(&self, batch: usize) -> Workspace {
        of_layer!(self, layer => layer.workspace(batch)).expect(FITS)
    }

    fn tape(&self, shape: Shape) -> Tape {
        of_layer!(self, layer => layer.tape(shape.t, shape.b)).expect(FITS)
    }

    fn state(&self) -> State {
        of_layer!(self, layer => layer.state(1)).expect(FITS)
    }

    fn parameters(&self) -> usize {
        match self {
            Layer::Gru(gru) => gru.config().parameters().expect(FITS).total(),
            Layer::Rnn(rnn) => rnn.config().parameters().expect(FITS).total(),
        }
    }

    fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.forward(workspace, call))
    }

    fn backward(&self, workspace: &mut Workspace, tape: &mut Tape, call: Backward<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.backward(workspace, tape, call))
    }

    fn step(&self, state: &mut State, input: Matrix<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.step(state, input))
    }
}

/// The group `gru`.
pub(crate) fn run_gru(group: &mut Group<'_>, settings: &Settings) {
    run(group, settings, "", Kind::Gru(ResetGate::AfterProduct));
    run(group, settings, "before-", Kind::Gru(ResetGate::BeforeProduct));
}

/// The group `rnn`.
pub(crate) fn run_rnn(group: &mut Group<'_>, settings: &Settings) {
    run(group, settings, "", Kind::Rnn);
}

fn run(group: &mut Group<'_>, settings: &Settings, prefix: &str, kind: Kind) {
    for &shape in &settings.shapes {
        for training in [false, true] {
            let name = format!("{prefix}{}-{shape}", if training { "train" } else { "forward" });
            if group.skips(&name) {
                continue;
            }
            let mut threads_seen = Vec::new();
            for runner in &settings.runners {
                measure(group, &name, kind, shape, training, runner, &mut threads_seen);
            }
        }
    }
    for size in step::SIZES {
        let shape = Shape { t: 1, b: 1, x: size, h: size };
        let name = format!("{prefix}step-{shape}");
        if group.skips(&name) {
            continue;
        }
        let layer = kind.layer(shape, Threads::Serial, false);
        let plan = layer.plan(shape);
        let case = Case {
            name,
            isa: plan.isa,
            requested_threads: 1,
            threads: 1,
            schedule: Some(Schedule::Fused),
            split: None,
            shape,
            work: kind.work(shape, plan, false),
        };
        let (input, mut state) = (layer::input(shape), layer.state());
        let mut step = || layer.step(&mut state, Matrix::new(&input, 1, size)).expect(FITS);
        if let Some(mut run) = group.measure(case, None, &mut step) {
            run.extra = Some(step::percentiles(&mut step));
            group.keep([run]);
        }
    }
}

/// Measures one setting of threads, unless its plan uses as many threads as one before.
fn measure(
    group: &mut Group<'_>,
    name: &str,
    kind: Kind,
    shape: Shape,
    training: bool,
    runner: &Runner,
    threads_seen: &mut Vec<usize>,
) {
    let layer = kind.layer(shape, runner.threads(), training);
    let plan = runner.install(|| layer.plan(shape));
    if threads_seen.contains(&plan.threads) {
        return;
    }
    threads_seen.push(plan.threads);
    let case = Case {
        name: name.to_owned(),
        isa: plan.isa,
        requested_threads: runner.requested(),
        threads: plan.threads,
        schedule: Some(plan.schedule),
        split: (plan.threads > 1).then_some(plan.split),
        shape,
        work: kind.work(shape, plan, training),
    };
    let run = if training {
        group.measure(case, Some(runner), training_step(&layer, shape))
    } else {
        group.measure(case, Some(runner), forward_pass(&layer, shape))
    };
    group.keep(run);
}

fn forward_pass(layer: &Layer, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, h } = shape;
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * h]);
    let mut workspace = layer.workspace(b);
    move || {
        let (input, output) =
            (Sequence::time_major(&input, t, b, x), SequenceMut::time_major(&mut output, t, b, h));
        layer.forward(&mut workspace, Forward::new(input).output(output)).expect(FITS);
    }
}

fn training_step(layer: &Layer, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, h } = shape;
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * h]);
    let (mut workspace, mut tape) = (layer.workspace(b), layer.tape(shape));
    let cotangents = layer::cotangents(shape);
    let mut input_gradient = vec![0.0; input.len()];
    let mut initial_gradient = vec![0.0; b * h];
    let mut gradients = vec![0.0; layer.parameters()];
    move || {
        let (input, output) =
            (Sequence::time_major(&input, t, b, x), SequenceMut::time_major(&mut output, t, b, h));
        layer.forward(&mut workspace, Forward::new(input).output(output).tape(&mut tape)).expect(FITS);
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&cotangents.output, t, b, h))
            .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, b, h))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, t, b, x))
            .initial_hidden_gradient(MatrixMut::new(&mut initial_gradient, b, h))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        layer.backward(&mut workspace, &mut tape, call).expect(FITS);
    }
}
