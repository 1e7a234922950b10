//! Draws stacks of any cell, with options, and calls of `Stack::forward` and `Stack::backward` with right and wrong
//! arguments, on rows of any lengths and masks of steps, and holds the crate to what it promises.
//!
//! Whether a call is right is decided here, from the shapes and strides alone, without the crate:
//!
//! 1. Nothing ever panics.
//! 2. A wrong call returns an error and writes nothing.
//! 3. A right call succeeds. It writes every element of its rows and none between them. Rows that are disjoint, but
//!    interleave otherwise than time within batch or batch within time, may also be refused.
//! 4. Outputs and gradients agree with the oracle in f64, with the same dropout.
//! 5. Any other arrangement, tape, thread count and instruction set with the same arithmetic gives the same bits.
//! 6. So does the sequence fed to `Stack::step`, where the stack has steps.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 4, as do those whose options have kinks or
//! limits, and those in which numbers or their errors grow large.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::{
    NaiveCall, NaiveCell, NaiveDirections, NaiveLayer, NaiveResult, NaiveStack, NaiveState,
};
use quadgate::{
    Arrangement, Directions, Dropout, GradientMode, GruConfig, LstmConfig, RnnConfig, Stack, StackBackward,
    StackConfig, StackForward,
};
use quadgate_fuzz::call::{UNTOUCHED, assert_same, dense, draw_optional, is_right, len_of, verdict};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::options::{Cell, CellConfig, Options};
use quadgate_fuzz::oracle::{Tensors, are_steady, tensors, widen};
use quadgate_fuzz::rows::RowSteps;
use quadgate_fuzz::written::{Written, draw_parameters};
use quadgate_fuzz::{given, rarely};
use std::ops::Range;

fuzz_target!(|case: Case| case.run());

/// Two ways that must give the same bits.
type Way = quadgate_fuzz::way::Way<Option<Arrangement>>;

/// Two calls, right or wrong.
#[derive(Debug)]
struct Case {
    /// Of each layer, without a projection.
    options: Options,
    inputs: usize,
    /// Units of each layer.
    units: Vec<usize>,
    directions: Directions,
    dropout: Option<Dropout>,
    ways: [Way; 2],
    /// Elements that the buffer of parameter gradients is too long, if it is wanted.
    parameters: Option<usize>,
    input: Layout,
    rows: RowSteps,
    /// h, c, and the cotangents of the output, h and c.
    read: [Option<Layout>; 5],
    /// The output, h, c, and the gradients of x, h and c.
    written: [Option<Layout>; 6],
    numbers: Numbers,
}

/// Everything that the calls read.
struct Data {
    /// Of each directed layer.
    parameters: Vec<f32>,
    input: Vec<f32>,
    read: [Vec<f32>; 5],
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let steps = if rarely(u)? { u.int_in_range(20..=70)? } else { u.int_in_range(0..=6)? };
        let (batch, inputs) = (u.int_in_range(0..=9)?, u.int_in_range(0..=40)?);
        let (hidden, layers) = (u.int_in_range(1..=40)?, u.int_in_range(1..=4)?);
        let units: Vec<usize> = match u.arbitrary()? {
            true => vec![hidden; layers],
            false => (0..layers).map(|_| u.int_in_range(1..=40)).collect::<Result<_, _>>()?,
        };
        let directions = *u.choose(&[
            Directions::Forward,
            Directions::Reverse,
            Directions::Concatenated,
            Directions::Summed,
        ])?;
        let ways = Way::draw_two(u, |u| {
            u.choose(&[None, Some(Arrangement::InTurn), Some(Arrangement::SideBySide)]).copied()
        })?;
        let cell = Cell::draw(u)?;
        let options = match u.arbitrary()? {
            true => Options { projection: None, projection_bias: false, ..Options::draw(u, cell, false)? },
            false => Options::none(cell),
        };
        let options = if options.make_sense() { options } else { Options::none(cell) };
        let width = doubled(directions) * units[layers - 1];
        let shape = [1, directions.count() * layers * batch, units.iter().copied().max().unwrap_or(0)];
        let mut states = || draw_optional(u, shape, 1..=2);
        let [h, dh, last_h, dh0] = [states()?, states()?, states()?, states()?];
        let [c, dc, last_c, dc0] = match cell.has_cell_state() || rarely(u)? {
            true => {
                let mut states = || draw_optional(u, shape, 1..=2);
                [states()?, states()?, states()?, states()?]
            }
            false => [None, None, None, None],
        };
        let mut sequence = |features| draw_optional(u, [steps, batch, features], 0..=2);
        let (dy, y, dx) = (sequence(width)?, sequence(width)?, sequence(inputs)?);
        Ok(Case {
            options,
            inputs,
            units,
            directions,
            dropout: if u.arbitrary()? {
                let tenths: f32 = u.int_in_range(0u8..=9)?.into();
                Some(Dropout::new(tenths / 10.0, u.arbitrary()?).unwrap())
            } else {
                None
            },
            ways,
            parameters: draw_parameters(u)?,
            input: Layout::draw(u, [steps, batch, inputs], 2..=2)?,
            rows: RowSteps::draw(u, [steps, batch])?,
            read: [h, c, dy, dh, dc],
            written: [y, last_h, last_c, dx, dh0, dc0],
            numbers: Numbers::draw(u, &[0.3, 1e-3, 0.6])?,
        })
    }
}

/// Of rows of states those of a directed layer of so many units.
fn rows_of<T: Copy>(all: &[T], widest: usize, rows: Range<usize>, units: usize) -> Vec<T> {
    rows.flat_map(|row| &all[row * widest..][..units]).copied().collect()
}

/// How many times as wide as a layer its output is.
fn doubled(directions: Directions) -> usize {
    if directions == Directions::Concatenated { 2 } else { 1 }
}

impl Case {
    /// X and H of each layer.
    fn sizes(&self) -> Vec<[usize; 2]> {
        let above = self.units.iter().map(|units| doubled(self.directions) * units);
        let inputs = std::iter::once(self.inputs).chain(above);
        inputs.zip(&self.units).map(|(inputs, &units)| [inputs, units]).collect()
    }

    /// X and H of directed layer number `index`.
    fn sizes_of(&self, index: usize) -> [usize; 2] {
        self.sizes()[index / self.directions.count()]
    }

    /// Units of directed layer number `index`.
    fn units_of(&self, index: usize) -> usize {
        self.units[index / self.directions.count()]
    }

    /// Directed layers.
    fn directed(&self) -> usize {
        self.units.len() * self.directions.count()
    }

    /// Features of the output.
    fn width(&self) -> usize {
        doubled(self.directions) * self.units[self.units.len() - 1]
    }

    fn widest(&self) -> usize {
        self.units.iter().copied().max().unwrap_or(0)
    }

    /// Parameters of each directed layer.
    fn lens(&self) -> Vec<usize> {
        (0..self.directed()).map(|index| self.options.total(self.sizes_of(index))).collect()
    }

    /// What must become of the forward call, and of the backward call.
    fn verdicts(&self) -> [Verdict; 2] {
        let [steps, batch, _] = self.input.shape;
        let input = [steps, batch, self.inputs];
        let output = [steps, batch, self.width()];
        let states = [1, self.directed() * batch, self.widest()];
        let [h, c, dy, dh, dc] = self.read.each_ref().map(Option::as_ref);
        let [y, last_h, last_c, dx, dh0, dc0] = self.written.each_ref().map(Option::as_ref);
        let forward = verdict(
            [(Some(&self.input), input), (h, states), (c, states)],
            [(y, output), (last_h, states), (last_c, states)],
        );
        let backward =
            verdict([(dy, output), (dh, states), (dc, states)], [(dx, input), (dh0, states), (dc0, states)]);
        let right_if = |is_right: bool| if is_right { Verdict::Right } else { Verdict::Wrong };
        let has_cell_state = self.options.cell.has_cell_state();
        let forward = forward
            .max(self.rows.verdict([steps, batch]))
            .max(right_if(has_cell_state || c.or(last_c).is_none()));
        let is_right = self.parameters != Some(1) && (has_cell_state || dc.or(dc0).is_none());
        [forward, backward.max(right_if(is_right))]
    }

    fn run(self) {
        match self.options.cell {
            Cell::Lstm => self.run_of::<LstmConfig>(),
            Cell::Gru(_) => self.run_of::<GruConfig>(),
            Cell::Rnn => self.run_of::<RnnConfig>(),
        }
    }

    fn run_of<C: CellConfig>(&self) {
        let data = self.data();
        let verdicts = self.verdicts();
        let mut first: Option<Written> = None;
        for way in self.ways {
            let mut written = self.untouched();
            let stack = self.stack::<C>(way, &data);
            let right = self.calls(&stack, way, &data, &mut written, verdicts);
            written.assert_same_after(right, &self.untouched(), "a refused call");
            written.assert_same(first.get_or_insert_with(|| written.clone()), "another way");
            if right > 0 {
                self.check_steps(&stack, &data, &written);
            }
        }
        let (Some(written), true) = (first, verdicts == [Verdict::Right; 2]) else { return };
        if !self.numbers.special && self.options.are_smooth() {
            let [steps, batch, _] = self.input.shape;
            let [expected, moved] = [0.0, 1e-5].map(|by| self.oracle(&data, by));
            if are_steady(&expected, &moved) {
                let expected = self.beside_narrow_layers(expected);
                written.assert_near(&self.written, &expected, [steps, batch, self.directed() * batch], 2);
            }
        }
    }

    fn data(&self) -> Data {
        let mut numbers = self.numbers.clone();
        let parameters = numbers.take(self.lens().iter().sum(), self.numbers.scale);
        let input = numbers.take(self.input.len, 1.0);
        let read = self.read.each_ref().map(|layout| numbers.take(len_of(layout), 1.0));
        Data { parameters, input, read }
    }

    fn untouched(&self) -> Written {
        let total: usize = self.lens().iter().sum();
        Written::untouched(&self.written, self.parameters.map_or(0, |too_long| total + too_long))
    }

    fn stack<C: CellConfig>(&self, way: Way, data: &Data) -> Stack<C> {
        let layers = self.sizes().into_iter().map(|sizes| C::of(&self.options, sizes));
        let config = StackConfig::of_layers(layers, self.directions).unwrap();
        let config = config.isa(way.isa).threads(way.threads).training();
        let config = way.plan.into_iter().fold(config, StackConfig::arrangement);
        Stack::new(&config, &config.weights(&data.parameters).unwrap()).unwrap()
    }

    /// Runs the forward call and, if that was right, the backward call; how many were right.
    fn calls<C: CellConfig>(
        &self,
        stack: &Stack<C>,
        way: Way,
        data: &Data,
        written: &mut Written,
        verdicts: [Verdict; 2],
    ) -> usize {
        let [steps, batch, _] = self.input.shape;
        let [steps, batch] = way.room([steps, batch]);
        let mut workspace = stack.workspace(steps, batch).unwrap();
        let mut tape = match way.every {
            None => stack.tape(steps, batch).unwrap(),
            Some(_) => stack.checkpointed_tape(steps, batch, way.every).unwrap(),
        };
        let [h, c, dy, dh, dc] = &self.read;
        let [y, last_h, last_c, dx, dh0, dc0] = &self.written;
        let [h_data, c_data, dy_data, dh_data, dc_data] = &data.read;
        let Written { outputs: [to_y, to_h, to_c, to_dx, to_dh0, to_dc0], parameters } = written;

        let input = self.input.sequence(&data.input);
        let mut call = given!(
            self.rows.of_forward(StackForward::new(input)).tape(&mut tape),
            initial_hidden = h.matrix(h_data, 0),
            initial_cell = c.matrix(c_data, 0),
            output = y.sequence_mut(to_y),
            last_hidden = last_h.matrix_mut(to_h),
            last_cell = last_c.matrix_mut(to_c),
        );
        call = self.dropout.into_iter().fold(call, StackForward::dropout);
        if !is_right(stack.forward(&mut workspace, call), verdicts[0]) {
            return 0;
        }

        let mut call = given!(
            self.rows.of_backward(StackBackward::new(input)),
            output_cotangent = dy.sequence(dy_data),
            last_hidden_cotangent = dh.matrix(dh_data, 0),
            last_cell_cotangent = dc.matrix(dc_data, 0),
            input_gradient = dx.sequence_mut(to_dx),
            initial_hidden_gradient = dh0.matrix_mut(to_dh0),
            initial_cell_gradient = dc0.matrix_mut(to_dc0),
        );
        if self.parameters.is_some() {
            call = call.parameter_gradients(parameters, GradientMode::Overwrite);
        }
        1 + usize::from(is_right(stack.backward(&mut workspace, &mut tape, call), verdicts[1]))
    }

    /// Holds the output to that of single steps, bit for bit.
    fn check_steps<C: CellConfig>(&self, stack: &Stack<C>, data: &Data, written: &Written) {
        let [steps, batch, _] = self.input.shape;
        let is_plain = (self.dropout.is_none() || self.units.len() == 1) && self.rows.are_all();
        let Ok(mut state) = stack.state(batch) else {
            return assert!(self.directions != Directions::Forward);
        };
        let (Some(layout), true) = (&self.written[0], is_plain) else { return };
        let (widest, directed) = (self.widest(), self.units.len());
        for (layer, state) in state.layers_mut().iter_mut().enumerate() {
            let part = |which: usize| -> Vec<f32> {
                let all = dense(self.read[which].as_ref(), &data.read[which], [1, directed * batch], widest);
                let own = rows_of(&all, widest, layer * batch..(layer + 1) * batch, self.units[layer]);
                own.iter().map(|&value| value as f32).collect()
            };
            state.set_hidden(quadgate::Matrix::new(&part(0), batch, self.units[layer])).unwrap();
            if self.options.cell.has_cell_state() {
                state.set_cell(quadgate::Matrix::new(&part(1), batch, self.units[layer])).unwrap();
            }
        }
        let width = self.width();
        for t in 0..steps {
            stack.step(&mut state, self.input.matrix(&data.input, t)).unwrap();
            for b in 0..batch {
                let found = &written.outputs[0][layout.start(t, b)..][..width];
                assert_same(found, state.hidden(b).unwrap(), "output");
            }
        }
    }

    /// What the calls shall write, with each parameter moved by a part of itself, up or down.
    fn oracle(&self, data: &Data, moved: f64) -> Tensors {
        let [steps, batch, _] = self.input.shape;
        let (directed, widest) = (self.directed(), self.widest());
        let up_or_down = [1.0 + moved, 1.0 - moved, 1.0 + moved].into_iter().cycle();
        let parameters: Vec<f64> =
            widen(&data.parameters).into_iter().zip(up_or_down).map(|(p, by)| p * by).collect();
        let mut rest = &parameters[..];
        let cells: Vec<NaiveCell> = self
            .lens()
            .into_iter()
            .enumerate()
            .map(|(index, len)| {
                let (own, others) = rest.split_at(len);
                rest = others;
                self.options.oracle(self.sizes_of(index), own)
            })
            .collect();
        let read =
            |which: usize, rows, width| dense(self.read[which].as_ref(), &data.read[which], rows, width);
        let states = |h: usize, c: usize| -> Vec<NaiveState> {
            let [h, c] = [h, c].map(|which| read(which, [1, directed * batch], widest));
            let part = |all: &[f64], index: usize, units: usize| {
                rows_of(all, widest, index * batch..(index + 1) * batch, units)
            };
            let of = |(index, cell): (usize, &NaiveCell)| NaiveState {
                hidden: part(&h, index, cell.hidden_size),
                cell: part(&c, index, cell.state_size()),
            };
            cells.iter().enumerate().map(of).collect()
        };
        let x = dense(Some(&self.input), &data.input, [steps, batch], self.inputs);
        let masks = cells.iter().map(|cell| self.options.masks(cell, [steps, batch], [None, None, None]));
        let call = NaiveCall {
            initial: states(0, 1),
            run: self.rows.naive(),
            masks: masks.collect(),
            ..NaiveCall::new([steps, batch], x, &cells)
        };
        let cotangents = NaiveResult { output: read(2, [steps, batch], self.width()), last: states(3, 4) };
        let directions = match self.directions {
            Directions::Forward => NaiveDirections::Forward,
            Directions::Reverse => NaiveDirections::Reverse,
            Directions::Concatenated => NaiveDirections::Concatenated,
            Directions::Summed => NaiveDirections::Summed,
            other => unreachable!("the oracle knows no {other:?}"),
        };
        let layers = cells.chunks(self.directions.count());
        let layers = layers.map(|cells| NaiveLayer { cells: cells.to_vec(), directions }).collect();
        let stack = NaiveStack { layers };
        let mask = |layer: usize, dropout: Dropout| {
            let width = self.sizes()[layer + 1][0];
            let mut factors = vec![0.0; steps * batch * width];
            dropout.factors(layer, [steps, batch, width], &mut factors).unwrap();
            widen(&factors)
        };
        let masks: Vec<_> =
            (1..self.units.len()).map(|above| self.dropout.map(|dropout| mask(above - 1, dropout))).collect();
        tensors(stack.forward(&call, &masks), stack.backward(&call, &masks, &cotangents))
    }

    /// The same with what lies beside a narrower layer in the rows of states, which stays as it was.
    fn beside_narrow_layers(&self, mut expected: Tensors) -> Tensors {
        let (batch, widest) = (self.input.shape[1], self.widest());
        for which in [1, 2, 4, 5] {
            let mut rest = &expected[which][..];
            if rest.is_empty() {
                continue;
            }
            let rows = (0..self.directed() * batch).flat_map(|row| {
                let units = self.units_of(row / batch);
                let own = rest.split_off(..units).unwrap();
                own.iter().copied().chain(std::iter::repeat_n(f64::from(UNTOUCHED), widest - units))
            });
            expected[which] = rows.collect();
        }
        expected
    }
}
