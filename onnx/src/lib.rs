//! Reads the LSTM, GRU and RNN nodes of an ONNX file into layers of [`quadgate`], as exporters write them.
//!
//! ```no_run
//! use quadgate_onnx::{Call, Model};
//!
//! let model = Model::open("model.onnx".as_ref())?;
//! for node in model.nodes() {
//!     let (steps, batch) = (100, 1);
//!     let x = vec![0.0; steps * batch * node.input_size()];
//!     let output = node.run(&Call::new(&x, steps, batch))?;
//!     println!("{} {}: {} numbers", node.operator(), node.name(), output.y.len());
//! }
//! println!("not run: {:?}", model.other_nodes());
//! # Ok::<(), quadgate_onnx::Error>(())
//! ```
//!
//! | of a node | what becomes of it |
//! |---|---|
//! | W, R, B, P | packed; in the file or beside it (external data), as initializers, constants, or copies of these; or made of such by `Slice`, `Split`, `Concat`, `Transpose`, `Reshape`, `Squeeze`, `Unsqueeze` and `Cast`, as PyTorch brings gates into order |
//! | `direction`, `layout`, `input_forget`, `linear_before_reset`, `clip`, `hidden_size` | as the operator says; [`Clipping`] says whose clip an LSTM has |
//! | `activations`, `activation_alpha`, `activation_beta` | for each direction by itself; α and β that are left out are those of the standard |
//! | `initial_h`, `initial_c` | [`Initial`]: stored in the file, one number for any batch (`ConstantOfShape`, `Expand`), or to be given with each call |
//! | `sequence_lens` | [`RowLengths`]: stored in the file, or to be given with each call |
//!
//! ONNX Runtime answers otherwise in two corners: it takes 0 for an α or β of `Affine`, `ScaledTanh` or `ThresholdedRelu`
//! that is left out, and the last states of a row of length 0 are zero there, while here such a row keeps its initial ones.
//!
//! What lies between these nodes is not run, but named. A file without any says what it has instead. Tensors of type
//! `FLOAT16` and `BFLOAT16` are widened, and what is computed is `FLOAT`; those of other types, such as `DOUBLE`, are
//! refused.
//!
//! Sources: operators [LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html),
//! [GRU](https://onnx.ai/onnx/operators/onnx__GRU.html) and [RNN](https://onnx.ai/onnx/operators/onnx__RNN.html).

#![forbid(unsafe_code)]

mod attributes;
mod call;
mod layer;
mod model;
mod moved;
mod node;
mod operator;
mod tensors;

pub use call::{Call, Output};
pub use layer::{Clipping, Layer};
pub use model::Model;
pub use node::{Initial, OnnxNode, RowLengths};
pub use operator::Operator;

use std::fmt;

/// Why a file or a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same, with what it is about.
    pub(crate) fn of(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<quadgate::Error> for Error {
    fn from(error: quadgate::Error) -> Self {
        Self(error.to_string())
    }
}
