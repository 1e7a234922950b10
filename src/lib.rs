//! LSTM kernels for CPUs: fast at every shape, at full f32 accuracy, with the same bits on every instruction set
//! that has a fused multiply-add.
//!
//! One idea carries the crate. A tile of the gate matrix product holds i, f, g and o of the same hidden units. When its
//! inner loop ends, all four gates of those units are in registers, so bias, sigmoid, tanh and the cell update are the
//! tile's epilogue. A step of inference stores c and h, and nothing else.
//!
//! The way of the data:
//!
//! 1. [`LstmConfig`] and [`LstmWeights`] say what the layer is; weights name their gate order.
//! 2. [`Lstm::new`] chooses the kernels of the CPU (or of `QUADGATE_ISA`) and packs the weights.
//! 3. [`Lstm::forward`] runs whole sequences, [`Lstm::step`] one step; both read and write the caller's slices, in any
//!    strides, and allocate nothing.
//! 4. [`Lstm::backward`] yields the gradients of a sequence whose forward pass wrote to a [`Tape`].
//! 5. [`LstmStack`] puts such layers on top of each other, in one direction or both.
//! 6. [`Gru`] and [`Rnn`] are layers of other cells, with the same calls.
//!
//! ```
//! use quadgate::{Lstm, LstmConfig, LstmWeights, Matrix};
//!
//! // One unit that reads one number: every weight 1, no bias.
//! let config = LstmConfig::new(1, 1);
//! let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None)?)?;
//! let mut state = lstm.state(1)?;
//! for x in [0.5, -0.25, 1.0] {
//!     lstm.step(&mut state, Matrix::new(&[x], 1, 1))?;
//! }
//! assert!((state.hidden(0).unwrap()[0] - 0.425_455_73).abs() < 1e-6);
//! # Ok::<(), quadgate::Error>(())
//! ```
//!
//! # The same bits
//!
//! Every gate sum has one order, chains of 256 fused multiply-adds, and the activations use only operations that
//! IEEE 754 rounds exactly. So the result does not depend on the number of threads, the position in the batch, the
//! schedule, the tile, nor on which of AVX2, AVX-512 and NEON ran it. The portable level may differ where the target
//! has no fused multiply-add.
//!
//! # Threads
//!
//! [`Threads::Auto`] shares the work of large calls over the current rayon pool: that of `ThreadPool::install`, or rayon's
//! global one, which such a call starts if nobody has. With [`Threads::Serial`] the crate never calls rayon.
//!
//! rayon is a feature of the crate, on by default. Without it (`default-features = false`) every call runs on the caller's
//! thread, whatever [`Threads`] says, and nothing of `std::thread` is used: for WebAssembly, or an audio thread.
//!
//! # Environment
//!
//! `QUADGATE_ISA` names the instruction set of layers whose configuration names none: `portable`, `avx2`, `avx512` or `neon`, in
//! any case of letters; empty means unset. It is read when a layer is made, and nothing else is.
//!
//! # Accuracy
//!
//! Sigmoid and tanh are within 2 ULP over all of f32; sums are in f32, in chains of 256. States, gates and gradients below
//! 2⁻⁶³ become zero, so that decaying states never turn denormal and slow.

#![forbid(unsafe_code)]

mod activation;
mod cell;
mod config;
mod direction;
mod environment;
mod error;
mod gru;
mod initialization;
mod layer;
mod lstm;
mod memory;
mod options;
mod pack;
mod packed_sequence;
mod parallel;
mod plan;
mod recurrence;
pub mod reference;
mod rnn;
mod row_steps;
mod shape;
mod shared;
mod stack;
mod training;
mod view;
mod weights;

pub use activation::Activation;
pub use config::{GruConfig, GruParameterRanges, LstmConfig, ParameterRanges, Schedule, Split, Threads};
pub use direction::Direction;
pub use error::Error;
pub use gru::Gru;
pub use initialization::{Distribution, Initialization};
pub use lstm::{Forward, Lstm};
pub use memory::state::State;
pub use memory::tape::Tape;
pub use memory::workspace::Workspace;
pub use options::{Clip, Zoneout};
pub use packed_sequence::BatchSizes;
pub use plan::Plan;
pub use quadgate_kernels::{ActivationFunction, Activations, Coupling, Isa, Nonlinearity};
pub use rnn::{Rnn, RnnConfig, RnnParameterRanges, RnnWeights};
pub use row_steps::{Lengths, Padding};
pub use stack::{
    Arrangement, Directions, Dropout, LstmStack, StackBackward, StackConfig, StackForward, StackPlan,
    StackState, StackTape, StackWorkspace,
};
pub use training::{Backward, GradientMode, LstmGradients};
pub use view::{Matrix, MatrixMut, Sequence, SequenceMut, StepMask};
pub use weights::{
    Gate, GateOrder, GruGateOrder, GruWeights, JoinedTensors, LstmWeights, Orientation, SeparateTensors,
    WeightLayout,
};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
