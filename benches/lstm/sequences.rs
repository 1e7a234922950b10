//! What the groups over whole sequences share: each shape with every setting of threads.

use crate::baseline::Baselines;
use crate::layer;
use crate::run::{Case, Run, Work};
use crate::runner::Runner;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::reference::NaiveLstm;
use quadgate::{Lstm, LstmConfig, Plan};

/// What such a group does with a sequence.
pub(crate) trait Pass {
    /// Adds to the configuration of the layer what the calls need.
    fn configure(config: LstmConfig) -> LstmConfig;

    /// The work of a call.
    fn work(shape: Shape, plan: Plan) -> Work;

    /// Makes all buffers and returns the call that is timed.
    fn call(lstm: &Lstm, shape: Shape) -> impl FnMut() + Send;

    /// Measures what the calls are compared with.
    fn baselines(shape: Shape, naive: &NaiveLstm<f32>) -> Baselines;
}

/// The group of a pass.
pub(crate) fn run<P: Pass>(group: &mut Group<'_>, settings: &Settings) {
    for &shape in &settings.shapes {
        if group.skips(&shape.to_string()) {
            continue;
        }
        let naive = layer::naive(shape);
        let mut threads_seen = Vec::new();
        let mut runs = Vec::new();
        for runner in &settings.runners {
            runs.extend(measure::<P>(group, shape, &naive, runner, &mut threads_seen));
        }
        if !runs.is_empty() {
            let baselines = P::baselines(shape, &naive);
            for run in &mut runs {
                baselines.add_to(run);
            }
            group.keep(runs);
        }
    }
}

/// Measures one setting of threads, unless its plan uses as many threads as one before.
fn measure<P: Pass>(
    group: &mut Group<'_>,
    shape: Shape,
    naive: &NaiveLstm<f32>,
    runner: &Runner,
    threads_seen: &mut Vec<usize>,
) -> Option<Run> {
    let lstm = layer::lstm(naive, &P::configure(layer::config(shape, runner.threads())));
    let plan = runner.install(|| lstm.plan(shape.t, shape.b));
    if threads_seen.contains(&plan.threads) {
        return None;
    }
    threads_seen.push(plan.threads);
    let case = Case {
        name: shape.to_string(),
        isa: plan.isa,
        requested_threads: runner.requested(),
        threads: plan.threads,
        schedule: Some(plan.schedule),
        split: (plan.threads > 1).then_some(plan.split),
        shape,
        work: P::work(shape, plan),
    };
    group.measure(case, Some(runner), P::call(&lstm, shape))
}
