//! Rows of narrow layers, which one call of a kernel leads through all of their steps.
//!
//! A step of some ten units takes less time than it takes to find out how to run it, so these ask for the kind of the
//! cell alone.

use crate::cell::kind::{CellKind, ResetGate};
use crate::shape::Shape;
use quadgate_kernels::{Kernels, NarrowRow};

/// Bytes of weights up to which a row of an LSTM is led so, wherever epilogues of larger layers can hide beside K loops
/// that wait for the second cache.
const NARROW_BYTES: usize = 40 << 10;

/// Most rows of a layer of so few weights that are led so, one after the other: of whole sequences, and of a single
/// step. The first cache holds the weights, and tiles of few rows take longer to begin and to end than they save.
///
/// Measured with AVX-512 at one thread on an Emerald Rapids, X = H, the time of tiles in multiples of that of rows one
/// after the other. 2, 3, 4 and 6 rows of 8 units: 2.0, 1.6, 1.4 and 1.2; of 16: 1.7, 1.4, 1.1 and 0.95; of 32: 1.5,
/// 1.35, 1.3 and 0.96; of 48: 1.25, 1.1, 1.05 and 0.8; but four rows of up to 16 units then take 1.1 times as long,
/// since W·x of each is a product of its own. A single step of 2, 3 and 4 rows of 8 units: 1.18, 0.94 and 0.88; of 24:
/// 1.25, 1.04 and 0.97; of 32: 1.07, 1.01 and 0.91.
const MOST_NARROW_ROWS: [usize; 2] = [3, 2];

/// Most rows of a plain cell that are best led so, if any, through all of a sequence or a single step. `inputs` count
/// unless W·x is hoisted.
pub(crate) fn most_led(kernels: &Kernels, shape: Shape, inputs: usize, is_single_step: bool) -> usize {
    let is_narrow = shape.units <= NARROW_BYTES && 16 * shape.units * (shape.units + inputs) <= NARROW_BYTES;
    let is_led = match shape.kind {
        CellKind::Lstm => is_narrow || !kernels.hides_epilogues(),
        CellKind::Gru(ResetGate::AfterProduct) => true,
        CellKind::Gru(ResetGate::BeforeProduct) | CellKind::Rnn(_) => false,
    };
    match (is_led && shape.blocks() <= NarrowRow::MOST_PANELS, is_narrow) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => MOST_NARROW_ROWS[usize::from(is_single_step)],
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
