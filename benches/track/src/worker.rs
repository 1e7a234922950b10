//! A worker: a process that serves turns of one benchmark and is stopped whenever it is not its turn.
//!
//! As in `benches/peers`: words in, a line of JSON out.

use crate::command::{self, LOOK};
use crate::error::{Context, Result, error};
use crate::interrupt;
use crate::suite::Suite;
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Version of the conversation that both sides must speak.
const PROTOCOL: u32 = 1;

/// How long a worker may take to prepare a benchmark, and to answer beyond the length of a turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is timed in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// Calls follow each other.
    Warm,
    /// Caches are emptied before each call.
    Cold,
}

/// What a turn found, in nanoseconds of one call.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Turn {
    /// A quarter of the times is below. What counts: a busy machine disturbs more than half of the calls at times, and
    /// the least time has more luck in it.
    pub quartile_ns: f64,
    /// Calls, with those to get warm; older suites do not say it.
    #[serde(default)]
    pub all_calls: Option<u64>,
}

/// A worker that waits for its turn.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
    errors: Option<ChildStderr>,
    name: String,
}

#[derive(Deserialize)]
struct Ready {
    protocol: u32,
}

impl Worker {
    /// Starts a suite on some cores, has it prepare a benchmark, and stops it.
    pub fn start(suite: &Suite, id: &str, threads: usize, cores: &[usize]) -> Result<Self> {
        let mut command = Command::new(&suite.program);
        command.args(["serve", id]).env("QUADGATE_THREADS", threads.to_string());
        Self::spawn(command, cores, format!("{id} of {}", suite.name))
    }

    fn spawn(mut command: Command, cores: &[usize], name: String) -> Result<Self> {
        // A group of its own, which Ctrl-C does not reach and signals do as a whole. Not a session of its own: a
        // stopped group whose parent dies is ended by the kernel.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = pinned(cores, || command.spawn().context(format!("cannot start {name}")))??;
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take().expect("it is piped");
        let errors = child.stderr.take();
        let mut worker = Self { child, input, lines, errors, name };
        let ready: Ready = worker.answer(PATIENCE)?;
        if ready.protocol != PROTOCOL {
            let found = ready.protocol;
            return Err(error(format!("{} speaks version {found}, this tool {PROTOCOL}", worker.name)));
        }
        worker.signal(Signal::STOP);
        worker.spread(cores)?;
        Ok(worker)
    }

    /// Wakes the worker for a turn, and stops it again.
    pub fn turn(&mut self, caches: Caches, length: Duration) -> Result<Turn> {
        interrupt::check()?;
        let word = if caches == Caches::Cold { "cold" } else { "run" };
        self.signal(Signal::CONT);
        // If it has ended, there will be no answer, and that says why.
        let _ = writeln!(self.input, "{word} {}", length.as_millis());
        let turn = self.answer(PATIENCE + length)?;
        self.signal(Signal::STOP);
        Ok(turn)
    }

    /// Gives each thread a core of its own: on a busy machine the kernel may have two of them share one for long.
    fn spread(&self, cores: &[usize]) -> Result<()> {
        for (thread, &core) in command::threads(self.process())?.into_iter().zip(cores.iter().cycle()) {
            let mut set = CpuSet::new();
            set.set(core);
            sched_setaffinity(Pid::from_raw(thread), &set).context(format!("cannot use the core {core}"))?;
        }
        Ok(())
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn answer<V: DeserializeOwned>(&mut self, patience: Duration) -> Result<V> {
        let begin = Instant::now();
        let line = loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => break line.context(&self.name)?,
                Err(RecvTimeoutError::Timeout) if begin.elapsed() > patience => {
                    return Err(error(format!("{}: no answer within {} s", self.name, patience.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            }
        };
        serde_json::from_str(&line).context(format!("{}: cannot read the answer {line:?}", self.name))
    }

    fn ended(&mut self) -> crate::error::Error {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut said = String::new();
        if let Some(mut errors) = self.errors.take() {
            let _ = errors.read_to_string(&mut said);
        }
        error(format!("{} ended ({status}): {}", self.name, said.trim().lines().last().unwrap_or("silently")))
    }

    /// To all its threads.
    fn signal(&self, signal: Signal) {
        command::signal(self.child.id(), signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The cores that this process may use.
pub fn usable_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("cannot ask for the usable cores")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Runs something that starts a process while this thread is bound to some cores, which the process inherits.
fn pinned<T>(cores: &[usize], start: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None).context("cannot ask for the usable cores")?;
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    sched_setaffinity(None, &set).context(format!("cannot use the cores {cores:?}"))?;
    let result = start();
    sched_setaffinity(None, &before).context("cannot go back to all cores")?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripted(script: &str) -> Result<Worker> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Worker::spawn(command, &usable_cores()?[..1], "script".to_owned())
    }

    const GREETING: &str = "echo '{\"protocol\": 1}'";
    const TURN: &str = "echo '{\"calls\": 1, \"quartile_ns\": 5.5}'";

    #[test]
    fn a_worker_is_stopped_when_it_is_not_its_turn() {
        let mut worker =
            scripted(&format!("{GREETING}; while read -r line; do {TURN}; done")).expect("it starts");
        let state = |worker: &Worker| {
            let stat =
                std::fs::read_to_string(format!("/proc/{}/stat", worker.child.id())).expect("it lives");
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("it has a state")
        };
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(state(&worker), 'T');
            let turn = worker.turn(Caches::Warm, Duration::from_millis(1)).expect("it answers");
            assert_eq!(turn.quartile_ns, 5.5);
        }
    }

    #[test]
    fn a_worker_runs_on_its_cores_alone() {
        let core = usable_cores().expect("some")[0];
        let found = format!("grep -q 'Cpus_allowed_list:[[:space:]]*{core}$' /proc/self/status");
        scripted(&format!("{found} && {GREETING}; read -r line")).expect("it is bound to that core");
        // This thread is not.
        assert!(usable_cores().expect("some").contains(&core));
    }

    #[test]
    fn a_worker_that_ends_says_why() {
        for (script, said) in [
            ("echo error: no such thing >&2; exit 2", "no such thing"),
            ("true", "silently"),
            ("echo '{\"protocol\": 99}'", "version 99"),
            ("echo hello", "cannot read the answer \"hello\""),
        ] {
            let message = match scripted(script).expect_err("it is no worker") {
                crate::error::Error::Message(message) => message,
                interrupted => panic!("{interrupted:?}"),
            };
            assert!(message.contains("script") && message.contains(said), "{message}");
        }
        let mut worker = scripted(&format!("{GREETING}; read -r line; echo broken >&2")).expect("it starts");
        let message = format!("{:?}", worker.turn(Caches::Warm, Duration::ZERO).expect_err("it ends"));
        assert!(message.contains("broken"), "{message}");
    }

    #[test]
    fn a_dropped_worker_has_ended() {
        let worker = scripted(&format!("{GREETING}; sleep 1000")).expect("it starts");
        let id = worker.child.id();
        drop(worker);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
