//! A layer: cells over time, in one direction or two, and rows that end early or pause.

use super::cell::{NaiveCell, NaiveInputs, NaiveState, NaiveStepMasks};
use super::parameters::NaiveParameters;
use super::real::add;
use super::step::NaiveStep;

/// Which way a layer reads, and what becomes of two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NaiveDirections {
    /// One cell, from the first step to the last.
    Forward,
    /// One cell, from the last step to the first. Its output at step t stands at t.
    Reverse,
    /// Two cells, forward and reverse; the output is both, forward first: `[T, B, 2P]`.
    Concatenated,
    /// Two cells, forward and reverse; the output is their sum.
    Summed,
}

/// Which steps of which rows are run. A step that is not run leaves the state as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NaiveRun {
    /// Every step.
    All,
    /// The first steps of each row, `[B]`. The output past a row's end is zero; the reverse direction begins at the
    /// end. PyTorch's packed sequences, ONNX's `sequence_lens`.
    Lengths(Vec<usize>),
    /// The steps where this is true, `[T, B]`. The output of the others is h as it was. Keras' masks.
    Mask(Vec<bool>),
}

/// The masks of one cell for all steps and rows. Each is indexed by the time of the input, in either direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NaiveMasks {
    /// Recurrent dropout: factors of h for each gate, `[T, B, 4, P]`; of fewer gates as many
    pub recurrent: Option<Vec<f64>>,
    /// Zoneout of h: how much of the new h to take, `[T, B, P]`
    pub hidden: Option<Vec<f64>>,
    /// Zoneout of c: how much of the new c to take, `[T, B, H]`
    pub cell: Option<Vec<f64>>,
}

/// A layer, or one of a [`NaiveStack`](super::NaiveStack).
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveLayer {
    /// One cell for each direction, forward first
    pub cells: Vec<NaiveCell>,
    /// The directions
    pub directions: NaiveDirections,
}

/// What a layer or a stack reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveCall {
    /// T
    pub steps: usize,
    /// B
    pub batch: usize,
    /// x, `[T, B, X]`
    pub input: Vec<f64>,
    /// h₀ and c₀ of each cell, forward before reverse, layer by layer
    pub initial: Vec<NaiveState>,
    /// Which steps are run
    pub run: NaiveRun,
    /// Whether the output of a step that is not run is h as it was, rather than zero; if it is not as [`NaiveRun`] says
    pub repeats: Option<bool>,
    /// The masks of each cell, in the order of `initial`
    pub masks: Vec<NaiveMasks>,
}

/// What a layer or a stack yields; or the cotangents of that, from which its backward pass starts.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveResult {
    /// Every h of the last layer, `[T, B, P]` or `[T, B, 2P]`
    pub output: Vec<f64>,
    /// The state of each cell after its last step, in the order of [`NaiveCall::initial`]
    pub last: Vec<NaiveState>,
}

/// What a backward pass yields, in the shapes of what these are gradients of.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveCallGradients {
    /// Of x
    pub input: Vec<f64>,
    /// Of h₀ and c₀ of each cell
    pub initial: Vec<NaiveState>,
    /// Of the parameters of each cell
    pub parameters: Vec<NaiveParameters>,
}

impl NaiveMasks {
    /// The masks of a step of a row; `position` is t·B + b.
    fn at(&self, cell: &NaiveCell, position: usize) -> NaiveStepMasks<'_> {
        fn part(mask: &Option<Vec<f64>>, position: usize, width: usize) -> Option<&[f64]> {
            mask.as_ref().map(|mask| &mask[position * width..][..width])
        }
        NaiveStepMasks {
            recurrent: part(&self.recurrent, position, cell.kind.gates() * cell.output_size),
            hidden: part(&self.hidden, position, cell.output_size),
            cell: part(&self.cell, position, cell.state_size()),
        }
    }
}

impl NaiveCall {
    /// A call without options: zero initial states, every step, no masks.
    pub fn new([steps, batch]: [usize; 2], input: Vec<f64>, cells: &[NaiveCell]) -> Self {
        Self {
            steps,
            batch,
            input,
            initial: cells.iter().map(|cell| NaiveState::zeros(cell, batch)).collect(),
            run: NaiveRun::All,
            repeats: None,
            masks: cells.iter().map(|_| NaiveMasks::default()).collect(),
        }
    }

    /// Whether a step of a row is run; `position` is t·B + b.
    fn runs(&self, position: usize) -> bool {
        match &self.run {
            NaiveRun::All => true,
            NaiveRun::Lengths(lengths) => position / self.batch < lengths[position % self.batch],
            NaiveRun::Mask(mask) => mask[position],
        }
    }

    /// Whether a step that is not run puts out h as it was, rather than zero.
    fn repeats(&self) -> bool {
        self.repeats.unwrap_or(matches!(self.run, NaiveRun::Mask(_)))
    }
}

impl NaiveLayer {
    /// P, or 2P
    pub fn output_size(&self) -> usize {
        let sizes = self.cells.iter().map(|cell| cell.output_size);
        if self.directions == NaiveDirections::Concatenated { sizes.sum() } else { sizes.max().unwrap_or(0) }
    }

    /// Every step of every row.
    pub fn forward(&self, call: &NaiveCall) -> NaiveResult {
        let width = self.output_size();
        let mut output = vec![0.0; call.steps * call.batch * width];
        let mut last = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let walk = Walk::forward(cell, self.is_reverse(index), call, index);
            let from = self.output_offset(index);
            for (row, h) in output.chunks_exact_mut(width).zip(walk.output.chunks_exact(cell.output_size)) {
                add(&mut row[from..from + cell.output_size], h);
            }
            last.push(walk.last);
        }
        NaiveResult { output, last }
    }

    /// Backpropagation through time of the pass that [`NaiveLayer::forward`] makes of the same call.
    pub fn backward(&self, call: &NaiveCall, cotangents: &NaiveResult) -> NaiveCallGradients {
        let mut gradients = NaiveCallGradients {
            input: vec![0.0; call.input.len()],
            initial: Vec::new(),
            parameters: Vec::new(),
        };
        for (index, cell) in self.cells.iter().enumerate() {
            let walk = Walk::forward(cell, self.is_reverse(index), call, index);
            let from = self.output_offset(index);
            let rows = cotangents.output.chunks_exact(self.output_size());
            let output: Vec<f64> =
                rows.flat_map(|row| &row[from..from + cell.output_size]).copied().collect();
            let mut parameters = cell.parameters.zeros_like();
            let last = &cotangents.last[index];
            gradients.initial.push(walk.backward(&output, last, &mut gradients.input, &mut parameters));
            gradients.parameters.push(parameters);
        }
        gradients
    }

    fn is_reverse(&self, index: usize) -> bool {
        assert_eq!(self.cells.len(), self.directions.count());
        self.directions == NaiveDirections::Reverse || index == 1
    }

    /// Where the output of a cell begins in a row of the layer's output.
    fn output_offset(&self, index: usize) -> usize {
        match self.directions {
            NaiveDirections::Concatenated if index == 1 => self.cells[0].output_size,
            _ => 0,
        }
    }
}

impl NaiveDirections {
    /// 1 or 2
    pub fn count(self) -> usize {
        match self {
            NaiveDirections::Forward | NaiveDirections::Reverse => 1,
            NaiveDirections::Concatenated | NaiveDirections::Summed => 2,
        }
    }
}

/// One cell over time, in one direction.
struct Walk<'a> {
    cell: &'a NaiveCell,
    call: &'a NaiveCall,
    masks: &'a NaiveMasks,
    /// The times in the order in which they are read.
    times: Vec<usize>,
    /// `[T, B, P]`
    output: Vec<f64>,
    last: NaiveState,
    /// `[T, B]`, with nothing where no step was run
    moments: Vec<Option<Moment>>,
}

/// A step that was run, and the state before it.
struct Moment {
    before: NaiveState,
    step: NaiveStep,
}

impl<'a> Walk<'a> {
    fn forward(cell: &'a NaiveCell, reverse: bool, call: &'a NaiveCall, index: usize) -> Self {
        let rows = call.steps * call.batch;
        let mut times: Vec<usize> = (0..call.steps).collect();
        if reverse {
            times.reverse();
        }
        let mut walk = Walk {
            cell,
            call,
            masks: &call.masks[index],
            times,
            output: vec![0.0; rows * cell.output_size],
            last: call.initial[index].clone(),
            moments: (0..rows).map(|_| None).collect(),
        };
        for b in 0..call.batch {
            let mut state = walk.last.row(cell, b);
            for &t in &walk.times {
                let position = t * call.batch + b;
                if call.runs(position) {
                    let step = cell.step(walk.inputs(position, &state));
                    let before = std::mem::replace(&mut state, step.state.clone());
                    walk.moments[position] = Some(Moment { before, step });
                }
                if call.runs(position) || call.repeats() {
                    let output = &mut walk.output[position * cell.output_size..][..cell.output_size];
                    output.copy_from_slice(&state.hidden);
                }
            }
            walk.last.set_row(cell, b, &state);
        }
        walk
    }

    /// Adds to the gradients of x and of the parameters; returns that of the initial state.
    fn backward(
        &self,
        output: &[f64],
        last: &NaiveState,
        input_gradient: &mut [f64],
        parameter_gradients: &mut NaiveParameters,
    ) -> NaiveState {
        let Walk { cell, call, .. } = *self;
        let mut initial = last.clone();
        for b in 0..call.batch {
            let mut cotangent = last.row(cell, b);
            for &t in self.times.iter().rev() {
                let position = t * call.batch + b;
                if call.runs(position) || call.repeats() {
                    add(&mut cotangent.hidden, &output[position * cell.output_size..][..cell.output_size]);
                }
                if let Some(Moment { before, step }) = &self.moments[position] {
                    let inputs = self.inputs(position, before);
                    let dx = &mut input_gradient[position * cell.input_size..][..cell.input_size];
                    cotangent = cell.step_backward(inputs, step, &cotangent, dx, parameter_gradients);
                }
            }
            initial.set_row(cell, b, &cotangent);
        }
        initial
    }

    /// What the step at `position` reads.
    fn inputs<'s>(&'s self, position: usize, state: &'s NaiveState) -> NaiveInputs<'s> {
        let x = &self.call.input[position * self.cell.input_size..][..self.cell.input_size];
        NaiveInputs { x, state, masks: self.masks.at(self.cell, position) }
    }
}
