//! The forward pass of some rows through all of time.
//!
//! ```text
//! Fused:    for t:                     sums = bias + W·x_t + R·h;  cell
//! Hoisted:  for each block of steps:   sums[t] = bias + W·x_t      for all t of the block, as one product
//!               for t in the block:    sums = sums[t] + R·h;       cell
//! ```
//!
//! Rows of a batch never meet, so a thread takes its rows from the first step to the last without waiting for another.
//! Both schedules add the same terms in the same order, so they yield the same bits.

use crate::config::Schedule;
use crate::pack::PackedWeights;
use crate::parallel;
use crate::plan::Plan;
use crate::view::Sequence;
use crate::workspace::StateRows;
use quadgate_kernels::{Kernels, LstmStep, Order, Product, Rows, RowsMut, SequenceMut, Start, Tape, Term};
use std::mem;
use std::ops::Range;

/// What all rows share.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) weights: &'a PackedWeights,
    pub(crate) plan: Plan,
    pub(crate) input: Sequence<'a>,
    /// First of the steps to run.
    pub(crate) first_step: usize,
    /// How many steps to run.
    pub(crate) steps: usize,
}

/// Some rows of the batch, with all that they write.
pub(crate) struct BatchRows<'a> {
    /// Their first row in the input.
    pub(crate) first: usize,
    pub(crate) states: States<'a>,
    /// Room for the sums of `plan.block_steps` steps.
    pub(crate) sums: &'a mut [f32],
    pub(crate) output: Option<SequenceMut<'a>>,
}

/// Where h and c live.
pub(crate) enum States<'a> {
    /// In place: only the last ones are kept.
    Latest(StateRows<'a>),
    /// On a tape: h and c before and after each step, and the gates.
    Taped([SequenceMut<'a>; 3]),
}

impl parallel::Rows for BatchRows<'_> {
    fn rows(&self) -> usize {
        match &self.states {
            States::Latest(state) => state.rows,
            States::Taped([hidden, ..]) => hidden.batch(),
        }
    }

    fn split(self, at: usize) -> (Self, Self) {
        let sums_per_row = self.sums.len().checked_div(self.rows()).unwrap_or(0);
        let (states, other_states) = match self.states {
            States::Latest(state) => {
                let (state, other) = state.split(at);
                (States::Latest(state), States::Latest(other))
            }
            States::Taped([hidden, cell, gates]) => {
                let (hidden, other_hidden) = hidden.split_rows(at);
                let (cell, other_cell) = cell.split_rows(at);
                let (gates, other_gates) = gates.split_rows(at);
                (States::Taped([hidden, cell, gates]), States::Taped([other_hidden, other_cell, other_gates]))
            }
        };
        let (sums, other_sums) = self.sums.split_at_mut(at * sums_per_row);
        let (output, other_output) = self.output.map(|output| output.split_rows(at)).unzip();
        (
            BatchRows { first: self.first, states, sums, output },
            BatchRows {
                first: self.first + at,
                states: other_states,
                sums: other_sums,
                output: other_output,
            },
        )
    }
}

/// Why no view of the crate's own buffers can fail here.
pub(crate) const CHECKED: &str = "shapes were checked before the call ran";

impl Pass<'_> {
    /// Runs `work` through all steps, over the threads of the plan.
    pub(crate) fn run(&self, work: BatchRows<'_>) {
        parallel::run(work, self.plan.threads, &|rows| self.run_rows(rows));
    }

    fn run_rows(&self, work: BatchRows<'_>) {
        let rows = parallel::Rows::rows(&work);
        let BatchRows { first, states, sums, mut output } = work;
        if rows == 0 {
            return;
        }
        let batch = first..first + rows;
        match states {
            States::Latest(StateRows { padded, mut hidden, mut next, cell, .. }) => {
                for step in 0..self.steps {
                    let from = Rows::new(hidden, rows, padded, padded).expect(CHECKED);
                    let cell = RowsMut::new(cell, rows, padded, padded).expect(CHECKED);
                    let to = RowsMut::new(next, rows, padded, padded).expect(CHECKED);
                    let output = output.as_mut().and_then(|output| output.step(self.first_step + step));
                    self.step(step, &batch, sums, from, cell, to, output, None);
                    mem::swap(&mut hidden, &mut next);
                }
            }
            States::Taped([mut hidden, mut cell, mut gates]) => {
                for step in 0..self.steps {
                    let (to, from) = hidden.step_beside(step + 1, step).expect(CHECKED);
                    let (cell, previous_cell) = cell.step_beside(step + 1, step).expect(CHECKED);
                    let tape = Tape { previous_cell, gates: gates.step(step).expect(CHECKED) };
                    let output = output.as_mut().and_then(|output| output.step(self.first_step + step));
                    self.step(step, &batch, sums, from, cell, to, output, Some(tape));
                }
            }
        }
    }

    /// One step of the rows `batch`: h goes `from` → `to`.
    #[expect(clippy::too_many_arguments, reason = "each is a matrix of the equations")]
    fn step(
        &self,
        step: usize,
        batch: &Range<usize>,
        sums: &mut [f32],
        from: Rows<'_>,
        cell: RowsMut<'_>,
        to: RowsMut<'_>,
        output: Option<RowsMut<'_>>,
        tape: Option<Tape<'_>>,
    ) {
        let shape = self.weights.shape();
        let (rows, width) = (batch.len(), shape.sums_width());
        let recurrent_weights = self.weights.recurrent().expect(CHECKED);
        let recurrent = Term { rows: from.narrow(shape.units), weights: recurrent_weights, from: 0 };
        let (start, terms) = match self.plan.schedule {
            Schedule::Hoisted => {
                let in_block = step % self.plan.block_steps;
                if in_block == 0 {
                    self.hoist(step, batch, sums);
                }
                let sums = Rows::new(&sums[in_block * rows * width..], rows, width, width).expect(CHECKED);
                (Start::Sums(sums), [Some(recurrent), None])
            }
            Schedule::Fused => {
                let input_rows = self.input.batch_rows(self.first_step + step, batch.start, rows);
                let weights = self.weights.input().expect(CHECKED);
                let input = (shape.inputs > 0).then_some(Term { rows: input_rows, weights, from: 0 });
                (Start::Bias(self.weights.bias()), [input, Some(recurrent)])
            }
        };
        self.kernels.lstm_step(LstmStep {
            start,
            terms,
            panels: 0..recurrent_weights.layout().panels(),
            order: Order::zigzag(step),
            cell,
            hidden: to,
            output,
            tape,
            units: shape.units,
        });
    }

    /// sums = bias + W·x for the block of steps that begins at `step`.
    fn hoist(&self, step: usize, batch: &Range<usize>, sums: &mut [f32]) {
        let weights = self.weights.input().expect(CHECKED);
        let (rows, width) = (batch.len(), self.weights.shape().sums_width());
        let steps = (self.steps - step).min(self.plan.block_steps);
        let mut product = |input: Rows<'_>, offset: usize, stride: usize| {
            self.kernels.product(Product {
                start: Start::Bias(self.weights.bias()),
                terms: [Some(Term { rows: input, weights, from: 0 }), None],
                panels: 0..weights.layout().panels(),
                to: RowsMut::new(&mut sums[offset..], input.rows(), width, stride).expect(CHECKED),
            });
        };
        // The weights are read once per product, so the products shall have many rows: all steps of a batch row, or
        // all batch rows of a step.
        let t = self.first_step + step;
        if steps >= rows {
            for row in 0..rows {
                product(self.input.time_rows(t, steps, batch.start + row), row * width, rows * width);
            }
        } else {
            for step in 0..steps {
                product(self.input.batch_rows(t + step, batch.start, rows), step * rows * width, width);
            }
        }
    }
}
