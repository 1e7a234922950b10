//! What becomes of the sums of a gate, whichever cell it is of.

use super::real::masked;

/// x, limited to ±limit.
pub(super) fn clip(x: f64, limit: Option<f64>) -> f64 {
    match limit {
        Some(limit) if x > limit => limit,
        Some(limit) if x < -limit => -limit,
        _ => x,
    }
}

/// The derivative of [`clip`]: 1 inside, 0 outside.
pub(super) fn passes(x: f64, limit: Option<f64>) -> f64 {
    if clip(x, limit) == x { 1.0 } else { 0.0 }
}

/// 1 − x
pub(super) fn complement(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| 1.0 - x).collect()
}

/// mask ⊙ new + (1 − mask) ⊙ old, or new without a mask.
pub(super) fn mix(new: &[f64], old: &[f64], mask: Option<&[f64]>) -> Vec<f64> {
    let Some(mask) = mask else { return new.to_vec() };
    let (new, old) = (masked(new, Some(mask)), masked(old, Some(&complement(mask))));
    new.iter().zip(old).map(|(&new, old)| new + old).collect()
}

/// (x − mean) / √(variance + ε), and √(variance + ε).
pub(super) fn normalize(x: &[f64], epsilon: f64) -> (Vec<f64>, f64) {
    let mean = mean(x.iter().copied());
    let centered: Vec<f64> = x.iter().map(|&x| x - mean).collect();
    let deviation = (self::mean(centered.iter().map(|&x| x * x)) + epsilon).sqrt();
    (centered.iter().map(|&x| x / deviation).collect(), deviation)
}

/// The derivative of [`normalize`]: with n the normal values, dx = (dn − mean dn − n·mean(dn ⊙ n)) / deviation.
pub(super) fn normalize_backward(normal: &[f64], deviation: f64, d_normal: &[f64]) -> Vec<f64> {
    let mean_d = mean(d_normal.iter().copied());
    let mean_dn = mean(d_normal.iter().zip(normal).map(|(&d, &n)| d * n));
    d_normal.iter().zip(normal).map(|(&d, &n)| (d - mean_d - n * mean_dn) / deviation).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.fold(0.0, |sum, value| sum + value) / count
}
