//! Group `audio`: the small layers that model guitar amplifiers sample by sample, as a plugin runs them: single steps,
//! and blocks of samples between which h and c are carried on. Batch 1, on the caller's thread.

use crate::baseline::Baselines;
use crate::forward::ForwardPass;
use crate::layer::{self, FITS};
use crate::run::Case;
use crate::sequences::Pass;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::step;
use crate::suite::Group;
use quadgate::{Forward, Matrix, MatrixMut, Sequence, SequenceMut, Threads};

/// H.
const UNITS: [usize; 6] = [8, 16, 20, 24, 32, 40];

/// Samples of a block.
const BLOCK: usize = 64;

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for units in UNITS {
        let step = Shape { t: 1, b: 1, x: 1, h: units };
        step::measure(group, format!("step-{step}"), step);
        let block = Shape { t: BLOCK, ..step };
        measure_blocks(group, format!("block-{block}"), block);
    }
}

fn measure_blocks(group: &mut Group<'_>, name: String, shape: Shape) {
    if group.skips(&name) {
        return;
    }
    let Shape { t, b, x, h } = shape;
    let naive = layer::naive(shape);
    let lstm = layer::lstm(&naive, &layer::config(shape, Threads::Serial));
    let case = Case::serial(name, &lstm, shape, ForwardPass::work(shape, lstm.plan(t, b)));
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * h]);
    let mut workspace = lstm.workspace(b).expect(FITS);
    // h and c, those that a block begins with and those that it ends with.
    let [mut first, mut last] = [(); 2].map(|()| [(); 2].map(|()| vec![0.0; b * h]));
    let run = group.measure(case, None, || {
        let [hidden, cell] = &first;
        let [last_hidden, last_cell] = &mut last;
        let call = Forward::new(Sequence::time_major(&input, t, b, x))
            .initial_hidden(Matrix::new(hidden, b, h))
            .initial_cell(Matrix::new(cell, b, h))
            .output(SequenceMut::time_major(&mut output, t, b, h))
            .last_hidden(MatrixMut::new(last_hidden, b, h))
            .last_cell(MatrixMut::new(last_cell, b, h));
        lstm.forward(&mut workspace, call).expect(FITS);
        std::mem::swap(&mut first, &mut last);
    });
    if let Some(mut run) = run {
        Baselines::forward(shape, &naive).add_to(&mut run);
        group.keep([run]);
    }
}
