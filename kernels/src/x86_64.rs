//! AVX2 and AVX-512: pulp's tokens, and masked loads and stores, which pulp has only through a table of jumps.

use crate::simd::simd_over_pulp;

simd_over_pulp!(
    /// AVX2 with FMA. 16 registers: 3 rows × 4 gates, 3 inputs and 1 weight.
    Avx2(pulp::x86::V3), tile_rows: 3, parks: false, tails: avx2
);
simd_over_pulp!(
    /// AVX-512. 32 registers: 6 rows × 4 gates, 6 inputs and 1 weight.
    Avx512(pulp::x86::V4), tile_rows: 6, parks: true, tails: avx512
);

mod avx2 {
    use core::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps};
    use core::mem::transmute;
    use pulp::f32x8;

    /// The mask of `count` lanes begins `count` elements before the middle.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    /// # Safety
    /// - The CPU has AVX2, and `count <= 8`.
    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        // SAFETY: eight elements from there on are in the table.
        unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
    }

    /// # Safety
    /// - The CPU has AVX2, `count <= 8`, and `from` is valid for reads of `count` elements.
    #[inline(always)]
    pub(super) unsafe fn load(from: *const f32, count: usize) -> f32x8 {
        // SAFETY: masked lanes are not read; both types are eight f32.
        unsafe { transmute(_mm256_maskload_ps(from, mask(count))) }
    }

    /// # Safety
    /// - The CPU has AVX2, `count <= 8`, and `to` is valid for writes of `count` elements.
    #[inline(always)]
    pub(super) unsafe fn store(to: *mut f32, value: f32x8, count: usize) {
        // SAFETY: masked lanes are not written; both types are eight f32.
        unsafe { _mm256_maskstore_ps(to, mask(count), transmute::<f32x8, core::arch::x86_64::__m256>(value)) }
    }
}

mod avx512 {
    use core::arch::x86_64::{__m512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps};
    use core::mem::transmute;
    use pulp::f32x16;

    fn mask(count: usize) -> u16 {
        ((1u32 << count) - 1) as u16
    }

    /// # Safety
    /// - The CPU has AVX-512F, `count <= 16`, and `from` is valid for reads of `count` elements.
    #[inline(always)]
    pub(super) unsafe fn load(from: *const f32, count: usize) -> f32x16 {
        // SAFETY: masked lanes are not read; both types are sixteen f32.
        unsafe { transmute(_mm512_maskz_loadu_ps(mask(count), from)) }
    }

    /// # Safety
    /// - The CPU has AVX-512F, `count <= 16`, and `to` is valid for writes of `count` elements.
    #[inline(always)]
    pub(super) unsafe fn store(to: *mut f32, value: f32x16, count: usize) {
        // SAFETY: masked lanes are not written; both types are sixteen f32.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), transmute::<f32x16, __m512>(value)) }
    }
}
