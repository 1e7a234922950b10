//! AVX2 and AVX-512: pulp's tokens, masked loads and stores, which pulp has only through a table of jumps, and
//! permutations.

use crate::simd::simd_over_pulp;

simd_over_pulp!(
    /// AVX2 with FMA. 16 registers: 3 rows × 4 gates, 3 inputs and 1 weight.
    Avx2(pulp::x86::V3), registers: 16, tile_rows: 3, deferring_registers: 9, lanes: avx2
);
simd_over_pulp!(
    /// AVX-512. 32 registers: 6 rows × 4 gates, 6 inputs and 1 weight.
    Avx512(pulp::x86::V4), registers: 32, tile_rows: 6, deferring_registers: 30, lanes: avx512
);

mod avx2 {
    use crate::simd::HIGH_EXPONENT;
    use core::arch::x86_64::*;
    use core::mem::transmute;
    use pulp::f32x8;

    /// The mask of `count` lanes begins `count` elements before the middle.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    /// # Safety
    /// - The CPU has AVX2, and `count <= 8`.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn mask(count: usize) -> __m256i {
        // SAFETY: eight elements from there on are in the table.
        unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
    }

    /// # Safety
    /// - The CPU has AVX2, `count <= 8`, and `from` is valid for reads of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load(from: *const f32, count: usize) -> f32x8 {
        // SAFETY: masked lanes are not read; both types are eight f32.
        unsafe { transmute(_mm256_maskload_ps(from, mask(count))) }
    }

    /// # Safety
    /// - The CPU has AVX2, `count <= 8`, and `to` is valid for writes of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn store(to: *mut f32, value: f32x8, count: usize) {
        // SAFETY: masked lanes are not written; both types are eight f32.
        unsafe { _mm256_maskstore_ps(to, mask(count), transmute::<f32x8, __m256>(value)) }
    }

    /// Half a cache line is better written to a cache, where the other half joins it.
    ///
    /// # Safety
    /// - The CPU has AVX2, and `to` is valid for writes of eight elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn stream(to: *mut f32, value: f32x8) {
        // SAFETY: the caller vouches for the elements; the type has the alignment of its element.
        unsafe { *to.cast() = value }
    }

    /// # Safety
    /// - The CPU has AVX2.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn flush(v: f32x8) -> f32x8 {
        // SAFETY: the CPU has the features; both types are eight f32.
        unsafe {
            let v = transmute::<f32x8, __m256i>(v);
            let high = _mm256_and_si256(v, _mm256_set1_epi32(HIGH_EXPONENT));
            transmute(_mm256_andnot_si256(_mm256_cmpeq_epi32(high, _mm256_setzero_si256()), v))
        }
    }

    /// # Safety
    /// - The CPU has AVX2.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn reciprocal(a: f32x8) -> f32x8 {
        // SAFETY: the CPU has the features; both types are eight f32.
        unsafe { transmute(_mm256_div_ps(_mm256_set1_ps(1.0), transmute::<f32x8, __m256>(a))) }
    }

    /// # Safety
    /// - The CPU has AVX2.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn concat_shift(low: f32x8, high: f32x8, from: usize) -> f32x8 {
        // SAFETY: the CPU has the features; both types are eight f32.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let index = _mm256_add_epi32(lanes, _mm256_set1_epi32(from as i32));
            let low = _mm256_permutevar8x32_ps(transmute::<f32x8, __m256>(low), index);
            let high = _mm256_permutevar8x32_ps(transmute::<f32x8, __m256>(high), index);
            // Bit 3 of an index says which vector; a blend looks at the sign.
            let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
            transmute(_mm256_blendv_ps(low, high, is_high))
        }
    }

    /// # Safety
    /// - The CPU has AVX2, and `from` and `from + stride` are valid for reads of four elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load_fours(from: *const f32, stride: usize) -> f32x8 {
        // SAFETY: the caller vouches for the elements; both types are eight f32.
        unsafe {
            let v = _mm256_castps128_ps256(_mm_loadu_ps(from));
            transmute(_mm256_insertf128_ps::<1>(v, _mm_loadu_ps(from.add(stride))))
        }
    }

    /// # Safety
    /// - The CPU has AVX2.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn transpose_fours(vectors: [f32x8; 4]) -> [f32x8; 4] {
        // SAFETY: the CPU has the features; the types are as many f32.
        unsafe {
            let [a, b, c, d] = transmute::<[f32x8; 4], [__m256; 4]>(vectors);
            let ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
            let cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
            let ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
            let cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
            transmute([
                _mm256_unpacklo_pd(ab_low, cd_low),
                _mm256_unpackhi_pd(ab_low, cd_low),
                _mm256_unpacklo_pd(ab_high, cd_high),
                _mm256_unpackhi_pd(ab_high, cd_high),
            ])
        }
    }
}

mod avx512 {
    use crate::simd::HIGH_EXPONENT;
    use core::arch::x86_64::*;
    use core::mem::transmute;
    use pulp::f32x16;

    fn mask(count: usize) -> u16 {
        ((1u32 << count) - 1) as u16
    }

    /// # Safety
    /// - The CPU has AVX-512F, `count <= 16`, and `from` is valid for reads of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load(from: *const f32, count: usize) -> f32x16 {
        // SAFETY: masked lanes are not read; both types are sixteen f32.
        unsafe { transmute(_mm512_maskz_loadu_ps(mask(count), from)) }
    }

    /// # Safety
    /// - The CPU has AVX-512F, `count <= 16`, and `to` is valid for writes of `count` elements.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn store(to: *mut f32, value: f32x16, count: usize) {
        // SAFETY: masked lanes are not written; both types are sixteen f32.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), transmute::<f32x16, __m512>(value)) }
    }

    /// # Safety
    /// - The CPU has AVX-512F, and `to` is valid for writes of sixteen elements and a multiple of 64.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn stream(to: *mut f32, value: f32x16) {
        // SAFETY: the caller vouches for the elements and their place; both types are sixteen f32.
        unsafe { _mm512_stream_ps(to, transmute::<f32x16, __m512>(value)) }
    }

    /// # Safety
    /// - The CPU has AVX-512F.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn flush(v: f32x16) -> f32x16 {
        // SAFETY: the CPU has the features; both types are sixteen f32.
        unsafe {
            let v = transmute::<f32x16, __m512i>(v);
            transmute(_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(v, _mm512_set1_epi32(HIGH_EXPONENT)), v))
        }
    }

    /// 1 / a by an estimate and two steps of Newton's: 7 operations, where a division keeps its unit busy for 16 cycles
    /// (Emerald Rapids). The first step rounds up, lest the second round a tie down where all bits of the significand
    /// of `a` are set; so the result is rounded as that of a division, for any estimate as good as the instruction's
    /// (Markstein, *Computation of elementary functions on the IBM RISC System/6000*, 1990). A test visits all
    /// significands.
    ///
    /// # Safety
    /// - The CPU has AVX-512F.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn reciprocal(a: f32x16) -> f32x16 {
        // SAFETY: the CPU has the features; both types are sixteen f32.
        unsafe {
            let (a, one) = (transmute::<f32x16, __m512>(a), _mm512_set1_ps(1.0));
            let estimate = _mm512_rcp14_ps(a);
            let error = _mm512_fnmadd_ps(a, estimate, one);
            let close = _mm512_fmadd_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(
                estimate, error, estimate,
            );
            transmute(_mm512_fmadd_ps(close, _mm512_fnmadd_ps(a, close, one), close))
        }
    }

    /// # Safety
    /// - The CPU has AVX-512F.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn concat_shift(low: f32x16, high: f32x16, from: usize) -> f32x16 {
        // SAFETY: the CPU has the features; both types are sixteen f32.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let index = _mm512_add_epi32(lanes, _mm512_set1_epi32(from as i32));
            let (low, high) = (transmute::<f32x16, __m512>(low), transmute::<f32x16, __m512>(high));
            transmute(_mm512_permutex2var_ps(low, index, high))
        }
    }

    /// # Safety
    /// - The CPU has AVX-512F, and `from + n · stride` is valid for reads of four elements, for all n < 4.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn load_fours(from: *const f32, stride: usize) -> f32x16 {
        // SAFETY: the caller vouches for the elements; both types are sixteen f32.
        unsafe {
            let v = _mm512_castps128_ps512(_mm_loadu_ps(from));
            let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(from.add(stride)));
            let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(from.add(2 * stride)));
            transmute(_mm512_insertf32x4::<3>(v, _mm_loadu_ps(from.add(3 * stride))))
        }
    }

    /// # Safety
    /// - The CPU has AVX-512F.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(super) unsafe fn transpose_fours(vectors: [f32x16; 4]) -> [f32x16; 4] {
        // SAFETY: the CPU has the features; the types are as many f32.
        unsafe {
            let [a, b, c, d] = transmute::<[f32x16; 4], [__m512; 4]>(vectors);
            let ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
            let cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
            let ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
            let cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
            transmute([
                _mm512_unpacklo_pd(ab_low, cd_low),
                _mm512_unpackhi_pd(ab_low, cd_low),
                _mm512_unpacklo_pd(ab_high, cd_high),
                _mm512_unpackhi_pd(ab_high, cd_high),
            ])
        }
    }
}
