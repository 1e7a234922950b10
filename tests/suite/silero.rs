//! The LSTM of the Silero VAD v6 speech detector (MIT license) on 20 s of real speech.
//!
//! `tests/data/silero_lstm_20s.safetensors` holds the layer, the 625 frames that the detector's convolutions made of
//! the recording, and h, the last c and the probability of speech in float64.

use crate::common::{self, Case, Outcome, Run, Sizes, levels, max_error};
use quadgate::{Isa, Schedule};
use safetensors::{Dtype, SafeTensors};

const FRAMES: usize = 625;
const SPEECH_FRAMES: usize = 444;
const UNITS: usize = 128;

const MAX_ERROR: f64 = 4e-6;
const MEAN_ERROR: f64 = 1e-7;
/// Of c, whose largest element is 46, where neighboring floats are 4e-6 apart.
const MAX_RELATIVE_ERROR: f64 = 4e-6;
const MAX_PROBABILITY_ERROR: f64 = 1e-5;

/// A detector's LSTM, its input, and what must come out.
struct Speech {
    case: Case,
    hidden: Vec<f64>,
    last_cell: Vec<f64>,
    output_weight: Vec<f32>,
    output_bias: f32,
    probabilities: Vec<f64>,
}

impl Speech {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/silero_lstm_20s.safetensors");
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        Speech {
            case: Case {
                sizes: Sizes { steps: FRAMES, batch: 1, inputs: UNITS, units: UNITS },
                weight_ih: f32s(&file, "weight_ih", &[4 * UNITS, UNITS]),
                weight_hh: f32s(&file, "weight_hh", &[4 * UNITS, UNITS]),
                bias_ih: f32s(&file, "bias_ih", &[4 * UNITS]),
                bias_hh: f32s(&file, "bias_hh", &[4 * UNITS]),
                x: f32s(&file, "x", &[FRAMES, 1, UNITS]),
                initial_hidden: vec![0.0; UNITS],
                initial_cell: vec![0.0; UNITS],
            },
            hidden: f64s(&file, "h", &[FRAMES, 1, UNITS]),
            last_cell: f64s(&file, "c_n", &[1, UNITS]),
            output_weight: f32s(&file, "final_conv.weight", &[1, UNITS, 1]),
            output_bias: f32s(&file, "final_conv.bias", &[1])[0],
            probabilities: f64s(&file, "prob", &[FRAMES]),
        }
    }

    /// What the detector's output layer makes of one h: σ(w·relu(h) + b).
    fn probability(&self, hidden: &[f32]) -> f32 {
        let products = self.output_weight.iter().zip(hidden).map(|(weight, h)| weight * h.max(0.0));
        let logit = products.sum::<f32>() + self.output_bias;
        1.0 / (1.0 + (-logit).exp())
    }

    fn assert_close(&self, found: &Outcome, context: &str) {
        let max = max_error(&found.output, &self.hidden);
        let mean = mean_error(&found.output, &self.hidden);
        let cell = max_relative_error(&found.last_cell, &self.last_cell);
        println!("{context}: h max {max:.2e}, h mean {mean:.2e}, last c {cell:.2e}");
        assert!(max <= MAX_ERROR, "h: max error {max:e} > {MAX_ERROR:e}, {context}");
        assert!(mean <= MEAN_ERROR, "h: mean error {mean:e} > {MEAN_ERROR:e}, {context}");
        assert!(cell <= MAX_RELATIVE_ERROR, "last c: error {cell:e} > {MAX_RELATIVE_ERROR:e}, {context}");
        assert_eq!(found.last_hidden, found.output[(FRAMES - 1) * UNITS..], "last h, {context}");
    }
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype, shape: &[usize]) -> &'a [u8] {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((tensor.dtype(), tensor.shape()), (dtype, shape), "{name}");
    tensor.data()
}

fn f32s(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Vec<f32> {
    let (elements, _) = tensor(file, name, Dtype::F32, shape).as_chunks::<4>();
    elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn f64s(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Vec<f64> {
    let (elements, _) = tensor(file, name, Dtype::F64, shape).as_chunks::<8>();
    elements.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn mean_error(found: &[f32], expected: &[f64]) -> f64 {
    let sum: f64 =
        found.iter().zip(expected).map(|(&found, expected)| (f64::from(found) - expected).abs()).sum();
    sum / expected.len() as f64
}

/// The largest difference as a part of the expected value, or of 1 if that is smaller.
fn max_relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error = |(&f, e): (&f32, &f64)| (f64::from(f) - e).abs() / e.abs().max(1.0);
    // In this order NaN is the largest.
    found.iter().zip(expected).map(error).max_by(f64::total_cmp).unwrap()
}

/// `property` must hold for whole sequences in both schedules and for single steps, on every level.
fn for_every_way_to_run(speech: &Speech, property: impl Fn(&Outcome, &str)) {
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let outcome = speech.case.forward(Run::on(isa).schedule(schedule));
            property(&outcome, &format!("whole sequence, {schedule:?}, {isa}"));
        }
        property(&speech.case.step_by_step(Run::on(isa)), &format!("step by step, {isa}"));
    }
}

#[test]
fn h_and_the_last_c_are_those_of_float64() {
    let speech = Speech::load();
    for_every_way_to_run(&speech, |outcome, context| speech.assert_close(outcome, context));
}

#[test]
fn probabilities_are_those_of_float64() {
    let speech = Speech::load();
    for_every_way_to_run(&speech, |outcome, context| {
        let probabilities: Vec<f32> =
            outcome.output.chunks_exact(UNITS).map(|hidden| speech.probability(hidden)).collect();
        let error = max_error(&probabilities, &speech.probabilities);
        println!("{context}: probability max {error:.2e}");
        assert!(error <= MAX_PROBABILITY_ERROR, "error {error:e} > {MAX_PROBABILITY_ERROR:e}, {context}");
        let speech_frames = probabilities.iter().filter(|&&probability| probability > 0.5).count();
        assert_eq!(speech_frames, SPEECH_FRAMES, "frames with speech, {context}");
    });
}

#[test]
fn both_schedules_and_single_steps_yield_the_same_bits() {
    let speech = Speech::load();
    for isa in levels() {
        let steps = speech.case.step_by_step(Run::on(isa));
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let whole = speech.case.forward(Run::on(isa).schedule(schedule));
            assert_same_bits(&steps, &whole, &format!("steps and {schedule:?} on {isa}"));
        }
    }
}

#[test]
fn every_level_with_a_fused_multiply_add_yields_the_same_bits() {
    let speech = Speech::load();
    let outcomes: Vec<(Isa, Outcome)> =
        common::fused_levels().into_iter().map(|isa| (isa, speech.case.forward(Run::on(isa)))).collect();
    for pair in outcomes.windows(2) {
        let [(isa, outcome), (other_isa, other)] = pair else { unreachable!("windows of two") };
        assert_same_bits(outcome, other, &format!("{isa} and {other_isa}"));
    }
}

fn assert_same_bits(a: &Outcome, b: &Outcome, context: &str) {
    for (name, a, b) in [
        ("output", &a.output, &b.output),
        ("last h", &a.last_hidden, &b.last_hidden),
        ("last c", &a.last_cell, &b.last_cell),
    ] {
        let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}: different bits, {context}");
    }
}
