//! Blocks that pass through stages, several stages at work at the same time.
//!
//! ```text
//! block 0   stage 0, stage 1, stage 2, …
//! block 1            stage 0, stage 1, …
//! ```
//!
//! A stage does the blocks in their order, and each after the stage before has done it. What a stage yields of a block,
//! the next one reads.
//!
//! ```text
//! each member, until every block of every stage is taken:
//!     take a block that a stage can do, and do it
//! ```
//!
//! 1. A member that finds nothing to take waits, but only while somebody is at work: of the blocks that nobody has
//!    taken, the next one of the earliest stage lacks nothing but what was taken. In a pool that has no thread to
//!    spare, one member does it all. While it is at work it must not wait for other members: the work may not call the
//!    pool.
//! 2. Each looks at its own stages first, so that their weights stay in the cache of one core.
//! 3. Who has a [`Visit`] is the only one at its stage, and what it reads is done. So it can hand out both, safely.

use super::progress::{Patience, Progress};
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The order of the blocks in the buffers between stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOrder {
    /// Block 0 comes first.
    Ascending,
    /// Block 0 comes last.
    Descending,
}

/// Some threads that lead blocks through stages.
///
/// `MOST` is the most stages that there can be.
#[derive(Debug)]
pub struct Wavefront<'a, S, const MOST: usize> {
    /// Of each stage; steps are blocks.
    progress: &'a [Progress],
    blocks: usize,
    order: BlockOrder,
    stages: *mut S,
    buffers: [Buffer; MOST],
    /// Exclusive access to the stages and to the buffers.
    _stages: PhantomData<(&'a mut [S], &'a mut [f32])>,
}

/// A slice that stages share, block by block.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    base: *mut f32,
    len: usize,
    /// Elements of a block.
    block_len: usize,
}

// SAFETY: members reach stages and buffers through visits alone. There is at most one visit to a stage at any time: it
// is made by an atomic exchange of the number of blocks that were taken, when all of those were seen to be done. `done`
// is stored with release when a visit has ended and looked at with acquire, so all that those visits did happened
// before. The block that it writes is that of its own number, which no other visit writes, and which one of the next
// stage reads after this one was seen to be done. The work cannot keep a visit, nor exchange it for that of another
// call: the lifetime of each is its own. Stages move between threads, hence `Send`.
unsafe impl<S: Send, const MOST: usize> Sync for Wavefront<'_, S, MOST> {}

/// The right to one block of one stage. The block is done when this is dropped.
#[derive(Debug)]
pub struct Visit<'w, 'a, S, const MOST: usize> {
    wavefront: &'w Wavefront<'a, S, MOST>,
    stage: usize,
    block: usize,
}

/// What a visit may use.
#[derive(Debug)]
pub struct VisitParts<'a, S> {
    /// The stage.
    pub stage: &'a mut S,
    /// What the stage before has yielded of the block; `None` at the first stage.
    pub before: Option<&'a [f32]>,
    /// What this stage is to yield of it.
    pub after: &'a mut [f32],
}

impl<'a, S, const MOST: usize> Wavefront<'a, S, MOST> {
    /// Leads `blocks` blocks through `stages`. Buffer s of `buffers` holds what stage s yields for the next one: as
    /// many elements of each block as stands beside it, fewer of the one that comes last in it if the buffer is
    /// shorter.
    ///
    /// There are as many stages as `progress` has counters for, as are given, and as have buffers.
    #[inline]
    pub fn new(
        progress: &'a mut [Progress],
        stages: &'a mut [S],
        blocks: usize,
        order: BlockOrder,
        buffers: [(&'a mut [f32], usize); MOST],
    ) -> Self {
        let count = progress.len().min(stages.len()).min(MOST);
        let progress = &mut progress[..count];
        progress.fill_with(Progress::default);
        let buffers = buffers.map(|(buffer, block_len)| {
            let (base, len) = (buffer.as_mut_ptr(), buffer.len());
            Buffer { base, len, block_len }
        });
        let stages = stages.as_mut_ptr();
        Self { progress, blocks, order, stages, buffers, _stages: PhantomData }
    }

    /// Takes part as `member` of `members`. Returns when every block of every stage was taken by somebody.
    #[inline]
    pub fn join(&self, member: usize, members: usize, mut work: impl FnMut(&mut Visit<'_, 'a, S, MOST>)) {
        let stages = self.progress.len();
        // Its own stages end here; later ones come first, which hands blocks on soonest.
        let members = members.min(MOST).max(1);
        let end = member.saturating_add(1).min(members) * stages / members;
        let mut patience = Patience::new();
        loop {
            let mut is_all_taken = true;
            let taken = (0..stages).map(|number| (end + stages - 1 - number) % stages).find_map(|stage| {
                let block = self.progress[stage].taken.load(Ordering::Relaxed);
                is_all_taken &= block >= self.blocks;
                self.take(stage, block)
            });
            match taken {
                // The visit ends even if the work panics: then others go on, and the panic reaches the caller.
                Some(mut visit) => {
                    work(&mut visit);
                    patience = Patience::new();
                }
                None if is_all_taken => return,
                None => patience.wait(),
            }
        }
    }

    /// Takes a block, if it is the next one of its stage, and all that it needs is done.
    #[inline]
    fn take(&self, stage: usize, block: usize) -> Option<Visit<'_, 'a, S, MOST>> {
        let Progress { taken, done } = &self.progress[stage];
        let is_ready = block < self.blocks
            && done.load(Ordering::Acquire) == block
            && (stage == 0 || self.progress[stage - 1].done.load(Ordering::Acquire) > block)
            && taken.compare_exchange(block, block + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ready.then(|| Visit { wavefront: self, stage, block })
    }
}

impl<S, const MOST: usize> Drop for Visit<'_, '_, S, MOST> {
    #[inline]
    fn drop(&mut self) {
        self.wavefront.progress[self.stage].done.store(self.block + 1, Ordering::Release);
    }
}

impl<S, const MOST: usize> Visit<'_, '_, S, MOST> {
    /// The number of the stage, from 0.
    #[inline]
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// The number of the block, from 0.
    #[inline]
    pub fn block(&self) -> usize {
        self.block
    }

    /// Where the block comes in the order of the buffers, from 0.
    #[inline]
    pub fn place(&self) -> usize {
        match self.wavefront.order {
            BlockOrder::Ascending => self.block,
            BlockOrder::Descending => self.wavefront.blocks - 1 - self.block,
        }
    }

    /// The elements of the block in a buffer.
    fn range(&self, buffer: &Buffer) -> Range<usize> {
        let at = |place: usize| place.saturating_mul(buffer.block_len).min(buffer.len);
        at(self.place())..at(self.place() + 1)
    }

    /// The stage, and what it reads and writes.
    #[inline]
    pub fn parts(&mut self) -> VisitParts<'_, S> {
        let wavefront = self.wavefront;
        let block = |buffer: usize| {
            let buffer = &wavefront.buffers[buffer];
            let range = self.range(buffer);
            debug_assert!(range.start <= range.end && range.end <= buffer.len);
            // SAFETY: the range was cut to the buffer, so its start is inside or at the end.
            (unsafe { buffer.base.add(range.start) }, range.len())
        };
        let before = self.stage.checked_sub(1).map(|buffer| {
            let (base, len) = block(buffer);
            // SAFETY: the block lies in the buffer, which is borrowed for the wavefront. The stage before has done it
            // and will not come back to it; the order of `done` makes what it wrote visible.
            unsafe { core::slice::from_raw_parts(base, len) }
        });
        let (base, len) = block(self.stage);
        // SAFETY: as above. This visit is the only one that has the block of this buffer until it is done, and it is
        // borrowed exclusively meanwhile; blocks of a buffer do not overlap.
        let after = unsafe { core::slice::from_raw_parts_mut(base, len) };
        debug_assert!(self.stage < wavefront.progress.len());
        // SAFETY: there are at least as many stages as counters, and this visit is the only one at its stage until it
        // is done; it is borrowed exclusively meanwhile.
        let stage = unsafe { &mut *wavefront.stages.add(self.stage) };
        VisitParts { stage, before, after }
    }
}
