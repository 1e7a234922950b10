//! The plain recurrent layer: one layer, one direction.

use super::activation::NaiveActivation;
use super::gate::{NaiveOptions, complement, mix};
use super::real::{Real, add, add_scaled, dot, masked};

/// A layer: PyTorch's tensors, row-major.
#[derive(Clone, Debug)]
pub struct NaiveRnn<R> {
    /// X
    pub input_size: usize,
    /// H
    pub hidden_size: usize,
    /// φ
    pub activation: NaiveActivation<R>,
    /// W, `[H, X]`
    pub weight_ih: Vec<R>,
    /// R, `[H, H]`
    pub weight_hh: Vec<R>,
    /// b, `[H]`: the sum of all biases
    pub bias: Vec<R>,
    /// What differs from the plain layer
    pub options: NaiveOptions<R>,
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
    /// Of the scale of the layer normalization, `[H]`; empty without one
    pub scale: Vec<R>,
    /// `[B, H]`
    pub initial_hidden: Vec<R>,
}

impl<R: Real> NaiveRnn<R> {
    /// Every h, `[T, B, H]`, from x, `[T, B, X]`, and h₀, `[B, H]`.
    pub fn forward(&self, steps: usize, batch: usize, x: &[R], initial_hidden: &[R]) -> Vec<R> {
        let (inputs, units) = (self.input_size, self.hidden_size);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        for row in 0..steps * batch {
            let h = hidden[row * units..][..units].to_vec();
            let sum = self.sum(&x[row * inputs..][..inputs], &self.options.seen(row % batch, &h));
            let z = self.options.preactivation(0, &sum, &self.bias);
            let new = self.options.value(self.activation, &z);
            hidden.extend(mix(&new, &h, self.options.share(row, units)));
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
    ) -> NaiveRnnGradients<R> {
        let (inputs, units, options) = (self.input_size, self.hidden_size, &self.options);
        let mut hidden = initial_hidden[..batch * units].to_vec();
        hidden.extend(self.forward(steps, batch, x, initial_hidden));
        let mut gradients = NaiveRnnGradients {
            input: vec![R::ZERO; steps * batch * inputs],
            weight_ih: vec![R::ZERO; units * inputs],
            weight_hh: vec![R::ZERO; units * units],
            bias: vec![R::ZERO; units],
            scale: options.zero_scales(),
            initial_hidden: last_cotangent[..batch * units].to_vec(),
        };
        for row in (0..steps * batch).rev() {
            let b = row % batch;
            let (x, h) = (&x[row * inputs..][..inputs], &hidden[row * units..][..units]);
            let seen = options.seen(b, h);
            let sum = self.sum(x, &seen);
            let z = options.preactivation(0, &sum, &self.bias);
            let carried = &mut gradients.initial_hidden[b * units..][..units];
            add(carried, &output_cotangent[row * units..][..units]);
            let share = options.share(row, units);
            let d_new = masked(carried, share);
            let mut d_h = match share {
                Some(share) => masked(carried, Some(&complement(share))),
                None => vec![R::ZERO; units],
            };
            let d_z = options.value_backward(self.activation, &z, &d_new);
            let (d_bias, d_scale) = (&mut gradients.bias, &mut gradients.scale);
            let d_sum = options.preactivation_backward(0, &sum, &d_z, d_bias, d_scale);
            let mut d_seen = vec![R::ZERO; units];
            for (unit, &d) in d_sum.iter().enumerate() {
                add_scaled(&mut gradients.weight_ih[unit * inputs..][..inputs], d, x);
                add_scaled(&mut gradients.weight_hh[unit * units..][..units], d, &seen);
                add_scaled(&mut gradients.input[row * inputs..][..inputs], d, self.weight_ih(unit));
                add_scaled(&mut d_seen, d, self.weight_hh(unit));
            }
            add(&mut d_h, &options.seen(b, &d_seen));
            carried.copy_from_slice(&d_h);
        }
        gradients
    }

    /// W·x + R·h
    fn sum(&self, x: &[R], h: &[R]) -> Vec<R> {
        let of = |unit| dot(self.weight_ih(unit), x) + dot(self.weight_hh(unit), h);
        (0..self.hidden_size).map(of).collect()
    }

    fn weight_ih(&self, unit: usize) -> &[R] {
        &self.weight_ih[unit * self.input_size..][..self.input_size]
    }

    fn weight_hh(&self, unit: usize) -> &[R] {
        &self.weight_hh[unit * self.hidden_size..][..self.hidden_size]
    }
}
