//! `compare`: two records, each held against what its machine could do at the time.

use crate::ab::{self, Outcome};
use crate::bench::Row;
use crate::error::{Result, error};
use crate::record::Record;
use crate::statistics::bootstrap;
use crate::verdict::{Criteria, Judgment, Verdict};
use clap::Args;
use std::path::PathBuf;

/// Options of `compare`.
#[derive(Args, Debug)]
pub struct Options {
    /// The older record
    old: PathBuf,
    /// The newer record
    new: PathBuf,
    /// Judge though the records are of different machines
    #[arg(long)]
    different_machines: bool,
    /// Percent up to which a change is nobody's concern
    #[arg(long, default_value_t = 5.0)]
    margin: f64,
    /// Where to write the outcome as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the table as Markdown too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Confidence intervals leave out this share.
const ALPHA: f64 = 0.05;

/// Runs it. Whether there is a regression.
pub fn run(options: &Options) -> Result<bool> {
    if !(0.0..100.0).contains(&options.margin) {
        return Err(error(format!("--margin: expected percent from 0 to 100, found {}", options.margin)));
    }
    let (old, new) = (Record::read(&options.old)?, Record::read(&options.new)?);
    if old.machine.name != new.machine.name && !options.different_machines {
        return Err(error(format!(
            "the records are of different machines, {} and {}; --different-machines compares them all the same",
            old.machine.name, new.machine.name
        )));
    }
    let outcome = compare(&old, &new, 0.01 * options.margin)?;
    ab::finish(&outcome, options.json.as_deref(), options.markdown.as_deref())
}

/// Judges the benchmarks that both have.
pub fn compare(old: &Record, new: &Record, margin: f64) -> Result<Outcome> {
    let mut not_judged = Vec::new();
    let mut judgments = Vec::new();
    for row in &new.bench.results {
        match old.bench.results.iter().find(|other| other.id == row.id) {
            Some(before) => judgments.push(judge(before, row, margin)),
            None => not_judged.push(format!("{}: only in the new record", row.id)),
        }
    }
    let is_gone = |row: &&Row| new.bench.results.iter().all(|other| other.id != row.id);
    let gone = old.bench.results.iter().filter(is_gone);
    not_judged.extend(gone.map(|row| format!("{}: only in the old record", row.id)));
    if judgments.is_empty() {
        return Err(error("the records have no benchmark in common"));
    }
    let name = |record: &Record| {
        let dirty = if record.clean { "" } else { ", changed" };
        format!("{} of {}{dirty}", &record.commit[..record.commit.len().min(10)], &record.date)
    };
    let of = |side: &str, record: &Record| -> Vec<String> {
        record.warnings.iter().map(|warning| format!("{side}: {warning}")).collect()
    };
    let mut warnings = [of("old", old), of("new", new)].concat();
    if old.rustc != new.rustc {
        warnings.push(format!("the compilers differ: {} and {}", old.rustc, new.rustc));
    }
    Ok(Outcome {
        schema: ab::SCHEMA,
        unit: ab::Unit::Runs,
        date: crate::date::now(),
        old: name(old),
        new: name(new),
        criteria: Criteria { alpha: ALPHA, margin, resolution: margin },
        warnings,
        judgments,
        not_judged,
    })
}

/// The times of a benchmark in two runs, each multiplied by the rate of multiply-adds around it.
fn judge(old: &Row, new: &Row, margin: f64) -> Judgment {
    let clock = match (old.fma_gflops_around, new.fma_gflops_around) {
        (old, new) if old > 0.0 && new > 0.0 => (new / old).ln(),
        _ => 0.0,
    };
    let has_samples = !old.samples_ms.is_empty() && !new.samples_ms.is_empty();
    let interval = has_samples.then(|| {
        bootstrap::log_ratio_interval(&old.samples_ms, &new.samples_ms, ALPHA).map(|end| end + clock)
    });
    let limit = margin.ln_1p();
    let verdict = match interval {
        Some([low, _]) if low > limit => Verdict::Slower,
        Some([_, high]) if high < -limit => Verdict::Faster,
        Some([low, high]) if -limit <= low && high <= limit => Verdict::Same,
        _ => Verdict::Unclear,
    };
    Judgment {
        id: new.id.clone(),
        verdict,
        ratio: ((new.median_ms / old.median_ms).ln() + clock).exp(),
        interval: interval.map(|interval| interval.map(f64::exp)),
        p_slower: None,
        p_faster: None,
        old_ms: old.median_ms,
        new_ms: new.median_ms,
        rounds: 1,
        counts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn verdicts(old: &Record, new: &Record) -> Vec<Verdict> {
        let outcome = compare(old, new, 0.05).expect("they have benchmarks in common");
        outcome.judgments.iter().map(|judgment| judgment.verdict).collect()
    }

    #[test]
    fn a_change_beyond_the_margin_is_found() {
        let old = sample("m", "a", 1.0);
        assert_eq!(verdicts(&old, &sample("m", "b", 1.2)), [Verdict::Slower; 5]);
        assert_eq!(verdicts(&old, &sample("m", "b", 0.8)), [Verdict::Faster; 5]);
        assert_eq!(verdicts(&old, &old), [Verdict::Same; 5]);
    }

    #[test]
    fn a_lower_clock_is_no_regression() {
        let old = sample("m", "a", 1.0);
        let mut new = sample("m", "b", 1.25);
        new.bench.results.iter_mut().for_each(|row| row.fma_gflops_around /= 1.25);
        assert_eq!(verdicts(&old, &new), [Verdict::Same; 5]);
    }

    #[test]
    fn without_samples_nothing_is_judged() {
        let (old, mut new) = (sample("m", "a", 1.0), sample("m", "b", 1.5));
        new.bench.results.iter_mut().for_each(|row| row.samples_ms.clear());
        assert_eq!(verdicts(&old, &new), [Verdict::Unclear; 5]);
    }

    #[test]
    fn other_machines_and_other_benchmarks_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut other = sample("second", "b", 1.0);
        let write = |name: &str, record: &Record| {
            let path = folder.path().join(name);
            std::fs::write(&path, serde_json::to_string(record).expect("words and numbers")).expect("a file");
            path
        };
        let mut options = Options {
            old: write("old.json", &sample("first", "a", 1.0)),
            new: write("new.json", &other),
            different_machines: false,
            margin: 5.0,
            json: None,
            markdown: None,
        };
        let message = format!("{:?}", run(&options).expect_err("they differ"));
        assert!(message.contains("first and second"), "{message}");
        options.different_machines = true;
        assert_eq!(run(&options), Ok(false));
        other.bench.results.iter_mut().for_each(|row| row.id += "0");
        options.new = write("new.json", &other);
        let message = format!("{:?}", run(&options).expect_err("nothing in common"));
        assert!(message.contains("no benchmark in common"), "{message}");
    }
}
