//! A benchmark and what was measured of it: what groups describe, the suite measures and the report takes.

use crate::roofline::Roofline;
use crate::samples::Times;
use crate::shapes::Shape;
use quadgate::{Isa, Lstm, Schedule, Split};
use serde::Serialize;

/// A benchmark, apart from the code that it runs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Second part of the id, after the group: the shape or what else tells the cases of the group apart.
    pub(crate) name: String,
    /// Third part of the id, and the peak that the case is held against.
    pub(crate) isa: Isa,
    /// Last part of the id: threads at disposal.
    pub(crate) requested_threads: usize,
    /// Threads that the call uses.
    pub(crate) threads: usize,
    /// The schedule, where there is one.
    pub(crate) schedule: Option<Schedule>,
    /// What threads share, where there are several.
    pub(crate) split: Option<Split>,
    /// The shape of a call.
    pub(crate) shape: Shape,
    /// What a call computes.
    pub(crate) work: Work,
}

/// What one call computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Products of matrices.
    Products {
        /// Floating point operations.
        flops: f64,
        /// The least time that they could take.
        roofline: Roofline,
        /// Bytes of weights that are streamed through the caches.
        weight_bytes: f64,
    },
    /// Function values.
    Elements(u64),
    /// Weights to be laid out.
    Weights {
        /// Bytes that are written.
        bytes: u64,
    },
}

/// A benchmark that has been measured.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) group: &'static str,
    pub(crate) id: String,
    pub(crate) case: Case,
    pub(crate) times: Times,
    /// The FMA rate right before and after, whichever is better: it tells whether the clock was low.
    pub(crate) fma_around: f64,
    /// Operations per second of the naive oracle on the same work.
    pub(crate) oracle: Option<f64>,
    /// Operations per second of the same products alone with another library.
    pub(crate) gemm: Option<f64>,
    /// How many times as fast as the saved baseline it is.
    pub(crate) baseline: Option<f64>,
    /// Group and name of the case whose time this one's is given in multiples of.
    pub(crate) beside: Option<String>,
    /// What only this group reports.
    pub(crate) extra: Option<Extra>,
}

/// What only one group reports.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Extra {
    /// Percentiles of single calls, each timed by itself.
    Latency {
        /// Half of the calls are faster.
        p50_ns: f64,
        /// One in a hundred is slower.
        p99_ns: f64,
    },
    /// A function over a slice.
    Elements {
        /// Its name.
        function: &'static str,
        /// Elements of the slice.
        elements: usize,
        /// 10⁹ elements per second.
        gelements_per_s: f64,
    },
}

impl Run {
    /// Gives the time in multiples of that of the case of this group and name, on as many threads.
    pub(crate) fn beside(self, case: String) -> Self {
        Self { beside: Some(case), ..self }
    }

    /// Whether it is of a case of this group and name, with the instruction set and threads of `other`.
    pub(crate) fn is_beside(&self, other: &Run) -> bool {
        other.beside.as_ref() == Some(&format!("{}/{}", self.group, self.case.name))
            && self.case.isa == other.case.isa
            && self.case.requested_threads == other.case.requested_threads
    }
}

impl Case {
    /// A call over whole sequences on the caller's thread.
    pub(crate) fn serial(name: String, lstm: &Lstm, shape: Shape, work: Work) -> Self {
        let plan = lstm.plan(shape.t, shape.b);
        Self {
            name,
            isa: plan.isa,
            requested_threads: 1,
            threads: plan.threads,
            schedule: Some(plan.schedule),
            split: None,
            shape,
            work,
        }
    }
}
