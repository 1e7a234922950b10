//! Group `stack`: layers on top of each other, and a layer in two directions, with each setting of threads.

use crate::layer::{self, FITS, random};
use crate::roofline::Roofline;
use crate::run::{Case, Run, Work};
use crate::runner::Runner;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::{
    Arrangement, Directions, GradientMode, LstmConfig, LstmStack, LstmWeights, Sequence, SequenceMut,
    StackBackward, StackConfig, StackForward,
};

/// Stacks of which every directed layer reads as many features as it has units.
const STACKS: [(&str, usize, Directions, [usize; 4]); 4] = [
    ("4-layers", 4, Directions::Forward, [100, 1, 64, 64]),
    ("4-layers", 4, Directions::Forward, [100, 1, 128, 128]),
    ("4-layers", 4, Directions::Forward, [100, 16, 128, 128]),
    ("2-directions", 1, Directions::Concatenated, [100, 1, 128, 128]),
];

pub(crate) fn run(group: &mut Group<'_>, settings: &Settings) {
    for (name, layers, directions, shape) in STACKS {
        for is_training in [false, true] {
            let pass = if is_training { "train" } else { "forward" };
            let name = format!("{name}-{pass}-{}", Shape::from(shape));
            if group.skips(&name) {
                continue;
            }
            let mut threads_seen = Vec::new();
            for runner in &settings.runners {
                let stack = stack(layers, directions, shape.into(), runner, is_training);
                let run = measure(group, &name, &stack, shape.into(), runner, &mut threads_seen);
                group.keep(run);
            }
        }
    }
}

fn stack(
    layers: usize,
    directions: Directions,
    shape: Shape,
    runner: &Runner,
    is_training: bool,
) -> LstmStack {
    let layer = layer::config(shape, runner.threads());
    let layer = if is_training { layer.training() } else { layer };
    let config = StackConfig::of(layer, layers, directions);
    let naive = layer::naive(shape);
    let weights = |layer: &LstmConfig| {
        LstmWeights::pytorch(layer, &naive.weight_ih, &naive.weight_hh, Some(&naive.bias), None).expect(FITS)
    };
    let weights: Vec<_> =
        (0..config.directed_layers()).map(|index| weights(&config.directed_layer(index))).collect();
    LstmStack::new(&config, &weights).expect(FITS)
}

/// Measures one setting of threads, unless its plan uses as many threads as one before.
fn measure(
    group: &mut Group<'_>,
    name: &str,
    stack: &LstmStack,
    shape: Shape,
    runner: &Runner,
    threads_seen: &mut Vec<usize>,
) -> Option<Run> {
    let is_training = stack.config().is_for_training();
    let plan = runner.install(|| stack.plan(shape.t, shape.b));
    if threads_seen.contains(&plan.threads) {
        return None;
    }
    threads_seen.push(plan.threads);
    let layers = stack.config().directed_layers() as f64;
    let of_layer = Roofline::of(shape, is_training);
    let of_layers = Roofline {
        flops_at_once: layers * of_layer.flops_at_once,
        steps: layers * of_layer.steps,
        ..of_layer
    };
    let in_turn = runner.install(|| stack.directed_layers()[0].plan(shape.t, shape.b));
    let is_split = plan.threads > 1 && plan.arrangement == Arrangement::InTurn;
    let case = Case {
        name: name.to_owned(),
        isa: plan.isa,
        requested_threads: runner.requested(),
        threads: plan.threads,
        schedule: Some(in_turn.schedule),
        split: is_split.then_some(in_turn.split),
        shape,
        work: Work::Products {
            flops: of_layers.flops(),
            roofline: of_layers,
            weight_bytes: layers * of_layer.steps * shape.recurrent_weight_bytes(),
        },
    };
    if is_training {
        group.measure(case, Some(runner), training_step(stack, shape))
    } else {
        group.measure(case, Some(runner), forward(stack, shape))
    }
}

fn forward(stack: &LstmStack, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, .. } = shape;
    let width = stack.config().output_size();
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * width]);
    let mut workspace = stack.workspace(t, b).expect(FITS);
    move || {
        let call = StackForward::new(Sequence::time_major(&input, t, b, x)).output(SequenceMut::time_major(
            &mut output,
            t,
            b,
            width,
        ));
        stack.forward(&mut workspace, call).expect(FITS);
    }
}

fn training_step(stack: &LstmStack, shape: Shape) -> impl FnMut() + Send {
    let Shape { t, b, x, .. } = shape;
    let width = stack.config().output_size();
    let (input, cotangent) = (layer::input(shape), random(t * b * width, 1.0, 5));
    let (mut workspace, mut tape) = (stack.workspace(t, b).expect(FITS), stack.tape(t, b).expect(FITS));
    let mut input_gradient = vec![0.0; input.len()];
    let mut parameter_gradients = vec![0.0; stack.config().total_parameters().expect(FITS)];
    move || {
        let input = Sequence::time_major(&input, t, b, x);
        stack.forward(&mut workspace, StackForward::new(input).tape(&mut tape)).expect(FITS);
        let call = StackBackward::new(input)
            .output_cotangent(Sequence::time_major(&cotangent, t, b, width))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, t, b, x))
            .parameter_gradients(&mut parameter_gradients, GradientMode::Overwrite);
        stack.backward(&mut workspace, &mut tape, call).expect(FITS);
    }
}
