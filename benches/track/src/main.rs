//! Tracks quadgate's throughput: `cargo track …`, see `docs/BENCHMARKS.md`.

mod ab;
mod bench;
mod command;
mod compare;
mod count;
mod counters;
mod date;
mod error;
mod export;
mod files;
mod interrupt;
mod limits;
mod machine;
mod random;
mod record;
mod report;
mod repository;
mod statistics;
mod suite;
mod table;
mod turns;
mod verdict;
mod warnings;
mod worker;

use clap::{Parser, Subcommand};
use error::{Error, Result};
use std::process::ExitCode;

/// Tracks quadgate's throughput. To be run in a checkout.
#[derive(Parser)]
#[command(name = "cargo track", bin_name = "cargo track", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares a revision with the working tree or another revision, by turns; exit code 1 for a regression
    Ab(ab::Options),
    /// Compares the instructions of calls, as valgrind counts them; exit code 1 for a regression
    Count(count::Options),
    /// Runs the suite, or takes a finished run, into benches/record/MACHINE
    Record(record::Options),
    /// Compares two records, each held against its own limits; exit code 1 for a regression
    Compare(compare::Options),
    /// Writes a record or an outcome in the formats of github-action-benchmark, Bencher, CSV, Markdown
    Export(export::Options),
    /// Makes a page of records with plots
    Report(report::Options),
    /// Draws a sweep
    Sweep(report::SweepOptions),
    /// Measures what this machine can do, and warns of what spoils measurements
    Limits(limits::Options),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match interrupt::watch().and_then(|()| run(&command)) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(Error::Message(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Error::Interrupted) => {
            eprintln!("interrupted: nothing was written");
            ExitCode::from(130)
        }
    }
}

/// Whether there is a regression.
fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Ab(options) => ab::run(options),
        Command::Count(options) => count::run(options),
        Command::Record(options) => record::run(options).map(|()| false),
        Command::Compare(options) => compare::run(options),
        Command::Export(options) => export::run(options).map(|()| false),
        Command::Report(options) => report::run(options).map(|()| false),
        Command::Sweep(options) => report::draw_sweep(options).map(|()| false),
        Command::Limits(options) => limits::run(options).map(|()| false),
    }
}
