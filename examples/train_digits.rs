//! Trains a small network to tell odd digits from even ones while it reads them line by line.
//!
//! ```text
//! cargo run --release --example train_digits                # one network, with a line per epoch
//! cargo run --release --example train_digits -- --seeds 5   # five, with a line per network, and the means
//! ```
//!
//! The data are 1797 handwritten digits of 8×8 pixels (`examples/data/`); 360 of them are held back for the evaluation.
//!
//! # What is computed
//!
//! ```text
//! for each line x_t of a digit, from the top:
//!     h_t = LSTM(x_t, h_{t−1})             50
//!     a_t = relu(h_t·A + b_A)              10
//!     p_t = σ(a_t·P + b_P)                  1, the probability that the digit is odd
//! ℓ = mean of −ln(p_t if the digit is odd, else 1 − p_t) over all lines and all digits of a batch
//!
//! for each of 10 epochs, for each batch of 32 digits in random order, the parameters θ = LSTM's, A, b_A, P, b_P:
//!     g = ∂ℓ/∂θ
//!     g = g · min(1, 5 / ‖g‖)
//!     m = m + (1 − 0.9)·(g − m),  v = v + (1 − 0.999)·(g² − v)                                  (Adam)
//!     θ = θ − 0.001·√(1 − 0.999ⁿ)/(1 − 0.9ⁿ) · m / (√v + 10⁻⁷)                      at the n-th batch
//! ```
//!
//! Initial values and constants are Keras' defaults, but for the clipping, which Keras leaves out unless asked; here it
//! is a safeguard that does nothing as long as the gradients stay small. The loss that is printed is ℓ over all lines,
//! the accuracy counts what the network says after the last line.
//!
//! All parameters lie in one buffer, the LSTM's first, and all gradients in another of the same shape. So clipping and
//! Adam are one loop each, whatever the layers are.

use quadgate::{
    Activation, Backward, Forward, GradientMode, Lstm, LstmConfig, LstmWeights, ParameterRanges, Sequence,
    SequenceMut, Tape, Workspace,
};
use std::error::Error;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::num::NonZeroU64;
use std::ops::{AddAssign, Range};
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: train_digits [--seeds count]";

/// Lines of a digit.
const STEPS: usize = 8;
/// Pixels of a line.
const INPUTS: usize = 8;
const PIXELS: usize = STEPS * INPUTS;
/// Units of the LSTM.
const UNITS: usize = 50;
/// Outputs of the layer after it.
const NEURONS: usize = 10;

const TRAINING_DIGITS: usize = 1437;
const EPOCHS: usize = 10;
const BATCH: usize = 32;
const MAX_GRADIENT_NORM: f32 = 5.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train_digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => train_one(),
        ["--seeds", count] => {
            let count = count.parse().map_err(|_| format!("--seeds: expected 1 or more, found {count}"))?;
            train_several(count)
        }
        _ => Err(USAGE.into()),
    }
}

fn train_one() -> Result<()> {
    let Training { evaluation, time_to_fit } = train(0, show_progress)?;
    println!("{} digits held back: {evaluation}", evaluation.digits);
    println!("fitted in {:.2} s", time_to_fit.as_secs_f64());
    Ok(())
}

fn train_several(count: NonZeroU64) -> Result<()> {
    let mut all = Score::default();
    for seed in 0..count.get() {
        let Training { evaluation, time_to_fit } = train(seed, |_| Ok(()))?;
        println!("seed {seed}: {evaluation}, fitted in {:.2} s", time_to_fit.as_secs_f64());
        all += evaluation;
    }
    println!("mean: {all}");
    Ok(())
}

/// A trained network, as the digits that were held back judge it.
pub(crate) struct Training {
    pub(crate) evaluation: Score,
    pub(crate) time_to_fit: Duration,
}

/// Trains a network and evaluates it. `on_batch` is called after each batch.
pub(crate) fn train(seed: u64, on_batch: impl FnMut(Progress) -> Result<()>) -> Result<Training> {
    let digits = read_digits(include_str!("data/digits.csv"))?;
    let (to_learn, held_back) = digits.split_at(TRAINING_DIGITS);

    let begin = Instant::now();
    let mut network = fit(to_learn, seed, on_batch)?;
    let time_to_fit = begin.elapsed();

    let held_back: Vec<&Digit> = held_back.iter().collect();
    let mut evaluation = Score::default();
    for batch in held_back.chunks(BATCH) {
        evaluation += network.forward(batch, None)?;
    }
    Ok(Training { evaluation, time_to_fit })
}

fn fit(digits: &[Digit], seed: u64, mut on_batch: impl FnMut(Progress) -> Result<()>) -> Result<Network> {
    let mut random = Random(seed);
    let mut network = Network::new(&mut random)?;
    let mut tape = network.lstm.tape(STEPS, BATCH)?;
    let mut gradients = vec![0.0; network.parameters.len()];
    let mut adam = Adam::new(network.parameters.len());
    let mut order: Vec<&Digit> = digits.iter().collect();
    let batches = order.len().div_ceil(BATCH);
    for epoch in 1..=EPOCHS {
        random.shuffle(&mut order);
        let mut score = Score::default();
        // The last batch is smaller; workspace and tape serve it too.
        for (index, batch) in order.chunks(BATCH).enumerate() {
            score += network.forward(batch, Some(&mut tape))?;
            network.backward(batch, &mut tape, &mut gradients)?;
            clip_norm(&mut gradients, MAX_GRADIENT_NORM);
            adam.step(&mut network.parameters, &gradients);
            network.pack_weights()?;
            on_batch(Progress { epoch, batch: index + 1, batches, score })?;
        }
    }
    Ok(network)
}

/// How far the training is, and how well the network did in this epoch so far.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    epoch: usize,
    batch: usize,
    batches: usize,
    score: Score,
}

/// Redraws the line of this epoch; where that is no terminal, writes it once.
fn show_progress(Progress { epoch, batch, batches, score }: Progress) -> Result<()> {
    const WIDTH: usize = 10;
    let mut stdout = std::io::stdout();
    let is_last = batch == batches;
    let (start, end) = (if stdout.is_terminal() { "\r" } else { "" }, if is_last { "\n" } else { "" });
    if stdout.is_terminal() || is_last {
        // Filled up with dots, or cut to drop the arrow from a full bar.
        let done = "#".repeat(batch * WIDTH / batches) + ">";
        write!(stdout, "{start}epoch {epoch:2}/{EPOCHS} [{done:.<WIDTH$.WIDTH$}] {score}{end}")?;
        stdout.flush()?;
    }
    Ok(())
}

/// The judgement over some digits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Score {
    digits: usize,
    /// Σ of the losses of all lines.
    loss: f64,
    /// Digits that were judged rightly after their last line.
    correct: usize,
}

impl Score {
    /// The mean loss of a line.
    pub(crate) fn loss(&self) -> f64 {
        self.loss / (self.digits * STEPS) as f64
    }

    /// The part of the digits that were judged rightly after their last line.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.digits as f64
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.3} accuracy {:.3}", self.loss(), self.accuracy())
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Score) {
        self.digits += other.digits;
        self.loss += other.loss;
        self.correct += other.correct;
    }
}

struct Digit {
    /// Line by line, 0 to 1.
    pixels: [f32; PIXELS],
    is_odd: bool,
}

/// Rows of 64 pixels, 0 to 16, and the digit.
fn read_digits(csv: &str) -> Result<Vec<Digit>> {
    let read = |line: &str| -> Result<Digit> {
        let numbers = line.split(',').map(str::parse).collect::<std::result::Result<Vec<u8>, _>>()?;
        let Some((pixels, [digit])) = numbers.split_first_chunk::<PIXELS>() else {
            return Err(format!("expected {} numbers, found {}", PIXELS + 1, numbers.len()).into());
        };
        Ok(Digit { pixels: pixels.map(|pixel| f32::from(pixel) / 16.0), is_odd: digit % 2 == 1 })
    };
    let named = |(index, line)| read(line).map_err(|error| format!("line {}: {error}", index + 1).into());
    csv.lines().enumerate().map(named).collect()
}

/// The layers, their parameters, and what flows between them, `[batch, steps, …]`.
struct Network {
    lstm: Lstm,
    ranges: Ranges,
    /// The parameters of all layers.
    parameters: Vec<f32>,
    workspace: Workspace,
    activation: Activation,
    x: Vec<f32>,
    h: Vec<f32>,
    a: Vec<f32>,
    p: Vec<f32>,
    /// ∂ℓ/∂h, and so on: the cotangents.
    dh: Vec<f32>,
    da: Vec<f32>,
    dp: Vec<f32>,
}

/// Where the layers' parameters lie in the buffer of all.
struct Ranges {
    lstm: ParameterRanges,
    neurons: Range<usize>,
    output: Range<usize>,
}

impl Network {
    fn new(random: &mut Random) -> Result<Self> {
        let config = LstmConfig::new(INPUTS, UNITS).training();
        let lstm = config.parameters()?;
        let neurons = lstm.total()..lstm.total() + dense_len(UNITS, NEURONS);
        let output = neurons.end..neurons.end + dense_len(NEURONS, 1);
        let ranges = Ranges { lstm, neurons, output };
        let parameters = initial_parameters(&ranges, random);
        let lstm = Lstm::new(&config, &lstm_weights(&config, &ranges.lstm, &parameters)?)?;
        let rows = BATCH * STEPS;
        Ok(Network {
            workspace: lstm.workspace(BATCH)?,
            activation: Activation::new()?,
            x: vec![0.0; rows * INPUTS],
            h: vec![0.0; rows * UNITS],
            a: vec![0.0; rows * NEURONS],
            p: vec![0.0; rows],
            dh: vec![0.0; rows * UNITS],
            da: vec![0.0; rows * NEURONS],
            dp: vec![0.0; rows],
            lstm,
            ranges,
            parameters,
        })
    }

    /// Judges a batch, and records on a tape what [`Network::backward`] needs.
    fn forward(&mut self, batch: &[&Digit], tape: Option<&mut Tape>) -> Result<Score> {
        let digits = batch.len();
        let rows = digits * STEPS;
        for (to, digit) in self.x.as_chunks_mut::<PIXELS>().0.iter_mut().zip(batch) {
            *to = digit.pixels;
        }
        let mut call = Forward::new(Sequence::batch_major(&self.x[..rows * INPUTS], digits, STEPS, INPUTS))
            .output(SequenceMut::batch_major(&mut self.h[..rows * UNITS], digits, STEPS, UNITS));
        if let Some(tape) = tape {
            call = call.tape(tape);
        }
        self.lstm.forward(&mut self.workspace, call)?;

        let (a, p) = (&mut self.a[..rows * NEURONS], &mut self.p[..rows]);
        dense::<UNITS, NEURONS>(&self.parameters[self.ranges.neurons.clone()], &self.h, a);
        a.iter_mut().for_each(|value| *value = value.max(0.0));
        dense::<NEURONS, 1>(&self.parameters[self.ranges.output.clone()], a, p);
        self.activation.sigmoid(p);
        Ok(score(batch, p))
    }

    /// Computes the gradients of the batch that [`Network::forward`] saw last.
    fn backward(&mut self, batch: &[&Digit], tape: &mut Tape, gradients: &mut [f32]) -> Result<()> {
        let digits = batch.len();
        let rows = digits * STEPS;
        // Of σ and the logarithm together: ∂ℓ/∂(a·P + b_P) = (p − y) / rows, where y is 1 for odd digits, else 0.
        let dp = &mut self.dp[..rows];
        for ((dp, p), digit) in dp.chunks_exact_mut(STEPS).zip(self.p.chunks_exact(STEPS)).zip(batch) {
            let y = if digit.is_odd { 1.0 } else { 0.0 };
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = (p - y) / rows as f32;
            }
        }
        let (da, range) = (&mut self.da[..rows * NEURONS], self.ranges.output.clone());
        dense_backward::<NEURONS, 1>(&self.parameters[range.clone()], &self.a, dp, &mut gradients[range], da);
        for (da, &a) in da.iter_mut().zip(&self.a) {
            if a == 0.0 {
                *da = 0.0;
            }
        }
        let (dh, range) = (&mut self.dh[..rows * UNITS], self.ranges.neurons.clone());
        dense_backward::<UNITS, NEURONS>(
            &self.parameters[range.clone()],
            &self.h,
            da,
            &mut gradients[range],
            dh,
        );

        let of_lstm = &mut gradients[..self.ranges.lstm.total()];
        let call = Backward::new(Sequence::batch_major(&self.x[..rows * INPUTS], digits, STEPS, INPUTS))
            .output_cotangent(Sequence::batch_major(dh, digits, STEPS, UNITS))
            .parameter_gradients(of_lstm, GradientMode::Overwrite);
        Ok(self.lstm.backward(&mut self.workspace, tape, call)?)
    }

    /// Gives the LSTM its part of the parameters, which have changed.
    fn pack_weights(&mut self) -> Result<()> {
        let weights = lstm_weights(self.lstm.config(), &self.ranges.lstm, &self.parameters)?;
        Ok(self.lstm.set_weights(&weights)?)
    }
}

fn lstm_weights<'a>(
    config: &LstmConfig,
    ranges: &ParameterRanges,
    parameters: &'a [f32],
) -> Result<LstmWeights<'a>> {
    let part = |range: &Range<usize>| &parameters[range.clone()];
    let bias = Some(part(&ranges.bias));
    Ok(LstmWeights::pytorch(config, part(&ranges.weight_ih), part(&ranges.weight_hh), bias, None)?)
}

fn score(batch: &[&Digit], p: &[f32]) -> Score {
    let mut score = Score::default();
    for (digit, p) in batch.iter().zip(p.as_chunks::<STEPS>().0) {
        let of_truth = p.map(|p| if digit.is_odd { p } else { 1.0 - p });
        score.digits += 1;
        // A probability that rounds to zero shall not make the loss infinite.
        score.loss += of_truth.iter().map(|&p| -f64::from(p.max(1e-7)).ln()).sum::<f64>();
        score.correct += usize::from(of_truth[STEPS - 1] > 0.5);
    }
    score
}

/// Keras' defaults: matrices uniform after Glorot and Bengio (2010), R orthogonal, biases 0, but 1 for the forget gate.
fn initial_parameters(ranges: &Ranges, random: &mut Random) -> Vec<f32> {
    let Ranges { lstm, neurons, output } = ranges;
    let mut parameters = vec![0.0; output.end];
    glorot(&mut parameters[lstm.weight_ih.clone()], INPUTS, 4 * UNITS, random);
    orthogonal_columns(&mut parameters[lstm.weight_hh.clone()], UNITS, random);
    // The gates are i, f, g, o.
    parameters[lstm.bias.clone()][UNITS..2 * UNITS].fill(1.0);
    glorot(&mut parameters[neurons.clone()][..UNITS * NEURONS], UNITS, NEURONS, random);
    glorot(&mut parameters[output.clone()][..NEURONS], NEURONS, 1, random);
    parameters
}

fn glorot(weights: &mut [f32], inputs: usize, outputs: usize, random: &mut Random) {
    let limit = (6.0 / (inputs + outputs) as f64).sqrt();
    weights.fill_with(|| (random.uniform(-1.0, 1.0) * limit) as f32);
}

/// Makes the columns of a matrix orthonormal and their directions random (Gram and Schmidt).
fn orthogonal_columns(matrix: &mut [f32], columns: usize, random: &mut Random) {
    let rows = matrix.len() / columns;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(columns);
    for column in 0..columns {
        let mut vector: Vec<f64> = (0..rows).map(|_| random.normal()).collect();
        for other in &done {
            let along = dot(&vector, other);
            vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
        }
        let length = dot(&vector, &vector).sqrt();
        for (row, value) in vector.iter_mut().enumerate() {
            *value /= length;
            matrix[row * columns + column] = *value as f32;
        }
        done.push(vector);
    }
}

/// Parameters of a dense layer: W `[inputs, outputs]`, then b.
const fn dense_len(inputs: usize, outputs: usize) -> usize {
    (inputs + 1) * outputs
}

/// y = x·W + b for each row x.
fn dense<const INPUTS: usize, const OUTPUTS: usize>(parameters: &[f32], x: &[f32], y: &mut [f32]) {
    let (rows, _) = parameters.as_chunks::<OUTPUTS>();
    let (weights, bias) = rows.split_at(INPUTS);
    let (x, y) = (x.as_chunks::<INPUTS>().0, y.as_chunks_mut::<OUTPUTS>().0);
    for (x, y) in x.iter().zip(y) {
        let mut sums = bias[0];
        for (x, weights) in x.iter().zip(weights) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
        *y = sums;
    }
}

/// dx = dy·Wᵀ, dW = Σ xᵀ·dy, db = Σ dy over the rows x and dy.
fn dense_backward<const INPUTS: usize, const OUTPUTS: usize>(
    parameters: &[f32],
    x: &[f32],
    dy: &[f32],
    gradients: &mut [f32],
    dx: &mut [f32],
) {
    gradients.fill(0.0);
    let (weights, _) = parameters.as_chunks::<OUTPUTS>();
    let (gradients, _) = gradients.as_chunks_mut::<OUTPUTS>();
    let (weight_gradients, bias_gradients) = gradients.split_at_mut(INPUTS);
    let (x, dx) = (x.as_chunks::<INPUTS>().0, dx.as_chunks_mut::<INPUTS>().0);
    for ((x, dx), dy) in x.iter().zip(dx).zip(dy.as_chunks::<OUTPUTS>().0) {
        for k in 0..INPUTS {
            dx[k] = weights[k].iter().zip(dy).map(|(weight, dy)| weight * dy).sum();
            for (gradient, dy) in weight_gradients[k].iter_mut().zip(dy) {
                *gradient += x[k] * dy;
            }
        }
        for (gradient, dy) in bias_gradients[0].iter_mut().zip(dy) {
            *gradient += dy;
        }
    }
}

/// Shortens the vector of all gradients to `max_norm` if it is longer.
fn clip_norm(gradients: &mut [f32], max_norm: f32) {
    let norm = gradients.iter().map(|gradient| gradient * gradient).sum::<f32>().sqrt();
    if norm > max_norm {
        gradients.iter_mut().for_each(|gradient| *gradient *= max_norm / norm);
    }
}

/// The optimizer of Kingma and Ba (2014), with Keras' constants.
struct Adam {
    steps: i32,
    mean: Vec<f32>,
    mean_square: Vec<f32>,
}

impl Adam {
    const LEARNING_RATE: f32 = 1e-3;
    const BETA_1: f32 = 0.9;
    const BETA_2: f32 = 0.999;
    const EPSILON: f32 = 1e-7;

    fn new(parameters: usize) -> Self {
        Self { steps: 0, mean: vec![0.0; parameters], mean_square: vec![0.0; parameters] }
    }

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32]) {
        self.steps += 1;
        // Both means start at zero, and so are too small in the beginning.
        let correction = (1.0 - Self::BETA_2.powi(self.steps)).sqrt() / (1.0 - Self::BETA_1.powi(self.steps));
        let rate = Self::LEARNING_RATE * correction;
        let means = self.mean.iter_mut().zip(&mut self.mean_square);
        for ((parameter, gradient), (mean, mean_square)) in parameters.iter_mut().zip(gradients).zip(means) {
            *mean += (1.0 - Self::BETA_1) * (gradient - *mean);
            *mean_square += (1.0 - Self::BETA_2) * (gradient * gradient - *mean_square);
            *parameter -= rate * *mean / (mean_square.sqrt() + Self::EPSILON);
        }
    }
}

/// A small generator (SplitMix64), so that a training depends on its seed alone.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed around 0 with variance 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(0.0, 1.0), self.uniform(0.0, 1.0));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Brings `values` into a random order (Fisher and Yates).
    fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.bits() % (last as u64 + 1);
            values.swap(last, other as usize);
        }
    }
}
