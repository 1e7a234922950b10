//! Group `step`: the latency of a single step at batch 1, as in streaming, on the caller's thread.
//!
//! Beside Criterion's samples, which are means over many calls, each of some thousand calls is timed by itself for the
//! percentiles. They include reading the clock.

use crate::baseline::Baselines;
use crate::layer::{self, FITS};
use crate::roofline::Roofline;
use crate::run::{Case, Extra, Work};
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::{Matrix, Schedule, Threads};
use std::time::Instant;

/// X = H.
pub(crate) const SIZES: [usize; 6] = [8, 24, 32, 64, 128, 256];

/// Calls for the percentiles.
const CALLS: usize = 20_000;

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for size in SIZES {
        let shape = Shape { t: 1, b: 1, x: size, h: size };
        measure(group, shape.to_string(), shape);
    }
}

/// Single steps of a layer.
pub(crate) fn measure(group: &mut Group<'_>, name: String, shape: Shape) {
    if group.skips(&name) {
        return;
    }
    let naive = layer::naive(shape);
    let lstm = layer::lstm(&naive, &layer::config(shape, Threads::Serial));
    let input = layer::input(shape);
    let mut state = lstm.state(1).expect(FITS);
    let mut step = || {
        lstm.step(&mut state, Matrix::new(&input, 1, shape.x)).expect(FITS);
    };
    let case = Case {
        name,
        isa: lstm.isa(),
        requested_threads: 1,
        threads: 1,
        // A step has nothing to hoist.
        schedule: Some(Schedule::Fused),
        split: None,
        shape,
        work: Work::Products {
            flops: shape.forward_flops(),
            roofline: Roofline::forward(shape),
            weight_bytes: shape.input_weight_bytes() + shape.recurrent_weight_bytes(),
        },
    };
    if let Some(mut run) = group.measure(case, None, &mut step) {
        run.extra = Some(percentiles(&mut step));
        Baselines::forward(shape, &naive).add_to(&mut run);
        group.keep([run]);
    }
}

pub(crate) fn percentiles(step: &mut impl FnMut()) -> Extra {
    let mut nanoseconds: Vec<u128> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    let percentile = |percent: usize| nanoseconds[CALLS * percent / 100] as f64;
    Extra::Latency { p50_ns: percentile(50), p99_ns: percentile(99) }
}
