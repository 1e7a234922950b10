//! Draws calls of `LstmStack::forward` and `LstmStack::backward` with right and wrong arguments, and holds the crate to what
//! it promises.
//!
//! Whether a call is right is decided here, from the shapes and strides alone, without the crate:
//!
//! 1. Nothing ever panics.
//! 2. A wrong call returns an error and writes nothing.
//! 3. A right call succeeds. It writes every element of its rows and none between them. Rows that are disjoint, but
//!    interleave otherwise than time within batch or batch within time, may also be refused.
//! 4. Outputs and gradients agree with the oracle in f64, with the same dropout.
//! 5. Any other arrangement, tape, thread count and instruction set with the same arithmetic gives the same bits.
//! 6. So does the sequence fed to `LstmStack::step`, where the stack has steps.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 4.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::{
    NaiveCall, NaiveCell, NaiveDirections, NaiveLayer, NaiveParameters, NaiveResult, NaiveStack, NaiveState,
};
use quadgate::{
    Arrangement, Directions, Dropout, GradientMode, LstmConfig, LstmStack, LstmWeights, StackBackward,
    StackConfig, StackForward,
};
use quadgate_fuzz::call::{UNTOUCHED, assert_same, dense, draw_optional, is_right, len_of, verdict};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::oracle::{tensors, widen};
use quadgate_fuzz::way::Way;
use quadgate_fuzz::written::{Written, draw_parameters};
use quadgate_fuzz::{given, rarely};
use std::ops::Range;

fuzz_target!(|case: Case| case.run());

/// Two calls, right or wrong.
#[derive(Debug)]
struct Case {
    inputs: usize,
    /// Units of each layer.
    units: Vec<usize>,
    directions: Directions,
    dropout: Option<Dropout>,
    /// Two ways that must give the same bits.
    ways: [Way<Option<Arrangement>>; 2],
    /// Elements that the buffer of parameter gradients is too long, if it is wanted.
    parameters: Option<usize>,
    input: Layout,
    /// h, c, and the cotangents of the output, h and c.
    read: [Option<Layout>; 5],
    /// The output, h, c, and the gradients of x, h and c.
    written: [Option<Layout>; 6],
    numbers: Numbers,
}

/// Everything that the calls read.
struct Data {
    /// W, R and b of each directed layer.
    weights: Vec<[Vec<f32>; 3]>,
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
        let config = config(inputs, &units, directions, None);
        let (width, rows, widest) =
            (config.output_size(), config.directed_layers() * batch, config.hidden_size());
        let mut states = || draw_optional(u, [1, rows, widest], 1..=2);
        let [h, c, dh, dc, last_h, last_c, dh0, dc0] =
            [states()?, states()?, states()?, states()?, states()?, states()?, states()?, states()?];
        let mut sequence = |features| draw_optional(u, [steps, batch, features], 0..=2);
        let (dy, y, dx) = (sequence(width)?, sequence(width)?, sequence(inputs)?);
        Ok(Case {
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
            read: [h, c, dy, dh, dc],
            written: [y, last_h, last_c, dx, dh0, dc0],
            numbers: Numbers::draw(u, &[0.3, 1e-3, 0.6])?,
        })
    }
}

/// A stack of layers of these widths, for training.
fn config(
    inputs: usize,
    units: &[usize],
    directions: Directions,
    way: Option<Way<Option<Arrangement>>>,
) -> StackConfig {
    let doubled = if directions == Directions::Concatenated { 2 } else { 1 };
    let below = std::iter::once(inputs).chain(units.iter().map(|units| doubled * units));
    let layers = below.zip(units).map(|(inputs, &units)| LstmConfig::new(inputs, units).training());
    let mut config = StackConfig::of_layers(layers, directions).unwrap();
    if let Some(Way { isa, threads, .. }) = way {
        config = config.isa(isa).threads(threads);
    }
    way.and_then(|way| way.plan).into_iter().fold(config, StackConfig::arrangement)
}

/// Of rows of states those of a directed layer of so many units.
fn rows_of<T: Copy>(all: &[T], widest: usize, rows: Range<usize>, units: usize) -> Vec<T> {
    rows.flat_map(|row| &all[row * widest..][..units]).copied().collect()
}

impl Case {
    fn config(&self, way: Option<Way<Option<Arrangement>>>) -> StackConfig {
        config(self.inputs, &self.units, self.directions, way)
    }

    /// Units of directed layer number `index`.
    fn units_of(&self, index: usize) -> usize {
        self.units[index / self.directions.count()]
    }

    /// What must become of the forward call, and of the backward call.
    fn verdicts(&self) -> [Verdict; 2] {
        let [steps, batch, _] = self.input.shape;
        let config = self.config(None);
        let input = [steps, batch, self.inputs];
        let output = [steps, batch, config.output_size()];
        let states = [1, config.directed_layers() * batch, config.hidden_size()];
        let [h, c, dy, dh, dc] = self.read.each_ref().map(Option::as_ref);
        let [y, last_h, last_c, dx, dh0, dc0] = self.written.each_ref().map(Option::as_ref);
        let forward = verdict(
            [(Some(&self.input), input), (h, states), (c, states)],
            [(y, output), (last_h, states), (last_c, states)],
        );
        let backward =
            verdict([(dy, output), (dh, states), (dc, states)], [(dx, input), (dh0, states), (dc0, states)]);
        let parameters = if self.parameters == Some(1) { Verdict::Wrong } else { Verdict::Right };
        [forward, backward.max(parameters)]
    }

    fn run(self) {
        let data = self.data();
        let verdicts = self.verdicts();
        let mut first: Option<Written> = None;
        for way in self.ways {
            let mut written = self.untouched();
            let right = self.calls(way, &data, &mut written, verdicts);
            written.assert_same_after(right, &self.untouched(), "a refused call");
            written.assert_same(first.get_or_insert_with(|| written.clone()), "another way");
            if right > 0 {
                self.check_steps(way, &data, &written);
            }
            if right == 2 && !self.numbers.special {
                self.check(&data, &written);
            }
        }
    }

    fn data(&self) -> Data {
        let (mut numbers, config) = (self.numbers.clone(), self.config(None));
        let scale = self.numbers.scale;
        let weights = (0..config.directed_layers())
            .map(|index| {
                let (inputs, units) = (config.directed_layer(index).input_size(), self.units_of(index));
                [inputs, units, 1].map(|inputs| numbers.take(4 * units * inputs, scale))
            })
            .collect();
        let input = numbers.take(self.input.len, 1.0);
        let read = self.read.each_ref().map(|layout| numbers.take(len_of(layout), 1.0));
        Data { weights, input, read }
    }

    fn untouched(&self) -> Written {
        let total = self.config(None).total_parameters().unwrap();
        Written::untouched(&self.written, self.parameters.map_or(0, |too_long| total + too_long))
    }

    fn stack(&self, way: Way<Option<Arrangement>>, data: &Data) -> LstmStack {
        let config = self.config(Some(way));
        let weights = data.weights.iter().enumerate().map(|(index, [input, recurrent, bias])| {
            let layer = config.directed_layer(index);
            LstmWeights::pytorch(&layer, input, recurrent, Some(bias), None).unwrap()
        });
        let weights: Vec<_> = weights.collect();
        LstmStack::new(&config, &weights).unwrap()
    }

    /// Runs the forward call and, if that was right, the backward call; how many were right.
    fn calls(
        &self,
        way: Way<Option<Arrangement>>,
        data: &Data,
        written: &mut Written,
        verdicts: [Verdict; 2],
    ) -> usize {
        let stack = self.stack(way, data);
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
            StackForward::new(input).tape(&mut tape),
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
            StackBackward::new(input),
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
    fn check_steps(&self, way: Way<Option<Arrangement>>, data: &Data, written: &Written) {
        let [steps, batch, _] = self.input.shape;
        let has_dropout = self.dropout.is_some() && self.units.len() > 1;
        let stack = self.stack(way, data);
        let Ok(mut state) = stack.state(batch) else {
            return assert!(self.directions != Directions::Forward);
        };
        let (Some(layout), false) = (&self.written[0], has_dropout) else { return };
        let (widest, directed) = (stack.config().hidden_size(), self.units.len());
        for (layer, state) in state.layers_mut().iter_mut().enumerate() {
            let part = |which: usize| -> Vec<f32> {
                let all = dense(self.read[which].as_ref(), &data.read[which], [1, directed * batch], widest);
                let own = rows_of(&all, widest, layer * batch..(layer + 1) * batch, self.units[layer]);
                own.iter().map(|&value| value as f32).collect()
            };
            state.set_hidden(quadgate::Matrix::new(&part(0), batch, self.units[layer])).unwrap();
            state.set_cell(quadgate::Matrix::new(&part(1), batch, self.units[layer])).unwrap();
        }
        let width = stack.config().output_size();
        for t in 0..steps {
            stack.step(&mut state, self.input.matrix(&data.input, t)).unwrap();
            for b in 0..batch {
                let found = &written.outputs[0][layout.start(t, b)..][..width];
                assert_same(found, state.hidden(b).unwrap(), "output");
            }
        }
    }

    /// Holds what right calls wrote to the oracle, and what lies between its rows to what was there.
    fn check(&self, data: &Data, written: &Written) {
        let [steps, batch, _] = self.input.shape;
        let config = self.config(None);
        let (width, directed, widest) =
            (config.output_size(), config.directed_layers(), config.hidden_size());
        let cells: Vec<_> = data
            .weights
            .iter()
            .map(|[input, recurrent, bias]| {
                let units = bias.len() / 4;
                let parameters = NaiveParameters::new(widen(input), widen(recurrent), widen(bias));
                NaiveCell::new(input.len() / bias.len(), units, parameters)
            })
            .collect();
        let read =
            |which: usize, rows, width| dense(self.read[which].as_ref(), &data.read[which], rows, width);
        let states = |h: usize, c: usize| -> Vec<NaiveState<f64>> {
            let [h, c] = [h, c].map(|which| read(which, [1, directed * batch], widest));
            let part = |all: &[f64], index: usize| {
                rows_of(all, widest, index * batch..(index + 1) * batch, self.units_of(index))
            };
            (0..directed).map(|index| NaiveState { hidden: part(&h, index), cell: part(&c, index) }).collect()
        };
        let x = dense(Some(&self.input), &data.input, [steps, batch], self.inputs);
        let call = NaiveCall { initial: states(0, 1), ..NaiveCall::new([steps, batch], x, &cells) };
        let cotangents = NaiveResult { output: read(2, [steps, batch], width), last: states(3, 4) };
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
        let mask = |layer, dropout: Dropout| {
            let width = config.directed_layer((layer + 1) * self.directions.count()).input_size();
            let mut factors = vec![0.0; steps * batch * width];
            dropout.factors(layer, [steps, batch, width], &mut factors).unwrap();
            widen(&factors)
        };
        let masks: Vec<_> =
            (1..self.units.len()).map(|above| self.dropout.map(|dropout| mask(above - 1, dropout))).collect();
        let mut expected = tensors(stack.forward(&call, &masks), stack.backward(&call, &masks, &cotangents));
        // What lies beside a narrower layer stays as it was.
        for which in [1, 2, 4, 5] {
            let mut rest = &expected[which][..];
            let rows = (0..directed * batch).flat_map(|row| {
                let units = self.units_of(row / batch);
                let own = rest.split_off(..units).unwrap();
                own.iter().copied().chain(std::iter::repeat_n(f64::from(UNTOUCHED), widest - units))
            });
            expected[which] = rows.collect();
        }
        written.assert_near(&self.written, &expected, [steps, batch, directed * batch], 2);
    }
}
