//! SIMD kernels of the LSTM crate [`quadgate`](https://docs.rs/quadgate): all of its `unsafe` code, and nothing else.
//!
//! Library users want `quadgate`; this crate knows nothing of layers, plans or pools. It offers, for each
//! instruction set in [`Isa`], one table of [`Kernels`]:
//!
//! - [`Kernels::lstm_step`]: a fused gate GEMM and cell update for rows of one time step,
//! - [`Kernels::lstm_backward_step`]: its backward pass, fused with the product that carries gradients back in time,
//! - [`Kernels::general_cell`] and [`Kernels::general_cell_backward`]: the cell with the options of the LSTM family,
//! - [`Kernels::product`]: the GEMM without a cell, for input products hoisted out of the recurrence and for gradients
//!   of inputs,
//! - [`Kernels::column_product`] and [`Kernels::column_sums`]: gradients of weights and biases,
//! - [`Kernels::sigmoid`] and [`Kernels::tanh`] over slices,
//! - [`Kernels::fma_loop`] and [`Kernels::read`], which measure what the machine can do.
//!
//! [`Team`] lets several threads share the columns of what they write, step by step; [`Wavefront`] lets them lead blocks
//! through stages.
//!
//! Every algorithm is written once, generic over the crate's small `Simd` trait; an instruction set is one
//! implementation of that trait plus one line in the table. The functions here are safe: the views that they take
//! ([`Rows`], [`RowsMut`], [`SequenceMut`], [`Packed`]) check their bounds when they are made, and the kernels
//! `assert!` that the shapes fit each other before the first pointer is formed.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod activation;
mod cell;
mod cell_backward;
mod column_sums;
mod function;
mod general_cell;
mod general_cell_backward;
mod isa;
mod panel;
mod parked;
mod portable;
mod probe;
mod rearrange;
mod reordered;
mod simd;
mod store;
mod table;
mod threads;
mod tile;
mod views;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use function::ActivationFunction;
pub use general_cell::{Activations, CellOptions, Coupling, Normalisation};
pub use isa::Isa;
pub use panel::{Packed, PanelLayout};
pub use rearrange::rearrange;
pub use reordered::{Permutation, ReorderedMut, RowOrder};
pub use table::{
    CellFamily, ColumnProduct, GeneralCell, GeneralCellBackward, Kernels, LstmBackwardStep, LstmStep, Order,
    Product, Start, Tape, Term,
};
pub use threads::{BlockOrder, Progress, Shared, Slots, Stepped, Team, Turn, Visit, VisitParts, Wavefront};
pub use tile::PART_BYTES;
pub use views::{Rows, RowsMut, SequenceMut, ViewError};
