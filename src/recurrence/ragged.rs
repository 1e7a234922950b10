//! Rows that run a part of the steps: which times each row runs, and in which order rows lie.
//!
//! ```text
//! times(row) = those before its length, or those where the mask is true; in reverse, from the last to the first
//! step s of a row reads x at times(row)[s]
//! rows have positions, by descending number of steps: step s is run by the positions 0..active(s)
//! ```
//!
//! So the rows at work in a step are the first ones of every buffer of the crate's own, and the kernels run as for a
//! smaller batch. What is the caller's is gathered and scattered row by row, which is little beside a step's products.
//!
//! Times of a mask are found by cursors that walk along its rows: there is no table of them, so memory does not depend
//! on the number of steps.

use crate::direction::Direction;
use crate::error::Error;
use crate::memory::buffer::{Buffer, filled, zeros};
use crate::memory::views;
use crate::options::Options;
use crate::parallel;
use crate::plan::max_block_rows;
use crate::row_steps::{RowSteps, Steps};
use crate::shape::Shape;
use crate::view::Sequence;
use quadgate_kernels::{Permutation, ReorderedMut, RowOrder, Rows, SequenceMut, without_small};
use std::cmp::Reverse;

/// The rows of a call by position, and the times that they run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ragged<'a> {
    row_steps: RowSteps<'a>,
    direction: Direction,
    /// T
    times: usize,
    /// The row at each position.
    order: Permutation<'a>,
    /// How many steps the row at each position runs, descending.
    counts: &'a [usize],
}

/// Where the row at a position stands: its step, and the place of that among all times in the order of reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    step: usize,
    place: usize,
}

impl<'a> Ragged<'a> {
    /// How many steps there are: those of the row with the most.
    pub(crate) fn steps(&self) -> usize {
        self.counts.first().copied().unwrap_or(0)
    }

    /// B
    pub(crate) fn batch(&self) -> usize {
        self.counts.len()
    }

    /// How many rows run step `step`: they are the first ones.
    pub(crate) fn active(&self, step: usize) -> usize {
        self.counts.partition_point(|&count| count > step)
    }

    /// How many steps the row at each position runs.
    pub(crate) fn counts(&self) -> &'a [usize] {
        self.counts
    }

    /// The row at each position.
    pub(crate) fn order(&self) -> Permutation<'a> {
        self.order
    }

    /// The row at a position.
    pub(crate) fn row(&self, position: usize) -> usize {
        self.order.rows()[position]
    }

    /// The time that the row at a position reads at a step that it runs. The cursor is its own and goes there, so steps
    /// are best asked for one after the other, in either direction.
    pub(crate) fn time(&self, position: usize, step: usize, cursor: &mut Cursor) -> usize {
        let Steps::Mask(_) = self.row_steps.steps else {
            return self.direction.time(step, self.counts[position]);
        };
        while cursor.step < step {
            let rest = cursor.place + 1..self.times;
            cursor.place = self.first_run(position, rest).unwrap_or(cursor.place);
            cursor.step += 1;
        }
        while cursor.step > step {
            let rest = (0..cursor.place).rev();
            cursor.place = self.first_run(position, rest).unwrap_or(cursor.place);
            cursor.step -= 1;
        }
        self.direction.time(cursor.place, self.times)
    }

    /// A cursor at the first step.
    fn cursor(&self, position: usize) -> Cursor {
        Cursor { step: 0, place: self.first_run(position, 0..self.times).unwrap_or(0) }
    }

    /// The first of some places in the order of reading where the mask is true.
    fn first_run(&self, position: usize, mut places: impl Iterator<Item = usize>) -> Option<usize> {
        let Steps::Mask(mask) = self.row_steps.steps else { return None };
        let row = self.row(position);
        places.find(|&place| mask.runs(self.direction.time(place, self.times), row))
    }

    /// The times that repeat the output of `time`, which the row at a position runs: those right after it that are not
    /// run.
    pub(crate) fn repeats(&self, position: usize, time: usize) -> impl Iterator<Item = usize> {
        self.idle_from(position, self.direction.time(time, self.times) + 1)
    }

    /// The times that repeat the initial h: those before the first step.
    pub(crate) fn initial_repeats(&self, position: usize) -> impl Iterator<Item = usize> {
        self.idle_from(position, 0)
    }

    /// The times from a place in the order of reading up to the next that is run, if their output is h as it was.
    fn idle_from(&self, position: usize, place: usize) -> impl Iterator<Item = usize> {
        let (row_steps, direction, times) = (self.row_steps, self.direction, self.times);
        let (row, end) = (self.row(position), if row_steps.repeats() { times } else { place });
        let times = (place..end).map(move |place| direction.time(place, times));
        times.take_while(move |&time| !row_steps.runs(time, row))
    }

    /// The times that the row at a position does not run.
    pub(crate) fn idle(&self, position: usize) -> impl Iterator<Item = usize> {
        let (row, row_steps) = (self.row(position), self.row_steps);
        (0..self.times).filter(move |&time| !row_steps.runs(time, row))
    }

    /// Writes the output of times that no step is to write: a number where no step is run, or the initial h before a
    /// row's first step.
    pub(crate) fn write_idle<'h>(
        &self,
        output: &mut SequenceMut<'_>,
        threads: usize,
        initial_hidden: impl Fn(usize) -> Option<&'h [f32]> + Sync,
    ) {
        self.over_positions(output, threads, |position, output, local| {
            match self.row_steps.padding_value() {
                Some(value) => self.idle(position).for_each(|time| output.row_mut(time, local).fill(value)),
                None => {
                    let hidden = views::present(initial_hidden(position), "row", position, self.batch());
                    let times = self.initial_repeats(position);
                    times.for_each(|time| output.row_mut(time, local).copy_from_slice(hidden));
                }
            }
        });
    }

    /// The caller's sequence with its rows by position.
    pub(crate) fn reorder<'s>(&self, sequence: SequenceMut<'s>) -> ReorderedMut<'s>
    where
        'a: 's,
    {
        let batch = sequence.batch();
        views::present(ReorderedMut::new(sequence, self.order), "an order of rows", self.batch(), batch)
    }

    /// Calls `write` for each position, over the threads: with a piece of the caller's sequence, and where in it the
    /// row is.
    pub(crate) fn over_positions(
        &self,
        sequence: &mut SequenceMut<'_>,
        threads: usize,
        write: impl Fn(usize, &mut ReorderedMut<'_>, usize) + Sync,
    ) {
        parallel::run(self.reorder(sequence.all()), threads, &|first, mut rows| {
            for local in 0..rows.rows() {
                write(first + local, &mut rows, local);
            }
        });
    }
}

/// Rows for which x is gathered at once: enough for the hoisted product to read its weights seldom.
const GATHERED_ROWS: usize = 64;

/// Steps for which x of a whole batch can be gathered.
pub(crate) fn gathered_steps(batch: usize) -> usize {
    (GATHERED_ROWS / batch.max(1)).max(1)
}

/// What calls with lengths or masks need of a workspace.
#[derive(Clone, Debug)]
pub(crate) struct RaggedBuffers {
    order: RowOrder,
    counts: Vec<usize>,
    cursors: Vec<Cursor>,
    times: Vec<usize>,
    block_times: Vec<usize>,
    input: Buffer,
    /// What calls may give for each step beside x, for the rows of a block of each pass.
    sequences: [Buffer; 2],
    block_sequences: [Buffer; 2],
    /// What they may give for each row, by position.
    row_mask: Buffer,
}

/// What a pass over ragged rows works with.
pub(crate) struct Room<'a> {
    /// One for each position.
    pub(crate) cursors: &'a mut [Cursor],
    /// Times of the rows of a block of the forward pass.
    pub(crate) times: &'a mut [usize],
    /// x of these rows.
    pub(crate) input: &'a mut [f32],
    /// What the call gives for them beside x.
    pub(crate) sequences: [&'a mut [f32]; 2],
    /// Times of the rows of a block of the backward pass.
    pub(crate) block_times: &'a mut [usize],
    /// What the call gives for them beside x.
    pub(crate) block_sequences: [&'a mut [f32]; 2],
}

impl<'a> Ragged<'a> {
    /// Copies what a sequence has at a time of the row at a position to a row of a dense buffer.
    pub(crate) fn gather(
        &self,
        from: Sequence<'_>,
        position: usize,
        time: usize,
        to: &mut [f32],
        row: usize,
    ) {
        let width = from.shape[2];
        for (to, &x) in to[row * width..][..width].iter_mut().zip(from.row(time, self.row(position))) {
            *to = without_small(x);
        }
    }

    /// The same of some sequences.
    pub(crate) fn gather_all(
        &self,
        sequences: [Option<Sequence<'_>>; 2],
        position: usize,
        time: usize,
        to: &mut [&mut [f32]; 2],
        row: usize,
    ) {
        for (sequence, to) in sequences.into_iter().zip(to) {
            if let Some(sequence) = sequence {
                self.gather(sequence, position, time, to, row);
            }
        }
    }
}

/// Rows of the largest block of each pass, for any batch up to `batch`.
fn block_rows(shape: Shape, batch: usize, training: bool) -> Option<[usize; 2]> {
    Some([batch.max(GATHERED_ROWS), if training { max_block_rows(shape, batch)? } else { 0 }])
}

/// Elements of the buffers of f32: x, the shares of h and c for each pass, the recurrent mask.
fn elements(shape: Shape, options: &Options, batch: usize, training: bool) -> Option<[usize; 6]> {
    let [forward, backward] = block_rows(shape, batch, training)?;
    let [forward_shares, backward_shares] =
        if options.zoneout.is_some() { [forward, backward] } else { [0, 0] };
    let masked = if options.recurrent_dropout { batch } else { 0 };
    Some([
        shape.inputs.checked_mul(forward)?,
        shape.outputs.checked_mul(forward_shares)?,
        shape.units.checked_mul(forward_shares)?,
        shape.outputs.checked_mul(backward_shares)?,
        shape.units.checked_mul(backward_shares)?,
        shape.outputs.checked_mul(masked)?,
    ])
}

/// Bytes of [`RaggedBuffers`].
pub(crate) fn bytes(shape: Shape, options: &Options, batch: usize, training: bool) -> Option<usize> {
    let [forward, backward] = block_rows(shape, batch, training)?;
    let elements = elements(shape, options, batch, training)?;
    let elements = elements.into_iter().try_fold(0, usize::checked_add)?.checked_mul(size_of::<f32>())?;
    let times = forward.checked_add(backward)?.checked_mul(size_of::<usize>())?;
    let rows = batch.checked_mul(2 * size_of::<usize>() + size_of::<Cursor>())?;
    elements.checked_add(times)?.checked_add(rows)
}

impl RaggedBuffers {
    pub(crate) fn new(shape: Shape, options: &Options, batch: usize, training: bool) -> Result<Self, Error> {
        let overflow = Error::Overflow { argument: "batch" };
        let bytes = bytes(shape, options, batch, training);
        bytes.filter(|&bytes| bytes <= isize::MAX as usize).ok_or(overflow.clone())?;
        let elements = elements(shape, options, batch, training);
        let buffer = |which: usize| zeros("batch", elements.map(|elements| elements[which]));
        let [forward, backward] = block_rows(shape, batch, training).ok_or(overflow)?;
        Ok(Self {
            order: RowOrder::new(batch)
                .ok_or(Error::OutOfMemory { argument: "batch", bytes: batch * size_of::<usize>() })?,
            counts: filled("batch", batch, 0)?,
            cursors: filled("batch", batch, Cursor::default())?,
            times: filled("batch", forward, 0)?,
            block_times: filled("batch", backward, 0)?,
            input: buffer(0)?,
            sequences: [buffer(1)?, buffer(2)?],
            block_sequences: [buffer(3)?, buffer(4)?],
            row_mask: buffer(5)?,
        })
    }

    /// Bytes that these buffers own.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.order.capacity() + self.counts.len() + self.times.len() + self.block_times.len();
        let cursors = self.cursors.len() * size_of::<Cursor>();
        let sequences: usize =
            self.sequences.iter().chain(&self.block_sequences).map(|buffer| buffer.len()).sum();
        let elements = self.input.len() + sequences + self.row_mask.len();
        words * size_of::<usize>() + cursors + elements * size_of::<f32>()
    }

    /// Orders the rows of a call, for which there is room.
    pub(crate) fn sort(&mut self, row_steps: RowSteps<'_>, [times, batch]: [usize; 2]) -> Permutation<'_> {
        let counts = &mut self.counts[..batch];
        match row_steps.steps {
            Steps::Lengths(lengths) => {
                counts.iter_mut().enumerate().for_each(|(row, count)| *count = lengths.of(row));
            }
            Steps::Mask(mask) => {
                counts.fill(0);
                for time in 0..times {
                    for (row, count) in counts.iter_mut().enumerate() {
                        *count += usize::from(mask.runs(time, row));
                    }
                }
            }
            Steps::All => counts.fill(times),
        }
        self.order.sort_by_key(batch, |row| (Reverse(counts[row]), row));
        counts.sort_unstable_by_key(|&count| Reverse(count));
        self.order.sorted()
    }

    /// The order of the rows that were sorted, and how many steps the row at each position runs.
    pub(crate) fn sorted(&self) -> (Permutation<'_>, &[usize]) {
        let order = self.order.sorted();
        (order, &self.counts[..order.rows().len()])
    }

    /// The rows that were sorted, at their first steps, with what a call gives for each row in their order.
    pub(crate) fn begin<'a>(
        &'a mut self,
        row_steps: RowSteps<'a>,
        direction: Direction,
        times: usize,
        row_mask: Option<Rows<'_>>,
    ) -> (Ragged<'a>, Room<'a>, Option<Rows<'a>>) {
        let order = self.order.sorted();
        let batch = order.rows().len();
        let ragged = Ragged { row_steps, direction, times, order, counts: &self.counts[..batch] };
        let cursors = &mut self.cursors[..batch];
        for (position, cursor) in cursors.iter_mut().enumerate() {
            *cursor = ragged.cursor(position);
        }
        let row_mask = row_mask.map(|mask| {
            for (to, &row) in self.row_mask.chunks_exact_mut(mask.width()).zip(order.rows()) {
                to.copy_from_slice(mask.row(row));
            }
            views::rows(&self.row_mask, batch, mask.width())
        });
        let slices = |[first, second]: &'a mut [Buffer; 2]| [&mut first[..], &mut second[..]];
        let room = Room {
            cursors,
            times: &mut self.times,
            input: &mut self.input,
            sequences: slices(&mut self.sequences),
            block_times: &mut self.block_times,
            block_sequences: slices(&mut self.block_sequences),
        };
        (ragged, room, row_mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::kind::CellKind;
    use crate::row_steps::{Lengths, Padding};
    use crate::view::StepMask;
    use quadgate_kernels::Caches;

    const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

    fn buffers(batch: usize) -> RaggedBuffers {
        let (kind, has_options, caches) = (CellKind::Lstm, false, Caches::USUAL);
        let shape = Shape { inputs: 1, units: 1, outputs: 1, lanes: 16, caches, kind, has_options };
        RaggedBuffers::new(shape, &Options::default(), batch, true).unwrap()
    }

    #[test]
    fn rows_lie_by_descending_steps_and_equal_ones_as_they_came() {
        let mut buffers = buffers(6);
        let lengths = [3, 0, 5, 3, 5, 1];
        let steps = Steps::Lengths(Lengths::Usize(&lengths));
        let lengths = RowSteps { steps, padding: Padding::Zero };
        buffers.sort(lengths, [7, 6]);
        let (ragged, ..) = buffers.begin(lengths, Direction::Forward, 7, None);
        assert_eq!(ragged.order().rows(), [2, 4, 0, 3, 5, 1]);
        assert_eq!(ragged.steps(), 5);
        let active: Vec<_> = (0..7).map(|step| ragged.active(step)).collect();
        assert_eq!(active, [5, 4, 4, 2, 2, 0, 0]);
        assert_eq!(ragged.idle(0).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(ragged.repeats(0, 4).count() + ragged.initial_repeats(5).count(), 0);
    }

    #[test]
    fn a_reversed_row_begins_at_its_end() {
        let mut buffers = buffers(1);
        let steps = Steps::Lengths(Lengths::I64(&[3]));
        let lengths = RowSteps { steps, padding: Padding::Zero };
        buffers.sort(lengths, [5, 1]);
        let (ragged, room, _) = buffers.begin(lengths, Direction::Reverse, 5, None);
        let times: Vec<_> = (0..3).map(|step| ragged.time(0, step, &mut room.cursors[0])).collect();
        assert_eq!(times, [2, 1, 0]);
    }

    #[test]
    fn cursors_find_the_times_of_a_mask_in_any_order_and_every_time_has_one_source() {
        // Every mask of five times of one row, and the row behind another.
        for bits in 0..32usize {
            let runs: Vec<bool> = (0..5).map(|t| bits >> t & 1 == 1).collect();
            for direction in DIRECTIONS {
                let mut buffers = buffers(1);
                let steps = Steps::Mask(StepMask::time_major(&runs, 5, 1));
                let mask = RowSteps { steps, padding: Padding::Repeat };
                buffers.sort(mask, [5, 1]);
                let (ragged, room, _) = buffers.begin(mask, direction, 5, None);
                let mut expected: Vec<usize> = (0..5).filter(|&t| runs[t]).collect();
                let mut reading: Vec<usize> = (0..5).collect();
                if direction == Direction::Reverse {
                    expected.reverse();
                    reading.reverse();
                }
                assert_eq!(ragged.steps(), expected.len());
                let cursor = &mut room.cursors[0];
                for from in 0..expected.len() {
                    for to in 0..expected.len() {
                        assert_eq!(ragged.time(0, from, cursor), expected[from]);
                        assert_eq!(ragged.time(0, to, cursor), expected[to]);
                    }
                }
                let mut covered: Vec<usize> = ragged.initial_repeats(0).collect();
                for &time in &expected {
                    covered.push(time);
                    covered.extend(ragged.repeats(0, time));
                }
                assert_eq!(covered, reading);
                assert_eq!(ragged.idle(0).count(), 5 - expected.len());
            }
        }
    }
}
