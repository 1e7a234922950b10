//! A language model of characters: learns to continue this project's README, and writes some lines.
//!
//! ```text
//! cargo run --release --example characters
//! ```
//!
//! # What is computed
//!
//! ```text
//! for each character c_t of a text, one of N:
//!     h_t = LSTM(K[c_t], h_{t−1})          K: [N, 4H], what each character adds to the gates
//!     p_t = softmax(h_t·V + v)             the probability of each character to be the next
//! ℓ = mean of −ln p_t[c_{t+1}]
//! ```
//!
//! A layer that reads one of N has no product W·x, but an entry of a table: its input is an index, and the gradient of
//! the table adds up, for each character, dZ of the steps that read it. θ, all parameters, lie in one buffer, those of
//! the LSTM first; Adam is one loop.

use quadgate::{
    Backward, Forward, GateOrder, GradientMode, Initialization, InputTable, Lstm, LstmConfig, LstmWeights,
    Matrix, MatrixMut, Sequence, SequenceMut, StepIndices, Tape, Workspace,
};
use std::ops::Range;

type Result<T> = std::result::Result<T, quadgate::Error>;

const TEXT: &str = include_str!("../README.md");
const UNITS: usize = 96;
const STEPS: usize = 48;
const BATCH: usize = 16;
const UPDATES: usize = 600;
const RATE: f32 = 8e-3;

fn main() -> Result<()> {
    let (characters, text) = alphabet(TEXT);
    let mut model = Model::new(characters.len())?;
    let mut random = Random(1);
    for update in 1..=UPDATES {
        let texts: Vec<usize> =
            (0..BATCH).map(|_| random.next() as usize % (text.len() - STEPS - 1)).collect();
        let of = |shift: usize| -> Vec<u32> {
            texts.iter().flat_map(|&at| &text[at + shift..][..STEPS]).copied().collect()
        };
        let loss = model.learn(&of(0), &of(1), update as i32)?;
        if update % 100 == 0 {
            println!("{update:4} updates, {:.2} bits a character", loss / 2f32.ln());
        }
    }
    let written = model.write(&text[..STEPS], 300, &mut random)?;
    println!("…{}", written.iter().map(|&index| characters[index as usize]).collect::<String>());
    Ok(())
}

/// The characters of a text, and the text as indices into them.
fn alphabet(text: &str) -> (Vec<char>, Vec<u32>) {
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let index = |c| characters.binary_search(&c).map_or(0, |index| index as u32);
    let indices = text.chars().map(index).collect();
    (characters, indices)
}

/// A linear congruential generator, whose high bits are good enough here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

/// K and the biases, packed for the layer.
fn table_of(lstm: &Lstm, k: &[f32], entries: usize) -> Result<InputTable> {
    lstm.table_of_sums(Matrix::new(k, entries, 4 * UNITS), GateOrder::IFGO)
}

struct Model {
    entries: usize,
    config: LstmConfig,
    lstm: Lstm,
    table: InputTable,
    workspace: Workspace,
    tape: Tape,
    parameters: Vec<f32>,
    /// Means of gradients, and of their squares.
    moments: [Vec<f32>; 2],
    /// Where K, V and v are, after the parameters of the LSTM.
    parts: [Range<usize>; 3],
}

impl Model {
    fn new(entries: usize) -> Result<Self> {
        // Without inputs: what the gates get comes from the table.
        let config = LstmConfig::new(0, UNITS).training();
        let mut parameters = config.initial_parameters(&Initialization::KERAS, 1)?;
        let mut random = Random(2);
        let mut next = |len: usize, scale: f32| {
            let start = parameters.len();
            let uniform = |_| scale * (random.next() as f32 / (1u32 << 30) as f32 - 1.0);
            parameters.extend((0..len).map(uniform));
            start..parameters.len()
        };
        let parts = [next(entries * 4 * UNITS, 0.1), next(entries * UNITS, 0.1), next(entries, 0.0)];
        let lstm =
            Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters[..parts[0].start])?)?;
        let table = table_of(&lstm, &parameters[parts[0].clone()], entries)?;
        Ok(Self {
            entries,
            workspace: lstm.workspace(BATCH)?,
            tape: lstm.tape(STEPS, BATCH)?,
            moments: [vec![0.0; parameters.len()], vec![0.0; parameters.len()]],
            config,
            lstm,
            table,
            parameters,
            parts,
        })
    }

    /// ln p of each character to be the next after h.
    fn log_probabilities(&self, h: &[f32]) -> Vec<f32> {
        let [_, v, bias] = self.parts.clone().map(|part| &self.parameters[part]);
        let row = |row: &[f32]| row.iter().zip(h).map(|(v, h)| v * h).sum::<f32>();
        let mut logits: Vec<f32> = v.chunks_exact(UNITS).zip(bias).map(|(v, b)| row(v) + b).collect();
        let most = logits.iter().fold(f32::MIN, |most, &logit| most.max(logit));
        let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
        logits.iter_mut().for_each(|logit| *logit -= most + sum.ln());
        logits
    }

    /// One update from a batch of texts, `[B, T]`, and the characters that follow. Returns the loss before it.
    fn learn(&mut self, text: &[u32], next: &[u32], update: i32) -> Result<f32> {
        let indices = StepIndices::batch_major(text, BATCH, STEPS);
        let mut h = vec![0.0; BATCH * STEPS * UNITS];
        let output = SequenceMut::batch_major(&mut h, BATCH, STEPS, UNITS);
        let call = Forward::of_table(&self.table, indices).output(output).tape(&mut self.tape);
        self.lstm.forward(&mut self.workspace, call)?;

        let [k, v, bias] = self.parts.clone();
        let (mut gradients, mut dh) = (vec![0.0; self.parameters.len()], vec![0.0; h.len()]);
        let (mut loss, share) = (0.0, 1.0 / next.len() as f32);
        for ((h, dh), &next) in h.chunks_exact(UNITS).zip(dh.chunks_exact_mut(UNITS)).zip(next) {
            let log_probabilities = self.log_probabilities(h);
            loss -= share * log_probabilities[next as usize];
            for (index, p) in log_probabilities.iter().enumerate() {
                let d = share * (p.exp() - f32::from(u8::from(index == next as usize)));
                gradients[bias.start + index] += d;
                let row = v.start + index * UNITS;
                for unit in 0..UNITS {
                    gradients[row + unit] += d * h[unit];
                    dh[unit] += d * self.parameters[row + unit];
                }
            }
        }

        let (of_lstm, of_table) = gradients.split_at_mut(k.start);
        let of_table = MatrixMut::new(&mut of_table[..k.len()], self.entries, 4 * UNITS);
        let call = Backward::of_table(&self.table, indices)
            .output_cotangent(Sequence::batch_major(&dh, BATCH, STEPS, UNITS))
            .parameter_gradients(of_lstm, GradientMode::Overwrite)
            .table_gradient(of_table, GradientMode::Overwrite);
        self.lstm.backward(&mut self.workspace, &mut self.tape, call)?;

        // Adam.
        let rate = RATE * (1.0 - 0.999f32.powi(update)).sqrt() / (1.0 - 0.9f32.powi(update));
        let [means, squares] = &mut self.moments;
        for (((p, m), s), g) in self.parameters.iter_mut().zip(means).zip(squares).zip(&gradients) {
            *m += 0.1 * (g - *m);
            *s += 0.001 * (g * g - *s);
            *p -= rate * *m / (s.sqrt() + 1e-8);
        }
        let weights = LstmWeights::from_parameters(&self.config, &self.parameters[..k.start])?;
        self.lstm.set_weights(&weights)?;
        self.table = table_of(&self.lstm, &self.parameters[k], self.entries)?;
        Ok(loss)
    }

    /// Reads a text character by character, and continues it.
    fn write(&self, text: &[u32], count: usize, random: &mut Random) -> Result<Vec<u32>> {
        let mut state = self.lstm.state(1)?;
        let mut written = text.to_vec();
        for at in 0..text.len() + count {
            self.lstm.step_of_table(&mut state, &self.table, &[written[at]])?;
            if at + 1 == written.len() {
                let mut left = random.next() as f32 / (1u32 << 31) as f32;
                let p = self.log_probabilities(state.hidden(0).unwrap_or_default());
                let drawn = p.iter().position(|p| {
                    left -= p.exp();
                    left < 0.0
                });
                written.push(drawn.unwrap_or(0) as u32);
            }
        }
        Ok(written.split_off(text.len()))
    }
}
