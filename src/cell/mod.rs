//! What a cell is to those who lead it through time: the seam behind which cells differ.
//!
//! A cell is a file here and one in the kernels, for each direction. Beside that it has a [`kind`](kind::CellKind),
//! which memory and plans ask for its sizes, a variant of [`Cell`], and the layouts of its weights.

pub(crate) mod gru;
pub(crate) mod gru_options;
pub(crate) mod gru_reset_before;
pub(crate) mod kind;
pub(crate) mod lstm;
pub(crate) mod lstm_options;
pub(crate) mod options;
pub(crate) mod options_backward;
pub(crate) mod rnn;
pub(crate) mod rnn_options;
pub(crate) mod row;
pub(crate) mod step;

use crate::memory::views;
use crate::options::Options;
use crate::shape::Shape;
use crate::view::Sequence;
use gru::Gru;
use gru_reset_before::GruResetBefore;
use kind::CellKind;
use lstm::PlainLstm;
use options::WithOptions;
use options_backward::{BackwardExtras, CellBuffers, CellGradients};
use quadgate_kernels::{Rows, Start};
use rnn::PlainRnn;
use std::ops::Range;
use step::{BackwardStep, Step, StepMasks};

/// The cell of a layer, with what a call says about it.
#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    Lstm(PlainLstm),
    Gru(Gru),
    GruResetBefore(GruResetBefore),
    Rnn(PlainRnn),
    WithOptions(WithOptions<'a>),
}

/// Elements of scratch that kernels and steps of a cell need for each row.
pub(crate) fn scratch_per_row(shape: Shape, options: &Options) -> usize {
    if shape.has_halves() {
        gru_reset_before::scratch_per_row(shape)
    } else {
        options::scratch_per_row(shape, options)
    }
}

impl<'a> Cell<'a> {
    /// The cell with options, if it is one.
    #[inline]
    fn options(&self) -> Option<&WithOptions<'a>> {
        match self {
            Cell::WithOptions(cell) => Some(cell),
            _ => None,
        }
    }

    /// Whether steps need what [`StepExtras`](step::StepExtras) have.
    #[inline]
    pub(crate) fn has_extras(&self) -> bool {
        self.options().is_some()
    }

    /// Whether each element of h depends on all units, so that it has whole rows alone.
    pub(crate) fn mixes_units(&self) -> bool {
        self.options().is_some_and(|cell| cell.options.projection.is_some())
    }

    /// Whether Σ dZ is the gradient of the bias: it is not where something comes between.
    pub(crate) fn has_plain_bias(&self) -> bool {
        self.options().is_none_or(|cell| cell.options.normalization.is_none())
    }

    /// What the call gives for each step, beside x: to be taken or gathered like x.
    pub(crate) fn sequences(&self) -> [Option<Sequence<'a>>; 2] {
        self.options().map_or([None, None], |cell| cell.masks.sequences())
    }

    /// What the call gives for each row.
    pub(crate) fn row_mask(&self) -> Option<Rows<'a>> {
        self.options().and_then(|cell| cell.masks.recurrent)
    }

    /// The same with what it gives for other rows.
    pub(crate) fn with_row_mask<'s>(self, mask: Option<Rows<'s>>) -> Cell<'s>
    where
        'a: 's,
    {
        match self {
            Cell::WithOptions(cell) => Cell::WithOptions(cell.with_recurrent_mask(mask)),
            plain => plain,
        }
    }

    /// The masks of some rows of a step, for which these rows of [`Cell::sequences`] were taken.
    pub(crate) fn masks_of<'s>(&self, batch: &Range<usize>, taken: [Option<Rows<'s>>; 2]) -> StepMasks<'s>
    where
        'a: 's,
    {
        self.options().map_or_else(StepMasks::default, |cell| cell.masks_of(batch, taken))
    }

    /// One step of some groups of units and rows.
    #[inline]
    pub(crate) fn step(&self, step: Step<'_, '_>) {
        match self {
            Cell::Lstm(cell) => cell.step(step),
            Cell::Gru(cell) => cell.step(step),
            Cell::GruResetBefore(cell) => cell.step(step),
            Cell::Rnn(cell) => cell.step(step),
            Cell::WithOptions(cell) => match cell.shape.kind {
                CellKind::Lstm => lstm_options::step(cell, step),
                CellKind::Gru(reset_gate) => gru_options::step(cell, reset_gate, step),
                CellKind::Rnn(_) => rnn_options::step(cell, step),
            },
        }
    }

    /// The backward pass of one step of some units and rows, with extras if the cell has them.
    pub(crate) fn step_backward(&self, step: BackwardStep<'_>, extras: Option<BackwardExtras<'_, '_>>) {
        match (self, extras) {
            (Cell::Lstm(cell), _) => cell.step_backward(step),
            (Cell::Gru(cell), _) => cell.step_backward(step),
            (Cell::GruResetBefore(cell), _) => cell.step_backward(step),
            (Cell::Rnn(cell), _) => cell.step_backward(step),
            (Cell::WithOptions(cell), Some(extras)) => match cell.shape.kind {
                CellKind::Lstm => lstm_options::step_backward(cell, step, extras),
                CellKind::Gru(reset_gate) => gru_options::step_backward(cell, reset_gate, step, extras),
                CellKind::Rnn(_) => rnn_options::step_backward(cell, step, extras),
            },
            (Cell::WithOptions(_), None) => unreachable!("a driver gives extras to a cell that has them"),
        }
    }

    /// What dh₀ starts from beside dZ_0·R of so many rows: what the first step carries back to h.
    pub(crate) fn first_hidden_start<'b>(&self, carry: &'b [f32], batch: usize) -> Start<'b> {
        match self {
            Cell::Lstm(_) | Cell::Rnn(_) | Cell::WithOptions(_) => Start::Zero,
            Cell::Gru(Gru { shape, .. }) | Cell::GruResetBefore(GruResetBefore { shape, .. }) => {
                Start::Sums(views::rows(carry, batch, shape.padded_carry()))
            }
        }
    }

    /// Where dZ_0·R goes before it is dh₀: to buffers of the cell, if more is to be done.
    pub(crate) fn first_hidden_product<'b>(
        &self,
        buffers: &'b mut CellBuffers,
        hidden_gradient: &'b mut [f32],
    ) -> &'b mut [f32] {
        if self.has_extras() { buffers.hidden() } else { hidden_gradient }
    }

    /// dh₀ of so many rows, after that product.
    pub(crate) fn first_hidden_gradient(
        &self,
        buffers: &CellBuffers,
        batch: usize,
        hidden_gradient: &mut [f32],
    ) {
        if let Some(cell) = self.options() {
            cell.first_hidden_gradient(buffers, batch, hidden_gradient);
        }
    }

    /// Adds what a block of rows yields to the gradients of parameters beside W and R, and to that of the bias if that
    /// is not [plain](Cell::has_plain_bias).
    pub(crate) fn add_gradients(
        &self,
        buffers: &mut CellBuffers,
        block: Range<usize>,
        threads: usize,
        gradients: &mut CellGradients<'_>,
        bias: &mut [f32],
        add: bool,
    ) {
        if let Some(cell) = self.options() {
            cell.add_gradients(buffers, block, threads, gradients, bias, add);
        }
    }
}
