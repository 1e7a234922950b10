//! What the tests share: seeded data, layers and their oracles, and the levels that this CPU has.

#![allow(dead_code, unreachable_pub, unused_imports)] // Each test binary uses a part.

#[macro_use]
pub mod cells;
pub mod family;
pub mod golden;
pub mod lengths;
pub mod refused;
mod short;
pub mod stack;

pub(crate) use short::is_short;

use proptest::prelude::*;
use quadgate::reference::{NaiveCotangents, NaiveGradients, NaiveLstm, NaiveOutput};
use quadgate::{
    Arrangement, Backward, Direction, Forward, GradientMode, Isa, Lstm, LstmConfig, LstmWeights, Matrix,
    MatrixMut, Schedule, Sequence, SequenceMut, Split, Threads,
};
use std::num::NonZeroUsize;
use std::ops::Range;

/// The levels that this CPU can run; the others are named on standard output. `QUADGATE_ISA` narrows them to one, and
/// fails if the CPU lacks it.
pub fn levels() -> Vec<Isa> {
    if let Some(forced) = std::env::var_os("QUADGATE_ISA") {
        let lstm = Lstm::new(
            &LstmConfig::new(0, 1),
            &LstmWeights::pytorch(&LstmConfig::new(0, 1), &[], &[0.0; 4], None, None).unwrap(),
        );
        let isa = lstm.unwrap_or_else(|error| panic!("QUADGATE_ISA={forced:?}: {error}")).isa();
        println!("only {isa}, as QUADGATE_ISA demands");
        return vec![isa];
    }
    let (present, absent): (Vec<Isa>, Vec<Isa>) =
        Isa::ALL.iter().copied().partition(|&isa| quadgate::Activation::with_isa(isa).is_ok());
    println!("run: {present:?}; not run on this CPU: {absent:?}");
    present
}

/// The levels of [`levels`] that have a fused multiply-add, and so promise the same bits.
pub fn fused_levels() -> Vec<Isa> {
    let fused = |&isa: &Isa| isa != Isa::Portable || cfg!(target_arch = "aarch64");
    levels().into_iter().filter(fused).collect()
}

/// A small generator (SplitMix64), so that data depend on a seed alone.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in −scale … scale.
    pub fn uniform(&mut self, scale: f32) -> f32 {
        ((self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
    }

    pub fn vec(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.uniform(scale)).collect()
    }
}

pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// The bits of numbers.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The same with one pattern for all NaN: IEEE 754 leaves open which of them comes of an operation.
pub fn bits_but_of_nan(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN } else { *value }.to_bits()).collect()
}

/// The bits of all results.
pub fn outcome_bits(outcome: &Outcome) -> Vec<u32> {
    bits(&[&outcome.output[..], &outcome.last_hidden, &outcome.last_cell].concat())
}

/// The bits of all gradients.
pub fn gradient_bits(gradients: &Gradients) -> Vec<u32> {
    let Gradients { input, initial_hidden, initial_cell, parameters } = gradients;
    bits(&[&input[..], initial_hidden, initial_cell, parameters].concat())
}

/// The checksum FNV-1a.
pub fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Sizes of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub steps: usize,
    pub batch: usize,
    pub inputs: usize,
    pub units: usize,
}

/// A layer and a sequence for it, in PyTorch's layout; x is time-major.
#[derive(Clone, Debug)]
pub struct Case {
    pub sizes: Sizes,
    pub weight_ih: Vec<f32>,
    pub weight_hh: Vec<f32>,
    pub bias_ih: Vec<f32>,
    pub bias_hh: Vec<f32>,
    pub x: Vec<f32>,
    pub initial_hidden: Vec<f32>,
    pub initial_cell: Vec<f32>,
}

/// What a run yields: every h (time-major), the last h and the last c.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub output: Vec<f32>,
    pub last_hidden: Vec<f32>,
    pub last_cell: Vec<f32>,
}

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub isa: Isa,
    pub direction: Direction,
    pub schedule: Option<Schedule>,
    pub split: Option<Split>,
    /// Of a stack.
    pub arrangement: Option<Arrangement>,
    pub threads: Threads,
    pub layout: Layout,
}

/// Where the rows of input and output lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    TimeMajor,
    BatchMajor,
    /// Time-major with gaps after each row and each step.
    Gaps,
}

impl Run {
    pub fn on(isa: Isa) -> Self {
        Run {
            isa,
            direction: Direction::Forward,
            schedule: None,
            split: None,
            arrangement: None,
            threads: Threads::Serial,
            layout: Layout::TimeMajor,
        }
    }

    pub fn direction(self, direction: Direction) -> Self {
        Run { direction, ..self }
    }

    pub fn schedule(self, schedule: Schedule) -> Self {
        Run { schedule: Some(schedule), ..self }
    }

    pub fn split(self, split: Split) -> Self {
        Run { split: Some(split), ..self }
    }

    pub fn arrangement(self, arrangement: Arrangement) -> Self {
        Run { arrangement: Some(arrangement), ..self }
    }

    pub fn threads(self, threads: usize) -> Self {
        Run { threads: Threads::Exactly(NonZeroUsize::new(threads).unwrap()), ..self }
    }

    pub fn layout(self, layout: Layout) -> Self {
        Run { layout, ..self }
    }

    pub fn config(self, sizes: Sizes) -> LstmConfig {
        self.apply(LstmConfig::new(sizes.inputs, sizes.units).direction(self.direction))
    }

    /// The same layer, to be run in this way.
    pub fn apply(self, config: LstmConfig) -> LstmConfig {
        let config = config.isa(self.isa).threads(self.threads);
        let config = self.split.into_iter().fold(config, LstmConfig::split);
        self.schedule.into_iter().fold(config, LstmConfig::schedule)
    }
}

/// Sizes that leave parts of tiles and of vectors, or nothing.
pub fn small_sizes(steps: Range<usize>) -> impl Strategy<Value = Sizes> {
    (steps, 0usize..15, 0usize..36, 1usize..50).prop_map(|(steps, batch, inputs, units)| Sizes {
        steps,
        batch,
        inputs,
        units,
    })
}

/// Any way to run a case forward on the levels at hand.
pub fn runs() -> impl Strategy<Value = Run> {
    (
        proptest::sample::select(levels()),
        proptest::option::of(prop_oneof![Just(Schedule::Fused), Just(Schedule::Hoisted)]),
        proptest::option::of(prop_oneof![Just(Split::Rows), Just(Split::Units)]),
        proptest::option::of(prop_oneof![Just(Arrangement::InTurn), Just(Arrangement::SideBySide)]),
        0usize..5,
        prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    )
        .prop_map(|(isa, schedule, split, arrangement, threads, layout)| {
            let run = if threads == 0 { Run::on(isa) } else { Run::on(isa).threads(threads) };
            Run { schedule, split, arrangement, ..run.layout(layout) }
        })
}

/// Strides of time and batch, and the length of a slice that holds the sequence.
pub fn strides(layout: Layout, steps: usize, batch: usize, features: usize) -> ([usize; 2], usize) {
    match layout {
        Layout::TimeMajor => ([batch * features, features], steps * batch * features),
        Layout::BatchMajor => ([features, steps * features], steps * batch * features),
        Layout::Gaps => {
            let row = features + 3;
            ([batch * row + 5, row], steps * (batch * row + 5))
        }
    }
}

/// What lies between the rows of a strided output, and must stay there.
pub const GAP: f32 = -77.25;

impl Case {
    /// Uniform weights of ±1/√H, inputs and states of ±1.
    pub fn random(seed: u64, sizes: Sizes) -> Self {
        let Sizes { steps, batch, inputs, units } = sizes;
        let mut random = Random(seed);
        let scale = 1.0 / (units as f32).sqrt();
        Case {
            sizes,
            weight_ih: random.vec(4 * units * inputs, scale),
            weight_hh: random.vec(4 * units * units, scale),
            bias_ih: random.vec(4 * units, scale),
            bias_hh: random.vec(4 * units, scale),
            x: random.vec(steps * batch * inputs, 1.0),
            initial_hidden: random.vec(batch * units, 1.0),
            initial_cell: random.vec(batch * units, 1.0),
        }
    }

    pub fn weights<'a>(&'a self, config: &LstmConfig) -> LstmWeights<'a> {
        let (bias_ih, bias_hh) = (Some(&self.bias_ih[..]), Some(&self.bias_hh[..]));
        LstmWeights::pytorch(config, &self.weight_ih, &self.weight_hh, bias_ih, bias_hh).unwrap()
    }

    pub fn lstm(&self, run: Run) -> Lstm {
        let config = run.config(self.sizes);
        Lstm::new(&config, &self.weights(&config)).unwrap()
    }

    pub fn naive(&self) -> NaiveLstm<f64> {
        NaiveLstm {
            input_size: self.sizes.inputs,
            hidden_size: self.sizes.units,
            weight_ih: widen(&self.weight_ih),
            weight_hh: widen(&self.weight_hh),
            bias: self
                .bias_ih
                .iter()
                .zip(&self.bias_hh)
                .map(|(&a, &b)| f64::from(a) + f64::from(b))
                .collect(),
        }
    }

    /// The same layer with NaN for all that a call reads.
    pub fn of_nan(mut self) -> Self {
        for values in [&mut self.x, &mut self.initial_hidden, &mut self.initial_cell] {
            values.fill(f32::NAN);
        }
        self
    }

    /// The oracle's answer, in f64.
    pub fn expected(&self) -> NaiveOutput<f64> {
        let naive = self.naive();
        let (h, c) = (widen(&self.initial_hidden), widen(&self.initial_cell));
        naive.forward([self.sizes.steps, self.sizes.batch], &widen(&self.x), &h, &c)
    }

    /// The crate's answer by [`Lstm::forward`].
    pub fn forward(&self, run: Run) -> Outcome {
        let lstm = self.lstm(run);
        let mut workspace = lstm.workspace(self.sizes.batch).unwrap();
        self.forward_with(&lstm, &mut workspace, run.layout)
    }

    pub fn forward_with(&self, lstm: &Lstm, workspace: &mut quadgate::Workspace, layout: Layout) -> Outcome {
        let Sizes { steps, batch, inputs, units } = self.sizes;
        let x = spread(&self.x, layout, [steps, batch, inputs], f32::NAN);
        let (x_strides, _) = strides(layout, steps, batch, inputs);
        let (out_strides, out_len) = strides(layout, steps, batch, units);
        let mut out = vec![GAP; out_len];
        let (mut last_hidden, mut last_cell) = (vec![GAP; batch * units], vec![GAP; batch * units]);
        let call = Forward::new(Sequence::with_strides(&x, [steps, batch, inputs], x_strides))
            .initial_hidden(Matrix::new(&self.initial_hidden, batch, units))
            .initial_cell(Matrix::new(&self.initial_cell, batch, units))
            .output(SequenceMut::with_strides(&mut out, [steps, batch, units], out_strides))
            .last_hidden(MatrixMut::new(&mut last_hidden, batch, units))
            .last_cell(MatrixMut::new(&mut last_cell, batch, units));
        lstm.forward(workspace, call).unwrap();
        let output = gather(&mut out, layout, [steps, batch, units]);
        Outcome { output, last_hidden, last_cell }
    }

    /// The crate's answer by [`Lstm::step`].
    pub fn step_by_step(&self, run: Run) -> Outcome {
        let lstm = self.lstm(run);
        self.step_by_step_with(&lstm, &mut lstm.state(self.sizes.batch).unwrap())
    }

    pub fn step_by_step_with(&self, lstm: &Lstm, state: &mut quadgate::State) -> Outcome {
        let Sizes { steps, batch, inputs, units } = self.sizes;
        state.set_hidden(Matrix::new(&self.initial_hidden, batch, units)).unwrap();
        state.set_cell(Matrix::new(&self.initial_cell, batch, units)).unwrap();
        let mut output = Vec::new();
        for t in 0..steps {
            let x = &self.x[t * batch * inputs..][..batch * inputs];
            lstm.step(state, Matrix::new(x, batch, inputs)).unwrap();
            for row in 0..batch {
                output.extend_from_slice(state.hidden(row).unwrap());
            }
        }
        let rows = |of: fn(&quadgate::State, usize) -> Option<&[f32]>| {
            (0..batch).flat_map(|row| of(state, row).unwrap().to_vec()).collect()
        };
        Outcome { output, last_hidden: rows(quadgate::State::hidden), last_cell: rows(quadgate::State::cell) }
    }
}

/// The cotangents of a case: of every h, the last h and the last c.
#[derive(Clone, Debug)]
pub struct Cotangents {
    pub output: Vec<f32>,
    pub last_hidden: Vec<f32>,
    pub last_cell: Vec<f32>,
}

/// All gradients of a case; those of the parameters in one buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    pub input: Vec<f32>,
    pub initial_hidden: Vec<f32>,
    pub initial_cell: Vec<f32>,
    pub parameters: Vec<f32>,
}

/// How a backward pass remembers its forward pass.
#[derive(Clone, Copy, Debug)]
pub enum Recording {
    Full,
    Checkpoints(Option<NonZeroUsize>),
}

impl Cotangents {
    pub fn random(seed: u64, sizes: Sizes) -> Self {
        let Sizes { steps, batch, units, .. } = sizes;
        let mut random = Random(seed ^ 0x5eed);
        Cotangents {
            output: random.vec(steps * batch * units, 1.0),
            last_hidden: random.vec(batch * units, 1.0),
            last_cell: random.vec(batch * units, 1.0),
        }
    }

    /// As many that are all NaN.
    pub fn of_nan(mut self) -> Self {
        for values in [&mut self.output, &mut self.last_hidden, &mut self.last_cell] {
            values.fill(f32::NAN);
        }
        self
    }

    pub fn widen(&self) -> NaiveCotangents<f64> {
        NaiveCotangents {
            output: widen(&self.output),
            last_hidden: widen(&self.last_hidden),
            last_cell: widen(&self.last_cell),
        }
    }
}

impl Case {
    /// The oracle's gradients, in f64.
    pub fn expected_gradients(&self, cotangents: &Cotangents) -> NaiveGradients<f64> {
        let (x, h, c) = (widen(&self.x), widen(&self.initial_hidden), widen(&self.initial_cell));
        let sizes = [self.sizes.steps, self.sizes.batch];
        self.naive().backward(sizes, &x, &h, &c, &cotangents.widen())
    }

    /// The crate's gradients; parameter gradients are written over NaN, or added to `accumulate`.
    pub fn gradients(
        &self,
        run: Run,
        recording: Recording,
        cotangents: &Cotangents,
        accumulate: Option<Vec<f32>>,
    ) -> Gradients {
        let Sizes { steps, batch, inputs, units } = self.sizes;
        let config = run.config(self.sizes).training();
        let lstm = Lstm::new(&config, &self.weights(&config)).unwrap();
        let mut workspace = lstm.workspace(batch).unwrap();
        let mut tape = match recording {
            Recording::Full => lstm.tape(steps, batch),
            Recording::Checkpoints(every) => lstm.checkpointed_tape(steps, batch, every),
        }
        .unwrap();
        let x = spread(&self.x, run.layout, [steps, batch, inputs], f32::NAN);
        let x =
            Sequence::with_strides(&x, [steps, batch, inputs], strides(run.layout, steps, batch, inputs).0);
        let forward = Forward::new(x)
            .initial_hidden(Matrix::new(&self.initial_hidden, batch, units))
            .initial_cell(Matrix::new(&self.initial_cell, batch, units))
            .tape(&mut tape);
        lstm.forward(&mut workspace, forward).unwrap();

        let cotangent = spread(&cotangents.output, run.layout, [steps, batch, units], f32::NAN);
        let (cotangent_strides, _) = strides(run.layout, steps, batch, units);
        let (dx_strides, dx_len) = strides(run.layout, steps, batch, inputs);
        let mut dx = vec![GAP; dx_len];
        let (mut dh0, mut dc0) = (vec![GAP; batch * units], vec![GAP; batch * units]);
        let mode = if accumulate.is_some() { GradientMode::Accumulate } else { GradientMode::Overwrite };
        let total = config.parameters().unwrap().total();
        let mut parameters = accumulate.unwrap_or_else(|| vec![f32::NAN; total]);
        let backward = Backward::new(x)
            .output_cotangent(Sequence::with_strides(&cotangent, [steps, batch, units], cotangent_strides))
            .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, batch, units))
            .last_cell_cotangent(Matrix::new(&cotangents.last_cell, batch, units))
            .input_gradient(SequenceMut::with_strides(&mut dx, [steps, batch, inputs], dx_strides))
            .initial_hidden_gradient(MatrixMut::new(&mut dh0, batch, units))
            .initial_cell_gradient(MatrixMut::new(&mut dc0, batch, units))
            .parameter_gradients(&mut parameters, mode);
        lstm.backward(&mut workspace, &mut tape, backward).unwrap();
        Gradients {
            input: gather(&mut dx, run.layout, [steps, batch, inputs]),
            initial_hidden: dh0,
            initial_cell: dc0,
            parameters,
        }
    }
}

/// A time-major sequence in another layout, with `gap` between its rows.
pub fn spread(values: &[f32], layout: Layout, [steps, batch, width]: [usize; 3], gap: f32) -> Vec<f32> {
    let (strides, len) = strides(layout, steps, batch, width);
    let mut spread = vec![gap; len];
    for t in 0..steps {
        for b in 0..batch {
            let row = &values[(t * batch + b) * width..][..width];
            spread[t * strides[0] + b * strides[1]..][..width].copy_from_slice(row);
        }
    }
    spread
}

/// The inverse of [`spread`]; fails if what lies between the rows is not [`GAP`] any more.
pub fn gather(spread: &mut [f32], layout: Layout, [steps, batch, width]: [usize; 3]) -> Vec<f32> {
    let (strides, _) = strides(layout, steps, batch, width);
    let mut values = Vec::with_capacity(steps * batch * width);
    for t in 0..steps {
        for b in 0..batch {
            let row = &mut spread[t * strides[0] + b * strides[1]..][..width];
            values.extend_from_slice(row);
            row.fill(GAP);
        }
    }
    assert!(spread.iter().all(|&gap| gap == GAP), "elements between the rows were written");
    values
}

/// Largest absolute difference, relative to the largest entry of what is expected. Where all of them are sums that
/// cancel, such as the one gradient of a single x, to a part of the terms of these sums.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.05f64, |largest, value| largest.max(value.abs()));
    max_error(found, expected) / largest
}

pub fn assert_gradients_close(
    found: &Gradients,
    expected: &NaiveGradients<f64>,
    tolerance: f64,
    context: &dyn std::fmt::Debug,
) {
    let (weight_ih, rest) = found.parameters.split_at(expected.weight_ih.len());
    let (weight_hh, bias) = rest.split_at(expected.weight_hh.len());
    for (name, found, expected) in [
        ("input", &found.input[..], &expected.input),
        ("initial h", &found.initial_hidden, &expected.initial_hidden),
        ("initial c", &found.initial_cell, &expected.initial_cell),
        ("weight_ih", weight_ih, &expected.weight_ih),
        ("weight_hh", weight_hh, &expected.weight_hh),
        ("bias", bias, &expected.bias),
    ] {
        let error = relative_error(found, expected);
        assert!(error <= tolerance, "gradient of {name}: error {error:e} > {tolerance:e} in {context:?}");
    }
}

/// Largest absolute difference.
pub fn max_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error = |(&f, &e): (&f32, &f64)| if f64::from(f) == e { 0.0 } else { (f64::from(f) - e).abs() };
    // `max` would forgive a NaN.
    found.iter().zip(expected).map(error).fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a })
}

pub fn assert_close(
    found: &Outcome,
    expected: &NaiveOutput<f64>,
    tolerance: f64,
    context: &dyn std::fmt::Debug,
) {
    for (name, found, expected) in [
        ("output", &found.output, &expected.output),
        ("last h", &found.last_hidden, &expected.last_hidden),
        ("last c", &found.last_cell, &expected.last_cell),
    ] {
        let error = max_error(found, expected);
        assert!(error <= tolerance, "{name}: error {error:e} > {tolerance:e} in {context:?}");
    }
}
