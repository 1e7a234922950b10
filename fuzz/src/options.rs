//! The options of a layer, sensible or not.

use crate::oracle::widen;
use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCell, NaiveClip, NaiveCoupling, NaiveKind, NaiveMasks,
    NaiveParameters,
};
use quadgate::{
    ActivationFunction, Activations, Clip, Coupling, GruActivations, GruConfig, LayerConfig, LstmConfig,
    ResetGate, RnnConfig, Zoneout,
};

/// Which cell a layer is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Lstm,
    Gru(ResetGate),
    Rnn,
}

impl Cell {
    pub fn draw(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let [after, before] = [ResetGate::AfterProduct, ResetGate::BeforeProduct].map(Cell::Gru);
        u.choose(&[Cell::Lstm, after, before, Cell::Rnn]).copied()
    }

    /// Gates in weights.
    pub fn gates(self) -> usize {
        self.naive().gates()
    }

    /// Biases that are not added up, as many as scales of a normalization.
    pub fn biases(self) -> usize {
        self.gates() + usize::from(self == Cell::Gru(ResetGate::AfterProduct))
    }

    /// Whether there is a c.
    pub fn has_cell_state(self) -> bool {
        self == Cell::Lstm
    }

    fn naive(self) -> NaiveKind {
        match self {
            Cell::Lstm => NaiveKind::Lstm,
            Cell::Gru(reset_gate) => NaiveKind::Gru { resets_before: reset_gate == ResetGate::BeforeProduct },
            Cell::Rnn => NaiveKind::Rnn,
        }
    }
}

/// All options that there are; those that a cell has not are at their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub cell: Cell,
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
    /// None.
    pub fn none(cell: Cell) -> Self {
        Self {
            cell,
            projection: None,
            projection_bias: false,
            peepholes: false,
            coupling: Coupling::default(),
            clip: Clip::default(),
            activations: Activations::default(),
            epsilon: None,
            zoneout: None,
            recurrent_dropout: false,
        }
    }

    /// Each option a third of the time, and if `odd` now and then values that make no sense.
    pub fn draw(u: &mut Unstructured<'_>, cell: Cell, odd: bool) -> arbitrary::Result<Self> {
        let (mut draw, none) = (Draw { odd, u }, Self::none(cell));
        let of_lstm = match cell {
            Cell::Lstm => draw.options_of_lstm(none)?,
            Cell::Gru(_) | Cell::Rnn => none,
        };
        Ok(Self {
            clip: if draw.third()? { draw.clip(&of_lstm)? } else { Clip::default() },
            activations: if draw.third()? { draw.activations(cell)? } else { Activations::default() },
            epsilon: if draw.third()? {
                Some(draw.value(&[0.01, 1.0, 1e-5], &[0.0, -0.01, f32::NAN, f32::INFINITY])?)
            } else {
                None
            },
            zoneout: if draw.third()? {
                let hidden = draw.rate()?;
                Some(Zoneout { hidden, cell: if cell.has_cell_state() { draw.rate()? } else { 0.0 } })
            } else {
                None
            },
            recurrent_dropout: draw.third()?,
            ..of_lstm
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
        self.projection.is_some()
            || self.epsilon.is_some()
            || self.recurrent_dropout
            || (self.cell == Cell::Gru(ResetGate::BeforeProduct) && *self != Self::none(self.cell))
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

    /// Elements of h.
    pub fn outputs(&self, units: usize) -> usize {
        self.projection.unwrap_or(units)
    }

    /// Parameters of a layer, in their order: W, R, b, peepholes, scales, V and its bias; none if they cannot be
    /// counted.
    pub fn lens(&self, [inputs, units]: [usize; 2]) -> Option<[usize; 7]> {
        let (outputs, gates) = (self.outputs(units), self.cell.gates());
        let (biases, of) =
            (self.cell.biases() * units, |is_there: bool, len: usize| if is_there { len } else { 0 });
        Some([
            gates.checked_mul(units)?.checked_mul(inputs)?,
            gates.checked_mul(units)?.checked_mul(outputs)?,
            biases,
            of(self.peepholes, 3 * units),
            of(self.epsilon.is_some(), biases),
            of(self.projection.is_some(), units.checked_mul(outputs)?),
            of(self.projection_bias, outputs),
        ])
    }

    /// How many there are; zero if they cannot be counted.
    pub fn total(&self, sizes: [usize; 2]) -> usize {
        let sum = |lens: [usize; 7]| lens.into_iter().try_fold(0usize, usize::checked_add);
        self.lens(sizes).and_then(sum).unwrap_or(0)
    }

    /// The cell of the oracle. The options make sense.
    pub fn oracle(&self, [inputs, units]: [usize; 2], mut parameters: &[f64]) -> NaiveCell {
        let tensors = self.lens([inputs, units]).unwrap().map(|len| {
            let (tensor, rest) = parameters.split_at(len);
            parameters = rest;
            tensor.to_vec()
        });
        let [weight_ih, weight_hh, bias, peephole, normalization, projection, projection_bias] = tensors;
        let option = |tensor: Vec<f64>| (!tensor.is_empty()).then_some(tensor);
        let parameters = NaiveParameters {
            peephole: option(peephole),
            normalization: option(normalization),
            projection: option(projection),
            projection_bias: option(projection_bias),
            ..NaiveParameters::new(weight_ih, weight_hh, bias)
        };
        let limit = |limit: Option<f32>| limit.map(f64::from);
        let Self { clip, activations, .. } = self;
        NaiveCell {
            output_size: self.outputs(units),
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
            ..NaiveCell::of_kind(self.cell.naive(), inputs, units, parameters)
        }
    }

    /// The masks of the oracle: the shares that a call gives, else what the rates say, and the recurrent mask.
    pub fn masks(
        &self,
        cell: &NaiveCell,
        [steps, batch]: [usize; 2],
        [hidden, shares_of_cell, recurrent]: [Option<Vec<f64>>; 3],
    ) -> NaiveMasks {
        let constant = |rate: f32, width: usize| vec![1.0 - f64::from(rate); steps * batch * width];
        let rates = self.zoneout;
        // The oracle has a mask for each gate and step.
        let of_gates = |mask: Vec<f64>| {
            let rows = mask.chunks(cell.output_size).flat_map(|row| row.repeat(cell.kind.gates()));
            rows.collect::<Vec<f64>>().repeat(steps)
        };
        NaiveMasks {
            recurrent: recurrent.map(of_gates),
            hidden: hidden.or_else(|| Some(constant(rates?.hidden, cell.output_size))),
            cell: shares_of_cell.or_else(|| Some(constant(rates?.cell, cell.state_size()))),
        }
    }
}

/// A configuration of layers of one of the cells.
pub trait CellConfig: LayerConfig {
    /// A layer with these options, which are those of this cell.
    fn of(options: &Options, sizes: [usize; 2]) -> Self;
}

impl CellConfig for LstmConfig {
    fn of(options: &Options, [inputs, units]: [usize; 2]) -> Self {
        let mut config = LstmConfig::new(inputs, units);
        config = options.projection.into_iter().fold(config, LstmConfig::projection);
        config = options.epsilon.into_iter().fold(config, LstmConfig::layer_normalization);
        config = options.zoneout.into_iter().fold(config, LstmConfig::zoneout);
        for (is_there, option) in [
            (options.projection_bias, LstmConfig::projection_bias as fn(LstmConfig) -> LstmConfig),
            (options.peepholes, LstmConfig::peepholes),
            (options.recurrent_dropout, LstmConfig::recurrent_dropout),
        ] {
            config = if is_there { option(config) } else { config };
        }
        config.coupling(options.coupling).clip(options.clip).activations(options.activations)
    }
}

impl CellConfig for GruConfig {
    fn of(options: &Options, [inputs, units]: [usize; 2]) -> Self {
        let Activations { gate, candidate, .. } = options.activations;
        let mut config = GruConfig::new(inputs, units).activations(GruActivations { gate, candidate });
        if let Cell::Gru(reset_gate) = options.cell {
            config = config.reset_gate(reset_gate);
        }
        config = options.clip.gate.into_iter().fold(config, GruConfig::clip);
        config = options.epsilon.into_iter().fold(config, GruConfig::layer_normalization);
        config = options.zoneout.into_iter().fold(config, |config, rates| config.zoneout(rates.hidden));
        if options.recurrent_dropout { config.recurrent_dropout() } else { config }
    }
}

impl CellConfig for RnnConfig {
    fn of(options: &Options, [inputs, units]: [usize; 2]) -> Self {
        let mut config = RnnConfig::new(inputs, units).activation(options.activations.candidate);
        config = options.clip.gate.into_iter().fold(config, RnnConfig::clip);
        config = options.epsilon.into_iter().fold(config, RnnConfig::layer_normalization);
        config = options.zoneout.into_iter().fold(config, |config, rates| config.zoneout(rates.hidden));
        if options.recurrent_dropout { config.recurrent_dropout() } else { config }
    }
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
fn naive(function: ActivationFunction) -> NaiveActivation {
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
    /// The same with what an LSTM alone has.
    fn options_of_lstm(&mut self, others: Options) -> arbitrary::Result<Options> {
        let projection = match self.third()? {
            true if self.is_senseless()? => Some(*self.u.choose(&[0, usize::MAX, usize::MAX / 4])?),
            true => Some(self.u.int_in_range(1..=45)?),
            false => None,
        };
        let may_project = projection.is_some() || self.is_senseless()?;
        Ok(Options {
            projection,
            projection_bias: may_project && self.third()?,
            peepholes: self.third()?,
            coupling: *self.u.choose(&[
                Coupling::Independent,
                Coupling::ForgetFromInput,
                Coupling::InputFromForget,
            ])?,
            ..others
        })
    }

    fn clip(&mut self, options: &Options) -> arbitrary::Result<Clip> {
        let gate = self.limit()?;
        if !options.cell.has_cell_state() {
            return Ok(Clip { gate, ..Clip::default() });
        }
        let may_project = options.projection.is_some() || self.is_senseless()?;
        let (hidden, cell) = (self.limit()?, self.limit()?);
        Ok(Clip { gate, hidden, cell, projection: if may_project { self.limit()? } else { None } })
    }

    fn activations(&mut self, cell: Cell) -> arbitrary::Result<Activations> {
        let plain = Activations::default();
        Ok(Activations {
            gate: if cell == Cell::Rnn { plain.gate } else { self.function()? },
            candidate: self.function()?,
            cell: if cell.has_cell_state() { self.function()? } else { plain.cell },
        })
    }

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
