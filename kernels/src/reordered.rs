//! A sequence whose batch rows come in another order: how threads share rows that interleave in memory.
//!
//! A [`RowOrder`] starts as 0, 1, 2, … and can only be sorted, so it names each row once. That is why pieces of a
//! [`ReorderedMut`], which have different parts of an order, never touch the same element.

use crate::views::SequenceMut;
use alloc::vec::Vec;

/// Memory for an order of rows.
#[derive(Clone, Debug)]
pub struct RowOrder {
    rows: Vec<usize>,
    /// How many of them the last sort put in order.
    sorted: usize,
}

/// The numbers 0, 1, …, n − 1 in some order, each once.
#[derive(Clone, Copy, Debug)]
pub struct Permutation<'a> {
    rows: &'a [usize],
}

impl RowOrder {
    /// Room for `rows` rows; `None` if there is no memory for it.
    pub fn new(rows: usize) -> Option<Self> {
        let mut room = Vec::new();
        room.try_reserve_exact(rows).ok()?;
        room.resize(rows, 0);
        Some(Self { rows: room, sorted: 0 })
    }

    /// The most rows that it has room for.
    pub fn capacity(&self) -> usize {
        self.rows.len()
    }

    /// Sorts the first `rows` rows (at most the capacity) by a key, in ascending order. Allocates nothing.
    pub fn sort_by_key<K: Ord>(&mut self, rows: usize, mut key: impl FnMut(usize) -> K) -> Permutation<'_> {
        // If the key panics, nothing counts as sorted; otherwise each row is there once, even if keys contradict each
        // other.
        self.sorted = 0;
        let count = rows.min(self.rows.len());
        let rows = &mut self.rows[..count];
        rows.iter_mut().enumerate().for_each(|(number, row)| *row = number);
        rows.sort_unstable_by_key(|&row| key(row));
        self.sorted = count;
        self.sorted()
    }

    /// The order that the last sort made.
    pub fn sorted(&self) -> Permutation<'_> {
        Permutation { rows: &self.rows[..self.sorted] }
    }
}

impl<'a> Permutation<'a> {
    /// The rows in their order.
    #[inline]
    pub fn rows(&self) -> &'a [usize] {
        self.rows
    }
}

/// A sequence to write whose batch rows have positions: those of an order.
///
/// [`ReorderedMut::split_rows`] cuts it between positions.
#[derive(Debug)]
pub struct ReorderedMut<'a> {
    /// All batch rows; those of `order` are this view's alone.
    sequence: SequenceMut<'a>,
    /// The row at each position: different numbers below the batch.
    order: &'a [usize],
}

impl<'a> ReorderedMut<'a> {
    /// The rows of `sequence` in an order of all of them; `None` if it orders more or fewer.
    #[inline]
    pub fn new(sequence: SequenceMut<'a>, order: Permutation<'a>) -> Option<Self> {
        (order.rows.len() == sequence.batch()).then_some(Self { sequence, order: order.rows })
    }

    /// Number of positions.
    #[inline]
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// Cuts the view before position `at` (clamped to those that there are).
    #[inline]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let (first, second) = self.order.split_at(at.min(self.order.len()));
        // SAFETY: an order names each row once, so the rows of `first` and `second` differ, and each view touches those
        // of its order alone.
        let other = unsafe { self.sequence.alias() };
        (Self { sequence: self.sequence, order: first }, Self { sequence: other, order: second })
    }

    /// All of it, for a while.
    #[inline]
    pub fn all(&mut self) -> ReorderedMut<'_> {
        ReorderedMut { sequence: self.sequence.all(), order: self.order }
    }

    /// The row of step `t` at a position; empty if there is none.
    #[inline]
    pub fn row_mut(&mut self, t: usize, position: usize) -> &mut [f32] {
        match self.order.get(position) {
            Some(&row) => self.sequence.row_mut(t, row),
            None => &mut [],
        }
    }
}
