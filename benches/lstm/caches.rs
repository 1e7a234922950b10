//! The memory hierarchy: how much each level holds and how many threads share it.

use std::fs;
use std::path::Path;

const MIB: usize = 1 << 20;

/// A cache, or memory.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// `l1`, `l2`, `l3` or `memory`.
    pub(crate) name: &'static str,
    /// What one of its kind holds.
    pub(crate) bytes: usize,
    /// Threads that share one of its kind.
    sharers: usize,
    /// Bytes that the sharers read together to measure it, and between what limits each of them.
    read: usize,
    smallest_read: usize,
    largest_read: usize,
}

impl Level {
    /// Whether it holds `bytes` for each of `threads` threads.
    pub(crate) fn holds(&self, bytes: f64, threads: usize) -> bool {
        bytes * threads.min(self.sharers) as f64 <= self.bytes as f64
    }

    /// Bytes that each of `threads` threads reads to measure the bandwidth: they fit into this level with room to
    /// spare, and not into the one before.
    pub(crate) fn read_size(&self, threads: usize) -> usize {
        (self.read / threads.min(self.sharers)).clamp(self.smallest_read, self.largest_read)
    }
}

/// Bytes that no cache holds.
pub(crate) fn larger_than_all(threads: usize) -> usize {
    levels(threads).last().map_or(0, |memory| memory.read)
}

/// The levels from the nearest to memory, as Linux describes them for the first CPU, else as they commonly are.
pub(crate) fn levels(threads: usize) -> Vec<Level> {
    let found: Vec<_> =
        (1..=3).filter_map(|level| cache(Path::new("/sys/devices/system/cpu/cpu0/cache"), level)).collect();
    let found = match found.is_empty() {
        true => vec![(1, 32 << 10, 1), (2, 512 << 10, 1), (3, 8 * MIB, threads)],
        false => found,
    };
    let mut levels: Vec<Level> = Vec::new();
    for (level, bytes, sharers) in found {
        let previous = levels.last().map_or(0, |last| last.bytes);
        // Large caches slow down when more than a part of them is used.
        let largest_read = if level == 3 { (bytes / 4).min(8 * MIB).max(2 * previous) } else { bytes };
        levels.push(Level {
            name: ["l1", "l2", "l3"][level - 1],
            bytes,
            sharers,
            read: bytes / 2,
            smallest_read: (2 * previous).min(largest_read),
            largest_read,
        });
    }
    let last = levels.last().map_or(0, |last| last.bytes);
    let total = (4 * last).clamp(64 * MIB, 256 * MIB);
    levels.push(Level {
        name: "memory",
        bytes: usize::MAX,
        sharers: threads,
        read: total,
        smallest_read: 32 * MIB,
        largest_read: total,
    });
    levels
}

/// Level, size and sharers of the data cache of a level.
fn cache(directory: &Path, level: usize) -> Option<(usize, usize, usize)> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let text = |name| Some(fs::read_to_string(entry.path().join(name)).ok()?.trim().to_owned());
        let matches = text("level")? == level.to_string() && text("type")? != "Instruction";
        matches.then_some((level, parse_size(&text("size")?)?, parse_list(&text("shared_cpu_list")?)?))
    })
}

/// `32K`, `2M`
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(['K', 'M']);
    let unit = match &text[digits.len()..] {
        "K" => 1 << 10,
        "M" => MIB,
        _ => 1,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// How many CPUs are in `0-3,8`.
fn parse_list(text: &str) -> Option<usize> {
    let count = |range: &str| -> Option<usize> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    text.split(',').map(count).sum()
}
