//! Weights of plain recurrent layers as other frameworks store them.

use super::export::write;
use super::layout::{Orientation, check};
use super::{GateMatrix, check_presence};
use crate::config::RnnConfig;
use crate::error::Error;
use crate::pack::GateTensors;

/// The weights of a plain recurrent layer, borrowed from the tensors of a framework.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | none: one buffer | [`from_parameters`](Self::from_parameters) | [`Rnn::read_parameters`](crate::Rnn::read_parameters) |
/// | OpenVINO, cuDNN, TensorFlow Lite | [`new`](Self::new), [`Orientation::GatesByInputs`] | [`export`](Self::export) |
/// | oneDNN in `ldigo`, burn | [`new`](Self::new), [`Orientation::InputsByGates`] | [`export`](Self::export) |
#[derive(Clone, Copy, Debug)]
pub struct RnnWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    input: GateMatrix<'a>,
    recurrent: GateMatrix<'a>,
    biases: [Option<&'a [f32]>; 2],
    layer_normalization: Option<&'a [f32]>,
}

/// Names of tensors for errors: W, R, and both biases.
type Names = [&'static str; 4];

const NEUTRAL: Names = ["input weights", "recurrent weights", "first bias", "second bias"];
const PYTORCH: Names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
const KERAS: Names = ["kernel", "recurrent_kernel", "bias", "bias"];
const ONNX: Names = ["W", "R", "B", "B"];

impl<'a> RnnWeights<'a> {
    /// Weights of either orientation: W is `[H, X]` and R `[H, H]` in [`Orientation::GatesByInputs`], as in PyTorch and ONNX;
    /// `[X, H]` and `[H, H]`, R the other way round too, in [`Orientation::InputsByGates`], as in Keras. Up to two biases `[H]`
    /// are added up.
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
        Self::named(config, orientation, NEUTRAL, input, recurrent, biases)
    }

    fn named(
        config: &RnnConfig,
        orientation: Orientation,
        [input_name, recurrent_name, first_name, second_name]: Names,
        input: &'a [f32],
        recurrent: &'a [f32],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let (inputs, units) = (config.input_size(), config.hidden_size());
        if units == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        let matrix = |argument, data: &'a [f32], inputs: usize| {
            check(argument, units, inputs, data.len())?;
            Ok(GateMatrix { data, strides: orientation.place(units, inputs).strides })
        };
        let (input, recurrent) =
            (matrix(input_name, input, inputs)?, matrix(recurrent_name, recurrent, units)?);
        for (argument, bias) in [first_name, second_name].into_iter().zip(biases) {
            bias.map_or(Ok(()), |bias| check(argument, 1, units, bias.len()))?;
        }
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            input,
            recurrent,
            biases,
            layer_normalization: None,
        })
    }

    /// PyTorch's `weight_ih_l0 [H, X]`, `weight_hh_l0 [H, H]`, `bias_ih_l0 [H]` and `bias_hh_l0 [H]`, both biases added up.
    /// Source: `torch.nn.RNN`.
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
        Self::named(config, Orientation::GatesByInputs, PYTORCH, weight_ih, weight_hh, [bias_ih, bias_hh])
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
        Self::named(config, Orientation::InputsByGates, KERAS, kernel, recurrent_kernel, [bias, None])
    }

    /// One direction of ONNX's `W [D, H, X]`, `R [D, H, H]` and `B [D, 2H]`, whose first half is the bias of W and whose second is
    /// that of R. Source: [operator RNN](https://onnx.ai/onnx/operators/onnx__RNN.html).
    ///
    /// # Errors
    /// As for [`RnnWeights::new`].
    pub fn onnx(config: &RnnConfig, w: &'a [f32], r: &'a [f32], b: Option<&'a [f32]>) -> Result<Self, Error> {
        b.map_or(Ok(()), |b| check("B", 2, config.hidden_size(), b.len()))?;
        let (first, second) = b.map(|b| b.split_at(config.hidden_size())).unzip();
        Self::named(config, Orientation::GatesByInputs, ONNX, w, r, [first, second])
    }

    /// The parameters of a layer in one buffer, laid out as [`RnnConfig::parameters`] says: what a training loop holds and an
    /// optimizer changes.
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
        check("layer_normalization", 1, self.hidden_size, scale.len())?;
        Ok(Self { layer_normalization: Some(scale), ..self })
    }

    /// Writes the weights as [`RnnWeights::new`] reads them. Where there is room for one bias, it gets the sum; where there is room
    /// for two, each gets its own, and zeros if there is none.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a bias if there is no room for any. Nothing is
    /// written then.
    pub fn export(
        &self,
        orientation: Orientation,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        self.export_named(orientation, NEUTRAL, input, recurrent, biases)
    }

    fn export_named(
        &self,
        orientation: Orientation,
        [input_name, recurrent_name, first_name, second_name]: Names,
        input: &mut [f32],
        recurrent: &mut [f32],
        biases: [Option<&mut [f32]>; 2],
    ) -> Result<(), Error> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        check(input_name, units, inputs, input.len())?;
        check(recurrent_name, units, units, recurrent.len())?;
        for (argument, bias) in [first_name, second_name].into_iter().zip(&biases) {
            bias.as_ref().map_or(Ok(()), |bias| check(argument, 1, units, bias.len()))?;
        }
        let rooms = biases.each_ref().map(Option::is_some);
        if rooms == [false; 2] && self.biases.iter().any(Option::is_some) {
            return Err(Error::Missing { argument: first_name });
        }
        for (to, matrix, inputs) in [(input, self.input, inputs), (recurrent, self.recurrent, units)] {
            write(to, orientation.place(units, inputs), [units, inputs], |unit, k| matrix.at(unit, k));
        }
        for (which, bias) in biases.into_iter().enumerate() {
            for (unit, to) in bias.into_iter().flatten().enumerate() {
                let own = self.biases[which].map_or(0.0, |bias| bias[unit]);
                *to = if rooms == [true; 2] { own } else { self.bias(0, unit) };
            }
        }
        Ok(())
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
        self.export_named(Orientation::GatesByInputs, PYTORCH, weight_ih, weight_hh, [bias_ih, bias_hh])
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
        self.export_named(Orientation::InputsByGates, KERAS, kernel, recurrent_kernel, [bias, None])
    }

    /// Writes the tensors that [`RnnWeights::onnx`] reads.
    ///
    /// # Errors
    /// As for [`RnnWeights::export`].
    pub fn export_onnx(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        b.as_ref().map_or(Ok(()), |b| check("B", 2, self.hidden_size, b.len()))?;
        let (first, second) = b.map(|b| b.split_at_mut(self.hidden_size)).unzip();
        self.export_named(Orientation::GatesByInputs, ONNX, w, r, [first, second])
    }

    /// Writes the scale of the layer normalization, as [`RnnWeights::with_layer_normalization`] reads it.
    ///
    /// # Errors
    /// [`Error::Length`] if the tensor has another length; [`Error::Missing`] if there is no scale. Nothing is written then.
    pub fn export_layer_normalization(&self, scale: &mut [f32]) -> Result<(), Error> {
        let own = self.layer_normalization.ok_or(Error::Missing { argument: "layer normalization" })?;
        check("layer_normalization", 1, self.hidden_size, scale.len())?;
        scale.copy_from_slice(own);
        Ok(())
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &RnnConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size)?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size)?;
        let expected = config.layer.options().normalization.is_some();
        check_presence("layer normalization", expected, self.layer_normalization.is_some())
    }
}

impl GateTensors for RnnWeights<'_> {
    fn read_gates(&self) -> impl Iterator<Item = usize> {
        0..1
    }

    fn input(&self, _gate: usize) -> GateMatrix<'_> {
        self.input
    }

    fn recurrent(&self, _gate: usize) -> GateMatrix<'_> {
        self.recurrent
    }

    fn bias(&self, _gate: usize, unit: usize) -> f32 {
        self.biases.iter().flatten().map(|bias| bias[unit]).sum()
    }

    fn scale(&self, _bias: usize, unit: usize) -> f32 {
        self.layer_normalization.map_or(0.0, |scale| scale[unit])
    }
}
