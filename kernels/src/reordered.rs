//! A sequence whose batch rows come in another order: how threads share rows that interleave in memory.
//!
//! A [`RowOrder`] starts as 0, 1, 2, … and can only be sorted, so it names each row once. That is why pieces of a
//! [`ReorderedMut`], which have different parts of an order, never touch the same element.

use crate::views::SequenceMut;
use alloc::vec;
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
    /// Room for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self { rows: vec![0; rows], sorted: 0 }
    }

    /// The most rows that it has room for.
    pub fn capacity(&self) -> usize {
        self.rows.len()
    }

    /// Sorts the first `rows` rows (at most the capacity) by a key, in ascending order. Allocates nothing.
    pub fn sort_by_key<K: Ord>(&mut self, rows: usize, mut key: impl FnMut(usize) -> K) -> Permutation<'_> {
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
        // SAFETY: the rows of `first` and `second` differ, and each view touches those of its order alone.
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cmp::Reverse;

    #[test]
    fn an_order_names_each_row_once_whatever_the_keys() {
        let mut order = RowOrder::new(9);
        for rows in 0..12 {
            let mut keys = 7usize;
            let sorted = order.sort_by_key(rows, |_| {
                keys = keys.wrapping_mul(0x9e37_79b9).rotate_left(7);
                keys
            });
            let mut found = sorted.rows().to_vec();
            found.sort_unstable();
            assert_eq!(found, (0..rows.min(9)).collect::<Vec<_>>());
            assert_eq!(order.sorted().rows().len(), found.len());
        }
        assert_eq!(order.sort_by_key(4, |row| (Reverse([3, 9, 3, 5][row]), row)).rows(), [1, 3, 0, 2]);
    }

    #[test]
    fn pieces_write_the_rows_of_their_positions_and_no_others() {
        let (steps, batch, width) = (3, 5, 2);
        let mut order = RowOrder::new(batch);
        for strides in [[batch * width, width], [width, steps * width], [11, 40]] {
            for at in 0..=batch + 1 {
                let mut data = vec![0.0; 400];
                let sequence = SequenceMut::new(&mut data, [steps, batch, width], strides).unwrap();
                let rows = order.sort_by_key(batch, |row| (row * 3) % 5);
                let (first, second) = ReorderedMut::new(sequence, rows).unwrap().split_rows(at);
                for (mut piece, from) in [(first, 0), (second, at.min(batch))] {
                    for t in 0..steps {
                        for position in 0..piece.rows() {
                            piece.row_mut(t, position).fill((t * batch + from + position + 1) as f32);
                        }
                    }
                    assert!(piece.row_mut(steps, 0).is_empty());
                    let end = piece.rows();
                    assert!(piece.row_mut(0, end).is_empty());
                }
                let mut expected = vec![0.0; 400];
                for t in 0..steps {
                    for (position, &row) in rows.rows().iter().enumerate() {
                        expected[t * strides[0] + row * strides[1]..][..width]
                            .fill((t * batch + position + 1) as f32);
                    }
                }
                assert_eq!(data, expected);
            }
        }
    }

    #[test]
    fn an_order_of_another_batch_is_refused() {
        let mut order = RowOrder::new(4);
        for rows in [0, 2, 4] {
            let mut data = [0.0; 3];
            let sequence = SequenceMut::new(&mut data, [1, 3, 1], [3, 1]).unwrap();
            assert!(ReorderedMut::new(sequence, order.sort_by_key(rows, |row| row)).is_none());
        }
    }
}
