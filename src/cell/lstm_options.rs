//! Steps of an LSTM with options.
//!
//! ```text
//! c′, exposed = general cell of sums and c
//! h̃ = clip(V·exposed + v), or exposed without a projection
//! ```

use crate::cell::options::{WithOptions, extras};
use crate::cell::options_backward::BackwardExtras;
use crate::cell::step::{BackwardStep, Step, StepExtras, StepMasks};
use crate::memory::views;
use quadgate_kernels::{
    LstmOptions, LstmOptionsBackwardStep, LstmOptionsStep, Product, RowsMut, Start, Tape, Term,
};
use std::ops::Range;

/// What the cell needs to know of the units of some columns.
fn family<'s>(cell: &WithOptions<'s>, columns: &Range<usize>, masks: &StepMasks<'s>) -> LstmOptions<'s> {
    LstmOptions {
        units: cell.shape.units.min(columns.end) - columns.start,
        options: cell.options.of_cell(),
        peepholes: cell.tensors.peepholes().map(|peepholes| peepholes.columns(columns.clone())),
        normalization: cell.normalization(),
        cell_share: masks.cell_keep.map(|share| share.columns(columns.clone())),
    }
}

/// One step of some groups of units and rows.
pub(crate) fn step(layer: &WithOptions<'_>, step: Step<'_, '_>) {
    let Step { groups, order, start, input, recurrent, mut hidden, cell, tape, mut output, scratch, .. } =
        step;
    let StepExtras { masks, preactivations, projected } = extras(step.extras);
    let projected = projected.as_mut().map(RowsMut::all);
    let (shape, rows, before) = (layer.shape, hidden.rows(), recurrent.rows);
    let columns = groups.start * shape.lanes..groups.end * shape.lanes;
    let [scratch, exposed, masked] = layer.split_scratch(scratch, rows);
    let recurrent = layer.masked(recurrent, masks.recurrent, masked);
    let (recorded, previous_cell) = match tape {
        Some(Tape { previous_cell, gates }) => (Some(gates), Some(previous_cell)),
        None => (preactivations.take().filter(|_| layer.options.normalization.is_some()), None),
    };
    let padded = shape.padded_units();
    let is_finished = layer.leaves_hidden(masks);
    layer.kernels.lstm_options_step(LstmOptionsStep {
        family: family(layer, &columns, masks),
        start,
        terms: if input.is_some() { [input, Some(recurrent)] } else { [Some(recurrent), None] },
        panels: groups,
        order,
        recorded,
        previous_cell,
        cell,
        exposed: match layer.options.projection {
            Some(_) => views::rows_mut(&mut *exposed, rows, padded),
            None => hidden.all(),
        },
        output: if is_finished { output.take() } else { None },
        scratch: &mut *scratch,
    });
    if is_finished {
        return;
    }
    if let Some(weights) = layer.tensors.projection() {
        let exposed = views::rows(exposed, rows, padded).columns(0..shape.units);
        layer.kernels.product(Product {
            start: Start::Bias(layer.tensors.projection_bias()),
            terms: [Some(Term { rows: exposed, weights, from: 0 }), None],
            vectors: 0..weights.layout().vectors(),
            to: hidden.all(),
            scratch,
        });
    }
    layer.finish(masks, columns, before, projected, hidden, output);
}

/// The backward pass of one step of some units and rows.
pub(crate) fn step_backward(
    layer: &WithOptions<'_>,
    step: BackwardStep<'_>,
    mut extras: BackwardExtras<'_, '_>,
) {
    let BackwardStep { vectors, recurrent, cotangent, recorded, previous_cell, .. } = step;
    let BackwardStep { cell_gradient, gate_gradients, scratch, .. } = step;
    let shape = layer.shape;
    let columns = vectors.start * shape.lanes..vectors.end * shape.lanes;
    // A projection is of whole rows.
    let outputs =
        if layer.options.projection.is_some() { 0..shape.padded_outputs() } else { columns.clone() };
    let masks = extras.masks;
    layer.hidden_gradient(outputs, recurrent, cotangent, &mut extras, &mut *scratch);
    let BackwardExtras { rows, slot, .. } = extras;
    let mut hidden = views::slot(&mut rows.hidden, 0);
    let exposed_gradient = match layer.tensors.transposed_projection() {
        None => hidden,
        Some(weights) => {
            let mut gradient = views::slot(&mut rows.projection, slot);
            for row in 0..gradient.rows() {
                gradient.row_mut(row).copy_from_slice(&hidden.row_mut(row)[..shape.outputs]);
            }
            let mut exposed_gradient = views::slot(&mut rows.exposed_gradient, 0);
            layer.kernels.product(Product {
                start: Start::Zero,
                terms: [Some(Term { rows: gradient.read(), weights, from: 0 }), None],
                vectors: 0..weights.layout().vectors(),
                to: exposed_gradient.all(),
                scratch,
            });
            exposed_gradient
        }
    };
    layer.kernels.lstm_options_backward_step(LstmOptionsBackwardStep {
        family: family(layer, &columns, &masks),
        recorded,
        previous_cell,
        cell_gradient,
        exposed_gradient,
        gate_gradients,
        exposed: rows.exposed.step(slot),
        peephole_terms: rows.peephole_terms.step(slot),
        normalization_terms: rows.normalization_terms.step(slot),
    });
}
