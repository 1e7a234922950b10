//! Weights of gated recurrent units as other frameworks store them.

use super::export::write;
use super::hint::{GruTensor, check_gru_tensor};
use super::layout::{Orientation, Place, check, keras_cudnn_index};
use super::{GateMatrix, check_presence};
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

    /// Where r, z and n stand in the source.
    pub(crate) fn positions(self) -> [usize; GATES] {
        self.positions
    }
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
/// | oneDNN | [`onednn_ldigo`](Self::onednn_ldigo) | [`export_onednn_ldigo`](Self::export_onednn_ldigo) |
/// | OpenVINO | [`openvino`](Self::openvino) | [`export_openvino`](Self::export_openvino) |
/// | cuDNN | [`cudnn`](Self::cudnn) | [`export_cudnn`](Self::export_cudnn) |
/// | TensorFlow, `GRUBlockCell` | [`tensorflow_block`](Self::tensorflow_block) | [`export_tensorflow_block`](Self::export_tensorflow_block) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | any other | [`new`](Self::new), [`separate`](Self::separate) | [`export`](Self::export), [`export_separate`](Self::export_separate) |
/// | a buffer of all parameters | [`from_parameters`](Self::from_parameters) | |
#[derive(Clone, Copy, Debug)]
pub struct GruWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    reset_gate: ResetGate,
    /// Of r, z and n.
    input: [GateMatrix<'a>; GATES],
    recurrent: [GateMatrix<'a>; GATES],
    biases: Biases<&'a [f32]>,
    /// Scales of r, z and n, and of R·h of n, where there are any.
    layer_normalization: [Option<&'a [f32]>; GATES + 1],
}

/// Names of tensors for errors: W, R, and both biases.
type Names = [&'static str; 4];

const NEUTRAL: Names = ["input weights", "recurrent weights", "first bias", "second bias"];
const PYTORCH: Names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
const KERAS: Names = ["kernel", "recurrent_kernel", "bias", "bias"];
const ONNX: Names = ["W", "R", "B", "B"];
const ONEDNN: Names = ["weights_layer", "weights_iter", "bias", "bias"];
const TENSORFLOW: Names = ["w_ru and w_c", "w_ru and w_c", "b_ru and b_c", "b_ru and b_c"];

/// The same of a tensor for each gate.
const SEPARATE: [[&str; GATES]; 4] = [
    ["input weights of r", "input weights of z", "input weights of n"],
    ["recurrent weights of r", "recurrent weights of z", "recurrent weights of n"],
    ["first bias of r", "first bias of z", "first bias of n"],
    ["second bias of r", "second bias of z", "second bias of n"],
];

/// Names of the scales of a normalization.
const SCALES: [&str; GATES + 1] = [
    "layer normalization of r",
    "layer normalization of z",
    "layer normalization of n",
    "layer normalization of R·h of n",
];

/// A tensor for each gate, in the order r, z, n. `S` is `&[f32]` to read from and `&mut [f32]` to write to.
#[derive(Clone, Copy, Debug)]
pub struct GruTensors<S> {
    /// W, H × X each.
    pub input: [S; GATES],
    /// R, H × H each.
    pub recurrent: [S; GATES],
    /// The biases of W and of R, H elements each.
    pub biases: [Option<[S; GATES]>; 2],
}

/// A bias of W for each gate, and one of R, where there are any.
type Biases<S> = [[Option<S>; GATES]; 2];

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

    /// The parts of a bias that belong to r, z and n, if there is one: three parts of equal size.
    fn parts<S>(self, bias: Option<S>, mut cut: impl FnMut(S) -> [S; GATES]) -> [Option<S>; GATES] {
        let Some(bias) = bias else { return [None, None, None] };
        let mut parts = cut(bias).map(Some);
        self.order.positions.map(|position| parts[position].take())
    }
}

/// Three parts of equal size.
fn thirds(all: &[f32]) -> [&[f32]; GATES] {
    let (first, rest) = all.split_at(all.len() / GATES);
    let (second, third) = rest.split_at(first.len());
    [first, second, third]
}

/// The same, to write.
fn thirds_mut(all: &mut [f32]) -> [&mut [f32]; GATES] {
    let (first, rest) = all.split_at_mut(all.len() / GATES);
    let (second, third) = rest.split_at_mut(first.len());
    [first, second, third]
}

/// Rows of all gates and their biases, if they can be counted.
fn check_units(units: usize) -> Result<usize, Error> {
    let argument = "hidden size";
    if units == 0 {
        return Err(Error::Zero { argument });
    }
    Ok(units.checked_mul(2 * GATES).ok_or(Error::Overflow { argument })? / 2)
}

/// `Ok` if every tensor has the length that the sizes demand.
fn check_lengths(
    [input_name, recurrent_name, first_name, second_name]: Names,
    [inputs, units]: [usize; 2],
    [input, recurrent]: [usize; 2],
    biases: [Option<usize>; 2],
) -> Result<(), Error> {
    let rows = check_units(units)?;
    let check = |tensor, name, shape, found| check_gru_tensor(tensor, name, shape, found, [inputs, units]);
    check(GruTensor::Input, input_name, [rows, inputs], input)?;
    check(GruTensor::Recurrent, recurrent_name, [rows, units], recurrent)?;
    for (name, bias) in [first_name, second_name].into_iter().zip(biases) {
        bias.map_or(Ok(()), |len| check(GruTensor::Bias, name, [GATES, units], len))?;
    }
    Ok(())
}

impl<S> GruTensors<S> {
    /// `Ok` if every tensor has the length that the sizes demand.
    fn check_lengths(&self, len: impl Fn(&S) -> usize, [inputs, units]: [usize; 2]) -> Result<(), Error> {
        check_units(units)?;
        for gate in 0..GATES {
            check(SEPARATE[0][gate], units, inputs, len(&self.input[gate]))?;
            check(SEPARATE[1][gate], units, units, len(&self.recurrent[gate]))?;
            for (bias, names) in self.biases.iter().zip(&SEPARATE[2..]) {
                bias.as_ref().map_or(Ok(()), |bias| check(names[gate], 1, units, len(&bias[gate])))?;
            }
        }
        Ok(())
    }

    /// The biases, gate by gate.
    fn split(self) -> ([S; GATES], [S; GATES], Biases<S>) {
        let biases = self.biases.map(|bias| match bias {
            Some(bias) => bias.map(Some),
            None => [None, None, None],
        });
        (self.input, self.recurrent, biases)
    }
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
        let sizes = [config.input_size(), config.hidden_size()];
        let lengths = biases.map(|bias| bias.map(<[f32]>::len));
        check_lengths(names, sizes, [input.len(), recurrent.len()], lengths)?;
        Ok(Self::joined(config, layout, input, recurrent, biases.map(|bias| layout.parts(bias, thirds))))
    }

    /// Weights of tensors that were checked.
    fn joined(
        config: &GruConfig,
        layout: Layout,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: Biases<&'a [f32]>,
    ) -> Self {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        let matrix = |data: &'a [f32], gate: usize, inputs: usize| {
            let Place { offset, strides } = layout.place(gate, units, inputs);
            GateMatrix { data: &data[offset.min(data.len())..], strides }
        };
        Self {
            input_size: inputs,
            hidden_size: units,
            reset_gate: config.place_of_reset_gate(),
            input: [0, 1, 2].map(|gate| matrix(input, gate, inputs)),
            recurrent: [0, 1, 2].map(|gate| matrix(recurrent, gate, units)),
            biases,
            layer_normalization: [None; GATES + 1],
        }
    }

    /// Weights in a tensor for each gate.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn separate(
        config: &GruConfig,
        orientation: Orientation,
        tensors: GruTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        tensors.check_lengths(|slice| slice.len(), [inputs, units])?;
        let (input, recurrent, biases) = tensors.split();
        let matrix = |data, inputs| GateMatrix { data, strides: orientation.place(units, inputs).strides };
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            reset_gate: config.place_of_reset_gate(),
            input: input.map(|data| matrix(data, inputs)),
            recurrent: recurrent.map(|data| matrix(data, units)),
            biases,
            layer_normalization: [None; GATES + 1],
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

    /// One layer and direction of oneDNN's `weights_layer` and `weights_iter` in the format `ldigo`, `[X, 3, H]` and `[H, 3, H]`,
    /// gates u (z), r, o (n), and `bias` in `ldgo`: of `lbr_gru` `[4, H]`, u, r, o and u′, the last of which is that of R of o; of
    /// `vanilla_gru` `[3, H]`. Source: oneDNN's developer guide, RNN.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn onednn_ldigo(
        config: &GruConfig,
        weights_layer: &'a [f32],
        weights_iter: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of_sums(config, Layout::KERAS, ONEDNN, weights_layer, weights_iter, bias)
    }

    /// One direction of OpenVINO's `W [D, 3H, X]`, `R [D, 3H, H]`, gates z, r, n (which it calls h), and `B`: with
    /// `linear_before_reset` `[D, 4H]`, z and r, W of h and R of h; without it `[D, 3H]`. Also those of its `GRUCell`.
    /// Source: OpenVINO's operations `GRUSequence` and `GRUCell`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn openvino(
        config: &GruConfig,
        w: &'a [f32],
        r: &'a [f32],
        b: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of_sums(config, Layout::ONNX, ONNX, w, r, b)
    }

    /// cuDNN's matrices and biases as `cudnnGetRNNWeightParams` finds them: `linLayerID` 0 to 2 are W of r, z (the update gate)
    /// and n (the new memory), `[H, X]` each, and 3 to 5 are R, `[H, H]` each; each has a bias `[H]`, of which the bias mode may
    /// keep one or none. Source: cuDNN's API reference.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn cudnn(config: &GruConfig, tensors: GruTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::GatesByInputs, tensors)
    }

    /// burn's `reset_gate`, `update_gate` and `new_gate`: the weights of the `Linear`s `input_transform`, `[X, H]` each, and
    /// `hidden_transform`, `[H, H]` each, both with a bias `[H]`. Its `reset_after` is [`ResetGate`].
    /// Source: `crates/burn-nn/src/modules/rnn/gru.rs`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn burn(config: &GruConfig, tensors: GruTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::InputsByGates, tensors)
    }

    /// The tensors of TensorFlow's `GRUBlockCell`: `w_ru [X + H, 2H]` and `w_c [X + H, H]`, whose first X rows are W, `b_ru [2H]`
    /// and `b_c [H]`, gates r, u (z) and c (n). Its reset gate comes before the product. Source: `tf.raw_ops.GRUBlockCell`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`]; [`Error::Unsupported`] of a layer with [`ResetGate::AfterProduct`].
    pub fn tensorflow_block(
        config: &GruConfig,
        [w_ru, w_c]: [&'a [f32]; 2],
        biases: Option<[&'a [f32]; 2]>,
    ) -> Result<Self, Error> {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        let lengths = biases.map(|[b_ru, b_c]| [b_ru.len(), b_c.len()]);
        check_tensorflow(config.place_of_reset_gate(), [inputs, units], [w_ru.len(), w_c.len()], lengths)?;
        let matrix = |gate: usize, first: usize| {
            let Place { offset, strides } = tensorflow_place(gate, units, first);
            let data = if gate < 2 { w_ru } else { w_c };
            GateMatrix { data: &data[offset.min(data.len())..], strides }
        };
        let biases = biases.map(|[b_ru, b_c]| {
            let (r, z) = b_ru.split_at(units);
            [Some(r), Some(z), Some(b_c)]
        });
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            reset_gate: config.place_of_reset_gate(),
            input: [0, 1, 2].map(|gate| matrix(gate, 0)),
            recurrent: [0, 1, 2].map(|gate| matrix(gate, inputs)),
            biases: [biases.unwrap_or_default(), [None; GATES]],
            layer_normalization: [None; GATES + 1],
        })
    }

    /// A buffer of all parameters, which [`GruConfig::parameters`] orders.
    ///
    /// # Errors
    /// [`Error::Length`] if it has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &GruConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        check_units(config.hidden_size())?;
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let [input, recurrent, bias] =
            [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
        let weights = Self::of_sums(config, Layout::PYTORCH, NEUTRAL, input, recurrent, Some(bias))?;
        if config.layer.options().normalization.is_none() {
            return Ok(weights);
        }
        let (scales, apart) = parameters[ranges.layer_normalization].split_at(GATES * config.hidden_size());
        weights.with_layer_normalization(thirds(scales), (!apart.is_empty()).then_some(apart))
    }

    /// Weights whose biases are added up as far as they can be: of the gates, in their order, and that of R of n if that stays
    /// apart.
    fn of_sums(
        config: &GruConfig,
        layout: Layout,
        names: Names,
        input: &'a [f32],
        recurrent: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let (sizes, reset_gate) = ([config.input_size(), config.hidden_size()], config.place_of_reset_gate());
        check_lengths(names, sizes, [input.len(), recurrent.len()], [None; 2])?;
        let mut biases = [[None; GATES]; 2];
        if let Some(bias) = bias {
            check_gru_tensor(GruTensor::Sums, names[2], [sums(reset_gate), sizes[1]], bias.len(), sizes)?;
            let (of_gates, apart) = bias.split_at(GATES * sizes[1]);
            biases[0] = layout.parts(Some(of_gates), thirds);
            biases[1][2] = (!apart.is_empty()).then_some(apart);
        }
        Ok(Self::joined(config, layout, input, recurrent, biases))
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

    /// Writes the weights into a tensor for each gate, as [`GruWeights::separate`] reads them; biases as [`GruWeights::export`] does.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_separate(
        &self,
        orientation: Orientation,
        tensors: GruTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        tensors.check_lengths(|slice| slice.len(), self.sizes())?;
        let (input, recurrent, biases) = tensors.split();
        self.check_rooms([SEPARATE[2][2], SEPARATE[3][2]], &biases)?;
        let [inputs, units] = self.sizes();
        for (gate, (input, recurrent)) in input.into_iter().zip(recurrent).enumerate() {
            self.write_input(gate, input, orientation.place(units, inputs));
            self.write_recurrent(gate, recurrent, orientation.place(units, units));
        }
        self.write_biases(biases);
        Ok(())
    }

    /// Writes the tensors that [`GruWeights::onednn_ldigo`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_onednn_ldigo(
        &self,
        weights_layer: &mut [f32],
        weights_iter: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_sums(Layout::KERAS, ONEDNN, weights_layer, weights_iter, bias)
    }

    /// Writes the tensors that [`GruWeights::openvino`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_openvino(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_sums(Layout::ONNX, ONNX, w, r, b)
    }

    /// Writes the tensors that [`GruWeights::cudnn`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_cudnn(&self, tensors: GruTensors<&mut [f32]>) -> Result<(), Error> {
        self.export_separate(Orientation::GatesByInputs, tensors)
    }

    /// Writes the tensors that [`GruWeights::burn`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_burn(&self, tensors: GruTensors<&mut [f32]>) -> Result<(), Error> {
        self.export_separate(Orientation::InputsByGates, tensors)
    }

    /// Writes the tensors that [`GruWeights::tensorflow_block`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`]; [`Error::Unsupported`] of weights for [`ResetGate::AfterProduct`].
    pub fn export_tensorflow_block(
        &self,
        [w_ru, w_c]: [&mut [f32]; 2],
        biases: Option<[&mut [f32]; 2]>,
    ) -> Result<(), Error> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let lengths = biases.as_ref().map(|[b_ru, b_c]| [b_ru.len(), b_c.len()]);
        check_tensorflow(self.reset_gate, self.sizes(), [w_ru.len(), w_c.len()], lengths)?;
        let biases = biases.map(|[b_ru, b_c]| {
            let (r, z) = b_ru.split_at_mut(units);
            [Some(r), Some(z), Some(b_c)]
        });
        let biases = [biases.unwrap_or_default(), [None, None, None]];
        self.check_rooms([TENSORFLOW[2]; 2], &biases)?;
        for gate in 0..GATES {
            let to = if gate < 2 { &mut *w_ru } else { &mut *w_c };
            self.write_input(gate, to, tensorflow_place(gate, units, 0));
            self.write_recurrent(gate, to, tensorflow_place(gate, units, inputs));
        }
        self.write_biases(biases);
        Ok(())
    }

    fn export_named(
        &self,
        layout: Layout,
        names: Names,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let lengths = biases.each_ref().map(|bias| bias.as_ref().map(|bias| bias.len()));
        check_lengths(names, self.sizes(), [input.len(), recurrent.len()], lengths)?;
        let biases = biases.map(|bias| layout.parts(bias, thirds_mut));
        self.check_rooms([names[2], names[3]], &biases)?;
        self.write_joined(layout, input, recurrent);
        self.write_biases(biases);
        Ok(())
    }

    /// The same with one bias, as [`GruWeights::of_sums`] reads it.
    fn export_sums(
        &self,
        layout: Layout,
        names: Names,
        input: &mut [f32],
        recurrent: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        check_lengths(names, self.sizes(), [input.len(), recurrent.len()], [None; 2])?;
        let mut biases = [[None, None, None], [None, None, None]];
        if let Some(bias) = bias {
            let shape = [sums(self.reset_gate), self.hidden_size];
            check_gru_tensor(GruTensor::Sums, names[2], shape, bias.len(), self.sizes())?;
            let (of_gates, apart) = bias.split_at_mut(GATES * self.hidden_size);
            biases[0] = layout.parts(Some(of_gates), thirds_mut);
            biases[1][2] = (!apart.is_empty()).then_some(apart);
        }
        self.check_rooms([names[2]; 2], &biases)?;
        self.write_joined(layout, input, recurrent);
        self.write_biases(biases);
        Ok(())
    }

    /// Writes W and R of all gates.
    fn write_joined(&self, layout: Layout, input: &mut [f32], recurrent: &mut [f32]) {
        let [inputs, units] = self.sizes();
        for gate in 0..GATES {
            self.write_input(gate, input, layout.place(gate, units, inputs));
            self.write_recurrent(gate, recurrent, layout.place(gate, units, units));
        }
    }

    fn write_input(&self, gate: usize, to: &mut [f32], place: Place) {
        write(to, place, [self.hidden_size, self.input_size], |unit, k| self.input[gate].at(unit, k));
    }

    fn write_recurrent(&self, gate: usize, to: &mut [f32], place: Place) {
        write(to, place, [self.hidden_size; 2], |unit, k| self.recurrent[gate].at(unit, k));
    }

    /// `Ok` if there is room for all biases: those of r and z can be added up, those of n only with the reset gate before the
    /// product.
    fn check_rooms(&self, names: [&'static str; 2], rooms: &Biases<&mut [f32]>) -> Result<(), Error> {
        for gate in 0..GATES {
            let stays_apart = gate == 2 && self.reset_gate == ResetGate::AfterProduct;
            let has_any = rooms.iter().any(|rooms| rooms[gate].is_some());
            for (which, name) in names.into_iter().enumerate() {
                let has_room = if stays_apart { rooms[which][gate].is_some() } else { has_any };
                if self.biases[which][gate].is_some() && !has_room {
                    return Err(Error::Missing { argument: name });
                }
            }
        }
        Ok(())
    }

    /// Writes the biases: where there is room for both, each gets its own, else the one gets the sum.
    fn write_biases(&self, rooms: Biases<&mut [f32]>) {
        let present = rooms.each_ref().map(|rooms| rooms.each_ref().map(Option::is_some));
        for (which, rooms) in rooms.into_iter().enumerate() {
            for (gate, room) in rooms.into_iter().enumerate() {
                for (unit, to) in room.into_iter().flatten().enumerate() {
                    let of = |which: usize| self.biases[which][gate].map(|bias| bias[unit]);
                    *to = match (present[1 - which][gate], of(which), of(1 - which)) {
                        (false, Some(own), Some(other)) => own + other,
                        (false, own, other) => own.or(other).unwrap_or(0.0),
                        (true, own, _) => own.unwrap_or(0.0),
                    };
                }
            }
        }
    }

    fn sizes(&self) -> [usize; 2] {
        [self.input_size, self.hidden_size]
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// Adds the scales of the layer normalization of r, z and n, `[H]` each, for [`GruConfig::layer_normalization`]; with the reset
    /// gate after the product also that of R·h of n, while that of n is of W·x then. The biases are its shifts.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] or [`Error::Unexpected`] for the last one.
    pub fn with_layer_normalization(
        self,
        scales: [&'a [f32]; GATES],
        recurrent: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let expected = self.reset_gate == ResetGate::AfterProduct;
        check_presence(SCALES[GATES], expected, recurrent.is_some())?;
        for (scale, name) in scales.into_iter().chain(recurrent).zip(SCALES) {
            check(name, 1, self.hidden_size, scale.len())?;
        }
        let [r, z, n] = scales.map(Some);
        Ok(Self { layer_normalization: [r, z, n, recurrent], ..self })
    }

    /// Writes the scales of the layer normalization, as [`GruWeights::with_layer_normalization`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the scales if there are none, or room for the
    /// last one; [`Error::Unexpected`] room for it where there is none. Nothing is written then.
    pub fn export_layer_normalization(
        &self,
        scales: [&mut [f32]; GATES],
        recurrent: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let [r, z, n, apart] = self.layer_normalization;
        let (Some(r), Some(z), Some(n)) = (r, z, n) else {
            return Err(Error::Missing { argument: "layer normalization" });
        };
        check_presence(SCALES[GATES], apart.is_some(), recurrent.is_some())?;
        let lengths = scales.iter().chain(&recurrent).map(|scale| scale.len());
        for (len, name) in lengths.zip(SCALES) {
            check(name, 1, self.hidden_size, len)?;
        }
        for (to, from) in scales.into_iter().chain(recurrent).zip([r, z, n].into_iter().chain(apart)) {
            to.copy_from_slice(from);
        }
        Ok(())
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &GruConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size)?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size)?;
        if config.place_of_reset_gate() != self.reset_gate {
            let because = "another place of the reset gate";
            return Err(Error::Unsupported { argument: "weights", because });
        }
        let expected = config.layer.options().normalization.is_some();
        check_presence("layer normalization", expected, self.layer_normalization[0].is_some())
    }
}

/// Biases that are left where those that can be are added up.
fn sums(reset_gate: ResetGate) -> usize {
    match reset_gate {
        ResetGate::AfterProduct => GATES + 1,
        ResetGate::BeforeProduct => GATES,
    }
}

/// Where W of a gate, or R after so many rows, lies in the tensors of TensorFlow's `GRUBlockCell`.
fn tensorflow_place(gate: usize, units: usize, rows_before: usize) -> Place {
    let width = if gate < 2 { 2 * units } else { units };
    Place { offset: rows_before * width + gate % 2 * units, strides: [1, width] }
}

/// `Ok` if such tensors have the lengths that the sizes demand, and the layer is of that kind.
fn check_tensorflow(
    reset_gate: ResetGate,
    [inputs, units]: [usize; 2],
    [w_ru, w_c]: [usize; 2],
    biases: Option<[usize; 2]>,
) -> Result<(), Error> {
    if reset_gate == ResetGate::AfterProduct {
        let because = "a reset gate after the product";
        return Err(Error::Unsupported { argument: "layout of GRUBlockCell", because });
    }
    check_units(units)?;
    let rows = inputs.checked_add(units).ok_or(Error::Overflow { argument: "w_ru" })?;
    check("w_ru", rows, 2 * units, w_ru)?;
    check("w_c", rows, units, w_c)?;
    let [b_ru, b_c] = biases.unwrap_or([2 * units, units]);
    check("b_ru", 2, units, b_ru)?;
    check("b_c", 1, units, b_c)
}

/// `Ok` if a tensor has the length of the bias of W and that of R.
fn check_two_biases(name: &'static str, units: usize, found: usize) -> Result<(), Error> {
    check_gru_tensor(GruTensor::TwoBiases, name, [2 * GATES, units], found, [0, units])
}

/// The bias of W and that of R in one tensor.
fn halves<'a>(
    name: &'static str,
    units: usize,
    bias: Option<&'a [f32]>,
) -> Result<[Option<&'a [f32]>; 2], Error> {
    let Some(bias) = bias else { return Ok([None; 2]) };
    check_two_biases(name, units, bias.len())?;
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
    check_two_biases(name, units, bias.len())?;
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

    fn scale(&self, bias: usize, unit: usize) -> f32 {
        self.layer_normalization[bias].map_or(0.0, |scale| scale[unit])
    }
}
