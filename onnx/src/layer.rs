//! A layer of one direction: of `quadgate`, whichever cell it has.

use crate::Error;
use crate::attributes::Attributes;
use crate::operator::Operator;
use quadgate::{
    Activations, Clip, Coupling, Forward, Gru, GruActivations, GruConfig, GruWeights, Lstm, LstmConfig,
    LstmWeights, ResetGate, Rnn, RnnConfig, RnnWeights,
};

/// Whose `clip` an LSTM has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clipping {
    /// ONNX Runtime's: what enters the activations of the gates.
    #[default]
    Runtime,
    /// The standard's: what enters the activation of h, too.
    Standard,
}

/// A layer of one direction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// Of an `LSTM`.
    Lstm(Lstm),
    /// Of a `GRU`.
    Gru(Gru),
    /// Of an `RNN`.
    Rnn(Rnn),
}

/// The tensors of one direction.
pub(crate) struct Tensors<'a> {
    pub(crate) w: &'a [f32],
    pub(crate) r: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) peepholes: Option<&'a [f32]>,
}

impl Layer {
    /// That of direction number `number` of a node.
    pub(crate) fn new(
        operator: Operator,
        [inputs, hidden]: [usize; 2],
        (attributes, number): (&Attributes, usize),
        clipping: Clipping,
        Tensors { w, r, bias, peepholes }: Tensors<'_>,
    ) -> Result<Self, Error> {
        let (direction, functions) = (attributes.directions[number], attributes.functions_of(number));
        Ok(match operator {
            Operator::Lstm => {
                let config = LstmConfig::new(inputs, hidden)
                    .direction(direction)
                    .clip(attributes.clip.map_or(Clip::default(), |limit| match clipping {
                        Clipping::Runtime => Clip::onnx_runtime(limit),
                        Clipping::Standard => Clip::onnx(limit),
                    }))
                    .coupling(match attributes.couples_gates {
                        true => Coupling::ForgetFromInput,
                        false => Coupling::Independent,
                    })
                    .activations(match *functions {
                        [gate, candidate, cell] => Activations { gate, candidate, cell },
                        _ => Activations::default(),
                    });
                let config = if peepholes.is_some() { config.peepholes() } else { config };
                Layer::Lstm(Lstm::new(&config, &LstmWeights::onnx(&config, w, r, bias, peepholes)?)?)
            }
            Operator::Gru => {
                let config = GruConfig::new(inputs, hidden)
                    .direction(direction)
                    .reset_gate(match attributes.resets_after {
                        true => ResetGate::AfterProduct,
                        false => ResetGate::BeforeProduct,
                    })
                    .activations(match *functions {
                        [gate, candidate] => GruActivations { gate, candidate },
                        _ => GruActivations::default(),
                    });
                let config = attributes.clip.into_iter().fold(config, GruConfig::clip);
                Layer::Gru(Gru::new(&config, &GruWeights::onnx(&config, w, r, bias)?)?)
            }
            Operator::Rnn => {
                let config = RnnConfig::new(inputs, hidden).direction(direction);
                let config = functions.iter().copied().fold(config, RnnConfig::activation);
                let config = attributes.clip.into_iter().fold(config, RnnConfig::clip);
                Layer::Rnn(Rnn::new(&config, &RnnWeights::onnx(&config, w, r, bias)?)?)
            }
        })
    }

    /// X
    pub fn input_size(&self) -> usize {
        match self {
            Layer::Lstm(lstm) => lstm.config().input_size(),
            Layer::Gru(gru) => gru.config().input_size(),
            Layer::Rnn(rnn) => rnn.config().input_size(),
        }
    }

    /// H
    pub fn hidden_size(&self) -> usize {
        match self {
            Layer::Lstm(lstm) => lstm.config().hidden_size(),
            Layer::Gru(gru) => gru.config().hidden_size(),
            Layer::Rnn(rnn) => rnn.config().hidden_size(),
        }
    }

    /// Runs a call with a workspace of its own.
    pub(crate) fn forward(&self, batch: usize, call: Forward<'_>) -> Result<(), quadgate::Error> {
        match self {
            Layer::Lstm(lstm) => lstm.forward(&mut lstm.workspace(batch)?, call),
            Layer::Gru(gru) => gru.forward(&mut gru.workspace(batch)?, call),
            Layer::Rnn(rnn) => rnn.forward(&mut rnn.workspace(batch)?, call),
        }
    }
}
