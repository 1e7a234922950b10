//! Draws layers of any cell with any options, and calls of `forward`, `backward` and `step` with right and wrong
//! arguments, on rows of any lengths and masks of steps, and holds the crate to what it promises.
//!
//! Whether a call is right is decided here, from the options, shapes and strides alone, without the crate:
//!
//! 1. Nothing ever panics.
//! 2. A layer whose options make no sense cannot be made, any other one can.
//! 3. A wrong call, or one with memory of a layer of other options, returns an error and writes nothing.
//! 4. A right call succeeds. It writes every element of its rows and none between them. Rows that are disjoint, but
//!    interleave otherwise than time within batch or batch within time, may also be refused.
//! 5. Any other schedule, split, tape, thread count and instruction set with the same arithmetic gives the same bits,
//!    and so does no tape.
//! 6. So does the sequence fed to `step`, where the call says nothing of shares, masks and lengths.
//! 7. Outputs and gradients agree with the oracle in f64.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 7, as do those whose options have kinks or
//! limits, and those in which numbers or their errors grow large.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::{NaiveCall, NaiveDirections, NaiveLayer, NaiveResult, NaiveState};
use quadgate::{Backward, Coupling, Direction, Forward, GradientMode, Schedule, Split, Tape, Workspace};
use quadgate_fuzz::call::{assert_same, dense, draw_optional, is_right, len_of, verdict};
use quadgate_fuzz::layer::{Layer, Shape};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::options::{Cell, Options};
use quadgate_fuzz::oracle::{Tensors, are_steady, tensors, widen};
use quadgate_fuzz::rows::RowSteps;
use quadgate_fuzz::written::{Written, draw_parameters};
use quadgate_fuzz::{given, rarely};

fuzz_target!(|case: Case| case.run());

/// A schedule and a split, if they are demanded.
type Way = quadgate_fuzz::way::Way<(Option<Schedule>, Option<Split>)>;

/// A layer and its calls, right or wrong.
#[derive(Debug)]
struct Case {
    inputs: usize,
    hidden: usize,
    options: Options,
    direction: Direction,
    training: bool,
    /// Those of another layer.
    other_options: Options,
    /// Two ways that must give the same bits.
    ways: [Way; 2],
    /// Elements that the buffer of parameter gradients is too long, if it is wanted.
    parameters: Option<usize>,
    input: Layout,
    rows: RowSteps,
    /// h, c, the shares of h and c, the recurrent mask, and the cotangents of the output, h and c.
    read: [Option<Layout>; 8],
    /// The output, h, c, and the gradients of x, h and c.
    written: [Option<Layout>; 6],
    numbers: Numbers,
}

/// Everything that the calls read.
struct Data {
    parameters: Vec<f32>,
    input: Vec<f32>,
    read: [Vec<f32>; 8],
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let steps = if rarely(u)? { u.int_in_range(20..=70)? } else { u.int_in_range(0..=6)? };
        let (batch, inputs) = (u.int_in_range(0..=9)?, u.int_in_range(0..=40)?);
        let hidden = u.int_in_range(1..=40)?;
        let mut draw = || {
            let (cell, odd) = (Cell::draw(u)?, rarely(u)?);
            Options::draw(u, cell, odd)
        };
        let (options, other_options) = (draw()?, draw()?);
        let ways = Way::draw_two(u, |u| {
            let cannot_split = options.need_whole_rows() && !rarely(u)?;
            let schedule = *u.choose(&[None, Some(Schedule::Fused), Some(Schedule::Hoisted)])?;
            let split = *u.choose(&[None, Some(Split::Rows), Some(Split::Units)])?;
            Ok((schedule, split.filter(|_| !cannot_split)))
        })?;
        let outputs = options.outputs(hidden);
        let mut state = |width| draw_optional(u, [1, batch, width], 1..=2);
        let (h, dh, last_h, dh0) = (state(outputs)?, state(outputs)?, state(outputs)?, state(outputs)?);
        let (c, dc, last_c, dc0) = match options.cell.has_cell_state() || rarely(u)? {
            true => {
                let mut state = || draw_optional(u, [1, batch, hidden], 1..=2);
                (state()?, state()?, state()?, state()?)
            }
            false => (None, None, None, None),
        };
        let mut sequence = |width| draw_optional(u, [steps, batch, width], 0..=2);
        let (dy, y, dx) = (sequence(outputs)?, sequence(outputs)?, sequence(inputs)?);
        let mut mask = |has_option, shape| match has_option || rarely(u)? {
            true => draw_optional(u, shape, 1..=2),
            false => Ok(None),
        };
        let has_zoneout = options.zoneout.is_some();
        let hidden_share = mask(has_zoneout, [steps, batch, outputs])?;
        let cell_share = mask(has_zoneout && options.cell.has_cell_state(), [steps, batch, hidden])?;
        let recurrent_mask = mask(options.recurrent_dropout, [1, batch, outputs])?;
        Ok(Case {
            inputs,
            hidden,
            options,
            direction: *u.choose(&[Direction::Forward, Direction::Reverse])?,
            training: !rarely(u)?,
            other_options,
            ways,
            parameters: draw_parameters(u)?,
            input: Layout::draw(u, [steps, batch, inputs], 2..=2)?,
            rows: RowSteps::draw(u, [steps, batch])?,
            read: [h, c, hidden_share, cell_share, recurrent_mask, dy, dh, dc],
            written: [y, last_h, last_c, dx, dh0, dc0],
            numbers: Numbers::draw(u, &[0.3, 1e-3, 0.6])?,
        })
    }
}

impl Case {
    fn shape<'a>(&'a self, options: &'a Options, way: Way) -> Shape<'a> {
        let (sizes, direction, training) = ([self.inputs, self.hidden], self.direction, self.training);
        Shape { sizes, options, direction, way, training }
    }

    /// What must become of the forward call, and of the backward call.
    fn verdicts(&self) -> [Verdict; 2] {
        let [steps, batch, _] = self.input.shape;
        let outputs = self.options.outputs(self.hidden);
        let (input, output) = ([steps, batch, self.inputs], [steps, batch, outputs]);
        let (state, cell) = ([1, batch, outputs], [1, batch, self.hidden]);
        let [h, c, hidden_share, cell_share, mask, dy, dh, dc] = self.read.each_ref().map(Option::as_ref);
        let [y, last_h, last_c, dx, dh0, dc0] = self.written.each_ref().map(Option::as_ref);
        let given = verdict(
            [
                (Some(&self.input), input),
                (hidden_share, output),
                (cell_share, [steps, batch, self.hidden]),
                (mask, state),
            ],
            [],
        );
        let has_cell_state = self.options.cell.has_cell_state();
        let is_right = (self.options.zoneout.is_some() || hidden_share.or(cell_share).is_none())
            && (self.options.recurrent_dropout || mask.is_none())
            && (has_cell_state || c.or(last_c).or(cell_share).is_none());
        let forward = verdict([(h, state), (c, cell)], [(y, output), (last_h, state), (last_c, cell)]);
        let backward =
            verdict([(dy, output), (dh, state), (dc, cell)], [(dx, input), (dh0, state), (dc0, cell)]);
        let right_if = |is_right: bool| if is_right { Verdict::Right } else { Verdict::Wrong };
        let given = given.max(self.rows.verdict([steps, batch]));
        let forward = forward.max(given).max(right_if(is_right));
        let is_right =
            self.training && self.parameters != Some(1) && (has_cell_state || dc.or(dc0).is_none());
        [forward, backward.max(right_if(is_right))]
    }

    fn run(self) {
        let data = self.data();
        let [steps, batch, _] = self.input.shape;
        let mut first: Option<Written> = None;
        let mut right = 0;
        for way in self.ways {
            let layer = self.shape(&self.options, way).layer(&data.parameters);
            let can_split = way.plan.1 != Some(Split::Units) || !self.options.need_whole_rows();
            let is_expected = self.options.make_sense() && can_split;
            assert_eq!(layer.is_ok(), is_expected, "{:?}", layer.err());
            let Ok(layer) = layer else { continue };
            let room = way.room([steps, batch]);
            let mut memory = (layer.workspace(room[1]), layer.tape(way.every, room));
            let mut written = self.untouched();
            right = self.calls(&layer, &mut memory, &data, &mut written);
            self.check_others(way, &layer, &mut memory, &data);
            written.assert_same(first.get_or_insert_with(|| written.clone()), "another way");
            if right > 0 {
                self.check_steps(&layer, &data, &written);
            }
        }
        let Some(written) = first else { return };
        if right == 2 && !self.numbers.special && self.options.are_smooth() {
            let [expected, moved] = [0.0, 1e-5].map(|by| self.oracle(&data, by));
            if are_steady(&expected, &moved) {
                written.assert_near(&self.written, &expected, [steps, batch, batch], right);
            }
        }
    }

    fn data(&self) -> Data {
        let mut numbers = self.numbers.clone();
        let total = self.options.total([self.inputs, self.hidden]);
        let parameters = numbers.take(if self.options.make_sense() { total } else { 0 }, self.numbers.scale);
        let mut read = self.read.each_ref().map(|layout| numbers.take(len_of(layout), 1.0));
        read[2..4].iter_mut().flatten().for_each(|share| *share = share.abs());
        Data { parameters, input: numbers.take(self.input.len, 1.0), read }
    }

    fn untouched(&self) -> Written {
        let total = self.options.total([self.inputs, self.hidden]);
        Written::untouched(&self.written, self.parameters.map_or(0, |too_long| total + too_long))
    }

    fn forward<'a>(&'a self, data: &'a Data, to: &'a mut Written) -> Forward<'a> {
        let [h, c, hidden_share, cell_share, mask, ..] = &self.read;
        let [h_data, c_data, hidden_share_data, cell_share_data, mask_data, ..] = &data.read;
        let [y, last_h, last_c, ..] = &self.written;
        let [to_y, to_h, to_c, ..] = &mut to.outputs;
        given!(
            self.rows.of_forward(Forward::new(self.input.sequence(&data.input))),
            initial_hidden = h.matrix(h_data, 0),
            initial_cell = c.matrix(c_data, 0),
            hidden_share = hidden_share.sequence(hidden_share_data),
            cell_share = cell_share.sequence(cell_share_data),
            recurrent_mask = mask.matrix(mask_data, 0),
            output = y.sequence_mut(to_y),
            last_hidden = last_h.matrix_mut(to_h),
            last_cell = last_c.matrix_mut(to_c),
        )
    }

    fn backward<'a>(&'a self, data: &'a Data, to: &'a mut Written) -> Backward<'a> {
        let [_, _, hidden_share, cell_share, mask, dy, dh, dc] = &self.read;
        let [_, _, hidden_share_data, cell_share_data, mask_data, dy_data, dh_data, dc_data] = &data.read;
        let [.., dx, dh0, dc0] = &self.written;
        let [.., to_dx, to_dh0, to_dc0] = &mut to.outputs;
        let call = given!(
            self.rows.of_backward(Backward::new(self.input.sequence(&data.input))),
            hidden_share = hidden_share.sequence(hidden_share_data),
            cell_share = cell_share.sequence(cell_share_data),
            recurrent_mask = mask.matrix(mask_data, 0),
            output_cotangent = dy.sequence(dy_data),
            last_hidden_cotangent = dh.matrix(dh_data, 0),
            last_cell_cotangent = dc.matrix(dc_data, 0),
            input_gradient = dx.sequence_mut(to_dx),
            initial_hidden_gradient = dh0.matrix_mut(to_dh0),
            initial_cell_gradient = dc0.matrix_mut(to_dc0),
        );
        match self.parameters {
            None => call,
            Some(_) => call.parameter_gradients(&mut to.parameters, GradientMode::Overwrite),
        }
    }

    /// Runs the forward call, without and with a tape, and the backward call if that was right; how many were right.
    fn calls(&self, layer: &Layer, own: &mut (Workspace, Tape), data: &Data, written: &mut Written) -> usize {
        let ((workspace, tape), verdicts) = (own, self.verdicts());
        let mut right =
            usize::from(is_right(layer.forward(workspace, self.forward(data, written)), verdicts[0]));
        let mut taped = self.untouched();
        let result = layer.forward(workspace, self.forward(data, &mut taped).tape(tape));
        assert_eq!(is_right(result, verdicts[0]), right == 1);
        taped.assert_same(written, "the call with a tape");
        if right == 1 {
            let result = layer.backward(workspace, tape, self.backward(data, written));
            right += usize::from(is_right(result, verdicts[1]));
        }
        written.assert_same_after(right, &self.untouched(), "a refused call");
        right
    }

    /// Calls with memory of a layer of other options are refused, and so are its weights if they are others.
    fn check_others(&self, way: Way, layer: &Layer, own: &mut (Workspace, Tape), data: &Data) {
        let options = &self.other_options;
        if !options.make_sense() || *options == self.options {
            return;
        }
        let total = options.total([self.inputs, self.hidden]);
        let parameters = self.numbers.clone().take(total, 0.5);
        // Threads may share units in one of the two alone.
        let without_split = Way { plan: (way.plan.0, None), ..way };
        let [own_shape, shape] = [&self.options, options].map(|options| self.shape(options, without_split));
        if options.cell == self.options.cell {
            let same_tensors = shape.has_tensors_of(&own_shape);
            let lacks_a_gate = ![Coupling::Independent, self.options.coupling].contains(&options.coupling);
            let are_taken = own_shape.takes_weights_of(&shape, &parameters);
            assert_eq!(are_taken, same_tensors && !lacks_a_gate, "weights of {options:?}");
        }

        let other = shape.layer(&parameters).unwrap();
        let (workspace, tape) = own;
        let mut others_workspace = other.workspace(tape.batch());
        let mut others_tape = other.tape(way.every, [tape.steps(), tape.batch()]);
        // Unless the input is wrong, this tape is not refused for being empty.
        let record = Forward::new(self.input.sequence(&data.input)).tape(&mut others_tape);
        let _ = other.forward(&mut others_workspace, record);
        let mut to = self.untouched();
        for (what, result) in [
            ("workspace", layer.forward(&mut others_workspace, self.forward(data, &mut to))),
            ("tape", layer.forward(workspace, self.forward(data, &mut to).tape(&mut others_tape))),
            ("workspace", layer.backward(&mut others_workspace, tape, self.backward(data, &mut to))),
            ("tape", layer.backward(workspace, &mut others_tape, self.backward(data, &mut to))),
        ] {
            assert!(result.is_err(), "{what} of {options:?}");
        }
        to.assert_same(&self.untouched(), "a call with memory of another layer");
        let mut state = other.state(self.input.shape[1]);
        if self.input.shape[0] > 0 && self.verdicts()[0] == Verdict::Right {
            let x = self.input.matrix(&data.input, 0);
            assert!(layer.step(&mut state, x).is_err(), "state of {options:?}");
        }
        let is_zero = |row: Option<&[f32]>| row.into_iter().flatten().all(|&value| value == 0.0);
        assert!((0..state.batch()).all(|row| is_zero(state.hidden(row)) && is_zero(state.cell(row))));
    }

    /// Holds the output to that of single steps, bit for bit.
    fn check_steps(&self, layer: &Layer, data: &Data, written: &Written) {
        let [steps, batch, _] = self.input.shape;
        let ([h, c, masks @ .., _, _, _], [y, ..]) = (&self.read, &self.written);
        let is_plain = masks.iter().all(Option::is_none) && self.rows.are_all();
        let (Some(layout), true) = (y, is_plain) else { return };
        let mut state = layer.state(batch);
        if let Some(h) = h {
            state.set_hidden(h.matrix(&data.read[0], 0)).unwrap();
        }
        if let Some(c) = c {
            state.set_cell(c.matrix(&data.read[1], 0)).unwrap();
        }
        for step in 0..steps {
            let t = if self.direction == Direction::Reverse { steps - 1 - step } else { step };
            layer.step(&mut state, self.input.matrix(&data.input, t)).unwrap();
            for b in 0..batch {
                let expected = state.hidden(b).unwrap();
                assert_same(&written.outputs[0][layout.start(t, b)..][..expected.len()], expected, "a step");
            }
        }
    }

    /// What the calls shall write, with each parameter moved by a part of itself, up or down.
    fn oracle(&self, data: &Data, moved: f64) -> Tensors {
        let [steps, batch, _] = self.input.shape;
        let up_or_down = [1.0 + moved, 1.0 - moved, 1.0 + moved].into_iter().cycle();
        let parameters: Vec<f64> =
            widen(&data.parameters).into_iter().zip(up_or_down).map(|(p, by)| p * by).collect();
        let cell = self.options.oracle([self.inputs, self.hidden], &parameters);
        let (units, outputs) = (cell.state_size(), cell.output_size);
        let read =
            |which: usize, rows, width| dense(self.read[which].as_ref(), &data.read[which], rows, width);
        let state =
            |h, c| NaiveState { hidden: read(h, [1, batch], outputs), cell: read(c, [1, batch], units) };
        let given = |which: usize, steps, width| {
            self.read[which].as_ref().map(|_| read(which, [steps, batch], width))
        };
        let masks = [given(2, steps, outputs), given(3, steps, units), given(4, 1, outputs)];
        let call = NaiveCall {
            initial: vec![state(0, 1)],
            run: self.rows.naive(),
            masks: vec![self.options.masks(&cell, [steps, batch], masks)],
            ..NaiveCall::new(
                [steps, batch],
                dense(Some(&self.input), &data.input, [steps, batch], self.inputs),
                std::slice::from_ref(&cell),
            )
        };
        let directions = match self.direction {
            Direction::Forward => NaiveDirections::Forward,
            Direction::Reverse => NaiveDirections::Reverse,
        };
        let layer = NaiveLayer { cells: vec![cell], directions };
        let cotangents = NaiveResult { output: read(5, [steps, batch], outputs), last: vec![state(6, 7)] };
        tensors(layer.forward(&call), layer.backward(&call, &cotangents))
    }
}
