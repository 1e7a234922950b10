//! Takes the noise out of a recording, by the network of RNNoise (Valin 2018, BSD license).
//!
//! ```text
//! cargo run --release --example denoise                           # a second of noisy speech that lies beside this file
//! cargo run --release --example denoise -- noisy.wav clean.wav    # a recording of your own
//! ```
//!
//! The WAV file must be mono at 48 kHz, its samples 16-bit integers.
//!
//! The three layers of gated recurrent units run on quadgate. The crate `nnnoiseless`, the RNNoise of the Rust world,
//! finds the features of the sound, and runs the same network with code of its own, beside which the result is held: it
//! rounds sigmoid and tanh to five digits. Its weights are bytes; here they are floats.
//!
//! # What the network does
//!
//! ```text
//! for each frame of 480 samples (10 ms), features x:           22 of the spectrum, 18 of how it changes, 2 of the pitch
//!     d = tanh(dense(x))                                       24
//!     v = GRU(d)                                               24
//!     probability of speech = σ(dense(v))
//!     n = GRU(d, v, x)                                         48
//!     g = GRU(v, n, x)                                         96
//!     gains = σ(dense(g))                                      22, for bands of the spectrum
//! ```
//!
//! The reset gate comes before the product, as in Cho et al. 2014, and relu takes the place of tanh.

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use nnnoiseless::{DenoiseFeatures, DenoiseState};
use quadgate::{
    ActivationFunction, Gru, GruActivations, GruConfig, GruWeights, Matrix, ResetGate, State, Threads,
};
use std::error::Error;
use std::f64::consts::PI;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SAMPLE_RATE: u32 = 48_000;
/// Samples that each step hears for the first time.
pub(crate) const FRAME: usize = DenoiseState::FRAME_SIZE;
const WINDOW: usize = 2 * FRAME;
pub(crate) const BANDS: usize = 22;
/// Where bands have their middles, in multiples of 200 Hz, which is four bins of the spectrum.
const MIDDLES: [usize; BANDS] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40, 48, 60, 78, 100];
const BINS_PER_MIDDLE: usize = 4;
/// A band's gain falls to this part of the one before at most, from frame to frame.
const DECAY: f32 = 0.6;

const WEIGHTS: &[u8] = include_bytes!("data/rnnoise.weights");
const RECORDING: &[u8] = include_bytes!("data/rnnoise.raw");

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("denoise: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (samples, to) = match &files[..] {
        [] => {
            std::fs::create_dir_all("target")?;
            (recording(), "target/denoised.wav")
        }
        [from, to] => (read_wav(Path::new(from))?, to.as_str()),
        _ => return Err("usage: denoise [noisy.wav clean.wav]".into()),
    };
    let mut denoiser = Denoiser::new(Network::load()?)?;
    let mut original = DenoiseState::new();
    let (mut clean, mut by_original) = (Vec::new(), Vec::new());
    let (mut speech_frames, mut largest_difference) = (0, 0.0f32);
    for frame in samples.chunks_exact(FRAME) {
        let mut output = [0.0; FRAME];
        let speech = denoiser.frame(frame, &mut output)?;
        clean.extend(output);
        largest_difference =
            largest_difference.max((speech - original.process_frame(&mut output, frame)).abs());
        by_original.extend(output);
        speech_frames += usize::from(speech > 0.5);
    }
    let frames = clean.len() / FRAME;
    if frames < 2 {
        return Err("there are less than two frames of 480 samples".into());
    }
    write_wav(Path::new(to), &clean[FRAME..])?;

    let per_frame = denoiser.time_in_layers.as_secs_f64() * 1e6 / frames as f64;
    let is_speech = 100.0 * speech_frames as f64 / frames as f64;
    println!(
        "{frames} frames of 10 ms, {is_speech:.0} % of them speech; the three layers take {per_frame:.1} µs of each"
    );
    println!("Loudness: {:.1} dB before, {:.1} dB after", decibels(&samples), decibels(&clean));
    let difference: Vec<f32> = clean.iter().zip(&by_original).map(|(a, b)| a - b).collect();
    println!(
        "From nnnoiseless the probabilities of speech differ by at most {largest_difference:.0e}, the sound by {:.0} dB",
        decibels(&difference) - decibels(&by_original)
    );
    println!("Written to {to}");
    Ok(())
}

/// A second of noisy speech at 48 kHz, the recording that nnnoiseless tests itself with.
pub(crate) fn recording() -> Vec<f32> {
    RECORDING.as_chunks().0.iter().map(|&bytes| f32::from(i16::from_le_bytes(bytes))).collect()
}

/// Mean energy of samples of 16 bits, in dB of the most that there can be.
fn decibels(samples: &[f32]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| (f64::from(*sample) / 32768.0).powi(2)).sum();
    10.0 * (energy / samples.len() as f64).log10()
}

fn read_wav(path: &Path) -> Result<Vec<f32>> {
    let mut reader = WavReader::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let WavSpec { channels, sample_rate, bits_per_sample, sample_format } = reader.spec();
    if (channels, sample_rate, bits_per_sample, sample_format) != (1, SAMPLE_RATE, 16, SampleFormat::Int) {
        let words = "is not mono at 48 kHz with samples of 16 bits";
        return Err(format!(
            "{} {words}: ffmpeg -i FILE -ac 1 -ar 48000 noisy.wav makes such a file",
            path.display()
        )
        .into());
    }
    Ok(reader.samples::<i16>().map(|sample| sample.map(f32::from)).collect::<std::result::Result<_, _>>()?)
}

fn write_wav(path: &Path, samples: &[f32]) -> Result<()> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(path, spec).map_err(|error| format!("{}: {error}", path.display()))?;
    samples.iter().try_for_each(|&sample| writer.write_sample(sample.round() as i16))?;
    Ok(writer.finalize()?)
}

/// Layers as they lie in the file: inputs, units, which activation, W `[X, U]`, for a gated recurrent unit `[X, 3U]`
/// and R `[H, 3H]` with gates z, r, n, then the bias. Each number is a signed byte, each weight a 256th of it.
struct File<'a>(&'a [u8]);

impl File<'_> {
    fn bytes(&mut self, count: usize) -> Result<&[u8]> {
        let (first, rest) = self.0.split_at_checked(count).ok_or("the file of weights is too short")?;
        self.0 = rest;
        Ok(first)
    }

    fn weights(&mut self, count: usize) -> Result<Vec<f32>> {
        Ok(self.bytes(count)?.iter().map(|&byte| f32::from(byte as i8) / 256.0).collect())
    }

    /// Inputs, units and activation.
    fn head(&mut self) -> Result<(usize, usize, ActivationFunction)> {
        let &[inputs, units, activation] = self.bytes(3)? else { return Err("no layer".into()) };
        let activations = [ActivationFunction::Tanh, ActivationFunction::Sigmoid, ActivationFunction::Relu];
        let activation = activations.get(usize::from(activation)).ok_or("an unknown activation")?;
        Ok((inputs.into(), units.into(), *activation))
    }

    fn dense(&mut self) -> Result<Dense> {
        let (inputs, units, activation) = self.head()?;
        Ok(Dense { weights: self.weights(inputs * units)?, bias: self.weights(units)?, activation })
    }

    fn gru(&mut self) -> Result<GruTensors> {
        let (inputs, units, candidate) = self.head()?;
        let [input, recurrent, bias] =
            [inputs * 3 * units, units * 3 * units, 3 * units].map(|n| self.weights(n));
        Ok(GruTensors { inputs, units, candidate, input: input?, recurrent: recurrent?, bias: bias? })
    }
}

/// A layer of gated recurrent units as it lies in the file.
pub(crate) struct GruTensors {
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) candidate: ActivationFunction,
    pub(crate) input: Vec<f32>,
    pub(crate) recurrent: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl GruTensors {
    /// Keras' layout, in which RNNoise was trained.
    pub(crate) fn layer(&self) -> Result<Gru> {
        let activations = GruActivations { candidate: self.candidate, ..GruActivations::default() };
        let config = GruConfig::new(self.inputs, self.units)
            .reset_gate(ResetGate::BeforeProduct)
            .activations(activations)
            .threads(Threads::Serial);
        let weights = GruWeights::keras(&config, &self.input, &self.recurrent, Some(&self.bias))?;
        Ok(Gru::new(&config, &weights)?)
    }
}

pub(crate) struct Dense {
    /// `[X, U]`
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: ActivationFunction,
}

impl Dense {
    pub(crate) fn compute(&self, input: &[f32]) -> Vec<f32> {
        let mut sums = self.bias.clone();
        for (row, input) in self.weights.chunks(self.bias.len()).zip(input) {
            sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight * input);
        }
        let function = |sum: f32| match self.activation {
            ActivationFunction::Tanh => sum.tanh(),
            _ => 1.0 / (1.0 + (-sum).exp()),
        };
        sums.into_iter().map(function).collect()
    }
}

pub(crate) struct Network {
    pub(crate) input: Dense,
    /// Of speech, of noise, of gains.
    pub(crate) layers: [GruTensors; 3],
    pub(crate) gains: Dense,
    pub(crate) speech: Dense,
}

impl Network {
    pub(crate) fn load() -> Result<Self> {
        let mut file = File(WEIGHTS);
        let input = file.dense()?;
        let layers = [file.gru()?, file.gru()?, file.gru()?];
        let (gains, speech) = (file.dense()?, file.dense()?);
        if !file.0.is_empty() {
            return Err("the file of weights is too long".into());
        }
        Ok(Self { input, layers, gains, speech })
    }
}

/// Takes the noise out of a stream of frames.
pub(crate) struct Denoiser {
    network: Network,
    layers: [Gru; 3],
    states: [State; 3],
    features: DenoiseFeatures,
    last_gains: [f32; BANDS],
    synthesis: Synthesis,
    time_in_layers: Duration,
}

impl Denoiser {
    pub(crate) fn new(network: Network) -> Result<Self> {
        let [speech, noise, gains] = network.layers.each_ref().map(GruTensors::layer);
        let layers = [speech?, noise?, gains?];
        let [speech, noise, gains] = layers.each_ref().map(|layer| layer.state(1));
        Ok(Self {
            network,
            layers,
            states: [speech?, noise?, gains?],
            features: DenoiseFeatures::new(),
            last_gains: [0.0; BANDS],
            synthesis: Synthesis::new(),
            time_in_layers: Duration::ZERO,
        })
    }

    /// The frame without its noise, a frame late, and the probability that it is speech.
    pub(crate) fn frame(&mut self, input: &[f32], output: &mut [f32; FRAME]) -> Result<f32> {
        self.features.shift_and_filter_input(input);
        let is_silent = self.features.compute_frame_features();
        let mut speech = 0.0;
        let mut spectrum = [1.0; FRAME + 1];
        if !is_silent {
            let (gains, probability) = self.step()?;
            speech = probability;
            self.features.pitch_filter(&gains);
            for (last, gain) in self.last_gains.iter_mut().zip(gains) {
                *last = gain.max(DECAY * *last);
            }
            spectrum = between_bands(&self.last_gains);
        }
        let bins: Vec<[f32; 2]> =
            self.features.x.iter().zip(spectrum).map(|(bin, gain)| [gain * bin.re, gain * bin.im]).collect();
        self.synthesis.frame(&bins, output);
        Ok(speech)
    }

    /// A step of the network: gains, and the probability of speech.
    fn step(&mut self) -> Result<([f32; BANDS], f32)> {
        let features = self.features.features();
        let dense = self.network.input.compute(features);
        let start = Instant::now();
        let [of_speech, of_noise, of_gains] = &mut self.states;
        let [speech_layer, noise_layer, gains_layer] = &self.layers;
        let step = |layer: &Gru, state: &mut State, parts: &[&[f32]]| -> Result<Vec<f32>> {
            let input = parts.concat();
            layer.step(state, Matrix::new(&input, 1, input.len()))?;
            Ok(state.hidden(0).ok_or("one row")?.to_vec())
        };
        let speech = step(speech_layer, of_speech, &[&dense])?;
        let noise = step(noise_layer, of_noise, &[&dense, &speech, features])?;
        let hidden = step(gains_layer, of_gains, &[&speech, &noise, features])?;
        self.time_in_layers += start.elapsed();
        let gains = self.network.gains.compute(&hidden).try_into().map_err(|_| "as many gains as bands")?;
        Ok((gains, self.network.speech.compute(&speech)[0]))
    }
}

/// The gain of each bin of the spectrum, on straight lines between the middles of bands; nothing above 20 kHz.
fn between_bands(gains: &[f32; BANDS]) -> [f32; FRAME + 1] {
    let mut spectrum = [0.0; FRAME + 1];
    for (middles, gains) in MIDDLES.windows(2).zip(gains.windows(2)) {
        let [first, last] = [middles[0], middles[1]].map(|middle| middle * BINS_PER_MIDDLE);
        for bin in first..last {
            let part = (bin - first) as f32 / (last - first) as f32;
            spectrum[bin] = (1.0 - part) * gains[0] + part * gains[1];
        }
    }
    spectrum
}

/// From spectra to samples: windows that overlap by half.
struct Synthesis {
    window: Vec<f32>,
    /// cos 2πi/960
    cosine: Vec<f32>,
    /// The second half of the last window.
    tail: [f32; FRAME],
}

impl Synthesis {
    fn new() -> Self {
        let half = |i: usize| ((i.min(WINDOW - 1 - i) as f64 + 0.5) / FRAME as f64 * PI / 2.0).sin();
        let window = (0..WINDOW).map(|i| (PI / 2.0 * half(i) * half(i)).sin() as f32).collect();
        let cosine = (0..WINDOW).map(|i| (2.0 * PI * i as f64 / WINDOW as f64).cos() as f32).collect();
        Self { window, cosine, tail: [0.0; FRAME] }
    }

    /// The inverse of the Fourier transform, by its definition: a frame of 10 ms takes less than one.
    fn frame(&mut self, bins: &[[f32; 2]], output: &mut [f32; FRAME]) {
        let mut samples = [0.0; WINDOW];
        for (n, sample) in samples.iter_mut().enumerate() {
            let mut sum = 0.0;
            for (k, [real, imaginary]) in bins.iter().enumerate() {
                let cosine = self.cosine[k * n % WINDOW];
                // sin x = cos(x − π/2)
                let sine = self.cosine[(k * n + WINDOW * 3 / 4) % WINDOW];
                sum += (real * cosine - imaginary * sine) * if k % FRAME == 0 { 0.5 } else { 1.0 };
            }
            *sample = sum * self.window[n];
        }
        let (now, later) = samples.split_at(FRAME);
        for (i, sample) in output.iter_mut().enumerate() {
            *sample = now[i] + self.tail[i];
        }
        self.tail.copy_from_slice(later);
    }
}
