//! Rows of the batch over threads. The only file that knows rayon.

/// Work on some rows that can be cut between rows.
pub(crate) trait Rows: Sized + Send {
    /// How many rows there are.
    fn rows(&self) -> usize;
    /// Cuts the work before row `at`.
    fn split(self, at: usize) -> (Self, Self);
}

/// Threads of the current rayon pool.
pub(crate) fn current_threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `work` in `pieces` pieces of as equal size as can be, in the current rayon pool; on the caller's thread alone
/// if there is one piece.
pub(crate) fn run<W: Rows>(work: W, pieces: usize, run_piece: &(impl Fn(W) + Sync)) {
    if pieces <= 1 {
        return run_piece(work);
    }
    let first = pieces / 2;
    let at = (work.rows() as u128 * first as u128 / pieces as u128) as usize;
    let (left, right) = work.split(at);
    rayon::join(|| run(left, first, run_piece), || run(right, pieces - first, run_piece));
}
