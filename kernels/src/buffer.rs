//! Memory for numbers that begins at a cache line.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

/// Bytes of a cache line, which is also the widest vector.
const LINE: usize = 64;

/// Numbers that begin at a cache line.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: a buffer owns its elements, like a `Vec<f32>`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` zeros; `None` if there is no such memory.
    pub fn zeros(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        if len == 0 {
            return Some(Self { start: NonNull::dangling(), len });
        }
        // SAFETY: the layout has bytes.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start: start.cast(), len })
    }

    /// The layout of so many elements; `None` if they could not be addressed.
    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<f32>(len).ok()?.align_to(LINE).ok()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match Self::layout(self.len) {
            // SAFETY: `zeros` allocated it with this layout.
            Some(layout) if self.len > 0 => unsafe { dealloc(self.start.as_ptr().cast(), layout) },
            _ => {}
        }
    }
}

impl Clone for Buffer {
    /// Another buffer of the same elements; as of a `Vec`, the process ends if there is no memory.
    fn clone(&self) -> Self {
        let Some(mut clone) = Self::zeros(self.len) else {
            handle_alloc_error(Self::layout(self.len).unwrap_or(Layout::new::<f32>()))
        };
        clone.copy_from_slice(self);
        clone
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        // SAFETY: `start` is that of `len` initialized elements, or aligned where there are none.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; they are borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
