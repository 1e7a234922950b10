//! The kinds of cells, and what memory and plans need to know of each.

use quadgate_kernels::{Nonlinearity, PanelLayout};

/// A kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
    Rnn(Nonlinearity),
}

impl CellKind {
    /// Gates: rows of W and R for each hidden unit.
    pub(crate) const fn gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Rnn(_) => 1,
        }
    }

    /// Whether there is a state beside h that is carried from step to step: c.
    pub(crate) const fn has_cell_state(self) -> bool {
        match self {
            CellKind::Lstm => true,
            CellKind::Rnn(_) => false,
        }
    }

    /// Numbers that a step records for each hidden unit, beside its states.
    pub(crate) const fn recorded(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Rnn(_) => 0,
        }
    }

    /// The layout of a matrix from `depth` inputs to the gates of `units` units.
    pub(crate) const fn layout(self, units: usize, lanes: usize, depth: usize) -> PanelLayout {
        match self {
            CellKind::Lstm => PanelLayout::of_gates(self.gates(), units, lanes, depth),
            CellKind::Rnn(_) => PanelLayout::of_columns(units, lanes, depth),
        }
    }

    /// The column of one gate of one unit in such a matrix.
    pub(crate) const fn column(self, layout: &PanelLayout, gate: usize, unit: usize) -> usize {
        match self {
            CellKind::Lstm => layout.gate_column(gate, unit),
            CellKind::Rnn(_) => unit,
        }
    }
}
