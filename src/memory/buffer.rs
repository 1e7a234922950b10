//! Buffers, whose memory may not be had.

use crate::error::Error;
#[cfg(target_os = "linux")]
use crate::memory::pages::Pages;
use aligned_vec::{AVec, ConstAlign};
use std::iter;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, which is also the widest vector.
pub(crate) const LINE: usize = 64;

/// A buffer that begins at a cache line.
#[derive(Debug)]
pub(crate) enum Buffer {
    Small(AVec<f32, ConstAlign<LINE>>),
    /// In large pages.
    #[cfg(target_os = "linux")]
    Large(Pages),
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        match self {
            Self::Small(elements) => elements,
            #[cfg(target_os = "linux")]
            Self::Large(pages) => pages.elements(),
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Small(elements) => elements,
            #[cfg(target_os = "linux")]
            Self::Large(pages) => pages.elements_mut(),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Small(AVec::new(LINE))
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        #[cfg(target_os = "linux")]
        if let Some(mut pages) = Pages::new(self.len()) {
            pages.elements_mut().copy_from_slice(self);
            return Self::Large(pages);
        }
        Self::Small(AVec::from_slice(LINE, self))
    }
}

/// A buffer of zeros; an error where its bytes could not be addressed or are not there.
pub(crate) fn zeros(argument: &'static str, len: Option<usize>) -> Result<Buffer, Error> {
    let len = len.filter(|&len| len <= isize::MAX as usize / size_of::<f32>() - LINE);
    let len = len.ok_or(Error::Overflow { argument })?;
    #[cfg(target_os = "linux")]
    if let Some(pages) = Pages::new(len) {
        return Ok(Buffer::Large(pages));
    }
    // An aligned buffer would end the process where there is no memory for it, so it is asked for as a list first.
    drop(reserved::<f32>(argument, len + LINE)?);
    Ok(Buffer::Small(AVec::from_iter(LINE, iter::repeat_n(0.0, len))))
}

/// A list of `len` times the same, with the same errors.
pub(crate) fn filled<T: Clone>(argument: &'static str, len: usize, value: T) -> Result<Vec<T>, Error> {
    let mut list = reserved(argument, len)?;
    list.resize(len, value);
    Ok(list)
}

/// An empty list with room for `len` elements.
fn reserved<T>(argument: &'static str, len: usize) -> Result<Vec<T>, Error> {
    let bytes = len.checked_mul(size_of::<T>()).ok_or(Error::Overflow { argument })?;
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { argument, bytes })?;
    Ok(list)
}
