//! Why gates: a plain recurrent layer, gated recurrent units and LSTMs of about as many parameters learn what lies far
//! back.
//!
//! ```text
//! cargo run --release --example vanishing_gradient [picture.svg]
//! ```
//!
//! 1. The adding problem (Hochreiter and Schmidhuber 1997): of T random numbers two are marked, one in each half; the
//!    answer is their sum. Who answers 1 has a mean squared error of 1/6. T is 50 to 400.
//! 2. Digits of 8 × 8 pixels, one pixel after the other: 64 steps, then which of ten it is.
//!
//! It prints learning curves, and before any training the norm of ∂h_T/∂h_t: how much of what is known at the end
//! reaches step t. An LSTM whose forget gates begin half open, with a bias of 0, learns none of the sums; a bias of 1
//! (Gers et al. 2000, Jozefowicz et al. 2015) is enough for 50 steps; biases ln U(1, T − 1), so that units keep what
//! they know for 1 to T steps (Tallec and Ollivier 2018: chrono), for all of them. A gated recurrent unit finds out by
//! itself. To read pixels none need look as far back, and gates too open are in the way. Both are drawn to the picture,
//! by default `target/vanishing_gradient.svg`. Each layer is trained on a thread of its own: some forty seconds on two
//! cores.

use quadgate::{
    Backward, Error, Forward, GradientMode, Gru, GruConfig, GruWeights, Lstm, LstmConfig, LstmWeights,
    Matrix, MatrixMut, Rnn, RnnConfig, RnnWeights, Sequence, State, Tape, Threads, Workspace,
};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parameters that each layer may have.
const PARAMETERS: usize = 5000;
const BATCH: usize = 32;
const LENGTHS: [usize; 4] = [50, 100, 200, 400];
const ADDING_UPDATES: usize = 1000;
const DIGITS_UPDATES: usize = 400;
/// A layer whose loss falls below this has learned what there is to learn.
const LEARNED: f32 = 2e-3;
/// T where the norms of ∂h_T/∂h_t are compared.
const NORMS_LENGTH: usize = 100;
/// Points of a learning curve.
const POINTS: usize = 10;
const LEARNING_RATE: f32 = 4e-3;
const MAX_NORM: f32 = 1.0;

/// The layers that are compared.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rnn,
    Gru,
    /// With the biases of the forget gates.
    Lstm(ForgetBias),
}

#[derive(Clone, Copy, PartialEq)]
enum ForgetBias {
    /// The same of all units.
    Of(f32),
    /// A unit keeps what it knows for 1 to T steps: ln U(1, T − 1), and the opposite for the input gate.
    Chrono,
}

const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Rnn, "RNN, tanh", "#c0392b"),
    (Kind::Gru, "GRU", "#2980b9"),
    (Kind::Lstm(ForgetBias::Of(0.0)), "LSTM, forget bias 0", "#555555"),
    (Kind::Lstm(ForgetBias::Of(1.0)), "LSTM, forget bias 1", "#27ae60"),
    (Kind::Lstm(ForgetBias::Chrono), "LSTM, chrono", "#8e44ad"),
];

enum Layer {
    Rnn(Rnn),
    Gru(Gru),
    Lstm(Lstm),
}

impl Kind {
    /// Parameters of a layer, and where its biases begin.
    fn sizes(self, inputs: usize, units: usize) -> Result<[usize; 2], Error> {
        Ok(match self {
            Kind::Rnn => {
                let ranges = RnnConfig::new(inputs, units).parameters()?;
                [ranges.total(), ranges.bias.start]
            }
            Kind::Gru => {
                let ranges = GruConfig::new(inputs, units).parameters()?;
                [ranges.total(), ranges.bias.start]
            }
            Kind::Lstm(_) => {
                let ranges = LstmConfig::new(inputs, units).parameters()?;
                [ranges.total(), ranges.bias.start]
            }
        })
    }

    fn layer(self, inputs: usize, units: usize, parameters: &[f32]) -> Result<Layer, Error> {
        Ok(match self {
            Kind::Rnn => {
                let config = RnnConfig::new(inputs, units).threads(Threads::Serial).training();
                Layer::Rnn(Rnn::new(&config, &rnn_weights(&config, parameters)?)?)
            }
            Kind::Gru => {
                let config = GruConfig::new(inputs, units).threads(Threads::Serial).training();
                Layer::Gru(Gru::new(&config, &GruWeights::from_parameters(&config, parameters)?)?)
            }
            Kind::Lstm(_) => {
                let config = LstmConfig::new(inputs, units).threads(Threads::Serial).training();
                Layer::Lstm(Lstm::new(&config, &lstm_weights(&config, parameters)?)?)
            }
        })
    }
}

fn rnn_weights<'a>(config: &RnnConfig, parameters: &'a [f32]) -> Result<RnnWeights<'a>, Error> {
    let ranges = config.parameters()?;
    let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
    RnnWeights::pytorch(config, w, r, Some(b), None)
}

fn lstm_weights<'a>(config: &LstmConfig, parameters: &'a [f32]) -> Result<LstmWeights<'a>, Error> {
    let ranges = config.parameters()?;
    let [w, r, b] = [ranges.weight_ih, ranges.weight_hh, ranges.bias].map(|range| &parameters[range]);
    LstmWeights::pytorch(config, w, r, Some(b), None)
}

/// What all layers can do, whichever they are.
macro_rules! of_layer {
    ($layer:expr, $name:ident => $call:expr) => {
        match $layer {
            Layer::Rnn($name) => $call,
            Layer::Gru($name) => $call,
            Layer::Lstm($name) => $call,
        }
    };
}

impl Layer {
    fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), Error> {
        match self {
            Layer::Rnn(rnn) => {
                let config = rnn.config().clone();
                rnn.set_weights(&rnn_weights(&config, parameters)?)
            }
            Layer::Gru(gru) => {
                let config = gru.config().clone();
                gru.set_weights(&GruWeights::from_parameters(&config, parameters)?)
            }
            Layer::Lstm(lstm) => {
                let config = lstm.config().clone();
                lstm.set_weights(&lstm_weights(&config, parameters)?)
            }
        }
    }

    fn workspace(&self, batch: usize) -> Result<Workspace, Error> {
        of_layer!(self, layer => layer.workspace(batch))
    }

    fn tape(&self, steps: usize, batch: usize) -> Result<Tape, Error> {
        of_layer!(self, layer => layer.tape(steps, batch))
    }

    fn state(&self, batch: usize) -> Result<State, Error> {
        of_layer!(self, layer => layer.state(batch))
    }

    fn step(&self, state: &mut State, input: Matrix<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.step(state, input))
    }

    fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.forward(workspace, call))
    }

    fn backward(&self, workspace: &mut Workspace, tape: &mut Tape, call: Backward<'_>) -> Result<(), Error> {
        of_layer!(self, layer => layer.backward(workspace, tape, call))
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    /// Uniform in 0 … 1.
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.uniform() * end as f32) as usize).min(end - 1)
    }
}

/// A batch: x, `[T, B, X]`, and what is to be answered for each row.
struct Batch {
    x: Vec<f32>,
    answers: Vec<f32>,
}

/// The sum of two marked numbers.
fn adding(random: &mut Random, steps: usize) -> Batch {
    let (mut x, mut answers) = (vec![0.0; steps * BATCH * 2], vec![0.0; BATCH]);
    for (row, answer) in answers.iter_mut().enumerate() {
        let half = steps / 2;
        let marks = [random.below(half), half + random.below(steps - half)];
        for t in 0..steps {
            let number = random.uniform();
            let at = (t * BATCH + row) * 2;
            x[at] = number;
            if marks.contains(&t) {
                x[at + 1] = 1.0;
                *answer += number;
            }
        }
    }
    Batch { x, answers }
}

/// Images of 64 pixels and their digits.
struct Digits {
    images: Vec<[f32; 64]>,
    labels: Vec<usize>,
}

impl Digits {
    fn load() -> Self {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for line in include_str!("data/digits.csv").lines() {
            let numbers: Vec<f32> = line.split(',').filter_map(|number| number.trim().parse().ok()).collect();
            if let (Some(pixels), Some(&label)) = (numbers.first_chunk::<64>(), numbers.get(64)) {
                images.push(pixels.map(|pixel| pixel / 16.0));
                labels.push(label as usize);
            }
        }
        Self { images, labels }
    }

    /// Some images, a pixel a step.
    fn batch(&self, rows: impl Fn(usize) -> usize) -> Batch {
        let mut x = vec![0.0; 64 * BATCH];
        let mut answers = vec![0.0; BATCH];
        for (row, answer) in answers.iter_mut().enumerate() {
            let index = rows(row);
            *answer = self.labels[index] as f32;
            (0..64).for_each(|t| x[t * BATCH + row] = self.images[index][t]);
        }
        Batch { x, answers }
    }
}

/// A layer, a linear readout of its last h, and Adam for both.
struct Model {
    layer: Layer,
    inputs: usize,
    units: usize,
    outputs: usize,
    /// Those of the layer, then the readout's.
    parameters: Vec<f32>,
    gradients: Vec<f32>,
    moments: [Vec<f32>; 2],
    of_layer: usize,
    updates: i32,
    workspace: Workspace,
    tape: Tape,
}

impl Model {
    /// As many units as the parameters allow.
    fn new(kind: Kind, inputs: usize, outputs: usize, steps: usize) -> Result<Self, Error> {
        let mut units = 1;
        while kind.sizes(inputs, units + 1)?[0] <= PARAMETERS {
            units += 1;
        }
        let [of_layer, bias] = kind.sizes(inputs, units)?;
        let mut random = Random(7);
        let bound = 1.0 / (units as f32).sqrt();
        let total = of_layer + outputs * (units + 1);
        let mut parameters: Vec<f32> = (0..total).map(|_| (2.0 * random.uniform() - 1.0) * bound).collect();
        parameters[bias..of_layer].fill(0.0);
        if let Kind::Lstm(forget_bias) = kind {
            // i, f, g, o
            let (of_input, of_forget) = parameters[bias..bias + 2 * units].split_at_mut(units);
            match forget_bias {
                ForgetBias::Of(value) => of_forget.fill(value),
                ForgetBias::Chrono => {
                    for (input, forget) in of_input.iter_mut().zip(of_forget) {
                        *forget = (1.0 + random.uniform() * (steps - 2) as f32).ln();
                        *input = -*forget;
                    }
                }
            }
        }
        let layer = kind.layer(inputs, units, &parameters[..of_layer])?;
        let (workspace, tape) = (layer.workspace(BATCH)?, layer.tape(steps, BATCH)?);
        let zeros = || vec![0.0; total];
        let (gradients, moments) = (zeros(), [zeros(), zeros()]);
        Ok(Self {
            layer,
            inputs,
            units,
            outputs,
            parameters,
            gradients,
            moments,
            of_layer,
            updates: 0,
            workspace,
            tape,
        })
    }

    /// The readout of each row, `[B, O]`, and h.
    fn answers(&mut self, batch: &Batch) -> Result<[Vec<f32>; 2], Error> {
        let steps = batch.x.len() / (BATCH * self.inputs);
        let mut hidden = vec![0.0; BATCH * self.units];
        let call = Forward::new(Sequence::time_major(&batch.x, steps, BATCH, self.inputs))
            .last_hidden(MatrixMut::new(&mut hidden, BATCH, self.units))
            .tape(&mut self.tape);
        self.layer.forward(&mut self.workspace, call)?;
        let readout = &self.parameters[self.of_layer..];
        let mut answers = Vec::new();
        for h in hidden.chunks(self.units) {
            for row in readout.chunks(self.units + 1) {
                answers.push(h.iter().zip(row).map(|(h, w)| h * w).sum::<f32>() + row[self.units]);
            }
        }
        Ok([answers, hidden])
    }

    /// The loss of a batch: squared error of one output, or cross-entropy of several; and how many are right of
    /// several.
    fn loss(&self, answers: &[f32], batch: &Batch) -> (f32, usize, Vec<f32>) {
        let (mut loss, mut right, mut cotangents) = (0.0, 0, Vec::new());
        for (answer, &expected) in answers.chunks(self.outputs).zip(&batch.answers) {
            if let &[answer] = answer {
                loss += (answer - expected).powi(2);
                cotangents.push(2.0 * (answer - expected) / BATCH as f32);
                continue;
            }
            let largest = answer.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = answer.iter().map(|a| (a - largest).exp()).sum();
            for (digit, a) in answer.iter().enumerate() {
                let probability = (a - largest).exp() / sum;
                let is_right = digit == expected as usize;
                right += usize::from(is_right && *a == largest);
                loss -= if is_right { probability.max(1e-30).ln() } else { 0.0 };
                cotangents.push((probability - if is_right { 1.0 } else { 0.0 }) / BATCH as f32);
            }
        }
        (loss / BATCH as f32, right, cotangents)
    }

    /// One step of Adam. Returns the loss before it.
    fn update(&mut self, batch: &Batch) -> Result<f32, Error> {
        let [answers, hidden] = self.answers(batch)?;
        let (loss, _, cotangents) = self.loss(&answers, batch);
        let (units, width) = (self.units, self.units + 1);
        let (of_layer, of_readout) = self.gradients.split_at_mut(self.of_layer);
        of_readout.fill(0.0);
        let mut hidden_cotangent = vec![0.0; hidden.len()];
        for (row, cotangents) in cotangents.chunks(self.outputs).enumerate() {
            let h = &hidden[row * units..][..units];
            for (output, cotangent) in cotangents.iter().enumerate() {
                let weights = &self.parameters[self.of_layer + output * width..][..width];
                let gradients = &mut of_readout[output * width..][..width];
                for unit in 0..units {
                    gradients[unit] += cotangent * h[unit];
                    hidden_cotangent[row * units + unit] += cotangent * weights[unit];
                }
                gradients[units] += cotangent;
            }
        }
        let steps = batch.x.len() / (BATCH * self.inputs);
        let call = Backward::new(Sequence::time_major(&batch.x, steps, BATCH, self.inputs))
            .last_hidden_cotangent(Matrix::new(&hidden_cotangent, BATCH, units))
            .parameter_gradients(of_layer, GradientMode::Overwrite);
        self.layer.backward(&mut self.workspace, &mut self.tape, call)?;

        let norm = self.gradients.iter().map(|g| g * g).sum::<f32>().sqrt();
        let scale = if norm > MAX_NORM { MAX_NORM / norm } else { 1.0 };
        self.updates += 1;
        let corrections = [0.9f32, 0.999].map(|beta| 1.0 - beta.powi(self.updates));
        let [first, second] = &mut self.moments;
        for (at, gradient) in self.gradients.iter().enumerate() {
            let gradient = gradient * scale;
            first[at] = 0.9 * first[at] + 0.1 * gradient;
            second[at] = 0.999 * second[at] + 0.001 * gradient * gradient;
            let step = first[at] / corrections[0] / ((second[at] / corrections[1]).sqrt() + 1e-8);
            self.parameters[at] -= LEARNING_RATE * step;
        }
        self.layer.set_parameters(&self.parameters[..self.of_layer])?;
        Ok(loss)
    }

    /// The norm of a random cotangent of h_T carried back to h_t, relative to what it is at T, for some t of one row.
    fn gradient_norms(&self, steps: usize) -> Result<Vec<[f32; 2]>, Error> {
        let mut random = Random(11);
        let x: Vec<f32> = (0..steps * self.inputs).map(|_| random.uniform()).collect();
        let cotangent: Vec<f32> = (0..self.units).map(|_| 2.0 * random.uniform() - 1.0).collect();
        let norm = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>().sqrt();
        let (mut workspace, mut tape) = (self.layer.workspace(1)?, self.layer.tape(steps, 1)?);
        let mut norms = Vec::new();
        let mut state = self.layer.state(1)?;
        for t in 0..=steps {
            if t % (steps / 20).max(1) == 0 {
                let (hidden, cell) = (state.hidden(0).unwrap_or_default(), state.cell(0).unwrap_or_default());
                let input = Sequence::time_major(&x[t * self.inputs..], steps - t, 1, self.inputs);
                let mut call =
                    Forward::new(input).initial_hidden(Matrix::new(hidden, 1, self.units)).tape(&mut tape);
                if !cell.is_empty() {
                    call = call.initial_cell(Matrix::new(cell, 1, self.units));
                }
                self.layer.forward(&mut workspace, call)?;
                let [mut of_hidden, mut of_cell] = [vec![0.0; self.units], vec![0.0; cell.len()]];
                let mut call = Backward::new(input)
                    .last_hidden_cotangent(Matrix::new(&cotangent, 1, self.units))
                    .initial_hidden_gradient(MatrixMut::new(&mut of_hidden, 1, self.units));
                if !of_cell.is_empty() {
                    // All that is known of the past goes through h and c.
                    call = call.initial_cell_gradient(MatrixMut::new(&mut of_cell, 1, self.units));
                }
                self.layer.backward(&mut workspace, &mut tape, call)?;
                let all = [of_hidden, of_cell].concat();
                norms.push([t as f32, norm(&all) / norm(&cotangent)]);
            }
            if t < steps {
                self.layer
                    .step(&mut state, Matrix::new(&x[t * self.inputs..][..self.inputs], 1, self.inputs))?;
            }
        }
        Ok(norms)
    }
}

/// A chart: its title, what x is, whether y is logarithmic, and a curve of each kind.
struct Chart {
    title: String,
    x: &'static str,
    is_logarithmic: bool,
    curves: Vec<Curve>,
}

impl Chart {
    /// A logarithmic axis ends here: what is smaller, or zero, is not drawn.
    const LEAST: f32 = 1e-12;

    fn svg(&self, left: usize, top: usize) -> String {
        let place = |y: f32| if self.is_logarithmic { y.max(Self::LEAST).log10() } else { y };
        let points = || self.curves.iter().flatten();
        let most_x = points().map(|p| p[0]).fold(1.0, f32::max);
        let low = points().map(|p| place(p[1])).fold(f32::MAX, f32::min).min(0.0);
        let high = points().map(|p| place(p[1])).fold(low + 1e-3, f32::max);
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<g transform='translate({left} {top})'><rect width='300' height='200' fill='none' stroke='#bbb'/>\
             <text y='-10'>{}</text><text y='216'>0</text><text x='300' y='216' text-anchor='end'>{most_x}</text>\
             <text x='150' y='216' text-anchor='middle'>{}</text>",
            self.title, self.x
        );
        let label =
            |v: f32| if self.is_logarithmic { format!("{:.0e}", 10f32.powf(v)) } else { format!("{v:.2}") };
        let _ = write!(
            svg,
            "<text x='-4' y='10' text-anchor='end'>{}</text><text x='-4' y='200' text-anchor='end'>{}</text>",
            label(high),
            label(low)
        );
        for (curve, (.., color)) in self.curves.iter().zip(KINDS) {
            let _ = write!(svg, "<polyline fill='none' stroke='{color}' stroke-width='2' points='");
            for &[x, y] in curve.iter().filter(|[_, y]| !self.is_logarithmic || *y > Self::LEAST) {
                let _ =
                    write!(svg, "{:.1},{:.1} ", x / most_x * 300.0, 200.0 * (high - place(y)) / (high - low));
            }
            svg.push_str("'/>");
        }
        svg.push_str("</g>");
        svg
    }
}

/// Charts in rows of three, and below which color is which layer.
fn picture(charts: &[Chart]) -> String {
    const COLUMNS: usize = 3;
    let (width, height) = (COLUMNS * 380 + 20, charts.len().div_ceil(COLUMNS) * 265);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{}' font-family='sans-serif' font-size='12'>\
         <rect width='100%' height='100%' fill='white'/>",
        height + 40
    );
    for (index, chart) in charts.iter().enumerate() {
        svg.push_str(&chart.svg(60 + index % COLUMNS * 380, 40 + index / COLUMNS * 265));
    }
    for (index, (_, name, color)) in KINDS.iter().enumerate() {
        let x = 60 + index * 170;
        let _ = write!(
            svg,
            "<rect x='{x}' y='{}' width='16' height='3' fill='{color}'/><text x='{}' y='{}'>{name}</text>",
            height + 14,
            x + 22,
            height + 20
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A learning curve: after so many updates, the mean loss since the last point.
type Curve = Vec<[f32; 2]>;

/// Trains a model until it has learned or the updates are over. `tell` is told of updates that need no more waiting
/// for.
fn learn(
    model: &mut Model,
    updates: usize,
    batch: impl Fn(&mut Random) -> Batch,
    tell: impl Fn(usize),
) -> Result<Curve, Error> {
    let (mut random, mut curve, mut mean) = (Random(3), Vec::new(), 0.0);
    let every = updates / POINTS;
    for done in 1..=updates {
        mean += model.update(&batch(&mut random))? / every as f32;
        if done % every == 0 {
            curve.push([done as f32, mean]);
            if mean < LEARNED {
                tell(updates - done + every);
                break;
            }
            tell(every);
            mean = 0.0;
        }
    }
    Ok(curve)
}

/// Trains one model of each kind, each on a thread of its own. Returns learning curves.
fn train(
    what: &str,
    [inputs, outputs, steps, updates]: [usize; 4],
    batch: impl Fn(&mut Random) -> Batch + Sync,
    after: impl Fn(&mut Model) -> Result<String, Error> + Sync,
) -> Result<Vec<Curve>, Error> {
    println!("{what}: loss after so many updates");
    let (all, done) = (updates * KINDS.len(), AtomicUsize::new(0));
    let is_terminal = std::io::stderr().is_terminal();
    let tell = |more: usize| {
        let done = done.fetch_add(more, Ordering::Relaxed) + more;
        if is_terminal {
            eprint!("\r{what}: {:3} %", 100 * done / all);
            let _ = std::io::stderr().flush();
        }
    };
    let train_one = |kind: Kind| -> Result<(Model, Curve, String), Error> {
        let mut model = Model::new(kind, inputs, outputs, steps)?;
        let curve = learn(&mut model, updates, &batch, tell)?;
        let words = after(&mut model)?;
        Ok((model, curve, words))
    };
    let results = std::thread::scope(|scope| {
        let threads = KINDS.map(|(kind, ..)| scope.spawn(move || train_one(kind)));
        threads.map(|thread| thread.join().expect("it does not panic"))
    });
    if is_terminal {
        eprint!("\r{:80}\r", "");
    }
    let mut curves = Vec::new();
    for (result, (_, name, _)) in results.into_iter().zip(KINDS) {
        let (model, curve, words) = result?;
        let numbers: String = (0..POINTS)
            .map(|point| curve.get(point).map_or("      ".to_owned(), |[_, loss]| format!("{loss:.3} ")))
            .collect();
        println!("  {name:20} {:3} units  {numbers} {words}", model.units);
        curves.push(curve);
    }
    Ok(curves)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "target/vanishing_gradient.svg".to_owned());
    let mut charts = Vec::new();

    let steps = NORMS_LENGTH;
    println!("Norm of ∂h_T/∂h_t before training, T = {steps}: at t = 0, T/2 and T");
    let mut curves = Vec::new();
    for (kind, name, _) in KINDS {
        let norms = Model::new(kind, 2, 1, steps)?.gradient_norms(steps)?;
        let [first, middle, last] = [0, norms.len() / 2, norms.len() - 1].map(|index| norms[index][1]);
        println!("  {name:20} {first:9.2e} {middle:9.2e} {last:9.2e}");
        curves.push(norms);
    }
    charts.push(Chart {
        title: format!("‖∂h_T/∂h_t‖ before training, T = {steps}"),
        x: "t",
        is_logarithmic: true,
        curves,
    });

    for steps in LENGTHS {
        let what = format!("Adding problem, T = {steps}");
        let sizes = [2, 1, steps, ADDING_UPDATES];
        let curves = train(&what, sizes, |random| adding(random, steps), |_| Ok(String::new()))?;
        charts.push(Chart {
            title: format!("{what}: squared error"),
            x: "updates",
            is_logarithmic: false,
            curves,
        });
    }

    let digits = Digits::load();
    let held_out = digits.images.len() * 4 / 5;
    let curves = train(
        "Digits, a pixel a step",
        [1, 10, 64, DIGITS_UPDATES],
        |random| {
            let rows: Vec<usize> = (0..BATCH).map(|_| random.below(held_out)).collect();
            digits.batch(|row| rows[row])
        },
        |model| {
            let (mut right, mut all) = (0, 0);
            for first in (held_out..digits.images.len() - BATCH).step_by(BATCH) {
                let batch = digits.batch(|row| first + row);
                let [answers, _] = model.answers(&batch)?;
                (right, all) = (right + model.loss(&answers, &batch).1, all + BATCH);
            }
            Ok(format!("{:.0} % right", 100.0 * right as f32 / all as f32))
        },
    )?;
    charts.push(Chart {
        title: "Digits, a pixel a step: cross-entropy".to_owned(),
        x: "updates",
        is_logarithmic: false,
        curves,
    });

    if let Some(folder) = std::path::Path::new(&path).parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, picture(&charts))?;
    println!("Drawn to {path}");
    Ok(())
}
