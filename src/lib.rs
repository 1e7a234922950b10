//! LSTM kernels for CPUs: fast at every shape, at full f32 accuracy, with the same bits on every instruction set
//! that has a fused multiply-add.
//!
//! One idea carries the crate. A tile of the gate matrix product holds i, f, g and o of the same hidden units. When its
//! inner loop ends, all four gates of those units are in registers, so bias, sigmoid, tanh and the cell update are the
//! tile's epilogue. A step of inference stores c and h, and nothing else.
//!
//! | take | for |
//! |---|---|
//! | [`Lstm`] | one LSTM layer, with any option of the family |
//! | [`LstmStack`] | several layers, or both directions: PyTorch's `num_layers` and `bidirectional`, Keras' `Bidirectional` |
//! | [`Gru`], [`GruStack`] | one layer of gated recurrent units, several |
//! | [`Rnn`], [`RnnStack`] | one plain recurrent layer, several |
//! | [`Activation`] | sigmoid and tanh over slices, without a layer |
//!
//! The life of a layer:
//!
//! ```text
//! LstmConfig ─┐            ┌─ workspace(B) ──► forward(&mut workspace, Forward::new(x).output(h))    whole sequences
//!             ├─► Lstm ────┼─ state(B) ──────► step(&mut state, x_t), state.hidden(row)             streams
//! LstmWeights ┘   ▲        └─ tape(T, B) ────► forward(… .tape(&mut tape)), backward(…)            training
//!                 └────────── set_weights ◄─── your optimizer ◄─── gradients ◄──────┘
//! ```
//!
//! 1. A configuration and weights say what the layer is; weights name their framework, and so their gate order.
//! 2. `new` chooses the kernels of the CPU (or of `QUADGATE_ISA`) and packs the weights, once. The layer is immutable
//!    but for `set_weights`, may be shared by threads, and its clones share the packed weights.
//! 3. Memory for calls is made by the layer and owned by the caller: a [`Workspace`], a [`State`] for streams, a
//!    [`Tape`] for training ([`StackWorkspace`], [`StackState`], [`StackTape`] of a stack). Calls allocate nothing.
//!    Characters and words are read by index in a table that the layer makes: [`Lstm::table`].
//! 4. A call is a builder, [`Forward`] or [`Backward`], over the caller's slices in any strides: [`Sequence`],
//!    [`Matrix`]. Whatever is not asked for is not written. Bad arguments get an [`Error`] that names them, before
//!    anything is written.
//!
//! The README has a program each for a bidirectional stack of PyTorch on rows of different lengths, audio frame by
//! frame, training, and saving and restoring; and a table of other libraries' names.
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
//! [`Threads::Auto`] shares the work of large calls over the current rayon pool: that of `ThreadPool::install`, or
//! rayon's global one, which such a call starts if nobody has. With [`Threads::Serial`] the crate never calls rayon.
//!
//! rayon is a feature of the crate, on by default. Without it (`default-features = false`) every call runs on the
//! caller's thread, whatever [`Threads`] says, and nothing of `std::thread` is used: for WebAssembly, or an audio
//! thread.
//!
//! # The oracle
//!
//! With the feature `reference`, off by default, the crate has a module of that name: every cell as its equations say
//! it, in f32 or f64, with gradients by hand. The crate's own tests compare with it, and so may yours:
//! `quadgate = { version = "0.1", features = ["reference"] }` in `[dev-dependencies]`.
//!
//! # Data
//!
//! With the feature `serde`, off by default, configurations are `Serialize` and `Deserialize`: [`LstmConfig`],
//! [`GruConfig`], [`RnnConfig`] and [`StackConfig`], checked when they are read. Weights are a list of numbers:
//! [`Lstm::read_parameters`], [`LstmWeights::from_parameters`].
//!
//! # Environment
//!
//! `QUADGATE_ISA` names the instruction set of layers whose configuration names none: `portable`, `avx2`, `avx512` or
//! `neon`, in any case of letters; empty means unset. It is read when a layer is made, and nothing else is.
//!
//! # Accuracy
//!
//! Sigmoid and tanh are within 2 ULP over all of f32; sums are in f32, in chains of 256. States, gates and gradients
//! below 2⁻⁶³ become zero, so that decaying states never turn denormal and slow.

#![forbid(unsafe_code)]

mod activation;
mod cell;
mod config;
mod direction;
mod environment;
mod error;
mod fingerprint;
mod given;
mod gru;
mod indices;
mod initialization;
mod integers;
mod layer;
mod lstm;
mod memory;
mod options;
mod pack;
mod packed_sequence;
mod parallel;
mod plan;
mod recurrence;
#[cfg(feature = "reference")]
pub mod reference;
mod rnn;
mod row_steps;
mod shape;
mod shared;
mod stack;
mod stored;
mod table;
mod training;
mod view;
mod weights;

pub use activation::Activation;
pub use cell::kind::ResetGate;
pub use config::{
    GruConfig, GruParameterRanges, LstmConfig, ParameterRanges, RnnConfig, RnnParameterRanges, Schedule,
    Split, Threads,
};
pub use direction::Direction;
pub use error::Error;
pub use gru::Gru;
pub use indices::{Indices, StepIndices};
pub use initialization::{Distribution, Initialization};
pub use lstm::{Forward, Lstm};
pub use memory::state::State;
pub use memory::tape::Tape;
pub use memory::workspace::Workspace;
pub use options::{Clip, Zoneout};
pub use packed_sequence::BatchSizes;
pub use plan::Plan;
pub use quadgate_kernels::{ActivationFunction, Activations, Coupling, GruActivations, Isa, Nonlinearity};
pub use rnn::Rnn;
pub use row_steps::{Lengths, Padding};
pub use stack::{
    Arrangement, Directions, Dropout, GruStack, LayerConfig, LstmStack, RnnStack, Stack, StackBackward,
    StackConfig, StackForward, StackPlan, StackState, StackTape, StackWorkspace,
};
pub use table::InputTable;
pub use training::{Backward, GradientMode, LstmGradients};
pub use view::{Matrix, MatrixMut, Sequence, SequenceMut, StepMask};
pub use weights::{
    Gate, GateOrder, GruGate, GruGateOrder, GruTensors, GruWeights, JoinedTensors, LstmWeights, Orientation,
    RnnWeights, SeparateTensors, WeightLayout,
};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
