//! The vector operations that the kernels use, and nothing more.
//!
//! A kernel is written once against [`Simd`]. An instruction set implements it in `x86_64.rs`, `aarch64.rs` or
//! `portable.rs`. Two rules keep the generic code as fast as hand-written code:
//!
//! 1. Everything a kernel calls is `#[inline(always)]`, so that it ends up inside the one function that
//!    [`Simd::vectorize`] compiles with the instruction set's features switched on.
//! 2. Accumulators travel by value. An array of vectors that is mutated through a reference across two loops stays on
//!    the stack (measured: 38 instead of 107 GFLOP/s).
//!
//! Every operation rounds as IEEE 754 demands (or is exact), so all instruction sets with a fused multiply-add produce
//! the same bits.
//!
//! [`Together`] is several vectors that are worked on side by side, written like one.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
pub(crate) mod cpu;
pub(crate) mod isa;
pub(crate) mod portable;
mod together;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

pub(crate) use together::Together;

/// `for n in 0..count`, written out, for a count of at most four that is known when this is compiled.
///
/// As loops they would be unrolled in functions into which all else was inlined, and kernels would have thousands of
/// them, which took most of the time of a build.
macro_rules! each {
    ($n:ident in $count:expr => $body:block) => {{
        const { assert!($count <= 4) };
        $crate::simd::each!(@ $n $count, $body, 0 1 2 3);
    }};
    (@ $n:ident $count:expr, $body:block, $($index:literal)*) => {$(
        // Where it is not below the count, an index that is out of range is never used.
        #[allow(unconditional_panic)]
        if const { $index < $count } {
            let $n: usize = $index;
            $body
        }
    )*};
}
pub(crate) use each;

/// `[value; N]`, written out, for N of at most four: see [`each`].
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn repeat<V: Copy, const N: usize>(value: V) -> [V; N] {
    const { assert!(N <= 4) };
    // SAFETY: the first N of four.
    unsafe { core::mem::transmute_copy::<[V; 4], [V; N]>(&[value, value, value, value]) }
}

/// Operations on each lane by itself.
pub(crate) trait Arithmetic: Copy {
    /// The type of one lane.
    type Element: Copy;
    /// Lanes.
    type Vector: Copy;

    /// `value` in every lane.
    fn splat(self, value: Self::Element) -> Self::Vector;
    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a − b
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a / b
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 1 / a, where that is a normal number.
    fn reciprocal(self, a: Self::Vector) -> Self::Vector;
    /// The same bits, where there is more to do than to wait for them: later, but without keeping a unit busy.
    fn reciprocal_of_many(self, a: Self::Vector) -> Self::Vector;
    /// √a
    fn sqrt(self, a: Self::Vector) -> Self::Vector;
    /// a · b + c, rounded once where the instruction set can
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// c − a · b, rounded once where the instruction set can
    fn neg_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The lesser of `limit` and `value`; NaN where `value` is NaN.
    fn at_most(self, limit: Self::Vector, value: Self::Vector) -> Self::Vector;
    /// The greater of `limit` and `value`; NaN where `value` is NaN.
    fn at_least(self, limit: Self::Vector, value: Self::Vector) -> Self::Vector;
    /// The sign bit of v alone: ±0. `sign_bit` is −0 in every lane.
    fn sign_of(self, v: Self::Vector, sign_bit: Self::Vector) -> Self::Vector;
    /// v with the sign of ±0 turned: −v where `sign` is −0.
    fn xor(self, v: Self::Vector, sign: Self::Vector) -> Self::Vector;
    /// All bits that are set in a or b.
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `then` where a < b, else `other` (so also where a or b is NaN)
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        then: Self::Vector,
        other: Self::Vector,
    ) -> Self::Vector;
    /// Zero where |v| < 2⁻⁶³, else `v`; NaN for NaN.
    fn flush(self, v: Self::Vector) -> Self::Vector;
    /// The number whose exponent field is n, 2^(n − 127), for the integer n that ends the bit pattern of `shifted`, as
    /// adding 1.5·2²³ leaves it, if 1 ≤ n ≤ 254.
    ///
    /// Some number, not necessarily NaN, for any other pattern.
    fn power_of_two(self, shifted: Self::Vector) -> Self::Vector;
}

/// Vectors of one element type on one instruction set.
///
/// A value of the implementing type is the proof that the CPU has the instruction set.
pub(crate) trait Simd: Arithmetic {
    /// Elements in a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// Whether cells with options work on two vectors side by side, which is faster and twice the text.
    const SIDE_BY_SIDE: bool = true;
    /// Rows of the largest tile: with four gates, rows × 4 accumulators plus operands must fit the registers.
    const TILE_ROWS: usize;
    /// Most registers that the sums and inputs of a tile may take for a piece of a deferred epilogue to find enough
    /// beside them. With AVX2 a tile of one row and two panels leaves seven, of two rows and a panel six: 100,1,128,128
    /// then is 5 % faster than with its cell at once, 100,2,64,64 20 % slower.
    const DEFERRING_REGISTERS: usize;

    /// The token, if the CPU has the instruction set.
    fn try_new() -> Option<Self>;

    /// The token, unchecked.
    ///
    /// # Safety
    /// - [`Simd::try_new`] returned `Some` on this machine.
    unsafe fn assume() -> Self;

    /// Runs `operation` in a function that is compiled for this instruction set.
    fn vectorize<O: Operation<Self>>(self, operation: O) -> O::Output;

    /// Zero in every lane.
    fn zero(self) -> Self::Vector;

    /// Asks for the cache line at `address`, to be in the first cache soon. The address need not be valid.
    #[inline(always)]
    fn prefetch(self, address: *const Self::Element) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Lets the loop that follows begin at a cache line, whatever code comes before it. Without that, K loops of narrow
    /// panels are up to 20 % faster or slower with each change to any of the code (4 % in the mean over 9 to 50 units).
    #[inline(always)]
    fn align_loop(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: nothing but padding, of instructions that do nothing.
        unsafe {
            core::arch::asm!(".p2align 6", options(nomem, nostack, preserves_flags));
        }
    }

    /// Loads `LANES` elements; any alignment.
    ///
    /// # Safety
    /// - `from` is valid for reads of `LANES` elements.
    unsafe fn load(self, from: *const Self::Element) -> Self::Vector;

    /// Stores `LANES` elements; any alignment.
    ///
    /// # Safety
    /// - `to` is valid for writes of `LANES` elements.
    unsafe fn store(self, to: *mut Self::Element, value: Self::Vector);

    /// The same past the caches, where a vector is a cache line: then the line is not read before. Others may see it
    /// only after [`Simd::end_streams`].
    ///
    /// # Safety
    /// - `to` is valid for writes of `LANES` elements, and a multiple of the size of a vector.
    #[inline(always)]
    unsafe fn stream(self, to: *mut Self::Element, value: Self::Vector) {
        // SAFETY: the caller vouches for the elements.
        unsafe { self.store(to, value) }
    }

    /// Lets others see what was written past the caches, like anything that was written before.
    #[inline(always)]
    fn end_streams(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: all CPUs of this architecture have it.
        unsafe {
            core::arch::x86_64::_mm_sfence()
        }
    }

    /// Loads `count` lanes; the others are zero. Any alignment.
    ///
    /// # Safety
    /// - `from` is valid for reads of `count` elements.
    /// - `count <= LANES`.
    unsafe fn load_first(self, from: *const Self::Element, count: usize) -> Self::Vector;

    /// Stores the first `count` lanes of `value`; any alignment.
    ///
    /// # Safety
    /// - `to` is valid for writes of `count` elements.
    /// - `count <= LANES`.
    unsafe fn store_first(self, to: *mut Self::Element, value: Self::Vector, count: usize);

    /// Consecutive elements of `low` and `high` side by side, from the one at `from` on; places past the end wrap
    /// around.
    fn concat_shift(self, low: Self::Vector, high: Self::Vector, from: usize) -> Self::Vector;

    /// Four elements at `from` and at each further `stride`, side by side. Any alignment.
    ///
    /// # Safety
    /// - `from + n · stride` is valid for reads of four elements, for all n < LANES / 4.
    unsafe fn load_fours(self, from: *const Self::Element, stride: usize) -> Self::Vector;

    /// Transposes blocks of 4 × 4: lane 4·l + m of result n is lane 4·l + n of vector m.
    fn transpose_fours(self, vectors: [Self::Vector; 4]) -> [Self::Vector; 4];
}

/// A piece of work that [`Simd::vectorize`] compiles for one instruction set.
pub(crate) trait Operation<S: Simd> {
    /// What the work yields.
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`.
    fn run(self, s: S) -> Self::Output;
}

/// 2⁻⁶³: what is below it, [`Arithmetic::flush`] drops.
pub(crate) const SMALLEST: f32 = f32::from_bits((127 - 63) << 23);

/// The two high bits of an exponent: one of them is set from [`SMALLEST`] on.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const HIGH_EXPONENT: i32 = 0x6000_0000;

/// Lanes of the widest f32 vector.
pub(crate) const MAX_LANES: usize = 16;

/// Implements [`Simd`] for a newtype over one of pulp's tokens.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! simd_over_pulp {
    ($(#[$doc:meta])* $name:ident($token:ty), registers: $registers:expr, tile_rows: $tile_rows:expr, deferring_registers: $deferring_registers:expr, lanes: $lanes:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name($token);

        impl $crate::simd::Arithmetic for $name {
            type Element = f32;
            type Vector = <$token as pulp::Simd>::f32s;

            #[cfg_attr(not(unoptimized), inline(always))]
            fn splat(self, value: f32) -> Self::Vector {
                pulp::Simd::splat_f32s(self.0, value)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                pulp::Simd::add_f32s(self.0, a, b)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                pulp::Simd::sub_f32s(self.0, a, b)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                pulp::Simd::mul_f32s(self.0, a, b)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                pulp::Simd::div_f32s(self.0, a, b)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn reciprocal(self, a: Self::Vector) -> Self::Vector {
                self.div(self.splat(1.0), a)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn reciprocal_of_many(self, a: Self::Vector) -> Self::Vector {
                // SAFETY: holding `self` proves the features.
                unsafe { $lanes::reciprocal(a) }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn sqrt(self, a: Self::Vector) -> Self::Vector {
                pulp::Simd::sqrt_f32s(self.0, a)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                pulp::Simd::mul_add_f32s(self.0, a, b, c)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn neg_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                pulp::Simd::negate_mul_add_f32s(self.0, a, b, c)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn at_most(self, limit: Self::Vector, value: Self::Vector) -> Self::Vector {
                // x86 returns the second operand when either is NaN; AArch64 returns NaN.
                pulp::Simd::min_f32s(self.0, limit, value)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn at_least(self, limit: Self::Vector, value: Self::Vector) -> Self::Vector {
                pulp::Simd::max_f32s(self.0, limit, value)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn sign_of(self, v: Self::Vector, sign_bit: Self::Vector) -> Self::Vector {
                pulp::Simd::and_f32s(self.0, v, sign_bit)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn xor(self, v: Self::Vector, sign: Self::Vector) -> Self::Vector {
                pulp::Simd::xor_f32s(self.0, v, sign)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                pulp::Simd::or_f32s(self.0, a, b)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn select_less(self, a: Self::Vector, b: Self::Vector, then: Self::Vector, other: Self::Vector) -> Self::Vector {
                pulp::Simd::select_f32s(self.0, pulp::Simd::less_than_f32s(self.0, a, b), then, other)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn flush(self, v: Self::Vector) -> Self::Vector {
                // SAFETY: holding `self` proves the features.
                unsafe { $lanes::flush(v) }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn power_of_two(self, shifted: Self::Vector) -> Self::Vector {
                let s = self.0;
                let bits = pulp::Simd::transmute_u32s_f32s(s, shifted);
                let bits = pulp::Simd::wrapping_dyn_shl_u32s(s, bits, pulp::Simd::splat_u32s(s, 23));
                pulp::Simd::transmute_f32s_u32s(s, bits)
            }
        }

        impl $crate::simd::Simd for $name {
            const LANES: usize = <$token as pulp::Simd>::F32_LANES;
            const REGISTERS: usize = $registers;
            const TILE_ROWS: usize = $tile_rows;
            const DEFERRING_REGISTERS: usize = $deferring_registers;

            #[inline]
            fn try_new() -> Option<Self> {
                <$token>::try_new().map(Self)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn assume() -> Self {
                // SAFETY: the caller vouches that the CPU has the features, which is all that the token stands for.
                Self(unsafe { <$token>::new_unchecked() })
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn vectorize<O: $crate::simd::Operation<Self>>(self, operation: O) -> O::Output {
                struct Call<O>($name, O);
                impl<O: $crate::simd::Operation<$name>> pulp::NullaryFnOnce for Call<O> {
                    type Output = O::Output;
                    #[cfg_attr(not(unoptimized), inline(always))]
                    fn call(self) -> O::Output {
                        self.1.run(self.0)
                    }
                }
                <$token>::vectorize(self.0, Call(self, operation))
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn zero(self) -> Self::Vector {
                $crate::simd::Arithmetic::splat(self, 0.0)
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn load(self, from: *const f32) -> Self::Vector {
                // SAFETY: the caller vouches for LANES elements; pulp's vectors have the alignment of their element.
                unsafe { *from.cast() }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn store(self, to: *mut f32, value: Self::Vector) {
                // SAFETY: as in `load`.
                unsafe { *to.cast() = value }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn stream(self, to: *mut f32, value: Self::Vector) {
                debug_assert!(to.addr().is_multiple_of(size_of::<Self::Vector>()));
                // SAFETY: the caller vouches for the elements and their place, and holding `self` proves the features.
                unsafe { $lanes::stream(to, value) }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Vector {
                debug_assert!(count <= Self::LANES);
                // Masked ones are slower (a training step at 50,64,512,512: 10 %).
                // SAFETY: the caller vouches for `count` elements and for the features, which holding `self` proves.
                unsafe { if count == Self::LANES { self.load(from) } else { $lanes::load(from, count) } }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn store_first(self, to: *mut f32, value: Self::Vector, count: usize) {
                debug_assert!(count <= Self::LANES);
                // SAFETY: as in `load_first`.
                unsafe { if count == Self::LANES { self.store(to, value) } else { $lanes::store(to, value, count) } }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn concat_shift(self, low: Self::Vector, high: Self::Vector, from: usize) -> Self::Vector {
                // SAFETY: holding `self` proves the features.
                unsafe { $lanes::concat_shift(low, high, from) }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            unsafe fn load_fours(self, from: *const f32, stride: usize) -> Self::Vector {
                // SAFETY: the caller vouches for the elements, and holding `self` proves the features.
                unsafe { $lanes::load_fours(from, stride) }
            }
            #[cfg_attr(not(unoptimized), inline(always))]
            fn transpose_fours(self, vectors: [Self::Vector; 4]) -> [Self::Vector; 4] {
                // SAFETY: holding `self` proves the features.
                unsafe { $lanes::transpose_fours(vectors) }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use simd_over_pulp;
