//! What a framework's tensors look like: which tensors there are, and what lies where in them.

use super::gate::GateOrder;
use crate::Error;

/// Which dimension of a weight matrix runs over the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Orientation {
    /// `[4H, inputs]`, a row per gate and unit: PyTorch, ONNX. Of a single gate: `[H, inputs]`.
    GatesByInputs,
    /// `[inputs, 4H]`, a column per gate and unit: Keras, TensorFlow, oneDNN's `ldigo`. Of a single gate:
    /// `[inputs, H]`.
    InputsByGates,
}

/// How a framework lays out the gates in tensors that hold all four.
///
/// | | gates | W and R | biases | peepholes | source |
/// |---|---|---|---|---|---|
/// | [`PYTORCH`](Self::PYTORCH), candle | i f g o | `[4H, X]`, `[4H, H]` | two, `[4H]` | | `torch.nn.LSTM`; `candle-nn/src/rnn.rs` |
/// | [`KERAS`](Self::KERAS) | i f g o | `[X, 4H]`, `[H, 4H]` | one, `[4H]` | | `keras/src/layers/rnn/lstm.py` |
/// | [`TENSORFLOW_BLOCK`](Self::TENSORFLOW_BLOCK) | i g f o | one matrix, `[X + H, 4H]` | one, `[4H]` | i f o, a tensor each | `GateLayout` in `lstm_ops.h` |
/// | [`TENSORFLOW_BLOCK_V2`](Self::TENSORFLOW_BLOCK_V2) | i f g o | one matrix, `[X + H, 4H]` | one, `[4H]` | i f o, a tensor each | the same |
/// | [`ONNX`](Self::ONNX) | i o f g | `[4H, X]`, `[4H, H]` | two in one, `[8H]` | i o f, `[3H]` | operator `LSTM` |
/// | [`ONEDNN_LDIGO`](Self::ONEDNN_LDIGO) | i f g o | `[X, 4, H]`, `[H, 4, H]` | one, `[4, H]` | i f o, `[3, H]` | developer guide, RNN |
/// | [`OPENVINO`](Self::OPENVINO) | f i g o | `[4H, X]`, `[4H, H]` | one, `[4H]` | | operation `LSTMSequence` |
/// | [`COREML`](Self::COREML) | i f o g | `[4H, X]`, `[4H, H]` | one, `[4H]` | i f o, `[3H]` | coremltools, MIL operation `lstm` |
///
/// cuDNN, TensorFlow Lite and burn have a tensor for each gate: see [`SeparateTensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightLayout {
    /// The order of the gates in weights and biases, and without g in peepholes.
    pub order: GateOrder,
    /// Rows or columns.
    pub orientation: Orientation,
}

impl WeightLayout {
    /// `torch.nn.LSTM`, and candle.
    pub const PYTORCH: Self = Self::new(GateOrder::IFGO, Orientation::GatesByInputs);
    /// `keras.layers.LSTM`.
    pub const KERAS: Self = Self::new(GateOrder::IFGO, Orientation::InputsByGates);
    /// TensorFlow's `BlockLSTM` and `LSTMBlockCell`.
    pub const TENSORFLOW_BLOCK: Self = Self::new(GateOrder::IGFO, Orientation::InputsByGates);
    /// TensorFlow's `BlockLSTMV2`.
    pub const TENSORFLOW_BLOCK_V2: Self = Self::new(GateOrder::IFGO, Orientation::InputsByGates);
    /// ONNX's `LSTM`.
    pub const ONNX: Self = Self::new(GateOrder::IOFG, Orientation::GatesByInputs);
    /// oneDNN's format `ldigo`.
    pub const ONEDNN_LDIGO: Self = Self::new(GateOrder::IFGO, Orientation::InputsByGates);
    /// OpenVINO's `LSTMSequence`.
    pub const OPENVINO: Self = Self::new(GateOrder::FIGO, Orientation::GatesByInputs);
    /// Core ML's `lstm`.
    pub const COREML: Self = Self::new(GateOrder::IFOG, Orientation::GatesByInputs);

    /// Any layout.
    pub const fn new(order: GateOrder, orientation: Orientation) -> Self {
        Self { order, orientation }
    }

    /// Where a matrix from `inputs` to `gate` (an index of i, f, g, o) lies in a dense one to all gates.
    pub(super) fn place(self, gate: usize, units: usize, inputs: usize) -> Place {
        let stride = match self.orientation {
            Orientation::GatesByInputs => inputs,
            Orientation::InputsByGates => 4 * units,
        };
        self.strided_place(gate, units, stride)
    }

    /// The same where rows are `stride` apart. An offset past the end, which a matrix without inputs may have, saturates.
    pub(super) fn strided_place(self, gate: usize, units: usize, stride: usize) -> Place {
        let first = self.order.position(gate) * units;
        match self.orientation {
            Orientation::GatesByInputs => {
                Place { offset: first.saturating_mul(stride), strides: [stride, 1] }
            }
            Orientation::InputsByGates => Place { offset: first, strides: [1, stride] },
        }
    }
}

impl Orientation {
    /// Where a matrix from `inputs` to one gate lies in a tensor of its own.
    pub(crate) fn place(self, units: usize, inputs: usize) -> Place {
        match self {
            Orientation::GatesByInputs => Place { offset: 0, strides: [inputs, 1] },
            Orientation::InputsByGates => Place { offset: 0, strides: [1, units] },
        }
    }
}

/// Where an element of a gate's matrix lies in a kernel that `CuDNNLSTM` or, with three gates, `CuDNNGRU` saved.
///
/// The kernel is `[inputs, gates · H]`, as that of `LSTM`. But the block of a gate, `[inputs, H]`, holds the elements of the
/// matrix `[H, inputs]` one after the other, as if it were of that shape.
pub(super) fn keras_cudnn_index(
    gates: usize,
    gate: usize,
    [units, inputs]: [usize; 2],
    [unit, k]: [usize; 2],
) -> usize {
    let number = unit * inputs + k;
    number / units * gates * units + gate * units + number % units
}

/// Sizes of a layer.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// X
    pub(super) inputs: usize,
    /// H
    pub(super) units: usize,
    /// P, or H
    pub(super) outputs: usize,
}

/// Where the matrix of one gate lies in a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: usize,
    /// From one unit to the next, and from one input to the next.
    pub(crate) strides: [usize; 2],
}

impl Place {
    pub(super) fn index(self, unit: usize, k: usize) -> usize {
        self.offset + unit * self.strides[0] + k * self.strides[1]
    }
}

/// Tensors that hold all four gates. `S` is `&[f32]` to read from and `&mut [f32]` to write to.
#[derive(Clone, Copy, Debug)]
pub struct JoinedTensors<S> {
    /// W, 4H × X.
    pub input: S,
    /// R, 4H × H; 4H × P with a projection.
    pub recurrent: S,
    /// Up to two biases of 4H elements, which are added up.
    pub biases: [Option<S>; 2],
    /// Peepholes, 3H.
    pub peepholes: Option<S>,
}

/// A tensor for each gate. Each of a gate that is the complement of another one ([`Coupling`](crate::Coupling)) may be
/// empty when it is read. `S` is `&[f32]` to read from and `&mut [f32]` to write to.
#[derive(Clone, Copy, Debug)]
pub struct SeparateTensors<S> {
    /// W of i, f, g and o, H × X each.
    pub input: [S; 4],
    /// R of i, f, g and o, H × H each; H × P with a projection.
    pub recurrent: [S; 4],
    /// Up to two biases of i, f, g and o, H elements each, which are added up.
    pub biases: [Option<[S; 4]>; 2],
    /// Peepholes of i, f and o, H elements each.
    pub peepholes: Option<[S; 3]>,
}

/// Names of tensors for errors: W, R, the biases, and the peepholes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) input: &'static str,
    pub(super) recurrent: &'static str,
    pub(super) biases: [&'static str; 2],
    pub(super) peepholes: &'static str,
}

impl Names {
    /// Names of no framework.
    pub(super) const NEUTRAL: Names = Names {
        input: "input weights",
        recurrent: "recurrent weights",
        biases: ["first bias", "second bias"],
        peepholes: "peepholes",
    };
}

/// The same for tensors of single gates.
pub(super) const SEPARATE_INPUT: [&str; 4] =
    ["input weights of i", "input weights of f", "input weights of g", "input weights of o"];
pub(super) const SEPARATE_RECURRENT: [&str; 4] =
    ["recurrent weights of i", "recurrent weights of f", "recurrent weights of g", "recurrent weights of o"];
pub(super) const SEPARATE_BIASES: [[&str; 4]; 2] = [
    ["first bias of i", "first bias of f", "first bias of g", "first bias of o"],
    ["second bias of i", "second bias of f", "second bias of g", "second bias of o"],
];
pub(super) const SEPARATE_PEEPHOLES: [&str; 3] = ["peephole of i", "peephole of f", "peephole of o"];
pub(super) const SEPARATE_SCALES: [&str; 4] = [
    "normalization scale of i",
    "normalization scale of f",
    "normalization scale of g",
    "normalization scale of o",
];

/// `Ok` if a tensor has `rows` × `columns` elements.
pub(super) fn check(argument: &'static str, rows: usize, columns: usize, found: usize) -> Result<(), Error> {
    let expected = rows.checked_mul(columns).ok_or(Error::Overflow { argument })?;
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
}
