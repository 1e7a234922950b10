//! What the machine is and how it is set up.

use crate::command;
use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

/// What a record says of the machine. Words are empty where the system says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// A name for folders: CPU, family, model and threads.
    pub name: String,
    /// Of the CPU.
    pub cpu: String,
    /// Version of the microcode.
    pub microcode: String,
    /// Levels, kinds and sizes, such as `L1 Data 48K`.
    pub caches: Vec<String>,
    /// Release of the kernel.
    pub kernel: String,
    /// What chooses the clock.
    pub governor: String,
    /// Threads that this process may run at once.
    pub threads: usize,
    /// Processes that ran or waited, on average over the last minute.
    pub load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    pub fn this() -> Self {
        let text =
            |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let info = text("/proc/cpuinfo");
        let field = |name: &str| {
            let value = |line: &str| {
                let (found, value) = line.split_once(':')?;
                (found.trim() == name).then(|| value.trim().to_owned())
            };
            info.lines().find_map(value).unwrap_or_default()
        };
        let cpu = match field("model name") {
            name if name.is_empty() => std::env::consts::ARCH.to_owned(),
            name => name,
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let name = slug(&format!("{cpu} {} {} {threads}", field("cpu family"), field("model")));
        let cache = |index: usize| {
            let of = |what: &str| text(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}"));
            format!("L{} {} {}", of("level"), of("type"), of("size"))
        };
        let caches = (0..8).map(cache).filter(|cache| cache.len() > "L  ".len()).collect();
        Self {
            name,
            cpu,
            microcode: field("microcode"),
            caches,
            kernel: text("/proc/sys/kernel/osrelease"),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            threads,
            load: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }
}

/// The compiler's version.
pub fn rustc() -> String {
    command::output(Command::new("rustc").arg("--version")).unwrap_or_default()
}

/// Lower case, everything but letters and digits as single dashes.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_fit_for_a_folder() {
        assert_eq!(slug("Intel(R) Xeon(R) @ 2.1 GHz  6 207 2"), "intel-r-xeon-r-2-1-ghz-6-207-2");
        let machine = Machine::this();
        assert!(
            machine.threads > 0 && !machine.name.is_empty() && !machine.name.contains('/'),
            "{machine:?}"
        );
    }
}
