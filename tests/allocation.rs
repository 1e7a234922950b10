//! Once the workspace exists, no call allocates.
//!
//! Each thread counts its own allocations, and those of each pool are added up: the test harness has threads too. The
//! allocator that counts is that of the whole process, hence a test binary beside the suite.

#[path = "suite/common/mod.rs"]
mod common;

use common::stack::{Form, StackCase};
use common::{Case, Layout, Run, Sizes, levels, strides};
use quadgate::{
    ActivationFunction, Arrangement, Backward, Directions, Dropout, Forward, GateOrder, GradientMode, Gru,
    GruConfig, GruWeights, Lstm, LstmConfig, LstmStack, LstmWeights, Matrix, MatrixMut, Orientation,
    ResetGate, Rnn, RnnConfig, RnnWeights, Schedule, Sequence, SequenceMut, StackBackward, StackForward,
    StackTape, StackWorkspace, StepIndices, StepMask, Tape, Threads, Workspace,
};
use std::alloc::{GlobalAlloc, Layout as Bytes, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static OF_THREAD: Cell<usize> = const { Cell::new(0) };
    /// Allocations of the pool of this thread, if it belongs to one.
    static OF_POOL: Cell<Option<&'static AtomicUsize>> = const { Cell::new(None) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Bytes) -> *mut u8 {
        OF_THREAD.set(OF_THREAD.get() + 1);
        if let Some(of_pool) = OF_POOL.get() {
            of_pool.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Bytes) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `work`.
fn allocations_of(work: impl FnOnce()) -> usize {
    let before = OF_THREAD.get();
    work();
    OF_THREAD.get() - before
}

/// Two threads, and a count of what they allocate.
struct CountedPool {
    threads: rayon::ThreadPool,
    allocations: &'static AtomicUsize,
}

impl CountedPool {
    /// A pool whose threads have all started, with their own thread-local data.
    fn new() -> Self {
        let allocations: &'static AtomicUsize = Box::leak(Box::default());
        let started = move |_| OF_POOL.set(Some(allocations));
        let threads = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(started).build().unwrap();
        threads.broadcast(|_| ());
        Self { threads, allocations }
    }

    /// Runs `work` on a thread of the pool.
    fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
    }

    /// Allocations of all its threads during `work`.
    fn allocations_of(&self, work: impl FnOnce()) -> usize {
        let before = self.allocations.load(Ordering::SeqCst);
        work();
        self.allocations.load(Ordering::SeqCst) - before
    }
}

fn forward(lstm: &Lstm, case: &Case, workspace: &mut Workspace, output: &mut [f32], last: &mut [f32]) {
    let Sizes { steps, batch, inputs, units } = case.sizes;
    let (strides, _) = strides(Layout::BatchMajor, steps, batch, units);
    let call = Forward::new(Sequence::time_major(&case.x, steps, batch, inputs))
        .initial_cell(Matrix::new(&case.initial_cell, batch, units))
        .output(SequenceMut::with_strides(output, [steps, batch, units], strides))
        .last_hidden(MatrixMut::new(last, batch, units));
    lstm.forward(workspace, call).unwrap();
}

/// Every call of a layer whose only state is h.
macro_rules! assert_no_allocations {
    ($layer:ident, $config:expr, $weights:expr, $has_mask:expr) => {{
        let (steps, batch, inputs, units) = (5, 3, 4, 18);
        let (config, weights) = ($config, $weights);
        let mut layer = $layer::new(&config, &weights).unwrap();
        let (mut workspace, mut state) = (layer.workspace(batch).unwrap(), layer.state(batch).unwrap());
        let mut tape = layer.tape(steps, batch).unwrap();
        let mut gradients = vec![0.0; config.parameters().unwrap().total()];
        let (x, ones) = (vec![1.0; steps * batch * inputs], vec![1.0; batch * units]);
        let mut output = vec![0.0; steps * batch * units];
        let found = allocations_of(|| {
            let input = Sequence::time_major(&x, steps, batch, inputs);
            layer.set_weights(&weights).unwrap();
            layer.step(&mut state, Matrix::new(&x[..batch * inputs], batch, inputs)).unwrap();
            let mut call = Forward::new(input)
                .lengths(&[5, 2, 3])
                .output(SequenceMut::time_major(&mut output, steps, batch, units))
                .tape(&mut tape);
            if $has_mask {
                call = call.recurrent_mask(Matrix::new(&ones, batch, units));
            }
            layer.forward(&mut workspace, call).unwrap();
            let mut call = Backward::new(input)
                .lengths(&[5, 2, 3])
                .output_cotangent(Sequence::time_major(&output, steps, batch, units))
                .parameter_gradients(&mut gradients, GradientMode::Overwrite);
            if $has_mask {
                call = call.recurrent_mask(Matrix::new(&ones, batch, units));
            }
            layer.backward(&mut workspace, &mut tape, call).unwrap();
        });
        assert_eq!(found, 0, "{config:?}");
        assert!(gradients.iter().any(|&gradient| gradient != 0.0));
    }};
}

#[test]
fn no_call_of_a_layer_whose_only_state_is_h_allocates() {
    for has_options in [false, true] {
        let (inputs, units, w) = (4, 18, vec![0.1; 3 * 18 * 18]);
        for reset_gate in [ResetGate::AfterProduct, ResetGate::BeforeProduct] {
            let mut config = GruConfig::new(inputs, units).reset_gate(reset_gate);
            if has_options {
                config = config.clip(2.0).zoneout(0.1).recurrent_dropout().layer_normalization(1e-5);
            }
            let config = config.threads(Threads::Serial).training();
            let parameters: Vec<f32> =
                (0..config.parameters().unwrap().total()).map(|k| (k % 7) as f32 * 0.1).collect();
            let weights = GruWeights::from_parameters(&config, &parameters).unwrap();
            assert_no_allocations!(Gru, config, weights, has_options);
        }
        let mut config = RnnConfig::new(inputs, units);
        if has_options {
            config =
                config.clip(2.0).zoneout(0.1).recurrent_dropout().activation(ActivationFunction::Softplus);
        }
        let config = config.threads(Threads::Serial).training();
        let (w, r) = (&w[..units * inputs], &w[..units * units]);
        let weights = RnnWeights::pytorch(&config, w, r, None, None).unwrap();
        assert_no_allocations!(Rnn, config, weights, has_options);
    }
}

#[test]
fn no_call_of_a_table_or_of_given_sums_allocates() {
    let (steps, batch, entries, units) = (5, 3, 4, 18);
    let config = LstmConfig::new(0, units).threads(Threads::Serial).training();
    let parameters = vec![0.1; config.parameters().unwrap().total()];
    let lstm = Lstm::new(&config, &LstmWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
    let (mut workspace, mut state) = (lstm.workspace(batch).unwrap(), lstm.state(batch).unwrap());
    let mut tape = lstm.tape(steps, batch).unwrap();
    let rows = vec![0.1; steps * batch * 4 * units];
    let table = lstm.table_of_sums(Matrix::new(&rows, entries, 4 * units), GateOrder::IFGO).unwrap();
    let (cotangent, mut gradients) = (vec![1.0; steps * batch * units], vec![0.0; rows.len()]);
    let found = allocations_of(|| {
        let sums = Sequence::time_major(&rows, steps, batch, 4 * units);
        let indices = StepIndices::time_major(&[1u8; 15], steps, batch);
        lstm.step_of_table(&mut state, &table, &[0u8, 3, 1]).unwrap();
        lstm.step_of_sums(&mut state, Matrix::new(&rows, batch, 4 * units)).unwrap();
        lstm.forward(&mut workspace, Forward::of_table(&table, indices).lengths(&[5, 2, 3])).unwrap();
        lstm.forward(&mut workspace, Forward::of_table(&table, indices).tape(&mut tape)).unwrap();
        let call = Backward::of_table(&table, indices)
            .output_cotangent(Sequence::time_major(&cotangent, steps, batch, units))
            .table_gradient(MatrixMut::new(&mut gradients, entries, 4 * units), GradientMode::Overwrite);
        lstm.backward(&mut workspace, &mut tape, call).unwrap();
        lstm.forward(&mut workspace, Forward::of_sums(sums).lengths(&[5, 2, 3]).tape(&mut tape)).unwrap();
        let call = Backward::of_sums(sums)
            .lengths(&[5, 2, 3])
            .output_cotangent(Sequence::time_major(&cotangent, steps, batch, units))
            .sums_gradient(SequenceMut::time_major(&mut gradients, steps, batch, 4 * units));
        lstm.backward(&mut workspace, &mut tape, call).unwrap();
    });
    assert_eq!(found, 0);
    assert!(gradients.iter().any(|&gradient| gradient != 0.0));
}

#[test]
fn neither_forward_nor_step_nor_backward_allocates() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))), 1, "the counter counts");
    let sizes = Sizes { steps: 9, batch: 5, inputs: 7, units: 18 };
    let case = Case::random(2, sizes);
    let mut output = vec![0.0; sizes.steps * sizes.batch * sizes.units];
    let mut last = vec![0.0; sizes.batch * sizes.units];
    let pool = CountedPool::new();
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let lstm = case.lstm(Run::on(isa).schedule(schedule));
            let mut workspace = lstm.workspace(sizes.batch).unwrap();
            let mut state = lstm.state(sizes.batch).unwrap();
            let x = Matrix::new(&case.x[..sizes.batch * sizes.inputs], sizes.batch, sizes.inputs);
            let serial = allocations_of(|| {
                forward(&lstm, &case, &mut workspace, &mut output, &mut last);
                lstm.step(&mut state, x).unwrap();
            });
            assert_eq!(serial, 0, "{isa}, {schedule:?}, serial");

            let config = Run::on(isa).schedule(schedule).config(sizes).training();
            let mut trained = Lstm::new(&config, &case.weights(&config)).unwrap();
            let mut training_workspace = trained.workspace(sizes.batch).unwrap();
            let mut tapes = [
                trained.tape(sizes.steps, sizes.batch).unwrap(),
                trained.checkpointed_tape(sizes.steps, sizes.batch, None).unwrap(),
            ];
            let mut gradients = vec![0.0; config.parameters().unwrap().total()];
            let training = allocations_of(|| {
                for tape in &mut tapes {
                    let input = Sequence::time_major(&case.x, sizes.steps, sizes.batch, sizes.inputs);
                    trained.forward(&mut training_workspace, Forward::new(input).tape(tape)).unwrap();
                    let call = Backward::new(input)
                        .last_cell_cotangent(Matrix::new(&case.initial_cell, sizes.batch, sizes.units))
                        .parameter_gradients(&mut gradients, GradientMode::Overwrite);
                    trained.backward(&mut training_workspace, tape, call).unwrap();
                    trained.set_weights(&case.weights(&config)).unwrap();
                }
            });
            assert_eq!(training, 0, "{isa}, {schedule:?}, training");

            let threaded = case.lstm(Run::on(isa).schedule(schedule).threads(3));
            let mut call = || {
                pool.install(|| {
                    forward(&threaded, &case, &mut workspace, &mut output, &mut last);
                    pool.allocations_of(|| forward(&threaded, &case, &mut workspace, &mut output, &mut last))
                })
            };
            // By then the pool's own queues and thread-local data exist.
            for _ in 0..3 {
                call();
            }
            assert_eq!(call(), 0, "{isa}, {schedule:?}, three pieces on two threads");
        }
    }
}

#[test]
fn a_layer_with_every_option_does_not_allocate_either() {
    let (steps, batch, inputs, units, outputs) = (9, 5, 7, 18, 11);
    let clip = quadgate::Clip { gate: Some(2.0), hidden: Some(1.5), cell: Some(2.0), projection: Some(2.0) };
    for isa in levels() {
        let config = Run::on(isa)
            .apply(LstmConfig::new(inputs, units))
            .projection(outputs)
            .projection_bias()
            .peepholes()
            .layer_normalization(1e-5)
            .clip(clip)
            .zoneout(quadgate::Zoneout { hidden: 0.1, cell: 0.1 })
            .recurrent_dropout()
            .training();
        let ones = vec![1.0; 4 * units * (inputs + units)];
        let weights = || {
            let (w, r) = (&ones[..4 * units * inputs], &ones[..4 * units * outputs]);
            let (row, projection) = (&ones[..units], &ones[..outputs * units]);
            LstmWeights::pytorch(&config, w, r, None, None)
                .and_then(|weights| weights.with_peepholes([row; 3]))
                .and_then(|weights| weights.with_layer_normalization([row; 4]))
                .and_then(|weights| {
                    weights.with_projection(Orientation::GatesByInputs, projection, Some(&ones[..outputs]))
                })
                .unwrap()
        };
        let mut lstm = Lstm::new(&config, &weights()).unwrap();
        let mut workspace = lstm.workspace(batch).unwrap();
        let mut tape = lstm.tape(steps, batch).unwrap();
        let mut state = lstm.state(batch).unwrap();
        let mut gradients = vec![0.0; config.parameters().unwrap().total()];
        let x = vec![0.5; steps * batch * inputs];
        let mask = Matrix::new(&ones[..batch * outputs], batch, outputs);
        let allocations = allocations_of(|| {
            let input = Sequence::time_major(&x, steps, batch, inputs);
            lstm.forward(&mut workspace, Forward::new(input)).unwrap();
            lstm.forward(&mut workspace, Forward::new(input).recurrent_mask(mask).tape(&mut tape)).unwrap();
            let call = Backward::new(input)
                .recurrent_mask(mask)
                .parameter_gradients(&mut gradients, GradientMode::Overwrite);
            lstm.backward(&mut workspace, &mut tape, call).unwrap();
            lstm.step(&mut state, Matrix::new(&x[..batch * inputs], batch, inputs)).unwrap();
            lstm.set_weights(&weights()).unwrap();
        });
        assert_eq!(allocations, 0, "{isa}");
        assert!(gradients.iter().all(|gradient| gradient.is_finite()));
    }
}

#[test]
fn neither_forward_nor_backward_with_lengths_or_a_mask_allocates() {
    let sizes = Sizes { steps: 9, batch: 5, inputs: 7, units: 18 };
    let Sizes { steps, batch, inputs, units } = sizes;
    let case = Case::random(2, sizes);
    let lengths = [3, 0, 9, 1, 9];
    let mask: Vec<bool> = (0..steps * batch).map(|at| at % 3 != 0).collect();
    let pool = CountedPool::new();
    let step = |lstm: &Lstm, workspace: &mut Workspace, tape: &mut Tape, buffers: &mut [Vec<f32>; 3]| {
        let x = Sequence::time_major(&case.x, steps, batch, inputs);
        let [output, dx, gradients] = buffers;
        for is_masked in [false, true] {
            let mask = StepMask::time_major(&mask, steps, batch);
            let mut forward = |call: Forward<'_>| {
                lstm.forward(workspace, if is_masked { call.mask(mask) } else { call.lengths(&lengths) })
            };
            forward(Forward::new(x).output(SequenceMut::batch_major(output, batch, steps, units))).unwrap();
            forward(Forward::new(x).tape(tape)).unwrap();
            let call = Backward::new(x)
                .output_cotangent(Sequence::batch_major(output, batch, steps, units))
                .input_gradient(SequenceMut::time_major(dx, steps, batch, inputs))
                .parameter_gradients(gradients, GradientMode::Overwrite);
            let call = if is_masked { call.mask(mask) } else { call.lengths(&lengths) };
            lstm.backward(workspace, tape, call).unwrap();
        }
    };
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            for threads in [None, Some(3)] {
                let run = Run::on(isa).schedule(schedule);
                let config = threads.map_or(run, |threads| run.threads(threads)).config(sizes).training();
                let lstm = Lstm::new(&config, &case.weights(&config)).unwrap();
                let mut workspace = lstm.workspace(batch).unwrap();
                let total = config.parameters().unwrap().total();
                let mut buffers =
                    [steps * batch * units, steps * batch * inputs, total].map(|len| vec![0.0; len]);
                for mut tape in
                    [lstm.tape(steps, batch).unwrap(), lstm.checkpointed_tape(steps, batch, None).unwrap()]
                {
                    let mut call = || step(&lstm, &mut workspace, &mut tape, &mut buffers);
                    let found = match threads {
                        None => allocations_of(call),
                        Some(_) => pool.install(|| {
                            // By then the pool's own queues and thread-local data exist.
                            (0..3).for_each(|_| call());
                            pool.allocations_of(call)
                        }),
                    };
                    assert_eq!(found, 0, "{isa}, {schedule:?}, {threads:?}");
                }
            }
        }
    }
}

/// A forward and a backward pass with everything that they can have.
fn stack_step(
    stack: &LstmStack,
    case: &StackCase,
    states: &[Vec<f32>; 2],
    workspace: &mut StackWorkspace,
    tape: &mut StackTape,
    buffers: &mut [Vec<f32>; 6],
) {
    let Sizes { steps, batch, inputs, .. } = case.sizes;
    let (width, rows, units) = (case.width(), case.state_rows(), case.state_width());
    let x = Sequence::time_major(&case.x, steps, batch, inputs);
    let [h0, c0] = [&states[0], &states[1]].map(|states| Matrix::new(states, rows, units));
    let [output, last_hidden, dx, dh0, dc0, gradients] = buffers;
    let call = StackForward::new(x)
        .initial_hidden(h0)
        .initial_cell(c0)
        .output(SequenceMut::time_major(output, steps, batch, width))
        .last_hidden(MatrixMut::new(last_hidden, rows, units));
    stack.forward(workspace, call).unwrap();
    let dropout = Dropout::new(0.5, 1).unwrap();
    stack.forward(workspace, StackForward::new(x).dropout(dropout).tape(tape)).unwrap();
    let call = StackBackward::new(x)
        .output_cotangent(Sequence::time_major(output, steps, batch, width))
        .last_cell_cotangent(c0)
        .input_gradient(SequenceMut::time_major(dx, steps, batch, inputs))
        .initial_hidden_gradient(MatrixMut::new(dh0, rows, units))
        .initial_cell_gradient(MatrixMut::new(dc0, rows, units))
        .parameter_gradients(gradients, GradientMode::Overwrite);
    stack.backward(workspace, tape, call).unwrap();
}

#[test]
fn neither_forward_nor_backward_of_a_stack_allocates() {
    let sizes = Sizes { steps: 9, batch: 5, inputs: 7, units: 18 };
    let pool = CountedPool::new();
    for (directions, arrangement, second_layer) in [
        (Directions::Forward, Arrangement::InTurn, 18),
        (Directions::Reverse, Arrangement::SideBySide, 33),
        (Directions::Concatenated, Arrangement::SideBySide, 18),
        (Directions::Summed, Arrangement::InTurn, 4),
    ] {
        let mut form = Form::from((3, directions));
        form.units[1] = Some(second_layer);
        let case = StackCase::random(2, sizes, form);
        let states = [case.spread(&case.initial_hidden), case.spread(&case.initial_cell)];
        for isa in levels() {
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                let run = Run::on(isa).schedule(schedule).arrangement(arrangement);
                let config = case.config(run).training();
                let (mut stack, weights) = (case.stack(&config), case.weights(&config));
                let (output, state_len) = (9 * 5 * case.width(), case.state_rows() * case.state_width());
                let total = config.total_parameters().unwrap();
                let mut buffers =
                    [output, state_len, 9 * 5 * 7, state_len, state_len, total].map(|len| vec![0.0; len]);
                let mut workspace = stack.workspace(9, 5).unwrap();
                if let Ok(mut state) = stack.state(5) {
                    let x = Matrix::new(&case.x, 5, 7);
                    assert_eq!(allocations_of(|| stack.step(&mut state, x).unwrap()), 0, "{isa}, step");
                }
                for mut tape in [stack.tape(9, 5).unwrap(), stack.checkpointed_tape(9, 5, None).unwrap()] {
                    let serial = allocations_of(|| {
                        stack_step(&stack, &case, &states, &mut workspace, &mut tape, &mut buffers);
                        stack.set_weights(&weights).unwrap();
                    });
                    assert_eq!(serial, 0, "{isa}, {schedule:?}, {directions:?}, serial");
                }

                let threaded = case.stack(&case.config(run.threads(3)).training());
                let (mut workspace, mut tape) =
                    (threaded.workspace(9, 5).unwrap(), threaded.tape(9, 5).unwrap());
                let mut call = || {
                    pool.install(|| {
                        pool.allocations_of(|| {
                            stack_step(&threaded, &case, &states, &mut workspace, &mut tape, &mut buffers);
                        })
                    })
                };
                // By then the pool's own queues and thread-local data exist.
                for _ in 0..3 {
                    call();
                }
                assert_eq!(call(), 0, "{isa}, {schedule:?}, {directions:?}, three pieces on two threads");
            }
        }
    }
}
