//! Cells, one file for each and direction, and the functions that they are made of.

pub(crate) mod activation;
pub(crate) mod function;
pub(crate) mod gates;
pub(crate) mod gru;
pub(crate) mod gru_backward;
pub(crate) mod gru_options;
pub(crate) mod gru_options_backward;
pub(crate) mod gru_reset_before;
pub(crate) mod gru_reset_before_backward;
pub(crate) mod lines;
pub(crate) mod lstm;
pub(crate) mod lstm_backward;
pub(crate) mod lstm_normalized;
pub(crate) mod lstm_normalized_backward;
pub(crate) mod lstm_options;
pub(crate) mod lstm_options_backward;
pub(crate) mod rnn;
pub(crate) mod rnn_backward;
pub(crate) mod rnn_options;
pub(crate) mod rnn_options_backward;
pub(crate) mod row;
