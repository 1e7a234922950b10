//! The forward pass of some rows through all of time.
//!
//! ```text
//! Fused:    for each step:             z = bias + W·x_t + R·h;  cell
//! Hoisted:  for each block of steps:   z[t] = bias + W·x_t      for all t of the block, as one product
//!               for each step of it:   z = z[t] + R·h;          cell
//! ```
//!
//! A step is a number in the order in which steps are run. Which rows run it, where their x lies and where their
//! outputs go is the [`Source`]'s to say, and the [`Sink`]'s. The products of a block are made in the order of time,
//! and its steps take them in their own.
//!
//! Rows of a batch never meet, so a thread takes its rows from the first step to the last without waiting for another.
//! Where the plan prefers that, threads take hidden units instead, and meet after each step. Schedules, blocks and
//! threads add the same terms in the same order, so they yield the same bits.

use crate::cell::Cell;
use crate::cell::row;
use crate::cell::step::{Half, Step, StepExtras};
use crate::config::{Schedule, Split};
use crate::direction::Direction;
use crate::memory::states::States;
use crate::memory::tools::{TeamTools, Tools};
use crate::memory::views;
use crate::pack::PackedWeights;
use crate::parallel;
use crate::plan::Plan;
use crate::recurrence::ragged::{Ragged, Room, gathered_steps};
use crate::recurrence::source::{Block, GatheredRows, Sink, Source};
use quadgate_kernels::{
    Kernels, NarrowRow, Order, Product, Progress, ReorderedMut, Rows, RowsMut, SequenceMut, Shared, Slots,
    Start, Tape, Team, Term,
};
use std::ops::Range;

/// What all rows share.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: &'a PackedWeights,
    pub(crate) cell: Cell<'a>,
    pub(crate) plan: Plan,
    pub(crate) source: Source<'a>,
}

/// What was gathered of the rows of a block: x, and the times.
#[derive(Clone, Copy)]
struct Gathered<'a> {
    input: &'a [f32],
    times: &'a [usize],
}

/// Some rows, with all that they write.
pub(crate) struct Work<'a> {
    /// How many steps each row runs, if not all.
    pub(crate) counts: Option<&'a [usize]>,
    pub(crate) states: States<'a>,
    pub(crate) gathered: GatheredRows<'a>,
    /// Hoisted pre-activations: `[block_steps, rows, width]` of dense rows, `[1, rows · each, width]` of gathered ones.
    pub(crate) hoisted: SequenceMut<'a>,
    /// Where some cells keep what they record of a step though there is no tape, such as pre-activations: one slot.
    pub(crate) preactivations: SequenceMut<'a>,
    /// Scratch of the kernels and of the cell, the same for each row.
    pub(crate) scratch: &'a mut [f32],
    pub(crate) output: Sink<'a>,
    /// Where c of each step goes.
    pub(crate) cell_output: Sink<'a>,
}

impl parallel::Rows for Work<'_> {
    fn rows(&self) -> usize {
        self.states.hidden.batch()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let rows = self.rows();
        let (counts, other_counts) = self.counts.map(|counts| counts.split_at(at)).unzip();
        let (states, other_states) = self.states.split(at);
        let (hoisted, other_hoisted) = self.hoisted.split_rows(at * self.gathered.each.max(1));
        let (gathered, other_gathered) = self.gathered.split(at);
        let (preactivations, other_preactivations) = self.preactivations.split_rows(at);
        let (scratch, other_scratch) = parallel::split_evenly(self.scratch, rows, at);
        let (output, other_output) = self.output.split(at);
        let (cell_output, other_cell_output) = self.cell_output.split(at);
        (
            Work { counts, states, gathered, hoisted, preactivations, scratch, output, cell_output },
            Work {
                counts: other_counts,
                states: other_states,
                gathered: other_gathered,
                hoisted: other_hoisted,
                preactivations: other_preactivations,
                scratch: other_scratch,
                output: other_output,
                cell_output: other_cell_output,
            },
        )
    }

    /// By the steps that the rows run: few long rows are as much work as many short ones.
    fn cut(&self, part: usize, parts: usize) -> usize {
        let share = |all: usize| (all as u128 * part as u128 / parts as u128) as usize;
        let Some(counts) = self.counts else { return share(self.rows()) };
        let share = share(counts.iter().sum());
        let mut before = 0;
        let is_past = |count: &usize| {
            before += count;
            before > share
        };
        counts.iter().position(is_past).unwrap_or(counts.len())
    }
}

impl<'a> Pass<'a> {
    /// Runs all steps, over the threads of the plan; `outputs` are every h and every c. `sums` has the elements that
    /// [`Plan::sums_len`] asks for; there is room if rows are to be gathered.
    pub(crate) fn run(
        &self,
        states: States<'_>,
        sums: &mut [f32],
        room: Option<&mut Room<'_>>,
        outputs: [Option<SequenceMut<'_>>; 2],
        tools: &mut Tools,
    ) {
        let (rows, source) = (states.hidden.batch(), &self.source);
        if rows == 0 || source.steps == 0 {
            return;
        }
        let (width, is_hoisted) =
            (self.weights.shape().sums_width(), self.plan.schedule == Schedule::Hoisted);
        let has_halves = self.plan.split == Split::Units && self.weights.shape().has_halves();
        let own = if self.cell.has_extras() || has_halves { rows * width } else { 0 };
        let (own, sums) = sums.split_at_mut(own);
        let mut gathered = GatheredRows::default();
        if let Some(room) = room {
            let most = gathered_steps(rows);
            let each = if is_hoisted { most.min(self.plan.block_steps) } else { most };
            gathered = GatheredRows::new(room, each * rows, each, source, &self.cell);
        }
        let hoisted = match (is_hoisted, gathered.each) {
            (false, _) => SequenceMut::empty(),
            (true, 0) => views::slots(sums, [self.plan.block_steps, rows, width]),
            (true, each) => views::slots(sums, [1, each * rows, width]),
        };
        let preactivations = views::slots_if_any(own, [1, rows, width]);
        let counts = source.ragged.map(|ragged| ragged.counts());
        let work = |scratch, [output, cell_output]: [_; 2]| Work {
            counts,
            states,
            gathered,
            hoisted,
            preactivations,
            scratch,
            output,
            cell_output,
        };
        match self.plan.split {
            Split::Rows => {
                let sinks = outputs.map(|output| match (output, source.ragged) {
                    (None, _) => Sink::None,
                    (Some(output), None) => Sink::Dense(output),
                    (Some(output), Some(ragged)) => Sink::Scattered(ragged.reorder(output)),
                });
                let work = work(tools.scratch_for(rows), sinks);
                parallel::run(work, self.plan.threads, &|first, work| self.run_rows(first, work));
            }
            Split::Units => {
                let TeamTools { progress, scratch, between_halves } =
                    tools.for_team(self.weights.shape(), self.plan.threads, rows);
                let work = work(scratch, outputs.map(|output| output.map_or(Sink::None, Sink::Dense)));
                self.run_units(work, progress, between_halves);
            }
        }
    }

    /// All units of some rows, from row `first` on, on this thread.
    pub(crate) fn run_rows(&self, first: usize, mut work: Work<'_>) {
        if self.leads_rows(&work) {
            for row in first..first + parallel::Rows::rows(&work) {
                let (one, rest) = parallel::Rows::split(work, 1);
                self.run_row(row, one);
                work = rest;
            }
            return;
        }
        let Work { states, mut gathered, mut hoisted, mut preactivations, scratch, .. } = work;
        let Work { mut output, mut cell_output, .. } = work;
        let States { mut hidden, first: slot, mut cell, mut recorded, mut projected } = states;
        let (rows, slots) = (first..first + hidden.batch(), hidden.slots());
        if rows.is_empty() {
            return;
        }
        let groups = 0..self.groups();
        let (mut now, mut next) = (slot % slots, 0);
        while let Some(block) = self.source.next_block(next, &rows, &self.cell, &mut gathered) {
            next = block.steps.end;
            let mut done = 0;
            for step in block.steps.clone() {
                let active = self.source.active(step, &rows);
                let of_step = done..done + active;
                done = of_step.end;
                let before = if now == 0 { slots - 1 } else { now - 1 };
                let (to, from) = views::slot_beside(&mut hidden, now, before);
                let (cell, tape) = match &mut recorded {
                    None => (views::slot(&mut cell, 0), None),
                    Some(recorded) => {
                        let (cell, previous_cell) = views::slot_beside(&mut cell, now, before);
                        let gates = views::slot(recorded, step).first(active);
                        (cell, Some(Tape { previous_cell: previous_cell.rows_of(0..active), gates }))
                    }
                };
                let mut cell = cell.first(active);
                let found = Gathered { input: &*gathered.input, times: &*gathered.times };
                self.hoist(step, &block, &rows, groups.clone(), found, &mut hoisted);
                let (start, input) =
                    self.input(step, [&rows, &of_step], groups.clone(), found.input, &hoisted);
                let mut extras = self.extras(step, [&rows, &of_step], &gathered.sequences, || {
                    preactivations.step(0).map(|rows| rows.first(active))
                });
                if let (Some(extras), Some(projected)) = (&mut extras, &mut projected) {
                    extras.projected = projected.step(step).map(|rows| rows.first(active));
                }
                self.cell.step(Step {
                    groups: groups.clone(),
                    // Slots take turns from call to call, so single steps walk to and fro as well.
                    order: Order::zigzag(now),
                    start,
                    input,
                    recurrent: self.weights.recurrent_term(from.rows_of(0..active)),
                    hidden: to.first(active),
                    cell: cell.all(),
                    tape,
                    output: output.rows(self.source.time(step)),
                    extras: extras.as_mut(),
                    half: None,
                    scratch: &mut *scratch,
                });
                if let Some(to) = cell_output.rows(self.source.time(step)) {
                    copy_rows(cell.read(), to);
                }
                if let Some(ragged) = &self.source.ragged {
                    let times = &gathered.times[of_step];
                    if let Sink::Scattered(output) = &mut output {
                        ragged.scatter(first, times, views::read_slot(&hidden, now), output);
                    }
                    if let Sink::Scattered(output) = &mut cell_output {
                        ragged.scatter(first, times, cell.read(), output);
                    }
                }
                now = if now + 1 == slots { 0 } else { now + 1 };
            }
        }
    }

    /// Whether rows are best led one after the other, each by one call of a kernel.
    fn leads_rows(&self, work: &Work<'_>) -> bool {
        let Work { states: States { hidden, recorded, .. }, cell_output, .. } = work;
        let (None, None, 2, Sink::None) = (recorded, &self.source.ragged, hidden.slots(), cell_output) else {
            return false;
        };
        let (shape, steps) = (self.weights.shape(), self.source.steps);
        let inputs = if self.plan.schedule == Schedule::Fused { shape.inputs } else { 0 };
        !self.cell.has_extras() && hidden.batch() <= row::most_led(self.kernels, shape, inputs, steps == 1)
    }

    /// One row of a narrow layer.
    fn run_row(&self, row: usize, work: Work<'_>) {
        let Source { input, direction, first_step, steps, .. } = self.source;
        let Work {
            states: States { mut hidden, first: slot, mut cell, .. }, mut hoisted, mut output, ..
        } = work;
        let mut now = slot % 2;
        let mut begin = 0;
        while begin < steps {
            let mut end = steps;
            if self.plan.schedule == Schedule::Hoisted {
                end = steps.min(begin + self.plan.block_steps);
            }
            let times = direction.times(first_step + begin..first_step + end, input.shape[0]);
            let sums;
            let (start, x) = if self.plan.schedule == Schedule::Hoisted {
                self.hoist_dense(begin..end, &(row..row + 1), 0..self.groups(), &mut hoisted);
                sums = views::row_of_steps(&mut hoisted, 0..end - begin);
                (Start::Sums(sums.read()), views::no_rows())
            } else {
                let x = input.time_rows(times.start, end - begin, row);
                (Start::Bias(self.weights.bias()), x)
            };
            let [mut first, mut second] = views::two_slots(&mut hidden);
            let hidden = [first.row_mut(0), second.row_mut(0)];
            let hidden = if now == 0 {
                hidden
            } else {
                let [first, second] = hidden;
                [second, first]
            };
            let row = NarrowRow {
                start,
                input: x,
                weights: self.weights.packed(),
                steps: end - begin,
                is_reverse: direction == Direction::Reverse,
                order: Order::zigzag(now),
                hidden,
                output: match &mut output {
                    Sink::Dense(output) => Some(views::row_of_steps(output, times)),
                    Sink::None | Sink::Scattered(_) => None,
                },
                units: self.weights.shape().units,
            };
            row::lead(self.kernels, self.weights.shape().kind, row, views::slot(&mut cell, 0).row_mut(0));
            now = (now + end - begin) % 2;
            begin = end;
        }
    }

    /// All rows, with the units over a team.
    fn run_units(&self, work: Work<'_>, progress: &mut [Progress], mut between_halves: SequenceMut<'_>) {
        let Work { states, mut gathered, mut hoisted, mut preactivations, scratch, .. } = work;
        let States { mut hidden, first: slot, cell, recorded, .. } = states;
        let shape = self.weights.shape();
        let (members, rows) = (progress.len(), 0..hidden.batch());
        let (group_units, group_sums) = (shape.group_units(), shape.group_sums());
        let [mut output, mut cell_output] = [work.output, work.cell_output].map(|output| match output {
            Sink::Dense(output) => output,
            Sink::None | Sink::Scattered(_) => SequenceMut::empty(),
        });
        let (mut taped_cell, mut latest_cell) =
            if recorded.is_some() { (cell, SequenceMut::empty()) } else { (SequenceMut::empty(), cell) };
        let mut recorded = recorded.unwrap_or_else(SequenceMut::empty);
        let mut next = 0;
        while let Some(block) = self.source.next_block(next, &rows, &self.cell, &mut gathered) {
            next = block.steps.end;
            let found = Gathered { input: &*gathered.input, times: &*gathered.times };
            let sequences = &gathered.sequences;
            let begin = block.steps.start;
            let state = Slots::Up { first: slot + begin };
            let written = match self.source.direction {
                Direction::Forward => Slots::Up { first: self.source.time(begin) },
                Direction::Reverse => Slots::Down { first: self.source.time(begin) },
            };
            // The output of dense rows is that of a step; of gathered ones, its columns are written at any time.
            let is_dense = self.source.ragged.is_none();
            let (stepped_output, owned_output) = stepped_or_owned(is_dense, &mut output);
            let (stepped_cell_output, owned_cell_output) = stepped_or_owned(is_dense, &mut cell_output);
            let stepped = [
                Shared::new(hidden.all(), group_units, state),
                Shared::new(taped_cell.all(), group_units, state),
                Shared::new(recorded.all(), shape.recorded_group(), Slots::Up { first: begin }),
                Shared::new(stepped_output, group_units, written),
                Shared::new(stepped_cell_output, group_units, written),
                Shared::new(between_halves.all(), group_units, Slots::EachTurn),
            ];
            let owned = [
                Shared::new(latest_cell.all(), group_units, state),
                Shared::new(hoisted.all(), group_sums, state),
                Shared::new(preactivations.all(), group_sums, state),
                Shared::new(owned_output, group_units, state),
                Shared::new(owned_cell_output, group_units, state),
            ];
            let team = Team::new(&mut *progress, block.steps.len(), self.groups(), stepped, owned)
                .in_halves(shape.has_halves());
            parallel::together(0..members, &mut *scratch, &|member, scratch| {
                // The first step that this member has not seen, and how many gathered rows come before it.
                let (mut seen, mut done) = (begin, 0);
                team.join(member, |turn| {
                    let (step, groups) = (begin + turn.step(), turn.blocks());
                    if groups.is_empty() {
                        return;
                    }
                    let is_second_half = turn.is_second_half();
                    while seen < step {
                        done += self.source.active(seen, &rows);
                        seen += 1;
                    }
                    let active = self.source.active(step, &rows);
                    let of_step = done..done + active;
                    let columns = groups.start * group_units..groups.end * group_units;
                    let (stepped, owned) = turn.parts();
                    let [hidden, taped_cell, recorded, stepped_output, stepped_cell_output, between] =
                        stepped;
                    let [mut latest_cell, mut hoisted, mut preactivations, owned_output, owned_cell_output] =
                        owned;
                    let (cell, tape) = match (taped_cell.now, taped_cell.before, recorded.now) {
                        (Some(cell), Some(before), Some(gates)) => {
                            let previous_cell = before.columns(columns).rows_of(0..active);
                            (cell, Some(Tape { previous_cell, gates: gates.first(active) }))
                        }
                        _ => (views::slot(&mut latest_cell, 0), None),
                    };
                    let mut cell = cell.first(active);
                    let mut own = preactivations.step(0).map(|rows| rows.first(active));
                    let half = Half::of_turn(shape.has_halves(), is_second_half, between);
                    let mut half = half.map(|half| half.split(active).0);
                    // The second half reads what the first one records, so there is a tape in any case.
                    let tape = match half {
                        Some(_) if tape.is_none() => {
                            own.take().map(|gates| Tape { previous_cell: views::no_rows(), gates })
                        }
                        _ => tape,
                    };
                    if !is_second_half {
                        self.hoist(step, &block, &rows, groups.clone(), found, &mut hoisted);
                    }
                    let (start, input) =
                        self.input(step, [&rows, &of_step], groups.clone(), found.input, &hoisted);
                    // A projection is of whole rows.
                    let mut extras =
                        self.extras(step, [&rows, &of_step], sequences, || own.as_mut().map(RowsMut::all));
                    let from = views::present(hidden.before, "h before step", step, block.steps.len());
                    let mut to =
                        views::present(hidden.now, "h of step", step, block.steps.len()).first(active);
                    self.cell.step(Step {
                        groups,
                        order: Order::zigzag(step),
                        start,
                        input,
                        recurrent: self.weights.recurrent_term(from.rows_of(0..active)),
                        hidden: to.all(),
                        cell: cell.all(),
                        tape,
                        output: stepped_output.now,
                        extras: extras.as_mut(),
                        half: half.as_mut(),
                        scratch: &mut *scratch,
                    });
                    if shape.has_halves() && !is_second_half {
                        return;
                    }
                    if let Some(to) = stepped_cell_output.now {
                        copy_rows(cell.read(), to);
                    }
                    if let Some(ragged) = &self.source.ragged {
                        for (from, output) in [(to.read(), owned_output), (cell.read(), owned_cell_output)] {
                            if let Some(mut output) = ReorderedMut::new(output, ragged.order()) {
                                ragged.scatter(0, &found.times[of_step.clone()], from, &mut output);
                            }
                        }
                    }
                });
            });
        }
    }

    /// All groups of units.
    fn groups(&self) -> usize {
        self.weights.shape().groups()
    }

    /// What some cells need of a step beside: `[rows, those of them in what was gathered]`.
    #[inline]
    fn extras<'s>(
        &'s self,
        step: usize,
        [rows, of_step]: [&Range<usize>; 2],
        sequences: &'s [&mut [f32]; 2],
        preactivations: impl FnOnce() -> Option<RowsMut<'s>>,
    ) -> Option<StepExtras<'s>> {
        if !self.cell.has_extras() {
            return None;
        }
        let gathered = sequences.each_ref().map(|sequence| &**sequence);
        let taken = self.source.sequences(&self.cell, step, rows, of_step, gathered);
        let active = rows.start..rows.start + of_step.len();
        let masks = self.cell.masks_of(&active, taken);
        Some(StepExtras { masks, preactivations: preactivations(), projected: None })
    }

    /// What the pre-activations of some groups of units of a step start from, and W·x if that is not hoisted.
    #[inline]
    fn input<'s>(
        &'s self,
        step: usize,
        [rows, of_step]: [&Range<usize>; 2],
        groups: Range<usize>,
        gathered: &'s [f32],
        hoisted: &'s SequenceMut<'_>,
    ) -> (Start<'s>, Option<Term<'s>>) {
        if self.plan.schedule == Schedule::Fused {
            let bias = &self.weights.bias()[self.weights.shape().start_columns(groups)];
            let input = self.source.input(step, rows, of_step, gathered);
            return (Start::Bias(bias), self.weights.input_term(input));
        }
        let sums = match &self.source.ragged {
            Some(_) => views::read_slot(hoisted, 0).rows_of(of_step.clone()),
            None => {
                let steps = self.hoisted_with(step);
                let slot = self.source.direction.time(step - steps.start, steps.len());
                views::read_slot(hoisted, slot)
            }
        };
        (Start::Sums(sums), None)
    }

    /// The steps of dense rows whose input products are hoisted at once with those of this one.
    #[inline]
    fn hoisted_with(&self, step: usize) -> Range<usize> {
        let first = step - step % self.plan.block_steps;
        first..self.source.steps.min(first + self.plan.block_steps)
    }

    /// The first step of what is hoisted at once makes all of it, for some groups of units.
    #[inline]
    fn hoist(
        &self,
        step: usize,
        block: &Block,
        rows: &Range<usize>,
        groups: Range<usize>,
        gathered: Gathered<'_>,
        hoisted: &mut SequenceMut<'_>,
    ) {
        if self.plan.schedule == Schedule::Fused {
            return;
        }
        if let Some(ragged) = &self.source.ragged {
            if step == block.steps.start {
                self.hoist_gathered(ragged, block, rows, groups, gathered, hoisted);
            }
        } else if step.is_multiple_of(self.plan.block_steps) {
            self.hoist_dense(self.hoisted_with(step), rows, groups, hoisted);
        }
    }

    /// bias + W·x, or what is given of that, for a block of gathered rows.
    fn hoist_gathered(
        &self,
        ragged: &Ragged<'_>,
        block: &Block,
        rows: &Range<usize>,
        groups: Range<usize>,
        gathered: Gathered<'_>,
        hoisted: &mut SequenceMut<'_>,
    ) {
        let mut to = views::slot(hoisted, 0).first(block.rows);
        let Some(given) = &self.source.given else {
            let x = self.source.gathered_input(&(0..block.rows), gathered.input);
            return self.input_sums(groups, x, to);
        };
        let active = block.steps.clone().map(|step| self.source.active(step, rows));
        let positions = active.flat_map(|active| rows.start..rows.start + active);
        for (row, (position, &time)) in positions.zip(gathered.times).enumerate() {
            let place = [time, ragged.row(position)];
            given.write(self.weights, place, groups.clone(), to.row_mut(row));
        }
    }

    /// The same for a block of steps of dense rows, in the order of their times.
    fn hoist_dense(
        &self,
        block: Range<usize>,
        rows: &Range<usize>,
        groups: Range<usize>,
        hoisted: &mut SequenceMut<'_>,
    ) {
        let Source { input, direction, first_step, .. } = self.source;
        let steps = block.len();
        let t = direction.times(first_step + block.start..first_step + block.end, input.shape[0]).start;
        let mut hoisted = hoisted.steps(0..steps);
        if let Some(given) = &self.source.given {
            for slot in 0..steps {
                for row in 0..rows.len() {
                    let to = hoisted.row_mut(slot, row);
                    given.write(self.weights, [t + slot, rows.start + row], groups.clone(), to);
                }
            }
            return;
        }
        let product = |rows: Rows<'_>, to: RowsMut<'_>| self.input_sums(groups.clone(), rows, to);
        // The weights are read once per product, so the products shall have many rows: all there are, or all steps of a
        // batch row, or all batch rows of a step.
        let all = input.all_rows(t, steps, rows.start, rows.len());
        if let Some((rows, to)) = all.zip(hoisted.all_rows()) {
            product(rows, to);
        } else if steps >= rows.len() {
            for row in 0..rows.len() {
                let to = views::present(hoisted.batch_row(row), "row", row, rows.len());
                product(input.time_rows(t, steps, rows.start + row), to);
            }
        } else {
            for slot in 0..steps {
                let rows = input.batch_rows(t + slot, rows.start, rows.len());
                product(rows, views::slot(&mut hoisted, slot));
            }
        }
    }

    /// bias + W·x for some rows of x and some groups of units.
    fn input_sums(&self, groups: Range<usize>, rows: Rows<'_>, mut to: RowsMut<'_>) {
        let shape = self.weights.shape();
        let terms = [Some(Term { rows, weights: self.weights.input(), from: 0 }), None];
        let mut first = 0;
        for vectors in shape.sums_of(groups) {
            let columns = shape.columns_of(vectors.clone());
            let end = first + columns.len();
            let start = Start::Bias(&self.weights.bias()[columns]);
            let to = to.columns(first..end);
            self.kernels.product(Product { start, terms, vectors, to, scratch: &mut [] });
            first = end;
        }
    }
}

/// An output as what a step writes of it, if rows are dense, or as what a member of a team owns.
fn stepped_or_owned<'s>(
    is_dense: bool,
    output: &'s mut SequenceMut<'_>,
) -> (SequenceMut<'s>, SequenceMut<'s>) {
    if is_dense { (output.all(), SequenceMut::empty()) } else { (SequenceMut::empty(), output.all()) }
}

/// Copies rows that may be padded.
fn copy_rows(from: Rows<'_>, mut to: RowsMut<'_>) {
    let width = to.width();
    for row in 0..to.rows() {
        to.row_mut(row).copy_from_slice(&from.row(row)[..width]);
    }
}
