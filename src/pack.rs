//! Weights in the order in which the tiles read them.

mod bytes;
mod unpack;

use crate::config::{LstmConfig, Threads};
use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::options::{Options, Zoneout};
use crate::parallel;
use crate::shape::Shape;
use crate::weights::{GateMatrix, Gates, LstmWeights};
use quadgate_kernels::{Kernels, PANEL_VECTORS, Packed, PanelLayout, Rows, Term, without_small};
use std::mem;
use std::ops::Range;

/// Bytes of a packed matrix that must fall to each thread before another one is woken.
const MIN_BYTES_PER_THREAD: usize = 1 << 20;

/// Rows of a packed matrix that are copied at a time, if those of the caller's matrix are its rows too: some of each
/// panel.
const ROWS: usize = 64;

/// What packs the weights of a layer: its kernels, on its threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packer {
    kernels: &'static Kernels,
    threads: Threads,
    /// Bytes from which on a matrix is written past the caches, if there are any.
    past_caches_from: Option<usize>,
}

/// Matrices of no more than all gates, each with a number that says where it goes.
type Matrices<'a> = [Option<(usize, GateMatrix<'a>)>; PANEL_VECTORS];

/// Some panels of a packed matrix.
struct Panels<'a> {
    layout: PanelLayout,
    panels: Range<usize>,
    data: &'a mut [f32],
}

/// The weights of a layer, packed for the forward pass and, if it is to be trained, once more for the backward pass.
///
/// The x part and the h part of the fused 4H × (X + H) matrix lie apart because a hoisted schedule streams R alone:
/// interleaved with W, it would use only a part of the sets of each cache.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    shape: Shape,
    input: Buffer,
    recurrent: Buffer,
    bias: Buffer,
    transposed: Option<Transposed>,
    options: Option<Box<PackedOptions>>,
    /// Whether weights were packed before: fresh memory is in the caches, since it has just been cleared.
    is_used: bool,
}

/// Wᵀ and Rᵀ: from gate gradients back to x and h.
#[derive(Debug)]
struct Transposed {
    input: Buffer,
    recurrent: Buffer,
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
                input: zeros("input weights", elements(shape.transposed_input_layout()))?,
                recurrent: zeros("recurrent weights", elements(shape.transposed_recurrent_layout()))?,
            })
        } else {
            None
        };
        Ok(Self {
            shape,
            input: zeros("input weights", elements(shape.input_layout()))?,
            recurrent: zeros("recurrent weights", elements(shape.recurrent_layout()))?,
            bias: zeros("bias", elements(shape.gates_layout(1)))?,
            transposed,
            options: if options.are_plain() {
                None
            } else {
                Some(Box::new(PackedOptions::new(shape, options, training)?))
            },
            is_used: false,
        })
    }

    /// Packs `weights`, which have the sizes of this layer. Allocates nothing.
    pub(crate) fn pack(&mut self, packer: Packer, weights: &LstmWeights<'_>) {
        if let Some(options) = &mut self.options {
            options.pack(packer, weights);
        }
        self.pack_gates(packer, weights.gates());
    }

    /// Packs W, R and the biases.
    pub(crate) fn pack_gates<const G: usize>(&mut self, packer: Packer, weights: &Gates<'_, G>) {
        let shape = self.shape;
        let past_caches_from = mem::replace(&mut self.is_used, true).then_some(shape.caches.second);
        let packer = Packer { past_caches_from, ..packer };
        let kind = shape.kind;
        let (mut inputs, mut recurrents): (Matrices<'_>, Matrices<'_>) = Default::default();
        for gate in weights.read_gates() {
            inputs[gate] = Some((kind.input_sum(gate), weights.input(gate)));
            recurrents[gate] = Some((kind.recurrent_sum(gate), weights.recurrent(gate)));
        }
        packer.pack_sums(&mut self.input, shape, shape.input_layout(), &inputs);
        packer.pack_sums(&mut self.recurrent, shape, shape.recurrent_layout(), &recurrents);
        // Where gates are normalized, the bias comes after that.
        let bias = match &mut self.options {
            Some(options) if !options.normalization[0].is_empty() => {
                let [scale, shift] = &mut options.normalization;
                pack_gates_row(scale, shape, |gate, unit| weights.scale(gate, unit));
                shift
            }
            _ => &mut self.bias,
        };
        pack_gates_row(bias, shape, |gate, unit| weights.bias(gate, unit));
        if let Some(transposed) = &mut self.transposed {
            let units = shape.units;
            let inputs = transpose(inputs, shape.gate_stride(), kind.input_sums().start);
            let layout = shape.transposed_input_layout();
            packer.pack_columns(&mut transposed.input, layout, [units, shape.inputs], &inputs);
            let recurrents = transpose(recurrents, shape.gate_stride(), kind.recurrent_sums().start);
            let layout = shape.transposed_recurrent_layout();
            packer.pack_columns(&mut transposed.recurrent, layout, [units, shape.outputs], &recurrents);
        }
    }

    /// The sizes.
    #[inline]
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

    /// W and R as they are packed.
    #[inline]
    pub(crate) fn packed(&self) -> [&[f32]; 2] {
        [&self.input, &self.recurrent]
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
    #[inline]
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
    fn pack(&mut self, packer: Packer, weights: &LstmWeights<'_>) {
        let shape = self.shape;
        for (to, from) in self
            .peepholes
            .chunks_exact_mut(shape.padded_units())
            .zip(weights.peepholes().into_iter().flatten())
        {
            to[..from.len()].copy_from_slice(from);
        }
        if let Some(projection) = weights.projection() {
            let [by_output, by_unit] = projection.strides;
            let (layout, size) = (shape.projection_layout(), [shape.units, shape.outputs]);
            packer.pack_columns(&mut self.projection, layout, size, &[Some((0, projection))]);
            if !self.transposed_projection.is_empty() {
                let transposed = GateMatrix { strides: [by_unit, by_output], ..projection };
                let (layout, size) = (shape.transposed_projection_layout(), [shape.outputs, shape.units]);
                packer.pack_columns(&mut self.transposed_projection, layout, size, &[Some((0, transposed))]);
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

impl Packer {
    /// For a layer of this configuration.
    pub(crate) fn new(config: &LstmConfig, kernels: &'static Kernels) -> Self {
        Self { kernels, threads: config.thread_choice(), past_caches_from: None }
    }

    /// Whether a matrix is written past the caches, so that what was there is not read before. Measured at one thread
    /// on an Emerald Rapids: new weights for a training layer of 512 units take 2.4 rather than 3.6 ms, of 1024 11
    /// rather than 16; but in fresh memory a layer of 512 takes 4.4 rather than 2.9 ms, of 1024 16 rather than 11 (a
    /// machine with other work).
    fn is_past_caches(self, packed: &[f32]) -> bool {
        self.past_caches_from.is_some_and(|bytes| size_of_val(packed) >= bytes)
    }

    /// Packs matrices by the sum that they feed. Padding stays as it is.
    fn pack_sums(self, packed: &mut [f32], shape: Shape, layout: PanelLayout, matrices: &Matrices<'_>) {
        let depth = layout.depth();
        let block = matrices.iter().flatten().map(|(_, matrix)| rows_at_a_time(matrix.strides[1])).max();
        let block = block.unwrap_or(1).min(depth.max(1));
        let past_caches = self.is_past_caches(packed);
        self.share(layout, packed, &|mut panels| {
            for k in (0..depth).step_by(block) {
                for unit in (0..shape.units).step_by(shape.lanes) {
                    let size = [block.min(depth - k), shape.lanes.min(shape.units - unit)];
                    for &(sum, GateMatrix { data, strides: [by_unit, by_input] }) in matrices.iter().flatten()
                    {
                        let column = shape.kind.column(&layout, sum, unit);
                        if let Some((to, step)) = panels.at(column, k) {
                            let from = &data[unit * by_unit + k * by_input..];
                            self.kernels.rearrange(from, [by_input, by_unit], to, step, size, past_caches);
                        }
                    }
                }
            }
        });
    }

    /// Packs matrices of so many rows and plain columns, from a row of the packed matrix on. Their strides are from one
    /// column to the next and from one row to the next. Padding stays as it is.
    fn pack_columns(
        self,
        packed: &mut [f32],
        layout: PanelLayout,
        [rows, columns]: [usize; 2],
        matrices: &[Option<(usize, GateMatrix<'_>)>],
    ) {
        let past_caches = self.is_past_caches(packed);
        self.share(layout, packed, &|mut panels| {
            for &(first, GateMatrix { data, strides: [by_column, by_k] }) in matrices.iter().flatten() {
                let block = rows_at_a_time(by_k).min(rows.max(1));
                for k in (0..rows).step_by(block) {
                    for panel in panels.panels.clone() {
                        let Range { start, end } = layout.columns_of(panel..panel + 1);
                        let size = [block.min(rows - k), end.min(columns) - start];
                        if let Some((to, step)) = panels.at(start, first + k) {
                            let from = &data[start * by_column + k * by_k..];
                            self.kernels.rearrange(from, [by_k, by_column], to, step, size, past_caches);
                        }
                    }
                }
            }
        });
    }

    /// Shares the panels of a matrix between threads, if it is large.
    fn share(self, layout: PanelLayout, packed: &mut [f32], pack: &(impl Fn(Panels<'_>) + Sync)) {
        let panels = Panels { layout, panels: 0..layout.panels(), data: packed };
        let most = size_of_val(panels.data) / MIN_BYTES_PER_THREAD;
        let threads = match self.threads {
            Threads::Serial => 1,
            Threads::Exactly(threads) => threads.get().min(most),
            Threads::Auto if most > 1 => parallel::current_threads().min(most),
            Threads::Auto => 1,
        };
        parallel::run(panels, threads.min(layout.panels()), &|_, panels| pack(panels));
    }
}

impl Panels<'_> {
    /// Where the weight of a column and k lies, and the distance from one k to the next; `None` if these panels do not
    /// have it.
    fn at(&mut self, column: usize, k: usize) -> Option<(&mut [f32], usize)> {
        let (start, step) = self.layout.column(column);
        let before = self.layout.elements_before(self.panels.start);
        let to = self.data.get_mut((start + k * step).checked_sub(before)?..)?;
        (!to.is_empty()).then_some((to, step))
    }
}

impl parallel::Rows for Panels<'_> {
    fn rows(&self) -> usize {
        self.panels.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let Self { layout, panels: Range { start, end }, data } = self;
        let middle = start + at;
        let (left, right) = data.split_at_mut(layout.elements_before(middle) - layout.elements_before(start));
        (
            Self { layout, panels: start..middle, data: left },
            Self { layout, panels: middle..end, data: right },
        )
    }
}

/// Rows of a packed matrix to fill before the next columns, where those of the caller's matrix are so far apart: all of
/// them, if these are columns, which then are read from end to end.
fn rows_at_a_time(by_k: usize) -> usize {
    if by_k == 1 { usize::MAX } else { ROWS }
}

/// The same with rows for columns, by the row of the packed matrix at which each begins: sums from this one on, so far
/// apart.
fn transpose(matrices: Matrices<'_>, stride: usize, first_sum: usize) -> Matrices<'_> {
    matrices.map(|matrix| {
        let (sum, GateMatrix { data, strides: [by_unit, by_input] }) = matrix?;
        Some(((sum - first_sum) * stride, GateMatrix { data, strides: [by_input, by_unit] }))
    })
}

/// Writes a number for each gate and unit to a packed row.
fn pack_gates_row(row: &mut [f32], shape: Shape, value: impl Fn(usize, usize) -> f32) {
    let layout = shape.gates_layout(1);
    for gate in 0..shape.gates() {
        for first in (0..shape.units).step_by(shape.lanes) {
            // Units of a vector are neighbors.
            let units = first..shape.units.min(first + shape.lanes);
            let to = &mut row[shape.kind.column(&layout, shape.kind.bias_sum(gate), first)..];
            for (to, unit) in to.iter_mut().zip(units) {
                *to = without_small(value(gate, unit));
            }
        }
    }
}
