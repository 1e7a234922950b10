//! Recorded answers of other frameworks: `tests/data/golden`, safetensors with a JSON `config` in their metadata.

use quadgate::reference::NaiveActivation;
use safetensors::{Dtype, SafeTensors};

pub struct GoldenFile {
    pub name: String,
    pub config: serde_json::Value,
    bytes: Vec<u8>,
}

impl GoldenFile {
    pub fn load(name: &str) -> Self {
        let file = Self::plain(&format!("golden/{name}"));
        let (_, metadata) = SafeTensors::read_metadata(&file.bytes).unwrap();
        let config = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
        Self { name: name.to_owned(), config, ..file }
    }

    /// A file without a configuration, anywhere in `tests/data`.
    pub fn plain(name: &str) -> Self {
        let path = format!("{}/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { name: name.to_owned(), config: serde_json::Value::Null, bytes }
    }

    /// A size of the configuration.
    pub fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap_or_else(|| panic!("{}: no {key}", self.name)) as usize
    }

    /// A tensor, widened to f64 if it is of f32 or of integers.
    pub fn optional(&self, name: &str) -> Option<Vec<f64>> {
        fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            data.chunks_exact(N).map(|bytes| number(bytes.try_into().unwrap())).collect()
        }
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).ok()?;
        Some(match tensor.dtype() {
            Dtype::F64 => numbers(tensor.data(), f64::from_le_bytes),
            Dtype::F32 => numbers(tensor.data(), |bytes| f32::from_le_bytes(bytes).into()),
            Dtype::I32 => numbers(tensor.data(), |bytes| i32::from_le_bytes(bytes).into()),
            Dtype::U8 => numbers(tensor.data(), |bytes| u8::from_le_bytes(bytes).into()),
            other => panic!("{}: {name} is of {other:?}", self.name),
        })
    }

    pub fn tensor(&self, name: &str) -> Vec<f64> {
        self.optional(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name))
    }

    /// A tensor of f32.
    pub fn narrow(&self, name: &str) -> Vec<f32> {
        self.tensor(name).into_iter().map(|value| value as f32).collect()
    }
}

/// ONNX's `activations` with α and β, if there are any: each function takes the next of those that it has.
pub fn activations(golden: &GoldenFile) -> Option<Vec<NaiveActivation>> {
    use NaiveActivation::*;
    let attributes = &golden.config["attributes"];
    let numbers = |name: &str| {
        let numbers = attributes[name].as_array().into_iter().flatten();
        numbers.map(|number| number.as_f64().unwrap()).collect::<Vec<f64>>().into_iter()
    };
    let (mut alphas, mut betas) = (numbers("activation_alpha"), numbers("activation_beta"));
    let (mut alpha, mut beta) = (|| alphas.next().unwrap(), || betas.next().unwrap());
    let functions = attributes["activations"].as_array()?.iter().map(|name| match name.as_str().unwrap() {
        "Sigmoid" => Sigmoid,
        "Tanh" => Tanh,
        "Relu" => Relu,
        "Softsign" => Softsign,
        "HardSigmoid" => HardSigmoid { alpha: alpha(), beta: beta() },
        "ScaledTanh" => ScaledTanh { alpha: alpha(), beta: beta() },
        "Elu" => Elu { alpha: alpha() },
        other => panic!("{other}"),
    });
    Some(functions.collect())
}

/// Swaps the first two dimensions.
pub fn transpose<T: Copy>(values: &[T], [outer, inner, width]: [usize; 3]) -> Vec<T> {
    assert_eq!(values.len(), outer * inner * width);
    (0..inner)
        .flat_map(|i| (0..outer).flat_map(move |o| (0..width).map(move |w| (o * inner + i) * width + w)))
        .map(|index| values[index])
        .collect()
}

/// Fails unless `found` is within `tolerance` of `expected`, relative to the largest entry of what is expected.
pub fn assert_relative(context: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{context}");
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error <= tolerance, "{context}[{index}]: {found} against {expected}, error {error:e}");
    }
}
