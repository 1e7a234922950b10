//! Rows of the state of a stack: those of each of its layers.

use crate::error::Error;
use crate::memory::state::State;
use crate::stack::step::StackState;
use std::ops::Range;

/// Rows, of all layers: see [`State`].
impl StackState {
    /// Sets row r of each layer to row `order[r]` of another state of the same stack; see [`State::gather`].
    ///
    /// # Errors
    /// As for [`State::gather`]; [`Error::Dimension`] if the other state has more or fewer layers.
    pub fn gather(&mut self, from: &StackState, order: &[usize]) -> Result<(), Error> {
        self.with(from, |to, from| to.check_gather(from, order), |to, from| to.gather(from, order))
    }

    /// Copies some rows of another state of the same stack to the rows from `to` on; see [`State::copy_rows`].
    ///
    /// # Errors
    /// As for [`StackState::gather`].
    pub fn copy_rows(&mut self, to: usize, from: &StackState, rows: Range<usize>) -> Result<(), Error> {
        self.with(
            from,
            |layer, from| layer.check_copy(to, from, &rows),
            |layer, from| layer.copy_rows(to, from, rows.clone()),
        )
    }

    /// Sets h and c of a row of each layer to zero.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`]
    pub fn reset_row(&mut self, row: usize) -> Result<(), Error> {
        self.layers().iter().try_for_each(|layer| layer.check_row("row", row))?;
        self.layers_mut().iter_mut().try_for_each(|layer| layer.reset_row(row))
    }

    /// Elements that [`StackState::save`] writes: those of each layer.
    pub fn saved_len(&self) -> usize {
        self.layers().iter().map(State::saved_len).sum()
    }

    /// Writes h and c of each layer, one after the other; see [`State::save`].
    ///
    /// # Errors
    /// [`Error::Length`] if the slice has another length than [`StackState::saved_len`].
    pub fn save(&self, to: &mut [f32]) -> Result<(), Error> {
        self.check_saved(to.len())?;
        let mut rest = to;
        self.layers()
            .iter()
            .try_for_each(|layer| layer.save(rest.split_off_mut(..layer.saved_len()).unwrap_or_default()))
    }

    /// Reads what [`StackState::save`] wrote.
    ///
    /// # Errors
    /// As for [`StackState::save`]; nothing is written then.
    pub fn restore(&mut self, from: &[f32]) -> Result<(), Error> {
        self.check_saved(from.len())?;
        let mut rest = from;
        self.layers_mut()
            .iter_mut()
            .try_for_each(|layer| layer.restore(rest.split_off(..layer.saved_len()).unwrap_or_default()))
    }

    fn check_saved(&self, found: usize) -> Result<(), Error> {
        let expected = self.saved_len();
        if expected == found { Ok(()) } else { Err(Error::length("saved state", expected, found)) }
    }

    /// Runs `change` on each layer and that of another state, after `check` on all.
    fn with(
        &mut self,
        from: &StackState,
        check: impl Fn(&State, &State) -> Result<(), Error>,
        change: impl Fn(&mut State, &State) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Error::check_dimension("from", "layers", self.layers().len(), from.layers().len())?;
        self.layers().iter().zip(from.layers()).try_for_each(|(to, from)| check(to, from))?;
        self.layers_mut().iter_mut().zip(from.layers()).try_for_each(|(to, from)| change(to, from))
    }
}
