//! What can be wrong with an argument.

use quadgate_kernels::{Isa, ViewError};
use std::fmt;

/// Why a call was refused. Nothing has been written when one of these comes back.
///
/// Variants and their fields may get company: match with `..`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A size that must be at least one is zero.
    #[non_exhaustive]
    Zero {
        /// The argument.
        argument: &'static str,
    },
    /// A dimension is not what the layer or another argument demands.
    #[non_exhaustive]
    Dimension {
        /// The argument.
        argument: &'static str,
        /// Which of its dimensions.
        dimension: &'static str,
        /// The size that it must have.
        expected: usize,
        /// The size that it has.
        found: usize,
    },
    /// A dense slice or a workspace has another number of elements than needed.
    #[non_exhaustive]
    Length {
        /// The argument.
        argument: &'static str,
        /// Elements that it should have.
        expected: usize,
        /// Elements that it has.
        found: usize,
        /// What has as many, and what to do then; of tensors of weights.
        hint: Option<&'static str>,
    },
    /// A list has more or fewer entries than there are things that each need one.
    #[non_exhaustive]
    Count {
        /// The argument.
        argument: &'static str,
        /// What each needs one.
        each: &'static str,
        /// How many there are.
        expected: usize,
        /// Entries that there are.
        found: usize,
    },
    /// Something is wrong with the configuration of one of the layers of a stack.
    #[non_exhaustive]
    Layer {
        /// The number of the layer, from 0.
        index: usize,
        /// What is wrong.
        error: Box<Error>,
    },
    /// Something is wrong with what is of one of the directed layers of a stack.
    #[non_exhaustive]
    DirectedLayer {
        /// The number of the directed layer: l0, l0_reverse, l1, and so on.
        index: usize,
        /// What is wrong.
        error: Box<Error>,
    },
    /// A strided slice ends before the last element of its shape.
    #[non_exhaustive]
    TooShort {
        /// The argument.
        argument: &'static str,
        /// Elements that shape and strides reach.
        expected: usize,
        /// Elements in the slice.
        found: usize,
    },
    /// Rows to be written would share elements, or interleave in a way that is not supported.
    #[non_exhaustive]
    Overlap {
        /// The argument.
        argument: &'static str,
        /// Elements in a row: the least stride that could be right.
        expected: usize,
        /// The strides that came, over time (0 for a matrix) and over the batch.
        found: [usize; 2],
    },
    /// A size is too large for this machine's `usize`, or more memory than can be addressed.
    #[non_exhaustive]
    Overflow {
        /// The argument.
        argument: &'static str,
    },
    /// There is no memory for a workspace, a state, a tape or the weights of a layer.
    #[non_exhaustive]
    OutOfMemory {
        /// The argument that makes it so large.
        argument: &'static str,
        /// Bytes of the buffer that could not be had.
        bytes: usize,
    },
    /// Something is not there that must be: a tensor that the configuration asks for, or room for one that is exported.
    #[non_exhaustive]
    Missing {
        /// What is missing.
        argument: &'static str,
    },
    /// Something is there that the configuration does not ask for.
    #[non_exhaustive]
    Unexpected {
        /// What there is.
        argument: &'static str,
    },
    /// Something was demanded that cannot be had together with something else.
    #[non_exhaustive]
    Unsupported {
        /// What was demanded.
        argument: &'static str,
        /// What rules it out.
        because: &'static str,
    },
    /// A number is outside what is allowed.
    #[non_exhaustive]
    Value {
        /// The argument.
        argument: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What came.
        found: f32,
    },
    /// A gate order that does not name each gate once.
    #[non_exhaustive]
    GateOrder {
        /// The gate that is missing.
        missing: &'static str,
    },
    /// A workspace or state was made for a layer of another width or for a smaller batch.
    #[non_exhaustive]
    Workspace {
        /// The argument.
        argument: &'static str,
        /// Rows and hidden units that it must have.
        expected: [usize; 2],
        /// Rows and hidden units that it has.
        found: [usize; 2],
    },
    /// A backward pass was asked of a layer that was not made with
    /// [`LstmConfig::training`](crate::LstmConfig::training), or with a workspace that was not made for training.
    #[non_exhaustive]
    NotForTraining {
        /// The argument.
        argument: &'static str,
    },
    /// A backward pass was asked of a tape on which no forward pass was recorded.
    #[non_exhaustive]
    NothingRecorded {
        /// The argument.
        argument: &'static str,
    },
    /// A row that a state has not.
    #[non_exhaustive]
    NoSuchRow {
        /// The argument.
        argument: &'static str,
        /// The row.
        row: usize,
        /// How many rows the state has.
        rows: usize,
    },
    /// A layer got other weights between a recorded forward pass and its backward pass.
    #[non_exhaustive]
    WeightsReplaced {
        /// The argument.
        argument: &'static str,
    },
    /// A table was made with other weights than those that the layer has now, or a tape was recorded by another layer.
    #[non_exhaustive]
    OtherWeights {
        /// The argument.
        argument: &'static str,
    },
    /// Bytes are no packed weights of this layer: no such weights at all, those of another layer, level or version, or
    /// damaged ones.
    #[non_exhaustive]
    StoredWeights {
        /// The argument.
        argument: &'static str,
        /// What of them differs: an entry of their header, or the number of bytes.
        property: &'static str,
        /// What the layer needs.
        expected: String,
        /// What there is.
        found: String,
    },
    /// An index names no entry of the table.
    #[non_exhaustive]
    NoSuchEntry {
        /// The argument.
        argument: &'static str,
        /// The time of the step that reads it.
        step: usize,
        /// The row.
        row: usize,
        /// How many entries the table has.
        entries: usize,
        /// The index.
        found: i128,
    },
    /// A row has more steps than the input.
    #[non_exhaustive]
    RowLength {
        /// The argument.
        argument: &'static str,
        /// The row.
        row: usize,
        /// Steps of the input: the most that it may have.
        expected: usize,
        /// The steps that it has.
        found: usize,
    },
    /// A row has a negative length, or one that no slice could have.
    #[non_exhaustive]
    NegativeLength {
        /// The argument.
        argument: &'static str,
        /// The row.
        row: usize,
    },
    /// Both lengths and a mask say which steps are run.
    #[non_exhaustive]
    Exclusive {
        /// The argument.
        argument: &'static str,
        /// The argument beside which there can be none.
        other: &'static str,
    },
    /// Other steps are asked of a backward pass than its forward pass recorded.
    #[non_exhaustive]
    NotRecorded {
        /// The argument that differs: `lengths` or `mask`.
        argument: &'static str,
    },
    /// An instruction set was demanded that this CPU or this build lacks.
    #[non_exhaustive]
    UnsupportedIsa {
        /// What was demanded.
        expected: Isa,
        /// The best that there is.
        found: Isa,
    },
    /// `QUADGATE_ISA` names no instruction set.
    #[non_exhaustive]
    UnknownIsa {
        /// What it says.
        found: String,
    },
}

impl Error {
    /// A view that cannot be made of `argument`.
    pub(crate) fn view(argument: &'static str, width: usize, strides: [usize; 2], error: ViewError) -> Self {
        match error {
            ViewError::TooShort { needed, found } => Error::TooShort { argument, expected: needed, found },
            ViewError::Overlap => Error::Overlap { argument, expected: width, found: strides },
            ViewError::Overflow => Error::Overflow { argument },
        }
    }

    /// A wrong number of elements.
    pub(crate) fn length(argument: &'static str, expected: usize, found: usize) -> Self {
        Error::Length { argument, expected, found, hint: None }
    }

    /// `Ok` if a dimension is as it must be.
    pub(crate) fn check_dimension(
        argument: &'static str,
        dimension: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Error::Dimension { argument, dimension, expected, found })
        }
    }

    /// `Ok` if there is room for a dimension.
    pub(crate) fn check_room(
        argument: &'static str,
        dimension: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), Self> {
        if expected <= found {
            Ok(())
        } else {
            Err(Error::Dimension { argument, dimension, expected, found })
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Zero { argument } => write!(f, "{argument}: expected at least 1, found 0"),
            Error::Dimension { argument, dimension, expected, found } => {
                write!(f, "{argument}: expected {dimension} = {expected}, found {found}")
            }
            Error::Length { argument, expected, found, hint } => {
                write!(f, "{argument}: expected {expected} elements, found {found}")?;
                hint.map_or(Ok(()), |hint| write!(f, ", as many as {hint}"))
            }
            Error::Count { argument, each, expected, found } => {
                write!(f, "{argument}: expected one for each {each}, {expected}, found {found}")
            }
            Error::Layer { index, error } => write!(f, "layer {index}: {error}"),
            Error::DirectedLayer { index, error } => write!(f, "directed layer {index}: {error}"),
            Error::TooShort { argument, expected, found } => {
                write!(
                    f,
                    "{argument}: expected at least {expected} elements for its shape and strides, found {found}"
                )
            }
            Error::Overlap { argument, expected, found: [time, batch] } => write!(
                f,
                "{argument}: expected rows of {expected} elements that do not overlap, found strides {time} (time) and {batch} (batch)"
            ),
            Error::Overflow { argument } => {
                write!(f, "{argument}: expected a size that fits the address space, found a larger one")
            }
            Error::OutOfMemory { argument, bytes } => {
                write!(
                    f,
                    "{argument}: expected a size that there is memory for, found one that takes {bytes} bytes more"
                )
            }
            Error::Missing { argument } => write!(f, "{argument}: expected some, found none"),
            Error::Unexpected { argument } => write!(f, "{argument}: expected none, found some"),
            Error::Unsupported { argument, because } => {
                write!(f, "{argument}: cannot be had with {because}")
            }
            Error::Value { argument, expected, found } => {
                write!(f, "{argument}: expected {expected}, found {found}")
            }
            Error::GateOrder { missing } => {
                write!(f, "gate order: expected each gate once, found no {missing}")
            }
            Error::Workspace { argument, expected, found } => write!(
                f,
                "{argument}: expected room for {} rows of {} units, found {} rows of {} units",
                expected[0], expected[1], found[0], found[1]
            ),
            Error::NotForTraining { argument } => {
                write!(f, "{argument}: expected one made for training, found one for inference alone")
            }
            Error::NothingRecorded { argument } => {
                write!(f, "{argument}: expected a recorded forward pass, found none")
            }
            Error::NoSuchRow { argument, row, rows } => {
                write!(f, "{argument}: expected one of the {rows} rows of the state, found row {row}")
            }
            Error::WeightsReplaced { argument } => {
                write!(
                    f,
                    "{argument}: expected the weights of its forward pass, found others that were set since"
                )
            }
            Error::OtherWeights { argument } => {
                write!(
                    f,
                    "{argument}: expected one made with the weights that the layer has, found one of others"
                )
            }
            Error::StoredWeights { argument, property, expected, found } => {
                write!(f, "{argument}: expected packed weights of {property} {expected}, found {found}")
            }
            Error::NoSuchEntry { argument, step, row, entries, found } => write!(
                f,
                "{argument}: expected one of the {entries} entries of the table, found {found} at step {step}, row {row}"
            ),
            Error::RowLength { argument, row, expected, found } => {
                write!(f, "{argument}: expected at most {expected} steps for row {row}, found {found}")
            }
            Error::NegativeLength { argument, row } => {
                write!(
                    f,
                    "{argument}: expected a length at position {row}, found a negative or too large number"
                )
            }
            Error::Exclusive { argument, other } => {
                write!(f, "{argument}: expected none beside {other}, found both")
            }
            Error::NotRecorded { argument } => {
                write!(f, "{argument}: expected what the tape's forward pass was given, found another")
            }
            Error::UnsupportedIsa { expected, found } => {
                write!(f, "isa: expected {expected}, found a CPU or build whose best is {found}")
            }
            Error::UnknownIsa { found } => {
                write!(f, "QUADGATE_ISA: expected portable, avx2, avx512 or neon, found {found:?}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Layer { error, .. } | Error::DirectedLayer { error, .. } => Some(error),
            _ => None,
        }
    }
}
