//! Cases whose rows run a part of the steps, their oracle, and the crate's answers.

use super::{
    Case, Cotangents, GAP, Gradients, Layout, Outcome, Random, Recording, Run, Sizes, gather, spread,
    strides, widen,
};
use proptest::prelude::*;
use quadgate::reference::{
    NaiveCall, NaiveCell, NaiveDirections, NaiveGradients, NaiveLayer, NaiveOutput, NaiveParameters,
    NaiveResult, NaiveRun, NaiveState,
};
use quadgate::{
    Backward, Direction, Forward, GradientMode, Lstm, Matrix, MatrixMut, Padding, Sequence, SequenceMut,
    StepMask, Tape, Workspace,
};

/// How a case says which steps are run.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Lengths,
    /// The same length for all rows.
    EqualLengths,
    /// One in so many steps is run.
    Mask(u64),
    /// A mask of every step.
    Full,
}

pub fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Lengths),
        1 => Just(Kind::EqualLengths),
        3 => (1u64..5).prop_map(Kind::Mask),
        1 => Just(Kind::Full),
    ]
}

/// A case and the steps that its rows run. What must not be read is NaN.
#[derive(Clone, Debug)]
pub struct PartialCase {
    pub case: Case,
    pub steps: NaiveRun,
    /// What the output of the others is, if the call says it.
    pub padding: Option<Padding>,
    pub cotangents: Cotangents,
}

/// What a call may say of the output of steps that it does not run.
pub fn padding_of(random: &mut Random) -> Option<Padding> {
    [None, Some(Padding::Zero), Some(Padding::Repeat), Some(Padding::Value(-0.75))]
        [random.bits() as usize % 4]
}

impl PartialCase {
    pub fn random(seed: u64, sizes: Sizes, kind: Kind) -> Self {
        let Sizes { steps, batch, .. } = sizes;
        let mut random = Random(seed ^ 0x1e55);
        let mut length = || random.bits() as usize % (steps + 1);
        let run = match kind {
            Kind::Lengths => NaiveRun::Lengths((0..batch).map(|_| length()).collect()),
            Kind::EqualLengths => NaiveRun::Lengths(vec![length(); batch]),
            Kind::Mask(of) => {
                NaiveRun::Mask((0..steps * batch).map(|_| random.bits().is_multiple_of(of)).collect())
            }
            Kind::Full => NaiveRun::Mask(vec![true; steps * batch]),
        };
        let padding = padding_of(&mut random);
        Self::new(Case::random(seed, sizes), run, padding, Cotangents::random(seed, sizes))
    }

    pub fn new(case: Case, steps: NaiveRun, padding: Option<Padding>, cotangents: Cotangents) -> Self {
        let mut partial = Self { case, steps, padding, cotangents };
        partial.set_unread(f32::NAN);
        partial
    }

    /// The same layer and steps with NaN for all that a call reads.
    pub fn of_nan(self) -> Self {
        Self { case: self.case.of_nan(), cotangents: self.cotangents.of_nan(), ..self }
    }

    /// Whether the output of a step that is not run is h as it was.
    pub fn repeats(&self) -> bool {
        match self.padding {
            Some(padding) => padding == Padding::Repeat,
            None => matches!(self.steps, NaiveRun::Mask(_)),
        }
    }

    /// Whether row `b` runs at time `t`.
    pub fn runs(&self, t: usize, b: usize) -> bool {
        match &self.steps {
            NaiveRun::All => true,
            NaiveRun::Lengths(lengths) => t < lengths[b],
            NaiveRun::Mask(mask) => mask[t * self.case.sizes.batch + b],
        }
    }

    /// Sets x of steps that are not run, and cotangents of outputs that are always the same.
    fn set_unread(&mut self, value: f32) {
        let Sizes { steps, batch, inputs, units } = self.case.sizes;
        for t in 0..steps {
            for b in 0..batch {
                if !self.runs(t, b) {
                    self.case.x[(t * batch + b) * inputs..][..inputs].fill(value);
                    if !self.repeats() {
                        self.cotangents.output[(t * batch + b) * units..][..units].fill(value);
                    }
                }
            }
        }
    }

    /// The oracle's outputs and gradients, in f64.
    pub fn expected(&self, direction: Direction) -> (NaiveOutput<f64>, NaiveGradients<f64>) {
        let mut read = self.clone();
        read.set_unread(0.0);
        let repeats = Some(read.repeats());
        let PartialCase { case, steps: run, padding, cotangents } = read;
        let Sizes { steps, batch, inputs, units } = case.sizes;
        let naive = case.naive();
        let parameters = NaiveParameters::new(naive.weight_ih, naive.weight_hh, naive.bias);
        let cells = vec![NaiveCell::new(inputs, units, parameters)];
        let state =
            |hidden: &[f32], cell: &[f32]| vec![NaiveState { hidden: widen(hidden), cell: widen(cell) }];
        let call = NaiveCall {
            initial: state(&case.initial_hidden, &case.initial_cell),
            run,
            repeats,
            ..NaiveCall::new([steps, batch], widen(&case.x), &cells)
        };
        let directions = match direction {
            Direction::Forward => NaiveDirections::Forward,
            Direction::Reverse => NaiveDirections::Reverse,
        };
        let layer = NaiveLayer { cells, directions };
        let mut result = layer.forward(&call);
        let last = result.last.remove(0);
        if let Some(Padding::Value(value)) = padding {
            for (position, row) in result.output.chunks_exact_mut(units).enumerate() {
                if !self.runs(position / batch, position % batch) {
                    row.fill(value.into());
                }
            }
        }
        let cotangents = NaiveResult {
            output: widen(&cotangents.output),
            last: state(&cotangents.last_hidden, &cotangents.last_cell),
        };
        let mut gradients = layer.backward(&call, &cotangents);
        let (initial, parameters) = (gradients.initial.remove(0), gradients.parameters.remove(0));
        (
            NaiveOutput { output: result.output, last_hidden: last.hidden, last_cell: last.cell },
            NaiveGradients {
                input: gradients.input,
                initial_hidden: initial.hidden,
                initial_cell: initial.cell,
                weight_ih: parameters.weight_ih,
                weight_hh: parameters.weight_hh,
                bias: parameters.bias,
            },
        )
    }

    /// The crate's outputs, without a tape.
    pub fn forward(&self, run: Run) -> Outcome {
        let lstm = self.case.lstm(run);
        self.forward_with(&lstm, &mut lstm.workspace(self.case.sizes.batch).unwrap(), run, None)
    }

    /// The crate's outputs, with a tape if there is one.
    pub fn forward_with(
        &self,
        lstm: &Lstm,
        workspace: &mut Workspace,
        run: Run,
        tape: Option<&mut Tape>,
    ) -> Outcome {
        let case = &self.case;
        let Sizes { steps, batch, inputs, units } = case.sizes;
        let x = spread(&case.x, run.layout, [steps, batch, inputs], f32::NAN);
        let (x_strides, _) = strides(run.layout, steps, batch, inputs);
        let (out_strides, out_len) = strides(run.layout, steps, batch, units);
        let mut out = vec![GAP; out_len];
        let (mut last_hidden, mut last_cell) = (vec![GAP; batch * units], vec![GAP; batch * units]);
        let call = Forward::new(Sequence::with_strides(&x, [steps, batch, inputs], x_strides))
            .initial_hidden(Matrix::new(&case.initial_hidden, batch, units))
            .initial_cell(Matrix::new(&case.initial_cell, batch, units))
            .output(SequenceMut::with_strides(&mut out, [steps, batch, units], out_strides))
            .last_hidden(MatrixMut::new(&mut last_hidden, batch, units))
            .last_cell(MatrixMut::new(&mut last_cell, batch, units));
        let call = tape.into_iter().fold(call, Forward::tape);
        let call = self.padding.into_iter().fold(call, Forward::padding);
        let mask = self.mask(run.layout);
        let call = match &self.steps {
            NaiveRun::All => call,
            NaiveRun::Lengths(lengths) => call.lengths(lengths),
            NaiveRun::Mask(_) => call.mask(self.mask_view(&mask, run.layout)),
        };
        lstm.forward(workspace, call).unwrap();
        let output = gather(&mut out, run.layout, [steps, batch, units]);
        Outcome { output, last_hidden, last_cell }
    }

    /// The crate's outputs and gradients; parameter gradients are written over NaN.
    pub fn gradients(&self, run: Run, recording: Recording) -> (Outcome, Gradients) {
        let lstm = self.training_layer(run);
        let (mut workspace, mut tape) = self.memory(&lstm, recording);
        self.gradients_with(&lstm, &mut workspace, &mut tape, run)
    }

    pub fn training_layer(&self, run: Run) -> Lstm {
        let config = run.config(self.case.sizes).training();
        Lstm::new(&config, &self.case.weights(&config)).unwrap()
    }

    /// A workspace and a tape of just the right size.
    pub fn memory(&self, lstm: &Lstm, recording: Recording) -> (Workspace, Tape) {
        let Sizes { steps, batch, .. } = self.case.sizes;
        let tape = match recording {
            Recording::Full => lstm.tape(steps, batch),
            Recording::Checkpoints(every) => lstm.checkpointed_tape(steps, batch, every),
        };
        (lstm.workspace(batch).unwrap(), tape.unwrap())
    }

    pub fn gradients_with(
        &self,
        lstm: &Lstm,
        workspace: &mut Workspace,
        tape: &mut Tape,
        run: Run,
    ) -> (Outcome, Gradients) {
        let case = &self.case;
        let Sizes { steps, batch, inputs, units } = case.sizes;
        let outcome = self.forward_with(lstm, workspace, run, Some(tape));

        let x = spread(&case.x, run.layout, [steps, batch, inputs], f32::NAN);
        let cotangent = spread(&self.cotangents.output, run.layout, [steps, batch, units], f32::NAN);
        let (cotangent_strides, _) = strides(run.layout, steps, batch, units);
        let (dx_strides, dx_len) = strides(run.layout, steps, batch, inputs);
        let mut dx = vec![GAP; dx_len];
        let (mut dh0, mut dc0) = (vec![GAP; batch * units], vec![GAP; batch * units]);
        let mut parameters = vec![f32::NAN; lstm.config().parameters().unwrap().total()];
        let call = Backward::new(Sequence::with_strides(&x, [steps, batch, inputs], dx_strides))
            .output_cotangent(Sequence::with_strides(&cotangent, [steps, batch, units], cotangent_strides))
            .last_hidden_cotangent(Matrix::new(&self.cotangents.last_hidden, batch, units))
            .last_cell_cotangent(Matrix::new(&self.cotangents.last_cell, batch, units))
            .input_gradient(SequenceMut::with_strides(&mut dx, [steps, batch, inputs], dx_strides))
            .initial_hidden_gradient(MatrixMut::new(&mut dh0, batch, units))
            .initial_cell_gradient(MatrixMut::new(&mut dc0, batch, units))
            .parameter_gradients(&mut parameters, GradientMode::Overwrite);
        let mask = self.mask(run.layout);
        let call = match &self.steps {
            NaiveRun::All => call,
            NaiveRun::Lengths(lengths) => call.lengths(lengths),
            NaiveRun::Mask(_) => call.mask(self.mask_view(&mask, run.layout)),
        };
        lstm.backward(workspace, tape, call).unwrap();
        let input = gather(&mut dx, run.layout, [steps, batch, inputs]);
        (outcome, Gradients { input, initial_hidden: dh0, initial_cell: dc0, parameters })
    }

    /// The mask in a layout; empty if there is none.
    fn mask(&self, layout: Layout) -> Vec<bool> {
        let NaiveRun::Mask(mask) = &self.steps else { return Vec::new() };
        let mask: Vec<f32> = mask.iter().map(|&runs| f32::from(u8::from(runs))).collect();
        let Sizes { steps, batch, .. } = self.case.sizes;
        spread(&mask, layout, [steps, batch, 1], 1.0).into_iter().map(|runs| runs != 0.0).collect()
    }

    fn mask_view<'a>(&self, mask: &'a [bool], layout: Layout) -> StepMask<'a> {
        let Sizes { steps, batch, .. } = self.case.sizes;
        StepMask::with_strides(mask, [steps, batch], strides(layout, steps, batch, 1).0)
    }

    /// One row alone, with the times that it runs and no others.
    pub fn alone(&self, b: usize) -> (PartialCase, Vec<usize>) {
        let Sizes { steps, batch, inputs, units } = self.case.sizes;
        let times: Vec<usize> = (0..steps).filter(|&t| self.runs(t, b)).collect();
        let row = |values: &[f32], width: usize| values[b * width..][..width].to_vec();
        let at = |values: &[f32], width: usize| -> Vec<f32> {
            times.iter().flat_map(|t| values[(t * batch + b) * width..][..width].to_vec()).collect()
        };
        let case = Case {
            sizes: Sizes { steps: times.len(), batch: 1, ..self.case.sizes },
            x: at(&self.case.x, inputs),
            initial_hidden: row(&self.case.initial_hidden, units),
            initial_cell: row(&self.case.initial_cell, units),
            ..self.case.clone()
        };
        let output = at(&self.cotangents.output, units);
        let cotangents = Cotangents {
            output,
            last_hidden: row(&self.cotangents.last_hidden, units),
            last_cell: row(&self.cotangents.last_cell, units),
        };
        (PartialCase { case, steps: NaiveRun::All, padding: None, cotangents }, times)
    }
}
