//! How a call of a stack will run, decided from its shape before anything is computed.

use crate::config::{Split, Threads};
use crate::lstm::Lstm;
use crate::plan::{flops_per_step, useful_threads};
use crate::shape::Shape;
use crate::stack::config::{Arrangement, StackConfig};
use quadgate_kernels::Isa;

/// Most directed layers that run side by side: each has a workspace of its own.
pub(super) const MOST_SIDE_BY_SIDE: usize = 8;

/// Blocks of steps that go through the layers: the more, the sooner the last layer begins; the fewer, the less often a
/// thread turns from the weights of one layer to those of another. Measured with AVX-512, two threads and four layers
/// of 100 steps, against layers in turn, for 8, 16 and 33 blocks: +40, +42 and +36 % at batch 1 with 64 units; −3, +3
/// and +9 % at batch 1 with 128 units; +17, +25 and +23 % at batch 4 with 64 units.
const BLOCKS: usize = 16;

/// Bytes of a layer's weights from which two threads that share them gain more than half of the time, since each then
/// finds its half in its second cache: two threads in turn are 2.2 times as fast as one with 256 units, 1.7 times with
/// 128.
const SHARED_WEIGHTS: usize = 768 << 10;

/// Rows of the batch for each thread below which layers may run side by side.
const ROWS_PER_THREAD: usize = 3;

/// What a wait after a step costs threads that share hidden units, in floating point operations of one thread, at batch
/// 1 and for each row more.
const WAIT_FLOPS: [f64; 2] = [20e3, 10e3];

/// How a call of a given shape runs. The results have the same bits under any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackPlan {
    /// The instruction set.
    pub isa: Isa,
    /// How directed layers are arranged over threads.
    pub arrangement: Arrangement,
    /// Threads that take part.
    pub threads: usize,
    /// Time steps that go from layer to layer at once: all of them unless layers of one direction run side by side.
    pub block_steps: usize,
}

impl StackPlan {
    /// The plan for `steps` time steps of `batch` rows, with no more than `most` directed layers side by side.
    pub(super) fn new(
        config: &StackConfig,
        layers: &[Lstm],
        [steps, batch]: [usize; 2],
        most: usize,
    ) -> Self {
        let directions = config.directions().count();
        let most = most.min(most_side_by_side(config));
        // Of those of most units the last one, which reads the output of a layer, if any.
        let widest = layers.iter().max_by_key(|lstm| lstm.shape().units).unwrap_or(&layers[0]).shape();
        let flops: f64 = layers.iter().map(|lstm| flops_per_step(lstm.shape(), batch)).sum();
        let threads = match config.layer(0).thread_choice() {
            Threads::Serial => 1,
            Threads::Exactly(threads) => threads.get(),
            Threads::Auto => useful_threads(flops * steps as f64, usize::MAX),
        };
        let is_narrow = batch < ROWS_PER_THREAD.saturating_mul(threads);
        // Where a step has halves it pays from more units on.
        let can_share_units = layers.iter().all(|lstm| match lstm.shape().has_halves() {
            true => lstm.plan(steps, batch).split == Split::Units,
            false => !lstm.config().needs_whole_rows(),
        });
        let shares_weights = can_share_units && is_narrow && widest.weight_bytes() >= SHARED_WEIGHTS;
        let pays = threads > 1
            && layers.iter().all(|lstm| lstm.config().forced_split().is_none())
            && !shares_weights
            && (directions == 2
                || is_narrow && blocks_pay(layers, widest, can_share_units, [batch, threads]));
        let arrangement = match config.forced_arrangement() {
            _ if most == 1 || threads == 1 => Arrangement::InTurn,
            Some(arrangement) => arrangement,
            None if pays => Arrangement::SideBySide,
            None => Arrangement::InTurn,
        };
        match arrangement {
            Arrangement::InTurn => Self {
                isa: layers[0].isa(),
                arrangement,
                threads: layers.iter().map(|lstm| lstm.plan(steps, batch).threads).max().unwrap_or(1),
                block_steps: steps,
            },
            Arrangement::SideBySide => Self {
                isa: layers[0].isa(),
                arrangement,
                threads: if directions == 2 { threads } else { threads.min(most) },
                block_steps: if directions == 2 { steps } else { steps.div_ceil(BLOCKS).max(1) },
            },
        }
    }

    /// Most threads of a directed layer.
    pub(super) fn threads_of_layer(&self, config: &StackConfig) -> usize {
        match (self.arrangement, config.directions().count()) {
            (Arrangement::InTurn, _) => usize::MAX,
            (Arrangement::SideBySide, 2) => (self.threads / 2).max(1),
            (Arrangement::SideBySide, _) => 1,
        }
    }
}

/// Whether blocks of steps that pass through layers are faster than threads that share each layer.
///
/// With n threads and F operations a step of a layer, sharing units takes F/n and a wait; sharing rows takes F/n, with
/// n the rows at most. Layers side by side take F/n too, with n the layers at most; and n − 1 blocks pass before all
/// have work. Where layers differ, all others are done before the widest one is if n is more than the work of all
/// beside that of the widest.
fn blocks_pay(layers: &[Lstm], widest: Shape, can_share_units: bool, [batch, threads]: [usize; 2]) -> bool {
    let flops = flops_per_step(widest, batch);
    let shared = if can_share_units {
        flops / threads as f64 + WAIT_FLOPS[0] + WAIT_FLOPS[1] * (batch as f64 - 1.0)
    } else {
        flops / threads.min(batch) as f64
    };
    let recurrent = |shape: Shape| shape.units as f64 * shape.outputs as f64;
    let busy = layers.iter().map(|lstm| recurrent(lstm.shape())).sum::<f64>() / recurrent(widest);
    let threads = (threads.min(layers.len()).min(MOST_SIDE_BY_SIDE) as f64).min(busy);
    let waiting = threads * (threads - 1.0) / (layers.len() as f64 * BLOCKS as f64);
    threads > 1.0 && flops / threads * (1.0 + waiting) < shared
}

/// Most directed layers of a stack that ever run side by side.
pub(super) fn most_side_by_side(config: &StackConfig) -> usize {
    let is_alone = match config.layer(0).thread_choice() {
        Threads::Serial => true,
        Threads::Exactly(threads) => threads.get() == 1,
        Threads::Auto => false,
    };
    if is_alone || config.forced_arrangement() == Some(Arrangement::InTurn) {
        1
    } else if config.directions().count() == 2 {
        2
    } else {
        config.layers().min(MOST_SIDE_BY_SIDE)
    }
}
