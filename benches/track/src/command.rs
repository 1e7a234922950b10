//! Other programs, run to their end.

use crate::error::{Context, Result, error};
use crate::interrupt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
    let output = command.stdin(Stdio::null()).output().context(format!("cannot run {name}"))?;
    interrupt::check()?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(error(format!("{name} {}: {}", words.join(" "), said.trim())));
    }
    Ok(output)
}

/// What `git` prints in a folder.
pub fn git(folder: &Path, words: &[&str]) -> Result<String> {
    output(Command::new("git").arg("-C").arg(folder).args(words))
}
