//! How a call will run, decided from its shape before anything is computed.

use crate::config::{LstmConfig, Schedule, Split, Threads};
use crate::parallel;
use crate::shape::Shape;
use quadgate_kernels::Isa;

/// Bytes of weights from which a step finds them in memory rather than in a cache: half of the last cache. And no more
/// than this, since others use that cache too.
const MOST_OF_LAST_CACHE: usize = 16 << 20;

fn large_weights(shape: Shape) -> usize {
    MOST_OF_LAST_CACHE.min(shape.caches.last / 2)
}

/// Bytes of hoisted sums per call: a quarter of the second cache, which they share with the weights of a narrow layer;
/// for large weights so many that these are read for all steps at once (at 25,16,1024,1024 with AVX-512 at one thread:
/// 230 GFLOP/s for 16 MiB, 209 for 4 MiB, 174 for 256 KiB).
fn sums_bytes(shape: Shape) -> usize {
    if shape.weight_bytes() < large_weights(shape) { shape.caches.second / 4 } else { 16 << 20 }
}

/// Batch rows below which hoisting pays: few rows wait for the weights, in a cache or in memory.
fn hoist_below(shape: Shape) -> usize {
    if shape.weight_bytes() < large_weights(shape) { 6 } else { 48 }
}

/// Bytes of given sums that are copied before the steps which start from them: few enough to stay in the first cache.
const GIVEN_BYTES: usize = 16 << 10;

/// Floating point operations that must fall to each thread before another one is woken.
///
/// Measured with AVX-512 and two threads on an Emerald Rapids, X = H, in calls one after the other, the time of two
/// threads as a part of that of one: 0.65 of 20 steps of two rows of 48 units (1.5 million operations), 0.72 of six of
/// 32 (2.0), 0.80 of eight of 32 (2.6). In calls 0.3 ms apart, for which a thread that sleeps must be woken: mostly 0.8
/// to 1.15, up to 20 million operations.
const MIN_FLOPS_PER_THREAD: f64 = 7e5;

/// What a step loses where a thread has r rows, times r, as a part of its products: few rows are tiles that ask the
/// caches for more weights, and two threads with rows of their own both read all weights. For weights that leave room
/// in the second cache of a core, for those of less than [`large_weights`], and for more. This and the next two are
/// fitted to what [`StepCost`] lists.
const LOSS_OF_FEW_ROWS: [f64; 3] = [0.3, 0.5, 5.0];

/// What reading h costs members of a team, for each other member, times X + H, as a part of their products: what
/// another core has written must come from there.
const LOSS_OF_FOREIGN_STATES: f64 = 10.0;

/// What the wait after a step costs the members of a team, in floating point operations of one thread: of two members,
/// and what each further one adds. Where cores are close to each other, and where they are far apart: there the latter
/// is assumed.
const WAIT_FLOPS: [[f64; 2]; 2] = [[24e3, 6e3], [110e3, 27e3]];

/// The same of a step in two halves: what members read after the first wait, another core has just written. Measured at
/// batch 1 where cores are far apart, in percent of the time of one thread: 256 units take 20 more, 320 between 25 more
/// and 20 less, 384 between 10 more and 40 less, 512 70 less; two rows of 256 units 20 less.
const WAITS_OF_HALVES: f64 = 5.0;

/// Bytes of the last cache from which it is one of many cores, which are far apart: a line goes from one to another and
/// back within 0.4 µs on an Emerald Rapids.
const LAST_CACHE_OF_MANY: usize = 64 << 20;

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

    /// The same for a call that gives the sums of W·x: they are hoisted.
    pub(crate) fn of_given_sums(
        config: &LstmConfig,
        isa: Isa,
        shape: Shape,
        [steps, batch]: [usize; 2],
        most: usize,
    ) -> Self {
        let plan = Self::new(config, isa, shape.without_inputs(), [steps, batch], most);
        let row_bytes = shape.sums_width().saturating_mul(size_of::<f32>());
        let block_steps = (GIVEN_BYTES / row_bytes.saturating_mul(batch).max(1)).max(1);
        Plan { schedule: Schedule::Hoisted, block_steps, ..plan }
    }

    /// Elements of scratch that any plan for up to `batch` rows may need.
    pub(crate) fn sums_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
        // What some cells record of a step, though there is no tape.
        let own_rows = if config.cell_has_extras() || shape.has_halves() { batch } else { 0 };
        let own = shape.sums_width().checked_mul(own_rows)?;
        let hoisted_rows = match (config.forced_schedule(), config.thread_choice()) {
            (Some(Schedule::Fused), _) => 0,
            // Only narrow pieces are hoisted; how many there are is known for one thread alone.
            (None, Threads::Serial) => batch.min(hoist_below(shape) - 1),
            _ => batch,
        };
        let one_step = shape.sums_width().checked_mul(hoisted_rows)?;
        let hoisted = if one_step == 0 { 0 } else { one_step.max(sums_bytes(shape) / size_of::<f32>()) };
        let given = match shape.sums_width().checked_mul(batch)? {
            0 => 0,
            step => step.max(GIVEN_BYTES / size_of::<f32>()),
        };
        hoisted.max(given).checked_add(own)
    }

    /// Most threads that share hidden units.
    pub(crate) fn members(shape: Shape) -> usize {
        MAX_MEMBERS.min(shape.blocks())
    }

    /// The same for a layer of this configuration.
    pub(crate) fn members_of(config: &LstmConfig, shape: Shape) -> usize {
        let threads = match config.thread_choice() {
            Threads::Serial => 1,
            Threads::Exactly(threads) => threads.get(),
            Threads::Auto => MAX_MEMBERS,
        };
        if config.needs_whole_rows() { 1 } else { threads.min(Self::members(shape)) }
    }
}

/// What threads share, and how many take part: no more than `most`.
fn share(config: &LstmConfig, shape: Shape, [steps, batch]: [usize; 2], most: usize) -> (Split, usize) {
    let flops = flops_per_step(shape, batch);
    let threads = match config.thread_choice() {
        Threads::Serial => 1,
        Threads::Exactly(threads) => threads.get().min(most),
        Threads::Auto => useful_threads(flops * steps as f64, most),
    };
    let cost = StepCost { shape, batch, flops };
    let rows = threads.min(batch).max(1);
    let most_members = threads.min(Plan::members_of(config, shape));
    // Who demands a number of threads gets it.
    let is_demanded = config.thread_choice() != Threads::Auto;
    let least = if is_demanded { most_members } else { 1 };
    let members =
        (least..=most_members).min_by(|&a, &b| cost.of_units(a).total_cmp(&cost.of_units(b))).unwrap_or(1);
    let units_are_better = match config.forced_split() {
        Some(split) => split == Split::Units,
        None if members == 1 => false,
        None if is_demanded && members != rows => members > rows,
        None => cost.of_units(members) < cost.of_rows(rows),
    };
    if units_are_better { (Split::Units, members) } else { (Split::Rows, rows) }
}

/// What a step of F operations costs.
///
/// ```text
/// rows over n threads:   F · r/B · (1 + loss/r)                          B rows, r = ⌈B/n⌉
/// units over n members:  F · u/U · (1 + (n − 1) · loss/(X + H)) + waits   U blocks of units, u = ⌈U/n⌉
/// ```
///
/// Measured with AVX-512 and two threads, units against rows, in percent of time. At batch 1: 48 units lose 3, 64 gain
/// 20; at batch 2: 64 lose 12, 128 gain 36. Of 128 units: 49 at batch 3, 22 at batch 5, 4 at batch 6, −4 at batch 12.
/// At batch 6, 12 and 32: 9, 5 and 4 of 320 units, 33, 2 and 3 of 512, 138, 87 and 25 of 1024. At batch 7: 15 to 23 of
/// 240 to 400 units. Where 272 units are 9 and 8 blocks: 2 at batch 8, −4 at batch 32.
///
/// Where cores are far apart (an Emerald Rapids), units over two threads against one thread, in percent of time: 64
/// units lose 55, 80 lose 25 to 50, 96 lose 6 to 15, 112 nothing to 25; 128 gain 7 to 20, 160 13 to 35, 256 30 to 45.
/// Against rows, at batch 2: 64 lose 38, 128 10; 160 gain 5, 256 23. At batch 4: 64 lose 33, 128 18, 160 12; 224 gain
/// 15.
#[derive(Clone, Copy)]
struct StepCost {
    shape: Shape,
    batch: usize,
    flops: f64,
}

impl StepCost {
    /// Rows over threads, in floating point operations of one.
    fn of_rows(self, threads: usize) -> f64 {
        let weights = self.shape.weight_bytes();
        let size = usize::from(weights >= self.shape.caches.second)
            + usize::from(weights >= large_weights(self.shape));
        let rows = self.batch.div_ceil(threads).max(1) as f64;
        self.flops * largest_share(self.batch, threads) * (1.0 + LOSS_OF_FEW_ROWS[size] / rows)
    }

    /// Units over members, in floating point operations of one thread.
    fn of_units(self, members: usize) -> f64 {
        let others = members as f64 - 1.0;
        let width = self.shape.inputs as f64 + self.shape.outputs as f64;
        let foreign = 1.0 + others * LOSS_OF_FOREIGN_STATES / width;
        let [first, further] = WAIT_FLOPS[usize::from(self.shape.caches.last >= LAST_CACHE_OF_MANY)];
        let wait = if members > 1 { first + further * (others - 1.0) } else { 0.0 };
        let waits = if self.shape.has_halves() { WAITS_OF_HALVES } else { 1.0 };
        self.flops * largest_share(self.shape.blocks(), members) * foreign + waits * wait
    }
}

/// What falls to one of several threads, as a part of all items.
fn largest_share(items: usize, threads: usize) -> f64 {
    items.div_ceil(threads) as f64 / items.max(1) as f64
}

/// Floating point operations of a step of a layer.
pub(crate) fn flops_per_step(shape: Shape, batch: usize) -> f64 {
    2.0 * shape.gates() as f64
        * shape.units as f64
        * (shape.inputs as f64 + shape.outputs as f64)
        * batch as f64
}

/// Threads of the current pool that pay for so many floating point operations: no more than `most`, at least one.
pub(crate) fn useful_threads(flops: f64, most: usize) -> usize {
    let useful = ((flops / MIN_FLOPS_PER_THREAD) as usize).min(most);
    if useful > 1 { useful.min(parallel::current_threads()) } else { 1 }
}

/// Rows (steps times batch) of a block: enough to make the weight gradients' reading and writing of their totals cheap
/// beside the products, few enough for dZ to stay in cache. Totals that are larger than the second cache want more.
///
/// The sums depend on it, so it may depend on the shape alone. Measured with AVX-512 in a training step at one thread,
/// in GFLOP/s for 512 and 1024 rows: 246 and 251 at T,B,X,H = 20,128,1024,1024; with differences below 1 % between 256,
/// 512 and 1024 at 100,16,128,128 and 100,32,256,256, where fewer rows take less memory.
fn block_rows(shape: Shape) -> usize {
    const LARGE: usize = 1 << 20;
    let weights = shape.inputs.saturating_add(shape.outputs).saturating_mul(shape.gates() * shape.units);
    if weights < LARGE { 256 } else { 1024 }
}

/// Most rows of a block of up to `batch` rows a step: a block is cut after whole steps. `None` if that overflows.
pub(crate) fn max_block_rows(shape: Shape, batch: usize) -> Option<usize> {
    block_rows(shape).checked_add(batch)
}

/// Whether weight gradients move the columns of dZ that they read together, of a block of so many rows. A tile reads
/// some columns of all rows, and of large blocks each of them would be on a page, and soon in a cache, of its own: from
/// three eighths of the second cache on.
///
/// Measured with AVX-512 at one thread on an Emerald Rapids with a second cache of 2 MiB, in percent of the
/// multiply-add peak of the weight gradients, without and with: 80 and 78 at T,B,X,H = 100,16,128,128 (0.6 MB of dZ),
/// 77 and 82 at 100,32,192,192 (0.8), 78 and 84 at 100,32,256,256, 52 and 80 at 50,64,512,512, 64 and 73 at
/// 20,128,1024,1024.
pub(crate) fn gathers_columns(shape: Shape, rows: usize) -> bool {
    let large = shape.caches.second / 8 * 3;
    shape.gate_gradients_width().saturating_mul(rows) >= large / size_of::<f32>()
}

/// Steps in a block.
pub(crate) fn block_steps(shape: Shape, batch: usize) -> usize {
    block_rows(shape).div_ceil(batch.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::kind::{CellKind, ResetGate};
    use quadgate_kernels::Caches;
    use std::num::NonZeroUsize;

    /// Of an old laptop, a Zen 2, a Zen 5 and an Emerald Rapids.
    const CACHES: [Caches; 4] = [
        Caches { second: 256 << 10, last: 4 << 20 },
        Caches { second: 512 << 10, last: 16 << 20 },
        Caches::USUAL,
        Caches { second: 2 << 20, last: 260 << 20 },
    ];

    fn shape(inputs: usize, units: usize) -> Shape {
        Shape {
            inputs,
            units,
            outputs: units,
            lanes: 16,
            caches: Caches::USUAL,
            kind: CellKind::Lstm,
            has_options: false,
        }
    }

    fn plan(config: &LstmConfig, steps: usize, batch: usize) -> Plan {
        let shape = shape(config.input_size(), config.hidden_size());
        Plan::new(config, Isa::Portable, shape, [steps, batch], usize::MAX)
    }

    fn exactly(threads: usize) -> Threads {
        Threads::Exactly(NonZeroUsize::new(threads).unwrap())
    }

    #[test]
    fn few_rows_a_thread_are_hoisted_but_not_a_single_step() {
        let config = LstmConfig::new(64, 64).threads(Threads::Serial);
        assert_eq!(plan(&config, 10, 5).schedule, Schedule::Hoisted);
        assert_eq!(plan(&config, 10, 6).schedule, Schedule::Fused);
        assert_eq!(plan(&config, 1, 1).schedule, Schedule::Fused);
    }

    #[test]
    fn large_weights_are_hoisted_up_to_many_rows() {
        let config = LstmConfig::new(1024, 1024).threads(Threads::Serial);
        assert_eq!(plan(&config, 10, 47).schedule, Schedule::Hoisted);
        assert_eq!(plan(&config, 10, 48).schedule, Schedule::Fused);
    }

    #[test]
    fn what_is_demanded_is_done() {
        let config = LstmConfig::new(64, 64);
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            assert_eq!(plan(&config.clone().schedule(schedule), 10, 64).schedule, schedule);
        }
        assert_eq!(plan(&config.clone().threads(Threads::Serial), 1000, 1000).threads, 1);
        let rows = plan(&config.clone().threads(exactly(3)).split(Split::Rows), 10, 64);
        assert_eq!((rows.split, rows.threads), (Split::Rows, 3));
        let units = plan(&config.threads(exactly(3)).split(Split::Units), 10, 64);
        assert_eq!((units.split, units.threads), (Split::Units, 3));
    }

    #[test]
    fn no_thread_is_without_a_row_or_a_block_of_units() {
        let config = LstmConfig::new(8, 40);
        assert_eq!(plan(&config.clone().threads(exactly(9)).split(Split::Rows), 10, 4).threads, 4);
        assert_eq!(plan(&config.threads(exactly(9)).split(Split::Units), 10, 4).threads, 3);
    }

    #[test]
    fn one_row_of_many_units_is_shared_by_units_and_many_rows_of_few_units_by_rows() {
        let of = |units, batch| plan(&LstmConfig::new(units, units).threads(exactly(2)), 100, batch).split;
        assert_eq!([of(512, 1), of(16, 64)], [Split::Units, Split::Rows]);
    }

    #[test]
    fn fewer_units_are_shared_where_cores_are_close_to_each_other() {
        // One row of so many units, over all of two threads.
        let shares = |units: usize| {
            CACHES.map(|caches| {
                let cost = StepCost { shape: Shape { caches, ..shape(units, units) }, batch: 1, flops: 0.0 };
                let cost = StepCost { flops: flops_per_step(cost.shape, 1), ..cost };
                cost.of_units(2) < cost.of_units(1)
            })
        };
        assert_eq!(shares(48), [false; 4]);
        assert_eq!(shares(96), [true, true, true, false]);
        assert_eq!(shares(160), [true; 4]);
    }

    #[test]
    fn steps_in_halves_are_shared_from_more_units_on() {
        let shares = |units, kind| {
            let shape = Shape { kind, caches: CACHES[3], ..shape(units, units) };
            let cost = StepCost { shape, batch: 1, flops: flops_per_step(shape, 1) };
            cost.of_units(2) < cost.of_units(1)
        };
        let [after, before] = [ResetGate::AfterProduct, ResetGate::BeforeProduct].map(CellKind::Gru);
        assert_eq!([160, 256, 512].map(|units| shares(units, after)), [true, true, true]);
        assert_eq!([160, 256, 512].map(|units| shares(units, before)), [false, false, true]);
    }

    #[test]
    fn memory_has_room_for_every_plan_of_its_batch_or_a_smaller_one() {
        for (inputs, units) in [(3, 5), (64, 64), (40, 100), (1024, 1024)] {
            for (threads, caches) in
                [Threads::Serial, Threads::Auto, exactly(3)].into_iter().flat_map(|t| CACHES.map(|c| (t, c)))
            {
                let config = LstmConfig::new(inputs, units).threads(threads);
                let shape = Shape { caches, ..shape(inputs, units) };
                for most in [1, 7, 50] {
                    let room = Plan::sums_len(&config, shape, most).unwrap();
                    for batch in 1..=most {
                        let plan = Plan::new(&config, Isa::Portable, shape, [100, batch], usize::MAX);
                        let is_hoisted = plan.schedule == Schedule::Hoisted;
                        let steps = if is_hoisted { plan.block_steps } else { 0 };
                        assert!(steps * batch * shape.sums_width() <= room, "{config:?}, {most}, {plan:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn hoisted_sums_of_a_narrow_layer_take_a_quarter_of_the_second_cache() {
        let config = LstmConfig::new(64, 64).threads(Threads::Serial);
        for caches in CACHES {
            let shape = Shape { caches, ..shape(64, 64) };
            let plan = Plan::new(&config, Isa::Portable, shape, [1000, 1], 1);
            let bytes = plan.block_steps * shape.sums_width() * size_of::<f32>();
            assert_eq!((plan.schedule, bytes), (Schedule::Hoisted, caches.second / 4));
        }
    }

    #[test]
    fn weights_that_do_not_stay_in_the_last_cache_are_hoisted_up_to_many_rows() {
        // 2 MiB and 32 MiB of weights.
        let schedules = |units: usize| {
            CACHES.map(|caches| {
                let config = LstmConfig::new(units, units).threads(Threads::Serial);
                let shape = Shape { caches, ..shape(units, units) };
                Plan::new(&config, Isa::Portable, shape, [10, 20], 1).schedule
            })
        };
        let [hoisted, fused] = [Schedule::Hoisted, Schedule::Fused];
        assert_eq!(schedules(256), [hoisted, fused, fused, fused]);
        assert_eq!(schedules(1024), [hoisted; 4]);
    }

    #[test]
    fn columns_of_a_block_are_moved_together_from_three_eighths_of_the_second_cache_on() {
        // 256 rows of 100 units: 400 KiB of dZ.
        let gathers = CACHES.map(|caches| gathers_columns(Shape { caches, ..shape(100, 100) }, 256));
        assert_eq!(gathers, [true, true, true, false]);
    }

    #[test]
    fn a_block_of_the_backward_pass_ends_with_a_step_and_is_long_enough() {
        for (inputs, units, rows) in [(64, 64, 256), (1024, 1024, 1024)] {
            let shape = shape(inputs, units);
            for batch in [1, 3, 64, 300, 5000] {
                let rows_of_block = block_steps(shape, batch) * batch;
                assert!(rows_of_block >= rows && rows_of_block <= max_block_rows(shape, batch).unwrap());
            }
        }
    }
}
