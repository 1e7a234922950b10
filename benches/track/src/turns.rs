//! Rounds of two suites: a fresh process of each, by turns on the same cores.
//!
//! A round is ABBA or BAAB, by lot, so that what drifts within it falls on both sides alike. Processes are new in each
//! round: where memory happens to lie makes some of them a few percent faster for all their life. All benchmarks come
//! up in each pass, in any order, so that what disturbs the machine for a while disturbs a few rounds of each.

use crate::error::{Result, error};
use crate::random::Random;
use crate::statistics::quantile;
use crate::suite::{Benchmark, Suite};
use crate::verdict::Rounds;
use crate::worker::{Caches, Worker};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How long, how often and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each benchmark.
    pub rounds: usize,
    /// How long a turn is.
    pub turn: Duration,
    /// What is timed.
    pub caches: Caches,
    /// The first n are for n threads.
    pub cores: Vec<usize>,
    /// Of orders and lots.
    pub seed: u64,
}

/// Milliseconds of a call in a round, old and new.
type Pair = [f64; 2];

/// Takes all rounds of all benchmarks.
pub fn take(suites: [&Suite; 2], benchmarks: &[Benchmark], plan: &Plan) -> Result<Vec<Rounds>> {
    let cores = |benchmark: &Benchmark| {
        let threads = benchmark.requested_threads();
        plan.cores.get(..threads).ok_or_else(|| {
            error(format!("{} needs {threads} cores, and there are {}", benchmark.id, plan.cores.len()))
        })
    };
    for benchmark in benchmarks {
        cores(benchmark)?;
    }
    let mut random = Random::new(plan.seed);
    let mut pairs: Vec<Vec<Pair>> = vec![Vec::new(); benchmarks.len()];
    let bar = progress(plan.rounds * benchmarks.len());
    for _ in 0..plan.rounds {
        let mut order: Vec<usize> = (0..benchmarks.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            let benchmark = &benchmarks[index];
            bar.set_message(benchmark.id.clone());
            pairs[index].push(round(suites, benchmark, cores(benchmark)?, random.below(2), plan)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(benchmarks.iter().zip(&pairs).map(|(benchmark, pairs)| rounds_of(benchmark, pairs)).collect())
}

/// One round: two turns of each side, `first` begins and ends.
fn round(
    suites: [&Suite; 2],
    benchmark: &Benchmark,
    cores: &[usize],
    first: usize,
    plan: &Plan,
) -> Result<Pair> {
    let threads = benchmark.requested_threads();
    let start = |side: usize| Worker::start(suites[side], &benchmark.id, threads, cores);
    let mut workers = [start(first)?, start(1 - first)?];
    let mut logs = [0.0; 2];
    for turn in abba(first) {
        let worker = &mut workers[usize::from(turn != first)];
        logs[turn] += 0.5 * worker.turn(plan.caches, plan.turn)?.quartile_ns.ln();
    }
    Ok(logs.map(|log| 1e-6 * log.exp()))
}

/// Whose turn it is.
fn abba(first: usize) -> [usize; 4] {
    let second = 1 - first;
    [first, second, second, first]
}

fn rounds_of(benchmark: &Benchmark, pairs: &[Pair]) -> Rounds {
    let side = |side: usize| quantile::median(&pairs.iter().map(|pair| pair[side]).collect::<Vec<_>>());
    Rounds {
        id: benchmark.id.clone(),
        log_ratios: pairs.iter().map(|[old, new]| (new / old).ln()).collect(),
        old_ms: side(0),
        new_ms: side(1),
    }
}

fn progress(rounds: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {eta} to go: {wide_msg}");
    ProgressBar::new(rounds as u64).with_style(style.expect("the template is right"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_drift_falls_on_both_sides_alike() {
        for first in [0, 1] {
            // The clock slows down by 1 % a turn.
            let mut logs = [0.0; 2];
            for (turn, side) in abba(first).into_iter().enumerate() {
                logs[side] += 0.5 * 0.01 * turn as f64;
            }
            assert!((logs[0] - logs[1]).abs() < 1e-15);
        }
    }

    #[test]
    fn rounds_keep_ratios_of_pairs() {
        let benchmark = Benchmark { id: "step/a/b/1".to_owned(), threads: 1, flops: None };
        let rounds = rounds_of(&benchmark, &[[1.0, 1.1], [2.0, 2.2], [4.0, 4.4]]);
        assert!(rounds.log_ratios.iter().all(|ratio| (ratio.exp() - 1.1).abs() < 1e-12));
        assert_eq!([rounds.old_ms, rounds.new_ms], [2.0, 2.2]);
    }

    #[test]
    fn too_few_cores_are_named_before_anything_runs() {
        let suite = Suite { program: "/nonexistent".into(), name: "none".to_owned() };
        let benchmarks = [Benchmark { id: "forward/a/b/8".to_owned(), threads: 8, flops: None }];
        let plan = Plan {
            rounds: 1,
            turn: Duration::from_millis(1),
            caches: Caches::Warm,
            cores: vec![0, 1],
            seed: 1,
        };
        let message =
            format!("{:?}", take([&suite, &suite], &benchmarks, &plan).expect_err("eight are too many"));
        assert!(message.contains("forward/a/b/8 needs 8 cores, and there are 2"), "{message}");
    }
}
