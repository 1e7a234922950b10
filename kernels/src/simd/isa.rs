//! The instruction sets that have kernels, and which of them this CPU offers.

use core::fmt;

/// An instruction set with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the compile target guarantees: SSE2 on x86-64, NEON on AArch64, scalar elsewhere.
    Portable,
    /// x86-64 with AVX2 and FMA (x86-64-v3): 8 lanes of f32.
    Avx2,
    /// x86-64 with AVX-512 F, BW, CD, DQ and VL (x86-64-v4): 16 lanes of f32.
    Avx512,
    /// AArch64 Advanced SIMD: 4 lanes of f32.
    Neon,
}

impl Isa {
    /// Every instruction set that has a name, whether or not this CPU or this build knows it.
    pub const ALL: &'static [Isa] = &[Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The name by which configuration refers to it: `portable`, `avx2`, `avx512` or `neon`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// The inverse of [`Isa::name`], in any case of letters; `None` for any other text.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.iter().copied().find(|isa| isa.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
