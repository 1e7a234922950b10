//! The matrix products of a pass, alone and with another library: `matrixmultiply`, on one thread.

use crate::layer::{input, random};
use crate::shapes::Shape;

/// x·Wᵀ for all steps at once, and h·Rᵀ added to it step by step.
pub(crate) struct ForwardProducts {
    shape: Shape,
    /// `[T·B, X]`
    input: Vec<f32>,
    /// `[B, H]`
    hidden: Vec<f32>,
    /// `[X, 4H]`
    input_weights: Vec<f32>,
    /// `[H, 4H]`
    recurrent_weights: Vec<f32>,
    /// `[T·B, 4H]`
    sums: Vec<f32>,
}

impl ForwardProducts {
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { t, b, x, h } = shape;
        Self {
            shape,
            input: input(shape),
            hidden: random(b * h, 1.0, 2),
            input_weights: random(x * 4 * h, 1.0, 3),
            recurrent_weights: random(h * 4 * h, 1.0, 4),
            sums: vec![0.0; t * b * 4 * h],
        }
    }

    pub(crate) fn run(&mut self) {
        let Shape { t, b, x, h } = self.shape;
        let input = Left::Rows(&self.input);
        multiply([t * b, x, 4 * h], input, &self.input_weights, 0.0, &mut self.sums);
        let hidden = Left::Rows(&self.hidden);
        for step in self.sums.chunks_exact_mut(b * 4 * h) {
            multiply([b, h, 4 * h], hidden, &self.recurrent_weights, 1.0, step);
        }
    }
}

/// dZ·R step by step, then dZ·W and dZᵀ·[x | h] for all steps at once.
pub(crate) struct BackwardProducts {
    shape: Shape,
    /// `[T·B, 4H]`
    gate_gradients: Vec<f32>,
    /// `[4H, X]`
    input_weights: Vec<f32>,
    /// `[4H, H]`
    recurrent_weights: Vec<f32>,
    /// `[T·B, X + H]`
    input_and_hidden: Vec<f32>,
    /// `[B, H]`
    hidden_gradient: Vec<f32>,
    /// `[T·B, X]`
    input_gradient: Vec<f32>,
    /// `[4H, X + H]`
    weight_gradients: Vec<f32>,
}

impl BackwardProducts {
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { t, b, x, h } = shape;
        Self {
            shape,
            gate_gradients: random(t * b * 4 * h, 1.0, 5),
            input_weights: random(4 * h * x, 1.0, 6),
            recurrent_weights: random(4 * h * h, 1.0, 7),
            input_and_hidden: random(t * b * (x + h), 1.0, 8),
            hidden_gradient: vec![0.0; b * h],
            input_gradient: vec![0.0; t * b * x],
            weight_gradients: vec![0.0; 4 * h * (x + h)],
        }
    }

    pub(crate) fn run(&mut self) {
        let Shape { t, b, x, h } = self.shape;
        for step in self.gate_gradients.chunks_exact(b * 4 * h) {
            let step = Left::Rows(step);
            multiply([b, 4 * h, h], step, &self.recurrent_weights, 0.0, &mut self.hidden_gradient);
        }
        let rows = Left::Rows(&self.gate_gradients);
        multiply([t * b, 4 * h, x], rows, &self.input_weights, 0.0, &mut self.input_gradient);
        let columns = Left::Columns(&self.gate_gradients);
        multiply([4 * h, t * b, x + h], columns, &self.input_and_hidden, 0.0, &mut self.weight_gradients);
    }
}

/// The left factor, stored by rows or by columns.
#[derive(Clone, Copy)]
enum Left<'a> {
    Rows(&'a [f32]),
    Columns(&'a [f32]),
}

/// c = a·b + β·c, all dense, of m×k and k×n elements, b and c by rows.
fn multiply([m, k, n]: [usize; 3], a: Left<'_>, b: &[f32], beta: f32, c: &mut [f32]) {
    let (a, row_stride, column_stride) = match a {
        Left::Rows(a) => (a, k, 1),
        Left::Columns(a) => (a, 1, m),
    };
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n, "dense matrices");
    // SAFETY: with these strides the routine reads the m·k elements of `a` and the k·n of `b`, and reads and writes the
    // m·n of `c`, which is exclusively borrowed.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            row_stride as isize,
            column_stride as isize,
            b.as_ptr(),
            n as isize,
            1,
            beta,
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}
