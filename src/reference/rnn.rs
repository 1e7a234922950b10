//! The plain recurrent layer: one layer, one direction.

use super::real::Real;

/// A layer: PyTorch's tensors, row-major.
#[derive(Clone, Debug)]
pub struct NaiveRnn<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
    /// Whether φ is max(0, ·) rather than tanh.
    pub is_relu: bool,
    /// W, `[H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[H, H]`
    pub weight_hh: Vec<R>,
    /// b, `[H]`: the sum of all biases
    pub bias: Vec<R>,
}

/// What [`NaiveRnn::backward`] yields, in the shapes of what they are gradients of.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveRnnGradients<R> {
    /// `[T, B, X]`
    pub input: Vec<R>,
    /// `[H, X]`
    pub weight_ih: Vec<R>,
    /// `[H, H]`
    pub weight_hh: Vec<R>,
    /// `[H]`
    pub bias: Vec<R>,
    /// `[B, H]`
    pub initial_hidden: Vec<R>,
}

impl<R: Real> NaiveRnn<R> {
    /// Every h, `[T, B, H]`, from x, `[T, B, X]`, and h₀, `[B, H]`.
    pub fn forward(&self, steps: usize, batch: usize, x: &[R], initial_hidden: &[R]) -> Vec<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut output: Vec<R> = Vec::new();
        for t in 0..steps {
            for b in 0..batch {
                for unit in 0..units {
                    let mut z = self.bias[unit];
                    for k in 0..inputs {
                        z = z + self.weight_ih[unit * inputs + k] * x[(t * batch + b) * inputs + k];
                    }
                    for k in 0..units {
                        let before = match t {
                            0 => initial_hidden[b * units + k],
                            _ => output[((t - 1) * batch + b) * units + k],
                        };
                        z = z + self.weight_hh[unit * units + k] * before;
                    }
                    output.push(match self.is_relu {
                        true if z > R::ZERO => z,
                        true => R::ZERO,
                        false => z.tanh(),
                    });
                }
            }
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
    ) -> NaiveRnnGradients<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let output = self.forward(steps, batch, x, initial_hidden);
        let mut gradients = NaiveRnnGradients {
            input: vec![R::ZERO; steps * batch * inputs],
            weight_ih: vec![R::ZERO; units * inputs],
            weight_hh: vec![R::ZERO; units * units],
            bias: vec![R::ZERO; units],
            initial_hidden: last_cotangent.to_vec(),
        };
        for t in (0..steps).rev() {
            for b in 0..batch {
                let row = t * batch + b;
                let dh = gradients.initial_hidden[b * units..][..units].to_vec();
                gradients.initial_hidden[b * units..][..units].fill(R::ZERO);
                for unit in 0..units {
                    let h = output[row * units + unit];
                    let slope = match self.is_relu {
                        true if h > R::ZERO => R::ONE,
                        true => R::ZERO,
                        false => R::ONE - h * h,
                    };
                    let dz = (dh[unit] + output_cotangent[row * units + unit]) * slope;
                    gradients.bias[unit] = gradients.bias[unit] + dz;
                    for k in 0..inputs {
                        let at = unit * inputs + k;
                        gradients.weight_ih[at] = gradients.weight_ih[at] + dz * x[row * inputs + k];
                        let to = &mut gradients.input[row * inputs + k];
                        *to = *to + dz * self.weight_ih[at];
                    }
                    for k in 0..units {
                        let at = unit * units + k;
                        let before = match t {
                            0 => initial_hidden[b * units + k],
                            _ => output[(row - batch) * units + k],
                        };
                        gradients.weight_hh[at] = gradients.weight_hh[at] + dz * before;
                        let to = &mut gradients.initial_hidden[b * units + k];
                        *to = *to + dz * self.weight_hh[at];
                    }
                }
            }
        }
        gradients
    }
}
