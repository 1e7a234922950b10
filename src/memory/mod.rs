//! Memory that the caller owns and lends, and views of it.

pub(crate) mod buffer;
pub(crate) mod gradients;
pub(crate) mod pages;
pub(crate) mod state;
pub(crate) mod states;
pub(crate) mod tape;
pub(crate) mod tools;
pub(crate) mod views;
pub(crate) mod workspace;
