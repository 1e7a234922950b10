//! The layers of a stack, whatever their cells.

use crate::lstm::Lstm;
use crate::stack::config::StackConfig;
use crate::stack::plan::StackPlan;

/// Layers on top of each other: what a [`Stack`](crate::Stack) is but for the type of its cells.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(super) config: StackConfig,
    /// The directed layers, in PyTorch's order.
    pub(super) layers: Vec<Lstm>,
}

impl Layers {
    /// How a call of this shape would run.
    pub(super) fn plan(&self, steps: usize, batch: usize) -> StackPlan {
        StackPlan::new(&self.config, &self.layers, [steps, batch], usize::MAX)
    }
}
