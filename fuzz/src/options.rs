//! The options of a layer, sensible or not.

use crate::oracle::widen;
use crate::rarely;
use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCell, NaiveClip, NaiveCoupling, NaiveDirections, NaiveLayer,
    NaiveMasks, NaiveParameters,
};
use quadgate::{
    ActivationFunction, Activations, Clip, Coupling, Direction, Error, LstmConfig, LstmWeights, Orientation,
    Zoneout,
};
use std::ops::Range;

/// All options of the LSTM family.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub projection: Option<usize>,
    pub projection_bias: bool,
    pub peepholes: bool,
    pub coupling: Coupling,
    pub clip: Clip,
    pub activations: Activations,
    /// Of the layer normalization.
    pub epsilon: Option<f32>,
    pub zoneout: Option<Zoneout>,
    pub recurrent_dropout: bool,
}

impl Options {
    /// Each option a third of the time, and now and then values that make no sense.
    pub fn draw(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let mut draw = Draw { odd: rarely(u)?, u };
        let projection = match draw.third()? {
            true if draw.is_senseless()? => Some(*draw.u.choose(&[0, usize::MAX, usize::MAX / 4])?),
            true => Some(draw.u.int_in_range(1..=45)?),
            false => None,
        };
        let may_project = projection.is_some() || draw.is_senseless()?;
        Ok(Self {
            projection,
            projection_bias: may_project && draw.third()?,
            peepholes: draw.third()?,
            coupling: *draw.u.choose(&[
                Coupling::Independent,
                Coupling::ForgetFromInput,
                Coupling::InputFromForget,
            ])?,
            clip: if draw.third()? {
                Clip {
                    gate: draw.limit()?,
                    hidden: draw.limit()?,
                    cell: draw.limit()?,
                    projection: if may_project { draw.limit()? } else { None },
                }
            } else {
                Clip::default()
            },
            activations: if draw.third()? {
                Activations { gate: draw.function()?, candidate: draw.function()?, cell: draw.function()? }
            } else {
                Activations::default()
            },
            epsilon: if draw.third()? {
                Some(draw.value(&[0.01, 1.0, 1e-5], &[0.0, -0.01, f32::NAN, f32::INFINITY])?)
            } else {
                None
            },
            zoneout: if draw.third()? {
                Some(Zoneout { hidden: draw.rate()?, cell: draw.rate()? })
            } else {
                None
            },
            recurrent_dropout: draw.third()?,
        })
    }

    /// Whether there can be such a layer.
    pub fn make_sense(&self) -> bool {
        let Self { projection, projection_bias, clip, activations, epsilon, zoneout, .. } = self;
        let projects = match projection {
            None => !projection_bias && clip.projection.is_none(),
            Some(size) => (1..usize::MAX / 4).contains(size),
        };
        let limits = [clip.gate, clip.hidden, clip.cell, clip.projection];
        let functions = [activations.gate, activations.candidate, activations.cell];
        projects
            && limits.into_iter().flatten().all(|limit| limit > 0.0)
            && functions.into_iter().flat_map(parameters).all(f32::is_finite)
            && epsilon.is_none_or(|epsilon| epsilon > 0.0 && epsilon.is_finite())
            && zoneout.is_none_or(|rates| [rates.hidden, rates.cell].iter().all(|r| (0.0..=1.0).contains(r)))
    }

    /// Whether threads cannot share units.
    pub fn need_whole_rows(&self) -> bool {
        self.projection.is_some() || self.epsilon.is_some() || self.recurrent_dropout
    }

    /// Whether rounding cannot make large differences at a kink, a limit, or where what is normalized is all the same.
    pub fn are_smooth(&self) -> bool {
        use ActivationFunction::{Affine, ScaledTanh, Sigmoid, Softplus, Softsign, Tanh};
        let Activations { gate, candidate, cell } = self.activations;
        self.clip == Clip::default()
            && self.epsilon.is_none_or(|epsilon| epsilon >= 0.01)
            && [gate, candidate, cell].into_iter().all(|function| {
                matches!(function, Sigmoid | Tanh | Softsign | Softplus | Affine { .. } | ScaledTanh { .. })
            })
    }

    /// A layer with these.
    pub fn apply(&self, mut config: LstmConfig) -> LstmConfig {
        config = self.projection.into_iter().fold(config, LstmConfig::projection);
        config = self.epsilon.into_iter().fold(config, LstmConfig::layer_normalization);
        config = self.zoneout.into_iter().fold(config, LstmConfig::zoneout);
        for (is_there, option) in [
            (self.projection_bias, LstmConfig::projection_bias as fn(LstmConfig) -> LstmConfig),
            (self.peepholes, LstmConfig::peepholes),
            (self.recurrent_dropout, LstmConfig::recurrent_dropout),
        ] {
            config = if is_there { option(config) } else { config };
        }
        config.coupling(self.coupling).clip(self.clip).activations(self.activations)
    }

    /// The layer of the oracle. The options make sense.
    pub fn oracle(&self, config: &LstmConfig, parameters: &[f64]) -> NaiveLayer<f64> {
        let ranges = config.parameters().unwrap();
        let tensor = |range: Range<usize>| parameters[range].to_vec();
        let option = |range: Range<usize>| (!range.is_empty()).then(|| tensor(range));
        let parameters = NaiveParameters {
            peephole: option(ranges.peepholes),
            normalization: option(ranges.layer_normalization),
            projection: option(ranges.projection),
            projection_bias: option(ranges.projection_bias),
            ..NaiveParameters::new(tensor(ranges.weight_ih), tensor(ranges.weight_hh), tensor(ranges.bias))
        };
        let limit = |limit: Option<f32>| limit.map(f64::from);
        let Self { clip, activations, .. } = self;
        let cell = NaiveCell {
            output_size: config.output_size(),
            activations: NaiveActivations {
                gate: naive(activations.gate),
                candidate: naive(activations.candidate),
                cell: naive(activations.cell),
            },
            coupling: match self.coupling {
                Coupling::Independent => NaiveCoupling::Independent,
                Coupling::ForgetFromInput => NaiveCoupling::ForgetFromInput,
                Coupling::InputFromForget => NaiveCoupling::InputFromForget,
                other => unreachable!("the oracle knows no {other:?}"),
            },
            clip: NaiveClip {
                gate: limit(clip.gate),
                hidden: limit(clip.hidden),
                cell: limit(clip.cell),
                projection: limit(clip.projection),
            },
            epsilon: self.epsilon.map_or(0.0, f64::from),
            ..NaiveCell::new(config.input_size(), config.hidden_size(), parameters)
        };
        let directions = match config.reading_direction() {
            Direction::Forward => NaiveDirections::Forward,
            Direction::Reverse => NaiveDirections::Reverse,
        };
        NaiveLayer { cells: vec![cell], directions }
    }

    /// The masks of the oracle: the shares that a call gives, else what the rates say, and the recurrent mask.
    pub fn masks(
        &self,
        cell: &NaiveCell<f64>,
        [steps, batch]: [usize; 2],
        [hidden, shares_of_cell, recurrent]: [Option<Vec<f64>>; 3],
    ) -> NaiveMasks<f64> {
        let constant = |rate: f32, width: usize| vec![1.0 - f64::from(rate); steps * batch * width];
        let rates = self.zoneout;
        // The oracle has a mask for each gate and step.
        let of_gates = |mask: Vec<f64>| {
            let rows = mask.chunks(cell.output_size).flat_map(|row| row.repeat(4));
            rows.collect::<Vec<f64>>().repeat(steps)
        };
        NaiveMasks {
            recurrent: recurrent.map(of_gates),
            hidden: hidden.or_else(|| Some(constant(rates?.hidden, cell.output_size))),
            cell: shares_of_cell.or_else(|| Some(constant(rates?.cell, cell.hidden_size))),
        }
    }
}

/// The weights that a buffer holds of all parameters of a layer.
pub fn weights<'a>(config: &LstmConfig, parameters: &'a [f32]) -> Result<LstmWeights<'a>, Error> {
    let (at, units) = (config.parameters()?, config.hidden_size());
    let tensor = |range: Range<usize>| &parameters[range];
    let row = |range: &Range<usize>, row: usize| &parameters[range.start + row * units..][..units];
    let bias = Some(tensor(at.bias));
    let mut weights = LstmWeights::pytorch(config, tensor(at.weight_ih), tensor(at.weight_hh), bias, None)?;
    if !at.peepholes.is_empty() {
        weights = weights.with_peepholes([0, 1, 2].map(|index| row(&at.peepholes, index)))?;
    }
    if !at.layer_normalization.is_empty() {
        let scales = [0, 1, 2, 3].map(|index| row(&at.layer_normalization, index));
        weights = weights.with_layer_normalization(scales)?;
    }
    if !at.projection.is_empty() {
        let bias = (!at.projection_bias.is_empty()).then(|| tensor(at.projection_bias));
        weights = weights.with_projection(Orientation::GatesByInputs, tensor(at.projection), bias)?;
    }
    Ok(weights)
}

/// α and β, where there are.
fn parameters(function: ActivationFunction) -> Vec<f32> {
    use ActivationFunction::*;
    match function {
        Sigmoid | Tanh | Relu | Softsign | Softplus => vec![],
        LeakyRelu { alpha } | ThresholdedRelu { alpha } | Elu { alpha } => vec![alpha],
        HardSigmoid { alpha, beta } | Affine { alpha, beta } | ScaledTanh { alpha, beta } => {
            vec![alpha, beta]
        }
        other => unreachable!("the oracle knows no {other:?}"),
    }
}

/// The same function of the oracle.
fn naive(function: ActivationFunction) -> NaiveActivation<f64> {
    use ActivationFunction as F;
    use NaiveActivation as N;
    match (function, &widen(&parameters(function))[..]) {
        (F::Sigmoid, _) => N::Sigmoid,
        (F::Tanh, _) => N::Tanh,
        (F::Relu, _) => N::Relu,
        (F::Softsign, _) => N::Softsign,
        (F::Softplus, _) => N::Softplus,
        (F::LeakyRelu { .. }, &[alpha]) => N::LeakyRelu { alpha },
        (F::ThresholdedRelu { .. }, &[alpha]) => N::ThresholdedRelu { alpha },
        (F::Elu { .. }, &[alpha]) => N::Elu { alpha },
        (F::HardSigmoid { .. }, &[alpha, beta]) => N::HardSigmoid { alpha, beta },
        (F::Affine { .. }, &[alpha, beta]) => N::Affine { alpha, beta },
        (F::ScaledTanh { .. }, &[alpha, beta]) => N::ScaledTanh { alpha, beta },
        _ => unreachable!("{function:?} has other parameters"),
    }
}

/// Draws values.
struct Draw<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    /// Whether some make no sense.
    odd: bool,
}

impl Draw<'_, '_> {
    fn third(&mut self) -> arbitrary::Result<bool> {
        Ok(self.u.int_in_range(0..=2)? == 2)
    }

    fn is_senseless(&mut self) -> arbitrary::Result<bool> {
        Ok(self.odd && self.third()?)
    }

    fn value(&mut self, sensible: &[f32], senseless: &[f32]) -> arbitrary::Result<f32> {
        let values = if self.is_senseless()? { senseless } else { sensible };
        self.u.choose(values).copied()
    }

    fn limit(&mut self) -> arbitrary::Result<Option<f32>> {
        if self.third()? {
            return Ok(None);
        }
        self.value(&[0.5, 3.0, 1e-42, f32::INFINITY], &[0.0, -0.0, -1.0, f32::NAN, f32::NEG_INFINITY])
            .map(Some)
    }

    fn rate(&mut self) -> arbitrary::Result<f32> {
        self.value(&[0.1, 0.5, 0.0, 1.0, -0.0], &[-0.1, 1.1, f32::NAN, f32::INFINITY])
    }

    fn function(&mut self) -> arbitrary::Result<ActivationFunction> {
        use ActivationFunction::*;
        let senseless = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let mut number = || self.value(&[0.5, 1.0, 0.2, -0.7, 0.0, 1.5, -1e30], &senseless);
        let (alpha, beta) = (number()?, number()?);
        self.u
            .choose(&[
                Sigmoid,
                Tanh,
                Relu,
                HardSigmoid { alpha, beta },
                Softsign,
                Softplus,
                Affine { alpha, beta },
                LeakyRelu { alpha },
                ThresholdedRelu { alpha },
                ScaledTanh { alpha, beta },
                Elu { alpha },
            ])
            .copied()
    }
}
