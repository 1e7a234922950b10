//! Numbers that are too small to compute with: below 2⁻⁶³, but not zero.
//!
//! Their products may be denormal numbers, which many CPUs compute up to a hundred times slower. Cells drop them; here is how weights
//! and inputs are cleared of them.

use crate::simd::{MAX_LANES, Operation, Simd};

/// 2⁻⁶³
const SMALLEST: f32 = f32::from_bits((127 - 63) << 23);

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
        let chunks = self.0.chunks_exact(S::LANES);
        let rest = chunks.remainder();
        let mut changes = s.zero();
        for chunk in chunks {
            // SAFETY: a chunk has LANES elements.
            let x = unsafe { s.load(chunk.as_ptr()) };
            // Not the difference, which is NaN of what is infinite.
            changes = s.or(changes, s.xor(x, s.flush(x)));
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the buffer has at least LANES elements.
        unsafe { s.store(lanes.as_mut_ptr(), changes) };
        // −0 is none.
        let is_changed = |x: &f32| x.to_bits() << 1 != 0;
        lanes.iter().any(is_changed) || rest.iter().any(|&x| without_small(x) != x && x != 0.0 && !x.is_nan())
    }
}
