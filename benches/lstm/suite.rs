//! What all groups share: a case goes to Criterion, its samples come back, and the limits are probed around it.

use crate::limits::Limits;
use crate::mode::Mode;
use crate::report::Report;
use crate::run::{Case, Run, Work};
use crate::runner::Runner;
use crate::serve::{self, Server};
use crate::{samples, table};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use std::time::{Duration, SystemTime};

/// Time that Criterion measures each benchmark for, unless the command line says otherwise.
pub(crate) const MEASUREMENT_TIME: Duration = Duration::from_millis(1200);

/// Samples of a benchmark of ordinary length.
pub(crate) const MAX_SAMPLES: usize = 50;

/// Fewer are not allowed.
const MIN_SAMPLES: f64 = 10.0;

/// A rate that any machine reaches, to tell which benchmarks are long: floating point operations per second.
const MODEST_RATE: f64 = 50e9;

/// The suite: Criterion, the limits, and what has been measured.
pub(crate) struct Suite {
    criterion: Criterion,
    mode: Mode,
    limits: Limits,
    runs: Vec<Run>,
}

/// A group in the making.
pub(crate) struct Group<'a> {
    name: &'static str,
    task: Task<'a>,
}

/// What becomes of the cases of a group.
enum Task<'a> {
    /// Criterion times them.
    Time {
        criterion: Box<BenchmarkGroup<'a, WallTime>>,
        /// The only id that is let through, if not all are.
        wanted: Option<&'a str>,
        mode: &'a Mode,
        limits: &'a mut Limits,
        runs: &'a mut Vec<Run>,
    },
    /// One of them is served.
    Serve(&'a mut Server),
}

impl Suite {
    /// Nothing measured yet.
    pub(crate) fn new(criterion: Criterion, mode: Mode) -> Self {
        Self { criterion, mode, limits: Limits::new(), runs: Vec::new() }
    }

    /// Begins a group, or a part of it that has only one benchmark.
    pub(crate) fn group<'a>(&'a mut self, name: &'static str, wanted: Option<&'a str>) -> Group<'a> {
        let Suite { criterion, mode, limits, runs } = self;
        let mut criterion = criterion.benchmark_group(name);
        // The minimum and the median mean most where every sample has the same number of iterations.
        criterion.sampling_mode(SamplingMode::Flat);
        Group { name, task: Task::Time { criterion: Box::new(criterion), wanted, mode, limits, runs } }
    }

    /// Prints the table and writes the file, if anything was measured.
    ///
    /// # Errors
    /// A sentence on why the file could not be written.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.criterion.final_summary();
        if self.runs.is_empty() {
            return Ok(());
        }
        self.limits.measure_all();
        self.limits.measure_meetings();
        let report = Report::new(&self.limits, &self.runs);
        print!("{}", table::render(&report));
        report.write()
    }
}

impl<'a> Group<'a> {
    /// A group whose cases are offered to a server.
    pub(crate) fn served(name: &'static str, server: &'a mut Server) -> Self {
        Self { name, task: Task::Serve(server) }
    }

    /// Whether nobody wants the cases of this name, so that they need not be prepared.
    pub(crate) fn skips(&self, name: &str) -> bool {
        match &self.task {
            Task::Time { wanted, .. } => wanted.is_some_and(|id| !serve::is_of(id, self.name, name)),
            Task::Serve(server) => server.skips(self.name, name),
        }
    }

    /// Has calls of a case timed, inside of a pool if they want one. `Some` if Criterion timed them; then the caller
    /// may add to it, and [`Group::keep`]s it.
    pub(crate) fn measure(
        &mut self,
        case: Case,
        runner: Option<&Runner>,
        mut call: impl FnMut() + Send,
    ) -> Option<Run> {
        let full_id = format!("{}/{}/{}/{}", self.name, case.name, case.isa, case.requested_threads);
        let (criterion, mode, limits) = match &mut self.task {
            Task::Time { wanted: Some(wanted), .. } if *wanted != full_id => return None,
            Task::Time { criterion, mode, limits, .. } => (criterion, *mode, limits),
            Task::Serve(server) => {
                server.offer(&full_id, &case, runner, call);
                return None;
            }
        };
        let throughput = match case.work {
            Work::Products { flops, .. } => Throughput::Elements(flops as u64),
            Work::Elements(elements) => Throughput::Elements(elements),
            Work::Weights { bytes } => Throughput::Bytes(bytes),
        };
        criterion.throughput(throughput);
        if !mode.samples_given {
            criterion.sample_size(sample_size(case.work));
        }
        let id = BenchmarkId::new(format!("{}/{}", case.name, case.isa), case.requested_threads);
        let started = SystemTime::now();
        let Mode { measuring, quick, ref baseline, .. } = *mode;
        let mut ran = false;
        let mut fma_around = 0.0;
        criterion.bench_function(id, |bencher| {
            // Only here it is known that the filter lets the case pass.
            if measuring && !quick && !ran {
                fma_around = limits.probe(case.isa, case.threads);
            }
            ran = true;
            match runner {
                Some(runner) => runner.install(|| bencher.iter(&mut call)),
                None => bencher.iter(&mut call),
            }
        });
        if !measuring || !ran {
            return None;
        }
        fma_around = limits.probe(case.isa, case.threads).max(fma_around);
        let Some(times) = samples::times(self.name, &full_id, started) else {
            eprintln!("warning: Criterion kept no samples of {full_id}; the table will lack it");
            return None;
        };
        let saved =
            baseline.as_ref().and_then(|baseline| samples::saved_times(self.name, &full_id, baseline));
        Some(Run {
            baseline: saved.map(|saved| saved.min / times.min),
            group: self.name,
            id: full_id,
            case,
            times,
            fma_around,
            oracle: None,
            gemm: None,
            beside: None,
            extra: None,
        })
    }

    /// Adds measured runs to the table.
    pub(crate) fn keep(&mut self, measured: impl IntoIterator<Item = Run>) {
        if let Task::Time { runs, .. } = &mut self.task {
            runs.extend(measured);
        }
    }
}

/// Fewer samples of longer calls, so that each sample has more than one call.
fn sample_size(work: Work) -> usize {
    let calls = match work {
        Work::Products { flops, .. } => MEASUREMENT_TIME.as_secs_f64() * MODEST_RATE / flops,
        Work::Elements(_) | Work::Weights { .. } => f64::INFINITY,
    };
    (calls / 2.0).clamp(MIN_SAMPLES, MAX_SAMPLES as f64) as usize
}
