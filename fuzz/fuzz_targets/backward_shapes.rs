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
use quadgate::{
    Activation, Backward, Error, Forward, GradientMode, Isa, Lstm, LstmConfig, LstmWeights, Threads,
};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::oracle::widen;
use quadgate_fuzz::rarely;
use std::num::NonZeroUsize;

fuzz_target!(|case: Case| case.run());

/// What outputs are filled with before a call.
const UNTOUCHED: f32 = 12_345.678;

/// How a layer runs and remembers.
#[derive(Clone, Copy, Debug)]
struct Way {
    isa: Isa,
    threads: Threads,
    /// Steps between checkpoints; `None` for a full tape.
    every: Option<NonZeroUsize>,
    /// Rows for which workspace and tape have room, beyond those that are needed.
    spare_rows: usize,
}

/// A call, right or wrong.
#[derive(Debug)]
struct Case {
    inputs: usize,
    hidden: usize,
    /// Two ways that must give the same bits.
    ways: [Way; 2],
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
        let available: Vec<Isa> =
            Isa::ALL.into_iter().filter(|&isa| Activation::with_isa(isa).is_ok()).collect();
        let isa = *u.choose(&available)?;
        let same_arithmetic: Vec<Isa> = available
            .into_iter()
            .filter(|&other| (other == Isa::Portable) == (isa == Isa::Portable))
            .collect();
        // Now and then so many steps that they make several blocks.
        let steps = if rarely(u)? { u.int_in_range(100..=300)? } else { u.int_in_range(0..=6)? };
        let batch = u.int_in_range(0..=9)?;
        let (inputs, hidden) = (u.int_in_range(0..=40)?, u.int_in_range(1..=40)?);
        let mut way = |isa| {
            Ok(Way {
                isa,
                threads: match u.int_in_range(0..=4)? {
                    0 => Threads::Serial,
                    pieces => Threads::Exactly(NonZeroUsize::new(pieces).unwrap()),
                },
                every: NonZeroUsize::new(u.int_in_range(0..=9)?),
                spare_rows: u.int_in_range(0..=60)?,
            })
        };
        let ways = [way(isa)?, way(same_arithmetic[0])?];
        let sequence = |u: &mut Unstructured<'_>, features| match u.arbitrary()? {
            false => Ok(None),
            true => Layout::draw(u, [steps, batch, features], 0..=2).map(Some),
        };
        let matrix = |u: &mut Unstructured<'_>| match u.arbitrary()? {
            false => Ok(None),
            true => Layout::draw(u, [1, batch, hidden], 1..=2).map(Some),
        };
        Ok(Case {
            inputs,
            hidden,
            ways,
            parameters: match u.int_in_range(0..=15)? {
                0 => None,
                15 => Some(1),
                _ => Some(0),
            },
            input: Layout::draw(u, [steps, batch, inputs], 2..=2)?,
            output_cotangent: sequence(u, hidden)?,
            last_hidden_cotangent: matrix(u)?,
            last_cell_cotangent: matrix(u)?,
            input_gradient: sequence(u, inputs)?,
            initial_hidden_gradient: matrix(u)?,
            initial_cell_gradient: matrix(u)?,
            numbers: Numbers {
                scale: *u.choose(&[0.3, 1e-3, 1.0])?,
                special: rarely(u)?,
                seed: u.arbitrary()?,
            },
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
        [parameters, self.input.for_reading(input)]
            .into_iter()
            .chain(self.output_cotangent.iter().map(|layout| layout.for_reading(output)))
            .chain(self.last_hidden_cotangent.iter().map(|layout| layout.for_reading(matrix)))
            .chain(self.last_cell_cotangent.iter().map(|layout| layout.for_reading(matrix)))
            .chain(self.input_gradient.iter().map(|layout| layout.for_writing(input)))
            .chain(self.initial_hidden_gradient.iter().map(|layout| layout.for_writing(matrix)))
            .chain(self.initial_cell_gradient.iter().map(|layout| layout.for_writing(matrix)))
            .max()
            .unwrap()
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
                    assert_same(&written, first);
                }
                (Err(_), Verdict::Wrong) | (Err(Error::Overlap { .. }), Verdict::Exotic) => {
                    assert_same(&written, &untouched);
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
        let fill = |layout| vec![UNTOUCHED; len_of(layout)];
        let total = 4 * self.hidden * (self.inputs + self.hidden + 1);
        Written {
            parameters: self.parameters.map_or(Vec::new(), |too_long| vec![UNTOUCHED; total + too_long]),
            input: fill(&self.input_gradient),
            initial_hidden: fill(&self.initial_hidden_gradient),
            initial_cell: fill(&self.initial_cell_gradient),
        }
    }

    /// Records a forward pass and runs the call.
    fn backward(&self, way: Way, data: &Data, written: &mut Written) -> Result<(), Error> {
        let [steps, batch, _] = self.input.shape;
        let config = LstmConfig::new(self.inputs, self.hidden).isa(way.isa).threads(way.threads).training();
        let weights = LstmWeights::pytorch(&config, &data.weight_ih, &data.weight_hh, Some(&data.bias), None);
        let lstm = Lstm::new(&config, &weights.unwrap()).unwrap();
        let room = batch + way.spare_rows;
        let mut workspace = lstm.workspace(room).unwrap();
        let mut tape = match way.every {
            None => lstm.tape(steps, room).unwrap(),
            Some(_) => lstm.checkpointed_tape(steps, room, way.every).unwrap(),
        };
        let input = self.input.sequence(&data.input);
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();

        let mut call = Backward::new(input);
        if let Some(layout) = &self.output_cotangent {
            call = call.output_cotangent(layout.sequence(&data.output_cotangent));
        }
        if let Some(layout) = &self.last_hidden_cotangent {
            call = call.last_hidden_cotangent(layout.matrix(&data.last_hidden_cotangent, 0));
        }
        if let Some(layout) = &self.last_cell_cotangent {
            call = call.last_cell_cotangent(layout.matrix(&data.last_cell_cotangent, 0));
        }
        if let Some(layout) = &self.input_gradient {
            call = call.input_gradient(layout.sequence_mut(&mut written.input));
        }
        if let Some(layout) = &self.initial_hidden_gradient {
            call = call.initial_hidden_gradient(layout.matrix_mut(&mut written.initial_hidden));
        }
        if let Some(layout) = &self.initial_cell_gradient {
            call = call.initial_cell_gradient(layout.matrix_mut(&mut written.initial_cell));
        }
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
            let largest = expected.iter().filter(|&&e| e != UNTOUCHED).fold(0.0f32, |a, b| a.max(b.abs()));
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Errors grow through time as gradients do, so the bound is relative to the largest.
                let near = (found - expected).abs() <= 1e-3 * largest + 1e-6;
                assert!(near, "{what}, element {i}: expected {expected}, found {found}");
            }
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
        let x = dense(&Some(&self.input), &data.input, [steps, batch], self.inputs);
        let zeros = vec![0.0; batch * self.hidden];
        let cotangents = NaiveCotangents {
            output: dense(
                &self.output_cotangent.as_ref(),
                &data.output_cotangent,
                [steps, batch],
                self.hidden,
            ),
            last_hidden: dense(
                &self.last_hidden_cotangent.as_ref(),
                &data.last_hidden_cotangent,
                [1, batch],
                self.hidden,
            ),
            last_cell: dense(
                &self.last_cell_cotangent.as_ref(),
                &data.last_cell_cotangent,
                [1, batch],
                self.hidden,
            ),
        };
        naive.backward([steps, batch], &x, &zeros, &zeros, &cotangents)
    }
}

fn len_of(layout: &Option<Layout>) -> usize {
    layout.as_ref().map_or(0, |layout| layout.len)
}

/// The rows of a layout one after the other; zeros without a layout.
fn dense(layout: &Option<&Layout>, data: &[f32], [steps, batch]: [usize; 2], width: usize) -> Vec<f64> {
    let Some(layout) = layout else { return vec![0.0; steps * batch * width] };
    (0..steps)
        .flat_map(|t| (0..batch).flat_map(move |b| widen(&data[layout.start(t, b)..][..width])))
        .collect()
}

fn write_rows(layout: &Option<Layout>, to: &mut [f32], [steps, batch]: [usize; 2], from: &[f64]) {
    let Some(layout) = layout else { return };
    let width = layout.shape[2];
    for t in 0..steps {
        for b in 0..batch {
            let row = &from[(t * batch + b) * width..][..width];
            for (to, &from) in to[layout.start(t, b)..].iter_mut().zip(row) {
                *to = from as f32;
            }
        }
    }
}

fn assert_same(found: &Written, expected: &Written) {
    for (what, found, expected) in [
        ("parameters", &found.parameters, &expected.parameters),
        ("x", &found.input, &expected.input),
        ("initial h", &found.initial_hidden, &expected.initial_hidden),
        ("initial c", &found.initial_cell, &expected.initial_cell),
    ] {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{what}, element {i}: expected {expected:?}, found {found:?}");
        }
    }
}
