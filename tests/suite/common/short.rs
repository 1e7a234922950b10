//! Whether tests shall be short.

/// Whether tests that sweep or train shall do so for a shorter time: `QUADGATE_SHORT_TESTS`, for emulated runs and for
/// those that repeat what another run has done.
pub(crate) fn is_short() -> bool {
    let is_short = std::env::var_os("QUADGATE_SHORT_TESTS").is_some();
    if is_short {
        println!("shorter, as QUADGATE_SHORT_TESTS demands");
    }
    is_short
}
