//! Numbers that are too small to compute with: below 2⁻⁶³, but not zero.
//!
//! Their products may be denormal numbers, which many CPUs compute up to a hundred times slower. Cells drop them; here
//! is how weights and inputs are cleared of them.

use crate::simd::{MAX_LANES, Operation, SMALLEST, Simd};

/// Zero instead of what is too small; NaN stays NaN.
#[inline(always)]
pub fn without_small(x: f32) -> f32 {
    if x.abs() < SMALLEST { 0.0 } else { x }
}

/// Whether any number is too small.
pub(crate) struct HasSmall<'a>(pub(crate) &'a [f32]);

impl<S: Simd<Element = f32>> Operation<S> for HasSmall<'_> {
    type Output = bool;

    /// A small number is one that `flush` changes.
    #[inline(always)]
    fn run(self, s: S) -> bool {
        let mut changes = s.zero();
        for chunk in self.0.chunks(S::LANES) {
            // SAFETY: a chunk has at most LANES elements.
            let x = unsafe { s.load_first(chunk.as_ptr(), chunk.len()) };
            // Not the difference, which is NaN of what is infinite.
            changes = s.or(changes, s.xor(x, s.flush(x)));
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the buffer has at least LANES elements.
        unsafe { s.store(lanes.as_mut_ptr(), changes) };
        // −0 is none.
        lanes.iter().any(|x| x.to_bits() << 1 != 0)
    }
}
