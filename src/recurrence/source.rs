//! Where the rows of a pass come from and which of them run a step; and where their outputs go.
//!
//! ```text
//! dense:     all rows run all steps; x and outputs lie where the caller has them
//! gathered:  the rows that run step s are the first active(s) of every buffer; x of a block of steps is gathered before it,
//!            one step after the other, and h is copied to its times after each step
//! ```

use crate::cell::Cell;
use crate::direction::Direction;
use crate::memory::views;
use crate::parallel;
use crate::recurrence::given::Given;
use crate::recurrence::ragged::{Cursor, Ragged, Room};
use crate::view::Sequence;
use quadgate_kernels::{ReorderedMut, Rows, RowsMut, SequenceMut};
use std::iter;
use std::ops::Range;

/// The rows of a pass.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) input: Sequence<'a>,
    /// What the call gives in the place of W·x; then x has no elements.
    pub(crate) given: Option<Given<'a>>,
    pub(crate) direction: Direction,
    /// Which steps each row runs, if not all.
    pub(crate) ragged: Option<Ragged<'a>>,
    /// First of the steps to run.
    pub(crate) first_step: usize,
    /// How many steps to run.
    pub(crate) steps: usize,
}

/// Steps whose rows are gathered at once: all steps, if they are dense.
pub(crate) struct Block {
    pub(crate) steps: Range<usize>,
    /// Rows of all of them that were gathered.
    pub(crate) rows: usize,
}

/// Room for the rows of a block: one step after the other, of each the rows that run it. Empty if they are dense.
#[derive(Default)]
pub(crate) struct GatheredRows<'a> {
    /// One for each position.
    pub(crate) cursors: &'a mut [Cursor],
    pub(crate) times: &'a mut [usize],
    /// x
    pub(crate) input: &'a mut [f32],
    /// What the call gives for each step beside it.
    pub(crate) sequences: [&'a mut [f32]; 2],
    /// How many rows there is room for, for each position.
    pub(crate) each: usize,
}

impl<'a> GatheredRows<'a> {
    /// Room for `rows` rows, `each` for each position.
    pub(crate) fn new(
        room: &'a mut Room<'_>,
        rows: usize,
        each: usize,
        source: &Source<'_>,
        cell: &Cell<'_>,
    ) -> Self {
        let [first, second] = &mut room.sequences;
        let of = |sequence: Option<Sequence<'_>>| sequence.map_or(0, |sequence| rows * sequence.shape[2]);
        let [first_len, second_len] = cell.sequences().map(of);
        Self {
            cursors: &mut *room.cursors,
            times: &mut room.times[..rows],
            input: &mut room.input[..rows * source.input.shape[2]],
            sequences: [&mut first[..first_len], &mut second[..second_len]],
            each,
        }
    }

    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let (rows, all) = (at * self.each, self.times.len());
        let (cursors, other_cursors) = self.cursors.split_at_mut(at.min(self.cursors.len()));
        let (times, other_times) = self.times.split_at_mut(rows);
        let cut = |data| parallel::split_evenly(data, all, rows);
        let (input, other_input) = cut(self.input);
        let [first, second] = self.sequences;
        let ((first, other_first), (second, other_second)) = (cut(first), cut(second));
        let (sequences, other_sequences) = ([first, second], [other_first, other_second]);
        let each = self.each;
        (
            GatheredRows { cursors, times, input, sequences, each },
            GatheredRows {
                cursors: other_cursors,
                times: other_times,
                input: other_input,
                sequences: other_sequences,
                each,
            },
        )
    }
}

impl<'a> Source<'a> {
    /// The time of a step of this pass, if rows are dense.
    #[inline]
    pub(crate) fn time(&self, step: usize) -> usize {
        self.direction.time(self.first_step + step, self.input.shape[0])
    }

    /// How many of some rows run a step of this pass: they are the first ones.
    #[inline]
    pub(crate) fn active(&self, step: usize, rows: &Range<usize>) -> usize {
        match &self.ragged {
            None => rows.len(),
            Some(ragged) => ragged.active(self.first_step + step).clamp(rows.start, rows.end) - rows.start,
        }
    }

    /// The steps from `step` on, as many as there is room for, with their rows gathered; `None` if no row runs any
    /// more.
    pub(crate) fn next_block(
        &self,
        step: usize,
        rows: &Range<usize>,
        cell: &Cell<'_>,
        gathered: &mut GatheredRows<'_>,
    ) -> Option<Block> {
        let Some(ragged) = &self.ragged else {
            return (step < self.steps).then_some(Block { steps: step..self.steps, rows: 0 });
        };
        let (mut end, mut count) = (step, 0);
        while end < self.steps {
            let active = self.active(end, rows);
            if active == 0 || count + active > gathered.times.len() {
                break;
            }
            for (local, cursor) in gathered.cursors[..active].iter_mut().enumerate() {
                let position = rows.start + local;
                let time = ragged.time(position, self.first_step + end, cursor);
                gathered.times[count + local] = time;
                ragged.gather(self.input, position, time, gathered.input, count + local);
                ragged.gather_all(cell.sequences(), position, time, &mut gathered.sequences, count + local);
            }
            count += active;
            end += 1;
        }
        (step < end).then_some(Block { steps: step..end, rows: count })
    }

    /// x of the rows of a step, which are those of `of_step` if they were gathered.
    #[inline]
    pub(crate) fn input<'s>(
        &self,
        step: usize,
        rows: &Range<usize>,
        of_step: &Range<usize>,
        gathered: &'s [f32],
    ) -> Rows<'s>
    where
        'a: 's,
    {
        match self.ragged {
            None => self.input.batch_rows(self.time(step), rows.start, rows.len()),
            Some(_) => self.gathered_input(of_step, gathered),
        }
    }

    /// Some rows of x that were gathered.
    pub(crate) fn gathered_input<'s>(&self, rows: &Range<usize>, gathered: &'s [f32]) -> Rows<'s> {
        gathered_rows(gathered, rows, self.input.shape[2])
    }

    /// The rows of a step of what the call gives beside x.
    pub(crate) fn sequences<'s>(
        &self,
        cell: &Cell<'s>,
        step: usize,
        rows: &Range<usize>,
        of_step: &Range<usize>,
        gathered: [&'s [f32]; 2],
    ) -> [Option<Rows<'s>>; 2] {
        let [first, second] = cell.sequences();
        let rows_of = |sequence: Option<Sequence<'s>>, gathered: &'s [f32]| {
            let sequence = sequence?;
            Some(match self.ragged {
                None => sequence.batch_rows(self.time(step), rows.start, rows.len()),
                Some(_) => gathered_rows(gathered, of_step, sequence.shape[2]),
            })
        };
        [rows_of(first, gathered[0]), rows_of(second, gathered[1])]
    }
}

/// Some rows of a buffer of gathered ones.
pub(crate) fn gathered_rows<'s>(gathered: &'s [f32], rows: &Range<usize>, width: usize) -> Rows<'s> {
    views::rows(&gathered[rows.start * width..], rows.len(), width)
}

/// Where the outputs of some rows go.
pub(crate) enum Sink<'a> {
    None,
    /// Steps write them where they belong.
    Dense(SequenceMut<'a>),
    /// They are copied there after a step.
    Scattered(ReorderedMut<'a>),
}

impl Sink<'_> {
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        match self {
            Sink::None => (Sink::None, Sink::None),
            Sink::Dense(output) => {
                let (first, second) = output.split_rows(at);
                (Sink::Dense(first), Sink::Dense(second))
            }
            Sink::Scattered(output) => {
                let (first, second) = output.split_rows(at);
                (Sink::Scattered(first), Sink::Scattered(second))
            }
        }
    }

    /// Where a step at a time writes its outputs itself.
    #[inline]
    pub(crate) fn rows(&mut self, time: usize) -> Option<RowsMut<'_>> {
        match self {
            Sink::Dense(output) => output.step(time),
            Sink::None | Sink::Scattered(_) => None,
        }
    }
}

impl Ragged<'_> {
    /// Copies h of a step to the times whose output it is, of rows from position `first` on.
    pub(crate) fn scatter(
        &self,
        first: usize,
        times: &[usize],
        hidden: Rows<'_>,
        output: &mut ReorderedMut<'_>,
    ) {
        for (local, &time) in times.iter().enumerate() {
            for time in iter::once(time).chain(self.repeats(first + local, time)) {
                let to = output.row_mut(time, local);
                to.copy_from_slice(&hidden.row(local)[..to.len()]);
            }
        }
    }
}
