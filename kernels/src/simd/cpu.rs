//! What is known of a CPU beside its instruction sets.

/// Sizes of caches, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// That of a core, behind its first.
    pub second: usize,
    /// The largest, which cores may share.
    pub last: usize,
}

impl Caches {
    /// What is assumed of a CPU that does not say.
    pub const USUAL: Self = Self { second: 1 << 20, last: 32 << 20 };

    /// Those of this CPU.
    pub fn of_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        return x86_64::facts().1;
        #[cfg(not(target_arch = "x86_64"))]
        Self::USUAL
    }
}

/// Whether the CPU adds, compares, shifts and blends vectors of 512 bits on other units than those that multiply them,
/// so that an epilogue can hide beside a K loop.
///
/// Those of Intel have two units for all of it. On an Emerald Rapids, deferred epilogues cost 150 cycles a vector of
/// units, epilogues at once 75: 100,16,128,128 takes 11 % less time. AMD's have four.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_adders_beside_multipliers() -> bool {
    x86_64::facts().0
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Caches;
    use core::sync::atomic::{AtomicU64, Ordering};
    use raw_cpuid::{CacheType, CpuId, CpuIdReaderNative};

    /// Whether it has adders beside multipliers, and its caches.
    type Facts = (bool, Caches);

    /// Asked once: a virtual machine answers each question in microseconds. Whoever asks at the same time finds the
    /// same.
    pub(super) fn facts() -> Facts {
        // A bit that says that the rest is there, the first fact, and the caches in KiB.
        static FACTS: AtomicU64 = AtomicU64::new(0);
        const KNOWN: u64 = 1 << 63;
        const ADDERS: u64 = 1 << 62;
        let mut bits = FACTS.load(Ordering::Relaxed);
        if bits == 0 {
            let (has_adders, Caches { second, last }) = ask();
            let kib = |bytes: usize| (bytes >> 10) as u64 & 0x3fff_ffff;
            bits = KNOWN | if has_adders { ADDERS } else { 0 } | kib(second) << 30 | kib(last);
            FACTS.store(bits, Ordering::Relaxed);
        }
        let bytes = |kib: u64| (kib as usize & 0x3fff_ffff) << 10;
        (bits & ADDERS != 0, Caches { second: bytes(bits >> 30), last: bytes(bits) })
    }

    fn ask() -> Facts {
        let cpu = CpuId::new();
        let is_by_intel = cpu.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "GenuineIntel");
        (!is_by_intel, caches(&cpu).unwrap_or(Caches::USUAL))
    }

    fn caches(cpu: &CpuId<CpuIdReaderNative>) -> Option<Caches> {
        let mut sizes = [0usize; 4];
        for cache in cpu.get_cache_parameters()? {
            if cache.cache_type() != CacheType::Instruction {
                let lines = [cache.associativity(), cache.physical_line_partitions(), cache.sets()];
                let size =
                    lines.iter().try_fold(cache.coherency_line_size(), |size, &n| size.checked_mul(n))?;
                *sizes.get_mut(usize::from(cache.level()).checked_sub(1)?)? = size;
            }
        }
        let [_, second, rest @ ..] = sizes;
        let last = rest.into_iter().fold(second, usize::max);
        (second > 0).then_some(Caches { second, last })
    }
}
