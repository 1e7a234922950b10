//! What this machine can do, measured in the same run as the benchmarks: multiply-adds on registers, and reading from
//! each level of the memory hierarchy, by one thread and by several at once.
//!
//! A limit is the best of many short trials. On a shared machine the clock drifts, by as much as a factor of two within
//! a run, so nothing is measured once: all limits are measured at the beginning and at the end, those that a benchmark
//! is held against also right before and after it, and the best trial of the whole run counts. That makes the
//! percentages low rather than high where a benchmark had a bad moment.

use crate::caches::{self, Level};
use crate::machine::{available_isas, available_threads};
use crate::meeting;
use quadgate::Isa;
use quadgate_kernels::Kernels;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long one trial shall take.
const TRIAL: Duration = Duration::from_millis(1);

/// Trials of one limit at the beginning and at the end of a run.
const THOROUGH: Duration = Duration::from_millis(200);

/// Trials of one limit around a benchmark.
const BRIEF: Duration = Duration::from_millis(4);

/// The limits, measured when they are first asked for.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Threads that run at once.
    pub(crate) cores: usize,
    levels: Vec<Level>,
    /// Operations per second, by instruction set and number of threads.
    fma: BTreeMap<(Isa, usize), f64>,
    /// Bytes per second, by position in `levels` and number of threads.
    read: BTreeMap<(usize, usize), f64>,
    /// Nanoseconds; `None` if never measured.
    pub(crate) fork_join_ns: Option<f64>,
    /// Nanoseconds; `None` if never measured.
    pub(crate) round_trip_ns: Option<f64>,
}

impl Limits {
    /// Nothing measured yet.
    pub(crate) fn new() -> Self {
        let cores = available_threads();
        Self {
            cores,
            levels: caches::levels(cores),
            fma: BTreeMap::new(),
            read: BTreeMap::new(),
            fork_join_ns: None,
            round_trip_ns: None,
        }
    }

    /// Measures all limits, for one thread and for all.
    pub(crate) fn measure_all(&mut self) {
        for threads in [1, self.cores] {
            for isa in available_isas() {
                self.measure_fma(isa, threads, THOROUGH);
            }
            for level in 0..self.levels.len() {
                self.measure_read(level, threads, THOROUGH);
            }
        }
    }

    /// Measures how fast threads meet.
    pub(crate) fn measure_meetings(&mut self) {
        self.fork_join_ns = meeting::fork_join_ns(self.cores);
        self.round_trip_ns = meeting::round_trip_ns(self.cores);
    }

    /// Measures once more what a benchmark is held against: call it right before and after. Returns the operations per
    /// second that can be had right now.
    pub(crate) fn probe(&mut self, isa: Isa, threads: usize) -> f64 {
        if self.fma.is_empty() {
            self.measure_all();
        }
        let threads = threads.min(self.cores);
        let now = self.measure_fma(isa, threads, BRIEF);
        // All but memory, whose buffers take longer to fill than to read.
        for level in 0..self.levels.len() {
            if self.levels[level].name != "memory" || !self.read.contains_key(&(level, threads)) {
                self.measure_read(level, threads, BRIEF);
            }
        }
        now
    }

    /// Floating point operations per second of `threads` threads; zero if never measured.
    pub(crate) fn fma_peak(&self, isa: Isa, threads: usize) -> f64 {
        best_of_up_to(&self.fma, isa, threads.min(self.cores))
    }

    /// Bytes per second that `threads` threads read together, each `bytes` again and again, from the nearest level that
    /// holds them; zero if never measured.
    pub(crate) fn bandwidth(&self, bytes: f64, threads: usize) -> f64 {
        let threads = threads.min(self.cores);
        let level = self.levels.iter().position(|level| level.holds(bytes, threads));
        level.map_or(0.0, |level| best_of_up_to(&self.read, level, threads))
    }

    /// The name of each level and the bytes per second that `threads` threads read from it.
    pub(crate) fn bandwidths(&self, threads: usize) -> impl Iterator<Item = (&'static str, f64)> {
        let read = move |level| best_of_up_to(&self.read, level, threads);
        self.levels.iter().enumerate().map(move |(i, level)| (level.name, read(i)))
    }

    fn measure_fma(&mut self, isa: Isa, threads: usize, duration: Duration) -> f64 {
        let kernels = Kernels::new(isa).expect("only available instruction sets are measured");
        let rate = best_rate(
            threads,
            duration,
            || (),
            |(), repeats| {
                let (flops, value) = kernels.fma_loop(1000 * repeats, black_box(0.5));
                black_box(value);
                flops as f64
            },
        );
        keep_best(self.fma.entry((isa, threads)).or_default(), rate);
        rate
    }

    fn measure_read(&mut self, level: usize, threads: usize, duration: Duration) {
        let len = self.levels[level].read_size(threads) / size_of::<f32>();
        let rate = best_rate(
            threads,
            duration,
            // Not zeros: untouched pages of zeros would all be one page.
            || vec![1.0f32; len],
            |data, repeats| {
                for _ in 0..repeats {
                    black_box(Kernels::best().read(black_box(data)));
                }
                (repeats * len * size_of::<f32>()) as f64
            },
        );
        keep_best(self.read.entry((level, threads)).or_default(), rate);
    }
}

/// The best rate of up to `threads` threads: what some can do, more can do too.
fn best_of_up_to<K: Ord + Copy>(rates: &BTreeMap<(K, usize), f64>, key: K, threads: usize) -> f64 {
    rates.range((key, 1)..=(key, threads)).map(|(_, &rate)| rate).fold(0.0, f64::max)
}

fn keep_best(best: &mut f64, found: f64) {
    *best = best.max(found);
}

/// The most work per second that `threads` threads do together, each on a state of its own.
///
/// `work` repeats its work as often as it is told and returns how much it did. A trial lasts from the start of the
/// first thread to the end of the last.
fn best_rate<S>(
    threads: usize,
    duration: Duration,
    setup: impl Fn() -> S + Sync,
    work: impl Fn(&S, usize) -> f64 + Sync,
) -> f64 {
    let arrived = AtomicUsize::new(0);
    let repeats = AtomicUsize::new(1);
    let rounds = AtomicUsize::new(0);
    let run = |first: bool| {
        let state = setup();
        if first {
            let (fitting, seconds) = calibrate(|repeats| work(&state, repeats));
            repeats.store(fitting, Ordering::Relaxed);
            rounds.store(((duration.as_secs_f64() / seconds) as usize).max(3), Ordering::Relaxed);
        }
        let mut trials = Vec::new();
        wait_for_all(&arrived, threads);
        for round in 0..rounds.load(Ordering::Relaxed) {
            wait_for_all(&arrived, (round + 2) * threads);
            let start = Instant::now();
            let amount = work(&state, repeats.load(Ordering::Relaxed));
            trials.push((start, Instant::now(), amount));
        }
        trials
    };
    let trials: Vec<_> = std::thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = (0..threads).map(|worker| scope.spawn(move || run(worker == 0))).collect();
        workers.into_iter().map(|worker| worker.join().expect("probes do not panic")).collect()
    });
    let rate = |round: usize| {
        let of_round = || trials.iter().map(|trials| trials[round]);
        let start = of_round().map(|(start, ..)| start).min()?;
        let end = of_round().map(|(_, end, _)| end).max()?;
        Some(of_round().map(|(.., amount)| amount).sum::<f64>() / (end - start).as_secs_f64())
    };
    (0..trials[0].len()).filter_map(rate).fold(0.0, f64::max)
}

/// Repeats that take about a trial, and the seconds that they take.
fn calibrate(work: impl Fn(usize) -> f64) -> (usize, f64) {
    let mut repeats = 1;
    loop {
        let start = Instant::now();
        black_box(work(repeats));
        let elapsed = start.elapsed();
        if elapsed >= TRIAL / 2 {
            return (repeats, elapsed.as_secs_f64());
        }
        repeats *= 2;
    }
}

/// Returns when `arrived` has reached `count`: a barrier that leaves all threads running.
fn wait_for_all(arrived: &AtomicUsize, count: usize) {
    // Pairs with the loads below: what was stored before arriving is seen after waiting.
    arrived.fetch_add(1, Ordering::AcqRel);
    while arrived.load(Ordering::Acquire) < count {
        std::hint::spin_loop();
    }
}
