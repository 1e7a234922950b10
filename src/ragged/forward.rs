//! The forward pass of rows that run a part of the steps.
//!
//! ```text
//! for each block of steps:
//!     gather x of the rows of each step, one step after the other          Hoisted: sums = bias + W·x of all of it
//!     for each step of it, with the rows that run it:
//!         the step of the plain pass
//!         copy h to the times whose output it is
//! ```
//!
//! A thread takes some positions through all of time, or some hidden units of all rows: then x is gathered on the caller's
//! thread, between teams. How steps fall into blocks does not change the bits.

use super::{Cursor, Ragged, Room, call_shares, dense_rows, gathered_masks, gathered_steps};
use crate::config::{Schedule, Split};
use crate::forward::{CHECKED, Pass, States, Step, StepInput, StepOptions};
use crate::pack::GATES;
use crate::parallel;
use crate::workspace::Tools;
use quadgate_kernels::{Order, Progress, ReorderedMut, Rows, SequenceMut, Shared, Slots, Tape, Team};
use std::iter;
use std::ops::Range;

/// A pass whose rows, in all but its input and output, lie by position.
pub(crate) struct RaggedPass<'a> {
    pub(crate) pass: Pass<'a>,
    pub(crate) ragged: Ragged<'a>,
}

/// Some positions, with all that they read and write.
struct Positions<'a> {
    /// How many steps the row at each position runs.
    counts: &'a [usize],
    states: States<'a>,
    block: BlockRows<'a>,
    /// Where a general cell without a tape keeps its sums: one slot, or none.
    own_sums: SequenceMut<'a>,
    /// Scratch of the kernels, the same for each row.
    scratch: &'a mut [f32],
    output: Option<ReorderedMut<'a>>,
}

/// Room for the rows of a block: one step after the other, of each the rows that run it.
struct BlockRows<'a> {
    /// One for each position.
    cursors: &'a mut [Cursor],
    times: &'a mut [usize],
    /// x
    input: &'a mut [f32],
    /// Shares of zoneout of h and of c, if the call gives any.
    shares: [&'a mut [f32]; 2],
    /// Hoisted sums.
    sums: &'a mut [f32],
    /// How many rows there is room for, for each position.
    each: usize,
}

impl BlockRows<'_> {
    fn split(self, at: usize) -> (Self, Self) {
        let (rows, all) = (at * self.each, self.times.len());
        let (cursors, other_cursors) = self.cursors.split_at_mut(at);
        let (times, other_times) = self.times.split_at_mut(rows);
        let cut = |data| parallel::split_evenly(data, all, rows);
        let (input, other_input) = cut(self.input);
        let [hidden, cell] = self.shares;
        let ((hidden, other_hidden), (cell, other_cell)) = (cut(hidden), cut(cell));
        let (sums, other_sums) = cut(self.sums);
        let (shares, other_shares) = ([hidden, cell], [other_hidden, other_cell]);
        let each = self.each;
        (
            BlockRows { cursors, times, input, shares, sums, each },
            BlockRows {
                cursors: other_cursors,
                times: other_times,
                input: other_input,
                shares: other_shares,
                sums: other_sums,
                each,
            },
        )
    }
}

impl parallel::Rows for Positions<'_> {
    fn rows(&self) -> usize {
        self.counts.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let rows = self.counts.len();
        let (counts, other_counts) = self.counts.split_at(at);
        let (states, other_states) = self.states.split(at);
        let (block, other_block) = self.block.split(at);
        let (own_sums, other_own_sums) = self.own_sums.split_rows(at);
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        let (output, other_output) = self.output.map(|output| output.split_rows(at)).unzip();
        (
            Positions { counts, states, block, own_sums, scratch, output },
            Positions {
                counts: other_counts,
                states: other_states,
                block: other_block,
                own_sums: other_own_sums,
                scratch: other_scratch,
                output: other_output,
            },
        )
    }

    /// By the steps that the rows run: few long rows are as much work as many short ones.
    fn cut(&self, part: usize, parts: usize) -> usize {
        let total: usize = self.counts.iter().sum();
        let share = (total as u128 * part as u128 / parts as u128) as usize;
        let mut before = 0;
        self.counts
            .iter()
            .position(|count| {
                before += count;
                before > share
            })
            .unwrap_or(self.counts.len())
    }
}

/// The rows of a block that were gathered.
struct Gathered {
    /// Steps of the pass.
    steps: Range<usize>,
    /// Rows of all of them.
    rows: usize,
}

impl RaggedPass<'_> {
    /// Runs all steps, over the threads of the plan. `sums` has room for those of the plan.
    pub(crate) fn run(
        &self,
        states: States<'_>,
        room: &mut Room<'_>,
        sums: &mut [f32],
        output: Option<SequenceMut<'_>>,
        tools: &mut Tools,
    ) {
        let (batch, shape, plan) = (self.ragged.batch(), self.pass.weights.shape(), self.pass.plan);
        let (each, sums_width) = match plan.schedule {
            Schedule::Fused => (gathered_steps(batch), 0),
            Schedule::Hoisted => (gathered_steps(batch).min(plan.block_steps), shape.sums_width()),
        };
        let rows = each * batch;
        let (own_sums, sums) = match self.pass.general {
            None => (SequenceMut::empty(), sums),
            Some(_) => {
                let width = shape.sums_width();
                let (own, sums) = sums.split_at_mut(batch * width);
                (SequenceMut::new(own, [1, batch, width], [0, width]).expect(CHECKED), sums)
            }
        };
        let [hidden_share, cell_share] = call_shares(self.pass.general.as_ref());
        let [hidden, cell] = &mut room.shares;
        let block = BlockRows {
            cursors: &mut *room.cursors,
            times: &mut room.times[..rows],
            input: &mut room.input[..rows * shape.inputs],
            shares: [
                &mut hidden[..hidden_share.map_or(0, |share| rows * share.shape[2])],
                &mut cell[..cell_share.map_or(0, |share| rows * share.shape[2])],
            ],
            sums: &mut sums[..rows * sums_width],
            each,
        };
        match plan.split {
            Split::Rows => {
                let output =
                    output.map(|output| ReorderedMut::new(output, self.ragged.order()).expect(CHECKED));
                let (counts, scratch) = (self.ragged.counts(), tools.scratch_for(batch));
                let work = Positions { counts, states, block, own_sums, scratch, output };
                parallel::run(work, plan.threads, &|first, work| self.run_positions(first, work));
            }
            Split::Units => {
                self.run_units(states, block, own_sums, output, tools.for_team(plan.threads, batch));
            }
        }
    }

    /// All units of some positions from `first` on, on this thread.
    fn run_positions(&self, first: usize, work: Positions<'_>) {
        let Positions { counts, states, mut block, mut own_sums, scratch, mut output } = work;
        let States { mut hidden, first: slot, mut cell, mut gates, mut projected } = states;
        let (positions, slots) = (first..first + counts.len(), hidden.slots());
        let mut next = 0;
        while let Some(Gathered { steps, rows }) = self.gather(next, &positions, &mut block) {
            next = steps.end;
            let mut sums = self.sums(rows, block.sums);
            if let Some(mut sums) = sums.step(0) {
                self.pass.input_sums(0..self.pass.panels(), self.input(rows, block.input), sums.all());
            }
            let mut done = 0;
            for step in steps {
                let rows = done..done + self.active(step, &positions);
                let (now, before) = ((slot + step) % slots, (slot + step + slots - 1) % slots);
                let (to, from) = hidden.step_beside(now, before).expect(CHECKED);
                let (cell, tape) = match &mut gates {
                    None => (cell.step(0).expect(CHECKED), None),
                    Some(gates) => {
                        let (cell, previous_cell) = cell.step_beside(now, before).expect(CHECKED);
                        let gates = gates.step(step).expect(CHECKED).first(rows.len());
                        (cell, Some(Tape { previous_cell: previous_cell.rows_of(0..rows.len()), gates }))
                    }
                };
                let general = self.pass.general.as_ref();
                let shares = block.shares.each_ref().map(|share| &**share);
                let active = first..first + rows.len();
                let mut options = gathered_masks(general, &active, &rows, shares).map(|masks| StepOptions {
                    own_sums: own_sums.step(0).map(|sums| sums.first(rows.len())),
                    masks,
                    projected: projected
                        .as_mut()
                        .and_then(|projected| projected.step(step))
                        .map(|projected| projected.first(rows.len())),
                });
                self.pass.step(
                    Order::zigzag(step),
                    Step {
                        panels: 0..self.pass.panels(),
                        input: self.step_input(&rows, block.input, &sums),
                        options: options.as_mut(),
                        from: from.rows_of(0..rows.len()),
                        to: to.first(rows.len()),
                        cell: cell.first(rows.len()),
                        tape,
                        output: None,
                        scratch: &mut *scratch,
                    },
                );
                if let Some(output) = &mut output {
                    self.write_output(
                        first,
                        &block.times[rows.clone()],
                        hidden.read(now).expect(CHECKED),
                        output,
                    );
                }
                done = rows.end;
            }
        }
    }

    /// All positions, with the units over a team.
    fn run_units(
        &self,
        states: States<'_>,
        mut block: BlockRows<'_>,
        mut own_sums: SequenceMut<'_>,
        output: Option<SequenceMut<'_>>,
        (progress, scratch): (&mut [Progress], &mut [f32]),
    ) {
        let States { mut hidden, first: slot, cell, gates, .. } = states;
        let (lanes, members) = (self.pass.weights.shape().lanes, progress.len());
        let (positions, order) = (0..self.ragged.batch(), self.ragged.order());
        let mut output = output.unwrap_or_else(SequenceMut::empty);
        let (mut taped_cell, mut latest_cell) =
            if gates.is_some() { (cell, SequenceMut::empty()) } else { (SequenceMut::empty(), cell) };
        let mut gates = gates.unwrap_or_else(SequenceMut::empty);
        let mut next = 0;
        while let Some(Gathered { steps, rows }) = self.gather(next, &positions, &mut block) {
            next = steps.end;
            let sums = self.sums(rows, block.sums);
            let (input, times) = (&*block.input, &*block.times);
            let shares = block.shares.each_ref().map(|share| &**share);
            let state = Slots::Up { first: slot + steps.start };
            let stepped = [
                Shared::new(hidden.all(), lanes, state),
                Shared::new(taped_cell.all(), lanes, state),
                Shared::new(gates.all(), GATES * lanes, Slots::Up { first: steps.start }),
            ];
            let owned = [
                Shared::new(latest_cell.all(), lanes, state),
                Shared::new(sums, GATES * lanes, state),
                Shared::new(own_sums.all(), GATES * lanes, state),
                Shared::new(output.all(), lanes, state),
            ];
            let team = Team::new(&mut *progress, steps.len(), self.pass.panels(), stepped, owned);
            parallel::together(0..members, &mut *scratch, &|member, scratch| {
                // The first step that this member has not seen, and how many rows come before it.
                let (mut seen, mut done) = (steps.start, 0);
                team.join(member, |turn| {
                    let (step, panels) = (steps.start + turn.step(), turn.blocks());
                    if panels.is_empty() {
                        return;
                    }
                    while seen < step {
                        done += self.ragged.active(self.pass.first_step + seen);
                        seen += 1;
                    }
                    let active = self.active(step, &positions);
                    let of_step = done..done + active;
                    let columns = panels.start * lanes..panels.end * lanes;
                    let ([hidden, taped_cell, gates], owned) = turn.parts();
                    let [mut latest_cell, mut sums, mut own_sums, output] = owned;
                    if let (true, Some(sums)) = (step == steps.start, sums.step(0)) {
                        self.pass.input_sums(panels.clone(), self.input(rows, input), sums);
                    }
                    let (cell, tape) = match (taped_cell.now, taped_cell.before, gates.now) {
                        (Some(cell), Some(before), Some(gates)) => {
                            let previous_cell = before.columns(columns).rows_of(0..active);
                            (cell, Some(Tape { previous_cell, gates: gates.first(active) }))
                        }
                        _ => (latest_cell.step(0).expect(CHECKED), None),
                    };
                    // A projection is of whole rows.
                    let general = self.pass.general.as_ref();
                    let masks = gathered_masks(general, &(0..active), &of_step, shares);
                    let mut options = masks.map(|masks| StepOptions {
                        own_sums: own_sums.step(0).map(|sums| sums.first(active)),
                        masks,
                        projected: None,
                    });
                    let mut to = hidden.now.expect(CHECKED).first(active);
                    self.pass.step(
                        Order::zigzag(step),
                        Step {
                            panels,
                            input: self.step_input(&of_step, input, &sums),
                            options: options.as_mut(),
                            from: hidden.before.expect(CHECKED).rows_of(0..active),
                            to: to.all(),
                            cell: cell.first(active),
                            tape,
                            output: None,
                            scratch: &mut *scratch,
                        },
                    );
                    if let Some(mut output) = ReorderedMut::new(output, order) {
                        self.write_output(0, &times[of_step], to.read(), &mut output);
                    }
                });
            });
        }
    }

    /// How many of some positions run a step of this pass: they are the first ones.
    fn active(&self, step: usize, positions: &Range<usize>) -> usize {
        let active = self.ragged.active(self.pass.first_step + step);
        active.clamp(positions.start, positions.end) - positions.start
    }

    /// Gathers x, times and shares of zoneout of as many steps from `step` on as there is room for; `None` if no row runs any
    /// more.
    fn gather(&self, step: usize, positions: &Range<usize>, block: &mut BlockRows<'_>) -> Option<Gathered> {
        let shares = call_shares(self.pass.general.as_ref());
        let (mut end, mut rows) = (step, 0);
        while end < self.pass.steps {
            let active = self.active(end, positions);
            if active == 0 || rows + active > block.times.len() {
                break;
            }
            for (local, cursor) in block.cursors[..active].iter_mut().enumerate() {
                let position = positions.start + local;
                let time = self.ragged.time(position, self.pass.first_step + end, cursor);
                block.times[rows + local] = time;
                self.ragged.gather(self.pass.input, position, time, block.input, rows + local);
                self.ragged.gather_shares(shares, position, time, &mut block.shares, rows + local);
            }
            rows += active;
            end += 1;
        }
        (step < end).then_some(Gathered { steps: step..end, rows })
    }

    /// The gathered rows of x.
    fn input<'s>(&self, rows: usize, input: &'s [f32]) -> Rows<'s> {
        dense_rows(input, 0..rows, self.pass.weights.shape().inputs)
    }

    /// The hoisted sums of `rows` rows, as one step; no step if nothing is hoisted.
    fn sums<'s>(&self, rows: usize, sums: &'s mut [f32]) -> SequenceMut<'s> {
        let width = self.pass.weights.shape().sums_width();
        match self.pass.plan.schedule {
            Schedule::Fused => SequenceMut::empty(),
            Schedule::Hoisted => SequenceMut::new(sums, [1, rows, width], [0, width]).expect(CHECKED),
        }
    }

    /// What a step reads of x: some of the gathered rows, or of their sums.
    fn step_input<'s>(
        &self,
        rows: &Range<usize>,
        input: &'s [f32],
        sums: &'s SequenceMut<'_>,
    ) -> StepInput<'s> {
        match sums.read(0) {
            None => StepInput::Rows(self.input(rows.end, input).rows_of(rows.clone())),
            Some(sums) => StepInput::Sums(sums.rows_of(rows.clone())),
        }
    }

    /// Writes h of a step at the times whose output it is.
    fn write_output(&self, first: usize, times: &[usize], hidden: Rows<'_>, output: &mut ReorderedMut<'_>) {
        for (local, &time) in times.iter().enumerate() {
            for time in iter::once(time).chain(self.ragged.repeats(first + local, time)) {
                copy(output.row_mut(time, local), hidden.row(local));
            }
        }
    }
}

/// Copies a row without its padding.
fn copy(to: &mut [f32], from: &[f32]) {
    to.copy_from_slice(&from[..to.len()]);
}
