//! Packed weights as bytes, behind a header that says what they are.
//!
//! ```text
//! 12 words of 64 bits, little-endian:   the header
//! all packed numbers, f32, little-endian
//! ```
//!
//! The layout of the numbers is that of an instruction set and of this version of the crate, so what was stored is read
//! on the same level alone, and refused elsewhere. For files that travel, there are parameters.

use crate::cell::kind::{CellKind, ResetGate};
use crate::config::LstmConfig;
use crate::error::Error;
use crate::fingerprint;
use crate::lstm::Lstm;
use quadgate_kernels::{Coupling, Isa};

/// Changes with the layout of packed weights, and with the header.
const VERSION: u64 = 1;

const WORD: usize = size_of::<u64>();

/// What is said of packed weights before them, and then the checksum of that and of them.
const HEADER: [&str; 12] = [
    "magic",
    "version",
    "level",
    "cell",
    "options",
    "coupling",
    "training",
    "input size",
    "hidden size",
    "output size",
    "length",
    "checksum",
];

/// The number of a level in a header.
fn level(isa: Isa) -> u64 {
    Isa::ALL.iter().position(|&other| other == isa).unwrap_or(Isa::ALL.len()) as u64
}

/// An entry of a header as a text.
fn described(property: &str, value: u64) -> String {
    let isa = Isa::ALL.get(value as usize).filter(|_| property == "level");
    isa.map_or_else(|| value.to_string(), |isa| isa.name().to_owned())
}

/// The checksum of a header without its own, and of what follows.
fn checksum(header: &[u8], numbers: &[u8]) -> u64 {
    [header, numbers].into_iter().flat_map(|bytes| bytes.chunks(WORD)).fold(
        fingerprint::EMPTY,
        |sum, bytes| {
            let mut word = [0; WORD];
            word[..bytes.len()].copy_from_slice(bytes);
            fingerprint::with(sum, u64::from_le_bytes(word))
        },
    )
}

impl Lstm {
    /// Bytes that [`Lstm::save_packed`] writes.
    pub fn saved_packed_len(&self) -> usize {
        HEADER.len() * WORD + self.weights.stored_len()
    }

    /// Writes the packed weights to bytes, as they lie in memory: what [`Lstm::from_packed`] makes a layer of without
    /// packing anything, on the same instruction set and with the same version of their layout.
    ///
    /// ```
    /// use quadgate::{Lstm, LstmConfig, LstmWeights};
    ///
    /// let config = LstmConfig::new(2, 3);
    /// let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[0.1; 24], &[0.2; 36], None, None)?)?;
    /// let mut bytes = vec![0; lstm.saved_packed_len()];
    /// lstm.save_packed(&mut bytes)?;
    /// // To a file, and later from a file that is read or mapped:
    /// let again = Lstm::from_packed(&config, &bytes)?;
    /// # let mut parameters = [vec![0.0; 72], vec![1.0; 72]];
    /// # for (lstm, parameters) in [lstm, again].iter().zip(&mut parameters) {
    /// #     lstm.read_parameters(parameters)?;
    /// # }
    /// # assert_eq!(parameters[0], parameters[1]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// For other machines, and for other versions, save [parameters](Lstm::read_parameters).
    ///
    /// # Errors
    /// [`Error::Length`] if there are more or fewer than [`Lstm::saved_packed_len`] bytes.
    pub fn save_packed(&self, bytes: &mut [u8]) -> Result<(), Error> {
        let expected = self.saved_packed_len();
        if bytes.len() != expected {
            return Err(Error::length("bytes", expected, bytes.len()));
        }
        let (header, numbers) = bytes.split_at_mut(HEADER.len() * WORD);
        self.weights.store(numbers);
        let (said, sum) = header.split_at_mut((HEADER.len() - 1) * WORD);
        for (to, word) in said.chunks_exact_mut(WORD).zip(self.header()) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        sum.copy_from_slice(&checksum(said, numbers).to_le_bytes());
        Ok(())
    }

    /// A layer of packed weights that [`Lstm::save_packed`] wrote: of a layer with these sizes, options of weights,
    /// `training()` and instruction set. Bytes may lie anywhere, such as in a mapped file; they are copied.
    ///
    /// # Errors
    /// [`Error::StoredWeights`] if the bytes are no packed weights, others, or damaged; as for [`Lstm::new`] where
    /// `config` makes no sense or asks for an instruction set that cannot be had.
    pub fn from_packed(config: &LstmConfig, bytes: &[u8]) -> Result<Self, Error> {
        config.check()?;
        if config.hidden_size() == 0 {
            return Err(Error::Zero { argument: "hidden size" });
        }
        // Sizes that overflow are refused here, as they are where weights are made.
        config.parameters()?;
        let mut lstm = Self::empty(config)?;
        let refused = |property, expected, found| {
            Err(Error::StoredWeights { argument: "bytes", property, expected, found })
        };
        let Some((header, numbers)) = bytes.split_at_checked(HEADER.len() * WORD) else {
            let expected = format!("at least {} bytes", HEADER.len() * WORD);
            return refused("length", expected, bytes.len().to_string());
        };
        let (said, sum) = header.split_at((HEADER.len() - 1) * WORD);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        for ((property, expected), found) in
            HEADER.into_iter().zip(lstm.header()).zip(said.chunks_exact(WORD))
        {
            if word(found) != expected {
                return refused(property, described(property, expected), described(property, word(found)));
            }
        }
        let (expected, found) = (lstm.weights.stored_len(), numbers.len());
        if expected != found {
            return refused("length", expected.to_string(), found.to_string());
        }
        let (expected, found) = (checksum(said, numbers), word(sum));
        if expected != found {
            return refused("checksum", expected.to_string(), found.to_string());
        }
        lstm.replace_weights(|packed, _| packed.load(numbers))?;
        Ok(lstm)
    }

    /// What is said of the weights, in the order of [`HEADER`].
    fn header(&self) -> [u64; HEADER.len() - 1] {
        let (shape, options) = (self.shape(), self.config.options());
        let cell = match shape.kind {
            CellKind::Lstm => 0,
            CellKind::Gru(ResetGate::AfterProduct) => 1,
            CellKind::Gru(ResetGate::BeforeProduct) => 2,
            CellKind::Rnn(..) => 3,
        };
        let coupling = match options.coupling {
            Coupling::Independent => 0,
            Coupling::ForgetFromInput => 1,
            Coupling::InputFromForget => 2,
            _ => u64::MAX,
        };
        let has = [
            options.peepholes,
            options.normalization.is_some(),
            options.projection.is_some(),
            options.projection_bias,
        ];
        let flags = has.iter().rev().fold(0, |flags, &has| 2 * flags + u64::from(has));
        [
            u64::from_le_bytes(*b"quadgate"),
            VERSION,
            level(self.isa()),
            cell,
            flags,
            coupling,
            u64::from(self.config.is_for_training()),
            shape.inputs as u64,
            shape.units as u64,
            shape.outputs as u64,
            self.weights.stored_len() as u64,
        ]
    }
}
