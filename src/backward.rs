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

use crate::config::Split;
use crate::direction::Direction;
use crate::forward::CHECKED;
use crate::general::{General, GeneralBackwardStep, GeneralRows, OptionBuffers, OptionGradients, StepMasks};
use crate::pack::{GATES, PackedWeights, Shape};
use crate::parallel;
use crate::plan::Plan;
use crate::view::Sequence;
use crate::workspace::Tools;
use quadgate_kernels::{
    ColumnProduct, Kernels, LstmBackwardStep, Product, Progress, Rows, RowsMut, SequenceMut, Shared, Slots,
    Start, Team, Term,
};
use std::ops::Range;

/// Rows (steps times batch) of a block: enough to make the weight gradients' reading and writing of their totals cheap
/// beside the products, few enough for dZ to stay in cache. Totals that are larger than the second cache want more.
///
/// The sums depend on it, so it may depend on the shape alone. Measured with AVX-512 in a training step at one thread, in
/// GFLOP/s for 512 and 1024 rows: 246 and 251 at T,B,X,H = 20,128,1024,1024; with differences below 1 % between 256, 512
/// and 1024 at 100,16,128,128 and 100,32,256,256, where fewer rows take less memory.
fn block_rows(shape: Shape) -> usize {
    const LARGE: usize = 1 << 20;
    let weights = shape.inputs.saturating_add(shape.outputs).saturating_mul(GATES * shape.units);
    if weights < LARGE { 256 } else { 1024 }
}

/// Hidden units whose weight gradients are computed at once: dZ of one of their gates stays in the second cache while all
/// panels of x and h pass by. A multiple of the rows of every tile.
const UNITS_AT_ONCE: usize = 96;

/// Most rows of a block of up to `batch` rows a step: a block is cut after whole steps. `None` if that overflows.
pub(crate) fn max_block_rows(shape: Shape, batch: usize) -> Option<usize> {
    block_rows(shape).checked_add(batch)
}

/// Steps in a block.
pub(crate) fn block_steps(shape: Shape, batch: usize) -> usize {
    block_rows(shape).div_ceil(batch.max(1))
}

/// What the whole pass shares.
#[derive(Clone, Copy)]
pub(crate) struct BackwardPass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: &'a PackedWeights,
    /// The options, if the layer is not a plain one.
    pub(crate) general: Option<General<'a>>,
    pub(crate) input: Sequence<'a>,
    pub(crate) cotangent: Option<Sequence<'a>>,
    pub(crate) direction: Direction,
    pub(crate) plan: Plan,
    /// Steps in a block, see [`block_steps`].
    pub(crate) block_steps: usize,
}

/// Buffers of the pass.
pub(crate) struct Scratch<'a> {
    /// dZ of a block, and of the step after it: at least `block_steps + 1` times `[B, gates]`.
    pub(crate) gate_gradients: &'a mut [f32],
    /// x and h of a block in panels: at least `[panels of x and h, block_steps, B, panel width]`.
    pub(crate) right: &'a mut [f32],
    /// Gradient of the last h, `[B, P]` padded; in the end that of the first.
    pub(crate) hidden_gradient: &'a mut [f32],
    /// Gradient of the last c, `[B, H]` padded; in the end that of the first.
    pub(crate) cell_gradient: &'a mut [f32],
    pub(crate) options: &'a mut OptionBuffers,
    /// Cotangents of the h of a step, `[B, P]` padded, where they are gathered.
    pub(crate) cotangent: &'a mut [f32],
}

/// Where the gradients go.
pub(crate) struct Outputs<'a> {
    pub(crate) input: Option<SequenceMut<'a>>,
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
    pub(crate) options: OptionGradients<'a>,
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
    pub(crate) gates: &'a [f32],
    pub(crate) projected: &'a [f32],
}

/// Some rows of the batch, with all that the steps of a block write.
struct StepRows<'a> {
    /// `[slots, rows · gates, gate stride]`: a step writes its slot, and reads that of the step after it.
    gate_gradients: SequenceMut<'a>,
    /// `[panels · slots, rows, panel width]`
    right: SequenceMut<'a>,
    /// One slot.
    cell_gradient: SequenceMut<'a>,
    /// One slot.
    gathered: SequenceMut<'a>,
    /// What the steps of a layer with options write.
    general: Option<GeneralRows<'a>>,
    /// Scratch of the kernels, the same for each row. Empty until the pass lends it.
    scratch: &'a mut [f32],
}

impl parallel::Rows for StepRows<'_> {
    fn rows(&self) -> usize {
        self.right.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let rows = self.rows();
        let (gate_gradients, other_gate_gradients) = self.gate_gradients.split_rows(at * GATES);
        let (right, other_right) = self.right.split_rows(at);
        let (cell_gradient, other_cell_gradient) = self.cell_gradient.split_rows(at);
        let (gathered, other_gathered) = self.gathered.split_rows(at);
        let (general, other_general) = self.general.map(|general| general.split(at)).unzip();
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        (
            StepRows { gate_gradients, right, cell_gradient, gathered, general, scratch },
            StepRows {
                gate_gradients: other_gate_gradients,
                right: other_right,
                cell_gradient: other_cell_gradient,
                gathered: other_gathered,
                general: other_general,
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
    pub(crate) general: Option<&'a mut GeneralRows<'g>>,
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
}

impl parallel::Rows for Units<'_> {
    fn rows(&self) -> usize {
        self.weight_hh.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (weight_ih, other_ih) = self.weight_ih.split_rows(at);
        let (weight_hh, other_hh) = self.weight_hh.split_rows(at);
        let (bias, other_bias) = self.bias.split_rows(at);
        (
            Units { weight_ih, weight_hh, bias },
            Units { weight_ih: other_ih, weight_hh: other_hh, bias: other_bias },
        )
    }
}

impl BackwardPass<'_> {
    pub(crate) fn shape(&self) -> Shape {
        self.weights.shape()
    }

    /// Runs the steps of `segment` up to `end`, from the last to the first.
    ///
    /// A block whose first step lies in the segment is finished here, so that blocks and segments need not agree.
    pub(crate) fn run(
        &self,
        segment: Segment<'_>,
        end: usize,
        scratch: &mut Scratch<'_>,
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
                let masks = self.general.as_ref().map(|general| general.masks(time, &rows));
                let x = self.input.batch_rows(time, rows.start, rows.len());
                self.keep(segment, [number, number - first], rows, right, masks.as_ref(), |row| x.row(row));
            };
            let step = |number: usize, last_hidden_gradient: &[f32], step: Step<'_, '_>| {
                self.step(segment, number, number - first, last_hidden_gradient, step);
            };
            self.steps(batch, begin..end, first, scratch, tools, &keep, &step);
            if begin == first {
                let finished = begin..steps.min(begin + block_steps);
                self.input_gradient(finished.clone(), scratch, tools, outputs);
                self.parameter_gradients(batch, finished.len(), scratch, outputs);
                self.next_block([batch; 2], scratch);
            }
            end = begin;
        }
    }

    /// dZ of the steps `range`, which belong to the block that begins at `block` and whose steps have `rows` rows.
    ///
    /// `keep` takes a step, some rows, and where their x and h are kept, `[panels · slots, rows, panel width]`; `run` a step,
    /// the gradient of the last h, and some rows or units.
    #[allow(clippy::too_many_arguments)] // All of a block.
    pub(crate) fn steps(
        &self,
        rows: usize,
        range: Range<usize>,
        block: usize,
        scratch: &mut Scratch<'_>,
        tools: &mut Tools,
        keep: &(impl Fn(usize, Range<usize>, SequenceMut<'_>) + Sync),
        run: &(impl Fn(usize, &[f32], Step<'_, '_>) + Sync),
    ) {
        let shape = self.shape();
        let block_steps = self.block_steps;
        let view = |data, steps, rows: usize, width| {
            SequenceMut::new(data, [steps, rows, width], [rows * width, width]).expect(CHECKED)
        };
        let Scratch { hidden_gradient, options, .. } = scratch;
        let (general, last_hidden_gradient): (_, &[f32]) = match &self.general {
            Some(_) => (Some(options.rows(hidden_gradient, shape, block_steps, rows)), &[]),
            None => (None, &**hidden_gradient),
        };
        let work = StepRows {
            gate_gradients: view(
                &mut *scratch.gate_gradients,
                block_steps + 1,
                rows * GATES,
                shape.gate_stride(),
            ),
            right: view(
                &mut *scratch.right,
                shape.input_and_state_panels() * block_steps,
                rows,
                shape.panel_width(),
            ),
            cell_gradient: view(&mut *scratch.cell_gradient, 1, rows, shape.padded_units()),
            gathered: view(&mut *scratch.cotangent, 1, rows, shape.padded_outputs()),
            general,
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
                let team = tools.for_team(self.plan.threads, rows);
                let right = self.units_of_steps(range.clone(), block, work, team, &step);
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
                work.gate_gradients.step_beside(slots.gate_gradients, slots.after).expect(CHECKED);
            let step = Step {
                vectors: 0..self.shape().blocks(),
                batch: first..first + rows,
                after: Some(after),
                gate_gradients,
                cell_gradient: work.cell_gradient.step(0).expect(CHECKED),
                gathered: work.gathered.step(0),
                general: work.general.as_mut(),
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
        (progress, scratch): (&mut [Progress], &mut [f32]),
        run: &(impl Fn(usize, Step<'_, '_>) + Sync),
    ) -> SequenceMut<'a> {
        let StepRows { gate_gradients, right, cell_gradient, gathered, general, .. } = work;
        let batch = 0..right.batch();
        let (lanes, members, last) = (self.shape().lanes, progress.len(), range.end - 1);
        let first_slot = self.slots(last - block).gate_gradients;
        let written = match self.direction {
            Direction::Forward => Slots::Down { first: first_slot },
            Direction::Reverse => Slots::Up { first: first_slot },
        };
        let stepped = [Shared::new(gate_gradients, lanes, written)];
        let GeneralRows { carry, hidden, peephole_terms, .. } = general.unwrap_or_else(GeneralRows::empty);
        let owned = [
            Shared::new(cell_gradient, lanes, written),
            Shared::new(gathered, lanes, written),
            Shared::new(carry, lanes, written),
            Shared::new(hidden, lanes, written),
            Shared::new(peephole_terms, lanes, written),
        ];
        let team = Team::new(progress, range.len(), self.shape().blocks(), stepped, owned);
        parallel::together(0..members, scratch, &|member, scratch| {
            team.join(member, |turn| {
                let (number, vectors) = (last - turn.step(), turn.blocks());
                if vectors.is_empty() {
                    return;
                }
                let ([gate_gradients], owned) = turn.parts();
                let [mut cell_gradient, mut gathered, carry, hidden, peephole_terms] = owned;
                let mut general = self.general.is_some().then(|| GeneralRows {
                    carry,
                    hidden,
                    peephole_terms,
                    ..GeneralRows::empty()
                });
                let step = Step {
                    vectors,
                    batch: batch.clone(),
                    after: gate_gradients.before,
                    gate_gradients: gate_gradients.now.expect(CHECKED),
                    cell_gradient: cell_gradient.step(0).expect(CHECKED),
                    gathered: gathered.step(0),
                    general: general.as_mut(),
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
        let masks = self.general.as_ref().map(|general| general.masks(time, &step.batch));
        let columns = self.output_columns(&step.vectors);
        let cotangent = self.cotangent.map(|all| all.batch_rows(time, first, rows).columns(columns));
        if number + 1 == steps {
            step.after = None;
        }
        self.cell(segment, number, in_block, last_hidden_gradient, cotangent, masks.as_ref(), step);
    }

    /// Keeps x and h of the step before for the weight gradients, of some rows of a step with its number in all and in its
    /// block.
    pub(crate) fn keep<'x>(
        &self,
        segment: Segment<'_>,
        [number, in_block]: [usize; 2],
        rows: Range<usize>,
        mut right: SequenceMut<'_>,
        masks: Option<&StepMasks<'_>>,
        x: impl Fn(usize) -> &'x [f32],
    ) {
        let shape = self.shape();
        let (outputs, count) = (shape.padded_outputs(), rows.len());
        let h = self.state_rows(segment.hidden, number - segment.first_step, rows, outputs);
        let recurrent_mask = masks.and_then(|masks| masks.recurrent);
        let block_steps = self.block_steps;
        let mut panel = self.slots(in_block).right;
        for columns in shape.panels_of(shape.inputs) {
            let mut to = right.step(panel).expect(CHECKED);
            panel += block_steps;
            for row in 0..count {
                to.row_mut(row)[..columns.len()].copy_from_slice(&x(row)[columns.clone()]);
            }
        }
        for columns in shape.panels_of(outputs) {
            let mut to = right.step(panel).expect(CHECKED);
            panel += block_steps;
            let h = h.columns(columns.clone());
            let mask = recurrent_mask.map(|mask| mask.columns(columns.clone()));
            for row in 0..count {
                let to = &mut to.row_mut(row)[..columns.len()];
                to.copy_from_slice(h.row(row));
                if let Some(mask) = mask {
                    to.iter_mut().zip(mask.row(row)).for_each(|(h, mask)| *h *= mask);
                }
            }
        }
    }

    /// The backward pass of the cell of step `number`, with the cotangents of its h.
    #[allow(clippy::too_many_arguments)] // All of a step.
    pub(crate) fn cell(
        &self,
        segment: Segment<'_>,
        number: usize,
        in_block: usize,
        last_hidden_gradient: &[f32],
        cotangent: Option<Rows<'_>>,
        masks: Option<&StepMasks<'_>>,
        step: Step<'_, '_>,
    ) {
        let Step { vectors, batch, after, gate_gradients, cell_gradient, general, scratch, .. } = step;
        let shape = self.shape();
        let columns = self.columns(&vectors);
        let rows_of = |data, step, width| self.state_rows(data, step, batch.clone(), width);
        let cell = |step| rows_of(segment.cell, step, shape.padded_units()).columns(columns.clone());
        let recurrent = after.map(|after| {
            let weights = self.weights.transposed_recurrent().expect(CHECKED);
            Term { rows: after.join(GATES).expect(CHECKED), weights, from: 0 }
        });
        let step = number - segment.first_step;
        let gates = rows_of(segment.gates, step, shape.gates_width())
            .columns(GATES * columns.start..GATES * columns.end);
        match self.general.as_ref().zip(masks).zip(general) {
            None => self.kernels.lstm_backward_step(LstmBackwardStep {
                start: match recurrent {
                    None => Start::Sums(
                        rows_of(last_hidden_gradient, 0, shape.padded_units()).columns(columns.clone()),
                    ),
                    Some(_) => Start::Zero,
                },
                recurrent,
                vectors,
                cotangent,
                gates,
                cell: cell(step + 1),
                previous_cell: cell(step),
                cell_gradient,
                gate_gradients,
                units: shape.units.min(columns.end) - columns.start,
                scratch,
            }),
            Some(((layer, masks), rows)) => layer.step_backward(GeneralBackwardStep {
                vectors,
                masks: *masks,
                recurrent,
                cotangent,
                sums: gates,
                previous_cell: cell(step),
                projected: (!segment.projected.is_empty())
                    .then(|| rows_of(segment.projected, step, shape.outputs)),
                cell_gradient,
                gate_gradients,
                rows,
                slot: self.slots(in_block).right,
                scratch,
            }),
        }
    }

    /// The units of some vectors.
    fn columns(&self, vectors: &Range<usize>) -> Range<usize> {
        vectors.start * self.shape().lanes..vectors.end * self.shape().lanes
    }

    /// The elements of h of some vectors of units: all of a projection, which is of whole rows.
    pub(crate) fn output_columns(&self, vectors: &Range<usize>) -> Range<usize> {
        let shape = self.shape();
        let has_projection = self.general.is_some_and(|general| general.has_projection());
        if has_projection { 0..shape.padded_outputs() } else { self.columns(vectors) }
    }

    /// Some rows of a step of a buffer of states.
    fn state_rows<'s>(&self, data: &'s [f32], step: usize, rows: Range<usize>, width: usize) -> Rows<'s> {
        let first = (step * self.input.shape[1] + rows.start) * width;
        Rows::new(&data[first..], rows.len(), width, width).expect(CHECKED)
    }

    /// dX = dZ·W of some rows, of the columns of some vectors of W.
    pub(crate) fn input_product(
        &self,
        gate_gradients: Rows<'_>,
        vectors: Range<usize>,
        to: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let weights = self.weights.transposed_input().expect(CHECKED);
        let terms = [Some(Term { rows: gate_gradients, weights, from: 0 }), None];
        self.kernels.product(Product { start: Start::Zero, terms, vectors, to, scratch });
    }

    /// dX = dZ·W for the steps of a block.
    fn input_gradient(
        &self,
        block: Range<usize>,
        scratch: &mut Scratch<'_>,
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
        let vectors = 0..self.weights.transposed_input().expect(CHECKED).layout().vectors();
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
                    let left = Rows::new(from(0, row), steps, width, batch * width).expect(CHECKED);
                    let to = work.gradient.batch_row(row).expect(CHECKED);
                    self.input_product(left, vectors.clone(), to, work.scratch);
                }
            } else {
                for step in 0..steps {
                    let left = Rows::new(from(step, 0), rows, width, width).expect(CHECKED);
                    let to = work.gradient.step(step).expect(CHECKED);
                    self.input_product(left, vectors.clone(), to, work.scratch);
                }
            }
        });
    }

    /// dW += dZᵀ·x, dR += dZᵀ·h and db += Σ dZ over a block of `steps` steps of `batch` rows.
    pub(crate) fn parameter_gradients(
        &self,
        batch: usize,
        steps: usize,
        scratch: &mut Scratch<'_>,
        outputs: &mut Outputs<'_>,
    ) {
        let Some(Parameters { weight_ih, weight_hh, bias, options, add }) = &mut outputs.parameters else {
            return;
        };
        let shape = self.shape();
        let first = self.first_slots(steps);
        let (units, inputs, width) = (shape.units, shape.inputs, shape.gate_gradients_width());
        let dz = &scratch.gate_gradients[first.gate_gradients * batch * width..];
        let dz = Rows::new(dz, steps * batch, width, width).expect(CHECKED);

        if let Some(general) = &self.general {
            let (first, rows) = (first.right * batch, steps * batch);
            general.add_gradients(
                scratch.options,
                first..first + rows,
                self.plan.threads,
                options,
                bias,
                *add,
            );
        }
        let has_own_bias = self.general.is_some_and(|general| general.has_own_bias());
        let gates_by_units =
            |data, width| SequenceMut::new(data, [GATES, units, width], [units * width, width]);
        let work = Units {
            weight_ih: gates_by_units(&mut **weight_ih, inputs).expect(CHECKED),
            weight_hh: gates_by_units(&mut **weight_hh, shape.outputs).expect(CHECKED),
            bias: if has_own_bias { SequenceMut::empty() } else { gates_by_units(bias, 1).expect(CHECKED) },
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

    /// dW, dR and db of some units from `first` on, from the rows of dZ and those of the panels of x and h from `first_row`, in
    /// a block with room for `batch` rows a step.
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
        while parallel::Rows::rows(&rest) > 0 {
            let (some, more) = parallel::Rows::split(rest, UNITS_AT_ONCE);
            rest = more;
            let Units { mut weight_ih, mut weight_hh, mut bias } = some;
            for gate in 0..GATES {
                let from = gate * shape.gate_stride() + first;
                let mut row = first_row;
                for weights in [&mut weight_ih, &mut weight_hh] {
                    for columns in shape.panels_of(weights.width()) {
                        let mut to = weights.step(gate).expect(CHECKED);
                        let to = to.columns(columns);
                        let right = Rows::new(&right[row * width..], dz.rows(), width, width).expect(CHECKED);
                        row += panel_rows;
                        self.kernels.column_product(ColumnProduct { left: dz, from, right, to, add });
                    }
                }
                if let Some(mut bias) = bias.step(gate) {
                    let sums = &mut [0.0; UNITS_AT_ONCE][..bias.rows()];
                    self.kernels.column_sums(dz.columns(from..from + sums.len()), sums);
                    for (unit, &sum) in sums.iter().enumerate() {
                        let to = &mut bias.row_mut(unit)[0];
                        *to = if add { *to + sum } else { sum };
                    }
                }
            }
            first += UNITS_AT_ONCE;
        }
    }

    /// Moves dZ of the first step of a block to where the block before it looks for the step after it; with the rows of a
    /// step in this block and in the one before.
    pub(crate) fn next_block(&self, [rows, rows_before]: [usize; 2], scratch: &mut Scratch<'_>) {
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
    pub(crate) fn first_hidden_gradient(&self, batch: usize, scratch: &mut Scratch<'_>, tools: &mut Tools) {
        if self.input.shape[0] == 0 || batch == 0 {
            return;
        }
        let (width, padded) = (self.shape().gate_gradients_width(), self.shape().padded_outputs());
        // The first block has left dZ of its first step there, as if a block came before it.
        let rows = &scratch.gate_gradients[self.waiting_slot() * batch * width..];
        let rows = Rows::new(rows, batch, width, width).expect(CHECKED);
        let weights = self.weights.transposed_recurrent().expect(CHECKED);
        let mut product = |to: &mut [f32]| {
            self.kernels.product(Product {
                start: Start::Zero,
                terms: [Some(Term { rows, weights, from: 0 }), None],
                vectors: 0..weights.layout().vectors(),
                to: RowsMut::new(to, batch, padded, padded).expect(CHECKED),
                scratch: tools.scratch_for(batch),
            });
        };
        match &self.general {
            None => product(scratch.hidden_gradient),
            Some(general) => {
                product(scratch.options.hidden());
                general.first_hidden_gradient(scratch.options, batch, scratch.hidden_gradient);
            }
        }
    }
}
