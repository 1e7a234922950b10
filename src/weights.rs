//! Weights as other frameworks store them, with the order and orientation said aloud.
//!
//! A bare slice of weights can be read in many ways: frameworks order the gates differently, store rows or columns, and
//! have one bias or two. So there is a constructor per convention, and a neutral one that names everything.

use crate::{Error, LstmConfig};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateOrder {
    /// Position of i, f, g and o in the source.
    positions: [usize; 4],
}

impl GateOrder {
    /// i, f, g, o: PyTorch, Keras, oneDNN, cuDNN, candle.
    pub const IFGO: GateOrder = GateOrder { positions: [0, 1, 2, 3] };
    /// i, o, f, g: ONNX.
    pub const IOFG: GateOrder = GateOrder { positions: [0, 2, 3, 1] };
    /// f, i, g, o: OpenVINO.
    pub const FIGO: GateOrder = GateOrder { positions: [1, 0, 2, 3] };
    /// i, g, f, o: Haste, TensorFlow's BlockLSTM.
    pub const IGFO: GateOrder = GateOrder { positions: [0, 2, 1, 3] };

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

    /// Where `gate` (an index of i, f, g, o) stands in the source.
    fn position(self, gate: usize) -> usize {
        self.positions[gate]
    }
}

/// Which dimension of a weight matrix runs over the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// `[4H, inputs]`, a row per gate and unit: PyTorch, ONNX.
    GatesByInputs,
    /// `[inputs, 4H]`, a column per gate and unit: Keras, TensorFlow, oneDNN's `ldigo`.
    InputsByGates,
}

/// The weights of a layer, borrowed from the caller, checked against its sizes.
#[derive(Clone, Copy, Debug)]
pub struct LstmWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    order: GateOrder,
    orientation: Orientation,
    input: &'a [f32],
    recurrent: &'a [f32],
    biases: [Option<&'a [f32]>; 2],
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
        let names = ["input weights", "recurrent weights", "first bias", "second bias"];
        Self::checked(config, order, orientation, input, recurrent, biases, names)
    }

    /// PyTorch's `weight_ih_l0 [4H, X]`, `weight_hh_l0 [4H, H]`, `bias_ih_l0 [4H]` and `bias_hh_l0 [4H]`, gates i, f,
    /// g, o.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn pytorch(
        config: &LstmConfig,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias_ih: Option<&'a [f32]>,
        bias_hh: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
        let orientation = Orientation::GatesByInputs;
        Self::checked(config, GateOrder::IFGO, orientation, weight_ih, weight_hh, [bias_ih, bias_hh], names)
    }

    fn checked(
        config: &LstmConfig,
        order: GateOrder,
        orientation: Orientation,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
        names: [&'static str; 4],
    ) -> Result<Self, Error> {
        let (input_size, hidden_size) = (config.input_size(), config.hidden_size());
        if hidden_size == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        let outputs = hidden_size.checked_mul(4).ok_or(Error::Overflow { argument: "hidden size" })?;
        let check = |argument, inputs: usize, found| {
            let expected = outputs.checked_mul(inputs).ok_or(Error::Overflow { argument })?;
            if expected == found { Ok(()) } else { Err(Error::Length { argument, expected, found }) }
        };
        check(names[0], input_size, input.len())?;
        check(names[1], hidden_size, recurrent.len())?;
        for (bias, name) in biases.iter().zip(&names[2..]) {
            if let Some(bias) = bias {
                check(name, 1, bias.len())?;
            }
        }
        Ok(Self { input_size, hidden_size, order, orientation, input, recurrent, biases })
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// W of `gate` (an index of i, f, g, o) for one unit and input.
    pub(crate) fn input(&self, gate: usize, unit: usize, k: usize) -> f32 {
        self.input[self.index(gate, unit, k, self.input_size)]
    }

    /// R of `gate` (an index of i, f, g, o) for one unit and input.
    pub(crate) fn recurrent(&self, gate: usize, unit: usize, k: usize) -> f32 {
        self.recurrent[self.index(gate, unit, k, self.hidden_size)]
    }

    /// The sum of the biases of `gate` (an index of i, f, g, o) for one unit.
    pub(crate) fn bias(&self, gate: usize, unit: usize) -> f32 {
        let index = self.order.position(gate) * self.hidden_size + unit;
        self.biases.iter().flatten().map(|bias| bias[index]).sum()
    }

    fn index(&self, gate: usize, unit: usize, k: usize, inputs: usize) -> usize {
        let output = self.order.position(gate) * self.hidden_size + unit;
        match self.orientation {
            Orientation::GatesByInputs => output * inputs + k,
            Orientation::InputsByGates => k * 4 * self.hidden_size + output,
        }
    }
}
