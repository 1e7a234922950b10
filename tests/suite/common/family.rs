//! Layers with options: drawn at random, and run by the crate and by the oracle.

use super::{GAP, Layout, Random, Recording, Run, bits_but_of_nan, gather, narrow, spread, strides, widen};
use quadgate::reference::{
    NaiveActivation, NaiveActivations, NaiveCall, NaiveCallGradients, NaiveCell, NaiveClip, NaiveCoupling,
    NaiveDirections, NaiveLayer, NaiveMasks, NaiveParameters, NaiveResult, NaiveRun, NaiveStack, NaiveState,
};
use quadgate::{
    ActivationFunction, Activations, Backward, Clip, Coupling, Direction, Directions, Forward, GradientMode,
    Lstm, LstmConfig, LstmStack, LstmWeights, Matrix, MatrixMut, Orientation, ParameterRanges, Sequence,
    SequenceMut, StackBackward, StackConfig, StackForward, StepMask, Tape, Workspace, Zoneout,
};

/// A directed layer and a call of it. Every number is one that f32 has.
#[derive(Clone, Debug)]
pub struct FamilyCase {
    pub layer: NaiveLayer,
    pub call: NaiveCall,
    pub cotangents: NaiveResult,
}

/// The parameters of a cell in f32.
pub struct Tensors {
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    bias: Vec<f32>,
    peephole: Option<Vec<f32>>,
    normalization: Option<Vec<f32>>,
    projection: Option<Vec<f32>>,
    projection_bias: Option<Vec<f32>>,
}

impl Tensors {
    pub fn of(parameters: &NaiveParameters) -> Self {
        let option = |values: &Option<Vec<f64>>| values.as_deref().map(narrow);
        Self {
            weight_ih: narrow(&parameters.weight_ih),
            weight_hh: narrow(&parameters.weight_hh),
            bias: narrow(&parameters.bias),
            peephole: option(&parameters.peephole),
            normalization: option(&parameters.normalization),
            projection: option(&parameters.projection),
            projection_bias: option(&parameters.projection_bias),
        }
    }

    pub fn weights(&self, config: &LstmConfig) -> LstmWeights<'_> {
        let units = config.hidden_size();
        let part = |all: &'_ Vec<f32>, index: usize| index * units..(index + 1) * units.min(all.len());
        let mut weights =
            LstmWeights::pytorch(config, &self.weight_ih, &self.weight_hh, Some(&self.bias), None).unwrap();
        if let Some(all) = &self.peephole {
            weights = weights.with_peepholes([0, 1, 2].map(|index| &all[part(all, index)])).unwrap();
        }
        if let Some(all) = &self.normalization {
            let scales = [0, 1, 2, 3].map(|index| &all[part(all, index)]);
            weights = weights.with_layer_normalization(scales).unwrap();
        }
        if let Some(projection) = &self.projection {
            let bias = self.projection_bias.as_deref();
            weights = weights.with_projection(Orientation::GatesByInputs, projection, bias).unwrap();
        }
        weights
    }
}

pub fn function(of: NaiveActivation) -> ActivationFunction {
    use NaiveActivation::*;
    match of {
        Sigmoid => ActivationFunction::Sigmoid,
        Tanh => ActivationFunction::Tanh,
        Relu => ActivationFunction::Relu,
        HardSigmoid { alpha, beta } => {
            ActivationFunction::HardSigmoid { alpha: alpha as f32, beta: beta as f32 }
        }
        Softsign => ActivationFunction::Softsign,
        Softplus => ActivationFunction::Softplus,
        Affine { alpha, beta } => ActivationFunction::Affine { alpha: alpha as f32, beta: beta as f32 },
        LeakyRelu { alpha } => ActivationFunction::LeakyRelu { alpha: alpha as f32 },
        ThresholdedRelu { alpha } => ActivationFunction::ThresholdedRelu { alpha: alpha as f32 },
        ScaledTanh { alpha, beta } => {
            ActivationFunction::ScaledTanh { alpha: alpha as f32, beta: beta as f32 }
        }
        Elu { alpha } => ActivationFunction::Elu { alpha: alpha as f32 },
    }
}

/// The configuration of a layer of such cells. Calls may have shares of zoneout and recurrent masks if `masks` say so.
pub fn config_of(cell: &NaiveCell, masks: &NaiveMasks) -> LstmConfig {
    let NaiveActivations { gate, candidate, cell: exposed } = cell.activations;
    let limit = |limit: Option<f64>| limit.map(|limit| limit as f32);
    let mut config = LstmConfig::new(cell.input_size, cell.hidden_size)
        .coupling(match cell.coupling {
            NaiveCoupling::Independent => Coupling::Independent,
            NaiveCoupling::ForgetFromInput => Coupling::ForgetFromInput,
            NaiveCoupling::InputFromForget => Coupling::InputFromForget,
        })
        .clip(Clip {
            gate: limit(cell.clip.gate),
            hidden: limit(cell.clip.hidden),
            cell: limit(cell.clip.cell),
            projection: limit(cell.clip.projection),
        })
        .activations(Activations {
            gate: function(gate),
            candidate: function(candidate),
            cell: function(exposed),
        });
    if cell.parameters.peephole.is_some() {
        config = config.peepholes();
    }
    if cell.parameters.normalization.is_some() {
        config = config.layer_normalization(cell.epsilon as f32);
    }
    if cell.parameters.projection.is_some() {
        config = config.projection(cell.output_size);
    }
    if cell.parameters.projection_bias.is_some() {
        config = config.projection_bias();
    }
    if masks.hidden.is_some() || masks.cell.is_some() {
        config = config.zoneout(Zoneout::default());
    }
    if masks.recurrent.is_some() {
        config = config.recurrent_dropout();
    }
    config
}

/// A value that f32 has.
fn number(random: &mut Random, scale: f32) -> f64 {
    random.uniform(scale).into()
}

fn numbers(random: &mut Random, len: usize, scale: f32) -> Vec<f64> {
    widen(&random.vec(len, scale))
}

/// A limit above 0.
fn limit(random: &mut Random) -> f64 {
    f64::from(random.uniform(0.3).abs()) + 0.25
}

pub fn activation(random: &mut Random) -> NaiveActivation {
    use NaiveActivation::*;
    let (alpha, beta) = (number(random, 1.0), number(random, 1.0));
    let all = [
        Sigmoid,
        Tanh,
        Relu,
        HardSigmoid { alpha, beta },
        Softsign,
        Softplus,
        Affine { alpha, beta },
        LeakyRelu { alpha },
        ThresholdedRelu { alpha },
        ScaledTanh { alpha, beta },
        Elu { alpha },
    ];
    all[random.bits() as usize % all.len()]
}

/// Whether to draw an option.
fn coin(random: &mut Random) -> bool {
    random.bits().is_multiple_of(3)
}

/// A cell with each option a third of the time.
pub fn random_cell(random: &mut Random, inputs: usize, units: usize) -> NaiveCell {
    let has_projection = coin(random);
    let outputs = if has_projection { random.bits() as usize % (units + 2) + 1 } else { units };
    let scale = 1.0 / (units as f32).sqrt();
    let mut option = |is_there: bool, len: usize, scale: f32| {
        let random = &mut *random;
        is_there.then(|| numbers(random, len, scale))
    };
    let parameters = NaiveParameters {
        projection: option(has_projection, outputs * units, scale),
        ..NaiveParameters::new(
            option(true, 4 * units * inputs, scale).unwrap(),
            option(true, 4 * units * outputs, scale).unwrap(),
            option(true, 4 * units, 1.0).unwrap(),
        )
    };
    let mut cell = NaiveCell { output_size: outputs, ..NaiveCell::new(inputs, units, parameters) };
    if has_projection && coin(random) {
        cell.parameters.projection_bias = Some(numbers(random, outputs, 1.0));
    }
    if coin(random) {
        cell.parameters.peephole = Some(numbers(random, 3 * units, 1.0));
    }
    if coin(random) {
        cell.parameters.normalization = Some(numbers(random, 4 * units, 1.0));
        cell.epsilon = f64::from(0.01f32);
    }
    if coin(random) {
        cell.activations = NaiveActivations {
            gate: activation(random),
            candidate: activation(random),
            cell: activation(random),
        };
    }
    cell.coupling = [NaiveCoupling::ForgetFromInput, NaiveCoupling::InputFromForget]
        .into_iter()
        .find(|_| coin(random))
        .unwrap_or_default();
    let mut draw = || coin(random).then(|| limit(random));
    cell.clip =
        NaiveClip { gate: draw(), hidden: None, cell: draw(), projection: draw().filter(|_| has_projection) };
    cell
}

impl FamilyCase {
    /// A call of a cell, with shares of zoneout and recurrent masks a third of the time.
    pub fn random(random: &mut Random, [steps, batch]: [usize; 2], cell: NaiveCell, reverse: bool) -> Self {
        let (inputs, units, outputs) = (cell.input_size, cell.hidden_size, cell.output_size);
        let rows = steps * batch;
        let state = |random: &mut Random| NaiveState {
            hidden: numbers(random, batch * outputs, 1.0),
            cell: numbers(random, batch * units, 1.0),
        };
        let (initial, last) = (state(random), state(random));
        let share = |random: &mut Random, len: usize| {
            coin(random)
                .then(|| (0..len).map(|_| f64::from((random.uniform(0.5) + 0.5).clamp(0.0, 1.0))).collect())
        };
        // The crate has one mask for all gates and steps.
        let mask = coin(random).then(|| numbers(random, batch * outputs, 2.0)).map(|mask| {
            let rows = mask.chunks(outputs).flat_map(|row| row.repeat(4)).collect::<Vec<f64>>();
            rows.repeat(steps)
        });
        let masks = NaiveMasks {
            recurrent: mask,
            hidden: share(random, rows * outputs),
            cell: share(random, rows * units),
        };
        let cells = vec![cell];
        let call = NaiveCall {
            initial: vec![initial],
            masks: vec![masks],
            ..NaiveCall::new([steps, batch], numbers(random, rows * inputs, 1.0), &cells)
        };
        let cotangents = NaiveResult { output: numbers(random, rows * outputs, 1.0), last: vec![last] };
        let directions = if reverse { NaiveDirections::Reverse } else { NaiveDirections::Forward };
        Self { layer: NaiveLayer { cells, directions }, call, cotangents }
    }

    /// The same with rows of different lengths or masked steps, each a third of the time.
    pub fn partial(mut self, random: &mut Random) -> Self {
        let NaiveCall { steps, batch, .. } = self.call;
        self.call.run = match random.bits() % 3 {
            0 => NaiveRun::All,
            1 => NaiveRun::Lengths((0..batch).map(|_| random.bits() as usize % (steps + 1)).collect()),
            _ => NaiveRun::Mask((0..steps * batch).map(|_| coin(random)).collect()),
        };
        self
    }

    /// The same layer, masks and steps with NaN for all else that a call reads.
    pub fn of_nan(mut self) -> Self {
        for values in [&mut self.call.input, &mut self.cotangents.output] {
            values.fill(f64::NAN);
        }
        for state in self.call.initial.iter_mut().chain(&mut self.cotangents.last) {
            state.hidden.fill(f64::NAN);
            state.cell.fill(f64::NAN);
        }
        self
    }

    fn cell(&self) -> &NaiveCell {
        &self.layer.cells[0]
    }

    pub fn config(&self, run: Run) -> LstmConfig {
        let config = config_of(self.cell(), &self.call.masks[0]);
        let direction = match self.layer.directions {
            NaiveDirections::Reverse => Direction::Reverse,
            _ => Direction::Forward,
        };
        run.apply(config).direction(direction)
    }

    /// The crate's answer and gradients.
    pub fn run(&self, run: Run, recording: Recording) -> (NaiveResult, NaiveCallGradients) {
        let lstm = self.training_layer(run);
        let (mut workspace, mut tape) = self.memory(&lstm, recording);
        let (result, taped, gradients) = self.run_with(&lstm, &mut workspace, &mut tape, run);
        let bits = |of: &NaiveResult| {
            [&of.output, &of.last[0].hidden, &of.last[0].cell].map(|values| bits_but_of_nan(&narrow(values)))
        };
        assert_eq!(bits(&result), bits(&taped), "the tape changes the answer");
        (result, gradients)
    }

    pub fn training_layer(&self, run: Run) -> Lstm {
        let config = self.config(run).training();
        Lstm::new(&config, &Tensors::of(&self.cell().parameters).weights(&config)).unwrap()
    }

    /// A workspace and a tape of just the right size.
    pub fn memory(&self, lstm: &Lstm, recording: Recording) -> (Workspace, Tape) {
        let NaiveCall { steps, batch, .. } = self.call;
        let tape = match recording {
            Recording::Full => lstm.tape(steps, batch),
            Recording::Checkpoints(every) => lstm.checkpointed_tape(steps, batch, every),
        };
        (lstm.workspace(batch).unwrap(), tape.unwrap())
    }

    /// The crate's answers without a tape, which is another path, and with one, and its gradients.
    pub fn run_with(
        &self,
        lstm: &Lstm,
        workspace: &mut Workspace,
        tape: &mut Tape,
        run: Run,
    ) -> (NaiveResult, NaiveResult, NaiveCallGradients) {
        let (cell, call) = (self.cell(), &self.call);
        let NaiveCall { steps, batch, .. } = *call;
        let (inputs, units, outputs) = (cell.input_size, cell.hidden_size, cell.output_size);
        let sequence =
            |values: &[f64], width| spread(&narrow(values), run.layout, [steps, batch, width], f32::NAN);
        fn view(data: &[f32], layout: Layout, shape: [usize; 3]) -> Sequence<'_> {
            Sequence::with_strides(data, shape, strides(layout, shape[0], shape[1], shape[2]).0)
        }
        let shape = |width| [steps, batch, width];
        let x = sequence(&call.input, inputs);
        let x = view(&x, run.layout, shape(inputs));
        let hidden_share = call.masks[0].hidden.as_ref().map(|share| sequence(share, outputs));
        let cell_share = call.masks[0].cell.as_ref().map(|share| sequence(share, units));
        // Without steps there is nothing to take it from.
        let mask = call.masks[0].recurrent.as_ref().filter(|_| steps > 0).map(|mask| {
            let rows = mask.chunks(4 * outputs).take(batch);
            narrow(&rows.flat_map(|row| row[..outputs].to_vec()).collect::<Vec<f64>>())
        });
        macro_rules! with_masks {
            ($call:expr) => {{
                let mut call = $call;
                if let Some(share) = &hidden_share {
                    call = call.hidden_share(view(share, run.layout, shape(outputs)));
                }
                if let Some(share) = &cell_share {
                    call = call.cell_share(view(share, run.layout, shape(units)));
                }
                if let Some(mask) = &mask {
                    call = call.recurrent_mask(Matrix::new(mask, batch, outputs));
                }
                match &self.call.run {
                    NaiveRun::All => call,
                    NaiveRun::Lengths(lengths) => call.lengths(lengths),
                    NaiveRun::Mask(mask) => call.mask(StepMask::time_major(mask, steps, batch)),
                }
            }};
        }

        let (h0, c0) = (narrow(&call.initial[0].hidden), narrow(&call.initial[0].cell));
        let (out_strides, out_len) = strides(run.layout, steps, batch, outputs);
        let mut answer = |tape: Option<&mut Tape>| {
            let mut out = vec![GAP; out_len];
            let (mut hn, mut cn) = (vec![GAP; batch * outputs], vec![GAP; batch * units]);
            let forward = Forward::new(x)
                .initial_hidden(Matrix::new(&h0, batch, outputs))
                .initial_cell(Matrix::new(&c0, batch, units))
                .output(SequenceMut::with_strides(&mut out, shape(outputs), out_strides))
                .last_hidden(MatrixMut::new(&mut hn, batch, outputs))
                .last_cell(MatrixMut::new(&mut cn, batch, units));
            let forward = tape.into_iter().fold(forward, Forward::tape);
            lstm.forward(workspace, with_masks!(forward)).unwrap();
            let output = widen(&gather(&mut out, run.layout, shape(outputs)));
            NaiveResult { output, last: vec![NaiveState { hidden: widen(&hn), cell: widen(&cn) }] }
        };
        let (result, taped) = (answer(None), answer(Some(tape)));

        let cotangent = sequence(&self.cotangents.output, outputs);
        let last = &self.cotangents.last[0];
        let (d_hn, d_cn) = (narrow(&last.hidden), narrow(&last.cell));
        let (dx_strides, dx_len) = strides(run.layout, steps, batch, inputs);
        let mut dx = vec![GAP; dx_len];
        let (mut dh0, mut dc0) = (vec![GAP; batch * outputs], vec![GAP; batch * units]);
        let ranges = lstm.config().parameters().unwrap();
        let mut gradients = vec![f32::NAN; ranges.total()];
        let backward = Backward::new(x)
            .output_cotangent(view(&cotangent, run.layout, shape(outputs)))
            .last_hidden_cotangent(Matrix::new(&d_hn, batch, outputs))
            .last_cell_cotangent(Matrix::new(&d_cn, batch, units))
            .input_gradient(SequenceMut::with_strides(&mut dx, shape(inputs), dx_strides))
            .initial_hidden_gradient(MatrixMut::new(&mut dh0, batch, outputs))
            .initial_cell_gradient(MatrixMut::new(&mut dc0, batch, units))
            .parameter_gradients(&mut gradients, GradientMode::Overwrite);
        lstm.backward(workspace, tape, with_masks!(backward)).unwrap();
        let gradients = NaiveCallGradients {
            input: widen(&gather(&mut dx, run.layout, shape(inputs))),
            initial: vec![NaiveState { hidden: widen(&dh0), cell: widen(&dc0) }],
            parameters: vec![parameters(&gradients, ranges)],
        };
        (result, taped, gradients)
    }

    /// The crate's answer by [`Lstm::step`], without masks. A sequence that is read in reverse is fed in reverse.
    pub fn step_by_step(&self, run: Run) -> NaiveResult {
        let (cell, call, config) = (self.cell(), &self.call, self.config(run));
        let NaiveCall { steps, batch, .. } = *call;
        let (inputs, outputs) = (cell.input_size, cell.output_size);
        let tensors = Tensors::of(&cell.parameters);
        let lstm = Lstm::new(&config, &tensors.weights(&config)).unwrap();
        let mut state = lstm.state(batch).unwrap();
        state.set_hidden(Matrix::new(&narrow(&call.initial[0].hidden), batch, outputs)).unwrap();
        state.set_cell(Matrix::new(&narrow(&call.initial[0].cell), batch, cell.hidden_size)).unwrap();
        let mut output = vec![0.0; steps * batch * outputs];
        for step in 0..steps {
            let t = if self.layer.directions == NaiveDirections::Reverse { steps - 1 - step } else { step };
            let x = narrow(&call.input[t * batch * inputs..][..batch * inputs]);
            lstm.step(&mut state, Matrix::new(&x, batch, inputs)).unwrap();
            for row in 0..batch {
                let to = &mut output[(t * batch + row) * outputs..][..outputs];
                to.copy_from_slice(&widen(state.hidden(row).unwrap()));
            }
        }
        let rows = |of: fn(&quadgate::State, usize) -> Option<&[f32]>| {
            (0..batch).flat_map(|row| widen(of(&state, row).unwrap())).collect()
        };
        let last = NaiveState { hidden: rows(quadgate::State::hidden), cell: rows(quadgate::State::cell) };
        NaiveResult { output, last: vec![last] }
    }

    /// The oracle's answer and gradients.
    pub fn expected(&self) -> (NaiveResult, NaiveCallGradients) {
        (self.layer.forward(&self.call), self.layer.backward(&self.call, &self.cotangents))
    }

    /// The same with every weight and number of a function moved by `relative` of itself, up or down.
    pub fn moved(&self, seed: u64, relative: f64) -> Self {
        let (mut moved, mut random) = (self.clone(), Random(seed));
        move_numbers(&mut moved.layer.cells[0], || {
            if random.bits().is_multiple_of(2) { 1.0 + relative } else { 1.0 - relative }
        });
        moved
    }
}

/// Multiplies every parameter of a cell and every number of its functions by a factor: α·x + β, say, may be far smaller
/// than its terms.
pub fn move_numbers(cell: &mut NaiveCell, mut factor: impl FnMut() -> f64) {
    for (_, tensor) in cell.parameters.named_mut() {
        tensor.iter_mut().for_each(|value| *value *= factor());
    }
    let NaiveActivations { gate, candidate, cell } = &mut cell.activations;
    for function in [gate, candidate, cell] {
        match function {
            NaiveActivation::HardSigmoid { alpha, beta }
            | NaiveActivation::Affine { alpha, beta }
            | NaiveActivation::ScaledTanh { alpha, beta } => {
                *alpha *= factor();
                *beta *= factor();
            }
            NaiveActivation::LeakyRelu { alpha }
            | NaiveActivation::ThresholdedRelu { alpha }
            | NaiveActivation::Elu { alpha } => *alpha *= factor(),
            NaiveActivation::Sigmoid
            | NaiveActivation::Tanh
            | NaiveActivation::Relu
            | NaiveActivation::Softsign
            | NaiveActivation::Softplus => {}
        }
    }
}

/// Every tensor of an answer and its gradients, with its name.
pub fn all_tensors<'a>(
    result: &'a NaiveResult,
    gradients: &'a NaiveCallGradients,
) -> Vec<(String, &'a [f64])> {
    let mut all: Vec<(String, &[f64])> =
        vec![("output".into(), &result.output), ("dx".into(), &gradients.input)];
    for (index, state) in result.last.iter().enumerate() {
        all.push((format!("last h {index}"), &state.hidden));
        all.push((format!("last c {index}"), &state.cell));
    }
    for (index, state) in gradients.initial.iter().enumerate() {
        all.push((format!("dh0 {index}"), &state.hidden));
        all.push((format!("dc0 {index}"), &state.cell));
    }
    for (index, parameters) in gradients.parameters.iter().enumerate() {
        all.extend(parameters.named().into_iter().map(|(name, of)| (format!("d{name} {index}"), of)));
    }
    all
}

/// The largest difference of any tensor, relative to the largest entry of what is expected, and its name.
pub fn largest_difference(
    (result, gradients): &(NaiveResult, NaiveCallGradients),
    (expected_result, expected_gradients): &(NaiveResult, NaiveCallGradients),
) -> (f64, String) {
    let expected = all_tensors(expected_result, expected_gradients);
    let mut worst = (0.0, String::new());
    for ((name, found), (expected_name, expected)) in all_tensors(result, gradients).into_iter().zip(expected)
    {
        assert_eq!((&name, found.len()), (&expected_name, expected.len()));
        let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let error = if found == expected { 0.0 } else { (found - expected).abs() / largest };
            // A comparison alone would forgive a NaN.
            if error > worst.0 || error.is_nan() {
                worst = (error, name.clone());
            }
        }
    }
    worst
}

/// The crate's answer and gradients of a stack of such layers, without masks.
pub fn run_stack(
    stack: &NaiveStack,
    call: &NaiveCall,
    cotangents: &NaiveResult,
    run: Run,
) -> (NaiveResult, NaiveCallGradients) {
    let NaiveCall { steps, batch, .. } = *call;
    let cells: Vec<&NaiveCell> = stack.layers.iter().flat_map(|layer| &layer.cells).collect();
    let directions = match stack.layers[0].directions {
        NaiveDirections::Forward => Directions::Forward,
        NaiveDirections::Reverse => Directions::Reverse,
        NaiveDirections::Concatenated => Directions::Concatenated,
        NaiveDirections::Summed => Directions::Summed,
    };
    let (inputs, units, outputs) = (cells[0].input_size, cells[0].hidden_size, cells[0].output_size);
    let layer = run.apply(config_of(cells[0], &NaiveMasks::default())).training();
    let config = StackConfig::of(layer, stack.layers.len(), directions);
    let tensors: Vec<Tensors> = cells.iter().map(|cell| Tensors::of(&cell.parameters)).collect();
    let weights: Vec<LstmWeights<'_>> = tensors
        .iter()
        .enumerate()
        .map(|(index, tensors)| tensors.weights(&config.directed_layer(index)))
        .collect();
    let lstm = LstmStack::new(&config, &weights).unwrap();
    let mut workspace = lstm.workspace(steps, batch).unwrap();
    let mut tape = lstm.tape(steps, batch).unwrap();

    let (rows, width) = (cells.len() * batch, config.output_size());
    let flat = |of: fn(&NaiveState) -> &Vec<f64>, states: &[NaiveState]| {
        narrow(&states.iter().flat_map(of).copied().collect::<Vec<f64>>())
    };
    let states =
        |states: &[NaiveState]| (flat(|state| &state.hidden, states), flat(|state| &state.cell, states));
    let split = |hidden: &[f32], cell: &[f32]| -> Vec<NaiveState> {
        let (hidden, cell) = (hidden.chunks(batch * outputs), cell.chunks(batch * units));
        hidden
            .zip(cell)
            .map(|(hidden, cell)| NaiveState { hidden: widen(hidden), cell: widen(cell) })
            .collect()
    };
    let (x, cotangent) = (narrow(&call.input), narrow(&cotangents.output));
    let x = Sequence::time_major(&x, steps, batch, inputs);
    let (h0, c0) = states(&call.initial);
    let mut output = vec![GAP; steps * batch * width];
    let (mut hn, mut cn) = (vec![GAP; rows * outputs], vec![GAP; rows * units]);
    let forward = StackForward::new(x)
        .initial_hidden(Matrix::new(&h0, rows, outputs))
        .initial_cell(Matrix::new(&c0, rows, units))
        .output(SequenceMut::time_major(&mut output, steps, batch, width))
        .last_hidden(MatrixMut::new(&mut hn, rows, outputs))
        .last_cell(MatrixMut::new(&mut cn, rows, units))
        .tape(&mut tape);
    let forward = match &call.run {
        NaiveRun::All => forward,
        NaiveRun::Lengths(lengths) => forward.lengths(lengths),
        NaiveRun::Mask(mask) => forward.mask(StepMask::time_major(mask, steps, batch)),
    };
    lstm.forward(&mut workspace, forward).unwrap();
    let result = NaiveResult { output: widen(&output), last: split(&hn, &cn) };

    let (d_hn, d_cn) = states(&cotangents.last);
    let mut dx = vec![GAP; steps * batch * inputs];
    let (mut dh0, mut dc0) = (vec![GAP; rows * outputs], vec![GAP; rows * units]);
    let mut gradients = vec![f32::NAN; config.total_parameters().unwrap()];
    let backward = StackBackward::new(x)
        .output_cotangent(Sequence::time_major(&cotangent, steps, batch, width))
        .last_hidden_cotangent(Matrix::new(&d_hn, rows, outputs))
        .last_cell_cotangent(Matrix::new(&d_cn, rows, units))
        .input_gradient(SequenceMut::time_major(&mut dx, steps, batch, inputs))
        .initial_hidden_gradient(MatrixMut::new(&mut dh0, rows, outputs))
        .initial_cell_gradient(MatrixMut::new(&mut dc0, rows, units))
        .parameter_gradients(&mut gradients, GradientMode::Overwrite);
    let backward = match &call.run {
        NaiveRun::All => backward,
        NaiveRun::Lengths(lengths) => backward.lengths(lengths),
        NaiveRun::Mask(mask) => backward.mask(StepMask::time_major(mask, steps, batch)),
    };
    lstm.backward(&mut workspace, &mut tape, backward).unwrap();
    let parameters = (0..cells.len()).map(|index| parameters(&gradients, config.parameters(index).unwrap()));
    let gradients = NaiveCallGradients {
        input: widen(&dx),
        initial: split(&dh0, &dc0),
        parameters: parameters.collect(),
    };
    (result, gradients)
}

/// The parts of a buffer of gradients.
fn parameters(gradients: &[f32], ranges: ParameterRanges) -> NaiveParameters {
    let tensor = |range: std::ops::Range<usize>| widen(&gradients[range]);
    let option = |range: std::ops::Range<usize>| (!range.is_empty()).then(|| tensor(range));
    NaiveParameters {
        peephole: option(ranges.peepholes),
        normalization: option(ranges.layer_normalization),
        projection: option(ranges.projection),
        projection_bias: option(ranges.projection_bias),
        ..NaiveParameters::new(tensor(ranges.weight_ih), tensor(ranges.weight_hh), tensor(ranges.bias))
    }
}
