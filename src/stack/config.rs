//! What a stack is, apart from its weights.

use crate::memory::buffer::filled;
use crate::stack::kinds::LayerConfig;
use crate::{Direction, Error, Initialization, Isa, LstmConfig, LstmWeights, Schedule, Split, Threads};
use std::marker::PhantomData;

/// How directed layers are arranged over threads.
///
/// The results have the same bits either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arrangement {
    /// One directed layer after the other. Threads share the rows or the hidden units of each, as its
    /// [`Plan`](crate::Plan) says.
    InTurn,
    /// Several directed layers at the same time. Of a stack with one direction, each layer on a thread: it runs a block of
    /// steps while the layer above it runs the block before. Of a stack with two, both directions of a layer, each with half
    /// of the threads.
    SideBySide,
}

/// Which way the layers of a stack read, and what becomes of two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Directions {
    /// One direction, from the first step to the last.
    Forward,
    /// One direction, from the last step to the first. The output at t belongs to x_t.
    Reverse,
    /// Both directions; the output has the H units of the forward one, then those of the reverse one: PyTorch's and
    /// ONNX's `bidirectional`, Keras' `Bidirectional`.
    #[doc(alias = "Both")]
    #[doc(alias = "bidirectional")]
    Concatenated,
    /// Both directions; the output is their sum: Keras' `Bidirectional` with `merge_mode="sum"`.
    Summed,
}

impl Directions {
    /// 1 or 2
    pub fn count(self) -> usize {
        match self {
            Directions::Forward | Directions::Reverse => 1,
            Directions::Concatenated | Directions::Summed => 2,
        }
    }

    /// Which way direction number `index` of a layer reads.
    fn direction(self, index: usize) -> Direction {
        if self == Directions::Reverse || index == 1 { Direction::Reverse } else { Direction::Forward }
    }
}

/// The shape of a stack of layers and how it shall run. `C` is the configuration of a layer.
///
/// Each layer has one or two [directed layers](StackConfig::directed_layer), which are numbered in PyTorch's order: layer
/// after layer, forward before reverse. Weights, states and parameters are in that order.
///
/// ```
/// use quadgate::{Directions, StackConfig, Threads};
///
/// let config = StackConfig::new(40, 100, 3, Directions::Concatenated).threads(Threads::Serial);
/// assert_eq!((config.directed_layers(), config.output_size()), (6, 200));
/// assert_eq!((config.directed_layer(1).input_size(), config.directed_layer(2).input_size()), (40, 200));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StackConfig<C = LstmConfig> {
    /// Which all layers are like but for what they read, of any kind.
    layer: LstmConfig,
    layers: usize,
    directions: Directions,
    arrangement: Option<Arrangement>,
    cell: PhantomData<C>,
}

impl StackConfig {
    /// A stack of LSTMs, of `layers` (≥ 1) layers that reads `input_size` (X ≥ 0) features and has `hidden_size` (H ≥ 1) units in
    /// each layer and direction.
    pub fn new(input_size: usize, hidden_size: usize, layers: usize, directions: Directions) -> Self {
        Self::of(LstmConfig::new(input_size, hidden_size), layers, directions)
    }

    /// The weights of all directed layers in one buffer of all parameters, as [`StackConfig::parameters`] lays them out: what a
    /// training loop holds and an optimizer changes.
    ///
    /// ```
    /// use quadgate::{Directions, LstmStack, StackConfig};
    ///
    /// let config = StackConfig::new(3, 5, 2, Directions::Concatenated);
    /// let parameters = vec![0.1; config.total_parameters()?];
    /// let mut stack = LstmStack::new(&config, &config.weights(&parameters)?)?;
    /// stack.set_weights(&config.weights(&parameters)?)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] if the buffer has another length; [`Error::Zero`] if H is zero; [`Error::Overflow`].
    pub fn weights<'a>(&self, parameters: &'a [f32]) -> Result<Vec<LstmWeights<'a>>, Error> {
        let (expected, found) = (self.total_parameters()?, parameters.len());
        if found != expected {
            return Err(Error::length("parameters", expected, found));
        }
        let of_layer = |index| {
            let (layer, first) = (self.directed_layer(index), self.parameters_before(index)?);
            LstmWeights::from_parameters(&layer, &parameters[first..][..layer.parameters()?.total()])
        };
        (0..self.directed_layers()).map(of_layer).collect()
    }
}

impl<C: LayerConfig> StackConfig<C> {
    /// A stack of `layers` (≥ 1) layers that are like `layer`, with all its options. `layer` says what the first one reads;
    /// the others read the output of the one below. Its direction gives way to `directions`.
    ///
    /// ```
    /// use quadgate::{Directions, LstmConfig, StackConfig};
    ///
    /// let config = StackConfig::of(LstmConfig::new(40, 100).projection(30), 2, Directions::Concatenated);
    /// assert_eq!((config.hidden_size(), config.output_size()), (100, 60));
    /// assert_eq!(config.directed_layer(2).input_size(), 60);
    /// ```
    pub fn of(layer: C, layers: usize, directions: Directions) -> Self {
        Self { layer: layer.layer().clone(), layers, directions, arrangement: None, cell: PhantomData }
    }

    /// The same, as layers of any kind have it.
    pub(super) fn of_any_kind(&self) -> StackConfig {
        let Self { layers, directions, arrangement, .. } = *self;
        StackConfig { layer: self.layer.clone(), layers, directions, arrangement, cell: PhantomData }
    }

    /// As [`LstmConfig::isa`], for all layers.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.layer = self.layer.isa(isa);
        self
    }

    /// As [`LstmConfig::schedule`], for all layers.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.layer = self.layer.schedule(schedule);
        self
    }

    /// As [`LstmConfig::split`], for all layers.
    pub fn split(mut self, split: Split) -> Self {
        self.layer = self.layer.split(split);
        self
    }

    /// As [`LstmConfig::threads`], for all layers.
    pub fn threads(mut self, threads: Threads) -> Self {
        self.layer = self.layer.threads(threads);
        self
    }

    /// Demands how directed layers are arranged over threads. Without this, the plan chooses by the shape.
    ///
    /// A stack of a single directed layer has no choice, nor has one with one thread.
    pub fn arrangement(mut self, arrangement: Arrangement) -> Self {
        self.arrangement = Some(arrangement);
        self
    }

    /// As [`LstmConfig::training`], for all layers.
    pub fn training(mut self) -> Self {
        self.layer = self.layer.training();
        self
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    /// H, the number of hidden units of each layer and direction.
    pub fn hidden_size(&self) -> usize {
        self.layer.hidden_size()
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Which way the layers read.
    pub fn directions(&self) -> Directions {
        self.directions
    }

    /// Elements in a row of the output: H (P with a projection), or twice that if directions are concatenated.
    pub fn output_size(&self) -> usize {
        match self.directions {
            // One that overflows saturates, and is refused when the stack is made.
            Directions::Concatenated => self.layer.output_size().saturating_mul(2),
            _ => self.layer.output_size(),
        }
    }

    /// Elements in a row of h, and in one of c; none if the cell has no c.
    pub(super) fn state_widths(&self) -> [usize; 2] {
        [self.layer.output_size(), if self.layer.has_cell_state() { self.hidden_size() } else { 0 }]
    }

    pub(super) fn forced_arrangement(&self) -> Option<Arrangement> {
        self.arrangement
    }

    /// What all layers are like but for what they read.
    pub(super) fn layer(&self) -> &LstmConfig {
        &self.layer
    }

    /// Whether the stack is prepared for [`LstmStack::backward`](crate::LstmStack::backward).
    pub fn is_for_training(&self) -> bool {
        self.layer.is_for_training()
    }

    /// The number of layers times that of directions.
    pub fn directed_layers(&self) -> usize {
        self.layers.saturating_mul(self.directions.count())
    }

    /// The configuration of directed layer number `index`: of layer `index / directions` in direction
    /// `index % directions`. Its weights are made with it.
    pub fn directed_layer(&self, index: usize) -> C {
        C::of_layer(self.any_directed_layer(index))
    }

    fn any_directed_layer(&self, index: usize) -> LstmConfig {
        let count = self.directions.count();
        let inputs = if index < count { self.input_size() } else { self.output_size() };
        self.layer.clone().input(inputs).direction(self.directions.direction(index % count))
    }

    /// Where each parameter of directed layer number `index` lies in a contiguous buffer of all parameters of the stack,
    /// or of their gradients.
    ///
    /// ```
    /// let config = quadgate::StackConfig::new(3, 5, 2, quadgate::Directions::Concatenated);
    /// let ranges = config.parameters(1)?;
    /// assert_eq!((ranges.weight_ih, ranges.weight_hh, ranges.bias), (180..240, 240..340, 340..360));
    /// assert_eq!(config.total_parameters()?, 2 * 180 + 2 * 320);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn parameters(&self, index: usize) -> Result<C::Ranges, Error> {
        let ranges = self.any_directed_layer(index).parameters()?;
        let first = self.parameters_before(index)?;
        ranges.after(first).map(C::ranges).ok_or(Error::Overflow { argument: "layers" })
    }

    /// Elements of a contiguous buffer of all parameters of the stack.
    ///
    /// # Errors
    /// [`Error::Overflow`] if there were more than a `usize` can count.
    pub fn total_parameters(&self) -> Result<usize, Error> {
        self.parameters_before(self.directed_layers())
    }

    /// Parameters of all directed layers to begin training with, laid out as [`StackConfig::parameters`] says.
    ///
    /// # Errors
    /// As for [`LstmConfig::initial_parameters`].
    pub fn initial_parameters(&self, initialization: &Initialization, seed: u64) -> Result<Vec<f32>, Error> {
        let mut parameters = filled("parameters", self.total_parameters()?, 0.0)?;
        let mut rest = &mut parameters[..];
        for index in 0..self.directed_layers() {
            let layer = self.any_directed_layer(index);
            let own = rest.split_off_mut(..layer.parameters()?.total()).unwrap_or_default();
            layer.initialize(initialization, [seed, index as u64], own)?;
        }
        Ok(parameters)
    }

    /// Elements of the parameters of all directed layers before number `index`.
    fn parameters_before(&self, index: usize) -> Result<usize, Error> {
        let count = self.directions.count();
        let lowest = self.any_directed_layer(0).parameters()?.total().checked_mul(index.min(count));
        let others =
            self.any_directed_layer(count).parameters()?.total().checked_mul(index.saturating_sub(count));
        let total = lowest.zip(others).and_then(|(lowest, others)| lowest.checked_add(others));
        total.ok_or(Error::Overflow { argument: "layers" })
    }
}
