//! One time step of a stack at a time.

use crate::error::Error;
use crate::memory::state::State;
use crate::stack::config::Directions;
use crate::stack::layers::Layers;
use crate::view::Matrix;

/// h and c of all layers of a stack of one direction, carried from step to step.
///
/// Made by [`Stack::state`](crate::Stack::state), all zero.
#[derive(Clone, Debug)]
pub struct StackState {
    layers: Vec<State>,
}

impl StackState {
    /// B, the number of rows.
    pub fn batch(&self) -> usize {
        self.layers.first().map_or(0, State::batch)
    }

    /// h of one row of the last layer, H elements (P with a projection); `None` if there is no such row.
    pub fn hidden(&self, row: usize) -> Option<&[f32]> {
        self.layers.last()?.hidden(row)
    }

    /// The state of each layer.
    pub fn layers(&self) -> &[State] {
        &self.layers
    }

    /// The same, to be set. [`Stack::step`](crate::Stack::step) refuses states of different batches.
    pub fn layers_mut(&mut self) -> &mut [State] {
        &mut self.layers
    }

    /// Sets h and c of all layers to zero.
    pub fn reset(&mut self) {
        self.layers.iter_mut().for_each(State::reset);
    }

    /// Bytes that this state owns.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(State::bytes).sum()
    }
}

impl Layers {
    /// See [`Stack::state`](crate::Stack::state).
    pub(super) fn state(&self, batch: usize) -> Result<StackState, Error> {
        self.check_streaming()?;
        let layers = self.layers.iter().map(|lstm| lstm.state(batch)).collect::<Result<_, _>>()?;
        Ok(StackState { layers })
    }

    /// See [`Stack::step`](crate::Stack::step).
    pub(super) fn step(&self, state: &mut StackState, input: Matrix<'_>) -> Result<(), Error> {
        self.check_streaming()?;
        let (expected, found) = (self.layers.len(), state.layers.len());
        Error::check_dimension("state", "layers", expected, found)?;
        let batch = state.batch();
        for (lstm, state) in self.layers.iter().zip(&state.layers) {
            // A caller may have put in another.
            Error::check_dimension("state", "batch", batch, state.batch())?;
            lstm.check_state(state, batch)?;
        }
        let mut below: Option<&State> = None;
        for (lstm, state) in self.layers.iter().zip(&mut state.layers) {
            lstm.step(state, below.map_or(input, State::hidden_rows))?;
            below = Some(state);
        }
        Ok(())
    }

    /// `Ok` if all layers read from the first step to the last.
    fn check_streaming(&self) -> Result<(), Error> {
        if self.config.directions() == Directions::Forward {
            Ok(())
        } else {
            let because =
                "a reverse direction, which begins with the last step: give whole sequences to `forward`";
            Err(Error::Unsupported { argument: "step", because })
        }
    }
}
