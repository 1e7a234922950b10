//! The forward pass of a stack.
//!
//! ```text
//! in turn:       for each layer:  for each of its directions:  all steps
//! side by side:  two directions:  for each layer:  both directions at the same time, all steps
//!                one direction:   for each group of layers:  blocks of steps pass through them, one layer a thread
//! ```

use crate::cell::step::Masks;
use crate::direction::Direction;
use crate::error::Error;
use crate::lstm::{Forward, ForwardRun};
use crate::memory::tape::Tape;
use crate::memory::views;
use crate::memory::workspace::Workspace;
use crate::parallel;
use crate::row_steps::{Padding, RowSteps};
use crate::stack::config::{Arrangement, Directions};
use crate::stack::dropout::Dropout;
use crate::stack::layers::Layers;
use crate::stack::memory::{StackTape, StackWorkspace, buffers_from};
use crate::stack::plan::{MOST_SIDE_BY_SIDE, StackPlan};
use crate::view::{Matrix, MatrixMut, Sequence, SequenceMut, check_sequence};
use quadgate_kernels::{BlockOrder, RowsMut, VisitParts, Wavefront};
use std::array;

/// The arguments of [`Stack::forward`](crate::Stack::forward).
pub type StackForward<'a> = Forward<'a, StackTape>;

impl StackForward<'_> {
    /// Applies dropout to what goes from each layer to the next, of which a stack of one layer has nothing. A tape
    /// records it for [`Stack::backward`](crate::Stack::backward).
    pub fn dropout(mut self, dropout: Dropout) -> Self {
        self.dropout = Some(dropout);
        self
    }
}

impl Layers {
    /// If every argument fits, the plan, and which steps to run, if not all.
    fn check_forward<'a>(
        &self,
        workspace: &StackWorkspace,
        call: &mut StackForward<'a>,
    ) -> Result<(StackPlan, Option<RowSteps<'a>>), Error> {
        let [steps, batch, _] = call.input.shape;
        let ([hidden, cell], width) = (self.config.state_widths(), self.config.output_size());
        check_sequence("input", [steps, batch, self.config.input_size()], call.input.shape)?;
        call.input.check_bounds("input")?;
        let rows = self.state_rows(batch)?;
        for (argument, states, width) in
            [("initial_hidden", call.initial_hidden, hidden), ("initial_cell", call.initial_cell, cell)]
        {
            self.config.layer(0).check_cell_state(argument, states.is_some() && width == 0)?;
            states.map(|states| states.checked(argument, rows, width)).transpose()?;
        }
        let output = call.output.as_mut();
        output.map(|output| output.all().checked("output", [steps, batch, width])).transpose()?;
        for (argument, states, width) in
            [("last_hidden", &mut call.last_hidden, hidden), ("last_cell", &mut call.last_cell, cell)]
        {
            self.config.layer(0).check_cell_state(argument, states.is_some() && width == 0)?;
            states.as_mut().map(|states| states.all().checked(argument, rows, width)).transpose()?;
        }
        let row_steps = call.row_steps.checked([steps, batch])?;
        let row_steps = row_steps.or_else(|| RowSteps::if_small(call.input, self.layers[0].kernels));
        // A row of a reverse layer may begin anywhere, so blocks of steps cannot pass through layers.
        let is_whole = row_steps.is_some() && self.config.directions().count() == 1;
        let plan = self.plan_within(workspace, [steps, batch], if is_whole { 1 } else { usize::MAX })?;
        call.tape.as_ref().map_or(Ok(()), |tape| self.check_tape(tape, [steps, batch]))?;
        Ok((plan, row_steps))
    }

    /// Rows of the states of all directed layers.
    pub(super) fn state_rows(&self, batch: usize) -> Result<usize, Error> {
        batch.checked_mul(self.layers.len()).ok_or(Error::Overflow { argument: "input" })
    }
}

/// What all directed layers of a call share.
#[derive(Clone, Copy)]
struct Call<'a> {
    plan: StackPlan,
    steps: usize,
    batch: usize,
    /// h and c of all directed layers.
    initial: [Option<Matrix<'a>>; 2],
    dropout: Option<Dropout>,
    /// Which steps are run, if not all.
    row_steps: Option<RowSteps<'a>>,
}

/// A layer through which blocks of steps pass.
struct Stage<'a> {
    run: ForwardRun<'a>,
    /// Where the last layer of the stack writes.
    output: Option<quadgate_kernels::SequenceMut<'a>>,
}

impl Layers {
    /// See [`Stack::forward`](crate::Stack::forward).
    pub(super) fn forward(
        &self,
        workspace: &mut StackWorkspace,
        mut arguments: StackForward<'_>,
    ) -> Result<(), Error> {
        let (plan, row_steps) = self.check_forward(workspace, &mut arguments)?;
        let [steps, batch, _] = arguments.input.shape;
        let initial = [arguments.initial_hidden, arguments.initial_cell];
        let call = Call { plan, steps, batch, initial, dropout: arguments.dropout, row_steps };
        if let Some(tape) = &mut arguments.tape {
            tape.dropout = arguments.dropout;
        }
        if plan.arrangement == Arrangement::SideBySide && self.config.directions().count() == 1 {
            self.forward_in_blocks(call, workspace, arguments);
        } else {
            self.forward_layers(call, workspace, arguments);
        }
        Ok(())
    }

    /// One layer after the other.
    fn forward_layers(&self, call: Call<'_>, workspace: &mut StackWorkspace, arguments: StackForward<'_>) {
        let Call { plan, steps, batch, dropout, .. } = call;
        let StackForward { input, mut output, tape, .. } = arguments;
        let mut last = [arguments.last_hidden, arguments.last_cell];
        let directions = self.config.directions();
        let StackWorkspace { layers: workspaces, between, second, .. } = workspace;
        let (mut tapes, between) = match tape {
            None => (None, between),
            Some(StackTape { tapes, activations, .. }) => (Some(tapes), activations),
        };
        for layer in 0..self.config.layers() {
            let width = self.config.output_size_of(layer);
            let mut buffers = buffers_from(between, &self.config, layer, [steps, batch]);
            let input = match layer.checked_sub(1) {
                None => input,
                Some(layer_below) => {
                    let width = self.config.output_size_of(layer_below);
                    let below =
                        views::present(buffers.next(), "buffer below layer", layer, self.layers.len());
                    if let Some(dropout) = dropout {
                        dropout.multiply(layer_below, 0, batch, width, below, plan.threads);
                    }
                    Sequence::time_major(below, steps, batch, width)
                }
            };
            let mut output = if layer + 1 == self.config.layers() {
                output.as_mut().map(SequenceMut::all)
            } else {
                Some(SequenceMut::time_major(
                    views::present(buffers.next(), "buffer below layer", layer, self.layers.len()),
                    steps,
                    batch,
                    width,
                ))
            };
            let whole = output.as_mut().map(SequenceMut::all).map(SequenceMut::rows);
            let outputs = match (directions, whole) {
                (Directions::Concatenated, Some(whole)) => {
                    let (forward, reverse) = whole.split_columns(width / 2);
                    [Some(forward), Some(reverse)]
                }
                (Directions::Summed, Some(whole)) => {
                    let second = SequenceMut::time_major(second, steps, batch, width);
                    [Some(whole), Some(second.rows())]
                }
                (_, whole) => [whole, None],
            };
            let index = layer * directions.count();
            let mut tapes = tapes.iter_mut().flat_map(|tapes| &mut tapes[index..]);
            match (plan.arrangement, workspaces.of(layer)) {
                (Arrangement::SideBySide, [first, second]) => {
                    let [first_output, second_output] = outputs;
                    let mut first = self.begin_layer(call, index, first, tapes.next());
                    let mut second = self.begin_layer(call, index + 1, second, tapes.next());
                    parallel::both(
                        || first.steps(input, [first_output, None]),
                        || second.steps(input, [second_output, None]),
                    );
                    self.end_layer(index, first, batch, &mut last);
                    self.end_layer(index + 1, second, batch, &mut last);
                }
                (_, workspaces) => {
                    for (direction, output) in outputs.into_iter().take(directions.count()).enumerate() {
                        let mut run =
                            self.begin_layer(call, index + direction, &mut workspaces[0], tapes.next());
                        run.steps(input, [output, None]);
                        self.end_layer(index + direction, run, batch, &mut last);
                    }
                }
            }
            if let (Directions::Summed, Some(output)) = (directions, &mut output) {
                output.add(Sequence::time_major(second, steps, batch, width));
            }
        }
    }

    /// Groups of layers of one direction, and blocks of steps through all layers of a group.
    fn forward_in_blocks(&self, call: Call<'_>, workspace: &mut StackWorkspace, arguments: StackForward<'_>) {
        let Call { plan, steps, batch, dropout, .. } = call;
        let StackForward { input, output, tape, .. } = arguments;
        let mut last = [arguments.last_hidden, arguments.last_cell];
        let layers = self.config.layers();
        let StackWorkspace { layers: workspaces, between, progress, .. } = workspace;
        let (mut tapes, between) = match tape {
            None => (None, between),
            Some(StackTape { tapes, activations, .. }) => (Some(tapes), activations),
        };
        let mut output = output.map(SequenceMut::rows);
        let direction = self.layers[0].config().reading_direction();
        let order = match direction {
            Direction::Forward => BlockOrder::Ascending,
            Direction::Reverse => BlockOrder::Descending,
        };
        let blocks = steps.div_ceil(plan.block_steps);
        let mut first = 0;
        while first < layers {
            let workspaces = workspaces.group(first);
            let end = layers.min(first + workspaces.len());
            let mut buffers = buffers_from(between, &self.config, first, [steps, batch]);
            let input = match first {
                0 => input,
                _ => {
                    let below: &[f32] =
                        views::present::<&mut [f32]>(buffers.next(), "buffer below layer", first, layers);
                    Sequence::time_major(below, steps, batch, self.config.output_size_of(first - 1))
                }
            };
            let buffers: [_; MOST_SIDE_BY_SIDE] = array::from_fn(|stage| {
                let block_len = plan.block_steps * batch * self.config.output_size_of(first + stage);
                (buffers.next().unwrap_or_default(), block_len)
            });
            let mut workspaces = workspaces.iter_mut();
            let mut tapes = tapes.iter_mut().flat_map(|tapes| &mut tapes[first..]);
            let mut stages: [_; MOST_SIDE_BY_SIDE] = array::from_fn(|stage| {
                let layer = first + stage;
                let workspace = workspaces.next().filter(|_| layer < end)?;
                let run = self.begin_layer(call, layer, workspace, tapes.next());
                Some(Stage { run, output: if layer + 1 == layers { output.take() } else { None } })
            });
            let wavefront = Wavefront::new(&mut progress[..end - first], &mut stages, blocks, order, buffers);
            let members = plan.threads.min(end - first);
            parallel::together(0..members, &mut [], &|member, _| {
                wavefront.join(member, members, |visit| {
                    let layer = first + visit.stage();
                    let is_last = layer + 1 == layers;
                    let begin = visit.place() * plan.block_steps;
                    let times = begin..steps.min(begin.saturating_add(plan.block_steps));
                    let VisitParts { stage, before, after } = visit.parts();
                    let stage = views::present(stage.as_mut(), "stage", 0, 1);
                    let block = |data| {
                        let below = self.config.output_size_of(layer - 1);
                        Sequence::time_major(data, times.len(), batch, below)
                    };
                    let input = before.map_or_else(|| input.steps(times.clone()), block);
                    let width = self.config.output_size_of(layer);
                    let output = if is_last {
                        stage.output.as_mut().map(|output| output.steps(times))
                    } else {
                        Some(SequenceMut::time_major(&mut *after, times.len(), batch, width).rows())
                    };
                    stage.run.steps(input, [output, None]);
                    if let (Some(dropout), false) = (dropout, is_last) {
                        dropout.multiply(layer, begin, batch, width, after, 1);
                    }
                });
            });
            for (layer, stage) in (first..end).zip(stages.into_iter().flatten()) {
                self.end_layer(layer, stage.run, batch, &mut last);
            }
            first = end;
        }
    }

    /// Begins the run of directed layer `index`.
    fn begin_layer<'a>(
        &'a self,
        call: Call<'a>,
        index: usize,
        workspace: &'a mut Workspace,
        tape: Option<&'a mut Tape>,
    ) -> ForwardRun<'a> {
        let Call { plan, steps, batch, initial, row_steps, .. } = call;
        let lstm = &self.layers[index];
        let plan = lstm.plan_of([plan.block_steps, batch], plan.threads_of_layer(&self.config));
        let [hidden_width, cell_width] = lstm.config().state_widths();
        let part = |all: Option<Matrix<'a>>, width: usize| {
            let part = all?.part(index * batch, batch).first_columns(width);
            Some(part.checked("states", batch, width).expect("states were checked when the call began"))
        };
        let initial = [part(initial[0], hidden_width), part(initial[1], cell_width)];
        let cell = lstm.cell(Masks::default());
        // A sum has the padding once.
        let is_added = self.config.directions() == Directions::Summed && index % 2 == 1;
        let row_steps = row_steps.map(|row_steps| match row_steps.padding {
            Padding::Value(_) if is_added => RowSteps { padding: Padding::Zero, ..row_steps },
            _ => row_steps,
        });
        lstm.begin(plan, cell, workspace, initial, tape, [steps, batch], row_steps)
    }

    /// Writes the last states of directed layer `index`.
    fn end_layer(
        &self,
        index: usize,
        run: ForwardRun<'_>,
        batch: usize,
        [hidden, cell]: &mut [Option<MatrixMut<'_>>; 2],
    ) {
        let [hidden_width, cell_width] = self.layers[index].config().state_widths();
        run.end(
            part_of(hidden, index * batch, batch, hidden_width),
            part_of(cell, index * batch, batch, cell_width),
        );
    }
}

/// The first elements of some rows of states that were checked when the call began.
fn part_of<'a>(
    all: &'a mut Option<MatrixMut<'_>>,
    first: usize,
    rows: usize,
    width: usize,
) -> Option<RowsMut<'a>> {
    let part = all.as_mut()?.part(first, rows).first_columns(width);
    Some(part.checked("states", rows, width).expect("states were checked when the call began"))
}
