//! How a call will run, decided from its shape before anything is computed.

use crate::config::{LstmConfig, Schedule, Split, Threads};
use crate::pack::Shape;
use crate::{Isa, parallel};

/// Bytes of weights from which a step finds them in memory rather than in a cache, or in a cache that others use too.
const LARGE_WEIGHTS: usize = 16 << 20;

/// Bytes of hoisted sums per call: small enough to share L2 with the weights of a narrow layer; for large weights so many
/// that these are read for all steps at once (at 25,16,1024,1024 with AVX-512 at one thread: 230 GFLOP/s for 16 MiB,
/// 209 for 4 MiB, 174 for 256 KiB).
fn sums_bytes(shape: Shape) -> usize {
    if shape.weight_bytes() < LARGE_WEIGHTS { 256 << 10 } else { 16 << 20 }
}

/// Batch rows below which hoisting pays: few rows wait for the weights, in a cache or in memory.
fn hoist_below(shape: Shape) -> usize {
    if shape.weight_bytes() < LARGE_WEIGHTS { 6 } else { 48 }
}

/// Floating point operations that must fall to each thread before another one is woken.
const MIN_FLOPS_PER_THREAD: f64 = 2e6;

/// Floating point operations of a step that must fall to each thread before hidden units are shared, which costs a wait
/// after each step: where the batch has no row for each thread, and where it has. Measured with AVX-512 and two threads,
/// units against rows: at batch 1, 64 units gain 20 % and 48 lose 3 %; at batch 2, 128 units gain 36 % and 64 lose 12 %.
const MIN_FLOPS_PER_MEMBER: [f64; 2] = [16e3, 100e3];

/// Rows of the batch for each thread from which on rows are shared. Measured as above, units against rows: 49 % at
/// T,B,X,H = 100,3,128,128, 24 % at 100,4,256,256, 22 % at 100,5,128,128, nothing at 100,6,128,128 and 50,8,512,512.
pub(crate) const ROWS_PER_THREAD: usize = 3;

/// Most threads that share hidden units: each more is one more to wait for after every step.
const MAX_MEMBERS: usize = 64;

/// How a call of a given shape runs. The results have the same bits under any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The instruction set.
    pub isa: Isa,
    /// How W·x and R·h are arranged in time.
    pub schedule: Schedule,
    /// What threads share.
    pub split: Split,
    /// Threads that take part.
    pub threads: usize,
    /// Time steps whose input products are computed at once under [`Schedule::Hoisted`].
    pub block_steps: usize,
}

impl Plan {
    /// The plan for `steps` time steps of `batch` rows, with no more than `most` threads.
    pub(crate) fn new(
        config: &LstmConfig,
        isa: Isa,
        shape: Shape,
        [steps, batch]: [usize; 2],
        most: usize,
    ) -> Self {
        let (split, threads) = share(config, shape, [steps, batch], most);
        let rows_per_thread = if split == Split::Rows { batch.div_ceil(threads) } else { batch };
        let narrow = steps > 1 && rows_per_thread < hoist_below(shape);
        let chosen = if narrow { Schedule::Hoisted } else { Schedule::Fused };
        let block_steps =
            sums_bytes(shape) / size_of::<f32>() / shape.sums_width().saturating_mul(batch).max(1);
        Plan {
            isa,
            schedule: config.forced_schedule().unwrap_or(chosen),
            split,
            threads,
            block_steps: block_steps.max(1),
        }
    }

    /// The plan of a single step, all of whose rows the caller's thread runs.
    pub(crate) fn of_step(isa: Isa) -> Self {
        Plan { isa, schedule: Schedule::Fused, split: Split::Rows, threads: 1, block_steps: 1 }
    }

    /// Elements of scratch that any plan for up to `batch` rows may need.
    pub(crate) fn sums_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
        // The general cell keeps the sums of a step.
        let own_rows = if config.options().are_plain() { 0 } else { batch };
        let own = shape.sums_width().checked_mul(own_rows)?;
        let hoisted_rows = match (config.forced_schedule(), config.thread_choice()) {
            (Some(Schedule::Fused), _) => 0,
            // Only narrow pieces are hoisted; how many there are is known for one thread alone.
            (None, Threads::Serial) => batch.min(hoist_below(shape) - 1),
            _ => batch,
        };
        let one_step = shape.sums_width().checked_mul(hoisted_rows)?;
        let hoisted = if one_step == 0 { 0 } else { one_step.max(sums_bytes(shape) / size_of::<f32>()) };
        hoisted.checked_add(own)
    }

    /// Most threads that share hidden units.
    pub(crate) fn members(shape: Shape) -> usize {
        MAX_MEMBERS.min(shape.blocks())
    }
}

/// What threads share, and how many take part: no more than `most`.
fn share(config: &LstmConfig, shape: Shape, [steps, batch]: [usize; 2], most: usize) -> (Split, usize) {
    let flops_per_step = flops_per_step(shape, batch);
    let (threads, least_flops) = match config.thread_choice() {
        Threads::Serial => (1, 0.0),
        Threads::Exactly(threads) => (threads.get().min(most), 0.0),
        Threads::Auto => {
            let threads = useful_threads(flops_per_step * steps as f64, most);
            (threads, MIN_FLOPS_PER_MEMBER[usize::from(batch >= threads)])
        }
    };
    let rows = threads.min(batch).max(1);
    // A quotient of zero is infinite: then there is no least.
    let members = threads.min(Plan::members(shape)).min((flops_per_step / least_flops) as usize).max(1);
    let can_share_units = !config.options().need_whole_rows();
    let narrow = can_share_units && batch < ROWS_PER_THREAD * threads && members > 1 && members >= rows;
    match config.forced_split() {
        Some(Split::Units) => (Split::Units, members),
        None if narrow => (Split::Units, members),
        _ => (Split::Rows, rows),
    }
}

/// Floating point operations of a step of a layer.
pub(crate) fn flops_per_step(shape: Shape, batch: usize) -> f64 {
    8.0 * shape.units as f64 * (shape.inputs as f64 + shape.outputs as f64) * batch as f64
}

/// Threads of the current pool that pay for so many floating point operations: no more than `most`, at least one.
pub(crate) fn useful_threads(flops: f64, most: usize) -> usize {
    let useful = ((flops / MIN_FLOPS_PER_THREAD) as usize).min(most);
    if useful > 1 { useful.min(parallel::current_threads()) } else { 1 }
}
