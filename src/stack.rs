//! Layers on top of each other, in one direction or both.
//!
//! Each directed layer is an [`Lstm`](crate::Lstm), or what stands behind a layer of another cell, which writes its
//! part of the rows of the layer's output; what goes from layer to layer lies in buffers of the caller's workspace or
//! tape. A stack runs its layers, and the directions of a layer, one after the other or side by side, as its plan says.
//! Layers of one direction run side by side in the forward pass alone, and only if all rows run all steps.

pub(crate) mod backward;
pub(crate) mod config;
pub(crate) mod dropout;
pub(crate) mod forward;
pub(crate) mod kinds;
pub(crate) mod layers;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod state_rows;
pub(crate) mod step;
pub(crate) mod typed;

pub use backward::StackBackward;
pub use config::{Arrangement, Directions, StackConfig};
pub use dropout::Dropout;
pub use forward::StackForward;
pub use kinds::LayerConfig;
pub use memory::{StackTape, StackWorkspace};
pub use plan::StackPlan;
pub use step::StackState;
pub use typed::{GruStack, LstmStack, RnnStack, Stack};
