//! Group `pack`: making a layer and giving it other weights, beside a plain copy of as many bytes, on the caller's
//! thread.

use crate::layer::{self, FITS};
use crate::run::{Case, Work};
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::{Lstm, LstmWeights, Threads};
use std::hint::black_box;

/// X = H.
const SIZES: [usize; 4] = [128, 256, 512, 1024];

/// What is timed, and whether the layer is for training, so that it holds its weights twice.
const CASES: [(&str, bool); 5] =
    [("copy", false), ("new", false), ("set", false), ("copy-training", true), ("set-training", true)];

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for size in SIZES {
        let shape = Shape { t: 1, b: 1, x: size, h: size };
        for (name, is_training) in CASES {
            if !group.skips(&format!("{name}-{shape}")) {
                measure(group, name, shape, is_training);
            }
        }
    }
}

fn measure(group: &mut Group<'_>, name: &str, shape: Shape, is_training: bool) {
    let naive = layer::naive(shape);
    let config = layer::config(shape, Threads::Serial);
    let config = if is_training { config.training() } else { config };
    let weights = LstmWeights::pytorch(&config, &naive.weight_ih, &naive.weight_hh, Some(&naive.bias), None);
    let weights = weights.expect(FITS);
    let mut lstm = Lstm::new(&config, &weights).expect(FITS);
    let bytes = lstm.packed_bytes();
    let case = Case {
        name: format!("{name}-{shape}"),
        isa: lstm.isa(),
        requested_threads: 1,
        threads: 1,
        schedule: None,
        split: None,
        shape,
        work: Work::Weights { bytes: bytes as u64 },
    };
    let run = match name {
        "new" => group.measure(case, None, || {
            black_box(Lstm::new(&config, black_box(&weights)).expect(FITS));
        }),
        "set" | "set-training" => {
            group.measure(case, None, || lstm.set_weights(black_box(&weights)).expect(FITS))
        }
        _ => {
            let from = vec![1.0f32; bytes / size_of::<f32>()];
            let mut to = from.clone();
            let run = group.measure(case, None, || black_box(&mut to).copy_from_slice(black_box(&from)));
            return group.keep(run);
        }
    };
    let copy = if is_training { "copy-training" } else { "copy" };
    group.keep(run.map(|run| run.beside(format!("pack/{copy}-{shape}"))));
}
