//! The plain LSTM: one layer, one direction, no options.

use super::real::{Real, sigmoid};

/// A layer: PyTorch's tensors, row-major, gates in the order i, f, g, o.
#[derive(Clone, Debug)]
pub struct NaiveLstm<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
    /// W, `[4H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[4H, H]`
    pub weight_hh: Vec<R>,
    /// b, `[4H]`: the sum of all biases
    pub bias: Vec<R>,
}

/// What [`NaiveLstm::forward`] yields.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveOutput<R> {
    /// Every h, `[T, B, H]`
    pub output: Vec<R>,
    /// The last h, `[B, H]`
    pub last_hidden: Vec<R>,
    /// The last c, `[B, H]`
    pub last_cell: Vec<R>,
}

/// Gradients of a loss with respect to its outputs: what [`NaiveLstm::backward`] starts from.
#[derive(Clone, Debug)]
pub struct NaiveCotangents<R> {
    /// Of every h, `[T, B, H]`
    pub output: Vec<R>,
    /// Of the last h, `[B, H]`
    pub last_hidden: Vec<R>,
    /// Of the last c, `[B, H]`
    pub last_cell: Vec<R>,
}

/// What [`NaiveLstm::backward`] yields, in the shapes of what they are gradients of.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveGradients<R> {
    /// `[T, B, X]`
    pub input: Vec<R>,
    /// `[4H, X]`
    pub weight_ih: Vec<R>,
    /// `[4H, H]`
    pub weight_hh: Vec<R>,
    /// `[4H]`
    pub bias: Vec<R>,
    /// `[B, H]`
    pub initial_hidden: Vec<R>,
    /// `[B, H]`
    pub initial_cell: Vec<R>,
}

impl<R: Real> NaiveLstm<R> {
    /// Runs x, `[T, B, X]`, from h₀ and c₀, `[B, H]`.
    ///
    /// # Panics
    /// If a slice is too short.
    pub fn forward(
        &self,
        [steps, batch]: [usize; 2],
        x: &[R],
        initial_hidden: &[R],
        initial_cell: &[R],
    ) -> NaiveOutput<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        let mut cell = initial_cell[..batch * units].to_vec();
        let mut output = Vec::with_capacity(steps * batch * units);
        for t in 0..steps {
            for b in 0..batch {
                let x = &x[(t * batch + b) * inputs..][..inputs];
                let h = hidden[b * units..][..units].to_vec();
                for u in 0..units {
                    let [i, f, g, o] = [0, 1, 2, 3].map(|gate| self.preactivation(gate * units + u, x, &h));
                    let c = &mut cell[b * units + u];
                    *c = sigmoid(f) * *c + sigmoid(i) * g.tanh();
                    hidden[b * units + u] = sigmoid(o) * c.tanh();
                }
            }
            output.extend_from_slice(&hidden);
        }
        NaiveOutput { output, last_hidden: hidden, last_cell: cell }
    }

    /// Backpropagation through time of the pass that [`NaiveLstm::forward`] makes of the same arguments.
    ///
    /// # Panics
    /// If a slice is too short.
    pub fn backward(
        &self,
        [steps, batch]: [usize; 2],
        x: &[R],
        initial_hidden: &[R],
        initial_cell: &[R],
        cotangents: &NaiveCotangents<R>,
    ) -> NaiveGradients<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        // h and c before each step, and after the last.
        let mut hidden = vec![initial_hidden[..batch * units].to_vec()];
        let mut cell = vec![initial_cell[..batch * units].to_vec()];
        for t in 0..steps {
            let step = self.forward([1, batch], &x[t * batch * inputs..], &hidden[t], &cell[t]);
            hidden.push(step.last_hidden);
            cell.push(step.last_cell);
        }

        let mut gradients = NaiveGradients {
            input: vec![R::ZERO; steps * batch * inputs],
            weight_ih: vec![R::ZERO; 4 * units * inputs],
            weight_hh: vec![R::ZERO; 4 * units * units],
            bias: vec![R::ZERO; 4 * units],
            initial_hidden: cotangents.last_hidden[..batch * units].to_vec(),
            initial_cell: cotangents.last_cell[..batch * units].to_vec(),
        };
        for t in (0..steps).rev() {
            for b in 0..batch {
                let row = b * units..(b + 1) * units;
                let x = &x[(t * batch + b) * inputs..][..inputs];
                let h = &hidden[t][row.clone()];
                let mut dz = vec![R::ZERO; 4 * units];
                for u in 0..units {
                    let at = b * units + u;
                    let [i, f, g, o] = [0, 1, 2, 3].map(|gate| self.preactivation(gate * units + u, x, h));
                    let (i, f, g, o) = (sigmoid(i), sigmoid(f), g.tanh(), sigmoid(o));
                    let tanh_c = cell[t + 1][at].tanh();
                    let dh = gradients.initial_hidden[at] + cotangents.output[t * batch * units + at];
                    let dc = gradients.initial_cell[at] + dh * o * (R::ONE - tanh_c * tanh_c);
                    dz[u] = dc * g * i * (R::ONE - i);
                    dz[units + u] = dc * cell[t][at] * f * (R::ONE - f);
                    dz[2 * units + u] = dc * i * (R::ONE - g * g);
                    dz[3 * units + u] = dh * tanh_c * o * (R::ONE - o);
                    gradients.initial_cell[at] = dc * f;
                }
                let dh = &mut gradients.initial_hidden[row];
                dh.fill(R::ZERO);
                let dx = &mut gradients.input[(t * batch + b) * inputs..][..inputs];
                for (j, &dz) in dz.iter().enumerate() {
                    gradients.bias[j] = gradients.bias[j] + dz;
                    for k in 0..inputs {
                        dx[k] = dx[k] + self.weight_ih[j * inputs + k] * dz;
                        let dw = &mut gradients.weight_ih[j * inputs + k];
                        *dw = *dw + dz * x[k];
                    }
                    for k in 0..units {
                        dh[k] = dh[k] + self.weight_hh[j * units + k] * dz;
                        let dr = &mut gradients.weight_hh[j * units + k];
                        *dr = *dr + dz * h[k];
                    }
                }
            }
        }
        gradients
    }

    /// One row of W·x + R·h + b.
    fn preactivation(&self, row: usize, x: &[R], h: &[R]) -> R {
        let mut sum = self.bias[row];
        for (k, &x) in x.iter().enumerate() {
            sum = sum + self.weight_ih[row * self.input_size + k] * x;
        }
        for (k, &h) in h.iter().enumerate() {
            sum = sum + self.weight_hh[row * self.hidden_size + k] * h;
        }
        sum
    }
}
