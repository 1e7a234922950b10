//! What a tensor of the wrong length may be instead: which convention has as many elements.

use super::layout::{Sizes, check};
use crate::Error;

/// A tensor that holds all gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tensor {
    Input,
    Recurrent,
    /// One bias: of W, of R, or the sum of both.
    Bias,
    /// Both in one.
    TwoBiases,
    /// Biases that were added up as far as they can be.
    Sums,
    /// W and R in one.
    Joined,
    Peepholes,
}

const GRU: &str = "the three gates of a GRU have";
const ONE_GATE: &str =
    "one gate has: give a tensor for each to `LstmWeights::separate`; a plain recurrent layer is an `Rnn`";
const TWO_DIRECTIONS: &str = "two directions have: give each its half";
const IN_ONE: &str = "W and R have in one matrix: see `LstmWeights::tensorflow_block_v2`";
const TWO_BIASES: &str = "two biases have in one tensor, as ONNX's B and CuDNNLSTM's bias: see `LstmWeights::onnx` and `LstmWeights::keras_cudnn`";

/// `Ok` if a tensor of a cell of G gates has `rows` × `columns` elements; else an error that says what has as many as
/// came.
pub(super) fn check_tensor<const G: usize>(
    tensor: Tensor,
    argument: &'static str,
    [rows, columns]: [usize; 2],
    found: usize,
    sizes: Sizes,
) -> Result<(), Error> {
    check(argument, rows, columns, found).map_err(|error| match error {
        Error::Length { argument, expected, found, .. } => {
            let hint = match G {
                _ if found == 0 => None,
                4 => hint_of_lstm(tensor, sizes, found),
                3 => hint_of_gru(tensor, sizes, found),
                _ => hint_of_rnn(tensor, sizes, found),
            };
            Error::Length { argument, expected, found, hint }
        }
        other => other,
    })
}

fn hint_of_lstm(
    tensor: Tensor,
    Sizes { inputs, units, outputs }: Sizes,
    found: usize,
) -> Option<&'static str> {
    let times = |number: usize, columns: usize| units.saturating_mul(columns).saturating_mul(number) == found;
    let known: &[(bool, &'static str)] = match tensor {
        Tensor::Input | Tensor::Recurrent => {
            let columns = if tensor == Tensor::Input { inputs } else { outputs };
            let is_projected =
                tensor == Tensor::Recurrent && found < units.saturating_mul(4).saturating_mul(units);
            &[
                (times(4, inputs.saturating_add(outputs)), IN_ONE),
                (times(8, columns), TWO_DIRECTIONS),
                (times(3, columns), GRU),
                (times(1, columns), ONE_GATE),
                (
                    tensor == Tensor::Recurrent && outputs != units && times(4, units),
                    "a layer without a projection has",
                ),
                (
                    is_projected && outputs == units && found.is_multiple_of(units.saturating_mul(4)),
                    "a layer with a projection may have: see `LstmConfig::projection`",
                ),
            ]
        }
        Tensor::Bias | Tensor::Sums => {
            &[(times(8, 1), TWO_BIASES), (times(3, 1) || times(6, 1), GRU), (times(1, 1), ONE_GATE)]
        }
        Tensor::TwoBiases => &[
            (times(4, 1), "one bias has, as Keras' and TensorFlow's: give it, and as many zeros after it"),
            (times(16, 1), TWO_DIRECTIONS),
            (times(6, 1) || times(3, 1), GRU),
        ],
        Tensor::Joined => &[
            (times(4, inputs), "W has alone, as Keras' kernel: see `LstmWeights::keras`"),
            (times(3, inputs.saturating_add(outputs)), GRU),
        ],
        Tensor::Peepholes => &[
            (times(1, 1), "one of three peepholes has"),
            (times(6, 1), TWO_DIRECTIONS),
            (times(4, 1), "four gates have: there is none of g"),
        ],
    };
    first(known)
}

const LSTM: &str = "the four gates of an LSTM have";
const ONE_GATE_OF_GRU: &str = "one gate has: give a tensor for each to `GruWeights::separate`";
const ADDED_UP: &str =
    "biases have that were added up, as oneDNN's and OpenVINO's: see `GruWeights::onednn_ldigo`";
const RESET_BEFORE: &str =
    "a layer has whose reset gate comes before the product: see `GruConfig::reset_gate`";

fn hint_of_gru(tensor: Tensor, Sizes { inputs, units, .. }: Sizes, found: usize) -> Option<&'static str> {
    let times = |number: usize, columns: usize| units.saturating_mul(columns).saturating_mul(number) == found;
    match tensor {
        Tensor::Input | Tensor::Recurrent => {
            let columns = if tensor == Tensor::Input { inputs } else { units };
            first(&[
                (times(6, columns), TWO_DIRECTIONS),
                (times(4, columns), LSTM),
                (times(1, columns), ONE_GATE_OF_GRU),
                (
                    times(2, inputs.saturating_add(units)),
                    "w_ru of TensorFlow's GRUBlockCell has: see `GruWeights::tensorflow_block`",
                ),
            ])
        }
        Tensor::Bias => first(&[
            (times(6, 1), "both biases have in one, as ONNX's B, and Keras' bias with reset_after"),
            (times(4, 1), ADDED_UP),
            (times(1, 1), ONE_GATE_OF_GRU),
        ]),
        Tensor::TwoBiases => first(&[
            (times(3, 1), RESET_BEFORE),
            (times(4, 1), ADDED_UP),
            (times(12, 1), TWO_DIRECTIONS),
            (times(8, 1), LSTM),
        ]),
        Tensor::Sums => first(&[
            (times(3, 1), RESET_BEFORE),
            (
                times(4, 1),
                "a layer has whose reset gate comes after the product: see `GruConfig::reset_gate`",
            ),
            (times(6, 1), "both biases have in one, not added up: see `GruWeights::onnx`"),
        ]),
        Tensor::Joined | Tensor::Peepholes => None,
    }
}

fn hint_of_rnn(tensor: Tensor, Sizes { inputs, units, .. }: Sizes, found: usize) -> Option<&'static str> {
    let columns = match tensor {
        Tensor::Input => inputs,
        Tensor::Recurrent => units,
        _ => 1,
    };
    let times = |number: usize| units.saturating_mul(columns).saturating_mul(number) == found;
    match tensor {
        Tensor::Input | Tensor::Recurrent => {
            first(&[(times(2), TWO_DIRECTIONS), (times(3), GRU), (times(4), LSTM)])
        }
        Tensor::Bias | Tensor::Sums => first(&[
            (times(2), "both biases have in one, as ONNX's B: see `RnnWeights::onnx`"),
            (times(3), GRU),
            (times(4), LSTM),
        ]),
        Tensor::TwoBiases => first(&[
            (times(1), "one bias has, as Keras': give it, and as many zeros after it"),
            (times(4), TWO_DIRECTIONS),
            (times(6), GRU),
            (times(8), LSTM),
        ]),
        Tensor::Joined | Tensor::Peepholes => None,
    }
}

/// The first of what is known.
fn first(known: &[(bool, &'static str)]) -> Option<&'static str> {
    known.iter().find(|(is_known, _)| *is_known).map(|&(_, hint)| hint)
}
