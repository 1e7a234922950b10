//! `record`: a run of the suite with all that must be known to compare it later.

use crate::ab;
use crate::bench::{self, Bench, Row};
use crate::error::{Context, Result, error};
use crate::machine::{self, Machine};
use crate::repository::Repository;
use crate::statistics::quantile;
use crate::{command, date, files, warnings};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the schema of [`Record`].
pub const SCHEMA: u32 = 1;

/// Where records lie in a checkout, below it a folder for each machine.
pub const FOLDER: &str = "benches/record";

/// Options of `record`.
#[derive(Args, Debug)]
pub struct Options {
    /// Take the bench.json of a finished run of the working tree instead of running the suite
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Folder of records [default: benches/record]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// Short benchmarks alone, as of `ab --quick`
    #[arg(long, conflicts_with = "from")]
    quick: bool,
    /// Arguments of the suite: a filter, options of Criterion
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// A run of the suite and what it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`]
    pub schema: u32,
    /// When it ended.
    pub date: String,
    /// Of the checkout.
    pub commit: String,
    /// Whether the work tree was that of the commit.
    pub clean: bool,
    /// Version of the compiler.
    pub rustc: String,
    /// How the machine was before the run.
    pub machine: Machine,
    /// What may have spoiled it.
    pub warnings: Vec<String>,
    /// Quantiles of a call in milliseconds, by benchmark in the order of the results; `null` without samples.
    pub quantiles_ms: Vec<Option<Quantiles>>,
    /// What the suite wrote.
    pub bench: Bench,
}

/// Shares of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The fastest.
    pub min: f64,
    /// A twentieth is faster.
    pub p05: f64,
    /// A quarter is faster.
    pub p25: f64,
    /// Half is faster.
    pub p50: f64,
    /// Three quarters are faster.
    pub p75: f64,
    /// A twentieth is slower.
    pub p95: f64,
    /// The slowest.
    pub max: f64,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let repository = Repository::here()?;
    let machine = Machine::this();
    let mut warnings = warnings::of_this_machine();
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let commit = repository.commit("HEAD")?;
    let clean = repository.is_clean()?;
    let bench = match &options.from {
        Some(path) => Bench::read(path)?,
        None => measure(&repository, options)?,
    };
    if bench.machine.cpu != machine.cpu {
        let (theirs, ours) = (&bench.machine.cpu, &machine.cpu);
        return Err(error(format!("the run is of another machine: of {theirs}, and this is {ours}")));
    }
    // Against the best of the same instruction set and number of threads.
    let of_same_work = |row: &Row| {
        let same =
            bench.results.iter().filter(|other| (&other.isa, other.threads) == (&row.isa, row.threads));
        let best = same.map(|other| other.fma_gflops_around).fold(0.0, f64::max);
        if best > 0.0 { row.fma_gflops_around / best } else { 1.0 }
    };
    warnings.extend(warnings::of_clock(&bench.results.iter().map(of_same_work).collect::<Vec<_>>()));
    let record = Record {
        schema: SCHEMA,
        date: date::now(),
        commit,
        clean,
        rustc: machine::rustc(),
        machine,
        warnings,
        quantiles_ms: bench.results.iter().map(quantiles).collect(),
        bench,
    };
    let folder = options.into.clone().unwrap_or_else(|| repository.root.join(FOLDER));
    let path = record.write(&folder)?;
    println!("written: {}", path.display());
    Ok(())
}

/// Runs the suite of the working tree.
fn measure(repository: &Repository, options: &Options) -> Result<Bench> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.root.join("target"), PathBuf::from);
    let written = target.join("quadgate/bench.json");
    let before = written.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "--bench", "lstm", "--"]).args(&options.arguments).current_dir(&repository.root);
    if options.quick {
        command.arg(ab::QUICK.join("|"));
    }
    command.env("CARGO_TARGET_DIR", &target);
    let status = command::attended(&mut command, |mut child| child.wait())?.context("cargo")?;
    if !status.success() {
        return Err(error(format!("the suite failed ({status})")));
    }
    let after = written.metadata().and_then(|metadata| metadata.modified()).ok();
    if after.is_none() || after == before {
        return Err(error(
            "the suite measured nothing: no benchmark matches, or an option keeps it from measuring",
        ));
    }
    Bench::read(&written)
}

fn quantiles(row: &Row) -> Option<Quantiles> {
    let samples = quantile::sorted(row.samples_ms.clone());
    let of = |share| quantile::quantile(&samples, share);
    (!samples.is_empty()).then(|| Quantiles {
        min: of(0.0),
        p05: of(0.05),
        p25: of(0.25),
        p50: of(0.5),
        p75: of(0.75),
        p95: of(0.95),
        max: of(1.0),
    })
}

impl Record {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let value: Value = serde_json::from_str(&files::read(path)?)
            .context(format!("{name} is no JSON, or only a part of it"))?;
        bench::check_schema(&value, SCHEMA, &name)?;
        let record: Self = serde_json::from_value(value).context(format!("{name} is no record"))?;
        record.bench.check(&name)?;
        if record.quantiles_ms.len() != record.bench.results.len() {
            return Err(error(format!("{name} has not as many quantiles as results")));
        }
        if !record.commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error(format!("{name}: {:?} is no commit", record.commit)));
        }
        Ok(record)
    }

    /// Writes it below a folder of records. A name that is taken is an error.
    fn write(&self, folder: &Path) -> Result<PathBuf> {
        let day_and_time = self.date.replace(':', "");
        let dirty = if self.clean { "" } else { "-dirty" };
        let name = format!("{day_and_time}-{}{dirty}.json", &self.commit[..self.commit.len().min(10)]);
        let path = folder.join(&self.machine.name).join(name);
        if path.exists() {
            return Err(error(format!("{} is there already", path.display())));
        }
        let text = serde_json::to_string_pretty(self).context("a record")?;
        files::write(&path, &(text + "\n"))?;
        Ok(path)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A record of a machine and a commit, whose times are `slower` times those of the sample.
    pub fn sample(machine: &str, commit: &str, slower: f64) -> Record {
        let mut bench = bench::tests::sample();
        for row in &mut bench.results {
            row.min_ms *= slower;
            row.median_ms *= slower;
            row.samples_ms.iter_mut().for_each(|sample| *sample *= slower);
            row.gflops = row.gflops.map(|gflops| gflops / slower);
        }
        Record {
            schema: SCHEMA,
            date: "2026-11-27T21:38:41Z".to_owned(),
            commit: commit.repeat(40 / commit.len()),
            clean: true,
            rustc: "rustc 1.95.0".to_owned(),
            machine: Machine { name: machine.to_owned(), ..Machine::default() },
            warnings: Vec::new(),
            quantiles_ms: bench.results.iter().map(quantiles).collect(),
            bench,
        }
    }

    #[test]
    fn a_record_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = sample("some-cpu-2", "ab", 1.0);
        let path = record.write(folder.path()).expect("it is written");
        assert!(path.ends_with("some-cpu-2/2026-11-27T213841Z-ababababab.json"), "{path:?}");
        assert_eq!(Record::read(&path), Ok(record.clone()));
        let message = format!("{:?}", record.write(folder.path()).expect_err("it is there"));
        assert!(message.contains("is there already"), "{message}");
    }

    #[test]
    fn a_truncated_record_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = sample("some-cpu-2", "ab", 1.0).write(folder.path()).expect("it is written");
        let whole = files::read(&path).expect("it is there");
        let part = &whole[..whole.len() / 3];
        std::fs::write(&path, part).expect("a file");
        let message = format!("{:?}", Record::read(&path).expect_err("it is a part"));
        assert!(message.contains("only a part") && message.contains("ababababab"), "{message}");
        assert_eq!(files::read(&path).expect("it is there"), part);
    }

    #[test]
    fn a_record_that_cannot_be_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record.json");
        let spoiled = |spoil: fn(&mut Record)| {
            let mut record = sample("some-cpu-2", "ab", 1.0);
            spoil(&mut record);
            record
        };
        for (record, words) in [
            (spoiled(|record| record.quantiles_ms.truncate(1)), "not as many quantiles as results"),
            (spoiled(|record| record.commit = "é".repeat(20)), "is no commit"),
            (spoiled(|record| record.bench.results.clear()), "has no results"),
        ] {
            std::fs::write(&path, serde_json::to_string(&record).expect("words and numbers"))
                .expect("a file");
            let message = format!("{:?}", Record::read(&path).expect_err(words));
            assert!(message.contains(words) && message.contains("record.json"), "{message}");
        }
    }

    #[test]
    fn quantiles_are_in_order_and_those_of_the_samples() {
        let record = sample("some-cpu-2", "ab", 1.0);
        let Quantiles { min, p05, p25, p50, p75, p95, max } =
            record.quantiles_ms[0].expect("there are samples");
        assert!([min, p05, p25, p50, p75, p95, max].is_sorted());
        assert!((p50 - 0.07 * 1.05).abs() < 1e-12 && min == 0.07);
    }
}
