//! Errors as tests expect them.

use quadgate::{Error, Isa};
use std::fmt::Debug;

/// Declares [`Refused`] with these variants of [`Error`] and their fields.
macro_rules! refused {
    ($($variant:ident { $($field:ident: $type:ty),* })*) => {
        /// An error as a test expects it, since only the crate itself can make an [`Error`]. Of an error, the fields
        /// that are named here count.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Refused {
            $($variant { $($field: $type),* }),*
        }

        impl From<Error> for Refused {
            fn from(error: Error) -> Self {
                match error {
                    $(Error::$variant { $($field),*, .. } => Refused::$variant { $($field),* },)*
                    other => panic!("no test expects {other:?}"),
                }
            }
        }
    };
}

refused! {
    Zero { argument: &'static str }
    Dimension { argument: &'static str, dimension: &'static str, expected: usize, found: usize }
    Length { argument: &'static str, expected: usize, found: usize }
    TooShort { argument: &'static str, expected: usize, found: usize }
    Overlap { argument: &'static str, expected: usize, found: [usize; 2] }
    Overflow { argument: &'static str }
    OutOfMemory { argument: &'static str, bytes: usize }
    Count { argument: &'static str, each: &'static str, expected: usize, found: usize }
    DirectedLayer { index: usize, error: Box<Error> }
    Missing { argument: &'static str }
    Unexpected { argument: &'static str }
    Unsupported { argument: &'static str, because: &'static str }
    Value { argument: &'static str, expected: &'static str, found: f32 }
    GateOrder { missing: &'static str }
    Workspace { argument: &'static str, expected: [usize; 2], found: [usize; 2] }
    NotForTraining { argument: &'static str }
    NothingRecorded { argument: &'static str }
    NoSuchRow { argument: &'static str, row: usize, rows: usize }
    WeightsReplaced { argument: &'static str }
    StoredWeights { argument: &'static str, property: &'static str, expected: String, found: String }
    OtherWeights { argument: &'static str }
    NoSuchEntry { argument: &'static str, step: usize, row: usize, entries: usize, found: i128 }
    RowLength { argument: &'static str, row: usize, expected: usize, found: usize }
    NegativeLength { argument: &'static str, row: usize }
    Exclusive { argument: &'static str, other: &'static str }
    NotRecorded { argument: &'static str }
    UnsupportedIsa { expected: Isa, found: Isa }
    UnknownIsa { found: String }
}

impl PartialEq<Refused> for Error {
    fn eq(&self, expected: &Refused) -> bool {
        let found = Refused::from(self.clone());
        found == *expected
    }
}

/// Fails unless a call was refused with such an error.
#[track_caller]
pub fn assert_refused<T: Debug>(result: Result<T, Error>, expected: Refused) {
    assert_eq!(result.unwrap_err(), expected);
}
