//! Networks learn: examples that train, and what they have learned.
//!
//! They spend their time in loops of their own, hence a test of quadgate itself, optimized as it is.

mod attention;
#[path = "../suite/common/short.rs"]
mod short;
mod train_digits;
