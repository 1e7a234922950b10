//! The kinds of layers of which there are stacks.

use crate::config::{
    GruConfig, GruParameterRanges, LstmConfig, ParameterRanges, RnnConfig, RnnParameterRanges,
};
use crate::error::Error;
use crate::lstm::Lstm;
use crate::weights::{GruWeights, LstmWeights, RnnWeights};
use std::fmt::Debug;
use std::hash::Hash;

/// The configuration of a layer of some kind of cells: of an [`Lstm`], a [`Gru`](crate::Gru) or an [`Rnn`](crate::Rnn).
/// It says of what a [`Stack`](crate::Stack) is made.
pub trait LayerConfig: Clone + Debug + Eq + Hash + sealed::Sealed {
    /// The weights of such a layer.
    type Weights<'a>;
    /// Where its parameters lie in a buffer of all of them.
    type Ranges;

    #[doc(hidden)]
    fn of_layer(layer: LstmConfig) -> Self;
    /// The same as a configuration of any kind.
    #[doc(hidden)]
    fn layer(&self) -> &LstmConfig;
    #[doc(hidden)]
    fn ranges(ranges: ParameterRanges) -> Self::Ranges;
    /// Weights from one buffer of all parameters.
    #[doc(hidden)]
    fn weights<'a>(&self, parameters: &'a [f32]) -> Result<Self::Weights<'a>, Error>;
    #[doc(hidden)]
    fn check_weights(&self, weights: &Self::Weights<'_>) -> Result<(), Error>;
    /// Packs weights that were checked.
    #[doc(hidden)]
    fn pack(weights: &Self::Weights<'_>, layer: &mut Lstm) -> Result<(), Error>;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for LstmConfig {}

impl LayerConfig for LstmConfig {
    type Weights<'a> = LstmWeights<'a>;
    type Ranges = ParameterRanges;

    fn of_layer(layer: LstmConfig) -> Self {
        layer
    }

    fn layer(&self) -> &LstmConfig {
        self
    }

    fn ranges(ranges: ParameterRanges) -> ParameterRanges {
        ranges
    }

    fn weights<'a>(&self, parameters: &'a [f32]) -> Result<LstmWeights<'a>, Error> {
        LstmWeights::from_parameters(self, parameters)
    }

    fn check_weights(&self, weights: &LstmWeights<'_>) -> Result<(), Error> {
        weights.check(self)
    }

    fn pack(weights: &LstmWeights<'_>, layer: &mut Lstm) -> Result<(), Error> {
        layer.replace_weights(|packed, packer| packed.pack(packer, weights))
    }
}

/// Of a layer whose configuration has the field `layer`.
macro_rules! layer_config {
    ($config:ident, $weights:ident, $ranges:ident) => {
        impl sealed::Sealed for $config {}

        impl LayerConfig for $config {
            type Weights<'a> = $weights<'a>;
            type Ranges = $ranges;

            fn of_layer(layer: LstmConfig) -> Self {
                Self { layer }
            }

            fn layer(&self) -> &LstmConfig {
                &self.layer
            }

            fn ranges(ranges: ParameterRanges) -> $ranges {
                ranges.into()
            }

            fn weights<'a>(&self, parameters: &'a [f32]) -> Result<$weights<'a>, Error> {
                $weights::from_parameters(self, parameters)
            }

            fn check_weights(&self, weights: &$weights<'_>) -> Result<(), Error> {
                weights.check(self)
            }

            fn pack(weights: &$weights<'_>, layer: &mut Lstm) -> Result<(), Error> {
                layer.replace_weights(|packed, packer| packed.pack_gates(packer, weights.gates()))
            }
        }
    };
}

layer_config!(GruConfig, GruWeights, GruParameterRanges);
layer_config!(RnnConfig, RnnWeights, RnnParameterRanges);
