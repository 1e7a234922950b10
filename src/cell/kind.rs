//! The kinds of cells, and what memory and plans need to know of each.

use quadgate_kernels::{Nonlinearity, PanelLayout};
use std::ops::Range;

/// A kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
    /// With the reset gate after the product. Its sums are x̂, r, z and ĥ: the products of the candidate stay apart.
    Gru,
    Rnn(Nonlinearity),
}

impl CellKind {
    /// Sums for each hidden unit, and so gradients of them and biases: one for each gate, but two where the products of a gate
    /// stay apart.
    pub(crate) const fn gates(self) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru => 4,
            CellKind::Rnn(_) => 1,
        }
    }

    /// Rows of W, and of R, for each hidden unit.
    pub(crate) const fn weight_gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
            CellKind::Rnn(_) => 1,
        }
    }

    /// The sum that W of a gate feeds. Gates are numbered as in parameters: i, f, g, o; r, z, n.
    pub(crate) const fn input_sum(self, gate: usize) -> usize {
        match self {
            CellKind::Gru => (gate + 1) % 3,
            CellKind::Lstm | CellKind::Rnn(_) => gate,
        }
    }

    /// The sum that R of a gate feeds.
    pub(crate) const fn recurrent_sum(self, gate: usize) -> usize {
        match self {
            CellKind::Gru => gate + 1,
            CellKind::Lstm | CellKind::Rnn(_) => gate,
        }
    }

    /// The sum that a bias belongs to. Biases are numbered as in parameters: of r, z, and x̂ and ĥ of n.
    pub(crate) const fn bias_sum(self, bias: usize) -> usize {
        match self {
            CellKind::Gru if bias < 3 => self.input_sum(bias),
            CellKind::Gru | CellKind::Lstm | CellKind::Rnn(_) => bias,
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

    /// Whether there is a state beside h that is carried from step to step: c.
    pub(crate) const fn has_cell_state(self) -> bool {
        match self {
            CellKind::Lstm => true,
            CellKind::Gru | CellKind::Rnn(_) => false,
        }
    }

    /// Whether gradients are carried back from step to step beside those that pass through R: of c, or of h where the new h has a
    /// part of the old one in it.
    pub(crate) const fn has_carry(self) -> bool {
        match self {
            CellKind::Lstm | CellKind::Gru => true,
            CellKind::Rnn(_) => false,
        }
    }

    /// Numbers that a step records for each hidden unit, beside its states.
    pub(crate) const fn recorded(self) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru => 4,
            CellKind::Rnn(_) => 0,
        }
    }

    /// The layout of a matrix from `depth` inputs to the gates of `units` units.
    pub(crate) const fn layout(self, units: usize, lanes: usize, depth: usize) -> PanelLayout {
        match self {
            CellKind::Lstm | CellKind::Gru => PanelLayout::of_gates(self.gates(), units, lanes, depth),
            CellKind::Rnn(_) => PanelLayout::of_columns(units, lanes, depth),
        }
    }

    /// The column of one sum of one unit in such a matrix.
    pub(crate) const fn column(self, layout: &PanelLayout, sum: usize, unit: usize) -> usize {
        match self {
            CellKind::Lstm | CellKind::Gru => layout.gate_column(sum, unit),
            CellKind::Rnn(_) => unit,
        }
    }
}
