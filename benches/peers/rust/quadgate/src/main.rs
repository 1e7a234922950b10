//! quadgate.

mod layer;

use layer::{FITS, Layer};
use quadgate::{
    Backward, Forward, GradientMode, Matrix, MatrixMut, Sequence, SequenceMut, State, Tape, Workspace,
};
use worker::{BLOCK, Call, Case, Cell, Mode, serve_in_pool};

struct Whole {
    layer: Layer,
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
        let layer = Layer::new(&case, mode).expect(FITS);
        let training = (mode == Mode::Train).then(|| Training {
            tape: layer.tape(case.t, case.b).expect(FITS),
            input_gradient: vec![0.0; case.input.len()],
            parameter_gradients: vec![0.0; layer.parameters().expect(FITS)],
        });
        let workspace = layer.workspace(case.b).expect(FITS);
        Self { layer, workspace, hidden: vec![0.0; case.t * case.b * case.h], training, case }
    }
}

impl Call for Whole {
    fn run(&mut self) {
        let &Case { t, b, x, h, .. } = &self.case;
        let input = Sequence::time_major(&self.case.input, t, b, x);
        let call = Forward::new(input).output(SequenceMut::time_major(&mut self.hidden, t, b, h));
        let Some(training) = &mut self.training else {
            return self.layer.forward(&mut self.workspace, call);
        };
        self.layer.forward(&mut self.workspace, call.tape(&mut training.tape));
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&self.case.cotangent, t, b, h))
            .input_gradient(SequenceMut::time_major(&mut training.input_gradient, t, b, x))
            .parameter_gradients(&mut training.parameter_gradients, GradientMode::Overwrite);
        self.layer.backward(&mut self.workspace, &mut training.tape, call);
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
    layer: Layer,
    state: State,
    next: usize,
    case: Case,
}

impl Call for Stream {
    fn run(&mut self) {
        let input = &self.case.input[self.next * self.case.x..][..self.case.x];
        self.layer.step(&mut self.state, Matrix::new(input, 1, self.case.x));
        self.next = (self.next + 1) % self.case.t;
    }

    fn answer(&mut self) -> Vec<f32> {
        self.state.hidden(0).expect(FITS).to_vec()
    }
}

struct Blocks {
    layer: Layer,
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
        let mut call = Forward::new(Sequence::time_major(input, BLOCK, b, x))
            .initial_hidden(Matrix::new(hidden, b, h))
            .output(SequenceMut::time_major(&mut self.hidden, BLOCK, b, h))
            .last_hidden(MatrixMut::new(last_hidden, b, h));
        if self.case.cell == Cell::Lstm {
            call = call.initial_cell(Matrix::new(cell, b, h)).last_cell(MatrixMut::new(last_cell, b, h));
        }
        self.layer.forward(&mut self.workspace, call);
        std::mem::swap(&mut self.first, &mut self.last);
        self.next = (self.next + BLOCK) % self.case.t;
    }

    fn answer(&mut self) -> Vec<f32> {
        self.hidden.clone()
    }
}

struct Packing {
    layer: Option<Layer>,
    case: Case,
}

impl Call for Packing {
    fn run(&mut self) {
        self.layer = Some(Layer::new(&self.case, Mode::Pack).expect(FITS));
    }

    fn answer(&mut self) -> Vec<f32> {
        Vec::new()
    }
}

fn load(mode: Mode, case: Case) -> Box<dyn Call> {
    match mode {
        Mode::Forward | Mode::Train => Box::new(Whole::new(mode, case)),
        Mode::Step => {
            let layer = Layer::new(&case, mode).expect(FITS);
            let state = layer.state(1).expect(FITS);
            Box::new(Stream { layer, state, next: 0, case })
        }
        Mode::Stream => {
            let layer = Layer::new(&case, mode).expect(FITS);
            let workspace = layer.workspace(case.b).expect(FITS);
            let states = [(); 2].map(|()| vec![0.0; case.b * case.h]);
            let (first, last) = (states.clone(), states);
            Box::new(Blocks {
                layer,
                workspace,
                hidden: vec![0.0; BLOCK * case.b * case.h],
                first,
                last,
                next: 0,
                case,
            })
        }
        Mode::Pack => Box::new(Packing { layer: None, case }),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve_in_pool(load)
}
