//! Ctrl-C and SIGTERM: noted here, looked for between two turns, so that everything is cleaned up on the way out.

use crate::error::{Context, Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Begins to note signals.
pub fn watch() -> Result<()> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")
}

/// An error if somebody asked to stop.
pub fn check() -> Result<()> {
    if REQUESTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}
