//! Other programs, run to their end.

use crate::error::{Context, Result, error};
use crate::interrupt;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a wait looks for Ctrl-C.
pub const LOOK: Duration = Duration::from_millis(100);

/// What the program printed, without the last line break.
pub fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).trim_end().to_owned())
}

/// What the program printed to standard error.
pub fn errors(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?.stderr).into_owned())
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = attended(command, Child::wait_with_output)?.context(&name)?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(error(format!("{name} {}: {}", words.join(" "), said.trim())));
    }
    Ok(output)
}

/// Starts a program without input and has `work` wait for it. With Ctrl-C or SIGTERM the program ends, and all that it
/// has started.
pub fn attended<T>(command: &mut Command, work: impl FnOnce(Child) -> T) -> Result<T> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child =
        command.stdin(Stdio::null()).process_group(0).spawn().context(format!("cannot run {name}"))?;
    let (group, ended) = (child.id(), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                if interrupt::check().is_err() {
                    return signal(group, Signal::TERM);
                }
                std::thread::park_timeout(LOOK);
            }
        });
        let result = work(child);
        ended.store(true, Ordering::Release);
        watch.thread().unpark();
        result
    });
    interrupt::check()?;
    Ok(result)
}

/// To all processes of a group and all their threads.
pub fn signal(group: u32, signal: Signal) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // They may have ended.
        let _ = kill_process_group(group, signal);
    }
}

/// The threads that a process has now, the oldest first.
pub fn threads(process: u32) -> Result<Vec<i32>> {
    let entries =
        fs::read_dir(format!("/proc/{process}/task")).context("cannot list the threads of a worker")?;
    let mut threads: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    threads.sort_unstable();
    Ok(threads)
}

/// What `git` prints in a folder.
pub fn git(folder: &Path, words: &[&str]) -> Result<String> {
    output(Command::new("git").arg("-C").arg(folder).args(words))
}
