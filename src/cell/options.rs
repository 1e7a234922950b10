//! What steps of layers with options share: products and a pass over their sums, where a plain layer has one fused
//! kernel.
//!
//! ```text
//! sums = start + W·x + R·(mask ∘ h)
//! h̃ = the cell, over its sums
//! h′ = share ∘ h̃ + (1 − share) ∘ h
//! ```

use crate::cell::kind::{CellKind, ResetGate};
use crate::cell::step::{Masks, StepExtras, StepMasks};
use crate::memory::views;
use crate::options::Options;
use crate::pack::PackedOptions;
use crate::shape::Shape;
use quadgate_kernels::{GateOptions, Kernels, Normalization, Product, Rows, RowsMut, Start, Tape, Term};
use std::ops::Range;

/// The options of a layer and of a call.
#[derive(Clone, Copy)]
pub(crate) struct WithOptions<'a> {
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

/// The same by parts: of the kernels, for what is exposed to the projection or r ∘ h, and for a masked h.
fn scratch_parts(shape: Shape, options: &Options) -> [usize; 3] {
    let has_exposed = options.projection.is_some() || shape.kind.has_gated_product();
    let exposed = if has_exposed { shape.padded_units() } else { 0 };
    let masked = if options.recurrent_dropout { shape.padded_outputs() } else { 0 };
    [shape.panel_width(), exposed, masked]
}

/// The extras that a driver gives to a cell that has them.
pub(crate) fn extras<'s, 'e>(extras: Option<&'s mut StepExtras<'e>>) -> &'s mut StepExtras<'e> {
    match extras {
        Some(extras) => extras,
        None => unreachable!("a driver gives extras to a cell that has them"),
    }
}

/// Where a step records, or without a tape keeps its sums meanwhile.
pub(crate) fn recorded<'s>(
    tape: Option<Tape<'s>>,
    preactivations: Option<&'s mut RowsMut<'_>>,
) -> RowsMut<'s> {
    match tape {
        Some(tape) => tape.gates,
        None => views::present(preactivations, "pre-activations of row", 0, 1).all(),
    }
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

impl<'a> WithOptions<'a> {
    /// The same with the recurrent mask of other rows.
    pub(crate) fn with_recurrent_mask<'s>(self, recurrent: Option<Rows<'s>>) -> WithOptions<'s>
    where
        'a: 's,
    {
        WithOptions { masks: Masks { recurrent, ..self.masks }, ..self }
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

    /// The gates of the units of some columns.
    pub(crate) fn gates<'s>(&self, columns: &Range<usize>) -> GateOptions<'s>
    where
        'a: 's,
    {
        GateOptions {
            units: self.shape.units.min(columns.end) - columns.start,
            gates: self.shape.gates(),
            by_vectors: self.shape.kind == CellKind::Gru(ResetGate::AfterProduct),
            limit: self.options.clip.gate.unwrap_or(f32::INFINITY),
            normalization: self.normalization(),
        }
    }

    /// The layer normalization, if there is one.
    pub(crate) fn normalization<'s>(&self) -> Option<Normalization<'s>>
    where
        'a: 's,
    {
        let [scale, shift] = self.tensors.normalization();
        self.options.normalization.map(|epsilon| Normalization { scale, shift, epsilon })
    }

    /// R·(mask ∘ h), with room for mask ∘ h.
    pub(crate) fn masked<'s>(
        &self,
        recurrent: Term<'s>,
        mask: Option<Rows<'_>>,
        room: &'s mut [f32],
    ) -> Term<'s> {
        let Some(mask) = mask else { return recurrent };
        let Shape { outputs, .. } = self.shape;
        let (before, padded) = (recurrent.rows, self.shape.padded_outputs());
        for (row, masked) in room.chunks_exact_mut(padded).enumerate() {
            for ((to, h), mask) in masked.iter_mut().zip(before.row(row)).zip(mask.row(row)) {
                *to = h * mask;
            }
        }
        Term { rows: views::rows(room, before.rows(), padded).columns(0..outputs), ..recurrent }
    }

    /// sums = start + W·x + R·h of some vectors of columns.
    pub(crate) fn product(
        &self,
        start: Start<'_>,
        terms: [Option<Term<'_>>; 2],
        vectors: Range<usize>,
        mut sums: RowsMut<'_>,
        scratch: &mut [f32],
    ) {
        let to = sums.columns(0..vectors.len() * self.shape.lanes);
        self.kernels.product(Product { start, terms, vectors, to, scratch });
    }

    /// Whether what is exposed is h as it is.
    pub(crate) fn leaves_hidden(&self, masks: &StepMasks<'_>) -> bool {
        self.options.projection.is_none()
            && self.options.clip.projection.is_none()
            && masks.hidden_keep.is_none()
    }

    /// Clip and zoneout of h, and its copy for the caller.
    pub(crate) fn finish(
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
    pub(crate) fn split_scratch<'s>(&self, scratch: &'s mut [f32], rows: usize) -> [&'s mut [f32]; 3] {
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
