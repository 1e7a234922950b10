//! The benchmark suite as a program: built from the working tree or from a revision.

use crate::command;
use crate::error::{Context, Error, Result, error};
use crate::interrupt;
use crate::repository::Repository;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the suite lies in a tree.
const FOLDER: &str = "benches/lstm";

/// A built suite.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The program.
    pub program: PathBuf,
    /// What it was built from.
    pub name: String,
}

/// A benchmark of a suite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Benchmark {
    /// `GROUP/CASE/ISA/THREADS`
    pub id: String,
    /// Threads that its calls use.
    pub threads: usize,
    /// Floating point operations of a call, where it has products.
    pub flops: Option<f64>,
}

impl Benchmark {
    /// Threads that its calls have at their disposal.
    pub fn requested_threads(&self) -> usize {
        self.id.rsplit('/').next().and_then(|threads| threads.parse().ok()).unwrap_or(self.threads)
    }
}

impl Suite {
    /// Builds the suite of the working tree.
    pub fn of_working_tree(repository: &Repository) -> Result<Self> {
        let name = "working tree".to_owned();
        let built = build(&repository.root, &repository.scratch().join("build/working-tree"), &name)?;
        let program = keep(&built, &repository.scratch().join("suites/working-tree"))?;
        Ok(Self { program, name })
    }

    /// Builds the suite of a revision, in a tree of its own. What measures is the suite of the working tree, so that
    /// both sides measure the same; where it does not fit the revision, that of the revision.
    pub fn of_revision(repository: &Repository, revision: &str) -> Result<Self> {
        let commit = repository.commit(revision)?;
        let name = if commit.starts_with(revision) {
            revision.to_owned()
        } else {
            format!("{revision} ({})", &commit[..10])
        };
        let key = format!("{:016x}", fingerprint(repository, &commit)?);
        let kept = repository.scratch().join("suites").join(&key);
        if kept.is_file() {
            return Ok(Self { program: kept, name });
        }
        let tree = repository.tree(&commit)?;
        let target = repository.scratch().join("build").join(&key);
        let own = fingerprint_of_suite(&tree.root)?;
        let ours = fingerprint_of_suite(&repository.root)?;
        let built = if own == ours {
            build(&tree.root, &target, &name)
        } else {
            let of_revision = tree.root.join("target/suite");
            move_folder(&tree.root.join(FOLDER), &of_revision)?;
            copy_folder(&repository.root.join(FOLDER), &tree.root.join(FOLDER))?;
            build(&tree.root, &target, &format!("{name} with the suite of the working tree")).or_else(
                |first| {
                    if first == Error::Interrupted {
                        return Err(first);
                    }
                    eprintln!(
                        "note: the suite of the working tree does not fit {name}; taking that of the revision"
                    );
                    fs::remove_dir_all(tree.root.join(FOLDER))
                        .context("cannot remove a copy of the suite")?;
                    move_folder(&of_revision, &tree.root.join(FOLDER))?;
                    build(&tree.root, &target, &name)
                },
            )
        };
        let program = built.and_then(|built| keep(&built, &kept));
        // Some hundred megabytes; the program is what counts.
        let _ = fs::remove_dir_all(&target);
        Ok(Self { program: program?, name })
    }

    /// The benchmarks that the suite has with these numbers of threads.
    pub fn benchmarks(&self, threads: &str) -> Result<Vec<Benchmark>> {
        self.list(Command::new(&self.program).env("QUADGATE_THREADS", threads))
    }

    /// The benchmarks that the suite has with one thread of an instruction set.
    pub fn benchmarks_of(&self, isa: &str) -> Result<Vec<Benchmark>> {
        self.list(Command::new(&self.program).env("QUADGATE_THREADS", "1").env("QUADGATE_ISA", isa))
    }

    fn list(&self, command: &mut Command) -> Result<Vec<Benchmark>> {
        let name = &self.name;
        let listed = command::output(command.args(["serve", "list"])).map_err(|reason| match reason {
            Error::Message(message) => error(format!(
                "the suite of {name} is older than this tool, or cannot list its benchmarks: {message}"
            )),
            interrupted => interrupted,
        })?;
        serde_json::from_str(&listed)
            .context(format!("cannot read the list of benchmarks of the suite of {name}"))
    }
}

/// Keeps the benchmarks that match any pattern, or all where there is none.
pub fn selected(benchmarks: Vec<Benchmark>, patterns: &[String]) -> Result<Vec<Benchmark>> {
    let known: Vec<String> = benchmarks.iter().map(|benchmark| benchmark.id.clone()).collect();
    let mut expressions = Vec::new();
    for pattern in patterns {
        let expression = Regex::new(pattern).context(format!("{pattern:?} is no regular expression"))?;
        if !known.iter().any(|id| expression.is_match(id)) {
            let some: Vec<&str> =
                known.iter().step_by(known.len().div_ceil(8).max(1)).map(String::as_str).collect();
            return Err(error(format!(
                "no benchmark matches {pattern:?}; there are, for example, {}",
                some.join(", ")
            )));
        }
        expressions.push(expression);
    }
    let matches =
        |benchmark: &Benchmark| expressions.iter().any(|expression| expression.is_match(&benchmark.id));
    Ok(benchmarks.into_iter().filter(|benchmark| patterns.is_empty() || matches(benchmark)).collect())
}

/// Has cargo build the suite of a tree. What goes into the program must not depend on where the tree lies.
fn build(tree: &Path, target: &Path, name: &str) -> Result<PathBuf> {
    interrupt::check()?;
    eprintln!("building the suite of {name}");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--profile",
            "bench",
            "--bench",
            "lstm",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(["--config", "profile.bench.debug=false", "--config", "profile.bench.strip=\"symbols\""])
        .arg("--target-dir")
        .arg(target)
        .current_dir(tree)
        .env_remove("CARGO_TARGET_DIR")
        .stdout(Stdio::piped());
    let said = command::attended(&mut command, Child::wait_with_output)?.context("cargo")?;
    let messages =
        said.stdout.split(|&byte| byte == b'\n').flat_map(serde_json::from_slice::<serde_json::Value>);
    let program = messages
        .filter(|message| message["target"]["name"] == "lstm")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    match program {
        Some(program) if said.status.success() => Ok(program),
        _ => Err(error(format!("the suite of {name} does not build"))),
    }
}

/// Copies a program to where the next build does not replace it.
fn keep(program: &Path, kept: &Path) -> Result<PathBuf> {
    let folder = kept.parent().expect("it is below another folder");
    let new = kept.with_extension("new");
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(program, &new))
        .and_then(|_| fs::rename(&new, kept))
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .context(format!("cannot keep {}", kept.display()))?;
    Ok(kept.to_path_buf())
}

/// What the suite of a revision depends on.
fn fingerprint(repository: &Repository, commit: &str) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let sources = ["src", "kernels", "Cargo.toml", "Cargo.lock", FOLDER];
    command::git(&repository.root, &[&["ls-tree", commit][..], &sources].concat())?.hash(&mut hasher);
    fingerprint_of_suite(&repository.root)?.hash(&mut hasher);
    command::output(Command::new("rustc").arg("--version"))?.hash(&mut hasher);
    std::env::var_os("RUSTFLAGS").hash(&mut hasher);
    Ok(hasher.finish())
}

fn fingerprint_of_suite(root: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for path in files_below(&root.join(FOLDER))? {
        path.strip_prefix(root).unwrap_or(&path).hash(&mut hasher);
        fs::read(&path).context(format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).context(format!("cannot read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for path in files_below(from)? {
        let copy = to.join(path.strip_prefix(from).expect("it is below"));
        fs::create_dir_all(copy.parent().expect("it is below"))
            .and_then(|()| fs::copy(&path, &copy))
            .context(format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}

fn move_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().expect("it is below another folder"))
        .and_then(|()| fs::rename(from, to))
        .context(format!("cannot move {}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn benchmark(id: &str) -> Benchmark {
        Benchmark { id: id.to_owned(), threads: 1, flops: None }
    }

    #[test]
    fn patterns_choose_and_an_unknown_one_is_named() {
        let all = ["forward/100x1x64x64/avx512/2", "step/1x1x8x8/avx512/1"].map(benchmark).to_vec();
        assert_eq!(selected(all.clone(), &[]), Ok(all.clone()));
        assert_eq!(selected(all.clone(), &["^step".to_owned()]), Ok(all[1..].to_vec()));
        assert_eq!(all[0].requested_threads(), 2);
        for (wrong, named) in [("gru", "no benchmark matches \"gru\""), ("(", "no regular expression")] {
            let message = format!("{:?}", selected(all.clone(), &["step".to_owned(), wrong.to_owned()]));
            assert!(message.replace('\\', "").contains(named), "{message}");
        }
    }

    #[test]
    fn a_suite_that_does_not_build_is_named_and_nothing_is_left() {
        let (_folder, repository) = crate::repository::tests::sample();
        let message =
            format!("{:?}", Suite::of_revision(&repository, "HEAD~1").expect_err("it is no package"));
        assert!(message.contains("the suite of HEAD~1") && message.contains("does not build"), "{message}");
        assert_eq!(files_below(&repository.scratch()), Ok(vec![]));
    }
}
