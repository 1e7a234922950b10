//! Weights as other frameworks store them, with the order and orientation said aloud.
//!
//! A bare slice of weights can be read in many ways: frameworks order the gates differently, store rows or columns, and
//! have one bias or two. So there is a constructor per convention, and neutral ones that name everything.

mod export;
mod frameworks;
mod gate;
mod import;
mod layout;

pub use gate::{Gate, GateOrder};
pub use layout::{JoinedTensors, Orientation, SeparateTensors, WeightLayout};

use crate::{Error, LstmConfig};
use layout::Place;

/// The weights of a layer, borrowed from the caller, checked against its sizes.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch, candle | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | TensorFlow, `BlockLSTM` | [`tensorflow_block`](Self::tensorflow_block) | [`export_tensorflow_block`](Self::export_tensorflow_block) |
/// | TensorFlow, `BlockLSTMV2` | [`tensorflow_block_v2`](Self::tensorflow_block_v2) | [`export_tensorflow_block_v2`](Self::export_tensorflow_block_v2) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | oneDNN | [`onednn_ldigo`](Self::onednn_ldigo) | [`export_onednn_ldigo`](Self::export_onednn_ldigo) |
/// | OpenVINO | [`openvino`](Self::openvino) | [`export_openvino`](Self::export_openvino) |
/// | Core ML | [`coreml`](Self::coreml) | [`export_coreml`](Self::export_coreml) |
/// | cuDNN | [`cudnn`](Self::cudnn) | [`export_cudnn`](Self::export_cudnn) |
/// | TensorFlow Lite | [`tflite`](Self::tflite) | [`export_tflite`](Self::export_tflite) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | any other | [`joined`](Self::joined), [`separate`](Self::separate) | [`export_joined`](Self::export_joined), [`export_separate`](Self::export_separate) |
#[derive(Clone, Copy, Debug)]
pub struct LstmWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    /// i, f, g and o.
    gates: [GateWeights<'a>; 4],
    /// Of i, f and o, H elements each.
    peepholes: Option<[&'a [f32]; 3]>,
    forget_bias: f32,
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

impl GateMatrix<'_> {
    fn at(&self, unit: usize, k: usize) -> f32 {
        self.data[unit * self.strides[0] + k * self.strides[1]]
    }
}

impl<'a> LstmWeights<'a> {
    /// Weights of any convention.
    ///
    /// - `input`: W, 4H × X in the given orientation, dense.
    /// - `recurrent`: R, 4H × H in the given orientation, dense.
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
        let sum = self.gates[gate].biases.iter().flatten().map(|bias| bias[unit]).sum();
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
