//! What it costs that threads meet: a fork and join of rayon's, and a value that goes to another thread and back.

use crate::runner::Runner;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Rounds of a trial, and trials, of which the best counts.
const ROUNDS: usize = 200;
const TRIALS: usize = 20;

/// Nanoseconds of a fork and join that gives each of `threads` threads nothing to do; `None` for one thread, or where
/// no more can be had.
pub(crate) fn fork_join_ns(threads: usize) -> Option<f64> {
    let runner = Runner::new(threads, false).ok().filter(|_| threads > 1)?;
    Some(runner.install(|| best(|| drop(rayon::broadcast(|_| ())))))
}

/// Nanoseconds until another thread, which waits for it, has seen a value and its answer has been seen; `None` where
/// threads cannot run at once.
pub(crate) fn round_trip_ns(threads: usize) -> Option<f64> {
    if threads < 2 {
        return None;
    }
    let (there, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for = |place: &AtomicUsize, value| {
        while place.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 1..=ROUNDS * TRIALS {
                wait_for(&there, value);
                back.store(value, Ordering::Release);
            }
        });
        let mut value = 0;
        Some(best(|| {
            value += 1;
            there.store(value, Ordering::Release);
            wait_for(&back, value);
        }))
    })
}

/// Nanoseconds of a call, of the best trial.
fn best(mut call: impl FnMut()) -> f64 {
    let trial = |_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / ROUNDS as f64
    };
    (0..TRIALS).map(trial).fold(f64::INFINITY, f64::min)
}
