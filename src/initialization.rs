//! Parameters to begin training with.

use crate::cell::kind::CellKind;
use crate::config::{LstmConfig, ParameterRanges};
use crate::error::Error;
use crate::memory::buffer::filled;
use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// How the numbers of a tensor are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// All are zero.
    Zero,
    /// Uniform within ±1/√H: PyTorch.
    UniformByUnits,
    /// Uniform within ±√(6 / (inputs + outputs)), where the outputs are those of all gates together. (Glorot and Bengio
    /// 2010.)
    Glorot,
    /// Columns of length 1 at right angles, or rows where there are fewer of them; of all gates together. (Saxe,
    /// McClelland and Ganguli 2014.) Of a vector, the same as uniform within ±1/√H.
    Orthogonal,
}

/// How the parameters of a layer are drawn: the same for a seed on every machine.
///
/// Scales of a layer normalization begin at 1, peepholes as biases do.
///
/// ```
/// use quadgate::{Initialization, Lstm, LstmConfig, LstmWeights};
///
/// let config = LstmConfig::new(40, 100).training();
/// let mut parameters = config.initial_parameters(&Initialization::KERAS, 7)?;
/// let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters)?)?;
/// assert_eq!(parameters[config.parameters()?.bias][100], 1.0); // of the forget gate
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Initialization {
    /// Of W and of a projection.
    pub input: Distribution,
    /// Of R.
    pub recurrent: Distribution,
    /// Of the biases and peepholes.
    pub bias: Distribution,
    /// How many biases are added up, each drawn by itself.
    pub biases: usize,
    /// What is added to the bias of an LSTM's forget gate, so that it begins open. (Gers, Schmidhuber and Cummins 2000;
    /// Jozefowicz, Zaremba and Sutskever 2015.)
    pub forget_bias: f32,
}

impl Initialization {
    /// As `torch.nn.LSTM`: all uniform within ±1/√H, two biases.
    pub const PYTORCH: Self = Self {
        input: Distribution::UniformByUnits,
        recurrent: Distribution::UniformByUnits,
        bias: Distribution::UniformByUnits,
        biases: 2,
        forget_bias: 0.0,
    };
    /// As `keras.layers.LSTM`: Glorot for W, orthogonal for R, biases of zero, and 1 for the forget gate
    /// (`unit_forget_bias`).
    pub const KERAS: Self = Self {
        input: Distribution::Glorot,
        recurrent: Distribution::Orthogonal,
        bias: Distribution::Zero,
        biases: 1,
        forget_bias: 1.0,
    };
}

impl LstmConfig {
    /// Parameters to begin training with, laid out as [`LstmConfig::parameters`] says.
    ///
    /// # Errors
    /// [`Error::Zero`] if H is zero; [`Error::Overflow`] or [`Error::OutOfMemory`] if there are too many.
    pub fn initial_parameters(&self, initialization: &Initialization, seed: u64) -> Result<Vec<f32>, Error> {
        let mut parameters = filled("parameters", self.parameters()?.total(), 0.0)?;
        self.initialize(initialization, [seed, 0], &mut parameters)?;
        Ok(parameters)
    }

    /// Draws parameters; `key` is a seed and the number of the layer.
    pub(crate) fn initialize(
        &self,
        initialization: &Initialization,
        [seed, layer]: [u64; 2],
        parameters: &mut [f32],
    ) -> Result<(), Error> {
        let (units, outputs) = (self.hidden_size(), self.output_size());
        if units == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        let ranges = self.parameters()?;
        let ParameterRanges { weight_ih, weight_hh, bias, peepholes, layer_normalization, .. } = ranges;
        let mut tensor = 0u64;
        let mut draw = |range, distribution, columns| {
            let source = &mut Source::new([seed, layer, tensor]);
            tensor += 1;
            source.add(distribution, &mut parameters[range], columns, units)
        };
        draw(weight_ih, initialization.input, self.input_size())?;
        draw(weight_hh, initialization.recurrent, outputs)?;
        draw(ranges.projection, initialization.input, units)?;
        draw(ranges.projection_bias, initialization.bias, 1)?;
        draw(peepholes, initialization.bias, 1)?;
        for _ in 0..initialization.biases {
            draw(bias.clone(), initialization.bias, 1)?;
        }
        if self.kind() == CellKind::Lstm {
            let forget = &mut parameters[bias][units..2 * units];
            forget.iter_mut().for_each(|bias| *bias += initialization.forget_bias);
        }
        parameters[layer_normalization].fill(1.0);
        Ok(())
    }
}

/// Random numbers from ChaCha8, of which only operations are made that IEEE 754 rounds exactly.
struct Source(ChaCha8Rng);

impl Source {
    fn new(numbers: [u64; 3]) -> Self {
        let mut key = [0; 32];
        for (to, number) in key.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform from 0 to 1.
    fn uniform(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / f64::from(u32::MAX)
    }

    /// Nearly normal: the sum of twelve uniform numbers has the variance 1. A logarithm would differ from machine to
    /// machine.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Adds numbers to a matrix with rows of `columns` elements.
    fn add(
        &mut self,
        distribution: Distribution,
        to: &mut [f32],
        columns: usize,
        units: usize,
    ) -> Result<(), Error> {
        let rows = to.len() / columns.max(1);
        let by_units = 1.0 / (units as f64).sqrt();
        let limit = match distribution {
            Distribution::Orthogonal if columns > 1 => return self.add_orthogonal(to, [rows, columns]),
            Distribution::Zero => return Ok(()),
            Distribution::UniformByUnits | Distribution::Orthogonal => by_units,
            Distribution::Glorot => (6.0 / (rows as f64 + columns as f64)).sqrt(),
        };
        to.iter_mut().for_each(|to| *to += ((self.uniform() * 2.0 - 1.0) * limit) as f32);
        Ok(())
    }

    /// Adds an orthogonal matrix: Gram and Schmidt's vectors, each made orthogonal twice.
    fn add_orthogonal(&mut self, to: &mut [f32], [rows, columns]: [usize; 2]) -> Result<(), Error> {
        let (count, len) = (rows.min(columns), rows.max(columns));
        let mut vectors = filled("parameters", count * len, 0.0f64)?;
        for number in 0..count {
            let (before, rest) = vectors.split_at_mut(number * len);
            let vector = &mut rest[..len];
            vector.iter_mut().for_each(|x| *x = self.normal());
            for _ in 0..2 {
                for other in before.chunks_exact(len) {
                    let product = dot(other, vector);
                    vector.iter_mut().zip(other).for_each(|(x, other)| *x -= product * other);
                }
            }
            let length = dot(vector, vector).sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
        }
        for row in 0..rows {
            for column in 0..columns {
                let (number, at) = if rows >= columns { (column, row) } else { (row, column) };
                to[row * columns + column] += vectors[number * len + at] as f32;
            }
        }
        Ok(())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
