//! Sums that a call gives in the place of W·x: one for each step, or entries of a table by index.
//!
//! Such a pass is that of a layer without inputs under the hoisted schedule, but that what steps start from is copied
//! rather than multiplied: row by row, so that it makes no difference whether all rows run a step. The gradient of a
//! sum is dZ.

use crate::error::Error;
use crate::indices::StepIndices;
use crate::pack::PackedWeights;
use crate::parallel;
use crate::row_steps::RowSteps;
use crate::shape::Shape;
use crate::shared::SharedWeights;
use crate::table::{InputTable, gate_columns, pack_sums};
use crate::view::{Sequence, check_sequence};
use quadgate_kernels::{Rows, SequenceMut};
use std::ops::Range;

/// What a call gives in the place of W·x.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'a> {
    /// W·x of each step, `[T, B, gates · H]`.
    Sums(Sequence<'a>),
    /// The entry of a table that each step starts from.
    Table(&'a InputTable, StepIndices<'a>),
}

/// Where the gradient of what is given goes.
pub(crate) enum GivenGradient<'a> {
    None,
    /// `[T, B, gates · H]`
    Sums(SequenceMut<'a>),
    /// `[N, gates · H]`, one slot, and whether to add to what is there.
    Table {
        rows: SequenceMut<'a>,
        add: bool,
    },
}

impl<'a> Given<'a> {
    /// `[T, B]`
    pub(crate) fn shape(&self) -> [usize; 2] {
        match self {
            Given::Sums(Sequence { shape: [steps, batch, _], .. }) => [*steps, *batch],
            Given::Table(_, indices) => indices.shape,
        }
    }

    /// `Ok` if it fits a layer.
    pub(crate) fn check(
        &self,
        weights: &SharedWeights,
        row_steps: Option<RowSteps<'_>>,
    ) -> Result<(), Error> {
        match self {
            Given::Sums(sums) => {
                let [steps, batch] = self.shape();
                check_sequence("sums", [steps, batch, weights.shape().given_width()], sums.shape)?;
                sums.check_bounds("sums")
            }
            Given::Table(table, indices) => {
                table.check(weights)?;
                indices.check(row_steps, table.entries())
            }
        }
    }

    /// Writes what some groups of units of a row start from at a time.
    pub(crate) fn write(
        &self,
        weights: &PackedWeights,
        [time, row]: [usize; 2],
        groups: Range<usize>,
        mut to: &mut [f32],
    ) {
        let shape = weights.shape();
        match self {
            Given::Sums(sums) => {
                let sums = sums.row(time, row);
                pack_sums(weights, |gate| &sums[gate * shape.units..][..shape.units], groups, to);
            }
            Given::Table(table, indices) => {
                let entry = table.row(indices.of(time, row));
                for vectors in shape.sums_of(groups) {
                    let columns = shape.columns_of(vectors);
                    let (part, rest) = to.split_at_mut(columns.len());
                    part.copy_from_slice(&entry[columns]);
                    to = rest;
                }
            }
        }
    }
}

/// Writes the gradient of given sums of one row from its dZ.
pub(crate) fn write_gradient(shape: Shape, gate_gradients: &[f32], to: &mut [f32]) {
    for (gate, to) in to.chunks_exact_mut(shape.units).enumerate() {
        to.copy_from_slice(&gate_gradients[gate_columns(shape, gate)]);
    }
}

/// Adds rows of dZ to the entries from which their steps started; `entry` says which, of each row that has any. Threads
/// take entries, so each sum has one order.
pub(crate) fn add_to_table(
    shape: Shape,
    gate_gradients: Rows<'_>,
    threads: usize,
    gradient: &mut SequenceMut<'_>,
    entry: &(impl Fn(usize) -> Option<usize> + Sync),
) {
    parallel::run(gradient.all(), threads, &|first, mut part| {
        let entries = first..first + part.batch();
        for row in 0..gate_gradients.rows() {
            let Some(entry) = entry(row).filter(|entry| entries.contains(entry)) else { continue };
            let from = gate_gradients.row(row);
            for (gate, to) in part.row_mut(0, entry - first).chunks_exact_mut(shape.units).enumerate() {
                to.iter_mut().zip(&from[gate_columns(shape, gate)]).for_each(|(to, from)| *to += from);
            }
        }
    });
}
