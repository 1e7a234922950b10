//! Draws a call of `Lstm::backward` with right and wrong arguments, and holds the crate to what it promises.
//!
//! Whether the call is right is decided here, from the shapes and strides alone, without the crate:
//!
//! 1. Nothing ever panics.
//! 2. A wrong call returns an error and writes nothing.
//! 3. A right call succeeds. It writes every element of its rows and none between them. Rows that are disjoint, but
//!    interleave otherwise than time within batch or batch within time, may also be refused.
//! 4. The gradients agree with naive backpropagation in f64.
//! 5. Any other tape, thread count and instruction set with the same arithmetic gives the same bits.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 4.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::{NaiveCotangents, NaiveGradients, NaiveLstm};
use quadgate::{Backward, Error, Forward, GradientMode, Lstm, LstmConfig, LstmWeights};
use quadgate_fuzz::call::{
    UNTOUCHED, assert_near, assert_same, dense, draw_optional, len_of, untouched, verdict, write_rows,
};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::oracle::widen;
use quadgate_fuzz::way::Way;
use quadgate_fuzz::written::draw_parameters;
use quadgate_fuzz::{given, rarely};

fuzz_target!(|case: Case| case.run());

/// A call, right or wrong.
#[derive(Debug)]
struct Case {
    inputs: usize,
    hidden: usize,
    /// Two ways that must give the same bits.
    ways: [Way<()>; 2],
    /// Elements that the buffer of parameter gradients is too long, if it is wanted.
    parameters: Option<usize>,
    input: Layout,
    output_cotangent: Option<Layout>,
    last_hidden_cotangent: Option<Layout>,
    last_cell_cotangent: Option<Layout>,
    input_gradient: Option<Layout>,
    initial_hidden_gradient: Option<Layout>,
    initial_cell_gradient: Option<Layout>,
    numbers: Numbers,
}

/// Everything that a call reads.
struct Data {
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    bias: Vec<f32>,
    input: Vec<f32>,
    output_cotangent: Vec<f32>,
    last_hidden_cotangent: Vec<f32>,
    last_cell_cotangent: Vec<f32>,
}

/// Everything that a call writes.
#[derive(Clone)]
struct Written {
    parameters: Vec<f32>,
    input: Vec<f32>,
    initial_hidden: Vec<f32>,
    initial_cell: Vec<f32>,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        // Now and then so many steps that they make several blocks.
        let steps = if rarely(u)? { u.int_in_range(100..=300)? } else { u.int_in_range(0..=6)? };
        let batch = u.int_in_range(0..=9)?;
        let (inputs, hidden) = (u.int_in_range(0..=40)?, u.int_in_range(1..=40)?);
        let ways = Way::draw_two(u, |_| Ok(()))?;
        let sequence = |u: &mut Unstructured<'_>, features| draw_optional(u, [steps, batch, features], 0..=2);
        let matrix = |u: &mut Unstructured<'_>| draw_optional(u, [1, batch, hidden], 1..=2);
        Ok(Case {
            inputs,
            hidden,
            ways,
            parameters: draw_parameters(u)?,
            input: Layout::draw(u, [steps, batch, inputs], 2..=2)?,
            output_cotangent: sequence(u, hidden)?,
            last_hidden_cotangent: matrix(u)?,
            last_cell_cotangent: matrix(u)?,
            input_gradient: sequence(u, inputs)?,
            initial_hidden_gradient: matrix(u)?,
            initial_cell_gradient: matrix(u)?,
            numbers: Numbers::draw(u, &[0.3, 1e-3, 1.0])?,
        })
    }
}

impl Case {
    /// What must become of the call.
    fn verdict(&self) -> Verdict {
        let [steps, batch, _] = self.input.shape;
        let (output, matrix) = ([steps, batch, self.hidden], [1, batch, self.hidden]);
        let input = [steps, batch, self.inputs];
        let parameters = if self.parameters == Some(1) { Verdict::Wrong } else { Verdict::Right };
        let arguments = verdict(
            [
                (Some(&self.input), input),
                (self.output_cotangent.as_ref(), output),
                (self.last_hidden_cotangent.as_ref(), matrix),
                (self.last_cell_cotangent.as_ref(), matrix),
            ],
            [
                (self.input_gradient.as_ref(), input),
                (self.initial_hidden_gradient.as_ref(), matrix),
                (self.initial_cell_gradient.as_ref(), matrix),
            ],
        );
        parameters.max(arguments)
    }

    fn run(self) {
        let [steps, batch, _] = self.input.shape;
        if self.input.for_reading([steps, batch, self.inputs]) == Verdict::Wrong {
            // Nothing could be recorded.
            return;
        }
        let data = self.data();
        let (verdict, untouched) = (self.verdict(), self.untouched());
        let mut first: Option<Written> = None;
        for way in self.ways {
            let mut written = untouched.clone();
            match (self.backward(way, &data, &mut written), verdict) {
                (Ok(()), Verdict::Right | Verdict::Exotic) => {
                    let first = first.get_or_insert_with(|| written.clone());
                    assert_same_gradients(&written, first);
                }
                (Err(_), Verdict::Wrong) | (Err(Error::Overlap { .. }), Verdict::Exotic) => {
                    assert_same_gradients(&written, &untouched);
                }
                (result, _) => panic!("{result:?} for a call that is {verdict:?}"),
            }
        }
        if let (Some(written), false) = (first, self.numbers.special) {
            self.check(&data, &written, untouched);
        }
    }

    fn data(&self) -> Data {
        let mut numbers = self.numbers.clone();
        let scale = self.numbers.scale;
        Data {
            weight_ih: numbers.take(4 * self.hidden * self.inputs, scale),
            weight_hh: numbers.take(4 * self.hidden * self.hidden, scale),
            bias: numbers.take(4 * self.hidden, scale),
            input: numbers.take(self.input.len, 1.0),
            output_cotangent: numbers.take(len_of(&self.output_cotangent), 1.0),
            last_hidden_cotangent: numbers.take(len_of(&self.last_hidden_cotangent), 1.0),
            last_cell_cotangent: numbers.take(len_of(&self.last_cell_cotangent), 1.0),
        }
    }

    fn untouched(&self) -> Written {
        let total = 4 * self.hidden * (self.inputs + self.hidden + 1);
        Written {
            parameters: self.parameters.map_or(Vec::new(), |too_long| vec![UNTOUCHED; total + too_long]),
            input: untouched(&self.input_gradient),
            initial_hidden: untouched(&self.initial_hidden_gradient),
            initial_cell: untouched(&self.initial_cell_gradient),
        }
    }

    /// Records a forward pass and runs the call.
    fn backward(&self, way: Way<()>, data: &Data, written: &mut Written) -> Result<(), Error> {
        let [steps, batch, _] = self.input.shape;
        let config = LstmConfig::new(self.inputs, self.hidden).isa(way.isa).threads(way.threads).training();
        let weights = LstmWeights::pytorch(&config, &data.weight_ih, &data.weight_hh, Some(&data.bias), None);
        let lstm = Lstm::new(&config, &weights.unwrap()).unwrap();
        let room = way.room([steps, batch]);
        let mut workspace = lstm.workspace(room[1]).unwrap();
        let mut tape = way.tape(&lstm, room);
        let input = self.input.sequence(&data.input);
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();

        let Case { output_cotangent: dy, last_hidden_cotangent: dh, last_cell_cotangent: dc, .. } = self;
        let Case { input_gradient: dx, initial_hidden_gradient: dh0, initial_cell_gradient: dc0, .. } = self;
        let mut call = given!(
            Backward::new(input),
            output_cotangent = dy.sequence(&data.output_cotangent),
            last_hidden_cotangent = dh.matrix(&data.last_hidden_cotangent, 0),
            last_cell_cotangent = dc.matrix(&data.last_cell_cotangent, 0),
            input_gradient = dx.sequence_mut(&mut written.input),
            initial_hidden_gradient = dh0.matrix_mut(&mut written.initial_hidden),
            initial_cell_gradient = dc0.matrix_mut(&mut written.initial_cell),
        );
        if self.parameters.is_some() {
            call = call.parameter_gradients(&mut written.parameters, GradientMode::Overwrite);
        }
        lstm.backward(&mut workspace, &mut tape, call)
    }

    /// Holds what a right call wrote to the oracle, and what lies between its rows to what was there.
    fn check(&self, data: &Data, written: &Written, mut expected: Written) {
        let gradients = self.oracle(data);
        let [steps, batch, _] = self.input.shape;
        let rows = [steps, batch];
        let wanted = [&gradients.weight_ih, &gradients.weight_hh, &gradients.bias].into_iter().flatten();
        for (to, &gradient) in expected.parameters.iter_mut().zip(wanted) {
            *to = gradient as f32;
        }
        write_rows(&self.input_gradient, &mut expected.input, rows, &gradients.input);
        let matrix = [1, batch];
        let (hidden, cell) = (&gradients.initial_hidden, &gradients.initial_cell);
        write_rows(&self.initial_hidden_gradient, &mut expected.initial_hidden, matrix, hidden);
        write_rows(&self.initial_cell_gradient, &mut expected.initial_cell, matrix, cell);
        for (what, found, expected) in [
            ("parameters", &written.parameters, &expected.parameters),
            ("x", &written.input, &expected.input),
            ("initial h", &written.initial_hidden, &expected.initial_hidden),
            ("initial c", &written.initial_cell, &expected.initial_cell),
        ] {
            assert_near(found, expected, what);
        }
    }

    fn oracle(&self, data: &Data) -> NaiveGradients<f64> {
        let [steps, batch, _] = self.input.shape;
        let naive = NaiveLstm {
            input_size: self.inputs,
            hidden_size: self.hidden,
            weight_ih: widen(&data.weight_ih),
            weight_hh: widen(&data.weight_hh),
            bias: widen(&data.bias),
        };
        let x = dense(Some(&self.input), &data.input, [steps, batch], self.inputs);
        let zeros = vec![0.0; batch * self.hidden];
        let cotangents = NaiveCotangents {
            output: dense(
                self.output_cotangent.as_ref(),
                &data.output_cotangent,
                [steps, batch],
                self.hidden,
            ),
            last_hidden: dense(
                self.last_hidden_cotangent.as_ref(),
                &data.last_hidden_cotangent,
                [1, batch],
                self.hidden,
            ),
            last_cell: dense(
                self.last_cell_cotangent.as_ref(),
                &data.last_cell_cotangent,
                [1, batch],
                self.hidden,
            ),
        };
        naive.backward([steps, batch], &x, &zeros, &zeros, &cotangents)
    }
}

fn assert_same_gradients(found: &Written, expected: &Written) {
    for (what, found, expected) in [
        ("parameters", &found.parameters, &expected.parameters),
        ("x", &found.input, &expected.input),
        ("initial h", &found.initial_hidden, &expected.initial_hidden),
        ("initial c", &found.initial_cell, &expected.initial_cell),
    ] {
        assert_same(found, expected, what);
    }
}
