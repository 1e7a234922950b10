//! Memory that the caller owns and lends to each call, so that no call allocates.

use crate::backward::{self, Scratch};
use crate::forward::{BatchRows, CHECKED, States};
use crate::general::{OptionBuffers, option_buffers_len, scratch_per_row};
use crate::options::Options;
use crate::pack::{Buffer, Shape, zeros};
use crate::plan::Plan;
use crate::ragged::{self, RaggedBuffers};
use crate::{Error, LstmConfig, Matrix};
use quadgate_kernels::{Permutation, Progress, Rows, SequenceMut};

/// h and c of some rows, carried from step to step.
///
/// Made by [`Lstm::state`](crate::Lstm::state), all zero.
#[derive(Clone, Debug)]
pub struct State {
    shape: Shape,
    /// `None` for a plain layer, so that a step has little to compare.
    options: Option<Options>,
    batch: usize,
    /// Two slots of h for all rows: steps read one and write the other.
    hidden: Buffer,
    /// The slot that holds h.
    slot: usize,
    cell: Buffer,
    /// What a step of a layer with options works with: the sums, and scratch.
    sums: Buffer,
    scratch: Buffer,
}

/// Elements of a state: of h, of c, and of what a step works with.
fn state_lengths(shape: Shape, batch: usize) -> Option<[usize; 2]> {
    let hidden = shape.padded_outputs().checked_mul(batch)?.checked_mul(2)?;
    Some([hidden, shape.padded_units().checked_mul(batch)?])
}

impl State {
    /// A state to be carried by a caller, step by step.
    pub(crate) fn new(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
        let state = Self::without_scratch(shape, options, batch)?;
        let rows = if options.are_plain() { 0 } else { batch };
        Ok(Self {
            sums: zeros("batch", shape.sums_width().checked_mul(rows))?,
            scratch: zeros("batch", scratch_per_row(shape, options).checked_mul(rows))?,
            ..state
        })
    }

    /// A state for whole sequences alone.
    fn without_scratch(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
        let lengths = state_lengths(shape, batch);
        let buffer = |which: usize| zeros("batch", lengths.map(|lengths| lengths[which]));
        let none = || zeros("batch", Some(0));
        let (hidden, cell) = (buffer(0)?, buffer(1)?);
        Ok(Self {
            shape,
            options: options.if_any(),
            batch,
            hidden,
            slot: 0,
            cell,
            sums: none()?,
            scratch: none()?,
        })
    }

    /// B, the number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// h of one row, H elements (P with a projection); `None` if there is no such row.
    pub fn hidden(&self, row: usize) -> Option<&[f32]> {
        self.hidden_after(row, 0)
    }

    /// h of one row after `steps` steps that were run on [`State::rows`] for it.
    pub(crate) fn hidden_after(&self, row: usize, steps: usize) -> Option<&[f32]> {
        let slot = (self.slot + steps) % 2;
        let start = (slot * self.batch + row.min(self.batch)) * self.shape.padded_outputs();
        (row < self.batch).then(|| &self.hidden[start..][..self.shape.outputs])
    }

    /// h of all rows.
    pub(crate) fn hidden_rows(&self) -> Matrix<'_> {
        let (padded, len) = (self.shape.padded_outputs(), self.hidden.len() / 2);
        Matrix::new(&self.hidden[self.slot * len..][..len], self.batch, self.shape.outputs).stride(padded)
    }

    /// c of one row, H elements; `None` if there is no such row.
    pub fn cell(&self, row: usize) -> Option<&[f32]> {
        let start = row.min(self.batch) * self.shape.padded_units();
        (row < self.batch).then(|| &self.cell[start..][..self.shape.units])
    }

    /// Sets h and c of all rows to zero.
    pub fn reset(&mut self) {
        self.hidden.fill(0.0);
        self.cell.fill(0.0);
    }

    /// Sets h of all rows from a `[B, H]` matrix (`[B, P]` with a projection).
    ///
    /// # Errors
    /// If the matrix has another shape, or its slice is too short.
    pub fn set_hidden(&mut self, hidden: Matrix<'_>) -> Result<(), Error> {
        let rows = hidden.checked("hidden", self.batch, self.shape.outputs)?;
        let (padded, batch) = (self.shape.padded_outputs(), self.batch);
        load(self.latest_hidden(), padded, 0..batch, Some(rows));
        Ok(())
    }

    /// Sets c of all rows from a `[B, H]` matrix.
    ///
    /// # Errors
    /// If the matrix has another shape, or its slice is too short.
    pub fn set_cell(&mut self, cell: Matrix<'_>) -> Result<(), Error> {
        let rows = cell.checked("cell", self.batch, self.shape.units)?;
        load(&mut self.cell, self.shape.padded_units(), 0..self.batch, Some(rows));
        Ok(())
    }

    /// Bytes that this state owns.
    pub fn bytes(&self) -> usize {
        let scratch = self.sums.len() + self.scratch.len();
        (self.hidden.len() + self.cell.len() + scratch) * size_of::<f32>()
    }

    /// The slot that holds h: rows padded to whole panels.
    pub(crate) fn latest_hidden(&mut self) -> &mut [f32] {
        let len = self.hidden.len() / 2;
        &mut self.hidden[self.slot * len..][..len]
    }

    /// c: rows padded to whole panels.
    pub(crate) fn latest_cell(&mut self) -> &mut [f32] {
        &mut self.cell
    }

    /// `Ok` if the state fits a layer and has at least `batch` rows.
    pub(crate) fn check(
        &self,
        argument: &'static str,
        shape: Shape,
        options: Option<&Options>,
        batch: usize,
    ) -> Result<(), Error> {
        if self.shape == shape && self.batch >= batch {
            return Options::check_same(argument, options, self.options.as_ref());
        }
        let expected = [batch, shape.padded_units()];
        Err(Error::Workspace { argument, expected, found: [self.batch, self.shape.padded_units()] })
    }

    /// Sets the first rows to these rows of what is given, to zero where nothing is.
    pub(crate) fn load(
        &mut self,
        rows: impl Iterator<Item = usize> + Clone,
        hidden: Option<Rows<'_>>,
        cell: Option<Rows<'_>>,
    ) {
        let shape = self.shape;
        load(self.latest_hidden(), shape.padded_outputs(), rows.clone(), hidden);
        load(&mut self.cell, shape.padded_units(), rows, cell);
    }

    /// The first `rows` rows, for steps that begin with what the state holds.
    pub(crate) fn rows(&mut self, rows: usize) -> States<'_> {
        states(self.shape, rows, &mut self.hidden, self.slot, &mut self.cell)
    }

    /// All rows, for one step that begins with what the state holds.
    pub(crate) fn step_rows(&mut self) -> BatchRows<'_> {
        let (shape, rows) = (self.shape, self.batch);
        let Self { hidden, slot, cell, sums, scratch, .. } = self;
        let sums = match sums.len() {
            0 => SequenceMut::empty(),
            len => SequenceMut::new(sums, [1, rows, shape.sums_width()], [len, shape.sums_width()])
                .expect(CHECKED),
        };
        let states = states(shape, rows, hidden, *slot, cell);
        BatchRows { states, sums, scratch, output: None }
    }

    /// Says that `steps` steps were run on [`State::rows`].
    pub(crate) fn advance(&mut self, steps: usize) {
        self.slot = (self.slot + steps % 2) % 2;
    }
}

/// The first `rows` rows of h, of whose two slots one is the latest, and of c.
fn states<'a>(
    shape: Shape,
    rows: usize,
    hidden: &'a mut [f32],
    slot: usize,
    cell: &'a mut [f32],
) -> States<'a> {
    let (outputs, units, len) = (shape.padded_outputs(), shape.padded_units(), hidden.len() / 2);
    let hidden = SequenceMut::new(hidden, [2, rows, outputs], [len, outputs]).expect(CHECKED);
    let cell = SequenceMut::new(cell, [1, rows, units], [0, units]).expect(CHECKED);
    States { hidden, first: slot + 1, cell, gates: None, projected: None }
}

/// Sets the first rows of a buffer, each of `padded` elements, to these rows of what is given, or to zero.
fn load(buffer: &mut [f32], padded: usize, rows: impl Iterator<Item = usize>, from: Option<Rows<'_>>) {
    for (to, row) in buffer.chunks_exact_mut(padded).zip(rows) {
        to.fill(0.0);
        if let Some(from) = from {
            let from = from.row(row);
            to[..from.len()].copy_from_slice(from);
        }
    }
}

/// Scratch for [`Lstm::forward`](crate::Lstm::forward) and [`Lstm::backward`](crate::Lstm::backward), made by
/// [`Lstm::workspace`](crate::Lstm::workspace).
///
/// Its size depends on the layer and the batch, not on the number of steps.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub(crate) state: State,
    /// Hoisted gate sums.
    pub(crate) sums: Buffer,
    pub(crate) tools: Tools,
    pub(crate) ragged: RaggedBuffers,
    /// What the backward pass needs, if the layer is to be trained.
    pub(crate) backward: Option<BackwardBuffers>,
}

/// What kernels and teams work with. It holds nothing from one product to the next.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Scratch of the kernels.
    scratch: Buffer,
    /// Elements of it for each row.
    scratch_per_row: usize,
    /// How far the members of a team have come.
    progress: Vec<Progress>,
}

impl Tools {
    /// Scratch for kernels over `rows` rows, the same for each.
    pub(crate) fn scratch_for(&mut self, rows: usize) -> &mut [f32] {
        &mut self.scratch[..rows * self.scratch_per_row]
    }

    /// For a team: how far its members have come, and scratch for each of them over `rows` rows. There is none if no sum is
    /// long enough to need it, or if the workspace was made for fewer members, who are then slower with large weights.
    pub(crate) fn for_team(&mut self, members: usize, rows: usize) -> (&mut [Progress], &mut [f32]) {
        let len = members.checked_mul(rows).and_then(|rows| rows.checked_mul(self.scratch_per_row));
        let scratch = len.and_then(|len| self.scratch.get_mut(..len));
        (&mut self.progress[..members], scratch.unwrap_or_default())
    }
}

/// Buffers of the backward pass; see [`Scratch`] for what they hold.
#[derive(Clone, Debug)]
pub(crate) struct BackwardBuffers {
    gate_gradients: Buffer,
    right: Buffer,
    hidden_gradient: Buffer,
    cell_gradient: Buffer,
    cotangent: Buffer,
    options: OptionBuffers,
}

/// Elements of each of the backward pass' buffers, enough for any batch up to `batch`.
fn backward_lengths(shape: Shape, batch: usize) -> Option<[usize; 5]> {
    let rows = backward::max_block_rows(shape, batch)?;
    Some([
        shape.gate_gradients_width().checked_mul(rows.checked_add(batch)?)?,
        shape.input_and_state_panels().checked_mul(shape.panel_width())?.checked_mul(rows)?,
        shape.padded_outputs().checked_mul(batch)?,
        shape.padded_units().checked_mul(batch)?,
        shape.padded_outputs().checked_mul(batch)?,
    ])
}

impl BackwardBuffers {
    fn new(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
        let lengths = backward_lengths(shape, batch);
        let buffer = |which: usize| zeros("batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            gate_gradients: buffer(0)?,
            right: buffer(1)?,
            hidden_gradient: buffer(2)?,
            cell_gradient: buffer(3)?,
            cotangent: buffer(4)?,
            options: OptionBuffers::new(shape, options, batch, backward::max_block_rows(shape, batch))?,
        })
    }

    /// The buffers for `batch` rows, with the gradients of the last h and c, in an order if there is one.
    pub(crate) fn scratch(
        &mut self,
        shape: Shape,
        batch: usize,
        order: Option<Permutation<'_>>,
        last_hidden: Option<Rows<'_>>,
        last_cell: Option<Rows<'_>>,
    ) -> Scratch<'_> {
        let (outputs, units) = (shape.padded_outputs(), shape.padded_units());
        for (buffer, padded, from) in
            [(&mut self.hidden_gradient, outputs, last_hidden), (&mut self.cell_gradient, units, last_cell)]
        {
            match order {
                None => load(buffer, padded, 0..batch, from),
                Some(order) => load(buffer, padded, order.rows().iter().copied(), from),
            }
        }
        Scratch {
            gate_gradients: &mut self.gate_gradients,
            right: &mut self.right,
            hidden_gradient: &mut self.hidden_gradient[..outputs * batch],
            cell_gradient: &mut self.cell_gradient[..units * batch],
            cotangent: &mut self.cotangent[..outputs * batch],
            options: &mut self.options,
        }
    }
}

/// Elements of scratch for all rows of a product, or for all rows of a step for each member of a team.
fn scratch_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
    let members = if shape.has_long_sums() { Plan::members_of(config, shape) } else { 1 };
    let rows = if config.is_for_training() { backward::max_block_rows(shape, batch)? } else { batch };
    rows.max(members.checked_mul(batch)?).checked_mul(scratch_per_row(shape, config.options()))
}

/// Bytes of a workspace.
pub(crate) fn bytes(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
    let [hidden, cell] = state_lengths(shape, batch)?;
    let (backward, options) = if config.is_for_training() {
        let rows = backward::max_block_rows(shape, batch)?;
        (backward_lengths(shape, batch)?, option_buffers_len(shape, config.options(), batch, rows)?)
    } else {
        ([0; 5], 0)
    };
    let others = [cell, Plan::sums_len(config, shape, batch)?, scratch_len(config, shape, batch)?, options];
    let elements = backward.into_iter().chain(others).try_fold(hidden, usize::checked_add)?;
    let ragged = ragged::bytes(shape, config.options(), batch, config.is_for_training())?;
    let progress = Plan::members(shape).checked_mul(size_of::<Progress>())?;
    elements.checked_mul(size_of::<f32>())?.checked_add(progress)?.checked_add(ragged)
}

impl Workspace {
    pub(crate) fn new(config: &LstmConfig, shape: Shape, batch: usize) -> Result<Self, Error> {
        let (options, training) = (config.options(), config.is_for_training());
        Ok(Self {
            state: State::without_scratch(shape, options, batch)?,
            sums: zeros("batch", Plan::sums_len(config, shape, batch))?,
            tools: Tools {
                scratch: zeros("batch", scratch_len(config, shape, batch))?,
                scratch_per_row: scratch_per_row(shape, options),
                progress: vec![Progress::default(); Plan::members(shape)],
            },
            ragged: RaggedBuffers::new(shape, options, batch, training)?,
            backward: if training { Some(BackwardBuffers::new(shape, options, batch)?) } else { None },
        })
    }

    /// The largest batch that it serves.
    pub fn batch(&self) -> usize {
        self.state.batch()
    }

    /// Bytes that this workspace owns.
    pub fn bytes(&self) -> usize {
        let backward = self.backward.as_ref().map_or(0, |b| {
            let states = b.hidden_gradient.len() + b.cell_gradient.len() + b.cotangent.len();
            b.gate_gradients.len() + b.right.len() + states + b.options.elements()
        });
        let elements = self.sums.len() + self.tools.scratch.len() + backward;
        let progress = self.tools.progress.len() * size_of::<Progress>();
        self.state.bytes() + elements * size_of::<f32>() + progress + self.ragged.bytes()
    }
}
