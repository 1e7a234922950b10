//! The options of the LSTM family: how a cell may differ from the plain one.

use crate::Error;
use crate::cell::kind::CellKind;
use quadgate_kernels::{Activations, CellOptions, Coupling};
use std::hash::{Hash, Hasher};
use std::mem;

/// Limits to ±limit; `None` for no limit.
///
/// Outside a limit the gradient is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Clip {
    /// Of what enters the activations of the gates.
    pub gate: Option<f32>,
    /// Of c where it enters h = o ∘ tanh c, while c itself goes on as it is.
    pub hidden: Option<f32>,
    /// Of f ∘ c + i ∘ g: TensorFlow Lite's `cell_clip`.
    pub cell: Option<f32>,
    /// Of the projection: TensorFlow Lite's `proj_clip`.
    pub projection: Option<f32>,
}

impl Clip {
    /// ONNX's `clip` as ONNX Runtime has it: what enters the activations of the gates.
    pub fn onnx_runtime(limit: f32) -> Self {
        Self { gate: Some(limit), ..Self::default() }
    }

    /// ONNX's `clip` as the standard has it: what enters any activation, so that of h too.
    ///
    /// ```
    /// use quadgate::{Clip, Lstm, LstmConfig, LstmWeights, Matrix};
    ///
    /// // Gates of ½, and c = 5: c′ = 2.5.
    /// for (clip, h) in [(Clip::onnx(1.0), 0.5 * 1f32.tanh()), (Clip::onnx_runtime(1.0), 0.5 * 2.5f32.tanh())] {
    ///     let config = LstmConfig::new(0, 1).clip(clip);
    ///     let lstm = Lstm::new(&config, &LstmWeights::onnx(&config, &[], &[0.0; 4], None, None)?)?;
    ///     let mut state = lstm.state(1)?;
    ///     state.set_cell(Matrix::new(&[5.0], 1, 1))?;
    ///     lstm.step(&mut state, Matrix::new(&[], 1, 0))?;
    ///     assert!((state.hidden(0).unwrap()[0] - h).abs() < 1e-6);
    ///     assert_eq!(state.cell(0).unwrap(), [2.5]);
    /// }
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn onnx(limit: f32) -> Self {
        Self { hidden: Some(limit), ..Self::onnx_runtime(limit) }
    }
}

/// How much of the old state a step keeps: the rates of [zoneout](https://arxiv.org/abs/1606.01305), from 0 to 1.
///
/// This is the expectation, for evaluation. For training, a call gets random shares in
/// [`Forward::hidden_share`](crate::Forward::hidden_share) and [`Forward::cell_share`](crate::Forward::cell_share).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Zoneout {
    /// Of h.
    pub hidden: f32,
    /// Of c.
    pub cell: f32,
}

/// All options of a layer. Numbers are compared by their bits, so that configurations can be keys of a map.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub(crate) struct Options {
    /// P
    pub(crate) projection: Option<usize>,
    pub(crate) projection_bias: bool,
    pub(crate) peepholes: bool,
    pub(crate) coupling: Coupling,
    pub(crate) clip: Clip,
    pub(crate) activations: Activations,
    /// ε
    pub(crate) normalization: Option<f32>,
    pub(crate) zoneout: Option<Zoneout>,
    pub(crate) recurrent_dropout: bool,
}

impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Options {}

impl Hash for Options {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Options {
    /// What they are compared and hashed by.
    fn key(&self) -> impl Eq + Hash {
        let Self { projection, projection_bias, peepholes, coupling, clip, activations, .. } = *self;
        let Self { normalization, zoneout, recurrent_dropout, .. } = *self;
        let bits = |number: Option<f32>| number.map(f32::to_bits);
        let Activations { gate, candidate, cell } = activations;
        let functions = [gate, candidate, cell]
            .map(|function| (mem::discriminant(&function), function.parameters().map(f32::to_bits)));
        (
            (projection, projection_bias, peepholes, coupling, recurrent_dropout),
            [clip.gate, clip.hidden, clip.cell, clip.projection, normalization].map(bits),
            zoneout.map(|zoneout| [zoneout.hidden, zoneout.cell].map(f32::to_bits)),
            functions,
        )
    }

    /// Whether there are none.
    pub(crate) fn are_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a step needs all units of a row, so that threads cannot share them.
    pub(crate) fn need_whole_rows(&self) -> bool {
        self.projection.is_some() || self.normalization.is_some() || self.recurrent_dropout
    }

    /// `Ok` if what was made for a layer with other options is not used with this one.
    #[inline]
    pub(crate) fn check_same(
        argument: &'static str,
        layer: Option<&Self>,
        other: Option<&Self>,
    ) -> Result<(), Error> {
        let because = "a layer of other options than it was made for";
        // Mostly there are none, and comparing them takes as long as some units.
        if layer.is_none() && other.is_none() || layer == other {
            Ok(())
        } else {
            Err(Error::Unsupported { argument, because })
        }
    }

    /// These, if there are any.
    pub(crate) fn if_any(&self) -> Option<Self> {
        (!self.are_plain()).then_some(*self)
    }

    /// `Ok` if every value makes sense for cells of this kind.
    pub(crate) fn check(&self, kind: CellKind) -> Result<(), Error> {
        if self.projection == Some(0) {
            return Err(Error::Zero { argument: "projection" });
        }
        for (argument, needs_projection) in
            [("projection bias", self.projection_bias), ("projection clip", self.clip.projection.is_some())]
        {
            if needs_projection && self.projection.is_none() {
                return Err(Error::Unexpected { argument });
            }
        }
        for (argument, limit) in [
            ("gate clip", self.clip.gate),
            ("hidden clip", self.clip.hidden),
            ("cell clip", self.clip.cell),
            ("projection clip", self.clip.projection),
        ] {
            check_value(argument, "a limit above 0", limit, |limit| limit > 0.0)?;
        }
        let rates = self.zoneout.map(|zoneout| [zoneout.hidden, zoneout.cell]).unwrap_or_default();
        for (argument, rate) in ["zoneout of h", "zoneout of c"].into_iter().zip(rates) {
            check_value(argument, "a rate from 0 to 1", Some(rate), |rate| (0.0..=1.0).contains(&rate))?;
        }
        let epsilon = self.normalization;
        // With ε = 0, equal pre-activations would be divided by zero.
        check_value("epsilon", "a finite number above 0", epsilon, |e| e > 0.0 && e.is_finite())?;
        let Activations { gate, candidate, cell } = self.activations;
        let of_candidate =
            if matches!(kind, CellKind::Rnn(_)) { "activation" } else { "activation of the candidate" };
        for (argument, function) in
            [("activation of gates", gate), (of_candidate, candidate), ("activation of c", cell)]
        {
            for parameter in function.parameters() {
                check_value(argument, "finite α and β", Some(parameter), f32::is_finite)?;
            }
        }
        Ok(())
    }

    /// What the kernels of the cell need to know.
    pub(crate) fn of_cell(&self) -> CellOptions {
        CellOptions {
            activations: self.activations,
            coupling: self.coupling,
            gate_limit: self.clip.gate.unwrap_or(f32::INFINITY),
            cell_limit: self.clip.cell.unwrap_or(f32::INFINITY),
            hidden_limit: self.clip.hidden.unwrap_or(f32::INFINITY),
        }
    }
}

/// `Ok` if there is no value, or one that is allowed.
fn check_value(
    argument: &'static str,
    expected: &'static str,
    found: Option<f32>,
    is_allowed: impl Fn(f32) -> bool,
) -> Result<(), Error> {
    match found {
        Some(found) if !is_allowed(found) => Err(Error::Value { argument, expected, found }),
        _ => Ok(()),
    }
}
