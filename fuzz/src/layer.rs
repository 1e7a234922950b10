//! A layer of any of the cells.

use crate::options::{Cell, CellConfig, Options};
use crate::way::Way;
use quadgate::{
    Backward, Direction, Directions, Error, Forward, Gru, GruConfig, GruWeights, Lstm, LstmConfig,
    LstmWeights, Matrix, Rnn, RnnConfig, RnnWeights, Schedule, Split, Stack, StackConfig, State, Tape,
    Workspace,
};
use std::num::NonZeroUsize;

/// What a layer is and how it shall run.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// X and H.
    pub sizes: [usize; 2],
    pub options: &'a Options,
    pub direction: Direction,
    pub way: Way<(Option<Schedule>, Option<Split>)>,
    pub training: bool,
}

/// A layer that is one of the three.
pub enum Layer {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

/// The same of whichever layer.
macro_rules! of_layer {
    ($of:expr, $layer:ident => $value:expr) => {
        match $of {
            Layer::Lstm($layer) => $value,
            Layer::Gru($layer) => $value,
            Layer::Rnn($layer) => $value,
        }
    };
}

impl Shape<'_> {
    /// Its configuration, as that of a stack of one layer.
    fn config<C: CellConfig>(&self) -> StackConfig<C> {
        let directions = match self.direction {
            Direction::Forward => Directions::Forward,
            Direction::Reverse => Directions::Reverse,
        };
        let Way { isa, threads, plan: (schedule, split), .. } = self.way;
        let config = StackConfig::of(C::of(self.options, self.sizes), 1, directions);
        let config = schedule.into_iter().fold(config.isa(isa).threads(threads), StackConfig::schedule);
        let config = split.into_iter().fold(config, StackConfig::split);
        if self.training { config.training() } else { config }
    }

    /// The layer of parameters in one buffer.
    pub fn layer(&self, parameters: &[f32]) -> Result<Layer, Error> {
        Ok(match self.options.cell {
            Cell::Lstm => {
                let config: LstmConfig = self.config().directed_layer(0);
                Layer::Lstm(Lstm::new(&config, &LstmWeights::from_parameters(&config, parameters)?)?)
            }
            Cell::Gru(_) => {
                let config: GruConfig = self.config().directed_layer(0);
                Layer::Gru(Gru::new(&config, &GruWeights::from_parameters(&config, parameters)?)?)
            }
            Cell::Rnn => {
                let config: RnnConfig = self.config().directed_layer(0);
                Layer::Rnn(Rnn::new(&config, &RnnWeights::from_parameters(&config, parameters)?)?)
            }
        })
    }

    /// Whether there are the same tensors, of the same sizes.
    pub fn has_tensors_of(&self, other: &Shape<'_>) -> bool {
        self.options.lens(self.sizes) == other.options.lens(other.sizes)
    }

    /// Whether a layer of the same cell takes the weights of another one, which there can be.
    pub fn takes_weights_of(&self, other: &Shape<'_>, parameters: &[f32]) -> bool {
        match self.options.cell {
            Cell::Lstm => self.takes::<LstmConfig>(other, parameters),
            Cell::Gru(_) => self.takes::<GruConfig>(other, parameters),
            Cell::Rnn => self.takes::<RnnConfig>(other, parameters),
        }
    }

    fn takes<C: CellConfig>(&self, other: &Shape<'_>, parameters: &[f32]) -> bool {
        Stack::new(&self.config::<C>(), &other.config::<C>().weights(parameters).unwrap()).is_ok()
    }
}

impl Layer {
    pub fn workspace(&self, batch: usize) -> Workspace {
        of_layer!(self, layer => layer.workspace(batch)).unwrap()
    }

    /// A tape with room for so many steps and rows; with checkpoints, if there are steps between them.
    pub fn tape(&self, every: Option<NonZeroUsize>, [steps, batch]: [usize; 2]) -> Tape {
        let tape = match every {
            None => of_layer!(self, layer => layer.tape(steps, batch)),
            Some(_) => of_layer!(self, layer => layer.checkpointed_tape(steps, batch, every)),
        };
        tape.unwrap()
    }

    pub fn state(&self, batch: usize) -> State {
        of_layer!(self, layer => layer.state(batch)).unwrap()
    }

    pub fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.forward(workspace, call))
    }

    pub fn backward(
        &self,
        workspace: &mut Workspace,
        tape: &mut Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        of_layer!(self, layer => layer.backward(workspace, tape, call))
    }

    pub fn step(&self, state: &mut State, x: Matrix<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.step(state, x))
    }
}
