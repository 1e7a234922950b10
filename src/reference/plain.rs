//! The plain LSTM: one layer, one direction, no options.

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

/// The layer over one type of numbers: not generic, so that it is compiled here, as fast code, not in each caller.
macro_rules! lstm {
    ($real:ident) => {
        impl NaiveLstm<$real> {
            /// Runs x, `[T, B, X]`, from h₀ and c₀, `[B, H]`.
            ///
            /// # Panics
            /// If a slice is too short.
            pub fn forward(
                &self,
                [steps, batch]: [usize; 2],
                x: &[$real],
                initial_hidden: &[$real],
                initial_cell: &[$real],
            ) -> NaiveOutput<$real> {
                let (inputs, units) = (self.input_size, self.hidden_size);
                let mut hidden = initial_hidden[..batch * units].to_vec();
                let mut cell = initial_cell[..batch * units].to_vec();
                let mut output = Vec::with_capacity(steps * batch * units);
                for t in 0..steps {
                    for b in 0..batch {
                        let x = &x[(t * batch + b) * inputs..][..inputs];
                        let h = hidden[b * units..][..units].to_vec();
                        for u in 0..units {
                            let [i, f, g, o] =
                                [0, 1, 2, 3].map(|gate| self.preactivation(gate * units + u, x, &h));
                            let c = &mut cell[b * units + u];
                            *c = Self::sigmoid(f) * *c + Self::sigmoid(i) * g.tanh();
                            hidden[b * units + u] = Self::sigmoid(o) * c.tanh();
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
                x: &[$real],
                initial_hidden: &[$real],
                initial_cell: &[$real],
                cotangents: &NaiveCotangents<$real>,
            ) -> NaiveGradients<$real> {
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
                    input: vec![0.0; steps * batch * inputs],
                    weight_ih: vec![0.0; 4 * units * inputs],
                    weight_hh: vec![0.0; 4 * units * units],
                    bias: vec![0.0; 4 * units],
                    initial_hidden: cotangents.last_hidden[..batch * units].to_vec(),
                    initial_cell: cotangents.last_cell[..batch * units].to_vec(),
                };
                for t in (0..steps).rev() {
                    for b in 0..batch {
                        let row = b * units..(b + 1) * units;
                        let x = &x[(t * batch + b) * inputs..][..inputs];
                        let h = &hidden[t][row.clone()];
                        let mut dz = vec![0.0; 4 * units];
                        for u in 0..units {
                            let at = b * units + u;
                            let [i, f, g, o] =
                                [0, 1, 2, 3].map(|gate| self.preactivation(gate * units + u, x, h));
                            let (i, f, g, o) =
                                (Self::sigmoid(i), Self::sigmoid(f), g.tanh(), Self::sigmoid(o));
                            let tanh_c = cell[t + 1][at].tanh();
                            let dh = gradients.initial_hidden[at] + cotangents.output[t * batch * units + at];
                            let dc = gradients.initial_cell[at] + dh * o * (1.0 - tanh_c * tanh_c);
                            dz[u] = dc * g * i * (1.0 - i);
                            dz[units + u] = dc * cell[t][at] * f * (1.0 - f);
                            dz[2 * units + u] = dc * i * (1.0 - g * g);
                            dz[3 * units + u] = dh * tanh_c * o * (1.0 - o);
                            gradients.initial_cell[at] = dc * f;
                        }
                        let dh = &mut gradients.initial_hidden[row];
                        dh.fill(0.0);
                        let dx = &mut gradients.input[(t * batch + b) * inputs..][..inputs];
                        for (j, &dz) in dz.iter().enumerate() {
                            gradients.bias[j] += dz;
                            for k in 0..inputs {
                                dx[k] += self.weight_ih[j * inputs + k] * dz;
                                let dw = &mut gradients.weight_ih[j * inputs + k];
                                *dw += dz * x[k];
                            }
                            for k in 0..units {
                                dh[k] += self.weight_hh[j * units + k] * dz;
                                let dr = &mut gradients.weight_hh[j * units + k];
                                *dr += dz * h[k];
                            }
                        }
                    }
                }
                gradients
            }

            /// One row of W·x + R·h + b.
            fn preactivation(&self, row: usize, x: &[$real], h: &[$real]) -> $real {
                let mut sum = self.bias[row];
                for (k, &x) in x.iter().enumerate() {
                    sum += self.weight_ih[row * self.input_size + k] * x;
                }
                for (k, &h) in h.iter().enumerate() {
                    sum += self.weight_hh[row * self.hidden_size + k] * h;
                }
                sum
            }

            /// 1 / (1 + e⁻ˣ)
            fn sigmoid(x: $real) -> $real {
                1.0 / (1.0 + (-x).exp())
            }
        }
    };
}
lstm!(f32);
lstm!(f64);
