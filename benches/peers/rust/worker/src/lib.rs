//! What the Rust workers share: the conversation with the driver, and the clock.

#[path = "../../../../lstm/turn.rs"]
mod turn;

use std::error::Error;
use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;
use turn::Turn;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All h of a sequence.
    Forward,
    /// All h of a sequence, and the gradients of x, W, R and b for a cotangent of all h.
    Train,
    /// The next step of a stream, with h and c carried on.
    Step,
    /// The next [`BLOCK`] steps of a stream, with h and c carried on.
    Stream,
    /// Making a layer, which includes packing its weights.
    Pack,
}

/// Steps of a block.
pub const BLOCK: usize = 64;

/// What a layer computes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Lstm,
    /// The reset gate after the product.
    Gru,
    /// Before it.
    GruResetBefore,
    /// With tanh.
    Rnn,
}

impl Cell {
    /// Rows of W and of R for each unit.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru | Cell::GruResetBefore => 3,
            Cell::Rnn => 1,
        }
    }

    fn biases(self) -> usize {
        if self == Cell::Gru { 4 } else { self.gates() }
    }
}

/// A layer and its input. Weights are laid out as in PyTorch: `[4H, X]`, `[4H, H]`, `[4H]`, gates i, f, g, o, of a GRU
/// r, z, n.
pub struct Case {
    pub cell: Cell,
    pub t: usize,
    pub b: usize,
    pub x: usize,
    pub h: usize,
    /// `[T, B, X]`
    pub input: Vec<f32>,
    pub weight_ih: Vec<f32>,
    pub weight_hh: Vec<f32>,
    pub bias: Vec<f32>,
    /// `[T, B, H]`
    pub cotangent: Vec<f32>,
    /// Where the layer lies as an ONNX model.
    pub model: PathBuf,
}

impl Case {
    /// A bias of W and one of R, as large as PyTorch's: of R that of a GRU's n, and zeros.
    pub fn biases(&self) -> [Vec<f32>; 2] {
        let (first, second) = self.bias.split_at(self.cell.gates() * self.h);
        let zeros = vec![0.0; first.len() - second.len()];
        [first.to_vec(), [&zeros, second].concat()]
    }

    /// The gradient of the bias, of those of both biases.
    pub fn joined(&self, first: &[f32], second: &[f32]) -> Vec<f32> {
        let own = self.bias.len() - first.len();
        [first, &second[second.len() - own..]].concat()
    }
}

/// A loaded case.
pub trait Call {
    /// Runs once.
    fn run(&mut self);

    /// What the last run computed: h in time-major order; after a training step, the gradients of x, W, R and b too.
    fn answer(&mut self) -> Vec<f32>;
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Obeys the driver until it closes the pipe. Commands are words, answers are lines of JSON.
pub fn serve(load: fn(Mode, Case) -> Box<dyn Call>) -> Result<()> {
    let mut call: Option<(Box<dyn Call>, usize)> = None;
    println!("{{\"version\": \"\"}}");
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), &mut call) {
            (["load", mode, t, b, x, h, folder, cell], call) => {
                *call = None;
                let mode = match *mode {
                    "forward" => Mode::Forward,
                    "train" => Mode::Train,
                    "step" => Mode::Step,
                    "stream" => Mode::Stream,
                    _ => Mode::Pack,
                };
                let cell = match *cell {
                    "lstm" => Cell::Lstm,
                    "gru" => Cell::Gru,
                    "gru-reset-before" => Cell::GruResetBefore,
                    "rnn" => Cell::Rnn,
                    _ => return Err(line.into()),
                };
                let shape = [t.parse()?, b.parse()?, x.parse()?, h.parse()?];
                // A stream's answer is that of all its steps.
                let runs = match mode {
                    Mode::Step => shape[0],
                    Mode::Stream => shape[0] / BLOCK,
                    _ => 1,
                };
                *call = Some((load(mode, read(cell, shape, Path::new(folder), mode)?), runs));
                println!("{{}}");
            }
            (["write", file], Some((call, runs))) => {
                let mut bytes = Vec::new();
                for _ in 0..*runs {
                    call.run();
                    bytes.extend(call.answer().iter().flat_map(|value| value.to_le_bytes()));
                }
                std::fs::write(file, bytes)?;
                println!("{{}}");
            }
            (["run", milliseconds], Some((call, _))) => {
                let duration = Duration::from_millis(milliseconds.parse()?);
                // Latencies are those of single calls.
                println!(
                    "{}",
                    Turn::take(|| call.run(), || (), [duration, duration, Duration::ZERO]).to_json()
                );
            }
            _ => return Err(line.into()),
        }
    }
    Ok(())
}

/// [`serve`] from inside rayon's global pool, for libraries that use it: they need not enter it at each call then.
pub fn serve_in_pool(load: fn(Mode, Case) -> Box<dyn Call>) -> Result<()> {
    let mut result = Ok(());
    rayon::scope(|_| result = serve(load).map_err(|error| error.to_string()));
    Ok(result?)
}

/// The number of threads that the driver asked for.
pub fn threads() -> usize {
    std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("usage: WORKER THREADS")
}

fn read(cell: Cell, [t, b, x, h]: [usize; 4], folder: &Path, mode: Mode) -> Result<Case> {
    let bytes = std::fs::read(folder.join("case.f32"))?;
    let mut values = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let mut take = |len| values.by_ref().take(len).collect();
    let rows = cell.gates() * h;
    let [input, weight_ih, weight_hh] = [t * b * x, rows * x, rows * h].map(&mut take);
    let [bias, cotangent] = [cell.biases() * h, t * b * h].map(take);
    let model = folder.join(if mode == Mode::Step { "step.onnx" } else { "forward.onnx" });
    Ok(Case { cell, t, b, x, h, input, weight_ih, weight_hh, bias, cotangent, model })
}

/// Swaps time and batch: `[a, b, n]` becomes `[b, a, n]`.
pub fn swap_batch(values: &[f32], [a, b]: [usize; 2], n: usize) -> Vec<f32> {
    let row = |i: usize, j: usize| values[(i * b + j) * n..][..n].iter().copied();
    (0..b).flat_map(|j| (0..a).flat_map(move |i| row(i, j))).collect()
}
