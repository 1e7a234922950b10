//! All tests that can share a process, a module for each subject.
//!
//! `cargo test --release --test suite lengths::` runs one of them.

mod activation;
mod adapters;
mod arguments;
mod cell_goldens;
mod cell_output;
mod cells;
mod common;
mod denoise;
mod determinism;
mod direction;
mod dropout;
mod errors;
mod family_goldens;
mod given_sums;
mod golden;
mod gradients;
mod gru;
mod initialization;
mod lengths;
mod load_files;
mod no_rows;
mod optional_arguments;
mod options;
mod oracle;
// Plans of more than one thread.
#[cfg(feature = "rayon")]
mod plan;
mod reference;
mod rnn;
#[cfg(feature = "serde")]
mod serialized;
mod silero;
mod small_numbers;
mod stack;
mod stack_cells;
mod stack_layers;
mod state_rows;
mod stored;
mod weights;
