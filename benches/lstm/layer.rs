//! Layers with random weights, and random input and cotangents for them.

use crate::shapes::Shape;
use quadgate::reference::{NaiveCotangents, NaiveLstm};
use quadgate::{Lstm, LstmConfig, LstmWeights, Threads};

/// What must hold of all buffers and arguments, since they are made for a shape that was checked.
pub(crate) const FITS: &str = "made for this shape";

/// Values between -`scale` and `scale`, the same for the same seed.
pub(crate) fn random(len: usize, scale: f32, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        scale * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// x, `[T, B, X]`.
pub(crate) fn input(shape: Shape) -> Vec<f32> {
    random(shape.t * shape.b * shape.x, 1.0, 1)
}

/// The gradients of some loss with respect to all h, the last h and the last c.
pub(crate) fn cotangents(shape: Shape) -> NaiveCotangents<f32> {
    let Shape { t, b, h, .. } = shape;
    NaiveCotangents {
        output: random(t * b * h, 1.0, 5),
        last_hidden: random(b * h, 1.0, 6),
        last_cell: random(b * h, 1.0, 7),
    }
}

/// PyTorch's tensors, drawn from its default distribution.
pub(crate) fn naive(shape: Shape) -> NaiveLstm<f32> {
    let scale = 1.0 / (shape.h as f32).sqrt();
    NaiveLstm {
        input_size: shape.x,
        hidden_size: shape.h,
        weight_ih: random(4 * shape.h * shape.x, scale, 2),
        weight_hh: random(4 * shape.h * shape.h, scale, 3),
        bias: random(4 * shape.h, scale, 4),
    }
}

/// A layer of this shape.
pub(crate) fn config(shape: Shape, threads: Threads) -> LstmConfig {
    LstmConfig::new(shape.x, shape.h).threads(threads)
}

/// The layer under test with the weights of `naive`. `QUADGATE_ISA` has been checked before.
pub(crate) fn lstm(naive: &NaiveLstm<f32>, config: &LstmConfig) -> Lstm {
    LstmWeights::pytorch(config, &naive.weight_ih, &naive.weight_hh, Some(&naive.bias), None)
        .and_then(|weights| Lstm::new(config, &weights))
        .expect(FITS)
}
