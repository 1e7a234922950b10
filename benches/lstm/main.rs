//! The benchmark suite: `cargo bench`, `cargo bench -- forward`, `cargo bench -- --save-baseline before`, …
//!
//! Criterion times, filters and compares. Around it, this suite measures the limits of the machine in the same run and
//! ends with one table and `target/quadgate/bench.json`. See `benches/README.md`.
//!
//! A group is a file with one function that describes its cases to the [`Suite`](suite::Suite); limits, table and JSON
//! know nothing of groups.

mod activation;
mod audio;
mod baseline;
mod caches;
mod call;
mod cells;
mod denormals;
mod forward;
mod gemm;
mod grid;
mod layer;
mod lengths;
mod limits;
mod machine;
mod meeting;
mod mode;
mod options;
mod pack;
mod report;
mod roofline;
mod run;
mod runner;
mod samples;
mod sequences;
mod serve;
mod settings;
mod shapes;
mod stack;
mod step;
mod suite;
mod sweep;
mod table;
mod tables;
mod train;
mod training_loop;
mod turn;

use criterion::Criterion;
use forward::ForwardPass;
use mode::Mode;
use serve::{Request, Server};
use settings::Settings;
use std::process::ExitCode;
use std::time::Duration;
use suite::{Group, Suite};
use train::TrainingStep;

/// Gives the cases of a group to Criterion.
type RunGroup = fn(&mut Group<'_>, &Settings);

/// The groups, in the order in which they run and are listed.
const GROUPS: [(&str, RunGroup); 14] = [
    ("forward", sequences::run::<ForwardPass>),
    ("train", sequences::run::<TrainingStep>),
    ("step", step::run),
    ("gru", cells::run_gru),
    ("rnn", cells::run_rnn),
    ("activation", activation::run),
    ("options", options::run),
    ("stack", stack::run),
    ("lengths", lengths::run),
    ("tables", tables::run),
    ("audio", audio::run),
    ("denormals", denormals::run),
    ("pack", pack::run),
    ("training-loop", training_loop::run),
];

fn main() -> ExitCode {
    let request = match Request::from_arguments() {
        Ok(request) => request,
        Err(message) => return finished(Err(message)),
    };
    let settings = match Settings::from_environment(request.is_some()) {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    if let Some(request) = request {
        return finished(serve(request, &settings));
    }
    if sweep::is_asked_for() {
        return finished(sweep::run(&settings));
    }
    // Short, so that everything ends within a few minutes; the command line may ask for more.
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(suite::MEASUREMENT_TIME)
        .sample_size(suite::MAX_SAMPLES)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();

    let mut suite = Suite::new(criterion, Mode::from_arguments());
    match settings.order_seed {
        None => {
            for (name, run) in GROUPS {
                run(&mut suite.group(name, None), &settings);
            }
        }
        Some(seed) => {
            for id in shuffled(&settings, seed) {
                for (name, run) in GROUPS.iter().filter(|(name, _)| id.split('/').next() == Some(name)) {
                    run(&mut suite.group(name, Some(&id)), &settings);
                }
            }
        }
    }
    finished(suite.finish())
}

/// The ids of all benchmarks in random order.
fn shuffled(settings: &Settings, seed: u64) -> Vec<String> {
    let mut server = Server::new(None, None);
    for (name, run) in GROUPS {
        run(&mut Group::served(name, &mut server), settings);
    }
    let mut ids = server.into_ids();
    // Sorted by random numbers.
    let keys = layer::random(ids.len(), 1.0, seed);
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
    order.into_iter().map(|index| std::mem::take(&mut ids[index])).collect()
}

/// Lets the groups describe their cases to a server, which serves one of them or lists them all.
fn serve(request: Request, settings: &Settings) -> Result<(), String> {
    let mut server = match request {
        Request::Limits => return serve::limits(),
        Request::List => Server::new(None, None),
        Request::Turns(id) => Server::new(Some(id), None),
        Request::Calls(id, calls) => Server::new(Some(id), Some(calls)),
    };
    for (name, run) in GROUPS {
        run(&mut Group::served(name, &mut server), settings);
    }
    server.finish()
}

/// Says what went wrong, if anything.
fn finished(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
