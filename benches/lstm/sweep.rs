//! `cargo bench -- sweep`: the forward pass at every H from 8 to 264, X = H, and every batch from 1 to 33.
//!
//! Eight thousand cells are too many for Criterion. Each is called for some milliseconds, and the fastest call counts.
//! Cells keep the best of all runs: a run measures some sizes, or measures them once more, and adds to the file.

use crate::forward::ForwardPass;
use crate::grid::{BATCHES, Grid, SIZES};
use crate::runner::Runner;
use crate::sequences::Pass;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::{layer, report};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Operations of a call, as far as steps can be had for them.
const FLOPS: f64 = 50e6;
const STEPS: RangeInclusive<usize> = 8..=512;

/// How long a cell is called.
const PATIENCE: Duration = Duration::from_millis(4);
const CALLS: usize = 3;

/// Whether the command line asks for the sweep.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().skip(1).any(|argument| argument == "sweep")
}

/// Measures the sizes that are asked for, adds them to `sweep-THREADS.csv` and names the worst cells.
///
/// # Errors
/// A sentence on why a file could not be written.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let runner = settings.runners.first().ok_or("no setting of threads")?;
    let path = report::output_directory().join(format!("sweep-{}.csv", runner.requested()));
    let mut grid = Grid::read(&path);
    for units in settings.sweep_sizes.clone() {
        let naive = layer::naive(shape_of(units, 1));
        let lstm = layer::lstm(&naive, &layer::config(shape_of(units, 1), runner.threads()));
        for batch in BATCHES {
            let shape = shape_of(units, batch);
            grid.keep_best(units, batch, rate(ForwardPass::call(&lstm, shape), shape, runner));
        }
    }
    report::write(&path, &grid.to_csv())?;
    for (name, worst) in [
        ("below 64 units, against the best of fewer units", worst(&grid, 8..=63, Against::Units)),
        ("from 64 units, against the best of fewer units", worst(&grid, 64..=264, Against::Units)),
        ("below 64 units, against the best of smaller batches", worst(&grid, 8..=63, Against::Batches)),
        ("from 64 units, against the best of smaller batches", worst(&grid, 64..=264, Against::Batches)),
    ] {
        println!("worst cells {name}:");
        for (share, units, batch) in worst.iter().take(8) {
            println!(
                "  H {units}, B {batch}: {:.1} GFLOP/s, {:.0} %",
                grid.at(*units, *batch),
                100.0 * share
            );
        }
    }
    println!("written: {}; cargo track sweep draws it", path.display());
    Ok(())
}

/// As many steps as make a call long enough.
fn shape_of(units: usize, batch: usize) -> Shape {
    let step = Shape { t: 1, b: batch, x: units, h: units };
    let steps = (FLOPS / step.forward_flops()) as usize;
    Shape { t: steps.clamp(*STEPS.start(), *STEPS.end()), ..step }
}

/// GFLOP/s of the fastest call.
fn rate(mut call: impl FnMut() + Send, shape: Shape, runner: &Runner) -> f64 {
    let mut best = Duration::MAX;
    runner.install(|| {
        call();
        let start = Instant::now();
        let mut calls = 0;
        while calls < CALLS || start.elapsed() < PATIENCE {
            let began = Instant::now();
            call();
            best = best.min(began.elapsed());
            calls += 1;
        }
    });
    1e-9 * shape.forward_flops() / best.as_secs_f64()
}

/// What a cell is compared with.
#[derive(Clone, Copy)]
enum Against {
    Units,
    Batches,
}

/// Cells of some sizes and their share of the best of all smaller ones of the same batch or size, the worst first.
fn worst(grid: &Grid, sizes: RangeInclusive<usize>, against: Against) -> Vec<(f64, usize, usize)> {
    let mut shares = Vec::new();
    for units in sizes {
        for batch in BATCHES {
            let best = match against {
                Against::Units => (*SIZES.start()..=units).map(|u| grid.at(u, batch)).fold(0.0, f64::max),
                Against::Batches => (*BATCHES.start()..=batch).map(|b| grid.at(units, b)).fold(0.0, f64::max),
            };
            shares.push((grid.at(units, batch) / best, units, batch));
        }
    }
    shares.retain(|(share, ..)| share.is_finite());
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    shares
}
