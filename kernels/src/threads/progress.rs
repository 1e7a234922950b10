//! How far threads have come, and how they wait for each other.
//!
//! ```text
//! take step s    if taken = s, exchange it for s + 1: one thread alone succeeds
//! finish it      done ← s + 1 (release)
//! wait for it    until done > s (acquire): look at it for a while, then offer the core in between
//! ```
//!
//! Under `--cfg loom` the counters and the waiting are those of the model checker of the same name, which tries how
//! threads can interleave and what each can see of the others: `tests/loom.rs`.

use core::ops::Deref;

/// What a model of threads replaces.
#[cfg(not(loom))]
mod sync {
    pub(super) use core::hint::spin_loop;
    pub(super) use core::sync::atomic::AtomicUsize;

    /// Lets other threads of the machine run.
    pub(super) fn offer_core() {
        #[cfg(feature = "std")]
        std::thread::yield_now();
        #[cfg(not(feature = "std"))]
        spin_loop();
    }
}
#[cfg(loom)]
mod sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::AtomicUsize;

    /// Lets other threads of the model run, and follows a single one of the schedules that come after: what one can see
    /// after more looks in vain, it sees after fewer in another schedule.
    pub(super) fn offer_core() {
        loom::skip_branch();
        loom::thread::yield_now();
    }
}

/// Looks at a counter before a waiting member offers its core to other threads of the machine: a few microseconds. A
/// piece takes a fraction of one up to some ten.
const LOOKS: usize = if cfg!(loom) { 3 } else { 4096 };

/// How far a piece or a stage has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Steps that were taken by some member.
    pub(super) taken: Counter,
    /// Steps that are done.
    pub(super) done: Counter,
}

/// A counter on a cache line of its own (two, since they are fetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counter(sync::AtomicUsize);

impl Deref for Counter {
    type Target = sync::AtomicUsize;

    #[inline]
    fn deref(&self) -> &sync::AtomicUsize {
        &self.0
    }
}

impl Clone for Progress {
    /// A counter of its own, at zero.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// How often a waiting member has looked in vain.
pub(super) struct Patience {
    looks: usize,
}

impl Patience {
    #[inline]
    pub(super) fn new() -> Self {
        Self { looks: 0 }
    }

    /// Waits for a moment: on the core first, then without it.
    #[inline]
    pub(super) fn wait(&mut self) {
        self.looks += 1;
        if self.looks < LOOKS { sync::spin_loop() } else { sync::offer_core() }
    }
}
