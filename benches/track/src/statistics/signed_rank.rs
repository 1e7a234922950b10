//! Wilcoxon's signed ranks: a test that flips signs, the shift that fits best, and its interval.
//!
//! If two programs are equally fast, each difference of a round is as likely to have the other sign, since the sides of
//! a round were drawn. So all 2ⁿ ways to give the differences signs are equally likely, and the share of them whose
//! ranks add up as high as those found is an exact p-value, whatever the noise looks like. Ranks instead of the
//! differences themselves keep a few wild rounds from deciding. F. Wilcoxon, Individual comparisons by ranking methods,
//! Biometrics Bulletin 1 (1945); J. L. Hodges and E. L. Lehmann, Estimates of location based on rank tests, Annals of
//! Mathematical Statistics 34 (1963).

use super::quantile;

/// The probability that values with center `shift` or below would lie as high as these.
pub fn p_above(values: &[f64], shift: f64) -> f64 {
    let mut differences: Vec<f64> =
        values.iter().map(|value| value - shift).filter(|difference| *difference != 0.0).collect();
    differences.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = doubled_ranks(&differences);
    let found: usize = ranks
        .iter()
        .zip(&differences)
        .filter(|(_, difference)| **difference > 0.0)
        .map(|(rank, _)| rank)
        .sum();
    distribution(&ranks)[found..].iter().sum::<f64>().min(1.0)
}

/// The probability that values with center `shift` or above would lie as low as these.
pub fn p_below(values: &[f64], shift: f64) -> f64 {
    let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
    p_above(&mirrored, -shift)
}

/// The Hodges-Lehmann estimate of the center: the median of the means of all pairs.
pub fn center(values: &[f64]) -> f64 {
    quantile::quantile(&pair_means(values), 0.5)
}

/// The interval of all centers that the test on either side does not reject at `alpha` / 2; from −∞ to ∞ where there
/// are too few values to reject anything.
pub fn interval(values: &[f64], alpha: f64) -> [f64; 2] {
    let n = values.len();
    let means = pair_means(values);
    let ranks: Vec<usize> = (1..=n).map(|rank| 2 * rank).collect();
    let mut cumulated = 0.0;
    let mut rejected = 0;
    // Positions are doubled, as ranks are.
    for probability in distribution(&ranks).iter().step_by(2) {
        cumulated += probability;
        if cumulated > 0.5 * alpha {
            break;
        }
        rejected += 1;
    }
    if rejected == 0 || rejected > means.len() {
        return [f64::NEG_INFINITY, f64::INFINITY];
    }
    [means[rejected - 1], means[means.len() - rejected]]
}

/// The least number of values of which the test can give a p-value of `p` or less.
pub fn least_values(p: f64) -> usize {
    (-p.log2()).ceil().max(1.0) as usize
}

/// Means of all pairs, each value with itself too, in order.
fn pair_means(values: &[f64]) -> Vec<f64> {
    let pairs = (0..values.len()).flat_map(|i| (i..values.len()).map(move |j| (i, j)));
    quantile::sorted(pairs.map(|(i, j)| 0.5 * (values[i] + values[j])).collect())
}

/// Twice the ranks of values that are sorted by size; equal sizes share the mean of theirs.
fn doubled_ranks(sorted: &[f64]) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    while ranks.len() < sorted.len() {
        let first = ranks.len();
        let equal = sorted[first..].iter().take_while(|value| value.abs() == sorted[first].abs()).count();
        // The mean of first + 1, …, first + equal.
        ranks.extend(std::iter::repeat_n(2 * first + equal + 1, equal));
    }
    ranks
}

/// The probability of each sum of these ranks, if each is in the sum or not with equal chance.
fn distribution(ranks: &[usize]) -> Vec<f64> {
    let mut probabilities = vec![1.0];
    for &rank in ranks {
        let mut next = vec![0.0; probabilities.len() + rank];
        for (sum, probability) in probabilities.iter().enumerate() {
            next[sum] += 0.5 * probability;
            next[sum + rank] += 0.5 * probability;
        }
        probabilities = next;
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The definition: the share of all 2ⁿ ways to give signs whose positive ranks add up as high. Ranks by counting.
    fn p_by_enumeration(values: &[f64]) -> f64 {
        let size = |value: f64| value.abs();
        let rank = |value: f64| {
            let below = values.iter().filter(|other| size(**other) < size(value)).count() as f64;
            let equal = values.iter().filter(|other| size(**other) == size(value)).count() as f64;
            below + 0.5 * (equal + 1.0)
        };
        let ranks: Vec<f64> = values.iter().map(|&value| rank(value)).collect();
        let found: f64 =
            ranks.iter().zip(values).filter(|(_, value)| **value > 0.0).map(|(rank, _)| rank).sum();
        let ways = 1u32 << values.len();
        let high = (0..ways)
            .filter(|way| {
                let sum: f64 =
                    ranks.iter().enumerate().filter(|(i, _)| way >> i & 1 == 1).map(|(_, r)| r).sum();
                sum >= found - 1e-9
            })
            .count();
        high as f64 / f64::from(ways)
    }

    #[test]
    fn p_is_the_share_of_all_signs() {
        let mut random = Random::new(1);
        for n in 1..=12 {
            // Rounded, so that some sizes are equal.
            let values: Vec<f64> =
                (0..n).map(|_| (4.0 * random.normal()).round() + 0.5).map(|v| v + 0.3 * v.signum()).collect();
            let (found, expected) = (p_above(&values, 0.0), p_by_enumeration(&values));
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected} for {values:?}");
        }
    }

    #[test]
    fn both_sides_mirror_each_other() {
        let values = [0.3, -0.1, 0.7, 0.2, 1.4];
        assert_eq!(p_above(&values, 0.1), p_below(&values.map(|value| -value), -0.1));
        // All above: one way of 2⁵.
        assert_eq!(p_above(&values, -1.0), 1.0 / 32.0);
        assert_eq!(p_below(&values, -1.0), 1.0);
    }

    #[test]
    fn the_table_of_critical_values_is_met() {
        // Two-sided 5 %: T = 8 at n = 10, 52 at n = 20, 137 at n = 30 (Wilcoxon and Wilcox, 1964).
        for (n, critical) in [(10, 8), (20, 52), (30, 137)] {
            let ranks: Vec<usize> = (1..=n).map(|rank| 2 * rank).collect();
            let below = |sum: usize| distribution(&ranks)[..=2 * sum].iter().sum::<f64>();
            assert!(below(critical) <= 0.025 && below(critical + 1) > 0.025, "n = {n}");
        }
    }

    #[test]
    fn the_interval_holds_the_centers_that_the_test_does_not_reject() {
        let mut random = Random::new(2);
        for n in [6, 9, 14, 20] {
            let values: Vec<f64> = (0..n).map(|_| random.normal()).collect();
            let alpha = 0.1;
            let [low, high] = interval(&values, alpha);
            let tiny = 1e-9;
            assert!(
                p_above(&values, low - tiny) <= 0.5 * alpha && p_above(&values, low + tiny) > 0.5 * alpha
            );
            assert!(
                p_below(&values, high + tiny) <= 0.5 * alpha && p_below(&values, high - tiny) > 0.5 * alpha
            );
            assert!(low < center(&values) && center(&values) < high);
        }
        assert_eq!(interval(&[1.0, 2.0, 3.0], 0.01), [f64::NEG_INFINITY, f64::INFINITY]);
    }

    #[test]
    fn the_interval_covers_the_center_as_often_as_it_says() {
        let mut random = Random::new(7);
        let runs = 2000;
        let covered = (0..runs)
            .filter(|_| {
                // Heavy tails: a tenth of the rounds is disturbed tenfold.
                let value = |random: &mut Random| {
                    let wild = if random.uniform() < 0.1 { 10.0 } else { 1.0 };
                    0.3 + wild * random.normal()
                };
                let values: Vec<f64> = (0..25).map(|_| value(&mut random)).collect();
                let [low, high] = interval(&values, 0.1);
                low <= 0.3 && 0.3 <= high
            })
            .count();
        // 90 % and a little more, since sums of ranks are whole numbers; within four standard deviations of the count.
        let share = covered as f64 / f64::from(runs);
        assert!((0.874..0.93).contains(&share), "{share}");
    }

    #[test]
    fn few_values_cannot_say_much() {
        assert_eq!(least_values(0.03125), 5);
        assert!(p_above(&[1.0; 5], 0.0) <= 0.03125 && p_above(&[1.0; 4], 0.0) > 0.03125);
    }
}
