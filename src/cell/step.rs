//! What a step of a cell reads and writes, whichever cell it is.

use crate::memory::views;
use crate::view::Sequence;
use quadgate_kernels::{Order, Packed, Rows, RowsMut, Start, Stepped, Tape, Term};
use std::ops::Range;

/// What a call may say about a cell, beside x and states: numbers for each step, and for all steps of a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masks<'a> {
    /// How much of the new h to take, `[T, B, P]`.
    pub(crate) hidden_keep: Option<Sequence<'a>>,
    /// How much of the new c to take, `[T, B, H]`.
    pub(crate) cell_keep: Option<Sequence<'a>>,
    /// Factors of h on its way into the gates, `[B, P]`.
    pub(crate) recurrent: Option<Rows<'a>>,
}

impl<'a> Masks<'a> {
    /// What there is for each step: `[T, B, …]`, to be taken or gathered like x.
    pub(crate) fn sequences(&self) -> [Option<Sequence<'a>>; 2] {
        [self.hidden_keep, self.cell_keep]
    }
}

/// The masks of some rows of one step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepMasks<'a> {
    pub(crate) hidden_keep: Option<Rows<'a>>,
    pub(crate) cell_keep: Option<Rows<'a>>,
    pub(crate) recurrent: Option<Rows<'a>>,
}

/// Which half of a step some units are to run, where the second half reads what the first makes of all units.
pub(crate) enum Half<'a> {
    /// The first, and where what it makes of the units goes.
    First(RowsMut<'a>),
    /// The second, and what the first one made of all units.
    Second(Rows<'a>),
}

impl<'a> Half<'a> {
    /// That of a turn at a step, if the step has halves.
    pub(crate) fn of_turn(has_halves: bool, is_second: bool, between: Stepped<'a>) -> Option<Self> {
        has_halves.then(|| match is_second {
            false => Half::First(views::present(between.now, "slot of half", 0, 2)),
            true => Half::Second(views::present(between.before, "slot of half", 1, 2)),
        })
    }

    /// The same of the first rows, and of those from `at` on.
    pub(crate) fn split(self, at: usize) -> (Self, Self) {
        match self {
            Half::First(rows) => {
                let (first, rest) = rows.split(at);
                (Half::First(first), Half::First(rest))
            }
            Half::Second(rows) => {
                (Half::Second(rows.rows_of(0..at)), Half::Second(rows.rows_of(at..rows.rows())))
            }
        }
    }
}

/// What one step of some groups of units reads and writes.
pub(crate) struct Step<'a, 'e> {
    /// Groups of units, see [`Shape::groups`](crate::shape::Shape::groups).
    pub(crate) groups: Range<usize>,
    /// The direction in which panels are walked.
    pub(crate) order: Order,
    /// What the pre-activations start from, and what is added: W·x, unless they start from it, and R·h.
    pub(crate) start: Start<'a>,
    pub(crate) input: Option<Term<'a>>,
    pub(crate) recurrent: Term<'a>,
    /// Where h goes.
    pub(crate) hidden: RowsMut<'a>,
    /// c, replaced; with a tape, where it goes.
    pub(crate) cell: RowsMut<'a>,
    pub(crate) tape: Option<Tape<'a>>,
    /// Where h goes once more, one element per unit.
    pub(crate) output: Option<RowsMut<'a>>,
    /// For cells that need more. By reference, since moving it takes as long as a few units of a narrow layer.
    pub(crate) extras: Option<&'a mut StepExtras<'e>>,
    /// One half alone of a step that has halves, with a tape. By reference too.
    pub(crate) half: Option<&'a mut Half<'e>>,
    /// The same for each row; may be empty where threads share units.
    pub(crate) scratch: &'a mut [f32],
}

/// What a step of some cells reads and writes beside.
pub(crate) struct StepExtras<'a> {
    pub(crate) masks: StepMasks<'a>,
    /// Where the pre-activations go without a tape.
    pub(crate) preactivations: Option<RowsMut<'a>>,
    /// Where a tape keeps what enters the clip of a projection.
    pub(crate) projected: Option<RowsMut<'a>>,
}

/// What the backward pass of one step of some units reads and writes.
pub(crate) struct BackwardStep<'a> {
    /// Vectors of units.
    pub(crate) vectors: Range<usize>,
    /// The gradient of the last h, of the units; for the last step of a row.
    pub(crate) last_hidden_gradient: Rows<'a>,
    /// dZ of the step after, and R; `None` at the last step.
    pub(crate) recurrent: Option<Term<'a>>,
    /// R, from all gate gradients to h.
    pub(crate) weights: Packed<'a>,
    /// Of h of the units, or of all of h where a cell takes whole rows of it.
    pub(crate) cotangent: Option<Rows<'a>>,
    /// What the step recorded of the units.
    pub(crate) recorded: Rows<'a>,
    /// h of this step and of the one before, of the units.
    pub(crate) hidden: Rows<'a>,
    pub(crate) previous_hidden: Rows<'a>,
    /// c of this step and of the one before, of the units.
    pub(crate) cell: Rows<'a>,
    pub(crate) previous_cell: Rows<'a>,
    /// dc, or what else is carried back.
    pub(crate) cell_gradient: RowsMut<'a>,
    pub(crate) gate_gradients: RowsMut<'a>,
    /// One half alone of a step that has halves.
    pub(crate) half: Option<Half<'a>>,
    pub(crate) scratch: &'a mut [f32],
}
