//! Calls that give W·x, as sums or by the entries of a table, beside calls that read x: with W the identity, x is W·x.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{
    Case as CommonCase, Cotangents, GAP, Random, Recording, Run, Sizes, bits, gather, levels, relative_error,
    runs, spread, strides,
};
use proptest::prelude::*;
use quadgate::{
    Backward, Direction, Error, Forward, GateOrder, GradientMode, Gru, GruConfig, GruGateOrder, GruWeights,
    Indices, InputTable, Lstm, LstmConfig, LstmWeights, Matrix, MatrixMut, Nonlinearity, ResetGate, Rnn,
    RnnConfig, RnnWeights, Sequence, SequenceMut, Split, State, StepIndices, StepMask, Tape, Workspace,
};
use std::num::NonZeroUsize;

/// What layers of all cells have.
trait Layer {
    fn workspace(&self, batch: usize) -> Workspace;
    fn state(&self, batch: usize) -> State;
    fn tape(&self, steps: usize, batch: usize, recording: Recording) -> Tape;
    fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error>;
    fn backward(&self, workspace: &mut Workspace, tape: &mut Tape, call: Backward<'_>) -> Result<(), Error>;
    fn step(&self, state: &mut State, x: Matrix<'_>) -> Result<(), Error>;
    fn step_of_table(&self, state: &mut State, table: &InputTable, indices: Indices<'_>)
    -> Result<(), Error>;
    fn step_of_sums(&self, state: &mut State, sums: Matrix<'_>) -> Result<(), Error>;
    fn table(&self, inputs: Matrix<'_>) -> Result<InputTable, Error>;
    fn table_of_sums(&self, sums: Matrix<'_>) -> Result<InputTable, Error>;
}

macro_rules! layers {
    ($($layer:ident: $($order:expr)?;)*) => {
        $(
            impl Layer for $layer {
                fn workspace(&self, batch: usize) -> Workspace {
                    self.workspace(batch).unwrap()
                }
                fn state(&self, batch: usize) -> State {
                    self.state(batch).unwrap()
                }
                fn tape(&self, steps: usize, batch: usize, recording: Recording) -> Tape {
                    match recording {
                        Recording::Full => self.tape(steps, batch).unwrap(),
                        Recording::Checkpoints(every) => self.checkpointed_tape(steps, batch, every).unwrap(),
                    }
                }
                fn forward(&self, workspace: &mut Workspace, call: Forward<'_>) -> Result<(), Error> {
                    self.forward(workspace, call)
                }
                fn backward(
                    &self,
                    workspace: &mut Workspace,
                    tape: &mut Tape,
                    call: Backward<'_>,
                ) -> Result<(), Error> {
                    self.backward(workspace, tape, call)
                }
                fn step(&self, state: &mut State, x: Matrix<'_>) -> Result<(), Error> {
                    self.step(state, x)
                }
                fn step_of_table(
                    &self,
                    state: &mut State,
                    table: &InputTable,
                    indices: Indices<'_>,
                ) -> Result<(), Error> {
                    self.step_of_table(state, table, indices)
                }
                fn step_of_sums(&self, state: &mut State, sums: Matrix<'_>) -> Result<(), Error> {
                    self.step_of_sums(state, sums)
                }
                fn table(&self, inputs: Matrix<'_>) -> Result<InputTable, Error> {
                    self.table(inputs)
                }
                fn table_of_sums(&self, sums: Matrix<'_>) -> Result<InputTable, Error> {
                    self.table_of_sums(sums $(, $order)?)
                }
            }
        )*
    };
}
layers! {
    Lstm: GateOrder::IFGO;
    Gru: GruGateOrder::RZN;
    Rnn: ;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Lstm,
    LstmWithOptions,
    LstmOfRows,
    Gru(ResetGate),
    Rnn,
}

const KINDS: [Kind; 6] = [
    Kind::Lstm,
    Kind::LstmWithOptions,
    Kind::LstmOfRows,
    Kind::Gru(ResetGate::AfterProduct),
    Kind::Gru(ResetGate::BeforeProduct),
    Kind::Rnn,
];

#[derive(Clone, Copy, Debug)]
enum Steps {
    All,
    Lengths,
    Mask,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    kind: Kind,
    steps: usize,
    batch: usize,
    units: usize,
    entries: usize,
    direction: Direction,
    run_steps: Steps,
    every: Option<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (0usize..9, 0usize..7, 1usize..40, 1usize..6);
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Reverse)];
    let run_steps = prop_oneof![Just(Steps::All), Just(Steps::Lengths), Just(Steps::Mask)];
    let every = proptest::option::of(1usize..4);
    (any::<u64>(), proptest::sample::select(&KINDS[..]), sizes, direction, run_steps, every).prop_map(
        |(seed, kind, (steps, batch, units, entries), direction, run_steps, every)| Case {
            seed,
            kind,
            steps,
            batch,
            units,
            entries,
            direction,
            run_steps,
            every,
        },
    )
}

/// What a call yields.
#[derive(Debug, PartialEq)]
struct Outcome {
    output: Vec<f32>,
    last_hidden: Vec<f32>,
}

/// Gradients of what a call reads, of the initial h, of W, and of the other parameters.
#[derive(Debug, PartialEq)]
struct Gradients {
    read: Vec<f32>,
    initial_hidden: Vec<f32>,
    weight_ih: Vec<f32>,
    others: Vec<f32>,
}

/// What a call reads.
#[derive(Clone, Copy)]
enum Read<'a> {
    /// x of this width.
    Inputs(&'a [f32], usize),
    Sums(&'a [f32]),
    Table(&'a InputTable, &'a [i64]),
}

impl Case {
    fn gates(&self) -> usize {
        match self.kind {
            Kind::Lstm | Kind::LstmWithOptions | Kind::LstmOfRows => 4,
            Kind::Gru(_) => 3,
            Kind::Rnn => 1,
        }
    }

    fn width(&self) -> usize {
        self.gates() * self.units
    }

    fn outputs(&self) -> usize {
        if self.kind == Kind::LstmOfRows { 3 } else { self.units }
    }

    /// Parameters beside W, and a layer of these and W, `[gates · H, X]`.
    fn layer(&self, run: Run, inputs: usize, weight_ih: &[f32]) -> (Box<dyn Layer>, usize) {
        let run = match self.kind {
            Kind::LstmOfRows => Run { split: None, ..run },
            _ => run,
        };
        let lstm = LstmConfig::new(inputs, self.units);
        let lstm = match self.kind {
            Kind::LstmWithOptions => lstm.peepholes().coupling(quadgate::Coupling::ForgetFromInput),
            Kind::LstmOfRows => lstm.projection(3).layer_normalization(0.1),
            _ => lstm,
        };
        let others = |total: usize| {
            let others = total - weight_ih.len();
            ([weight_ih, &Random(self.seed).vec(others, 0.5)].concat(), others)
        };
        match self.kind {
            Kind::Gru(reset_gate) => {
                let config =
                    GruConfig::new(inputs, self.units).training().isa(run.isa).direction(self.direction);
                let config = config.threads(run.threads).reset_gate(reset_gate);
                let config = run.schedule.into_iter().fold(config, GruConfig::schedule);
                let config = run.split.into_iter().fold(config, GruConfig::split);
                let (all, others) = others(config.parameters().unwrap().total());
                let weights = GruWeights::from_parameters(&config, &all).unwrap();
                (Box::new(Gru::new(&config, &weights).unwrap()), others)
            }
            Kind::Rnn => {
                let config = RnnConfig::new(inputs, self.units).nonlinearity(Nonlinearity::Relu);
                let config = config.training().isa(run.isa).direction(self.direction).threads(run.threads);
                let config = run.schedule.into_iter().fold(config, RnnConfig::schedule);
                let config = run.split.into_iter().fold(config, RnnConfig::split);
                let ranges = config.parameters().unwrap();
                let (all, others) = others(ranges.total());
                let (weight_hh, bias) = (&all[ranges.weight_hh], &all[ranges.bias]);
                let weights = RnnWeights::pytorch(&config, weight_ih, weight_hh, Some(bias), None).unwrap();
                (Box::new(Rnn::new(&config, &weights).unwrap()), others)
            }
            _ => {
                let config = run.apply(lstm.direction(self.direction)).training();
                let (all, others) = others(config.parameters().unwrap().total());
                let weights = LstmWeights::from_parameters(&config, &all).unwrap();
                (Box::new(Lstm::new(&config, &weights).unwrap()), others)
            }
        }
    }

    fn identity(&self) -> Vec<f32> {
        let width = self.width();
        (0..width * width).map(|at| f32::from(u8::from(at / width == at % width))).collect()
    }

    fn indices(&self) -> Vec<i64> {
        let mut random = Random(self.seed ^ 1);
        (0..self.steps * self.batch).map(|_| (random.bits() % self.entries as u64) as i64).collect()
    }

    fn rows(&self, width: usize) -> Vec<f32> {
        Random(self.seed ^ 2).vec(self.entries * width, 1.0)
    }

    /// The rows of a matrix that the indices name.
    fn gathered(&self, rows: &[f32], width: usize) -> Vec<f32> {
        self.indices().iter().flat_map(|&index| &rows[index as usize * width..][..width]).copied().collect()
    }

    fn lengths(&self) -> Vec<usize> {
        let mut random = Random(self.seed ^ 3);
        (0..self.batch).map(|_| random.bits() as usize % (self.steps + 1)).collect()
    }

    fn mask(&self) -> Vec<bool> {
        let mut random = Random(self.seed ^ 4);
        (0..self.steps * self.batch).map(|_| !random.bits().is_multiple_of(3)).collect()
    }

    /// A call without a tape, one with, and the gradients.
    fn run(
        &self,
        layer: &dyn Layer,
        parameters: [usize; 2],
        run: Run,
        read: Read<'_>,
    ) -> (Outcome, Gradients) {
        let Self { steps, batch, .. } = *self;
        let outputs = self.outputs();
        let (lengths, mask) = (self.lengths(), self.mask());
        let mut random = Random(self.seed ^ 5);
        let h0 = random.vec(batch * outputs, 1.0);
        let (d_output, d_last) = (random.vec(steps * batch * outputs, 1.0), random.vec(batch * outputs, 1.0));
        let (data, width) = match read {
            Read::Inputs(data, width) => (data, width),
            Read::Sums(data) => (data, self.width()),
            Read::Table(..) => (&[][..], 0),
        };
        let shape = [steps, batch, width];
        let data = spread(data, run.layout, shape, f32::NAN);
        let (data_strides, data_len) = strides(run.layout, steps, batch, width);
        let data = Sequence::with_strides(&data, shape, data_strides);
        let indices = |list| StepIndices::with_strides(list, [steps, batch], [batch, 1]);
        macro_rules! call {
            ($call:ident) => {{
                let call = match read {
                    Read::Inputs(..) => $call::new(data),
                    Read::Sums(_) => $call::of_sums(data),
                    Read::Table(table, list) => $call::of_table(table, indices(list)),
                };
                match self.run_steps {
                    Steps::All => call,
                    Steps::Lengths => call.lengths(&lengths),
                    Steps::Mask => call.mask(StepMask::time_major(&mask, steps, batch)),
                }
            }};
        }
        let mut workspace = layer.workspace(batch);
        let recording =
            self.every.map_or(Recording::Full, |every| Recording::Checkpoints(NonZeroUsize::new(every)));
        let mut tape = layer.tape(steps, batch, recording);
        let (out_strides, out_len) = strides(run.layout, steps, batch, outputs);
        let mut outcome = |tape: Option<&mut Tape>| {
            let (mut output, mut last) = (vec![GAP; out_len], vec![GAP; batch * outputs]);
            let call = call!(Forward)
                .initial_hidden(Matrix::new(&h0, batch, outputs))
                .output(SequenceMut::with_strides(&mut output, [steps, batch, outputs], out_strides))
                .last_hidden(MatrixMut::new(&mut last, batch, outputs));
            layer.forward(&mut workspace, tape.into_iter().fold(call, Forward::tape)).unwrap();
            let output = gather(&mut output, run.layout, [steps, batch, outputs]);
            Outcome { output, last_hidden: last }
        };
        let result = outcome(None);
        assert_eq!(result, outcome(Some(&mut tape)), "the tape changes the answer");

        let mut dh = vec![GAP; batch * outputs];
        let mut gradients = vec![f32::NAN; parameters.iter().sum()];
        let mut read_gradient = vec![
            GAP;
            match read {
                Read::Table(table, _) => table.entries() * self.width(),
                _ => data_len,
            }
        ];
        let call = call!(Backward)
            .output_cotangent(Sequence::time_major(&d_output, steps, batch, outputs))
            .last_hidden_cotangent(Matrix::new(&d_last, batch, outputs))
            .initial_hidden_gradient(MatrixMut::new(&mut dh, batch, outputs))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        let sequence = |data| SequenceMut::with_strides(data, shape, data_strides);
        let call = match read {
            Read::Inputs(..) => call.input_gradient(sequence(&mut read_gradient)),
            Read::Sums(_) => call.sums_gradient(sequence(&mut read_gradient)),
            Read::Table(table, _) => {
                let gradient = MatrixMut::new(&mut read_gradient, table.entries(), self.width());
                call.table_gradient(gradient, GradientMode::Overwrite)
            }
        };
        layer.backward(&mut workspace, &mut tape, call).unwrap();
        if !matches!(read, Read::Table(..)) {
            read_gradient = gather(&mut read_gradient, run.layout, shape);
        }
        let others = gradients.split_off(parameters[0]);
        (result, Gradients { read: read_gradient, initial_hidden: dh, weight_ih: gradients, others })
    }

    /// Rows of gradients of what steps read, added to the entries that they read.
    fn scattered(&self, gradient: &[f32], width: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.entries * width];
        for (row, index) in gradient.chunks(width.max(1)).zip(self.indices()) {
            let to = &mut sums[index as usize * width..][..width];
            to.iter_mut().zip(row).for_each(|(to, &from)| *to += f64::from(from));
        }
        sums
    }

    /// Every h by single steps of all rows, without lengths or masks.
    fn by_steps(&self, layer: &dyn Layer, read: Read<'_>) -> Vec<u32> {
        let (steps, batch) = (self.steps, self.batch);
        let mut state = layer.state(batch);
        let mut all = Vec::new();
        for t in 0..steps {
            let rows = |data: &[f32], width: usize| data[t * batch * width..][..batch * width].to_vec();
            match read {
                Read::Inputs(data, width) => {
                    layer.step(&mut state, Matrix::new(&rows(data, width), batch, width)).unwrap();
                }
                Read::Sums(data) => {
                    let sums = rows(data, self.width());
                    layer.step_of_sums(&mut state, Matrix::new(&sums, batch, self.width())).unwrap();
                }
                Read::Table(table, list) => {
                    let list = &list[t * batch..][..batch];
                    layer.step_of_table(&mut state, table, list.into()).unwrap();
                }
            }
            (0..batch).for_each(|row| all.extend(bits(state.hidden(row).unwrap())));
        }
        all
    }
}

proptest! {
    #[test]
    fn given_sums_are_the_inputs_of_a_layer_whose_weights_are_the_identity(case in cases(), run in runs()) {
        let width = case.width();
        let (reading, others) = case.layer(run, width, &case.identity());
        let (given, _) = case.layer(run, 0, &[]);
        let (rows, indices) = (case.rows(width), case.indices());
        let x = case.gathered(&rows, width);
        let (expected, gradients) = case.run(&*reading, [width * width, others], run, Read::Inputs(&x, width));

        let (found, of_sums) = case.run(&*given, [0, others], run, Read::Sums(&x));
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&of_sums.read, &gradients.read);
        prop_assert_eq!(&of_sums.initial_hidden, &gradients.initial_hidden);
        prop_assert_eq!(&of_sums.others, &gradients.others);

        let table = given.table_of_sums(Matrix::new(&rows, case.entries, width)).unwrap();
        let (found, of_table) = case.run(&*given, [0, others], run, Read::Table(&table, &indices));
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&of_table.initial_hidden, &gradients.initial_hidden);
        prop_assert_eq!(&of_table.others, &gradients.others);
        let error = relative_error(&of_table.read, &case.scattered(&gradients.read, width));
        prop_assert!(error < 1e-5, "{error:e}");

        let expected = case.by_steps(&*reading, Read::Inputs(&x, width));
        prop_assert_eq!(&case.by_steps(&*given, Read::Sums(&x)), &expected);
        prop_assert_eq!(&case.by_steps(&*given, Read::Table(&table, &indices)), &expected);
    }

    #[test]
    fn a_table_of_inputs_has_the_bits_of_a_call_for_them_and_gradients_by_the_chain_rule(
        case in cases(),
        run in runs(),
        inputs in 0usize..20,
    ) {
        let width = case.width();
        let w = Random(case.seed ^ 6).vec(width * inputs, 0.5);
        let (layer, others) = case.layer(run, inputs, &w);
        let (embedding, indices) = (case.rows(inputs), case.indices());
        let table = layer.table(Matrix::new(&embedding, case.entries, inputs)).unwrap();
        let x = case.gathered(&embedding, inputs);
        let (expected, gradients) = case.run(&*layer, [w.len(), others], run, Read::Inputs(&x, inputs));
        let (found, of_table) = case.run(&*layer, [w.len(), others], run, Read::Table(&table, &indices));
        prop_assert_eq!(bits(&found.output), bits(&expected.output));
        prop_assert_eq!(bits(&found.last_hidden), bits(&expected.last_hidden));
        prop_assert_eq!(of_table.initial_hidden, gradients.initial_hidden);
        prop_assert_eq!(of_table.others, gradients.others);
        prop_assert!(of_table.weight_ih.iter().all(|&dw| dw == 0.0));
        prop_assert_eq!(
            case.by_steps(&*layer, Read::Table(&table, &indices)),
            case.by_steps(&*layer, Read::Inputs(&x, inputs))
        );
        // dE = dT·W and dW = dTᵀ·E
        let (mut d_embedding, mut dw) = (vec![0.0f32; embedding.len()], vec![0.0f32; w.len()]);
        for entry in 0..case.entries {
            for column in 0..width {
                let gradient = of_table.read[entry * width + column];
                for input in 0..inputs {
                    d_embedding[entry * inputs + input] += gradient * w[column * inputs + input];
                    dw[column * inputs + input] += gradient * embedding[entry * inputs + input];
                }
            }
        }
        let expected = case.scattered(&gradients.read, inputs);
        prop_assert!(relative_error(&d_embedding, &expected) < 1e-4);
        let expected: Vec<f64> = gradients.weight_ih.iter().map(|&dw| dw.into()).collect();
        prop_assert!(relative_error(&dw, &expected) < 1e-4);
    }

    #[test]
    fn gradients_of_a_table_have_the_same_bits_for_any_threads_and_tape(case in cases()) {
        let (rows, indices) = (case.rows(case.width()), case.indices());
        let gradients = |threads: usize, split: Split, every: Option<usize>| {
            let run = Run::on(levels()[0]).threads(threads).split(split);
            let case = Case { every, ..case };
            let (layer, others) = case.layer(run, 0, &[]);
            let table = layer.table_of_sums(Matrix::new(&rows, case.entries, case.width())).unwrap();
            bits(&case.run(&*layer, [0, others], run, Read::Table(&table, &indices)).1.read)
        };
        let expected = gradients(1, Split::Rows, None);
        prop_assert_eq!(&gradients(3, Split::Rows, Some(2)), &expected);
        prop_assert_eq!(&gradients(2, Split::Units, None), &expected);
    }
}

#[test]
fn given_sums_are_the_oracles_with_the_identity_for_weights() {
    let sizes = Sizes { steps: 5, batch: 3, inputs: 4 * 7, units: 7 };
    let identity = (0..28 * 28).map(|at| f32::from(u8::from(at / 28 == at % 28))).collect();
    let case = CommonCase { weight_ih: identity, ..CommonCase::random(3, sizes) };
    let cotangents =
        Cotangents { last_hidden: vec![0.0; 21], last_cell: vec![0.0; 21], ..Cotangents::random(3, sizes) };
    let (expected, gradients) = (case.expected(), case.expected_gradients(&cotangents));
    let config = LstmConfig::new(0, 7).training();
    let biases = [Some(&case.bias_ih[..]), Some(&case.bias_hh[..])];
    let weights = LstmWeights::pytorch(&config, &[], &case.weight_hh, biases[0], biases[1]).unwrap();
    let lstm = Lstm::new(&config, &weights).unwrap();
    let (mut workspace, mut tape) = (lstm.workspace(3).unwrap(), lstm.tape(5, 3).unwrap());
    let sums = Sequence::time_major(&case.x, 5, 3, 28);
    let (mut h, mut found) = ([0.0; 5 * 3 * 7], [0.0; 5 * 3 * 28]);
    let call = Forward::of_sums(sums)
        .initial_hidden(Matrix::new(&case.initial_hidden, 3, 7))
        .initial_cell(Matrix::new(&case.initial_cell, 3, 7))
        .output(SequenceMut::time_major(&mut h, 5, 3, 7))
        .tape(&mut tape);
    lstm.forward(&mut workspace, call).unwrap();
    let call = Backward::of_sums(sums)
        .output_cotangent(Sequence::time_major(&cotangents.output, 5, 3, 7))
        .sums_gradient(SequenceMut::time_major(&mut found, 5, 3, 28));
    lstm.backward(&mut workspace, &mut tape, call).unwrap();
    assert!(relative_error(&h, &expected.output) < 1e-6);
    assert!(relative_error(&found, &gradients.input) < 1e-6);
}

#[test]
fn gradients_of_a_table_are_finite_differences() {
    const STEP: f32 = 1.0 / 64.0;
    let config = LstmConfig::new(0, 3).training();
    let parameters = Random(1).vec(config.parameters().unwrap().total(), 0.7);
    let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
    let rows = Random(2).vec(4 * 12, 0.7);
    let indices = [1u32, 0, 3, 1, 1, 2];
    let indices = StepIndices::batch_major(&indices, 2, 3);
    let cotangents = Random(3).vec(2 * 3 * 3, 1.0);
    let (mut workspace, mut tape) = (lstm.workspace(2).unwrap(), lstm.tape(3, 2).unwrap());
    let mut loss = |rows: &[f32]| {
        let table = lstm.table_of_sums(Matrix::new(rows, 4, 12), GateOrder::IFGO).unwrap();
        let mut h = [0.0; 2 * 3 * 3];
        let output = SequenceMut::batch_major(&mut h, 2, 3, 3);
        let call = Forward::of_table(&table, indices).output(output).tape(&mut tape);
        lstm.forward(&mut workspace, call).unwrap();
        h.iter().zip(&cotangents).map(|(&h, &by)| f64::from(h) * f64::from(by)).sum::<f64>()
    };
    let expected: Vec<f64> = (0..rows.len())
        .map(|at| {
            let mut moved = [rows.clone(), rows.clone()];
            moved[0][at] += STEP;
            moved[1][at] -= STEP;
            (loss(&moved[0]) - loss(&moved[1])) / f64::from(2.0 * STEP)
        })
        .collect();
    loss(&rows);
    let table = lstm.table_of_sums(Matrix::new(&rows, 4, 12), GateOrder::IFGO).unwrap();
    let mut found = vec![1.0; rows.len()];
    for (mode, before) in [(GradientMode::Accumulate, 1.0), (GradientMode::Overwrite, 0.0)] {
        let call = Backward::of_table(&table, indices)
            .output_cotangent(Sequence::batch_major(&cotangents, 2, 3, 3))
            .table_gradient(MatrixMut::new(&mut found, 4, 12), mode);
        lstm.backward(&mut workspace, &mut tape, call).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - before - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
}

#[test]
fn tables_read_the_gates_of_rows_in_any_order() {
    let config = LstmConfig::new(0, 2);
    let lstm = Lstm::new(&config, &LstmWeights::keras(&config, &[], &[0.1; 16], None).unwrap()).unwrap();
    let rows: [[f32; 2]; 4] = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]];
    let hidden = |order, gates: [usize; 4]| {
        let rows = gates.map(|gate| rows[gate]).concat();
        let table = lstm.table_of_sums(Matrix::new(&rows, 1, 8), order).unwrap();
        let mut state = lstm.state(1).unwrap();
        lstm.step_of_table(&mut state, &table, &[0usize]).unwrap();
        bits(state.hidden(0).unwrap())
    };
    let expected = hidden(GateOrder::IFGO, [0, 1, 2, 3]);
    assert_eq!(hidden(GateOrder::IOFG, [0, 3, 1, 2]), expected);
    assert_eq!(hidden(GateOrder::FIGO, [1, 0, 2, 3]), expected);
    assert_eq!(hidden(GateOrder::IFOG, [0, 1, 3, 2]), expected);
}

#[test]
fn numbers_too_small_to_compute_with_count_as_zero_in_given_sums() {
    let config = LstmConfig::new(0, 1);
    let lstm = Lstm::new(&config, &LstmWeights::keras(&config, &[], &[0.1; 4], None).unwrap()).unwrap();
    let hidden = |sum: f32| {
        let mut states = [lstm.state(1).unwrap(), lstm.state(1).unwrap()];
        let sums = [sum; 4];
        lstm.step_of_sums(&mut states[0], Matrix::new(&sums, 1, 4)).unwrap();
        let table = lstm.table_of_sums(Matrix::new(&sums, 1, 4), GateOrder::IFGO).unwrap();
        lstm.step_of_table(&mut states[1], &table, &[0usize]).unwrap();
        states.map(|state| state.hidden(0).unwrap()[0].to_bits())
    };
    assert_eq!(hidden(1e-40), hidden(0.0));
}

#[test]
fn an_index_that_is_none_of_the_tables_is_refused_before_anything_is_written() {
    let config = LstmConfig::new(0, 2).training();
    let weights = [0.1; 16];
    let lstm =
        Lstm::new(&config, &LstmWeights::pytorch(&config, &[], &weights, None, None).unwrap()).unwrap();
    let table = lstm.table_of_sums(Matrix::new(&[0.5; 3 * 8], 3, 8), GateOrder::IFGO).unwrap();
    let mut workspace = lstm.workspace(2).unwrap();
    let mut tape = lstm.tape(2, 2).unwrap();
    let mut h = [GAP; 8];
    let refused =
        |step, row, found| Refused::NoSuchEntry { argument: "indices", step, row, entries: 3, found };
    for (list, step, row, found) in
        [([0i64, 1, 2, 3], 1, 1, 3), ([0, -1, 0, 0], 0, 1, -1), ([i64::MAX; 4], 0, 0, i64::MAX)]
    {
        let call = Forward::of_table(&table, StepIndices::time_major(&list, 2, 2))
            .output(SequenceMut::time_major(&mut h, 2, 2, 2));
        assert_refused(lstm.forward(&mut workspace, call), refused(step, row, found.into()));
        let mut state = lstm.state(4).unwrap();
        let row = 2 * step + row;
        assert_refused(lstm.step_of_table(&mut state, &table, &list), refused(0, row, found.into()));
        assert_eq!(state.hidden(0).unwrap(), [0.0; 2]);
    }
    // Where no step is run, nothing is read.
    let padded = [0i64, 1, 2, -100];
    let padded = StepIndices::time_major(&padded, 2, 2);
    let call = Forward::of_table(&table, padded).lengths(&[2, 1]).tape(&mut tape);
    lstm.forward(&mut workspace, call.output(SequenceMut::time_major(&mut h, 2, 2, 2))).unwrap();
    assert_eq!(h[6..], [0.0; 2]);
    let mut gradient = [GAP; 3 * 8];
    let call = Backward::of_table(&table, padded)
        .table_gradient(MatrixMut::new(&mut gradient, 3, 8), GradientMode::Overwrite);
    assert_refused(lstm.backward(&mut workspace, &mut tape, call), refused(1, 1, -100));
    assert_eq!(gradient, [GAP; 24]);
    let call = Backward::of_table(&table, padded)
        .lengths(&[2, 1])
        .last_hidden_cotangent(Matrix::new(&[1.0; 4], 2, 2))
        .table_gradient(MatrixMut::new(&mut gradient, 3, 8), GradientMode::Overwrite);
    lstm.backward(&mut workspace, &mut tape, call).unwrap();
    assert!(gradient.iter().all(|gradient| *gradient != GAP));
}

#[test]
fn sequences_and_tables_without_rows_cost_nothing() {
    let config = LstmConfig::new(2, 3);
    let weights = LstmWeights::pytorch(&config, &[0.1; 24], &[0.1; 36], None, None).unwrap();
    let lstm = Lstm::new(&config, &weights).unwrap();
    let table = lstm.table(Matrix::new(&[], 0, 2)).unwrap();
    assert_eq!((table.entries(), table.bytes()), (0, 0));
    let (steps, mut workspace) = (usize::MAX - 1, lstm.workspace(0).unwrap());
    let call = Forward::of_table(&table, StepIndices::time_major(&[0u8; 0], steps, 0));
    lstm.forward(&mut workspace, call).unwrap();
    lstm.forward(&mut workspace, Forward::of_sums(Sequence::time_major(&[], steps, 0, 12))).unwrap();
    lstm.step_of_table(&mut lstm.state(0).unwrap(), &table, &[0u8; 0]).unwrap();
    assert_refused(
        lstm.step_of_table(&mut lstm.state(1).unwrap(), &table, &[0u8]),
        Refused::NoSuchEntry { argument: "indices", step: 0, row: 0, entries: 0, found: 0 },
    );
}

#[test]
fn a_table_of_other_weights_is_refused() {
    let config = LstmConfig::new(1, 1);
    let weights = LstmWeights::pytorch(&config, &[0.1; 4], &[0.1; 4], None, None).unwrap();
    let mut lstm = Lstm::new(&config, &weights).unwrap();
    let table = lstm.table(Matrix::new(&[1.0], 1, 1)).unwrap();
    let clone = lstm.clone();
    let step = |lstm: &Lstm| lstm.step_of_table(&mut lstm.state(1).unwrap(), &table, &[0u8]);
    step(&clone).unwrap();
    let refused = || Refused::OtherWeights { argument: "table" };
    assert_refused(step(&Lstm::new(&config, &weights).unwrap()), refused());
    lstm.set_weights(&weights).unwrap();
    assert_refused(step(&lstm), refused());
    let call = Forward::of_table(&table, StepIndices::time_major(&[0u8], 1, 1));
    assert_refused(lstm.forward(&mut lstm.workspace(1).unwrap(), call), refused());
    step(&clone).unwrap();
}

#[test]
fn what_is_given_in_another_shape_or_asked_for_where_it_is_not_given_is_refused() {
    let config = GruConfig::new(2, 2).training();
    let gru = Gru::new(&config, &GruWeights::pytorch(&config, &[0.1; 12], &[0.1; 12], None, None).unwrap());
    let gru = gru.unwrap();
    let features =
        |argument, expected, found| Refused::Dimension { argument, dimension: "features", expected, found };
    let width =
        |argument, expected, found| Refused::Dimension { argument, dimension: "width", expected, found };
    let data = [0.5; 24];
    let (mut workspace, mut tape) = (gru.workspace(1).unwrap(), gru.tape(2, 1).unwrap());
    let of = |width| Sequence::time_major(&data, 2, 1, width);
    assert_refused(gru.forward(&mut workspace, Forward::of_sums(of(8))), features("sums", 6, 8));
    assert_refused(
        gru.forward(&mut workspace, Forward::of_sums(Sequence::time_major(&data[..11], 2, 1, 6))),
        Refused::TooShort { argument: "sums", expected: 12, found: 11 },
    );
    let mut state = gru.state(1).unwrap();
    assert_refused(gru.step_of_sums(&mut state, Matrix::new(&data, 1, 2)), width("sums", 6, 2));
    assert_refused(gru.table(Matrix::new(&data, 1, 6)), width("inputs", 2, 6));
    assert_refused(gru.table_of_sums(Matrix::new(&data, 1, 2), GruGateOrder::ZRN), width("sums", 6, 2));
    let table = gru.table(Matrix::new(&data, 3, 2)).unwrap();
    assert_refused(
        gru.step_of_table(&mut state, &table, &[0u32, 1]),
        Refused::Dimension { argument: "indices", dimension: "batch", expected: 1, found: 2 },
    );
    let indices = |list| StepIndices::time_major(list, 2, 1);
    assert_refused(
        gru.forward(&mut workspace, Forward::of_table(&table, indices(&[0usize][..]))),
        Refused::TooShort { argument: "indices", expected: 2, found: 1 },
    );

    gru.forward(&mut workspace, Forward::of_sums(of(6)).tape(&mut tape)).unwrap();
    let mut gradient = [GAP; 18];
    let unexpected = |argument| Refused::Unexpected { argument };
    fn sequence(data: &mut [f32], width: usize) -> SequenceMut<'_> {
        SequenceMut::time_major(data, 2, 1, width)
    }
    let call = Backward::of_sums(of(6)).input_gradient(sequence(&mut gradient, 2));
    assert_refused(gru.backward(&mut workspace, &mut tape, call), unexpected("input_gradient"));
    let matrix = MatrixMut::new(&mut gradient, 3, 6);
    let call = Backward::of_sums(of(6)).table_gradient(matrix, GradientMode::Overwrite);
    assert_refused(gru.backward(&mut workspace, &mut tape, call), unexpected("table_gradient"));
    let call = Backward::new(of(2)).sums_gradient(sequence(&mut gradient, 6));
    assert_refused(gru.backward(&mut workspace, &mut tape, call), unexpected("sums_gradient"));
    let call = Backward::of_sums(of(6)).sums_gradient(sequence(&mut gradient, 2));
    assert_refused(gru.backward(&mut workspace, &mut tape, call), features("sums_gradient", 6, 2));
    let list = [0usize, 2];
    let call = Backward::of_table(&table, indices(&list))
        .table_gradient(MatrixMut::new(&mut gradient, 2, 6), GradientMode::Overwrite);
    assert_refused(
        gru.backward(&mut workspace, &mut tape, call),
        Refused::Dimension { argument: "table_gradient", dimension: "rows", expected: 3, found: 2 },
    );
    assert_eq!(gradient, [GAP; 18]);
}
