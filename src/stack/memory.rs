//! Memory of a stack that the caller owns and lends: what goes from layer to layer, and what each layer needs.

use crate::error::Error;
use crate::lstm::Lstm;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::tape::Tape;
use crate::memory::workspace::Workspace;
use crate::row_steps::RowSteps;
use crate::stack::config::{Directions, StackConfig};
use crate::stack::dropout::Dropout;
use crate::stack::layers::Layers;
use crate::stack::plan::{MOST_SIDE_BY_SIDE, StackPlan, most_side_by_side};
use quadgate_kernels::Progress;
use std::num::NonZeroUsize;

/// What the memory of a stack depends on beside that of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    layers: usize,
    /// The first layers that may differ, each of which has workspaces of its own.
    listed: usize,
    directions: usize,
    /// The most elements in a row of what goes from layer to layer.
    between: usize,
    output_size: usize,
    /// The most steps and rows of a call.
    capacity: [usize; 2],
}

impl Form {
    fn new(config: &StackConfig, capacity: [usize; 2]) -> Self {
        Self {
            layers: config.layers(),
            listed: config.listed(),
            directions: config.directions().count(),
            between: config.size_between(),
            output_size: config.output_size(),
            capacity,
        }
    }

    /// `Ok` if it is that of a stack, with room for a call.
    fn check(&self, argument: &'static str, config: &StackConfig, call: [usize; 2]) -> Result<(), Error> {
        let expected = Form::new(config, call);
        for (dimension, expected, found) in [
            ("layers", expected.layers, self.layers),
            ("layers that differ", expected.listed, self.listed),
            ("directions", expected.directions, self.directions),
            ("output size", expected.output_size, self.output_size),
            ("size between layers", expected.between, self.between),
        ] {
            Error::check_dimension(argument, dimension, expected, found)?;
        }
        Error::check_room(argument, "steps", expected.capacity[0], self.capacity[0])?;
        Error::check_room(argument, "batch", expected.capacity[1], self.capacity[1])
    }
}

/// Elements of rows of so many, of each step and row of the batch.
fn rows_len(width: usize, [steps, batch]: [usize; 2]) -> Option<usize> {
    width.checked_mul(batch)?.checked_mul(steps)
}

/// Buffers between layers, used in turn: those that layers which run side by side read and write.
fn buffers_between(config: &StackConfig) -> usize {
    let side_by_side = if config.directions().count() == 2 { 1 } else { most_side_by_side(config) };
    (config.layers() - 1).min(side_by_side.max(2))
}

/// Elements of what a second direction yields before it is added to the first: its output, and its gradient of x.
fn second_len(config: &StackConfig, capacity: [usize; 2]) -> Option<usize> {
    let is_summed = config.directions() == Directions::Summed;
    let output = if is_summed { config.size_between().max(config.output_size()) } else { 0 };
    let has_gradients = config.is_for_training() && config.directions().count() == 2;
    let gradient = if has_gradients { config.input_size().max(config.size_between()) } else { 0 };
    rows_len(output.max(gradient), capacity)
}

/// Most layers of one direction that run side by side from layer `first` on. All but the first ones leave a buffer to
/// what they read.
fn most_in_group(first: usize) -> usize {
    if first == 0 { MOST_SIDE_BY_SIDE } else { MOST_SIDE_BY_SIDE - 1 }
}

/// Workspaces of a layer: one for each of its directions that run side by side.
fn workspaces_of_each(config: &StackConfig) -> usize {
    if config.directions().count() == 2 { most_side_by_side(config) } else { 1 }
}

/// How many of the layers at the end, which are alike, have workspaces: those of one direction that run side by side.
fn workspaces_alike(config: &StackConfig) -> usize {
    let own = config.listed() - 1;
    let is_side_by_side = config.directions().count() == 1 && most_side_by_side(config) > 1;
    if is_side_by_side { most_in_group(own).min(config.layers() - own) } else { 1 }
}

/// Workspaces of layers: each layer that differs from those above it has its own, the others use theirs in turn.
#[derive(Clone, Debug)]
pub(super) struct LayerWorkspaces {
    all: Vec<Workspace>,
    /// Layers that have their own.
    own: usize,
    /// How many of them a layer has.
    of_each: usize,
}

impl LayerWorkspaces {
    /// Each, with the number of the first layer that uses it.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Workspace)> {
        let numbered = self.all.iter().enumerate();
        numbered.map(|(number, workspace)| ((number / self.of_each).min(self.own), workspace))
    }

    /// Those of the directions of a layer that run side by side; one if they do not.
    pub(super) fn of(&mut self, layer: usize) -> &mut [Workspace] {
        let first = layer.min(self.own) * self.of_each;
        &mut self.all[first..][..self.of_each]
    }

    /// Those of the layers of one direction that run side by side from layer `first` on.
    pub(super) fn group(&mut self, first: usize) -> &mut [Workspace] {
        let workspaces = &mut self.all[first.min(self.own)..];
        let most = most_in_group(first).min(workspaces.len());
        &mut workspaces[..most]
    }
}

/// Scratch for [`Stack::forward`](crate::Stack::forward) and [`Stack::backward`](crate::Stack::backward), made by
/// [`Stack::workspace`](crate::Stack::workspace).
///
/// It has what goes between two layers, and scratch for each layer that differs from the ones above it, as the first
/// one mostly does; those that are alike use theirs in turn. Where layers may run [side by
/// side](crate::Arrangement::SideBySide), it has both for each of those that do, eight at most; with
/// [`Arrangement::InTurn`](crate::Arrangement::InTurn) demanded, or one thread, it does not.
#[derive(Clone, Debug)]
pub struct StackWorkspace {
    form: Form,
    pub(super) layers: LayerWorkspaces,
    /// What goes from layer to layer: activations upwards, gradients downwards.
    pub(super) between: Vec<Buffer>,
    /// What the second direction of a layer yields before it is added to the first.
    pub(super) second: Buffer,
    /// How far layers have come that run side by side.
    pub(super) progress: Vec<Progress>,
}

impl StackWorkspace {
    /// T, the most steps that it serves.
    pub fn steps(&self) -> usize {
        self.form.capacity[0]
    }

    /// B, the largest batch that it serves.
    pub fn batch(&self) -> usize {
        self.form.capacity[1]
    }

    pub(super) fn is_for_training(&self) -> bool {
        self.layers.all.iter().all(|workspace| workspace.backward.is_some())
    }

    /// Bytes that this workspace owns.
    pub fn bytes(&self) -> usize {
        let layers: usize = self.layers.all.iter().map(Workspace::bytes).sum();
        let elements = self.second.len() + self.between.iter().map(|buffer| buffer.len()).sum::<usize>();
        layers + elements * size_of::<f32>() + self.progress.len() * size_of::<Progress>()
    }
}

/// The record of one forward pass of a stack, made by [`Stack::tape`](crate::Stack::tape) or
/// [`Stack::checkpointed_tape`](crate::Stack::checkpointed_tape).
#[derive(Clone, Debug)]
pub struct StackTape {
    form: Form,
    /// Of each directed layer.
    pub(super) tapes: Vec<Tape>,
    /// The output of each layer but the last, after dropout.
    pub(super) activations: Vec<Buffer>,
    /// That of the recorded pass.
    pub(super) dropout: Option<Dropout>,
}

impl StackTape {
    /// T, the most steps that it can record.
    pub fn steps(&self) -> usize {
        self.form.capacity[0]
    }

    /// B, the most rows that it can record.
    pub fn batch(&self) -> usize {
        self.form.capacity[1]
    }

    /// Bytes that this tape owns.
    pub fn bytes(&self) -> usize {
        let activations: usize = self.activations.iter().map(|buffer| buffer.len()).sum();
        self.tapes.iter().map(Tape::bytes).sum::<usize>() + activations * size_of::<f32>()
    }
}

impl Layers {
    /// See [`Stack::workspace`](crate::Stack::workspace).
    pub(super) fn workspace(&self, steps: usize, batch: usize) -> Result<StackWorkspace, Error> {
        let (config, capacity) = (&self.config, [steps, batch]);
        let between = || zeros("steps and batch", rows_len(config.size_between(), capacity));
        let all = self.workspace_layers().map(|lstm| lstm.workspace(batch)).collect::<Result<_, _>>()?;
        Ok(StackWorkspace {
            form: Form::new(config, capacity),
            layers: LayerWorkspaces { all, own: config.listed() - 1, of_each: workspaces_of_each(config) },
            between: (0..buffers_between(config)).map(|_| between()).collect::<Result<_, _>>()?,
            second: zeros("steps and batch", second_len(config, capacity))?,
            progress: vec![Progress::default(); most_side_by_side(config)],
        })
    }

    /// See [`Stack::reserve_workspace`](crate::Stack::reserve_workspace).
    pub(super) fn reserve_workspace(
        &self,
        workspace: &mut StackWorkspace,
        steps: usize,
        batch: usize,
    ) -> Result<(), Error> {
        let workspaces = &workspace.layers.all;
        let fits = workspace.form.check("workspace", &self.config, [steps, batch]).is_ok()
            && workspaces.len() == self.workspace_layers().count()
            && workspace.progress.len() >= most_side_by_side(&self.config)
            && second_len(&self.config, [steps, batch]).is_some_and(|len| len <= workspace.second.len())
            && self
                .workspace_layers()
                .zip(workspaces)
                .all(|(lstm, workspace)| workspace.fits(lstm.config(), lstm.shape(), batch));
        if !fits {
            *workspace = self.workspace(steps, batch)?;
        }
        Ok(())
    }

    /// See [`Stack::reserve_tape`](crate::Stack::reserve_tape).
    pub(super) fn reserve_tape(&self, tape: &mut StackTape, steps: usize, batch: usize) -> Result<(), Error> {
        if self.check_tape(tape, [steps, batch]).is_err() {
            *tape = match tape.tapes.first().and_then(Tape::every) {
                None => self.tape(steps, batch)?,
                every => self.checkpointed_tape(steps, batch, every)?,
            };
        }
        Ok(())
    }

    /// The layer of each workspace.
    fn workspace_layers(&self) -> impl Iterator<Item = &Lstm> {
        let own = self.config.listed() - 1;
        let number = move |layer| if layer < own { 1 } else { workspaces_alike(&self.config) };
        let workspaces =
            move |layer, lstm| std::iter::repeat_n(lstm, number(layer) * workspaces_of_each(&self.config));
        let lowest_directions = self.layers.iter().step_by(self.config.directions().count());
        lowest_directions.take(own + 1).enumerate().flat_map(move |(layer, lstm)| workspaces(layer, lstm))
    }

    /// See [`Stack::workspace_bytes`](crate::Stack::workspace_bytes).
    pub(super) fn workspace_bytes(&self, steps: usize, batch: usize) -> Result<usize, Error> {
        let (config, capacity) = (&self.config, [steps, batch]);
        let elements = rows_len(config.size_between(), capacity)
            .and_then(|len| len.checked_mul(buffers_between(config)))
            .and_then(|len| len.checked_add(second_len(config, capacity)?));
        let mut bytes = elements.and_then(|elements| elements.checked_mul(size_of::<f32>()));
        bytes = bytes.and_then(|bytes| bytes.checked_add(most_side_by_side(config) * size_of::<Progress>()));
        for lstm in self.workspace_layers() {
            let of_layer = lstm.workspace_bytes(batch)?;
            bytes = bytes.and_then(|bytes| bytes.checked_add(of_layer));
        }
        bytes.ok_or(Error::Overflow { argument: "steps and batch" })
    }

    /// See [`Stack::tape`](crate::Stack::tape).
    pub(super) fn tape(&self, steps: usize, batch: usize) -> Result<StackTape, Error> {
        let tapes = self.layers.iter().map(|lstm| lstm.tape(steps, batch)).collect::<Result<_, _>>()?;
        self.tape_of(tapes, [steps, batch])
    }

    /// See [`Stack::checkpointed_tape`](crate::Stack::checkpointed_tape).
    pub(super) fn checkpointed_tape(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<StackTape, Error> {
        let tapes = self.layers.iter().map(|lstm| lstm.checkpointed_tape(steps, batch, every));
        self.tape_of(tapes.collect::<Result<_, _>>()?, [steps, batch])
    }

    fn tape_of(&self, tapes: Vec<Tape>, capacity: [usize; 2]) -> Result<StackTape, Error> {
        let activations =
            |layer| zeros("steps and batch", rows_len(self.config.output_size_of(layer), capacity));
        Ok(StackTape {
            form: Form::new(&self.config, capacity),
            tapes,
            activations: (0..self.config.layers() - 1).map(activations).collect::<Result<_, _>>()?,
            dropout: None,
        })
    }

    /// How a call would run with no more than `most` directed layers side by side, if a workspace is that of this stack
    /// and has room for it.
    pub(super) fn plan_within(
        &self,
        workspace: &StackWorkspace,
        call: [usize; 2],
        most: usize,
    ) -> Result<StackPlan, Error> {
        workspace.form.check("workspace", &self.config, call)?;
        let plan = StackPlan::new(&self.config, &self.layers, call, most.min(workspace.progress.len()));
        let (steps, threads) = (plan.block_steps, plan.threads_of_layer(&self.config));
        for (layer, workspace) in workspace.layers.numbered() {
            let directed = layer * self.config.directions().count();
            self.layers[directed].plan_within(workspace, [steps, call[1]], threads)?;
        }
        Ok(plan)
    }

    /// `Ok` if a tape is that of this stack, with room for a call.
    pub(super) fn check_tape(&self, tape: &StackTape, call: [usize; 2]) -> Result<(), Error> {
        tape.form.check("tape", &self.config, call)?;
        let mut layers = self.layers.iter().zip(&tape.tapes);
        layers.try_for_each(|(lstm, tape)| {
            tape.check_room(lstm.shape(), lstm.config().options(), call[0], call[1])
        })
    }

    /// `Ok` if a tape is that of this stack, and has recorded such a call.
    pub(super) fn check_recorded(
        &self,
        tape: &StackTape,
        call: [usize; 2],
        row_steps: Option<RowSteps<'_>>,
    ) -> Result<(), Error> {
        tape.form.check("tape", &self.config, tape.form.capacity)?;
        let mut layers = self.layers.iter().zip(&tape.tapes);
        layers.try_for_each(|(lstm, tape)| {
            tape.check_recorded(lstm.config().options(), call, row_steps, &lstm.weights).map(|_| ())
        })
    }
}

/// Of the buffers between layers those from the one below `layer` on, or from the one above the first layer: of the
/// output of each layer as many elements as `len` says.
///
/// There may be one for each pair of layers, or fewer that are used in turn.
pub(super) fn buffers_from<'a>(
    buffers: &'a mut [Buffer],
    config: &StackConfig,
    layer: usize,
    call: [usize; 2],
) -> impl Iterator<Item = &'a mut [f32]> {
    let below = layer.saturating_sub(1);
    let first = below.checked_rem(buffers.len()).unwrap_or(0);
    let (later, sooner) = buffers.split_at_mut(first);
    let layers = below..config.layers() - 1;
    let buffers = sooner.iter_mut().chain(later).zip(layers);
    buffers.map(move |(buffer, layer)| &mut buffer[..call[0] * call[1] * config.output_size_of(layer)])
}
