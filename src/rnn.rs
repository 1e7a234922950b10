//! The plain recurrent layer: the simplest cell behind the same seam as the LSTM.

use crate::cell::kind::CellKind;
use crate::config::{LstmConfig, ParameterRanges};
use crate::error::Error;
use crate::layer::{config_methods, layer_methods};
use crate::lstm::Lstm;
use crate::memory::tape::Tape;
use crate::memory::workspace::Workspace;
use crate::pack::GateTensors;
use crate::training::Backward;
use crate::weights::{GateMatrix, Orientation};
use quadgate_kernels::Nonlinearity;
use std::ops::Range;

/// The shape of a plain recurrent layer and how it shall run.
///
/// ```
/// use quadgate::{Nonlinearity, RnnConfig};
///
/// let config = RnnConfig::new(40, 100).nonlinearity(Nonlinearity::Relu).training();
/// assert_eq!((config.input_size(), config.hidden_size()), (40, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RnnConfig {
    /// The same sizes and ways to run, of this kind of cell.
    pub(crate) layer: LstmConfig,
}

impl RnnConfig {
    /// X features in, H hidden units, with tanh.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self { layer: LstmConfig::new(input_size, hidden_size) }.nonlinearity(Nonlinearity::Tanh)
    }

    /// Sets φ.
    pub fn nonlinearity(self, function: Nonlinearity) -> Self {
        Self { layer: self.layer.of_kind(CellKind::Rnn(function)) }
    }

    /// Where each parameter lies in a contiguous buffer of all of them, or of their gradients.
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self) -> Result<RnnParameterRanges, Error> {
        self.layer.parameters().map(RnnParameterRanges::from)
    }
}

config_methods!(RnnConfig, Rnn);

/// Where each parameter of a plain recurrent layer lies in a contiguous buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RnnParameterRanges {
    /// `weight_ih [H, X]`, row-major.
    pub weight_ih: Range<usize>,
    /// `weight_hh [H, H]`, row-major.
    pub weight_hh: Range<usize>,
    /// The sum of the biases, `[H]`. If there are two, this is the gradient of each.
    pub bias: Range<usize>,
}

impl RnnParameterRanges {
    /// Elements of a buffer that ends with these.
    pub fn total(&self) -> usize {
        self.bias.end
    }
}

impl From<ParameterRanges> for RnnParameterRanges {
    fn from(ParameterRanges { weight_ih, weight_hh, bias, .. }: ParameterRanges) -> Self {
        Self { weight_ih, weight_hh, bias }
    }
}

/// The weights of a plain recurrent layer, borrowed from the tensors of a framework.
#[derive(Clone, Copy, Debug)]
pub struct RnnWeights<'a> {
    input_size: usize,
    hidden_size: usize,
    input: GateMatrix<'a>,
    recurrent: GateMatrix<'a>,
    biases: [Option<&'a [f32]>; 2],
}

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
        let (inputs, units) = (config.input_size(), config.hidden_size());
        if units == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        let matrix = |argument, data: &'a [f32], inputs: usize| {
            let expected = units.checked_mul(inputs).ok_or(Error::Overflow { argument })?;
            check_len(argument, expected, data.len())?;
            Ok(GateMatrix { data, strides: orientation.place(units, inputs).strides })
        };
        let (input, recurrent) = (matrix("input", input, inputs)?, matrix("recurrent", recurrent, units)?);
        for (argument, bias) in ["first bias", "second bias"].into_iter().zip(biases) {
            bias.map_or(Ok(()), |bias| check_len(argument, units, bias.len()))?;
        }
        Ok(Self { input_size: inputs, hidden_size: units, input, recurrent, biases })
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
        Self::new(config, Orientation::GatesByInputs, weight_ih, weight_hh, [bias_ih, bias_hh])
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
        Self::new(config, Orientation::InputsByGates, kernel, recurrent_kernel, [bias, None])
    }

    /// `Ok` if they are of a layer's sizes.
    pub(crate) fn check(&self, config: &RnnConfig) -> Result<(), Error> {
        Error::check_dimension("weights", "input size", config.input_size(), self.input_size)?;
        Error::check_dimension("weights", "hidden size", config.hidden_size(), self.hidden_size)
    }
}

fn check_len(argument: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
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
}

/// A single plain recurrent layer in one [direction](crate::Direction), with packed weights.
///
/// ```text
/// h_t = φ(W·x_t + R·h_{t−1} + b)
/// ```
///
/// (Elman 1990.) φ is tanh or max(0, ·). Calls take the same arguments as those of [`Lstm`]; there is no c, so one that names c is
/// refused.
///
/// ```
/// use quadgate::{Forward, Rnn, RnnConfig, RnnWeights, Sequence, SequenceMut};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = RnnConfig::new(inputs, hidden);
/// let (weight_ih, weight_hh) = (vec![0.1; hidden * inputs], vec![0.2; hidden * hidden]);
/// let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?)?;
///
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * hidden];
/// rnn.forward(
///     &mut rnn.workspace(batch)?,
///     Forward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, hidden)),
/// )?;
/// assert!((h[0] - 0.3f32.tanh()).abs() < 1e-6);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rnn {
    config: RnnConfig,
    layer: Lstm,
}

layer_methods!(Rnn, RnnConfig, RnnWeights);

impl Rnn {
    /// Computes gradients of the sequence that `tape` recorded: backpropagation through time.
    ///
    /// ```text
    /// dh_t = Rᵀ·dz_{t+1} + ∂ℓ/∂h_t         dz_t = dh_t ∘ φ′(z_t)
    /// dx_t = Wᵀ·dz_t                       dW = Σ dz_t·x_tᵀ,  dR = Σ dz_t·h_{t−1}ᵀ,  db = Σ dz_t
    /// ```
    ///
    /// # Errors
    /// As for [`Lstm::backward`]; [`Error::Unexpected`] for a c.
    pub fn backward(
        &self,
        workspace: &mut Workspace,
        tape: &mut Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        self.layer.backward(workspace, tape, call)
    }
}
