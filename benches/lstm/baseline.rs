//! What the LSTM is compared with: the naive oracle, and the same matrix products alone with another library.
//!
//! Both run on one thread, outside of Criterion, right after the benchmark that they are compared with. They are far
//! slower or as long as the benchmark itself, so they may run on fewer rows and steps than the shape has; what counts
//! is their rate, the best of several runs.

use crate::gemm::{BackwardProducts, ForwardProducts};
use crate::layer::{cotangents, input};
use crate::run::Run;
use crate::shapes::Shape;
use quadgate::reference::NaiveLstm;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Operations of one run of the oracle: about a tenth of a second.
const ORACLE_FLOPS: f64 = 1e8;

/// Operations of one run of the products, if the shape has more than one step.
const GEMM_FLOPS: f64 = 3e9;

/// Time for the runs of one baseline, and the least number of runs.
const BUDGET: Duration = Duration::from_millis(250);
const MIN_RUNS: usize = 3;

/// A run is repeated until it takes this long.
const MIN_RUN: Duration = Duration::from_millis(2);

/// Floating point operations per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baselines {
    oracle: f64,
    gemm: f64,
}

impl Baselines {
    /// Measures both for a forward pass.
    pub(crate) fn forward(shape: Shape, naive: &NaiveLstm<f32>) -> Self {
        let small = scaled(shape, ORACLE_FLOPS / shape.forward_flops());
        let (x, zeros) = (input(small), vec![0.0; small.b * small.h]);
        let oracle = fastest(|| {
            black_box(naive.forward([small.t, small.b], &x, &zeros, &zeros));
        });
        let short = shortened(shape, GEMM_FLOPS / shape.forward_flops());
        let mut products = ForwardProducts::new(short);
        let gemm = fastest(|| black_box(&mut products).run());
        Self { oracle: small.forward_flops() / oracle, gemm: short.forward_flops() / gemm }
    }

    /// Measures both for a training step. The oracle's backward pass includes its forward pass.
    pub(crate) fn training(shape: Shape, naive: &NaiveLstm<f32>) -> Self {
        let small = scaled(shape, ORACLE_FLOPS / shape.training_flops());
        let (x, zeros, cotangents) = (input(small), vec![0.0; small.b * small.h], cotangents(small));
        let oracle = fastest(|| {
            black_box(naive.backward([small.t, small.b], &x, &zeros, &zeros, &cotangents));
        });
        let short = shortened(shape, GEMM_FLOPS / shape.training_flops());
        let mut products = (ForwardProducts::new(short), BackwardProducts::new(short));
        let gemm = fastest(|| {
            let (forward, backward) = black_box(&mut products);
            forward.run();
            backward.run();
        });
        Self { oracle: small.training_flops() / oracle, gemm: short.training_flops() / gemm }
    }

    /// Compares a run with them; the products only if the run has one thread, as they do.
    pub(crate) fn add_to(self, run: &mut Run) {
        run.oracle = Some(self.oracle);
        run.gemm = (run.case.threads == 1).then_some(self.gemm);
    }
}

/// About this multiple of the work: as many rows of the batch as it allows, then as many steps.
fn scaled(shape: Shape, multiple: f64) -> Shape {
    let rows = (multiple * shape.rows()).max(1.0) as usize;
    let b = shape.b.min(rows);
    Shape { t: rows / b, b, ..shape }
}

/// About this fraction of the work by fewer steps, or all of it.
fn shortened(shape: Shape, fraction: f64) -> Shape {
    let steps = (fraction * shape.t as f64).max(1.0) as usize;
    Shape { t: shape.t.min(steps), ..shape }
}

/// Seconds of the fastest of several runs.
fn fastest(mut run: impl FnMut()) -> f64 {
    let mut time = |repeats: u32| {
        let start = Instant::now();
        for _ in 0..repeats {
            run();
        }
        start.elapsed()
    };
    let mut repeats = 1;
    while time(repeats) < MIN_RUN {
        repeats *= 2;
    }
    let begin = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < MIN_RUNS || begin.elapsed() < BUDGET {
        best = best.min(time(repeats));
        runs += 1;
    }
    best.as_secs_f64() / f64::from(repeats)
}
