//! The portable level: `wide`'s vectors, compiled for whatever the target guarantees.
//!
//! Its functions are `#[inline]`, not `#[inline(always)]`: they need no features of their caller, and are compiled in
//! half the time.

use crate::simd::{Arithmetic, Operation, SMALLEST, Simd, each};
use wide::{f32x4, i32x4};

/// Four lanes. 16 registers: 3 rows × 4 gates, 3 inputs and 1 weight.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline]
fn bits(v: f32x4) -> i32x4 {
    let [a, b, c, d] = v.to_array();
    i32x4::new([a.to_bits() as i32, b.to_bits() as i32, c.to_bits() as i32, d.to_bits() as i32])
}

#[inline]
fn from_bits(v: i32x4) -> f32x4 {
    let [a, b, c, d] = v.to_array();
    f32x4::new([
        f32::from_bits(a as u32),
        f32::from_bits(b as u32),
        f32::from_bits(c as u32),
        f32::from_bits(d as u32),
    ])
}

impl Arithmetic for Portable {
    type Element = f32;
    type Vector = f32x4;

    #[inline]
    fn splat(self, value: f32) -> f32x4 {
        f32x4::splat(value)
    }
    #[inline]
    fn add(self, a: f32x4, b: f32x4) -> f32x4 {
        a + b
    }
    #[inline]
    fn sub(self, a: f32x4, b: f32x4) -> f32x4 {
        a - b
    }
    #[inline]
    fn mul(self, a: f32x4, b: f32x4) -> f32x4 {
        a * b
    }
    #[inline]
    fn div(self, a: f32x4, b: f32x4) -> f32x4 {
        a / b
    }
    #[inline]
    fn reciprocal(self, a: f32x4) -> f32x4 {
        f32x4::ONE / a
    }
    #[inline]
    fn reciprocal_of_many(self, a: f32x4) -> f32x4 {
        self.reciprocal(a)
    }
    #[inline]
    fn sqrt(self, a: f32x4) -> f32x4 {
        a.sqrt()
    }
    #[inline]
    fn mul_add(self, a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
        a.mul_add(b, c)
    }
    #[inline]
    fn neg_mul_add(self, a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
        a.mul_neg_add(b, c)
    }
    #[inline]
    fn at_most(self, limit: f32x4, value: f32x4) -> f32x4 {
        // `fast_min` returns its second operand when either is NaN (or NaN itself, on AArch64).
        limit.fast_min(value)
    }
    #[inline]
    fn at_least(self, limit: f32x4, value: f32x4) -> f32x4 {
        limit.fast_max(value)
    }
    #[inline]
    fn sign_of(self, v: f32x4, sign_bit: f32x4) -> f32x4 {
        v & sign_bit
    }
    #[inline]
    fn xor(self, v: f32x4, sign: f32x4) -> f32x4 {
        v ^ sign
    }
    #[inline]
    fn or(self, a: f32x4, b: f32x4) -> f32x4 {
        a | b
    }
    #[inline]
    fn select_less(self, a: f32x4, b: f32x4, then: f32x4, other: f32x4) -> f32x4 {
        a.simd_lt(b).select(then, other)
    }
    #[inline]
    fn flush(self, v: f32x4) -> f32x4 {
        v.abs().simd_lt(f32x4::splat(SMALLEST)).select(f32x4::ZERO, v)
    }
    #[inline]
    fn power_of_two(self, shifted: f32x4) -> f32x4 {
        from_bits(bits(shifted) << 23)
    }
}

impl Simd for Portable {
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    const SIDE_BY_SIDE: bool = false;
    const TILE_ROWS: usize = 3;
    const DEFERRING_REGISTERS: usize = 0;

    #[inline]
    fn try_new() -> Option<Self> {
        Some(Portable)
    }
    #[inline]
    unsafe fn assume() -> Self {
        Portable
    }
    #[inline]
    fn vectorize<O: Operation<Self>>(self, operation: O) -> O::Output {
        operation.run(self)
    }
    #[inline]
    fn zero(self) -> f32x4 {
        f32x4::ZERO
    }
    #[inline]
    unsafe fn load(self, from: *const f32) -> f32x4 {
        // SAFETY: the caller vouches for four elements.
        f32x4::new(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline]
    unsafe fn store(self, to: *mut f32, value: f32x4) {
        // SAFETY: the caller vouches for four elements.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value.to_array()) }
    }
    #[inline]
    unsafe fn load_first(self, from: *const f32, count: usize) -> f32x4 {
        let mut lanes = [0.0; 4];
        each!(lane in 4 => {
            if lane < count {
                // SAFETY: the caller vouches for `count` elements.
                lanes[lane] = unsafe { *from.add(lane) };
            }
        });
        f32x4::new(lanes)
    }
    #[inline]
    unsafe fn store_first(self, to: *mut f32, value: f32x4, count: usize) {
        let lanes = value.to_array();
        each!(lane in 4 => {
            if lane < count {
                // SAFETY: the caller vouches for `count` elements.
                unsafe { *to.add(lane) = lanes[lane] };
            }
        });
    }
    #[inline]
    fn concat_shift(self, low: f32x4, high: f32x4, from: usize) -> f32x4 {
        let lanes = [low, high, low].map(f32x4::to_array);
        // SAFETY: there are twelve elements, of which `from % 8` skips at most seven.
        f32x4::new(unsafe { lanes.as_ptr().cast::<f32>().add(from % 8).cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline]
    unsafe fn load_fours(self, from: *const f32, _stride: usize) -> f32x4 {
        // SAFETY: the caller vouches for four elements.
        unsafe { self.load(from) }
    }
    #[inline]
    fn transpose_fours(self, vectors: [f32x4; 4]) -> [f32x4; 4] {
        f32x4::transpose(vectors)
    }
}
