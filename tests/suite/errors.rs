//! Errors against f64, beside those of PyTorch in f32 for the same cases; `tests/data/pytorch_errors` has them and how
//! they were made.

use crate::common::{Case, Cotangents, Recording, Run, Sizes, fused_levels, levels, widen};
use quadgate::Isa;

/// A line of errors.csv: sizes, and the errors of PyTorch's output and gradients.
fn cases() -> Vec<(Sizes, [f64; 2])> {
    let parsed = |line: &str| {
        let words: Vec<&str> = line.split(',').collect();
        let size = |n: usize| words[n].parse().expect("a size");
        let error = |n: usize| words[n].parse().expect("an error");
        let sizes = Sizes { steps: size(0), batch: size(1), inputs: size(2), units: size(3) };
        (sizes, [error(4), error(5)])
    };
    include_str!("../data/pytorch_errors/errors.csv").lines().skip(1).map(parsed).collect()
}

/// Root mean square of the difference, as a part of that of what was expected.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let difference: f64 = widen(found).iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    (difference / expected.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// Of the output, and the mean of those of all gradients, on each of some levels.
fn errors(seed: u64, sizes: Sizes, levels: &[Isa]) -> Vec<[f64; 2]> {
    let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
    let (output, expected) = (case.expected().output, case.expected_gradients(&cotangents));
    let of_level = |&isa: &Isa| {
        let found = case.gradients(Run::on(isa), Recording::Full, &cotangents, None);
        let (weight_ih, rest) = found.parameters.split_at(4 * sizes.units * sizes.inputs);
        let (weight_hh, bias) = rest.split_at(4 * sizes.units * sizes.units);
        let gradients = [
            error(&found.input, &expected.input),
            error(&found.initial_hidden, &expected.initial_hidden),
            error(&found.initial_cell, &expected.initial_cell),
            error(weight_ih, &expected.weight_ih),
            error(weight_hh, &expected.weight_hh),
            error(bias, &expected.bias),
        ];
        let forward = error(&case.forward(Run::on(isa)).output, &output);
        [forward, gradients.iter().sum::<f64>() / gradients.len() as f64]
    };
    levels.iter().map(of_level).collect()
}

/// Levels with fused multiply-add have the same bits, so the last of them stands for all; the portable one rounds twice
/// per term.
#[test]
fn errors_against_f64_are_no_larger_than_those_of_pytorch() {
    let fused = fused_levels();
    let levels: Vec<Isa> =
        levels().into_iter().filter(|isa| !fused.contains(isa) || Some(isa) == fused.last()).collect();
    let ratios: Vec<Vec<[f64; 2]>> = (0..)
        .zip(cases())
        .map(|(seed, (sizes, of_pytorch))| {
            let ratios = |found: [f64; 2]| [found[0] / of_pytorch[0], found[1] / of_pytorch[1]];
            errors(seed, sizes, &levels).into_iter().map(ratios).collect()
        })
        .collect();
    for (level, isa) in levels.into_iter().enumerate() {
        for (which, what) in ["output", "gradients"].into_iter().enumerate() {
            let mut ratios: Vec<f64> = ratios.iter().map(|of_case| of_case[level][which]).collect();
            ratios.sort_by(f64::total_cmp);
            let [least, median, worst] = [ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]];
            println!(
                "{isa}, {what}: least {least:.2}, median {median:.2}, worst {worst:.2} times that of PyTorch"
            );
            let most = if isa == Isa::Portable { 1.05 } else { 1.0 };
            assert!(median <= most && worst <= 1.5, "{isa}, {what}: median {median}, worst {worst}");
        }
    }
}
