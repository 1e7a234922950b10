//! The backward pass of rows that run a part of the steps.
//!
//! It is the plain one (see [`crate::backward`]) with fewer rows, which lie by position:
//!
//! ```text
//! for each block of steps, from the last to the first, with room for the rows of its first step in all of its steps:
//!     for t in the block, from the last to the first:
//!         rows that go on from step t + 1:  dh = dZ_{t+1}·R + cotangents
//!         rows whose last step this is:     dh = ∂ℓ/∂(last h) + cotangents
//!     dW, dR, db, dX of the block
//! ```
//!
//! The cotangents of a step are those of all times whose output its h is. Rows of a block that end before its last step
//! leave zeros in the steps after. In all blocks these are less than one full block: each row leaves some in one block
//! alone. So the cost goes with the steps that are run, and a row alone has the bits of a plain call.

use crate::cell::step::StepMasks;
use crate::memory::gradients::GradientRows;
use crate::memory::tools::Tools;
use crate::memory::views;
use crate::parallel;
use crate::recurrence::backward::{BackwardPass, Outputs, Segment, Step, add};
use crate::recurrence::given::{Given, GivenGradient, add_to_table, write_gradient};
use crate::recurrence::ragged::{Ragged, Room};
use crate::recurrence::source::gathered_rows;
use crate::view::Sequence;
use quadgate_kernels::{RowsMut, SequenceMut};
use std::iter;
use std::ops::Range;

/// A backward pass whose rows, in all but what is the caller's, lie by position.
pub(crate) struct RaggedBackward<'a> {
    pub(crate) pass: BackwardPass<'a>,
    pub(crate) ragged: Ragged<'a>,
}

/// A block of steps.
#[derive(Clone)]
struct Block {
    steps: Range<usize>,
    /// Rows that there is room for in each of its steps: those that run the first.
    rows: usize,
}

/// Some rows of a block, for dX.
struct BlockPart<'a> {
    /// A slot for each panel of x.
    to: SequenceMut<'a>,
    /// Scratch of the kernels, the same for each row.
    scratch: &'a mut [f32],
}

impl parallel::Rows for BlockPart<'_> {
    fn rows(&self) -> usize {
        self.to.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let rows = self.rows();
        let (to, other_to) = self.to.split_rows(at);
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        (BlockPart { to, scratch }, BlockPart { to: other_to, scratch: other_scratch })
    }
}

impl RaggedBackward<'_> {
    /// Sets the gradient of x, or of given sums, to zero where no step is run.
    pub(crate) fn clear_idle(&self, outputs: &mut Outputs<'_>) {
        let gradient = match (&mut outputs.input, &mut outputs.given) {
            (Some(gradient), _) | (None, GivenGradient::Sums(gradient)) => gradient,
            (None, _) => return,
        };
        self.ragged.over_positions(gradient, self.pass.plan.threads, |position, gradient, local| {
            self.ragged.idle(position).for_each(|time| gradient.row_mut(time, local).fill(0.0));
        });
    }

    /// Runs the steps of `segment` up to `end`, from the last to the first: see [`BackwardPass::run`].
    pub(crate) fn run(
        &self,
        segment: Segment<'_>,
        end: usize,
        scratch: &mut GradientRows<'_>,
        room: &mut Room<'_>,
        tools: &mut Tools,
        outputs: &mut Outputs<'_>,
    ) {
        let all_steps = self.ragged.steps();
        let block_steps = self.pass.block_steps;
        let mut end = end;
        while end > segment.first_step {
            let first = (end - 1) / block_steps * block_steps;
            let block =
                Block { steps: first..all_steps.min(first + block_steps), rows: self.ragged.active(first) };
            if end == block.steps.end {
                self.gather(&block, room);
                self.clear_ends(&block, scratch);
            }
            let begin = first.max(segment.first_step);
            let times = &*room.block_times;
            let gathered = room.block_sequences.each_ref().map(|sequence| &**sequence);
            let rows_of = |number: usize, positions: &Range<usize>| {
                let first_row = (number - first) * block.rows;
                first_row + positions.start..first_row + positions.end
            };
            let times_of = |number: usize, positions: &Range<usize>| &times[rows_of(number, positions)];
            let masks_of = |number: usize, positions: &Range<usize>| {
                let rows = rows_of(number, positions);
                self.gathered_masks(positions, &rows, gathered)
            };
            let keep = |number: usize, positions: Range<usize>, right: SequenceMut<'_>| {
                let active = self.active(number, &positions);
                let (times, masks) = (times_of(number, &active), masks_of(number, &active));
                let x = |row: usize| self.pass.input.row(times[row], self.ragged.row(active.start + row));
                self.pass.keep(segment, [number, number - first], active.clone(), right, &masks, x);
            };
            let step = |number: usize, last_hidden_gradient: &[f32], step: Step<'_, '_>| {
                let times = times_of(number, &self.active(number, &step.batch));
                let masks = |positions: &Range<usize>| masks_of(number, positions);
                self.step(segment, [number, number - first], last_hidden_gradient, step, times, masks);
            };
            self.pass.steps(block.rows, begin..end, first, scratch, tools, &keep, &step);
            if begin == first {
                self.pass.parameter_gradients(block.rows, block.steps.len(), scratch, outputs);
                let rows_before =
                    if first == 0 { block.rows } else { self.ragged.active(first - block_steps) };
                self.given_gradient(&block, times, scratch, outputs);
                // The right factor makes room for dX, and dZ is needed once more by the block before.
                self.input_gradient(&block, times, scratch, tools, outputs);
                self.pass.next_block([block.rows, rows_before], scratch);
            }
            end = begin;
        }
    }

    /// The masks of some positions, for which these rows of what the call gives were gathered.
    fn gathered_masks<'s>(
        &'s self,
        positions: &Range<usize>,
        rows: &Range<usize>,
        gathered: [&'s [f32]; 2],
    ) -> StepMasks<'s> {
        let [first, second] = self.pass.cell.sequences();
        let of = |sequence: Option<Sequence<'_>>, gathered: &'s [f32]| {
            sequence.map(|sequence| gathered_rows(gathered, rows, sequence.shape[2]))
        };
        self.pass.cell.masks_of(positions, [of(first, gathered[0]), of(second, gathered[1])])
    }

    /// The times of all rows of a block, and what the call gives for them beside x.
    fn gather(&self, block: &Block, room: &mut Room<'_>) {
        let sequences = self.pass.cell.sequences();
        for step in block.steps.clone().rev() {
            for position in 0..self.ragged.active(step) {
                let row = (step - block.steps.start) * block.rows + position;
                let time = self.ragged.time(position, step, &mut room.cursors[position]);
                room.block_times[row] = time;
                self.ragged.gather_all(sequences, position, time, &mut room.block_sequences, row);
            }
        }
    }

    /// Zeros in the steps of a block that come after the last of a row: they add nothing to the gradients.
    fn clear_ends(&self, block: &Block, scratch: &mut GradientRows<'_>) {
        let shape = self.pass.shape();
        let block_steps = self.pass.block_steps;
        for step in block.steps.clone() {
            let (slots, active) = (self.pass.slots(step - block.steps.start), self.ragged.active(step));
            let clear = |data: &mut [f32], slot: usize, width: usize| {
                data[(slot * block.rows + active) * width..(slot + 1) * block.rows * width].fill(0.0);
            };
            clear(scratch.gate_gradients, slots.gate_gradients, shape.gate_gradients_width());
            for panel in 0..shape.input_and_state_panels() {
                clear(scratch.right, panel * block_steps + slots.right, shape.panel_width());
            }
            scratch.cell.clear(shape, slots.right, block.rows, active..block.rows);
        }
    }

    /// Those of some positions that run a step: they are the first ones.
    fn active(&self, number: usize, positions: &Range<usize>) -> Range<usize> {
        positions.start..self.ragged.active(number).clamp(positions.start, positions.end)
    }

    /// A step, by its number in all and in its block, of some units of some positions, with the times of those that run
    /// it, and the masks of any of these.
    fn step<'m>(
        &self,
        segment: Segment<'_>,
        [number, in_block]: [usize; 2],
        last_hidden_gradient: &[f32],
        step: Step<'_, '_>,
        times: &[usize],
        masks: impl Fn(&Range<usize>) -> StepMasks<'m>,
    ) {
        let Step { vectors, batch, after, gate_gradients, cell_gradient, .. } = step;
        let Step { gathered, mut extras, half, scratch, .. } = step;
        let (first, active) = (batch.start, times.len());
        let going = self.active(number + 1, &batch).len();
        let gates = self.pass.shape().gates();
        let mut gathered = views::present(gathered, "cotangents of step", number, number + 1).first(active);
        let cotangent = self.pass.cotangent.map(|all| {
            self.gather_cotangents(all, first, times, self.pass.output_columns(&vectors), &mut gathered);
            gathered.read()
        });
        let mut cell_gradient = cell_gradient.first(active);
        if let Some(all) = self.pass.cell_cotangent {
            let columns = self.pass.unit_columns(&vectors);
            for (local, &time) in times.iter().enumerate() {
                let (row, to) = (self.ragged.row(first + local), cell_gradient.row_mut(local));
                for time in iter::once(time).chain(self.ragged.repeats(first + local, time)) {
                    add(to, &all.row(time, row)[columns.clone()]);
                }
            }
        }
        let (going_gates, ending_gates) = gate_gradients.first(active * gates).split(going * gates);
        let (going_cell, ending_cell) = cell_gradient.split(going);
        let (going_half, ending_half) = half.map(|half| half.split(active).0.split(going)).unzip();
        let after = after.map(|after| after.rows_of(0..going * gates));
        for (rows, after, gate_gradients, cell_gradient, half) in [
            (0..going, after, going_gates, going_cell, going_half),
            (going..active, None, ending_gates, ending_cell, ending_half),
        ] {
            if rows.is_empty() {
                continue;
            }
            let batch = first + rows.start..first + rows.end;
            let masks = masks(&batch);
            let mut extras = extras.as_mut().map(|extras| extras.part(rows.clone()));
            let step = Step {
                vectors: vectors.clone(),
                batch,
                after,
                gate_gradients,
                cell_gradient,
                gathered: None,
                extras: extras.as_mut(),
                half,
                scratch: &mut *scratch,
            };
            let cotangent = cotangent.map(|all| all.rows_of(rows));
            self.pass.step_of_cell(segment, number, in_block, last_hidden_gradient, cotangent, &masks, step);
        }
    }

    /// Some columns of the cotangents of the h of a step: the sums over all times whose output it is.
    fn gather_cotangents(
        &self,
        cotangent: Sequence<'_>,
        first: usize,
        times: &[usize],
        columns: Range<usize>,
        to: &mut RowsMut<'_>,
    ) {
        let columns = columns.start..columns.end.min(cotangent.shape[2]);
        for (local, &time) in times.iter().enumerate() {
            let row = self.ragged.row(first + local);
            let to = &mut to.row_mut(local)[..columns.len()];
            to.copy_from_slice(&cotangent.row(time, row)[columns.clone()]);
            for time in self.ragged.repeats(first + local, time) {
                add(to, &cotangent.row(time, row)[columns.clone()]);
            }
        }
    }

    /// dX = dZ·W of a block, in the place of x in the right factor, and from there to where the caller wants it.
    fn input_gradient(
        &self,
        block: &Block,
        times: &[usize],
        scratch: &mut GradientRows<'_>,
        tools: &mut Tools,
        outputs: &mut Outputs<'_>,
    ) {
        let Some(gradient) = &mut outputs.input else { return };
        let shape = self.pass.shape();
        let (width, panel_width) = (shape.gate_gradients_width(), shape.panel_width());
        if shape.inputs == 0 {
            return;
        }
        let rows = block.steps.len() * block.rows;
        let first = self.pass.first_slots(block.steps.len());
        let gate_gradients = &scratch.gate_gradients[first.gate_gradients * block.rows * width..];
        let gate_gradients = views::rows(gate_gradients, rows, width);
        let panels = shape.panels_of(shape.inputs).count();
        let panel_len = self.pass.block_steps * block.rows * panel_width;
        let to = &mut scratch.right[first.right * block.rows * panel_width..];
        let to = views::strided_slots(to, [panels, rows, panel_width], panel_len);
        let work = BlockPart { to, scratch: tools.scratch_for(rows) };
        parallel::run(work, self.pass.plan.threads, &|first, mut work| {
            let from = gate_gradients.rows_of(first..first + work.to.batch());
            for (panel, columns) in shape.panels_of(shape.inputs).enumerate() {
                let vectors = columns.start / shape.lanes..columns.end.div_ceil(shape.lanes);
                let mut to = views::slot(&mut work.to, panel);
                self.pass.input_product(from, vectors, to.columns(0..columns.len()), work.scratch);
            }
        });
        let right = &*scratch.right;
        self.ragged.over_positions(gradient, self.pass.plan.threads, |position, gradient, local| {
            let steps = block.steps.start..block.steps.end.min(self.ragged.counts()[position]);
            for step in steps {
                let in_block = step - block.steps.start;
                let from = (self.pass.slots(in_block).right * block.rows + position) * panel_width;
                let to = gradient.row_mut(times[in_block * block.rows + position], local);
                for (panel, columns) in shape.panels_of(shape.inputs).enumerate() {
                    let from = &right[panel * panel_len + from..][..columns.len()];
                    to[columns].copy_from_slice(from);
                }
            }
        });
    }

    /// dZ of a block as the gradient of what was given.
    fn given_gradient(
        &self,
        block: &Block,
        times: &[usize],
        scratch: &GradientRows<'_>,
        outputs: &mut Outputs<'_>,
    ) {
        let (shape, threads, steps) = (self.pass.shape(), self.pass.plan.threads, block.steps.len());
        let (width, first) = (shape.gate_gradients_width(), self.pass.first_slots(steps).gate_gradients);
        let dz = &scratch.gate_gradients[first * block.rows * width..];
        let dz = views::rows(dz, steps * block.rows, width);
        // The row of dZ of a step of the block and a position; and back.
        let slot = |in_block: usize| self.pass.direction.time(in_block, steps);
        match (&mut outputs.given, self.pass.given) {
            (GivenGradient::Sums(gradient), _) => {
                self.ragged.over_positions(gradient, threads, |position, gradient, local| {
                    let last = block.steps.end.min(self.ragged.counts()[position]);
                    for in_block in 0..last.saturating_sub(block.steps.start) {
                        let to = gradient.row_mut(times[in_block * block.rows + position], local);
                        write_gradient(shape, dz.row(slot(in_block) * block.rows + position), to);
                    }
                });
            }
            (GivenGradient::Table { rows, .. }, Some(Given::Table(_, indices))) => {
                let entry = |row: usize| {
                    let (in_block, position) = (slot(row / block.rows), row % block.rows);
                    let runs = block.steps.start + in_block < self.ragged.counts()[position];
                    let time = times[in_block * block.rows + position];
                    runs.then(|| indices.of(time, self.ragged.row(position)))
                };
                add_to_table(shape, dz, threads, rows, &entry);
            }
            _ => {}
        }
    }

    /// Adds to dc₀ by position the cotangents of the times that repeat c₀.
    pub(crate) fn add_initial_cell_cotangents(&self, scratch: &mut GradientRows<'_>) {
        let Some(cotangent) = self.pass.cell_cotangent else { return };
        let rows = scratch.cell_gradient.chunks_exact_mut(self.pass.shape().padded_cell());
        for (position, to) in rows.enumerate() {
            for time in self.ragged.initial_repeats(position) {
                add(to, cotangent.row(time, self.ragged.row(position)));
            }
        }
    }

    /// dh₀ by position; call it after the last block.
    pub(crate) fn first_hidden_gradient(&self, scratch: &mut GradientRows<'_>, tools: &mut Tools) {
        self.pass.first_hidden_gradient(self.ragged.active(0), scratch, tools);
        let Some(cotangent) = self.pass.cotangent else { return };
        let rows = scratch.hidden_gradient.chunks_exact_mut(self.pass.shape().padded_outputs());
        for (position, to) in rows.enumerate() {
            for time in self.ragged.initial_repeats(position) {
                add(to, cotangent.row(time, self.ragged.row(position)));
            }
        }
    }
}
