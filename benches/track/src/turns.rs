//! Rounds of two suites: a fresh process of each, by turns on the same cores.
//!
//! A round is ABBA or BAAB, by lot, so that what drifts within it falls on both sides alike. Processes are new in each
//! round: where memory happens to lie makes some of them a few percent faster for all their life. All benchmarks come
//! up in each pass, in any order, so that what disturbs the machine for a while disturbs a few rounds of each.

use crate::counters::{Count, Counters, Event};
use crate::error::{Result, error};
use crate::random::Random;
use crate::statistics::quantile;
use crate::suite::{Benchmark, Suite};
use crate::verdict::{self, Criteria, Rounds};
use crate::worker::{Caches, Worker};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How long, how often and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each benchmark, at most.
    pub rounds: usize,
    /// When a benchmark needs no more of them.
    pub criteria: Criteria,
    /// How long a turn is.
    pub turn: Duration,
    /// What is timed.
    pub caches: Caches,
    /// The first n are for n threads.
    pub cores: Vec<usize>,
    /// Of orders and lots.
    pub seed: u64,
    /// What is counted beside the time.
    pub events: Vec<Event>,
}

/// Rounds after which a benchmark may be done.
const LEAST: usize = 24;

/// What a round found of a call, old and new.
struct Round {
    ms: [f64; 2],
    /// In the order of the events.
    counts: [Vec<f64>; 2],
}

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
    let mut rounds: Vec<Vec<Round>> = benchmarks.iter().map(|_| Vec::new()).collect();
    let mut done = vec![false; benchmarks.len()];
    let bar = progress(plan.rounds * benchmarks.len());
    for _ in 0..plan.rounds {
        let mut order: Vec<usize> = (0..benchmarks.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            let benchmark = &benchmarks[index];
            bar.inc(1);
            if done[index] {
                continue;
            }
            bar.set_message(benchmark.id.clone());
            rounds[index].push(round(suites, benchmark, cores(benchmark)?, random.below(2), plan)?);
            let may_end = rounds[index].len() >= LEAST;
            done[index] =
                may_end && verdict::is_done(&log_ratios(&rounds[index]), benchmarks.len(), plan.criteria);
        }
    }
    bar.finish_and_clear();
    Ok(benchmarks
        .iter()
        .zip(&rounds)
        .map(|(benchmark, rounds)| rounds_of(benchmark, rounds, &plan.events))
        .collect())
}

/// One round: two turns of each side, `first` begins and ends.
fn round(
    suites: [&Suite; 2],
    benchmark: &Benchmark,
    cores: &[usize],
    first: usize,
    plan: &Plan,
) -> Result<Round> {
    let threads = benchmark.requested_threads();
    let start = |side: usize| Worker::start(suites[side], &benchmark.id, threads, cores);
    let mut workers = [start(first)?, start(1 - first)?];
    let mut counters = Vec::new();
    for worker in &workers {
        counters.push(Counters::start(worker.process(), &plan.events)?);
    }
    let (mut logs, mut calls) = ([0.0; 2], [Some(0); 2]);
    for side in abba(first) {
        let turn = workers[usize::from(side != first)].turn(plan.caches, plan.turn)?;
        logs[side] += 0.5 * turn.quartile_ns.ln();
        calls[side] = calls[side].zip(turn.all_calls).map(|(sum, calls)| sum + calls);
    }
    let mut counts = [Vec::new(), Vec::new()];
    for (side, calls) in calls.into_iter().enumerate().filter(|_| !plan.events.is_empty()) {
        let unknown =
            || error(format!("the suite of {} is too old to say how many calls it made", suites[side].name));
        let calls = calls.ok_or_else(unknown)? as f64;
        let totals = counters[usize::from(side != first)].totals()?;
        counts[side] = totals.into_iter().map(|total| total / calls).collect();
    }
    Ok(Round { ms: logs.map(|log| 1e-6 * log.exp()), counts })
}

/// Whose turn it is.
fn abba(first: usize) -> [usize; 4] {
    let second = 1 - first;
    [first, second, second, first]
}

fn log_ratios(rounds: &[Round]) -> Vec<f64> {
    rounds.iter().map(|round| (round.ms[1] / round.ms[0]).ln()).collect()
}

fn rounds_of(benchmark: &Benchmark, rounds: &[Round], events: &[Event]) -> Rounds {
    let median = |of: &dyn Fn(&Round) -> f64| quantile::median(&rounds.iter().map(of).collect::<Vec<_>>());
    let count = |(index, &event): (usize, &Event)| {
        let [old, new] = [0, 1].map(|side| median(&|round| round.counts[side][index]));
        Count { event, old, new }
    };
    Rounds {
        id: benchmark.id.clone(),
        log_ratios: log_ratios(rounds),
        old_ms: median(&|round| round.ms[0]),
        new_ms: median(&|round| round.ms[1]),
        counts: events.iter().enumerate().map(count).collect(),
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
        let round = |old: f64| Round { ms: [old, 1.1 * old], counts: [vec![7.0], vec![8.0]] };
        let rounds = rounds_of(&benchmark, &[1.0, 2.0, 4.0].map(round), &[Event::Cycles]);
        assert!(rounds.log_ratios.iter().all(|ratio| (ratio.exp() - 1.1).abs() < 1e-12));
        assert_eq!([rounds.old_ms, rounds.new_ms], [2.0, 2.2]);
        assert_eq!(rounds.counts, [Count { event: Event::Cycles, old: 7.0, new: 8.0 }]);
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
            events: Vec::new(),
            criteria: Criteria::default(),
        };
        let message =
            format!("{:?}", take([&suite, &suite], &benchmarks, &plan).expect_err("eight are too many"));
        assert!(message.contains("forward/a/b/8 needs 8 cores, and there are 2"), "{message}");
    }
}
