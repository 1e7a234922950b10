//! Tables of input sums: for each entry W·x + b, in the order in which tiles read sums.

use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::views;
use crate::pack::PackedWeights;
use crate::parallel;
use crate::shape::Shape;
use crate::shared::{SharedWeights, WeightsId};
use quadgate_kernels::{Kernels, Product, Rows, Start, without_small};
use std::ops::Range;

/// The input products of a layer for each of N inputs: W·x + b, made once, so that a step that reads one of them by its
/// index multiplies h alone.
///
/// For characters and words: an embedding, `[N, X]`, folded with W ([`Lstm::table`](crate::Lstm::table)); or, of a
/// layer whose input is one of N (a one-hot vector), the columns of W themselves
/// ([`Lstm::table_of_sums`](crate::Lstm::table_of_sums)). A table takes N rows of 4H elements, padded, and serves the
/// layer that made it and its clones, as long as they have the weights of then.
#[derive(Clone, Debug)]
pub struct InputTable {
    /// `[N, width of sums]`
    sums: Buffer,
    width: usize,
    entries: usize,
    weights: WeightsId,
}

impl InputTable {
    /// Room for so many entries.
    fn new(weights: &SharedWeights, entries: usize) -> Result<Self, Error> {
        let width = weights.shape().sums_width();
        let sums = zeros("table", width.checked_mul(entries))?;
        Ok(Self { sums, width, entries, weights: weights.id() })
    }

    /// W·x + b of rows of x, over some threads.
    pub(crate) fn of_inputs(
        kernels: &Kernels,
        weights: &SharedWeights,
        inputs: Rows<'_>,
        threads: usize,
    ) -> Result<Self, Error> {
        let mut table = Self::new(weights, inputs.rows())?;
        let (entries, inputs_width) = (inputs.rows(), inputs.width());
        let has_small = (0..entries).any(|row| kernels.has_small(inputs.row(row)));
        let mut clean = zeros("table", inputs_width.checked_mul(if has_small { entries } else { 0 }))?;
        for (row, to) in clean.chunks_exact_mut(inputs_width.max(1)).enumerate() {
            to.iter_mut().zip(inputs.row(row)).for_each(|(to, &x)| *to = without_small(x));
        }
        let inputs = if has_small { views::rows(&clean, entries, inputs_width) } else { inputs };
        let to = views::slots(&mut table.sums, [1, entries, table.width]);
        parallel::run(to, threads, &|first, mut to| {
            let x = inputs.rows_of(first..first + to.batch());
            kernels.product(Product {
                start: Start::Bias(weights.bias()),
                terms: [weights.input_term(x), None],
                vectors: 0..weights.input().layout().vectors(),
                to: views::slot(&mut to, 0),
                scratch: &mut [],
            });
        });
        Ok(table)
    }

    /// The same of rows of W·x, in which the gates of the parameters stand at these positions.
    pub(crate) fn of_sums(
        weights: &SharedWeights,
        sums: Rows<'_>,
        positions: &[usize],
    ) -> Result<Self, Error> {
        let mut table = Self::new(weights, sums.rows())?;
        let (units, groups) = (weights.shape().units, weights.shape().groups());
        for (row, to) in table.sums.chunks_exact_mut(table.width).enumerate() {
            let row = sums.row(row);
            pack_sums(weights, |gate| &row[positions[gate] * units..][..units], 0..groups, to);
        }
        Ok(table)
    }

    /// N, the number of entries.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.sums.len() * size_of::<f32>()
    }

    /// W·x + b of an entry, packed.
    pub(crate) fn row(&self, entry: usize) -> &[f32] {
        &self.sums[entry * self.width..][..self.width]
    }

    /// `Ok` if it was made with these weights.
    pub(crate) fn check(&self, weights: &SharedWeights) -> Result<(), Error> {
        if weights.are(&self.weights) { Ok(()) } else { Err(Error::OtherWeights { argument: "table" }) }
    }
}

/// Writes sums + b of one row to what some groups of units have of a packed row: `sums` has W·x of all units for each
/// gate of the parameters.
pub(crate) fn pack_sums<'s>(
    weights: &PackedWeights,
    sums: impl Fn(usize) -> &'s [f32],
    groups: Range<usize>,
    mut to: &mut [f32],
) {
    let shape = weights.shape();
    let (layout, kind) = (shape.gates_layout(1), shape.kind);
    for vectors in shape.sums_of(groups) {
        let columns = shape.columns_of(vectors);
        let (part, rest) = to.split_at_mut(columns.len());
        part.copy_from_slice(&weights.bias()[columns.clone()]);
        for gate in 0..kind.weight_gates() {
            let sums = sums(gate);
            // Units of a vector are neighbors.
            for first in (0..shape.units).step_by(shape.lanes) {
                let column = kind.column(&layout, kind.input_sum(gate), first);
                if columns.contains(&column) {
                    let to = &mut part[column - columns.start..];
                    let sums = &sums[first..shape.units.min(first + shape.lanes)];
                    to.iter_mut().zip(sums).for_each(|(to, &sum)| *to += without_small(sum));
                }
            }
        }
        to = rest;
    }
}

/// Where W·x of a gate of the parameters lies in a row of gate gradients.
pub(crate) fn gate_columns(shape: Shape, gate: usize) -> Range<usize> {
    let first = shape.kind.input_sum(gate) * shape.gate_stride();
    first..first + shape.units
}
