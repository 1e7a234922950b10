//! The gates and the orders in which frameworks put them.

use crate::Error;

/// One of the four gates of an LSTM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// i = σ(…), the input gate.
    Input,
    /// f = σ(…), the forget gate.
    Forget,
    /// g = tanh(…), the candidate, which others call the cell gate, c or z.
    Candidate,
    /// o = σ(…), the output gate.
    Output,
}

impl Gate {
    /// The gates in the order in which this crate packs them: i, f, g, o.
    pub const ALL: [Gate; 4] = [Gate::Input, Gate::Forget, Gate::Candidate, Gate::Output];

    fn name(self) -> &'static str {
        match self {
            Gate::Input => "input gate",
            Gate::Forget => "forget gate",
            Gate::Candidate => "candidate gate",
            Gate::Output => "output gate",
        }
    }
}

/// The order in which the gates follow each other in weights and biases.
///
/// Peepholes, which g has none of, follow in the same order without g. That is so in every framework which this crate
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateOrder {
    /// Position of i, f, g and o in the source.
    positions: [usize; 4],
}

impl GateOrder {
    /// i, f, g, o: PyTorch, candle, Keras, TensorFlow's `BlockLSTMV2`, oneDNN, cuDNN.
    pub const IFGO: GateOrder = GateOrder { positions: [0, 1, 2, 3] };
    /// i, o, f, g: ONNX.
    pub const IOFG: GateOrder = GateOrder { positions: [0, 2, 3, 1] };
    /// f, i, g, o: OpenVINO.
    pub const FIGO: GateOrder = GateOrder { positions: [1, 0, 2, 3] };
    /// i, g, f, o: Haste, TensorFlow's `BlockLSTM`.
    pub const IGFO: GateOrder = GateOrder { positions: [0, 2, 1, 3] };
    /// i, f, o, g: Core ML, ncnn.
    pub const IFOG: GateOrder = GateOrder { positions: [0, 1, 3, 2] };

    /// Any order.
    ///
    /// # Errors
    /// [`Error::GateOrder`] if a gate is missing.
    pub fn new(order: [Gate; 4]) -> Result<Self, Error> {
        let mut positions = [0; 4];
        for (position, gate) in positions.iter_mut().zip(Gate::ALL) {
            *position = order
                .iter()
                .position(|&other| other == gate)
                .ok_or(Error::GateOrder { missing: gate.name() })?;
        }
        Ok(Self { positions })
    }

    /// Where i, f, g and o stand in the source.
    pub(crate) fn positions(self) -> [usize; 4] {
        self.positions
    }

    /// Where a peephole (an index of i, f, o) stands in the source.
    pub(super) fn peephole_position(self, peephole: usize) -> usize {
        let position = self.positions[[0, 1, 3][peephole]];
        position - usize::from(self.positions[Gate::Candidate as usize] < position)
    }
}

/// One of the gates of a gated recurrent unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GruGate {
    /// r = σ(…), the reset gate.
    Reset,
    /// z = σ(…), the update gate, which others call u.
    Update,
    /// n = tanh(…), the candidate, which others call h, g, c or o.
    Candidate,
}

/// The order in which the gates of a gated recurrent unit follow each other in weights and biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GruGateOrder {
    /// Position of r, z and n in the source.
    positions: [usize; 3],
}

impl GruGateOrder {
    /// r, z, n: PyTorch, candle, cuDNN.
    pub const RZN: GruGateOrder = GruGateOrder { positions: [0, 1, 2] };
    /// z, r, n: Keras, ONNX, oneDNN, OpenVINO.
    pub const ZRN: GruGateOrder = GruGateOrder { positions: [1, 0, 2] };

    /// Any order.
    ///
    /// # Errors
    /// [`Error::GateOrder`] if a gate is missing.
    pub fn new(order: [GruGate; 3]) -> Result<Self, Error> {
        let position =
            |gate, missing| order.iter().position(|&other| other == gate).ok_or(Error::GateOrder { missing });
        let reset = position(GruGate::Reset, "reset gate")?;
        let update = position(GruGate::Update, "update gate")?;
        let candidate = position(GruGate::Candidate, "candidate")?;
        Ok(Self { positions: [reset, update, candidate] })
    }

    /// Where r, z and n stand in the source.
    pub(crate) fn positions(self) -> [usize; 3] {
        self.positions
    }
}
