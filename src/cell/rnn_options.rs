//! Steps of a plain recurrent layer with options: h̃ = φ(clip z), where z is the sum, or that normalized.

use crate::cell::kind::CellKind;
use crate::cell::options::{WithOptions, extras, recorded};
use crate::cell::options_backward::BackwardExtras;
use crate::cell::step::{BackwardStep, Step, StepExtras};
use crate::memory::views;
use quadgate_kernels::{ActivationFunction, Nonlinearity, RnnOptionsBackwardStep, RnnOptionsStep};

/// φ
fn function(layer: &WithOptions<'_>) -> ActivationFunction {
    match layer.shape.kind {
        CellKind::Rnn(Nonlinearity::Relu) => ActivationFunction::Relu,
        _ => layer.options.activations.candidate,
    }
}

/// One step of some groups of units and rows.
pub(crate) fn step(layer: &WithOptions<'_>, step: Step<'_, '_>) {
    let Step { groups, start, input, recurrent, mut hidden, tape, output, scratch, .. } = step;
    let StepExtras { masks, preactivations, .. } = extras(step.extras);
    let mut sums = recorded(tape, preactivations.as_mut());
    let before = recurrent.rows;
    let [scratch, _, masked] = layer.split_scratch(scratch, sums.rows());
    let vectors = recurrent.weights.layout().vectors_of(groups);
    let columns = vectors.start * layer.shape.lanes..vectors.end * layer.shape.lanes;
    let terms = [input, Some(layer.masked(recurrent, masks.recurrent, masked))];
    layer.product(start, terms, vectors, sums.all(), scratch);
    layer.kernels.rnn_options_step(RnnOptionsStep {
        options: layer.gates(&columns),
        gate: 0,
        function: function(layer),
        sums: sums.read(),
        hidden: hidden.all(),
    });
    layer.finish(masks, columns, before, None, hidden, output);
}

/// The backward pass of one step of some units and rows.
pub(crate) fn step_backward(
    layer: &WithOptions<'_>,
    step: BackwardStep<'_>,
    mut extras: BackwardExtras<'_, '_>,
) {
    let BackwardStep { vectors, recurrent, cotangent, recorded: sums, gate_gradients, scratch, .. } = step;
    let columns = vectors.start * layer.shape.lanes..vectors.end * layer.shape.lanes;
    layer.hidden_gradient(columns.clone(), recurrent, cotangent, &mut extras, scratch);
    let BackwardExtras { rows, slot, .. } = extras;
    layer.kernels.rnn_options_backward_step(RnnOptionsBackwardStep {
        options: layer.gates(&columns),
        gate: 0,
        function: function(layer),
        sums,
        hidden_gradient: views::read_slot(&rows.hidden, 0),
        gate_gradients,
        normalization_terms: rows.normalization_terms.step(slot),
    });
}
