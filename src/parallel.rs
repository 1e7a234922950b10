//! Work over threads. The only file that knows rayon; without that feature, what would run at the same time runs in
//! turn.

use quadgate_kernels::{ReorderedMut, SequenceMut};
use std::ops::Range;

/// Work on some rows that can be cut between rows.
pub(crate) trait Rows: Sized + Send {
    /// How many rows there are.
    fn rows(&self) -> usize;
    /// Cuts the work before row `at`.
    fn split(self, at: usize) -> (Self, Self);
    /// The row before which to cut so that `part` of `parts` equal pieces come first.
    fn cut(&self, part: usize, parts: usize) -> usize {
        (self.rows() as u128 * part as u128 / parts as u128) as usize
    }
}

/// Threads of the current rayon pool.
#[cfg(feature = "rayon")]
pub(crate) fn current_threads() -> usize {
    rayon::current_num_threads()
}

/// The caller's thread.
#[cfg(not(feature = "rayon"))]
pub(crate) fn current_threads() -> usize {
    1
}

impl Rows for SequenceMut<'_> {
    fn rows(&self) -> usize {
        self.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_rows(at)
    }
}

impl Rows for ReorderedMut<'_> {
    fn rows(&self) -> usize {
        self.rows()
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_rows(at)
    }
}

/// Cuts before row `at` what has the same number of elements for each of `rows` rows.
pub(crate) fn split_evenly<T>(data: &mut [T], rows: usize, at: usize) -> (&mut [T], &mut [T]) {
    let each = data.len() / rows.max(1);
    data.split_at_mut(each * at)
}

/// Runs `work` in `pieces` pieces of as equal size as can be, in the current rayon pool; on the caller's thread alone
/// if there is one piece. `run_piece` takes the number of the first row of a piece, and the piece.
pub(crate) fn run<W: Rows>(work: W, pieces: usize, run_piece: &(impl Fn(usize, W) + Sync)) {
    run_from(0, work, pieces, run_piece);
}

fn run_from<W: Rows>(first: usize, work: W, pieces: usize, run_piece: &(impl Fn(usize, W) + Sync)) {
    if pieces <= 1 {
        return run_piece(first, work);
    }
    let half = pieces / 2;
    let at = work.cut(half, pieces);
    let (left, right) = work.split(at);
    both(|| run_from(first, left, half, run_piece), || run_from(first + at, right, pieces - half, run_piece));
}

/// Runs `member` for each number of `members`, with a part of `scratch` of its own, in the current rayon pool: at the
/// same time if it has the threads, else one after the other.
pub(crate) fn together(
    members: Range<usize>,
    scratch: &mut [f32],
    member: &(impl Fn(usize, &mut [f32]) + Sync),
) {
    let Range { start, end } = members;
    if end - start <= 1 {
        return members.for_each(|number| member(number, scratch));
    }
    let half = (end - start) / 2;
    let (left, right) = split_evenly(scratch, end - start, half);
    both(|| together(start..start + half, left, member), || together(start + half..end, right, member));
}

/// Runs both, at the same time if the current rayon pool has a thread to spare.
#[cfg(feature = "rayon")]
pub(crate) fn both<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    rayon::join(first, second)
}

/// Runs both, one after the other.
#[cfg(not(feature = "rayon"))]
pub(crate) fn both<A, B>(first: impl FnOnce() -> A, second: impl FnOnce() -> B) -> (A, B) {
    (first(), second())
}
