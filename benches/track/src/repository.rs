//! The checkout: its revisions, and other trees of them beside it.

use crate::command::git;
use crate::error::{Result, error};
use std::fs;
use std::path::{Path, PathBuf};

/// A checkout of quadgate.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its folder.
    pub root: PathBuf,
}

/// A worktree that goes away with the value.
#[derive(Debug)]
pub struct Tree {
    /// Its folder.
    pub root: PathBuf,
    repository: PathBuf,
}

impl Repository {
    /// The checkout that holds the current folder.
    pub fn here() -> Result<Self> {
        Self::at(Path::new("."))
    }

    /// The checkout that holds `folder`.
    pub fn at(folder: &Path) -> Result<Self> {
        let root = PathBuf::from(git(folder, &["rev-parse", "--show-toplevel"])?);
        if !root.join("benches/lstm/main.rs").is_file() {
            return Err(error(format!(
                "{} is no checkout of quadgate: it has no benches/lstm",
                root.display()
            )));
        }
        Ok(Self { root })
    }

    /// Where this tool keeps what can be made again.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("target/track")
    }

    /// The full name of a revision.
    pub fn commit(&self, revision: &str) -> Result<String> {
        let wanted = format!("{revision}^{{commit}}");
        git(&self.root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
            .map_err(|_| error(format!("{revision} is no revision of {}", self.root.display())))
    }

    /// Whether files differ from the last commit, or are new.
    pub fn is_clean(&self) -> Result<bool> {
        Ok(git(&self.root, &["status", "--porcelain"])?.is_empty())
    }

    /// A tree of a commit.
    pub fn tree(&self, commit: &str) -> Result<Tree> {
        let root = self.scratch().join("trees").join(&commit[..commit.len().min(12)]);
        let tree = Tree { root, repository: self.root.clone() };
        // What an ended run left behind.
        tree.remove();
        git(&self.root, &["worktree", "add", "--detach", "--quiet", &tree.root.to_string_lossy(), commit])?;
        Ok(tree)
    }
}

impl Tree {
    fn remove(&self) {
        // Without a check for Ctrl-C, of which this may be the consequence.
        let git = |words: &[&str]| {
            let _ = std::process::Command::new("git").arg("-C").arg(&self.repository).args(words).output();
        };
        git(&["worktree", "remove", "--force", &self.root.to_string_lossy()]);
        let _ = fs::remove_dir_all(&self.root);
        git(&["worktree", "prune"]);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A checkout with two commits that has the marks of one of quadgate.
    pub fn sample() -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let git = |words: &[&str]| git(path, words).expect("git works");
        git(&["init", "--quiet", "--initial-branch=main"]);
        git(&["config", "user.name", "someone"]);
        git(&["config", "user.email", "someone@example.org"]);
        fs::create_dir_all(path.join("benches/lstm")).expect("a folder");
        fs::write(path.join(".gitignore"), "/target\n").expect("a file");
        for text in ["one", "two"] {
            fs::write(path.join("benches/lstm/main.rs"), text).expect("a file");
            git(&["add", "."]);
            git(&["commit", "--quiet", "--message", text]);
        }
        let repository = Repository::at(path).expect("it is one");
        (folder, repository)
    }

    #[test]
    fn a_tree_has_the_files_of_its_commit_and_goes_away() {
        let (_folder, repository) = sample();
        let commit = repository.commit("HEAD~1").expect("there are two");
        let root = {
            let tree = repository.tree(&commit).expect("it can be made");
            assert_eq!(
                fs::read_to_string(tree.root.join("benches/lstm/main.rs")).expect("it is there"),
                "one"
            );
            tree.root.clone()
        };
        assert!(!root.exists());
        assert_eq!(git(&repository.root, &["worktree", "list"]).expect("git works").lines().count(), 1);
        // One that was left behind is no obstacle.
        std::mem::forget(repository.tree(&commit).expect("again"));
        drop(repository.tree(&commit).expect("and again"));
        assert!(repository.is_clean().expect("git works"));
    }

    #[test]
    fn what_is_no_revision_is_named() {
        let (_folder, repository) = sample();
        for wrong in ["nowhere", "--help", "HEAD~7", ""] {
            let message = format!("{:?}", repository.commit(wrong).expect_err("there is none"));
            assert!(message.contains(&format!("{wrong} is no revision")), "{message}");
        }
    }

    #[test]
    fn a_changed_or_new_file_makes_the_tree_dirty() {
        let (_folder, repository) = sample();
        assert!(repository.is_clean().expect("git works"));
        fs::write(repository.root.join("new"), "").expect("a file");
        assert!(!repository.is_clean().expect("git works"));
    }
}
