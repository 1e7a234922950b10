//! The LSTM cell with options: arguments, and the checks that make calling its kernels safe.

use crate::cells::gates::Normalization;
use crate::cells::lstm::LSTM_GATES;
use crate::cells::lstm_options::{CellOptions, Family, LstmOptionsRows, LstmPanels};
use crate::cells::lstm_options_backward::{LstmOptionsBackwardRows, PEEPHOLE_TERMS};
use crate::checked::gates::check_gate_gradients;
use crate::checked::gemm::{check_rows, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};

/// What the general cell and its backward pass have in common. All is of the hidden units to compute alone.
#[derive(Clone, Copy, Debug)]
pub struct LstmOptions<'a> {
    /// Hidden units, not padded.
    pub units: usize,
    /// The options that are not tensors.
    pub options: CellOptions,
    /// p_i, p_f and p_o: three rows, padded to whole vectors.
    pub peepholes: Option<Rows<'a>>,
    /// Layer normalization; all units of the layer must be there then.
    pub normalization: Option<Normalization<'a>>,
    /// Zoneout: how much of c̃ to take, one element per unit.
    pub cell_share: Option<Rows<'a>>,
}

/// The cell with all options, over gate sums that a [`Kernels::product`] wrote.
#[derive(Debug)]
pub struct LstmOptionsStep<'a> {
    /// The options.
    pub family: LstmOptions<'a>,
    /// W·x + R·h + b, packed rows. They get the terms of the peepholes; the backward pass reads them.
    pub sums: RowsMut<'a>,
    /// c of the step before, padded; without it, `cell` is replaced in place.
    pub previous_cell: Option<Rows<'a>>,
    /// Where c′ goes, padded.
    pub cell: RowsMut<'a>,
    /// Where o·h(c̃) goes, padded: h′, unless there is a projection or zoneout of h.
    pub exposed: RowsMut<'a>,
}

/// The backward pass of the general cell.
#[derive(Debug)]
pub struct LstmOptionsBackwardStep<'a> {
    /// The options.
    pub family: LstmOptions<'a>,
    /// The sums as the forward pass left them.
    pub sums: Rows<'a>,
    /// c of the step before, padded.
    pub previous_cell: Rows<'a>,
    /// dc′, replaced by dc. Padded.
    pub cell_gradient: RowsMut<'a>,
    /// The gradient of o·h(c̃), padded; what it holds afterwards means nothing.
    pub exposed_gradient: RowsMut<'a>,
    /// Where the gradients of the sums go: for each row four rows, one for each gate, one element per unit.
    pub gate_gradients: RowsMut<'a>,
    /// Where o·h(c̃) goes once more, padded.
    pub exposed: Option<RowsMut<'a>>,
    /// Where the products go whose sums over all rows are the gradients of the peepholes: for each row three rows, of i,
    /// f and o. Needed if there are peepholes.
    pub peephole_terms: Option<RowsMut<'a>>,
    /// The same of the normalization: for each row the gates' rows of the scale, then those of the shift. Needed if there
    /// is one.
    pub normalization_terms: Option<RowsMut<'a>>,
}

impl Kernels {
    /// The cell with all options: see [`LstmOptionsStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_options_step(&self, cell: LstmOptionsStep<'_>) {
        let LstmOptionsStep { family, mut sums, previous_cell, mut cell, mut exposed } = cell;
        let rows = sums.rows();
        check_units(family.units);
        let layout = PanelLayout::of_gates(LSTM_GATES, family.units, self.lanes(), 1);
        let padded = layout.panels() * self.lanes();
        let family = self.check_family(family, layout, rows, padded);
        check_rows("sums", (rows, sums.width()), rows, layout.width());
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("o·h(c)", (exposed.rows(), exposed.width()), rows, padded);
        if let Some(previous) = &previous_cell {
            check_rows("previous c", (previous.rows(), previous.width()), rows, padded);
        }
        let cell = cell.raw();
        let forward = LstmOptionsRows {
            rows,
            family,
            sums: sums.raw(),
            previous_cell: previous_cell.as_ref().map_or(cell.to_read(), Rows::raw),
            cell,
            exposed: exposed.raw(),
        };
        // SAFETY: the states have whole vectors of all units for each row, the sums a packed row, the tensors of the
        // options what `check_family` checked, and what is written is exclusively borrowed.
        unsafe { (self.lstm_options)(forward) }
    }

    /// Its backward pass: see [`LstmOptionsBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_options_backward_step(&self, cell: LstmOptionsBackwardStep<'_>) {
        let LstmOptionsBackwardStep { family, sums, previous_cell, mut cell_gradient, .. } = cell;
        let (mut exposed_gradient, mut gate_gradients) = (cell.exposed_gradient, cell.gate_gradients);
        let (mut exposed, mut peephole_terms) = (cell.exposed, cell.peephole_terms);
        let mut normalization_terms = cell.normalization_terms;
        let (rows, units) = (sums.rows(), family.units);
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes(), 1);
        let padded = layout.panels() * self.lanes();
        assert!(family.peepholes.is_none() || peephole_terms.is_some(), "room for the peepholes' terms");
        let (is_normalized, sizes) = (family.normalization.is_some(), [rows, LSTM_GATES, units]);
        let gate_gradients =
            check_gate_gradients(&mut gate_gradients, &mut normalization_terms, is_normalized, sizes);
        let family = self.check_family(family, layout, rows, padded);
        check_rows("sums", (rows, sums.width()), rows, layout.width());
        check_rows("previous c", (previous_cell.rows(), previous_cell.width()), rows, padded);
        check_rows("dc", (cell_gradient.rows(), cell_gradient.width()), rows, padded);
        check_rows("gradient", (exposed_gradient.rows(), exposed_gradient.width()), rows, padded);
        if let Some(exposed) = &exposed {
            check_rows("o·h(c)", (exposed.rows(), exposed.width()), rows, padded);
        }
        if let Some(terms) = &peephole_terms {
            check_rows("peepholes' terms", (terms.rows(), terms.width()), PEEPHOLE_TERMS * rows, units);
        }
        let backward = LstmOptionsBackwardRows {
            rows,
            family,
            sums: sums.raw(),
            previous_cell: previous_cell.raw(),
            cell_gradient: cell_gradient.raw(),
            exposed_gradient: exposed_gradient.raw(),
            gate_gradients,
            exposed: exposed.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            peephole_terms: peephole_terms.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
        };
        // SAFETY: as in `lstm_options_step`; each gate of dZ and each row of terms has all units.
        unsafe { (self.lstm_options_backward)(backward) }
    }
}

impl Kernels {
    /// The family as the kernels see it, after checking its tensors: those that there are have what [`Family`] says.
    fn check_family(
        &self,
        family: LstmOptions<'_>,
        layout: PanelLayout,
        rows: usize,
        padded: usize,
    ) -> Family {
        let LstmOptions { units, options, peepholes, normalization, cell_share } = family;
        if let Some(peepholes) = &peepholes {
            check_rows("peepholes", (peepholes.rows(), peepholes.width()), PEEPHOLE_TERMS, padded);
        }
        if let Some(share) = &cell_share {
            check_rows("share of c", (share.rows(), share.width()), rows, units);
        }
        let limit = options.gate_limit;
        Family {
            gates: self.check_gates(units, LstmPanels, limit, normalization, layout.width()),
            options,
            peepholes: peepholes.as_ref().map_or(RawRows::NONE, Rows::raw),
            cell_share: cell_share.as_ref().map_or(RawRows::NONE, Rows::raw),
        }
    }
}
