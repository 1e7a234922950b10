//! Every kind of call on every level, each on a stack of 1 MiB: `.ci/outside` builds this without optimizations.

use quadgate::{
    ActivationFunction, Activations, Backward, Clip, Coupling, Directions, Error, Forward, GradientMode, Isa,
    Lstm, LstmConfig, LstmStack, LstmWeights, Matrix, Orientation, Sequence, SequenceMut, StackBackward,
    StackConfig, StackForward, Zoneout,
};
use std::time::Instant;

/// What Windows gives the first thread of a program; others give threads at least twice as much.
const STACK_BYTES: usize = 1 << 20;

const STEPS: usize = 3;
const BATCH: usize = 5;
const INPUTS: usize = 7;

/// What is called of a layer.
type Call = fn(LstmConfig) -> Result<(), Error>;

const CALLS: [(&str, Call); 7] = [
    ("forward", |config| forward(&layer(&config)?)),
    ("step", |config| step(&layer(&config)?)),
    ("training step", |config| training_step(&layer(&config.training())?)),
    ("training step with lengths", |config| training_step_with_lengths(&layer(&config.training())?)),
    ("forward and step of a layer with options", |config| {
        let lstm = layer_with_options(&with_options(config))?;
        forward(&lstm)?;
        step(&lstm)
    }),
    ("training step of a layer with options", |config| {
        training_step(&layer_with_options(&with_options(config.training()))?)
    }),
    ("stack", stack),
];

fn main() {
    for &isa in Isa::ALL {
        // Both the rest of a tile and more than one tile.
        for (units, (name, call)) in [20, 40].into_iter().flat_map(|units| CALLS.map(|call| (units, call))) {
            let config = LstmConfig::new(INPUTS, units).isa(isa);
            let start = Instant::now();
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || call(config));
            match thread.expect("the thread starts").join().expect("the call does not panic") {
                Ok(()) => println!("{isa}, H = {units}, {name}: {:.3} s", start.elapsed().as_secs_f64()),
                Err(Error::UnsupportedIsa { expected, .. }) if expected == isa => {
                    println!("{isa}: not run on this CPU, which refuses it");
                    break;
                }
                Err(error) => panic!("{isa}, H = {units}, {name}: {error}"),
            }
        }
    }
}

/// Some numbers between -0.2 and 0.2.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|at| (at * 37 % 41) as f32 / 100.0 - 0.2).collect()
}

fn assert_finite(numbers: &[f32]) {
    assert!(numbers.iter().all(|number| number.is_finite()));
}

fn layer(config: &LstmConfig) -> Result<Lstm, Error> {
    let units = config.hidden_size();
    let (w, r, b) =
        (numbers(4 * units * config.input_size()), numbers(4 * units * units), numbers(4 * units));
    Lstm::new(config, &LstmWeights::pytorch(config, &w, &r, Some(&b), None)?)
}

/// All options at once.
fn with_options(config: LstmConfig) -> LstmConfig {
    let gate = ActivationFunction::HardSigmoid { alpha: 0.2, beta: 0.5 };
    config
        .projection(6)
        .projection_bias()
        .peepholes()
        .coupling(Coupling::ForgetFromInput)
        .clip(Clip { gate: Some(3.0), cell: Some(3.0), projection: Some(3.0), ..Clip::default() })
        .activations(Activations { gate, ..Activations::default() })
        .layer_normalization(1e-5)
        .zoneout(Zoneout { hidden: 0.1, cell: 0.1 })
        .recurrent_dropout()
}

fn layer_with_options(config: &LstmConfig) -> Result<Lstm, Error> {
    let (units, outputs) = (config.hidden_size(), config.output_size());
    let (w, r, b) = (numbers(4 * units * INPUTS), numbers(4 * units * outputs), numbers(4 * units));
    let (row, projection) = (numbers(units), numbers(outputs * units));
    let weights = LstmWeights::pytorch(config, &w, &r, Some(&b), None)?
        .with_peepholes([&row; 3])?
        .with_layer_normalization([&row; 4])?
        .with_projection(Orientation::GatesByInputs, &projection, Some(&row[..outputs]))?;
    Lstm::new(config, &weights)
}

fn forward(lstm: &Lstm) -> Result<(), Error> {
    let outputs = lstm.config().output_size();
    let (x, mut h) = (numbers(STEPS * BATCH * INPUTS), vec![f32::NAN; STEPS * BATCH * outputs]);
    let call = Forward::new(Sequence::time_major(&x, STEPS, BATCH, INPUTS))
        .output(SequenceMut::time_major(&mut h, STEPS, BATCH, outputs));
    lstm.forward(&mut lstm.workspace(BATCH)?, call)?;
    assert_finite(&h);
    Ok(())
}

fn step(lstm: &Lstm) -> Result<(), Error> {
    let (x, mut state) = (numbers(BATCH * INPUTS), lstm.state(BATCH)?);
    lstm.step(&mut state, Matrix::new(&x, BATCH, INPUTS))?;
    assert_finite(state.hidden(0).expect("a row of the batch"));
    Ok(())
}

fn training_step(lstm: &Lstm) -> Result<(), Error> {
    let outputs = lstm.config().output_size();
    let (x, cotangent) = (numbers(STEPS * BATCH * INPUTS), numbers(STEPS * BATCH * outputs));
    let (mut workspace, mut tape) = (lstm.workspace(BATCH)?, lstm.tape(STEPS, BATCH)?);
    let mut gradients = vec![f32::NAN; lstm.config().parameters()?.total()];
    let mut dx = vec![f32::NAN; x.len()];
    let input = Sequence::time_major(&x, STEPS, BATCH, INPUTS);
    lstm.forward(&mut workspace, Forward::new(input).tape(&mut tape))?;
    let call = Backward::new(input)
        .output_cotangent(Sequence::time_major(&cotangent, STEPS, BATCH, outputs))
        .input_gradient(SequenceMut::time_major(&mut dx, STEPS, BATCH, INPUTS))
        .parameter_gradients(&mut gradients, GradientMode::Overwrite);
    lstm.backward(&mut workspace, &mut tape, call)?;
    assert_finite(&gradients);
    assert_finite(&dx);
    Ok(())
}

fn training_step_with_lengths(lstm: &Lstm) -> Result<(), Error> {
    let units = lstm.config().output_size();
    let lengths = [3, 0, 2, 1, 3];
    let (x, cotangent) = (numbers(STEPS * BATCH * INPUTS), numbers(STEPS * BATCH * units));
    let (mut workspace, mut tape) = (lstm.workspace(BATCH)?, lstm.tape(STEPS, BATCH)?);
    let mut gradients = vec![f32::NAN; lstm.config().parameters()?.total()];
    let input = Sequence::time_major(&x, STEPS, BATCH, INPUTS);
    lstm.forward(&mut workspace, Forward::new(input).lengths(&lengths).tape(&mut tape))?;
    let call = Backward::new(input)
        .lengths(&lengths)
        .output_cotangent(Sequence::time_major(&cotangent, STEPS, BATCH, units))
        .parameter_gradients(&mut gradients, GradientMode::Overwrite);
    lstm.backward(&mut workspace, &mut tape, call)?;
    assert_finite(&gradients);
    Ok(())
}

/// Two layers, the second narrower: a forward pass, and a training step.
fn stack(config: LstmConfig) -> Result<(), Error> {
    let (units, isa) = (config.hidden_size() / 2, layer(&config)?.isa());
    let layers = [config.clone(), LstmConfig::new(config.hidden_size(), units).isa(isa)];
    let config = StackConfig::of_layers(layers, Directions::Forward)?.training();
    let parameters = numbers(config.total_parameters()?);
    let stack = LstmStack::new(&config, &config.weights(&parameters)?)?;
    let (x, mut h) = (numbers(STEPS * BATCH * INPUTS), vec![f32::NAN; STEPS * BATCH * units]);
    let (mut workspace, mut tape) = (stack.workspace(STEPS, BATCH)?, stack.tape(STEPS, BATCH)?);
    let mut gradients = vec![f32::NAN; config.total_parameters()?];
    let input = Sequence::time_major(&x, STEPS, BATCH, INPUTS);
    let output = SequenceMut::time_major(&mut h, STEPS, BATCH, units);
    stack.forward(&mut workspace, StackForward::new(input).output(output))?;
    stack.forward(&mut workspace, StackForward::new(input).tape(&mut tape))?;
    let call = StackBackward::new(input)
        .output_cotangent(Sequence::time_major(&h, STEPS, BATCH, units))
        .parameter_gradients(&mut gradients, GradientMode::Overwrite);
    stack.backward(&mut workspace, &mut tape, call)?;
    assert_finite(&gradients);
    Ok(())
}
