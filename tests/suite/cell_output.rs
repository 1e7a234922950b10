//! Every c of a layer: those of single steps, and their cotangents.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{GAP, Random, Recording, Run, bits, gather, relative_error, runs, strides, widen};
use proptest::prelude::*;
use quadgate::{
    Backward, Direction, Forward, GradientMode, Gru, GruConfig, GruWeights, Lstm, LstmConfig, LstmWeights,
    Matrix, MatrixMut, Padding, Sequence, SequenceMut, StepMask, Zoneout,
};
use std::num::NonZeroUsize;

/// Sizes and options of a case.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    steps: usize,
    batch: usize,
    inputs: usize,
    units: usize,
    options: usize,
    direction: Direction,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..7, 1usize..6, 0usize..9, 1usize..40);
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Reverse)];
    (any::<u64>(), sizes, 0usize..4, direction).prop_map(
        |(seed, (steps, batch, inputs, units), options, direction)| Case {
            seed,
            steps,
            batch,
            inputs,
            units,
            options,
            direction,
        },
    )
}

impl Case {
    fn config(&self, run: Run) -> LstmConfig {
        let config = LstmConfig::new(self.inputs, self.units).training().direction(self.direction);
        let needs_rows = self.options == 2;
        let run = Run { split: if needs_rows { None } else { run.split }, ..run };
        run.apply(match self.options {
            0 => config,
            1 => config.peepholes().zoneout(Zoneout { hidden: 0.25, cell: 0.25 }),
            2 => config.projection(3).layer_normalization(0.1),
            _ => config.clip(quadgate::Clip { cell: Some(0.5), ..quadgate::Clip::default() }),
        })
    }

    fn lstm(&self, run: Run) -> Lstm {
        let config = self.config(run);
        let parameters = Random(self.seed).vec(config.parameters().unwrap().total(), 0.5);
        Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters).unwrap()).unwrap()
    }

    fn x(&self) -> Vec<f32> {
        Random(self.seed ^ 1).vec(self.steps * self.batch * self.inputs, 1.0)
    }

    fn initial(&self, lstm: &Lstm) -> [Vec<f32>; 2] {
        let width = lstm.config().output_size();
        let mut random = Random(self.seed ^ 2);
        [random.vec(self.batch * width, 1.0), random.vec(self.batch * self.units, 1.0)]
    }

    fn mask(&self) -> Vec<bool> {
        let mut random = Random(self.seed ^ 3);
        (0..self.steps * self.batch).map(|_| !random.bits().is_multiple_of(3)).collect()
    }

    /// The times in the order in which they are read.
    fn times(&self) -> Vec<usize> {
        match self.direction {
            Direction::Forward => (0..self.steps).collect(),
            Direction::Reverse => (0..self.steps).rev().collect(),
        }
    }

    /// c after each step, `[T, B, H]`, by single rows and steps; where the mask is false, that before, or `padding`.
    fn expected(&self, lstm: &Lstm, mask: Option<&[bool]>, padding: Option<f32>) -> Vec<f32> {
        let (x, [h, c]) = (self.x(), self.initial(lstm));
        let width = lstm.config().output_size();
        let mut all = vec![f32::NAN; self.steps * self.batch * self.units];
        for row in 0..self.batch {
            let mut state = lstm.state(1).unwrap();
            state.set_row(0, &h[row * width..][..width], &c[row * self.units..][..self.units]).unwrap();
            for time in self.times() {
                let position = time * self.batch + row;
                let to = &mut all[position * self.units..][..self.units];
                if mask.is_none_or(|mask| mask[position]) {
                    let x = &x[position * self.inputs..][..self.inputs];
                    lstm.step(&mut state, Matrix::new(x, 1, self.inputs)).unwrap();
                } else if let Some(padding) = padding {
                    to.fill(padding);
                    continue;
                }
                to.copy_from_slice(state.cell(0).unwrap());
            }
        }
        all
    }
}

proptest! {
    #[test]
    fn every_c_has_the_bits_of_single_steps(
        case in cases(),
        run in runs(),
        is_masked in any::<bool>(),
        is_recorded in any::<bool>(),
        padding in proptest::option::of(prop_oneof![Just(Padding::Zero), Just(Padding::Value(-2.5))]),
    ) {
        let lstm = case.lstm(run);
        let (x, [h, c], mask) = (case.x(), case.initial(&lstm), case.mask());
        let (steps, batch, units, width) = (case.steps, case.batch, case.units, lstm.config().output_size());
        let (strides, len) = strides(run.layout, steps, batch, units);
        let mut found = vec![GAP; len];
        let mut tape = lstm.checkpointed_tape(steps, batch, NonZeroUsize::new(2)).unwrap();
        let call = Forward::new(Sequence::time_major(&x, steps, batch, case.inputs))
            .initial_hidden(Matrix::new(&h, batch, width))
            .initial_cell(Matrix::new(&c, batch, units))
            .cell_output(SequenceMut::with_strides(&mut found, [steps, batch, units], strides));
        let call = padding.into_iter().fold(call, Forward::padding);
        let call = if is_masked { call.mask(StepMask::time_major(&mask, steps, batch)) } else { call };
        let call = if is_recorded { call.tape(&mut tape) } else { call };
        lstm.forward(&mut lstm.workspace(batch).unwrap(), call).unwrap();
        let value = padding.map(|padding| if padding == Padding::Zero { 0.0 } else { -2.5 });
        let expected = case.expected(&lstm, is_masked.then_some(&mask[..]), value);
        prop_assert_eq!(bits(&gather(&mut found, run.layout, [steps, batch, units])), bits(&expected));
    }

    /// A cotangent of c of one step is that of the last c of a call that ends there.
    #[test]
    fn cotangents_of_every_c_are_those_of_the_last_c_of_shorter_calls(
        case in cases(),
        run in runs(),
        is_masked in any::<bool>(),
        every in proptest::option::of(1usize..4),
    ) {
        let recording = every.map_or(Recording::Full, |every| Recording::Checkpoints(NonZeroUsize::new(every)));
        let lstm = case.lstm(run);
        let (x, [h, c]) = (case.x(), case.initial(&lstm));
        let mask = if is_masked { case.mask() } else { vec![true; case.steps * case.batch] };
        let (batch, units, width) = (case.batch, case.units, lstm.config().output_size());
        let cotangents = Random(case.seed ^ 4).vec(case.steps * batch * units, 1.0);
        let total = lstm.config().parameters().unwrap().total();
        // Some times in the order of time, of which the last that is read has this cotangent of c, or all have theirs.
        let gradients = |times: std::ops::Range<usize>, last: Option<&[f32]>, every: Option<&[f32]>| {
            let (steps, rows) = (times.len(), times.start * batch..times.end * batch);
            let mut tape = match recording {
                Recording::Full => lstm.tape(steps, batch),
                Recording::Checkpoints(every) => lstm.checkpointed_tape(steps, batch, every),
            }
            .unwrap();
            let mut workspace = lstm.workspace(batch).unwrap();
            let mask = StepMask::time_major(&mask[rows.clone()], steps, batch);
            let input = Sequence::time_major(&x[rows.start * case.inputs..], steps, batch, case.inputs);
            let call = Forward::new(input)
                .initial_hidden(Matrix::new(&h, batch, width))
                .initial_cell(Matrix::new(&c, batch, units))
                .tape(&mut tape);
            lstm.forward(&mut workspace, if is_masked { call.mask(mask) } else { call }).unwrap();
            let mut dx = vec![0.0; steps * batch * case.inputs];
            let (mut dh, mut dc) = (vec![0.0; batch * width], vec![0.0; batch * units]);
            let mut parameters = vec![0.0; total];
            let call = Backward::new(input)
                .input_gradient(SequenceMut::time_major(&mut dx, steps, batch, case.inputs))
                .initial_hidden_gradient(MatrixMut::new(&mut dh, batch, width))
                .initial_cell_gradient(MatrixMut::new(&mut dc, batch, units))
                .parameter_gradients(&mut parameters, GradientMode::Overwrite);
            let call = if is_masked { call.mask(mask) } else { call };
            let call = match (last, every) {
                (Some(last), _) => call.last_cell_cotangent(Matrix::new(last, batch, units)),
                (_, Some(every)) => call.cell_output_cotangent(Sequence::time_major(every, steps, batch, units)),
                _ => call,
            };
            lstm.backward(&mut workspace, &mut tape, call).unwrap();
            let mut whole = vec![0.0; x.len()];
            whole[rows.start * case.inputs..rows.end * case.inputs].copy_from_slice(&dx);
            [whole, dh, dc, parameters]
        };
        let found = gradients(0..case.steps, None, Some(&cotangents));
        let mut expected = found.each_ref().map(|found| vec![0.0f64; found.len()]);
        for time in 0..case.steps {
            let times = match case.direction {
                Direction::Forward => 0..time + 1,
                Direction::Reverse => time..case.steps,
            };
            let of_time = &cotangents[time * batch * units..][..batch * units];
            for (sum, of_time) in expected.iter_mut().zip(gradients(times, Some(of_time), None)) {
                sum.iter_mut().zip(widen(&of_time)).for_each(|(sum, x)| *sum += x);
            }
        }
        for (found, expected) in found.iter().zip(&expected) {
            let error = relative_error(found, expected);
            prop_assert!(error < 2e-5, "{error:e}, {case:?}, {run:?}");
        }
    }
}

#[test]
fn every_c_of_another_shape_or_of_a_cell_without_one_is_refused() {
    let config = LstmConfig::new(1, 2).projection(1).training();
    let parameters = vec![0.1; config.parameters().unwrap().total()];
    let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
    let (mut workspace, mut tape) = (lstm.workspace(1).unwrap(), lstm.tape(3, 1).unwrap());
    let x = Sequence::time_major(&[1.0; 3], 3, 1, 1);
    let mut c = [7.0; 6];
    let narrow = |argument| Refused::Dimension { argument, dimension: "features", expected: 2, found: 1 };
    let call = Forward::new(x).cell_output(SequenceMut::time_major(&mut c, 3, 1, 1));
    assert_refused(lstm.forward(&mut workspace, call), narrow("cell_output"));
    let call = Forward::new(x).cell_output(SequenceMut::time_major(&mut c[1..], 3, 1, 2));
    assert_refused(
        lstm.forward(&mut workspace, call),
        Refused::TooShort { argument: "cell_output", expected: 6, found: 5 },
    );
    lstm.forward(&mut workspace, Forward::new(x).tape(&mut tape)).unwrap();
    let call = Backward::new(x).cell_output_cotangent(Sequence::time_major(&c, 3, 1, 1));
    assert_refused(lstm.backward(&mut workspace, &mut tape, call), narrow("cell_output_cotangent"));
    let config = GruConfig::new(1, 2);
    let gru =
        Gru::new(&config, &GruWeights::pytorch(&config, &[0.1; 6], &[0.1; 12], None, None).unwrap()).unwrap();
    let call = Forward::new(x).cell_output(SequenceMut::time_major(&mut c, 3, 1, 2));
    assert_refused(
        gru.forward(&mut gru.workspace(1).unwrap(), call),
        Refused::Unexpected { argument: "cell_output" },
    );
    assert_eq!(c, [7.0; 6]);
}
