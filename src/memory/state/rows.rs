//! Rows of a state: streams that end and begin, beams that are kept, states that are saved. Nothing here allocates.

use super::State;
use crate::error::Error;
use std::ops::Range;

/// Rows, for streams that come and go and for beams.
///
/// ```
/// # use quadgate::{Lstm, LstmConfig, LstmWeights, Matrix};
/// # let config = LstmConfig::new(1, 1);
/// # let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
/// let (mut beams, mut kept) = (lstm.state(4)?, lstm.state(4)?);
/// lstm.step(&mut beams, Matrix::new(&[0.1, 0.2, 0.3, 0.4], 4, 1))?;
/// // Of a beam search: beam 2 goes on twice, beam 1 ends.
/// kept.gather(&beams, &[2, 2, 0, 3])?;
/// assert_eq!((kept.hidden(0), kept.hidden(2)), (beams.hidden(2), beams.hidden(0)));
/// // A stream ends, and another begins.
/// kept.reset_row(3)?;
/// assert_eq!((kept.hidden(3), kept.cell(3)), (Some(&[0.0][..]), Some(&[0.0][..])));
/// # Ok::<(), quadgate::Error>(())
/// ```
impl State {
    /// Sets row r to row `order[r]` of another state of the same layer, h and c: what a beam search does after each
    /// step, with two states in turn.
    ///
    /// # Errors
    /// [`Error::Dimension`] if there is not one entry for each row; [`Error::NoSuchRow`]; [`Error::Workspace`],
    /// [`Error::Dimension`] or [`Error::Unsupported`] if the other state is of another layer. Nothing is written then.
    pub fn gather(&mut self, from: &State, order: &[usize]) -> Result<(), Error> {
        self.check_gather(from, order)?;
        for (row, &of) in order.iter().enumerate() {
            self.copy_one(row, from, of);
        }
        Ok(())
    }

    /// Copies some rows of another state of the same layer, h and c, to the rows from `to` on: to split a state, to
    /// join two, or to move one stream.
    ///
    /// # Errors
    /// As for [`State::gather`].
    pub fn copy_rows(&mut self, to: usize, from: &State, rows: Range<usize>) -> Result<(), Error> {
        self.check_copy(to, from, &rows)?;
        for (offset, row) in rows.enumerate() {
            self.copy_one(to + offset, from, row);
        }
        Ok(())
    }

    /// Sets h and c of a row to zero: a stream ends, and another one begins.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`]
    pub fn reset_row(&mut self, row: usize) -> Result<(), Error> {
        self.check_row("row", row)?;
        let [hidden, cell] = self.padded_ranges(row);
        self.latest_hidden()[hidden].fill(0.0);
        self.cell[cell].fill(0.0);
        Ok(())
    }

    /// Sets h, `[H]` (`[P]` with a projection), and c, `[H]` (empty if the cell has none), of a row.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`]; [`Error::Length`] names the slice whose length is wrong. Nothing is written then.
    pub fn set_row(&mut self, row: usize, hidden: &[f32], cell: &[f32]) -> Result<(), Error> {
        self.check_row("row", row)?;
        let [outputs, units] = self.widths();
        check_len("hidden", outputs, hidden.len())?;
        check_len("cell", units, cell.len())?;
        self.set_one(row, hidden, cell);
        Ok(())
    }

    /// Elements that [`State::save`] writes: B rows of h, then B rows of c.
    pub fn saved_len(&self) -> usize {
        self.batch * self.widths().iter().sum::<usize>()
    }

    /// Writes h of all rows, `[B, H]` (`[B, P]`), and then c of all rows, `[B, H]`: the same on every instruction set.
    ///
    /// # Errors
    /// [`Error::Length`] if the slice has another length than [`State::saved_len`].
    pub fn save(&self, to: &mut [f32]) -> Result<(), Error> {
        check_len("saved state", self.saved_len(), to.len())?;
        let [outputs, units] = self.widths();
        let (hidden, cell) = to.split_at_mut(self.batch * outputs);
        for row in 0..self.batch {
            hidden[row * outputs..][..outputs].copy_from_slice(self.hidden(row).unwrap_or_default());
            cell[row * units..][..units].copy_from_slice(self.cell(row).unwrap_or_default());
        }
        Ok(())
    }

    /// Reads what [`State::save`] wrote.
    ///
    /// # Errors
    /// As for [`State::save`]; nothing is written then.
    pub fn restore(&mut self, from: &[f32]) -> Result<(), Error> {
        check_len("saved state", self.saved_len(), from.len())?;
        let [outputs, units] = self.widths();
        let (hidden, cell) = from.split_at(self.batch * outputs);
        for row in 0..self.batch {
            self.set_one(row, &hidden[row * outputs..][..outputs], &cell[row * units..][..units]);
        }
        Ok(())
    }

    /// Elements of a row of h, and of c.
    fn widths(&self) -> [usize; 2] {
        [self.shape.outputs, self.shape.units.min(self.shape.padded_cell())]
    }

    pub(crate) fn check_gather(&self, from: &State, order: &[usize]) -> Result<(), Error> {
        Error::check_dimension("order", "rows", self.batch, order.len())?;
        self.check_layer_of(from)?;
        order.iter().try_for_each(|&row| from.check_row("order", row))
    }

    pub(crate) fn check_copy(&self, to: usize, from: &State, rows: &Range<usize>) -> Result<(), Error> {
        self.check_layer_of(from)?;
        match rows.end.checked_sub(rows.start) {
            None | Some(0) => Ok(()),
            Some(count) => {
                from.check_row("rows", rows.end - 1)?;
                self.check_row("to", to.saturating_add(count - 1))
            }
        }
    }

    pub(crate) fn check_row(&self, argument: &'static str, row: usize) -> Result<(), Error> {
        if row < self.batch { Ok(()) } else { Err(Error::NoSuchRow { argument, row, rows: self.batch }) }
    }

    /// `Ok` if another state is of the same layer, or of one like it.
    fn check_layer_of(&self, from: &State) -> Result<(), Error> {
        from.check("from", self.shape, self.options.as_ref(), 0)
    }

    /// Where a row lies in a slot of h, and in c.
    fn padded_ranges(&self, row: usize) -> [Range<usize>; 2] {
        [self.shape.padded_outputs(), self.shape.padded_cell()].map(|width| row * width..(row + 1) * width)
    }

    fn copy_one(&mut self, row: usize, from: &State, of: usize) {
        let [hidden, cell] = self.padded_ranges(row);
        let [from_hidden, from_cell] = from.padded_ranges(of);
        let len = from.hidden.len() / 2;
        let latest = &from.hidden[from.slot * len..][..len];
        self.latest_hidden()[hidden].copy_from_slice(&latest[from_hidden]);
        self.cell[cell].copy_from_slice(&from.cell[from_cell]);
    }

    fn set_one(&mut self, row: usize, hidden: &[f32], cell: &[f32]) {
        let [hidden_range, cell_range] = self.padded_ranges(row);
        self.latest_hidden()[hidden_range][..hidden.len()].copy_from_slice(hidden);
        self.cell[cell_range][..cell.len()].copy_from_slice(cell);
    }
}

fn check_len(argument: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
}
