//! Configurations of stacks to and from data, with serde.

use super::{Arrangement, Directions, StackConfig, output_size};
use crate::Error;
use crate::stack::kinds::LayerConfig;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a configuration is as data.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<C> {
    /// The first layers, at least one; all others are like the last of these.
    listed: Vec<C>,
    layers: usize,
    directions: Directions,
    #[serde(default)]
    arrangement: Option<Arrangement>,
}

impl<C: LayerConfig> TryFrom<Fields<C>> for StackConfig<C> {
    type Error = Error;

    fn try_from(fields: Fields<C>) -> Result<Self, Error> {
        let Fields { listed, layers, directions, arrangement } = fields;
        let found = listed.len();
        let config = StackConfig::of_layers(listed, directions)?;
        if layers < found {
            return Err(Error::Dimension {
                argument: "listed",
                dimension: "layers",
                expected: layers,
                found,
            });
        }
        if let (true, Some(last)) = (layers > found, config.listed.last()) {
            let expected = output_size(last, directions);
            Error::check_dimension("config", "input size", expected, last.input_size())?;
        }
        Ok(Self { layers, arrangement, ..config })
    }
}

impl<C: LayerConfig + Serialize> Serialize for StackConfig<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed: Vec<C> = self.listed.iter().cloned().map(C::of_layer).collect();
        let Self { layers, directions, arrangement, .. } = *self;
        Fields { listed, layers, directions, arrangement }.serialize(serializer)
    }
}

impl<'de, C: LayerConfig + Deserialize<'de>> Deserialize<'de> for StackConfig<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}
