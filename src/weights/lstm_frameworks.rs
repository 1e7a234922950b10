//! The conventions of frameworks for LSTMs, both ways: a constructor that reads their tensors, and an export that
//! writes them.

use super::gates::check_units;
use super::hint::{Tensor, check_tensor};
use super::keras_cudnn;
use super::layout::{
    COREML, Framework, KERAS, ONEDNN_LDIGO, ONNX, OPENVINO, Orientation, PYTORCH, SeparateTensors, Sizes,
    TENSORFLOW_BLOCK, TENSORFLOW_BLOCK_V2, WeightLayout, check,
};
use super::lstm::{LstmWeights, sizes};
use crate::{Error, LstmConfig};

/// PyTorch, and candle.
impl<'a> LstmWeights<'a> {
    /// PyTorch's `weight_ih_l0 [4H, X]`, `weight_hh_l0 [4H, H]` (with `proj_size` `[4H, P]`), `bias_ih_l0 [4H]` and
    /// `bias_hh_l0 [4H]`, gates i, f, g, o, both biases added up. Layers and directions have tensors of their own:
    /// `…_l1`, `…_l0_reverse`.
    ///
    /// With `proj_size`, `weight_hr_l0 [P, H]` is said with [`LstmWeights::with_projection`].
    ///
    /// candle's `LSTM` has the same names, shapes and order. Source: `torch.nn.LSTM`, `candle-nn/src/rnn.rs`.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let (weight_ih, weight_hh, bias) = ([0.1; 20 * 3], [0.2; 20 * 5], [0.3; 20]);
    /// let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, Some(&bias), Some(&bias))?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
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
        Self::of(&PYTORCH, config, [weight_ih, weight_hh], [bias_ih, bias_hh], None)
    }

    /// Writes the tensors that [`LstmWeights::pytorch`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_pytorch(
        &self,
        weight_ih: &mut [f32],
        weight_hh: &mut [f32],
        bias_ih: Option<&mut [f32]>,
        bias_hh: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&PYTORCH, [weight_ih, weight_hh], [bias_ih, bias_hh], None)
    }
}

/// Keras.
impl<'a> LstmWeights<'a> {
    /// Keras' `kernel [X, 4H]`, `recurrent_kernel [H, 4H]` and `bias [4H]`, gates i, f, g (which it calls c), o.
    ///
    /// Files that were saved from `CuDNNLSTM` have a `bias [8H]` and rearranged kernels: see
    /// [`LstmWeights::keras_cudnn`].
    ///
    /// `unit_forget_bias` is but how Keras begins: the 1 is in `bias`. `go_backwards` changes nothing here: such a
    /// layer reads its input from the last step to the first, and its output stays in the order in which it was made.
    /// `Bidirectional` has the tensors of a forward and of a backward layer. Source: `keras/src/layers/rnn/lstm.py`.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::keras(&config, &[0.1; 3 * 20], &[0.2; 5 * 20], Some(&[0.3; 20]))?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn keras(
        config: &LstmConfig,
        kernel: &'a [f32],
        recurrent_kernel: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&KERAS, config, [kernel, recurrent_kernel], [bias, None], None)
    }

    /// Writes the tensors that [`LstmWeights::keras`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_keras(
        &self,
        kernel: &mut [f32],
        recurrent_kernel: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&KERAS, [kernel, recurrent_kernel], [bias, None], None)
    }
}

/// Keras' files of `CuDNNLSTM`.
impl<'a> LstmWeights<'a> {
    /// The tensors of a Keras file that was saved from `CuDNNLSTM`: `kernel [X, 4H]` and `recurrent_kernel [H, 4H]` in
    /// which each gate's block is transposed as cuDNN has it, and `bias [8H]`, that of W before that of R. A `bias` of
    /// 8H elements tells such a file. Gates i, f, g, o.
    ///
    /// They are written to `parameters`, as [`LstmConfig::parameters`] lays them out, of which the weights are then
    /// made; no strides could describe them where they are. Source: `_convert_rnn_weights` in
    /// `keras/src/legacy/saving/legacy_h5_format.py`.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let mut parameters = vec![0.0; config.parameters()?.total()];
    /// let (kernel, recurrent_kernel, bias) = ([0.1; 3 * 20], [0.2; 5 * 20], [0.3; 40]);
    /// let weights = LstmWeights::keras_cudnn(&config, &kernel, &recurrent_kernel, &bias, &mut parameters)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong, [`Error::Zero`] if H is zero; [`Error::Unsupported`]
    /// if the layer has tensors that `CuDNNLSTM` has not. Nothing is written then.
    pub fn keras_cudnn(
        config: &LstmConfig,
        kernel: &[f32],
        recurrent_kernel: &[f32],
        bias: &[f32],
        parameters: &'a mut [f32],
    ) -> Result<Self, Error> {
        let ranges = config.parameters()?;
        if ranges.bias.end != ranges.total() {
            let because = "peepholes, layer normalization or a projection, which it has not";
            return Err(Error::Unsupported { argument: "CuDNNLSTM", because });
        }
        let tensors = [kernel, recurrent_kernel, bias];
        keras_cudnn::read(sizes(config), false, WeightLayout::KERAS.gates(), tensors, &ranges, parameters)?;
        Self::from_parameters(config, parameters)
    }

    /// Writes the tensors that [`LstmWeights::keras_cudnn`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_keras_cudnn(
        &self,
        kernel: &mut [f32],
        recurrent_kernel: &mut [f32],
        bias: &mut [f32],
    ) -> Result<(), Error> {
        self.check_room_for_peepholes(false, KERAS.names.peepholes)?;
        let tensors = [kernel, recurrent_kernel, bias];
        keras_cudnn::write(&self.gates, WeightLayout::KERAS.gates(), tensors)
    }
}

/// TensorFlow's block operators.
impl<'a> LstmWeights<'a> {
    /// The tensors of TensorFlow's `BlockLSTM` and `LSTMBlockCell`: `w [X + H, 4H]`, whose first X rows are W,
    /// `b [4H]`, and with `use_peephole` `wci`, `wcf` and `wco`, `[H]` each. Gates i, g (which it calls ci), f, o.
    ///
    /// The operators add their attribute `forget_bias`, by default 1, to f: say so with [`LstmWeights::forget_bias`].
    /// Their attribute `cell_clip`, by default 3, is not of the weights. Source: `tf.raw_ops.BlockLSTM`, `GateLayout`
    /// in `tensorflow/core/kernels/rnn/lstm_ops.h`.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::tensorflow_block(&config, &[0.1; 8 * 20], Some(&[0.2; 20]), None)?.forget_bias(1.0);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn tensorflow_block(
        config: &LstmConfig,
        w: &'a [f32],
        b: Option<&'a [f32]>,
        peepholes: Option<[&'a [f32]; 3]>,
    ) -> Result<Self, Error> {
        Self::tensorflow(config, &TENSORFLOW_BLOCK, w, b, peepholes)
    }

    /// The same of `BlockLSTMV2`: gates i, f, g, o, and no attribute `forget_bias`.
    ///
    /// # Errors
    /// As for [`LstmWeights::tensorflow_block`].
    pub fn tensorflow_block_v2(
        config: &LstmConfig,
        w: &'a [f32],
        b: Option<&'a [f32]>,
        peepholes: Option<[&'a [f32]; 3]>,
    ) -> Result<Self, Error> {
        Self::tensorflow(config, &TENSORFLOW_BLOCK_V2, w, b, peepholes)
    }

    /// Writes the tensors that [`LstmWeights::tensorflow_block`] reads, for a `forget_bias` of 0.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_tensorflow_block(
        &self,
        w: &mut [f32],
        b: Option<&mut [f32]>,
        peepholes: Option<[&mut [f32]; 3]>,
    ) -> Result<(), Error> {
        self.export_tensorflow(&TENSORFLOW_BLOCK, w, b, peepholes)
    }

    /// Writes the tensors that [`LstmWeights::tensorflow_block_v2`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_tensorflow_block_v2(
        &self,
        w: &mut [f32],
        b: Option<&mut [f32]>,
        peepholes: Option<[&mut [f32]; 3]>,
    ) -> Result<(), Error> {
        self.export_tensorflow(&TENSORFLOW_BLOCK_V2, w, b, peepholes)
    }

    fn tensorflow(
        config: &LstmConfig,
        framework: &Framework,
        w: &'a [f32],
        b: Option<&'a [f32]>,
        peepholes: Option<[&'a [f32]; 3]>,
    ) -> Result<Self, Error> {
        let sizes = check_units::<4>(sizes(config))?;
        check_tensorflow(sizes, w.len(), peepholes.map(|peepholes| peepholes.map(<[f32]>::len)))?;
        let (input, recurrent) = w.split_at(4 * sizes.units * sizes.inputs);
        let mut weights = Self::of(framework, config, [input, recurrent], [b, None], None)?;
        weights.peepholes = peepholes;
        Ok(weights)
    }

    fn export_tensorflow(
        &self,
        framework: &Framework,
        w: &mut [f32],
        b: Option<&mut [f32]>,
        peepholes: Option<[&mut [f32]; 3]>,
    ) -> Result<(), Error> {
        let sizes = self.gates.sizes;
        let lengths = peepholes.as_ref().map(|peepholes| peepholes.each_ref().map(|peephole| peephole.len()));
        check_tensorflow(sizes, w.len(), lengths)?;
        self.check_room_for_peepholes(peepholes.is_some(), framework.names.peepholes)?;
        let (input, recurrent) = w.split_at_mut(4 * sizes.units * sizes.inputs);
        let mut others = *self;
        others.peepholes = None;
        others.export_to(framework, [input, recurrent], [b, None], None)?;
        self.write_peepholes(peepholes);
        Ok(())
    }
}

/// `Ok` if w and the peepholes have the lengths that the sizes demand.
fn check_tensorflow(sizes: Sizes, w: usize, peepholes: Option<[usize; 3]>) -> Result<(), Error> {
    let Sizes { inputs, units, outputs } = sizes;
    let rows = inputs.checked_add(outputs).ok_or(Error::Overflow { argument: "w" })?;
    check_tensor::<4>(Tensor::Joined, "w", [rows, 4 * units], w, sizes)?;
    for (name, found) in ["wci", "wcf", "wco"].into_iter().zip(peepholes.into_iter().flatten()) {
        check(name, 1, units, found)?;
    }
    Ok(())
}

/// ONNX.
impl<'a> LstmWeights<'a> {
    /// One direction of ONNX's `W [D, 4H, X]`, `R [D, 4H, H]`, `B [D, 8H]`, whose first half is the bias of W and whose
    /// second is that of R, and `P [D, 3H]`. Gates i, o, f, g (which it calls c), peepholes i, o, f.
    ///
    /// The directions follow each other: direction d of `W` is `W[d * 4 * H * X..][..4 * H * X]`, and so on.
    /// Source: [operator LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html).
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::onnx(&config, &[0.1; 20 * 3], &[0.2; 20 * 5], Some(&[0.3; 40]), None)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn onnx(
        config: &LstmConfig,
        w: &'a [f32],
        r: &'a [f32],
        b: Option<&'a [f32]>,
        p: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&ONNX, config, [w, r], [b, None], p)
    }

    /// Writes the tensors that [`LstmWeights::onnx`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_onnx(
        &self,
        w: &mut [f32],
        r: &mut [f32],
        b: Option<&mut [f32]>,
        p: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&ONNX, [w, r], [b, None], p)
    }
}

/// oneDNN.
impl<'a> LstmWeights<'a> {
    /// One layer and direction of oneDNN's `weights_layer` and `weights_iter` in the format `ldigo`, `[X, 4, H]` and
    /// `[H, 4, H]`, `bias` in `ldgo`, `[4, H]`, and `weights_peephole` in `ldgo`, `[3, H]`. Gates i, f, g (which it
    /// calls c̃), o, peepholes i, f, o.
    ///
    /// Weights and bias are laid out as those of [`LstmWeights::keras`]. Source: oneDNN's developer guide, RNN.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::onednn_ldigo(&config, &[0.1; 3 * 20], &[0.2; 5 * 20], Some(&[0.3; 20]), None)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn onednn_ldigo(
        config: &LstmConfig,
        weights_layer: &'a [f32],
        weights_iter: &'a [f32],
        bias: Option<&'a [f32]>,
        weights_peephole: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&ONEDNN_LDIGO, config, [weights_layer, weights_iter], [bias, None], weights_peephole)
    }

    /// Writes the tensors that [`LstmWeights::onednn_ldigo`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_onednn_ldigo(
        &self,
        weights_layer: &mut [f32],
        weights_iter: &mut [f32],
        bias: Option<&mut [f32]>,
        weights_peephole: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&ONEDNN_LDIGO, [weights_layer, weights_iter], [bias, None], weights_peephole)
    }
}

/// OpenVINO.
impl<'a> LstmWeights<'a> {
    /// One direction of OpenVINO's `W [D, 4H, X]`, `R [D, 4H, H]` and `B [D, 4H]`, gates f, i, g (which it calls c), o;
    /// also those of its `LSTMCell`. Source: OpenVINO's operations `LSTMSequence` and `LSTMCell`.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::openvino(&config, &[0.1; 20 * 3], &[0.2; 20 * 5], Some(&[0.3; 20]))?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn openvino(
        config: &LstmConfig,
        w: &'a [f32],
        r: &'a [f32],
        b: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&OPENVINO, config, [w, r], [b, None], None)
    }

    /// Writes the tensors that [`LstmWeights::openvino`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_openvino(&self, w: &mut [f32], r: &mut [f32], b: Option<&mut [f32]>) -> Result<(), Error> {
        self.export_to(&OPENVINO, [w, r], [b, None], None)
    }
}

/// Core ML.
impl<'a> LstmWeights<'a> {
    /// Core ML's `weight_ih [4H, X]`, `weight_hh [4H, H]`, `bias [4H]` and `peephole [3H]`, gates i, f, o, g (which it
    /// calls cell or z), peepholes i, f, o; the reverse direction has tensors of its own.
    ///
    /// Source: coremltools, MIL operation `lstm` (from iOS 15 on). The older format of neural networks has a tensor for
    /// each gate, `[H, X]` and `[H, H]`: [`LstmWeights::tflite`] reads those.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let weights = LstmWeights::coreml(&config, &[0.1; 20 * 3], &[0.2; 20 * 5], Some(&[0.3; 20]), None)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn coreml(
        config: &LstmConfig,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias: Option<&'a [f32]>,
        peephole: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::of(&COREML, config, [weight_ih, weight_hh], [bias, None], peephole)
    }

    /// Writes the tensors that [`LstmWeights::coreml`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_coreml(
        &self,
        weight_ih: &mut [f32],
        weight_hh: &mut [f32],
        bias: Option<&mut [f32]>,
        peephole: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_to(&COREML, [weight_ih, weight_hh], [bias, None], peephole)
    }
}

/// cuDNN, TensorFlow Lite and burn: a tensor for each gate.
impl<'a> LstmWeights<'a> {
    /// cuDNN's matrices and biases as `cudnnGetRNNWeightParams` finds them: `linLayerID` 0 to 3 are W of i, f, g (the
    /// new memory), o, `[H, X]` each, and 4 to 7 are R, `[H, H]` each; each has a bias `[H]`, of which the bias mode
    /// may keep one or none. No peepholes. Source: cuDNN's API reference, `cudnnRNNBiasMode_t`.
    ///
    /// # Errors
    /// As for [`LstmWeights::separate`].
    pub fn cudnn(config: &LstmConfig, tensors: SeparateTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::GatesByInputs, tensors)
    }

    /// Writes the tensors that [`LstmWeights::cudnn`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_cudnn(&self, tensors: SeparateTensors<&mut [f32]>) -> Result<(), Error> {
        self.export_separate(Orientation::GatesByInputs, tensors)
    }

    /// TensorFlow Lite's `input_to_{input,forget,cell,output}_weights`, `[H, X]` each, `recurrent_to_…_weights`,
    /// `[H, H]` each, one bias, `[H]` for each gate, and `cell_to_{input,forget,output}_weights`, `[H]` each. The
    /// layout of [`LstmWeights::cudnn`], with peepholes. Source: `tensorflow/lite/kernels/lstm_eval.cc`.
    ///
    /// Where gates are coupled ([`Coupling::InputFromForget`](crate::Coupling::InputFromForget)) the tensors of the
    /// input gate are missing: give empty slices. `projection_weights`, `projection_bias` and the coefficients of layer
    /// normalization are said with [`LstmWeights::with_projection`] and [`LstmWeights::with_layer_normalization`].
    ///
    /// # Errors
    /// As for [`LstmWeights::separate`].
    pub fn tflite(config: &LstmConfig, tensors: SeparateTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::GatesByInputs, tensors)
    }

    /// Writes the tensors that [`LstmWeights::tflite`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_tflite(&self, tensors: SeparateTensors<&mut [f32]>) -> Result<(), Error> {
        self.export_separate(Orientation::GatesByInputs, tensors)
    }

    /// burn's `input_gate`, `forget_gate`, `cell_gate` and `output_gate`: the weights of the `Linear`s
    /// `input_transform`, `[X, H]` each, and `hidden_transform`, `[H, H]` each, both with a bias `[H]`. No peepholes.
    /// Source: `crates/burn-nn/src/modules/rnn/lstm.rs`.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights, SeparateTensors};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let tensors = SeparateTensors {
    ///     input: [&[0.1; 3 * 5][..]; 4],
    ///     recurrent: [&[0.2; 5 * 5]; 4],
    ///     biases: [Some([&[0.3; 5]; 4]), Some([&[0.4; 5]; 4])],
    ///     peepholes: None,
    /// };
    /// let weights = LstmWeights::burn(&config, tensors)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`LstmWeights::separate`].
    pub fn burn(config: &LstmConfig, tensors: SeparateTensors<&'a [f32]>) -> Result<Self, Error> {
        Self::separate(config, Orientation::InputsByGates, tensors)
    }

    /// Writes the tensors that [`LstmWeights::burn`] reads.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_burn(&self, tensors: SeparateTensors<&mut [f32]>) -> Result<(), Error> {
        self.export_separate(Orientation::InputsByGates, tensors)
    }
}
