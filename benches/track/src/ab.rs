//! `ab`: a revision against the working tree or another revision, by turns.

use crate::counters::{self, Count, Event};
use crate::error::{Result, error};
use crate::files;
use crate::repository::Repository;
use crate::suite::{self, Benchmark, Suite};
use crate::table::{self, Style};
use crate::turns::{self, Plan};
use crate::verdict::{self, Criteria, Judgment, Verdict};
use crate::worker::{self, Caches};
use crate::{date, warnings};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the schema of [`Outcome`].
pub const SCHEMA: u32 = 1;

/// Benchmarks of `--quick`, all of them short calls. Of activations, those of the instruction set of the others.
pub const QUICK: [&str; 4] = [
    "^forward/(100x1x64x64|100x1x128x128|100x16x128x128|28x32x28x50|100x8x40x100)/",
    "^train/(100x1x128x128|100x16x128x128|28x32x28x50)/",
    "^step/1x1x(32x32|128x128)/",
    "^activation/",
];

/// Options of `ab`.
#[derive(Args, Debug)]
pub struct Options {
    /// The old side
    revision: String,
    /// The new side; without it, the working tree
    new_revision: Option<String>,
    /// Only benchmarks that match this regular expression; may be given several times
    #[arg(short, long = "bench", value_name = "REGEX")]
    benches: Vec<String>,
    /// A choice of short benchmarks: forward, train, step and activation on one thread and on all
    #[arg(long)]
    quick: bool,
    /// Rounds of each benchmark, at most: from 24 on those are left out that can be expected to change nothing
    #[arg(long, default_value_t = 120)]
    rounds: usize,
    /// Milliseconds of a turn; a round has two of each side
    #[arg(long, default_value_t = 10)]
    turn_ms: u64,
    /// Empty the caches before each call
    #[arg(long)]
    cold: bool,
    /// Count events of a call too, where the kernel can; those of hardware unless others are named
    #[arg(long, value_enum, value_name = "EVENTS", value_delimiter = ',', num_args = 0.., require_equals = true,
        default_missing_value = "cycles,instructions,cache-misses,branch-misses", conflicts_with = "cold")]
    counters: Vec<Event>,
    /// Cores to use, the first n for n threads; without it, all that this process may use
    #[arg(long, value_delimiter = ',', value_name = "CORES")]
    cores: Vec<usize>,
    /// Numbers of threads to measure with, such as 1,2; without it, 1 and all cores
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Probability of any false alarm in the whole run
    #[arg(long, default_value_t = Criteria::default().alpha)]
    alpha: f64,
    /// Percent up to which a slowdown is nobody's concern
    #[arg(long, default_value_t = 100.0 * Criteria::default().margin)]
    margin: f64,
    /// Seed of the orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the outcome as JSON [default: target/track/ab.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the table as Markdown too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Times, by turns.
    Time,
    /// Times of two runs, each held against its own limits.
    Runs,
    /// Instructions of a call.
    Instructions,
}

/// What a run of `ab` or a count of instructions found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`]
    pub schema: u32,
    /// What was compared.
    pub unit: Unit,
    /// When it ended.
    pub date: String,
    /// The old side.
    pub old: String,
    /// The new side.
    pub new: String,
    /// When a difference counted.
    pub criteria: Criteria,
    /// What may have spoiled it.
    pub warnings: Vec<String>,
    /// By benchmark.
    pub judgments: Vec<Judgment>,
    /// Benchmarks of one side alone, and others that were not judged, with the reason.
    pub not_judged: Vec<String>,
}

/// Runs it. Whether there is a regression.
pub fn run(options: &Options) -> Result<bool> {
    let criteria = criteria(options)?;
    let repository = Repository::here()?;
    let cores = cores(&options.cores, worker::usable_cores()?)?;
    let threads = if options.threads.is_empty() { vec![1, cores.len()] } else { options.threads.clone() };
    if threads.contains(&0) {
        return Err(error("--threads: expected numbers from 1 on, found 0"));
    }
    let threads = threads.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    // Fails early where a revision does not exist.
    repository.commit(&options.revision)?;
    let new = match &options.new_revision {
        Some(revision) => Suite::of_revision(&repository, revision)?,
        None => Suite::of_working_tree(&repository)?,
    };
    let old = Suite::of_revision(&repository, &options.revision)?;
    let (benchmarks, not_judged) = common(old.benchmarks(&threads)?, new.benchmarks(&threads)?);
    let benchmarks = suite::selected(benchmarks, &options.benches)?;
    let benchmarks = if options.quick { quick(benchmarks)? } else { benchmarks };
    let least = verdict::least_rounds(benchmarks.len(), criteria);
    if options.rounds < least {
        let (rounds, count) = (options.rounds, benchmarks.len());
        return Err(error(format!(
            "{rounds} rounds of {count} benchmarks can say nothing; take {least} at least"
        )));
    }
    let (events, not_counted) = counters::available(&options.counters);
    let plan = Plan {
        rounds: options.rounds,
        criteria,
        turn: Duration::from_millis(options.turn_ms.max(1)),
        caches: if options.cold { Caches::Cold } else { Caches::Warm },
        cores,
        seed: options.seed,
        events,
    };
    let mut warnings = [warnings::of_this_machine(), not_counted].concat();
    if files::same(&old.program, &new.program) {
        warnings.push("both sides are the same program to the last byte".to_owned());
    }
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let judgments = verdict::judge(&turns::take([&old, &new], &benchmarks, &plan)?, criteria);
    let outcome = Outcome {
        schema: SCHEMA,
        unit: Unit::Time,
        date: date::now(),
        old: old.name,
        new: new.name,
        criteria,
        warnings,
        judgments,
        not_judged,
    };
    let json = options.json.clone().unwrap_or_else(|| repository.scratch().join("ab.json"));
    finish(&outcome, Some(&json), options.markdown.as_deref())
}

/// Prints and writes an outcome. Whether there is a regression.
pub fn finish(outcome: &Outcome, json: Option<&Path>, markdown: Option<&Path>) -> Result<bool> {
    print!("{}", render(outcome, Style::Plain));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(outcome).expect("it has only numbers and words");
        files::write(path, &(text + "\n"))?;
    }
    if let Some(path) = markdown {
        files::write(path, &render(outcome, Style::Markdown))?;
    }
    Ok(outcome.judgments.iter().any(|judgment| judgment.verdict == Verdict::Slower))
}

/// The cores that were asked for, or all that may be used.
fn cores(wanted: &[usize], usable: Vec<usize>) -> Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok(usable);
    }
    let is_wrong = |(index, core): (usize, &usize)| !usable.contains(core) || wanted[..index].contains(core);
    match wanted.iter().enumerate().any(is_wrong) {
        true => Err(error(format!("--cores: expected different cores out of {usable:?}, found {wanted:?}"))),
        false => Ok(wanted.to_vec()),
    }
}

fn criteria(options: &Options) -> Result<Criteria> {
    if !(options.alpha > 0.0 && options.alpha < 1.0) {
        return Err(error(format!(
            "--alpha: expected a probability between 0 and 1, found {}",
            options.alpha
        )));
    }
    if !(0.0..100.0).contains(&options.margin) {
        return Err(error(format!("--margin: expected percent from 0 to 100, found {}", options.margin)));
    }
    Ok(Criteria { alpha: options.alpha, margin: 0.01 * options.margin, ..Criteria::default() })
}

/// The benchmarks of both sides, and a line for each that only one of them has.
pub fn common(old: Vec<Benchmark>, new: Vec<Benchmark>) -> (Vec<Benchmark>, Vec<String>) {
    let only = |these: &[Benchmark], those: &[Benchmark], side: &str| -> Vec<String> {
        let alone = these.iter().filter(|this| those.iter().all(|that| that.id != this.id));
        alone.map(|benchmark| format!("{}: only on the {side} side", benchmark.id)).collect()
    };
    let not_judged = [only(&old, &new, "old"), only(&new, &old, "new")].concat();
    (new.into_iter().filter(|this| old.iter().any(|that| that.id == this.id)).collect(), not_judged)
}

/// The benchmarks of `--quick`.
pub fn quick(benchmarks: Vec<Benchmark>) -> Result<Vec<Benchmark>> {
    let isa = |benchmark: &Benchmark| benchmark.id.split('/').nth(2).map(str::to_owned);
    let main = benchmarks.iter().find(|benchmark| !benchmark.id.starts_with("activation/")).and_then(isa);
    let patterns = QUICK.map(|pattern| regex_lite::Regex::new(pattern).expect("the patterns are right"));
    let chosen: Vec<Benchmark> = benchmarks
        .into_iter()
        .filter(|benchmark| main.is_none() || isa(benchmark) == main)
        .filter(|benchmark| patterns.iter().any(|pattern| pattern.is_match(&benchmark.id)))
        .collect();
    if chosen.is_empty() {
        Err(error("--quick: none of its benchmarks is among those chosen"))
    } else {
        Ok(chosen)
    }
}

/// The outcome as text.
pub fn render(outcome: &Outcome, style: Style) -> String {
    let mut judgments: Vec<&Judgment> = outcome.judgments.iter().collect();
    let urgency = |verdict| match verdict {
        Verdict::Slower => 0,
        Verdict::Unclear => 1,
        Verdict::Faster => 2,
        Verdict::Same => 3,
    };
    judgments.sort_by_key(|judgment| urgency(judgment.verdict));
    let amount = |value: f64| match outcome.unit {
        Unit::Instructions => format!("{value:.0}"),
        Unit::Time | Unit::Runs => table::significant(value),
    };
    let rows: Vec<[String; 6]> = judgments
        .iter()
        .map(|judgment| {
            let verdict = judgment.verdict.name();
            let bold = style == Style::Markdown && judgment.verdict == Verdict::Slower;
            [
                judgment.id.clone(),
                amount(judgment.old_ms),
                amount(judgment.new_ms),
                table::change(judgment.ratio),
                judgment.interval.map_or_else(
                    || if outcome.unit == Unit::Instructions { "exact" } else { "none" }.to_owned(),
                    |[low, high]| format!("{} … {}", table::change(low), table::change(high)),
                ),
                if bold { format!("**{verdict}**") } else { verdict.to_owned() },
            ]
        })
        .collect();
    let header = match outcome.unit {
        Unit::Time | Unit::Runs => ["benchmark", "old ms", "new ms", "change", "interval", "verdict"],
        Unit::Instructions => {
            ["benchmark", "old instructions", "new instructions", "change", "interval", "verdict"]
        }
    };
    let table = table::render(header, &rows, style);
    let count = |verdict| judgments.iter().filter(|judgment| judgment.verdict == verdict).count();
    let (slower, faster, unclear) = (count(Verdict::Slower), count(Verdict::Faster), count(Verdict::Unclear));
    let Criteria { alpha, margin, resolution } = outcome.criteria;
    let title = match outcome.unit {
        Unit::Time => "by turns",
        Unit::Runs => "two runs, each held against its own rate of multiply-adds",
        Unit::Instructions => "instructions of a call",
    };
    let mut text = format!("{} → {}, {title}\n\n{table}\n", outcome.old, outcome.new);
    text += &format!("{slower} slower, {faster} faster, {unclear} unclear, of {}. ", judgments.len());
    let (margin, alpha, resolution) = (100.0 * margin, 100.0 * alpha, 100.0 * resolution);
    text += &match outcome.unit {
        Unit::Time => format!(
            "Slower or faster: by more than {margin:.1} %, with a chance of a false alarm in the whole run of \
             {alpha:.0} %; same: within {resolution:.0} %.\n"
        ),
        Unit::Runs => format!(
            "Slower or faster: the interval of {:.0} % lies beyond {margin:.1} %. What changed between the runs is in it \
             too; `ab` decides.\n",
            100.0 - alpha
        ),
        Unit::Instructions => format!("Slower or faster: by more than {margin:.1} %.\n"),
    };
    let counts =
        judgments.iter().flat_map(|judgment| judgment.counts.iter().map(|count| (&judgment.id, count)));
    let counts: Vec<[String; 5]> = counts
        .map(|(id, &Count { event, old, new })| {
            let change = if old == new { 1.0 } else { new / old };
            [
                id.clone(),
                event.name(),
                table::significant(old),
                table::significant(new),
                table::change(change),
            ]
        })
        .collect();
    if !counts.is_empty() {
        let table = table::render(["benchmark", "event", "old", "new", "change"], &counts, style);
        text += &format!("\nCounted, of a call:\n\n{table}");
    }
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text += &format!(
                "\n{title}:\n{}",
                lines.iter().map(|line| format!("- {line}\n")).collect::<String>()
            );
        }
    };
    list("Not judged", &outcome.not_judged);
    list("Warnings", &outcome.warnings);
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An outcome with a regression.
    pub fn sample() -> Outcome {
        let judgment = |id: &str, verdict, ratio: f64| Judgment {
            id: id.to_owned(),
            verdict,
            ratio,
            interval: Some([ratio - 0.01, ratio + 0.01]),
            p_slower: Some(0.5),
            p_faster: Some(0.5),
            old_ms: 1.0,
            new_ms: ratio,
            rounds: 36,
            counts: vec![Count { event: Event::Instructions, old: 1000.0, new: 1000.0 * ratio }],
        };
        Outcome {
            schema: SCHEMA,
            unit: Unit::Time,
            date: "2026-11-27T00:00:00Z".to_owned(),
            old: "main".to_owned(),
            new: "working tree".to_owned(),
            criteria: Criteria::default(),
            warnings: vec!["load 3.0".to_owned()],
            judgments: vec![
                judgment("forward/100x1x64x64/avx2/1", Verdict::Same, 1.0),
                judgment("step/1x1x8x8/avx2/1", Verdict::Slower, 1.05),
            ],
            not_judged: vec!["gru/1x1x8x8/avx2/1: only on the new side".to_owned()],
        }
    }

    #[test]
    fn a_table_has_the_worst_first_and_all_that_matters() {
        let text = render(&sample(), Style::Markdown);
        let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} is missing in {text}"));
        assert!(place("step/1x1x8x8") < place("forward/100x1x64x64"));
        for words in [
            "**slower**",
            "+5.0 %",
            "+4.0 % … +6.0 %",
            "1 slower, 0 faster, 0 unclear, of 2",
            "load 3.0",
            "gru/",
            "| step/1x1x8x8/avx2/1 | instructions | 1000 | 1050 | +5.0 % |",
        ] {
            place(words);
        }
    }

    #[test]
    fn an_outcome_can_be_read_back() {
        let text = serde_json::to_string(&sample()).expect("it has only numbers and words");
        assert_eq!(serde_json::from_str::<Outcome>(&text).expect("the same"), sample());
    }

    #[test]
    fn benchmarks_of_one_side_are_named_and_not_judged() {
        let benchmark = |id: &str| Benchmark { id: id.to_owned(), threads: 1, flops: None };
        let (both, alone) = common(["a", "b"].map(benchmark).to_vec(), ["b", "c"].map(benchmark).to_vec());
        assert_eq!(both, [benchmark("b")]);
        assert_eq!(alone, ["a: only on the old side", "c: only on the new side"]);
    }

    #[test]
    fn the_quick_choice_has_activations_of_one_instruction_set() {
        let ids = [
            "forward/100x1x64x64/avx2/1",
            "forward/50x64x512x512/avx2/1",
            "activation/tanh/avx2/1",
            "activation/tanh/portable/1",
        ];
        let benchmarks = ids.map(|id| Benchmark { id: id.to_owned(), threads: 1, flops: None }).to_vec();
        let chosen: Vec<String> =
            quick(benchmarks).expect("some").into_iter().map(|benchmark| benchmark.id).collect();
        assert_eq!(chosen, [ids[0], ids[2]]);
        assert!(quick(Vec::new()).is_err());
    }
}
