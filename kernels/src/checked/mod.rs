//! What may be asked of the kernels, one file a family. These calls are safe: the views that they take check their
//! bounds when they are made, and each call asserts that the shapes fit each other before the first pointer is formed.

pub(crate) mod gates;
pub(crate) mod gemm;
pub(crate) mod gru;
pub(crate) mod gru_options;
pub(crate) mod gru_reset_before;
pub(crate) mod lstm;
pub(crate) mod lstm_options;
mod pack;
pub(crate) mod rnn;
pub(crate) mod rnn_options;
pub(crate) mod row;
mod slices;
