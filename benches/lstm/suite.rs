//! What all groups share: a case goes to Criterion, its samples come back, and the limits are probed around it.

use crate::limits::Limits;
use crate::mode::Mode;
use crate::report::Report;
use crate::run::{Case, Run, Work};
use crate::{samples, table};
use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
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
    /// Criterion's group, for settings of its own.
    pub(crate) criterion: BenchmarkGroup<'a, WallTime>,
    name: &'static str,
    mode: Mode,
    limits: &'a mut Limits,
    runs: &'a mut Vec<Run>,
}

impl Suite {
    /// Nothing measured yet.
    pub(crate) fn new(criterion: Criterion, mode: Mode) -> Self {
        Self { criterion, mode, limits: Limits::new(), runs: Vec::new() }
    }

    /// Begins a group.
    pub(crate) fn group(&mut self, name: &'static str) -> Group<'_> {
        let Suite { criterion, mode, limits, runs } = self;
        Group { criterion: criterion.benchmark_group(name), name, mode: *mode, limits, runs }
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
        let report = Report::new(&self.limits, &self.runs);
        print!("{}", table::render(&report));
        report.write()
    }
}

impl Group<'_> {
    /// Gives a case to Criterion. `Some` if it was measured; then the caller may add to it, and [`Group::keep`]s it.
    pub(crate) fn measure(
        &mut self,
        case: Case,
        mut routine: impl FnMut(&mut Bencher<'_, WallTime>),
    ) -> Option<Run> {
        let throughput = match case.work {
            Work::Products { flops, .. } => flops as u64,
            Work::Elements(elements) => elements,
        };
        self.criterion.throughput(Throughput::Elements(throughput));
        if !self.mode.samples_given {
            self.criterion.sample_size(sample_size(case.work));
        }
        let id = BenchmarkId::new(format!("{}/{}", case.name, case.isa), case.requested_threads);
        let full_id = format!("{}/{}/{}/{}", self.name, case.name, case.isa, case.requested_threads);
        let started = SystemTime::now();
        let (limits, Mode { measuring, quick, .. }) = (&mut *self.limits, self.mode);
        let mut ran = false;
        let mut fma_around = 0.0;
        self.criterion.bench_function(id, |bencher| {
            // Only here it is known that the filter lets the case pass.
            if measuring && !quick && !ran {
                fma_around = limits.probe(case.isa, case.threads);
            }
            ran = true;
            routine(bencher);
        });
        if !measuring || !ran {
            return None;
        }
        fma_around = self.limits.probe(case.isa, case.threads).max(fma_around);
        let Some(times) = samples::times(self.name, &full_id, started) else {
            eprintln!("warning: Criterion kept no samples of {full_id}; the table will lack it");
            return None;
        };
        Some(Run {
            group: self.name,
            id: full_id,
            case,
            times,
            fma_around,
            oracle: None,
            gemm: None,
            extra: None,
        })
    }

    /// Adds measured runs to the table.
    pub(crate) fn keep(&mut self, runs: impl IntoIterator<Item = Run>) {
        self.runs.extend(runs);
    }
}

/// Fewer samples of longer calls, so that each sample has more than one call.
fn sample_size(work: Work) -> usize {
    let calls = match work {
        Work::Products { flops, .. } => MEASUREMENT_TIME.as_secs_f64() * MODEST_RATE / flops,
        Work::Elements(_) => f64::INFINITY,
    };
    (calls / 2.0).clamp(MIN_SAMPLES, MAX_SAMPLES as f64) as usize
}
