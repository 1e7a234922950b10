//! A turn: calls that are timed until it is over. The workers of `benches/peers` time theirs with this file too.

use std::time::{Duration, Instant};

/// As many times as a quartile should be taken of.
const SOME: usize = 8;

/// What a turn found, in nanoseconds of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// How many times were taken.
    pub(crate) times: usize,
    /// How many calls there were, with those to get warm.
    pub(crate) all_calls: usize,
    /// The least time.
    pub(crate) min: f64,
    /// A quarter of them is below.
    pub(crate) quartile: f64,
    /// Half of them is below.
    pub(crate) median: f64,
    /// One in a hundred is above.
    pub(crate) p99: f64,
}

impl Turn {
    /// Times `call` until `duration` is over, after a tenth of it to get warm; longer, until there are some times or
    /// `patience` is over. Each time is that of as many calls as take `least`; where that is zero, of a single call.
    /// `before` runs before each time and is no part of it.
    pub(crate) fn take(
        mut call: impl FnMut(),
        mut before: impl FnMut(),
        [duration, patience, least]: [Duration; 3],
    ) -> Self {
        let start = Instant::now();
        let mut calls = 0u32;
        while calls == 0 || start.elapsed() < duration / 10 {
            call();
            calls += 1;
        }
        let of_one = start.elapsed() / calls;
        let batch = least.as_nanos().div_ceil(of_one.as_nanos().max(1)).max(1) as usize;
        let mut nanoseconds = Vec::new();
        let start = Instant::now();
        loop {
            let end = if nanoseconds.len() < SOME { patience } else { duration };
            if !nanoseconds.is_empty() && start.elapsed() >= end {
                break;
            }
            before();
            let start = Instant::now();
            for _ in 0..batch {
                call();
            }
            nanoseconds.push(start.elapsed().as_nanos() as f64 / batch as f64);
        }
        nanoseconds.sort_unstable_by(f64::total_cmp);
        let times = nanoseconds.len();
        let all_calls = calls as usize + times * batch;
        let [min, quartile, median, p99] =
            [0, times / 4, times / 2, times * 99 / 100].map(|index| nanoseconds[index]);
        Self { times, all_calls, min, quartile, median, p99 }
    }

    /// The turn as a line of JSON.
    pub(crate) fn to_json(self) -> String {
        let Self { times, all_calls, min, quartile, median, p99 } = self;
        format!(
            "{{\"calls\": {times}, \"all_calls\": {all_calls}, \"min_ns\": {min:.2}, \"quartile_ns\": {quartile:.2}, \"median_ns\": {median:.2}, \
             \"p99_ns\": {p99:.2}}}"
        )
    }
}
