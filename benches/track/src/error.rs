//! Why a command ended without a result.

use std::fmt::Display;

/// A sentence on what went wrong, or that somebody asked to stop.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// Names the thing, what was expected and what was found.
    Message(String),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Error>;

/// An error with this sentence.
pub fn error(message: impl Into<String>) -> Error {
    Error::Message(message.into())
}

/// Adds to an error of another kind what was tried.
pub trait Context<T> {
    /// `what: error`.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Error::Message(format!("{what}: {error}")))
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}
