//! quadgate.

use quadgate::{
    Backward, Forward, GradientMode, Lstm, LstmConfig, LstmWeights, Matrix, MatrixMut, Sequence, SequenceMut,
    State, Tape, Threads, Workspace,
};
use worker::{BLOCK, Call, Case, Mode, serve_in_pool, threads};

const FITS: &str = "made for this shape";

fn layer(case: &Case, mode: Mode) -> Lstm {
    let config = LstmConfig::new(case.x, case.h);
    let config = if mode == Mode::Train { config.training() } else { config };
    let config = if threads() == 1 { config.threads(Threads::Serial) } else { config };
    let weights = LstmWeights::pytorch(&config, &case.weight_ih, &case.weight_hh, Some(&case.bias), None);
    Lstm::new(&config, &weights.expect(FITS)).expect(FITS)
}

struct Whole {
    lstm: Lstm,
    workspace: Workspace,
    hidden: Vec<f32>,
    training: Option<Training>,
    case: Case,
}

struct Training {
    tape: Tape,
    input_gradient: Vec<f32>,
    parameter_gradients: Vec<f32>,
}

impl Whole {
    fn new(mode: Mode, case: Case) -> Self {
        let lstm = layer(&case, mode);
        let training = (mode == Mode::Train).then(|| Training {
            tape: lstm.tape(case.t, case.b).expect(FITS),
            input_gradient: vec![0.0; case.input.len()],
            parameter_gradients: vec![0.0; lstm.config().parameters().expect(FITS).total()],
        });
        let workspace = lstm.workspace(case.b).expect(FITS);
        Self { lstm, workspace, hidden: vec![0.0; case.t * case.b * case.h], training, case }
    }
}

impl Call for Whole {
    fn run(&mut self) {
        let &Case { t, b, x, h, .. } = &self.case;
        let input = Sequence::time_major(&self.case.input, t, b, x);
        let call = Forward::new(input).output(SequenceMut::time_major(&mut self.hidden, t, b, h));
        let Some(training) = &mut self.training else {
            return self.lstm.forward(&mut self.workspace, call).expect(FITS);
        };
        self.lstm.forward(&mut self.workspace, call.tape(&mut training.tape)).expect(FITS);
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&self.case.cotangent, t, b, h))
            .input_gradient(SequenceMut::time_major(&mut training.input_gradient, t, b, x))
            .parameter_gradients(&mut training.parameter_gradients, GradientMode::Overwrite);
        self.lstm.backward(&mut self.workspace, &mut training.tape, call).expect(FITS);
    }

    fn answer(&mut self) -> Vec<f32> {
        match &self.training {
            None => self.hidden.clone(),
            Some(training) => {
                [&self.hidden[..], &training.input_gradient, &training.parameter_gradients].concat()
            }
        }
    }
}

struct Stream {
    lstm: Lstm,
    state: State,
    next: usize,
    case: Case,
}

impl Call for Stream {
    fn run(&mut self) {
        let input = &self.case.input[self.next * self.case.x..][..self.case.x];
        self.lstm.step(&mut self.state, Matrix::new(input, 1, self.case.x)).expect(FITS);
        self.next = (self.next + 1) % self.case.t;
    }

    fn answer(&mut self) -> Vec<f32> {
        self.state.hidden(0).expect(FITS).to_vec()
    }
}

struct Blocks {
    lstm: Lstm,
    workspace: Workspace,
    hidden: Vec<f32>,
    /// h and c, those that a block begins with and those that it ends with.
    first: [Vec<f32>; 2],
    last: [Vec<f32>; 2],
    next: usize,
    case: Case,
}

impl Call for Blocks {
    fn run(&mut self) {
        let &Case { b, x, h, .. } = &self.case;
        let input = &self.case.input[self.next * b * x..][..BLOCK * b * x];
        let ([hidden, cell], [last_hidden, last_cell]) = (&self.first, &mut self.last);
        let call = Forward::new(Sequence::time_major(input, BLOCK, b, x))
            .initial_hidden(Matrix::new(hidden, b, h))
            .initial_cell(Matrix::new(cell, b, h))
            .output(SequenceMut::time_major(&mut self.hidden, BLOCK, b, h))
            .last_hidden(MatrixMut::new(last_hidden, b, h))
            .last_cell(MatrixMut::new(last_cell, b, h));
        self.lstm.forward(&mut self.workspace, call).expect(FITS);
        std::mem::swap(&mut self.first, &mut self.last);
        self.next = (self.next + BLOCK) % self.case.t;
    }

    fn answer(&mut self) -> Vec<f32> {
        self.hidden.clone()
    }
}

struct Packing {
    lstm: Option<Lstm>,
    case: Case,
}

impl Call for Packing {
    fn run(&mut self) {
        self.lstm = Some(layer(&self.case, Mode::Pack));
    }

    fn answer(&mut self) -> Vec<f32> {
        Vec::new()
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    match mode {
        Mode::Forward | Mode::Train => Box::new(Whole::new(mode, case)),
        Mode::Step => {
            let lstm = layer(&case, mode);
            let state = lstm.state(1).expect(FITS);
            Box::new(Stream { lstm, state, next: 0, case })
        }
        Mode::Stream => {
            let lstm = layer(&case, mode);
            let workspace = lstm.workspace(case.b).expect(FITS);
            let states = [(); 2].map(|()| vec![0.0; case.b * case.h]);
            let (first, last) = (states.clone(), states);
            Box::new(Blocks {
                lstm,
                workspace,
                hidden: vec![0.0; BLOCK * case.b * case.h],
                first,
                last,
                next: 0,
                case,
            })
        }
        Mode::Pack => Box::new(Packing { lstm: None, case }),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_in_pool(load)
}
