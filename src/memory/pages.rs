//! Memory for weights: on Linux in large pages, if there are many.
//!
//! A step of a large layer reads all of its weights, and in pages of 4 KiB it waits for the translation of addresses. Linux
//! has pages of 2 MiB for a mapping that asks for them. Other buffers do not: their rows are often a power of two apart,
//! and it helps that the caches see each small page elsewhere.

use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use std::ops::{Deref, DerefMut};

/// A buffer of zeros for weights, which begins at a cache line.
#[derive(Debug)]
pub(crate) enum Pages {
    Small(Buffer),
    #[cfg(target_os = "linux")]
    Large(large::Pages),
}

impl Pages {
    /// A buffer of `len` elements; an error where its bytes could not be addressed.
    pub(crate) fn zeros(argument: &'static str, len: Option<usize>) -> Result<Self, Error> {
        #[cfg(target_os = "linux")]
        if let Some(pages) = len.and_then(large::Pages::new) {
            return Ok(Self::Large(pages));
        }
        Ok(Self::Small(zeros(argument, len)?))
    }
}

impl Deref for Pages {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Small(buffer) => buffer,
            #[cfg(target_os = "linux")]
            Self::Large(pages) => pages.elements(),
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Small(buffer) => buffer,
            #[cfg(target_os = "linux")]
            Self::Large(pages) => pages.elements_mut(),
        }
    }
}

#[cfg(target_os = "linux")]
mod large {
    use memmap2::{Advice, MmapMut};
    use std::ops::Range;

    /// Bytes from which a buffer has large pages. Measured with AVX-512 at one thread and X = H = 1024, 16 MiB of R, against
    /// small pages: 6 % of a forward pass at batch 1, 1.5 % at batch 128 and 2 % of its training step. With 4 MiB of R: 0 to 1 %
    /// of them, but a layer is made in 1.0 rather than 3.5 ms, most of which were page faults (on an Emerald Rapids).
    const LARGE: usize = 4 << 20;

    /// Bytes of a large page.
    const PAGE: usize = 2 << 20;

    /// A mapping of zeros, of which the bytes of `range` begin at a large page.
    #[derive(Debug)]
    pub(crate) struct Pages {
        map: MmapMut,
        range: Range<usize>,
    }

    impl Pages {
        /// `None` if that is not large, or the system gives no such memory.
        pub(super) fn new(len: usize) -> Option<Self> {
            let bytes = len.checked_mul(size_of::<f32>()).filter(|&bytes| bytes >= LARGE)?;
            let map = MmapMut::map_anon(bytes.checked_add(PAGE)?).ok()?;
            map.advise(Advice::HugePage).ok()?;
            let start = map.as_ptr().align_offset(PAGE);
            (start <= PAGE).then(|| Self { map, range: start..start + bytes })
        }

        pub(super) fn elements(&self) -> &[f32] {
            bytemuck::cast_slice(&self.map[self.range.clone()])
        }

        pub(super) fn elements_mut(&mut self) -> &mut [f32] {
            bytemuck::cast_slice_mut(&mut self.map[self.range.clone()])
        }
    }
}
