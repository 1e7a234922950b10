//! The arithmetic of the oracle.

/// σ(x) = 1 / (1 + e⁻ˣ)
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Σ aₖ·bₖ
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |sum, (&a, &b)| sum + a * b)
}

/// y += factor·x
pub(super) fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    assert_eq!(y.len(), x.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// y += x
pub(super) fn add(y: &mut [f64], x: &[f64]) {
    add_scaled(y, 1.0, x);
}

/// a ⊙ b, or a alone without a b.
pub(super) fn masked(a: &[f64], b: Option<&[f64]>) -> Vec<f64> {
    let Some(b) = b else { return a.to_vec() };
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}
