//! Sizes of a layer and of its rows, as memory and kernels have them.

use crate::cell::kind::CellKind;
use crate::error::Error;
use quadgate_kernels::{Caches, PANEL_VECTORS, PART_BYTES, PanelLayout};
use std::ops::Range;

/// Elements of a cache line.
const CACHE_LINE: usize = 16;

/// Rows that are a multiple of this many elements apart share an eighth of the sets of a first cache, or fewer.
const CACHE_PERIOD: usize = 8 * CACHE_LINE;

/// A gap that moves such rows apart.
const CACHE_GAP: usize = 4;

/// Sizes of a layer, and of its rows when padded to whole vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// X
    pub(crate) inputs: usize,
    /// H
    pub(crate) units: usize,
    /// Elements of h: P with a projection, else H.
    pub(crate) outputs: usize,
    /// Elements in a vector.
    pub(crate) lanes: usize,
    /// Of the CPU: plans depend on them, results do not.
    pub(crate) caches: Caches,
    pub(crate) kind: CellKind,
    /// Whether the cell has options. Then steps record their sums.
    pub(crate) has_options: bool,
}

impl Shape {
    /// `Ok` if rows of h and c that were made for a layer of another shape are those of this one.
    pub(crate) fn check_rows(self, argument: &'static str, of: Shape) -> Result<(), Error> {
        Error::check_dimension(argument, "hidden size", self.units, of.units)?;
        Error::check_dimension(argument, "output size", self.outputs, of.outputs)?;
        if self.kind != of.kind {
            let because = "a layer of another kind of cell than it was made for";
            return Err(Error::Unsupported { argument, because });
        }
        Error::check_dimension(argument, "lanes", self.lanes, of.lanes)
    }

    /// H, padded to whole vectors.
    #[inline]
    pub(crate) fn padded_units(self) -> usize {
        self.padded(self.units)
    }

    /// Elements of h, padded to whole vectors.
    #[inline]
    pub(crate) fn padded_outputs(self) -> usize {
        self.padded(self.outputs)
    }

    /// Lanes are a power of two, and a division would take as long as some units of a narrow layer.
    #[inline]
    fn padded(self, elements: usize) -> usize {
        elements.saturating_add(self.lanes - 1) & !(self.lanes - 1)
    }

    /// Bytes of W and R.
    pub(crate) fn weight_bytes(self) -> usize {
        let inputs = self.inputs.saturating_add(self.outputs);
        self.sums_width().saturating_mul(inputs).saturating_mul(size_of::<f32>())
    }

    /// Whether a panel of weights is read in parts, between which sums wait in scratch.
    pub(crate) fn has_long_sums(self) -> bool {
        let depth = self.inputs.saturating_add(self.outputs).max(self.gate_gradients_width());
        depth.saturating_mul(self.panel_width()) > PART_BYTES / size_of::<f32>()
    }

    /// Whether a step has two halves, the second of which reads what the first made of all units.
    #[inline]
    pub(crate) fn has_halves(self) -> bool {
        self.kind.has_gated_product() && !self.has_options
    }

    /// Groups of hidden units that threads share in a step: the units of a panel of W and R, which has all their gates;
    /// where each gate has panels of its own, the units of a vector.
    pub(crate) fn groups(self) -> usize {
        if self.has_gates_apart() { self.blocks() } else { self.gates_layout(0).panels() }
    }

    /// Hidden units of a full group.
    pub(crate) fn group_units(self) -> usize {
        if self.has_gates_apart() { self.lanes } else { self.panel_width() / self.gates() }
    }

    /// Sums of a full group.
    pub(crate) fn group_sums(self) -> usize {
        self.gates() * self.group_units()
    }

    /// Where the gate that is multiplied with h, of a vector of units from `unit` on, lies in a recorded row: with
    /// options the gates follow each other, else those of each vector.
    pub(crate) fn recorded_gate(self, unit: usize) -> usize {
        if self.has_options { unit } else { self.recorded() * unit }
    }

    /// Elements of a recorded row that belong to a full group.
    pub(crate) fn recorded_group(self) -> usize {
        self.recorded() * self.group_units()
    }

    /// The vectors of sums of some groups, in one range or in one for each gate.
    pub(crate) fn sums_of(self, groups: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (all, layout) = (self.blocks(), self.gates_layout(0));
        let ranges = if self.has_gates_apart() && groups != (0..all) { self.gates() } else { 1 };
        (0..ranges).map(move |gate| match (ranges, self.has_gates_apart()) {
            (1, true) => 0..layout.vectors(),
            (1, false) => layout.vectors_of(groups.clone()),
            _ => gate * all + groups.start..gate * all + groups.end,
        })
    }

    /// The columns of what the sums of some groups start from where all share one row: from the first to the last.
    #[inline]
    pub(crate) fn start_columns(self, groups: Range<usize>) -> Range<usize> {
        let gates_before = if self.has_gates_apart() { (self.gates() - 1) * self.blocks() } else { 0 };
        let group = if self.has_gates_apart() { 1 } else { PANEL_VECTORS };
        let all = self.gates_layout(0).vectors();
        self.columns_of(groups.start * group..all.min(gates_before + groups.end * group))
    }

    /// The columns of some vectors.
    #[inline]
    pub(crate) fn columns_of(self, vectors: Range<usize>) -> Range<usize> {
        vectors.start * self.lanes..vectors.end * self.lanes
    }

    /// Whether the sums of each gate lie in panels of their own.
    fn has_gates_apart(self) -> bool {
        self.kind.has_gated_product()
    }

    /// Numbers that a step records for each hidden unit, beside its states. A gate that is multiplied with h comes
    /// first, see [`Shape::recorded_gate`].
    pub(crate) fn recorded(self) -> usize {
        if !self.has_options {
            return self.kind.recorded();
        }
        self.gates() + usize::from(self.kind.has_gated_product())
    }

    /// Blocks of hidden units: vectors of them.
    pub(crate) fn blocks(self) -> usize {
        self.padded_units() >> self.lanes.trailing_zeros()
    }

    /// Elements in a packed row of gate sums.
    pub(crate) fn sums_width(self) -> usize {
        self.gates_layout(1).width()
    }

    /// Elements of W·x of one row, gate by gate of the parameters.
    pub(crate) fn given_width(self) -> usize {
        self.kind.weight_gates() * self.units
    }

    /// The same of a layer whose W·x is given.
    pub(crate) fn without_inputs(self) -> Self {
        Self { inputs: 0, ..self }
    }

    /// Sums for each hidden unit, see [`CellKind::gates`].
    pub(crate) fn gates(self) -> usize {
        self.kind.gates()
    }

    /// Elements of c, padded to whole vectors; none if the cell has no such state.
    pub(crate) fn padded_cell(self) -> usize {
        if self.kind.has_cell_state() { self.padded_units() } else { 0 }
    }

    /// Elements of what is carried back from step to step, padded; see [`CellKind::has_carry`].
    pub(crate) fn padded_carry(self) -> usize {
        if self.kind.has_carry() { self.padded_units() } else { 0 }
    }

    /// Elements in a recorded row: for each panel what a step records of its units, padded.
    pub(crate) fn recorded_width(self) -> usize {
        self.recorded() * self.padded_units()
    }

    /// Elements between the gates of a row of gate gradients, which has all units of i, then of f, g and o.
    ///
    /// There is a gap of zeros where rows would else be a power of two apart, or nearly: a weight gradient reads some
    /// columns of many rows, and they would all fall into the same few sets of each cache.
    pub(crate) fn gate_stride(self) -> usize {
        self.units + if (self.gates() * self.units).is_multiple_of(CACHE_PERIOD) { CACHE_GAP } else { 0 }
    }

    /// Elements in a row of gate gradients.
    pub(crate) fn gate_gradients_width(self) -> usize {
        self.gates() * self.gate_stride()
    }

    /// The columns of such a row that pass through W.
    pub(crate) fn input_columns(self) -> Range<usize> {
        let Range { start, end } = self.kind.input_sums();
        start * self.gate_stride()..end * self.gate_stride()
    }

    /// The columns of such a row that pass through R.
    pub(crate) fn recurrent_columns(self) -> Range<usize> {
        let Range { start, end } = self.kind.recurrent_sums();
        start * self.gate_stride()..end * self.gate_stride()
    }

    /// The columns of such a row that pass through R straight to h; the first is the first of all that pass through R.
    pub(crate) fn plain_recurrent_columns(self) -> Range<usize> {
        let Range { start, end } = self.kind.plain_recurrent_sums();
        start * self.gate_stride()..end * self.gate_stride()
    }

    /// Elements in a row of a full panel.
    pub(crate) fn panel_width(self) -> usize {
        PANEL_VECTORS * self.lanes
    }

    /// The columns of each panel of rows of `width` elements, such as x or h.
    pub(crate) fn panels_of(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (0..width).step_by(self.panel_width()).map(move |start| start..width.min(start + self.panel_width()))
    }

    /// Panels of x and of h, and of gated h where a cell has such a product. They do not share any.
    pub(crate) fn input_and_state_panels(self) -> usize {
        let states = self.outputs.div_ceil(self.panel_width());
        self.inputs.div_ceil(self.panel_width()) + states * (1 + usize::from(self.kind.has_gated_product()))
    }

    /// The layout of a matrix from `depth` inputs to the gates.
    pub(crate) fn gates_layout(self, depth: usize) -> PanelLayout {
        self.kind.layout(self.units, self.lanes, depth)
    }

    /// The layout of W.
    pub(crate) fn input_layout(self) -> PanelLayout {
        self.gates_layout(self.inputs).with_blank(self.kind.blanks()[0])
    }

    /// The layout of R.
    pub(crate) fn recurrent_layout(self) -> PanelLayout {
        self.gates_layout(self.outputs).with_blank(self.kind.blanks()[1])
    }

    /// The layout of V: from units to outputs.
    pub(crate) fn projection_layout(self) -> PanelLayout {
        PanelLayout::of_columns(self.outputs, self.lanes, self.units)
    }

    /// The layout of Vᵀ: from gradients of outputs back to units.
    pub(crate) fn transposed_projection_layout(self) -> PanelLayout {
        PanelLayout::of_columns(self.units, self.lanes, self.outputs)
    }

    /// The layout of Wᵀ: from gate gradients back to x.
    pub(crate) fn transposed_input_layout(self) -> PanelLayout {
        PanelLayout::of_columns(self.inputs, self.lanes, self.input_columns().len())
    }

    /// The layout of Rᵀ: from gate gradients back to h.
    pub(crate) fn transposed_recurrent_layout(self) -> PanelLayout {
        PanelLayout::of_columns(self.outputs, self.lanes, self.recurrent_columns().len())
    }
}
