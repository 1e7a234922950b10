//! The kinds of cells, and what memory and plans need to know of each.

/// A kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CellKind {
    Lstm,
}

impl CellKind {
    /// Gates: rows of W and R for each hidden unit.
    pub(crate) const fn gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
        }
    }

    /// Whether there is a state beside h that is carried from step to step: c.
    pub(crate) const fn has_cell_state(self) -> bool {
        match self {
            CellKind::Lstm => true,
        }
    }

    /// Numbers that a step records for each hidden unit, beside its states.
    pub(crate) const fn recorded(self) -> usize {
        match self {
            CellKind::Lstm => 4,
        }
    }
}
