//! Files that Keras saved from `CuDNNLSTM` and `CuDNNGRU`.

use super::gates::{AllGates, BiasTensors, GateLayout, GateMatrix, Gates, check_units, fill};
use super::layout::{KERAS, Sizes, check};
use crate::config::ParameterRanges;
use crate::error::Error;

/// Where an element of a gate's matrix lies in a kernel of G gates.
///
/// The kernel is `[inputs, G · H]`, as that of `LSTM` or `GRU`. But the block of a gate, `[inputs, H]`, holds the
/// elements of the matrix `[H, inputs]` one after the other, as if it were of that shape.
fn index<const G: usize>(position: usize, [units, inputs]: [usize; 2], [unit, k]: [usize; 2]) -> usize {
    let number = unit * inputs + k;
    number / units * G * units + position * units + number % units
}

/// Reads kernels and the bias, which no strides could describe where they are, into a buffer of all parameters.
pub(super) fn read<const G: usize>(
    sizes: Sizes,
    is_split: bool,
    layout: GateLayout<G>,
    [kernel, recurrent_kernel, bias]: [&[f32]; 3],
    ranges: &ParameterRanges,
    parameters: &mut [f32],
) -> Result<(), Error> {
    let Sizes { inputs, units, outputs } = check_units::<G>(sizes)?;
    let biases = BiasTensors::InOne(Some(bias));
    let tensors = AllGates { input: kernel, recurrent: recurrent_kernel, biases };
    tensors.check::<G>(&KERAS.names, sizes, is_split)?;
    check("parameters", 1, ranges.total(), parameters.len())?;
    for (from, range, inputs) in
        [(kernel, &ranges.weight_ih, inputs), (recurrent_kernel, &ranges.weight_hh, outputs)]
    {
        // Without inputs there is nothing to write, and the size of chunks must not be zero.
        for (row, to) in parameters[range.clone()].chunks_exact_mut(inputs.max(1)).enumerate() {
            let (position, unit) = (layout.positions[row / units], row % units);
            fill(to, |k| from[index::<G>(position, [units, inputs], [unit, k])]);
        }
    }
    let none = [GateMatrix { data: &[], strides: [0, 0] }; G];
    let biases = Gates::new(sizes, is_split, none, none, tensors.biases.parts(layout, units));
    for (index, to) in parameters[ranges.bias.clone()].chunks_exact_mut(units).enumerate() {
        fill(to, |unit| biases.bias(index, unit));
    }
    Ok(())
}

/// Writes kernels and the bias.
pub(super) fn write<const G: usize>(
    gates: &Gates<'_, G>,
    layout: GateLayout<G>,
    [kernel, recurrent_kernel, bias]: [&mut [f32]; 3],
) -> Result<(), Error> {
    let Sizes { inputs, units, outputs } = gates.sizes;
    let biases = BiasTensors::InOne(Some(bias));
    let tensors = AllGates { input: kernel, recurrent: recurrent_kernel, biases };
    tensors.check::<G>(&KERAS.names, gates.sizes, gates.is_split)?;
    let AllGates { input: kernel, recurrent: recurrent_kernel, biases } = tensors;
    for (gate, position) in layout.positions.into_iter().enumerate() {
        for unit in 0..units {
            for (to, matrix, inputs) in [
                (&mut *kernel, gates.input(gate), inputs),
                (&mut *recurrent_kernel, gates.recurrent(gate), outputs),
            ] {
                for k in 0..inputs {
                    to[index::<G>(position, [units, inputs], [unit, k])] = matrix.at(unit, k);
                }
            }
        }
    }
    gates.write_biases(biases.parts(layout, units));
    Ok(())
}
