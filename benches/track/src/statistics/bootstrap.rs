//! The bootstrap: how much a figure of two samples would scatter if they were taken again.
//!
//! B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).

use super::quantile;
use crate::random::Random;

/// Resamples.
const RESAMPLES: usize = 2000;

/// The percentile interval of the logarithm of median(`b`) / median(`a`); the same for the same samples.
pub fn log_ratio_interval(a: &[f64], b: &[f64], alpha: f64) -> [f64; 2] {
    let mut random = Random::new(1);
    let mut ratios = Vec::with_capacity(RESAMPLES);
    let mut again = Vec::new();
    for _ in 0..RESAMPLES {
        let mut median_again = |samples: &[f64]| {
            again.clear();
            again.extend((0..samples.len()).map(|_| samples[random.below(samples.len())]));
            again.sort_unstable_by(f64::total_cmp);
            quantile::quantile(&again, 0.5)
        };
        ratios.push((median_again(b) / median_again(a)).ln());
    }
    let ratios = quantile::sorted(ratios);
    [quantile::quantile(&ratios, 0.5 * alpha), quantile::quantile(&ratios, 1.0 - 0.5 * alpha)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_as_wide_as_the_theory_of_medians_says() {
        // The median of n normal values scatters by σ·√(π / 2n).
        let mut random = Random::new(5);
        let n = 400;
        let mut sample =
            |center: f64| -> Vec<f64> { (0..n).map(|_| center + 0.01 * random.normal()).collect() };
        let (a, b) = (sample(1.0), sample(1.05));
        let [low, high] = log_ratio_interval(&a, &b, 0.05);
        assert!(low < 1.05f64.ln() && 1.05f64.ln() < high, "{low} … {high}");
        let scatter = 0.01 * (std::f64::consts::PI / (2.0 * f64::from(n))).sqrt();
        let expected = 2.0 * 1.96 * scatter * (1.0 + 1.0 / 1.05f64.powi(2)).sqrt();
        assert!(
            (high - low) / expected > 0.7 && (high - low) / expected < 1.4,
            "{} to {expected}",
            high - low
        );
    }

    #[test]
    fn the_same_samples_give_the_same_interval() {
        let (a, b) = ([1.0, 1.1, 1.2, 0.9], [1.0, 1.3, 1.2, 1.1]);
        assert_eq!(log_ratio_interval(&a, &b, 0.05), log_ratio_interval(&a, &b, 0.05));
    }
}
