//! The gated recurrent unit: one layer, one direction.

use super::real::{Real, sigmoid};

/// A layer: PyTorch's tensors, row-major, gates in the order r, z, n.
#[derive(Clone, Debug)]
pub struct NaiveGru<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
    /// Whether the reset gate is applied before the product rather than after it
    pub resets_before: bool,
    /// W, `[3H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[3H, H]`
    pub weight_hh: Vec<R>,
    /// The bias of W, `[3H]`
    pub bias_ih: Vec<R>,
    /// The bias of R, `[3H]`
    pub bias_hh: Vec<R>,
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
    /// `[B, H]`
    pub initial_hidden: Vec<R>,
}

/// All units of one row at one step.
struct Gates<R> {
    reset: Vec<R>,
    update: Vec<R>,
    candidate: Vec<R>,
    /// R·h + b of the candidate, with a reset gate after it.
    recurrent: Vec<R>,
}

impl<R: Real> NaiveGru<R> {
    /// Every h, `[T, B, H]`, from x, `[T, B, X]`, and h₀, `[B, H]`.
    pub fn forward(&self, steps: usize, batch: usize, x: &[R], initial_hidden: &[R]) -> Vec<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        let mut output = Vec::with_capacity(steps * batch * units);
        for t in 0..steps {
            for b in 0..batch {
                let x = &x[(t * batch + b) * inputs..][..inputs];
                let h = hidden[b * units..][..units].to_vec();
                let Gates { update, candidate, .. } = self.gates(x, &h);
                for u in 0..units {
                    hidden[b * units + u] = (R::ONE - update[u]) * candidate[u] + update[u] * h[u];
                }
            }
            output.extend_from_slice(&hidden);
        }
        output
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
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        hidden.extend(self.forward(steps, batch, x, initial_hidden));
        let mut gradients = NaiveGruGradients {
            input: vec![R::ZERO; steps * batch * inputs],
            weight_ih: vec![R::ZERO; 3 * units * inputs],
            weight_hh: vec![R::ZERO; 3 * units * units],
            bias_ih: vec![R::ZERO; 3 * units],
            bias_hh: vec![R::ZERO; 3 * units],
            initial_hidden: last_cotangent[..batch * units].to_vec(),
        };
        for t in (0..steps).rev() {
            for b in 0..batch {
                let row = t * batch + b;
                let (x, h) = (&x[row * inputs..][..inputs], &hidden[row * units..][..units]);
                let Gates { reset, update, candidate, recurrent } = self.gates(x, h);
                let gated: Vec<R> = reset.iter().zip(h).map(|(&r, &h)| r * h).collect();
                // Of what W feeds, and of what R feeds.
                let (mut d_input, mut d_recurrent) = (vec![R::ZERO; 3 * units], vec![R::ZERO; 3 * units]);
                for u in 0..units {
                    let dh = gradients.initial_hidden[b * units + u] + output_cotangent[row * units + u];
                    let dn = dh * (R::ONE - update[u]) * (R::ONE - candidate[u] * candidate[u]);
                    d_input[2 * units + u] = dn;
                    d_recurrent[2 * units + u] = if self.resets_before { dn } else { dn * reset[u] };
                    let dz = dh * (h[u] - candidate[u]) * update[u] * (R::ONE - update[u]);
                    (d_input[units + u], d_recurrent[units + u]) = (dz, dz);
                    gradients.initial_hidden[b * units + u] = dh * update[u];
                }
                for u in 0..units {
                    // Of what the reset gate is multiplied with, and of the gate.
                    let mut d_gate = d_input[2 * units + u] * recurrent[u];
                    if self.resets_before {
                        let mut d_gated = R::ZERO;
                        for j in 0..units {
                            add(
                                &mut d_gated,
                                self.weight_hh[(2 * units + j) * units + u] * d_input[2 * units + j],
                            );
                        }
                        add(&mut gradients.initial_hidden[b * units + u], d_gated * reset[u]);
                        d_gate = d_gated * h[u];
                    }
                    let dr = d_gate * reset[u] * (R::ONE - reset[u]);
                    (d_input[u], d_recurrent[u]) = (dr, dr);
                }
                let dx = &mut gradients.input[row * inputs..][..inputs];
                let dh = &mut gradients.initial_hidden[b * units..][..units];
                for j in 0..3 * units {
                    add(&mut gradients.bias_ih[j], d_input[j]);
                    add(&mut gradients.bias_hh[j], d_recurrent[j]);
                    for k in 0..inputs {
                        add(&mut dx[k], self.weight_ih[j * inputs + k] * d_input[j]);
                        add(&mut gradients.weight_ih[j * inputs + k], d_input[j] * x[k]);
                    }
                    let is_gated = self.resets_before && j >= 2 * units;
                    for k in 0..units {
                        if !is_gated {
                            add(&mut dh[k], self.weight_hh[j * units + k] * d_recurrent[j]);
                        }
                        let seen = if is_gated { gated[k] } else { h[k] };
                        add(&mut gradients.weight_hh[j * units + k], d_recurrent[j] * seen);
                    }
                }
            }
        }
        gradients
    }

    fn gates(&self, x: &[R], h: &[R]) -> Gates<R> {
        let units = self.hidden_size;
        let input = |row: usize| self.bias_ih[row] + dot(&self.weight_ih, row, x);
        let recurrent = |row: usize, h: &[R]| self.bias_hh[row] + dot(&self.weight_hh, row, h);
        let gate = |first: usize| {
            (first..first + units).map(|row| sigmoid(input(row) + recurrent(row, h))).collect()
        };
        let (reset, update): (Vec<R>, Vec<R>) = (gate(0), gate(units));
        let gated: Vec<R> = reset.iter().zip(h).map(|(&r, &h)| r * h).collect();
        let seen = if self.resets_before { &gated } else { h };
        let recurrent: Vec<R> = (0..units).map(|u| recurrent(2 * units + u, seen)).collect();
        let candidate = (0..units).map(|u| {
            let factor = if self.resets_before { R::ONE } else { reset[u] };
            (input(2 * units + u) + factor * recurrent[u]).tanh()
        });
        Gates { candidate: candidate.collect(), reset, update, recurrent }
    }
}

/// A row of a matrix times a vector.
fn dot<R: Real>(matrix: &[R], row: usize, vector: &[R]) -> R {
    let row = &matrix[row * vector.len()..][..vector.len()];
    row.iter().zip(vector).fold(R::ZERO, |sum, (&a, &b)| sum + a * b)
}

fn add<R: Real>(to: &mut R, value: R) {
    *to = *to + value;
}
