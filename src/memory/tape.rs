//! What a forward pass records so that its gradients can be computed.
//!
//! A tape holds h and c before and after each step and the gates of each step, for a segment of the sequence. A full
//! tape has one segment, the whole sequence. A checkpointed tape has short segments: it keeps h and c at the start of
//! each, and the backward pass runs the segments again, from the last to the first, one at a time.

use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::state::State;
use crate::memory::states::States;
use crate::memory::views;
use crate::options::Options;
use crate::row_steps::{Recorded, RowSteps};
use crate::shape::Shape;
use crate::shared::{SharedWeights, WeightsId};
use quadgate_kernels::SequenceMut;
use std::num::NonZeroUsize;

/// The record of one forward pass, made by [`Lstm::tape`](crate::Lstm::tape) or
/// [`Lstm::checkpointed_tape`](crate::Lstm::checkpointed_tape).
#[derive(Clone, Debug)]
pub struct Tape {
    shape: Shape,
    options: Options,
    /// Steps and rows that it has room for.
    capacity: [usize; 2],
    /// Steps in a segment.
    segment: usize,
    /// The last forward pass that was recorded.
    call: Option<Call>,
    /// h before and after each step of a segment.
    pub(crate) hidden: Buffer,
    /// c before and after each step of a segment.
    pub(crate) cell: Buffer,
    /// What each step of a segment records: σ(i), σ(f), tanh(g) and σ(o) of a plain LSTM, with options the
    /// pre-activations.
    pub(crate) recorded: Buffer,
    /// What enters the clip of a projection, if there is one, of each step of a segment.
    pub(crate) projected: Buffer,
    /// h and c at the start of each segment, if there are several.
    checkpoints: [Buffer; 2],
    /// The segment that the buffers hold.
    held: usize,
}

/// A forward pass that was recorded.
#[derive(Clone, Debug)]
struct Call {
    /// T and B
    sizes: [usize; 2],
    /// Which of the steps were run, if not all.
    row_steps: Option<Recorded>,
    weights: WeightsId,
}

/// Elements of each buffer: h, c, gates and projections of a segment, h and c of all checkpoints.
fn lengths(
    shape: Shape,
    options: &Options,
    [steps, batch]: [usize; 2],
    segment: usize,
) -> Option<[usize; 6]> {
    if batch == 0 {
        return Some([0; 6]);
    }
    let hidden = shape.padded_outputs().checked_mul(batch)?;
    let cell = shape.padded_cell().checked_mul(batch)?;
    let gates = shape.recorded_width().checked_mul(batch)?;
    let projected = if options.clip.projection.is_some() { shape.outputs.checked_mul(batch)? } else { 0 };
    let checkpoints = if steps > segment { steps.div_ceil(segment) } else { 0 };
    let steps = segment.min(steps);
    Some([
        hidden.checked_mul(steps.checked_add(1)?)?,
        cell.checked_mul(steps.checked_add(1)?)?,
        gates.checked_mul(steps)?,
        projected.checked_mul(steps)?,
        hidden.checked_mul(checkpoints)?,
        cell.checked_mul(checkpoints)?,
    ])
}

/// The segment that needs the least memory: a step of a segment has six vectors per row and block of units, a
/// checkpoint two, so T/s checkpoints of 2 and s steps of 6 are least at s = √(T/3).
pub(crate) fn automatic_segment(steps: usize) -> usize {
    ((steps as f64 / 3.0).sqrt().round() as usize).max(1)
}

/// Bytes of a tape.
pub(crate) fn bytes(shape: Shape, options: &Options, capacity: [usize; 2], segment: usize) -> Option<usize> {
    let lengths = lengths(shape, options, capacity, segment)?;
    lengths.into_iter().try_fold(0, usize::checked_add)?.checked_mul(size_of::<f32>())
}

impl Tape {
    pub(crate) fn new(
        shape: Shape,
        options: &Options,
        capacity: [usize; 2],
        segment: NonZeroUsize,
    ) -> Result<Self, Error> {
        let segment = segment.get();
        let lengths = lengths(shape, options, capacity, segment);
        let buffer = |which: usize| zeros("steps and batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            shape,
            options: *options,
            capacity,
            segment,
            call: None,
            hidden: buffer(0)?,
            cell: buffer(1)?,
            recorded: buffer(2)?,
            projected: buffer(3)?,
            checkpoints: [buffer(4)?, buffer(5)?],
            held: 0,
        })
    }

    /// T, the most steps that it can record.
    pub fn steps(&self) -> usize {
        self.capacity[0]
    }

    /// B, the most rows that it can record.
    pub fn batch(&self) -> usize {
        self.capacity[1]
    }

    /// Bytes that this tape owns.
    pub fn bytes(&self) -> usize {
        let Self {
            hidden,
            cell,
            recorded,
            projected,
            checkpoints: [hidden_checkpoints, cell_checkpoints],
            ..
        } = self;
        let buffers = [hidden, cell, recorded, projected, hidden_checkpoints, cell_checkpoints];
        buffers.iter().map(|buffer| buffer.len()).sum::<usize>() * size_of::<f32>()
    }

    /// Steps from one checkpoint to the next, if there are checkpoints.
    pub(crate) fn every(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.segment).filter(|_| self.segment < self.capacity[0])
    }

    /// Steps in a segment: those between two checkpoints.
    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    /// `Ok` if the tape can record a pass of `steps` steps and `batch` rows of a layer.
    pub(crate) fn check_room(
        &self,
        shape: Shape,
        options: &Options,
        steps: usize,
        batch: usize,
    ) -> Result<(), Error> {
        self.check_layer(shape, options)?;
        Error::check_room("tape", "steps", steps, self.capacity[0])?;
        Error::check_room("tape", "batch", batch, self.capacity[1])
    }

    /// `Ok` if the tape holds a pass of `steps` steps and `batch` rows of a layer, that ran the same of them: with the
    /// padding that it had.
    pub(crate) fn check_recorded<'a>(
        &self,
        options: &Options,
        [steps, batch]: [usize; 2],
        row_steps: Option<RowSteps<'a>>,
        weights: &SharedWeights,
    ) -> Result<Option<RowSteps<'a>>, Error> {
        self.check_layer(weights.shape(), options)?;
        let call = self.call.as_ref().ok_or(Error::NothingRecorded { argument: "tape" })?;
        Error::check_dimension("tape", "steps", steps, call.sizes[0])?;
        Error::check_dimension("tape", "batch", batch, call.sizes[1])?;
        let recorded = call.row_steps;
        Recorded::check(recorded, row_steps.and_then(|row_steps| row_steps.recorded([steps, batch])))?;
        if !weights.are_of_layer(&call.weights) {
            return Err(Error::OtherWeights { argument: "tape" });
        }
        if !weights.are(&call.weights) {
            return Err(Error::WeightsReplaced { argument: "tape" });
        }
        let padding = recorded.map(|recorded| recorded.padding);
        Ok(row_steps.zip(padding).map(|(row_steps, padding)| RowSteps { padding, ..row_steps }))
    }

    fn check_layer(&self, shape: Shape, options: &Options) -> Result<(), Error> {
        shape.check_rows("tape", self.shape)?;
        Options::check_same("tape", Some(options), Some(&self.options))
    }

    /// Elements of h and of c of all rows.
    fn state_lengths(&self, batch: usize) -> [usize; 2] {
        [self.shape.padded_outputs() * batch, self.shape.padded_cell() * batch]
    }

    /// Notes what is about to be recorded.
    pub(crate) fn begin(&mut self, sizes: [usize; 2], row_steps: Option<RowSteps<'_>>, weights: WeightsId) {
        let row_steps = row_steps.and_then(|row_steps| row_steps.recorded(sizes));
        self.call = Some(Call { sizes, row_steps, weights });
    }

    /// Runs `steps` steps of what was begun, segment after segment, from the states in the first slots; and leaves in
    /// `state` h and c of each row after its last step.
    ///
    /// `run` takes the first step of a segment, how many there are, and where they are recorded.
    pub(crate) fn record(
        &mut self,
        steps: usize,
        state: &mut State,
        steps_of_row: impl Fn(usize) -> usize,
        mut run: impl FnMut(usize, usize, States<'_>),
    ) {
        let batch = self.call.as_ref().map_or(0, |call| call.sizes[1]);
        let row_lengths = self.state_lengths(1);
        let lengths = self.state_lengths(batch);
        let mut last = 0;
        for first_step in (0..steps).step_by(self.segment) {
            self.carry(last, batch);
            last = self.segment.min(steps - first_step);
            self.save(first_step / self.segment, batch);
            run(first_step, last, self.segment_mut(batch, 0));
            for row in 0..batch {
                let end = steps_of_row(row);
                if first_step < end && end <= first_step + last {
                    // After step s of the segment, h and c are in slot s + 1.
                    let copy = |to: &mut [f32], from: &[f32], which: usize| {
                        let (len, at) = (row_lengths[which], row * row_lengths[which]);
                        let slot = (end - first_step) * lengths[which];
                        to[at..at + len].copy_from_slice(&from[slot + at..][..len]);
                    };
                    copy(state.latest_hidden(), &self.hidden, 0);
                    copy(state.latest_cell(), &self.cell, 1);
                }
            }
        }
    }

    /// The buffers of a segment of `batch` rows from its step `first` on, to write: h and c before and after each step,
    /// and gates.
    pub(crate) fn segment_mut(&mut self, batch: usize, first: usize) -> States<'_> {
        let steps = self.segment.min(self.capacity[0]);
        let shape = self.shape;
        fn view(data: &mut [f32], steps: usize, batch: usize, width: usize) -> SequenceMut<'_> {
            views::slots(data, [steps, batch, width])
        }
        let has_projected = !self.projected.is_empty();
        States {
            hidden: view(&mut self.hidden, steps + 1, batch, shape.padded_outputs()),
            first: first + 1,
            cell: view(&mut self.cell, steps + 1, batch, shape.padded_cell()),
            recorded: Some(
                view(&mut self.recorded, steps, batch, shape.recorded_width()).split_steps(first).1,
            ),
            projected: has_projected
                .then(|| view(&mut self.projected, steps, batch, shape.outputs).split_steps(first).1),
        }
    }

    /// Keeps h and c of the start of segment `index`, which is about to be recorded.
    pub(crate) fn save(&mut self, index: usize, batch: usize) {
        self.held = index;
        if self.checkpoints[0].is_empty() {
            return;
        }
        let buffers = [&self.hidden, &self.cell].into_iter().zip(self.state_lengths(batch));
        for (checkpoints, (buffer, len)) in self.checkpoints.iter_mut().zip(buffers) {
            checkpoints[index * len..][..len].copy_from_slice(&buffer[..len]);
        }
    }

    /// Whether the buffers hold segment `index`.
    pub(crate) fn holds(&self, index: usize) -> bool {
        self.held == index
    }

    /// Brings back h and c of the start of segment `index`, which is about to be recorded again.
    pub(crate) fn restore(&mut self, index: usize, batch: usize) {
        self.held = index;
        let lengths = self.state_lengths(batch);
        let buffers = [&mut self.hidden, &mut self.cell].into_iter().zip(lengths);
        for (checkpoints, (buffer, len)) in self.checkpoints.iter().zip(buffers) {
            buffer[..len].copy_from_slice(&checkpoints[index * len..][..len]);
        }
    }

    /// Makes the end of a segment of `steps` steps the start of the next.
    pub(crate) fn carry(&mut self, steps: usize, batch: usize) {
        let lengths = self.state_lengths(batch);
        for (buffer, len) in [&mut self.hidden, &mut self.cell].into_iter().zip(lengths) {
            buffer.copy_within(steps * len..(steps + 1) * len, 0);
        }
    }
}
