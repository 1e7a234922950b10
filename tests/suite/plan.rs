//! What a call shares between two threads, where measurements are clear about it.

use quadgate::{Lstm, LstmConfig, LstmWeights, Split, Threads};
use std::num::NonZeroUsize;

/// The split and the threads of a plan in a pool of two threads.
fn plan([steps, batch, inputs, units]: [usize; 4], threads: Threads) -> (Split, usize) {
    let config = LstmConfig::new(inputs, units).threads(threads);
    let (weight_ih, weight_hh) = (vec![0.0; 4 * units * inputs], vec![0.0; 4 * units * units]);
    let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, None, None).unwrap();
    let lstm = Lstm::new(&config, &weights).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let plan = pool.install(|| lstm.plan(steps, batch));
    (plan.split, plan.threads)
}

#[test]
fn narrow_batches_large_weights_and_odd_rows_share_units() {
    for shape in [
        [100, 1, 160, 160],
        [100, 2, 320, 320],
        [100, 3, 128, 128],
        [50, 6, 320, 320],
        [20, 7, 400, 400],
        [20, 20, 512, 512],
        [10, 32, 1024, 1024],
    ] {
        assert_eq!(plan(shape, Threads::Auto), (Split::Units, 2), "{shape:?}");
    }
}

#[test]
fn wide_batches_of_small_weights_share_rows() {
    for shape in
        [[100, 2, 48, 48], [100, 8, 40, 100], [28, 32, 28, 50], [100, 16, 128, 128], [50, 200, 256, 256]]
    {
        assert_eq!(plan(shape, Threads::Auto), (Split::Rows, 2), "{shape:?}");
    }
}

#[test]
fn a_batch_of_one_with_few_units_keeps_to_one_thread_unless_two_are_demanded() {
    let shape = [100, 1, 40, 40];
    assert_eq!(plan(shape, Threads::Auto), (Split::Rows, 1));
    assert_eq!(plan(shape, Threads::Serial), (Split::Rows, 1));
    assert_eq!(plan(shape, Threads::Exactly(NonZeroUsize::new(2).unwrap())), (Split::Units, 2));
}

#[test]
fn without_rows_or_steps_there_is_a_plan() {
    for shape in [[0, 4, 8, 8], [5, 0, 8, 8], [0, 0, 0, 1]] {
        assert_eq!(plan(shape, Threads::Auto).1, 1, "{shape:?}");
    }
}
