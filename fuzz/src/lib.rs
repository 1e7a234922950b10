//! What the fuzz targets share.

pub mod call;
pub mod layer;
pub mod layout;
pub mod numbers;
pub mod options;
pub mod oracle;
pub mod rows;
pub mod way;
pub mod written;

use libfuzzer_sys::arbitrary::{self, Unstructured};

/// One time in sixteen.
///
/// When the fuzzer's bytes run out, every draw is the start of its range, so that comes first which is plain.
pub fn rarely(u: &mut Unstructured<'_>) -> arbitrary::Result<bool> {
    Ok(u.int_in_range(0..=15)? == 15)
}
