//! Draws a call of `Lstm::forward` with right and wrong arguments, and holds the crate to what it promises.
//!
//! Whether the call is right is decided here, from the shapes and strides alone, without the crate:
//!
//! 1. Nothing ever panics.
//! 2. A wrong call returns an error and writes nothing.
//! 3. A right call succeeds. It writes every element of its rows and none between them. Rows that are disjoint, but
//!    interleave otherwise than time within batch or batch within time, may also be refused.
//! 4. The same sequence fed to `Lstm::step`, on a layer with another instruction set, gives the same bits.
//! 5. Each step agrees with the oracle in f64. Both start from the state that the crate had before the step, so
//!    rounding errors do not pile up over time, and one bound serves every shape and every scale of the weights.
//!
//! Some cases sow infinities, NaNs and huge numbers into the data; they skip 5.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use quadgate::reference::NaiveLstm;
use quadgate::{Error, Forward, Isa, Lstm, LstmConfig, LstmWeights, Schedule, Threads};
use quadgate_fuzz::call::{assert_same, draw_optional, len_of, untouched, verdict};
use quadgate_fuzz::layout::{Layout, Verdict};
use quadgate_fuzz::numbers::Numbers;
use quadgate_fuzz::oracle::{check_row, widen};
use quadgate_fuzz::way::{draw_isas, draw_threads};
use quadgate_fuzz::{given, rarely};

fuzz_target!(|case: Case| case.run());

/// A call, right or wrong.
#[derive(Debug)]
struct Case {
    inputs: usize,
    hidden: usize,
    isa: Isa,
    step_isa: Isa,
    schedule: Option<Schedule>,
    threads: Threads,
    /// Rows of the workspace.
    workspace: usize,
    biases: [bool; 2],
    /// Which of W, R and the biases is one element too long, if any.
    too_long: Option<usize>,
    input: Layout,
    initial_hidden: Option<Layout>,
    initial_cell: Option<Layout>,
    output: Option<Layout>,
    last_hidden: Option<Layout>,
    last_cell: Option<Layout>,
    numbers: Numbers,
}

/// Everything that a call reads.
struct Data {
    /// W, R and the biases.
    weights: [Vec<f32>; 4],
    input: Vec<f32>,
    initial_hidden: Vec<f32>,
    initial_cell: Vec<f32>,
}

/// Everything that a call writes.
struct Written {
    output: Vec<f32>,
    last_hidden: Vec<f32>,
    last_cell: Vec<f32>,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(u: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let [isa, step_isa] = draw_isas(u)?;
        let (steps, batch) = (u.int_in_range(0..=6)?, u.int_in_range(0..=9)?);
        let (inputs, hidden) = (u.int_in_range(0..=40)?, u.int_in_range(0..=40)?);
        let matrix = |u: &mut Unstructured<'_>| draw_optional(u, [1, batch, hidden], 1..=2);
        Ok(Case {
            inputs,
            hidden,
            isa,
            step_isa,
            schedule: *u.choose(&[None, Some(Schedule::Fused), Some(Schedule::Hoisted)])?,
            threads: draw_threads(u)?,
            workspace: match rarely(u)? {
                false => batch + u.int_in_range(0..=2)?,
                true => u.int_in_range(0..=batch)?,
            },
            biases: u.arbitrary()?,
            too_long: if rarely(u)? { Some(u.int_in_range(0..=3)?) } else { None },
            input: Layout::draw(u, [steps, batch, inputs], 1..=2)?,
            output: draw_optional(u, [steps, batch, hidden], 0..=2)?,
            initial_hidden: matrix(u)?,
            initial_cell: matrix(u)?,
            last_hidden: matrix(u)?,
            last_cell: matrix(u)?,
            numbers: Numbers::draw(u, &[0.3, 1e-3, 2.0, 100.0, 1e6])?,
        })
    }
}

impl Case {
    /// What must become of the call.
    fn verdict(&self) -> Verdict {
        // The input says how many steps and rows there are; all else must agree with it.
        let [steps, batch, _] = self.input.shape;
        let (output, matrix) = ([steps, batch, self.hidden], [1, batch, self.hidden]);
        let room = if self.workspace < batch { Verdict::Wrong } else { Verdict::Right };
        let arguments = verdict(
            [
                (Some(&self.input), [steps, batch, self.inputs]),
                (self.initial_hidden.as_ref(), matrix),
                (self.initial_cell.as_ref(), matrix),
            ],
            [
                (self.output.as_ref(), output),
                (self.last_hidden.as_ref(), matrix),
                (self.last_cell.as_ref(), matrix),
            ],
        );
        room.max(arguments)
    }

    fn run(self) {
        let data = self.data();
        let Some(lstm) = self.layer(self.isa, &data) else { return };
        let mut workspace = lstm.workspace(self.workspace).unwrap();
        let (verdict, untouched) = (self.verdict(), self.untouched());
        let right = (verdict != Verdict::Wrong).then(|| self.expected(&data));
        // Twice, since a call may not depend on what the last one left in the workspace.
        for _ in 0..2 {
            let mut written = self.untouched();
            let result = lstm.forward(&mut workspace, self.forward(&data, &mut written));
            let expected = match (&result, &right, verdict) {
                (Ok(()), Some(right), _) => right,
                (Err(_), _, Verdict::Wrong) | (Err(Error::Overlap { .. }), _, Verdict::Exotic) => &untouched,
                _ => panic!("{result:?} for a call that is {verdict:?}"),
            };
            assert_same(&written.output, &expected.output, "output");
            assert_same(&written.last_hidden, &expected.last_hidden, "last h");
            assert_same(&written.last_cell, &expected.last_cell, "last c");
        }
    }

    fn data(&self) -> Data {
        let mut numbers = self.numbers.clone();
        let lens = [self.inputs, self.hidden, usize::from(self.biases[0]), usize::from(self.biases[1])];
        let mut weights = lens.map(|inputs| numbers.take(4 * self.hidden * inputs, self.numbers.scale));
        if let Some(tensor) = self.too_long {
            weights[tensor].push(0.0);
        }
        Data {
            weights,
            input: numbers.take(self.input.len, 1.0),
            initial_hidden: numbers.take(len_of(&self.initial_hidden), 1.0),
            initial_cell: numbers.take(len_of(&self.initial_cell), 4.0),
        }
    }

    /// The layer; `None` if its weights are wrong, as is known beforehand.
    fn layer(&self, isa: Isa, data: &Data) -> Option<Lstm> {
        let config = LstmConfig::new(self.inputs, self.hidden).isa(isa).threads(self.threads);
        let config = self.schedule.into_iter().fold(config, LstmConfig::schedule);
        let [input, recurrent, biases @ ..] = &data.weights;
        let [first, second] = [0, 1].map(|i| self.biases[i].then_some(&biases[i][..]));
        let weights = LstmWeights::pytorch(&config, input, recurrent, first, second);
        if self.hidden == 0 {
            assert!(matches!(weights, Err(Error::Zero { .. })));
            return None;
        }
        let is_given = |tensor: usize| tensor < 2 || self.biases[tensor - 2];
        if self.too_long.is_some_and(is_given) {
            assert!(matches!(weights, Err(Error::Length { .. })));
            return None;
        }
        Some(Lstm::new(&config, &weights.unwrap()).unwrap())
    }

    fn untouched(&self) -> Written {
        Written {
            output: untouched(&self.output),
            last_hidden: untouched(&self.last_hidden),
            last_cell: untouched(&self.last_cell),
        }
    }

    fn forward<'a>(&self, data: &'a Data, written: &'a mut Written) -> Forward<'a> {
        let Case { initial_hidden: h, initial_cell: c, output: y, last_hidden, last_cell, .. } = self;
        given!(
            Forward::new(self.input.sequence(&data.input)),
            initial_hidden = h.matrix(&data.initial_hidden, 0),
            initial_cell = c.matrix(&data.initial_cell, 0),
            output = y.sequence_mut(&mut written.output),
            last_hidden = last_hidden.matrix_mut(&mut written.last_hidden),
            last_cell = last_cell.matrix_mut(&mut written.last_cell),
        )
    }

    /// What a right call writes: the same, step by step, each checked against the oracle.
    fn expected(&self, data: &Data) -> Written {
        let mut written = self.untouched();
        let lstm = self.layer(self.step_isa, data).unwrap();
        let oracle = self.oracle(data);
        let [steps, batch, _] = self.input.shape;
        let mut state = lstm.state(batch).unwrap();
        if let Some(layout) = &self.initial_hidden {
            state.set_hidden(layout.matrix(&data.initial_hidden, 0)).unwrap();
        }
        if let Some(layout) = &self.initial_cell {
            state.set_cell(layout.matrix(&data.initial_cell, 0)).unwrap();
        }
        for t in 0..steps {
            let before = state.clone();
            lstm.step(&mut state, self.input.matrix(&data.input, t)).unwrap();
            for b in 0..batch {
                if !self.numbers.special {
                    let x = &data.input[self.input.start(t, b)..][..self.inputs];
                    check_row(&oracle, x, [&before, &state], b);
                }
                write_row(&self.output, &mut written.output, [t, b], state.hidden(b).unwrap());
            }
        }
        for b in 0..batch {
            write_row(&self.last_hidden, &mut written.last_hidden, [0, b], state.hidden(b).unwrap());
            write_row(&self.last_cell, &mut written.last_cell, [0, b], state.cell(b).unwrap());
        }
        written
    }

    fn oracle(&self, data: &Data) -> NaiveLstm<f64> {
        let [input, recurrent, biases @ ..] = &data.weights;
        // A bias that is not given has no elements that count.
        let bias_of =
            |row: usize| biases.iter().filter_map(|bias| bias.get(row)).map(|&b| f64::from(b)).sum();
        NaiveLstm {
            input_size: self.inputs,
            hidden_size: self.hidden,
            weight_ih: widen(input),
            weight_hh: widen(recurrent),
            bias: (0..4 * self.hidden).map(bias_of).collect(),
        }
    }
}

fn write_row(layout: &Option<Layout>, data: &mut [f32], [t, b]: [usize; 2], row: &[f32]) {
    if let Some(layout) = layout {
        data[layout.start(t, b)..][..row.len()].copy_from_slice(row);
    }
}
