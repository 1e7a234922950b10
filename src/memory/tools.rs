//! What kernels and teams work with.

use crate::memory::buffer::Buffer;
use quadgate_kernels::Progress;

/// What kernels and teams work with. It holds nothing from one product to the next.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Scratch of the kernels.
    pub(crate) scratch: Buffer,
    /// Elements of it for each row.
    pub(crate) scratch_per_row: usize,
    /// How far the members of a team have come.
    pub(crate) progress: Vec<Progress>,
}

impl Tools {
    /// Scratch for kernels over `rows` rows, the same for each.
    pub(crate) fn scratch_for(&mut self, rows: usize) -> &mut [f32] {
        &mut self.scratch[..rows * self.scratch_per_row]
    }

    /// For a team: how far its members have come, and scratch for each of them over `rows` rows. There is none if no
    /// sum is long enough to need it, or if the workspace was made for fewer members, who are then slower with large
    /// weights.
    pub(crate) fn for_team(&mut self, members: usize, rows: usize) -> (&mut [Progress], &mut [f32]) {
        let len = members.checked_mul(rows).and_then(|rows| rows.checked_mul(self.scratch_per_row));
        let scratch = len.and_then(|len| self.scratch.get_mut(..len));
        (&mut self.progress[..members], scratch.unwrap_or_default())
    }
}
