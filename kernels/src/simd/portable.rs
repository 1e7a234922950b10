//! The portable level: `wide`'s vectors, compiled for whatever the target guarantees.

use crate::simd::{Arithmetic, Operation, SMALLEST, Simd};
use wide::{f32x4, i32x4};

/// Four lanes. 16 registers: 3 rows × 4 gates, 3 inputs and 1 weight.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[cfg_attr(not(unoptimized), inline(always))]
fn bits(v: f32x4) -> i32x4 {
    i32x4::new(v.to_array().map(|lane| lane.to_bits() as i32))
}

#[cfg_attr(not(unoptimized), inline(always))]
fn from_bits(v: i32x4) -> f32x4 {
    f32x4::new(v.to_array().map(|lane| f32::from_bits(lane as u32)))
}

impl Arithmetic for Portable {
    type Element = f32;
    type Vector = f32x4;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn splat(self, value: f32) -> f32x4 {
        f32x4::splat(value)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn add(self, a: f32x4, b: f32x4) -> f32x4 {
        a + b
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn sub(self, a: f32x4, b: f32x4) -> f32x4 {
        a - b
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn mul(self, a: f32x4, b: f32x4) -> f32x4 {
        a * b
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn div(self, a: f32x4, b: f32x4) -> f32x4 {
        a / b
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn reciprocal(self, a: f32x4) -> f32x4 {
        f32x4::ONE / a
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn reciprocal_of_many(self, a: f32x4) -> f32x4 {
        self.reciprocal(a)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn sqrt(self, a: f32x4) -> f32x4 {
        a.sqrt()
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn mul_add(self, a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
        a.mul_add(b, c)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn neg_mul_add(self, a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
        a.mul_neg_add(b, c)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn at_most(self, limit: f32x4, value: f32x4) -> f32x4 {
        // `fast_min` returns its second operand when either is NaN (or NaN itself, on AArch64).
        limit.fast_min(value)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn at_least(self, limit: f32x4, value: f32x4) -> f32x4 {
        limit.fast_max(value)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn sign_of(self, v: f32x4, sign_bit: f32x4) -> f32x4 {
        v & sign_bit
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn xor(self, v: f32x4, sign: f32x4) -> f32x4 {
        v ^ sign
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn or(self, a: f32x4, b: f32x4) -> f32x4 {
        a | b
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn select_less(self, a: f32x4, b: f32x4, then: f32x4, other: f32x4) -> f32x4 {
        a.simd_lt(b).select(then, other)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn flush(self, v: f32x4) -> f32x4 {
        v.abs().simd_lt(f32x4::splat(SMALLEST)).select(f32x4::ZERO, v)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn power_of_two(self, shifted: f32x4) -> f32x4 {
        from_bits(bits(shifted) << 23)
    }
}

impl Simd for Portable {
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const TILE_ROWS: usize = 3;
    const DEFERRING_REGISTERS: usize = 0;

    #[inline]
    fn try_new() -> Option<Self> {
        Some(Portable)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn assume() -> Self {
        Portable
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn vectorize<O: Operation<Self>>(self, operation: O) -> O::Output {
        operation.run(self)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn zero(self) -> f32x4 {
        f32x4::ZERO
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn load(self, from: *const f32) -> f32x4 {
        // SAFETY: the caller vouches for four elements.
        f32x4::new(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn store(self, to: *mut f32, value: f32x4) {
        // SAFETY: the caller vouches for four elements.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value.to_array()) }
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn load_first(self, from: *const f32, count: usize) -> f32x4 {
        let mut lanes = [0.0; 4];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            *to = unsafe { *from.add(lane) };
        }
        f32x4::new(lanes)
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn store_first(self, to: *mut f32, value: f32x4, count: usize) {
        for (lane, value) in value.to_array().into_iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            unsafe { *to.add(lane) = value };
        }
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn concat_shift(self, low: f32x4, high: f32x4, from: usize) -> f32x4 {
        let lanes = [low, high, low].map(f32x4::to_array);
        // SAFETY: there are twelve elements, of which `from % 8` skips at most seven.
        f32x4::new(unsafe { lanes.as_ptr().cast::<f32>().add(from % 8).cast::<[f32; 4]>().read_unaligned() })
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn load_fours(self, from: *const f32, _stride: usize) -> f32x4 {
        // SAFETY: the caller vouches for four elements.
        unsafe { self.load(from) }
    }
    #[cfg_attr(not(unoptimized), inline(always))]
    fn transpose_fours(self, vectors: [f32x4; 4]) -> [f32x4; 4] {
        f32x4::transpose(vectors)
    }
}
