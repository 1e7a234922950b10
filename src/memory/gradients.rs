//! Buffers of the backward pass: gradients of gates and states, and the right factor of weight gradients.

use crate::cell::options_backward::CellBuffers;
use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::state::load;
use crate::options::Options;
use crate::plan::{gathers_columns, max_block_rows};
use crate::shape::Shape;
use quadgate_kernels::{Permutation, Rows};

/// The buffers as a pass uses them.
pub(crate) struct GradientRows<'a> {
    /// dZ of a block, and of the step after it: at least `block_steps + 1` times `[B, gates]`.
    pub(crate) gate_gradients: &'a mut [f32],
    /// x and h of a block in panels: at least `[panels of x and h, block_steps, B, panel width]`.
    pub(crate) right: &'a mut [f32],
    /// Room for the columns of dZ of as many units as there are, if they are to be moved together for weight gradients;
    /// see [`gathers_columns`].
    pub(crate) columns: &'a mut [f32],
    /// Gradient of the last h, `[B, P]` padded; in the end that of the first.
    pub(crate) hidden_gradient: &'a mut [f32],
    /// Gradient of the last c, `[B, H]` padded, or what else is carried back; in the end that of the first.
    pub(crate) cell_gradient: &'a mut [f32],
    pub(crate) cell: &'a mut CellBuffers,
    /// Cotangents of the h of a step, `[B, P]` padded, where they are gathered.
    pub(crate) cotangent: &'a mut [f32],
}

/// Buffers of the backward pass; see [`GradientRows`] for what they hold.
#[derive(Clone, Debug)]
pub(crate) struct BackwardBuffers {
    gate_gradients: Buffer,
    right: Buffer,
    columns: Buffer,
    hidden_gradient: Buffer,
    cell_gradient: Buffer,
    cotangent: Buffer,
    cell: CellBuffers,
}

/// Elements of each of the backward pass' buffers, enough for any batch up to `batch`.
pub(crate) fn backward_lengths(shape: Shape, batch: usize) -> Option<[usize; 6]> {
    let rows = max_block_rows(shape, batch)?;
    let columns = if gathers_columns(shape, rows) { shape.units } else { 0 };
    Some([
        shape.gate_gradients_width().checked_mul(rows.checked_add(batch)?)?,
        shape.input_and_state_panels().checked_mul(shape.panel_width())?.checked_mul(rows)?,
        shape.padded_outputs().checked_mul(batch)?,
        shape.padded_carry().checked_mul(batch)?,
        shape.padded_outputs().checked_mul(batch)?,
        columns.checked_mul(rows)?,
    ])
}

impl BackwardBuffers {
    pub(crate) fn elements(&self) -> usize {
        let states = self.hidden_gradient.len() + self.cell_gradient.len() + self.cotangent.len();
        self.gate_gradients.len() + self.right.len() + self.columns.len() + states + self.cell.elements()
    }

    pub(crate) fn new(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
        let lengths = backward_lengths(shape, batch);
        let buffer = |which: usize| zeros("batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            gate_gradients: buffer(0)?,
            right: buffer(1)?,
            hidden_gradient: buffer(2)?,
            cell_gradient: buffer(3)?,
            cotangent: buffer(4)?,
            columns: buffer(5)?,
            cell: CellBuffers::new(shape, options, batch, max_block_rows(shape, batch))?,
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
    ) -> GradientRows<'_> {
        let (outputs, units) = (shape.padded_outputs(), shape.padded_carry());
        for (buffer, padded, from) in
            [(&mut self.hidden_gradient, outputs, last_hidden), (&mut self.cell_gradient, units, last_cell)]
        {
            match order {
                None => load(buffer, padded, 0..batch, from),
                Some(order) => load(buffer, padded, order.rows().iter().copied(), from),
            }
        }
        GradientRows {
            gate_gradients: &mut self.gate_gradients,
            right: &mut self.right,
            columns: &mut self.columns,
            hidden_gradient: &mut self.hidden_gradient[..outputs * batch],
            cell_gradient: &mut self.cell_gradient[..units * batch],
            cotangent: &mut self.cotangent[..outputs * batch],
            cell: &mut self.cell,
        }
    }
}
