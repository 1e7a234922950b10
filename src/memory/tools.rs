//! What kernels and teams work with.

use crate::memory::buffer::Buffer;
use crate::memory::views;
use crate::shape::Shape;
use quadgate_kernels::{Progress, SequenceMut};

/// What kernels and teams work with. It holds nothing from one product to the next.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Scratch of the kernels.
    pub(crate) scratch: Buffer,
    /// Elements of it for each row.
    pub(crate) scratch_per_row: usize,
    /// How far the members of a team have come.
    pub(crate) progress: Vec<Progress>,
    /// What the first half of a step makes for the second, if there are halves: two slots of padded units of all rows.
    pub(crate) between_halves: Buffer,
}

/// What a team works with.
pub(crate) struct TeamTools<'a> {
    /// How far its members have come.
    pub(crate) progress: &'a mut [Progress],
    /// Scratch for each of them.
    pub(crate) scratch: &'a mut [f32],
    /// What halves of steps pass on, `[2, rows, padded units]`.
    pub(crate) between_halves: SequenceMut<'a>,
}

impl Tools {
    /// Scratch for kernels over `rows` rows, the same for each.
    pub(crate) fn scratch_for(&mut self, rows: usize) -> &mut [f32] {
        &mut self.scratch[..rows * self.scratch_per_row]
    }

    /// For a team over `rows` rows. There is no scratch if no sum is long enough to need it, or if the workspace was
    /// made for fewer members, who are then slower with large weights.
    pub(crate) fn for_team(&mut self, shape: Shape, members: usize, rows: usize) -> TeamTools<'_> {
        let len = members.checked_mul(rows).and_then(|rows| rows.checked_mul(self.scratch_per_row));
        TeamTools {
            progress: &mut self.progress[..members],
            scratch: len.and_then(|len| self.scratch.get_mut(..len)).unwrap_or_default(),
            between_halves: views::slots_if_any(&mut self.between_halves, [2, rows, shape.padded_units()]),
        }
    }
}
