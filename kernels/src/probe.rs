//! Loops that do nothing useful as fast as the machine can: the limits that benchmarks are held against.

use crate::simd::{Operation, Simd};

/// Independent chains of [`FmaLoop`]: enough for two pipes with a latency of four or five cycles.
const CHAINS: usize = 12;

/// Multiply-adds on registers alone.
pub(crate) struct FmaLoop {
    /// Times that each chain is advanced.
    pub(crate) iterations: usize,
    /// Any value: keeps the compiler from knowing the result.
    pub(crate) seed: f32,
}

impl<S: Simd<Element = f32>> Operation<S> for FmaLoop {
    /// Floating point operations done, and a value that depends on all of them.
    type Output = (u64, f32);

    #[inline(always)]
    fn run(self, s: S) -> (u64, f32) {
        let (factor, term) = (s.splat(self.seed), s.splat(0.5 * self.seed));
        let mut sums = [s.splat(self.seed); CHAINS];
        for chain in 0..CHAINS {
            sums[chain] = s.splat(self.seed + chain as f32);
        }
        for _ in 0..self.iterations {
            for chain in 0..CHAINS {
                sums[chain] = s.mul_add(sums[chain], factor, term);
            }
        }
        let mut total = sums[0];
        for chain in 1..CHAINS {
            total = s.add(total, sums[chain]);
        }
        let mut lanes = [0.0; crate::simd::MAX_LANES];
        // SAFETY: the buffer has at least LANES elements.
        unsafe { s.store(lanes.as_mut_ptr(), total) };
        let flops = 2 * (self.iterations as u64) * (CHAINS * S::LANES) as u64;
        (flops, lanes[..S::LANES].iter().sum())
    }
}

/// Reads a slice from end to end.
pub(crate) struct Read<'a>(pub(crate) &'a [f32]);

impl<S: Simd<Element = f32>> Operation<S> for Read<'_> {
    /// A value that depends on every element but the last few.
    type Output = f32;

    #[inline(always)]
    fn run(self, s: S) -> f32 {
        const STREAMS: usize = 8;
        let mut sums = [s.splat(0.0); STREAMS];
        for chunk in self.0.chunks_exact(STREAMS * S::LANES) {
            for stream in 0..STREAMS {
                // SAFETY: a chunk has STREAMS · LANES elements.
                let loaded = unsafe { s.load(chunk.as_ptr().add(stream * S::LANES)) };
                sums[stream] = s.add(sums[stream], loaded);
            }
        }
        let mut total = sums[0];
        for stream in 1..STREAMS {
            total = s.add(total, sums[stream]);
        }
        let mut lanes = [0.0; crate::simd::MAX_LANES];
        // SAFETY: the buffer has at least LANES elements.
        unsafe { s.store(lanes.as_mut_ptr(), total) };
        lanes[..S::LANES].iter().sum()
    }
}
