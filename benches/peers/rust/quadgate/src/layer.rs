//! A layer of whichever cell.

use quadgate::{
    Backward, Error, Forward, Gru, GruConfig, GruWeights, Lstm, LstmConfig, LstmWeights, Matrix, ResetGate,
    Rnn, RnnConfig, RnnWeights, State, Tape, Threads, Workspace,
};
use worker::{Case, Cell, Mode, threads};

pub const FITS: &str = "made for this shape";

pub enum Layer {
    Lstm(Lstm),
    Gru(Gru),
    Rnn(Rnn),
}

/// Runs a method of whichever layer it is.
macro_rules! of_layer {
    ($layer:expr, $name:ident => $call:expr) => {
        match $layer {
            Layer::Lstm($name) => $call,
            Layer::Gru($name) => $call,
            Layer::Rnn($name) => $call,
        }
    };
}

/// How a layer runs that is to be measured.
macro_rules! as_told {
    ($config:expr, $mode:expr) => {{
        let config = if $mode == Mode::Train { $config.training() } else { $config };
        if threads() == 1 { config.threads(Threads::Serial) } else { config }
    }};
}

impl Layer {
    pub fn new(case: &Case, mode: Mode) -> Result<Self, Error> {
        let (w, r, [first, second]) = (&case.weight_ih, &case.weight_hh, case.biases());
        Ok(match case.cell {
            Cell::Lstm => {
                let config = as_told!(LstmConfig::new(case.x, case.h), mode);
                Layer::Lstm(Lstm::new(&config, &LstmWeights::pytorch(&config, w, r, Some(&first), None)?)?)
            }
            Cell::Gru | Cell::GruResetBefore => {
                let place =
                    if case.cell == Cell::Gru { ResetGate::AfterProduct } else { ResetGate::BeforeProduct };
                let config = as_told!(GruConfig::new(case.x, case.h).reset_gate(place), mode);
                let weights = GruWeights::pytorch(&config, w, r, Some(&first), Some(&second))?;
                Layer::Gru(Gru::new(&config, &weights)?)
            }
            Cell::Rnn => {
                let config = as_told!(RnnConfig::new(case.x, case.h), mode);
                Layer::Rnn(Rnn::new(&config, &RnnWeights::pytorch(&config, w, r, Some(&first), None)?)?)
            }
        })
    }

    /// Elements of W, R and b.
    pub fn parameters(&self) -> Result<usize, Error> {
        of_layer!(self, layer => Ok(layer.config().parameters()?.total()))
    }

    pub fn workspace(&self, batch: usize) -> Result<Workspace, Error> {
        of_layer!(self, layer => layer.workspace(batch))
    }

    pub fn tape(&self, steps: usize, batch: usize) -> Result<Tape, Error> {
        of_layer!(self, layer => layer.tape(steps, batch))
    }

    pub fn state(&self, batch: usize) -> Result<State, Error> {
        of_layer!(self, layer => layer.state(batch))
    }

    pub fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) {
        of_layer!(self, layer => layer.forward(workspace, call)).expect(FITS);
    }

    pub fn backward(&self, workspace: &mut Workspace, tape: &mut Tape, call: Backward<'_>) {
        of_layer!(self, layer => layer.backward(workspace, tape, call)).expect(FITS);
    }

    pub fn step(&self, state: &mut State, input: Matrix<'_>) {
        of_layer!(self, layer => layer.step(state, input)).expect(FITS);
    }
}
