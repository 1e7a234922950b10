//! The backward pass of a step with options, and the gradients of their tensors.
//!
//! ```text
//! dh = mask ∘ (dZ_{t+1}·R) + cotangent of h + carry
//! carry = (1 − share) ∘ dh,   dh̃ = share ∘ dh
//! d = dh̃ inside the clip, else 0;   d exposed = Vᵀ·d            or d exposed = dh̃ without a projection
//! dZ = backward pass of the cell
//! ```
//!
//! Gradients of tensors are sums over rows: each step writes its terms to the buffers of its block, and the block adds
//! them up, in an order that depends on the shape alone.

use crate::cell::options::{WithOptions, flush};
use crate::cell::step::StepMasks;
use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::views;
use crate::options::Options;
use crate::parallel;
use crate::shape::Shape;
use quadgate_kernels::{ColumnProduct, Product, Rows, RowsMut, SequenceMut, Start, Term};
use std::ops::Range;

/// Rows of terms for each row of the batch: of the peepholes i, f, o.
const PEEPHOLES: usize = 3;

/// The same of scale and shift of each gate.
fn normalizations(gates: usize) -> usize {
    2 * gates
}

/// What the backward pass of a layer with options needs beside that of a plain one.
#[derive(Clone, Debug)]
pub(crate) struct CellBuffers {
    /// dh, `[B, P]` padded.
    hidden: Buffer,
    /// The gradient of what is exposed to a projection, `[B, H]` padded.
    exposed_gradient: Buffer,
    /// Of a block: the gradient of V·exposed + v, `[rows, P]`.
    projection: Buffer,
    /// Of a block: what is exposed, `[rows, H]` padded.
    exposed: Buffer,
    /// Of a block, `[rows, 3, H]`.
    peephole_terms: Buffer,
    /// Of a block, `[rows, 2 · gates, H]`.
    normalization_terms: Buffer,
    /// Sums of terms.
    sums: Buffer,
}

/// Elements of each of the buffers, for a batch and the rows of a block.
fn lengths(shape: Shape, options: &Options, batch: usize, rows: usize) -> Option<[usize; 7]> {
    let if_needed =
        |is_needed: bool, width: usize, rows: usize| width.checked_mul(if is_needed { rows } else { 0 });
    let (has_projection, is_general) = (options.projection.is_some(), !options.are_plain());
    let normalizations = shape.units.checked_mul(normalizations(shape.gates()))?;
    let has_exposed_gradient = has_projection || (is_general && shape.kind.has_gated_product());
    Some([
        if_needed(is_general, shape.padded_outputs(), batch)?,
        if_needed(has_exposed_gradient, shape.padded_units(), batch)?,
        if_needed(has_projection, shape.outputs, rows)?,
        if_needed(has_projection, shape.padded_units(), rows)?,
        if_needed(options.peepholes, shape.units.checked_mul(PEEPHOLES)?, rows)?,
        if_needed(options.normalization.is_some(), normalizations, rows)?,
        if_needed(is_general, normalizations.max(shape.units.checked_mul(PEEPHOLES)?).max(shape.outputs), 1)?,
    ])
}

/// Elements of all of them.
pub(crate) fn cell_buffers_len(shape: Shape, options: &Options, batch: usize, rows: usize) -> Option<usize> {
    lengths(shape, options, batch, rows)?.into_iter().try_fold(0, usize::checked_add)
}

impl CellBuffers {
    pub(crate) fn new(
        shape: Shape,
        options: &Options,
        batch: usize,
        rows: Option<usize>,
    ) -> Result<Self, Error> {
        let lengths = rows.and_then(|rows| lengths(shape, options, batch, rows));
        let buffer = |which: usize| zeros("batch", lengths.map(|lengths| lengths[which]));
        Ok(Self {
            hidden: buffer(0)?,
            exposed_gradient: buffer(1)?,
            projection: buffer(2)?,
            exposed: buffer(3)?,
            peephole_terms: buffer(4)?,
            normalization_terms: buffer(5)?,
            sums: buffer(6)?,
        })
    }

    /// dh, `[B, P]` padded.
    pub(crate) fn hidden(&mut self) -> &mut [f32] {
        &mut self.hidden
    }

    /// Clears the terms of some rows of a slot of a block whose slots have room for `all` rows.
    pub(crate) fn clear(&mut self, shape: Shape, slot: usize, all: usize, rows: Range<usize>) {
        let units = shape.units;
        for (buffer, width) in [
            (&mut self.projection, shape.outputs),
            (&mut self.exposed, shape.padded_units()),
            (&mut self.peephole_terms, PEEPHOLES * units),
            (&mut self.normalization_terms, normalizations(shape.gates()) * units),
        ] {
            if !buffer.is_empty() {
                buffer[(slot * all + rows.start) * width..(slot * all + rows.end) * width].fill(0.0);
            }
        }
    }

    pub(crate) fn elements(&self) -> usize {
        let Self { hidden, exposed_gradient, projection, exposed, peephole_terms, .. } = self;
        [hidden, exposed_gradient, projection, exposed, peephole_terms, &self.normalization_terms, &self.sums]
            .map(|buffer| buffer.len())
            .iter()
            .sum()
    }

    /// The buffers as the steps of a block of `steps` steps write them. `carry` is of all rows.
    pub(crate) fn rows<'a>(
        &'a mut self,
        carry: &'a mut [f32],
        shape: Shape,
        steps: usize,
        batch: usize,
    ) -> CellRows<'a> {
        let Shape { units, outputs, .. } = shape;
        fn view(data: &mut [f32], steps: usize, rows: usize, width: usize) -> SequenceMut<'_> {
            views::slots_if_any(data, [steps, rows, width])
        }
        let normalizations = normalizations(shape.gates());
        CellRows {
            gates: shape.gates(),
            carry: view(carry, 1, batch, shape.padded_outputs()),
            hidden: view(&mut self.hidden, 1, batch, shape.padded_outputs()),
            exposed_gradient: view(&mut self.exposed_gradient, 1, batch, shape.padded_units()),
            projection: view(&mut self.projection, steps, batch, outputs),
            exposed: view(&mut self.exposed, steps, batch, shape.padded_units()),
            peephole_terms: view(&mut self.peephole_terms, steps, PEEPHOLES * batch, units),
            normalization_terms: view(&mut self.normalization_terms, steps, normalizations * batch, units),
        }
    }
}

/// What the steps of a block write of some rows. Sequences of one slot go from step to step; the others have a slot for
/// each step of the block.
pub(crate) struct CellRows<'a> {
    /// Sums for each unit.
    pub(crate) gates: usize,
    pub(crate) carry: SequenceMut<'a>,
    pub(crate) hidden: SequenceMut<'a>,
    pub(crate) exposed_gradient: SequenceMut<'a>,
    pub(crate) projection: SequenceMut<'a>,
    pub(crate) exposed: SequenceMut<'a>,
    pub(crate) peephole_terms: SequenceMut<'a>,
    pub(crate) normalization_terms: SequenceMut<'a>,
}

impl<'a> CellRows<'a> {
    /// None.
    pub(crate) fn empty() -> Self {
        Self {
            gates: 0,
            carry: SequenceMut::empty(),
            hidden: SequenceMut::empty(),
            exposed_gradient: SequenceMut::empty(),
            projection: SequenceMut::empty(),
            exposed: SequenceMut::empty(),
            peephole_terms: SequenceMut::empty(),
            normalization_terms: SequenceMut::empty(),
        }
    }

    /// Some of the rows, for a while.
    pub(crate) fn part(&mut self, rows: Range<usize>) -> CellRows<'_> {
        let all = CellRows {
            gates: self.gates,
            carry: self.carry.all(),
            hidden: self.hidden.all(),
            exposed_gradient: self.exposed_gradient.all(),
            projection: self.projection.all(),
            exposed: self.exposed.all(),
            peephole_terms: self.peephole_terms.all(),
            normalization_terms: self.normalization_terms.all(),
        };
        all.split(rows.end).0.split(rows.start).1
    }

    /// Cuts them before row `at`.
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let (carry, other_carry) = self.carry.split_rows(at);
        let (hidden, other_hidden) = self.hidden.split_rows(at);
        let (exposed_gradient, other_exposed_gradient) = self.exposed_gradient.split_rows(at);
        let (projection, other_projection) = self.projection.split_rows(at);
        let (exposed, other_exposed) = self.exposed.split_rows(at);
        let (peephole_terms, other_peepholes) = self.peephole_terms.split_rows(at * PEEPHOLES);
        let gates = self.gates;
        let (normalization_terms, other_normalizations) =
            self.normalization_terms.split_rows(at * normalizations(gates));
        (
            Self {
                gates,
                carry,
                hidden,
                exposed_gradient,
                projection,
                exposed,
                peephole_terms,
                normalization_terms,
            },
            Self {
                gates,
                carry: other_carry,
                hidden: other_hidden,
                exposed_gradient: other_exposed_gradient,
                projection: other_projection,
                exposed: other_exposed,
                peephole_terms: other_peepholes,
                normalization_terms: other_normalizations,
            },
        )
    }
}

/// What the backward pass of a step reads and writes beside.
pub(crate) struct BackwardExtras<'a, 'r> {
    pub(crate) masks: StepMasks<'a>,
    /// The recorded V·exposed + v, if it was clipped.
    pub(crate) projected: Option<Rows<'a>>,
    pub(crate) rows: &'a mut CellRows<'r>,
    /// The slot of the step in the buffers of its block.
    pub(crate) slot: usize,
}

impl WithOptions<'_> {
    /// dh̃ of some elements of h: of what is exposed, or with a projection of V·exposed + v. It is left in the first
    /// slot of the rows of dh.
    pub(crate) fn hidden_gradient(
        &self,
        columns: Range<usize>,
        recurrent: Option<Term<'_>>,
        cotangent: Option<Rows<'_>>,
        extras: &mut BackwardExtras<'_, '_>,
        scratch: &mut [f32],
    ) {
        let BackwardExtras { masks, projected, rows, .. } = extras;
        let mut hidden = views::slot(&mut rows.hidden, 0);
        match recurrent {
            None => (0..hidden.rows()).for_each(|row| hidden.row_mut(row).fill(0.0)),
            Some(_) => self.kernels.product(Product {
                start: Start::Zero,
                terms: [recurrent, None],
                vectors: columns.start / self.shape.lanes..columns.end / self.shape.lanes,
                to: hidden.all(),
                scratch,
            }),
        }
        let carry = views::slot(&mut rows.carry, 0);
        self.through_masks(masks, columns, cotangent, *projected, carry, hidden);
    }

    /// From dZ·R in `hidden` to the gradient of what is exposed, or with a projection of V·exposed + v.
    fn through_masks<'r>(
        &self,
        masks: &StepMasks<'r>,
        columns: Range<usize>,
        cotangent: Option<Rows<'_>>,
        projected: Option<Rows<'r>>,
        mut carry: RowsMut<'_>,
        mut hidden: RowsMut<'_>,
    ) {
        let width = self.shape.outputs.min(columns.end) - columns.start;
        for row in 0..hidden.rows() {
            let of_row = |rows: Option<Rows<'r>>| rows.map(|rows| &rows.row(row)[columns.start..][..width]);
            let [mask, share, projected] = [masks.recurrent, masks.hidden_keep, projected].map(of_row);
            let cotangent = cotangent.map(|cotangent| &cotangent.row(row)[..width]);
            let (hidden, carry) = (&mut hidden.row_mut(row)[..width], &mut carry.row_mut(row)[..width]);
            // One loop after the other: the compiler makes vectors of each.
            if let Some(mask) = mask {
                hidden.iter_mut().zip(mask).for_each(|(hidden, mask)| *hidden *= mask);
            }
            if let Some(cotangent) = cotangent {
                hidden.iter_mut().zip(cotangent).for_each(|(hidden, cotangent)| *hidden += cotangent);
            }
            hidden.iter_mut().zip(&*carry).for_each(|(hidden, carry)| *hidden += carry);
            match share {
                None => carry.fill(0.0),
                Some(share) => {
                    for ((hidden, carry), share) in hidden.iter_mut().zip(carry).zip(share) {
                        *carry = flush((1.0 - share) * *hidden);
                        *hidden *= share;
                    }
                }
            }
            if let Some((projected, limit)) = projected.zip(self.options.clip.projection) {
                let is_clipped = |projected: &f32| projected.abs() > limit;
                let clipped = hidden.iter_mut().zip(projected).filter(|(_, projected)| is_clipped(projected));
                clipped.for_each(|(hidden, _)| *hidden = 0.0);
            }
        }
    }

    /// dh₀ = mask ∘ (dZ_0·R) + carry, where the buffer of dh holds dZ_0·R and `carry` what is left of dh.
    pub(crate) fn first_hidden_gradient(&self, buffers: &CellBuffers, batch: usize, carry: &mut [f32]) {
        let padded = self.shape.padded_outputs();
        let hidden = views::rows(&buffers.hidden, batch, padded);
        for (row, carry) in carry.chunks_exact_mut(padded).enumerate().take(hidden.rows()) {
            let mask = self.masks.recurrent.map(|mask| mask.row(row));
            for (k, carry) in carry[..self.shape.outputs].iter_mut().enumerate() {
                *carry += hidden.row(row)[k] * mask.map_or(1.0, |mask| mask[k]);
            }
        }
    }

    /// Adds up the terms of a block, which is these rows of the buffers. Where gates are normalized, their bias is
    /// among them.
    pub(crate) fn add_gradients(
        &self,
        buffers: &mut CellBuffers,
        block: Range<usize>,
        threads: usize,
        gradients: &mut CellGradients<'_>,
        bias: &mut [f32],
        add: bool,
    ) {
        let Shape { units, outputs, .. } = self.shape;
        let (first, rows) = (block.start, block.len());
        let CellBuffers { projection, exposed, peephole_terms, normalization_terms, sums, .. } = buffers;
        let column_sums = |terms: &[f32], width: usize, sums: &mut [f32]| {
            let terms = views::rows(&terms[first * width..], rows, width);
            self.kernels.column_sums(terms, &mut sums[..width]);
        };
        let store = |to: &mut [f32], sums: &[f32]| {
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = if add { *to + sum } else { *sum };
            }
        };
        if self.options.peepholes {
            column_sums(peephole_terms, PEEPHOLES * units, sums);
            store(gradients.peepholes, sums);
        }
        if self.options.normalization.is_some() {
            let (gates, kind) = (self.shape.gates(), self.shape.kind);
            column_sums(normalization_terms, normalizations(gates) * units, sums);
            let (scales, shifts) = sums[..normalizations(gates) * units].split_at(gates * units);
            for (to, of_sums) in [(&mut *gradients.layer_normalization, scales), (bias, shifts)] {
                for (gate, to) in to.chunks_exact_mut(units).enumerate() {
                    store(to, &of_sums[kind.bias_sum(gate) * units..]);
                }
            }
        }
        if self.options.projection.is_some() {
            if self.options.projection_bias {
                column_sums(projection, outputs, sums);
                store(gradients.projection_bias, sums);
            }
            let padded = self.shape.padded_units();
            let left = views::rows(&projection[first * outputs..], rows, outputs);
            let right = views::rows(&exposed[first * padded..], rows, padded);
            let to = views::slots(&mut *gradients.projection, [1, outputs, units]);
            parallel::run(to, threads, &|from, mut to| {
                let to = views::slot(&mut to, 0);
                self.kernels.column_product(ColumnProduct { left, from, right, to, add });
            });
        }
    }
}

/// Gradients of the tensors of options; empty where there are none.
pub(crate) struct CellGradients<'a> {
    /// `[3H]`
    pub(crate) peepholes: &'a mut [f32],
    /// `[4H]`, or as many as biases
    pub(crate) layer_normalization: &'a mut [f32],
    /// `[P, H]`
    pub(crate) projection: &'a mut [f32],
    /// `[P]`
    pub(crate) projection_bias: &'a mut [f32],
}
