//! Buffers, whose memory may not be had.

use crate::error::Error;

/// A buffer that begins at a cache line, which is also the widest vector.
pub(crate) use quadgate_kernels::Buffer;

/// A buffer of zeros; an error where its bytes could not be addressed or are not there.
pub(crate) fn zeros(argument: &'static str, len: Option<usize>) -> Result<Buffer, Error> {
    let len = len.filter(|&len| len <= isize::MAX as usize / size_of::<f32>() - 64);
    let len = len.ok_or(Error::Overflow { argument })?;
    Buffer::zeros(len).ok_or(Error::OutOfMemory { argument, bytes: len * size_of::<f32>() })
}

/// A list of `len` times the same, with the same errors.
pub(crate) fn filled<T: Clone>(argument: &'static str, len: usize, value: T) -> Result<Vec<T>, Error> {
    let bytes = len.checked_mul(size_of::<T>()).ok_or(Error::Overflow { argument })?;
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { argument, bytes })?;
    list.resize(len, value);
    Ok(list)
}
