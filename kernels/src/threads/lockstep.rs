//! Steps that several threads take together.
//!
//! What must be done step by step is cut, within each step, into pieces: blocks of columns, such as hidden units. A
//! piece may read all that the steps before it wrote, and writes its own columns.
//!
//! ```text
//! each member, for each step:
//!     take the piece that is its own, unless somebody else has
//!     wait until every piece is done; take those that nobody takes
//! ```
//!
//! 1. A member waits for pieces that another one has taken, and so is at work on: never for a member that has not come.
//!    In a pool that has no thread to spare, those who are there do it all.
//! 2. Each takes its own piece, so that the weights of a piece stay in the cache of one core, and leaves those of
//!    others alone for a while: looking whether a piece is taken calls its counter's cache line from one core to the
//!    other, which a step of a few hundred nanoseconds feels. Whoever was late once is not waited for again.
//! 3. A step may be in two halves, the second of which reads what the first made of all columns. Then members meet
//!    twice a step: there is a turn for each half.
//! 4. Who has a [`Turn`] is the only one at its piece, and all before it is done. So a turn can hand out what to read
//!    and what to write, safely.

use super::progress::{Counter, Patience, Progress};
use crate::views::{Rows, RowsMut, SequenceMut};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Looks at a piece of another member before taking it from them: about half a microsecond.
const LENIENCE: usize = if cfg!(loom) { 1 } else { 32 };

/// The order in which steps go through the slots of a sequence.
#[derive(Clone, Copy, Debug)]
pub enum Slots {
    /// Step s writes slot (first + s) modulo the number of slots.
    Up {
        /// Slot of step 0.
        first: usize,
    },
    /// Step s writes slot first − s.
    Down {
        /// Slot of step 0.
        first: usize,
    },
    /// Turn t writes slot t modulo the number of slots. So the second half of a step reads what the first one wrote.
    EachTurn,
}

/// A sequence that the team writes: slot after slot, the columns of each piece by whoever has its turn.
#[derive(Debug)]
pub struct Shared<'a> {
    sequence: SequenceMut<'a>,
    /// Columns in a block.
    block: usize,
    slots: Slots,
}

impl<'a> Shared<'a> {
    /// Shares `sequence`, whose rows have `block` columns to a block (the last block may have fewer).
    #[inline]
    pub fn new(sequence: SequenceMut<'a>, block: usize, slots: Slots) -> Self {
        Self { sequence, block, slots }
    }

    /// Slot that a turn of `step` writes, and the one that the step before it wrote (or the turn, where each turn
    /// writes another slot).
    #[inline]
    fn slots_of(&self, step: usize, turn: usize) -> [Option<usize>; 2] {
        let slots = self.sequence.slots();
        let (now, before) = match self.slots {
            Slots::EachTurn => {
                let before = turn.checked_sub(1);
                (wrap(turn, slots), before.and_then(|before| wrap(before, slots)))
            }
            Slots::Up { first } => {
                let now = first.checked_add(step);
                let before = now.and_then(|now| now.checked_sub(1));
                (now.and_then(|now| wrap(now, slots)), before.and_then(|before| wrap(before, slots)))
            }
            Slots::Down { first } => {
                let now = first.checked_sub(step);
                (now, now.and_then(|now| now.checked_add(1)).filter(|&before| before < slots))
            }
        };
        [now, if now == before { None } else { before }]
    }

    /// The columns of some blocks.
    #[inline]
    fn columns(&self, blocks: &Range<usize>) -> Range<usize> {
        let width = self.sequence.width();
        let at = |block: usize| block.saturating_mul(self.block).min(width);
        at(blocks.start)..at(blocks.end)
    }
}

/// `slot` modulo `slots`, mostly without a division: it is in the way of every step.
#[inline]
fn wrap(slot: usize, slots: usize) -> Option<usize> {
    match slots {
        0 => None,
        2 => Some(slot & 1),
        _ if slot < slots => Some(slot),
        _ => Some(slot % slots),
    }
}

/// Some threads that take steps together, and what they write.
///
/// `STEPPED` sequences are written slot after slot. `OWNED` ones belong to the pieces as a whole, all slots.
#[derive(Debug)]
pub struct Team<'a, const STEPPED: usize, const OWNED: usize> {
    progress: &'a [Progress],
    steps: usize,
    /// Whether there are two turns to a step.
    has_halves: bool,
    /// Blocks of a piece, and how many pieces have one more.
    blocks: [usize; 2],
    stepped: [Shared<'a>; STEPPED],
    owned: [Shared<'a>; OWNED],
}

// SAFETY: members reach the sequences through turns alone. There is at most one turn for a piece at any time, and all
// have the same number: a turn is made when its piece was taken by an atomic exchange, after all pieces of the turns
// before were seen to be done. `done` is stored with release after a turn has ended and looked at with acquire, so all
// that those turns did happened before. Turns of different pieces write different columns. They read the slot of the
// step or turn before, which is not the slot that they write. The work cannot keep a turn, nor exchange it for that of
// another call: the lifetime of each is its own.
unsafe impl<const STEPPED: usize, const OWNED: usize> Sync for Team<'_, STEPPED, OWNED> {}

/// The right to one piece of one step, or of a half of it.
#[derive(Debug)]
pub struct Turn<'t, 'a, const STEPPED: usize, const OWNED: usize> {
    team: &'t Team<'a, STEPPED, OWNED>,
    number: usize,
    piece: usize,
}

/// A stepped sequence as a turn sees it.
#[derive(Debug)]
pub struct Stepped<'a> {
    /// What the step before wrote, or the turn before, all columns; `None` if there is no such slot.
    pub before: Option<Rows<'a>>,
    /// What this step or turn is to write, the columns of the piece.
    pub now: Option<RowsMut<'a>>,
}

impl<'a, const STEPPED: usize, const OWNED: usize> Team<'a, STEPPED, OWNED> {
    /// A team of as many pieces as `progress` has counters, for `steps` steps over `blocks` blocks of columns.
    #[inline]
    pub fn new(
        progress: &'a mut [Progress],
        steps: usize,
        blocks: usize,
        stepped: [Shared<'a>; STEPPED],
        owned: [Shared<'a>; OWNED],
    ) -> Self {
        progress.fill_with(Progress::default);
        let pieces = progress.len().max(1);
        let blocks = [blocks / pieces, blocks % pieces];
        Self { progress, steps, has_halves: false, blocks, stepped, owned }
    }

    /// The same with steps of two halves, if so: for each a turn of each piece.
    #[inline]
    pub fn in_halves(self, has_halves: bool) -> Self {
        Self { has_halves, ..self }
    }

    /// Takes part as `member`, whose own piece has the same number. Returns when every piece is done. The work may not
    /// call the pool or join this team again: others would wait for it.
    #[inline]
    pub fn join(&self, member: usize, mut work: impl FnMut(&mut Turn<'_, 'a, STEPPED, OWNED>)) {
        let pieces = self.progress.len();
        // The pieces, of the first 64, that this member had to take from others at the turn before.
        let mut late = 0u64;
        for number in 0..self.steps << usize::from(self.has_halves) {
            if member < pieces {
                self.take(number, member, &mut work);
            }
            for piece in 0..pieces {
                let bit = 1u64.checked_shl(piece as u32).unwrap_or(0);
                let mut looks_left = if late & bit == 0 { LENIENCE } else { 0 };
                late &= !bit;
                let mut patience = Patience::new();
                while self.progress[piece].done.load(Ordering::Acquire) <= number {
                    if looks_left > 0 {
                        looks_left -= 1;
                    } else if self.take(number, piece, &mut work) {
                        late |= bit;
                        break;
                    } else {
                        looks_left = LENIENCE;
                    }
                    patience.wait();
                }
            }
        }
    }

    /// Does a piece at a turn, unless somebody has taken it.
    #[inline]
    fn take(
        &self,
        number: usize,
        piece: usize,
        work: &mut impl FnMut(&mut Turn<'_, 'a, STEPPED, OWNED>),
    ) -> bool {
        let Progress { taken, done } = &self.progress[piece];
        // Looking first leaves the line where it is.
        let is_taken = taken.load(Ordering::Relaxed) == number
            && taken.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_taken {
            // What the proofs of turns rest on: this turn of the piece, and those before it of all others, which this
            // member saw to be done.
            debug_assert_eq!(done.load(Ordering::Relaxed), number);
            debug_assert!(self.progress.iter().all(|other| other.done.load(Ordering::Relaxed) >= number));
            // Done even if the work panics: then others go on, and the panic reaches the caller.
            let _done = Done { counter: done, turns: number + 1 };
            work(&mut Turn { team: self, number, piece });
        }
        is_taken
    }
}

/// Marks a piece as done when it goes out of scope.
struct Done<'a> {
    counter: &'a Counter,
    turns: usize,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.counter.store(self.turns, Ordering::Release);
    }
}

impl<const STEPPED: usize, const OWNED: usize> Turn<'_, '_, STEPPED, OWNED> {
    /// The step, from 0.
    #[inline]
    pub fn step(&self) -> usize {
        self.number >> usize::from(self.team.has_halves)
    }

    /// Whether it is the second half of a step.
    #[inline]
    pub fn is_second_half(&self) -> bool {
        self.team.has_halves && !self.number.is_multiple_of(2)
    }

    /// The blocks of the piece.
    #[inline]
    pub fn blocks(&self) -> Range<usize> {
        let [each, more] = self.team.blocks;
        let at = |piece: usize| piece * each + piece.min(more);
        at(self.piece)..at(self.piece + 1)
    }

    /// What to read and write: the stepped sequences, and the owned ones.
    #[inline]
    pub fn parts(&mut self) -> ([Stepped<'_>; STEPPED], [SequenceMut<'_>; OWNED]) {
        let (blocks, step) = (self.blocks(), self.step());
        let team = self.team;
        let stepped = core::array::from_fn(|index| {
            let shared = &team.stepped[index];
            let [now, before] = shared.slots_of(step, self.number);
            debug_assert!(now.is_none() || now != before);
            // No turn writes this slot until the turn ends: all have its number, and write another one.
            let before = before.and_then(|slot| shared.sequence.read(slot));
            // SAFETY: this turn is the only one at its piece, so at its columns of this slot, until it ends; it is
            // borrowed exclusively meanwhile. What turns read is the slot of the one before, which is another one.
            let columns = unsafe { shared.sequence.shared_columns(shared.columns(&blocks)) };
            Stepped { before, now: now.and_then(|slot| columns.into_step(slot)) }
        });
        let owned = core::array::from_fn(|index| {
            let shared = &team.owned[index];
            // SAFETY: as above, for all slots: no other piece has these columns, and no turn reads those of others.
            unsafe { shared.sequence.shared_columns(shared.columns(&blocks)) }
        });
        (stepped, owned)
    }
}
