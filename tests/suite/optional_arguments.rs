//! What a call is not given counts as zero, and what it is not asked for changes nothing of what it is asked for: every
//! subset of the optional arguments, of layers and stacks, forward and backward, and of what a state is set to.

use crate::common::{GAP, Random, bits};
use quadgate::{
    Arrangement, Backward, Coupling, Directions, Forward, GradientMode, LstmConfig, LstmStack, LstmWeights,
    Matrix, MatrixMut, Orientation, Sequence, SequenceMut, StackBackward, StackConfig, StackForward,
    StackTape, StackWorkspace, Threads, Zoneout,
};
use std::num::NonZeroUsize;

const STEPS: usize = 5;
const BATCH: usize = 3;
const INPUTS: usize = 3;
const UNITS: usize = 9;

/// Tensors of a directed layer.
struct Tensors {
    config: LstmConfig,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    peepholes: Vec<f32>,
    scales: Vec<f32>,
    projection: Vec<f32>,
}

impl Tensors {
    fn new(config: LstmConfig, seed: u64) -> Self {
        let mut random = Random(seed);
        let (inputs, units, outputs) = (config.input_size(), config.hidden_size(), config.output_size());
        Self {
            w: random.vec(4 * units * inputs, 0.5),
            r: random.vec(4 * units * outputs, 0.5),
            b: random.vec(4 * units, 0.5),
            peepholes: random.vec(3 * units, 0.5),
            scales: random.vec(4 * units, 0.5),
            projection: random.vec(outputs * units, 0.5),
            config,
        }
    }

    fn weights(&self, kind: Kind) -> LstmWeights<'_> {
        let weights = LstmWeights::pytorch(&self.config, &self.w, &self.r, Some(&self.b), None).unwrap();
        let units = self.config.hidden_size();
        let peepholes = [0, 1, 2].map(|gate| &self.peepholes[gate * units..][..units]);
        let scales = [0, 1, 2, 3].map(|gate| &self.scales[gate * units..][..units]);
        let weights = match kind {
            Kind::Plain | Kind::Projected => weights,
            Kind::All => weights.with_peepholes(peepholes).unwrap().with_layer_normalization(scales).unwrap(),
        };
        match kind {
            Kind::Plain => weights,
            Kind::Projected | Kind::All => {
                weights.with_projection(Orientation::GatesByInputs, &self.projection, None).unwrap()
            }
        }
    }
}

/// Which options a layer has.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    /// h is narrower than c.
    Projected,
    All,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Projected, Kind::All];

impl Kind {
    fn config(self) -> LstmConfig {
        self.config_of(INPUTS, UNITS)
    }

    fn config_of(self, inputs: usize, units: usize) -> LstmConfig {
        let config = LstmConfig::new(inputs, units).training();
        match self {
            Kind::Plain => config,
            Kind::Projected => config.projection(units / 4),
            Kind::All => config
                .projection(units / 4)
                .peepholes()
                .layer_normalization(1e-3)
                .coupling(Coupling::ForgetFromInput)
                .zoneout(Zoneout { hidden: 0.25, cell: 0.5 }),
        }
    }
}

/// Stacks of each form and arrangement, and a layer alone.
fn stacks(kind: Kind) -> Vec<StackConfig> {
    let two = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    let mut all = vec![StackConfig::of(kind.config(), 1, Directions::Forward).threads(Threads::Serial)];
    for directions in [Directions::Forward, Directions::Reverse, Directions::Concatenated, Directions::Summed]
    {
        let alike = StackConfig::of(kind.config(), 2, directions);
        // h of the second layer is wider, or narrower; so is c.
        let differing = [UNITS + 4, UNITS - 4].map(|units| {
            let layers = [kind.config(), kind.config_of(alike.output_size(), units)];
            StackConfig::of_layers(layers, directions).unwrap()
        });
        for config in [alike].into_iter().chain(differing) {
            all.push(config.clone().threads(Threads::Serial));
            all.push(config.threads(two).arrangement(Arrangement::SideBySide));
        }
    }
    all
}

fn stack(config: &StackConfig, kind: Kind) -> LstmStack {
    let tensors: Vec<_> = (0..config.directed_layers())
        .map(|index| Tensors::new(config.directed_layer(index), index as u64 + 1))
        .collect();
    let weights: Vec<_> = tensors.iter().map(|tensors| tensors.weights(kind)).collect();
    LstmStack::new(config, &weights).unwrap()
}

/// Whether subset number `subset` has argument number `argument`.
fn has(subset: usize, argument: usize) -> bool {
    subset >> argument & 1 == 1
}

/// Sizes of the states of a stack: rows, and widths of h, of c and of the output.
fn sizes(stack: &LstmStack) -> [usize; 4] {
    let config = stack.config();
    let [outputs, units] = config.state_widths();
    [config.directed_layers() * BATCH, outputs, units, config.output_size()]
}

/// Whether nothing was written.
fn is_untouched(values: &[f32]) -> bool {
    values.iter().all(|&value| value == GAP)
}

/// What a forward pass yields with some of its arguments: h and c before it, `output`, h and c after it, a tape. What
/// is not asked for stays as it was.
fn forward(stack: &LstmStack, subset: usize, x: &[f32], initial: [&[f32]; 2]) -> [Vec<f32>; 3] {
    let [rows, outputs, units, width] = sizes(stack);
    let mut output = vec![GAP; STEPS * BATCH * width];
    let (mut last_hidden, mut last_cell) = (vec![GAP; rows * outputs], vec![GAP; rows * units]);
    let mut tape = stack.tape(STEPS, BATCH).unwrap();
    let mut call = StackForward::new(Sequence::time_major(x, STEPS, BATCH, INPUTS));
    if has(subset, 0) {
        call = call.initial_hidden(Matrix::new(initial[0], rows, outputs));
    }
    if has(subset, 1) {
        call = call.initial_cell(Matrix::new(initial[1], rows, units));
    }
    if has(subset, 2) {
        call = call.output(SequenceMut::time_major(&mut output, STEPS, BATCH, width));
    }
    if has(subset, 3) {
        call = call.last_hidden(MatrixMut::new(&mut last_hidden, rows, outputs));
    }
    if has(subset, 4) {
        call = call.last_cell(MatrixMut::new(&mut last_cell, rows, units));
    }
    if has(subset, 5) {
        call = call.tape(&mut tape);
    }
    stack.forward(&mut stack.workspace(STEPS, BATCH).unwrap(), call).unwrap();
    [output, last_hidden, last_cell]
}

#[test]
fn a_forward_pass_takes_every_subset_of_its_arguments() {
    for kind in KINDS {
        for config in stacks(kind) {
            let stack = stack(&config, kind);
            let [rows, outputs, units, _] = sizes(&stack);
            let mut random = Random(3);
            let x = random.vec(STEPS * BATCH * INPUTS, 1.0);
            let given = [random.vec(rows * outputs, 1.0), random.vec(rows * units, 1.0)];
            let zeros = given.each_ref().map(|given| vec![0.0; given.len()]);
            // With all arguments: what depends on the subset is which states are zeros.
            let expected = [0, 1, 2, 3].map(|subset| {
                let of = |which: usize| if has(subset, which) { &given[which][..] } else { &zeros[which] };
                forward(&stack, (1 << 6) - 1, &x, [of(0), of(1)])
            });
            for subset in 0..1 << 6 {
                let found = forward(&stack, subset, &x, [0, 1].map(|which| &given[which][..]));
                for (which, (found, expected)) in found.iter().zip(&expected[subset % 4]).enumerate() {
                    match has(subset, 2 + which) {
                        true => {
                            assert_eq!(bits(found), bits(expected), "{which} of {subset:06b}: {config:?}")
                        }
                        false => assert!(is_untouched(found), "{which} of {subset:06b}: {config:?}"),
                    }
                }
            }
        }
    }
}

/// A workspace, and a tape of a forward pass for any number of backward passes.
fn recorded(stack: &LstmStack, x: &[f32]) -> (StackWorkspace, StackTape) {
    let (mut workspace, mut tape) =
        (stack.workspace(STEPS, BATCH).unwrap(), stack.tape(STEPS, BATCH).unwrap());
    let x = Sequence::time_major(x, STEPS, BATCH, INPUTS);
    stack.forward(&mut workspace, StackForward::new(x).tape(&mut tape)).unwrap();
    (workspace, tape)
}

/// What a backward pass yields with some of its arguments: cotangents of `output`, of h and c after it; gradients of x,
/// of h and c before it, of the parameters.
fn backward(
    stack: &LstmStack,
    (workspace, tape): &mut (StackWorkspace, StackTape),
    subset: usize,
    x: &[f32],
    cotangents: [&[f32]; 3],
) -> [Vec<f32>; 4] {
    let [rows, outputs, units, width] = sizes(stack);
    let x = Sequence::time_major(x, STEPS, BATCH, INPUTS);
    let mut dx = vec![GAP; STEPS * BATCH * INPUTS];
    let (mut dh0, mut dc0) = (vec![GAP; rows * outputs], vec![GAP; rows * units]);
    let mut parameters = vec![GAP; stack.config().total_parameters().unwrap()];
    let mut call = StackBackward::new(x);
    if has(subset, 0) {
        call = call.output_cotangent(Sequence::time_major(cotangents[0], STEPS, BATCH, width));
    }
    if has(subset, 1) {
        call = call.last_hidden_cotangent(Matrix::new(cotangents[1], rows, outputs));
    }
    if has(subset, 2) {
        call = call.last_cell_cotangent(Matrix::new(cotangents[2], rows, units));
    }
    if has(subset, 3) {
        call = call.input_gradient(SequenceMut::time_major(&mut dx, STEPS, BATCH, INPUTS));
    }
    if has(subset, 4) {
        call = call.initial_hidden_gradient(MatrixMut::new(&mut dh0, rows, outputs));
    }
    if has(subset, 5) {
        call = call.initial_cell_gradient(MatrixMut::new(&mut dc0, rows, units));
    }
    if has(subset, 6) {
        call = call.parameter_gradients(&mut parameters, GradientMode::Overwrite);
    }
    stack.backward(workspace, tape, call).unwrap();
    [dx, dh0, dc0, parameters]
}

#[test]
fn a_backward_pass_takes_every_subset_of_its_arguments() {
    for kind in KINDS {
        for config in stacks(kind) {
            let stack = stack(&config, kind);
            let [rows, outputs, units, width] = sizes(&stack);
            let mut random = Random(4);
            let x = random.vec(STEPS * BATCH * INPUTS, 1.0);
            let given = [STEPS * BATCH * width, rows * outputs, rows * units].map(|len| random.vec(len, 1.0));
            let zeros = given.each_ref().map(|given| vec![0.0; given.len()]);
            let memory = &mut recorded(&stack, &x);
            // With all arguments: what depends on the subset is which cotangents are zeros.
            let expected = [0, 1, 2, 3, 4, 5, 6, 7].map(|subset| {
                let of = |which: usize| if has(subset, which) { &given[which][..] } else { &zeros[which] };
                backward(&stack, memory, (1 << 7) - 1, &x, [0, 1, 2].map(of))
            });
            for subset in 0..1 << 7 {
                let found = backward(&stack, memory, subset, &x, [0, 1, 2].map(|which| &given[which][..]));
                for (which, (found, expected)) in found.iter().zip(&expected[subset % 8]).enumerate() {
                    match has(subset, 3 + which) {
                        // As numbers: a zero that nothing was added to has another sign.
                        true => assert_eq!(found, expected, "{which} of {subset:07b}: {config:?}"),
                        false => assert!(is_untouched(found), "{which} of {subset:07b}: {config:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_layer_alone_yields_what_a_stack_of_one_does_with_every_subset() {
    for kind in KINDS {
        let config = StackConfig::of(kind.config(), 1, Directions::Forward).threads(Threads::Serial);
        let stack = stack(&config, kind);
        let lstm = &stack.directed_layers()[0];
        let [_, outputs, units, _] = sizes(&stack);
        let mut random = Random(5);
        let x = random.vec(STEPS * BATCH * INPUTS, 1.0);
        let (h, c) = (random.vec(BATCH * outputs, 1.0), random.vec(BATCH * units, 1.0));
        let cotangent = random.vec(STEPS * BATCH * outputs, 1.0);
        let mut workspace = lstm.workspace(BATCH).unwrap();
        let input = Sequence::time_major(&x, STEPS, BATCH, INPUTS);
        for subset in 0..1 << 6 {
            let mut output = vec![GAP; STEPS * BATCH * outputs];
            let (mut last_hidden, mut last_cell) = (vec![GAP; BATCH * outputs], vec![GAP; BATCH * units]);
            let mut tape = lstm.tape(STEPS, BATCH).unwrap();
            let mut call = Forward::new(input);
            if has(subset, 0) {
                call = call.initial_hidden(Matrix::new(&h, BATCH, outputs));
            }
            if has(subset, 1) {
                call = call.initial_cell(Matrix::new(&c, BATCH, units));
            }
            if has(subset, 2) {
                call = call.output(SequenceMut::time_major(&mut output, STEPS, BATCH, outputs));
            }
            if has(subset, 3) {
                call = call.last_hidden(MatrixMut::new(&mut last_hidden, BATCH, outputs));
            }
            if has(subset, 4) {
                call = call.last_cell(MatrixMut::new(&mut last_cell, BATCH, units));
            }
            if has(subset, 5) {
                call = call.tape(&mut tape);
            }
            lstm.forward(&mut workspace, call).unwrap();
            assert_eq!(
                [output, last_hidden, last_cell],
                forward(&stack, subset, &x, [&h, &c]),
                "{subset:06b}"
            );
        }
        let memory = &mut recorded(&stack, &x);
        let mut tape = lstm.tape(STEPS, BATCH).unwrap();
        lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape)).unwrap();
        for subset in 0..1 << 7 {
            let mut dx = vec![GAP; x.len()];
            let (mut dh0, mut dc0) = (vec![GAP; h.len()], vec![GAP; c.len()]);
            let mut parameters = vec![GAP; lstm.config().parameters().unwrap().total()];
            let mut call = Backward::new(input);
            if has(subset, 0) {
                call = call.output_cotangent(Sequence::time_major(&cotangent, STEPS, BATCH, outputs));
            }
            if has(subset, 1) {
                call = call.last_hidden_cotangent(Matrix::new(&h, BATCH, outputs));
            }
            if has(subset, 2) {
                call = call.last_cell_cotangent(Matrix::new(&c, BATCH, units));
            }
            if has(subset, 3) {
                call = call.input_gradient(SequenceMut::time_major(&mut dx, STEPS, BATCH, INPUTS));
            }
            if has(subset, 4) {
                call = call.initial_hidden_gradient(MatrixMut::new(&mut dh0, BATCH, outputs));
            }
            if has(subset, 5) {
                call = call.initial_cell_gradient(MatrixMut::new(&mut dc0, BATCH, units));
            }
            if has(subset, 6) {
                call = call.parameter_gradients(&mut parameters, GradientMode::Overwrite);
            }
            lstm.backward(&mut workspace, &mut tape, call).unwrap();
            let of_stack = backward(&stack, memory, subset, &x, [&cotangent, &h, &c]);
            assert_eq!([dx, dh0, dc0, parameters], of_stack, "{subset:07b}");
        }
    }
}

#[test]
fn a_state_of_which_one_half_is_set_goes_on_from_zeros_of_the_other() {
    for kind in KINDS {
        let config = StackConfig::of(kind.config(), 2, Directions::Forward).threads(Threads::Serial);
        let stack = stack(&config, kind);
        let [rows, outputs, units, width] = sizes(&stack);
        let mut random = Random(6);
        let x = random.vec(STEPS * BATCH * INPUTS, 1.0);
        let (h, c) = (random.vec(rows * outputs, 1.0), random.vec(rows * units, 1.0));
        for subset in 0..1 << 2 {
            let [expected, ..] = forward(&stack, subset | 0b100, &x, [&h, &c]);
            let mut state = stack.state(BATCH).unwrap();
            for layer in 0..2 {
                let (h, c) = (&h[layer * BATCH * outputs..], &c[layer * BATCH * units..]);
                let state = &mut state.layers_mut()[layer];
                if has(subset, 0) {
                    state.set_hidden(Matrix::new(h, BATCH, outputs)).unwrap();
                }
                if has(subset, 1) {
                    state.set_cell(Matrix::new(c, BATCH, units)).unwrap();
                }
            }
            for (x, expected) in x.chunks(BATCH * INPUTS).zip(expected.chunks(BATCH * width)) {
                stack.step(&mut state, Matrix::new(x, BATCH, INPUTS)).unwrap();
                for (row, expected) in expected.chunks(width).enumerate() {
                    assert_eq!(bits(state.hidden(row).unwrap()), bits(expected), "{subset:02b}, {kind:?}");
                }
            }
        }
    }
}
