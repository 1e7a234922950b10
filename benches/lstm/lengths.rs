//! Group `lengths`: rows of different lengths beside rows of all steps, a forward pass and a training step, on the
//! caller's thread.
//!
//! Lengths are uniform in 1 … T, so the rows run half of the steps; the operations that count are those of the steps
//! run.

use crate::layer::{self, FITS, random};
use crate::roofline::Roofline;
use crate::run::{Case, Work};
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::{Backward, Forward, GradientMode, Lstm, Sequence, SequenceMut, Threads};

/// A batch of sentences, and a narrow one.
const SHAPES: [[usize; 4]; 2] = [[100, 64, 128, 128], [100, 8, 128, 128]];

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for shape in SHAPES.map(Shape::from) {
        let naive = layer::naive(shape);
        // In no order, from the first row's 1 to some row's T.
        let uniform: Vec<usize> =
            (0..shape.b).map(|row| 1 + row * 5 % shape.b * (shape.t - 1) / (shape.b - 1)).collect();
        for (name, lengths) in [("full", vec![shape.t; shape.b]), ("uniform", uniform)] {
            let config = layer::config(shape, Threads::Serial);
            for (pass, config) in [("forward", config.clone()), ("train", config.training())] {
                let case = format!("{name}-{pass}-{shape}");
                if !group.skips(&case) {
                    measure(group, case, shape, &layer::lstm(&naive, &config), &lengths);
                }
            }
        }
    }
}

fn measure(group: &mut Group<'_>, name: String, shape: Shape, lstm: &Lstm, lengths: &[usize]) {
    let is_training = lstm.config().is_for_training();
    let of_all = Roofline::of(shape, is_training);
    // Of the rows of all steps; each step reads the weights all the same.
    let part = lengths.iter().sum::<usize>() as f64 / shape.rows();
    let work = Work::Products {
        flops: part * of_all.flops(),
        roofline: Roofline {
            flops_at_once: part * of_all.flops_at_once,
            flops_per_step: part * of_all.flops_per_step,
            ..of_all
        },
        weight_bytes: shape.t as f64 * shape.recurrent_weight_bytes(),
    };
    let case = Case::serial(name, lstm, shape, work);
    let Shape { t, b, x, h } = shape;
    let (input, cotangent) = (layer::input(shape), random(t * b * h, 1.0, 5));
    let (mut output, mut input_gradient) = (vec![0.0; t * b * h], vec![0.0; t * b * x]);
    let mut workspace = lstm.workspace(b).expect(FITS);
    let mut gradients = vec![0.0; lstm.config().parameters().expect(FITS).total()];
    let mut tape = is_training.then(|| lstm.tape(t, b).expect(FITS));
    let call = || {
        let input = Sequence::time_major(&input, t, b, x);
        let call = Forward::new(input).lengths(lengths).output(SequenceMut::time_major(&mut output, t, b, h));
        let Some(tape) = &mut tape else { return lstm.forward(&mut workspace, call).expect(FITS) };
        lstm.forward(&mut workspace, call.tape(tape)).expect(FITS);
        let call = Backward::new(input)
            .lengths(lengths)
            .output_cotangent(Sequence::time_major(&cotangent, t, b, h))
            .input_gradient(SequenceMut::time_major(&mut input_gradient, t, b, x))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        lstm.backward(&mut workspace, tape, call).expect(FITS);
    };
    let run = group.measure(case, None, call);
    group.keep(run);
}
