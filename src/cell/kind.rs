//! The kinds of cells, and what memory and plans need to know of each.

use quadgate_kernels::{Blank, Nonlinearity, PanelLayout};
use std::ops::Range;

/// Where the reset gate of a gated recurrent unit is applied.
///
/// It decides what a layer computes, so it must be that of the framework from which its weights come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ResetGate {
    /// n = tanh(W·x + b + r ∘ (R·h + b′)): PyTorch, cuDNN, candle, Keras' `reset_after=True`, ONNX's
    /// `linear_before_reset=1`, oneDNN's `lbr_gru`. The products of all gates are one.
    #[default]
    AfterProduct,
    /// n = tanh(W·x + R·(r ∘ h) + b), as in Cho et al. 2014: Keras' `reset_after=False`, ONNX's
    /// `linear_before_reset=0`, oneDNN's `vanilla_gru`. The product of n waits for r of all units.
    BeforeProduct,
}

/// A kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub(crate) enum CellKind {
    Lstm,
    /// With the reset gate after the product, its sums are x̂, r, z and ĥ: the products of the candidate stay apart.
    /// With the gate before it they are r, z and n.
    Gru(ResetGate),
    Rnn(Nonlinearity),
}

impl CellKind {
    /// Sums for each hidden unit, and so gradients of them and biases: one for each gate, but two where the products of
    /// a gate stay apart.
    pub(crate) const fn gates(self) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru(ResetGate::AfterProduct) => 4,
            CellKind::Gru(ResetGate::BeforeProduct) => 3,
            CellKind::Rnn(_) => 1,
        }
    }

    /// Rows of W, and of R, for each hidden unit.
    pub(crate) const fn weight_gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Gru(_) => 3,
            CellKind::Rnn(_) => 1,
        }
    }

    /// The sum that W of a gate feeds. Gates are numbered as in parameters: i, f, g, o; r, z, n.
    pub(crate) const fn input_sum(self, gate: usize) -> usize {
        match self {
            CellKind::Gru(ResetGate::AfterProduct) => (gate + 1) % 3,
            CellKind::Gru(_) | CellKind::Lstm | CellKind::Rnn(_) => gate,
        }
    }

    /// The sum that R of a gate feeds.
    pub(crate) const fn recurrent_sum(self, gate: usize) -> usize {
        match self {
            CellKind::Gru(ResetGate::AfterProduct) => gate + 1,
            CellKind::Gru(_) | CellKind::Lstm | CellKind::Rnn(_) => gate,
        }
    }

    /// The sum that a bias belongs to. Biases are numbered as in parameters: of r, z, and x̂ and ĥ of n.
    pub(crate) const fn bias_sum(self, bias: usize) -> usize {
        match self {
            CellKind::Gru(ResetGate::AfterProduct) if bias < 3 => self.input_sum(bias),
            CellKind::Gru(_) | CellKind::Lstm | CellKind::Rnn(_) => bias,
        }
    }

    /// The sums that W feeds.
    pub(crate) const fn input_sums(self) -> Range<usize> {
        0..self.weight_gates()
    }

    /// The sums that R feeds.
    pub(crate) const fn recurrent_sums(self) -> Range<usize> {
        self.gates() - self.weight_gates()..self.gates()
    }

    /// The sums that R feeds with h itself: all of these, but that behind a reset gate.
    pub(crate) const fn plain_recurrent_sums(self) -> Range<usize> {
        match self {
            CellKind::Gru(ResetGate::BeforeProduct) => 0..2,
            CellKind::Gru(_) | CellKind::Lstm | CellKind::Rnn(_) => self.recurrent_sums(),
        }
    }

    /// Whether R of a gate is multiplied with r ∘ h rather than h.
    pub(crate) const fn is_gated(self, gate: usize) -> bool {
        self.has_gated_product() && gate == 2
    }

    /// Whether R of some gate is multiplied with r ∘ h rather than h. Then a step needs all units of a row.
    pub(crate) const fn has_gated_product(self) -> bool {
        matches!(self, CellKind::Gru(ResetGate::BeforeProduct))
    }

    /// Whether there is a state beside h that is carried from step to step: c.
    pub(crate) const fn has_cell_state(self) -> bool {
        match self {
            CellKind::Lstm => true,
            CellKind::Gru(_) | CellKind::Rnn(_) => false,
        }
    }

    /// Whether gradients are carried back from step to step beside those that pass through R: of c, or of h where the
    /// new h has a part of the old one in it.
    pub(crate) const fn has_carry(self) -> bool {
        match self {
            CellKind::Lstm | CellKind::Gru(_) => true,
            CellKind::Rnn(_) => false,
        }
    }

    /// Numbers that a step records for each hidden unit, beside its states.
    pub(crate) const fn recorded(self) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru(ResetGate::AfterProduct) => 4,
            CellKind::Gru(ResetGate::BeforeProduct) => 3,
            CellKind::Rnn(_) => 0,
        }
    }

    /// The layout of a matrix from `depth` inputs to the gates of `units` units.
    pub(crate) const fn layout(self, units: usize, lanes: usize, depth: usize) -> PanelLayout {
        match self {
            CellKind::Lstm => PanelLayout::of_gates(self.gates(), units, lanes, depth),
            // Full panels, of which W and R leave out a vector each.
            CellKind::Gru(ResetGate::AfterProduct) => {
                PanelLayout::of_gates(self.gates(), units.next_multiple_of(lanes), lanes, depth)
            }
            // A gate after the other, padded to whole vectors.
            CellKind::Gru(ResetGate::BeforeProduct) => {
                PanelLayout::of_columns(self.gates() * units.next_multiple_of(lanes), lanes, depth)
            }
            CellKind::Rnn(_) => PanelLayout::of_columns(units, lanes, depth),
        }
    }

    /// The vectors of a panel that W and R leave out.
    pub(crate) const fn blanks(self) -> [Blank; 2] {
        match self {
            CellKind::Gru(ResetGate::AfterProduct) => [Blank::Last, Blank::First],
            CellKind::Gru(_) | CellKind::Lstm | CellKind::Rnn(_) => [Blank::None; 2],
        }
    }

    /// The column of one sum of one unit in such a matrix.
    pub(crate) const fn column(self, layout: &PanelLayout, sum: usize, unit: usize) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru(ResetGate::AfterProduct) => layout.gate_column(sum, unit),
            CellKind::Gru(ResetGate::BeforeProduct) => sum * (layout.width() / self.gates()) + unit,
            CellKind::Rnn(_) => unit,
        }
    }
}
