//! The gated recurrent unit with options: arguments, and the checks that make calling its kernels safe.

use crate::cells::gru_options::{GruActivations, GruFamily, GruOptionsRows};
use crate::cells::gru_options_backward::GruOptionsBackwardRows;
use crate::checked::gates::{GateOptions, check_gate_gradients};
use crate::checked::gemm::check_rows;
use crate::dispatch::Kernels;
use crate::views::{Rows, RowsMut};

/// Which sums of a gated recurrent unit are which.
#[derive(Clone, Copy, Debug)]
pub enum GruSums {
    /// x̂, r, z and ĥ: the reset gate comes after the product.
    ResetAfter,
    /// r, z and n: the reset gate comes before the product. It is not computed here, but as a
    /// [plain recurrent cell](Kernels::rnn_options_step).
    ResetBefore,
}

/// What the cell and its backward pass have in common.
#[derive(Clone, Copy, Debug)]
pub struct GruOptions<'a> {
    /// The gates.
    pub gates: GateOptions<'a>,
    /// Which are which.
    pub sums: GruSums,
    /// f and g.
    pub activations: GruActivations,
}

/// The cell over sums that a [`Kernels::product`] wrote: h̃ = n + z ∘ (h − n).
#[derive(Debug)]
pub struct GruOptionsStep<'a> {
    /// The options.
    pub options: GruOptions<'a>,
    /// Packed rows.
    pub sums: Rows<'a>,
    /// h, one element per unit.
    pub previous_hidden: Rows<'a>,
    /// Where h̃ goes, padded.
    pub hidden: RowsMut<'a>,
}

/// Its backward pass.
#[derive(Debug)]
pub struct GruOptionsBackwardStep<'a> {
    /// The options.
    pub options: GruOptions<'a>,
    /// The sums of the forward pass.
    pub sums: Rows<'a>,
    /// h of the step before, one element per unit.
    pub previous_hidden: Rows<'a>,
    /// dh̃, one element per unit.
    pub hidden_gradient: Rows<'a>,
    /// To which dh̃ ∘ z is added, one element per unit.
    pub carry: RowsMut<'a>,
    /// Where the gradients of the sums go: for each row a row for each gate, one element per unit. With the reset gate
    /// before the product that of r is left as it is.
    pub gate_gradients: RowsMut<'a>,
    /// As of [`RnnOptionsBackwardStep`](crate::RnnOptionsBackwardStep).
    pub normalization_terms: Option<RowsMut<'a>>,
}

impl GruSums {
    /// How many there are; z, the candidate, and r and ĥ if they are computed.
    fn places(self) -> (usize, usize, usize, Option<[usize; 2]>) {
        match self {
            GruSums::ResetAfter => (4, 2, 0, Some([1, 3])),
            GruSums::ResetBefore => (3, 1, 2, None),
        }
    }
}

impl Kernels {
    /// The gated recurrent unit with options: see [`GruOptionsStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_options_step(&self, cell: GruOptionsStep<'_>) {
        let GruOptionsStep { options, sums, previous_hidden, mut hidden } = cell;
        let rows = sums.rows();
        let (family, padded) = self.check_gru(options, sums);
        let units = family.gates.units;
        check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, units);
        check_rows("h", (hidden.rows(), hidden.width()), rows, padded);
        let (sums, previous_hidden, hidden) = (sums.raw(), previous_hidden.raw(), hidden.raw());
        let forward = GruOptionsRows { rows, family, sums, previous_hidden, hidden };
        // SAFETY: for each row, the sums have a packed row, h all units, and `hidden`, which is exclusively borrowed,
        // all vectors.
        unsafe { (self.gru_options)(forward) }
    }

    /// Its backward pass: see [`GruOptionsBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn gru_options_backward_step(&self, cell: GruOptionsBackwardStep<'_>) {
        let GruOptionsBackwardStep { options, sums, previous_hidden, hidden_gradient, mut carry, .. } = cell;
        let (mut gate_gradients, mut terms) = (cell.gate_gradients, cell.normalization_terms);
        let rows = sums.rows();
        let (family, _) = self.check_gru(options, sums);
        let (units, gates) = (family.gates.units, family.gates.layout.gates);
        check_rows("previous h", (previous_hidden.rows(), previous_hidden.width()), rows, units);
        check_rows("gradient", (hidden_gradient.rows(), hidden_gradient.width()), rows, units);
        check_rows("carry", (carry.rows(), carry.width()), rows, units);
        let is_normalized = options.gates.normalization.is_some();
        let sizes = [rows, gates, units];
        let gate_gradients = check_gate_gradients(&mut gate_gradients, &mut terms, is_normalized, sizes);
        let backward = GruOptionsBackwardRows {
            rows,
            family,
            sums: sums.raw(),
            previous_hidden: previous_hidden.raw(),
            hidden_gradient: hidden_gradient.raw(),
            carry: carry.raw(),
            gate_gradients,
        };
        // SAFETY: for each row, the sums have a packed row, all else the units, each gate of dZ and each row of terms
        // too, and what is written is exclusively borrowed.
        unsafe { (self.gru_options_backward)(backward) }
    }

    /// The family as the kernels see it, and the units padded to whole vectors, after checking that the sums have
    /// packed rows.
    fn check_gru(&self, options: GruOptions<'_>, sums: Rows<'_>) -> (GruFamily, usize) {
        let GruOptions { gates, sums: which, activations } = options;
        let (count, update, candidate, reset) = which.places();
        assert_eq!(gates.gates, count, "gates");
        let (gates, padded) = self.check_gate_options(gates);
        check_rows("sums", (sums.rows(), sums.width()), sums.rows(), count * padded);
        (GruFamily { gates, functions: activations, update, candidate, reset }, padded)
    }
}
