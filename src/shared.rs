//! Packed weights that the clones of a layer share.

use crate::error::Error;
use crate::options::Options;
use crate::pack::PackedWeights;
use crate::shape::Shape;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Packed weights that the clones of a layer share until one of them gets others.
#[derive(Clone, Debug)]
pub(crate) struct SharedWeights {
    packed: Arc<PackedWeights>,
    /// Which of all weights that this layer and its clones ever had.
    version: usize,
    /// How many these are.
    versions: Arc<AtomicUsize>,
}

/// Names the weights of a layer among all that any layer has had.
#[derive(Clone, Debug)]
pub(crate) struct WeightsId {
    version: usize,
    versions: Arc<AtomicUsize>,
}

impl SharedWeights {
    /// Room for the weights of `shape`, all zero.
    pub(crate) fn new(shape: Shape, options: &Options, training: bool) -> Result<Self, Error> {
        let packed = Arc::new(PackedWeights::new(shape, options, training)?);
        Ok(Self { packed, version: 0, versions: Arc::default() })
    }

    /// Packs others: in the same memory unless a clone shares it.
    pub(crate) fn replace(
        &mut self,
        options: &Options,
        training: bool,
        pack: impl FnOnce(&mut PackedWeights),
    ) -> Result<(), Error> {
        if Arc::get_mut(&mut self.packed).is_none() {
            self.packed = Arc::new(PackedWeights::new(self.packed.shape(), options, training)?);
        }
        if let Some(packed) = Arc::get_mut(&mut self.packed) {
            pack(packed);
        }
        self.version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(())
    }

    /// What names these weights.
    pub(crate) fn id(&self) -> WeightsId {
        WeightsId { version: self.version, versions: Arc::clone(&self.versions) }
    }

    /// Whether these are the weights of that name.
    pub(crate) fn are(&self, id: &WeightsId) -> bool {
        self.version == id.version && self.are_of_layer(id)
    }

    /// Whether the weights of that name are some that this layer or a clone has had.
    pub(crate) fn are_of_layer(&self, id: &WeightsId) -> bool {
        Arc::ptr_eq(&self.versions, &id.versions)
    }
}

impl Deref for SharedWeights {
    type Target = PackedWeights;

    #[inline]
    fn deref(&self) -> &PackedWeights {
        &self.packed
    }
}
