//! Products: the packed format, the K loops, and the sweep that leads them over rows, panels and parts of K. Nothing
//! here knows of gates.

pub(crate) mod column_sums;
pub(crate) mod micro;
pub(crate) mod pack;
pub(crate) mod panel;
pub(crate) mod store;
pub(crate) mod sweep;
