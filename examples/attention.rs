//! Attention: an encoder of LSTMs in both directions, and a decoder that looks at its states, learn to write sequences
//! backwards.
//!
//! ```text
//! cargo run --release --example attention [picture.svg]
//! ```
//!
//! It reads 3 to 10 letters and writes them from the last to the first, then an end (additive attention: Bahdanau, Cho
//! and Bengio 2015). That nobody tells it where to look is the point: the picture, by default `target/attention.svg`,
//! shows the weights α of sequences that it never trained on. Five seconds on one core, and the same numbers each time.
//!
//! # What is computed
//!
//! ```text
//! h_1 … h_n = both directions of a stack over the letters x_1 … x_n, each a vector of one 1
//! k_j = U·h_j + b                                     keys, once for each sequence
//! for each letter that is written, t = 1, 2, …:
//!     u_tj = tanh(Q·s_{t−1} + k_j)
//!     α_t = softmax over j of v·u_tj                  how much of h_j is looked at
//!     c_t = Σ_j α_tj·h_j
//!     s_t = LSTM([y_{t−1} | c_t], s_{t−1})            y_0 is the end
//!     y_t = softmax(O·[s_t | c_t] + o)
//! ```
//!
//! In training y_{t−1} is the right letter, afterwards the likeliest one. The loss is the mean of −ln of the
//! probability of the right letter. A call of the decoder is one step with a tape of its own; backward, from the last
//! one to the first, each call gives the gradient of the state that it began with, and adds its part to the gradients
//! of the parameters. All parameters lie in one buffer: the encoder's, the decoder's, then U, b, Q, v, O and o.

use quadgate::{
    Activation, Backward, Directions, Forward, GradientMode, Initialization, Lstm, LstmConfig, LstmStack,
    LstmWeights, Matrix, MatrixMut, Sequence, SequenceMut, StackBackward, StackConfig, StackForward,
    StackTape, StackWorkspace, Tape, Workspace,
};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::ops::Range;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) const SEED: u64 = 1;
pub(crate) const UPDATES: usize = 1500;
const SHORTEST: usize = 3;
/// Updates after which α is drawn.
const SHOWN: [usize; 2] = [UPDATES / 5, UPDATES];
/// Sequences that are judged.
const JUDGED: usize = 1000;
/// At the first update; from there it falls to zero in a line.
const LEARNING_RATE: f32 = 4e-3;
const MAX_GRADIENT_NORM: f32 = 1.0;

/// How large everything is.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Different letters; the end comes after them.
    pub(crate) letters: usize,
    /// Letters of the longest sequence.
    pub(crate) longest: usize,
    pub(crate) batch: usize,
    pub(crate) layers: usize,
    /// Units of the decoder, and of each layer and direction of the encoder.
    pub(crate) units: usize,
    /// Elements of a key.
    pub(crate) keys: usize,
}

pub(crate) const SIZES: Sizes = Sizes { letters: 16, longest: 10, batch: 50, layers: 1, units: 32, keys: 32 };

impl Sizes {
    /// Letters and the end.
    fn symbols(self) -> usize {
        self.letters + 1
    }

    /// Elements of a state of the encoder.
    fn state(self) -> usize {
        2 * self.units
    }

    /// Elements of what the decoder reads.
    fn input(self) -> usize {
        self.symbols() + self.state()
    }

    /// Elements of what the output is made of.
    fn readout(self) -> usize {
        self.units + self.state()
    }
}

/// A matrix among the parameters, `[inputs, outputs]`.
struct Product {
    range: Range<usize>,
    inputs: usize,
    outputs: usize,
}

impl Product {
    /// y += x·W for each row x.
    fn add(&self, parameters: &[f32], x: &[f32], y: &mut [f32]) {
        let weights = &parameters[self.range.clone()];
        for (x, y) in x.chunks_exact(self.inputs).zip(y.chunks_exact_mut(self.outputs)) {
            for (&x, weights) in x.iter().zip(weights.chunks_exact(self.outputs)) {
                add_scaled(y, x, weights);
            }
        }
    }

    /// dx += dy·Wᵀ, dW += xᵀ·dy for each row x and dy.
    fn add_gradients(
        &self,
        parameters: &[f32],
        [x, of_y]: [&[f32]; 2],
        gradients: &mut [f32],
        of_x: &mut [f32],
    ) {
        let (weights, of_weights) = (&parameters[self.range.clone()], &mut gradients[self.range.clone()]);
        let rows = x.chunks_exact(self.inputs).zip(of_x.chunks_exact_mut(self.inputs));
        for ((x, of_x), of_y) in rows.zip(of_y.chunks_exact(self.outputs)) {
            let weights = weights.chunks_exact(self.outputs).zip(of_weights.chunks_exact_mut(self.outputs));
            for ((&x, of_x), (weights, of_weights)) in x.iter().zip(of_x).zip(weights) {
                *of_x += dot(weights, of_y);
                add_scaled(of_weights, x, of_y);
            }
        }
    }
}

/// Where each tensor lies in the buffer of all parameters.
struct Ranges {
    encoder: Range<usize>,
    decoder: Range<usize>,
    /// U
    key: Product,
    /// b
    key_bias: Range<usize>,
    /// Q
    query: Product,
    /// v
    score: Range<usize>,
    /// O
    output: Product,
    /// o
    output_bias: Range<usize>,
}

impl Ranges {
    fn new(sizes: Sizes, encoder: usize, decoder: usize) -> Self {
        fn range(end: &mut usize, len: usize) -> Range<usize> {
            *end += len;
            *end - len..*end
        }
        fn product(end: &mut usize, inputs: usize, outputs: usize) -> Product {
            Product { range: range(end, inputs * outputs), inputs, outputs }
        }
        let end = &mut 0;
        Self {
            encoder: range(end, encoder),
            decoder: range(end, decoder),
            key: product(end, sizes.state(), sizes.keys),
            key_bias: range(end, sizes.keys),
            query: product(end, sizes.units, sizes.keys),
            score: range(end, sizes.keys),
            output: product(end, sizes.readout(), sizes.symbols()),
            output_bias: range(end, sizes.symbols()),
        }
    }
}

/// Sequences to be turned round.
pub(crate) struct Batch {
    sequences: Vec<Vec<usize>>,
    lengths: Vec<usize>,
    /// Letters and ends that are to be written.
    answers: usize,
    /// The symbol that stands for the end.
    end: usize,
}

impl Batch {
    fn new(sizes: Sizes, sequences: Vec<Vec<usize>>) -> Self {
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let answers = lengths.iter().map(|len| len + 1).sum();
        Self { sequences, lengths, answers, end: sizes.letters }
    }

    /// Random ones, of those that are held out or of the others.
    pub(crate) fn random(sizes: Sizes, random: &mut Random, held_out: bool) -> Self {
        let mut draw = || {
            let len = SHORTEST + random.below(sizes.longest + 1 - SHORTEST);
            (0..len).map(|_| random.below(sizes.letters)).collect::<Vec<_>>()
        };
        let mut sequences = Vec::new();
        while sequences.len() < sizes.batch {
            let letters = draw();
            if is_held_out(&letters) == held_out {
                sequences.push(letters);
            }
        }
        Self::new(sizes, sequences)
    }

    /// What is to be written for a row at step `t`: nothing after the end.
    fn answer(&self, row: usize, t: usize) -> Option<usize> {
        let letters = &self.sequences[row];
        if t > letters.len() { None } else { Some(letters.iter().rev().nth(t).copied().unwrap_or(self.end)) }
    }

    /// Whether these are the right letters and the end.
    fn is_right(&self, row: usize, written: &[usize]) -> bool {
        let steps = self.lengths[row] + 1;
        written.len() == steps && (0..steps).all(|t| self.answer(row, t) == Some(written[t]))
    }
}

/// One in eight sequences is never trained on: which, says a hash (FNV-1a).
fn is_held_out(letters: &[usize]) -> bool {
    let step = |hash: u64, &letter: &usize| (hash ^ letter as u64).wrapping_mul(0x100_0000_01b3);
    (letters.iter().fold(0xcbf2_9ce4_8422_2325, step) >> 32).is_multiple_of(8)
}

/// What the decoder reads from one step to the next.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// The right letters.
    Answers,
    /// What it wrote itself.
    Written,
}

/// What the encoder made of a batch.
struct Encoded {
    /// x, `[B, n, X]`
    x: Vec<f32>,
    /// h, `[B, n, 2H]`
    states: Vec<f32>,
    /// k, `[B, n, A]`
    keys: Vec<f32>,
}

/// What a step of the decoder computed.
struct Step {
    /// u, `[B, n, A]`
    tanh: Vec<f32>,
    /// α, `[B, n]`
    weights: Vec<f32>,
    /// `[y | c]`, `[B, S + 2H]`
    input: Vec<f32>,
    /// h and c of the decoder, `[B, H]`
    state: [Vec<f32>; 2],
    /// `[s | c]`, `[B, 3H]`
    readout: Vec<f32>,
    /// `[B, S]`
    probabilities: Vec<f32>,
    tape: Tape,
}

/// Cotangents while the decoder is run backward.
struct Cotangents {
    /// Of the h of the encoder and of the keys.
    states: Vec<f32>,
    keys: Vec<f32>,
    /// Of one step.
    logits: Vec<f32>,
    readout: Vec<f32>,
    input: Vec<f32>,
    query: Vec<f32>,
    /// Of h and c of the decoder, after the step and before it.
    state: [Vec<f32>; 2],
    state_before: [Vec<f32>; 2],
}

pub(crate) struct Model {
    sizes: Sizes,
    ranges: Ranges,
    pub(crate) parameters: Vec<f32>,
    encoder: LstmStack,
    encoder_workspace: StackWorkspace,
    encoder_tape: StackTape,
    decoder: Lstm,
    decoder_workspace: Workspace,
    activation: Activation,
    encoded: Encoded,
    steps: Vec<Step>,
    cotangents: Cotangents,
}

impl Model {
    pub(crate) fn new(sizes: Sizes, seed: u64) -> Result<Self> {
        let Sizes { letters, longest, batch, layers, units, keys } = sizes;
        let config = StackConfig::new(letters, units, layers, Directions::Concatenated).training();
        let mut parameters = config.initial_parameters(&Initialization::KERAS, seed)?;
        let encoder = LstmStack::new(&config, &config.weights(&parameters)?)?;
        let config = LstmConfig::new(sizes.input(), units).training();
        let of_decoder = config.initial_parameters(&Initialization::KERAS, seed + 1)?;
        let decoder = Lstm::new(&config, &LstmWeights::from_parameters(&config, &of_decoder)?)?;
        let ranges = Ranges::new(sizes, parameters.len(), of_decoder.len());
        parameters.extend(of_decoder);
        parameters.resize(ranges.output_bias.end, 0.0);
        let mut random = Random(seed);
        for (range, inputs) in [
            (&ranges.key.range, sizes.state()),
            (&ranges.query.range, units),
            (&ranges.score, keys),
            (&ranges.output.range, sizes.readout()),
        ] {
            let bound = 1.0 / (inputs as f32).sqrt();
            parameters[range.clone()].fill_with(|| (2.0 * random.uniform() - 1.0) * bound);
        }
        let zeros = |width: usize| vec![0.0; batch * width];
        let step = |_| -> Result<Step> {
            Ok(Step {
                tanh: zeros(longest * keys),
                weights: zeros(longest),
                input: zeros(sizes.input()),
                state: [zeros(units), zeros(units)],
                readout: zeros(sizes.readout()),
                probabilities: zeros(sizes.symbols()),
                tape: decoder.tape(1, batch)?,
            })
        };
        Ok(Self {
            encoder_workspace: encoder.workspace(longest, batch)?,
            encoder_tape: encoder.tape(longest, batch)?,
            decoder_workspace: decoder.workspace(batch)?,
            activation: Activation::new()?,
            encoded: Encoded {
                x: zeros(longest * letters),
                states: zeros(longest * sizes.state()),
                keys: zeros(longest * keys),
            },
            steps: (0..=longest).map(step).collect::<Result<_>>()?,
            cotangents: Cotangents {
                states: zeros(longest * sizes.state()),
                keys: zeros(longest * keys),
                logits: zeros(sizes.symbols()),
                readout: zeros(sizes.readout()),
                input: zeros(sizes.input()),
                query: zeros(keys),
                state: [zeros(units), zeros(units)],
                state_before: [zeros(units), zeros(units)],
            },
            sizes,
            ranges,
            parameters,
            encoder,
            decoder,
        })
    }

    /// The tensors by name, and where they lie among the parameters.
    pub(crate) fn tensors(&self) -> [(&'static str, Range<usize>); 8] {
        let Ranges { encoder, decoder, key, key_bias, query, score, output, output_bias } = &self.ranges;
        [
            ("encoder", encoder.clone()),
            ("decoder", decoder.clone()),
            ("U", key.range.clone()),
            ("b", key_bias.clone()),
            ("Q", query.range.clone()),
            ("v", score.clone()),
            ("O", output.range.clone()),
            ("o", output_bias.clone()),
        ]
    }

    /// Gives the layers their parts of the parameters, which have changed.
    pub(crate) fn pack_weights(&mut self) -> Result<()> {
        let of_encoder = &self.parameters[self.ranges.encoder.clone()];
        let config = self.encoder.config().clone();
        self.encoder.set_weights(&config.weights(of_encoder)?)?;
        let of_decoder = &self.parameters[self.ranges.decoder.clone()];
        let config = self.decoder.config().clone();
        Ok(self.decoder.set_weights(&LstmWeights::from_parameters(&config, of_decoder)?)?)
    }

    /// Makes h and the keys.
    fn encode(&mut self, batch: &Batch) -> Result<()> {
        let Sizes { letters, longest, batch: rows, .. } = self.sizes;
        let Encoded { x, states, keys } = &mut self.encoded;
        x.fill(0.0);
        for (x, sequence) in x.chunks_exact_mut(longest * letters).zip(&batch.sequences) {
            sequence.iter().enumerate().for_each(|(j, letter)| x[j * letters + letter] = 1.0);
        }
        let call = StackForward::new(Sequence::batch_major(x, rows, longest, letters))
            .lengths(&batch.lengths)
            .output(SequenceMut::batch_major(states, rows, longest, self.sizes.state()))
            .tape(&mut self.encoder_tape);
        self.encoder.forward(&mut self.encoder_workspace, call)?;
        fill_rows(keys, &self.parameters[self.ranges.key_bias.clone()]);
        self.ranges.key.add(&self.parameters, states, keys);
        Ok(())
    }

    /// Makes α of step `t` and puts c where it is read.
    fn attend(&mut self, batch: &Batch, t: usize) {
        let Sizes { longest, units, keys, .. } = self.sizes;
        let (state_size, input_size, readout_size) =
            (self.sizes.state(), self.sizes.input(), self.sizes.readout());
        let (before, rest) = self.steps.split_at_mut(t);
        let step = &mut rest[0];
        step.tanh.copy_from_slice(&self.encoded.keys);
        if let Some(before) = before.last() {
            let query = &mut self.cotangents.query;
            query.fill(0.0);
            self.ranges.query.add(&self.parameters, &before.state[0], query);
            for (tanh, query) in step.tanh.chunks_exact_mut(longest * keys).zip(query.chunks_exact(keys)) {
                tanh.chunks_exact_mut(keys).for_each(|tanh| add_scaled(tanh, 1.0, query));
            }
        }
        self.activation.tanh(&mut step.tanh);
        step.weights.fill(0.0);
        step.input.fill(0.0);
        step.readout.fill(0.0);
        let score = &self.parameters[self.ranges.score.clone()];
        for (row, &len) in batch.lengths.iter().enumerate() {
            let weights = &mut step.weights[row * longest..][..len];
            let tanh = step.tanh[row * longest * keys..].chunks_exact(keys);
            weights.iter_mut().zip(tanh).for_each(|(weight, tanh)| *weight = dot(score, tanh));
            softmax(weights);
            let context = &mut step.readout[row * readout_size..][units..readout_size];
            let states = self.encoded.states[row * longest * state_size..].chunks_exact(state_size);
            weights.iter().zip(states).for_each(|(&weight, state)| add_scaled(context, weight, state));
            step.input[row * input_size..][self.sizes.symbols()..input_size].copy_from_slice(context);
        }
    }

    /// Writes an answer to each sequence. Returns the answers, each up to its end, and the loss.
    fn forward(&mut self, batch: &Batch, reads: Reads) -> Result<(Vec<Vec<usize>>, f64)> {
        self.encode(batch)?;
        let Sizes { batch: rows, units, .. } = self.sizes;
        let (symbols, input_size, readout_size) =
            (self.sizes.symbols(), self.sizes.input(), self.sizes.readout());
        let (mut written, mut loss) = (vec![Vec::new(); rows], 0.0);
        let mut last = vec![batch.end; rows];
        for t in 0..self.steps.len() {
            self.attend(batch, t);
            let (before, rest) = self.steps.split_at_mut(t);
            let step = &mut rest[0];
            last.iter().enumerate().for_each(|(row, symbol)| step.input[row * input_size + symbol] = 1.0);
            let [hidden, cell] = &mut step.state;
            let mut call = Forward::new(Sequence::time_major(&step.input, 1, rows, input_size))
                .last_hidden(MatrixMut::new(hidden, rows, units))
                .last_cell(MatrixMut::new(cell, rows, units))
                .tape(&mut step.tape);
            if let Some(Step { state: [hidden, cell], .. }) = before.last() {
                call = call.initial_hidden(Matrix::new(hidden, rows, units));
                call = call.initial_cell(Matrix::new(cell, rows, units));
            }
            self.decoder.forward(&mut self.decoder_workspace, call)?;
            for (readout, hidden) in
                step.readout.chunks_exact_mut(readout_size).zip(hidden.chunks_exact(units))
            {
                readout[..units].copy_from_slice(hidden);
            }
            fill_rows(&mut step.probabilities, &self.parameters[self.ranges.output_bias.clone()]);
            self.ranges.output.add(&self.parameters, &step.readout, &mut step.probabilities);
            for (row, probabilities) in step.probabilities.chunks_exact_mut(symbols).enumerate() {
                softmax(probabilities);
                let likelier =
                    |best, symbol| if probabilities[symbol] > probabilities[best] { symbol } else { best };
                let likeliest = (1..symbols).fold(0, likelier);
                if written[row].last() != Some(&batch.end) {
                    written[row].push(likeliest);
                }
                let answer = batch.answer(row, t);
                loss -= answer.map_or(0.0, |answer| f64::from(probabilities[answer].max(1e-30)).ln());
                last[row] = if reads == Reads::Written { likeliest } else { answer.unwrap_or(batch.end) };
            }
        }
        Ok((written, loss / batch.answers as f64))
    }

    /// The loss.
    pub(crate) fn loss(&mut self, batch: &Batch) -> Result<f64> {
        Ok(self.forward(batch, Reads::Answers)?.1)
    }

    /// From the cotangent of c of step `t` to those of h, of the keys, of the query and of v.
    fn attend_backward(&mut self, batch: &Batch, t: usize, gradients: &mut [f32]) {
        let Sizes { longest, units, keys, .. } = self.sizes;
        let (symbols, state_size) = (self.sizes.symbols(), self.sizes.state());
        let (input_size, readout_size) = (self.sizes.input(), self.sizes.readout());
        let (step, states, of) = (&self.steps[t], &self.encoded.states, &mut self.cotangents);
        let score = &self.parameters[self.ranges.score.clone()];
        let of_score = &mut gradients[self.ranges.score.clone()];
        of.query.fill(0.0);
        for (row, &len) in batch.lengths.iter().enumerate() {
            let of_context = &mut of.readout[row * readout_size..][units..readout_size];
            add_scaled(of_context, 1.0, &of.input[row * input_size..][symbols..input_size]);
            let of_query = &mut of.query[row * keys..][..keys];
            let weights = &step.weights[row * longest..][..len];
            let states = states[row * longest * state_size..].chunks_exact(state_size);
            let of_weights: Vec<f32> = states.take(len).map(|state| dot(of_context, state)).collect();
            let mean = dot(weights, &of_weights);
            for (j, (&weight, of_weight)) in weights.iter().zip(&of_weights).enumerate() {
                let at = row * longest + j;
                add_scaled(&mut of.states[at * state_size..][..state_size], weight, of_context);
                // Of v·u_tj.
                let of_product = weight * (of_weight - mean);
                let tanh = &step.tanh[at * keys..][..keys];
                add_scaled(of_score, of_product, tanh);
                let of_key = &mut of.keys[at * keys..][..keys];
                for ((of_key, of_query), (u, v)) in
                    of_key.iter_mut().zip(&mut *of_query).zip(tanh.iter().zip(score))
                {
                    let of_sum = of_product * v * (1.0 - u * u);
                    *of_key += of_sum;
                    *of_query += of_sum;
                }
            }
        }
    }

    /// The gradients of what [`Model::loss`] computed last.
    pub(crate) fn backward(&mut self, batch: &Batch, gradients: &mut [f32]) -> Result<()> {
        let Sizes { letters, longest, batch: rows, units, .. } = self.sizes;
        let (symbols, input_size, readout_size) =
            (self.sizes.symbols(), self.sizes.input(), self.sizes.readout());
        let scale = 1.0 / batch.answers as f32;
        gradients.fill(0.0);
        let Cotangents { states, keys, state, .. } = &mut self.cotangents;
        [states, keys].into_iter().chain(state).for_each(|cotangent| cotangent.fill(0.0));
        for t in (0..self.steps.len()).rev() {
            let (step, of) = (&mut self.steps[t], &mut self.cotangents);
            // Of the softmax and the logarithm together: p − 1 where the answer is, else p.
            of.logits.fill(0.0);
            for (row, of_logits) in of.logits.chunks_exact_mut(symbols).enumerate() {
                if let Some(answer) = batch.answer(row, t) {
                    add_scaled(of_logits, scale, &step.probabilities[row * symbols..][..symbols]);
                    of_logits[answer] -= scale;
                }
            }
            of.readout.fill(0.0);
            let rows_of_output = [&step.readout[..], &of.logits];
            self.ranges.output.add_gradients(&self.parameters, rows_of_output, gradients, &mut of.readout);
            add_rows(&mut gradients[self.ranges.output_bias.clone()], &of.logits);
            for (of_hidden, of_readout) in
                of.state[0].chunks_exact_mut(units).zip(of.readout.chunks_exact(readout_size))
            {
                add_scaled(of_hidden, 1.0, &of_readout[..units]);
            }

            let [of_hidden, of_cell] = &mut of.state_before;
            let call = Backward::new(Sequence::time_major(&step.input, 1, rows, input_size))
                .last_hidden_cotangent(Matrix::new(&of.state[0], rows, units))
                .last_cell_cotangent(Matrix::new(&of.state[1], rows, units))
                .input_gradient(SequenceMut::time_major(&mut of.input, 1, rows, input_size))
                .initial_hidden_gradient(MatrixMut::new(of_hidden, rows, units))
                .initial_cell_gradient(MatrixMut::new(of_cell, rows, units))
                .parameter_gradients(&mut gradients[self.ranges.decoder.clone()], GradientMode::Accumulate);
            self.decoder.backward(&mut self.decoder_workspace, &mut step.tape, call)?;

            self.attend_backward(batch, t, gradients);
            let of = &mut self.cotangents;
            if let Some(before) = t.checked_sub(1) {
                let rows_of_query = [&self.steps[before].state[0][..], &of.query];
                let of_hidden = &mut of.state_before[0];
                self.ranges.query.add_gradients(&self.parameters, rows_of_query, gradients, of_hidden);
            }
            std::mem::swap(&mut of.state, &mut of.state_before);
        }
        let (Encoded { x, states, .. }, of) = (&self.encoded, &mut self.cotangents);
        self.ranges.key.add_gradients(&self.parameters, [states, &of.keys], gradients, &mut of.states);
        add_rows(&mut gradients[self.ranges.key_bias.clone()], &of.keys);
        let call = StackBackward::new(Sequence::batch_major(x, rows, longest, letters))
            .lengths(&batch.lengths)
            .output_cotangent(Sequence::batch_major(&of.states, rows, longest, self.sizes.state()))
            .parameter_gradients(&mut gradients[self.ranges.encoder.clone()], GradientMode::Overwrite);
        Ok(self.encoder.backward(&mut self.encoder_workspace, &mut self.encoder_tape, call)?)
    }

    /// The part of so many held-out sequences that is written without a mistake, with the end in its place.
    pub(crate) fn part_right(&mut self, sequences: usize) -> Result<f64> {
        let (mut random, mut right, mut all) = (Random(5), 0, 0);
        while all < sequences {
            let batch = Batch::random(self.sizes, &mut random, true);
            let (written, _) = self.forward(&batch, Reads::Written)?;
            right += (0..written.len()).filter(|&row| batch.is_right(row, &written[row])).count();
            all += written.len();
        }
        Ok(right as f64 / all as f64)
    }

    /// What is written for a sequence, and α of each step.
    fn alignment(&mut self, title: &str, letters: &[usize]) -> Result<Alignment> {
        let batch = Batch::new(self.sizes, vec![letters.to_vec(); self.sizes.batch]);
        let written = self.forward(&batch, Reads::Written)?.0.swap_remove(0);
        let weights = self.steps.iter().map(|step| step.weights[..letters.len()].to_vec()).collect();
        Ok(Alignment { title: title.to_owned(), letters: letters.to_vec(), written, weights })
    }
}

/// What is known after an update.
pub(crate) struct Progress<'a> {
    pub(crate) updates: usize,
    /// Of the batch before the update.
    pub(crate) loss: f64,
    pub(crate) model: &'a mut Model,
}

/// Trains a model. `after` is called after each update.
pub(crate) fn train(
    seed: u64,
    updates: usize,
    mut after: impl FnMut(Progress<'_>) -> Result<()>,
) -> Result<Model> {
    let mut model = Model::new(SIZES, seed)?;
    let mut gradients = vec![0.0; model.parameters.len()];
    let (mut random, mut adam) = (Random(seed + 2), Adam::new(gradients.len()));
    for update in 0..updates {
        let rate = LEARNING_RATE * (1.0 - update as f32 / updates as f32);
        let batch = Batch::random(SIZES, &mut random, false);
        let loss = model.loss(&batch)?;
        model.backward(&batch, &mut gradients)?;
        adam.update(rate, &mut model.parameters, &gradients);
        model.pack_weights()?;
        after(Progress { updates: update + 1, loss, model: &mut model })?;
    }
    Ok(model)
}

/// Copies `row` to each row of `to`.
fn fill_rows(to: &mut [f32], row: &[f32]) {
    to.chunks_exact_mut(row.len()).for_each(|to| to.copy_from_slice(row));
}

/// Adds each row of `rows` to `sum`.
fn add_rows(sum: &mut [f32], rows: &[f32]) {
    rows.chunks_exact(sum.len()).for_each(|row| add_scaled(sum, 1.0, row));
}

fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
}

/// Eight sums side by side, which the compiler makes vectors of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

/// The optimizer of Kingma and Ba (2014).
struct Adam {
    updates: i32,
    mean: Vec<f32>,
    mean_square: Vec<f32>,
}

impl Adam {
    fn new(parameters: usize) -> Self {
        Self { updates: 0, mean: vec![0.0; parameters], mean_square: vec![0.0; parameters] }
    }

    /// With gradients that are shortened to `MAX_GRADIENT_NORM`.
    fn update(&mut self, rate: f32, parameters: &mut [f32], gradients: &[f32]) {
        let norm = dot(gradients, gradients).sqrt();
        let scale = if norm > MAX_GRADIENT_NORM { MAX_GRADIENT_NORM / norm } else { 1.0 };
        self.updates += 1;
        let [first, second] = [0.9f32, 0.999].map(|beta| 1.0 - beta.powi(self.updates));
        let means = self.mean.iter_mut().zip(&mut self.mean_square);
        for ((parameter, gradient), (mean, mean_square)) in parameters.iter_mut().zip(gradients).zip(means) {
            let gradient = gradient * scale;
            *mean += 0.1 * (gradient - *mean);
            *mean_square += 0.001 * (gradient * gradient - *mean_square);
            *parameter -= rate * (*mean / first) / ((*mean_square / second).sqrt() + 1e-8);
        }
    }
}

/// xorshift64*
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40
    }

    /// Uniform in 0 … 1.
    pub(crate) fn uniform(&mut self) -> f32 {
        self.bits() as f32 / (1u64 << 24) as f32
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }
}

/// What was read and written, and where the decoder looked.
struct Alignment {
    title: String,
    letters: Vec<usize>,
    written: Vec<usize>,
    /// α of each step.
    weights: Vec<Vec<f32>>,
}

/// A letter, or the end.
fn name(symbol: usize) -> String {
    if symbol < SIZES.letters { char::from(b'a' + symbol as u8).to_string() } else { "end".to_owned() }
}

impl Alignment {
    const CELL: usize = 20;

    /// Columns are the letters that are read, rows those that are written.
    fn svg(&self, left: usize) -> String {
        const CELL: usize = Alignment::CELL;
        let middle = |index: usize| index * CELL + CELL / 2;
        let mut svg =
            format!("<g transform='translate({left} 60)'><text x='0' y='-34'>{}</text>", self.title);
        for (j, &letter) in self.letters.iter().enumerate() {
            let _ =
                write!(svg, "<text x='{}' y='-8' text-anchor='middle'>{}</text>", middle(j), name(letter));
        }
        for (t, (&symbol, weights)) in self.written.iter().zip(&self.weights).enumerate() {
            let y = middle(t) + 5;
            let _ = write!(svg, "<text x='-6' y='{y}' text-anchor='end'>{}</text>", name(symbol));
            for (j, weight) in weights.iter().enumerate() {
                let (x, y) = (j * CELL, t * CELL);
                let _ = write!(
                    svg,
                    "<rect x='{x}' y='{y}' width='{CELL}' height='{CELL}' fill='#1f4e79' fill-opacity='{weight:.3}' \
                     stroke='#ccc'><title>{weight:.3}</title></rect>"
                );
            }
        }
        svg.push_str("</g>");
        svg
    }
}

fn picture(alignments: &[Alignment]) -> String {
    let (mut left, mut body) = (50, String::new());
    for alignment in alignments {
        body.push_str(&alignment.svg(left));
        left += alignment.letters.len().max(9) * Alignment::CELL + 50;
    }
    let height = 60 + (SIZES.longest + 1) * Alignment::CELL + 50;
    let y = height - 20;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{left}' height='{height}' font-family='sans-serif' \
         font-size='14'><rect width='100%' height='100%' fill='white'/>{body}<text x='50' y='{y}'>Columns: letters that are \
         read. Rows: letters that are written. The darker, the more is looked at.</text></svg>\n"
    )
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "target/attention.svg".to_owned());
    let mut random = Random(9);
    let shown = Batch::random(SIZES, &mut random, true).sequences;
    let longest = shown.iter().find(|letters| letters.len() == SIZES.longest).unwrap_or(&shown[0]);
    let short = shown.iter().find(|letters| letters.len() == SIZES.longest / 2).unwrap_or(&shown[0]);

    let mut model = Model::new(SIZES, SEED)?;
    let sizes = model.tensors().map(|(name, range)| format!("{name} {}", range.len()));
    println!("Parameters: {}", sizes.join(", "));
    println!("updates   loss   of {JUDGED} held-out sequences right");
    let mut alignments = vec![model.alignment("Before training", longest)?];
    let mut mean = 0.0;
    model = train(SEED, UPDATES, |Progress { updates, loss, model }| {
        const EVERY: usize = UPDATES / 10;
        if std::io::stderr().is_terminal() {
            eprint!("\r{updates:4} of {UPDATES} updates, loss {loss:.4} ");
            std::io::stderr().flush()?;
        }
        mean += loss / EVERY as f64;
        if updates % EVERY == 0 {
            if std::io::stderr().is_terminal() {
                eprint!("\r{:50}\r", "");
            }
            println!("{updates:7}  {mean:.4}  {:5.1} %", 100.0 * model.part_right(JUDGED)?);
            mean = 0.0;
        }
        if SHOWN.contains(&updates) {
            alignments.push(model.alignment(&format!("After {updates} updates"), longest)?);
        }
        Ok(())
    })?;
    alignments.push(model.alignment("A shorter one", short)?);
    if let Some(folder) = std::path::Path::new(&path).parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, picture(&alignments))?;
    println!("Drawn to {path}");
    Ok(())
}
