//! h and c of some rows, and what their steps record.

use quadgate_kernels::SequenceMut;

/// Where h and c live, rows padded to whole vectors.
pub(crate) struct States<'a> {
    /// h: step s writes slot (first + s) modulo the number of slots, and reads the slot before.
    pub(crate) hidden: SequenceMut<'a>,
    /// Slot of h that step 0 writes.
    pub(crate) first: usize,
    /// c: with a tape, like h; else one slot.
    pub(crate) cell: SequenceMut<'a>,
    /// With a tape, what steps record: step s writes slot s.
    pub(crate) recorded: Option<SequenceMut<'a>>,
    /// With a tape and a clipped projection, what is clipped: step s writes slot s.
    pub(crate) projected: Option<SequenceMut<'a>>,
}

impl States<'_> {
    /// Cuts them before row `at`.
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        let (hidden, other_hidden) = self.hidden.split_rows(at);
        let (cell, other_cell) = self.cell.split_rows(at);
        let (recorded, other_recorded) = self.recorded.map(|recorded| recorded.split_rows(at)).unzip();
        let (projected, other_projected) = self.projected.map(|rows| rows.split_rows(at)).unzip();
        let first = self.first;
        (
            States { hidden, first, cell, recorded, projected },
            States {
                hidden: other_hidden,
                first,
                cell: other_cell,
                recorded: other_recorded,
                projected: other_projected,
            },
        )
    }
}
