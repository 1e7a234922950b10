//! The results: figures derived from times and limits, and `bench.json`.
//!
//! The structures here are the schema of `bench.json`, which `benches/README.md` documents. Fields may be added; a
//! change of what is there raises [`SCHEMA`].

use crate::limits::Limits;
use crate::machine::{Features, available_isas, cpu};
use crate::run::{Extra, Run, Work};
use crate::samples;
use crate::shapes::Shape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the schema.
const SCHEMA: u32 = 1;

/// `bench.json`
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    pub(crate) machine: Machine,
    pub(crate) results: Vec<Row>,
}

/// The machine and its limits.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    features: Features,
    pub(crate) limits: MachineLimits,
}

/// The limits by instruction set and by level of the memory hierarchy.
#[derive(Debug, Serialize)]
pub(crate) struct MachineLimits {
    pub(crate) fma_peak_gflops: BTreeMap<&'static str, Limit>,
    pub(crate) read_gb_per_s: BTreeMap<&'static str, Limit>,
    fork_join_ns: Option<f64>,
    round_trip_ns: Option<f64>,
}

/// A limit of one thread, and of all threads together.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) single: f64,
    pub(crate) all: f64,
}

/// One result. `None` where a figure has no meaning.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) id: String,
    pub(crate) shape: Shape,
    pub(crate) isa: &'static str,
    pub(crate) schedule: Option<String>,
    pub(crate) split: Option<String>,
    pub(crate) threads: usize,
    pub(crate) min_ms: f64,
    pub(crate) median_ms: f64,
    pub(crate) gflops: Option<f64>,
    pub(crate) limit_percent: Option<f64>,
    pub(crate) roofline_percent: Option<f64>,
    fma_gflops_around: f64,
    pub(crate) weights_gb_per_s: Option<f64>,
    pub(crate) times_oracle: Option<f64>,
    pub(crate) times_matrixmultiply: Option<f64>,
    pub(crate) times_baseline: Option<f64>,
    pub(crate) beside: Option<String>,
    pub(crate) time_ratio: Option<f64>,
    samples_ms: Vec<f64>,
    #[serde(flatten)]
    pub(crate) extra: Option<Extra>,
}

impl Report {
    /// Holds what was measured against the limits.
    pub(crate) fn new(limits: &Limits, runs: &[Run]) -> Self {
        Self {
            schema: SCHEMA,
            machine: machine(limits),
            results: runs.iter().map(|run| row(limits, run, runs)).collect(),
        }
    }

    /// Writes `bench.json` and says where.
    ///
    /// # Errors
    /// A sentence on why it could not be written.
    pub(crate) fn write(&self) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let path = output_directory().join("bench.json");
        write(&path, &(text + "\n"))?;
        println!("written: {}", path.display());
        Ok(())
    }
}

/// Makes a file or replaces it: whole or not at all.
///
/// # Errors
/// A sentence on why it could not be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    let new = path.with_extension("new");
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&new, text));
    written.and_then(|()| fs::rename(&new, path)).map_err(|error| {
        let _ = fs::remove_file(&new);
        format!("cannot write {}: {error}", path.display())
    })
}

/// Where results are written.
pub(crate) fn output_directory() -> PathBuf {
    samples::target_directory().unwrap_or_else(|| "target".into()).join("quadgate")
}

/// The machine, as far as its limits have been measured.
pub(crate) fn machine(limits: &Limits) -> Machine {
    let limit = |single, all| Limit { single: rounded(1e-9 * single), all: rounded(1e-9 * all) };
    let peak = |isa, threads| limits.fma_peak(isa, threads);
    let both = limits.bandwidths(1).zip(limits.bandwidths(limits.cores));
    Machine {
        cpu: cpu(),
        cores: limits.cores,
        features: Features::detect(),
        limits: MachineLimits {
            fma_peak_gflops: available_isas()
                .into_iter()
                .map(|isa| (isa.name(), limit(peak(isa, 1), peak(isa, limits.cores))))
                .collect(),
            read_gb_per_s: both.map(|((name, single), (_, all))| (name, limit(single, all))).collect(),
            fork_join_ns: limits.fork_join_ns.map(rounded),
            round_trip_ns: limits.round_trip_ns.map(rounded),
        },
    }
}

fn row(limits: &Limits, run: &Run, runs: &[Run]) -> Row {
    let case = &run.case;
    let seconds = run.times.min;
    let beside = runs.iter().find(|other| other.is_beside(run));
    let mut row = Row {
        group: run.group,
        id: run.id.clone(),
        shape: case.shape,
        isa: case.isa.name(),
        schedule: case.schedule.map(|schedule| format!("{schedule:?}").to_lowercase()),
        split: case.split.map(|split| format!("{split:?}").to_lowercase()),
        threads: case.threads,
        min_ms: rounded(1e3 * seconds),
        median_ms: rounded(1e3 * run.times.median),
        gflops: None,
        limit_percent: None,
        roofline_percent: None,
        fma_gflops_around: rounded(1e-9 * run.fma_around),
        weights_gb_per_s: None,
        times_oracle: None,
        times_matrixmultiply: None,
        times_baseline: run.baseline.map(rounded),
        beside: run.beside.clone(),
        time_ratio: beside.map(|beside| rounded(seconds / beside.times.min)),
        samples_ms: run.times.samples.iter().map(|seconds| rounded(1e3 * seconds)).collect(),
        extra: run.extra.clone(),
    };
    if let Work::Weights { bytes } = case.work {
        row.weights_gb_per_s = Some(rounded(1e-9 * bytes as f64 / seconds));
    }
    if let Work::Products { flops, roofline, weight_bytes } = case.work {
        let rate = flops / seconds;
        let bound = roofline.seconds(limits, case.isa, case.threads);
        let reading = roofline.is_reading(limits, case.isa, case.threads);
        row.gflops = Some(rounded(1e-9 * rate));
        row.limit_percent = Some(rounded(100.0 * rate / limits.fma_peak(case.isa, case.threads)));
        row.roofline_percent = Some(rounded(100.0 * bound / seconds));
        row.weights_gb_per_s = reading.then(|| rounded(1e-9 * weight_bytes / seconds));
        row.times_oracle = run.oracle.map(|oracle| rounded(rate / oracle));
        row.times_matrixmultiply = run.gemm.map(|gemm| rounded(rate / gemm));
    }
    row
}

/// To six digits, more than any measurement has.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
