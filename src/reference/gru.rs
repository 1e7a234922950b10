//! The gated recurrent unit: one layer, one direction.

use super::real::{Real, sigmoid};

/// A layer: PyTorch's tensors, row-major, gates in the order r, z, n.
#[derive(Clone, Debug)]
pub struct NaiveGru<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
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

/// One unit of one row at one step.
struct Unit<R> {
    reset: R,
    update: R,
    candidate: R,
    /// R·h + b of the candidate.
    recurrent: R,
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
                for u in 0..units {
                    let Unit { update, candidate, .. } = self.unit(u, x, &h);
                    hidden[b * units + u] = (R::ONE - update) * candidate + update * h[u];
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
                // Of what W feeds, and of what R feeds.
                let (mut d_input, mut d_recurrent) = (vec![R::ZERO; 3 * units], vec![R::ZERO; 3 * units]);
                for u in 0..units {
                    let Unit { reset, update, candidate, recurrent } = self.unit(u, x, h);
                    let dh = gradients.initial_hidden[b * units + u] + output_cotangent[row * units + u];
                    let dn = dh * (R::ONE - update) * (R::ONE - candidate * candidate);
                    let dr = dn * recurrent * reset * (R::ONE - reset);
                    let dz = dh * (h[u] - candidate) * update * (R::ONE - update);
                    for (gate, [of_input, of_recurrent]) in
                        [[dr, dr], [dz, dz], [dn, dn * reset]].into_iter().enumerate()
                    {
                        d_input[gate * units + u] = of_input;
                        d_recurrent[gate * units + u] = of_recurrent;
                    }
                    gradients.initial_hidden[b * units + u] = dh * update;
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
                    for k in 0..units {
                        add(&mut dh[k], self.weight_hh[j * units + k] * d_recurrent[j]);
                        add(&mut gradients.weight_hh[j * units + k], d_recurrent[j] * h[k]);
                    }
                }
            }
        }
        gradients
    }

    fn unit(&self, unit: usize, x: &[R], h: &[R]) -> Unit<R> {
        let [r, z, n] = [0, 1, 2].map(|gate| gate * self.hidden_size + unit);
        let input = |row: usize| self.bias_ih[row] + dot(&self.weight_ih, row, x);
        let recurrent = |row: usize| self.bias_hh[row] + dot(&self.weight_hh, row, h);
        let (reset, update) = (sigmoid(input(r) + recurrent(r)), sigmoid(input(z) + recurrent(z)));
        let candidate = (input(n) + reset * recurrent(n)).tanh();
        Unit { reset, update, candidate, recurrent: recurrent(n) }
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
