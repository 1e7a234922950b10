//! Parameters to begin with: their distributions, and the same numbers everywhere.

use crate::common::{bits, fnv};
use quadgate::{
    Directions, Distribution, Error, GruConfig, Initialization, LstmConfig, RnnConfig, StackConfig,
};

/// Mean and variance.
fn moments(values: &[f32]) -> [f64; 2] {
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / values.len() as f64;
    [mean, variance]
}

fn assert_uniform(values: &[f32], limit: f64) {
    let [mean, variance] = moments(values);
    let largest = values.iter().fold(0.0f64, |largest, &x| largest.max(f64::from(x).abs()));
    let (count, expected) = (values.len() as f64, limit * limit / 3.0);
    assert!(largest <= limit * (1.0 + 1e-6) && largest > limit * 0.98, "{largest} of {limit}");
    assert!(mean.abs() < 5.0 * (expected / count).sqrt(), "mean {mean}");
    assert!((variance / expected - 1.0).abs() < 5.0 / count.sqrt(), "variance {variance}, not {expected}");
}

#[test]
fn pytorch_begins_uniform_by_units_with_two_biases() {
    let config = LstmConfig::new(30, 50).projection(20);
    let ranges = config.parameters().unwrap();
    let parameters = config.initial_parameters(&Initialization::PYTORCH, 1).unwrap();
    let limit = 1.0 / 50f64.sqrt();
    for range in [&ranges.weight_ih, &ranges.weight_hh, &ranges.projection] {
        assert_uniform(&parameters[range.clone()], limit);
    }
    // The sum of two.
    let [_, variance] = moments(&parameters[ranges.bias]);
    assert!((variance / (2.0 * limit * limit / 3.0) - 1.0).abs() < 0.4, "{variance}");
}

#[test]
fn keras_begins_with_glorot_orthogonal_and_an_open_forget_gate() {
    for (inputs, units) in [(30, 50), (3, 1), (0, 7)] {
        let config = LstmConfig::new(inputs, units);
        let ranges = config.parameters().unwrap();
        let parameters = config.initial_parameters(&Initialization::KERAS, 2).unwrap();
        if units == 50 {
            assert_uniform(&parameters[ranges.weight_ih], (6.0 / (30.0 + 200.0f64)).sqrt());
        }
        let bias = &parameters[ranges.bias];
        for (row, &bias) in bias.iter().enumerate() {
            assert_eq!(bias, if (units..2 * units).contains(&row) { 1.0 } else { 0.0 });
        }
        if units == 1 {
            continue;
        }
        let recurrent = &parameters[ranges.weight_hh];
        for a in 0..units {
            for b in 0..units {
                let of =
                    |column: usize| (0..4 * units).map(move |row| f64::from(recurrent[row * units + column]));
                let product: f64 = of(a).zip(of(b)).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(u8::from(a == b))).abs() < 1e-6, "{a}, {b}: {product}");
            }
        }
    }
    // Rows, where there are fewer of them.
    let config = LstmConfig::new(100, 5).layer_normalization(0.1).peepholes();
    let initialization = Initialization { input: Distribution::Orthogonal, ..Initialization::KERAS };
    let ranges = config.parameters().unwrap();
    let parameters = config.initial_parameters(&initialization, 3).unwrap();
    for a in parameters[ranges.weight_ih.clone()].chunks(100).take(20) {
        let length: f64 = a.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
    assert!(parameters[ranges.layer_normalization].iter().all(|&scale| scale == 1.0));
    assert!(parameters[ranges.peepholes].iter().all(|&peephole| peephole == 0.0));
}

#[test]
fn a_seed_gives_the_same_numbers_everywhere_and_another_seed_or_layer_others() {
    let sum = |values: &[f32]| fnv(bits(values).into_iter().flat_map(u32::to_le_bytes));
    let config = LstmConfig::new(5, 7);
    let of = |initialization: &Initialization, seed| config.initial_parameters(initialization, seed).unwrap();
    let found = [&Initialization::PYTORCH, &Initialization::KERAS].map(|init| sum(&of(init, 1)));
    assert_eq!(found, [0xed8f_354e_c87e_99d1, 0xc7e1_8e81_18d7_319b], "{found:#x?}");
    assert_ne!(of(&Initialization::PYTORCH, 1), of(&Initialization::PYTORCH, 2));

    let stack = StackConfig::new(7, 7, 2, Directions::Forward);
    let both = stack.initial_parameters(&Initialization::PYTORCH, 1).unwrap();
    let (first, second) = both.split_at(both.len() / 2);
    assert_eq!(first, LstmConfig::new(7, 7).initial_parameters(&Initialization::PYTORCH, 1).unwrap());
    assert_ne!(first, second);
    assert_eq!(
        RnnConfig::new(5, 7).initial_parameters(&Initialization::PYTORCH, 1).unwrap().len(),
        7 * 5 + 7 * 7 + 7
    );
    let gru = GruConfig::new(5, 7);
    let parameters = gru.initial_parameters(&Initialization::KERAS, 1).unwrap();
    assert!(parameters[gru.parameters().unwrap().bias].iter().all(|&bias| bias == 0.0));
    assert!(matches!(
        LstmConfig::new(3, 0).initial_parameters(&Initialization::KERAS, 1),
        Err(Error::Zero { argument: "hidden size", .. })
    ));
    assert!(matches!(
        LstmConfig::new(usize::MAX, 3).initial_parameters(&Initialization::KERAS, 1),
        Err(Error::Overflow { .. })
    ));
}
