//! `count`: instructions of a call, as valgrind's cachegrind counts them. Exact, whatever the machine does; blind for
//! everything but the number of instructions.

use crate::ab::{self, Outcome, Unit};
use crate::error::{Error, Result, error};
use crate::repository::Repository;
use crate::suite::{self, Benchmark, Suite};
use crate::verdict::{Criteria, Judgment, Verdict};
use crate::{command, date};
use clap::Args;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::process::Command;

/// Instruction sets that valgrind knows: it lacks AVX-512.
const ISAS: [&str; 2] = ["portable", "avx2"];

/// Benchmarks of few operations: under valgrind a multiply-add takes a hundred times as long.
const COUNTED: &str = "^(forward/(100x1x64x64|28x32x28x50)|train/28x32x28x50|step/.*|activation/.*)/[^/]*/1$";

/// Options of `count`.
#[derive(Args, Debug)]
pub struct Options {
    /// The old side
    revision: String,
    /// The new side; without it, the working tree
    new_revision: Option<String>,
    /// Percent up to which a change is nobody's concern
    #[arg(long, default_value_t = 1.0)]
    margin: f64,
    /// Only benchmarks that match this regular expression; may be given several times
    #[arg(short, long = "bench", value_name = "REGEX")]
    benches: Vec<String>,
    /// Where to write the outcome as JSON [default: target/track/count.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the table as Markdown too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs it. Whether there is a regression.
pub fn run(options: &Options) -> Result<bool> {
    if !(0.0..100.0).contains(&options.margin) {
        return Err(error(format!("--margin: expected percent from 0 to 100, found {}", options.margin)));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions were not counted: there is no valgrind (Debian's package valgrind)");
        return Ok(false);
    }
    let repository = Repository::here()?;
    repository.commit(&options.revision)?;
    let new = match &options.new_revision {
        Some(revision) => Suite::of_revision(&repository, revision)?,
        None => Suite::of_working_tree(&repository)?,
    };
    let old = Suite::of_revision(&repository, &options.revision)?;
    let (mut benchmarks, mut not_judged) = (Vec::new(), Vec::new());
    for isa in ISAS {
        match (old.benchmarks_of(isa), new.benchmarks_of(isa)) {
            (Ok(of_old), Ok(of_new)) => {
                let patterns = [COUNTED.to_owned()];
                let [of_old, of_new] = [of_old, of_new].map(|all| suite::selected(all, &patterns));
                let (both, alone) = ab::common(of_old?, of_new?);
                benchmarks.extend(both);
                not_judged.extend(alone);
            }
            (Err(Error::Interrupted), _) | (_, Err(Error::Interrupted)) => return Err(Error::Interrupted),
            _ => not_judged.push(format!("{isa}: this CPU or a side has no such instruction set")),
        }
    }
    let benchmarks = suite::selected(benchmarks, &options.benches)?;
    let margin = 0.01 * options.margin;
    let bar = ProgressBar::new(benchmarks.len() as u64);
    let mut judgments = Vec::new();
    for benchmark in &benchmarks {
        judgments.push(judge(&benchmark.id, count(&old, benchmark)?, count(&new, benchmark)?, margin));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let outcome = Outcome {
        schema: ab::SCHEMA,
        unit: Unit::Instructions,
        date: date::now(),
        old: old.name,
        new: new.name,
        criteria: Criteria { margin, ..Criteria::default() },
        warnings: Vec::new(),
        judgments,
        not_judged,
    };
    let json = options.json.clone().unwrap_or_else(|| repository.scratch().join("count.json"));
    ab::finish(&outcome, Some(&json), options.markdown.as_deref())
}

/// Instructions of a call: those of two calls without those of one, and so without preparing them.
fn count(suite: &Suite, benchmark: &Benchmark) -> Result<f64> {
    let of = |calls: &str| {
        let isa = benchmark.id.split('/').nth(2).unwrap_or_default();
        let mut command = Command::new("valgrind");
        command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        command.arg(&suite.program).args(["serve", "calls", &benchmark.id, calls]);
        command.envs([("QUADGATE_THREADS", "1"), ("QUADGATE_ISA", isa)]);
        let said = command::errors(&mut command)?;
        references(&said)
            .ok_or_else(|| error(format!("valgrind did not say how many instructions: {}", said.trim())))
    };
    let (two, one) = (of("2")?, of("1")?);
    let fewer = || error(format!("two calls of {} take fewer instructions than one", benchmark.id));
    two.checked_sub(one).map(|count| count as f64).ok_or_else(fewer)
}

/// The count in `==1== I   refs:      81,502,234`, or as newer versions write it, `I refs:`.
fn references(said: &str) -> Option<u64> {
    let count = |line: &str| {
        let (title, count) = line.rsplit_once("refs:")?;
        title.trim_end().ends_with('I').then(|| count.trim().replace(',', "").parse().ok())?
    };
    said.lines().find_map(count)
}

fn judge(id: &str, old: f64, new: f64, margin: f64) -> Judgment {
    let ratio = if old == new { 1.0 } else { new / old };
    let verdict = match () {
        () if ratio > 1.0 + margin => Verdict::Slower,
        () if ratio < 1.0 / (1.0 + margin) => Verdict::Faster,
        () => Verdict::Same,
    };
    Judgment {
        id: id.to_owned(),
        verdict,
        ratio,
        interval: None,
        p_slower: None,
        p_faster: None,
        old_ms: old,
        new_ms: new,
        rounds: 1,
        counts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_as_valgrind_writes_it() {
        assert_eq!(
            references("==9== Cachegrind\n==9== \n==9== I   refs:      81,502,234\n"),
            Some(81_502_234)
        );
        assert_eq!(references("==9== I refs:        7\n"), Some(7));
        assert_eq!(references("==9== D   refs:      5\nvex: unhandled instruction"), None);
    }

    #[test]
    fn the_gate_is_the_margin_exactly() {
        let verdict = |new| judge("a", 1000.0, new, 0.01).verdict;
        assert_eq!(verdict(1010.0), Verdict::Same);
        assert_eq!(verdict(1011.0), Verdict::Slower);
        assert_eq!(verdict(995.0), Verdict::Same);
        assert_eq!(verdict(980.0), Verdict::Faster);
    }
}
