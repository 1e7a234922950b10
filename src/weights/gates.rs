//! W, R, biases and scales of all gates of a cell, whichever it is: read from tensors of any layout, and written to
//! them.

use super::hint::{Tensor, check_tensor};
use super::layout::{BiasLayout, Framework, Names, Orientation, Place, SeparateNames, Sizes, check};
use crate::error::Error;
use crate::view::Matrix;
use std::array;
use std::ops::Range;

/// The matrix of one gate in the caller's slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateMatrix<'a> {
    pub(crate) data: &'a [f32],
    /// From one unit to the next, and from one input to the next.
    pub(crate) strides: [usize; 2],
}

/// What the weights of all cells are made of, for G gates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates<'a, const G: usize> {
    pub(super) sizes: Sizes,
    input: [GateMatrix<'a>; G],
    recurrent: [GateMatrix<'a>; G],
    biases: Biases<&'a [f32], G>,
    /// Whether the two biases of the last gate are not added up.
    pub(super) is_split: bool,
    /// A gate whose weights are not read and may be empty.
    pub(super) unread: Option<usize>,
    /// Scales of a layer normalization, one for each bias that is left where those that can be are added up.
    pub(super) scales: [Option<&'a [f32]>; 4],
    /// What is added to the bias of each gate.
    pub(super) constants: [f32; G],
}

/// A bias of W for each gate, and one of R, where there are any.
type Biases<S, const G: usize> = [[Option<S>; G]; 2];

/// How gates lie in tensors that hold all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateLayout<const G: usize> {
    /// Where each gate stands among them.
    pub(super) positions: [usize; G],
    pub(super) orientation: Orientation,
}

/// Tensors that hold all gates.
pub(super) struct AllGates<S> {
    pub(super) input: S,
    pub(super) recurrent: S,
    pub(super) biases: BiasTensors<S>,
}

/// Biases in tensors that hold all gates.
pub(super) enum BiasTensors<S> {
    /// That of W and that of R.
    Apart([Option<S>; 2]),
    /// Both, one after the other.
    InOne(Option<S>),
    /// Added up as far as they can be: those of the gates, then that of R of the last one if it is split.
    Sums(Option<S>),
}

impl<S> AllGates<S> {
    /// Tensors as a framework has them; of biases that are in one tensor, the first is that.
    pub(super) fn of(
        framework: &Framework,
        is_split: bool,
        input: S,
        recurrent: S,
        biases: [Option<S>; 2],
    ) -> Self {
        let [first, second] = biases;
        let biases = match framework.biases[usize::from(is_split)] {
            BiasLayout::Apart => BiasTensors::Apart([first, second]),
            BiasLayout::InOne => BiasTensors::InOne(first),
            BiasLayout::Sums => BiasTensors::Sums(first),
        };
        Self { input, recurrent, biases }
    }
}

/// A tensor for each gate.
pub(super) struct EachGate<S, const G: usize> {
    pub(super) input: [S; G],
    pub(super) recurrent: [S; G],
    pub(super) biases: [Option<[S; G]>; 2],
}

/// A slice to read from or to write to.
pub(super) trait Tensors: Sized {
    fn elements(&self) -> usize;
    fn cut(self, at: usize) -> (Self, Self);
}

impl Tensors for &[f32] {
    fn elements(&self) -> usize {
        self.len()
    }

    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl Tensors for &mut [f32] {
    fn elements(&self) -> usize {
        self.len()
    }

    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

impl GateMatrix<'_> {
    pub(super) fn at(&self, unit: usize, k: usize) -> f32 {
        // That of a gate that is not read may be empty.
        self.data.get(unit * self.strides[0] + k * self.strides[1]).copied().unwrap_or(0.0)
    }
}

impl<const G: usize> GateLayout<G> {
    /// Where a matrix from `inputs` to `gate` lies in a dense one to all gates.
    pub(super) fn place(self, gate: usize, units: usize, inputs: usize) -> Place {
        let stride = match self.orientation {
            Orientation::GatesByInputs => inputs,
            Orientation::InputsByGates => G * units,
        };
        self.strided_place(gate, units, stride)
    }

    /// The same where rows are `stride` apart. An offset past the end, which a matrix without inputs may have,
    /// saturates.
    fn strided_place(self, gate: usize, units: usize, stride: usize) -> Place {
        let first = self.positions[gate] * units;
        match self.orientation {
            Orientation::GatesByInputs => {
                Place { offset: first.saturating_mul(stride), strides: [stride, 1] }
            }
            Orientation::InputsByGates => Place { offset: first, strides: [1, stride] },
        }
    }

    /// Rows and columns of a matrix from `inputs` to all gates.
    fn shape(self, units: usize, inputs: usize) -> [usize; 2] {
        match self.orientation {
            Orientation::GatesByInputs => [G * units, inputs],
            Orientation::InputsByGates => [inputs, G * units],
        }
    }

    /// The parts of a vector that belong to each gate, if there is one.
    fn parts<S: Tensors>(self, vector: Option<S>, units: usize) -> [Option<S>; G] {
        let mut rest = vector;
        let mut parts: [Option<S>; G] = array::from_fn(|_| {
            let (part, others) = rest.take()?.cut(units);
            rest = Some(others);
            Some(part)
        });
        self.positions.map(|position| parts[position].take())
    }
}

impl<S: Tensors> BiasTensors<S> {
    /// `Ok` if they have the lengths that the sizes demand.
    fn check<const G: usize>(&self, names: &Names, sizes: Sizes, is_split: bool) -> Result<(), Error> {
        let check = |tensor, name, rows, bias: &Option<S>| match bias {
            Some(bias) => check_tensor::<G>(tensor, name, [rows, sizes.units], bias.elements(), sizes),
            None => Ok(()),
        };
        let [first, second] = names.biases;
        match self {
            Self::Apart([of_input, of_recurrent]) => {
                check(Tensor::Bias, first, G, of_input)?;
                check(Tensor::Bias, second, G, of_recurrent)
            }
            Self::InOne(both) => check(Tensor::TwoBiases, first, 2 * G, both),
            Self::Sums(sums) => check(Tensor::Sums, first, G + usize::from(is_split), sums),
        }
    }

    /// That of each gate.
    pub(super) fn parts<const G: usize>(self, layout: GateLayout<G>, units: usize) -> Biases<S, G> {
        match self {
            Self::Apart(biases) => biases.map(|bias| layout.parts(bias, units)),
            Self::InOne(both) => {
                let (first, second) = both.map(|both| both.cut(G * units)).unzip();
                [first, second].map(|bias| layout.parts(bias, units))
            }
            Self::Sums(sums) => {
                let (of_gates, mut apart) = sums.map(|sums| sums.cut(G * units)).unzip();
                let apart = apart.take_if(|apart| apart.elements() > 0);
                let mut split = array::from_fn(|_| None);
                split[G - 1] = apart;
                [layout.parts(of_gates, units), split]
            }
        }
    }
}

impl<S: Tensors> AllGates<S> {
    pub(super) fn check<const G: usize>(
        &self,
        names: &Names,
        sizes: Sizes,
        is_split: bool,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = sizes;
        let (input, recurrent) = (self.input.elements(), self.recurrent.elements());
        check_tensor::<G>(Tensor::Input, names.input, [G * units, inputs], input, sizes)?;
        check_tensor::<G>(Tensor::Recurrent, names.recurrent, [G * units, outputs], recurrent, sizes)?;
        self.biases.check::<G>(names, sizes, is_split)
    }
}

impl<S: Tensors, const G: usize> EachGate<S, G> {
    /// `Ok` if every tensor has the length that the sizes demand, or none if it is of a gate that is not read.
    fn check(&self, names: &SeparateNames<G>, sizes: Sizes, unread: Option<usize>) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = sizes;
        let check = |gate, name, columns, tensor: &S| match tensor.elements() {
            0 if unread == Some(gate) => Ok(()),
            found => check(name, units, columns, found),
        };
        for gate in 0..G {
            check(gate, names.input[gate], inputs, &self.input[gate])?;
            check(gate, names.recurrent[gate], outputs, &self.recurrent[gate])?;
            for (bias, names) in self.biases.iter().zip(names.biases) {
                bias.as_ref().map_or(Ok(()), |bias| check(gate, names[gate], 1, &bias[gate]))?;
            }
        }
        Ok(())
    }

    /// The biases, gate by gate.
    fn split(self) -> ([S; G], [S; G], Biases<S, G>) {
        let biases = self.biases.map(|bias| match bias {
            Some(bias) => bias.map(Some),
            None => array::from_fn(|_| None),
        });
        (self.input, self.recurrent, biases)
    }
}

/// `Ok` if all gates of so many units can be counted.
pub(super) fn check_units<const G: usize>(sizes: Sizes) -> Result<Sizes, Error> {
    let argument = "hidden size";
    match sizes.units {
        0 => Err(Error::Zero { argument }),
        units if units.checked_mul(2 * G).is_none() => Err(Error::Overflow { argument }),
        _ => Ok(sizes),
    }
}

impl<'a, const G: usize> Gates<'a, G> {
    /// Of tensors that hold all gates, in this layout.
    pub(super) fn joined(
        sizes: Sizes,
        is_split: bool,
        layout: GateLayout<G>,
        names: &Names,
        tensors: AllGates<&'a [f32]>,
    ) -> Result<Self, Error> {
        let Sizes { inputs, units, outputs } = check_units::<G>(sizes)?;
        tensors.check::<G>(names, sizes, is_split)?;
        let AllGates { input, recurrent, biases } = tensors;
        let matrix = |data, gate, inputs| at(data, layout.place(gate, units, inputs));
        Ok(Self::new(
            sizes,
            is_split,
            array::from_fn(|gate| matrix(input, gate, inputs)),
            array::from_fn(|gate| matrix(recurrent, gate, outputs)),
            biases.parts(layout, units),
        ))
    }

    /// Of matrices that hold all gates, whose rows need not follow each other.
    pub(super) fn strided(
        sizes: Sizes,
        is_split: bool,
        layout: GateLayout<G>,
        [input, recurrent]: [Matrix<'a>; 2],
        biases: [Option<&'a [f32]>; 2],
    ) -> Result<Self, Error> {
        let Sizes { inputs, units, outputs } = check_units::<G>(sizes)?;
        let matrices = |argument, matrix: Matrix<'a>, inputs: usize| {
            let [rows, width] = layout.shape(units, inputs);
            matrix.checked(argument, rows, width)?;
            let (data, stride) = matrix.elements();
            Ok(array::from_fn(|gate| at(data, layout.strided_place(gate, units, stride))))
        };
        let names = &Names::NEUTRAL;
        let (input, recurrent) =
            (matrices(names.input, input, inputs)?, matrices(names.recurrent, recurrent, outputs)?);
        let biases = BiasTensors::Apart(biases);
        biases.check::<G>(names, sizes, is_split)?;
        Ok(Self::new(sizes, is_split, input, recurrent, biases.parts(layout, units)))
    }

    /// Of a tensor for each gate.
    pub(super) fn separate(
        sizes: Sizes,
        is_split: bool,
        unread: Option<usize>,
        orientation: Orientation,
        names: &SeparateNames<G>,
        tensors: EachGate<&'a [f32], G>,
    ) -> Result<Self, Error> {
        let Sizes { inputs, units, outputs } = check_units::<G>(sizes)?;
        tensors.check(names, sizes, unread)?;
        let (input, recurrent, biases) = tensors.split();
        let matrix = |data, inputs| at(data, orientation.place(units, inputs));
        let (input, recurrent) =
            (input.map(|data| matrix(data, inputs)), recurrent.map(|data| matrix(data, outputs)));
        Ok(Self { unread, ..Self::new(sizes, is_split, input, recurrent, biases) })
    }

    /// Of parts that were checked.
    pub(super) fn new(
        sizes: Sizes,
        is_split: bool,
        input: [GateMatrix<'a>; G],
        recurrent: [GateMatrix<'a>; G],
        biases: Biases<&'a [f32], G>,
    ) -> Self {
        let (scales, constants) = ([None; 4], [0.0; G]);
        Self { sizes, input, recurrent, biases, is_split, unread: None, scales, constants }
    }

    /// The same with scales of a layer normalization.
    pub(super) fn with_scales(
        self,
        names: &[&'static str],
        scales: impl IntoIterator<Item = &'a [f32]>,
    ) -> Result<Self, Error> {
        let mut own = [None; 4];
        for (gate, (scale, name)) in scales.into_iter().zip(names).enumerate() {
            if self.unread != Some(gate) || !scale.is_empty() {
                check(name, 1, self.sizes.units, scale.len())?;
            }
            own[gate] = Some(scale);
        }
        Ok(Self { scales: own, ..self })
    }

    /// Writes the scales of a layer normalization, of which there must be as many.
    pub(super) fn export_scales(&self, names: &[&'static str], to: &mut [&mut [f32]]) -> Result<(), Error> {
        if self.scales[0].is_none() {
            return Err(Error::Missing { argument: "layer normalization" });
        }
        for (scale, name) in to.iter().zip(names) {
            check(name, 1, self.sizes.units, scale.len())?;
        }
        for (gate, to) in to.iter_mut().enumerate() {
            fill(to, |unit| self.scale(gate, unit));
        }
        Ok(())
    }

    /// Writes tensors that hold all gates, if `others` are right too.
    pub(super) fn export_joined(
        &self,
        layout: GateLayout<G>,
        names: &Names,
        tensors: AllGates<&mut [f32]>,
        others: Result<(), Error>,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = self.sizes;
        tensors.check::<G>(names, self.sizes, self.is_split)?;
        let AllGates { input, recurrent, biases } = tensors;
        let rooms = biases.parts(layout, units);
        self.check_rooms(names.biases, &rooms).and(others)?;
        for gate in 0..G {
            self.write_input(gate, input, layout.place(gate, units, inputs));
            self.write_recurrent(gate, recurrent, layout.place(gate, units, outputs));
        }
        self.write_biases(rooms);
        Ok(())
    }

    /// Writes a tensor for each gate, if `others` are right too.
    pub(super) fn export_separate(
        &self,
        orientation: Orientation,
        names: &SeparateNames<G>,
        tensors: EachGate<&mut [f32], G>,
        others: Result<(), Error>,
    ) -> Result<(), Error> {
        let Sizes { inputs, units, outputs } = self.sizes;
        tensors.check(names, self.sizes, None)?;
        let (input, recurrent, rooms) = tensors.split();
        // The last gate's, whose biases may need both.
        self.check_rooms(names.biases.map(|names| names[G - 1]), &rooms).and(others)?;
        for (gate, (input, recurrent)) in input.into_iter().zip(recurrent).enumerate() {
            self.write_input(gate, input, orientation.place(units, inputs));
            self.write_recurrent(gate, recurrent, orientation.place(units, outputs));
        }
        self.write_biases(rooms);
        Ok(())
    }

    pub(super) fn write_input(&self, gate: usize, to: &mut [f32], place: Place) {
        let shape = [self.sizes.units, self.sizes.inputs];
        write(to, place, shape, |unit, k| self.input[gate].at(unit, k));
    }

    pub(super) fn write_recurrent(&self, gate: usize, to: &mut [f32], place: Place) {
        let shape = [self.sizes.units, self.sizes.outputs];
        write(to, place, shape, |unit, k| self.recurrent[gate].at(unit, k));
    }

    /// `Ok` if there is room for all biases: those of a gate can be added up, but for a split one.
    pub(super) fn check_rooms<S>(&self, names: [&'static str; 2], rooms: &Biases<S, G>) -> Result<(), Error> {
        for gate in 0..G {
            let is_split = self.is_split && gate == G - 1;
            let has_any = rooms.iter().any(|rooms| rooms[gate].is_some());
            for (which, name) in names.into_iter().enumerate() {
                let has_room = if is_split { rooms[which][gate].is_some() } else { has_any };
                let has_constant = which == 0 && self.constants[gate] != 0.0;
                if (self.biases[which][gate].is_some() || has_constant) && !has_room {
                    return Err(Error::Missing { argument: name });
                }
            }
        }
        Ok(())
    }

    /// Writes the biases: where there is room for both, each gets its own, else the one gets the sum.
    pub(super) fn write_biases(&self, rooms: Biases<&mut [f32], G>) {
        let present = rooms.each_ref().map(|rooms| rooms.each_ref().map(Option::is_some));
        for (which, rooms) in rooms.into_iter().enumerate() {
            for (gate, room) in rooms.into_iter().enumerate() {
                let Some(room) = room else { continue };
                let own = |unit| self.own_bias(which, gate, unit).unwrap_or(0.0);
                match (present[1 - which][gate], which) {
                    (true, 0) => fill(room, |unit| self.with_constant(gate, own(unit))),
                    (true, _) => fill(room, own),
                    (false, _) => fill(room, |unit| self.sum_of_biases(gate, unit)),
                }
            }
        }
    }

    /// The bias of W or of R of a gate.
    fn own_bias(&self, which: usize, gate: usize, unit: usize) -> Option<f32> {
        // That of a gate that is not read may be empty.
        self.biases[which][gate].map(|bias| bias.get(unit).copied().unwrap_or(0.0))
    }

    fn sum_of_biases(&self, gate: usize, unit: usize) -> f32 {
        let sum = match [0, 1].map(|which| self.own_bias(which, gate, unit)) {
            [Some(first), Some(second)] => first + second,
            [first, second] => first.or(second).unwrap_or(0.0),
        };
        self.with_constant(gate, sum)
    }

    fn with_constant(&self, gate: usize, bias: f32) -> f32 {
        // Not added where it is zero, which would lose the sign of −0.
        if self.constants[gate] != 0.0 { bias + self.constants[gate] } else { bias }
    }
}

impl<'a, const G: usize> Gates<'a, G> {
    /// The gates whose weights are read.
    pub(crate) fn read_gates(&self) -> impl Iterator<Item = usize> + use<G> {
        let unread = self.unread;
        (0..G).filter(move |&gate| unread != Some(gate))
    }

    /// W of a gate.
    pub(crate) fn input(&self, gate: usize) -> GateMatrix<'a> {
        self.input[gate]
    }

    /// R of a gate.
    pub(crate) fn recurrent(&self, gate: usize) -> GateMatrix<'a> {
        self.recurrent[gate]
    }

    /// The sum of the biases of a gate for one unit; of a split one that of W, and after those of all gates that of R.
    pub(crate) fn bias(&self, bias: usize, unit: usize) -> f32 {
        match bias.checked_sub(G - 1) {
            Some(which) if self.is_split => self.own_bias(which, G - 1, unit).unwrap_or(0.0),
            _ => self.sum_of_biases(bias, unit),
        }
    }

    /// The scale of a normalization of the sum that this is the bias of; zero without one, or of a gate that is not
    /// read.
    pub(crate) fn scale(&self, bias: usize, unit: usize) -> f32 {
        self.scales[bias].and_then(|scale| scale.get(unit).copied()).unwrap_or(0.0)
    }
}

/// The matrix of one gate at its place.
pub(super) fn at(data: &[f32], Place { offset, strides }: Place) -> GateMatrix<'_> {
    GateMatrix { data: &data[offset.min(data.len())..], strides }
}

/// The part of a vector that stands at a position.
pub(super) fn part(position: usize, units: usize) -> Range<usize> {
    position * units..(position + 1) * units
}

/// Writes a matrix to its place.
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

/// Writes a vector.
pub(super) fn fill(tensor: &mut [f32], value: impl Fn(usize) -> f32) {
    for (unit, element) in tensor.iter_mut().enumerate() {
        *element = value(unit);
    }
}
