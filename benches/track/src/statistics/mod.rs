//! What numbers say: tests by flipping signs, correction for many tests, quantiles, a bootstrap.

pub mod bootstrap;
pub mod holm;
pub mod quantile;
pub mod signed_rank;
