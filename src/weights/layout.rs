//! What a framework's tensors look like: which tensors there are, and what lies where in them.

use super::gate::{GateOrder, GruGateOrder};
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

/// How a framework lays out the gates of an LSTM in tensors that hold all four.
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
    pub const PYTORCH: Self = PYTORCH.lstm();
    /// `keras.layers.LSTM`.
    pub const KERAS: Self = KERAS.lstm();
    /// TensorFlow's `BlockLSTM` and `LSTMBlockCell`.
    pub const TENSORFLOW_BLOCK: Self = TENSORFLOW_BLOCK.lstm();
    /// TensorFlow's `BlockLSTMV2`.
    pub const TENSORFLOW_BLOCK_V2: Self = TENSORFLOW_BLOCK_V2.lstm();
    /// ONNX's `LSTM`.
    pub const ONNX: Self = ONNX.lstm();
    /// oneDNN's format `ldigo`.
    pub const ONEDNN_LDIGO: Self = ONEDNN_LDIGO.lstm();
    /// OpenVINO's `LSTMSequence`.
    pub const OPENVINO: Self = OPENVINO.lstm();
    /// Core ML's `lstm`.
    pub const COREML: Self = COREML.lstm();

    /// Any layout.
    pub const fn new(order: GateOrder, orientation: Orientation) -> Self {
        Self { order, orientation }
    }
}

/// How a framework lays out tensors that hold all gates, of every cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framework {
    pub(super) names: Names,
    pub(super) orientation: Orientation,
    /// Gates of an LSTM.
    pub(super) lstm: GateOrder,
    /// Gates of a gated recurrent unit.
    pub(super) gru: GruGateOrder,
    /// Biases that can all be added up, and those of a gated recurrent unit whose reset gate comes between two of them.
    pub(super) biases: [BiasLayout; 2],
}

/// In which tensors biases are.
#[derive(Clone, Copy, Debug)]
pub(super) enum BiasLayout {
    /// That of W and that of R, a tensor each.
    Apart,
    /// Both in one, one after the other.
    InOne,
    /// Added up as far as they can be, in one.
    Sums,
}

impl Framework {
    /// The layout of an LSTM.
    pub(super) const fn lstm(&self) -> WeightLayout {
        WeightLayout::new(self.lstm, self.orientation)
    }

    /// The same with other names for errors.
    pub(super) const fn named(self, names: Names) -> Self {
        Self { names, ..self }
    }
}

/// The table of frameworks.
pub(super) const PYTORCH: Framework = Framework {
    names: Names::new("weight_ih", "weight_hh", ["bias_ih", "bias_hh"]),
    orientation: Orientation::GatesByInputs,
    lstm: GateOrder::IFGO,
    gru: GruGateOrder::RZN,
    biases: [BiasLayout::Apart; 2],
};
pub(super) const KERAS: Framework = Framework {
    names: Names::new("kernel", "recurrent_kernel", ["bias", "second bias"]),
    orientation: Orientation::InputsByGates,
    lstm: GateOrder::IFGO,
    gru: GruGateOrder::ZRN,
    // One; of a GRU with `reset_after` two in one.
    biases: [BiasLayout::Apart, BiasLayout::InOne],
};
pub(super) const ONNX: Framework = Framework {
    names: Names { peepholes: "P", ..Names::new("W", "R", ["B", "B"]) },
    orientation: Orientation::GatesByInputs,
    lstm: GateOrder::IOFG,
    gru: GruGateOrder::ZRN,
    biases: [BiasLayout::InOne; 2],
};
pub(super) const ONEDNN_LDIGO: Framework = Framework {
    names: Names {
        peepholes: "weights_peephole",
        ..Names::new("weights_layer", "weights_iter", ["bias", "second bias"])
    },
    orientation: Orientation::InputsByGates,
    lstm: GateOrder::IFGO,
    gru: GruGateOrder::ZRN,
    biases: [BiasLayout::Sums; 2],
};
pub(super) const OPENVINO: Framework = Framework {
    names: Names::new("W", "R", ["B", "second bias"]),
    orientation: Orientation::GatesByInputs,
    lstm: GateOrder::FIGO,
    gru: GruGateOrder::ZRN,
    biases: [BiasLayout::Sums; 2],
};
// Its GRU does not say where a bias of R goes, so only LSTMs are read.
pub(super) const COREML: Framework = Framework {
    names: Names { peepholes: "peephole", ..Names::new("weight_ih", "weight_hh", ["bias", "second bias"]) },
    orientation: Orientation::GatesByInputs,
    lstm: GateOrder::IFOG,
    gru: GruGateOrder::RZN,
    biases: [BiasLayout::Sums; 2],
};
// W and R are one matrix; those of a GRU are two, of r and z and of n.
pub(super) const TENSORFLOW_BLOCK: Framework = Framework {
    names: Names { peepholes: "wci, wcf and wco", ..Names::new("w", "w", ["b", "second bias"]) },
    orientation: Orientation::InputsByGates,
    lstm: GateOrder::IGFO,
    gru: GruGateOrder::RZN,
    biases: [BiasLayout::Sums; 2],
};
pub(super) const TENSORFLOW_BLOCK_V2: Framework = Framework { lstm: GateOrder::IFGO, ..TENSORFLOW_BLOCK };

impl Orientation {
    /// Where a matrix from `inputs` to one gate lies in a tensor of its own.
    pub(crate) fn place(self, units: usize, inputs: usize) -> Place {
        match self {
            Orientation::GatesByInputs => Place { offset: 0, strides: [inputs, 1] },
            Orientation::InputsByGates => Place { offset: 0, strides: [1, units] },
        }
    }
}

/// Sizes of a layer.
#[derive(Clone, Copy, Debug)]
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

/// A tensor for each gate of a gated recurrent unit, in the order r, z, n. `S` is `&[f32]` to read from and
/// `&mut [f32]` to write to.
#[derive(Clone, Copy, Debug)]
pub struct GruTensors<S> {
    /// W, H × X each.
    pub input: [S; 3],
    /// R, H × H each.
    pub recurrent: [S; 3],
    /// The biases of W and of R, H elements each.
    pub biases: [Option<[S; 3]>; 2],
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
    pub(super) const NEUTRAL: Names =
        Names::new("input weights", "recurrent weights", ["first bias", "second bias"]);

    /// The peepholes are called so.
    pub(super) const fn new(input: &'static str, recurrent: &'static str, biases: [&'static str; 2]) -> Self {
        Self { input, recurrent, biases, peepholes: "peepholes" }
    }
}

/// The same for tensors of single gates.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeparateNames<const G: usize> {
    pub(super) input: [&'static str; G],
    pub(super) recurrent: [&'static str; G],
    pub(super) biases: [[&'static str; G]; 2],
}

/// `Ok` if a tensor has `rows` × `columns` elements.
pub(super) fn check(argument: &'static str, rows: usize, columns: usize, found: usize) -> Result<(), Error> {
    let expected = rows.checked_mul(columns).ok_or(Error::Overflow { argument })?;
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
}

/// `Ok` if something is there just where it is expected.
pub(super) fn check_presence(argument: &'static str, expected: bool, found: bool) -> Result<(), Error> {
    match (expected, found) {
        (true, false) => Err(Error::Missing { argument }),
        (false, true) => Err(Error::Unexpected { argument }),
        _ => Ok(()),
    }
}
