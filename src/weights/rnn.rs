//! Weights of plain recurrent layers as other frameworks store them.

use super::gates::{AllGates, BiasTensors, GateLayout, Gates, check_units};
use super::layout::{
    Framework, KERAS, Names, ONEDNN_LDIGO, ONNX, OPENVINO, Orientation, PYTORCH, Sizes, check, check_presence,
};
use crate::config::RnnConfig;
use crate::error::Error;
use crate::view::Matrix;

/// Names of tensors of frameworks that have a tensor for each gate, and so one here.
const CUDNN: Names =
    Names::new("linLayerID 0", "linLayerID 1", ["bias of linLayerID 0", "bias of linLayerID 1"]);
const BURN: Names = Names::new(
    "input_transform",
    "hidden_transform",
    ["bias of input_transform", "bias of hidden_transform"],
);
const TFLITE: Names = Names::new("input_weights", "recurrent_weights", ["bias", "second bias"]);
const TENSORFLOW: Names = Names::new("kernel", "kernel", ["bias", "second bias"]);

/// Name of the scale of a normalization.
const SCALE: [&str; 1] = ["layer_normalization"];

/// The weights of a plain recurrent layer, borrowed from the tensors of a framework.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | oneDNN | [`onednn_ldigo`](Self::onednn_ldigo) | [`export_onednn_ldigo`](Self::export_onednn_ldigo) |
/// | OpenVINO | [`openvino`](Self::openvino) | [`export_openvino`](Self::export_openvino) |
/// | cuDNN | [`cudnn`](Self::cudnn) | [`export_cudnn`](Self::export_cudnn) |
/// | TensorFlow, `BasicRNNCell` | [`tensorflow_basic`](Self::tensorflow_basic) | [`export_tensorflow_basic`](Self::export_tensorflow_basic) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | TensorFlow Lite | [`tflite`](Self::tflite) | [`export_tflite`](Self::export_tflite) |
/// | none: one buffer | [`from_parameters`](Self::from_parameters) | [`Rnn::read_parameters`](crate::Rnn::read_parameters) |
/// | any other | [`new`](Self::new), with row strides [`from_matrices`](Self::from_matrices) | [`export`](Self::export) |
#[derive(Clone, Copy, Debug)]
pub struct RnnWeights<'a> {
    gates: Gates<'a, 1>,
}

/// The sizes of a layer.
fn sizes(config: &RnnConfig) -> Sizes {
    let units = config.hidden_size();
    Sizes { inputs: config.input_size(), units, outputs: units }
}

fn layout(orientation: Orientation) -> GateLayout<1> {
    GateLayout { positions: [0], orientation }
}

/// A framework whose tensors of single gates lie in this way, under its names.
fn single(orientation: Orientation, names: Names) -> Framework {
    Framework { orientation, ..PYTORCH.named(names) }
}

impl<'a> RnnWeights<'a> {
    /// Weights of either orientation: W is `[H, X]` and R `[H, H]` in [`Orientation::GatesByInputs`], as in PyTorch and
    /// ONNX; `[X, H]` and `[H, H]`, R the other way round too, in [`Orientation::InputsByGates`], as in Keras. Up to
    /// two biases `[H]` are added up.
    ///
    /// # Errors
    /// [`Error::Length`] names the slice whose length is wrong; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn new(
        config: &RnnConfig,
        orientation: Orientation,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        let gates = Gates::joined(sizes(config), false, layout(orientation), &Names::NEUTRAL, tensors)?;
        Ok(Self { gates })
    }

    /// Weights in matrices whose rows need not follow each other: parts of a larger one, transposed ones, every other
    /// row.
    ///
    /// # Errors
    /// [`Error::Dimension`] or [`Error::TooShort`] names the matrix of another shape, [`Error::Length`] the bias;
    /// [`Error::Zero`] if H is zero.
    pub fn from_matrices(
        config: &RnnConfig,
        orientation: Orientation,
        input: Matrix<'a>,
        recurrent: Matrix<'a>,
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let gates = Gates::strided(sizes(config), false, layout(orientation), [input, recurrent], biases)?;
        Ok(Self { gates })
    }

    /// Weights in tensors of a framework.
    fn of(
        framework: &Framework,
        config: &RnnConfig,
        [input, recurrent]: [&'a [f32]; 2],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let tensors = AllGates::of(framework, false, input, recurrent, biases);
        let layout = layout(framework.orientation);
        Ok(Self { gates: Gates::joined(sizes(config), false, layout, &framework.names, tensors)? })
    }

    /// PyTorch's `weight_ih_l0 [H, X]`, `weight_hh_l0 [H, H]`, `bias_ih_l0 [H]` and `bias_hh_l0 [H]`, both biases added
    /// up. Source: `torch.nn.RNN`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn pytorch(
        config: &RnnConfig,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias_ih: Option<&'a [f32]>,
        bias_hh: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&PYTORCH, config, [weight_ih, weight_hh], [bias_ih, bias_hh])
    }

    /// Keras' `kernel [X, H]`, `recurrent_kernel [H, H]` and `bias [H]`. Source: `keras/src/layers/rnn/simple_rnn.py`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn keras(
        config: &RnnConfig,
        kernel: &'a [f32],
        recurrent_kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&KERAS, config, [kernel, recurrent_kernel], [bias, None])
    }

    /// One direction of ONNX's `W [D, H, X]`, `R [D, H, H]` and `B [D, 2H]`, whose first half is the bias of W and
    /// whose second is that of R. Source: [operator RNN](https://onnx.ai/onnx/operators/onnx__RNN.html).
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn onnx(config: &RnnConfig, w: &'a [f32], r: &'a [f32], b: Option<&'a [f32]>) -> Result<Self, Error> {
        Self::of(&ONNX, config, [w, r], [b, None])
    }

    /// One layer and direction of oneDNN's `weights_layer` and `weights_iter` of `vanilla_rnn` in the format `ldigo`,
    /// `[X, 1, H]` and `[H, 1, H]`, and `bias` in `ldgo`, `[1, H]`. Source: oneDNN's developer guide, RNN.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn onednn_ldigo(
        config: &RnnConfig,
        weights_layer: &'a [f32],
        weights_iter: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&ONEDNN_LDIGO, config, [weights_layer, weights_iter], [bias, None])
    }

    /// One direction of OpenVINO's `W [D, H, X]`, `R [D, H, H]` and `B [D, H]`; also those of its `RNNCell`.
    /// Source: OpenVINO's operations `RNNSequence` and `RNNCell`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn openvino(
        config: &RnnConfig,
        w: &'a [f32],
        r: &'a [f32],
        b: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&OPENVINO, config, [w, r], [b, None])
    }

    /// cuDNN's matrices and biases of `CUDNN_RNN_RELU` and `CUDNN_RNN_TANH` as `cudnnGetRNNWeightParams` finds them:
    /// `linLayerID` 0 is W, `[H, X]`, and 1 is R, `[H, H]`; each has a bias `[H]`, of which the bias mode may keep one
    /// or none. Source: cuDNN's API reference.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn cudnn(
        config: &RnnConfig,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        Self::of(&single(Orientation::GatesByInputs, CUDNN), config, [input, recurrent], biases)
    }

    /// burn's `gate`: the weights of the `Linear`s `input_transform`, `[X, H]`, and `hidden_transform`, `[H, H]`, both
    /// with a bias `[H]`. Source: `crates/burn-nn/src/modules/rnn/basic.rs`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn burn(
        config: &RnnConfig,
        input_transform: &'a [f32],
        hidden_transform: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let framework = single(Orientation::InputsByGates, BURN);
        Self::of(&framework, config, [input_transform, hidden_transform], biases)
    }

    /// The tensors of TensorFlow's `BasicRNNCell`: `kernel [X + H, H]`, whose first X rows are W, and `bias [H]`.
    /// Source: `keras/layers/rnn/legacy_cells.py`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn tensorflow_basic(
        config: &RnnConfig,
        kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let at = check_kernel(sizes(config), kernel.len())?;
        Self::of(
            &single(Orientation::InputsByGates, TENSORFLOW),
            config,
            kernel.split_at(at).into(),
            [bias, None],
        )
    }

    /// TensorFlow Lite's `input_weights [H, X]`, `recurrent_weights [H, H]` and `bias [H]` of the operators `RNN` and
    /// `UNIDIRECTIONAL_SEQUENCE_RNN`. Source: `tensorflow/lite/kernels/basic_rnn.cc`.
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn tflite(
        config: &RnnConfig,
        input_weights: &'a [f32],
        recurrent_weights: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(
            &single(Orientation::GatesByInputs, TFLITE),
            config,
            [input_weights, recurrent_weights],
            [bias, None],
        )
    }

    /// The parameters of a layer in one buffer, laid out as [`RnnConfig::parameters`] says: what a training loop holds
    /// and an optimizer changes.
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &RnnConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
        let weights = Self::pytorch(config, w, r, Some(b), None)?;
        match &parameters[ranges.layer_normalization] {
            [] => Ok(weights),
            scale => weights.with_layer_normalization(scale),
        }
    }

    /// Adds the scale of the layer normalization, `[H]`, for [`RnnConfig::layer_normalization`]. The bias is its shift.
    ///
    /// # Errors
    /// [`Error::Length`] if it has another length.
    pub fn with_layer_normalization(self, scale: &'a [f32]) -> Result<Self, Error> {
        Ok(Self { gates: self.gates.with_scales(&SCALE, [scale])? })
    }

    /// Writes the weights as [`RnnWeights::new`] reads them. Where there is room for one bias, it gets the sum; where
    /// there is room for two, each gets its own, and zeros if there is none.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a bias if there is no room for any.
    /// Nothing is written then.
    pub fn export(
        &self,
        orientation: Orientation,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        self.gates.export_joined(layout(orientation), &Names::NEUTRAL, tensors, Ok(()))
    }

    /// Writes the tensors of a framework.
    fn export_to(
        &self,
        framework: &Framework,
        [input, recurrent]: [&mut [f32]; 2],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let tensors = AllGates::of(framework, false, input, recurrent, biases);
        self.gates.export_joined(layout(framework.orientation), &framework.names, tensors, Ok(()))
    }

    /// Writes the tensors that [`RnnWeights::pytorch`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_pytorch(
        &self,
        weight_ih: &mut [f32],
        weight_hh: &mut [f32],
        bias_ih: Option<&mut [f32]>,
        bias_hh: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&PYTORCH, [weight_ih, weight_hh], [bias_ih, bias_hh])
    }

    /// Writes the tensors that [`RnnWeights::keras`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_keras(
        &self,
        kernel: &mut [f32],
        recurrent_kernel: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&KERAS, [kernel, recurrent_kernel], [bias, None])
    }

    /// Writes the tensors that [`RnnWeights::onnx`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_onnx(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_to(&ONNX, [w, r], [b, None])
    }

    /// Writes the tensors that [`RnnWeights::onednn_ldigo`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_onednn_ldigo(
        &self,
        weights_layer: &mut [f32],
        weights_iter: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&ONEDNN_LDIGO, [weights_layer, weights_iter], [bias, None])
    }

    /// Writes the tensors that [`RnnWeights::openvino`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_openvino(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_to(&OPENVINO, [w, r], [b, None])
    }

    /// Writes the tensors that [`RnnWeights::cudnn`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_cudnn(
        &self,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        self.export_to(&single(Orientation::GatesByInputs, CUDNN), [input, recurrent], biases)
    }

    /// Writes the tensors that [`RnnWeights::burn`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_burn(
        &self,
        input_transform: &mut [f32],
        hidden_transform: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let framework = single(Orientation::InputsByGates, BURN);
        self.export_to(&framework, [input_transform, hidden_transform], biases)
    }

    /// Writes the tensors that [`RnnWeights::tensorflow_basic`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_tensorflow_basic(&self, kernel: &mut [f32], bias: Option<&mut [f32]>) -> Result<(), Error> {
        let at = check_kernel(self.gates.sizes, kernel.len())?;
        self.export_to(
            &single(Orientation::InputsByGates, TENSORFLOW),
            kernel.split_at_mut(at).into(),
            [bias, None],
        )
    }

    /// Writes the tensors that [`RnnWeights::tflite`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_tflite(
        &self,
        input_weights: &mut [f32],
        recurrent_weights: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(
            &single(Orientation::GatesByInputs, TFLITE),
            [input_weights, recurrent_weights],
            [bias, None],
        )
    }

    /// Writes the scale of the layer normalization, as [`RnnWeights::with_layer_normalization`] reads it.
    ///
    /// # Errors
    /// [`Error::Length`] if the tensor has another length; [`Error::Missing`] if there is no scale. Nothing is written
    /// then.
    pub fn export_layer_normalization(&self, scale: &mut [f32]) -> Result<(), Error> {
        self.gates.export_scales(&SCALE, &mut [scale])
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.gates.sizes.inputs
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.gates.sizes.units
    }

    /// W, R and biases.
    pub(crate) fn gates(&self) -> &Gates<'a, 1> {
        &self.gates
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &RnnConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size())?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size())?;
        let expected = config.layer.options().normalization.is_some();
        check_presence("layer normalization", expected, self.gates.scales[0].is_some())
    }
}

/// Elements of W in a kernel that holds R too, if it has as many as both.
fn check_kernel(sizes: Sizes, found: usize) -> Result<usize, Error> {
    let Sizes { inputs, units, .. } = check_units::<1>(sizes)?;
    let rows = inputs.checked_add(units).ok_or(Error::Overflow { argument: "kernel" })?;
    check("kernel", rows, units, found)?;
    Ok(inputs * units)
}
