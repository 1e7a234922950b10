//! Weights as other frameworks store them, with the order and orientation said aloud.
//!
//! A bare slice of weights can be read in many ways: frameworks order the gates differently, store rows or columns, and
//! have one bias or two. So there is a constructor per convention, and neutral ones that name everything.

mod gate;
mod gates;
mod gru;
mod hint;
mod keras_cudnn;
mod layout;
mod lstm;
mod lstm_frameworks;
mod rnn;

pub use gate::{Gate, GateOrder, GruGate, GruGateOrder};
pub(crate) use gates::{GateMatrix, Gates};
pub use gru::GruWeights;
pub use layout::{GruTensors, JoinedTensors, Orientation, SeparateTensors, WeightLayout};
pub use lstm::LstmWeights;
pub use rnn::RnnWeights;
