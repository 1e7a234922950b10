//! What a stack is, apart from its weights.

#[cfg(feature = "serde")]
mod serialized;

use crate::memory::buffer::filled;
use crate::stack::kinds::LayerConfig;
use crate::{Direction, Error, Initialization, Isa, LstmConfig, Schedule, Split, Threads};
use std::marker::PhantomData;

/// How directed layers are arranged over threads.
///
/// The results have the same bits either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Arrangement {
    /// One directed layer after the other. Threads share the rows or the hidden units of each, as its
    /// [`Plan`](crate::Plan) says.
    InTurn,
    /// Several directed layers at the same time. Of a stack with one direction, each layer on a thread: it runs a block
    /// of steps while the layer above it runs the block before. Of a stack with two, both directions of a layer, each
    /// with half of the threads.
    SideBySide,
}

/// Which way the layers of a stack read, and what becomes of two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
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
/// Each layer has one or two [directed layers](StackConfig::directed_layer), which are numbered in PyTorch's order:
/// layer after layer, forward before reverse. Weights, states and parameters are in that order.
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
    /// The first layers, of any kind, at least one; all others are like the last of these. The last two differ.
    listed: Vec<LstmConfig>,
    layers: usize,
    directions: Directions,
    arrangement: Option<Arrangement>,
    cell: PhantomData<C>,
}

impl StackConfig {
    /// A stack of LSTMs, of `layers` (≥ 1) layers that reads `input_size` (X ≥ 0) features and has `hidden_size` (H ≥
    /// 1) units in each layer and direction.
    #[doc(alias = "num_layers")]
    pub fn new(input_size: usize, hidden_size: usize, layers: usize, directions: Directions) -> Self {
        Self::of(LstmConfig::new(input_size, hidden_size), layers, directions)
    }
}

impl<C: LayerConfig> StackConfig<C> {
    /// A stack of `layers` (≥ 1) layers that are like `layer`, with all its options. `layer` says what the first one
    /// reads; the others read the output of the one below. Its direction gives way to `directions`.
    ///
    /// ```
    /// use quadgate::{Directions, LstmConfig, StackConfig};
    ///
    /// let config = StackConfig::of(LstmConfig::new(40, 100).projection(30), 2, Directions::Concatenated);
    /// assert_eq!((config.hidden_size(), config.output_size()), (100, 60));
    /// assert_eq!(config.directed_layer(2).input_size(), 60);
    /// ```
    pub fn of(layer: C, layers: usize, directions: Directions) -> Self {
        let lowest = layer.layer().clone().direction(Direction::Forward);
        let others = (layers > 1).then(|| lowest.clone().input(output_size(&lowest, directions)));
        Self::of_listed([lowest].into_iter().chain(others).collect(), layers, directions)
    }

    /// A stack of these layers, from the one that reads x to the one that yields the output: of any widths, and with
    /// options of their own. Each must read as many features as the one below it puts out, twice as many as that has
    /// units if directions are concatenated. Their directions give way to `directions`.
    ///
    /// ```
    /// use quadgate::{Directions, LstmConfig, StackConfig};
    ///
    /// let layers = [LstmConfig::new(40, 200), LstmConfig::new(200, 100).peepholes(), LstmConfig::new(100, 50)];
    /// let config = StackConfig::of_layers(layers, Directions::Forward)?;
    /// assert_eq!((config.layers(), config.input_size(), config.output_size()), (3, 40, 50));
    /// assert_eq!((config.hidden_size(), config.directed_layer(2).hidden_size()), (200, 50));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// States are `[D · B, H]`, as those of any stack with D directed layers, where H is the [width of the widest
    /// layer](StackConfig::state_widths): row d · B + b is that of row b of directed layer d. A narrower layer has the
    /// first elements of its rows; the others are not read, and stay as they are.
    ///
    /// Instruction set, threads and training are those of the whole stack.
    ///
    /// # Errors
    /// [`Error::Zero`] if there is no layer. [`Error::Layer`] says which layer does not fit, and how:
    /// [`Error::Dimension`] if it reads another number of features, [`Error::Unsupported`] if it is to run in another
    /// way than the first one; or what [`Lstm::new`](crate::Lstm::new) refuses of a configuration.
    pub fn of_layers(layers: impl IntoIterator<Item = C>, directions: Directions) -> Result<Self, Error> {
        let layers = layers.into_iter().map(|layer| layer.layer().clone().direction(Direction::Forward));
        let layers: Vec<LstmConfig> = layers.collect();
        let first = layers.first().ok_or(Error::Zero { argument: "layers" })?;
        for (index, layer) in layers.iter().enumerate() {
            let below = index.checked_sub(1).map(|below| output_size(&layers[below], directions));
            let expected = below.unwrap_or(first.input_size());
            Error::check_dimension("config", "input size", expected, layer.input_size())
                .and_then(|()| layer.check_runs_as(first))
                .and_then(|()| layer.check())
                .map_err(|error| Error::Layer { index, error: Box::new(error) })?;
        }
        let count = layers.len();
        Ok(Self::of_listed(layers, count, directions))
    }

    /// A stack whose layers are these and, after them, others that are like the last one.
    fn of_listed(listed: Vec<LstmConfig>, layers: usize, directions: Directions) -> Self {
        Self { listed, layers, directions, arrangement: None, cell: PhantomData }.shortened()
    }

    /// The same with layers at the end that are alike listed once, so that equal stacks are equal.
    fn shortened(mut self) -> Self {
        while self.listed.len() > 1 && self.listed.last() == self.listed.get(self.listed.len() - 2) {
            self.listed.pop();
        }
        self
    }

    /// The same with each layer changed.
    fn each(mut self, change: impl Fn(LstmConfig) -> LstmConfig) -> Self {
        self.listed = self.listed.into_iter().map(change).collect();
        self.shortened()
    }

    /// The same, as layers of any kind have it.
    pub(super) fn of_any_kind(&self) -> StackConfig {
        let Self { layers, directions, arrangement, .. } = *self;
        StackConfig { listed: self.listed.clone(), layers, directions, arrangement, cell: PhantomData }
    }

    /// As [`LstmConfig::isa`], for all layers.
    pub fn isa(self, isa: Isa) -> Self {
        self.each(|layer| layer.isa(isa))
    }

    /// As [`LstmConfig::schedule`], for all layers.
    pub fn schedule(self, schedule: Schedule) -> Self {
        self.each(|layer| layer.schedule(schedule))
    }

    /// As [`LstmConfig::split`], for all layers.
    pub fn split(self, split: Split) -> Self {
        self.each(|layer| layer.split(split))
    }

    /// As [`LstmConfig::threads`], for all layers.
    pub fn threads(self, threads: Threads) -> Self {
        self.each(|layer| layer.threads(threads))
    }

    /// Demands how directed layers are arranged over threads. Without this, the plan chooses by the shape.
    ///
    /// A stack of a single directed layer has no choice, nor has one with one thread.
    pub fn arrangement(mut self, arrangement: Arrangement) -> Self {
        self.arrangement = Some(arrangement);
        self
    }

    /// As [`LstmConfig::training`], for all layers.
    pub fn training(self) -> Self {
        self.each(|layer| layer.training())
    }

    /// X, the number of input features.
    pub fn input_size(&self) -> usize {
        self.layer(0).input_size()
    }

    /// H, the number of hidden units of each layer and direction; of the widest, if layers differ.
    pub fn hidden_size(&self) -> usize {
        self.widest(LstmConfig::hidden_size)
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Which way the layers read.
    pub fn directions(&self) -> Directions {
        self.directions
    }

    /// Elements in a row of the output: H (P with a projection) of the last layer, or twice that if directions are
    /// concatenated.
    pub fn output_size(&self) -> usize {
        self.output_size_of(self.layers.saturating_sub(1))
    }

    /// Elements in a row of h, and in a row of c, of the states that calls of the stack read and write, `[D · B, H]`
    /// each: those of the widest layer. c has none if the cell has no c.
    ///
    /// ```
    /// use quadgate::{Directions, LstmConfig, StackConfig};
    ///
    /// let layers = [LstmConfig::new(40, 100).projection(30), LstmConfig::new(30, 50)];
    /// assert_eq!(StackConfig::of_layers(layers, Directions::Forward)?.state_widths(), [50, 100]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn state_widths(&self) -> [usize; 2] {
        [0, 1].map(|state| self.widest(|layer| layer.state_widths()[state]))
    }

    /// The largest of all layers.
    fn widest(&self, width: impl Fn(&LstmConfig) -> usize) -> usize {
        self.listed.iter().map(width).max().unwrap_or(0)
    }

    /// What layer number `layer` is but for its direction.
    pub(super) fn layer(&self, layer: usize) -> &LstmConfig {
        &self.listed[layer.min(self.listed.len() - 1)]
    }

    /// How many of the first layers may differ; all others are like the last of these.
    pub(super) fn listed(&self) -> usize {
        self.listed.len()
    }

    /// Elements in a row of what layer number `layer` puts out.
    pub(super) fn output_size_of(&self, layer: usize) -> usize {
        output_size(self.layer(layer), self.directions)
    }

    /// The most elements in a row of what goes from a layer to the next; none if there is no next one.
    pub(super) fn size_between(&self) -> usize {
        let below = self.listed.len().min(self.layers.saturating_sub(1));
        (0..below).map(|layer| self.output_size_of(layer)).max().unwrap_or(0)
    }

    pub(super) fn forced_arrangement(&self) -> Option<Arrangement> {
        self.arrangement
    }

    /// Whether the stack is prepared for [`LstmStack::backward`](crate::LstmStack::backward).
    pub fn is_for_training(&self) -> bool {
        self.layer(0).is_for_training()
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
        self.layer(index / count).clone().direction(self.directions.direction(index % count))
    }

    /// The weights of all directed layers in one buffer of all parameters, as [`StackConfig::parameters`] lays them
    /// out: what a training loop holds and an optimizer changes.
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
    pub fn weights<'a>(&self, parameters: &'a [f32]) -> Result<Vec<C::Weights<'a>>, Error> {
        let (expected, found) = (self.total_parameters()?, parameters.len());
        if found != expected {
            return Err(Error::length("parameters", expected, found));
        }
        let of_layer = |index| {
            let (layer, first) = (self.directed_layer(index), self.parameters_before(index)?);
            layer.weights(&parameters[first..][..layer.layer().parameters()?.total()])
        };
        (0..self.directed_layers()).map(of_layer).collect()
    }

    /// Where each parameter of directed layer number `index` lies in a contiguous buffer of all parameters of the
    /// stack, or of their gradients.
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
        let overflow = Error::Overflow { argument: "layers" };
        let (mut total, mut rest) = (0usize, index);
        for (number, layer) in self.listed.iter().enumerate() {
            let is_last = number + 1 == self.listed.len();
            let alike = if is_last { rest } else { rest.min(self.directions.count()) };
            let len = layer.parameters()?.total().checked_mul(alike);
            total = len.and_then(|len| total.checked_add(len)).ok_or(overflow.clone())?;
            rest -= alike;
        }
        Ok(total)
    }
}

/// Elements in a row of what a layer puts out. One that overflows saturates, and is refused when the stack is made.
fn output_size(layer: &LstmConfig, directions: Directions) -> usize {
    match directions {
        Directions::Concatenated => layer.output_size().saturating_mul(2),
        _ => layer.output_size(),
    }
}
