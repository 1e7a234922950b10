//! Memory that the caller owns and lends to each call, so that no call allocates.

use crate::cell::options_backward::cell_buffers_len;
use crate::cell::scratch_per_row;
use crate::config::{LstmConfig, Split};
use crate::error::Error;
use crate::memory::buffer::{Buffer, zeros};
use crate::memory::gradients::{BackwardBuffers, backward_lengths};
use crate::memory::state::{State, state_lengths};
use crate::memory::tools::Tools;
use crate::plan::{Plan, max_block_rows};
use crate::recurrence::ragged::{self, RaggedBuffers};
use crate::shape::Shape;
use quadgate_kernels::Progress;

/// Scratch for [`Lstm::forward`](crate::Lstm::forward) and [`Lstm::backward`](crate::Lstm::backward), made by
/// [`Lstm::workspace`](crate::Lstm::workspace).
///
/// Its size depends on the layer and the batch, not on the number of steps.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub(crate) state: State,
    /// Hoisted gate sums.
    pub(crate) sums: Buffer,
    pub(crate) tools: Tools,
    pub(crate) ragged: RaggedBuffers,
    /// What the backward pass needs, if the layer is to be trained.
    pub(crate) backward: Option<BackwardBuffers>,
}

/// Elements of scratch for all rows of a product, or for all rows of a step for each member of a team.
fn scratch_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
    let members = if shape.has_long_sums() { Plan::members_of(config, shape) } else { 1 };
    let rows = if config.is_for_training() { max_block_rows(shape, batch)? } else { batch };
    rows.max(members.checked_mul(batch)?).checked_mul(scratch_per_row(shape, config.options()))
}

/// Elements of what a team passes from the first half of a step to the second.
fn between_halves_len(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
    let may_share_units = config.forced_split() == Some(Split::Units) || Plan::members_of(config, shape) > 1;
    let slots = if shape.has_halves() && may_share_units { 2 } else { 0 };
    shape.padded_units().checked_mul(batch)?.checked_mul(slots)
}

/// Bytes of a workspace.
pub(crate) fn bytes(config: &LstmConfig, shape: Shape, batch: usize) -> Option<usize> {
    let [hidden, cell] = state_lengths(shape, batch)?;
    let (backward, options) = if config.is_for_training() {
        let rows = max_block_rows(shape, batch)?;
        (backward_lengths(shape, batch)?, cell_buffers_len(shape, config.options(), batch, rows)?)
    } else {
        ([0; 6], 0)
    };
    let others = [
        cell,
        Plan::sums_len(config, shape, batch)?,
        scratch_len(config, shape, batch)?,
        between_halves_len(config, shape, batch)?,
        options,
    ];
    let elements = backward.into_iter().chain(others).try_fold(hidden, usize::checked_add)?;
    let ragged = ragged::bytes(shape, config.options(), batch, config.is_for_training())?;
    let progress = Plan::members(shape).checked_mul(size_of::<Progress>())?;
    elements.checked_mul(size_of::<f32>())?.checked_add(progress)?.checked_add(ragged)
}

impl Workspace {
    pub(crate) fn new(config: &LstmConfig, shape: Shape, batch: usize) -> Result<Self, Error> {
        let (options, training) = (config.options(), config.is_for_training());
        Ok(Self {
            state: State::without_scratch(shape, options, batch)?,
            sums: zeros("batch", Plan::sums_len(config, shape, batch))?,
            tools: Tools {
                scratch: zeros("batch", scratch_len(config, shape, batch))?,
                scratch_per_row: scratch_per_row(shape, options),
                progress: vec![Progress::default(); Plan::members(shape)],
                between_halves: zeros("batch", between_halves_len(config, shape, batch))?,
            },
            ragged: RaggedBuffers::new(shape, options, batch, training)?,
            backward: if training { Some(BackwardBuffers::new(shape, options, batch)?) } else { None },
        })
    }

    /// Whether it is one of such a layer, for such a batch or a larger one.
    pub(crate) fn fits(&self, config: &LstmConfig, shape: Shape, batch: usize) -> bool {
        let has = |len: Option<usize>, found: usize| len.is_some_and(|len| len <= found);
        self.state.check("workspace", shape, config.options().if_any().as_ref(), batch).is_ok()
            && has(Plan::sums_len(config, shape, batch), self.sums.len())
            && has(scratch_len(config, shape, batch), self.tools.scratch.len())
            && has(between_halves_len(config, shape, batch), self.tools.between_halves.len())
            && (self.backward.is_some() || !config.is_for_training())
    }

    /// The largest batch that it serves.
    pub fn batch(&self) -> usize {
        self.state.batch()
    }

    /// Bytes that this workspace owns.
    pub fn bytes(&self) -> usize {
        let backward = self.backward.as_ref().map_or(0, BackwardBuffers::elements);
        let tools = self.tools.scratch.len() + self.tools.between_halves.len();
        let elements = self.sums.len() + tools + backward;
        let progress = self.tools.progress.len() * size_of::<Progress>();
        self.state.bytes() + elements * size_of::<f32>() + progress + self.ragged.bytes()
    }
}
