//! PyTorch's packed sequences: rows of different lengths, step by step without padding.

use crate::error::Error;

/// How many rows run each step: `batch_sizes` of PyTorch's `PackedSequence`, which descend.
///
/// Its `data`, `[Σ batch_sizes, features]`, has the rows of the first step, then those of the second, and so on; the
/// longest row is the first of each. The layers of this crate read padded sequences and
/// [lengths](crate::Forward::lengths); going there and back is one copy of x and one of h, little beside the products
/// of a step.
///
/// ```
/// use quadgate::BatchSizes;
///
/// // Rows of 3, 2 and 2 steps, of one feature.
/// let sizes = BatchSizes::new(&[3, 3, 1])?;
/// let data = [1.0, 10.0, 100.0, 2.0, 20.0, 200.0, 3.0];
/// let (mut x, mut lengths) = ([f32::NAN; 9], [0; 3]);
/// sizes.unpack(&data, 1, &mut x)?;
/// sizes.lengths(&mut lengths)?;
/// assert_eq!((x, lengths), ([1.0, 10.0, 100.0, 2.0, 20.0, 200.0, 3.0, 0.0, 0.0], [3, 2, 2]));
/// let mut back = [0.0; 7];
/// sizes.pack(&x, 1, &mut back)?;
/// assert_eq!(back, data);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[doc(alias = "PackedSequence")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSizes<'a> {
    sizes: &'a [i64],
    batch: usize,
    rows: usize,
}

impl<'a> BatchSizes<'a> {
    /// Checks the sizes: none is negative, and they do not ascend.
    ///
    /// # Errors
    /// [`Error::NegativeLength`] names the first step whose size is negative, [`Error::Dimension`] one that has more
    /// rows than the step before it; [`Error::Overflow`].
    pub fn new(sizes: &'a [i64]) -> Result<Self, Error> {
        let mut rows = 0usize;
        let mut before = None;
        for (step, &size) in sizes.iter().enumerate() {
            let negative = Error::NegativeLength { argument: "batch_sizes", row: step };
            let size = usize::try_from(size).map_err(|_| negative)?;
            let most = before.unwrap_or(size);
            if size > most {
                return Err(Error::Dimension {
                    argument: "batch_sizes",
                    dimension: "rows of a step",
                    expected: most,
                    found: size,
                });
            }
            before = Some(size);
            rows = rows.checked_add(size).ok_or(Error::Overflow { argument: "batch_sizes" })?;
        }
        let batch = sizes.first().map_or(0, |&size| size as usize);
        Ok(Self { sizes, batch, rows })
    }

    /// T
    pub fn steps(&self) -> usize {
        self.sizes.len()
    }

    /// B
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Rows of the packed data: the sum of all lengths.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the length of each row, `[B]`, in descending order.
    ///
    /// # Errors
    /// [`Error::Length`] if the slice has another length.
    pub fn lengths(&self, lengths: &mut [usize]) -> Result<(), Error> {
        check("lengths", Some(self.batch), lengths.len())?;
        for (row, length) in lengths.iter_mut().enumerate() {
            *length = self.sizes.partition_point(|&size| size as usize > row);
        }
        Ok(())
    }

    /// Copies packed data to a padded sequence, `[T, B, features]`; zeros past the end of each row.
    ///
    /// # Errors
    /// [`Error::Length`] names the slice whose length is wrong; [`Error::Overflow`].
    pub fn unpack(&self, data: &[f32], features: usize, padded: &mut [f32]) -> Result<(), Error> {
        self.check(data.len(), features, padded.len())?;
        let mut data = data;
        // Without features there is nothing to copy, and chunks must not be empty.
        let steps = padded.chunks_exact_mut((self.batch * features).max(1));
        for (step, &size) in steps.zip(self.sizes) {
            let (from, rest) = data.split_at(size as usize * features);
            let (to, past) = step.split_at_mut(from.len());
            to.copy_from_slice(from);
            past.fill(0.0);
            data = rest;
        }
        Ok(())
    }

    /// Copies a padded sequence, `[T, B, features]`, to packed data.
    ///
    /// # Errors
    /// As for [`BatchSizes::unpack`].
    pub fn pack(&self, padded: &[f32], features: usize, data: &mut [f32]) -> Result<(), Error> {
        self.check(data.len(), features, padded.len())?;
        let mut data = data;
        let steps = padded.chunks_exact((self.batch * features).max(1));
        for (step, &size) in steps.zip(self.sizes) {
            let (to, rest) = data.split_at_mut(size as usize * features);
            to.copy_from_slice(&step[..to.len()]);
            data = rest;
        }
        Ok(())
    }

    fn check(&self, data: usize, features: usize, padded: usize) -> Result<(), Error> {
        check("data", self.rows.checked_mul(features), data)?;
        let len = self.steps().checked_mul(self.batch).and_then(|rows| rows.checked_mul(features));
        check("padded", len, padded)
    }
}

fn check(argument: &'static str, expected: Option<usize>, found: usize) -> Result<(), Error> {
    let expected = expected.ok_or(Error::Overflow { argument })?;
    if expected == found { Ok(()) } else { Err(Error::length(argument, expected, found)) }
}
