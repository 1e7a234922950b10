//! What is known of a CPU beside its instruction sets.

use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU8, Ordering};

/// Whether the CPU adds, compares, shifts and blends vectors of 512 bits on other units than those that multiply them, so that an
/// epilogue can hide beside a K loop.
///
/// Those of Intel have two units for all of it. On an Emerald Rapids, deferred epilogues cost 150 cycles a vector of units,
/// epilogues at once 75: 100,16,128,128 takes 11 % less time. AMD's have four.
pub(crate) fn has_adders_beside_multipliers() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    // Asked once: a virtual machine answers it in microseconds. Whoever asks at the same time finds the same.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {
            let has = !is_by_intel();
            ANSWER.store(if has { YES } else { NO }, Ordering::Relaxed);
            has
        }
        answer => answer == YES,
    }
}

fn is_by_intel() -> bool {
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    // SAFETY: each x86-64 CPU has the instruction.
    let vendor = unsafe { __cpuid(0) };
    // "GenuineIntel"
    (vendor.ebx, vendor.edx, vendor.ecx) == (0x756e_6547, 0x4965_6e69, 0x6c65_746e)
}
