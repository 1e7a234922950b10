//! The LSTM cell with options: arguments, and the checks that make calling its kernels safe.

use crate::cells::gates::Normalization;
use crate::cells::lstm::LSTM_GATES;
use crate::cells::lstm_normalized::LstmNormalizedRows;
use crate::cells::lstm_normalized_backward::LstmNormalizedBackwardRows;
use crate::cells::lstm_options::{Activations, CellOptions, Family, LstmOptionsRows, LstmPanels};
use crate::cells::lstm_options_backward::{LstmOptionsBackwardRows, PEEPHOLE_TERMS};
use crate::checked::gates::check_gate_gradients;
use crate::checked::gemm::{Order, Start, Term, check_rows, check_sweep, check_units};
use crate::dispatch::Kernels;
use crate::gemm::panel::PanelLayout;
use crate::gemm::store::Store;
use crate::gemm::sweep;
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};
use core::ops::Range;

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

/// One step with all options for some rows: sums = start + Σ terms, then the cell.
#[derive(Debug)]
pub struct LstmOptionsStep<'a> {
    /// The options.
    pub family: LstmOptions<'a>,
    /// What the sums start from.
    pub start: Start<'a>,
    /// What is added, in this order.
    pub terms: [Option<Term<'a>>; 2],
    /// The panels of the weights to compute. All other arguments are of the hidden units in these panels alone.
    pub panels: Range<usize>,
    /// The direction in which panels are walked.
    pub order: Order,
    /// Where what the backward pass needs goes: packed rows. Without a tape, room for the sums, which a normalization
    /// needs.
    pub recorded: Option<RowsMut<'a>>,
    /// c of the step before, padded; without it, `cell` is replaced in place.
    pub previous_cell: Option<Rows<'a>>,
    /// Where c′ goes, padded.
    pub cell: RowsMut<'a>,
    /// Where o·h(c̃) goes, padded: h′, unless there is a projection or zoneout of h.
    pub exposed: RowsMut<'a>,
    /// Where it goes once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// As of [`LstmStep`](crate::LstmStep).
    pub scratch: &'a mut [f32],
}

/// The backward pass of the general cell.
#[derive(Debug)]
pub struct LstmOptionsBackwardStep<'a> {
    /// The options.
    pub family: LstmOptions<'a>,
    /// What the forward pass recorded.
    pub recorded: Rows<'a>,
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
    /// Where the products go whose sums over all rows are the gradients of the peepholes: for each row three rows, of
    /// i, f and o. Needed if there are peepholes.
    pub peephole_terms: Option<RowsMut<'a>>,
    /// The same of the normalization: for each row the gates' rows of the scale, then those of the shift. Needed if
    /// there is one.
    pub normalization_terms: Option<RowsMut<'a>>,
}

impl Kernels {
    /// One step of the cell with all options: see [`LstmOptionsStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_options_step(&self, step: LstmOptionsStep<'_>) {
        let LstmOptionsStep { family, start, terms, panels, order, mut recorded, previous_cell, .. } = step;
        let LstmOptionsStep { mut cell, mut exposed, mut output, scratch, .. } = step;
        let (rows, units) = (cell.rows(), family.units);
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes(), 1);
        assert_eq!(panels.len(), layout.panels(), "panels of {units} units");
        let first = panels.start.saturating_mul(LSTM_GATES);
        let sweep = check_sweep(layout, first, rows, order, start, terms, scratch);
        let padded = layout.panels() * self.lanes();
        let family = self.check_family(family, layout, rows, padded);
        assert!(family.gates.normalization.is_none() || recorded.is_some(), "room for the sums");
        if let Some(recorded) = &recorded {
            check_rows("recorded", (recorded.rows(), recorded.width()), rows, layout.width());
        }
        check_rows("c", (cell.rows(), cell.width()), rows, padded);
        check_rows("o·h(c)", (exposed.rows(), exposed.width()), rows, padded);
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), rows, units);
        }
        if let Some(previous) = &previous_cell {
            check_rows("previous c", (previous.rows(), previous.width()), rows, padded);
        }
        let cell = cell.raw();
        let step = LstmOptionsRows {
            family,
            previous_cell: previous_cell.as_ref().map_or(cell.to_read(), Rows::raw),
            cell,
            exposed: exposed.raw(),
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            recorded: recorded.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
        };
        // SAFETY: `check_sweep` checked what the sweep reads; the states have whole vectors of all units for each row,
        // the sums packed rows, `output` its units, the tensors of the options what `check_family` checked, and what is
        // written is exclusively borrowed.
        unsafe {
            if step.family.gates.normalization.is_none() {
                sweep::run(&self.tiles, &sweep, &self.lstm_options, &step);
            } else {
                let store = Store { columns: layout.width(), add: false, to: step.recorded };
                sweep::run(&self.tiles, &sweep, &self.store, &store);
                (self.lstm_normalized)(LstmNormalizedRows { rows, step });
            }
        }
    }

    /// Its backward pass: see [`LstmOptionsBackwardStep`].
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    pub fn lstm_options_backward_step(&self, cell: LstmOptionsBackwardStep<'_>) {
        let LstmOptionsBackwardStep { family, recorded, previous_cell, mut cell_gradient, .. } = cell;
        let (mut exposed_gradient, mut gate_gradients) = (cell.exposed_gradient, cell.gate_gradients);
        let (mut exposed, mut peephole_terms) = (cell.exposed, cell.peephole_terms);
        let mut normalization_terms = cell.normalization_terms;
        let (rows, units) = (recorded.rows(), family.units);
        check_units(units);
        let layout = PanelLayout::of_gates(LSTM_GATES, units, self.lanes(), 1);
        let padded = layout.panels() * self.lanes();
        assert!(family.peepholes.is_none() || peephole_terms.is_some(), "room for the peepholes' terms");
        let (is_normalized, sizes) = (family.normalization.is_some(), [rows, LSTM_GATES, units]);
        let gate_gradients =
            check_gate_gradients(&mut gate_gradients, &mut normalization_terms, is_normalized, sizes);
        let family = self.check_family(family, layout, rows, padded);
        check_rows("recorded", (rows, recorded.width()), rows, layout.width());
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
            recorded: recorded.raw(),
            previous_cell: previous_cell.raw(),
            cell_gradient: cell_gradient.raw(),
            exposed_gradient: exposed_gradient.raw(),
            gate_gradients,
            exposed: exposed.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            peephole_terms: peephole_terms.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
        };
        // SAFETY: as in `lstm_options_step`; each gate of dZ and each row of terms has all units.
        unsafe {
            if is_normalized {
                (self.lstm_normalized_backward)(LstmNormalizedBackwardRows(backward));
            } else {
                (self.lstm_options_backward)(backward);
            }
        }
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
            has_usual_functions: options.activations == Activations::default(),
            options,
            peepholes: peepholes.as_ref().map_or(RawRows::NONE, Rows::raw),
            cell_share: cell_share.as_ref().map_or(RawRows::NONE, Rows::raw),
        }
    }
}
