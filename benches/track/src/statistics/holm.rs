//! Holm's correction: among all tests together, a false alarm is no more likely than in one.
//!
//! S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

/// The adjusted p-values, in the order of the given ones: the k-th smallest of m times m − k + 1, and no smaller than
/// the one before.
pub fn adjusted(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut highest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        highest = highest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_are_those_of_r() {
        // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let expected = [0.03, 0.06, 0.06, 0.02];
        for (found, expected) in adjusted(&[0.01, 0.04, 0.03, 0.005]).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        assert_eq!(adjusted(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(adjusted(&[]), [0.0; 0]);
    }

    #[test]
    fn what_is_rejected_is_what_the_procedure_rejects_step_by_step() {
        // The definition: go through the smallest first, stop at the first p above alpha / (m − k + 1).
        let mut random = crate::random::Random::new(3);
        for _ in 0..200 {
            let p: Vec<f64> = (0..7).map(|_| random.uniform().powi(3)).collect();
            let mut order: Vec<usize> = (0..p.len()).collect();
            order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
            let rejected: Vec<usize> = order
                .iter()
                .enumerate()
                .take_while(|&(rank, &index)| p[index] <= 0.05 / (p.len() - rank) as f64)
                .map(|(_, &index)| index)
                .collect();
            let adjusted = adjusted(&p);
            for (index, adjusted) in adjusted.into_iter().enumerate() {
                assert_eq!(adjusted <= 0.05, rejected.contains(&index), "{p:?}");
            }
        }
    }
}
