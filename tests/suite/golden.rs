//! Recorded answers of PyTorch in float64 (`tests/data/golden`), on every level and both schedules.

use crate::common::{
    self, Case, Cotangents, Layout, Outcome, Recording, Run, Sizes, assert_close, assert_gradients_close,
    bits, levels,
};
use quadgate::reference::{NaiveGradients, NaiveOutput};
use quadgate::{Lstm, LstmWeights, Schedule};
use safetensors::{Dtype, SafeTensors};

struct Golden {
    case: Case,
    has_bias: bool,
    has_state: bool,
    batch_first: bool,
    expected: NaiveOutput<f64>,
    cotangents: Cotangents,
    gradients: NaiveGradients<f64>,
}

fn f32s(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f32>> {
    let tensor = file.tensor(name).ok()?;
    assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
    Some(tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
}

fn f64s(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    optional_f64s(file, name).unwrap_or_else(|| panic!("no tensor {name}"))
}

fn optional_f64s(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f64>> {
    let tensor = file.tensor(name).ok()?;
    assert_eq!(tensor.dtype(), Dtype::F64, "{name}");
    Some(tensor.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect())
}

/// Swaps the first two dimensions.
fn transpose<T: Copy>(values: &[T], [outer, inner, width]: [usize; 3]) -> Vec<T> {
    (0..inner)
        .flat_map(|i| (0..outer).flat_map(move |o| (0..width).map(move |w| (o * inner + i) * width + w)))
        .map(|index| values[index])
        .collect()
}

fn load(name: &str) -> Golden {
    let path = format!("{}/data/golden/lstm_{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let config: serde_json::Value =
        serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let batch_first = config["batch_first"].as_bool().unwrap();
    let sizes = Sizes {
        steps: size("seq_len"),
        batch: size("batch"),
        inputs: size("input_size"),
        units: size("hidden_size"),
    };
    let time_major = |values: Vec<f32>, width| {
        if batch_first { transpose(&values, [sizes.batch, sizes.steps, width]) } else { values }
    };
    let output = f64s(&file, "out");
    let output =
        if batch_first { transpose(&output, [sizes.batch, sizes.steps, sizes.units]) } else { output };
    let time_major_gradient = f64s(&file, "grad.x");
    let time_major_gradient = if batch_first {
        transpose(&time_major_gradient, [sizes.batch, sizes.steps, sizes.inputs])
    } else {
        time_major_gradient
    };
    let zeros = || vec![0.0; sizes.batch * sizes.units];
    let bias = |name| f32s(&file, name).unwrap_or_else(|| vec![0.0; 4 * sizes.units]);
    Golden {
        case: Case {
            sizes,
            weight_ih: f32s(&file, "weight_ih_l0").unwrap(),
            weight_hh: f32s(&file, "weight_hh_l0").unwrap(),
            bias_ih: bias("bias_ih_l0"),
            bias_hh: bias("bias_hh_l0"),
            x: time_major(f32s(&file, "x").unwrap(), sizes.inputs),
            initial_hidden: f32s(&file, "h0").unwrap_or_else(zeros),
            initial_cell: f32s(&file, "c0").unwrap_or_else(zeros),
        },
        has_bias: f32s(&file, "bias_ih_l0").is_some(),
        has_state: f32s(&file, "h0").is_some(),
        batch_first,
        expected: NaiveOutput { output, last_hidden: f64s(&file, "hn"), last_cell: f64s(&file, "cn") },
        cotangents: Cotangents {
            output: time_major(f32s(&file, "cot_out").unwrap(), sizes.units),
            last_hidden: f32s(&file, "cot_hn").unwrap(),
            last_cell: f32s(&file, "cot_cn").unwrap(),
        },
        gradients: NaiveGradients {
            input: time_major_gradient,
            weight_ih: f64s(&file, "grad.weight_ih_l0"),
            weight_hh: f64s(&file, "grad.weight_hh_l0"),
            // Without a bias PyTorch has no gradient of it: zeros, which nothing is compared with.
            bias: optional_f64s(&file, "grad.bias_ih_l0").unwrap_or_default(),
            initial_hidden: optional_f64s(&file, "grad.h0").unwrap_or_default(),
            initial_cell: optional_f64s(&file, "grad.c0").unwrap_or_default(),
        },
    }
}

fn check(name: &str, tolerance: f64, gradient_tolerance: f64) {
    let golden = load(name);
    let layout = if golden.batch_first { Layout::BatchMajor } else { Layout::TimeMajor };
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let run = Run::on(isa).schedule(schedule).layout(layout);
            let found = golden.case.forward(run);
            assert_close(&found, &golden.expected, tolerance, &(name, run));
            assert_close(&golden.case.step_by_step(run), &golden.expected, tolerance, &(name, run));
            let mut gradients = golden.case.gradients(run, Recording::Full, &golden.cotangents, None);
            if !golden.has_bias {
                // The layer has a bias of zeros here; PyTorch's has none, and so no gradient of it.
                gradients
                    .parameters
                    .truncate(golden.gradients.weight_ih.len() + golden.gradients.weight_hh.len());
            }
            assert_gradients_close(&gradients, &golden.gradients, gradient_tolerance, &(name, run));
            if !golden.has_bias {
                assert_same_bits(&found, &without_bias(&golden.case, run));
            }
        }
    }
}

/// A run of weights that have no bias at all, rather than one of zeros.
fn without_bias(case: &Case, run: Run) -> Outcome {
    let config = run.config(case.sizes);
    let weights = LstmWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, None, None).unwrap();
    let lstm = Lstm::new(&config, &weights).unwrap();
    let mut workspace = lstm.workspace(case.sizes.batch).unwrap();
    case.forward_with(&lstm, &mut workspace, run.layout)
}

fn assert_same_bits(a: &Outcome, b: &Outcome) {
    assert_eq!(bits(&a.output), bits(&b.output));
    assert_eq!(bits(&a.last_cell), bits(&b.last_cell));
}

macro_rules! goldens {
    ($($name:ident: $tolerance:expr, $gradient_tolerance:expr;)*) => {$(
        #[test]
        fn $name() {
            check(stringify!($name), $tolerance, $gradient_tolerance);
        }
    )*};
}

goldens! {
    small: 5e-7, 1e-6;
    one_step: 5e-7, 1e-6;
    zero_state: 5e-7, 1e-6;
    odd: 5e-7, 1e-6;
    mid: 5e-7, 1e-6;
    wide_batch: 5e-7, 1e-6;
    long: 5e-7, 1e-6;
    saturated: 8e-6, 1e-5;
    no_bias: 5e-7, 1e-6;
    batch_first: 5e-7, 1e-6;
}

#[test]
fn the_oracle_agrees_with_every_golden() {
    for name in [
        "small",
        "one_step",
        "zero_state",
        "odd",
        "mid",
        "wide_batch",
        "long",
        "saturated",
        "no_bias",
        "batch_first",
    ] {
        let golden = load(name);
        let found = golden.case.expected();
        let gradients = golden.case.expected_gradients(&golden.cotangents);
        for (found, expected) in [
            (&gradients.input, &golden.gradients.input),
            (&gradients.weight_ih, &golden.gradients.weight_ih),
            (&gradients.weight_hh, &golden.gradients.weight_hh),
            (&found.output, &golden.expected.output),
            (&found.last_hidden, &golden.expected.last_hidden),
            (&found.last_cell, &golden.expected.last_cell),
        ] {
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{name}: {a} against {b}");
            }
        }
    }
}

#[test]
fn missing_initial_states_are_zero() {
    let golden = load("zero_state");
    assert!(!golden.has_state || golden.case.initial_hidden.iter().all(|&h| h == 0.0));
    for isa in levels() {
        let Sizes { steps, batch, inputs, units } = golden.case.sizes;
        let lstm = golden.case.lstm(Run::on(isa));
        let mut workspace = lstm.workspace(batch).unwrap();
        let mut output = vec![0.0; steps * batch * units];
        let call =
            quadgate::Forward::new(quadgate::Sequence::time_major(&golden.case.x, steps, batch, inputs))
                .output(quadgate::SequenceMut::time_major(&mut output, steps, batch, units));
        lstm.forward(&mut workspace, call).unwrap();
        assert!(common::max_error(&output, &golden.expected.output) <= 5e-7);
    }
}
