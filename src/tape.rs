//! What a forward pass records so that its gradients can be computed.
//!
//! A tape holds h and c before and after each step and the gates of each step, for a segment of the sequence. A full tape
//! has one segment, the whole sequence. A checkpointed tape has short segments: it keeps h and c at the start of each,
//! and the backward pass runs the segments again, from the last to the first, one at a time.

use crate::Error;
use crate::forward::{CHECKED, States};
use crate::pack::{Buffer, Shape, zeros};
use quadgate_kernels::SequenceMut;
use std::num::NonZeroUsize;

/// The record of one forward pass, made by [`Lstm::tape`](crate::Lstm::tape) or
/// [`Lstm::checkpointed_tape`](crate::Lstm::checkpointed_tape).
#[derive(Clone, Debug)]
pub struct Tape {
    shape: Shape,
    /// Steps and rows that it has room for.
    capacity: [usize; 2],
    /// Steps in a segment.
    segment: usize,
    /// Steps and rows that the last forward pass recorded.
    recorded: Option<[usize; 2]>,
    /// h before and after each step of a segment.
    pub(crate) hidden: Buffer,
    /// c before and after each step of a segment.
    pub(crate) cell: Buffer,
    /// σ(i), σ(f), tanh(g) and σ(o) of each step of a segment.
    pub(crate) gates: Buffer,
    /// h and c at the start of each segment, if there are several.
    checkpoints: [Buffer; 2],
    /// The segment that the buffers hold.
    held: usize,
}

/// Elements of each buffer: h or c of a segment, gates of a segment, h or c of all checkpoints.
fn lengths(shape: Shape, [steps, batch]: [usize; 2], segment: usize) -> Option<[usize; 3]> {
    let state = shape.padded_units().checked_mul(batch)?;
    let gates = shape.gates_width().checked_mul(batch)?;
    let checkpoints = if steps > segment { steps.div_ceil(segment) } else { 0 };
    Some([
        state.checked_mul(segment.min(steps).checked_add(1)?)?,
        gates.checked_mul(segment.min(steps))?,
        state.checked_mul(checkpoints)?,
    ])
}

/// The segment that needs the least memory: a step of a segment has six vectors per row and block of units, a checkpoint
/// two, so T/s checkpoints of 2 and s steps of 6 are least at s = √(T/3).
pub(crate) fn automatic_segment(steps: usize) -> usize {
    ((steps as f64 / 3.0).sqrt().round() as usize).max(1)
}

/// Bytes of a tape.
pub(crate) fn bytes(shape: Shape, capacity: [usize; 2], segment: usize) -> Option<usize> {
    let [state, gates, checkpoints] = lengths(shape, capacity, segment)?;
    state.checked_add(checkpoints)?.checked_mul(2)?.checked_add(gates)?.checked_mul(size_of::<f32>())
}

impl Tape {
    pub(crate) fn new(shape: Shape, capacity: [usize; 2], segment: NonZeroUsize) -> Result<Self, Error> {
        let segment = segment.get();
        let lengths = lengths(shape, capacity, segment);
        let buffer = |which: usize| zeros("steps and batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            shape,
            capacity,
            segment,
            recorded: None,
            hidden: buffer(0)?,
            cell: buffer(0)?,
            gates: buffer(1)?,
            checkpoints: [buffer(2)?, buffer(2)?],
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
        let checkpoints = self.checkpoints[0].len() + self.checkpoints[1].len();
        (self.hidden.len() + self.cell.len() + self.gates.len() + checkpoints) * size_of::<f32>()
    }

    /// Steps in a segment: those between two checkpoints.
    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    /// `Ok` if the tape can record a pass of `steps` steps and `batch` rows of a layer.
    pub(crate) fn check_room(&self, shape: Shape, steps: usize, batch: usize) -> Result<(), Error> {
        self.check_layer(shape)?;
        Error::check_room("tape", "steps", steps, self.capacity[0])?;
        Error::check_room("tape", "batch", batch, self.capacity[1])
    }

    /// `Ok` if the tape holds a pass of `steps` steps and `batch` rows of a layer.
    pub(crate) fn check_recorded(&self, shape: Shape, steps: usize, batch: usize) -> Result<(), Error> {
        self.check_layer(shape)?;
        let [recorded_steps, recorded_batch] =
            self.recorded.ok_or(Error::NothingRecorded { argument: "tape" })?;
        Error::check_dimension("tape", "steps", steps, recorded_steps)?;
        Error::check_dimension("tape", "batch", batch, recorded_batch)
    }

    fn check_layer(&self, shape: Shape) -> Result<(), Error> {
        Error::check_dimension("tape", "hidden size", shape.units, self.shape.units)?;
        Error::check_dimension("tape", "lanes", shape.lanes, self.shape.lanes)
    }

    /// Notes what is about to be recorded.
    pub(crate) fn begin(&mut self, steps: usize, batch: usize) {
        self.recorded = Some([steps, batch]);
    }

    /// The buffers of a segment of `batch` rows, to write: h and c before and after each step, and gates.
    pub(crate) fn segment_mut(&mut self, batch: usize) -> States<'_> {
        let steps = self.segment.min(self.capacity[0]);
        let (state, gates) = (self.shape.padded_units(), self.shape.gates_width());
        let view = |data, steps, width| {
            SequenceMut::new(data, [steps, batch, width], [batch * width, width]).expect(CHECKED)
        };
        States {
            hidden: view(&mut *self.hidden, steps + 1, state),
            first: 1,
            cell: view(&mut *self.cell, steps + 1, state),
            gates: Some(view(&mut *self.gates, steps, gates)),
        }
    }

    /// Keeps h and c of the start of segment `index`, which is about to be recorded.
    pub(crate) fn save(&mut self, index: usize, batch: usize) {
        self.held = index;
        if self.checkpoints[0].is_empty() {
            return;
        }
        let len = self.shape.padded_units() * batch;
        for (checkpoints, buffer) in self.checkpoints.iter_mut().zip([&self.hidden, &self.cell]) {
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
        let len = self.shape.padded_units() * batch;
        for (checkpoints, buffer) in self.checkpoints.iter().zip([&mut self.hidden, &mut self.cell]) {
            buffer[..len].copy_from_slice(&checkpoints[index * len..][..len]);
        }
    }

    /// Makes the end of a segment of `steps` steps the start of the next.
    pub(crate) fn carry(&mut self, steps: usize, batch: usize) {
        let len = self.shape.padded_units() * batch;
        for buffer in [&mut self.hidden, &mut self.cell] {
            buffer.copy_within(steps * len..(steps + 1) * len, 0);
        }
    }
}
