//! Rows of narrow layers, which one call of a kernel leads through all of their steps.
//!
//! A step of some ten units takes less time than it takes to find out how to run it, so these ask for the kind of the cell alone.

use crate::cell::kind::{CellKind, ResetGate};
use crate::shape::Shape;
use quadgate_kernels::{Kernels, NarrowRow};

/// Bytes of weights up to which a row of an LSTM is led so, wherever epilogues of larger layers can hide beside K loops that wait for
/// the second cache.
const NARROW_BYTES: usize = 40 << 10;

/// Whether a row alone of a plain cell is best led so. `inputs` count unless W·x is hoisted.
pub(crate) fn is_led(kernels: &Kernels, shape: Shape, inputs: usize) -> bool {
    let fits = shape.blocks() <= NarrowRow::MOST_PANELS;
    match shape.kind {
        CellKind::Lstm => {
            let is_narrow =
                shape.units <= NARROW_BYTES && 16 * shape.units * (shape.units + inputs) <= NARROW_BYTES;
            fits && (is_narrow || !kernels.hides_epilogues())
        }
        CellKind::Gru(ResetGate::AfterProduct) => fits,
        CellKind::Gru(ResetGate::BeforeProduct) | CellKind::Rnn(_) => false,
    }
}

/// All steps of one row of such a layer; `cell` is c, if there is one.
#[inline]
pub(crate) fn lead(kernels: &Kernels, kind: CellKind, row: NarrowRow<'_>, cell: &mut [f32]) {
    match kind {
        CellKind::Lstm => kernels.lstm_row_steps(row, cell),
        CellKind::Gru(_) => kernels.gru_row_steps(row),
        CellKind::Rnn(_) => unreachable!("a driver asks whether a row is led"),
    }
}
