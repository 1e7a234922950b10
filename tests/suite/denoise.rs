//! The example that takes noise out of speech: RNNoise's three layers of gated recurrent units, relu in the place of
//! tanh, on a second of a real recording.

#[allow(dead_code)] // Its command line is not run here.
#[path = "../../examples/denoise.rs"]
mod example;

use crate::common::max_error;
use example::{Denoiser, FRAME, GruTensors, Network, recording};
use nnnoiseless::{DenoiseFeatures, DenoiseState};
use quadgate::{Forward, Matrix, Sequence, SequenceMut};

/// The crate rounds sigmoid and tanh to five digits.
const MAX_SPEECH_DIFFERENCE: f32 = 1e-3;
/// Of the energy of the sound: −60 dB.
const MAX_ENERGY_OF_DIFFERENCE: f64 = 1e-6;
/// Relative to the largest h.
const MAX_ERROR: f64 = 4e-6;

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum()
}

#[test]
fn sound_and_probability_of_speech_are_those_of_another_implementation() {
    let (mut ours, mut theirs) = (Denoiser::new(Network::load().unwrap()).unwrap(), DenoiseState::new());
    let (mut difference, mut total, mut most) = (0.0, 0.0, 0.0f32);
    for frame in recording().chunks_exact(FRAME) {
        let (mut found, mut expected) = ([0.0; FRAME], [0.0; FRAME]);
        let speech = ours.frame(frame, &mut found).unwrap();
        let expected_speech = theirs.process_frame(&mut expected, frame);
        let off = (speech - expected_speech).abs();
        assert!(off <= MAX_SPEECH_DIFFERENCE, "speech with {speech}, not {expected_speech}");
        most = most.max(expected_speech);
        total += energy(&expected);
        difference += energy(&std::array::from_fn::<f32, FRAME, _>(|i| found[i] - expected[i]));
    }
    assert!(most > 0.99, "there is no speech in the recording");
    assert!(difference <= MAX_ENERGY_OF_DIFFERENCE * total, "the sound is off by {:e}", difference / total);
}

/// The features of all frames that are not silent.
fn features() -> Vec<Vec<f32>> {
    let mut features = DenoiseFeatures::new();
    let mut all = Vec::new();
    for frame in recording().chunks_exact(FRAME) {
        features.shift_and_filter_input(frame);
        if !features.compute_frame_features() {
            all.push(features.features().to_vec());
        }
    }
    all
}

/// All h of a layer in float64, as the paper has it: r and z with σ, n with relu, h = z ∘ h + (1 − z) ∘ n.
fn in_float64(layer: &GruTensors, inputs: &[Vec<f32>]) -> Vec<f64> {
    let units = layer.units;
    let sum = |weights: &[f32], input: &[f64], column: usize| -> f64 {
        let column = weights[column..].iter().step_by(3 * units);
        column.zip(input).map(|(&weight, input)| f64::from(weight) * input).sum()
    };
    let sigmoid = |sum: f64| 1.0 / (1.0 + (-sum).exp());
    let mut hidden = vec![0.0; units];
    let mut all = Vec::new();
    for input in inputs {
        let x: Vec<f64> = input.iter().map(|&x| x.into()).collect();
        let gate = |gate: usize, hidden: &[f64]| -> Vec<f64> {
            let columns = gate * units..(gate + 1) * units;
            let one = |c: usize| {
                sum(&layer.input, &x, c) + sum(&layer.recurrent, hidden, c) + f64::from(layer.bias[c])
            };
            columns.map(one).collect()
        };
        let (z, r) = (gate(0, &hidden), gate(1, &hidden));
        let kept: Vec<f64> = hidden.iter().zip(&r).map(|(h, &r)| h * sigmoid(r)).collect();
        let n = gate(2, &kept);
        for (h, (z, n)) in hidden.iter_mut().zip(z.into_iter().zip(n)) {
            *h = sigmoid(z) * *h + (1.0 - sigmoid(z)) * n.max(0.0);
        }
        all.extend(&hidden);
    }
    all
}

#[test]
fn layers_with_relu_are_those_of_float64_and_steps_have_the_bits_of_a_sequence() {
    let network = Network::load().unwrap();
    let features = features();
    assert!(features.len() > 90, "{} frames", features.len());
    let dense: Vec<Vec<f32>> = features.iter().map(|x| network.input.compute(x)).collect();
    let mut of_layers: Vec<Vec<Vec<f32>>> = Vec::new();
    for (index, tensors) in network.layers.iter().enumerate() {
        let input = |t: usize| -> Vec<f32> {
            match index {
                0 => dense[t].clone(),
                1 => [&dense[t][..], &of_layers[0][t], &features[t]].concat(),
                _ => [&of_layers[0][t][..], &of_layers[1][t], &features[t]].concat(),
            }
        };
        let inputs: Vec<Vec<f32>> = (0..features.len()).map(input).collect();
        let layer = tensors.layer().unwrap();
        let mut hidden = vec![0.0; inputs.len() * tensors.units];
        let all = inputs.concat();
        let call = Forward::new(Sequence::time_major(&all, inputs.len(), 1, tensors.inputs))
            .output(SequenceMut::time_major(&mut hidden, inputs.len(), 1, tensors.units));
        layer.forward(&mut layer.workspace(1).unwrap(), call).unwrap();

        let expected = in_float64(tensors, &inputs);
        let largest = expected.iter().copied().fold(1.0, f64::max);
        let error = max_error(&hidden, &expected) / largest;
        assert!(error <= MAX_ERROR, "layer {index}: off by {error:e} of {largest}");

        let mut state = layer.state(1).unwrap();
        for (input, hidden) in inputs.iter().zip(hidden.chunks(tensors.units)) {
            layer.step(&mut state, Matrix::new(input, 1, tensors.inputs)).unwrap();
            assert_eq!(state.hidden(0).unwrap(), hidden);
        }
        of_layers.push(hidden.chunks(tensors.units).map(<[f32]>::to_vec).collect());
    }
}
