//! Memory of a stack that the caller owns and lends: what goes from layer to layer, and what each layer needs.

use super::{LstmStack, StackConfig};
use crate::forward::CHECKED;
use crate::pack::{Buffer, zeros};
use crate::{Directions, Error, Tape, Workspace};
use std::num::NonZeroUsize;

/// What the memory of a stack depends on beside that of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    layers: usize,
    directions: usize,
    output_size: usize,
    /// The most steps and rows of a call.
    capacity: [usize; 2],
}

impl Form {
    fn new(config: &StackConfig, capacity: [usize; 2]) -> Self {
        Self {
            layers: config.layers(),
            directions: config.directions().count(),
            output_size: config.output_size(),
            capacity,
        }
    }

    /// `Ok` if it is that of a stack, with room for a call.
    fn check(&self, argument: &'static str, config: &StackConfig, call: [usize; 2]) -> Result<(), Error> {
        let expected = Form::new(config, call);
        Error::check_dimension(argument, "layers", expected.layers, self.layers)?;
        Error::check_dimension(argument, "directions", expected.directions, self.directions)?;
        Error::check_dimension(argument, "output size", expected.output_size, self.output_size)?;
        Error::check_room(argument, "steps", expected.capacity[0], self.capacity[0])?;
        Error::check_room(argument, "batch", expected.capacity[1], self.capacity[1])
    }
}

/// Elements of the output of a layer.
fn output_len(config: &StackConfig, [steps, batch]: [usize; 2]) -> Option<usize> {
    config.output_size().checked_mul(batch)?.checked_mul(steps)
}

/// Buffers between layers: each layer reads one and writes the other.
fn buffers_between(config: &StackConfig) -> usize {
    (config.layers() - 1).min(2)
}

/// Elements of what a second direction yields before it is added to the first: its output, and its gradient of x.
fn second_len(config: &StackConfig, [steps, batch]: [usize; 2]) -> Option<usize> {
    let output = if config.directions() == Directions::Summed { config.hidden_size() } else { 0 };
    let has_gradients = config.is_for_training() && config.directions().count() == 2;
    let between = if config.layers() > 1 { config.output_size() } else { 0 };
    let gradient = if has_gradients { config.input_size().max(between) } else { 0 };
    output.max(gradient).checked_mul(batch)?.checked_mul(steps)
}

/// Workspaces of layers; directions, and layers that read rows of the same width, use one in turn.
#[derive(Clone, Debug)]
pub(super) struct LayerWorkspaces {
    first: Workspace,
    /// That of all layers but the first.
    others: Option<Workspace>,
}

impl LayerWorkspaces {
    pub(super) fn of(&mut self, layer: usize) -> &mut Workspace {
        match &mut self.others {
            Some(others) if layer > 0 => others,
            _ => &mut self.first,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Workspace> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Scratch for [`LstmStack::forward`] and [`LstmStack::backward`], made by [`LstmStack::workspace`].
#[derive(Clone, Debug)]
pub struct StackWorkspace {
    form: Form,
    pub(super) layers: LayerWorkspaces,
    /// What goes from layer to layer: activations upwards, gradients downwards.
    pub(super) between: Vec<Buffer>,
    /// What the second direction of a layer yields before it is added to the first.
    pub(super) second: Buffer,
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
        self.layers.all().all(|workspace| workspace.backward.is_some())
    }

    /// Bytes that this workspace owns.
    pub fn bytes(&self) -> usize {
        let layers: usize = self.layers.all().map(Workspace::bytes).sum();
        let elements = self.second.len() + self.between.iter().map(|buffer| buffer.len()).sum::<usize>();
        layers + elements * size_of::<f32>()
    }
}

/// The record of one forward pass of a stack, made by [`LstmStack::tape`] or [`LstmStack::checkpointed_tape`].
#[derive(Clone, Debug)]
pub struct StackTape {
    form: Form,
    /// Of each directed layer.
    pub(super) tapes: Vec<Tape>,
    /// The output of each layer but the last.
    pub(super) activations: Vec<Buffer>,
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

impl LstmStack {
    /// Scratch for [`LstmStack::forward`] and [`LstmStack::backward`] with up to `steps` steps of up to `batch` rows.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn workspace(&self, steps: usize, batch: usize) -> Result<StackWorkspace, Error> {
        let (config, capacity) = (&self.config, [steps, batch]);
        let between = || zeros("steps and batch", output_len(config, capacity));
        let others = self.layers.get(config.directions().count());
        let layers = LayerWorkspaces {
            first: self.layers[0].workspace(batch)?,
            others: others.map(|lstm| lstm.workspace(batch)).transpose()?,
        };
        Ok(StackWorkspace {
            form: Form::new(config, capacity),
            layers,
            between: (0..buffers_between(config)).map(|_| between()).collect::<Result<_, _>>()?,
            second: zeros("steps and batch", second_len(config, capacity))?,
        })
    }

    /// Bytes that a workspace for `steps` steps of `batch` rows would own.
    ///
    /// # Errors
    /// [`Error::Overflow`] if they could not be addressed.
    pub fn workspace_bytes(&self, steps: usize, batch: usize) -> Result<usize, Error> {
        let (config, capacity) = (&self.config, [steps, batch]);
        let elements = output_len(config, capacity)
            .and_then(|len| len.checked_mul(buffers_between(config)))
            .and_then(|len| len.checked_add(second_len(config, capacity)?));
        let mut bytes = elements.and_then(|elements| elements.checked_mul(size_of::<f32>()));
        for lstm in self.layers.iter().step_by(config.directions().count()).take(2) {
            let of_layer = lstm.workspace_bytes(batch)?;
            bytes = bytes.and_then(|bytes| bytes.checked_add(of_layer));
        }
        bytes.ok_or(Error::Overflow { argument: "steps and batch" })
    }

    /// A tape for up to `steps` steps of up to `batch` rows, which keeps everything; see [`Lstm::tape`](crate::Lstm::tape).
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn tape(&self, steps: usize, batch: usize) -> Result<StackTape, Error> {
        let tapes = self.layers.iter().map(|lstm| lstm.tape(steps, batch)).collect::<Result<_, _>>()?;
        self.tape_of(tapes, [steps, batch])
    }

    /// A tape whose layers keep h and c every `every` steps; see
    /// [`Lstm::checkpointed_tape`](crate::Lstm::checkpointed_tape). The output of each layer but the last is kept whole.
    ///
    /// # Errors
    /// [`Error::Overflow`] if it could not be addressed.
    pub fn checkpointed_tape(
        &self,
        steps: usize,
        batch: usize,
        every: Option<NonZeroUsize>,
    ) -> Result<StackTape, Error> {
        let tapes = self.layers.iter().map(|lstm| lstm.checkpointed_tape(steps, batch, every));
        self.tape_of(tapes.collect::<Result<_, _>>()?, [steps, batch])
    }

    fn tape_of(&self, tapes: Vec<Tape>, capacity: [usize; 2]) -> Result<StackTape, Error> {
        let activations = || zeros("steps and batch", output_len(&self.config, capacity));
        Ok(StackTape {
            form: Form::new(&self.config, capacity),
            tapes,
            activations: (1..self.config.layers()).map(|_| activations()).collect::<Result<_, _>>()?,
        })
    }

    /// `Ok` if a workspace is that of this stack, with room for a call.
    pub(super) fn check_workspace(&self, workspace: &StackWorkspace, call: [usize; 2]) -> Result<(), Error> {
        workspace.form.check("workspace", &self.config, call)?;
        let firsts = self.layers.iter().step_by(self.config.directions().count());
        for (lstm, workspace) in firsts.zip(workspace.layers.all()) {
            lstm.plan_within(workspace, call[0], call[1])?;
        }
        Ok(())
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
    pub(super) fn check_recorded(&self, tape: &StackTape, call: [usize; 2]) -> Result<(), Error> {
        tape.form.check("tape", &self.config, tape.form.capacity)?;
        let mut layers = self.layers.iter().zip(&tape.tapes);
        layers.try_for_each(|(lstm, tape)| {
            tape.check_recorded(lstm.shape(), lstm.config().options(), call[0], call[1])
        })
    }
}

/// The buffers below and above a layer, where it reads or writes one; caller's slices are below the first and above the
/// last. There may be one for each pair of layers, or two that are used in turn.
pub(super) fn below_and_above(
    buffers: &mut [Buffer],
    layer: usize,
    layers: usize,
) -> [Option<&mut [f32]>; 2] {
    let count = buffers.len();
    let slot = |pair: usize| pair % count;
    match (layer.checked_sub(1), layer + 1 < layers) {
        (None, false) => [None, None],
        (None, true) => [None, buffers.get_mut(0).map(|above| &mut **above)],
        (Some(pair), false) => {
            let below = slot(pair);
            [buffers.get_mut(below).map(|below| &mut **below), None]
        }
        (Some(pair), true) => {
            let [below, above] = buffers.get_disjoint_mut([slot(pair), slot(layer)]).expect(CHECKED);
            [Some(below), Some(above)]
        }
    }
}
