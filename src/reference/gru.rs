//! The gated recurrent unit: one layer, one direction.

use super::activation::NaiveActivation;
use super::gate::{NaiveOptions, complement, mix};
use super::real::{Real, add, add_scaled, dot, masked};

/// r, z and n in weights; in sums r, z, and n or its x̂ = W·x, with ĥ = R·h of n after them.
const RESET: usize = 0;
const UPDATE: usize = 1;
const CANDIDATE: usize = 2;
const PRODUCT: usize = 3;

/// A layer: PyTorch's tensors, row-major, gates in the order r, z, n.
///
/// With the [options](NaiveOptions) it is, where r and z are φ(clip z) of their sums and s of a sum becomes z of it as there,
///
/// ```text
/// n = g(clip(z of W·x + r ⊙ z of R·(mask ⊙ h)))            with the reset gate after the product
/// n = g(clip(z of (W·x + R·(r ⊙ mask ⊙ h))))               with the reset gate before it
/// h̃ = (1 − z) ⊙ n + z ⊙ h
/// ```
#[derive(Clone, Debug)]
pub struct NaiveGru<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
    /// Whether the reset gate is applied before the product rather than after it
    pub resets_before: bool,
    /// f, of r and z
    pub gate: NaiveActivation<R>,
    /// g, of n
    pub candidate: NaiveActivation<R>,
    /// W, `[3H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[3H, H]`
    pub weight_hh: Vec<R>,
    /// The bias of W, `[3H]`
    pub bias_ih: Vec<R>,
    /// The bias of R, `[3H]`
    pub bias_hh: Vec<R>,
    /// What differs from the plain layer; scales are those of r, z and n, with the reset gate after the product of r, z, x̂ and ĥ
    pub options: NaiveOptions<R>,
}

/// What [`NaiveGru::backward`] yields, in the shapes of what they are gradients of.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveGruGradients<R> {
    /// `[T, B, X]`
    pub input: Vec<R>,
    /// `[3H, X]`
    pub weight_ih: Vec<R>,
    /// `[3H, H]`
    pub weight_hh: Vec<R>,
    /// `[3H]`
    pub bias_ih: Vec<R>,
    /// `[3H]`
    pub bias_hh: Vec<R>,
    /// Of the scales of the layer normalization, `[3H]` or `[4H]`; empty without one
    pub scale: Vec<R>,
    /// `[B, H]`
    pub initial_hidden: Vec<R>,
}

/// All units of one row at one step.
struct Step<R> {
    /// mask ⊙ h
    seen: Vec<R>,
    /// The sums, and what they become before an activation.
    sums: Vec<Vec<R>>,
    preactivations: Vec<Vec<R>>,
    reset: Vec<R>,
    update: Vec<R>,
    /// What enters the activation of n.
    entering: Vec<R>,
    candidate: Vec<R>,
    /// h̃
    hidden: Vec<R>,
}

impl<R: Real> NaiveGru<R> {
    /// Every h, `[T, B, H]`, from x, `[T, B, X]`, and h₀, `[B, H]`.
    pub fn forward(&self, steps: usize, batch: usize, x: &[R], initial_hidden: &[R]) -> Vec<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        for row in 0..steps * batch {
            let h = hidden[row * units..][..units].to_vec();
            let step = self.step(row % batch, &x[row * inputs..][..inputs], &h);
            hidden.extend(mix(&step.hidden, &h, self.options.share(row, units)));
        }
        hidden.split_off(batch * units)
    }

    /// Gradients of a loss, from its cotangents of every h, `[T, B, H]`, and of the last h, `[B, H]`.
    pub fn backward(
        &self,
        steps: usize,
        batch: usize,
        x: &[R],
        initial_hidden: &[R],
        [output_cotangent, last_cotangent]: [&[R]; 2],
    ) -> NaiveGruGradients<R> {
        let (inputs, units, options) = (self.input_size, self.hidden_size, &self.options);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        hidden.extend(self.forward(steps, batch, x, initial_hidden));
        let mut gradients = NaiveGruGradients {
            input: vec![R::ZERO; steps * batch * inputs],
            weight_ih: vec![R::ZERO; 3 * units * inputs],
            weight_hh: vec![R::ZERO; 3 * units * units],
            bias_ih: vec![R::ZERO; 3 * units],
            bias_hh: vec![R::ZERO; 3 * units],
            scale: options.zero_scales(),
            initial_hidden: last_cotangent[..batch * units].to_vec(),
        };
        for row in (0..steps * batch).rev() {
            let b = row % batch;
            let (x, h) = (&x[row * inputs..][..inputs], &hidden[row * units..][..units]);
            let step = self.step(b, x, h);
            let mut d_hidden = gradients.initial_hidden[b * units..][..units].to_vec();
            add(&mut d_hidden, &output_cotangent[row * units..][..units]);
            let share = options.share(row, units);
            let d_new = masked(&d_hidden, share);
            let mut d_h = match share {
                Some(share) => masked(&d_hidden, Some(&complement(share))),
                None => vec![R::ZERO; units],
            };

            // h̃ = (1 − z) ⊙ n + z ⊙ h
            let d_candidate = masked(&d_new, Some(&complement(&step.update)));
            let difference: Vec<R> = h.iter().zip(&step.candidate).map(|(&h, &n)| h - n).collect();
            let d_update = masked(&d_new, Some(&difference));
            add(&mut d_h, &masked(&d_new, Some(&step.update)));

            let d_entering = options.value_backward(self.candidate, &step.entering, &d_candidate);
            let mut d_seen = vec![R::ZERO; units];
            let d_reset = if self.resets_before {
                let d_sum = self.sum_backward(CANDIDATE, &step, &d_entering, &mut gradients);
                let gated = masked(&step.reset, Some(&step.seen));
                let mut d_gated = vec![R::ZERO; units];
                self.input_backward(CANDIDATE, row, x, &d_sum, &mut gradients);
                self.recurrent_backward(CANDIDATE, &gated, &d_sum, &mut d_gated, &mut gradients);
                add(&mut d_seen, &masked(&d_gated, Some(&step.reset)));
                masked(&d_gated, Some(&step.seen))
            } else {
                let d_sum = self.sum_backward(CANDIDATE, &step, &d_entering, &mut gradients);
                self.input_backward(CANDIDATE, row, x, &d_sum, &mut gradients);
                let d_product = masked(&d_entering, Some(&step.reset));
                let d_sum = self.sum_backward(PRODUCT, &step, &d_product, &mut gradients);
                self.recurrent_backward(CANDIDATE, &step.seen, &d_sum, &mut d_seen, &mut gradients);
                masked(&d_entering, Some(&step.preactivations[PRODUCT]))
            };
            for (gate, d_value) in [(RESET, d_reset), (UPDATE, d_update)] {
                let d_z = options.value_backward(self.gate, &step.preactivations[gate], &d_value);
                let d_sum = self.sum_backward(gate, &step, &d_z, &mut gradients);
                self.input_backward(gate, row, x, &d_sum, &mut gradients);
                self.recurrent_backward(gate, &step.seen, &d_sum, &mut d_seen, &mut gradients);
            }
            add(&mut d_h, &options.seen(b, &d_seen));
            gradients.initial_hidden[b * units..][..units].copy_from_slice(&d_h);
        }
        gradients
    }

    /// From the cotangent of what a sum becomes to that of the sum, with those of bias and scale.
    fn sum_backward(
        &self,
        sum: usize,
        step: &Step<R>,
        d_z: &[R],
        gradients: &mut NaiveGruGradients<R>,
    ) -> Vec<R> {
        let NaiveGruGradients { bias_ih, bias_hh, scale, .. } = gradients;
        let units = self.hidden_size;
        let at = sum.min(CANDIDATE) * units;
        let mut d_bias = vec![R::ZERO; units];
        let d_sum = self.options.preactivation_backward(sum, &step.sums[sum], d_z, &mut d_bias, scale);
        let is_split = sum >= CANDIDATE && !self.resets_before;
        if !is_split || sum == CANDIDATE {
            add(&mut bias_ih[at..at + units], &d_bias);
        }
        if !is_split || sum == PRODUCT {
            add(&mut bias_hh[at..at + units], &d_bias);
        }
        d_sum
    }

    /// Of W·x of a gate.
    fn input_backward(
        &self,
        gate: usize,
        row: usize,
        x: &[R],
        d_sum: &[R],
        gradients: &mut NaiveGruGradients<R>,
    ) {
        let inputs = self.input_size;
        for (unit, &d) in d_sum.iter().enumerate() {
            let of_unit = gate * self.hidden_size + unit;
            add_scaled(&mut gradients.weight_ih[of_unit * inputs..][..inputs], d, x);
            let weights = &self.weight_ih[of_unit * inputs..][..inputs];
            add_scaled(&mut gradients.input[row * inputs..][..inputs], d, weights);
        }
    }

    /// Of R·seen of a gate.
    fn recurrent_backward(
        &self,
        gate: usize,
        seen: &[R],
        d_sum: &[R],
        d_seen: &mut [R],
        gradients: &mut NaiveGruGradients<R>,
    ) {
        let units = self.hidden_size;
        for (unit, &d) in d_sum.iter().enumerate() {
            let of_unit = gate * units + unit;
            add_scaled(&mut gradients.weight_hh[of_unit * units..][..units], d, seen);
            add_scaled(d_seen, d, &self.weight_hh[of_unit * units..][..units]);
        }
    }

    /// A step of row `b`.
    fn step(&self, b: usize, x: &[R], h: &[R]) -> Step<R> {
        let (options, units) = (&self.options, self.hidden_size);
        let seen = options.seen(b, h);
        let input = |gate: usize| -> Vec<R> {
            let rows = gate * units..(gate + 1) * units;
            rows.map(|row| dot(&self.weight_ih[row * x.len()..][..x.len()], x)).collect()
        };
        let recurrent = |gate: usize, seen: &[R]| -> Vec<R> {
            let rows = gate * units..(gate + 1) * units;
            rows.map(|row| dot(&self.weight_hh[row * units..][..units], seen)).collect()
        };
        let sum = |gate: usize, seen: &[R]| plus(&input(gate), &recurrent(gate, seen));
        let [of_input, of_recurrent] = [&self.bias_ih, &self.bias_hh]
            .map(|bias| move |gate: usize| &bias[gate * units..(gate + 1) * units]);
        let bias = |gate: usize| plus(of_input(gate), of_recurrent(gate));

        let mut sums = vec![sum(RESET, &seen), sum(UPDATE, &seen)];
        let mut preactivations: Vec<Vec<R>> =
            [RESET, UPDATE].map(|gate| options.preactivation(gate, &sums[gate], &bias(gate))).into();
        let [reset, update] = [RESET, UPDATE].map(|gate| options.value(self.gate, &preactivations[gate]));
        if self.resets_before {
            sums.push(sum(CANDIDATE, &masked(&reset, Some(&seen))));
            preactivations.push(options.preactivation(CANDIDATE, &sums[CANDIDATE], &bias(CANDIDATE)));
        } else {
            sums.extend([input(CANDIDATE), recurrent(CANDIDATE, &seen)]);
            let biases = [of_input(CANDIDATE), of_recurrent(CANDIDATE)];
            for (sum, bias) in [CANDIDATE, PRODUCT].into_iter().zip(biases) {
                preactivations.push(options.preactivation(sum, &sums[sum], bias));
            }
        }
        let entering = match preactivations.get(PRODUCT) {
            Some(product) => plus(&preactivations[CANDIDATE], &masked(&reset, Some(product))),
            None => preactivations[CANDIDATE].clone(),
        };
        let candidate = options.value(self.candidate, &entering);
        let hidden = mix(&candidate, h, Some(&complement(&update)));
        Step { seen, sums, preactivations, reset, update, entering, candidate, hidden }
    }
}

/// a + b
fn plus<R: Real>(a: &[R], b: &[R]) -> Vec<R> {
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}
