//! Through time: the forward and the backward pass of some rows, whichever cell it is.

pub(crate) mod backward;
pub(crate) mod forward;
pub(crate) mod given;
pub(crate) mod ragged;
pub(crate) mod ragged_backward;
pub(crate) mod source;
