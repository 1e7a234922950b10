//! Configurations to and from data, with serde: every field by its name, those that are not there as in `new`.
//!
//! All configurations of layers have the same fields, and a kind of cell, which must be that of the type that is read.
//! What is read goes through the checks of a layer, so that a configuration which makes no sense is refused here
//! already.

use super::{GruConfig, LstmConfig, RnnConfig, Schedule, Split, Threads};
use crate::cell::kind::CellKind;
use crate::direction::Direction;
use crate::options::{Clip, Options, Zoneout};
use quadgate_kernels::{Activations, Isa};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The fields of a configuration of any kind, unchecked.
#[derive(Serialize, Deserialize)]
#[serde(remote = "LstmConfig", deny_unknown_fields)]
struct Fields {
    kind: CellKind,
    input_size: usize,
    hidden_size: usize,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    isa: Option<Isa>,
    #[serde(default)]
    schedule: Option<Schedule>,
    #[serde(default)]
    split: Option<Split>,
    #[serde(default)]
    threads: Threads,
    #[serde(default)]
    training: bool,
}

/// A configuration whose cell is of an expected kind.
fn layer<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    is_expected: impl Fn(CellKind) -> bool,
) -> Result<LstmConfig, D::Error> {
    let layer = Fields::deserialize(deserializer)?;
    if !is_expected(layer.kind) {
        return Err(Error::custom(format_args!("kind: expected {expected}, found {:?}", layer.kind)));
    }
    layer.check().and_then(|()| check_options(&layer)).map_err(Error::custom)?;
    Ok(layer)
}

/// `Ok` if a cell has no option that no builder of its configuration could set.
fn check_options(layer: &LstmConfig) -> Result<(), crate::Error> {
    let Options { clip, activations, normalization, zoneout, recurrent_dropout, .. } = layer.options;
    let of_any_cell = Options {
        clip: Clip { gate: clip.gate, ..Clip::default() },
        activations: Activations { cell: Activations::default().cell, ..activations },
        normalization,
        zoneout: zoneout.map(|zoneout| Zoneout { cell: 0.0, ..zoneout }),
        recurrent_dropout,
        ..Options::default()
    };
    if layer.kind == CellKind::Lstm || layer.options == of_any_cell {
        return Ok(());
    }
    Err(crate::Error::Unexpected { argument: "options of an LSTM" })
}

impl Serialize for LstmConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for LstmConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        layer(deserializer, "an LSTM", |kind| kind == CellKind::Lstm)
    }
}

/// Of a configuration with the field `layer`.
macro_rules! serialized {
    ($config:ident, $expected:literal, $kind:pat) => {
        impl Serialize for $config {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Fields::serialize(&self.layer, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $config {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let layer = layer(deserializer, $expected, |kind| matches!(kind, $kind))?;
                Ok(Self { layer })
            }
        }
    };
}

serialized!(GruConfig, "a gated recurrent unit", CellKind::Gru(..));
serialized!(RnnConfig, "a plain recurrent cell", CellKind::Rnn(..));
