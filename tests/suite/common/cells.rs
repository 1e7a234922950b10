//! Layers whose only state is h, with any options: drawn at random, and run by the crate and by the oracle.

use super::family::{activation, function};
use super::{GAP, Random, Recording, Run, bits, bits_but_of_nan, gather, spread, strides, widen};
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCall, NaiveCell, NaiveClip, NaiveDirections, NaiveKind,
    NaiveLayer, NaiveMasks, NaiveParameters, NaiveResult, NaiveRun, NaiveState,
};
use quadgate::{
    Backward, Direction, Forward, GradientMode, Gru, GruActivations, GruConfig, GruWeights, Matrix,
    MatrixMut, ResetGate, Rnn, RnnConfig, RnnWeights, Sequence, SequenceMut, State, StepMask, Tape,
    Workspace,
};

/// A layer that is one of the two.
pub enum Layer {
    Gru(Gru),
    Rnn(Rnn),
}

/// The same of either layer.
#[macro_export]
macro_rules! of_layer {
    ($of:expr, $layer:ident => $value:expr) => {
        match $of {
            $crate::common::cells::Layer::Gru($layer) => $value,
            $crate::common::cells::Layer::Rnn($layer) => $value,
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gru(ResetGate),
    Rnn,
}

pub const KINDS: [Kind; 3] =
    [Kind::Gru(ResetGate::AfterProduct), Kind::Gru(ResetGate::BeforeProduct), Kind::Rnn];

/// A layer and a call of it. All parameters are as `parameters` of its configuration says, but that there are two
/// biases for each gate; sequences are time-major.
#[derive(Clone, Debug)]
pub struct CellCase {
    pub kind: Kind,
    /// T, B, X and H.
    pub sizes: [usize; 4],
    /// f and g; of a plain recurrent layer φ is g.
    pub gate: NaiveActivation,
    pub candidate: NaiveActivation,
    pub clip: Option<f32>,
    /// Scales and ε.
    pub normalization: Option<(Vec<f32>, f32)>,
    /// `[B, H]`
    pub recurrent_mask: Option<Vec<f32>>,
    /// `[T, B, H]`
    pub share: Option<Vec<f32>>,
    /// A rate that the oracle does not know of.
    pub zoneout: Option<f32>,
    pub direction: Direction,
    pub run: NaiveRun,
    pub weight_ih: Vec<f32>,
    pub weight_hh: Vec<f32>,
    pub biases: [Vec<f32>; 2],
    pub x: Vec<f32>,
    pub initial: Vec<f32>,
    /// Of every h and of the last one.
    pub cotangents: [Vec<f32>; 2],
}

/// Every h, the last h, and gradients of x, of the parameters in their order, and of the first h, with their names.
pub type Tensors<F> = Vec<(&'static str, Vec<F>)>;

impl Kind {
    /// Gates in weights.
    pub fn gates(self) -> usize {
        if self == Kind::Rnn { 1 } else { 3 }
    }

    /// Sums, as many as biases that stay.
    pub fn sums(self) -> usize {
        self.gates() + usize::from(self == Kind::Gru(ResetGate::AfterProduct))
    }
}

impl CellCase {
    /// A plain layer, read forward.
    pub fn random(seed: u64, kind: Kind, sizes: [usize; 4]) -> Self {
        let [steps, batch, inputs, units] = sizes;
        let (mut random, gates) = (Random(seed), kind.gates());
        let scale = 1.0 / (units as f32).sqrt();
        Self {
            kind,
            sizes,
            gate: NaiveActivation::Sigmoid,
            candidate: NaiveActivation::Tanh,
            clip: None,
            normalization: None,
            recurrent_mask: None,
            share: None,
            zoneout: None,
            direction: Direction::Forward,
            run: NaiveRun::All,
            weight_ih: random.vec(gates * units * inputs, scale),
            weight_hh: random.vec(gates * units * units, scale),
            biases: [random.vec(gates * units, scale), random.vec(gates * units, scale)],
            x: random.vec(steps * batch * inputs, 1.0),
            initial: random.vec(batch * units, 1.0),
            cotangents: [random.vec(steps * batch * units, 1.0), random.vec(batch * units, 1.0)],
        }
    }

    /// The same with each option a third of the time, in either direction.
    pub fn with_options(mut self, random: &mut Random) -> Self {
        let [steps, batch, _, units] = self.sizes;
        let coin = |random: &mut Random| random.bits().is_multiple_of(3);
        if coin(random) {
            (self.gate, self.candidate) = (activation(random), activation(random));
        }
        self.clip = coin(random).then(|| random.uniform(0.3).abs() + 0.25);
        self.normalization = coin(random).then(|| (random.vec(self.kind.sums() * units, 1.0), 0.01));
        self.recurrent_mask = coin(random).then(|| random.vec(batch * units, 2.0));
        self.share = coin(random).then(|| {
            let shares = random.vec(steps * batch * units, 0.5);
            shares.into_iter().map(|share| (share + 0.5).clamp(0.0, 1.0)).collect()
        });
        if random.bits().is_multiple_of(2) {
            self.direction = Direction::Reverse;
        }
        self
    }

    /// The same with rows of different lengths or masked steps, each a third of the time.
    pub fn partial(mut self, random: &mut Random) -> Self {
        let [steps, batch, ..] = self.sizes;
        self.run = match random.bits() % 3 {
            0 => NaiveRun::All,
            1 => NaiveRun::Lengths((0..batch).map(|_| random.bits() as usize % (steps + 1)).collect()),
            _ => NaiveRun::Mask((0..steps * batch).map(|_| random.bits().is_multiple_of(3)).collect()),
        };
        self
    }

    /// Whether threads may share units.
    pub fn may_share_units(&self) -> bool {
        let needs_rows = self.normalization.is_some() || self.recurrent_mask.is_some();
        let has_options = self.clip.is_some()
            || self.share.is_some()
            || self.zoneout.is_some()
            || [self.gate, self.candidate] != [NaiveActivation::Sigmoid, NaiveActivation::Tanh];
        !needs_rows && (self.kind != Kind::Gru(ResetGate::BeforeProduct) || !has_options)
    }

    /// The same layer, masks and steps with NaN for all else that a call reads.
    pub fn of_nan(mut self) -> Self {
        let Self { x, initial, cotangents: [output, last], .. } = &mut self;
        for values in [x, initial, output, last] {
            values.fill(f32::NAN);
        }
        self
    }

    /// The same with every weight moved by up to a part of itself.
    pub fn moved(&self, seed: u64, part: f32) -> Self {
        let mut random = Random(seed);
        let mut moved = self.clone();
        let Self { weight_ih, weight_hh, biases: [first, second], normalization, .. } = &mut moved;
        let scales = normalization.as_mut().map(|(scales, _)| scales);
        for values in [weight_ih, weight_hh, first, second].into_iter().chain(scales) {
            values.iter_mut().for_each(|value| *value *= 1.0 + random.uniform(part));
        }
        moved
    }

    /// The layer, for training. Units are shared where the options allow it.
    pub fn layer(&self, run: Run) -> Layer {
        let [.., inputs, units] = self.sizes;
        let split = run.split.filter(|_| self.may_share_units());
        macro_rules! finished {
            ($config:expr) => {{
                let mut config =
                    $config.direction(self.direction).isa(run.isa).threads(run.threads).training();
                if let Some(schedule) = run.schedule {
                    config = config.schedule(schedule);
                }
                if let Some(split) = split {
                    config = config.split(split);
                }
                if let Some(limit) = self.clip {
                    config = config.clip(limit);
                }
                if let Some((_, epsilon)) = self.normalization {
                    config = config.layer_normalization(epsilon);
                }
                if self.recurrent_mask.is_some() {
                    config = config.recurrent_dropout();
                }
                if let Some(rate) = self.zoneout.or(self.share.as_ref().map(|_| 0.0)) {
                    config = config.zoneout(rate);
                }
                config
            }};
        }
        let (w, r, [first, second]) = (&self.weight_ih, &self.weight_hh, &self.biases);
        let scales = self.normalization.as_ref().map(|(scales, _)| scales);
        match self.kind {
            Kind::Gru(reset_gate) => {
                let [gate, candidate] = [self.gate, self.candidate].map(function);
                let config = GruConfig::new(inputs, units).reset_gate(reset_gate);
                let config = finished!(config.activations(GruActivations { gate, candidate }));
                let mut weights = GruWeights::pytorch(&config, w, r, Some(first), Some(second)).unwrap();
                if let Some(scales) = scales {
                    let of = |sum: usize| &scales[sum * units..][..units];
                    let apart = (self.kind.sums() > 3).then(|| of(3));
                    weights = weights.with_layer_normalization([0, 1, 2].map(of), apart).unwrap();
                }
                Layer::Gru(Gru::new(&config, &weights).unwrap())
            }
            Kind::Rnn => {
                let config = RnnConfig::new(inputs, units).activation(function(self.candidate));
                let config = finished!(config);
                let mut weights = RnnWeights::pytorch(&config, w, r, Some(first), Some(second)).unwrap();
                if let Some(scales) = scales {
                    weights = weights.with_layer_normalization(scales).unwrap();
                }
                Layer::Rnn(Rnn::new(&config, &weights).unwrap())
            }
        }
    }

    /// A workspace and a tape of just the right size.
    pub fn memory(&self, layer: &Layer, recording: Recording) -> (Workspace, Tape) {
        let [steps, batch, ..] = self.sizes;
        of_layer!(layer, layer => {
            let tape = match recording {
                Recording::Full => layer.tape(steps, batch),
                Recording::Checkpoints(every) => layer.checkpointed_tape(steps, batch, every),
            };
            (layer.workspace(batch).unwrap(), tape.unwrap())
        })
    }

    /// What comes of it.
    pub fn found(&self, run: Run, recording: Recording) -> Tensors<f32> {
        let layer = self.layer(run);
        let (mut workspace, mut tape) = self.memory(&layer, recording);
        self.found_with(&layer, &mut workspace, &mut tape, run)
    }

    /// The same with this memory. A call without a tape, which is another path, must yield the same.
    pub fn found_with(
        &self,
        layer: &Layer,
        workspace: &mut Workspace,
        tape: &mut Tape,
        run: Run,
    ) -> Tensors<f32> {
        let [steps, batch, inputs, units] = self.sizes;
        let of = |values: &[f32], width| spread(values, run.layout, [steps, batch, width], f32::NAN);
        let (x_strides, x_len) = strides(run.layout, steps, batch, inputs);
        let (h_strides, h_len) = strides(run.layout, steps, batch, units);
        let (x, cotangent) = (of(&self.x, inputs), of(&self.cotangents[0], units));
        let share = self.share.as_ref().map(|share| of(share, units));
        let of_x = Sequence::with_strides(&x, [steps, batch, inputs], x_strides);
        macro_rules! with_options {
            ($call:expr) => {{
                let mut call = $call;
                if let Some(share) = &share {
                    call = call.hidden_share(Sequence::with_strides(share, [steps, batch, units], h_strides));
                }
                if let Some(mask) = &self.recurrent_mask {
                    call = call.recurrent_mask(Matrix::new(mask, batch, units));
                }
                match &self.run {
                    NaiveRun::All => call,
                    NaiveRun::Lengths(lengths) => call.lengths(lengths),
                    NaiveRun::Mask(mask) => call.mask(StepMask::time_major(mask, steps, batch)),
                }
            }};
        }
        let mut forward = |tape: Option<&mut Tape>| {
            let (mut output, mut last) = (vec![GAP; h_len], vec![GAP; batch * units]);
            let mut call = with_options!(Forward::new(of_x))
                .initial_hidden(Matrix::new(&self.initial, batch, units))
                .output(SequenceMut::with_strides(&mut output, [steps, batch, units], h_strides))
                .last_hidden(MatrixMut::new(&mut last, batch, units));
            if let Some(tape) = tape {
                call = call.tape(tape);
            }
            of_layer!(layer, layer => layer.forward(workspace, call)).unwrap();
            [gather(&mut output, run.layout, [steps, batch, units]), last]
        };
        let [output, last] = forward(Some(tape));
        let untaped = forward(None);
        let of = |all: [&[f32]; 2]| all.map(bits_but_of_nan);
        assert_eq!(of([&untaped[0], &untaped[1]]), of([&output, &last]), "the tape changes the answer");

        let total = of_layer!(layer, layer => layer.config().parameters().unwrap().total());
        let (mut dx, mut dh0) = (vec![GAP; x_len], vec![GAP; batch * units]);
        let mut parameters = vec![GAP; total];
        let call = with_options!(Backward::new(of_x))
            .output_cotangent(Sequence::with_strides(&cotangent, [steps, batch, units], h_strides))
            .last_hidden_cotangent(Matrix::new(&self.cotangents[1], batch, units))
            .input_gradient(SequenceMut::with_strides(&mut dx, [steps, batch, inputs], x_strides))
            .initial_hidden_gradient(MatrixMut::new(&mut dh0, batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        of_layer!(layer, layer => layer.backward(workspace, tape, call)).unwrap();
        let mut rest = &parameters[..];
        let mut next = |len: usize| {
            let (tensor, others) = rest.split_at(len);
            rest = others;
            tensor.to_vec()
        };
        let tensors = vec![
            ("output", output),
            ("last", last),
            ("dx", gather(&mut dx, run.layout, [steps, batch, inputs])),
            ("dW", next(self.weight_ih.len())),
            ("dR", next(self.weight_hh.len())),
            ("db", next(self.kind.sums() * units)),
            ("dscale", next(self.normalization.as_ref().map_or(0, |(scales, _)| scales.len()))),
            ("dh0", dh0),
        ];
        assert!(rest.is_empty());
        tensors
    }

    /// Every h of single steps of a state, and the last one; without masks and shares.
    pub fn stepped(&self, run: Run) -> [Vec<f32>; 2] {
        let [steps, batch, inputs, units] = self.sizes;
        let layer = self.layer(run);
        let mut state: State = of_layer!(&layer, layer => layer.state(batch).unwrap());
        state.set_hidden(Matrix::new(&self.initial, batch, units)).unwrap();
        let mut output = vec![GAP; steps * batch * units];
        for step in 0..steps {
            let t = if self.direction == Direction::Reverse { steps - 1 - step } else { step };
            let x = Matrix::new(&self.x[t * batch * inputs..][..batch * inputs], batch, inputs);
            of_layer!(&layer, layer => layer.step(&mut state, x)).unwrap();
            for row in 0..batch {
                output[(t * batch + row) * units..][..units].copy_from_slice(state.hidden(row).unwrap());
            }
        }
        let last = (0..batch).flat_map(|row| state.hidden(row).unwrap().to_vec()).collect();
        [output, last]
    }

    /// One row with the first of its steps, as a call of its own.
    pub fn alone(&self, row: usize, steps: usize) -> Self {
        let [_, batch, inputs, units] = self.sizes;
        let of = |all: &[f32], width: usize| -> Vec<f32> {
            (0..steps).flat_map(|t| all[(t * batch + row) * width..][..width].to_vec()).collect()
        };
        let of_row = |all: &[f32]| all[row * units..][..units].to_vec();
        Self {
            sizes: [steps, 1, inputs, units],
            recurrent_mask: self.recurrent_mask.as_ref().map(|mask| of_row(mask)),
            share: self.share.as_ref().map(|share| of(share, units)),
            run: NaiveRun::All,
            x: of(&self.x, inputs),
            initial: of_row(&self.initial),
            cotangents: [of(&self.cotangents[0], units), of_row(&self.cotangents[1])],
            ..self.clone()
        }
    }

    /// What the oracle says.
    pub fn expected(&self) -> Tensors<f64> {
        let [steps, batch, _, units] = self.sizes;
        let gates = self.kind.gates();
        let directions = match self.direction {
            Direction::Forward => NaiveDirections::Forward,
            Direction::Reverse => NaiveDirections::Reverse,
        };
        let layer = NaiveLayer { cells: vec![self.oracle()], directions };
        // The oracle has a mask for each gate and step.
        let of_gates = |mask: &Vec<f32>| {
            let of_row = mask.chunks(units).flat_map(|row| row.repeat(gates));
            widen(&of_row.collect::<Vec<f32>>().repeat(steps))
        };
        let masks = NaiveMasks {
            recurrent: self.recurrent_mask.as_ref().map(of_gates),
            hidden: self.share.as_ref().map(|share| widen(share)),
            cell: None,
        };
        let state = |hidden: &[f32]| vec![NaiveState { hidden: widen(hidden), cell: Vec::new() }];
        let call = NaiveCall {
            initial: state(&self.initial),
            run: self.run.clone(),
            masks: vec![masks],
            ..NaiveCall::new([steps, batch], widen(&self.x), &layer.cells)
        };
        let cotangents = NaiveResult { output: widen(&self.cotangents[0]), last: state(&self.cotangents[1]) };
        let NaiveResult { output, mut last } = layer.forward(&call);
        let mut gradients = layer.backward(&call, &cotangents);
        let of = gradients.parameters.remove(0);
        vec![
            ("output", output),
            ("last", last.remove(0).hidden),
            ("dx", gradients.input),
            ("dW", of.weight_ih),
            ("dR", of.weight_hh),
            ("db", of.bias),
            ("dscale", of.normalization.unwrap_or_default()),
            ("dh0", gradients.initial.remove(0).hidden),
        ]
    }

    /// The cell of the oracle.
    fn oracle(&self) -> NaiveCell {
        let [.., inputs, units] = self.sizes;
        let [first, second] = self.biases.each_ref().map(|bias| widen(bias));
        let mut bias: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
        let kind = match self.kind {
            Kind::Rnn => NaiveKind::Rnn,
            Kind::Gru(reset_gate) => NaiveKind::Gru { resets_before: reset_gate == ResetGate::BeforeProduct },
        };
        // The reset gate may come between those of the candidate.
        if self.kind == Kind::Gru(ResetGate::AfterProduct) {
            bias.splice(2 * units.., [&first[2 * units..], &second[2 * units..]].concat());
        }
        let parameters = NaiveParameters {
            normalization: self.normalization.as_ref().map(|(scales, _)| widen(scales)),
            ..NaiveParameters::new(widen(&self.weight_ih), widen(&self.weight_hh), bias)
        };
        let (gate, candidate) = (self.gate, self.candidate);
        NaiveCell {
            activations: NaiveActivations { gate, candidate, ..NaiveActivations::default() },
            clip: NaiveClip { gate: self.clip.map(f64::from), ..NaiveClip::default() },
            epsilon: self.normalization.as_ref().map_or(0.0, |(_, epsilon)| f64::from(*epsilon)),
            ..NaiveCell::of_kind(kind, inputs, units, parameters)
        }
    }

    /// The loss whose gradients these are.
    pub fn loss(&self) -> f64 {
        let tensors = self.expected();
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
        dot(&tensors[0].1, &self.cotangents[0]) + dot(&tensors[1].1, &self.cotangents[1])
    }
}

/// How far tensors are apart, in parts of the largest entry or of the terms of sums that cancel; and which.
pub fn largest_error(found: &Tensors<f64>, expected: &Tensors<f64>) -> (f64, &'static str) {
    let mut worst = (0.0, "");
    for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
        assert_eq!((name, found.len()), (expected_name, expected.len()));
        let largest = expected.iter().fold(0.05f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs() / largest;
            // A comparison alone would forgive a NaN.
            if error > worst.0 || error.is_nan() {
                worst = (error, *name);
            }
        }
    }
    worst
}

/// Fails unless numbers are near, in the same sense.
pub fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let (error, _) = largest_error(&vec![("", widen(found))], &vec![("", expected.to_vec())]);
    assert!(error <= tolerance, "{what}: {error:e}, {found:?} is not {expected:?}");
}

pub fn widened(tensors: &Tensors<f32>) -> Tensors<f64> {
    tensors.iter().map(|(name, values)| (*name, widen(values))).collect()
}

pub fn tensor_bits(tensors: &Tensors<f32>) -> Vec<(&'static str, Vec<u32>)> {
    tensors.iter().map(|(name, values)| (*name, bits(values))).collect()
}

/// Fails where the gradients of a case are not its finite differences, in f64.
pub fn assert_finite_differences(case: &CellCase) {
    let gradients = case.expected();
    let check =
        |which: usize, part: fn(&mut CellCase) -> Option<&mut Vec<f32>>, own: &dyn Fn(usize) -> usize| {
            let len = part(&mut case.clone()).map_or(0, |part| part.len());
            for at in 0..len {
                let moved = |by: f32| {
                    let mut moved = case.clone();
                    let value = &mut part(&mut moved).unwrap()[at];
                    *value += by;
                    (f64::from(*value), moved.loss())
                };
                let ((more, above), (less, below)) = (moved(1.0 / 2048.0), moved(-1.0 / 2048.0));
                let difference = (above - below) / (more - less);
                let (name, gradient) = (gradients[which].0, gradients[which].1[own(at)]);
                assert!((difference - gradient).abs() < 1e-4, "{name} {at}: {difference}, {gradient}");
            }
        };
    let units = case.sizes[3];
    check(2, |case| Some(&mut case.x), &|at| at);
    check(3, |case| Some(&mut case.weight_ih), &|at| at);
    check(4, |case| Some(&mut case.weight_hh), &|at| at);
    check(5, |case| Some(&mut case.biases[0]), &|at| at);
    // The second bias of n has a place of its own where the reset gate is applied after the product.
    let of_product = if case.kind == Kind::Gru(ResetGate::AfterProduct) { units } else { 0 };
    check(5, |case| Some(&mut case.biases[1]), &|at| if at < 2 * units { at } else { at + of_product });
    check(6, |case| case.normalization.as_mut().map(|(scales, _)| scales), &|at| at);
    check(7, |case| Some(&mut case.initial), &|at| at);
}
