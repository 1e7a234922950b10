//! NEON: pulp's token.

use crate::simd::simd_over_pulp;

simd_over_pulp!(
    /// Advanced SIMD. 32 registers: 6 rows × 4 gates, 4 weights and 1 input.
    Neon(pulp::aarch64::Neon), tile_rows: 6
);
