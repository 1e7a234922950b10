//! Errors against f64, beside those of PyTorch in f32 for the same cases; `tests/data/pytorch_errors` has them and how they were made.

use crate::common::{Case, Cotangents, Layout, Recording, Run, Sizes, levels, widen};
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

/// Of the output, and the mean of those of all gradients.
fn errors(seed: u64, sizes: Sizes, run: Run) -> [f64; 2] {
    let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
    let forward = error(&case.forward(run).output, &case.expected().output);
    let found = case.gradients(run, Recording::Full, &cotangents, None);
    let expected = case.expected_gradients(&cotangents);
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
    [forward, gradients.iter().sum::<f64>() / gradients.len() as f64]
}

/// Levels with fused multiply-add have the same bits; the portable one rounds twice per term.
#[test]
fn errors_against_f64_are_no_larger_than_those_of_pytorch() {
    for isa in levels().into_iter().filter(|&isa| isa != Isa::Avx2 || levels().len() == 1) {
        let mut ratios = [Vec::new(), Vec::new()];
        for (seed, (sizes, of_pytorch)) in (0..).zip(cases()) {
            let found = errors(seed, sizes, Run::on(isa).layout(Layout::TimeMajor));
            for (ratios, (ours, theirs)) in ratios.iter_mut().zip(found.into_iter().zip(of_pytorch)) {
                ratios.push(ours / theirs);
            }
        }
        for (what, mut ratios) in ["output", "gradients"].into_iter().zip(ratios) {
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
