//! The plain recurrent cell with options: arguments, and the checks that make calling its kernels safe.

use crate::cells::function::ActivationFunction;
use crate::cells::rnn_options::RnnOptionsRows;
use crate::cells::rnn_options_backward::RnnOptionsBackwardRows;
use crate::checked::gates::{GateOptions, check_gate_gradients};
use crate::checked::gemm::check_rows;
use crate::dispatch::Kernels;
use crate::views::{Rows, RowsMut};

/// The cell over sums that a [`Kernels::product`] wrote: h̃ = φ(clip z).
#[derive(Debug)]
pub struct RnnOptionsStep<'a> {
    /// The gates, of which this is one.
    pub options: GateOptions<'a>,
    /// Which.
    pub gate: usize,
    /// φ
    pub function: ActivationFunction,
    /// Packed rows.
    pub sums: Rows<'a>,
    /// Where h̃ goes, padded.
    pub hidden: RowsMut<'a>,
}

/// Its backward pass.
#[derive(Debug)]
pub struct RnnOptionsBackwardStep<'a> {
    /// The gates, of which this is one.
    pub options: GateOptions<'a>,
    /// Which.
    pub gate: usize,
    /// φ
    pub function: ActivationFunction,
    /// The sums of the forward pass.
    pub sums: Rows<'a>,
    /// dh̃, one element per unit.
    pub hidden_gradient: Rows<'a>,
    /// Where the gradients of the sums go: for each row a row for each gate, one element per unit. Those of this gate
    /// are written.
    pub gate_gradients: RowsMut<'a>,
    /// Where the products go whose sums over all rows are the gradients of a normalization: for each row the gates'
    /// rows of the scale, then those of the shift. Needed if there is one.
    pub normalization_terms: Option<RowsMut<'a>>,
}

impl Kernels {
    /// The plain recurrent cell with options: see [`RnnOptionsStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn rnn_options_step(&self, cell: RnnOptionsStep<'_>) {
        let RnnOptionsStep { options, gate, function, sums, mut hidden } = cell;
        let rows = sums.rows();
        let (gates, padded) = self.check_gate_options(options);
        assert!(gate < options.gates, "gate {gate}");
        check_rows("sums", (rows, sums.width()), rows, options.gates * padded);
        check_rows("h", (hidden.rows(), hidden.width()), rows, padded);
        let (sums, hidden) = (sums.raw(), hidden.raw());
        let forward = RnnOptionsRows { rows, gates, gate, function, sums, hidden };
        // SAFETY: for each row, the sums have a packed row and `hidden`, which is exclusively borrowed, all vectors.
        unsafe { (self.rnn_options)(forward) }
    }

    /// Its backward pass: see [`RnnOptionsBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn rnn_options_backward_step(&self, cell: RnnOptionsBackwardStep<'_>) {
        let RnnOptionsBackwardStep { options, gate, function, sums, hidden_gradient, .. } = cell;
        let (mut gate_gradients, mut terms) = (cell.gate_gradients, cell.normalization_terms);
        let (rows, units, all) = (sums.rows(), options.units, options.gates);
        let (gates, padded) = self.check_gate_options(options);
        assert!(gate < all, "gate {gate}");
        check_rows("sums", (rows, sums.width()), rows, all * padded);
        check_rows("gradient", (hidden_gradient.rows(), hidden_gradient.width()), rows, units);
        let is_normalized = options.normalization.is_some();
        let sizes = [rows, all, units];
        let gate_gradients = check_gate_gradients(&mut gate_gradients, &mut terms, is_normalized, sizes);
        let backward = RnnOptionsBackwardRows {
            rows,
            gates,
            gate,
            function,
            sums: sums.raw(),
            hidden_gradient: hidden_gradient.raw(),
            gate_gradients,
        };
        // SAFETY: for each row, the sums have a packed row, the gradients, each gate of dZ and each row of terms all
        // units, and what is written is exclusively borrowed.
        unsafe { (self.rnn_options_backward)(backward) }
    }
}
