//! Backpropagation through time, in blocks of steps.
//!
//! ```text
//! for each block of steps, from the last to the first:
//!     for t in the block, from the last to the first:          rows of the batch or hidden units over threads
//!         dh = dZ_{t+1}·R + cotangent of h_t;  dZ_t, dc = backward pass of the cell
//!         x_t, h_{t−1} → panels of the block's right factor    (of a team: after the steps, rows over threads)
//!     dX = dZ·W                                                rows of the batch or steps over threads
//!     dW += dZᵀ·x,  dR += dZᵀ·h,  db += Σ dZ                   hidden units over threads
//! dh₀ = dZ_0·R,  dc₀ = dc
//! ```
//!
//! Steps are numbered in the order in which the forward pass ran them. The times whose x they read are those of the
//! [`Direction`]; a block keeps dZ, x and h in the order of time, so that its products read and write rows that ascend.
//!
//! The weight gradients are split by hidden units, not by rows of the batch: each element is summed by one thread, over
//! all rows in a fixed order, so nothing has to be reduced and the bits do not depend on the threads. Each block is one
//! chain of multiply-adds that is then added to the total; how many rows a block has depends on the shape alone.

use crate::cell::Cell;
use crate::cell::options_backward::{BackwardExtras, CellGradients, CellRows};
use crate::cell::step::{BackwardStep, Half, StepMasks};
use crate::config::Split;
use crate::direction::Direction;
use crate::memory::gradients::GradientRows;
use crate::memory::tools::{TeamTools, Tools};
use crate::memory::views;
use crate::pack::PackedWeights;
use crate::parallel;
use crate::plan::{Plan, gathers_columns};
use crate::recurrence::given::{Given, GivenGradient, add_to_table, write_gradient};
use crate::shape::Shape;
use crate::view::Sequence;
use quadgate_kernels::{
    ColumnProduct, Kernels, Product, Rows, RowsMut, SequenceMut, Shared, Slots, Start, Team, Term,
    without_small,
};
use std::ops::Range;

/// Hidden units whose weight gradients are computed at once: dZ of one of their gates stays in the second cache while
/// all panels of x and h pass by. A multiple of the rows of every tile.
const UNITS_AT_ONCE: usize = 96;

/// What the whole pass shares.
#[derive(Clone, Copy)]
pub(crate) struct BackwardPass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: &'a PackedWeights,
    pub(crate) cell: Cell<'a>,
    /// The sizes: without inputs, if W·x is given.
    pub(crate) shape: Shape,
    pub(crate) input: Sequence<'a>,
    /// What was given in the place of W·x, if it was.
    pub(crate) given: Option<Given<'a>>,
    pub(crate) cotangent: Option<Sequence<'a>>,
    /// Of c of each step.
    pub(crate) cell_cotangent: Option<Sequence<'a>>,
    pub(crate) direction: Direction,
    pub(crate) plan: Plan,
    /// Steps in a block, see [`block_steps`].
    pub(crate) block_steps: usize,
}

/// Where the gradients go.
pub(crate) struct Outputs<'a> {
    pub(crate) input: Option<SequenceMut<'a>>,
    pub(crate) given: GivenGradient<'a>,
    pub(crate) parameters: Option<Parameters<'a>>,
}

/// Gradients of weights and biases, rows in the order i, f, g, o.
pub(crate) struct Parameters<'a> {
    /// `[4H, X]`
    pub(crate) weight_ih: &'a mut [f32],
    /// `[4H, H]`
    pub(crate) weight_hh: &'a mut [f32],
    /// `[4H]`
    pub(crate) bias: &'a mut [f32],
    /// Those of a cell beyond these.
    pub(crate) others: CellGradients<'a>,
    /// Whether to add to what is there.
    pub(crate) add: bool,
}

/// The recorded steps of a segment, of all rows.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    /// Its first step.
    pub(crate) first_step: usize,
    pub(crate) hidden: &'a [f32],
    pub(crate) cell: &'a [f32],
    pub(crate) recorded: &'a [f32],
    pub(crate) projected: &'a [f32],
}

/// Some rows of the batch, with all that the steps of a block write.
struct StepRows<'a> {
    /// Rows of gate gradients for each row.
    gates: usize,
    /// `[slots, rows · gates, gate stride]`: a step writes its slot, and reads that of the step after it.
    gate_gradients: SequenceMut<'a>,
    /// `[panels · slots, rows, panel width]`
    right: SequenceMut<'a>,
    /// One slot.
    cell_gradient: SequenceMut<'a>,
    /// One slot.
    gathered: SequenceMut<'a>,
    /// What steps of a cell with extras write.
    extras: Option<CellRows<'a>>,
    /// Scratch of the kernels, the same for each row. Empty until the pass lends it.
    scratch: &'a mut [f32],
}

impl parallel::Rows for StepRows<'_> {
    fn rows(&self) -> usize {
        self.right.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (gates, rows) = (self.gates, self.rows());
        let (gate_gradients, other_gate_gradients) = self.gate_gradients.split_rows(at * self.gates);
        let (right, other_right) = self.right.split_rows(at);
        let (cell_gradient, other_cell_gradient) = self.cell_gradient.split_rows(at);
        let (gathered, other_gathered) = self.gathered.split_rows(at);
        let (extras, other_extras) = self.extras.map(|extras| extras.split(at)).unzip();
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        (
            StepRows { gates, gate_gradients, right, cell_gradient, gathered, extras, scratch },
            StepRows {
                gates,
                gate_gradients: other_gate_gradients,
                right: other_right,
                cell_gradient: other_cell_gradient,
                gathered: other_gathered,
                extras: other_extras,
                scratch: other_scratch,
            },
        )
    }
}

/// Where a step of a block lies in the buffers of the block.
#[derive(Clone, Copy)]
pub(crate) struct StepSlots {
    pub(crate) right: usize,
    pub(crate) gate_gradients: usize,
    /// dZ of the step after it.
    after: usize,
}

/// What one step of some units reads and writes.
pub(crate) struct Step<'a, 'g> {
    /// Vectors of units.
    pub(crate) vectors: Range<usize>,
    /// The rows, in the buffers of states.
    pub(crate) batch: Range<usize>,
    /// dZ of the step after, all gates of all units; for [`BackwardPass::cell`] `None` at the last step.
    pub(crate) after: Option<Rows<'a>>,
    pub(crate) gate_gradients: RowsMut<'a>,
    pub(crate) cell_gradient: RowsMut<'a>,
    /// Room for cotangents that must be gathered.
    pub(crate) gathered: Option<RowsMut<'a>>,
    pub(crate) extras: Option<&'a mut CellRows<'g>>,
    /// One half alone of a step that has halves.
    pub(crate) half: Option<Half<'a>>,
    pub(crate) scratch: &'a mut [f32],
}

/// dX of some times of a block and some rows of the batch.
struct InputPart<'a> {
    first_time: usize,
    first_row: usize,
    gradient: SequenceMut<'a>,
    /// Scratch of the kernels, the same for each step and row.
    scratch: &'a mut [f32],
}

impl InputPart<'_> {
    /// Products of many rows read the weights less often: all steps of a batch row, or all rows of a step.
    fn has_more_steps(&self) -> bool {
        self.gradient.slots() >= self.gradient.batch()
    }
}

impl parallel::Rows for InputPart<'_> {
    fn rows(&self) -> usize {
        if self.has_more_steps() { self.gradient.slots() } else { self.gradient.batch() }
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (has_more_steps, rows) = (self.has_more_steps(), self.rows());
        let InputPart { first_time, first_row, gradient, scratch } = self;
        let (gradient, other) =
            if has_more_steps { gradient.split_steps(at) } else { gradient.split_rows(at) };
        let (scratch, other_scratch) = parallel::split_evenly(scratch, rows, at);
        let [time, row] =
            if has_more_steps { [first_time + at, first_row] } else { [first_time, first_row + at] };
        (
            InputPart { first_time, first_row, gradient, scratch },
            InputPart { first_time: time, first_row: row, gradient: other, scratch: other_scratch },
        )
    }
}

/// dW, dR and db of some hidden units: sequences of four gates by units.
struct Units<'a> {
    weight_ih: SequenceMut<'a>,
    weight_hh: SequenceMut<'a>,
    /// Empty where Σ dZ is not the gradient of the bias.
    bias: SequenceMut<'a>,
    /// Room for columns of dZ, see [`Columns`].
    columns: &'a mut [f32],
}

impl parallel::Rows for Units<'_> {
    fn rows(&self) -> usize {
        self.weight_hh.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let units = self.rows();
        let (weight_ih, other_ih) = self.weight_ih.split_rows(at);
        let (weight_hh, other_hh) = self.weight_hh.split_rows(at);
        let (bias, other_bias) = self.bias.split_rows(at);
        let (columns, other_columns) = parallel::split_evenly(self.columns, units, at);
        (
            Units { weight_ih, weight_hh, bias, columns },
            Units { weight_ih: other_ih, weight_hh: other_hh, bias: other_bias, columns: other_columns },
        )
    }
}

/// Columns of dZ, of one gate of some units.
struct Columns<'a> {
    gate_gradients: Rows<'a>,
    /// Where they are moved together; empty if they are read where they are.
    room: &'a mut [f32],
    /// The first of those that are there.
    first: Option<usize>,
}

impl Columns<'_> {
    /// Rows that have `count` columns from `first` on, and where they begin in them.
    fn take(&mut self, first: usize, count: usize) -> (Rows<'_>, usize) {
        let from = self.gate_gradients;
        if self.room.is_empty() {
            return (from, first);
        }
        if self.first != Some(first) {
            for (row, to) in self.room.chunks_exact_mut(count).take(from.rows()).enumerate() {
                to.copy_from_slice(&from.row(row)[first..][..count]);
            }
            self.first = Some(first);
        }
        (views::rows(self.room, from.rows(), count), 0)
    }
}

impl BackwardPass<'_> {
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Runs the steps of `segment` up to `end`, from the last to the first.
    ///
    /// A block whose first step lies in the segment is finished here, so that blocks and segments need not agree.
    pub(crate) fn run(
        &self,
        segment: Segment<'_>,
        end: usize,
        scratch: &mut GradientRows<'_>,
        tools: &mut Tools,
        outputs: &mut Outputs<'_>,
    ) {
        let [steps, batch, _] = self.input.shape;
        let block_steps = self.block_steps;
        let mut end = end;
        while end > segment.first_step {
            let block = (end - 1) / block_steps;
            let begin = (block * block_steps).max(segment.first_step);
            let first = block * block_steps;
            let keep = |number: usize, rows: Range<usize>, right: SequenceMut<'_>| {
                let time = self.direction.time(number, steps);
                let masks = self.masks(time, &rows);
                let x = self.input.batch_rows(time, rows.start, rows.len());
                self.keep(segment, [number, number - first], rows, right, &masks, |row| x.row(row));
            };
            let step = |number: usize, last_hidden_gradient: &[f32], step: Step<'_, '_>| {
                self.step(segment, number, number - first, last_hidden_gradient, step);
            };
            self.steps(batch, begin..end, first, scratch, tools, &keep, &step);
            if begin == first {
                let finished = begin..steps.min(begin + block_steps);
                self.input_gradient(finished.clone(), scratch, tools, outputs);
                self.given_gradient(finished.clone(), scratch, outputs);
                self.parameter_gradients(batch, finished.len(), scratch, outputs);
                self.next_block([batch; 2], scratch);
            }
            end = begin;
        }
    }

    /// dZ of the steps `range`, which belong to the block that begins at `block` and whose steps have `rows` rows.
    ///
    /// `keep` takes a step, some rows, and where their x and h are kept, `[panels · slots, rows, panel width]`; `run` a
    /// step, the gradient of the last h, and some rows or units.
    #[allow(clippy::too_many_arguments)] // All of a block.
    pub(crate) fn steps(
        &self,
        rows: usize,
        range: Range<usize>,
        block: usize,
        scratch: &mut GradientRows<'_>,
        tools: &mut Tools,
        keep: &(impl Fn(usize, Range<usize>, SequenceMut<'_>) + Sync),
        run: &(impl Fn(usize, &[f32], Step<'_, '_>) + Sync),
    ) {
        let shape = self.shape();
        let block_steps = self.block_steps;
        fn view(data: &mut [f32], steps: usize, rows: usize, width: usize) -> SequenceMut<'_> {
            views::slots(data, [steps, rows, width])
        }
        let GradientRows { hidden_gradient, cell, .. } = scratch;
        // A cell with extras carries dh along; else it is what the last step starts from.
        let (extras, last_hidden_gradient): (_, &[f32]) = match self.cell.has_extras() {
            true => (Some(cell.rows(hidden_gradient, shape, block_steps, rows)), &[]),
            false => (None, &**hidden_gradient),
        };
        let work = StepRows {
            gates: shape.gates(),
            gate_gradients: view(
                &mut *scratch.gate_gradients,
                block_steps + 1,
                rows * shape.gates(),
                shape.gate_stride(),
            ),
            right: view(
                &mut *scratch.right,
                shape.input_and_state_panels() * block_steps,
                rows,
                shape.panel_width(),
            ),
            cell_gradient: view(&mut *scratch.cell_gradient, 1, rows, shape.padded_carry()),
            gathered: view(&mut *scratch.cotangent, 1, rows, shape.padded_outputs()),
            extras,
            scratch: &mut [],
        };
        let step = |number: usize, step: Step<'_, '_>| run(number, last_hidden_gradient, step);
        match self.plan.split {
            Split::Rows => {
                let work = StepRows { scratch: tools.scratch_for(rows), ..work };
                parallel::run(work, self.plan.threads, &|first, work| {
                    self.rows_of_steps(range.clone(), block, first, work, keep, &step);
                });
            }
            Split::Units => {
                let tools = tools.for_team(shape, self.plan.threads, rows);
                let right = self.units_of_steps(range.clone(), block, work, tools, &step);
                // Afterwards, since columns of a member would share cache lines with those of the next.
                parallel::run(right, self.plan.threads.min(rows), &|first, mut right| {
                    for number in range.clone() {
                        keep(number, first..first + right.batch(), right.all());
                    }
                });
            }
        }
    }

    /// All units of some rows, from row `first` of the batch on, on this thread.
    fn rows_of_steps(
        &self,
        range: Range<usize>,
        block: usize,
        first: usize,
        mut work: StepRows<'_>,
        keep: &impl Fn(usize, Range<usize>, SequenceMut<'_>),
        run: &impl Fn(usize, Step<'_, '_>),
    ) {
        let rows = parallel::Rows::rows(&work);
        if rows == 0 {
            return;
        }
        for number in range.rev() {
            keep(number, first..first + rows, work.right.all());
            let slots = self.slots(number - block);
            let (gate_gradients, after) =
                views::slot_beside(&mut work.gate_gradients, slots.gate_gradients, slots.after);
            let step = Step {
                vectors: 0..self.shape().blocks(),
                batch: first..first + rows,
                after: Some(after),
                gate_gradients,
                cell_gradient: views::slot(&mut work.cell_gradient, 0),
                gathered: work.gathered.step(0),
                extras: work.extras.as_mut(),
                half: None,
                scratch: &mut *work.scratch,
            };
            run(number, step);
        }
    }

    /// All rows, with the units over a team. Returns where x and h are to be kept.
    fn units_of_steps<'a>(
        &self,
        range: Range<usize>,
        block: usize,
        work: StepRows<'a>,
        tools: TeamTools<'_>,
        run: &(impl Fn(usize, Step<'_, '_>) + Sync),
    ) -> SequenceMut<'a> {
        let StepRows { gate_gradients, right, cell_gradient, gathered, extras, .. } = work;
        let TeamTools { progress, scratch, between_halves } = tools;
        let has_halves = self.shape().has_halves();
        let batch = 0..right.batch();
        let (lanes, members, last) = (self.shape().lanes, progress.len(), range.end - 1);
        let first_slot = self.slots(last - block).gate_gradients;
        let written = match self.direction {
            Direction::Forward => Slots::Down { first: first_slot },
            Direction::Reverse => Slots::Up { first: first_slot },
        };
        let stepped = [
            Shared::new(gate_gradients, lanes, written),
            Shared::new(between_halves, lanes, Slots::EachTurn),
        ];
        let CellRows { carry, hidden, peephole_terms, .. } = extras.unwrap_or_else(CellRows::empty);
        let owned = [
            Shared::new(cell_gradient, lanes, written),
            Shared::new(gathered, lanes, written),
            Shared::new(carry, lanes, written),
            Shared::new(hidden, lanes, written),
            Shared::new(peephole_terms, lanes, written),
        ];
        let team =
            Team::new(progress, range.len(), self.shape().blocks(), stepped, owned).in_halves(has_halves);
        parallel::together(0..members, scratch, &|member, scratch| {
            team.join(member, |turn| {
                let (number, vectors) = (last - turn.step(), turn.blocks());
                if vectors.is_empty() {
                    return;
                }
                let is_second_half = turn.is_second_half();
                let ([gate_gradients, between], owned) = turn.parts();
                let [mut cell_gradient, mut gathered, carry, hidden, peephole_terms] = owned;
                let mut extras = self.cell.has_extras().then(|| CellRows {
                    carry,
                    hidden,
                    peephole_terms,
                    ..CellRows::empty()
                });
                let step = Step {
                    vectors,
                    batch: batch.clone(),
                    after: gate_gradients.before,
                    gate_gradients: views::present(gate_gradients.now, "dZ of step", number, last + 1),
                    cell_gradient: views::slot(&mut cell_gradient, 0),
                    gathered: gathered.step(0),
                    extras: extras.as_mut(),
                    half: Half::of_turn(has_halves, is_second_half, between),
                    scratch: &mut *scratch,
                };
                run(number, step);
            });
        });
        right
    }

    /// Step `number` of some units of some rows.
    fn step(
        &self,
        segment: Segment<'_>,
        number: usize,
        in_block: usize,
        last_hidden_gradient: &[f32],
        mut step: Step<'_, '_>,
    ) {
        let steps = self.input.shape[0];
        let (first, rows) = (step.batch.start, step.batch.len());
        let time = self.direction.time(number, steps);
        let masks = self.masks(time, &step.batch);
        let columns = self.output_columns(&step.vectors);
        let cotangent = self.cotangent.map(|all| all.batch_rows(time, first, rows).columns(columns));
        if number + 1 == steps {
            step.after = None;
        }
        if let Some(all) = self.cell_cotangent {
            let columns = self.unit_columns(&step.vectors);
            for row in 0..rows {
                add(step.cell_gradient.row_mut(row), &all.row(time, first + row)[columns.clone()]);
            }
        }
        self.step_of_cell(segment, number, in_block, last_hidden_gradient, cotangent, &masks, step);
    }

    /// Keeps x and h of the step before for the weight gradients, of some rows of a step with its number in all and in
    /// its block.
    pub(crate) fn keep<'x>(
        &self,
        segment: Segment<'_>,
        [number, in_block]: [usize; 2],
        rows: Range<usize>,
        mut right: SequenceMut<'_>,
        masks: &StepMasks<'_>,
        x: impl Fn(usize) -> &'x [f32],
    ) {
        let shape = self.shape();
        let (outputs, count) = (shape.padded_outputs(), rows.len());
        let h = self.state_rows(segment.hidden, number - segment.first_step, rows.clone(), outputs);
        let block_steps = self.block_steps;
        let mut panel = self.slots(in_block).right;
        for columns in shape.panels_of(shape.inputs) {
            let mut to = views::slot(&mut right, panel);
            panel += block_steps;
            for row in 0..count {
                for (to, &x) in to.row_mut(row)[..columns.len()].iter_mut().zip(&x(row)[columns.clone()]) {
                    *to = without_small(x);
                }
            }
        }
        for columns in shape.panels_of(outputs) {
            let mut to = views::slot(&mut right, panel);
            panel += block_steps;
            let h = h.columns(columns.clone());
            let mask = masks.recurrent.map(|mask| mask.columns(columns.clone()));
            for row in 0..count {
                let to = &mut to.row_mut(row)[..columns.len()];
                to.copy_from_slice(h.row(row));
                if let Some(mask) = mask {
                    to.iter_mut().zip(mask.row(row)).for_each(|(h, mask)| *h *= mask);
                }
            }
        }
        if !shape.kind.has_gated_product() {
            return;
        }
        let recorded =
            self.state_rows(segment.recorded, number - segment.first_step, rows, shape.recorded_width());
        for columns in shape.panels_of(outputs) {
            let mut to = views::slot(&mut right, panel);
            panel += block_steps;
            let h = h.columns(columns.clone());
            let mask = masks.recurrent.map(|mask| mask.columns(columns.clone()));
            for row in 0..count {
                let to = &mut to.row_mut(row)[..columns.len()];
                let vectors = to.chunks_mut(shape.lanes).zip(h.row(row).chunks(shape.lanes));
                for ((to, h), unit) in vectors.zip(columns.clone().step_by(shape.lanes)) {
                    let gates = &recorded.row(row)[shape.recorded_gate(unit)..];
                    to.iter_mut().zip(h).zip(gates).for_each(|((to, h), gate)| *to = gate * h);
                }
                if let Some(mask) = mask {
                    to.iter_mut().zip(mask.row(row)).for_each(|(to, mask)| *to *= mask);
                }
            }
        }
    }

    /// The backward pass of the cell of step `number`, with the cotangents of its h.
    #[allow(clippy::too_many_arguments)] // All of a step.
    pub(crate) fn step_of_cell(
        &self,
        segment: Segment<'_>,
        number: usize,
        in_block: usize,
        last_hidden_gradient: &[f32],
        cotangent: Option<Rows<'_>>,
        masks: &StepMasks<'_>,
        step: Step<'_, '_>,
    ) {
        let Step { vectors, batch, after, gate_gradients, cell_gradient, extras, half, scratch, .. } = step;
        let shape = self.shape();
        let columns = self.columns(&vectors);
        let rows_of = |data, step, width| self.state_rows(data, step, batch.clone(), width);
        let cell = |step| rows_of(segment.cell, step, shape.padded_cell()).columns(columns.clone());
        let weights = self.weights.transposed_recurrent();
        let recurrent = after.map(|after| {
            let rows = views::present(after.join(shape.gates()), "gates of rows", 0, after.rows());
            let rows = rows.columns(shape.plain_recurrent_columns());
            Term { rows, weights, from: 0 }
        });
        let step = number - segment.first_step;
        let width = shape.recorded();
        let hidden = |step| rows_of(segment.hidden, step, shape.padded_outputs()).columns(columns.clone());
        let recorded = rows_of(segment.recorded, step, shape.recorded_width())
            .columns(width * columns.start..width * columns.end);
        let last_hidden_gradient = match extras.is_some() {
            true => views::no_rows(),
            false => rows_of(last_hidden_gradient, 0, shape.padded_outputs()).columns(columns.clone()),
        };
        let extras = extras.map(|rows| BackwardExtras {
            masks: *masks,
            projected: (!segment.projected.is_empty())
                .then(|| rows_of(segment.projected, step, shape.outputs)),
            rows,
            slot: self.slots(in_block).right,
        });
        let step = BackwardStep {
            vectors,
            last_hidden_gradient,
            recurrent,
            weights,
            cotangent,
            recorded,
            hidden: hidden(step + 1),
            previous_hidden: hidden(step),
            cell: cell(step + 1),
            previous_cell: cell(step),
            cell_gradient,
            gate_gradients,
            half,
            scratch,
        };
        self.cell.step_backward(step, extras);
    }

    /// What the call gives for some rows at a time.
    fn masks(&self, time: usize, rows: &Range<usize>) -> StepMasks<'_> {
        let taken = self.cell.sequences();
        self.cell
            .masks_of(rows, taken.map(|sequence| Some(sequence?.batch_rows(time, rows.start, rows.len()))))
    }

    /// The units of some vectors.
    fn columns(&self, vectors: &Range<usize>) -> Range<usize> {
        vectors.start * self.shape().lanes..vectors.end * self.shape().lanes
    }

    /// The same without padding.
    pub(crate) fn unit_columns(&self, vectors: &Range<usize>) -> Range<usize> {
        let Range { start, end } = self.columns(vectors);
        start..end.min(self.shape().units)
    }

    /// The elements of h of some vectors of units: all of a projection, which is of whole rows.
    pub(crate) fn output_columns(&self, vectors: &Range<usize>) -> Range<usize> {
        let shape = self.shape();
        if self.cell.mixes_units() { 0..shape.padded_outputs() } else { self.columns(vectors) }
    }

    /// Some rows of a step of a buffer of states.
    fn state_rows<'s>(&self, data: &'s [f32], step: usize, rows: Range<usize>, width: usize) -> Rows<'s> {
        let first = (step * self.input.shape[1] + rows.start) * width;
        views::rows(&data[first..], rows.len(), width)
    }

    /// dX = dZ·W of some rows, of the columns of some vectors of W.
    pub(crate) fn input_product(
        &self,
        gate_gradients: Rows<'_>,
        vectors: Range<usize>,
        to: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let weights = self.weights.transposed_input();
        let rows = gate_gradients.columns(self.shape().input_columns());
        let terms = [Some(Term { rows, weights, from: 0 }), None];
        self.kernels.product(Product { start: Start::Zero, terms, vectors, to, scratch });
    }

    /// dX = dZ·W for the steps of a block.
    fn input_gradient(
        &self,
        block: Range<usize>,
        scratch: &mut GradientRows<'_>,
        tools: &mut Tools,
        outputs: &mut Outputs<'_>,
    ) {
        let Some(gradient) = &mut outputs.input else { return };
        let (shape, batch) = (self.shape(), self.input.shape[1]);
        if shape.inputs == 0 {
            return;
        }
        let width = shape.gate_gradients_width();
        let first = self.first_slots(block.len()).gate_gradients;
        let gate_gradients = &scratch.gate_gradients[first * batch * width..];
        let vectors = 0..self.weights.transposed_input().layout().vectors();
        let scratch = tools.scratch_for(block.len() * batch);
        let times = self.direction.times(block, self.input.shape[0]);
        let work = InputPart { first_time: 0, first_row: 0, gradient: gradient.steps(times), scratch };
        parallel::run(work, self.plan.threads, &|_, mut work| {
            let (steps, rows) = (work.gradient.slots(), work.gradient.batch());
            let from = |step: usize, row: usize| {
                &gate_gradients[((work.first_time + step) * batch + work.first_row + row) * width..]
            };
            if work.has_more_steps() {
                for row in 0..rows {
                    let left = views::strided_rows(from(0, row), steps, width, batch * width);
                    let to = views::present(work.gradient.batch_row(row), "row", row, rows);
                    self.input_product(left, vectors.clone(), to, work.scratch);
                }
            } else {
                for step in 0..steps {
                    let left = views::rows(from(step, 0), rows, width);
                    let to = views::slot(&mut work.gradient, step);
                    self.input_product(left, vectors.clone(), to, work.scratch);
                }
            }
        });
    }

    /// dZ of the steps of a block as the gradient of what was given.
    fn given_gradient(&self, block: Range<usize>, scratch: &GradientRows<'_>, outputs: &mut Outputs<'_>) {
        let (shape, [steps, batch, _], threads) = (self.shape(), self.input.shape, self.plan.threads);
        let (width, first) = (shape.gate_gradients_width(), self.first_slots(block.len()).gate_gradients);
        let count = block.len() * batch;
        let dz = views::rows(&scratch.gate_gradients[first * batch * width..], count, width);
        let times = self.direction.times(block, steps);
        match (&mut outputs.given, self.given) {
            (GivenGradient::Sums(gradient), _) => {
                parallel::run(gradient.steps(times), threads, &|first, mut part: SequenceMut<'_>| {
                    for slot in 0..part.slots() {
                        for row in 0..part.batch() {
                            let dz = dz.row(slot * batch + first + row);
                            write_gradient(shape, dz, part.row_mut(slot, row));
                        }
                    }
                });
            }
            (GivenGradient::Table { rows, .. }, Some(Given::Table(_, indices))) => {
                let entry = |row: usize| Some(indices.of(times.start + row / batch, row % batch));
                add_to_table(shape, dz, threads, rows, &entry);
            }
            _ => {}
        }
    }

    /// dW += dZᵀ·x, dR += dZᵀ·h and db += Σ dZ over a block of `steps` steps of `batch` rows.
    pub(crate) fn parameter_gradients(
        &self,
        batch: usize,
        steps: usize,
        scratch: &mut GradientRows<'_>,
        outputs: &mut Outputs<'_>,
    ) {
        let Some(Parameters { weight_ih, weight_hh, bias, others, add }) = &mut outputs.parameters else {
            return;
        };
        let shape = self.shape();
        let first = self.first_slots(steps);
        let (units, inputs, width) = (shape.units, shape.inputs, shape.gate_gradients_width());
        let dz = &scratch.gate_gradients[first.gate_gradients * batch * width..];
        let dz = views::rows(dz, steps * batch, width);

        let block = first.right * batch..(first.right + steps) * batch;
        self.cell.add_gradients(scratch.cell, block, self.plan.threads, others, bias, *add);
        let has_plain_bias = self.cell.has_plain_bias();
        let gates = shape.kind.weight_gates();
        let bias = if has_plain_bias { &mut **bias } else { &mut [] };
        let work = Units {
            weight_ih: views::slots(weight_ih, [gates, units, inputs]),
            weight_hh: views::slots(weight_hh, [gates, units, shape.outputs]),
            bias: views::slots_if_any(bias, [shape.gates(), units, 1]),
            columns: if gathers_columns(shape, dz.rows()) { scratch.columns } else { &mut [] },
        };
        let right = &*scratch.right;
        let first_row = first.right * batch;
        let add_to_total = *add;
        parallel::run(work, self.plan.threads, &|first, work| {
            self.unit_gradients(first, work, dz, batch, (right, first_row), add_to_total);
        });
        // From the second block on, the gradients are sums of blocks.
        *add = true;
    }

    /// dW, dR and db of some units from `first` on, from the rows of dZ and those of the panels of x and h from
    /// `first_row`, in a block with room for `batch` rows a step.
    fn unit_gradients(
        &self,
        mut first: usize,
        work: Units<'_>,
        dz: Rows<'_>,
        batch: usize,
        (right, first_row): (&[f32], usize),
        add: bool,
    ) {
        let shape = self.shape();
        let width = shape.panel_width();
        let panel_rows = self.block_steps * batch;
        let mut rest = work;
        // All groups of units use the same room, so that it stays in a cache.
        let room = std::mem::take(&mut rest.columns);
        while parallel::Rows::rows(&rest) > 0 {
            let (some, more) = parallel::Rows::split(rest, UNITS_AT_ONCE);
            rest = more;
            let units = parallel::Rows::rows(&some);
            let Units { mut weight_ih, mut weight_hh, mut bias, .. } = some;
            let mut columns = Columns { gate_gradients: dz, room: &mut *room, first: None };
            // The first gradient of a unit's `sum`.
            let first_of = |sum: usize| sum * shape.gate_stride() + first;
            for gate in 0..shape.gates() {
                // The first rows of the panels of x, and then of those of h.
                let mut row = first_row;
                let has_weights = gate < shape.kind.weight_gates();
                let sums = [shape.kind.input_sum(gate), shape.kind.recurrent_sum(gate)];
                for (is_recurrent, weights, sum) in
                    [(false, &mut weight_ih, sums[0]), (true, &mut weight_hh, sums[1])]
                        .into_iter()
                        .filter(|_| has_weights)
                {
                    if is_recurrent && shape.kind.is_gated(gate) {
                        row += shape.panels_of(shape.outputs).count() * panel_rows;
                    }
                    if weights.width() == 0 {
                        continue;
                    }
                    let (left, from) = columns.take(first_of(sum), units);
                    for columns in shape.panels_of(weights.width()) {
                        let mut to = views::slot(weights, gate);
                        let to = to.columns(columns);
                        let right = views::rows(&right[row * width..], left.rows(), width);
                        row += panel_rows;
                        self.kernels.column_product(ColumnProduct { left, from, right, to, add });
                    }
                }
                if let Some(mut bias) = bias.step(gate) {
                    let (left, from) = columns.take(first_of(shape.kind.bias_sum(gate)), units);
                    let sums = &mut [0.0; UNITS_AT_ONCE][..units];
                    self.kernels.column_sums(left.columns(from..from + units), sums);
                    for (unit, &sum) in sums.iter().enumerate() {
                        let to = &mut bias.row_mut(unit)[0];
                        *to = if add { *to + sum } else { sum };
                    }
                }
            }
            first += UNITS_AT_ONCE;
        }
    }

    /// Moves dZ of the first step of a block to where the block before it looks for the step after it; with the rows of
    /// a step in this block and in the one before.
    pub(crate) fn next_block(&self, [rows, rows_before]: [usize; 2], scratch: &mut GradientRows<'_>) {
        let width = self.shape().gate_gradients_width();
        let from = self.slots(0).gate_gradients * rows * width;
        let to = self.waiting_slot() * rows_before * width;
        scratch.gate_gradients.copy_within(from..from + rows * width, to);
    }

    /// Where dZ of the first step of a block waits for the block before it: beside the slots of the last step.
    fn waiting_slot(&self) -> usize {
        match self.direction {
            Direction::Forward => self.block_steps,
            Direction::Reverse => 0,
        }
    }

    /// The slots of a step of a block, by its number in the block. Slots ascend with time.
    pub(crate) fn slots(&self, in_block: usize) -> StepSlots {
        let right = self.direction.time(in_block, self.block_steps);
        match self.direction {
            Direction::Forward => StepSlots { right, gate_gradients: right, after: right + 1 },
            // The waiting slot comes before all others.
            Direction::Reverse => StepSlots { right, gate_gradients: right + 1, after: right },
        }
    }

    /// The slots of the earliest time of a block of `steps` steps.
    pub(crate) fn first_slots(&self, steps: usize) -> StepSlots {
        self.slots(self.direction.time(0, steps))
    }

    /// dh₀ = dZ_0·R of the `batch` rows that run step 0; call it after the last block.
    pub(crate) fn first_hidden_gradient(
        &self,
        batch: usize,
        scratch: &mut GradientRows<'_>,
        tools: &mut Tools,
    ) {
        if self.input.shape[0] == 0 || batch == 0 {
            return;
        }
        let (width, padded) = (self.shape().gate_gradients_width(), self.shape().padded_outputs());
        // The first block has left dZ of its first step there, as if a block came before it.
        let rows = &scratch.gate_gradients[self.waiting_slot() * batch * width..];
        let rows = views::rows(rows, batch, width).columns(self.shape().plain_recurrent_columns());
        let weights = self.weights.transposed_recurrent();
        self.kernels.product(Product {
            start: self.cell.first_hidden_start(&*scratch.cell_gradient, batch),
            terms: [Some(Term { rows, weights, from: 0 }), None],
            vectors: 0..weights.layout().vectors(),
            to: views::rows_mut(
                self.cell.first_hidden_product(scratch.cell, scratch.hidden_gradient),
                batch,
                padded,
            ),
            scratch: tools.scratch_for(batch),
        });
        self.cell.first_hidden_gradient(scratch.cell, batch, scratch.hidden_gradient);
    }
}

/// to += from, without the padding of `to`.
pub(crate) fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
