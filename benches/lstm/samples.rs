//! Criterion's own samples, read back from the files that it writes for each benchmark.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Times of one iteration, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// Of all samples, the fastest first.
    pub(crate) samples: Vec<f64>,
    /// Of the fastest sample.
    pub(crate) min: f64,
    /// Of the sample in the middle.
    pub(crate) median: f64,
}

/// `sample.json`: iterations and nanoseconds of each sample.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// `benchmark.json`: which benchmark a directory belongs to. Directories may have other names than their benchmarks.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

/// The times of a benchmark that was started at `since`; `None` if Criterion kept none since then.
pub(crate) fn times(group: &str, id: &str, since: SystemTime) -> Option<Times> {
    // Clocks of file systems are coarse.
    let since = since - Duration::from_secs(2);
    read(&homes().iter().find_map(|home| find(&home.join(group), "new", id, Some(since)))?)
}

/// The times of a benchmark that Criterion saved under a name.
pub(crate) fn saved_times(group: &str, id: &str, baseline: &str) -> Option<Times> {
    read(&homes().iter().find_map(|home| find(&home.join(group), baseline, id, None))?)
}

fn read(directory: &Path) -> Option<Times> {
    let Sample { iters, times } = load(&directory.join("sample.json"))?;
    let mut seconds: Vec<f64> =
        iters.iter().zip(&times).map(|(iterations, nanoseconds)| 1e-9 * nanoseconds / iterations).collect();
    seconds.sort_by(f64::total_cmp);
    let (&min, middle) = (seconds.first()?, seconds.len() / 2);
    let median =
        if seconds.len() % 2 == 1 { seconds[middle] } else { 0.5 * (seconds[middle - 1] + seconds[middle]) };
    Some(Times { samples: seconds, min, median })
}

/// Where Criterion may write, by its own rules.
fn homes() -> Vec<PathBuf> {
    let home = std::env::var_os("CRITERION_HOME").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(|target| Path::new(&target).join("criterion"));
    let found = target_directory().map(|target| target.join("criterion"));
    [home, target, found, Some(PathBuf::from("target/criterion"))].into_iter().flatten().collect()
}

/// The directory of this name, such as `new`, of a benchmark below `directory`.
fn find(directory: &Path, name: &str, id: &str, since: Option<SystemTime>) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).find_map(|path| {
        if !path.ends_with(name) {
            return find(&path, name, id, since);
        }
        let benchmark: Benchmark = load(&path.join("benchmark.json"))?;
        let written = path.join("sample.json").metadata().ok()?.modified().ok()?;
        (benchmark.full_id == id && since.is_none_or(|since| written >= since)).then_some(path)
    })
}

fn load<V: DeserializeOwned>(path: &Path) -> Option<V> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Cargo's target directory, wherever the benchmark is started from.
pub(crate) fn target_directory() -> Option<PathBuf> {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)
        && target.is_absolute()
    {
        return Some(target);
    }
    // The executable is in target/[triple/]release/deps, and Cargo tags the directory that it made.
    let executable = std::env::current_exe().ok()?;
    let tagged = executable.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    tagged.or_else(|| executable.ancestors().nth(3)).map(Path::to_path_buf)
}
