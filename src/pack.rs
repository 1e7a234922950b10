//! Weights in the order in which the tiles read them.

use crate::weights::GateMatrix;
use crate::{Error, LstmWeights};
use aligned_vec::{AVec, ConstAlign};
use quadgate_kernels::{Packed, PanelLayout, rearrange};

/// Gates of an LSTM.
pub(crate) const GATES: usize = 4;

/// Elements of a cache line.
const CACHE_LINE: usize = 16;

/// Rows that are a multiple of this many elements apart share an eighth of the sets of a first cache, or fewer.
const CACHE_PERIOD: usize = 8 * CACHE_LINE;

/// A buffer that begins at a cache line, which is also the widest vector.
pub(crate) type Buffer = AVec<f32, ConstAlign<64>>;

/// A buffer of zeros; an error where its bytes could not be addressed.
pub(crate) fn zeros(argument: &'static str, len: Option<usize>) -> Result<Buffer, Error> {
    let len = len.filter(|&len| len <= isize::MAX as usize / size_of::<f32>() - 64);
    let len = len.ok_or(Error::Overflow { argument })?;
    let mut buffer = Buffer::with_capacity(64, len);
    buffer.resize(len, 0.0);
    Ok(buffer)
}

/// Sizes of a layer, and of its rows when padded to whole vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// X
    pub(crate) inputs: usize,
    /// H
    pub(crate) units: usize,
    /// Elements in a vector.
    pub(crate) lanes: usize,
}

impl Shape {
    /// X, padded to whole vectors.
    pub(crate) fn padded_inputs(self) -> usize {
        self.inputs.next_multiple_of(self.lanes)
    }

    /// H, padded to whole vectors.
    pub(crate) fn padded_units(self) -> usize {
        self.units.next_multiple_of(self.lanes)
    }

    /// Bytes of W and R.
    pub(crate) fn weight_bytes(self) -> usize {
        let inputs = self.inputs.saturating_add(self.units);
        self.sums_width().saturating_mul(inputs).saturating_mul(size_of::<f32>())
    }

    /// Blocks of hidden units: vectors of them.
    pub(crate) fn blocks(self) -> usize {
        self.units.div_ceil(self.lanes)
    }

    /// Elements in a packed row of gate sums.
    pub(crate) fn sums_width(self) -> usize {
        self.gates_layout(1).width()
    }

    /// Elements in a recorded row of all gates: for each panel i, f, g and o of its units, padded.
    pub(crate) fn gates_width(self) -> usize {
        GATES * self.padded_units()
    }

    /// Elements between the gates of a row of gate gradients, which has all units of i, then of f, g and o.
    ///
    /// There is a gap of zeros where rows would else be a power of two apart, or nearly: a weight gradient reads some
    /// columns of many rows, and they would all fall into the same few sets of each cache.
    pub(crate) fn gate_stride(self) -> usize {
        self.units + if (GATES * self.units).is_multiple_of(CACHE_PERIOD) { GATES } else { 0 }
    }

    /// Elements in a row of gate gradients.
    pub(crate) fn gate_gradients_width(self) -> usize {
        GATES * self.gate_stride()
    }

    /// Elements in a row of x and h side by side, each padded, with a gap as in [`Shape::gate_stride`].
    pub(crate) fn input_and_state_width(self) -> usize {
        let width = self.padded_inputs() + self.padded_units();
        width + if width.is_multiple_of(CACHE_PERIOD) { CACHE_LINE } else { 0 }
    }

    /// The layout of a matrix from `depth` inputs to the gates.
    pub(crate) fn gates_layout(self, depth: usize) -> PanelLayout {
        PanelLayout::of_gates(GATES, self.units, self.lanes, depth)
    }

    /// The layout of a matrix from the gates back to `columns` inputs.
    pub(crate) fn transposed_layout(self, columns: usize) -> PanelLayout {
        PanelLayout::of_columns(columns, self.lanes, self.gate_gradients_width())
    }
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
}

/// Wᵀ and Rᵀ: from gate gradients back to x and h.
#[derive(Debug)]
struct Transposed {
    input: Buffer,
    recurrent: Buffer,
}

impl PackedWeights {
    /// Room for the weights of `shape`, all zero.
    pub(crate) fn new(shape: Shape, training: bool) -> Result<Self, Error> {
        let elements = |layout: PanelLayout| layout.elements();
        let transposed = if training {
            Some(Transposed {
                input: zeros("input weights", elements(shape.transposed_layout(shape.inputs)))?,
                recurrent: zeros("recurrent weights", elements(shape.transposed_layout(shape.units)))?,
            })
        } else {
            None
        };
        Ok(Self {
            shape,
            input: zeros("input weights", elements(shape.gates_layout(shape.inputs)))?,
            recurrent: zeros("recurrent weights", elements(shape.gates_layout(shape.units)))?,
            bias: zeros("bias", elements(shape.gates_layout(1)))?,
            transposed,
        })
    }

    /// Packs `weights`, which have the sizes of this layer. Allocates nothing.
    pub(crate) fn pack(&mut self, weights: &LstmWeights<'_>) {
        let shape = self.shape;
        let (input, recurrent) = (|gate| weights.input(gate), |gate| weights.recurrent(gate));
        pack_gates(&mut self.input, shape, shape.inputs, input);
        pack_gates(&mut self.recurrent, shape, shape.units, recurrent);
        let layout = shape.gates_layout(1);
        for gate in 0..GATES {
            for unit in 0..shape.units {
                self.bias[layout.gate_column(gate, unit)] = weights.bias(gate, unit);
            }
        }
        if let Some(transposed) = &mut self.transposed {
            pack_transposed(&mut transposed.input, shape, shape.inputs, input);
            pack_transposed(&mut transposed.recurrent, shape, shape.units, recurrent);
        }
    }

    /// The sizes.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// W.
    pub(crate) fn input(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.gates_layout(self.shape.inputs), &self.input)
    }

    /// R.
    pub(crate) fn recurrent(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.gates_layout(self.shape.units), &self.recurrent)
    }

    /// The sum of the biases.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Wᵀ, if the layer is to be trained.
    pub(crate) fn transposed_input(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.transposed_layout(self.shape.inputs), &self.transposed.as_ref()?.input)
    }

    /// Rᵀ, if the layer is to be trained.
    pub(crate) fn transposed_recurrent(&self) -> Option<Packed<'_>> {
        Packed::new(self.shape.transposed_layout(self.shape.units), &self.transposed.as_ref()?.recurrent)
    }

    /// Bytes in all panels.
    pub(crate) fn bytes(&self) -> usize {
        let transposed = self.transposed.as_ref().map_or(0, |t| t.input.len() + t.recurrent.len());
        (self.input.len() + self.recurrent.len() + self.bias.len() + transposed) * size_of::<f32>()
    }
}

/// Packs a matrix whose columns are gates. Padding stays as it is.
fn pack_gates<'a>(
    packed: &mut [f32],
    shape: Shape,
    depth: usize,
    gate_matrix: impl Fn(usize) -> GateMatrix<'a>,
) {
    let layout = shape.gates_layout(depth);
    if depth == 0 {
        return;
    }
    for unit in (0..shape.units).step_by(shape.lanes) {
        let units = shape.lanes.min(shape.units - unit);
        for gate in 0..GATES {
            let GateMatrix { data, strides: [by_unit, by_input] } = gate_matrix(gate);
            let (start, step) = layout.column(layout.gate_column(gate, unit));
            let from = &data[unit * by_unit..];
            rearrange(from, [by_input, by_unit], &mut packed[start..], step, [depth, units]);
        }
    }
}

/// Packs a matrix whose rows are gates. Padding stays as it is.
fn pack_transposed<'a>(
    packed: &mut [f32],
    shape: Shape,
    columns: usize,
    gate_matrix: impl Fn(usize) -> GateMatrix<'a>,
) {
    let layout = shape.transposed_layout(columns);
    for column in (0..columns).step_by(shape.lanes) {
        let (start, step) = layout.column(column);
        let lanes = shape.lanes.min(columns - column);
        for gate in 0..GATES {
            let GateMatrix { data, strides: [by_unit, by_input] } = gate_matrix(gate);
            let to = &mut packed[start + gate * shape.gate_stride() * step..];
            rearrange(&data[column * by_input..], [by_unit, by_input], to, step, [shape.units, lanes]);
        }
    }
}
