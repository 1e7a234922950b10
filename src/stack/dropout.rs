//! Dropout between the layers of a stack, from a generator that is asked for any row of the factors by its place.

use crate::{Error, parallel};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Dropout between the layers of a stack: PyTorch's `dropout`, but reproducible.
///
/// What goes from a layer to the next is multiplied, element by element, with a factor that is 0 with probability p,
/// and 1 / (1 − p) else. The last layer's output is left as it is. (Srivastava et al. 2014; Zaremba, Sutskever and
/// Vinyals 2014.)
///
/// The factor of element u of row b at time t of what layer l yields (all from 0; of both directions, if they are
/// concatenated) depends on the seed and these four numbers alone:
///
/// ```text
/// key    = seed, l, t and b as little-endian integers of 64 bits
/// word   = word u, of 32 bits, of the key stream of ChaCha8 with that key, a nonce of zeros and a block counter from 0
/// factor = 0 if word < p · 2³², else the f32 next to 1 / (1 − p)
/// ```
///
/// So neither threads, nor strides, nor how many rows or steps there are, change it; and a backward pass makes it
/// again. For each pass a new seed.
///
/// ```
/// use quadgate::Dropout;
///
/// let dropout = Dropout::new(0.25, 7)?;
/// let mut factors = [0.0; 1000];
/// dropout.factors(0, [5, 2, 100], &mut factors)?;
/// assert!(factors.iter().all(|&factor| factor == 0.0 || factor == 1.0 / 0.75));
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    probability: f32,
    seed: u64,
}

/// Some rows of what a layer yields, to be multiplied with their factors.
struct DropoutRows<'a> {
    dropout: Dropout,
    layer: usize,
    batch: usize,
    width: usize,
    data: &'a mut [f32],
}

impl parallel::Rows for DropoutRows<'_> {
    fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    fn split(self, at: usize) -> (Self, Self) {
        let (data, other) = self.data.split_at_mut(at * self.width);
        (Self { data, ..self }, Self { data: other, ..self })
    }
}

impl DropoutRows<'_> {
    /// Rows are numbered time after time; these are those from `first` on.
    fn multiply(self, first: usize) {
        let Dropout { probability, seed } = self.dropout;
        let scale = (1.0 / (1.0 - f64::from(probability))) as f32;
        let threshold = f64::from(probability) * 2f64.powi(32);
        for (row, elements) in self.data.chunks_exact_mut(self.width).enumerate() {
            let row = first + row;
            let mut key = [0; 32];
            let numbers = [seed, self.layer as u64, (row / self.batch) as u64, (row % self.batch) as u64];
            for (to, number) in key.chunks_exact_mut(8).zip(numbers) {
                to.copy_from_slice(&number.to_le_bytes());
            }
            let mut words = ChaCha8Rng::from_seed(key);
            for element in elements {
                let is_zero = f64::from(words.next_u32()) < threshold;
                *element *= if is_zero { 0.0 } else { scale };
            }
        }
    }
}

impl Dropout {
    /// Zeroes an element with `probability` (0 ≤ p < 1; 0 is no dropout).
    ///
    /// # Errors
    /// [`Error::Value`] if the probability is not in that range.
    pub fn new(probability: f32, seed: u64) -> Result<Self, Error> {
        if (0.0..1.0).contains(&probability) {
            Ok(Self { probability, seed })
        } else {
            Err(Error::Value { argument: "dropout", expected: "at least 0, less than 1", found: probability })
        }
    }

    /// Writes the factors of what layer number `layer` yields: `[T, B, width]`, dense.
    ///
    /// # Errors
    /// [`Error::Length`] if the slice has another length; [`Error::Overflow`] if none could have the right one.
    pub fn factors(&self, layer: usize, shape: [usize; 3], factors: &mut [f32]) -> Result<(), Error> {
        let expected = shape.into_iter().try_fold(1, usize::checked_mul);
        let expected = expected.ok_or(Error::Overflow { argument: "factors" })?;
        if factors.len() != expected {
            return Err(Error::length("factors", expected, factors.len()));
        }
        factors.fill(1.0);
        self.multiply(layer, 0, shape[1], shape[2], factors, 1);
        Ok(())
    }

    /// Multiplies rows of what layer number `layer` yields, dense from time `first_time` on, with their factors; on so
    /// many threads.
    pub(super) fn multiply(
        self,
        layer: usize,
        first_time: usize,
        batch: usize,
        width: usize,
        data: &mut [f32],
        threads: usize,
    ) {
        if self.probability == 0.0 || data.is_empty() {
            return;
        }
        let work = DropoutRows { dropout: self, layer, batch, width, data };
        let pieces = threads.min(parallel::Rows::rows(&work));
        parallel::run(work, pieces, &|first, rows: DropoutRows<'_>| {
            rows.multiply(first_time * batch + first)
        });
    }
}
