//! The shortest time that the limits of the machine allow.

use crate::limits::Limits;
use crate::shapes::Shape;
use quadgate::Isa;

/// The work of a call, as the roofline sees it: some that can be done all at once, and steps that each read weights
/// anew.
///
/// ```text
/// seconds = flops_at_once / peak + steps · max(flops_per_step / peak, bytes_per_step / bandwidth)
/// ```
///
/// With n threads the peak is that of n threads, and each thread holds and reads an n-th of the weights; the bandwidth
/// is that of the nearest cache that holds this part. A schedule that keeps some of the weights in a still nearer cache
/// can be faster than that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roofline {
    /// Operations of the products that need no result of an earlier step.
    pub(crate) flops_at_once: f64,
    /// Steps that depend on each other.
    pub(crate) steps: f64,
    /// Operations of one such step.
    pub(crate) flops_per_step: f64,
    /// Weights that one such step reads.
    pub(crate) bytes_per_step: f64,
}

impl Roofline {
    /// A forward pass: W·x at once, R·h step by step. A single step reads W and R.
    pub(crate) fn forward(shape: Shape) -> Self {
        let recurrent = 8.0 * shape.b as f64 * (shape.h as f64).powi(2);
        if shape.t == 1 {
            return Self {
                flops_at_once: 0.0,
                steps: 1.0,
                flops_per_step: shape.forward_flops(),
                bytes_per_step: shape.input_weight_bytes() + shape.recurrent_weight_bytes(),
            };
        }
        Self {
            flops_at_once: shape.forward_flops() - shape.t as f64 * recurrent,
            steps: shape.t as f64,
            flops_per_step: recurrent,
            bytes_per_step: shape.recurrent_weight_bytes(),
        }
    }

    /// A training step: beside the forward pass, a backward pass whose steps each read the same weights, and the
    /// gradients of the weights at once.
    pub(crate) fn training(shape: Shape) -> Self {
        let forward = Self::forward(shape);
        let steps = 2.0 * forward.steps;
        Self { flops_at_once: shape.training_flops() - steps * forward.flops_per_step, steps, ..forward }
    }

    /// A training step or a forward pass.
    pub(crate) fn of(shape: Shape, is_training: bool) -> Self {
        if is_training { Self::training(shape) } else { Self::forward(shape) }
    }

    /// Operations of all products.
    pub(crate) fn flops(&self) -> f64 {
        self.flops_at_once + self.steps * self.flops_per_step
    }

    /// The bound in seconds.
    pub(crate) fn seconds(&self, limits: &Limits, isa: Isa, threads: usize) -> f64 {
        let peak = limits.fma_peak(isa, threads);
        let computing = self.flops_per_step / peak;
        self.flops_at_once / peak + self.steps * computing.max(self.reading(limits, threads))
    }

    /// Whether reading the weights is the bound of a step.
    pub(crate) fn is_reading(&self, limits: &Limits, isa: Isa, threads: usize) -> bool {
        self.reading(limits, threads) > self.flops_per_step / limits.fma_peak(isa, threads)
    }

    /// Seconds that a step reads weights.
    fn reading(&self, limits: &Limits, threads: usize) -> f64 {
        self.bytes_per_step / limits.bandwidth(self.bytes_per_step / threads as f64, threads)
    }
}
