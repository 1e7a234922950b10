//! A cell with all its options, what a step of it reads, and what the steps of all kinds of cells have in common: sums
//! of gates and their activations.

use super::activation::{NaiveActivation, NaiveActivations};
use super::gate::{clip, normalize, normalize_backward, passes};
use super::parameters::NaiveParameters;
use super::real::{add, add_scaled, dot, masked};

/// Which equations a cell follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NaiveKind {
    /// Those of an LSTM, with gates i, f, g, o.
    #[default]
    Lstm,
    /// Those of a gated recurrent unit, with gates r, z, n.
    Gru {
        /// Whether the reset gate is applied before the product rather than after it.
        resets_before: bool,
    },
    /// Those of a plain recurrent cell.
    Rnn,
}

/// Whether the gates i and f are two, or one and its complement. The other's parameters are there, but not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NaiveCoupling {
    /// Two gates.
    #[default]
    Independent,
    /// f = 1 − i: ONNX's `input_forget`.
    ForgetFromInput,
    /// i = 1 − f: TensorFlow Lite, where the input gate has no tensors.
    InputFromForget,
}

/// Limits to ±limit; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NaiveClip {
    /// Of what enters the activations of the four gates: ONNX's `clip`
    pub gate: Option<f64>,
    /// Of what enters h: ONNX's `clip` by the standard
    pub hidden: Option<f64>,
    /// Of f ⊙ c + i ⊙ g: TensorFlow Lite's `cell_clip`
    pub cell: Option<f64>,
    /// Of the projection: TensorFlow Lite's `proj_clip`
    pub projection: Option<f64>,
}

/// A cell with the options of its whole family.
///
/// # An LSTM
/// With x the input, h and c the state before the step, m the masks, and every option left out where it is not asked
/// for, one step of one row is
///
/// ```text
/// s_γ = W_γ·x + R_γ·(m_γ ⊙ h) + p_γ ⊙ c_γ      for γ in i, f, g, o; c_i = c_f = c, c_o = c̃, no p_g
/// z_γ = scale_γ ⊙ (s_γ − mean s_γ) / √(var s_γ + ε) + b_γ,   or s_γ + b_γ without layer normalization
/// i = f(clip z_i),  f = f(clip z_f),  g = g(clip z_g),  o = f(clip z_o)
/// f = 1 − i  or  i = 1 − f                     if the two are coupled
/// c̃ = clip(f ⊙ c + i ⊙ g)
/// h̃ = o ⊙ h(clip c̃),   or clip(V·(o ⊙ h(clip c̃)) + v) with a projection
/// c′ = m_c ⊙ c̃ + (1 − m_c) ⊙ c
/// h′ = m_h ⊙ h̃ + (1 − m_h) ⊙ h
/// ```
///
/// where f(…), g(…) and h(…) are the [`activations`](Self::activations). Where the options come from:
///
/// - [ONNX](https://onnx.ai/onnx/operators/onnx__LSTM.html): peepholes, the coupling f = 1 − i, the activations, and
///   the clips of what enters the gates and of what enters h. ONNX Runtime clips the former alone.
/// - TensorFlow Lite (`lstm_eval.cc`): layer normalization, with ε = 10⁻⁸ and the peephole's term among what is
///   normalized, the coupling i = 1 − f, the clips of c̃ and of the projection, and the projection's bias v.
/// - PyTorch: the projection, `proj_size`.
/// - Keras: a mask of h for each gate, `recurrent_dropout`.
/// - [Zoneout](https://arxiv.org/abs/1606.01305): the masks m_c and m_h, where a zero keeps the old state.
///
/// # A gated recurrent unit, a plain recurrent cell
/// Their only state is h. With sums and z as above, r and z being gates and n the candidate,
///
/// ```text
/// n = g(clip(z of W_n·x + r ⊙ z of R_n·(m ⊙ h)))    with the reset gate after the product
/// n = g(clip(z of (W_n·x + R_n·(r ⊙ m ⊙ h))))       with the reset gate before it
/// h̃ = (1 − z) ⊙ n + z ⊙ h
/// ```
///
/// and of a plain recurrent cell h̃ = g(clip z). They have the activations f and g, the clip of what enters those,
/// layer normalization and the masks of h; no peepholes, coupling, projection, nor any other clip.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveCell {
    /// Which equations
    pub kind: NaiveKind,
    /// X
    pub input_size: usize,
    /// H: units, and elements of c
    pub hidden_size: usize,
    /// P: elements of h; H without a projection
    pub output_size: usize,
    /// Weights, and the options that have some
    pub parameters: NaiveParameters,
    /// f, g and h
    pub activations: NaiveActivations,
    /// Whether i and f are one
    pub coupling: NaiveCoupling,
    /// Limits
    pub clip: NaiveClip,
    /// ε of the layer normalization
    pub epsilon: f64,
}

/// The state of one cell: of one row, or of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveState {
    /// h, `[P]` or `[B, P]`
    pub hidden: Vec<f64>,
    /// c, `[H]` or `[B, H]`; empty where there is none
    pub cell: Vec<f64>,
}

/// The masks of one step of one row.
#[derive(Clone, Copy, Debug)]
pub struct NaiveStepMasks<'a> {
    /// Factors of h for each gate, `[4, P]`; of fewer gates as many
    pub recurrent: Option<&'a [f64]>,
    /// m_h, `[P]`: how much of the new h to take
    pub hidden: Option<&'a [f64]>,
    /// m_c, `[H]`: how much of the new c to take
    pub cell: Option<&'a [f64]>,
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
pub struct NaiveInputs<'a> {
    /// x, `[X]`
    pub x: &'a [f64],
    /// The state before the step
    pub state: &'a NaiveState,
    /// The masks
    pub masks: NaiveStepMasks<'a>,
}

/// What a sum is of, and whose.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The gate whose rows of W and R are meant
    pub(super) gate: usize,
    /// Which bias and scale
    pub(super) bias: usize,
    /// x, if W·x is a term
    pub(super) x: Option<&'a [f64]>,
    /// h as the gate sees it, if R·h is a term
    pub(super) hidden: Option<&'a [f64]>,
    /// What else is added
    pub(super) other: Option<&'a [f64]>,
}

/// A sum of all units.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    /// s
    sum: Vec<f64>,
    /// z
    pub(super) preactivation: Vec<f64>,
}

/// What the backward pass of a step adds to.
pub(super) struct StepGradients<'a> {
    pub(super) input: &'a mut [f64],
    pub(super) parameters: &'a mut NaiveParameters,
}

impl NaiveState {
    /// Zeros for `batch` rows of a cell.
    pub fn zeros(cell: &NaiveCell, batch: usize) -> Self {
        Self { hidden: vec![0.0; batch * cell.output_size], cell: vec![0.0; batch * cell.state_size()] }
    }

    /// The state of one row of a batch.
    pub(super) fn row(&self, cell: &NaiveCell, b: usize) -> Self {
        Self {
            hidden: self.hidden[b * cell.output_size..][..cell.output_size].to_vec(),
            cell: self.cell[b * cell.state_size()..][..cell.state_size()].to_vec(),
        }
    }

    /// Replaces the state of one row of a batch.
    pub(super) fn set_row(&mut self, cell: &NaiveCell, b: usize, row: &Self) {
        self.hidden[b * cell.output_size..][..cell.output_size].copy_from_slice(&row.hidden);
        self.cell[b * cell.state_size()..][..cell.state_size()].copy_from_slice(&row.cell);
    }
}

impl NaiveCell {
    /// Elements of c.
    pub fn state_size(&self) -> usize {
        if self.kind == NaiveKind::Lstm { self.hidden_size } else { 0 }
    }

    /// An LSTM cell without options.
    pub fn new(input_size: usize, hidden_size: usize, parameters: NaiveParameters) -> Self {
        Self::of_kind(NaiveKind::Lstm, input_size, hidden_size, parameters)
    }

    /// A cell without options.
    pub fn of_kind(
        kind: NaiveKind,
        input_size: usize,
        hidden_size: usize,
        parameters: NaiveParameters,
    ) -> Self {
        Self {
            kind,
            input_size,
            hidden_size,
            output_size: hidden_size,
            parameters,
            activations: NaiveActivations::default(),
            coupling: NaiveCoupling::default(),
            clip: NaiveClip::default(),
            epsilon: 0.0,
        }
    }

    /// s and z.
    pub(super) fn sum(&self, terms: Terms<'_>) -> Sum {
        let Terms { gate, bias, x, hidden, other } = terms;
        let products = self.rows(gate).map(|row| {
            let of_x = x.map_or(0.0, |x| dot(self.weight_ih(row), x));
            of_x + hidden.map_or(0.0, |hidden| dot(self.weight_hh(row), hidden))
        });
        let mut sum: Vec<f64> = products.collect();
        if let Some(other) = other {
            add(&mut sum, other);
        }
        let mut preactivation = match &self.parameters.normalization {
            Some(scale) => masked(&normalize(&sum, self.epsilon).0, Some(&scale[self.rows(bias)])),
            None => sum.clone(),
        };
        add(&mut preactivation, &self.parameters.bias[self.rows(bias)]);
        Sum { sum, preactivation }
    }

    /// From the cotangent of z to those of h as the gate sees it, and of s.
    pub(super) fn sum_backward(
        &self,
        terms: Terms<'_>,
        sum: &Sum,
        d_preactivation: Vec<f64>,
        gradients: &mut StepGradients<'_>,
    ) -> [Vec<f64>; 2] {
        let Terms { gate, bias, x, hidden, .. } = terms;
        let StepGradients { input: d_x, parameters: d_parameters } = gradients;
        add(&mut d_parameters.bias[self.rows(bias)], &d_preactivation);
        let d_sum = match (&self.parameters.normalization, &mut d_parameters.normalization) {
            (Some(scale), Some(d_scale)) => {
                let (normal, deviation) = normalize(&sum.sum, self.epsilon);
                add(&mut d_scale[self.rows(bias)], &masked(&d_preactivation, Some(&normal)));
                let d_normal = masked(&d_preactivation, Some(&scale[self.rows(bias)]));
                normalize_backward(&normal, deviation, &d_normal)
            }
            _ => d_preactivation,
        };
        let (inputs, outputs) = (self.input_size, self.output_size);
        let mut d_hidden = vec![0.0; outputs];
        for (row, &d) in self.rows(gate).zip(&d_sum) {
            if let Some(x) = x {
                add_scaled(d_x, d, self.weight_ih(row));
                add_scaled(&mut d_parameters.weight_ih[row * inputs..][..inputs], d, x);
            }
            if let Some(hidden) = hidden {
                add_scaled(&mut d_hidden, d, self.weight_hh(row));
                add_scaled(&mut d_parameters.weight_hh[row * outputs..][..outputs], d, hidden);
            }
        }
        [d_hidden, d_sum]
    }

    /// φ(clip z)
    pub(super) fn value(&self, activation: NaiveActivation, z: &[f64]) -> Vec<f64> {
        z.iter().map(|&z| activation.value(clip(z, self.clip.gate))).collect()
    }

    /// From the cotangent of φ(clip z) to that of z.
    pub(super) fn value_backward(&self, activation: NaiveActivation, z: &[f64], d_value: &[f64]) -> Vec<f64> {
        let slope = |z: f64| activation.derivative(clip(z, self.clip.gate)) * passes(z, self.clip.gate);
        d_value.iter().zip(z).map(|(&d, &z)| d * slope(z)).collect()
    }

    /// The rows of a gate in weights, of a bias, or of a scale.
    fn rows(&self, gate: usize) -> std::ops::Range<usize> {
        gate * self.hidden_size..(gate + 1) * self.hidden_size
    }

    fn weight_ih(&self, row: usize) -> &[f64] {
        &self.parameters.weight_ih[row * self.input_size..][..self.input_size]
    }

    fn weight_hh(&self, row: usize) -> &[f64] {
        &self.parameters.weight_hh[row * self.output_size..][..self.output_size]
    }

    /// h as a gate sees it; or with a cotangent for h the other way.
    pub(super) fn seen(&self, gate: usize, masks: NaiveStepMasks<'_>, hidden: &[f64]) -> Vec<f64> {
        masked(hidden, masks.recurrent.map(|mask| &mask[gate * self.output_size..][..self.output_size]))
    }
}

impl NaiveKind {
    /// Gates in weights.
    pub fn gates(self) -> usize {
        match self {
            NaiveKind::Lstm => 4,
            NaiveKind::Gru { .. } => 3,
            NaiveKind::Rnn => 1,
        }
    }
}
