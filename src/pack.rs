//! Weights in the order in which the tiles read them.

mod unpack;

use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::pages::Pages;
use crate::options::{Options, Zoneout};
use crate::shape::Shape;
use crate::weights::{GateMatrix, LstmWeights};
use quadgate_kernels::{Packed, PanelLayout, Rows, Term, rearrange, without_small};
use std::ops::Range;

/// W, R and the biases of a layer, gate by gate, in the order of its parameters.
pub(crate) trait GateTensors {
    /// The gates whose weights are read.
    fn read_gates(&self) -> impl Iterator<Item = usize>;
    /// W of a gate.
    fn input(&self, gate: usize) -> GateMatrix<'_>;
    /// R of a gate.
    fn recurrent(&self, gate: usize) -> GateMatrix<'_>;
    /// The sum of the biases of a gate for one unit; after those of all gates that of R alone of one whose products stay apart.
    fn bias(&self, bias: usize, unit: usize) -> f32;
}

impl GateTensors for LstmWeights<'_> {
    fn read_gates(&self) -> impl Iterator<Item = usize> {
        LstmWeights::read_gates(self)
    }

    fn input(&self, gate: usize) -> GateMatrix<'_> {
        LstmWeights::input(self, gate)
    }

    fn recurrent(&self, gate: usize) -> GateMatrix<'_> {
        LstmWeights::recurrent(self, gate)
    }

    fn bias(&self, gate: usize, unit: usize) -> f32 {
        LstmWeights::bias(self, gate, unit)
    }
}

/// The weights of a layer, packed for the forward pass and, if it is to be trained, once more for the backward pass.
///
/// The x part and the h part of the fused 4H × (X + H) matrix lie apart because a hoisted schedule streams R alone:
/// interleaved with W, it would use only a part of the sets of each cache.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    shape: Shape,
    input: Pages,
    recurrent: Pages,
    bias: Buffer,
    transposed: Option<Transposed>,
    options: Option<Box<PackedOptions>>,
}

/// Wᵀ and Rᵀ: from gate gradients back to x and h.
#[derive(Debug)]
struct Transposed {
    input: Pages,
    recurrent: Pages,
}

/// The tensors of a layer's options; empty where there are none.
#[derive(Debug)]
pub(crate) struct PackedOptions {
    shape: Shape,
    /// Of i, f and o, padded to whole vectors.
    peepholes: Buffer,
    /// Scale and shift, a packed row each.
    normalization: [Buffer; 2],
    projection: Buffer,
    projection_bias: Buffer,
    transposed_projection: Buffer,
    /// How much of the new h and c to take where a call does not say: a row of one number each.
    shares: [Buffer; 2],
}

impl PackedWeights {
    /// Room for the weights of `shape`, all zero.
    pub(crate) fn new(shape: Shape, options: &Options, training: bool) -> Result<Self, Error> {
        let elements = |layout: PanelLayout| layout.elements();
        let transposed = if training {
            Some(Transposed {
                input: Pages::zeros("input weights", elements(shape.transposed_input_layout()))?,
                recurrent: Pages::zeros("recurrent weights", elements(shape.transposed_recurrent_layout()))?,
            })
        } else {
            None
        };
        Ok(Self {
            shape,
            input: Pages::zeros("input weights", elements(shape.gates_layout(shape.inputs)))?,
            recurrent: Pages::zeros("recurrent weights", elements(shape.gates_layout(shape.outputs)))?,
            bias: zeros("bias", elements(shape.gates_layout(1)))?,
            transposed,
            options: if options.are_plain() {
                None
            } else {
                Some(Box::new(PackedOptions::new(shape, options, training)?))
            },
        })
    }

    /// Packs `weights`, which have the sizes of this layer. Allocates nothing.
    pub(crate) fn pack(&mut self, weights: &LstmWeights<'_>) {
        if let Some(options) = &mut self.options {
            options.pack(weights);
        }
        self.pack_gates(weights);
    }

    /// Packs W, R and the biases.
    pub(crate) fn pack_gates(&mut self, weights: &impl GateTensors) {
        let shape = self.shape;
        let kind = shape.kind;
        for gate in weights.read_gates() {
            let sums = [kind.input_sum(gate), kind.recurrent_sum(gate)];
            pack_gate(&mut self.input, shape, shape.inputs, sums[0], weights.input(gate));
            pack_gate(&mut self.recurrent, shape, shape.outputs, sums[1], weights.recurrent(gate));
        }
        // Where gates are normalized, the bias comes after that.
        let bias = match &mut self.options {
            Some(options) => options.shift().unwrap_or(&mut self.bias),
            None => &mut self.bias,
        };
        pack_gates_row(bias, shape, |gate, unit| weights.bias(gate, unit));
        if let Some(transposed) = &mut self.transposed {
            for gate in weights.read_gates() {
                let (layout, first) = (shape.transposed_input_layout(), kind.input_sums().start);
                let first = (kind.input_sum(gate) - first) * shape.gate_stride();
                pack_transposed(
                    &mut transposed.input,
                    shape,
                    layout,
                    first,
                    shape.inputs,
                    weights.input(gate),
                );
                let (layout, first) = (shape.transposed_recurrent_layout(), kind.recurrent_sums().start);
                let first = (kind.recurrent_sum(gate) - first) * shape.gate_stride();
                let recurrent = weights.recurrent(gate);
                pack_transposed(&mut transposed.recurrent, shape, layout, first, shape.outputs, recurrent);
            }
        }
    }

    /// The sizes.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// W.
    #[inline]
    pub(crate) fn input(&self) -> Packed<'_> {
        packed(self.shape.input_layout(), &self.input)
    }

    /// R.
    #[inline]
    pub(crate) fn recurrent(&self) -> Packed<'_> {
        packed(self.shape.recurrent_layout(), &self.recurrent)
    }

    /// W·x, if there is any x.
    #[inline]
    pub(crate) fn input_term<'a>(&'a self, x: Rows<'a>) -> Option<Term<'a>> {
        (self.shape.inputs > 0).then(|| Term { rows: x, weights: self.input(), from: 0 })
    }

    /// R·h of rows that may be padded.
    #[inline]
    pub(crate) fn recurrent_term<'a>(&'a self, hidden: Rows<'a>) -> Term<'a> {
        Term { rows: hidden.columns(0..self.shape.outputs), weights: self.recurrent(), from: 0 }
    }

    /// The sum of the biases.
    #[inline]
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Wᵀ of a layer that is to be trained.
    pub(crate) fn transposed_input(&self) -> Packed<'_> {
        packed(self.shape.transposed_input_layout(), &self.transposed().input)
    }

    /// Rᵀ of a layer that is to be trained.
    pub(crate) fn transposed_recurrent(&self) -> Packed<'_> {
        packed(self.shape.transposed_recurrent_layout(), &self.transposed().recurrent)
    }

    fn transposed(&self) -> &Transposed {
        self.transposed
            .as_ref()
            .expect("the layer was made for training, which was checked when the call began")
    }

    /// The tensors of the options; `None` for a plain layer.
    pub(crate) fn options(&self) -> Option<&PackedOptions> {
        self.options.as_deref()
    }

    /// Bytes in all panels.
    pub(crate) fn bytes(&self) -> usize {
        let transposed = self.transposed.as_ref().map_or(0, |t| t.input.len() + t.recurrent.len());
        let options = self.options.as_ref().map_or(0, |options| options.elements());
        (self.input.len() + self.recurrent.len() + self.bias.len() + transposed + options) * size_of::<f32>()
    }
}

/// A packed matrix, whose buffer was made for its layout.
#[inline]
fn packed(layout: PanelLayout, data: &[f32]) -> Packed<'_> {
    match Packed::new(layout, data) {
        Some(packed) => packed,
        None => panic!("{layout:?} in {} elements", data.len()),
    }
}

impl PackedOptions {
    fn new(shape: Shape, options: &Options, training: bool) -> Result<Self, Error> {
        let room = |argument, is_needed: bool, layout: PanelLayout| {
            zeros(argument, if is_needed { layout.elements() } else { Some(0) })
        };
        let (has_projection, outputs) = (options.projection.is_some(), shape.padded_outputs());
        let (normalized, gates) = (options.normalization.is_some(), shape.gates_layout(1));
        let units = PanelLayout::of_columns(shape.units, shape.lanes, 1);
        let share = |rate: Option<f32>, len| {
            let mut share = zeros("zoneout", Some(if rate.is_some() { len } else { 0 }))?;
            share.fill(1.0 - rate.unwrap_or(0.0));
            Ok(share)
        };
        Ok(Self {
            shape,
            peepholes: room(
                "peepholes",
                options.peepholes,
                PanelLayout::of_columns(shape.units, shape.lanes, 3),
            )?,
            normalization: [
                room("layer normalization", normalized, gates)?,
                room("layer normalization", normalized, gates)?,
            ],
            projection: room("projection", has_projection, shape.projection_layout())?,
            projection_bias: zeros("projection bias", Some(if has_projection { outputs } else { 0 }))?,
            transposed_projection: room(
                "projection",
                has_projection && training,
                shape.transposed_projection_layout(),
            )?,
            shares: [
                share(options.zoneout.map(|zoneout: Zoneout| zoneout.hidden), outputs)?,
                share(options.zoneout.map(|zoneout: Zoneout| zoneout.cell), units.width())?,
            ],
        })
    }

    /// Packs what `weights` have of the options.
    fn pack(&mut self, weights: &LstmWeights<'_>) {
        let shape = self.shape;
        for (to, from) in self
            .peepholes
            .chunks_exact_mut(shape.padded_units())
            .zip(weights.peepholes().into_iter().flatten())
        {
            to[..from.len()].copy_from_slice(from);
        }
        if let Some(scales) = weights.layer_normalization() {
            let scale = |gate: usize, unit: usize| scales[gate].get(unit).copied().unwrap_or(0.0);
            pack_gates_row(&mut self.normalization[0], shape, scale);
        }
        if let Some(projection) = weights.projection() {
            let [by_output, by_unit] = projection.strides;
            pack_columns(
                &mut self.projection,
                shape.projection_layout(),
                shape.outputs,
                0..shape.units,
                GateMatrix { data: projection.data, strides: [by_output, by_unit] },
            );
            if !self.transposed_projection.is_empty() {
                pack_columns(
                    &mut self.transposed_projection,
                    shape.transposed_projection_layout(),
                    shape.units,
                    0..shape.outputs,
                    GateMatrix { data: projection.data, strides: [by_unit, by_output] },
                );
            }
        }
        if let Some(bias) = weights.projection_bias() {
            self.projection_bias[..bias.len()].copy_from_slice(bias);
        }
    }

    /// p_i, p_f and p_o, padded.
    pub(crate) fn peepholes(&self) -> Option<Rows<'_>> {
        let padded = self.shape.padded_units();
        Rows::new(&self.peepholes, 3, padded, padded).ok()
    }

    /// Scale and shift of the normalization.
    pub(crate) fn normalization(&self) -> [&[f32]; 2] {
        let [scale, shift] = &self.normalization;
        [scale, shift]
    }

    fn shift(&mut self) -> Option<&mut Buffer> {
        let [_, shift] = &mut self.normalization;
        (!shift.is_empty()).then_some(shift)
    }

    /// V, if there is one.
    pub(crate) fn projection(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.projection_layout(), &self.projection)
    }

    /// The bias of V, zeros if it has none, padded.
    pub(crate) fn projection_bias(&self) -> &[f32] {
        &self.projection_bias
    }

    /// Vᵀ, if there is one and the layer is to be trained.
    pub(crate) fn transposed_projection(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.transposed_projection_layout(), &self.transposed_projection)
    }

    /// How much of the new h and c to take, a row each; empty without zoneout.
    pub(crate) fn shares(&self) -> [&[f32]; 2] {
        let [hidden, cell] = &self.shares;
        [hidden, cell]
    }

    fn elements(&self) -> usize {
        let Self {
            peepholes, normalization, projection, projection_bias, transposed_projection, shares, ..
        } = self;
        let buffers = [peepholes, projection, projection_bias, transposed_projection];
        buffers.into_iter().chain(normalization).chain(shares).map(|buffer| buffer.len()).sum()
    }
}

/// Packs the columns of one gate, which feeds this sum. Padding stays as it is.
fn pack_gate(packed: &mut [f32], shape: Shape, depth: usize, sum: usize, matrix: GateMatrix<'_>) {
    let GateMatrix { data, strides: [by_unit, by_input] } = matrix;
    let layout = shape.gates_layout(depth);
    if depth == 0 {
        return;
    }
    for unit in (0..shape.units).step_by(shape.lanes) {
        let units = shape.lanes.min(shape.units - unit);
        let (start, step) = layout.column(shape.kind.column(&layout, sum, unit));
        rearrange(&data[unit * by_unit..], [by_input, by_unit], &mut packed[start..], step, [depth, units]);
    }
}

/// Packs the rows of one gate, of which that of the first unit is `first`. Padding stays as it is.
fn pack_transposed(
    packed: &mut [f32],
    shape: Shape,
    layout: PanelLayout,
    first: usize,
    columns: usize,
    matrix: GateMatrix<'_>,
) {
    let GateMatrix { data, strides: [by_unit, by_input] } = matrix;
    let matrix = GateMatrix { data, strides: [by_input, by_unit] };
    pack_columns(packed, layout, columns, first..first + shape.units, matrix);
}

/// Packs some of the depth of a matrix of plain columns, whose strides are from one column to the next and from one k to the
/// next. Padding stays as it is.
fn pack_columns(
    packed: &mut [f32],
    layout: PanelLayout,
    columns: usize,
    depth: Range<usize>,
    matrix: GateMatrix<'_>,
) {
    let GateMatrix { data, strides: [by_column, by_k] } = matrix;
    for column in (0..columns).step_by(layout.lanes()) {
        let (start, step) = layout.column(column);
        let size = [depth.len(), layout.lanes().min(columns - column)];
        let to = &mut packed[start + depth.start * step..];
        rearrange(&data[column * by_column..], [by_k, by_column], to, step, size);
    }
}

/// Writes a number for each gate and unit to a packed row.
fn pack_gates_row(row: &mut [f32], shape: Shape, value: impl Fn(usize, usize) -> f32) {
    let layout = shape.gates_layout(1);
    for gate in 0..shape.gates() {
        for unit in 0..shape.units {
            row[shape.kind.column(&layout, shape.kind.bias_sum(gate), unit)] =
                without_small(value(gate, unit));
        }
    }
}
