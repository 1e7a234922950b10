//! Stacks and sequences for them, their oracle, and how they are run.

use super::{
    Case, Cotangents, GAP, Gradients, Outcome, Random, Recording, Run, Sizes, gather, spread, strides, widen,
};
use proptest::prelude::*;
use quadgate::reference::{
    NaiveCall, NaiveCallGradients, NaiveCell, NaiveDirections, NaiveLayer, NaiveParameters, NaiveResult,
    NaiveRun, NaiveStack, NaiveState,
};
use quadgate::{
    Directions, Dropout, GradientMode, LstmConfig, LstmStack, LstmWeights, Matrix, MatrixMut, Padding,
    Sequence, SequenceMut, StackBackward, StackConfig, StackForward, StackTape, StackWorkspace, StepMask,
};

/// Layers and directions of a stack.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub layers: usize,
    pub directions: Directions,
    /// Units of the first layers, where they are not those of all.
    pub units: [Option<usize>; 12],
}

impl From<(usize, Directions)> for Form {
    /// Of layers that all have as many units.
    fn from((layers, directions): (usize, Directions)) -> Self {
        Self { layers, directions, units: [None; 12] }
    }
}

impl Form {
    /// Units of each layer, where all that say nothing else have `units`.
    pub fn units(self, units: usize) -> Vec<usize> {
        let of_layer = |layer| self.units.get(layer).copied().flatten().unwrap_or(units);
        (0..self.layers).map(of_layer).collect()
    }

    /// Whether a layer has units of its own.
    pub fn is_mixed(self) -> bool {
        self.units.iter().take(self.layers).any(Option::is_some)
    }
}

/// A stack and a sequence for it; x is time-major, states are `[B, H]` of each directed layer, one after the other.
#[derive(Clone, Debug)]
pub struct StackCase {
    /// Those of the first layer.
    pub sizes: Sizes,
    /// Of each layer.
    pub units: Vec<usize>,
    pub directions: Directions,
    /// Cases of which the weights count, one for each directed layer.
    pub cells: Vec<Case>,
    pub x: Vec<f32>,
    pub initial_hidden: Vec<f32>,
    pub initial_cell: Vec<f32>,
    pub dropout: Option<Dropout>,
    /// Which steps are run.
    pub steps: NaiveRun,
    /// What the output of the others is, if the call says it.
    pub padding: Option<Padding>,
}

/// Few layers of any directions, of equal widths half of the time.
pub fn forms() -> impl Strategy<Value = Form> {
    let directions = [Directions::Forward, Directions::Reverse, Directions::Concatenated, Directions::Summed];
    let own = || proptest::option::of(1usize..36);
    let units = prop_oneof![Just([None; 4]), [own(), own(), own(), own()]];
    let form = (1usize..5, proptest::sample::select(directions.to_vec()), units);
    form.prop_map(|(layers, directions, [a, b, c, d])| Form {
        units: [a, b, c, d, None, None, None, None, None, None, None, None],
        ..Form::from((layers, directions))
    })
}

/// States of directed layers of these widths as a call takes them: rows of the widest, with `fill` after those of
/// others.
pub fn spread_states(states: &[f32], batch: usize, widths: &[usize], fill: f32) -> Vec<f32> {
    let mut rest = states;
    let widest = widths.iter().copied().max().unwrap_or(0);
    let rows = widths.iter().flat_map(|&width| std::iter::repeat_n(width, batch));
    let rows = rows.flat_map(|width| {
        let (row, others) = rest.split_at(width);
        rest = others;
        [row, &vec![fill; widest - width]].concat()
    });
    rows.collect()
}

/// The states that a call has written to such rows, of which the rest must be as it was.
pub fn gather_states(rows: &[f32], batch: usize, widths: &[usize]) -> Vec<f32> {
    let widest = widths.iter().copied().max().unwrap_or(0);
    let widths = widths.iter().flat_map(|&width| std::iter::repeat_n(width, batch));
    let rows = rows.chunks(widest.max(1)).zip(widths).flat_map(|(row, width)| {
        assert!(
            row[width..].iter().all(|&value| value == GAP),
            "something was written beside a narrower layer"
        );
        &row[..width]
    });
    rows.copied().collect()
}

/// Dropout, half of the time.
pub fn dropouts() -> impl Strategy<Value = Option<Dropout>> {
    let dropout = |(probability, seed)| Dropout::new(probability, seed).unwrap();
    proptest::option::of((0.0f32..0.9, any::<u64>()).prop_map(dropout))
}

pub fn sizes() -> impl Strategy<Value = Sizes> {
    (0usize..7, 0usize..9, 0usize..20, 1usize..36).prop_map(|(steps, batch, inputs, units)| Sizes {
        steps,
        batch,
        inputs,
        units,
    })
}

/// The oracle's name of directions.
pub fn naive(directions: Directions) -> NaiveDirections {
    match directions {
        Directions::Forward => NaiveDirections::Forward,
        Directions::Reverse => NaiveDirections::Reverse,
        Directions::Concatenated => NaiveDirections::Concatenated,
        Directions::Summed => NaiveDirections::Summed,
        other => unreachable!("the oracle knows no {other:?}"),
    }
}

/// The configuration of a stack of layers of these widths, each run so.
fn config_of(inputs: usize, units: &[usize], directions: Directions, run: Option<Run>) -> StackConfig {
    let layer = |inputs, units| {
        let layer = LstmConfig::new(inputs, units);
        run.map_or(layer.clone(), |run| run.apply(layer))
    };
    if units.iter().all(|&others| others == units[0]) {
        return StackConfig::of(layer(inputs, units[0]), units.len(), directions);
    }
    let outputs =
        units.iter().map(|units| if directions == Directions::Concatenated { 2 * units } else { *units });
    let inputs = std::iter::once(inputs).chain(outputs);
    let layers = inputs.zip(units).map(|(inputs, &units)| layer(inputs, units));
    StackConfig::of_layers(layers, directions).unwrap()
}

impl StackCase {
    pub fn random(seed: u64, sizes: Sizes, form: impl Into<Form>) -> Self {
        let form = form.into();
        let (units, directions) = (form.units(sizes.units), form.directions);
        let config = config_of(sizes.inputs, &units, directions, None);
        let cell = |index: usize| {
            let layer = config.directed_layer(index);
            let (inputs, units) = (layer.input_size(), layer.hidden_size());
            Case::random(seed ^ (index as u64 + 1) << 32, Sizes { inputs, units, steps: 0, batch: 0 })
        };
        let mut random = Random(seed);
        let states = sizes.batch * directions.count() * units.iter().sum::<usize>();
        StackCase {
            sizes,
            units,
            directions,
            cells: (0..config.directed_layers()).map(cell).collect(),
            x: random.vec(sizes.steps * sizes.batch * sizes.inputs, 1.0),
            initial_hidden: random.vec(states, 1.0),
            initial_cell: random.vec(states, 1.0),
            dropout: None,
            steps: NaiveRun::All,
            padding: None,
        }
    }

    pub fn dropout(self, dropout: Option<Dropout>) -> Self {
        Self { dropout, ..self }
    }

    /// The same stack and steps with NaN for all that a call reads.
    pub fn of_nan(mut self) -> Self {
        for values in [&mut self.x, &mut self.initial_hidden, &mut self.initial_cell] {
            values.fill(f32::NAN);
        }
        self
    }

    pub fn config(&self, run: Run) -> StackConfig {
        let config = config_of(self.sizes.inputs, &self.units, self.directions, Some(run));
        run.arrangement.into_iter().fold(config, StackConfig::arrangement)
    }

    pub fn weights<'a>(&'a self, config: &StackConfig) -> Vec<LstmWeights<'a>> {
        let cells = self.cells.iter().enumerate();
        cells.map(|(index, cell)| cell.weights(&config.directed_layer(index))).collect()
    }

    pub fn stack(&self, config: &StackConfig) -> LstmStack {
        LstmStack::new(config, &self.weights(config)).unwrap()
    }

    /// Elements in a row of the output.
    pub fn width(&self) -> usize {
        self.width_of(self.units.len() - 1)
    }

    /// Elements in a row of what a layer puts out.
    fn width_of(&self, layer: usize) -> usize {
        match self.directions {
            Directions::Concatenated => 2 * self.units[layer],
            _ => self.units[layer],
        }
    }

    /// Rows of the states.
    pub fn state_rows(&self) -> usize {
        self.cells.len() * self.sizes.batch
    }

    /// Units of each directed layer.
    pub fn widths(&self) -> Vec<usize> {
        self.units.iter().flat_map(|&units| std::iter::repeat_n(units, self.directions.count())).collect()
    }

    /// Elements in a row of the states.
    pub fn state_width(&self) -> usize {
        self.units.iter().copied().max().unwrap_or(0)
    }

    /// States as a call takes them.
    pub fn spread(&self, states: &[f32]) -> Vec<f32> {
        spread_states(states, self.sizes.batch, &self.widths(), f32::NAN)
    }

    /// Room for the states of a call, which [`StackCase::gather`] reads.
    fn room(&self) -> Vec<f32> {
        vec![GAP; self.state_rows() * self.state_width()]
    }

    fn gather(&self, states: &[f32]) -> Vec<f32> {
        gather_states(states, self.sizes.batch, &self.widths())
    }

    pub fn cotangents(&self, seed: u64) -> Cotangents {
        let Sizes { steps, batch, .. } = self.sizes;
        let mut random = Random(seed ^ 0x5eed);
        Cotangents {
            output: random.vec(steps * batch * self.width(), 1.0),
            last_hidden: random.vec(self.initial_hidden.len(), 1.0),
            last_cell: random.vec(self.initial_cell.len(), 1.0),
        }
    }

    /// The crate's answer, with a workspace and, if it is to be recorded, a tape of just the right size.
    pub fn forward(&self, run: Run) -> Outcome {
        let stack = self.stack(&self.config(run));
        let mut workspace = stack.workspace(self.sizes.steps, self.sizes.batch).unwrap();
        self.forward_with(&stack, &mut workspace, None, run)
    }

    pub fn forward_with(
        &self,
        stack: &LstmStack,
        workspace: &mut StackWorkspace,
        tape: Option<&mut StackTape>,
        run: Run,
    ) -> Outcome {
        let Sizes { steps, batch, inputs, .. } = self.sizes;
        let (width, rows, units) = (self.width(), self.state_rows(), self.state_width());
        let x = spread(&self.x, run.layout, [steps, batch, inputs], f32::NAN);
        let (x_strides, _) = strides(run.layout, steps, batch, inputs);
        let (out_strides, out_len) = strides(run.layout, steps, batch, width);
        let mut out = vec![GAP; out_len];
        let [h0, c0] = [&self.initial_hidden, &self.initial_cell].map(|states| self.spread(states));
        let (mut last_hidden, mut last_cell) = (self.room(), self.room());
        let call = StackForward::new(Sequence::with_strides(&x, [steps, batch, inputs], x_strides))
            .initial_hidden(Matrix::new(&h0, rows, units))
            .initial_cell(Matrix::new(&c0, rows, units))
            .output(SequenceMut::with_strides(&mut out, [steps, batch, width], out_strides))
            .last_hidden(MatrixMut::new(&mut last_hidden, rows, units))
            .last_cell(MatrixMut::new(&mut last_cell, rows, units));
        let call = tape.into_iter().fold(call, StackForward::tape);
        let call = self.padding.into_iter().fold(call, StackForward::padding);
        let call = self.dropout.into_iter().fold(call, StackForward::dropout);
        let call = match &self.steps {
            NaiveRun::All => call,
            NaiveRun::Lengths(lengths) => call.lengths(lengths),
            NaiveRun::Mask(mask) => call.mask(StepMask::time_major(mask, steps, batch)),
        };
        stack.forward(workspace, call).unwrap();
        let output = gather(&mut out, run.layout, [steps, batch, width]);
        Outcome { output, last_hidden: self.gather(&last_hidden), last_cell: self.gather(&last_cell) }
    }

    /// The crate's gradients; parameter gradients are written over NaN, or added to `accumulate`.
    pub fn gradients(
        &self,
        run: Run,
        recording: Recording,
        cotangents: &Cotangents,
        accumulate: Option<Vec<f32>>,
    ) -> Gradients {
        let (steps, batch) = (self.sizes.steps, self.sizes.batch);
        let stack = self.stack(&self.config(run).training());
        let mut workspace = stack.workspace(steps, batch).unwrap();
        let mut tape = match recording {
            Recording::Full => stack.tape(steps, batch),
            Recording::Checkpoints(every) => stack.checkpointed_tape(steps, batch, every),
        }
        .unwrap();
        self.forward_with(&stack, &mut workspace, Some(&mut tape), run);
        self.backward_with(&stack, &mut workspace, &mut tape, run, cotangents, accumulate)
    }

    pub fn backward_with(
        &self,
        stack: &LstmStack,
        workspace: &mut StackWorkspace,
        tape: &mut StackTape,
        run: Run,
        cotangents: &Cotangents,
        accumulate: Option<Vec<f32>>,
    ) -> Gradients {
        let Sizes { steps, batch, inputs, .. } = self.sizes;
        let (width, rows, units) = (self.width(), self.state_rows(), self.state_width());
        let x = spread(&self.x, run.layout, [steps, batch, inputs], f32::NAN);
        let cotangent = spread(&cotangents.output, run.layout, [steps, batch, width], f32::NAN);
        let (cotangent_strides, _) = strides(run.layout, steps, batch, width);
        let (dx_strides, dx_len) = strides(run.layout, steps, batch, inputs);
        let mut dx = vec![GAP; dx_len];
        let [dh, dc] = [&cotangents.last_hidden, &cotangents.last_cell].map(|states| self.spread(states));
        let (mut dh0, mut dc0) = (self.room(), self.room());
        let mode = if accumulate.is_some() { GradientMode::Accumulate } else { GradientMode::Overwrite };
        let total = stack.config().total_parameters().unwrap();
        let mut parameters = accumulate.unwrap_or_else(|| vec![f32::NAN; total]);
        let call = StackBackward::new(Sequence::with_strides(&x, [steps, batch, inputs], dx_strides))
            .output_cotangent(Sequence::with_strides(&cotangent, [steps, batch, width], cotangent_strides))
            .last_hidden_cotangent(Matrix::new(&dh, rows, units))
            .last_cell_cotangent(Matrix::new(&dc, rows, units))
            .input_gradient(SequenceMut::with_strides(&mut dx, [steps, batch, inputs], dx_strides))
            .initial_hidden_gradient(MatrixMut::new(&mut dh0, rows, units))
            .initial_cell_gradient(MatrixMut::new(&mut dc0, rows, units))
            .parameter_gradients(&mut parameters, mode);
        let call = match &self.steps {
            NaiveRun::All => call,
            NaiveRun::Lengths(lengths) => call.lengths(lengths),
            NaiveRun::Mask(mask) => call.mask(StepMask::time_major(mask, steps, batch)),
        };
        stack.backward(workspace, tape, call).unwrap();
        Gradients {
            input: gather(&mut dx, run.layout, [steps, batch, inputs]),
            initial_hidden: self.gather(&dh0),
            initial_cell: self.gather(&dc0),
            parameters,
        }
    }

    /// The oracle's answer and gradients, in f64.
    pub fn expected(&self, cotangents: &Cotangents) -> (NaiveResult, NaiveCallGradients) {
        let Sizes { steps, batch, .. } = self.sizes;
        let cells: Vec<_> = self
            .cells
            .iter()
            .map(|cell| {
                let naive = cell.naive();
                let parameters = NaiveParameters::new(naive.weight_ih, naive.weight_hh, naive.bias);
                NaiveCell::new(naive.input_size, naive.hidden_size, parameters)
            })
            .collect();
        let states = |hidden: &[f32], cell: &[f32]| -> Vec<NaiveState> {
            let (mut hidden, mut cell) = (hidden, cell);
            let own = |rest: &mut &[f32], width| widen(rest.split_off(..batch * width).unwrap());
            let state = |width| NaiveState { hidden: own(&mut hidden, width), cell: own(&mut cell, width) };
            self.widths().into_iter().map(state).collect()
        };
        let call = NaiveCall {
            initial: states(&self.initial_hidden, &self.initial_cell),
            run: self.steps.clone(),
            repeats: self.padding.map(|padding| padding == Padding::Repeat),
            ..NaiveCall::new([steps, batch], widen(&self.x), &cells)
        };
        let cotangents = NaiveResult {
            output: widen(&cotangents.output),
            last: states(&cotangents.last_hidden, &cotangents.last_cell),
        };
        let layers = cells.chunks(self.directions.count());
        let directions = naive(self.directions);
        let layers = layers.map(|cells| NaiveLayer { cells: cells.to_vec(), directions }).collect();
        let stack = NaiveStack { layers };
        let masks = self.masks();
        let mut result = stack.forward(&call, &masks);
        if let Some(Padding::Value(value)) = self.padding {
            for (position, row) in result.output.chunks_exact_mut(self.width()).enumerate() {
                let runs = match &self.steps {
                    NaiveRun::All => true,
                    NaiveRun::Lengths(lengths) => position / batch < lengths[position % batch],
                    NaiveRun::Mask(mask) => mask[position],
                };
                if !runs {
                    row.fill(value.into());
                }
            }
        }
        (result, stack.backward(&call, &masks, &cotangents))
    }

    /// The factors of dropout between layers, as the oracle takes them.
    fn masks(&self) -> Vec<Option<Vec<f64>>> {
        let mask = |layer, dropout: Dropout| {
            let shape = [self.sizes.steps, self.sizes.batch, self.width_of(layer)];
            let mut factors = vec![f32::NAN; shape.iter().product()];
            dropout.factors(layer, shape, &mut factors).unwrap();
            widen(&factors)
        };
        (1..self.units.len()).map(|above| self.dropout.map(|dropout| mask(above - 1, dropout))).collect()
    }
}
