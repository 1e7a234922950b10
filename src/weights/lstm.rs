//! Weights of LSTMs: of any layout, and their options.

use super::gate::{Gate, GateOrder};
use super::gates::{AllGates, BiasTensors, EachGate, GateLayout, GateMatrix, Gates, fill, part, write};
use super::hint::{Tensor, check_tensor};
use super::layout::{
    Framework, JoinedTensors, Names, Orientation, SeparateNames, SeparateTensors, Sizes, WeightLayout, check,
    check_presence,
};
use crate::{Coupling, Error, LstmConfig, Matrix};

const GATES: usize = 4;

/// Names of a tensor for each gate.
const SEPARATE: SeparateNames<GATES> = SeparateNames {
    input: ["input weights of i", "input weights of f", "input weights of g", "input weights of o"],
    recurrent: [
        "recurrent weights of i",
        "recurrent weights of f",
        "recurrent weights of g",
        "recurrent weights of o",
    ],
    biases: [
        ["first bias of i", "first bias of f", "first bias of g", "first bias of o"],
        ["second bias of i", "second bias of f", "second bias of g", "second bias of o"],
    ],
};

/// Names of peepholes, and the gates that they are of.
const PEEPHOLES: [&str; 3] = ["peephole of i", "peephole of f", "peephole of o"];
const PEEPHOLE_GATES: [usize; 3] = [0, 1, 3];

/// Names of the scales of a normalization.
const SCALES: [&str; GATES] = [
    "normalization scale of i",
    "normalization scale of f",
    "normalization scale of g",
    "normalization scale of o",
];

/// The weights of a layer, borrowed from the caller, checked against its sizes.
///
/// Lengths are all that can be checked of a slice: `[4H, X]` and `[X, 4H]` have as many elements, so PyTorch's tensors
/// given to [`keras`](Self::keras) make a layer that answers nonsense. Ask your file for the shapes, and compare one
/// answer.
///
/// | framework | from its tensors | into them |
/// |---|---|---|
/// | PyTorch, candle | [`pytorch`](Self::pytorch) | [`export_pytorch`](Self::export_pytorch) |
/// | Keras | [`keras`](Self::keras) | [`export_keras`](Self::export_keras) |
/// | Keras, files of `CuDNNLSTM` | [`keras_cudnn`](Self::keras_cudnn) | [`export_keras_cudnn`](Self::export_keras_cudnn) |
/// | TensorFlow, `BlockLSTM` | [`tensorflow_block`](Self::tensorflow_block) | [`export_tensorflow_block`](Self::export_tensorflow_block) |
/// | TensorFlow, `BlockLSTMV2` | [`tensorflow_block_v2`](Self::tensorflow_block_v2) | [`export_tensorflow_block_v2`](Self::export_tensorflow_block_v2) |
/// | ONNX | [`onnx`](Self::onnx) | [`export_onnx`](Self::export_onnx) |
/// | oneDNN | [`onednn_ldigo`](Self::onednn_ldigo) | [`export_onednn_ldigo`](Self::export_onednn_ldigo) |
/// | OpenVINO | [`openvino`](Self::openvino) | [`export_openvino`](Self::export_openvino) |
/// | Core ML | [`coreml`](Self::coreml) | [`export_coreml`](Self::export_coreml) |
/// | cuDNN | [`cudnn`](Self::cudnn) | [`export_cudnn`](Self::export_cudnn) |
/// | TensorFlow Lite | [`tflite`](Self::tflite) | [`export_tflite`](Self::export_tflite) |
/// | burn | [`burn`](Self::burn) | [`export_burn`](Self::export_burn) |
/// | none: one buffer | [`from_parameters`](Self::from_parameters) | [`Lstm::read_parameters`](crate::Lstm::read_parameters) |
/// | any other | [`joined`](Self::joined), [`separate`](Self::separate), with row strides [`from_matrices`](Self::from_matrices) | [`export_joined`](Self::export_joined), [`export_separate`](Self::export_separate) |
#[derive(Clone, Copy, Debug)]
pub struct LstmWeights<'a> {
    /// i, f, g and o.
    pub(super) gates: Gates<'a, GATES>,
    /// Of i, f and o, H elements each.
    pub(super) peepholes: Option<[&'a [f32]; 3]>,
    projection: Option<Projection<'a>>,
}

/// V and its bias.
#[derive(Clone, Copy, Debug)]
struct Projection<'a> {
    weight: &'a [f32],
    /// From one output to the next, and from one unit to the next.
    strides: [usize; 2],
    bias: Option<&'a [f32]>,
}

/// The gate that is the complement of another one.
fn unread_gate(coupling: Coupling) -> Option<usize> {
    match coupling {
        Coupling::ForgetFromInput => Some(Gate::Forget as usize),
        Coupling::InputFromForget => Some(Gate::Input as usize),
        _ => None,
    }
}

/// The sizes of a layer.
pub(super) fn sizes(config: &LstmConfig) -> Sizes {
    Sizes { inputs: config.input_size(), units: config.hidden_size(), outputs: config.output_size() }
}

impl WeightLayout {
    /// The same for tensors of gates.
    pub(super) fn gates(self) -> GateLayout<GATES> {
        GateLayout { positions: self.order.positions(), orientation: self.orientation }
    }
}

/// The peepholes of i, f and o in a tensor of all of them.
fn parts(layout: WeightLayout, units: usize, peepholes: &[f32]) -> [&[f32]; 3] {
    [0, 1, 2].map(|peephole| &peepholes[part(layout.order.peephole_position(peephole), units)])
}

impl<'a> LstmWeights<'a> {
    /// Weights of any convention.
    ///
    /// - `input`: W, 4H × X in the given orientation, dense.
    /// - `recurrent`: R, 4H × H in the given orientation, dense; 4H × P with a projection.
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
        let tensors = JoinedTensors { input, recurrent, biases, peepholes: None };
        Self::joined(config, WeightLayout { order, orientation }, tensors)
    }

    /// Weights of any layout, in tensors that hold all four gates.
    ///
    /// ```
    /// use quadgate::{JoinedTensors, LstmConfig, LstmWeights, WeightLayout};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let tensors = JoinedTensors {
    ///     input: &[0.1; 20 * 3][..],
    ///     recurrent: &[0.2; 20 * 5],
    ///     biases: [None, None],
    ///     peepholes: None,
    /// };
    /// let weights = LstmWeights::joined(&config, WeightLayout::ONNX, tensors)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn joined(
        config: &LstmConfig,
        layout: WeightLayout,
        tensors: JoinedTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        let JoinedTensors { input, recurrent, biases, peepholes } = tensors;
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        Self::of_gates(config, layout, &Names::NEUTRAL, tensors, peepholes)
    }

    /// Weights in matrices whose rows need not follow each other: parts of a larger one, transposed ones, every other
    /// row.
    ///
    /// W is `[4H, X]` and R `[4H, H]` (`[4H, P]`) in [`Orientation::GatesByInputs`], `[X, 4H]` and `[H, 4H]` in
    /// [`Orientation::InputsByGates`].
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights, Matrix, WeightLayout};
    ///
    /// // Neural Amp Modeler: W and R side by side in one matrix [4H, X + H].
    /// let (x, h) = (1, 3);
    /// let config = LstmConfig::new(x, h);
    /// let (fused, bias) = (vec![0.1; 4 * h * (x + h)], vec![0.2; 4 * h]);
    /// let w = Matrix::new(&fused, 4 * h, x).stride(x + h);
    /// let r = Matrix::new(&fused[x..], 4 * h, h).stride(x + h);
    /// let weights = LstmWeights::from_matrices(&config, WeightLayout::PYTORCH, w, r, [Some(&bias), None])?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimension`] or [`Error::TooShort`] names the matrix of another shape, [`Error::Length`] the bias;
    /// [`Error::Zero`] if H is zero.
    pub fn from_matrices(
        config: &LstmConfig,
        layout: WeightLayout,
        input: Matrix<'a>,
        recurrent: Matrix<'a>,
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let gates = Gates::strided(sizes(config), false, layout.gates(), [input, recurrent], biases)?;
        Ok(Self::without_options(config, gates))
    }

    /// Weights in a tensor for each gate.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights, Orientation, SeparateTensors};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let tensors = SeparateTensors {
    ///     input: [&[0.1; 5 * 3][..]; 4],
    ///     recurrent: [&[0.2; 5 * 5]; 4],
    ///     biases: [Some([&[0.0; 5], &[1.0; 5], &[0.0; 5], &[0.0; 5]]), None],
    ///     peepholes: None,
    /// };
    /// let weights = LstmWeights::separate(&config, Orientation::GatesByInputs, tensors)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn separate(
        config: &LstmConfig,
        orientation: Orientation,
        tensors: SeparateTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        let unread = unread_gate(config.options().coupling);
        let (tensors, peepholes) = each_gate(tensors);
        if let Some(peepholes) = &peepholes {
            check_peepholes(peepholes.map(<[f32]>::len), config.hidden_size(), unread)?;
        }
        let gates = Gates::separate(sizes(config), false, unread, orientation, &SEPARATE, tensors)?;
        Ok(Self { peepholes, ..Self::without_options(config, gates) })
    }

    /// Weights in tensors of a framework that hold all four gates.
    pub(super) fn of(
        framework: &Framework,
        config: &LstmConfig,
        [input, recurrent]: [&'a [f32]; 2],
        biases: [Option<&'a [f32]>; 2],
        peepholes: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let tensors = AllGates::of(framework, false, input, recurrent, biases);
        Self::of_gates(config, framework.lstm(), &framework.names, tensors, peepholes)
    }

    fn of_gates(
        config: &LstmConfig,
        layout: WeightLayout,
        names: &Names,
        tensors: AllGates<&'a [f32]>,
        peepholes: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let (sizes, units) = (sizes(config), config.hidden_size());
        let gates = Gates::joined(sizes, false, layout.gates(), names, tensors)?;
        if let Some(peepholes) = peepholes {
            check_tensor::<GATES>(Tensor::Peepholes, names.peepholes, [3, units], peepholes.len(), sizes)?;
        }
        let peepholes = peepholes.map(|peepholes| parts(layout, units, peepholes));
        Ok(Self { peepholes, ..Self::without_options(config, gates) })
    }

    fn without_options(config: &LstmConfig, gates: Gates<'a, GATES>) -> Self {
        let mut gates = gates;
        gates.unread = unread_gate(config.options().coupling);
        Self { gates, peepholes: None, projection: None }
    }

    /// The parameters of a layer in one buffer, laid out as [`LstmConfig::parameters`] says: what a training loop holds
    /// and an optimizer changes.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(3, 5).peepholes();
    /// let mut parameters = vec![0.1; config.parameters()?.total()];
    /// parameters[config.parameters()?.bias][5..10].fill(1.0); // of the forget gate
    /// let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters)?)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn from_parameters(config: &LstmConfig, parameters: &'a [f32]) -> Result<Self, Error> {
        let ranges = config.parameters()?;
        check("parameters", 1, ranges.total(), parameters.len())?;
        let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
        let mut weights = Self::pytorch(config, w, r, Some(b), None)?;
        let units = config.hidden_size();
        let (options, peepholes) = (config.options(), &parameters[ranges.peepholes]);
        if options.peepholes {
            weights = weights.with_peepholes([0, 1, 2].map(|gate| &peepholes[gate * units..][..units]))?;
        }
        if options.normalization.is_some() {
            let scales = &parameters[ranges.layer_normalization];
            let of = |gate: usize| &scales[gate * units..][..units];
            weights = weights.with_layer_normalization([0, 1, 2, 3].map(of))?;
        }
        if options.projection.is_some() {
            let bias = options.projection_bias.then(|| &parameters[ranges.projection_bias]);
            let projection = &parameters[ranges.projection];
            weights = weights.with_projection(Orientation::GatesByInputs, projection, bias)?;
        }
        Ok(weights)
    }

    /// Adds a constant to the bias of the forget gate, as TensorFlow's `BlockLSTM` does at run time.
    pub fn forget_bias(self, forget_bias: f32) -> Self {
        let mut gates = self.gates;
        gates.constants[Gate::Forget as usize] = forget_bias;
        Self { gates, ..self }
    }

    /// Adds the peepholes of i, f and o, `[H]` each, for [`LstmConfig::peepholes`].
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_peepholes(self, peepholes: [&'a [f32]; 3]) -> Result<Self, Error> {
        check_peepholes(peepholes.map(<[f32]>::len), self.hidden_size(), self.gates.unread)?;
        Ok(Self { peepholes: Some(peepholes), ..self })
    }

    /// Adds the scales of the layer normalization of i, f, g and o, `[H]` each, for
    /// [`LstmConfig::layer_normalization`]: TensorFlow Lite's `{input,forget,cell,output}_layer_norm_coefficients`. The
    /// biases of the gates are its shifts.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_layer_normalization(self, scales: [&'a [f32]; 4]) -> Result<Self, Error> {
        Ok(Self { gates: self.gates.with_scales(&SCALES, scales)?, ..self })
    }

    /// Adds the projection V and its bias `[P]`, for [`LstmConfig::projection`].
    ///
    /// V is `[P, H]` in [`Orientation::GatesByInputs`], as PyTorch's `weight_hr_l0` and TensorFlow Lite's
    /// `projection_weights`, and `[H, P]` in [`Orientation::InputsByGates`], as oneDNN's `weights_projection` in
    /// `ldio`.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong.
    pub fn with_projection(
        self,
        orientation: Orientation,
        weight: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> Result<Self, Error> {
        let Sizes { units, outputs, .. } = self.gates.sizes;
        check("projection", outputs, units, weight.len())?;
        if let Some(bias) = bias {
            check("projection bias", 1, outputs, bias.len())?;
        }
        let strides = orientation.place(outputs, units).strides;
        Ok(Self { projection: Some(Projection { weight, strides, bias }), ..self })
    }

    /// `Ok` if there is what a layer of `config` needs, of its sizes, and nothing else.
    pub(crate) fn check(&self, config: &LstmConfig) -> Result<(), Error> {
        for (dimension, expected, found) in [
            ("input size", config.input_size(), self.gates.sizes.inputs),
            ("hidden size", config.hidden_size(), self.gates.sizes.units),
            ("output size", config.output_size(), self.gates.sizes.outputs),
        ] {
            Error::check_dimension("weights", dimension, expected, found)?;
        }
        let options = config.options();
        let has_projection_bias = self.projection.is_some_and(|projection| projection.bias.is_some());
        for (argument, expected, found) in [
            ("peepholes", options.peepholes, self.peepholes.is_some()),
            ("layer normalization", options.normalization.is_some(), self.layer_normalization().is_some()),
            ("projection", options.projection.is_some(), self.projection.is_some()),
            ("projection bias", options.projection_bias, has_projection_bias),
        ] {
            check_presence(argument, expected, found)?;
        }
        if self.gates.unread.is_some() && self.gates.unread != unread_gate(options.coupling) {
            return Err(Error::Unsupported { argument: "weights", because: "another coupling of gates" });
        }
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

    /// The peepholes of i, f and o, `[H]` each.
    pub fn peepholes(&self) -> Option<[&'a [f32]; 3]> {
        self.peepholes
    }

    /// The scales of the layer normalization of i, f, g and o, `[H]` each.
    pub fn layer_normalization(&self) -> Option<[&'a [f32]; 4]> {
        match self.gates.scales {
            [Some(i), Some(f), Some(g), Some(o)] => Some([i, f, g, o]),
            _ => None,
        }
    }

    /// V, by outputs and units.
    pub(crate) fn projection(&self) -> Option<GateMatrix<'a>> {
        self.projection.map(|Projection { weight, strides, .. }| GateMatrix { data: weight, strides })
    }

    /// The bias of V.
    pub(crate) fn projection_bias(&self) -> Option<&'a [f32]> {
        self.projection?.bias
    }

    /// W, R and biases.
    pub(crate) fn gates(&self) -> &Gates<'a, GATES> {
        &self.gates
    }

    /// Writes the weights into tensors that hold all four gates.
    ///
    /// Where there is room for one bias, it gets the sum of those that there are. Where there is room for two, each
    /// gets its own, and zeros if there is none; [`LstmWeights::forget_bias`] goes to the first. Peepholes that are not
    /// there, and what a gate that is the complement of another one lacks, are written as zeros. A projection and the
    /// scales of a layer normalization have exports of their own.
    ///
    /// ```
    /// use quadgate::{JoinedTensors, LstmConfig, LstmWeights, WeightLayout};
    ///
    /// // From PyTorch to Keras: columns for rows, and one bias for two.
    /// let config = LstmConfig::new(1, 1);
    /// let (w, r) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
    /// let weights = LstmWeights::pytorch(&config, &w, &r, Some(&[1.0; 4]), Some(&[2.0; 4]))?;
    /// let (mut kernel, mut recurrent_kernel, mut bias) = ([0.0; 4], [0.0; 4], [0.0; 4]);
    /// weights.export_joined(
    ///     WeightLayout::KERAS,
    ///     JoinedTensors {
    ///         input: &mut kernel[..],
    ///         recurrent: &mut recurrent_kernel,
    ///         biases: [Some(&mut bias), None],
    ///         peepholes: None,
    ///     },
    /// )?;
    /// assert_eq!((kernel, recurrent_kernel, bias), (w, r, [3.0; 4]));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a tensor that the weights have and
    /// there is no room for. Nothing is written then.
    pub fn export_joined(
        &self,
        layout: WeightLayout,
        tensors: JoinedTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        let JoinedTensors { input, recurrent, biases, peepholes } = tensors;
        let tensors = AllGates { input, recurrent, biases: BiasTensors::Apart(biases) };
        self.export_gates(layout, &Names::NEUTRAL, tensors, peepholes)
    }

    /// Writes the weights into a tensor for each gate; biases and peepholes as [`LstmWeights::export_joined`] does.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_separate(
        &self,
        orientation: Orientation,
        tensors: SeparateTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        let (tensors, peepholes) = each_gate(tensors);
        if let Some(peepholes) = &peepholes {
            let lengths = peepholes.each_ref().map(|peephole| peephole.len());
            check_peepholes(lengths, self.hidden_size(), None)?;
        }
        let others = self.check_room_for_peepholes(peepholes.is_some(), PEEPHOLES[0]);
        self.gates.export_separate(orientation, &SEPARATE, tensors, others)?;
        self.write_peepholes(peepholes);
        Ok(())
    }

    /// Writes the tensors of a framework that hold all four gates.
    pub(super) fn export_to(
        &self,
        framework: &Framework,
        [input, recurrent]: [&mut [f32]; 2],
        biases: [Option<&mut [f32]>; 2],
        peepholes: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let tensors = AllGates::of(framework, false, input, recurrent, biases);
        self.export_gates(framework.lstm(), &framework.names, tensors, peepholes)
    }

    fn export_gates(
        &self,
        layout: WeightLayout,
        names: &Names,
        tensors: AllGates<&mut [f32]>,
        peepholes: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let sizes @ Sizes { units, .. } = self.gates.sizes;
        if let Some(peepholes) = &peepholes {
            check_tensor::<GATES>(Tensor::Peepholes, names.peepholes, [3, units], peepholes.len(), sizes)?;
        }
        let others = self.check_room_for_peepholes(peepholes.is_some(), names.peepholes);
        self.gates.export_joined(layout.gates(), names, tensors, others)?;
        if let Some(peepholes) = peepholes {
            for peephole in 0..3 {
                let tensor = &mut peepholes[part(layout.order.peephole_position(peephole), units)];
                fill(tensor, |unit| self.peephole(peephole, unit));
            }
        }
        Ok(())
    }

    /// Writes the projection and its bias, as [`LstmWeights::with_projection`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the projection if there is none, or
    /// its bias if there is no room for it. Nothing is written then.
    pub fn export_projection(
        &self,
        orientation: Orientation,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let Sizes { units, outputs, .. } = self.gates.sizes;
        let projection = self.projection().ok_or(Error::Missing { argument: "projection" })?;
        check("projection", outputs, units, weight.len())?;
        match (bias, self.projection_bias()) {
            (Some(to), own) => {
                check("projection bias", 1, outputs, to.len())?;
                fill(to, |output| own.map_or(0.0, |own| own[output]));
            }
            (None, Some(_)) => return Err(Error::Missing { argument: "projection bias" }),
            (None, None) => {}
        }
        let place = orientation.place(outputs, units);
        write(weight, place, [outputs, units], |output, unit| projection.at(output, unit));
        Ok(())
    }

    /// Writes the scales of the layer normalization, as [`LstmWeights::with_layer_normalization`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the scales if there are none.
    /// Nothing is written then.
    pub fn export_layer_normalization(&self, scales: [&mut [f32]; 4]) -> Result<(), Error> {
        let mut scales = scales;
        self.gates.export_scales(&SCALES, &mut scales)
    }

    /// `Ok` if there is room for peepholes, or none are needed.
    pub(super) fn check_room_for_peepholes(
        &self,
        has_room: bool,
        argument: &'static str,
    ) -> Result<(), Error> {
        if self.peepholes.is_some() && !has_room { Err(Error::Missing { argument }) } else { Ok(()) }
    }

    pub(super) fn write_peepholes(&self, peepholes: Option<[&mut [f32]; 3]>) {
        for (index, peephole) in peepholes.into_iter().flatten().enumerate() {
            fill(peephole, |unit| self.peephole(index, unit));
        }
    }

    fn peephole(&self, peephole: usize, unit: usize) -> f32 {
        self.peepholes.and_then(|peepholes| peepholes[peephole].get(unit)).copied().unwrap_or(0.0)
    }
}

/// Of a tensor for each gate those of all cells, and the peepholes.
fn each_gate<S>(tensors: SeparateTensors<S>) -> (EachGate<S, GATES>, Option<[S; 3]>) {
    let SeparateTensors { input, recurrent, biases, peepholes } = tensors;
    (EachGate { input, recurrent, biases }, peepholes)
}

/// `Ok` if each peephole has an element for each unit; that of a gate which is not read may be empty.
fn check_peepholes(lengths: [usize; 3], units: usize, unread: Option<usize>) -> Result<(), Error> {
    for ((name, gate), found) in PEEPHOLES.into_iter().zip(PEEPHOLE_GATES).zip(lengths) {
        if unread != Some(gate) || found > 0 {
            check(name, 1, units, found)?;
        }
    }
    Ok(())
}
