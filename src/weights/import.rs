//! From tensors of any layout to weights.

use super::hint::{Tensor, check_tensor};
use super::layout::{
    JoinedTensors, Names, Orientation, SEPARATE_BIASES, SEPARATE_INPUT, SEPARATE_PEEPHOLES,
    SEPARATE_RECURRENT, SeparateTensors, Sizes, WeightLayout, check,
};
use super::{GateWeights, LstmWeights, unread_gate};
use crate::{Error, LstmConfig, Matrix};

impl<'a> LstmWeights<'a> {
    /// Weights of any layout, in tensors that hold all four gates.
    ///
    /// ```
    /// use quadgate::{JoinedTensors, LstmConfig, LstmWeights, WeightLayout};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let tensors = JoinedTensors {
    ///     input: &[0.1; 20 * 3][..],
    ///     recurrent: &[0.2; 20 * 5],
    ///     biases: [None, None],
    ///     peepholes: None,
    /// };
    /// let weights = LstmWeights::joined(&config, WeightLayout::ONNX, tensors)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn joined(
        config: &LstmConfig,
        layout: WeightLayout,
        tensors: JoinedTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        Self::joined_named(config, layout, Names::NEUTRAL, tensors)
    }

    /// Weights in matrices whose rows need not follow each other: parts of a larger one, transposed ones, every other row.
    ///
    /// W is `[4H, X]` and R `[4H, H]` (`[4H, P]`) in [`Orientation::GatesByInputs`], `[X, 4H]` and `[H, 4H]` in
    /// [`Orientation::InputsByGates`].
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights, Matrix, WeightLayout};
    ///
    /// // Neural Amp Modeler: W and R side by side in one matrix [4H, X + H].
    /// let (x, h) = (1, 3);
    /// let config = LstmConfig::new(x, h);
    /// let (fused, bias) = (vec![0.1; 4 * h * (x + h)], vec![0.2; 4 * h]);
    /// let w = Matrix::new(&fused, 4 * h, x).stride(x + h);
    /// let r = Matrix::new(&fused[x..], 4 * h, h).stride(x + h);
    /// let weights = LstmWeights::from_matrices(&config, WeightLayout::PYTORCH, w, r, [Some(&bias), None])?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimension`] or [`Error::TooShort`] names the matrix of another shape, [`Error::Length`] the bias;
    /// [`Error::Zero`] if H is zero.
    pub fn from_matrices(
        config: &LstmConfig,
        layout: WeightLayout,
        input: Matrix<'a>,
        recurrent: Matrix<'a>,
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let sizes = sizes(config)?;
        let Sizes { inputs, units, outputs } = sizes;
        let matrix = |argument, matrix: Matrix<'a>, inputs: usize| {
            let [rows, width] = match layout.orientation {
                Orientation::GatesByInputs => [4 * units, inputs],
                Orientation::InputsByGates => [inputs, 4 * units],
            };
            matrix.checked(argument, rows, width)?;
            Ok(matrix.elements())
        };
        let (input, input_stride) = matrix("input weights", input, inputs)?;
        let (recurrent, recurrent_stride) = matrix("recurrent weights", recurrent, outputs)?;
        for (bias, name) in biases.iter().zip(Names::NEUTRAL.biases) {
            bias.map_or(Ok(()), |bias| check(name, 4, units, bias.len()))?;
        }
        let part = |bias: &'a [f32], gate: usize| &bias[layout.order.position(gate) * units..][..units];
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            output_size: outputs,
            gates: [0, 1, 2, 3].map(|gate| GateWeights {
                input,
                input_place: layout.strided_place(gate, units, input_stride),
                recurrent,
                recurrent_place: layout.strided_place(gate, units, recurrent_stride),
                biases: biases.map(|bias| bias.map(|bias| part(bias, gate))),
            }),
            unread: unread_gate(config.options().coupling),
            peepholes: None,
            layer_normalization: None,
            projection: None,
            forget_bias: 0.0,
        })
    }

    /// Weights in a tensor for each gate.
    ///
    /// ```
    /// use quadgate::{LstmConfig, LstmWeights, Orientation, SeparateTensors};
    ///
    /// let config = LstmConfig::new(3, 5);
    /// let tensors = SeparateTensors {
    ///     input: [&[0.1; 5 * 3][..]; 4],
    ///     recurrent: [&[0.2; 5 * 5]; 4],
    ///     biases: [Some([&[0.0; 5], &[1.0; 5], &[0.0; 5], &[0.0; 5]]), None],
    ///     peepholes: None,
    /// };
    /// let weights = LstmWeights::separate(&config, Orientation::GatesByInputs, tensors)?;
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Zero`] if H is zero.
    pub fn separate(
        config: &LstmConfig,
        orientation: Orientation,
        tensors: SeparateTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        let sizes = sizes(config)?;
        let Sizes { inputs, units, outputs } = sizes;
        let unread = unread_gate(config.options().coupling);
        tensors.check_lengths(|slice| slice.len(), unread, sizes)?;
        let SeparateTensors { input, recurrent, biases, peepholes } = tensors;
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            output_size: outputs,
            gates: [0, 1, 2, 3].map(|gate| GateWeights {
                input: input[gate],
                input_place: orientation.place(units, inputs),
                recurrent: recurrent[gate],
                recurrent_place: orientation.place(units, outputs),
                biases: biases.map(|bias| bias.map(|bias| bias[gate])),
            }),
            unread,
            peepholes,
            layer_normalization: None,
            projection: None,
            forget_bias: 0.0,
        })
    }

    pub(super) fn joined_named(
        config: &LstmConfig,
        layout: WeightLayout,
        names: Names,
        tensors: JoinedTensors<&'a [f32]>,
    ) -> Result<Self, Error> {
        let sizes = sizes(config)?;
        tensors.check_lengths(|slice| slice.len(), names, sizes)?;
        let Sizes { inputs, units, outputs } = sizes;
        let JoinedTensors { input, recurrent, biases, peepholes } = tensors;
        let part = |of: &'a [f32], position: usize| &of[position * units..(position + 1) * units];
        Ok(Self {
            input_size: inputs,
            hidden_size: units,
            output_size: outputs,
            gates: [0, 1, 2, 3].map(|gate| GateWeights {
                input,
                input_place: layout.place(gate, units, inputs),
                recurrent,
                recurrent_place: layout.place(gate, units, outputs),
                biases: biases.map(|bias| bias.map(|bias| part(bias, layout.order.position(gate)))),
            }),
            peepholes: peepholes.map(|peepholes| {
                [0, 1, 2].map(|peephole| part(peepholes, layout.order.peephole_position(peephole)))
            }),
            unread: unread_gate(config.options().coupling),
            layer_normalization: None,
            projection: None,
            forget_bias: 0.0,
        })
    }
}

/// The sizes, if four gates of H can be counted.
pub(super) fn sizes(config: &LstmConfig) -> Result<Sizes, Error> {
    match config.hidden_size() {
        0 => Err(Error::Zero { argument: "hidden size" }),
        units if units.checked_mul(4).is_none() => Err(Error::Overflow { argument: "hidden size" }),
        units => Ok(Sizes { inputs: config.input_size(), units, outputs: config.output_size() }),
    }
}

impl<S> JoinedTensors<S> {
    /// `Ok` if every tensor has the length that the sizes demand.
    pub(super) fn check_lengths(
        &self,
        len: impl Fn(&S) -> usize,
        names: Names,
        sizes: Sizes,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = sizes;
        let check = |tensor, name, shape, found: &S| check_tensor(tensor, name, shape, len(found), sizes);
        check(Tensor::Input, names.input, [4 * units, inputs], &self.input)?;
        check(Tensor::Recurrent, names.recurrent, [4 * units, outputs], &self.recurrent)?;
        for (bias, name) in self.biases.iter().zip(names.biases) {
            if let Some(bias) = bias {
                check(Tensor::Bias, name, [4, units], bias)?;
            }
        }
        match &self.peepholes {
            Some(peepholes) => check(Tensor::Peepholes, names.peepholes, [3, units], peepholes),
            None => Ok(()),
        }
    }
}

impl<S> SeparateTensors<S> {
    /// `Ok` if every tensor has the length that the sizes demand, or none if it is of a gate that is not read.
    pub(super) fn check_lengths(
        &self,
        len: impl Fn(&S) -> usize,
        unread: Option<usize>,
        Sizes { inputs, units, outputs }: Sizes,
    ) -> Result<(), Error> {
        let check = |gate, name, rows, columns, tensor: &S| {
            let found = len(tensor);
            if unread == Some(gate) && found == 0 { Ok(()) } else { check(name, rows, columns, found) }
        };
        for gate in 0..4 {
            check(gate, SEPARATE_INPUT[gate], units, inputs, &self.input[gate])?;
            check(gate, SEPARATE_RECURRENT[gate], units, outputs, &self.recurrent[gate])?;
            for (bias, names) in self.biases.iter().zip(SEPARATE_BIASES) {
                if let Some(bias) = bias {
                    check(gate, names[gate], 1, units, &bias[gate])?;
                }
            }
        }
        for (peephole, (gate, name)) in
            self.peepholes.iter().flatten().zip([0, 1, 3].into_iter().zip(SEPARATE_PEEPHOLES))
        {
            check(gate, name, 1, units, peephole)?;
        }
        Ok(())
    }
}
