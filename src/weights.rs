//! Weights as other frameworks store them, with the order and orientation said aloud.
//!
//! A bare slice of weights can be read in many ways: frameworks order the gates differently, store rows or columns, and
//! have one bias or two. So there is a constructor per convention, and neutral ones that name everything.

mod export;
mod frameworks;
mod gate;
mod gru;
mod hint;
mod import;
mod layout;
mod parameters;
mod rnn;

pub use gate::{Gate, GateOrder};
pub use gru::{GruGateOrder, GruTensors, GruWeights};
pub use layout::{JoinedTensors, Orientation, SeparateTensors, WeightLayout};
pub use rnn::RnnWeights;

use crate::{Coupling, Error, LstmConfig};
use layout::{Place, check};

/// The weights of a layer, borrowed from the caller, checked against its sizes.
///
/// Lengths are all that can be checked of a slice: `[4H, X]` and `[X, 4H]` have as many elements, so PyTorch's tensors given to
/// [`keras`](Self::keras) make a layer that answers nonsense. Ask your file for the shapes, and compare one answer.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch, candle | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | Keras, files of `CuDNNLSTM` | [`keras_cudnn`](Self::keras_cudnn) | [`export_keras_cudnn`](Self::export_keras_cudnn) |
/// | TensorFlow, `BlockLSTM` | [`tensorflow_block`](Self::tensorflow_block) | [`export_tensorflow_block`](Self::export_tensorflow_block) |
/// | TensorFlow, `BlockLSTMV2` | [`tensorflow_block_v2`](Self::tensorflow_block_v2) | [`export_tensorflow_block_v2`](Self::export_tensorflow_block_v2) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | oneDNN | [`onednn_ldigo`](Self::onednn_ldigo) | [`export_onednn_ldigo`](Self::export_onednn_ldigo) |
/// | OpenVINO | [`openvino`](Self::openvino) | [`export_openvino`](Self::export_openvino) |
/// | Core ML | [`coreml`](Self::coreml) | [`export_coreml`](Self::export_coreml) |
/// | cuDNN | [`cudnn`](Self::cudnn) | [`export_cudnn`](Self::export_cudnn) |
/// | TensorFlow Lite | [`tflite`](Self::tflite) | [`export_tflite`](Self::export_tflite) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | none: one buffer | [`from_parameters`](Self::from_parameters) | [`Lstm::read_parameters`](crate::Lstm::read_parameters) |
/// | any other | [`joined`](Self::joined), [`separate`](Self::separate), with row strides [`from_matrices`](Self::from_matrices) | [`export_joined`](Self::export_joined), [`export_separate`](Self::export_separate) |
#[derive(Clone, Copy, Debug)]
pub struct LstmWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    /// Elements of h.
    output_size: usize,
    /// i, f, g and o.
    gates: [GateWeights<'a>; 4],
    /// The gate that is the complement of another one, so that its weights are not read and may be empty.
    unread: Option<usize>,
    /// Of i, f and o, H elements each.
    peepholes: Option<[&'a [f32]; 3]>,
    /// Scales of i, f, g and o, H elements each.
    layer_normalization: Option<[&'a [f32]; 4]>,
    projection: Option<Projection<'a>>,
    forget_bias: f32,
}

/// V and its bias.
#[derive(Clone, Copy, Debug)]
struct Projection<'a> {
    weight: &'a [f32],
    /// From one output to the next, and from one unit to the next.
    strides: [usize; 2],
    bias: Option<&'a [f32]>,
}

/// The weights of one gate.
#[derive(Clone, Copy, Debug)]
struct GateWeights<'a> {
    input: &'a [f32],
    input_place: Place,
    recurrent: &'a [f32],
    recurrent_place: Place,
    biases: [Option<&'a [f32]>; 2],
}

/// The matrix of one gate in the caller's slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateMatrix<'a> {
    pub(crate) data: &'a [f32],
    /// From one unit to the next, and from one input to the next.
    pub(crate) strides: [usize; 2],
}

/// The gate that is the complement of another one.
fn unread_gate(coupling: Coupling) -> Option<usize> {
    match coupling {
        Coupling::ForgetFromInput => Some(Gate::Forget as usize),
        Coupling::InputFromForget => Some(Gate::Input as usize),
        _ => None,
    }
}

/// `Ok` if something is there just where it is expected.
fn check_presence(argument: &'static str, expected: bool, found: bool) -> Result<(), Error> {
    match (expected, found) {
        (true, false) => Err(Error::Missing { argument }),
        (false, true) => Err(Error::Unexpected { argument }),
        _ => Ok(()),
    }
}

impl GateMatrix<'_> {
    fn at(&self, unit: usize, k: usize) -> f32 {
        // That of a gate that is not read may be empty.
        self.data.get(unit * self.strides[0] + k * self.strides[1]).copied().unwrap_or(0.0)
    }
}

impl<'a> LstmWeights<'a> {
    /// Weights of any convention.
    ///
    /// - `input`: W, 4H × X in the given orientation, dense.
    /// - `recurrent`: R, 4H × H in the given orientation, dense; 4H × P with a projection.
    /// - `biases`: up to two of 4H elements, which are added up; `None` for none.
    ///
    /// # Errors
    /// [`Error::Length`] names the slice whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn new(
        config: &LstmConfig,
        order: GateOrder,
        orientation: Orientation,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let tensors = JoinedTensors { input, recurrent, biases, peepholes: None };
        Self::joined(config, WeightLayout { order, orientation }, tensors)
    }

    /// Adds a constant to the bias of the forget gate, as TensorFlow's `BlockLSTM` does at run time.
    pub fn forget_bias(self, forget_bias: f32) -> Self {
        Self { forget_bias, ..self }
    }

    /// Adds the peepholes of i, f and o, `[H]` each, for [`LstmConfig::peepholes`].
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_peepholes(self, peepholes: [&'a [f32]; 3]) -> Result<Self, Error> {
        for ((peephole, gate), name) in peepholes.iter().zip([0, 1, 3]).zip(layout::SEPARATE_PEEPHOLES) {
            if self.unread != Some(gate) || !peephole.is_empty() {
                check(name, 1, self.hidden_size, peephole.len())?;
            }
        }
        Ok(Self { peepholes: Some(peepholes), ..self })
    }

    /// Adds the scales of the layer normalization of i, f, g and o, `[H]` each, for
    /// [`LstmConfig::layer_normalization`]: TensorFlow Lite's `{input,forget,cell,output}_layer_norm_coefficients`. The
    /// biases of the gates are its shifts.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_layer_normalization(self, scales: [&'a [f32]; 4]) -> Result<Self, Error> {
        for (gate, name) in layout::SEPARATE_SCALES.into_iter().enumerate() {
            if self.unread != Some(gate) || !scales[gate].is_empty() {
                check(name, 1, self.hidden_size, scales[gate].len())?;
            }
        }
        Ok(Self { layer_normalization: Some(scales), ..self })
    }

    /// Adds the projection V and its bias `[P]`, for [`LstmConfig::projection`].
    ///
    /// V is `[P, H]` in [`Orientation::GatesByInputs`], as PyTorch's `weight_hr_l0` and TensorFlow Lite's
    /// `projection_weights`, and `[H, P]` in [`Orientation::InputsByGates`], as oneDNN's `weights_projection` in `ldio`.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_projection(
        self,
        orientation: Orientation,
        weight: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let (outputs, units) = (self.output_size, self.hidden_size);
        check("projection", outputs, units, weight.len())?;
        if let Some(bias) = bias {
            check("projection bias", 1, outputs, bias.len())?;
        }
        let strides = orientation.place(outputs, units).strides;
        Ok(Self { projection: Some(Projection { weight, strides, bias }), ..self })
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &LstmConfig) -> Result<(), Error> {
        for (dimension, expected, found) in [
            ("input size", config.input_size(), self.input_size),
            ("hidden size", config.hidden_size(), self.hidden_size),
            ("output size", config.output_size(), self.output_size),
        ] {
            Error::check_dimension("weights", dimension, expected, found)?;
        }
        let options = config.options();
        let has_projection_bias = self.projection.is_some_and(|projection| projection.bias.is_some());
        for (argument, expected, found) in [
            ("peepholes", options.peepholes, self.peepholes.is_some()),
            ("layer normalization", options.normalization.is_some(), self.layer_normalization.is_some()),
            ("projection", options.projection.is_some(), self.projection.is_some()),
            ("projection bias", options.projection_bias, has_projection_bias),
        ] {
            check_presence(argument, expected, found)?;
        }
        if self.unread.is_some() && self.unread != unread_gate(options.coupling) {
            return Err(Error::Unsupported { argument: "weights", because: "another coupling of gates" });
        }
        Ok(())
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// The peepholes of i, f and o, `[H]` each.
    pub fn peepholes(&self) -> Option<[&'a [f32]; 3]> {
        self.peepholes
    }

    /// The scales of the layer normalization of i, f, g and o, `[H]` each.
    pub fn layer_normalization(&self) -> Option<[&'a [f32]; 4]> {
        self.layer_normalization
    }

    /// V, by outputs and units.
    pub(crate) fn projection(&self) -> Option<GateMatrix<'a>> {
        self.projection.map(|Projection { weight, strides, .. }| GateMatrix { data: weight, strides })
    }

    /// The bias of V.
    pub(crate) fn projection_bias(&self) -> Option<&'a [f32]> {
        self.projection?.bias
    }

    /// The gates whose weights are read.
    pub(crate) fn read_gates(&self) -> impl Iterator<Item = usize> {
        let unread = self.unread;
        (0..4).filter(move |&gate| unread != Some(gate))
    }

    /// W of `gate` (an index of i, f, g, o).
    pub(crate) fn input(&self, gate: usize) -> GateMatrix<'a> {
        let GateWeights { input, input_place, .. } = self.gates[gate];
        GateMatrix { data: &input[input_place.offset.min(input.len())..], strides: input_place.strides }
    }

    /// R of `gate` (an index of i, f, g, o).
    pub(crate) fn recurrent(&self, gate: usize) -> GateMatrix<'a> {
        let GateWeights { recurrent, recurrent_place, .. } = self.gates[gate];
        GateMatrix {
            data: &recurrent[recurrent_place.offset.min(recurrent.len())..],
            strides: recurrent_place.strides,
        }
    }

    /// The sum of the biases of `gate` (an index of i, f, g, o) for one unit.
    pub(crate) fn bias(&self, gate: usize, unit: usize) -> f32 {
        let biases = self.gates[gate].biases.iter().flatten();
        // That of a gate that is not read may be empty.
        let sum = biases.map(|bias| bias.get(unit).copied().unwrap_or(0.0)).sum();
        self.with_forget_bias(gate, sum)
    }

    fn has_bias(&self) -> bool {
        self.forget_bias != 0.0 || self.gates[0].biases.iter().any(Option::is_some)
    }

    fn with_forget_bias(&self, gate: usize, bias: f32) -> f32 {
        // Not added where it is zero, which would lose the sign of −0.
        if gate == Gate::Forget as usize && self.forget_bias != 0.0 { bias + self.forget_bias } else { bias }
    }
}
