//! The oracle: LSTMs, gated recurrent units and plain recurrent layers as the equations say them, in `f64`, for tests.
//! Behind the feature `reference`, so that nobody else compiles it.
//!
//! Slow, plain and independent of everything else in this crate. Two of them:
//!
//! - [`NaiveLstm`] is the plain layer: σ, σ, tanh, σ, one direction, every step of every row. In `f32` it is what a
//!   first attempt would be, to compare speed with.
//! - [`NaiveStack`] is all there is. It is built of three parts, each with its backward pass by hand: a [`NaiveCell`],
//!   which is that of an LSTM, a gated recurrent unit or a plain recurrent one with any options, makes one step of one
//!   row, a [`NaiveLayer`] walks it over time, in one direction or two, and the stack feeds each layer's output to the
//!   next.
//!
//! # Panics
//! Everything here panics if a slice has another length than its documented shape.

mod activation;
mod cell;
mod gate;
mod gru;
mod layer;
mod lstm;
mod parameters;
mod plain;
mod real;
mod rnn;
mod stack;
mod step;

pub use activation::{NaiveActivation, NaiveActivations};
pub use cell::{NaiveCell, NaiveClip, NaiveCoupling, NaiveInputs, NaiveKind, NaiveState, NaiveStepMasks};
pub use layer::{
    NaiveCall, NaiveCallGradients, NaiveDirections, NaiveLayer, NaiveMasks, NaiveResult, NaiveRun,
};
pub use parameters::NaiveParameters;
pub use plain::{NaiveCotangents, NaiveGradients, NaiveLstm, NaiveOutput};
pub use stack::NaiveStack;
pub use step::NaiveStep;
