//! Weights of gated recurrent units as other frameworks store them.

use super::gate::GruGateOrder;
use super::gates::{AllGates, BiasTensors, EachGate, GateLayout, Gates, at, check_units};
use super::keras_cudnn;
use super::layout::{
    Framework, GruTensors, KERAS, Names, ONEDNN_LDIGO, ONNX, OPENVINO, Orientation, PYTORCH, Place,
    SeparateNames, Sizes, check, check_presence,
};
use crate::cell::kind::ResetGate;
use crate::config::GruConfig;
use crate::{Error, Matrix};

/// Gates of a gated recurrent unit: r, z, n.
const GATES: usize = 3;

/// Names of a tensor for each gate.
const SEPARATE: SeparateNames<GATES> = SeparateNames {
    input: ["input weights of r", "input weights of z", "input weights of n"],
    recurrent: ["recurrent weights of r", "recurrent weights of z", "recurrent weights of n"],
    biases: [
        ["first bias of r", "first bias of z", "first bias of n"],
        ["second bias of r", "second bias of z", "second bias of n"],
    ],
};

/// Names of the scales of a normalization.
const SCALES: [&str; GATES + 1] = [
    "layer normalization of r",
    "layer normalization of z",
    "layer normalization of n",
    "layer normalization of R·h of n",
];

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
/// | TensorFlow Lite | [`tflite`](Self::tflite) | [`export_tflite`](Self::export_tflite) |
/// | TensorFlow, `GRUBlockCell` | [`tensorflow_block`](Self::tensorflow_block) | [`export_tensorflow_block`](Self::export_tensorflow_block) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | none: one buffer | [`from_parameters`](Self::from_parameters) | [`Gru::read_parameters`](crate::Gru::read_parameters) |
/// | any other | [`new`](Self::new), [`separate`](Self::separate), with row strides [`from_matrices`](Self::from_matrices) | [`export`](Self::export), [`export_separate`](Self::export_separate) |
#[derive(Clone, Copy, Debug)]
pub struct GruWeights<'a> {
    /// r, z and n; the biases of n are split where the reset gate comes after the product.
    gates: Gates<'a, GATES>,
}

/// The sizes of a layer.
fn sizes(config: &GruConfig) -> Sizes {
    let units = config.hidden_size();
    Sizes { inputs: config.input_size(), units, outputs: units }
}

/// Whether the reset gate comes between the biases of the candidate.
fn is_split(config: &GruConfig) -> bool {
    config.place_of_reset_gate() == ResetGate::AfterProduct
}

fn layout(order: GruGateOrder, orientation: Orientation) -> GateLayout<GATES> {
    GateLayout { positions: order.positions(), orientation }
}

/// The layout of a framework.
fn layout_of(framework: &Framework) -> GateLayout<GATES> {
    layout(framework.gru, framework.orientation)
}

/// `Ok` if the layer is of the kind that `CuDNNGRU` is.
fn check_cudnn(is_split: bool) -> Result<(), Error> {
    let because = "a reset gate before the product";
    if is_split { Ok(()) } else { Err(Error::Unsupported { argument: "CuDNNGRU", because }) }
}

fn each_gate<S>(tensors: GruTensors<S>) -> EachGate<S, GATES> {
    let GruTensors { input, recurrent, biases } = tensors;
    EachGate { input, recurrent, biases }
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
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        let layout = layout(order, orientation);
        let gates = Gates::joined(sizes(config), is_split(config), layout, &Names::NEUTRAL, tensors)?;
        Ok(Self { gates })
    }

    /// Weights in matrices whose rows need not follow each other: parts of a larger one, transposed ones, every other
    /// row.
    ///
    /// W is `[3H, X]` and R `[3H, H]` in [`Orientation::GatesByInputs`], `[X, 3H]` and `[H, 3H]` in
    /// [`Orientation::InputsByGates`].
    ///
    /// # Errors
    /// [`Error::Dimension`] or [`Error::TooShort`] names the matrix of another shape, [`Error::Length`] the bias;
    /// [`Error::Zero`] if H is zero.
    pub fn from_matrices(
        config: &GruConfig,
        order: GruGateOrder,
        orientation: Orientation,
        input: Matrix<'a>,
        recurrent: Matrix<'a>,
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let layout = layout(order, orientation);
        let gates = Gates::strided(sizes(config), is_split(config), layout, [input, recurrent], biases)?;
        Ok(Self { gates })
    }

    /// Weights in tensors of a framework that hold all gates.
    fn of(
        framework: &Framework,
        config: &GruConfig,
        [input, recurrent]: [&'a [f32]; 2],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let (layout, is_split) = (layout_of(framework), is_split(config));
        let tensors = AllGates::of(framework, is_split, input, recurrent, biases);
        Ok(Self { gates: Gates::joined(sizes(config), is_split, layout, &framework.names, tensors)? })
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
        let (sizes, is_split) = (sizes(config), is_split(config));
        let gates = Gates::separate(sizes, is_split, None, orientation, &SEPARATE, each_gate(tensors))?;
        Ok(Self { gates })
    }

    /// PyTorch's `weight_ih_l0 [3H, X]`, `weight_hh_l0 [3H, H]`, `bias_ih_l0 [3H]` and `bias_hh_l0 [3H]`, gates r, z,
    /// n. Layers and directions have tensors of their own: `…_l1`, `…_l0_reverse`.
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
        Self::of(&PYTORCH, config, [weight_ih, weight_hh], [bias_ih, bias_hh])
    }

    /// Keras' `kernel [X, 3H]`, `recurrent_kernel [H, 3H]` and `bias`: with `reset_after` `[2, 3H]`, of W, then of R;
    /// without it `[3H]`. Gates z, r, n (which it calls h). Source: `keras/src/layers/rnn/gru.py`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn keras(
        config: &GruConfig,
        kernel: &'a [f32],
        recurrent_kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&KERAS, config, [kernel, recurrent_kernel], [bias, None])
    }

    /// The tensors of a Keras file that was saved from `CuDNNGRU`: `kernel [X, 3H]` and `recurrent_kernel [H, 3H]` in
    /// which each gate's block is transposed as cuDNN has it, and `bias [6H]`, that of W before that of R. Gates z, r,
    /// n.
    ///
    /// A `bias` of shape `[6H]` tells such a file: that of `GRU` with `reset_after` has as many elements, in shape
    /// `[2, 3H]`. They are written to `parameters`, as [`GruConfig::parameters`] lays them out, of which the weights
    /// are then made. Source: `_convert_rnn_weights` in `keras/src/legacy/saving/legacy_h5_format.py`.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong, [`Error::Zero`] if H is zero; [`Error::Unsupported`]
    /// of a layer with [`ResetGate::BeforeProduct`] or layer normalization, which `CuDNNGRU` has not. Nothing is
    /// written then.
    pub fn keras_cudnn(
        config: &GruConfig,
        kernel: &[f32],
        recurrent_kernel: &[f32],
        bias: &[f32],
        parameters: &'a mut [f32],
    ) -> Result<Self, Error> {
        let (layout, tensors) = (layout_of(&KERAS), [kernel, recurrent_kernel, bias]);
        check_cudnn(is_split(config))?;
        let ranges = config.layer.parameters()?;
        if ranges.bias.end != ranges.total() {
            return Err(Error::Unsupported {
                argument: "CuDNNGRU",
                because: "layer normalization, which it has not",
            });
        }
        keras_cudnn::read(sizes(config), is_split(config), layout, tensors, &ranges, parameters)?;
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
        check_cudnn(self.gates.is_split)?;
        keras_cudnn::write(&self.gates, layout_of(&KERAS), [kernel, recurrent_kernel, bias])
    }

    /// One direction of ONNX's `W [D, 3H, X]`, `R [D, 3H, H]` and `B [D, 6H]`, whose first half is the bias of W and
    /// whose second is that of R. Gates z, r, n (which it calls h).
    ///
    /// The directions follow each other: direction d of `W` is `W[d * 3 * H * X..][..3 * H * X]`, and so on.
    /// Source: [operator GRU](https://onnx.ai/onnx/operators/onnx__GRU.html).
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn onnx(config: &GruConfig, w: &'a [f32], r: &'a [f32], b: Option<&'a [f32]>) -> Result<Self, Error> {
        Self::of(&ONNX, config, [w, r], [b, None])
    }

    /// One layer and direction of oneDNN's `weights_layer` and `weights_iter` in the format `ldigo`, `[X, 3, H]` and
    /// `[H, 3, H]`, gates u (z), r, o (n), and `bias` in `ldgo`: of `lbr_gru` `[4, H]`, u, r, o and u′, the last of
    /// which is that of R of o; of `vanilla_gru` `[3, H]`. Source: oneDNN's developer guide, RNN.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn onednn_ldigo(
        config: &GruConfig,
        weights_layer: &'a [f32],
        weights_iter: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&ONEDNN_LDIGO, config, [weights_layer, weights_iter], [bias, None])
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
        Self::of(&OPENVINO, config, [w, r], [b, None])
    }

    /// cuDNN's matrices and biases as `cudnnGetRNNWeightParams` finds them: `linLayerID` 0 to 2 are W of r, z (the
    /// update gate) and n (the new memory), `[H, X]` each, and 3 to 5 are R, `[H, H]` each; each has a bias `[H]`, of
    /// which the bias mode may keep one or none. Source: cuDNN's API reference.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn cudnn(config: &GruConfig, tensors: GruTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::GatesByInputs, tensors)
    }

    /// burn's `reset_gate`, `update_gate` and `new_gate`: the weights of the `Linear`s `input_transform`, `[X, H]`
    /// each, and `hidden_transform`, `[H, H]` each, both with a bias `[H]`. Its `reset_after` is [`ResetGate`]. Source:
    /// `crates/burn-nn/src/modules/rnn/gru.rs`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`].
    pub fn burn(config: &GruConfig, tensors: GruTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::InputsByGates, tensors)
    }

    /// The tensors of TensorFlow's `GRUBlockCell`: `w_ru [X + H, 2H]` and `w_c [X + H, H]`, whose first X rows are W,
    /// `b_ru [2H]` and `b_c [H]`, gates r, u (z) and c (n). Its reset gate comes before the product. Those of
    /// `GRUCell`, `gates/kernel`, `candidate/kernel` and their biases, are the same. Source: `tf.raw_ops.GRUBlockCell`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`]; [`Error::Unsupported`] of a layer with [`ResetGate::AfterProduct`].
    pub fn tensorflow_block(
        config: &GruConfig,
        [w_ru, w_c]: [&'a [f32]; 2],
        biases: Option<[&'a [f32]; 2]>,
    ) -> Result<Self, Error> {
        Self::of_pair(&TENSORFLOW, config, [w_ru, w_c], biases)
    }

    /// The tensors of TensorFlow Lite's custom operator `UNIDIRECTIONAL_SEQUENCE_GRU`: `gate_weight [2H, X + H]` and
    /// `candidate_weight [H, X + H]`, whose first X columns are W, `gate_bias [2H]` and `candidate_bias [H]`, gates r,
    /// u (z) and c (n). Its reset gate comes before the product. Source: `tensorflow/lite/kernels/gru_cell.cc`.
    ///
    /// # Errors
    /// As for [`GruWeights::new`]; [`Error::Unsupported`] of a layer with [`ResetGate::AfterProduct`].
    pub fn tflite(
        config: &GruConfig,
        [gate_weight, candidate_weight]: [&'a [f32]; 2],
        biases: Option<[&'a [f32]; 2]>,
    ) -> Result<Self, Error> {
        Self::of_pair(&TFLITE, config, [gate_weight, candidate_weight], biases)
    }

    /// Weights of which those of r and z are one matrix, and those of n another.
    fn of_pair(
        pair: &Pair,
        config: &GruConfig,
        weights: [&'a [f32]; 2],
        biases: Option<[&'a [f32]; 2]>,
    ) -> Result<Self, Error> {
        let sizes = sizes(config);
        pair.check(
            is_split(config),
            sizes,
            weights.map(<[f32]>::len),
            biases.map(|all| all.map(<[f32]>::len)),
        )?;
        let matrix = |gate: usize, first| at(weights[gate / 2], pair.place(gate, sizes, first));
        let gates = [0, 1, 2];
        let (input, recurrent) =
            (gates.map(|gate| matrix(gate, 0)), gates.map(|gate| matrix(gate, sizes.inputs)));
        let biases = biases.map(|[of_gates, of_candidate]| {
            let (r, z) = of_gates.split_at(sizes.units);
            [Some(r), Some(z), Some(of_candidate)]
        });
        let biases = [biases.unwrap_or_default(), [None; GATES]];
        Ok(Self { gates: Gates::new(sizes, false, input, recurrent, biases) })
    }

    /// A buffer of all parameters, which [`GruConfig::parameters`] orders.
    ///
    /// # Errors
    /// [`Error::Length`] if it has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &GruConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        let sizes = check_units::<GATES>(sizes(config))?;
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let [input, recurrent, bias] =
            [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
        let (layout, is_split) = (layout_of(&PYTORCH), is_split(config));
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Sums(Some(bias)) };
        let gates = Gates::joined(sizes, is_split, layout, &Names::NEUTRAL, tensors)?;
        let scales = parameters[ranges.layer_normalization].chunks_exact(sizes.units);
        Ok(Self { gates: if scales.len() == 0 { gates } else { gates.with_scales(&SCALES, scales)? } })
    }

    /// Writes the weights as [`GruWeights::new`] reads them. A bias that is not there is written as zeros.
    ///
    /// Where there is room for one bias, it gets the sum of both, unless the reset gate comes between those of the
    /// candidate.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a bias that the weights have and
    /// there is no room for. Nothing is written then.
    pub fn export(
        &self,
        order: GruGateOrder,
        orientation: Orientation,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        self.gates.export_joined(layout(order, orientation), &Names::NEUTRAL, tensors, Ok(()))
    }

    /// Writes the tensors of a framework that hold all gates.
    fn export_to(
        &self,
        framework: &Framework,
        [input, recurrent]: [&mut [f32]; 2],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let tensors = AllGates::of(framework, self.gates.is_split, input, recurrent, biases);
        self.gates.export_joined(layout_of(framework), &framework.names, tensors, Ok(()))
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
        self.export_to(&PYTORCH, [weight_ih, weight_hh], [bias_ih, bias_hh])
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
        self.export_to(&KERAS, [kernel, recurrent_kernel], [bias, None])
    }

    /// Writes the tensors that [`GruWeights::onnx`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_onnx(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_to(&ONNX, [w, r], [b, None])
    }

    /// Writes the weights into a tensor for each gate, as [`GruWeights::separate`] reads them; biases as
    /// [`GruWeights::export`] does.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_separate(
        &self,
        orientation: Orientation,
        tensors: GruTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        self.gates.export_separate(orientation, &SEPARATE, each_gate(tensors), Ok(()))
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
        self.export_to(&ONEDNN_LDIGO, [weights_layer, weights_iter], [bias, None])
    }

    /// Writes the tensors that [`GruWeights::openvino`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`].
    pub fn export_openvino(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_to(&OPENVINO, [w, r], [b, None])
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
        self.export_pair(&TENSORFLOW, [w_ru, w_c], biases)
    }

    /// Writes the tensors that [`GruWeights::tflite`] reads.
    ///
    /// # Errors
    /// As for [`GruWeights::export`]; [`Error::Unsupported`] of weights for [`ResetGate::AfterProduct`].
    pub fn export_tflite(
        &self,
        [gate_weight, candidate_weight]: [&mut [f32]; 2],
        biases: Option<[&mut [f32]; 2]>,
    ) -> Result<(), Error> {
        self.export_pair(&TFLITE, [gate_weight, candidate_weight], biases)
    }

    fn export_pair(
        &self,
        pair: &Pair,
        weights: [&mut [f32]; 2],
        biases: Option<[&mut [f32]; 2]>,
    ) -> Result<(), Error> {
        let sizes = self.gates.sizes;
        let lengths = biases.as_ref().map(|biases| biases.each_ref().map(|bias| bias.len()));
        pair.check(self.gates.is_split, sizes, weights.each_ref().map(|of| of.len()), lengths)?;
        let biases = biases.map(|[of_gates, of_candidate]| {
            let (r, z) = of_gates.split_at_mut(sizes.units);
            [Some(r), Some(z), Some(of_candidate)]
        });
        let biases = [biases.unwrap_or_default(), [None, None, None]];
        self.gates.check_rooms([pair.biases; 2], &biases)?;
        for gate in 0..GATES {
            let to = &mut *weights[gate / 2];
            self.gates.write_input(gate, to, pair.place(gate, sizes, 0));
            self.gates.write_recurrent(gate, to, pair.place(gate, sizes, sizes.inputs));
        }
        self.gates.write_biases(biases);
        Ok(())
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.gates.sizes.inputs
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.gates.sizes.units
    }

    /// Adds the scales of the layer normalization of r, z and n, `[H]` each, for [`GruConfig::layer_normalization`];
    /// with the reset gate after the product also that of R·h of n, while that of n is of W·x then. The biases are its
    /// shifts.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] or [`Error::Unexpected`] for the
    /// last one.
    pub fn with_layer_normalization(
        self,
        scales: [&'a [f32]; GATES],
        recurrent: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        check_presence(SCALES[GATES], self.gates.is_split, recurrent.is_some())?;
        Ok(Self { gates: self.gates.with_scales(&SCALES, scales.into_iter().chain(recurrent))? })
    }

    /// Writes the scales of the layer normalization, as [`GruWeights::with_layer_normalization`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the scales if there are none, or
    /// room for the last one; [`Error::Unexpected`] room for it where there is none. Nothing is written then.
    pub fn export_layer_normalization(
        &self,
        scales: [&mut [f32]; GATES],
        recurrent: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let is_there = recurrent.is_some();
        if self.gates.scales[0].is_some() {
            check_presence(SCALES[GATES], self.gates.is_split, is_there)?;
        }
        let [r, z, n] = scales;
        match recurrent {
            Some(recurrent) => self.gates.export_scales(&SCALES, &mut [r, z, n, recurrent]),
            None => self.gates.export_scales(&SCALES, &mut [r, z, n]),
        }
    }

    /// W, R and biases.
    pub(crate) fn gates(&self) -> &Gates<'a, GATES> {
        &self.gates
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &GruConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size())?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size())?;
        if is_split(config) != self.gates.is_split {
            let because = "another place of the reset gate";
            return Err(Error::Unsupported { argument: "weights", because });
        }
        let expected = config.layer.options().normalization.is_some();
        check_presence("layer normalization", expected, self.gates.scales[0].is_some())
    }
}

/// Tensors in which r and z have one matrix from x and h, and n has another.
struct Pair {
    orientation: Orientation,
    /// For errors.
    what: &'static str,
    weights: [&'static str; 2],
    bias: [&'static str; 2],
    biases: &'static str,
}

const TENSORFLOW: Pair = Pair {
    orientation: Orientation::InputsByGates,
    what: "layout of GRUBlockCell",
    weights: ["w_ru", "w_c"],
    bias: ["b_ru", "b_c"],
    biases: "b_ru and b_c",
};

const TFLITE: Pair = Pair {
    orientation: Orientation::GatesByInputs,
    what: "layout of UNIDIRECTIONAL_SEQUENCE_GRU",
    weights: ["gate_weight", "candidate_weight"],
    bias: ["gate_bias", "candidate_bias"],
    biases: "gate_bias and candidate_bias",
};

impl Pair {
    /// Where the matrix of a gate lies that begins with input `first` of X + H.
    fn place(&self, gate: usize, Sizes { inputs, units, .. }: Sizes, first: usize) -> Place {
        let (all, width) = (inputs + units, if gate < 2 { 2 * units } else { units });
        let row = gate % 2 * units;
        match self.orientation {
            Orientation::GatesByInputs => Place { offset: row * all + first, strides: [all, 1] },
            Orientation::InputsByGates => Place { offset: first * width + row, strides: [1, width] },
        }
    }

    /// `Ok` if the tensors have the lengths that the sizes demand, and the layer is of that kind.
    fn check(
        &self,
        is_split: bool,
        sizes: Sizes,
        weights: [usize; 2],
        biases: Option<[usize; 2]>,
    ) -> Result<(), Error> {
        if is_split {
            let because = "a reset gate after the product";
            return Err(Error::Unsupported { argument: self.what, because });
        }
        let Sizes { inputs, units, .. } = check_units::<GATES>(sizes)?;
        let all = inputs.checked_add(units).ok_or(Error::Overflow { argument: self.weights[0] })?;
        for (which, rows) in [2 * units, units].into_iter().enumerate() {
            check(self.weights[which], all, rows, weights[which])?;
        }
        for (which, rows) in [2 * units, units].into_iter().enumerate() {
            biases.map_or(Ok(()), |found| check(self.bias[which], 1, rows, found[which]))?;
        }
        Ok(())
    }
}
