//! Steps of gated recurrent units with options.
//!
//! ```text
//! after the product:   sums = start + W·x + R·(mask ∘ h);  h̃ = cell of them
//! before it:           sums of r and z likewise;  r = f(clip z of its sum);  sums of n = start + W·x + R·(r ∘ mask ∘ h)
//! ```

use crate::cell::kind::ResetGate;
use crate::cell::options::{WithOptions, extras, flush, recorded};
use crate::cell::options_backward::BackwardExtras;
use crate::cell::step::{BackwardStep, Step, StepExtras};
use crate::memory::views;
use quadgate_kernels::{
    GruActivations, GruOptions, GruOptionsBackwardStep, GruOptionsStep, GruSums, Product,
    RnnOptionsBackwardStep, RnnOptionsStep, Start, Term,
};
use std::ops::Range;

/// The sum of r, with the reset gate before the product.
const RESET: usize = 0;
/// The first sum that waits for it, that of n.
const CANDIDATE: usize = 2;

/// What the cell needs to know of the units of some columns.
fn options<'s>(layer: &WithOptions<'s>, reset_gate: ResetGate, columns: &Range<usize>) -> GruOptions<'s> {
    let sums = match reset_gate {
        ResetGate::AfterProduct => GruSums::ResetAfter,
        ResetGate::BeforeProduct => GruSums::ResetBefore,
    };
    let (gate, candidate) = (layer.options.activations.gate, layer.options.activations.candidate);
    GruOptions { gates: layer.gates(columns), sums, activations: GruActivations { gate, candidate } }
}

/// One step of some groups of units and rows; of all, if the product of the candidate waits for the reset gate.
pub(crate) fn step(layer: &WithOptions<'_>, reset_gate: ResetGate, step: Step<'_, '_>) {
    let Step { groups, start, input, recurrent, mut hidden, tape, output, scratch, .. } = step;
    let StepExtras { masks, preactivations, .. } = extras(step.extras);
    let has_tape = tape.is_some();
    let mut recorded = recorded(tape, preactivations.as_mut());
    let (shape, rows, before) = (layer.shape, recorded.rows(), recurrent.rows);
    let padded = shape.padded_units();
    let [scratch, gated, masked] = layer.split_scratch(scratch, rows);
    let term = layer.masked(recurrent, masks.recurrent, masked);
    let (columns, sums) = match reset_gate {
        ResetGate::AfterProduct => {
            let columns = groups.start * shape.lanes..groups.end * shape.lanes;
            let vectors = recurrent.weights.layout().vectors_of(groups);
            layer.product(start, [input, Some(term)], vectors, recorded.all(), scratch);
            (columns, recorded.read())
        }
        ResetGate::BeforeProduct => {
            let columns = 0..padded;
            let from = if has_tape { padded } else { 0 };
            let mut sums = recorded.columns(from..from + 3 * padded);
            let (gates, candidate) = (0..CANDIDATE * padded, CANDIDATE * padded..3 * padded);
            let (split, end) = (CANDIDATE * shape.blocks(), 3 * shape.blocks());
            let of_gates = start.columns(gates.clone());
            let terms = [input, Some(term)];
            layer.product(of_gates, terms, 0..split, sums.columns(gates), &mut *scratch);
            layer.kernels.rnn_options_step(RnnOptionsStep {
                options: layer.gates(&columns),
                gate: RESET,
                function: layer.options.activations.gate,
                sums: sums.read(),
                hidden: views::rows_mut(&mut *gated, rows, padded),
            });
            if has_tape {
                for (row, gate) in gated.chunks_exact(padded).enumerate() {
                    recorded.row_mut(row)[..padded].copy_from_slice(gate);
                }
            }
            for (row, gated) in gated.chunks_exact_mut(padded).enumerate() {
                gated.iter_mut().zip(term.rows.row(row)).for_each(|(gated, h)| *gated *= h);
            }
            let term = Term { rows: views::rows(gated, rows, padded).columns(0..shape.units), ..term };
            let mut sums = recorded.columns(from..from + 3 * padded);
            let of_candidate = start.columns(candidate.clone());
            let to = sums.columns(candidate);
            layer.product(of_candidate, [input, Some(term)], split..end, to, scratch);
            (columns, recorded.read().columns(from..from + 3 * padded))
        }
    };
    layer.kernels.gru_options_step(GruOptionsStep {
        options: options(layer, reset_gate, &columns),
        sums,
        previous_hidden: before.columns(columns.start..columns.end.min(shape.units)),
        hidden: hidden.all(),
    });
    layer.finish(masks, columns, before, None, hidden, output);
}

/// The backward pass of one step of some units and rows.
pub(crate) fn step_backward(
    layer: &WithOptions<'_>,
    reset_gate: ResetGate,
    step: BackwardStep<'_>,
    mut extras: BackwardExtras<'_, '_>,
) {
    let BackwardStep { vectors, recurrent, weights, cotangent, recorded, previous_hidden, .. } = step;
    let BackwardStep { mut gate_gradients, scratch, .. } = step;
    let (shape, masks) = (layer.shape, extras.masks);
    let (padded, units) = (shape.padded_units(), shape.units);
    let columns = vectors.start * shape.lanes..vectors.end * shape.lanes;
    layer.hidden_gradient(columns.clone(), recurrent, cotangent, &mut extras, &mut *scratch);
    let BackwardExtras { rows, slot, .. } = extras;
    let sums = match reset_gate {
        ResetGate::AfterProduct => recorded,
        ResetGate::BeforeProduct => recorded.columns(padded..4 * padded),
    };
    let mut carry = views::slot(&mut rows.carry, 0);
    layer.kernels.gru_options_backward_step(GruOptionsBackwardStep {
        options: options(layer, reset_gate, &columns),
        sums,
        previous_hidden,
        hidden_gradient: views::read_slot(&rows.hidden, 0),
        carry: carry.all(),
        gate_gradients: gate_gradients.all(),
        normalization_terms: rows.normalization_terms.step(slot),
    });
    if reset_gate == ResetGate::AfterProduct {
        return;
    }
    // d of r ∘ mask ∘ h.
    let mut gated = views::slot(&mut rows.exposed_gradient, 0);
    let of_candidate = shape.plain_recurrent_columns().end;
    let gradients = views::present(gate_gradients.read().join(shape.gates()), "gates of rows", 0, 1);
    let from =
        Term { rows: gradients.columns(of_candidate..of_candidate + units), weights, from: of_candidate };
    layer.kernels.product(Product {
        start: Start::Zero,
        terms: [Some(from), None],
        vectors: 0..weights.layout().vectors(),
        to: gated.all(),
        scratch,
    });
    for row in 0..gated.rows() {
        let mask = masks.recurrent.map(|mask| mask.row(row));
        let (h, reset) = (previous_hidden.row(row), recorded.row(row));
        let (gated, carry) = (&mut gated.row_mut(row)[..units], &mut carry.row_mut(row)[..units]);
        for k in 0..units {
            let d = gated[k] * mask.map_or(1.0, |mask| mask[k]);
            carry[k] = flush(carry[k] + d * reset[k]);
            gated[k] = d * h[k];
        }
    }
    layer.kernels.rnn_options_backward_step(RnnOptionsBackwardStep {
        options: layer.gates(&columns),
        gate: RESET,
        function: layer.options.activations.gate,
        sums,
        hidden_gradient: gated.read(),
        gate_gradients,
        normalization_terms: rows.normalization_terms.step(slot),
    });
}
