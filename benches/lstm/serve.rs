//! The suite as a worker: `lstm serve list` names the benchmarks, `lstm serve ID` prepares one and times a turn of it
//! whenever it is told, `lstm serve limits` measures what the machine can do. Answers are lines of JSON; the first one
//! says that the worker is ready.
//!
//! `cargo track ab` runs two builds of the suite by turns this way. The conversation is that of `benches/peers`.

use crate::caches;
use crate::limits::Limits;
use crate::machine::available_threads;
use crate::report;
use crate::run::{Case, Work};
use crate::runner::Runner;
use crate::turn::Turn;
use serde::Serialize;
use std::hint::black_box;
use std::io::BufRead;
use std::time::Duration;

/// Version of the conversation.
const PROTOCOL: u32 = 1;

/// Shorter calls are timed several at once: clocks tick every some ten nanoseconds.
const LEAST_TIME: Duration = Duration::from_micros(20);

/// Turns of long calls take up to this many times as long.
const PATIENCE: u32 = 4;

/// What a worker is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// All benchmarks, by name.
    List,
    /// Turns of a benchmark.
    Turns(String),
    /// So many calls of a benchmark and nothing else, for a tool that counts instructions.
    Calls(String, usize),
    /// The limits of the machine.
    Limits,
}

/// A benchmark, as a list names it.
#[derive(Debug, Serialize)]
struct Offer {
    id: String,
    threads: usize,
    flops: Option<f64>,
}

/// Takes the cases of all groups, and serves the one that is wanted.
#[derive(Debug)]
pub(crate) struct Server {
    /// `None` for a list.
    wanted: Option<String>,
    /// `None` for turns.
    calls: Option<usize>,
    offers: Vec<Offer>,
    result: Result<(), String>,
    served: bool,
}

impl Request {
    /// What the arguments ask for; `None` if they do not begin with `serve`.
    ///
    /// # Errors
    /// A sentence on what is missing.
    pub(crate) fn from_arguments() -> Result<Option<Self>, String> {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        if words.next().as_deref() != Some("serve") {
            return Ok(None);
        }
        let words: Vec<String> = words.collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["list"] => Ok(Some(Self::List)),
            ["limits"] => Ok(Some(Self::Limits)),
            ["calls", id, calls] if calls.parse::<usize>().is_ok() => {
                Ok(Some(Self::Calls(id.to_owned(), calls.parse().unwrap_or_default())))
            }
            [id] if id.contains('/') => Ok(Some(Self::Turns(id.to_owned()))),
            _ => Err(
                "expected serve list, serve limits, serve ID or serve calls ID NUMBER, an id of that list"
                    .to_owned(),
            ),
        }
    }
}

impl Server {
    /// Waits for the cases: for the one that is wanted, or for all that are to be listed.
    pub(crate) fn new(wanted: Option<String>, calls: Option<usize>) -> Self {
        Self { wanted, calls, offers: Vec::new(), result: Ok(()), served: false }
    }

    /// The ids of all benchmarks, after they were listed.
    pub(crate) fn into_ids(self) -> Vec<String> {
        self.offers.into_iter().map(|offer| offer.id).collect()
    }

    /// Whether none of the cases of this name is wanted.
    pub(crate) fn skips(&self, group: &str, name: &str) -> bool {
        self.wanted.as_deref().is_some_and(|id| !is_of(id, group, name))
    }

    /// Serves the case if it is wanted.
    pub(crate) fn offer(
        &mut self,
        id: &str,
        case: &Case,
        runner: Option<&Runner>,
        mut call: impl FnMut() + Send,
    ) {
        let Some(wanted) = &self.wanted else {
            let flops = if let Work::Products { flops, .. } = case.work { Some(flops) } else { None };
            self.offers.push(Offer { id: id.to_owned(), threads: case.threads, flops });
            return;
        };
        if wanted == id {
            self.served = true;
            let calls = self.calls;
            let serve = || match calls {
                Some(calls) => {
                    (0..calls).for_each(|_| call());
                    Ok(())
                }
                None => serve(call),
            };
            self.result = match runner {
                Some(runner) => runner.install(serve),
                None => serve(),
            };
        }
    }

    /// Ends the list.
    ///
    /// # Errors
    /// A sentence on what was wrong with the request.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.wanted {
            None => say(&self.offers),
            Some(id) if !self.served => Err(format!("there is no benchmark {id}")),
            Some(_) => self.result,
        }
    }
}

/// Whether an id is that of a case of this group and name.
pub(crate) fn is_of(id: &str, group: &str, name: &str) -> bool {
    id.split('/').take(2).eq([group, name])
}

/// Measures the limits and says them.
///
/// # Errors
/// A sentence on why an answer could not be given.
pub(crate) fn limits() -> Result<(), String> {
    let mut limits = Limits::new();
    limits.measure_all();
    limits.measure_meetings();
    say(&report::machine(&limits))
}

/// Takes the turns that standard input asks for, until it is closed: `run MILLISECONDS`, or `cold MILLISECONDS`, which
/// empties the caches before each call.
fn serve(mut call: impl FnMut()) -> Result<(), String> {
    println!("{{\"protocol\": {PROTOCOL}}}");
    let mut other_data = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let (word, milliseconds) = line.split_once(' ').unwrap_or((&line, ""));
        let milliseconds =
            milliseconds.parse().map_err(|_| format!("expected WORD MILLISECONDS, found {line:?}"))?;
        let duration = Duration::from_millis(milliseconds);
        let turn = match word {
            "run" => Turn::take(&mut call, || (), [duration, PATIENCE * duration, LEAST_TIME]),
            "cold" => {
                if other_data.is_empty() {
                    other_data =
                        vec![1.0f32; caches::larger_than_all(available_threads()) / size_of::<f32>()];
                }
                Turn::take(
                    &mut call,
                    || empty_caches(&mut other_data),
                    [duration, PATIENCE * duration, Duration::ZERO],
                )
            }
            _ => return Err(format!("expected run or cold, found {word:?}")),
        };
        println!("{}", turn.to_json());
    }
    Ok(())
}

/// Fills all caches with other data.
fn empty_caches(other_data: &mut [f32]) {
    // A line at a time: each is written, so that it belongs to this core alone.
    for line in black_box(other_data).chunks_mut(16) {
        line[0] += 1.0;
    }
}

fn say(answer: &impl Serialize) -> Result<(), String> {
    println!("{}", serde_json::to_string(answer).map_err(|error| error.to_string())?);
    Ok(())
}
