//! Memory that the caller owns and lends to each call, so that no call allocates.

use crate::backward::{self, Scratch};
use crate::pack::{Buffer, Shape, zeros};
use crate::{Error, Matrix};
use quadgate_kernels::Rows;

/// h and c of some rows, carried from step to step.
///
/// Made by [`Lstm::state`](crate::Lstm::state), all zero.
#[derive(Clone, Debug)]
pub struct State {
    shape: Shape,
    batch: usize,
    hidden: Buffer,
    /// Where h' is written while h is read; swapped after each step.
    next: Buffer,
    cell: Buffer,
}

impl State {
    pub(crate) fn new(shape: Shape, batch: usize) -> Result<Self, Error> {
        let len = shape.padded_units().checked_mul(batch);
        let buffer = || zeros("batch", len);
        Ok(Self { shape, batch, hidden: buffer()?, next: buffer()?, cell: buffer()? })
    }

    /// B, the number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// h of one row, H elements; `None` if there is no such row.
    pub fn hidden(&self, row: usize) -> Option<&[f32]> {
        self.row(&self.hidden, row)
    }

    /// c of one row, H elements; `None` if there is no such row.
    pub fn cell(&self, row: usize) -> Option<&[f32]> {
        self.row(&self.cell, row)
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
        load(&mut self.hidden, self.shape, self.batch, Some(rows));
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
        (self.hidden.len() + self.next.len() + self.cell.len()) * size_of::<f32>()
    }

    fn row<'a>(&self, buffer: &'a Buffer, row: usize) -> Option<&'a [f32]> {
        let padded = self.shape.padded_units();
        (row < self.batch).then(|| &buffer[row * padded..][..self.shape.units])
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
        load(&mut self.hidden, self.shape, rows, hidden);
        load(&mut self.cell, self.shape, rows, cell);
    }

    /// The first `rows` rows.
    pub(crate) fn rows(&mut self, rows: usize) -> StateRows<'_> {
        let padded = self.shape.padded_units();
        StateRows {
            rows,
            padded,
            hidden: &mut self.hidden[..rows * padded],
            next: &mut self.next[..rows * padded],
            cell: &mut self.cell[..rows * padded],
        }
    }

    /// Says that `steps` steps were run on [`StateRows`], which swaps the buffers of h once a step.
    pub(crate) fn advance(&mut self, steps: usize) {
        if !steps.is_multiple_of(2) {
            std::mem::swap(&mut self.hidden, &mut self.next);
        }
    }
}

fn load(buffer: &mut Buffer, shape: Shape, rows: usize, from: Option<Rows<'_>>) {
    let padded = shape.padded_units();
    for (row, to) in buffer.chunks_exact_mut(padded).take(rows).enumerate() {
        to.fill(0.0);
        if let Some(from) = from {
            to[..shape.units].copy_from_slice(from.row(row));
        }
    }
}

/// Mutable h and c of some rows, each padded to whole panels.
#[derive(Debug)]
pub(crate) struct StateRows<'a> {
    pub(crate) rows: usize,
    pub(crate) padded: usize,
    pub(crate) hidden: &'a mut [f32],
    pub(crate) next: &'a mut [f32],
    pub(crate) cell: &'a mut [f32],
}

impl StateRows<'_> {
    /// Cuts the rows before row `at`.
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let middle = at * self.padded;
        let (hidden, other_hidden) = self.hidden.split_at_mut(middle);
        let (next, other_next) = self.next.split_at_mut(middle);
        let (cell, other_cell) = self.cell.split_at_mut(middle);
        let padded = self.padded;
        (
            StateRows { rows: at, padded, hidden, next, cell },
            StateRows {
                rows: self.rows - at,
                padded,
                hidden: other_hidden,
                next: other_next,
                cell: other_cell,
            },
        )
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
    /// What the backward pass needs, if the layer is to be trained.
    pub(crate) backward: Option<BackwardBuffers>,
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
    let rows = backward::max_block_rows(batch)?;
    let right = shape.padded_inputs().checked_add(shape.padded_units())?;
    let state = shape.padded_units().checked_mul(batch)?;
    Some([
        shape.gate_gradients_width().checked_mul(rows.checked_add(batch)?)?,
        right.checked_mul(rows)?,
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

/// Bytes of a workspace.
pub(crate) fn bytes(shape: Shape, batch: usize, sums_len: Option<usize>, training: bool) -> Option<usize> {
    let states = shape.padded_units().checked_mul(batch)?.checked_mul(3)?;
    let backward = if training { backward_lengths(shape, batch)? } else { [0; 5] };
    let elements = backward.into_iter().chain([sums_len?]).try_fold(states, usize::checked_add)?;
    elements.checked_mul(size_of::<f32>())
}

impl Workspace {
    pub(crate) fn new(
        shape: Shape,
        batch: usize,
        sums_len: Option<usize>,
        training: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            state: State::new(shape, batch)?,
            sums: zeros("batch", sums_len)?,
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
        self.state.bytes() + (self.sums.len() + backward) * size_of::<f32>()
    }
}
