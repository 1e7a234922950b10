//! The forward pass of some rows through all of time.
//!
//! ```text
//! Fused:    for each step:             sums = bias + W·x_t + R·h;  cell
//! Hoisted:  for each block of steps:   sums[t] = bias + W·x_t      for all t of the block, as one product
//!               for each step of it:   sums = sums[t] + R·h;       cell
//! ```
//!
//! A step is a number in the order in which steps are run. The time whose x it reads and whose output it writes is that of
//! the [`Direction`]; the products of a block are made in the order of time, and its steps take them in their own.
//!
//! Rows of a batch never meet, so a thread takes its rows from the first step to the last without waiting for another.
//! Where the plan prefers that, threads take hidden units instead, and meet after each step. Schedules and
//! threads add the same terms in the same order, so they yield the same bits.

use crate::config::{Schedule, Split};
use crate::direction::Direction;
use crate::general::{General, GeneralStep, StepMasks};
use crate::pack::{GATES, PackedWeights};
use crate::parallel;
use crate::plan::Plan;
use crate::view::Sequence;
use crate::workspace::Tools;
use quadgate_kernels::{
    Kernels, LstmStep, Order, Product, Progress, Rows, RowsMut, SequenceMut, Shared, Slots, Start, Tape,
    Team, Term,
};
use std::ops::Range;

/// What all rows share.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: &'a PackedWeights,
    /// The options, if the layer is not a plain one.
    pub(crate) general: Option<General<'a>>,
    pub(crate) plan: Plan,
    pub(crate) direction: Direction,
    pub(crate) input: Sequence<'a>,
    /// First of the steps to run.
    pub(crate) first_step: usize,
    /// How many steps to run.
    pub(crate) steps: usize,
}

/// Some rows of the batch, with all that they write.
pub(crate) struct BatchRows<'a> {
    pub(crate) states: States<'a>,
    /// Room for the sums of `plan.block_steps` steps, `[steps, rows, sums]`, if they are hoisted, and of one step more if
    /// the layer has options.
    pub(crate) sums: SequenceMut<'a>,
    /// Scratch of the kernels, the same for each row. Empty until the pass lends it.
    pub(crate) scratch: &'a mut [f32],
    pub(crate) output: Option<SequenceMut<'a>>,
}

/// Where h and c live, rows padded to whole panels.
pub(crate) struct States<'a> {
    /// h: step s writes slot (first + s) modulo the number of slots, and reads the slot before.
    pub(crate) hidden: SequenceMut<'a>,
    /// Slot of h that step 0 writes.
    pub(crate) first: usize,
    /// c: with a tape, like h; else one slot.
    pub(crate) cell: SequenceMut<'a>,
    /// With a tape, the gates: step s writes slot s.
    pub(crate) gates: Option<SequenceMut<'a>>,
    /// With a tape and a clipped projection, what is clipped: step s writes slot s.
    pub(crate) projected: Option<SequenceMut<'a>>,
}

impl States<'_> {
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let (hidden, other_hidden) = self.hidden.split_rows(at);
        let (cell, other_cell) = self.cell.split_rows(at);
        let (gates, other_gates) = self.gates.map(|gates| gates.split_rows(at)).unzip();
        let (projected, other_projected) = self.projected.map(|rows| rows.split_rows(at)).unzip();
        let first = self.first;
        (
            States { hidden, first, cell, gates, projected },
            States {
                hidden: other_hidden,
                first,
                cell: other_cell,
                gates: other_gates,
                projected: other_projected,
            },
        )
    }
}

impl parallel::Rows for BatchRows<'_> {
    fn rows(&self) -> usize {
        self.states.hidden.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let rows = self.rows();
        let (states, other_states) = self.states.split(at);
        let (sums, other_sums) = self.sums.split_rows(at);
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        let (output, other_output) = self.output.map(|output| output.split_rows(at)).unzip();
        (
            BatchRows { states, sums, scratch, output },
            BatchRows {
                states: other_states,
                sums: other_sums,
                scratch: other_scratch,
                output: other_output,
            },
        )
    }
}

/// What one step of some panels reads and writes.
pub(crate) struct Step<'a, 'o> {
    pub(crate) panels: Range<usize>,
    pub(crate) input: StepInput<'a>,
    /// Of a layer with options. By reference, since moving them takes as long as a few units of a narrow layer.
    pub(crate) options: Option<&'a mut StepOptions<'o>>,
    /// h of the step before, all units.
    pub(crate) from: Rows<'a>,
    /// h of this step.
    pub(crate) to: RowsMut<'a>,
    pub(crate) cell: RowsMut<'a>,
    pub(crate) tape: Option<Tape<'a>>,
    pub(crate) output: Option<RowsMut<'a>>,
    pub(crate) scratch: &'a mut [f32],
}

/// What a step of a layer with options reads and writes beside.
pub(crate) struct StepOptions<'a> {
    /// Where the sums go without a tape.
    pub(crate) own_sums: Option<RowsMut<'a>>,
    pub(crate) masks: StepMasks<'a>,
    /// Where a tape keeps what enters the clip of a projection.
    pub(crate) projected: Option<RowsMut<'a>>,
}

/// What a step knows of x.
#[derive(Clone, Copy)]
pub(crate) enum StepInput<'a> {
    /// x itself.
    Rows(Rows<'a>),
    /// Hoisted sums.
    Sums(Rows<'a>),
}

/// Why no view of the crate's own buffers can fail here.
pub(crate) const CHECKED: &str = "shapes were checked before the call ran";

impl Pass<'_> {
    /// Runs `work` through all steps, over the threads of the plan.
    pub(crate) fn run(&self, work: BatchRows<'_>, tools: &mut Tools) {
        let rows = parallel::Rows::rows(&work);
        if rows == 0 || self.steps == 0 {
            return;
        }
        match self.plan.split {
            Split::Rows => {
                let work = BatchRows { scratch: tools.scratch_for(rows), ..work };
                parallel::run(work, self.plan.threads, &|first, work| self.run_rows(first, work));
            }
            Split::Units => self.run_units(work, tools.for_team(self.plan.threads, rows)),
        }
    }

    /// All units of some rows, from row `first` of the batch on, on this thread.
    pub(crate) fn run_rows(&self, first: usize, work: BatchRows<'_>) {
        let States { mut hidden, first: slot, mut cell, mut gates, mut projected } = work.states;
        let (mut sums, scratch, mut output) = (work.sums, work.scratch, work.output);
        let (rows, slots) = (hidden.batch(), hidden.slots());
        if rows == 0 {
            return;
        }
        let mut now = slot % slots;
        let panels = 0..self.panels();
        for step in 0..self.steps {
            let before = if now == 0 { slots - 1 } else { now - 1 };
            let (to, from) = hidden.step_beside(now, before).expect(CHECKED);
            let (cell, tape) = match &mut gates {
                None => (cell.step(0).expect(CHECKED), None),
                Some(gates) => {
                    let (cell, previous_cell) = cell.step_beside(now, before).expect(CHECKED);
                    (cell, Some(Tape { previous_cell, gates: gates.step(step).expect(CHECKED) }))
                }
            };
            let batch = first..first + rows;
            let (input, own_sums) = self.step_input(step, batch.clone(), panels.clone(), &mut sums);
            let mut options = self.general.as_ref().map(|general| StepOptions {
                own_sums,
                masks: general.masks(self.time(step), &batch),
                projected: projected.as_mut().and_then(|projected| projected.step(step)),
            });
            // Slots take turns from call to call, so single steps walk to and fro as well.
            self.step(
                Order::zigzag(now),
                Step {
                    panels: panels.clone(),
                    input,
                    options: options.as_mut(),
                    from,
                    to,
                    cell,
                    tape,
                    output: output.as_mut().and_then(|output| output.step(self.time(step))),
                    scratch,
                },
            );
            now = if now + 1 == slots { 0 } else { now + 1 };
        }
    }

    /// All rows, with the units over a team.
    fn run_units(&self, work: BatchRows<'_>, (progress, scratch): (&mut [Progress], &mut [f32])) {
        let BatchRows { states: States { hidden, first: slot, cell, gates, .. }, sums, output, .. } = work;
        let (lanes, members) = (self.weights.shape().lanes, progress.len());
        let batch = 0..hidden.batch();
        let state = Slots::Up { first: slot };
        let written = match self.direction {
            Direction::Forward => Slots::Up { first: self.time(0) },
            Direction::Reverse => Slots::Down { first: self.time(0) },
        };
        let (taped_cell, latest_cell) =
            if gates.is_some() { (cell, SequenceMut::empty()) } else { (SequenceMut::empty(), cell) };
        let (gates, output) =
            (gates.unwrap_or_else(SequenceMut::empty), output.unwrap_or_else(SequenceMut::empty));
        let stepped = [
            Shared::new(hidden, lanes, state),
            Shared::new(taped_cell, lanes, state),
            Shared::new(gates, GATES * lanes, Slots::Up { first: 0 }),
            Shared::new(output, lanes, written),
        ];
        let owned = [Shared::new(latest_cell, lanes, state), Shared::new(sums, GATES * lanes, state)];
        let team = Team::new(progress, self.steps, self.panels(), stepped, owned);
        parallel::together(0..members, scratch, &|member, scratch| {
            team.join(member, |turn| {
                let (step, panels) = (turn.step(), turn.blocks());
                if panels.is_empty() {
                    return;
                }
                let columns = panels.start * lanes..panels.end * lanes;
                let ([hidden, taped_cell, gates, output], [mut latest_cell, mut sums]) = turn.parts();
                let (input, own_sums) = self.step_input(step, batch.clone(), panels.clone(), &mut sums);
                // A projection is of whole rows.
                let mut options = self.general.as_ref().map(|general| StepOptions {
                    own_sums,
                    masks: general.masks(self.time(step), &batch),
                    projected: None,
                });
                let (cell, tape) = match (taped_cell.now, taped_cell.before, gates.now) {
                    (Some(cell), Some(before), Some(gates)) => {
                        (cell, Some(Tape { previous_cell: before.columns(columns), gates }))
                    }
                    _ => (latest_cell.step(0).expect(CHECKED), None),
                };
                self.step(
                    Order::zigzag(step),
                    Step {
                        panels,
                        input,
                        options: options.as_mut(),
                        from: hidden.before.expect(CHECKED),
                        to: hidden.now.expect(CHECKED),
                        cell,
                        tape,
                        output: output.now,
                        scratch: &mut *scratch,
                    },
                );
            });
        });
    }

    /// The time of a step of this pass.
    fn time(&self, step: usize) -> usize {
        self.direction.time(self.first_step + step, self.input.shape[0])
    }

    /// All panels.
    pub(crate) fn panels(&self) -> usize {
        self.weights.shape().gates_layout(0).panels()
    }

    /// What some panels of a step of this pass know of x, and where a general cell without a tape keeps its sums. The
    /// first step of a block makes the sums of all of it.
    #[inline]
    fn step_input<'s>(
        &'s self,
        step: usize,
        batch: Range<usize>,
        panels: Range<usize>,
        sums: &'s mut SequenceMut<'_>,
    ) -> (StepInput<'s>, Option<RowsMut<'s>>) {
        let own_slot = self.general.as_ref().map(|_| sums.slots() - 1);
        match self.plan.schedule {
            Schedule::Hoisted => {
                let in_block = step % self.plan.block_steps;
                let block = step - in_block..self.steps.min(step - in_block + self.plan.block_steps);
                let slot = self.direction.time(in_block, block.len());
                if in_block == 0 {
                    self.hoist(block, &batch, panels, sums);
                }
                match own_slot {
                    None => (StepInput::Sums(sums.read(slot).expect(CHECKED)), None),
                    Some(own_slot) => {
                        let (own, hoisted) = sums.step_beside(own_slot, slot).expect(CHECKED);
                        (StepInput::Sums(hoisted), Some(own))
                    }
                }
            }
            Schedule::Fused => {
                let rows = self.input.batch_rows(self.time(step), batch.start, batch.len());
                (StepInput::Rows(rows), own_slot.and_then(|own_slot| sums.step(own_slot)))
            }
        }
    }

    /// Some panels of a step.
    pub(crate) fn step(&self, order: Order, work: Step<'_, '_>) {
        let Step { panels, input, options, from, to, cell, tape, output, scratch } = work;
        let shape = self.weights.shape();
        let weights = self.weights.recurrent().expect(CHECKED);
        let columns = weights.layout().columns_of(panels.clone());
        let recurrent = Term { rows: from.columns(0..shape.outputs), weights, from: 0 };
        let (start, input) = match input {
            StepInput::Sums(sums) => (Start::Sums(sums), None),
            StepInput::Rows(rows) => {
                let weights = self.weights.input().expect(CHECKED);
                let input = (shape.inputs > 0).then_some(Term { rows, weights, from: 0 });
                (Start::Bias(&self.weights.bias()[columns]), input)
            }
        };
        if let Some((general, options)) = self.general.as_ref().zip(options) {
            let StepOptions { own_sums, masks, projected } = options;
            let (own_sums, projected) = (own_sums.as_mut(), projected.as_mut().map(RowsMut::all));
            let (previous_cell, sums) = match tape {
                Some(Tape { previous_cell, gates }) => (Some(previous_cell), gates),
                None => (None, own_sums.expect(CHECKED).all()),
            };
            return general.step(GeneralStep {
                panels,
                masks: *masks,
                start,
                input,
                recurrent,
                sums,
                previous_cell,
                cell,
                projected,
                hidden: to,
                output,
                scratch,
            });
        }
        let terms = if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] };
        let units = shape.units.min(panels.end * shape.lanes) - panels.start * shape.lanes;
        self.kernels.lstm_step(LstmStep {
            start,
            terms,
            panels,
            order,
            cell,
            hidden: to,
            output,
            tape,
            units,
            scratch,
        });
    }

    /// sums = bias + W·x for a block of steps, in the order of their times, for some panels.
    fn hoist(
        &self,
        block: Range<usize>,
        batch: &Range<usize>,
        panels: Range<usize>,
        sums: &mut SequenceMut<'_>,
    ) {
        let steps = block.len();
        let in_sequence = self.first_step + block.start..self.first_step + block.end;
        let t = self.direction.times(in_sequence, self.input.shape[0]).start;
        let mut sums = sums.steps(0..steps);
        let product = |rows: Rows<'_>, to: RowsMut<'_>| self.input_sums(panels.clone(), rows, to);
        // The weights are read once per product, so the products shall have many rows: all there are, or all steps of a
        // batch row, or all batch rows of a step.
        let input = self.input.all_rows(t, steps, batch.start, batch.len());
        if let Some((rows, to)) = input.zip(sums.all_rows()) {
            product(rows, to);
        } else if steps >= batch.len() {
            for row in 0..batch.len() {
                let rows = self.input.time_rows(t, steps, batch.start + row);
                product(rows, sums.batch_row(row).expect(CHECKED));
            }
        } else {
            for slot in 0..steps {
                let rows = self.input.batch_rows(t + slot, batch.start, batch.len());
                product(rows, sums.step(slot).expect(CHECKED));
            }
        }
    }

    /// sums = bias + W·x for some rows of x and some panels.
    pub(crate) fn input_sums(&self, panels: Range<usize>, rows: Rows<'_>, to: RowsMut<'_>) {
        let weights = self.weights.input().expect(CHECKED);
        let start = Start::Bias(&self.weights.bias()[weights.layout().columns_of(panels.clone())]);
        let terms = [Some(Term { rows, weights, from: 0 }), None];
        let vectors = weights.layout().vectors_of(panels);
        self.kernels.product(Product { start, terms, vectors, to, scratch: &mut [] });
    }
}
