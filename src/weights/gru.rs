//! Weights of gated recurrent units as other frameworks store them.

use super::GateMatrix;
use super::layout::{Orientation, Place, check, keras_cudnn_index};
use crate::Error;
use crate::cell::kind::ResetGate;
use crate::config::GruConfig;
use crate::pack::GateTensors;

/// Gates of a gated recurrent unit: r, z, n.
const GATES: usize = 3;

/// The order in which the gates of a gated recurrent unit follow each other in weights and biases.
///
/// r is the reset gate; z, which others call u, the update gate; n, which others call h, g, c or o, the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GruGateOrder {
    /// Position of r, z and n in the source.
    positions: [usize; GATES],
}

impl GruGateOrder {
    /// r, z, n: PyTorch, candle, cuDNN.
    pub const RZN: GruGateOrder = GruGateOrder { positions: [0, 1, 2] };
    /// z, r, n: Keras, ONNX, oneDNN, OpenVINO.
    pub const ZRN: GruGateOrder = GruGateOrder { positions: [1, 0, 2] };
}

/// The weights of a gated recurrent unit, borrowed from the tensors of a framework, checked against its sizes.
///
/// The bias of W and that of R are added up, but not those of the candidate where the reset gate comes between.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch, candle | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | Keras, files of `CuDNNGRU` | [`keras_cudnn`](Self::keras_cudnn) | [`export_keras_cudnn`](Self::export_keras_cudnn) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | any other | [`new`](Self::new) | [`export`](Self::export) |
/// | a buffer of all parameters | [`from_parameters`](Self::from_parameters) | |
#[derive(Clone, Copy, Debug)]
pub struct GruWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    reset_gate: ResetGate,
    /// Of r, z and n.
    input: [GateMatrix<'a>; GATES],
    recurrent: [GateMatrix<'a>; GATES],
    /// Of W and of R.
    biases: [[Option<&'a [f32]>; GATES]; 2],
}

/// Names of tensors for errors: W, R, and both biases.
type Names = [&'static str; 4];

const NEUTRAL: Names = ["input weights", "recurrent weights", "first bias", "second bias"];
const PYTORCH: Names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
const KERAS: Names = ["kernel", "recurrent_kernel", "bias", "bias"];
const ONNX: Names = ["W", "R", "B", "B"];

/// How gates lie in tensors that hold all three.
#[derive(Clone, Copy)]
struct Layout {
    order: GruGateOrder,
    orientation: Orientation,
}

impl Layout {
    const PYTORCH: Layout = Layout { order: GruGateOrder::RZN, orientation: Orientation::GatesByInputs };
    const KERAS: Layout = Layout { order: GruGateOrder::ZRN, orientation: Orientation::InputsByGates };
    const ONNX: Layout = Layout { order: GruGateOrder::ZRN, orientation: Orientation::GatesByInputs };

    /// Where a matrix from `inputs` to `gate` lies.
    fn place(self, gate: usize, units: usize, inputs: usize) -> Place {
        let first = self.order.positions[gate] * units;
        match self.orientation {
            Orientation::GatesByInputs => Place { offset: first * inputs, strides: [inputs, 1] },
            Orientation::InputsByGates => Place { offset: first, strides: [1, GATES * units] },
        }
    }

    /// Where a bias of `gate` begins.
    fn bias(self, gate: usize, units: usize) -> usize {
        self.order.positions[gate] * units
    }
}

/// `Ok` if every tensor has the length that the sizes demand.
fn check_lengths(
    [input_name, recurrent_name, first_name, second_name]: Names,
    [inputs, units]: [usize; 2],
    [input, recurrent]: [usize; 2],
    biases: [Option<usize>; 2],
) -> Result<(), Error> {
    if units == 0 {
        return Err(Error::Zero { argument: "hidden size" });
    }
    // All sums of the units, and both biases, can be counted.
    let argument = "hidden size";
    let rows = units.checked_mul(2 * GATES).ok_or(Error::Overflow { argument })? / 2;
    check(input_name, rows, inputs, input)?;
    check(recurrent_name, rows, units, recurrent)?;
    for (name, bias) in [first_name, second_name].into_iter().zip(biases) {
        bias.map_or(Ok(()), |len| check(name, GATES, units, len))?;
    }
    Ok(())
}

impl<'a> GruWeights<'a> {
    /// Weights of any convention.
    ///
    /// - `input`: W, 3H × X in the given orientation, dense.
    /// - `recurrent`: R, 3H × H in the given orientation, dense.
    /// - `biases`: `[3H]` of W, `[3H]` of R; `None` for none.
    ///
    /// # Errors
    /// [`Error::Length`] names the slice whose length is wrong; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn new(
        config: &GruConfig,
        order: GruGateOrder,
        orientation: Orientation,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        Self::named(config, Layout { order, orientation }, NEUTRAL, input, recurrent, biases)
    }

    fn named(
        config: &GruConfig,
        layout: Layout,
        names: Names,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        let lengths = biases.map(|bias| bias.map(<[f32]>::len));
        check_lengths(names, [inputs, units], [input.len(), recurrent.len()], lengths)?;
        let matrix = |data: &'a [f32], gate: usize, inputs: usize| {
            let Place { offset, strides } = layout.place(gate, units, inputs);
            GateMatrix { data: &data[offset.min(data.len())..], strides }
        };
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            reset_gate: config.place_of_reset_gate(),
            input: [0, 1, 2].map(|gate| matrix(input, gate, inputs)),
            recurrent: [0, 1, 2].map(|gate| matrix(recurrent, gate, units)),
            biases: biases.map(|bias| {
                [0, 1, 2].map(|gate| bias.map(|bias| &bias[layout.bias(gate, units)..][..units]))
            }),
        })
    }

    /// PyTorch's `weight_ih_l0 [3H, X]`, `weight_hh_l0 [3H, H]`, `bias_ih_l0 [3H]` and `bias_hh_l0 [3H]`, gates r, z, n. Layers
    /// and directions have tensors of their own: `…_l1`, `…_l0_reverse`.
    ///
    /// candle's `GRU` has the same names, shapes and order. Source: `torch.nn.GRU`, `candle-nn/src/rnn.rs`.
    ///
    /// ```
    /// use quadgate::{GruConfig, GruWeights};
    ///
    /// let config = GruConfig::new(3, 5);
    /// let (weight_ih, weight_hh, bias) = ([0.1; 15 * 3], [0.2; 15 * 5], [0.3; 15]);
    /// let weights = GruWeights::pytorch(&config, &weight_ih, &weight_hh, Some(&bias), Some(&bias))?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn pytorch(
        config: &GruConfig,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias_ih: Option<&'a [f32]>,
        bias_hh: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::named(config, Layout::PYTORCH, PYTORCH, weight_ih, weight_hh, [bias_ih, bias_hh])
    }

    /// Keras' `kernel [X, 3H]`, `recurrent_kernel [H, 3H]` and `bias`: with `reset_after` `[2, 3H]`, of W, then of R; without it
    /// `[3H]`. Gates z, r, n (which it calls h). Source: `keras/src/layers/rnn/gru.py`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn keras(
        config: &GruConfig,
        kernel: &'a [f32],
        recurrent_kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let biases = match config.place_of_reset_gate() {
            ResetGate::AfterProduct => halves(KERAS[2], config.hidden_size(), bias)?,
            ResetGate::BeforeProduct => [bias, None],
        };
        Self::named(config, Layout::KERAS, KERAS, kernel, recurrent_kernel, biases)
    }

    /// The tensors of a Keras file that was saved from `CuDNNGRU`: `kernel [X, 3H]` and `recurrent_kernel [H, 3H]` in which each
    /// gate's block is transposed as cuDNN has it, and `bias [6H]`, that of W before that of R. Gates z, r, n.
    ///
    /// A `bias` of shape `[6H]` tells such a file: that of `GRU` with `reset_after` has as many elements, in shape `[2, 3H]`. They
    /// are written to `parameters`, as [`GruConfig::parameters`] lays them out, of which the weights are then made. Source:
    /// `_convert_rnn_weights` in `keras/src/legacy/saving/legacy_h5_format.py`.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong, [`Error::Zero`] if H is zero. Nothing is written then.
    pub fn keras_cudnn(
        config: &GruConfig,
        kernel: &[f32],
        recurrent_kernel: &[f32],
        bias: &[f32],
        parameters: &'a mut [f32],
    ) -> Result<Self, Error> {
        let (inputs, units, ranges) = (config.input_size(), config.hidden_size(), config.parameters()?);
        let lengths = halves(KERAS[2], units, Some(bias))?.map(|bias| bias.map(<[f32]>::len));
        check_lengths(KERAS, [inputs, units], [kernel.len(), recurrent_kernel.len()], lengths)?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let positions = Layout::KERAS.order.positions;
        for (from, range, inputs) in
            [(kernel, ranges.weight_ih, inputs), (recurrent_kernel, ranges.weight_hh, units)]
        {
            // Without inputs there is nothing to write, and the size of chunks must not be zero.
            for (row, to) in parameters[range].chunks_exact_mut(inputs.max(1)).enumerate() {
                let (gate, unit) = (positions[row / units], row % units);
                for (k, to) in to.iter_mut().enumerate() {
                    *to = from[keras_cudnn_index(GATES, gate, [units, inputs], [unit, k])];
                }
            }
        }
        let (of_input, of_recurrent) = bias.split_at(GATES * units);
        let [reset, update, candidate] = positions.map(|position| position * units);
        let biases = &mut parameters[ranges.bias];
        for unit in 0..units {
            let sum = |gate: usize| of_input[gate + unit] + of_recurrent[gate + unit];
            biases[unit] = sum(reset);
            biases[units + unit] = sum(update);
            biases[2 * units + unit] = of_input[candidate + unit];
            biases[3 * units + unit] = of_recurrent[candidate + unit];
        }
        Self::from_parameters(config, parameters)
    }

    /// Writes the tensors that [`GruWeights::keras_cudnn`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_keras_cudnn(
        &self,
        kernel: &mut [f32],
        recurrent_kernel: &mut [f32],
        bias: &mut [f32],
    ) -> Result<(), Error> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let lengths = halves(KERAS[2], units, Some(bias))?.map(|bias| bias.map(<[f32]>::len));
        check_lengths(KERAS, [inputs, units], [kernel.len(), recurrent_kernel.len()], lengths)?;
        for (gate, position) in Layout::KERAS.order.positions.into_iter().enumerate() {
            for unit in 0..units {
                for (to, matrix, inputs) in [
                    (&mut *kernel, &self.input[gate], inputs),
                    (&mut *recurrent_kernel, &self.recurrent[gate], units),
                ] {
                    for k in 0..inputs {
                        let index = keras_cudnn_index(GATES, position, [units, inputs], [unit, k]);
                        to[index] = matrix.at(unit, k);
                    }
                }
                for (which, biases) in self.biases.iter().enumerate() {
                    bias[(which * GATES + position) * units + unit] =
                        biases[gate].map_or(0.0, |bias| bias[unit]);
                }
            }
        }
        Ok(())
    }

    /// One direction of ONNX's `W [D, 3H, X]`, `R [D, 3H, H]` and `B [D, 6H]`, whose first half is the bias of W and whose second
    /// is that of R. Gates z, r, n (which it calls h).
    ///
    /// The directions follow each other: direction d of `W` is `W[d * 3 * H * X..][..3 * H * X]`, and so on.
    /// Source: [operator GRU](https://onnx.ai/onnx/operators/onnx__GRU.html).
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn onnx(config: &GruConfig, w: &'a [f32], r: &'a [f32], b: Option<&'a [f32]>) -> Result<Self, Error> {
        let biases = halves(ONNX[2], config.hidden_size(), b)?;
        Self::named(config, Layout::ONNX, ONNX, w, r, biases)
    }

    /// A buffer of all parameters, which [`GruConfig::parameters`] orders.
    ///
    /// # Errors
    /// [`Error::Length`] if it has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &GruConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let (input, recurrent) = (&parameters[ranges.weight_ih], &parameters[ranges.weight_hh]);
        let (bias, units) = (&parameters[ranges.bias], config.hidden_size());
        let (both, of_candidate) = bias.split_at(GATES * units);
        let of_candidate = (!of_candidate.is_empty()).then_some(of_candidate);
        let weights = Self::named(config, Layout::PYTORCH, NEUTRAL, input, recurrent, [Some(both), None])?;
        let [of_input, mut of_recurrent] = weights.biases;
        of_recurrent[2] = of_candidate;
        Ok(Self { biases: [of_input, of_recurrent], ..weights })
    }

    /// Writes the weights as [`GruWeights::new`] reads them. A bias that is not there is written as zeros.
    ///
    /// Where there is room for one bias, it gets the sum of both, unless the reset gate comes between those of the candidate.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a bias that the weights have and there is no
    /// room for. Nothing is written then.
    pub fn export(
        &self,
        order: GruGateOrder,
        orientation: Orientation,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        self.export_named(Layout { order, orientation }, NEUTRAL, input, recurrent, biases)
    }

    /// Writes the tensors that [`GruWeights::pytorch`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_pytorch(
        &self,
        weight_ih: &mut [f32],
        weight_hh: &mut [f32],
        bias_ih: Option<&mut [f32]>,
        bias_hh: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_named(Layout::PYTORCH, PYTORCH, weight_ih, weight_hh, [bias_ih, bias_hh])
    }

    /// Writes the tensors that [`GruWeights::keras`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_keras(
        &self,
        kernel: &mut [f32],
        recurrent_kernel: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let biases = match self.reset_gate {
            ResetGate::AfterProduct => halves_mut(KERAS[2], self.hidden_size, bias)?,
            ResetGate::BeforeProduct => [bias, None],
        };
        self.export_named(Layout::KERAS, KERAS, kernel, recurrent_kernel, biases)
    }

    /// Writes the tensors that [`GruWeights::onnx`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_onnx(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        let biases = halves_mut(ONNX[2], self.hidden_size, b)?;
        self.export_named(Layout::ONNX, ONNX, w, r, biases)
    }

    fn export_named(
        &self,
        layout: Layout,
        names: Names,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let lengths = biases.each_ref().map(|bias| bias.as_ref().map(|bias| bias.len()));
        check_lengths(names, [inputs, units], [input.len(), recurrent.len()], lengths)?;
        let rooms = lengths.map(|len| len.is_some());
        if rooms == [false; 2] && self.biases.iter().flatten().any(Option::is_some) {
            return Err(Error::Missing { argument: names[2] });
        }
        // Biases of r and z can be added up.
        for (which, name) in [names[2], names[3]].into_iter().enumerate() {
            let stays_apart = self.reset_gate == ResetGate::AfterProduct;
            if stays_apart && !rooms[which] && self.biases[which][2].is_some() {
                return Err(Error::Missing { argument: name });
            }
        }
        for gate in 0..GATES {
            for (to, from, inputs) in
                [(&mut *input, self.input[gate], inputs), (&mut *recurrent, self.recurrent[gate], units)]
            {
                let place = layout.place(gate, units, inputs);
                for unit in 0..units {
                    for k in 0..inputs {
                        to[place.index(unit, k)] = from.at(unit, k);
                    }
                }
            }
        }
        for (which, bias) in biases.into_iter().enumerate() {
            let Some(bias) = bias else { continue };
            for gate in 0..GATES {
                for (unit, to) in bias[layout.bias(gate, units)..][..units].iter_mut().enumerate() {
                    let of = |which: usize| self.biases[which][gate].map_or(0.0, |bias| bias[unit]);
                    *to = if rooms == [true; 2] { of(which) } else { of(0) + of(1) };
                }
            }
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

    /// `Ok` if they are of a layer's sizes.
    pub(crate) fn check(&self, config: &GruConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size)?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size)?;
        if config.place_of_reset_gate() != self.reset_gate {
            let because = "another place of the reset gate";
            return Err(Error::Unsupported { argument: "weights", because });
        }
        Ok(())
    }
}

/// The bias of W and that of R in one tensor.
fn halves<'a>(
    name: &'static str,
    units: usize,
    bias: Option<&'a [f32]>,
) -> Result<[Option<&'a [f32]>; 2], Error> {
    let Some(bias) = bias else { return Ok([None; 2]) };
    check(name, 2 * GATES, units, bias.len())?;
    let (input, recurrent) = bias.split_at(GATES * units);
    Ok([Some(input), Some(recurrent)])
}

/// The same, to write.
fn halves_mut<'a>(
    name: &'static str,
    units: usize,
    bias: Option<&'a mut [f32]>,
) -> Result<[Option<&'a mut [f32]>; 2], Error> {
    let Some(bias) = bias else { return Ok([None, None]) };
    check(name, 2 * GATES, units, bias.len())?;
    let (input, recurrent) = bias.split_at_mut(GATES * units);
    Ok([Some(input), Some(recurrent)])
}

impl GateTensors for GruWeights<'_> {
    fn read_gates(&self) -> impl Iterator<Item = usize> {
        0..GATES
    }

    fn input(&self, gate: usize) -> GateMatrix<'_> {
        self.input[gate]
    }

    fn recurrent(&self, gate: usize) -> GateMatrix<'_> {
        self.recurrent[gate]
    }

    fn bias(&self, bias: usize, unit: usize) -> f32 {
        let of = |which: usize, gate: usize| self.biases[which][gate].map_or(0.0, |bias| bias[unit]);
        match bias {
            2 if self.reset_gate == ResetGate::AfterProduct => of(0, 2),
            3 => of(1, 2),
            gate => of(0, gate) + of(1, gate),
        }
    }
}
