//! Finds the speech in a WAV file with the Silero VAD v6 network (MIT license).
//!
//! The LSTM runs on quadgate; the small convolutions around it are plain Rust, below.
//!
//! The weights are part of the PyPI package `silero-vad` (as of 6.2.3):
//!
//! ```text
//! pip download --no-deps silero-vad
//! unzip -j silero_vad-*.whl silero_vad/data/silero_vad_16k.safetensors
//! cargo run --release --example silero_vad -- silero_vad_16k.safetensors speech.wav
//! ```
//!
//! The ONNX and TorchScript files of that package hold other weights for the same network, so their probabilities
//! differ.
//!
//! The WAV file must be mono at 16 kHz, its samples integers or floats. `--frames` also prints the probability of each
//! frame. `--stream` goes frame by frame, as a program would that listens to a microphone; the results have the same
//! bits.
//!
//! # What the network does
//!
//! ```text
//! for each frame of 512 samples (32 ms):
//!     x = the 64 samples before the frame, the frame, the 64 samples before its last one backwards
//!     s = convolution of x with the STFT basis: 129 real and 129 imaginary parts, at 4 positions
//!     m = √(real² + imaginary²)               129 × 4
//!     m = relu(convolution 1 of m)            128 × 4
//!     m = relu(convolution 2 of m, stride 2)   64 × 2
//!     m = relu(convolution 3 of m, stride 2)   64 × 1
//!     m = relu(convolution 4 of m)            128 × 1
//!     h, c = LSTM(m, h, c)                    128
//!     probability of speech = sigmoid(weights · relu(h) + bias)
//! ```
//!
//! Only the LSTM has a memory. So for a whole file, the convolutions of all frames come first, and one call of
//! `Lstm::forward` goes over them all.

use hound::{SampleFormat, WavReader};
use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Matrix, Sequence, SequenceMut, Threads};
use safetensors::{Dtype, SafeTensors};
use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: silero_vad [--frames] [--stream] silero_vad_16k.safetensors speech.wav";

const SAMPLE_RATE: usize = 16_000;
const SAMPLES_PER_MS: usize = SAMPLE_RATE / 1000;

/// Samples that each step of the LSTM hears for the first time.
const FRAME: usize = 512;
/// Samples of the previous frame that it hears again.
const CONTEXT: usize = 64;
/// Samples that are repeated backwards after the frame.
const MIRROR: usize = 64;
const PADDED_FRAME: usize = CONTEXT + FRAME + MIRROR;

const STFT_WINDOW: usize = 256;
const STFT_HOP: usize = 128;
/// Frequencies from zero to half the sample rate.
const STFT_BINS: usize = STFT_WINDOW / 2 + 1;

/// What the convolutions make of a frame, and what the LSTM reads.
const FEATURES: usize = 128;
const HIDDEN: usize = 128;

// How probabilities become segments: the defaults of the Python package's `get_speech_timestamps`.

/// A segment starts with a frame at least as probable as this.
const SPEECH_THRESHOLD: f32 = 0.5;
/// A silence starts with a frame less probable than this, and ends with one of speech.
const SILENCE_THRESHOLD: f32 = 0.35;
/// Segments must be longer than this.
const MIN_SPEECH: usize = 250 * SAMPLES_PER_MS;
/// A silence this long ends a segment.
const MIN_SILENCE: usize = 100 * SAMPLES_PER_MS;
/// Both ends of a segment are moved outwards by this.
const SPEECH_PAD: usize = 30 * SAMPLES_PER_MS;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("silero_vad: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse(std::env::args_os().skip(1))?;
    let model = Vad::load(&options.model)?;
    let samples = read_wav(&options.wav)?;
    let detection = if options.stream { model.stream(&samples)? } else { model.whole(&samples)? };
    report(&options, &model, &detection, samples.len())
}

/// What the command line asks for.
struct Options {
    model: String,
    wav: String,
    frames: bool,
    stream: bool,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
        let (flags, files): (Vec<_>, Vec<_>) = arguments.partition(|argument| argument.starts_with("--"));
        let [model, wav] = <[String; 2]>::try_from(files).map_err(|_| USAGE)?;
        let mut options = Options { model, wav, frames: false, stream: false };
        for flag in flags {
            match flag.as_str() {
                "--frames" => options.frames = true,
                "--stream" => options.stream = true,
                _ => return Err(format!("unknown option {flag}\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

fn report(options: &Options, model: &Vad, detection: &Detection, samples: usize) -> Result<()> {
    let seconds = |samples: usize| samples as f64 / SAMPLE_RATE as f64;
    // Not println!, which panics when the reader of a pipe goes away.
    let mut out = std::io::stdout().lock();
    if options.frames {
        for (index, probability) in detection.probabilities.iter().enumerate() {
            writeln!(out, "{:9.3} s: {probability:.8}", seconds(index * FRAME))?;
        }
    }
    for Segment { start, end } in speech_segments(&detection.probabilities, samples) {
        writeln!(out, "{:9.3} – {:.3} s", seconds(start), seconds(end))?;
    }
    let elapsed = detection.elapsed.as_secs_f64();
    writeln!(
        out,
        "{:.1} s of audio in {:.1} ms: {:.0} times faster than real time, {:.0} % of it in the LSTM ({})",
        seconds(samples),
        elapsed * 1e3,
        seconds(samples) / elapsed,
        100.0 * detection.lstm.as_secs_f64() / elapsed,
        model.lstm.isa(),
    )?;
    Ok(())
}

/// The network.
struct Vad {
    stft: Conv,
    encoder: [Conv; 4],
    lstm: Lstm,
    output: Conv,
}

/// What came out, and how long it took.
struct Detection {
    /// Of speech, for each frame.
    probabilities: Vec<f32>,
    elapsed: Duration,
    /// The LSTM's part of `elapsed`.
    lstm: Duration,
}

impl Vad {
    fn load(path: &str) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| format!("{path}: expected a safetensors file: {error}"))?;
        Self::new(&tensors).map_err(|error| format!("{path}: {error}").into())
    }

    fn new(tensors: &SafeTensors<'_>) -> Result<Self> {
        let stft_weight = load(tensors, "stft_conv.weight", &[2 * STFT_BINS, 1, STFT_WINDOW])?;
        Ok(Vad {
            stft: Conv {
                inputs: 1,
                taps: STFT_WINDOW,
                stride: STFT_HOP,
                padding: 0,
                weight: stft_weight,
                bias: vec![0.0; 2 * STFT_BINS],
            },
            encoder: [
                Conv::load(tensors, "conv1", STFT_BINS, 128, 1)?,
                Conv::load(tensors, "conv2", 128, 64, 2)?,
                Conv::load(tensors, "conv3", 64, 64, 2)?,
                Conv::load(tensors, "conv4", 64, FEATURES, 1)?,
            ],
            lstm: load_lstm(tensors)?,
            output: Conv {
                inputs: HIDDEN,
                taps: 1,
                stride: 1,
                padding: 0,
                weight: load(tensors, "final_conv.weight", &[1, HIDDEN, 1])?,
                bias: load(tensors, "final_conv.bias", &[1])?,
            },
        })
    }

    /// Runs the convolutions of all frames, then the LSTM over all of them.
    fn whole(&self, samples: &[f32]) -> Result<Detection> {
        let begin = Instant::now();
        let frames = frame_count(samples);
        let features: Vec<f32> = (0..frames).flat_map(|index| self.features(samples, index)).collect();

        let begin_lstm = Instant::now();
        let mut workspace = self.lstm.workspace(1)?;
        let mut hidden = vec![0.0; frames * HIDDEN];
        self.lstm.forward(
            &mut workspace,
            Forward::new(Sequence::time_major(&features, frames, 1, FEATURES))
                .output(SequenceMut::time_major(&mut hidden, frames, 1, HIDDEN)),
        )?;
        let lstm = begin_lstm.elapsed();

        let probabilities = hidden.chunks_exact(HIDDEN).map(|hidden| self.probability(hidden)).collect();
        Ok(Detection { probabilities, elapsed: begin.elapsed(), lstm })
    }

    /// Runs the network frame by frame.
    fn stream(&self, samples: &[f32]) -> Result<Detection> {
        let begin = Instant::now();
        let mut lstm = Duration::ZERO;
        let mut state = self.lstm.state(1)?;
        let mut probabilities = Vec::with_capacity(frame_count(samples));
        for index in 0..frame_count(samples) {
            let features = self.features(samples, index);

            let begin_lstm = Instant::now();
            self.lstm.step(&mut state, Matrix::new(&features, 1, FEATURES))?;
            lstm += begin_lstm.elapsed();

            let hidden = state.hidden(0).ok_or("the state has no row")?;
            probabilities.push(self.probability(hidden));
        }
        Ok(Detection { probabilities, elapsed: begin.elapsed(), lstm })
    }

    /// What the LSTM reads about a frame.
    fn features(&self, samples: &[f32], index: usize) -> Vec<f32> {
        let spectrum = self.stft.apply(&padded_frame(samples, index));
        self.encoder.iter().fold(magnitudes(&spectrum), |signal, conv| relu(conv.apply(&signal)))
    }

    /// The probability of speech, from h of the LSTM.
    fn probability(&self, hidden: &[f32]) -> f32 {
        let logit = self.output.apply(&relu(hidden.to_vec()))[0];
        1.0 / (1.0 + (-logit).exp())
    }
}

/// The last frame may be incomplete.
fn frame_count(samples: &[f32]) -> usize {
    samples.len().div_ceil(FRAME)
}

/// A frame after its context and before its mirror image, with zeros where the recording has no samples.
fn padded_frame(samples: &[f32], index: usize) -> [f32; PADDED_FRAME] {
    let mut padded = [0.0; PADDED_FRAME];
    let (heard, mirror) = padded.split_at_mut(CONTEXT + FRAME);
    for (i, to) in heard.iter_mut().enumerate() {
        let position = (index * FRAME + i).checked_sub(CONTEXT);
        *to = position.and_then(|position| samples.get(position)).copied().unwrap_or(0.0);
    }
    for (to, from) in mirror.iter_mut().zip(heard.iter().rev().skip(1)) {
        *to = *from;
    }
    padded
}

/// The magnitudes of complex numbers, given all real parts and then all imaginary parts.
fn magnitudes(spectrum: &[f32]) -> Vec<f32> {
    let (real, imaginary) = spectrum.split_at(spectrum.len() / 2);
    real.iter().zip(imaginary).map(|(re, im)| (re * re + im * im).sqrt()).collect()
}

fn relu(mut values: Vec<f32>) -> Vec<f32> {
    for value in &mut values {
        *value = value.max(0.0);
    }
    values
}

/// A convolution in one dimension; PyTorch's `Conv1d`.
struct Conv {
    inputs: usize,
    taps: usize,
    stride: usize,
    /// Zeros before and after the signal.
    padding: usize,
    /// `[outputs, inputs, taps]`
    weight: Vec<f32>,
    /// `[outputs]`
    bias: Vec<f32>,
}

impl Conv {
    /// A layer of the encoder: three taps, and a zero at both ends.
    fn load(
        tensors: &SafeTensors<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        stride: usize,
    ) -> Result<Self> {
        let taps = 3;
        let weight = load(tensors, &format!("{name}.weight"), &[outputs, inputs, taps])?;
        let bias = load(tensors, &format!("{name}.bias"), &[outputs])?;
        Ok(Conv { inputs, taps, stride, padding: 1, weight, bias })
    }

    /// `[inputs, length]` to `[outputs, positions]`.
    fn apply(&self, signal: &[f32]) -> Vec<f32> {
        let row_len = self.inputs * self.taps;
        let windows = self.windows(signal);
        let mut output = Vec::with_capacity(self.bias.len() * windows.len() / row_len);
        for (row, bias) in self.weight.chunks_exact(row_len).zip(&self.bias) {
            output.extend(windows.chunks_exact(row_len).map(|window| dot(row, window) + bias));
        }
        output
    }

    /// `[positions, inputs, taps]`: for each output position, what a row of the weights is multiplied with.
    fn windows(&self, signal: &[f32]) -> Vec<f32> {
        let padded_len = signal.len() / self.inputs + 2 * self.padding;
        let positions = (padded_len - self.taps) / self.stride + 1;
        let padded = self.padded(signal, padded_len);
        let mut windows = Vec::with_capacity(positions * self.inputs * self.taps);
        for position in 0..positions {
            for channel in padded.chunks_exact(padded_len) {
                windows.extend_from_slice(&channel[position * self.stride..][..self.taps]);
            }
        }
        windows
    }

    /// `[inputs, padded_len]`: the signal with zeros around each channel.
    fn padded(&self, signal: &[f32], padded_len: usize) -> Vec<f32> {
        let len = padded_len - 2 * self.padding;
        let mut padded = vec![0.0; self.inputs * padded_len];
        for (to, from) in padded.chunks_exact_mut(padded_len).zip(signal.chunks_exact(len)) {
            to[self.padding..][..len].copy_from_slice(from);
        }
        padded
    }
}

/// Σ aᵢ·bᵢ. The many partial sums let the compiler use SIMD.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn load_lstm(tensors: &SafeTensors<'_>) -> Result<Lstm> {
    let weight_ih = load(tensors, "lstm_cell.weight_ih", &[4 * HIDDEN, FEATURES])?;
    let weight_hh = load(tensors, "lstm_cell.weight_hh", &[4 * HIDDEN, HIDDEN])?;
    let bias_ih = load(tensors, "lstm_cell.bias_ih", &[4 * HIDDEN])?;
    let bias_hh = load(tensors, "lstm_cell.bias_hh", &[4 * HIDDEN])?;
    let config = LstmConfig::new(FEATURES, HIDDEN).threads(Threads::Serial);
    let weights = LstmWeights::pytorch(&config, &weight_ih, &weight_hh, Some(&bias_ih), Some(&bias_hh))?;
    Ok(Lstm::new(&config, &weights)?)
}

fn load(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let tensor = tensors.tensor(name).map_err(|_| {
        format!("expected the 16 kHz model of Silero VAD v6, found a file without the tensor {name}")
    })?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
        return Err(format!("tensor {name}: expected F32 {shape:?}, found {found}").into());
    }
    let (elements, _) = tensor.data().as_chunks::<4>();
    Ok(elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The samples of a mono recording at 16 kHz, between −1 and 1.
fn read_wav(path: &str) -> Result<Vec<f32>> {
    let named = |error: hound::Error| format!("{path}: {error}");
    let reader = WavReader::open(path).map_err(named)?;
    let spec = reader.spec();
    if spec.sample_rate as usize != SAMPLE_RATE || spec.channels != 1 {
        let found = format!("{} Hz, {} channel(s)", spec.sample_rate, spec.channels);
        return Err(format!("{path}: expected {SAMPLE_RATE} Hz, 1 channel, found {found}").into());
    }
    let samples: hound::Result<Vec<f32>> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect(),
        SampleFormat::Int => {
            let unit = 0.5f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader.into_samples::<i32>().map(|sample| Ok(sample? as f32 * unit)).collect()
        }
    };
    let samples = samples.map_err(named)?;
    if samples.is_empty() { Err(format!("{path}: expected samples, found none").into()) } else { Ok(samples) }
}

/// A stretch of speech, in samples.
struct Segment {
    start: usize,
    end: usize,
}

fn speech_segments(probabilities: &[f32], samples: usize) -> Vec<Segment> {
    let mut segments = unpadded_segments(probabilities, samples);
    // Segments are further apart than two pads, so they never meet.
    for segment in &mut segments {
        segment.start = segment.start.saturating_sub(SPEECH_PAD);
        segment.end = (segment.end + SPEECH_PAD).min(samples);
    }
    segments
}

fn unpadded_segments(probabilities: &[f32], samples: usize) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut push_if_long = |start, end| {
        if end - start > MIN_SPEECH {
            segments.push(Segment { start, end });
        }
    };
    let mut speech_start = None;
    let mut silence_start = None;
    for (index, &probability) in probabilities.iter().enumerate() {
        let now = index * FRAME;
        if probability >= SPEECH_THRESHOLD {
            speech_start.get_or_insert(now);
            silence_start = None;
        } else if probability < SILENCE_THRESHOLD
            && let Some(start) = speech_start
        {
            let end = *silence_start.get_or_insert(now);
            if now - end >= MIN_SILENCE {
                push_if_long(start, end);
                (speech_start, silence_start) = (None, None);
            }
        }
    }
    if let Some(start) = speech_start {
        push_if_long(start, samples);
    }
    segments
}
