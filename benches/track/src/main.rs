//! Tracks quadgate's throughput: `cargo track …`, see `docs/BENCHMARKS.md`.

mod ab;
mod command;
mod date;
mod error;
mod files;
mod interrupt;
mod random;
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
#[command(name = "cargo track", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares a revision with the working tree or another revision, by turns; exit code 1 for a regression
    Ab(ab::Options),
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
    }
}
