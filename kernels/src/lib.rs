//! SIMD kernels of the LSTM crate [`quadgate`](https://docs.rs/quadgate): all of its `unsafe` code, and nothing else.
//!
//! Library users want `quadgate`; this crate knows nothing of layers, plans or pools. It offers, for each
//! instruction set in [`Isa`], one table of [`Kernels`]:
//!
//! - [`Kernels::lstm_step`]: a fused gate GEMM and cell update for rows of one time step,
//! - [`Kernels::lstm_row_steps`] and [`Kernels::gru_row_steps`]: all steps of one row of a narrow layer,
//! - [`Kernels::lstm_backward_step`]: its backward pass, fused with the product that carries gradients back in time,
//! - [`Kernels::lstm_options_step`] and [`Kernels::lstm_options_backward_step`]: the cell with the options of the LSTM
//!   family,
//! - [`Kernels::gru_step`] and [`Kernels::gru_backward_step`]: the same of the gated recurrent unit,
//! - [`Kernels::gru_gates_step`] and [`Kernels::gru_candidate_step`], [`Kernels::gru_candidate_backward_step`] and
//!   [`Kernels::gru_gates_backward_step`]: the two parts of a step of that with its reset gate before the product,
//! - [`Kernels::gru_options_step`] and [`Kernels::gru_options_backward_step`]: of either with options,
//! - [`Kernels::rnn_step`] and [`Kernels::rnn_backward_step`]: of the plain recurrent cell,
//! - [`Kernels::rnn_options_step`] and [`Kernels::rnn_options_backward_step`]: of that with options,
//! - [`Kernels::product`]: the GEMM without a cell, for input products hoisted out of the recurrence and for gradients
//!   of inputs,
//! - [`Kernels::column_product`] and [`Kernels::column_sums`]: gradients of weights and biases,
//! - [`Kernels::rearrange`], which packs weights,
//! - [`Kernels::sigmoid`] and [`Kernels::tanh`] over slices,
//! - [`Kernels::fma_loop`] and [`Kernels::read`], which measure what the machine can do.
//!
//! [`Team`] lets several threads share the columns of what they write, step by step; [`Wavefront`] lets them lead
//! blocks through stages.
//!
//! Every algorithm is written once, generic over the crate's small `Simd` trait; an instruction set is one
//! implementation of that trait plus one line in the table. The functions here are safe: the views that they take
//! ([`Rows`], [`RowsMut`], [`SequenceMut`], [`Packed`]) check their bounds when they are made, and the kernels
//! `assert!` that the shapes fit each other before the first pointer is formed.
//!
//! # Panics
//!
//! Making a view of a slice that is too short is an error. All else that does not fit panics: [`Kernels`] called with
//! views of different shapes, a row or column that a view does not have, a packed matrix of another layout. `quadgate`
//! checks the arguments of its callers before it comes here, and returns errors; who calls these functions checks for
//! himself.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod cells;
mod checked;
mod dispatch;
mod gemm;
mod probe;
mod reordered;
mod simd;
mod small;
mod threads;
mod views;

pub use cells::function::ActivationFunction;
pub use cells::gates::Normalization;
pub use cells::gru_options::GruActivations;
pub use cells::lstm_options::{Activations, CellOptions, Coupling};
pub use cells::rnn::Nonlinearity;
pub use checked::gates::GateOptions;
pub use checked::gemm::{ColumnProduct, Order, Product, Start, Term};
pub use checked::gru::{GruBackwardStep, GruStep};
pub use checked::gru_options::{GruOptions, GruOptionsBackwardStep, GruOptionsStep, GruSums};
pub use checked::gru_reset_before::{GruHiddenGradient, GruResetBeforeBackwardStep, GruResetBeforeStep};
pub use checked::lstm::{LstmBackwardStep, LstmStep, Tape};
pub use checked::lstm_options::{LstmOptions, LstmOptionsBackwardStep, LstmOptionsStep};
pub use checked::rnn::{RnnBackwardStep, RnnStep};
pub use checked::rnn_options::{RnnOptionsBackwardStep, RnnOptionsStep};
pub use checked::row::NarrowRow;
pub use dispatch::Kernels;
pub use gemm::panel::{Blank, PANEL_VECTORS, Packed, PanelLayout};
pub use gemm::sweep::PART_BYTES;
pub use reordered::{Permutation, ReorderedMut, RowOrder};
pub use simd::cpu::Caches;
pub use simd::isa::Isa;
pub use small::without_small;
pub use threads::{BlockOrder, Progress, Shared, Slots, Stepped, Team, Turn, Visit, VisitParts, Wavefront};
pub use views::{Rows, RowsMut, SequenceMut, ViewError};
