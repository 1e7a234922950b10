//! Buffers of numbers that begin at a cache line.

use crate::error::Error;
use aligned_vec::{AVec, ConstAlign};

/// A buffer that begins at a cache line, which is also the widest vector.
pub(crate) type Buffer = AVec<f32, ConstAlign<64>>;

/// A buffer of zeros; an error where its bytes could not be addressed.
pub(crate) fn zeros(argument: &'static str, len: Option<usize>) -> Result<Buffer, Error> {
    let len = len.filter(|&len| len <= isize::MAX as usize / size_of::<f32>() - 64);
    let len = len.ok_or(Error::Overflow { argument })?;
    Ok(Buffer::from_iter(64, std::iter::repeat_n(0.0, len)))
}
