//! AVX2 and AVX-512: pulp's tokens.

use crate::simd::simd_over_pulp;

simd_over_pulp!(
    /// AVX2 with FMA. 16 registers: 3 rows × 4 gates, 3 inputs and 1 weight.
    Avx2(pulp::x86::V3), tile_rows: 3
);
simd_over_pulp!(
    /// AVX-512. 32 registers: 6 rows × 4 gates, 6 inputs and 1 weight.
    Avx512(pulp::x86::V4), tile_rows: 6
);
