//! How threads share steps.
//!
//! ```text
//! lockstep     all members at the same step, each at its own columns
//! wavefront    each member at a stage of its own, all at different blocks
//! progress     how far each of them has come, and how to wait for it
//! ```

mod lockstep;
mod progress;
mod wavefront;

pub use lockstep::{Shared, Slots, Stepped, Team, Turn};
pub use progress::Progress;
pub use wavefront::{BlockOrder, Visit, VisitParts, Wavefront};
