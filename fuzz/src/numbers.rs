//! Elements from a seed.

use crate::rarely;
use libfuzzer_sys::arbitrary::{self, Unstructured};

/// Makes elements from a seed.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub seed: u64,
    /// Magnitude of the weights.
    pub scale: f32,
    /// Whether some elements are infinite, NaN, huge or denormal.
    pub special: bool,
}

impl Numbers {
    pub fn draw(u: &mut Unstructured<'_>, scales: &[f32]) -> arbitrary::Result<Self> {
        Ok(Self { scale: *u.choose(scales)?, special: rarely(u)?, seed: u.arbitrary()? })
    }

    /// `len` numbers of magnitude up to `scale`.
    pub fn take(&mut self, len: usize, scale: f32) -> Vec<f32> {
        const SPECIAL: [f32; 6] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -1e-42, -0.0];
        (0..len)
            .map(|_| {
                // Splitmix64.
                self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let bits = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32;
                if self.special && bits.is_multiple_of(61) {
                    SPECIAL[bits as usize / 61 % SPECIAL.len()]
                } else {
                    scale * (bits as f32 / 2f32.powi(31) - 1.0)
                }
            })
            .collect()
    }
}
