//! Models of the ways in which threads share steps, for the model checker loom.
//!
//! ```text
//! for every way in which the members can interleave, with few preemptions,
//! for every value that a load of theirs may yield by the memory model:
//!     what a turn or a visit may read has the values that it is to find
//!     every element that it may read or write: tell loom, which refuses accesses that nothing orders
//! ```
//!
//! The kernels are of no use here and take long to compile, so they are not optimized:
//!
//! ```text
//! RUSTFLAGS='--cfg loom' cargo test --release --config 'profile.release.package.quadgate-kernels.opt-level=0' \
//!     --target-dir target/loom -p quadgate-kernels --test loom
//! ```
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use quadgate_kernels::{
    BlockOrder, Progress, SequenceMut, Shared, Slots, Stepped, Team, VisitParts, Wavefront,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs a model with every schedule of at most so many preemptions. One of them is enough to find any ordering of the
/// counters that is too weak.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    let schedules = Arc::new(AtomicUsize::new(0));
    let count = schedules.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} schedules", schedules.load(Ordering::Relaxed));
}

/// Something that lives for ever, since the threads of a model cannot borrow: about a kilobyte for each schedule.
fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// One cell for each element of a buffer, through which loom sees who reads and writes it.
struct Accesses {
    /// Address of the first element.
    base: usize,
    cells: Vec<UnsafeCell<()>>,
}

// SAFETY: the cells have no contents. That accesses to them do not race is what the models show.
unsafe impl Sync for Accesses {}

impl Accesses {
    fn new(data: &[f32]) -> Self {
        Self { base: data.as_ptr().addr(), cells: data.iter().map(|_| UnsafeCell::new(())).collect() }
    }

    fn of(&self, part: &[f32]) -> &[UnsafeCell<()>] {
        &self.cells[(part.as_ptr().addr() - self.base) / size_of::<f32>()..][..part.len()]
    }

    fn read(&self, part: &[f32]) {
        self.of(part).iter().for_each(|cell| cell.with(|_| ()));
    }

    fn write(&self, part: &[f32]) {
        self.of(part).iter().for_each(|cell| cell.with_mut(|_| ()));
    }
}

/// What befalls the members.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    AllCome,
    /// The last member comes when somebody is at step or block 1.
    LastIsLate,
    /// Whoever is at the last piece or stage of step or block 0 panics, after its work.
    OnePanics,
}

/// The panic of [`Fate::OnePanics`].
struct Expected;

/// What the model sees of the members beside the memory.
struct Watch {
    members: usize,
    fate: Fate,
    /// Somebody is at step or block 1.
    begun: AtomicBool,
    /// Turns or visits so far. Not an atomic of loom: it is to order nothing.
    count: AtomicUsize,
}

impl Watch {
    fn new(members: usize, fate: Fate) -> Self {
        Self { members, fate, begun: AtomicBool::new(false), count: AtomicUsize::new(0) }
    }

    /// Runs all members and waits for them. The first one is on this thread.
    fn run(&'static self, join: impl Fn(usize) + Sync + 'static) {
        let join: &'static _ = leak(join);
        let member = move |number: usize| {
            let is_late = self.fate == Fate::LastIsLate && number + 1 == self.members;
            // Relaxed, here and below: this orders nothing else.
            let mut looks = 0;
            while is_late && !self.begun.load(Ordering::Relaxed) {
                looks += 1;
                if looks > 2 {
                    // Of the schedules after this one alone, as in the waiting of the members.
                    loom::skip_branch();
                }
                thread::yield_now();
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| join(number))) {
                panic.downcast::<Expected>().map_or_else(|panic| resume_unwind(panic), drop);
            }
        };
        let others: Vec<_> = (1..self.members).map(|number| thread::spawn(move || member(number))).collect();
        member(0);
        others.into_iter().for_each(|other| other.join().unwrap());
    }

    /// Notes a turn or visit that has begun, at a step or block.
    fn begins(&self, step: usize) {
        if step == 1 && self.fate == Fate::LastIsLate {
            self.begun.store(true, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it, at step or block `step`; `is_last` at the last piece or stage.
    fn ends(&self, step: usize, is_last: bool) {
        if self.fate == Fate::OnePanics && step == 0 && is_last {
            // Without the message of a panic.
            resume_unwind(Box::new(Expected));
        }
    }
}

/// Each step writes its number plus one to a ring of two slots, and counts up what the piece owns. A piece has one
/// column.
fn team(members: usize, pieces: usize, steps: usize, fate: Fate) {
    let (ring, counts) = (leak(vec![0.0; 2 * pieces]), leak(vec![0.0; pieces]));
    let of_ring: &'static Accesses = leak(Accesses::new(ring));
    let of_counts: &'static Accesses = leak(Accesses::new(counts));
    let ring = SequenceMut::new(ring, [2, 1, pieces], [pieces, pieces]).unwrap();
    let counts = SequenceMut::new(counts, [1, 1, pieces], [pieces, pieces]).unwrap();
    let progress = leak(vec![Progress::default(); pieces]);
    let [ring, counts] = [ring, counts].map(|sequence| Shared::new(sequence, 1, Slots::Up { first: 1 }));
    let team: &'static _ = leak(Team::new(progress, steps, pieces, [ring], [counts]));
    let watch: &'static _ = leak(Watch::new(members, fate));
    watch.run(move |member| {
        team.join(member, |turn| {
            let (step, is_last) = (turn.step(), turn.blocks().end == pieces);
            watch.begins(step);
            let ([Stepped { before, now }], [mut counts]) = turn.parts();
            let (before, mut now, mut counts) = (before.unwrap(), now.unwrap(), counts.step(0).unwrap());
            let (before, now, counts) = (before.row(0), now.row_mut(0), counts.row_mut(0));
            of_ring.read(before);
            of_ring.write(now);
            of_counts.write(counts);
            assert!(before.len() == pieces && before.iter().all(|&x| x == step as f32));
            now.fill(step as f32 + 1.0);
            counts[0] += 1.0;
            assert_eq!(counts, [step as f32 + 1.0]);
            watch.ends(step, is_last);
        });
        // Whoever has left may read all that was written.
        of_ring.cells.iter().chain(&of_counts.cells).for_each(|cell| cell.with(|_| ()));
    });
    assert_eq!(watch.count.load(Ordering::Relaxed), pieces * steps);
}

#[test]
fn turns_of_two_members_have_what_they_read_and_write_to_themselves() {
    check(3, || team(2, 2, 3, Fate::AllCome));
}

#[test]
fn turns_of_three_members_have_what_they_read_and_write_to_themselves() {
    check(1, || team(3, 2, 2, Fate::AllCome));
}

#[test]
fn a_piece_whose_member_never_comes_is_done_by_the_others() {
    check(1, || team(1, 2, 3, Fate::AllCome));
    check(2, || team(2, 3, 2, Fate::AllCome));
}

#[test]
fn a_member_of_a_team_may_come_late() {
    check(2, || team(2, 2, 3, Fate::LastIsLate));
}

#[test]
fn a_team_goes_on_when_the_work_of_one_panics() {
    check(3, || team(2, 2, 3, Fate::OnePanics));
}

/// Each turn writes its number plus one to the next of two slots.
fn team_in_halves(members: usize, pieces: usize, steps: usize) {
    let ring = leak(vec![0.0; 2 * pieces]);
    let of_ring: &'static Accesses = leak(Accesses::new(ring));
    let ring = SequenceMut::new(ring, [2, 1, pieces], [pieces, pieces]).unwrap();
    let progress = leak(vec![Progress::default(); pieces]);
    let stepped = [Shared::new(ring, 1, Slots::EachTurn)];
    let team: &'static _ = leak(Team::new(progress, steps, pieces, stepped, []).in_halves(true));
    let watch: &'static _ = leak(Watch::new(members, Fate::AllCome));
    watch.run(move |member| {
        team.join(member, |turn| {
            let number = 2 * turn.step() + usize::from(turn.is_second_half());
            watch.begins(turn.step());
            let ([Stepped { before, now }], []) = turn.parts();
            let mut now = now.unwrap();
            let now = now.row_mut(0);
            of_ring.write(now);
            if let Some(before) = before {
                of_ring.read(before.row(0));
                assert!(before.row(0).iter().all(|&x| x == number as f32));
            }
            now.fill(number as f32 + 1.0);
        });
    });
    assert_eq!(watch.count.load(Ordering::Relaxed), 2 * pieces * steps);
}

#[test]
fn both_halves_of_a_step_have_what_they_read_and_write_to_themselves() {
    check(3, || team_in_halves(2, 2, 1));
    check(2, || team_in_halves(2, 2, 2));
}

/// Stage 0 yields the number of the block plus one, each further stage one more.
fn wavefront(members: usize, stages: usize, order: BlockOrder, fate: Fate) {
    const MOST: usize = 3;
    const BLOCKS: usize = 2;
    let data = leak(vec![0.0; MOST * BLOCKS]);
    let of_data: &'static Accesses = leak(Accesses::new(data));
    let mut chunks = data.chunks_exact_mut(BLOCKS);
    let buffers = std::array::from_fn(|_| (chunks.next().unwrap(), 1));
    // What a stage knows: the next block, and a cell by which loom sees who uses it.
    let notes = leak((0..stages).map(|_| (0, UnsafeCell::new(()))).collect::<Vec<_>>());
    let progress = leak(vec![Progress::default(); stages]);
    let wavefront: &'static Wavefront<'_, _, MOST> =
        leak(Wavefront::new(progress, notes, BLOCKS, order, buffers));
    let watch: &'static _ = leak(Watch::new(members, fate));
    watch.run(move |member| {
        wavefront.join(member, members, |visit| {
            let (block, number) = (visit.block(), visit.stage());
            watch.begins(block);
            let VisitParts { stage: (next, cell), before, after } = visit.parts();
            cell.with_mut(|_| ());
            before.into_iter().for_each(|before| of_data.read(before));
            of_data.write(after);
            assert_eq!(*next, block);
            *next += 1;
            let before = before.map_or(block as f32, |before| before[0]);
            assert_eq!(before, (block + number) as f32);
            after.copy_from_slice(&[before + 1.0]);
            watch.ends(block, number + 1 == stages);
        });
    });
    // All members have ended, so this may read what all have written.
    of_data.cells.iter().for_each(|cell| cell.with(|_| ()));
    assert_eq!(watch.count.load(Ordering::Relaxed), stages * BLOCKS);
}

#[test]
fn visits_of_two_members_have_what_they_read_and_write_to_themselves() {
    check(3, || wavefront(2, 2, BlockOrder::Ascending, Fate::AllCome));
    check(2, || wavefront(2, 2, BlockOrder::Descending, Fate::AllCome));
}

#[test]
fn visits_of_three_members_have_what_they_read_and_write_to_themselves() {
    check(1, || wavefront(3, 2, BlockOrder::Ascending, Fate::AllCome));
}

#[test]
fn a_stage_whose_member_never_comes_is_done_by_the_others() {
    check(1, || wavefront(1, 2, BlockOrder::Ascending, Fate::AllCome));
    check(2, || wavefront(2, 3, BlockOrder::Ascending, Fate::AllCome));
}

#[test]
fn a_member_of_a_wavefront_may_come_late() {
    check(3, || wavefront(2, 2, BlockOrder::Ascending, Fate::LastIsLate));
}

#[test]
fn a_wavefront_goes_on_when_the_work_of_one_panics() {
    check(3, || wavefront(2, 2, BlockOrder::Ascending, Fate::OnePanics));
}
