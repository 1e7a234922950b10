//! Rows of narrow layers through all of their steps: arguments, and the checks that make calling their kernels safe.

use crate::cells::gru::GruRowCell;
use crate::cells::lstm::LstmRowCell;
use crate::cells::row::{self, Row};
use crate::checked::gemm::{Order, Start, check_rows};
use crate::dispatch::Kernels;
use crate::gemm::panel::{PANEL_VECTORS, PanelLayout};
use crate::views::{RawRows, RawRowsMut, Rows, RowsMut};

/// All steps of one row of a narrow layer, of at most [`NarrowRow::MOST_PANELS`] panels.
///
/// Checking these takes as long as some units, so they are slices wherever there is one row.
#[derive(Debug)]
pub struct NarrowRow<'a> {
    /// What the sums of each step start from: one bias, or a row for each step.
    pub start: Start<'a>,
    /// x, a row for each step; of no elements if W·x is in `start`.
    pub input: Rows<'a>,
    /// W and R, packed for the sums of the cell: all of both.
    pub weights: [&'a [f32]; 2],
    /// How many steps there are.
    pub steps: usize,
    /// Whether the first step is that of the last row of all that has a row for each step.
    pub is_reverse: bool,
    /// The direction in which the first step walks the panels; steps take turns.
    pub order: Order,
    /// Where h goes, in turn, padded to whole vectors; the first step reads the second.
    pub hidden: [&'a mut [f32]; 2],
    /// h of each step once more, one element per unit.
    pub output: Option<RowsMut<'a>>,
    /// Hidden units.
    pub units: usize,
}

impl NarrowRow<'_> {
    /// Most panels.
    pub const MOST_PANELS: usize = row::MOST_PANELS;
}

impl Kernels {
    /// All steps of one row of an LSTM: the same as a [`Kernels::lstm_step`] for each, without what that costs beside.
    /// `cell` is c, padded to whole vectors, and is replaced.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    // Inlined into its caller: a call takes 5 % of a step of 8 units.
    #[inline]
    pub fn lstm_row_steps(&self, row: NarrowRow<'_>, cell: &mut [f32]) {
        assert!(cell.len() >= self.padded(row.units), "c of {} units", row.units);
        let layout = row_layout(row.units, self.lanes());
        let row = self.checked_row(row, layout, layout.width(), LstmRowCell(RawRowsMut::one(cell)));
        // SAFETY: `checked_row` checked all but c, which has a vector for each panel; what is written is exclusively
        // borrowed.
        unsafe { (self.lstm_row)(&row) }
    }

    /// All steps of one row of a gated recurrent unit: the same as a [`Kernels::gru_step`] for each.
    ///
    /// # Panics
    /// If the shapes do not fit each other. No element is written then.
    #[inline]
    pub fn gru_row_steps(&self, row: NarrowRow<'_>) {
        let layout = row_layout(self.padded(row.units), self.lanes());
        // Of the four sums of a unit, W and R each feed three.
        let row = self.checked_row(row, layout, layout.width() / 4 * 3, GruRowCell);
        // SAFETY: `checked_row` checked all of it; what is written is exclusively borrowed.
        unsafe { (self.gru_row)(&row) }
    }

    /// Units padded to whole vectors. Lanes are a power of two, and a division would take as long as some units.
    #[inline]
    fn padded(&self, units: usize) -> usize {
        units.saturating_add(self.lanes() - 1) & !(self.lanes() - 1)
    }

    /// A row whose sums are laid out so, with so many weights for each element of x or h, after the checks of all that
    /// is no state of `cell`.
    #[inline]
    fn checked_row<C>(&self, row: NarrowRow<'_>, layout: PanelLayout, fed: usize, cell: C) -> Row<C> {
        let NarrowRow { start, input, weights, steps, is_reverse, order, hidden, mut output, units } = row;
        let [input_weights, recurrent_weights] = weights;
        let (padded, width, inputs) = (self.padded(units), layout.width(), input.width());
        assert!(padded <= NarrowRow::MOST_PANELS * self.lanes(), "panels of {units} units");
        // So few units that this does not overflow; rows of so many inputs may.
        assert!(recurrent_weights.len() >= fed * units, "R of {units} units");
        let has_weights = inputs.checked_mul(fed).is_some_and(|len| input_weights.len() >= len);
        assert!(has_weights, "W of {inputs} inputs and {units} units");
        assert!(inputs == 0 || input.rows() == steps, "{} rows of x for {steps} steps", input.rows());
        let start = match start {
            Start::Bias(bias) => {
                assert!(bias.len() >= width, "a bias for every panel");
                RawRows::one(bias)
            }
            Start::Sums(sums) => {
                check_rows("sums", (sums.rows(), sums.width()), steps, width);
                sums.raw()
            }
            Start::Zero => panic!("a row starts from a bias or from sums"),
        };
        let [first, second] = hidden;
        assert!(first.len() >= padded && second.len() >= padded, "h of {units} units");
        if let Some(output) = &output {
            check_rows("output", (output.rows(), output.width()), steps, units);
        }
        Row {
            steps,
            is_reverse,
            is_backward: order == Order::Backward,
            start,
            input: input.raw(),
            input_weights: input_weights.as_ptr(),
            inputs,
            recurrent_weights: recurrent_weights.as_ptr(),
            units,
            hidden: [RawRowsMut::one(first), RawRowsMut::one(second)],
            output: output.as_mut().map_or(RawRowsMut::NONE, RowsMut::raw),
            cell,
        }
    }
}

/// The layout of the sums of a row.
#[inline]
fn row_layout(units: usize, lanes: usize) -> PanelLayout {
    PanelLayout::of_gates(PANEL_VECTORS, units, lanes, 1)
}
