//! h and c of some rows, carried from step to step.

mod rows;

use crate::cell::scratch_per_row;
use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::states::States;
use crate::memory::views;
use crate::options::Options;
use crate::shape::Shape;
use crate::view::Matrix;
use quadgate_kernels::{Order, Rows, RowsMut};

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
    /// What a step of some cells works with: the sums, and scratch.
    sums: Buffer,
    scratch: Buffer,
    /// Room for x without what is too small to compute with.
    pub(crate) input: Buffer,
    /// Room for what the sums of a step start from, if that is given.
    pub(crate) given: Buffer,
}

/// What one step of all rows of a state reads and writes.
pub(crate) struct StepRows<'a> {
    /// The direction in which panels are walked: to and fro from step to step.
    pub(crate) order: Order,
    /// h of the step before, and where that of this step goes.
    pub(crate) from: Rows<'a>,
    pub(crate) to: RowsMut<'a>,
    /// c, replaced.
    pub(crate) cell: RowsMut<'a>,
    /// Where a cell with extras keeps pre-activations.
    pub(crate) preactivations: RowsMut<'a>,
    pub(crate) scratch: &'a mut [f32],
}

/// Of two slots of h the one that the next step writes, and the one that holds h.
#[inline]
fn in_turn(hidden: &mut [f32], slot: usize) -> [&mut [f32]; 2] {
    let (first, second) = hidden.split_at_mut(hidden.len() / 2);
    if slot == 0 { [second, first] } else { [first, second] }
}

/// Elements of a state: of h, of c, and of what a step works with.
pub(crate) fn state_lengths(shape: Shape, batch: usize) -> Option<[usize; 2]> {
    let hidden = shape.padded_outputs().checked_mul(batch)?.checked_mul(2)?;
    Some([hidden, shape.padded_cell().checked_mul(batch)?])
}

impl State {
    /// A state to be carried by a caller, step by step.
    pub(crate) fn new(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
        let state = Self::without_scratch(shape, options, batch)?;
        let rows_if = |is_needed: bool| if is_needed { batch } else { 0 };
        let has_options = !options.are_plain();
        let (rows, scratch_rows) =
            (rows_if(has_options), rows_if(has_options || shape.kind.has_gated_product()));
        Ok(Self {
            sums: zeros("batch", shape.sums_width().checked_mul(rows))?,
            scratch: zeros("batch", scratch_per_row(shape, options).checked_mul(scratch_rows))?,
            input: zeros("batch", shape.inputs.checked_mul(batch))?,
            given: zeros("batch", shape.sums_width().checked_mul(batch))?,
            ..state
        })
    }

    /// A state for whole sequences alone.
    pub(crate) fn without_scratch(shape: Shape, options: &Options, batch: usize) -> Result<Self, Error> {
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
            input: none()?,
            given: none()?,
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

    /// c of one row, H elements, none if the cell has no c; `None` if there is no such row.
    pub fn cell(&self, row: usize) -> Option<&[f32]> {
        let (padded, start) = (self.shape.padded_cell(), row.min(self.batch) * self.shape.padded_cell());
        (row < self.batch).then(|| &self.cell[start..][..self.shape.units.min(padded)])
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
    /// If the matrix has another shape, its slice is too short, or the cell has no c.
    pub fn set_cell(&mut self, cell: Matrix<'_>) -> Result<(), Error> {
        if self.shape.padded_cell() == 0 {
            return Err(Error::Unexpected { argument: "cell" });
        }
        let rows = cell.checked("cell", self.batch, self.shape.units)?;
        load(&mut self.cell, self.shape.padded_cell(), 0..self.batch, Some(rows));
        Ok(())
    }

    /// Bytes that this state owns.
    pub fn bytes(&self) -> usize {
        let scratch = self.sums.len() + self.scratch.len() + self.input.len() + self.given.len();
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
    #[inline]
    pub(crate) fn check(
        &self,
        argument: &'static str,
        shape: Shape,
        options: Option<&Options>,
        batch: usize,
    ) -> Result<(), Error> {
        // Other options have an error of their own.
        let shape = Shape { has_options: self.shape.has_options, ..shape };
        if self.shape != shape || self.batch < batch {
            self.check_size(argument, shape, batch)?;
        }
        Options::check_same(argument, options, self.options.as_ref())
    }

    /// `Ok` if the state has the sizes of a layer and at least `batch` rows.
    #[cold]
    fn check_size(&self, argument: &'static str, shape: Shape, batch: usize) -> Result<(), Error> {
        let (expected, found) = ([batch, shape.units], [self.batch, self.shape.units]);
        if found[0] < batch || found[1] != shape.units {
            return Err(Error::Workspace { argument, expected, found });
        }
        Error::check_dimension(argument, "input size", shape.inputs, self.shape.inputs)?;
        shape.check_rows(argument, self.shape)
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
        load(&mut self.cell, shape.padded_cell(), rows, cell);
    }

    /// The first `rows` rows, for steps that begin with what the state holds.
    pub(crate) fn rows(&mut self, rows: usize) -> States<'_> {
        states(self.shape, rows, &mut self.hidden, self.slot, &mut self.cell)
    }

    /// All rows, for one step that begins with what the state holds.
    #[inline]
    pub(crate) fn step_rows(&mut self) -> StepRows<'_> {
        let (shape, rows) = (self.shape, self.batch);
        let [to, from] = in_turn(&mut self.hidden, self.slot);
        let (outputs, units) = (shape.padded_outputs(), shape.padded_cell());
        let sums_width = if self.sums.is_empty() { 0 } else { shape.sums_width() };
        StepRows {
            // Slots take turns from step to step.
            order: Order::zigzag(1 - self.slot),
            from: views::rows(from, rows, outputs),
            to: views::rows_mut(to, rows, outputs),
            cell: views::rows_mut(&mut self.cell, rows, units),
            preactivations: views::rows_mut(&mut self.sums, rows, sums_width),
            scratch: &mut self.scratch,
        }
    }

    /// The direction in which panels are walked, where h of the next step goes and where h is, and c, of a row.
    #[inline]
    pub(crate) fn row_in_turn(&mut self, row: usize) -> (Order, [&mut [f32]; 2], &mut [f32]) {
        let hidden = in_turn(&mut self.hidden, self.slot);
        let (hidden_start, cell_start) = (row * self.shape.padded_outputs(), row * self.shape.padded_cell());
        let hidden = hidden.map(|hidden| &mut hidden[hidden_start..]);
        (Order::zigzag(1 - self.slot), hidden, &mut self.cell[cell_start..])
    }

    /// Says that `steps` steps were run on [`State::rows`].
    #[inline]
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
    let (outputs, units, len) = (shape.padded_outputs(), shape.padded_cell(), hidden.len() / 2);
    let hidden = views::strided_slots(hidden, [2, rows, outputs], len);
    let cell = views::strided_slots(cell, [1, rows, units], 0);
    States { hidden, first: slot + 1, cell, recorded: None, projected: None }
}

/// Sets the first rows of a buffer, each of `padded` elements, to these rows of what is given, or to zero.
pub(crate) fn load(
    buffer: &mut [f32],
    padded: usize,
    rows: impl Iterator<Item = usize>,
    from: Option<Rows<'_>>,
) {
    // A cell may have no such state.
    for (to, row) in buffer.chunks_exact_mut(padded.max(1)).zip(rows) {
        to.fill(0.0);
        if let Some(from) = from {
            let from = from.row(row);
            to[..from.len()].copy_from_slice(from);
        }
    }
}
