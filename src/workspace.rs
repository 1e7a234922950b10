//! Memory that the caller owns and lends to each call, so that no call allocates.

use crate::backward::{self, Scratch};
use crate::forward::{CHECKED, States};
use crate::pack::{Buffer, GATES, Shape, zeros};
use crate::{Error, Matrix};
use quadgate_kernels::{Progress, Rows, SequenceMut};

/// h and c of some rows, carried from step to step.
///
/// Made by [`Lstm::state`](crate::Lstm::state), all zero.
#[derive(Clone, Debug)]
pub struct State {
    shape: Shape,
    batch: usize,
    /// Two slots of h for all rows: steps read one and write the other.
    hidden: Buffer,
    /// The slot that holds h.
    slot: usize,
    cell: Buffer,
}

impl State {
    pub(crate) fn new(shape: Shape, batch: usize) -> Result<Self, Error> {
        let len = shape.padded_units().checked_mul(batch);
        let hidden = zeros("batch", len.and_then(|len| len.checked_mul(2)))?;
        Ok(Self { shape, batch, hidden, slot: 0, cell: zeros("batch", len)? })
    }

    /// B, the number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// h of one row, H elements; `None` if there is no such row.
    pub fn hidden(&self, row: usize) -> Option<&[f32]> {
        let start = self.slot * self.cell.len() + row.min(self.batch) * self.shape.padded_units();
        (row < self.batch).then(|| &self.hidden[start..][..self.shape.units])
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

    /// Sets h of all rows from a `[B, H]` matrix.
    ///
    /// # Errors
    /// If the matrix has another shape, or its slice is too short.
    pub fn set_hidden(&mut self, hidden: Matrix<'_>) -> Result<(), Error> {
        let rows = hidden.checked("hidden", self.batch, self.shape.units)?;
        let (shape, batch) = (self.shape, self.batch);
        load(self.latest_hidden(), shape, batch, Some(rows));
        Ok(())
    }

    /// Sets c of all rows from a `[B, H]` matrix.
    ///
    /// # Errors
    /// If the matrix has another shape, or its slice is too short.
    pub fn set_cell(&mut self, cell: Matrix<'_>) -> Result<(), Error> {
        let rows = cell.checked("cell", self.batch, self.shape.units)?;
        load(&mut self.cell, self.shape, self.batch, Some(rows));
        Ok(())
    }

    /// Bytes that this state owns.
    pub fn bytes(&self) -> usize {
        (self.hidden.len() + self.cell.len()) * size_of::<f32>()
    }

    /// The slot that holds h: rows padded to whole panels.
    pub(crate) fn latest_hidden(&mut self) -> &mut [f32] {
        let len = self.cell.len();
        &mut self.hidden[self.slot * len..][..len]
    }

    /// c: rows padded to whole panels.
    pub(crate) fn latest_cell(&mut self) -> &mut [f32] {
        &mut self.cell
    }

    /// `Ok` if the state fits a layer and has at least `batch` rows.
    pub(crate) fn check(&self, argument: &'static str, shape: Shape, batch: usize) -> Result<(), Error> {
        if self.shape == shape && self.batch >= batch {
            return Ok(());
        }
        let expected = [batch, shape.padded_units()];
        Err(Error::Workspace { argument, expected, found: [self.batch, self.shape.padded_units()] })
    }

    /// Sets the first `rows` rows, to zero where nothing is given.
    pub(crate) fn load(&mut self, rows: usize, hidden: Option<Rows<'_>>, cell: Option<Rows<'_>>) {
        let shape = self.shape;
        load(self.latest_hidden(), shape, rows, hidden);
        load(&mut self.cell, shape, rows, cell);
    }

    /// The first `rows` rows, for steps that begin with what the state holds.
    pub(crate) fn rows(&mut self, rows: usize) -> States<'_> {
        let (padded, len) = (self.shape.padded_units(), self.cell.len());
        let view = |data, slots| SequenceMut::new(data, [slots, rows, padded], [len, padded]).expect(CHECKED);
        let hidden = view(&mut *self.hidden, 2);
        States { hidden, first: self.slot + 1, cell: view(&mut *self.cell, 1), gates: None }
    }

    /// Says that `steps` steps were run on [`State::rows`].
    pub(crate) fn advance(&mut self, steps: usize) {
        self.slot = (self.slot + steps % 2) % 2;
    }
}

fn load(buffer: &mut [f32], shape: Shape, rows: usize, from: Option<Rows<'_>>) {
    let padded = shape.padded_units();
    for (row, to) in buffer.chunks_exact_mut(padded).take(rows).enumerate() {
        to.fill(0.0);
        if let Some(from) = from {
            to[..shape.units].copy_from_slice(from.row(row));
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
    pub(crate) progress: Vec<Progress>,
}

impl Tools {
    /// Scratch for kernels over `rows` rows, the same for each.
    pub(crate) fn scratch_for(&mut self, rows: usize) -> &mut [f32] {
        &mut self.scratch[..rows * self.scratch_per_row]
    }
}

/// Buffers of the backward pass; see [`Scratch`] for what they hold.
#[derive(Clone, Debug)]
pub(crate) struct BackwardBuffers {
    gate_gradients: Buffer,
    right: Buffer,
    hidden_gradient: Buffer,
    cell_gradient: Buffer,
    bias: Buffer,
}

/// Elements of each of the backward pass' buffers, enough for any batch up to `batch`.
fn backward_lengths(shape: Shape, batch: usize) -> Option<[usize; 5]> {
    let rows = backward::max_block_rows(shape, batch)?;
    let state = shape.padded_units().checked_mul(batch)?;
    Some([
        shape.gate_gradients_width().checked_mul(rows.checked_add(batch)?)?,
        shape.input_and_state_width().checked_mul(rows)?,
        state,
        state,
        shape.gate_gradients_width(),
    ])
}

impl BackwardBuffers {
    fn new(shape: Shape, batch: usize) -> Result<Self, Error> {
        let lengths = backward_lengths(shape, batch);
        let buffer = |which: usize| zeros("batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            gate_gradients: buffer(0)?,
            right: buffer(1)?,
            hidden_gradient: buffer(2)?,
            cell_gradient: buffer(3)?,
            bias: buffer(4)?,
        })
    }

    /// The buffers for `batch` rows, with the gradients of the last h and c.
    pub(crate) fn scratch(
        &mut self,
        shape: Shape,
        batch: usize,
        last_hidden: Option<Rows<'_>>,
        last_cell: Option<Rows<'_>>,
    ) -> Scratch<'_> {
        load(&mut self.hidden_gradient, shape, batch, last_hidden);
        load(&mut self.cell_gradient, shape, batch, last_cell);
        let state = shape.padded_units() * batch;
        Scratch {
            gate_gradients: &mut self.gate_gradients,
            right: &mut self.right,
            hidden_gradient: &mut self.hidden_gradient[..state],
            cell_gradient: &mut self.cell_gradient[..state],
            bias: &mut self.bias,
        }
    }
}

/// Elements of scratch for the kernels and one row of a product: a full panel of sums.
fn scratch_per_row(shape: Shape) -> usize {
    GATES * shape.lanes
}

/// Elements of scratch for the kernels and all rows of a product.
fn scratch_len(shape: Shape, batch: usize, training: bool) -> Option<usize> {
    let rows = if training { backward::max_block_rows(shape, batch)? } else { batch };
    rows.checked_mul(scratch_per_row(shape))
}

/// Bytes of a workspace.
pub(crate) fn bytes(
    shape: Shape,
    batch: usize,
    sums_len: Option<usize>,
    members: usize,
    training: bool,
) -> Option<usize> {
    let states = shape.padded_units().checked_mul(batch)?.checked_mul(3)?;
    let backward = if training { backward_lengths(shape, batch)? } else { [0; 5] };
    let scratch = scratch_len(shape, batch, training)?;
    let elements = backward.into_iter().chain([sums_len?, scratch]).try_fold(states, usize::checked_add)?;
    elements.checked_mul(size_of::<f32>())?.checked_add(members.checked_mul(size_of::<Progress>())?)
}

impl Workspace {
    pub(crate) fn new(
        shape: Shape,
        batch: usize,
        sums_len: Option<usize>,
        members: usize,
        training: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            state: State::new(shape, batch)?,
            sums: zeros("batch", sums_len)?,
            tools: Tools {
                scratch: zeros("batch", scratch_len(shape, batch, training))?,
                scratch_per_row: scratch_per_row(shape),
                progress: vec![Progress::default(); members],
            },
            backward: if training { Some(BackwardBuffers::new(shape, batch)?) } else { None },
        })
    }

    /// The largest batch that it serves.
    pub fn batch(&self) -> usize {
        self.state.batch()
    }

    /// Bytes that this workspace owns.
    pub fn bytes(&self) -> usize {
        let backward = self.backward.as_ref().map_or(0, |b| {
            let states = b.hidden_gradient.len() + b.cell_gradient.len();
            b.gate_gradients.len() + b.right.len() + states + b.bias.len()
        });
        let elements = self.sums.len() + self.tools.scratch.len() + backward;
        self.state.bytes() + elements * size_of::<f32>() + self.tools.progress.len() * size_of::<Progress>()
    }
}
