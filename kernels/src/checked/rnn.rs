//! The plain recurrent cell: arguments, and the checks that make calling its kernels safe.

use crate::cells::rnn::{Nonlinearity, RnnRows};
use crate::cells::rnn_backward::RnnBackwardRows;
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use core::ops::Range;

/// One step of a plain recurrent cell for some rows: h' = φ(start + Σ terms).
#[derive(Debug)]
pub struct RnnStep<'a> {
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order. The weights have a column for each unit.
    pub terms: [Option<Term<'a>>; 2],
    /// The vectors of units to compute. All other arguments are of the hidden units in these vectors alone.
    pub vectors: Range<usize>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// φ
    pub function: Nonlinearity,
    /// h', rows padded to whole vectors.
    pub hidden: RowsMut<'a>,
    /// h' once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// Hidden units in the vectors, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// The backward pass of one step of a plain recurrent cell for some rows: dZ = (start + dZ' · R + cotangent) · φ'.
#[derive(Debug)]
pub struct RnnBackwardStep<'a> {
    /// What dh starts from: the gradient of the last h, at the last step.
    pub start: Start<'a>,
    /// dZ' of the step after this one, times R with a column per unit; none at the last step.
    pub recurrent: Option<Term<'a>>,
    /// The vectors of units to compute. All other arguments are of the hidden units in these vectors alone.
    pub vectors: Range<usize>,
    /// φ
    pub function: Nonlinearity,
    /// Cotangent of h, one element per unit.
    pub cotangent: Option<Rows<'a>>,
    /// h of this step, padded to whole vectors.
    pub hidden: Rows<'a>,
    /// Where dZ goes: a row for each row, one element per unit (or more).
    pub gate_gradients: RowsMut<'a>,
    /// Hidden units in the vectors, not padded.
    pub units: usize,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

impl Kernels {
    /// One step of a plain recurrent cell: see [`RnnStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn rnn_step(&self, step: RnnStep<'_>) {
        let RnnStep { start, terms, vectors, order, function, mut hidden, mut output, units, scratch } = step;
        let rows = hidden.rows();
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {units} units");
        let sweep = check_sweep(layout, vectors.start, rows, order, start, terms, scratch);
        check_rows("h", (hidden.rows(), hidden.width()), rows, layout.width());
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        let rows = RnnRows {
            hidden: hidden.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            units,
            function,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; `hidden` has all vectors for each row and `output` has
        // `units` elements, exclusively borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.rnn, &rows) }
    }

    /// The backward pass of such a step: see [`RnnBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn rnn_backward_step(&self, step: RnnBackwardStep<'_>) {
        let RnnBackwardStep { start, recurrent, vectors, function, cotangent, hidden, .. } = step;
        let RnnBackwardStep { mut gate_gradients, units, scratch, .. } = step;
        let rows = gate_gradients.rows();
        check_units(units);
        let layout = PanelLayout::of_columns(units, self.lanes(), 1);
        assert_eq!(vectors.len(), layout.vectors(), "vectors of {units} units");
        let terms = [recurrent, None];
        let sweep = check_sweep(layout, vectors.start, rows, Order::Forward, start, terms, scratch);
        check_rows("h", (hidden.rows(), hidden.width()), rows, layout.width());
        check_rows("dZ", (rows, gate_gradients.width()), rows, units);
        if let Some(cotangent) = &cotangent {
            check_rows("cotangent", (cotangent.rows(), cotangent.width()), rows, units);
        }
        let backward = RnnBackwardRows {
            cotangent: cotangent.as_ref().map_or(RawRows::NONE, Rows::raw),
            hidden: hidden.raw(),
            gate_gradients: gate_gradients.raw(),
            units,
            function,
        };
        // SAFETY: `check_sweep` checked what the sweep reads; `hidden` has all vectors for each row, `cotangent` and dZ
        // have `units` elements, and what is written is exclusively borrowed.
        unsafe { sweep::run(&self.tiles, &sweep, &self.rnn_backward, &backward) }
    }
}
