//! How a call will run, decided from its shape before anything is computed.

use crate::config::{LstmConfig, Schedule, Threads};
use crate::pack::Shape;
use crate::{Isa, parallel};

/// Bytes of hoisted sums per call: small enough to share L2 with the weights of a narrow layer.
const SUMS_BYTES: usize = 256 << 10;

/// Batch rows below which hoisting pays.
const HOIST_BELOW: usize = 6;

/// Floating point operations that must fall to each thread before another one is woken.
const MIN_FLOPS_PER_THREAD: f64 = 2e6;

/// How a call of a given shape runs. The results have the same bits under any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The instruction set.
    pub isa: Isa,
    /// How W·x and R·h are arranged in time.
    pub schedule: Schedule,
    /// Pieces into which the batch is cut; each is run by one thread.
    pub threads: usize,
    /// Time steps whose input products are computed at once under [`Schedule::Hoisted`].
    pub block_steps: usize,
}

impl Plan {
    /// The plan for `steps` time steps of `batch` rows.
    pub(crate) fn new(config: &LstmConfig, isa: Isa, shape: Shape, steps: usize, batch: usize) -> Self {
        let threads = match config.thread_choice() {
            Threads::Serial => 1,
            Threads::Exactly(threads) => threads.get().min(batch.max(1)),
            Threads::Auto => {
                let flops_per_row = 8.0 * shape.units as f64 * (shape.units + shape.inputs) as f64;
                let flops = flops_per_row * steps as f64 * batch as f64;
                let useful = (flops / MIN_FLOPS_PER_THREAD).min(batch as f64) as usize;
                if useful > 1 { useful.min(parallel::current_threads()) } else { 1 }
            }
        };
        let rows_per_thread = batch.div_ceil(threads);
        let narrow = steps > 1 && rows_per_thread < HOIST_BELOW;
        let chosen = if narrow { Schedule::Hoisted } else { Schedule::Fused };
        let block_steps = SUMS_BYTES / size_of::<f32>() / shape.sums_width().saturating_mul(batch).max(1);
        Plan {
            isa,
            schedule: config.forced_schedule().unwrap_or(chosen),
            threads,
            block_steps: block_steps.max(1),
        }
    }

    /// Elements of scratch that any plan for up to `batch` rows may need.
    pub(crate) fn sums_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
        let hoisted_rows = match (config.forced_schedule(), config.thread_choice()) {
            (Some(Schedule::Fused), _) => return Some(0),
            // Only narrow pieces are hoisted; how many there are is known for one thread alone.
            (None, Threads::Serial) => batch.min(HOIST_BELOW - 1),
            _ => batch,
        };
        let one_step = shape.sums_width().checked_mul(hoisted_rows)?;
        Some(if one_step == 0 { 0 } else { one_step.max(SUMS_BYTES / size_of::<f32>()) })
    }
}
