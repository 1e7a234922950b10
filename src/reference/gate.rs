//! What becomes of the sums of a gate, whichever cell it is of.

use super::real::{Real, masked};

/// x, limited to ±limit.
pub(super) fn clip<R: Real>(x: R, limit: Option<R>) -> R {
    match limit {
        Some(limit) if x > limit => limit,
        Some(limit) if x < -limit => -limit,
        _ => x,
    }
}

/// The derivative of [`clip`]: 1 inside, 0 outside.
pub(super) fn passes<R: Real>(x: R, limit: Option<R>) -> R {
    if clip(x, limit) == x { R::ONE } else { R::ZERO }
}

/// 1 − x
pub(super) fn complement<R: Real>(x: &[R]) -> Vec<R> {
    x.iter().map(|&x| R::ONE - x).collect()
}

/// mask ⊙ new + (1 − mask) ⊙ old, or new without a mask.
pub(super) fn mix<R: Real>(new: &[R], old: &[R], mask: Option<&[R]>) -> Vec<R> {
    let Some(mask) = mask else { return new.to_vec() };
    let (new, old) = (masked(new, Some(mask)), masked(old, Some(&complement(mask))));
    new.iter().zip(old).map(|(&new, old)| new + old).collect()
}

/// (x − mean) / √(variance + ε), and √(variance + ε).
pub(super) fn normalize<R: Real>(x: &[R], epsilon: R) -> (Vec<R>, R) {
    let mean = mean(x.iter().copied());
    let centered: Vec<R> = x.iter().map(|&x| x - mean).collect();
    let deviation = (self::mean(centered.iter().map(|&x| x * x)) + epsilon).sqrt();
    (centered.iter().map(|&x| x / deviation).collect(), deviation)
}

/// The derivative of [`normalize`]: with n the normal values, dx = (dn − mean dn − n·mean(dn ⊙ n)) / deviation.
pub(super) fn normalize_backward<R: Real>(normal: &[R], deviation: R, d_normal: &[R]) -> Vec<R> {
    let mean_d = mean(d_normal.iter().copied());
    let mean_dn = mean(d_normal.iter().zip(normal).map(|(&d, &n)| d * n));
    d_normal.iter().zip(normal).map(|(&d, &n)| (d - mean_d - n * mean_dn) / deviation).collect()
}

fn mean<R: Real>(values: impl ExactSizeIterator<Item = R>) -> R {
    let count = R::of(values.len());
    values.fold(R::ZERO, |sum, value| sum + value) / count
}
