//! Events that the kernel counts while a worker has its turns: what a difference of times comes from.

use crate::command;
use crate::error::{Context, Result};
use clap::ValueEnum;
use perf_event::events::{Hardware, Software};
use perf_event::{Builder, Counter};
use serde::{Deserialize, Serialize};

/// What can be counted, in user space alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Ticks of the cores' clocks
    Cycles,
    /// Instructions that were finished
    Instructions,
    /// Misses of the last cache
    CacheMisses,
    /// Branches that were predicted wrongly
    BranchMisses,
    /// Nanoseconds on a core; needs no hardware
    TaskClock,
    /// Pages that had to be found; needs no hardware
    PageFaults,
}

/// Events of a call of either side, the median of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// What was counted.
    pub event: Event,
    /// On the old side.
    pub old: f64,
    /// On the new side.
    pub new: f64,
}

/// Counters of some events for each thread of a process.
#[derive(Debug)]
pub struct Counters(Vec<Vec<Counter>>);

impl Event {
    /// As the command line has it.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }

    /// A counter for one thread, which counts from now on.
    fn counter(self, thread: i32) -> std::io::Result<Counter> {
        let mut builder = match self {
            Self::Cycles => Builder::new(Hardware::CPU_CYCLES),
            Self::Instructions => Builder::new(Hardware::INSTRUCTIONS),
            Self::CacheMisses => Builder::new(Hardware::CACHE_MISSES),
            Self::BranchMisses => Builder::new(Hardware::BRANCH_MISSES),
            Self::TaskClock => Builder::new(Software::TASK_CLOCK),
            Self::PageFaults => Builder::new(Software::PAGE_FAULTS),
        };
        builder.observe_pid(thread).enabled(true).build()
    }
}

/// Those events that the kernel counts here, and a sentence for each of the others.
pub fn available(wanted: &[Event]) -> (Vec<Event>, Vec<String>) {
    let (mut available, mut missing) = (Vec::new(), Vec::new());
    for &event in wanted {
        match event.counter(0) {
            Ok(_) => available.push(event),
            Err(reason) => missing
                .push(format!("{} are not counted: the kernel gives none here ({reason})", event.name())),
        }
    }
    (available, missing)
}

impl Counters {
    /// Counts what the threads do that the process has now.
    pub fn start(process: u32, events: &[Event]) -> Result<Self> {
        let threads = command::threads(process)?;
        let of_threads = |event: &Event| {
            let counters = threads.iter().map(|&thread| event.counter(thread));
            counters.collect::<std::io::Result<_>>().context(format!("cannot count {}", event.name()))
        };
        Ok(Self(events.iter().map(of_threads).collect::<Result<_>>()?))
    }

    /// How many of each event there have been, in all threads.
    pub fn totals(&mut self) -> Result<Vec<f64>> {
        let total = |counters: &mut Vec<Counter>| {
            counters.iter_mut().map(total).sum::<std::io::Result<f64>>().context("cannot read a counter")
        };
        self.0.iter_mut().map(total).collect()
    }
}

/// What a counter says, for all of its time where it had to share the hardware with others.
fn total(counter: &mut Counter) -> std::io::Result<f64> {
    let found = counter.read_count_and_time()?;
    let share = found.time_running as f64 / found.time_enabled as f64;
    Ok(if found.count == 0 { 0.0 } else { found.count as f64 / share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn the_time_of_a_process_is_counted_while_it_works_and_not_while_it_waits() {
        let mut child = Command::new("sh")
            .args([
                "-c",
                "read -r line; i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; echo; read -r line",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        std::thread::sleep(Duration::from_millis(50));
        let mut counters = Counters::start(child.id(), &[Event::TaskClock]).expect("it needs no hardware");
        let clock = |counters: &mut Counters| counters.totals().expect("it can be read")[0];
        let waiting = clock(&mut counters);
        let start = std::time::Instant::now();
        writeln!(child.stdin.as_mut().expect("it is piped"), "go").expect("it lives");
        let output = child.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(output, &mut [0]).expect("it answers");
        let (working, elapsed) = (clock(&mut counters), start.elapsed().as_nanos() as f64);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        // A hundred thousand turns of a shell take milliseconds.
        assert!(waiting < 1e6 && working - waiting > 2e6, "{waiting} and {working}");
        assert!(working - waiting <= elapsed, "{working} of {elapsed}");
    }

    #[test]
    fn an_event_is_either_counted_or_named() {
        let all = Event::value_variants();
        let (available, missing) = available(all);
        assert_eq!(available.len() + missing.len(), all.len());
        assert!(
            available.contains(&Event::TaskClock) && available.contains(&Event::PageFaults),
            "{missing:?}"
        );
        for event in all.iter().filter(|event| !available.contains(event)) {
            assert!(missing.iter().any(|line| line.starts_with(&event.name())), "{missing:?}");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_no_panic() {
        let mut child = Command::new("true").spawn().expect("it is there");
        child.wait().expect("it ends");
        let message =
            format!("{:?}", Counters::start(child.id(), &[Event::TaskClock]).expect_err("it is gone"));
        assert!(message.contains("threads of a worker"), "{message}");
    }
}
