//! What the oracle says, and the bound within which one step agrees with it.

use quadgate::State;
use quadgate::reference::{NaiveCallGradients, NaiveLstm, NaiveResult, NaiveState};

/// What calls shall write, in the order of [`Written`](crate::written::Written).
pub type Tensors = [Vec<f64>; 7];

/// All that the oracle says of a call.
pub fn tensors(result: NaiveResult, gradients: NaiveCallGradients) -> Tensors {
    let hidden = |states: &[NaiveState]| states.iter().flat_map(|state| state.hidden.clone()).collect();
    let cell = |states: &[NaiveState]| states.iter().flat_map(|state| state.cell.clone()).collect();
    let parameters = gradients.parameters.iter().flat_map(|of| of.named());
    [
        result.output,
        hidden(&result.last),
        cell(&result.last),
        gradients.input,
        hidden(&gradients.initial),
        cell(&gradients.initial),
        parameters.flat_map(|(_, tensor)| tensor.to_vec()).collect(),
    ]
}

/// Whether all is of a magnitude that f32 has, and changed little when the weights did.
pub fn are_steady(tensors: &Tensors, changed: &Tensors) -> bool {
    tensors.iter().zip(changed).all(|(tensor, changed)| {
        let largest = tensor.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let little = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-4 * largest + 1e-7;
        largest < 1e4 && tensor.iter().zip(changed).all(little)
    })
}

/// The same numbers in f64.
pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Checks one step of one row against the oracle.
pub fn check_row(oracle: &NaiveLstm<f64>, x: &[f32], [before, after]: [&State; 2], row: usize) {
    const EPSILON: f64 = f32::EPSILON as f64;
    let x = widen(x);
    let [h, c] = [before.hidden(row), before.cell(row)].map(|values| widen(values.unwrap()));
    let expected = oracle.forward([1, 1], &x, &h, &c);
    for (unit, c) in c.iter().enumerate() {
        // A sum of n terms is off by n roundings of at most the sum of their magnitudes, twice that without fused
        // multiply-adds. No activation is steeper than 1, and each adds 2 ULP of its own.
        let terms = (x.len() + h.len() + 3) as f64;
        let sums_off = terms * EPSILON * sum_of_magnitudes(oracle, unit, &x, &h);
        let cell_bound = (1.0 + c.abs()) * (1.25 * sums_off + 4.0 * EPSILON);
        let hidden_bound = cell_bound + 0.25 * sums_off + 4.0 * EPSILON;
        for (what, found, expected, bound) in [
            ("c", after.cell(row), expected.last_cell[unit], cell_bound),
            ("h", after.hidden(row), expected.last_hidden[unit], hidden_bound),
        ] {
            let found = f64::from(found.unwrap()[unit]);
            assert!(
                (found - expected).abs() <= bound,
                "{what} of row {row}, unit {unit}: expected {expected} ± {bound:e}, found {found}"
            );
        }
    }
}

/// |W|·|x| + |R|·|h| + |b| for one unit, the largest of its four gates.
fn sum_of_magnitudes(oracle: &NaiveLstm<f64>, unit: usize, x: &[f64], h: &[f64]) -> f64 {
    let dot = |weights: &[f64], row: usize, values: &[f64]| -> f64 {
        weights[row * values.len()..].iter().zip(values).map(|(weight, value)| (weight * value).abs()).sum()
    };
    (0..4)
        .map(|gate| gate * oracle.hidden_size + unit)
        .map(|row| dot(&oracle.weight_ih, row, x) + dot(&oracle.weight_hh, row, h) + oracle.bias[row].abs())
        .fold(0.0, f64::max)
}
