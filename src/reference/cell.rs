//! One step of one row: the cell and all its options, forward and backward.

use super::activation::{NaiveActivation, NaiveActivations};
use super::gate::{clip, complement, mix, normalize, normalize_backward, passes};
use super::parameters::NaiveParameters;
use super::real::{Real, add, add_scaled, dot, masked};

const INPUT: usize = 0;
const FORGET: usize = 1;
const CANDIDATE: usize = 2;
const OUTPUT: usize = 3;

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NaiveClip<R> {
    /// Of what enters the activations of the four gates: ONNX's `clip`
    pub gate: Option<R>,
    /// Of what enters h: ONNX's `clip` by the standard
    pub hidden: Option<R>,
    /// Of f ⊙ c + i ⊙ g: TensorFlow Lite's `cell_clip`
    pub cell: Option<R>,
    /// Of the projection: TensorFlow Lite's `proj_clip`
    pub projection: Option<R>,
}

impl<R> Default for NaiveClip<R> {
    /// No limits
    fn default() -> Self {
        Self { gate: None, hidden: None, cell: None, projection: None }
    }
}

/// An LSTM cell with the options of the whole family.
///
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
/// - [ONNX](https://onnx.ai/onnx/operators/onnx__LSTM.html): peepholes, the coupling f = 1 − i, the activations, and the
///   clips of what enters the gates and of what enters h. ONNX Runtime clips the former alone.
/// - TensorFlow Lite (`lstm_eval.cc`): layer normalization, with ε = 10⁻⁸ and the peephole's term among what is
///   normalized, the coupling i = 1 − f, the clips of c̃ and of the projection, and the projection's bias v.
/// - PyTorch: the projection, `proj_size`.
/// - Keras: a mask of h for each gate, `recurrent_dropout`.
/// - [Zoneout](https://arxiv.org/abs/1606.01305): the masks m_c and m_h, where a zero keeps the old state.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveCell<R> {
    /// X
    pub input_size: usize,
    /// H: units, and elements of c
    pub hidden_size: usize,
    /// P: elements of h; H without a projection
    pub output_size: usize,
    /// Weights, and the options that have some
    pub parameters: NaiveParameters<R>,
    /// f, g and h
    pub activations: NaiveActivations<R>,
    /// Whether i and f are one
    pub coupling: NaiveCoupling,
    /// Limits
    pub clip: NaiveClip<R>,
    /// ε of the layer normalization
    pub epsilon: R,
}

/// The state of one cell: of one row, or of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveState<R> {
    /// h, `[P]` or `[B, P]`
    pub hidden: Vec<R>,
    /// c, `[H]` or `[B, H]`
    pub cell: Vec<R>,
}

/// The masks of one step of one row.
#[derive(Clone, Copy, Debug)]
pub struct NaiveStepMasks<'a, R> {
    /// Factors of h for each gate, `[4, P]`
    pub recurrent: Option<&'a [R]>,
    /// m_h, `[P]`: how much of the new h to take
    pub hidden: Option<&'a [R]>,
    /// m_c, `[H]`: how much of the new c to take
    pub cell: Option<&'a [R]>,
}

/// What a step reads.
#[derive(Clone, Copy, Debug)]
pub struct NaiveInputs<'a, R> {
    /// x, `[X]`
    pub x: &'a [R],
    /// The state before the step
    pub state: &'a NaiveState<R>,
    /// The masks
    pub masks: NaiveStepMasks<'a, R>,
}

/// What a step computes: the new state, and on the way there all that its backward pass reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveStep<R> {
    /// The state after the step
    pub state: NaiveState<R>,
    /// The gates i, f, g and o
    gates: [Gate<R>; 4],
    /// f ⊙ c + i ⊙ g
    update: Vec<R>,
    /// c̃
    cell: Vec<R>,
    /// o ⊙ h(c̃)
    exposed: Vec<R>,
    /// V·(o ⊙ h(c̃)) + v; the same as `exposed` without a projection
    projected: Vec<R>,
}

/// One gate of all units.
#[derive(Clone, Debug, PartialEq)]
struct Gate<R> {
    /// s
    sum: Vec<R>,
    /// z
    preactivation: Vec<R>,
    /// φ(clip z), or the complement of the gate that this one is coupled to
    value: Vec<R>,
}

impl<R: Real> NaiveState<R> {
    /// Zeros for `batch` rows of a cell.
    pub fn zeros(cell: &NaiveCell<R>, batch: usize) -> Self {
        Self {
            hidden: vec![R::ZERO; batch * cell.output_size],
            cell: vec![R::ZERO; batch * cell.hidden_size],
        }
    }

    /// The state of one row of a batch.
    pub(super) fn row(&self, cell: &NaiveCell<R>, b: usize) -> Self {
        Self {
            hidden: self.hidden[b * cell.output_size..][..cell.output_size].to_vec(),
            cell: self.cell[b * cell.hidden_size..][..cell.hidden_size].to_vec(),
        }
    }

    /// Replaces the state of one row of a batch.
    pub(super) fn set_row(&mut self, cell: &NaiveCell<R>, b: usize, row: &Self) {
        self.hidden[b * cell.output_size..][..cell.output_size].copy_from_slice(&row.hidden);
        self.cell[b * cell.hidden_size..][..cell.hidden_size].copy_from_slice(&row.cell);
    }
}

impl<R: Real> NaiveCell<R> {
    /// A cell without options.
    pub fn new(input_size: usize, hidden_size: usize, parameters: NaiveParameters<R>) -> Self {
        Self {
            input_size,
            hidden_size,
            output_size: hidden_size,
            parameters,
            activations: NaiveActivations::default(),
            coupling: NaiveCoupling::default(),
            clip: NaiveClip::default(),
            epsilon: R::ZERO,
        }
    }

    /// One step of one row.
    pub fn step(&self, inputs: NaiveInputs<'_, R>) -> NaiveStep<R> {
        let NaiveInputs { state: before, masks, .. } = inputs;
        let mut input = self.gate(INPUT, inputs, &before.cell);
        let mut forget = self.gate(FORGET, inputs, &before.cell);
        let candidate = self.gate(CANDIDATE, inputs, &[]);
        match self.coupling {
            NaiveCoupling::Independent => {}
            NaiveCoupling::ForgetFromInput => forget.value = complement(&input.value),
            NaiveCoupling::InputFromForget => input.value = complement(&forget.value),
        }
        let units = 0..self.hidden_size;
        let (i, f, g) = (&input.value, &forget.value, &candidate.value);
        let update: Vec<R> = units.clone().map(|u| f[u] * before.cell[u] + i[u] * g[u]).collect();
        let cell: Vec<R> = update.iter().map(|&update| clip(update, self.clip.cell)).collect();

        let output = self.gate(OUTPUT, inputs, &cell);
        let exposed: Vec<R> = units
            .map(|u| output.value[u] * self.activations.cell.value(clip(cell[u], self.clip.hidden)))
            .collect();
        let projected = self.project(&exposed);
        let hidden: Vec<R> = match self.parameters.projection {
            Some(_) => projected.iter().map(|&h| clip(h, self.clip.projection)).collect(),
            None => projected.clone(),
        };
        let state = NaiveState {
            hidden: mix(&hidden, &before.hidden, masks.hidden),
            cell: mix(&cell, &before.cell, masks.cell),
        };
        NaiveStep { state, gates: [input, forget, candidate, output], update, cell, exposed, projected }
    }

    /// The backward pass of a step: from the cotangent of the state after it to that of the state before it, which is
    /// returned. The gradients of x and of the parameters are added to what is there.
    pub fn step_backward(
        &self,
        inputs: NaiveInputs<'_, R>,
        step: &NaiveStep<R>,
        cotangent: &NaiveState<R>,
        input_gradient: &mut [R],
        parameter_gradients: &mut NaiveParameters<R>,
    ) -> NaiveState<R> {
        let NaiveInputs { state: before, masks, .. } = inputs;
        let units = 0..self.hidden_size;
        let [i, f, g, o] = step.gates.each_ref().map(|gate| &gate.value);

        // h′ and c′
        let new_share = |d: &[R], mask| masked(d, mask);
        let old_share = |d: &[R], mask: Option<&[R]>| match mask {
            Some(mask) => masked(d, Some(&complement(mask))),
            None => vec![R::ZERO; d.len()],
        };
        let d_new_hidden = new_share(&cotangent.hidden, masks.hidden);
        let mut d_cell = new_share(&cotangent.cell, masks.cell);
        let mut before_cotangent = NaiveState {
            hidden: old_share(&cotangent.hidden, masks.hidden),
            cell: old_share(&cotangent.cell, masks.cell),
        };

        // h̃
        let d_exposed = self.project_backward(step, &d_new_hidden, parameter_gradients);
        let mut d_output = vec![R::ZERO; self.hidden_size];
        for u in units.clone() {
            let (cell, limit) = (step.cell[u], self.clip.hidden);
            let (value, slope) = (
                self.activations.cell.value(clip(cell, limit)),
                self.activations.cell.derivative(clip(cell, limit)) * passes(cell, limit),
            );
            d_output[u] = d_exposed[u] * value;
            d_cell[u] = d_cell[u] + d_exposed[u] * o[u] * slope;
        }
        // o sees c̃ through its peephole.
        let mut gradients = StepGradients {
            input: input_gradient,
            hidden: &mut before_cotangent.hidden,
            parameters: parameter_gradients,
        };
        self.gate_backward(OUTPUT, inputs, step, &d_output, &step.cell, &mut d_cell, &mut gradients);

        // c̃
        let (mut d_input, mut d_forget, mut d_candidate) = (d_output.clone(), d_output.clone(), d_output);
        for u in units {
            let d_update = d_cell[u] * passes(step.update[u], self.clip.cell);
            d_input[u] = d_update * g[u];
            d_forget[u] = d_update * before.cell[u];
            d_candidate[u] = d_update * i[u];
            before_cotangent.cell[u] = before_cotangent.cell[u] + d_update * f[u];
            match self.coupling {
                NaiveCoupling::Independent => {}
                NaiveCoupling::ForgetFromInput => {
                    d_input[u] = d_input[u] - d_forget[u];
                    d_forget[u] = R::ZERO;
                }
                NaiveCoupling::InputFromForget => {
                    d_forget[u] = d_forget[u] - d_input[u];
                    d_input[u] = R::ZERO;
                }
            }
        }
        let seen = &before.cell;
        let d_seen = &mut before_cotangent.cell;
        self.gate_backward(INPUT, inputs, step, &d_input, seen, d_seen, &mut gradients);
        self.gate_backward(FORGET, inputs, step, &d_forget, seen, d_seen, &mut gradients);
        self.gate_backward(CANDIDATE, inputs, step, &d_candidate, &[], &mut [], &mut gradients);
        before_cotangent
    }

    /// One gate of all units, with `seen` the cell state that its peephole looks at.
    fn gate(&self, gate: usize, inputs: NaiveInputs<'_, R>, seen: &[R]) -> Gate<R> {
        let parameters = &self.parameters;
        let hidden = self.hidden_for(gate, inputs);
        let sum: Vec<R> = self
            .rows(gate)
            .map(|row| dot(self.weight_ih(row), inputs.x) + dot(self.weight_hh(row), &hidden))
            .enumerate()
            .map(|(u, sum)| match self.peephole(gate) {
                Some(peephole) => sum + peephole[u] * seen[u],
                None => sum,
            })
            .collect();
        let scaled = match &parameters.normalization {
            Some(scale) => {
                let (normal, _) = normalize(&sum, self.epsilon);
                masked(&normal, Some(&scale[self.rows(gate)]))
            }
            None => sum.clone(),
        };
        let bias = &parameters.bias[self.rows(gate)];
        let preactivation: Vec<R> = scaled.iter().zip(bias).map(|(&scaled, &bias)| scaled + bias).collect();
        let activation = self.activation(gate);
        let value = preactivation.iter().map(|&z| activation.value(clip(z, self.clip.gate))).collect();
        Gate { sum, preactivation, value }
    }

    /// From the cotangent of a gate's value to all that it depends on.
    #[allow(clippy::too_many_arguments)] // One gate reads and writes all of a step.
    fn gate_backward(
        &self,
        gate: usize,
        inputs: NaiveInputs<'_, R>,
        step: &NaiveStep<R>,
        d_value: &[R],
        seen: &[R],
        d_seen: &mut [R],
        gradients: &mut StepGradients<'_, R>,
    ) {
        let StepGradients { input: d_x, hidden: d_hidden, parameters: d_parameters } = gradients;
        let Gate { sum, preactivation, .. } = &step.gates[gate];
        let activation = self.activation(gate);
        let d_preactivation: Vec<R> = d_value
            .iter()
            .zip(preactivation)
            .map(|(&d, &z)| d * activation.derivative(clip(z, self.clip.gate)) * passes(z, self.clip.gate))
            .collect();
        add(&mut d_parameters.bias[self.rows(gate)], &d_preactivation);

        let d_sum = match (&self.parameters.normalization, &mut d_parameters.normalization) {
            (Some(scale), Some(d_scale)) => {
                let (normal, deviation) = normalize(sum, self.epsilon);
                add(&mut d_scale[self.rows(gate)], &masked(&d_preactivation, Some(&normal)));
                let d_normal = masked(&d_preactivation, Some(&scale[self.rows(gate)]));
                normalize_backward(&normal, deviation, &d_normal)
            }
            _ => d_preactivation,
        };

        if let (Some(peephole), Some(d_peephole)) = (self.peephole(gate), &mut d_parameters.peephole) {
            add(&mut d_peephole[self.peephole_rows(gate)], &masked(&d_sum, Some(seen)));
            add(d_seen, &masked(&d_sum, Some(peephole)));
        }
        let hidden = self.hidden_for(gate, inputs);
        let mut d_masked_hidden = vec![R::ZERO; self.output_size];
        for (row, &d) in self.rows(gate).zip(&d_sum) {
            add_scaled(d_x, d, self.weight_ih(row));
            add_scaled(&mut d_masked_hidden, d, self.weight_hh(row));
            add_scaled(&mut d_parameters.weight_ih[row * self.input_size..][..self.input_size], d, inputs.x);
            add_scaled(&mut d_parameters.weight_hh[row * self.output_size..][..self.output_size], d, &hidden);
        }
        add(d_hidden, &masked(&d_masked_hidden, self.recurrent_mask(gate, inputs)));
    }

    /// V·x + v, or x without a projection.
    fn project(&self, exposed: &[R]) -> Vec<R> {
        let Some(projection) = &self.parameters.projection else { return exposed.to_vec() };
        let mut projected: Vec<R> =
            projection.chunks_exact(self.hidden_size).map(|row| dot(row, exposed)).collect();
        if let Some(bias) = &self.parameters.projection_bias {
            add(&mut projected, bias);
        }
        projected
    }

    /// From the cotangent of h̃ to that of o ⊙ h(c̃).
    fn project_backward(
        &self,
        step: &NaiveStep<R>,
        d_hidden: &[R],
        gradients: &mut NaiveParameters<R>,
    ) -> Vec<R> {
        let (Some(projection), Some(d_projection)) = (&self.parameters.projection, &mut gradients.projection)
        else {
            return d_hidden.to_vec();
        };
        let mut d_exposed = vec![R::ZERO; self.hidden_size];
        for (p, &d) in d_hidden.iter().enumerate() {
            let d = d * passes(step.projected[p], self.clip.projection);
            let row = p * self.hidden_size..(p + 1) * self.hidden_size;
            add_scaled(&mut d_exposed, d, &projection[row.clone()]);
            add_scaled(&mut d_projection[row], d, &step.exposed);
            if let Some(d_bias) = &mut gradients.projection_bias {
                d_bias[p] = d_bias[p] + d;
            }
        }
        d_exposed
    }

    /// The rows of a gate in weights and biases.
    fn rows(&self, gate: usize) -> std::ops::Range<usize> {
        gate * self.hidden_size..(gate + 1) * self.hidden_size
    }

    fn weight_ih(&self, row: usize) -> &[R] {
        &self.parameters.weight_ih[row * self.input_size..][..self.input_size]
    }

    fn weight_hh(&self, row: usize) -> &[R] {
        &self.parameters.weight_hh[row * self.output_size..][..self.output_size]
    }

    /// h as a gate sees it.
    fn hidden_for(&self, gate: usize, inputs: NaiveInputs<'_, R>) -> Vec<R> {
        masked(&inputs.state.hidden, self.recurrent_mask(gate, inputs))
    }

    fn recurrent_mask<'a>(&self, gate: usize, inputs: NaiveInputs<'a, R>) -> Option<&'a [R]> {
        inputs.masks.recurrent.map(|mask| &mask[gate * self.output_size..][..self.output_size])
    }

    /// The rows of a gate in the peepholes, which g has none of.
    fn peephole_rows(&self, gate: usize) -> std::ops::Range<usize> {
        self.rows([0, 1, usize::MAX, 2][gate])
    }

    fn peephole(&self, gate: usize) -> Option<&[R]> {
        let peephole = self.parameters.peephole.as_ref().filter(|_| gate != CANDIDATE)?;
        Some(&peephole[self.peephole_rows(gate)])
    }

    fn activation(&self, gate: usize) -> NaiveActivation<R> {
        if gate == CANDIDATE { self.activations.candidate } else { self.activations.gate }
    }
}

/// What the backward pass of a step adds to.
struct StepGradients<'a, R> {
    input: &'a mut [R],
    hidden: &'a mut [R],
    parameters: &'a mut NaiveParameters<R>,
}
