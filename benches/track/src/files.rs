//! Files that are written whole or not at all.

use crate::error::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Replaces a file, or makes it with the folders that it needs: readers see the old text or the new one, also if the
/// disk is full or the machine stops. What is no file, such as `/dev/stdout`, is written to.
pub fn write(path: &Path, text: &str) -> Result<()> {
    // What a link leads to is replaced, not the link.
    let target = path.canonicalize();
    let path = target.as_deref().unwrap_or(path);
    if path.exists() && !path.is_file() && !path.is_dir() {
        return fs::write(path, text).context(format!("cannot write {}", path.display()));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let new = folder.join(format!(".{}.new", std::process::id()));
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&new))).context(format!("cannot write {}", path.display()))
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(format!("cannot read {}", path.display()))
}

/// Whether two files have the same bytes.
pub fn same(a: &Path, b: &Path) -> bool {
    matches!((fs::read(a), fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

/// Files of this extension in a folder, in order of their names; none if there is no such folder.
pub fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).context(format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/record.json");
        write(&path, "one").expect("it is written");
        write(&path, "two").expect("it is replaced");
        assert_eq!(read(&path).expect("it is there"), "two");
        assert_eq!(fs::read_dir(path.parent().expect("new")).expect("it is there").count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        // A folder of that name cannot be replaced by a file.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record.json");
        fs::create_dir_all(path.join("inside")).expect("a folder");
        let message = format!("{:?}", write(&path, "text").expect_err("it is a folder"));
        assert!(message.contains("record.json"), "{message}");
        assert!(path.join("inside").is_dir());
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn a_link_stays_one_and_a_device_is_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        write(&file, "one").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write(&link, "two").expect("it is replaced");
        assert!(link.is_symlink() && read(&file).expect("it is there") == "two");
        let full = Path::new("/dev/full");
        let message = format!("{:?}", write(full, "text").expect_err("it is full"));
        assert!(message.contains("/dev/full") && !full.is_file(), "{message}");
    }
}
