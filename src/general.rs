//! Steps of a layer with options: products and the general cell, where a plain layer has one fused kernel.
//!
//! ```text
//! sums = start + W·x + R·(mask ∘ h)
//! c′, exposed = general cell of sums and c
//! h̃ = clip(V·exposed + v), or exposed without a projection
//! h′ = share ∘ h̃ + (1 − share) ∘ h
//! ```

mod backward;

pub(crate) use backward::{
    GeneralBackwardStep, GeneralRows, OptionBuffers, OptionGradients, option_buffers_len,
};

use crate::config::LstmConfig;
use crate::forward::CHECKED;
use crate::options::Options;
use crate::pack::{PackedOptions, PackedWeights, Shape};
use crate::view::Sequence;
use quadgate_kernels::{
    CellFamily, GeneralCell, Kernels, Normalisation, Product, Rows, RowsMut, Start, Term,
};
use std::ops::Range;

/// What a call may say about options: shares of zoneout, and the mask of recurrent dropout.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masks<'a> {
    /// `[T, B, P]`
    pub(crate) hidden_share: Option<Sequence<'a>>,
    /// `[T, B, H]`
    pub(crate) cell_share: Option<Sequence<'a>>,
    /// `[B, P]`
    pub(crate) recurrent: Option<Rows<'a>>,
}

/// The options of a layer and of a call.
#[derive(Clone, Copy)]
pub(crate) struct General<'a> {
    pub(crate) kernels: &'static Kernels,
    shape: Shape,
    options: &'a Options,
    tensors: &'a PackedOptions,
    masks: Masks<'a>,
}

/// The masks of some rows of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepMasks<'a> {
    /// How much of the new h to take.
    pub(crate) hidden_share: Option<Rows<'a>>,
    /// How much of the new c to take.
    pub(crate) cell_share: Option<Rows<'a>>,
    /// Factors of h on its way into the gates.
    pub(crate) recurrent: Option<Rows<'a>>,
}

/// What one step of some panels reads and writes.
pub(crate) struct GeneralStep<'a> {
    pub(crate) panels: Range<usize>,
    pub(crate) masks: StepMasks<'a>,
    pub(crate) start: Start<'a>,
    pub(crate) input: Option<Term<'a>>,
    /// h of the step before, all units, and R.
    pub(crate) recurrent: Term<'a>,
    /// Where the sums go.
    pub(crate) sums: RowsMut<'a>,
    /// c of the step before; without it, `cell` is replaced in place.
    pub(crate) previous_cell: Option<Rows<'a>>,
    pub(crate) cell: RowsMut<'a>,
    /// Where V·exposed + v goes before it is clipped, if that is to be recorded.
    pub(crate) projected: Option<RowsMut<'a>>,
    pub(crate) hidden: RowsMut<'a>,
    pub(crate) output: Option<RowsMut<'a>>,
    /// [`scratch_per_row`] elements for each row; a team may have none.
    pub(crate) scratch: &'a mut [f32],
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
fn flush(value: f32) -> f32 {
    const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    if value.abs() < SMALLEST { 0.0 } else { value }
}

impl<'a> General<'a> {
    /// The options of a layer with those of a call; `None` for a plain layer.
    pub(crate) fn new(
        kernels: &'static Kernels,
        config: &'a LstmConfig,
        weights: &'a PackedWeights,
        masks: Masks<'a>,
    ) -> Option<Self> {
        let (shape, options) = (weights.shape(), config.options());
        weights.options().map(|tensors| Self { kernels, shape, options, tensors, masks })
    }

    /// The masks of some rows of the call at a time.
    pub(crate) fn masks(&self, time: usize, batch: &Range<usize>) -> StepMasks<'a> {
        let rows = |all: Sequence<'a>| all.batch_rows(time, batch.start, batch.len());
        self.masks_of(batch, self.shares().map(|share| share.map(rows)))
    }

    /// The recurrent mask of the call.
    pub(crate) fn recurrent_mask(&self) -> Option<Rows<'a>> {
        self.masks.recurrent
    }

    /// The same with the recurrent mask of other rows.
    pub(crate) fn with_recurrent_mask<'s>(self, recurrent: Option<Rows<'s>>) -> General<'s>
    where
        'a: 's,
    {
        General { masks: Masks { recurrent, ..self.masks }, ..self }
    }

    /// What the call says of the shares of h and of c.
    pub(crate) fn shares(&self) -> [Option<Sequence<'a>>; 2] {
        [self.masks.hidden_share, self.masks.cell_share]
    }

    /// The masks of some rows of the call with these shares, or those of the layer.
    pub(crate) fn masks_of<'s>(
        &self,
        batch: &Range<usize>,
        [hidden_share, cell_share]: [Option<Rows<'s>>; 2],
    ) -> StepMasks<'s>
    where
        'a: 's,
    {
        let [hidden, cell] = self.tensors.shares();
        let Shape { units, outputs, .. } = self.shape;
        let constant = |share: &'s [f32], width| constant_rows(share, width, batch.len());
        StepMasks {
            hidden_share: hidden_share.or_else(|| constant(hidden, outputs)),
            cell_share: cell_share.or_else(|| constant(cell, units)),
            recurrent: self.masks.recurrent.map(|mask| mask.rows_of(batch.clone())),
        }
    }

    /// What the cell needs to know of the units of some columns.
    fn family(&self, columns: &Range<usize>, masks: &StepMasks<'a>) -> CellFamily<'a> {
        let [scale, shift] = self.tensors.normalisation();
        CellFamily {
            units: self.shape.units.min(columns.end) - columns.start,
            options: self.options.of_cell(),
            peepholes: self.tensors.peepholes().map(|peepholes| peepholes.columns(columns.clone())),
            normalisation: self.options.normalisation.map(|epsilon| Normalisation { scale, shift, epsilon }),
            cell_share: masks.cell_share.map(|share| share.columns(columns.clone())),
        }
    }

    /// One step of some panels and rows.
    pub(crate) fn step(&self, step: GeneralStep<'_>) {
        let GeneralStep { panels, masks, start, input, recurrent, mut sums, previous_cell, .. } = step;
        let GeneralStep { cell, projected, mut hidden, output, scratch, .. } = step;
        let (shape, rows) = (self.shape, sums.rows());
        let columns = panels.start * shape.lanes..panels.end * shape.lanes;
        let [scratch, exposed, masked] = self.split_scratch(scratch, rows);
        let before = recurrent.rows;

        let mut recurrent = recurrent;
        if let Some(mask) = masks.recurrent {
            for (row, masked) in masked.chunks_exact_mut(shape.padded_outputs()).enumerate() {
                for ((to, h), mask) in masked.iter_mut().zip(before.row(row)).zip(mask.row(row)) {
                    *to = h * mask;
                }
            }
            recurrent.rows = Rows::new(masked, rows, shape.outputs, shape.padded_outputs()).expect(CHECKED);
        }
        let layout = recurrent.weights.layout();
        self.kernels.product(Product {
            start,
            terms: [input, Some(recurrent)],
            vectors: layout.vectors_of(panels.clone()),
            to: sums.columns(0..layout.columns_of(panels).len()),
            scratch: &mut *scratch,
        });

        let family = self.family(&columns, &masks);
        let padded = shape.padded_units();
        let exposed_rows = match self.options.projection {
            Some(_) => RowsMut::new(&mut *exposed, rows, padded, padded).expect(CHECKED),
            None => hidden.all(),
        };
        self.kernels.general_cell(GeneralCell { family, sums, previous_cell, cell, exposed: exposed_rows });
        if let Some(weights) = self.tensors.projection() {
            let exposed = Rows::new(exposed, rows, shape.units, padded).expect(CHECKED);
            self.kernels.product(Product {
                start: Start::Bias(self.tensors.projection_bias()),
                terms: [Some(Term { rows: exposed, weights, from: 0 }), None],
                vectors: 0..weights.layout().vectors(),
                to: hidden.all(),
                scratch,
            });
        }
        self.finish(&masks, columns, before, projected, hidden, output);
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
        let share = masks.hidden_share.map(|share| share.columns(columns.clone()));
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
