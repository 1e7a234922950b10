//! `limits`: what this machine can do, and what keeps it from it.

use crate::bench::{Limits, Rate};
use crate::command;
use crate::error::{Context, Result};
use crate::machine::Machine;
use crate::repository::Repository;
use crate::suite::Suite;
use crate::table::{self, Style};
use crate::warnings;
use clap::Args;
use std::process::Command;

/// How often everything is measured, to see whether the clock drops.
const TIMES: usize = 3;

/// Options of `limits`.
#[derive(Args, Debug)]
pub struct Options {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut warnings = warnings::of_this_machine();
    let suite = Suite::of_working_tree(&Repository::here()?)?;
    let mut all = Vec::new();
    for _ in 0..TIMES {
        let text = command::output(Command::new(&suite.program).args(["serve", "limits"]))?;
        all.push(serde_json::from_str::<Limits>(&text).context("the limits that the suite measured")?);
    }
    let peaks =
        |limits: &Limits| limits.limits.fma_peak_gflops.values().map(|rate| rate.all).fold(0.0, f64::max);
    warnings.extend(warnings::of_clock(&all.iter().map(peaks).collect::<Vec<_>>()));
    let best = all.into_iter().reduce(better).expect("there are some");
    if options.json {
        println!("{:#}", serde_json::to_value(&best).context("limits")?);
    } else {
        print!("{}", render(&best, &Machine::this()));
    }
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(())
}

/// The better of each.
fn better(mut a: Limits, b: Limits) -> Limits {
    let rates = |into: &mut std::collections::BTreeMap<String, Rate>,
                 from: std::collections::BTreeMap<String, Rate>| {
        for (name, rate) in from {
            let best = into.entry(name).or_insert(rate);
            *best = Rate { single: best.single.max(rate.single), all: best.all.max(rate.all) };
        }
    };
    let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
    rates(&mut a.limits.fma_peak_gflops, b.limits.fma_peak_gflops);
    rates(&mut a.limits.read_gb_per_s, b.limits.read_gb_per_s);
    a.limits.fork_join_ns = least(a.limits.fork_join_ns, b.limits.fork_join_ns);
    a.limits.round_trip_ns = least(a.limits.round_trip_ns, b.limits.round_trip_ns);
    a
}

fn render(limits: &Limits, machine: &Machine) -> String {
    let row = |name: String, rate: &Rate, unit: &str| {
        [name, format!("{:.1}", rate.single), format!("{:.1}", rate.all), unit.to_owned()]
    };
    let rates = &limits.limits;
    let peaks =
        rates.fma_peak_gflops.iter().map(|(isa, rate)| row(format!("multiply-adds, {isa}"), rate, "GFLOP/s"));
    let reading =
        rates.read_gb_per_s.iter().map(|(level, rate)| row(format!("reading, {level}"), rate, "GB/s"));
    let meetings =
        [("fork and join", rates.fork_join_ns), ("value to another thread and back", rates.round_trip_ns)]
            .into_iter()
            .filter_map(|(name, ns)| {
                Some([name.to_owned(), String::new(), format!("{:.0}", ns?), "ns".to_owned()])
            });
    let rows: Vec<[String; 4]> = peaks.chain(reading).chain(meetings).collect();
    let Machine { cpu, microcode, kernel, caches, .. } = machine;
    let all = format!("{} threads", limits.cores);
    format!(
        "{cpu}, microcode {}, Linux {kernel}, {}\n\n{}",
        if microcode.is_empty() { "unknown" } else { microcode },
        caches.join(", "),
        table::render(["", "1 thread", &all, ""], &rows, Style::Plain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_times_counts_and_all_of_it_is_shown() {
        let first = crate::bench::tests::sample().machine;
        let mut second = first.clone();
        second.limits.fma_peak_gflops.insert("avx2".to_owned(), Rate { single: 150.0, all: 100.0 });
        second.limits.fork_join_ns = Some(700.0);
        let best = better(first, second);
        assert_eq!(best.limits.fma_peak_gflops["avx2"], Rate { single: 150.0, all: 266.0 });
        assert_eq!([best.limits.fork_join_ns, best.limits.round_trip_ns], [Some(700.0), None]);
        let text = render(&best, &Machine::default());
        for words in ["multiply-adds, avx2", "150.0", "reading, memory", "fork and join", "700"] {
            assert!(text.contains(words), "{words} is missing in {text}");
        }
        assert!(!text.contains("and back"));
    }
}
