//! From weights to tensors of any layout.

use super::LstmWeights;
use super::layout::{
    JoinedTensors, Names, Orientation, Place, SEPARATE_BIASES, SEPARATE_PEEPHOLES, SEPARATE_SCALES,
    SeparateTensors, Sizes, WeightLayout, check,
};
use crate::Error;

impl LstmWeights<'_> {
    /// Writes the weights into tensors that hold all four gates.
    ///
    /// Where there is room for one bias, it gets the sum of those that there are. Where there is room for two, each gets
    /// its own, and zeros if there is none; [`LstmWeights::forget_bias`] goes to the first. Peepholes that are not there,
    /// and what a gate that is the complement of another one lacks, are written as zeros. A projection and the scales of a
    /// layer normalization have exports of their own.
    ///
    /// ```
    /// use quadgate::{JoinedTensors, LstmConfig, LstmWeights, WeightLayout};
    ///
    /// // From PyTorch to Keras: columns for rows, and one bias for two.
    /// let config = LstmConfig::new(1, 1);
    /// let (w, r) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
    /// let weights = LstmWeights::pytorch(&config, &w, &r, Some(&[1.0; 4]), Some(&[2.0; 4]))?;
    /// let (mut kernel, mut recurrent_kernel, mut bias) = ([0.0; 4], [0.0; 4], [0.0; 4]);
    /// weights.export_joined(
    ///     WeightLayout::KERAS,
    ///     JoinedTensors {
    ///         input: &mut kernel[..],
    ///         recurrent: &mut recurrent_kernel,
    ///         biases: [Some(&mut bias), None],
    ///         peepholes: None,
    ///     },
    /// )?;
    /// assert_eq!((kernel, recurrent_kernel, bias), (w, r, [3.0; 4]));
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] a tensor that the weights have and
    /// there is no room for. Nothing is written then.
    pub fn export_joined(
        &self,
        layout: WeightLayout,
        tensors: JoinedTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        self.export_joined_named(layout, Names::NEUTRAL, tensors)
    }

    /// Writes the weights into a tensor for each gate; biases and peepholes as [`LstmWeights::export_joined`] does.
    ///
    /// # Errors
    /// As for [`LstmWeights::export_joined`].
    pub fn export_separate(
        &self,
        orientation: Orientation,
        mut tensors: SeparateTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = self.sizes();
        tensors.check_lengths(|slice| slice.len(), None, self.sizes())?;
        let rooms = tensors.biases.each_ref().map(Option::is_some);
        self.check_rooms(rooms, SEPARATE_BIASES[0][0], tensors.peepholes.is_some(), SEPARATE_PEEPHOLES[0])?;

        for gate in 0..4 {
            let (input, recurrent) = (orientation.place(units, inputs), orientation.place(units, outputs));
            write(tensors.input[gate], input, [units, inputs], |unit, k| self.input(gate).at(unit, k));
            write(tensors.recurrent[gate], recurrent, [units, outputs], |unit, k| {
                self.recurrent(gate).at(unit, k)
            });
            for (which, biases) in tensors.biases.iter_mut().enumerate() {
                let Some(biases) = biases else { continue };
                fill(biases[gate], |unit| self.bias_for(rooms, which, gate, unit));
            }
        }
        for (peephole, tensor) in tensors.peepholes.iter_mut().flatten().enumerate() {
            fill(tensor, |unit| self.peephole(peephole, unit));
        }
        Ok(())
    }

    pub(super) fn export_joined_named(
        &self,
        layout: WeightLayout,
        names: Names,
        mut tensors: JoinedTensors<&mut [f32]>,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = self.sizes();
        tensors.check_lengths(|slice| slice.len(), names, self.sizes())?;
        let rooms = tensors.biases.each_ref().map(Option::is_some);
        self.check_rooms(rooms, names.biases[0], tensors.peepholes.is_some(), names.peepholes)?;

        let part = |position: usize| position * units..(position + 1) * units;
        for gate in 0..4 {
            let (input, recurrent) = (layout.place(gate, units, inputs), layout.place(gate, units, outputs));
            write(tensors.input, input, [units, inputs], |unit, k| self.input(gate).at(unit, k));
            write(tensors.recurrent, recurrent, [units, outputs], |unit, k| self.recurrent(gate).at(unit, k));
            for (which, biases) in tensors.biases.iter_mut().enumerate() {
                let Some(biases) = biases else { continue };
                let bias = &mut biases[part(layout.order.position(gate))];
                fill(bias, |unit| self.bias_for(rooms, which, gate, unit));
            }
        }
        if let Some(peepholes) = tensors.peepholes {
            for peephole in 0..3 {
                let tensor = &mut peepholes[part(layout.order.peephole_position(peephole))];
                fill(tensor, |unit| self.peephole(peephole, unit));
            }
        }
        Ok(())
    }

    /// Writes the projection and its bias, as [`LstmWeights::with_projection`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the projection if there is none, or its
    /// bias if there is no room for it. Nothing is written then.
    pub fn export_projection(
        &self,
        orientation: Orientation,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let Sizes { units, outputs, .. } = self.sizes();
        let projection = self.projection().ok_or(Error::Missing { argument: "projection" })?;
        check("projection", outputs, units, weight.len())?;
        match (bias, self.projection_bias()) {
            (Some(to), own) => {
                check("projection bias", 1, outputs, to.len())?;
                fill(to, |output| own.map_or(0.0, |own| own[output]));
            }
            (None, Some(_)) => return Err(Error::Missing { argument: "projection bias" }),
            (None, None) => {}
        }
        let place = orientation.place(outputs, units);
        write(weight, place, [outputs, units], |output, unit| projection.at(output, unit));
        Ok(())
    }

    /// Writes the scales of the layer normalization, as [`LstmWeights::with_layer_normalization`] reads them.
    ///
    /// # Errors
    /// [`Error::Length`] names the tensor whose length is wrong; [`Error::Missing`] the scales if there are none. Nothing is
    /// written then.
    pub fn export_layer_normalization(&self, scales: [&mut [f32]; 4]) -> Result<(), Error> {
        let own = self.layer_normalization.ok_or(Error::Missing { argument: "layer normalization" })?;
        for (scale, name) in scales.iter().zip(SEPARATE_SCALES) {
            check(name, 1, self.hidden_size, scale.len())?;
        }
        for (scale, own) in scales.into_iter().zip(own) {
            fill(scale, |unit| own.get(unit).copied().unwrap_or(0.0));
        }
        Ok(())
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { inputs: self.input_size, units: self.hidden_size, outputs: self.output_size }
    }

    /// `Ok` if there is room for all that the weights have.
    fn check_rooms(
        &self,
        biases: [bool; 2],
        bias: &'static str,
        peepholes: bool,
        peephole: &'static str,
    ) -> Result<(), Error> {
        if self.has_bias() && biases == [false; 2] {
            return Err(Error::Missing { argument: bias });
        }
        if self.peepholes.is_some() && !peepholes {
            return Err(Error::Missing { argument: peephole });
        }
        Ok(())
    }

    /// What goes to one of the biases of a target that has room for some of them.
    pub(super) fn bias_for(&self, rooms: [bool; 2], which: usize, gate: usize, unit: usize) -> f32 {
        if rooms != [true; 2] {
            return self.bias(gate, unit);
        }
        let own = self.gates[gate].biases[which].and_then(|bias| bias.get(unit)).copied().unwrap_or(0.0);
        if which == 0 { self.with_forget_bias(gate, own) } else { own }
    }

    pub(super) fn peephole(&self, peephole: usize, unit: usize) -> f32 {
        self.peepholes.and_then(|peepholes| peepholes[peephole].get(unit)).copied().unwrap_or(0.0)
    }
}

/// Writes the matrix of one gate to its place.
pub(super) fn write(
    tensor: &mut [f32],
    place: Place,
    [units, inputs]: [usize; 2],
    value: impl Fn(usize, usize) -> f32,
) {
    for unit in 0..units {
        for k in 0..inputs {
            tensor[place.index(unit, k)] = value(unit, k);
        }
    }
}

/// Writes a vector of one gate.
pub(super) fn fill(tensor: &mut [f32], value: impl Fn(usize) -> f32) {
    for (unit, element) in tensor.iter_mut().enumerate() {
        *element = value(unit);
    }
}
