//! Weights out of the order in which tiles read them, back into that of the parameters.

use super::{PackedOptions, PackedWeights};
use crate::cell::kind::CellKind;
use crate::config::ParameterRanges;
use crate::shape::Shape;
use quadgate_kernels::PanelLayout;
use std::ops::Range;

impl PackedWeights {
    /// Writes all parameters to a buffer that these ranges lie in. Those of a gate that is not read are zero.
    pub(crate) fn unpack(&self, ranges: &ParameterRanges, parameters: &mut [f32]) {
        let (shape, kind) = (self.shape, self.shape.kind);
        type SumOf = fn(CellKind, usize) -> usize;
        let matrices: [(&[f32], PanelLayout, &Range<usize>, SumOf); 2] = [
            (&self.input, shape.input_layout(), &ranges.weight_ih, CellKind::input_sum),
            (&self.recurrent, shape.recurrent_layout(), &ranges.weight_hh, CellKind::recurrent_sum),
        ];
        for (packed, layout, range, sum) in matrices {
            let (depth, to) = (layout.depth(), &mut parameters[range.clone()]);
            for gate in 0..kind.weight_gates() {
                let to = &mut to[gate * shape.units * depth..][..shape.units * depth];
                unpack_columns(packed, layout, to, [shape.units, depth], shape.lanes, |unit| {
                    kind.column(&layout, sum(kind, gate), unit)
                });
            }
        }
        let own =
            self.options.as_ref().map(|options| &options.normalization[1]).filter(|shift| !shift.is_empty());
        unpack_row(own.unwrap_or(&self.bias), shape, &mut parameters[ranges.bias.clone()]);
        if let Some(options) = &self.options {
            options.unpack(ranges, parameters);
        }
    }
}

impl PackedOptions {
    fn unpack(&self, ranges: &ParameterRanges, parameters: &mut [f32]) {
        let shape = self.shape;
        let peepholes = parameters[ranges.peepholes.clone()].chunks_exact_mut(shape.units);
        for (to, from) in peepholes.zip(self.peepholes.chunks_exact(shape.padded_units())) {
            to.copy_from_slice(&from[..to.len()]);
        }
        if !self.normalization[0].is_empty() {
            let to = &mut parameters[ranges.layer_normalization.clone()];
            unpack_row(&self.normalization[0], shape, to);
        }
        if !self.projection.is_empty() {
            let (layout, to) = (shape.projection_layout(), &mut parameters[ranges.projection.clone()]);
            let size = [shape.outputs, shape.units];
            unpack_columns(&self.projection, layout, to, size, shape.lanes, |column| column);
        }
        let to = &mut parameters[ranges.projection_bias.clone()];
        to.copy_from_slice(&self.projection_bias[..to.len()]);
    }
}

/// Writes columns as rows of `depth` elements. `column` says where a row lies that is a multiple of the lanes.
fn unpack_columns(
    packed: &[f32],
    layout: PanelLayout,
    to: &mut [f32],
    [rows, depth]: [usize; 2],
    lanes: usize,
    column: impl Fn(usize) -> usize,
) {
    if depth == 0 {
        return;
    }
    for first in (0..rows).step_by(lanes) {
        let (start, step) = layout.column(column(first));
        for (lane, to) in to[first * depth..].chunks_exact_mut(depth).take(lanes).enumerate() {
            for (k, to) in to.iter_mut().enumerate() {
                *to = packed[start + k * step + lane];
            }
        }
    }
}

/// Writes the number of each bias and unit of a packed row.
fn unpack_row(row: &[f32], shape: Shape, to: &mut [f32]) {
    let layout = shape.gates_layout(1);
    for (bias, to) in to.chunks_exact_mut(shape.units).enumerate() {
        for (unit, to) in to.iter_mut().enumerate() {
            *to = row[shape.kind.column(&layout, shape.kind.bias_sum(bias), unit)];
        }
    }
}
