//! What the machine is called and what it has.

use quadgate::Isa;
use quadgate_kernels::Kernels;
use serde::Serialize;

/// The name of the CPU, or at least of its architecture.
pub(crate) fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Threads that this process may run at once.
pub(crate) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// The instruction sets that this CPU can run.
pub(crate) fn available_isas() -> Vec<Isa> {
    Isa::ALL.iter().copied().filter(|&isa| Kernels::new(isa).is_some()).collect()
}

/// The names of the vector extensions that the CPU has, of those that matter here.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Features(Vec<&'static str>);

macro_rules! detect {
    ($detected:ident: $($name:tt),*) => {
        [$(($name, std::arch::$detected!($name))),*]
    };
}

impl Features {
    /// Asks the CPU.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        let features = detect!(
            is_x86_feature_detected: "sse2", "sse4.1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512cd",
            "avx512dq", "avx512vl", "avx512vnni", "avx512bf16"
        );
        #[cfg(target_arch = "aarch64")]
        let features = detect!(is_aarch64_feature_detected: "neon", "fp16", "dotprod", "bf16", "sve", "sve2");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let features: [(&str, bool); 0] = [];
        Self(features.into_iter().filter_map(|(name, present)| present.then_some(name)).collect())
    }
}
