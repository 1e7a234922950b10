//! NEON: pulp's token.

use crate::simd::simd_over_pulp;

simd_over_pulp!(
    /// Advanced SIMD. 32 registers: 6 rows × 4 gates, 4 weights and 1 input.
    Neon(pulp::aarch64::Neon), registers: 32, tile_rows: 6, deferring_registers: 30, lanes: four
);

/// NEON has no masks and permutes bytes alone: lanes go through the stack.
mod four {
    use crate::simd::HIGH_EXPONENT;
    use core::arch::aarch64::{
        float32x4_t, int32x4_t, vandq_s32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vreinterpretq_f64_f32,
        vreinterpretq_s32_u32, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64, vtstq_s32,
    };
    use core::mem::transmute;
    use pulp::f32x4;

    /// # Safety
    /// - The CPU has Advanced SIMD.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn flush(v: f32x4) -> f32x4 {
        // SAFETY: the CPU has the features; both types are four f32.
        unsafe {
            let v = transmute::<f32x4, int32x4_t>(v);
            let is_large = vreinterpretq_s32_u32(vtstq_s32(v, vdupq_n_s32(HIGH_EXPONENT)));
            transmute(vandq_s32(v, is_large))
        }
    }

    /// # Safety
    /// - The CPU has Advanced SIMD.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn reciprocal(a: f32x4) -> f32x4 {
        // SAFETY: the CPU has the features; both types are four f32.
        unsafe { transmute(vdivq_f32(vdupq_n_f32(1.0), transmute::<f32x4, float32x4_t>(a))) }
    }

    /// # Safety
    /// - `count <= 4`, and `from` is valid for reads of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load(from: *const f32, count: usize) -> f32x4 {
        let mut lanes = [0.0f32; 4];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            *to = unsafe { *from.add(lane) };
        }
        // SAFETY: both types are four f32.
        unsafe { transmute(lanes) }
    }

    /// # Safety
    /// - `count <= 4`, and `to` is valid for writes of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn store(to: *mut f32, value: f32x4, count: usize) {
        // SAFETY: both types are four f32.
        let lanes: [f32; 4] = unsafe { transmute(value) };
        for (lane, &value) in lanes.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            unsafe { *to.add(lane) = value };
        }
    }

    /// # Safety
    /// - `to` is valid for writes of four elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn stream(to: *mut f32, value: f32x4) {
        // SAFETY: the caller vouches for the elements; the type has the alignment of its element.
        unsafe { *to.cast() = value }
    }

    /// # Safety
    /// - None: it is unsafe only because those of other instruction sets are.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn concat_shift(low: f32x4, high: f32x4, from: usize) -> f32x4 {
        let lanes = [low, high, low];
        // SAFETY: there are twelve elements, of which `from % 8` skips at most seven; the type is four f32.
        unsafe { lanes.as_ptr().cast::<f32>().add(from % 8).cast::<f32x4>().read_unaligned() }
    }

    /// # Safety
    /// - `from` is valid for reads of four elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load_fours(from: *const f32, _stride: usize) -> f32x4 {
        // SAFETY: the caller vouches for the elements; the type is four f32.
        unsafe { from.cast::<f32x4>().read_unaligned() }
    }

    /// # Safety
    /// - The CPU has Advanced SIMD.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn transpose_fours(vectors: [f32x4; 4]) -> [f32x4; 4] {
        // SAFETY: the CPU has the features; the types are as many f32.
        unsafe {
            let [a, b, c, d] = transmute::<[f32x4; 4], [float32x4_t; 4]>(vectors);
            let ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
            let ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
            let cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
            let cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
            transmute([
                vtrn1q_f64(ab_even, cd_even),
                vtrn1q_f64(ab_odd, cd_odd),
                vtrn2q_f64(ab_even, cd_even),
                vtrn2q_f64(ab_odd, cd_odd),
            ])
        }
    }
}
