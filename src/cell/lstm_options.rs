//! Steps of a layer with options: products and the general cell, where a plain layer has one fused kernel.
//!
//! ```text
//! sums = start + W·x + R·(mask ∘ h)
//! c′, exposed = general cell of sums and c
//! h̃ = clip(V·exposed + v), or exposed without a projection
//! h′ = share ∘ h̃ + (1 − share) ∘ h
//! ```

use crate::cell::step::{Masks, Step, StepExtras, StepMasks};
use crate::memory::views;
use crate::options::Options;
use crate::pack::PackedOptions;
use crate::shape::Shape;
use quadgate_kernels::{
    Kernels, LstmOptions, LstmOptionsStep, Normalization, Product, Rows, RowsMut, Start, Tape, Term,
};
use std::ops::Range;

/// The options of a layer and of a call.
#[derive(Clone, Copy)]
pub(crate) struct LstmWithOptions<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) shape: Shape,
    pub(crate) options: &'a Options,
    pub(crate) tensors: &'a PackedOptions,
    pub(crate) masks: Masks<'a>,
}

/// Elements of scratch for each row.
pub(crate) fn scratch_per_row(shape: Shape, options: &Options) -> usize {
    scratch_parts(shape, options).into_iter().sum()
}

/// The same by parts: of the kernels, for what is exposed to the projection, and for a masked h.
fn scratch_parts(shape: Shape, options: &Options) -> [usize; 3] {
    let exposed = if options.projection.is_some() { shape.padded_units() } else { 0 };
    let masked = if options.recurrent_dropout { shape.padded_outputs() } else { 0 };
    [shape.panel_width(), exposed, masked]
}

/// Rows of numbers that are all the same.
fn constant_rows(row: &[f32], width: usize, rows: usize) -> Option<Rows<'_>> {
    if row.is_empty() { None } else { Rows::new(row, rows, width, 0).ok() }
}

/// Zero where a number would soon be denormal, as in the kernels.
pub(crate) fn flush(value: f32) -> f32 {
    const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    if value.abs() < SMALLEST { 0.0 } else { value }
}

impl<'a> LstmWithOptions<'a> {
    /// The same with the recurrent mask of other rows.
    pub(crate) fn with_recurrent_mask<'s>(self, recurrent: Option<Rows<'s>>) -> LstmWithOptions<'s>
    where
        'a: 's,
    {
        LstmWithOptions { masks: Masks { recurrent, ..self.masks }, ..self }
    }

    /// The masks of some rows of the call with these keep masks, or those of the layer.
    pub(crate) fn masks_of<'s>(
        &self,
        batch: &Range<usize>,
        [hidden_keep, cell_keep]: [Option<Rows<'s>>; 2],
    ) -> StepMasks<'s>
    where
        'a: 's,
    {
        let [hidden, cell] = self.tensors.shares();
        let Shape { units, outputs, .. } = self.shape;
        let constant = |share: &'s [f32], width| constant_rows(share, width, batch.len());
        StepMasks {
            hidden_keep: hidden_keep.or_else(|| constant(hidden, outputs)),
            cell_keep: cell_keep.or_else(|| constant(cell, units)),
            recurrent: self.masks.recurrent.map(|mask| mask.rows_of(batch.clone())),
        }
    }

    /// What the cell needs to know of the units of some columns.
    pub(crate) fn family<'s>(&self, columns: &Range<usize>, masks: &StepMasks<'s>) -> LstmOptions<'s>
    where
        'a: 's,
    {
        let [scale, shift] = self.tensors.normalization();
        LstmOptions {
            units: self.shape.units.min(columns.end) - columns.start,
            options: self.options.of_cell(),
            peepholes: self.tensors.peepholes().map(|peepholes| peepholes.columns(columns.clone())),
            normalization: self.options.normalization.map(|epsilon| Normalization { scale, shift, epsilon }),
            cell_share: masks.cell_keep.map(|share| share.columns(columns.clone())),
        }
    }

    /// One step of some panels and rows.
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        let Step { panels, start, input, mut recurrent, mut hidden, cell, tape, output, .. } = step;
        let Step { extras, scratch, .. } = step;
        let Some(StepExtras { masks, preactivations, projected }) = extras else {
            unreachable!("a driver gives extras to a cell that has them")
        };
        let projected = projected.as_mut().map(RowsMut::all);
        let (previous_cell, mut sums) = match tape {
            Some(Tape { previous_cell, gates }) => (Some(previous_cell), gates),
            None => (None, views::present(preactivations.as_mut(), "pre-activations of row", 0, 1).all()),
        };
        let (shape, rows) = (self.shape, sums.rows());
        let columns = panels.start * shape.lanes..panels.end * shape.lanes;
        let [scratch, exposed, masked] = self.split_scratch(scratch, rows);
        let before = recurrent.rows;

        if let Some(mask) = masks.recurrent {
            for (row, masked) in masked.chunks_exact_mut(shape.padded_outputs()).enumerate() {
                for ((to, h), mask) in masked.iter_mut().zip(before.row(row)).zip(mask.row(row)) {
                    *to = h * mask;
                }
            }
            recurrent.rows = views::rows(masked, rows, shape.padded_outputs()).columns(0..shape.outputs);
        }
        let layout = recurrent.weights.layout();
        self.kernels.product(Product {
            start,
            terms: [input, Some(recurrent)],
            vectors: layout.vectors_of(panels.clone()),
            to: sums.columns(0..layout.columns_of(panels).len()),
            scratch: &mut *scratch,
        });

        let family = self.family(&columns, masks);
        let padded = shape.padded_units();
        let exposed_rows = match self.options.projection {
            Some(_) => views::rows_mut(&mut *exposed, rows, padded),
            None => hidden.all(),
        };
        self.kernels.lstm_options_step(LstmOptionsStep {
            family,
            sums,
            previous_cell,
            cell,
            exposed: exposed_rows,
        });
        if let Some(weights) = self.tensors.projection() {
            let exposed = views::rows(exposed, rows, padded).columns(0..shape.units);
            self.kernels.product(Product {
                start: Start::Bias(self.tensors.projection_bias()),
                terms: [Some(Term { rows: exposed, weights, from: 0 }), None],
                vectors: 0..weights.layout().vectors(),
                to: hidden.all(),
                scratch,
            });
        }
        self.finish(masks, columns, before, projected, hidden, output);
    }

    /// Clip and zoneout of h, and its copy for the caller.
    fn finish(
        &self,
        masks: &StepMasks<'_>,
        columns: Range<usize>,
        before: Rows<'_>,
        mut projected: Option<RowsMut<'_>>,
        mut hidden: RowsMut<'_>,
        mut output: Option<RowsMut<'_>>,
    ) {
        // A projection is of whole rows.
        let columns = if self.options.projection.is_some() { 0..self.shape.outputs } else { columns };
        let width = self.shape.outputs.min(columns.end) - columns.start;
        let share = masks.hidden_keep.map(|share| share.columns(columns.clone()));
        let before = before.columns(columns);
        for row in 0..hidden.rows() {
            let hidden = &mut hidden.row_mut(row)[..width];
            if let Some(projected) = &mut projected {
                projected.row_mut(row)[..width].copy_from_slice(hidden);
            }
            if let Some(limit) = self.options.clip.projection {
                hidden.iter_mut().for_each(|h| *h = clip(*h, limit));
            }
            if let Some(share) = share {
                for ((h, share), before) in hidden.iter_mut().zip(share.row(row)).zip(before.row(row)) {
                    *h = flush(share * *h + (1.0 - share) * before);
                }
            }
            if let Some(output) = &mut output {
                output.row_mut(row).copy_from_slice(hidden);
            }
        }
    }

    /// The parts of the scratch of some rows, see [`scratch_parts`]; all empty if there is none.
    fn split_scratch<'s>(&self, scratch: &'s mut [f32], rows: usize) -> [&'s mut [f32]; 3] {
        if scratch.is_empty() {
            return [&mut [], &mut [], &mut []];
        }
        let [kernels, exposed, _] = scratch_parts(self.shape, self.options).map(|each| rows * each);
        let (kernels, rest) = scratch.split_at_mut(kernels);
        let (exposed, masked) = rest.split_at_mut(exposed);
        [kernels, exposed, masked]
    }
}

/// ±limit at most; NaN stays NaN.
fn clip(value: f32, limit: f32) -> f32 {
    if value > limit {
        limit
    } else if value < -limit {
        -limit
    } else {
        value
    }
}
