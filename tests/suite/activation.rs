//! Activation functions against the real functions in f64.
//!
//! The ordinary run strides through all bit patterns; the ignored tests visit each of the 2³².

use crate::common::family::function;
use crate::common::{is_short, levels};
use quadgate::Activation;
use quadgate::reference::NaiveActivation;
use rayon::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Function {
    Sigmoid,
    Tanh,
}

impl Function {
    fn exact(self, x: f32) -> f64 {
        let x = f64::from(x);
        match self {
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Tanh => x.tanh(),
        }
    }

    fn apply(self, activation: Activation, values: &mut [f32]) {
        match self {
            Function::Sigmoid => activation.sigmoid(values),
            Function::Tanh => activation.tanh(values),
        }
    }
}

/// Distance of the two f32 numbers next to `exact`, which is a normal number of f32.
fn ulp(exact: f64) -> f64 {
    let exponent = (exact.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    f64::from(exponent - 23).exp2()
}

/// Checks `count` bit patterns, `stride` apart, from `start`; returns the largest error in ULP.
fn check(function: Function, activation: Activation, start: u64, count: usize, stride: u64) -> f64 {
    let inputs: Vec<f32> = (0..count).map(|i| f32::from_bits((start + i as u64 * stride) as u32)).collect();
    let mut outputs = inputs.clone();
    function.apply(activation, &mut outputs);
    let mut worst = 0.0f64;
    for (&x, &y) in inputs.iter().zip(&outputs) {
        if x.is_nan() {
            assert!(y.is_nan(), "{function:?}({x}) = {y}");
            continue;
        }
        let exact = function.exact(x);
        match function {
            Function::Sigmoid => assert!((0.0..=1.0).contains(&y), "σ({x:e}) = {y:e}"),
            Function::Tanh => {
                assert!(y.abs() <= 1.0 && y.is_sign_negative() == x.is_sign_negative(), "tanh({x:e}) = {y:e}")
            }
        }
        if exact.abs() < f64::from(f32::MIN_POSITIVE) {
            // Of tanh, x itself.
            assert!(
                y.abs() < 1.01 * f32::MIN_POSITIVE,
                "{function:?}({x:e}) = {y:e}, below the normal numbers"
            );
        } else {
            worst = worst.max((f64::from(y) - exact).abs() / ulp(exact));
        }
    }
    worst
}

/// Checks every `stride`-th bit pattern on every level.
fn sweep(stride: u64) {
    const CHUNK: usize = 1 << 16;
    for isa in levels() {
        let activation = Activation::with_isa(isa).unwrap();
        for function in [Function::Sigmoid, Function::Tanh] {
            let patterns = (1u64 << 32).div_ceil(stride);
            let worst = (0..patterns.div_ceil(CHUNK as u64))
                .into_par_iter()
                .map(|chunk| {
                    let first = chunk * CHUNK as u64;
                    let count = (patterns - first).min(CHUNK as u64) as usize;
                    check(function, activation, first * stride, count, stride)
                })
                .reduce(|| 0.0, f64::max);
            println!("{isa}: {function:?} within {worst:.3} ULP over {patterns} inputs");
            assert!(worst <= 2.0, "{isa}: {function:?} is off by {worst} ULP");
        }
    }
}

/// How many bit patterns a sweep goes on by: a prime, so that all low bits occur.
fn stride(ordinary: usize) -> usize {
    if is_short() { 49_999 } else { ordinary }
}

#[test]
fn both_are_within_two_ulp_and_their_bounds_on_a_sweep_of_millions() {
    sweep(stride(499) as u64);
}

#[test]
#[ignore = "visits all 2³² inputs on each level: some minutes; see docs/NUMERICS.md"]
fn both_are_within_two_ulp_and_their_bounds_on_every_input() {
    sweep(1);
}

#[test]
fn tanh_is_odd_to_the_bit() {
    for isa in levels() {
        let activation = Activation::with_isa(isa).unwrap();
        let inputs: Vec<f32> = (0..=0x7f80_0000u32).step_by(stride(997)).map(f32::from_bits).collect();
        let (mut plus, mut minus) = (inputs.clone(), inputs.iter().map(|x| -x).collect::<Vec<f32>>());
        activation.tanh(&mut plus);
        activation.tanh(&mut minus);
        for (a, b) in plus.iter().zip(&minus) {
            assert_eq!(a.to_bits(), (-b).to_bits());
        }
    }
}

#[test]
fn infinities_and_zeros_are_exact() {
    for isa in levels() {
        let activation = Activation::with_isa(isa).unwrap();
        let mut values = [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        activation.tanh(&mut values);
        assert_eq!(values.map(f32::to_bits), [1.0f32, -1.0, 0.0, -0.0].map(f32::to_bits));
        let mut values = [f32::INFINITY, 0.0, -0.0];
        activation.sigmoid(&mut values);
        assert_eq!(values, [1.0, 0.5, 0.5]);
        let mut values = [f32::NEG_INFINITY];
        activation.sigmoid(&mut values);
        assert!((0.0..1.01 * f32::MIN_POSITIVE).contains(&values[0]));
    }
}

#[test]
fn a_slice_of_any_length_gets_each_element_once() {
    for isa in levels() {
        let activation = Activation::with_isa(isa).unwrap();
        for len in 0..70 {
            let inputs: Vec<f32> = (0..len).map(|i| i as f32 / 7.0 - 4.0).collect();
            for function in [Function::Sigmoid, Function::Tanh] {
                let mut values = inputs.clone();
                function.apply(activation, &mut values);
                for (&x, &y) in inputs.iter().zip(&values) {
                    assert!((f64::from(y) - function.exact(x)).abs() < 1e-6);
                }
            }
        }
    }
}

#[test]
fn functions_of_onnx_are_within_four_ulp_and_keep_nan() {
    use NaiveActivation::*;
    let functions: [NaiveActivation; 13] = [
        Sigmoid,
        Tanh,
        Relu,
        HardSigmoid { alpha: 0.25, beta: 0.5 },
        Softsign,
        Softplus,
        // A power of two, so that the product is exact where there is no fused multiply-add.
        Affine { alpha: -2.0, beta: 0.75 },
        LeakyRelu { alpha: 0.125 },
        ThresholdedRelu { alpha: 1.0 },
        ThresholdedRelu { alpha: -1.0 },
        ScaledTanh { alpha: 1.75, beta: 0.625 },
        Elu { alpha: 1.5 },
        Elu { alpha: -0.5 },
    ];
    // All magnitudes from the smallest normal number up to 80, beyond which some results are not normal.
    let (least, most) = (f32::MIN_POSITIVE.to_bits(), 80f32.to_bits());
    let inputs: Vec<f32> = (least..most)
        .step_by(stride(4999))
        .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
        .collect();
    for isa in levels() {
        let activation = Activation::with_isa(isa).unwrap();
        for naive in functions {
            let mut outputs = inputs.clone();
            activation.apply(function(naive), &mut outputs);
            for (&x, &y) in inputs.iter().zip(&outputs) {
                let exact = naive.value(x.into());
                let error = (f64::from(y) - exact).abs();
                let unit = if exact == 0.0 { f64::MIN_POSITIVE } else { ulp(exact) };
                assert!(error <= 4.0 * unit, "{isa}: {naive:?} of {x:e} = {y:e}, not {exact:e}");
            }
            let mut nan = [f32::NAN; 20];
            activation.apply(function(naive), &mut nan);
            assert!(nan.iter().all(|value| value.is_nan()), "{isa}: {naive:?} of NaN");
        }
    }
}
