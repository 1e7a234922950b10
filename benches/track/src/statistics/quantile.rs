//! Quantiles of samples.

/// The quantile at `share` (0 to 1) of sorted values, linear between neighbors; `NaN` of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// The values in order.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value in the middle of unsorted ones.
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values.to_vec()), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_small_samples_are_those_of_numpy() {
        let values = sorted(vec![7.0, 1.0, 3.0, 10.0]);
        // numpy.quantile([1, 3, 7, 10], [0, .25, .5, .75, 1])
        let found = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&values, share));
        assert_eq!(found, [1.0, 2.5, 5.0, 7.75, 10.0]);
        assert_eq!(median(&[4.0, 1.0, 9.0]), 4.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
