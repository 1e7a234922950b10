//! A forward pass over whole sequences and, where the layer is made for training, a backward pass after it, with all of
//! their buffers.

use crate::layer::{self, FITS};
use crate::shapes::Shape;
use quadgate::reference::NaiveCotangents;
use quadgate::{
    Backward, Forward, GradientMode, Lstm, Matrix, MatrixMut, Sequence, SequenceMut, Tape, Workspace,
};

/// What a call reads and writes.
pub(crate) struct Call {
    shape: Shape,
    /// `[T, B, X]`
    pub(crate) input: Vec<f32>,
    /// `[B, H]`; zeros if there is none.
    pub(crate) initial_cell: Option<Vec<f32>>,
    output: Vec<f32>,
    workspace: Workspace,
    training: Option<Training>,
}

/// What a backward pass needs beside: it takes all cotangents and yields all gradients.
struct Training {
    tape: Tape,
    cotangents: NaiveCotangents<f32>,
    input_gradient: Vec<f32>,
    initial_hidden_gradient: Vec<f32>,
    initial_cell_gradient: Vec<f32>,
    parameter_gradients: Vec<f32>,
}

impl Call {
    /// Random input for calls of a layer.
    pub(crate) fn new(lstm: &Lstm, shape: Shape) -> Self {
        let Shape { t, b, x, h } = shape;
        let training = lstm.config().is_for_training().then(|| Training {
            tape: lstm.tape(t, b).expect(FITS),
            cotangents: layer::cotangents(shape),
            input_gradient: vec![0.0; t * b * x],
            initial_hidden_gradient: vec![0.0; b * h],
            initial_cell_gradient: vec![0.0; b * h],
            parameter_gradients: vec![0.0; lstm.config().parameters().expect(FITS).total()],
        });
        Self {
            shape,
            input: layer::input(shape),
            initial_cell: None,
            output: vec![0.0; t * b * h],
            workspace: lstm.workspace(b).expect(FITS),
            training,
        }
    }

    /// Runs the layer.
    pub(crate) fn run(&mut self, lstm: &Lstm) {
        let Shape { t, b, x, h } = self.shape;
        let input = Sequence::time_major(&self.input, t, b, x);
        let mut call = Forward::new(input).output(SequenceMut::time_major(&mut self.output, t, b, h));
        if let Some(cell) = &self.initial_cell {
            call = call.initial_cell(Matrix::new(cell, b, h));
        }
        let Some(training) = &mut self.training else {
            return lstm.forward(&mut self.workspace, call).expect(FITS);
        };
        lstm.forward(&mut self.workspace, call.tape(&mut training.tape)).expect(FITS);
        let cotangents = &training.cotangents;
        let call = Backward::new(input)
            .output_cotangent(Sequence::time_major(&cotangents.output, t, b, h))
            .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, b, h))
            .last_cell_cotangent(Matrix::new(&cotangents.last_cell, b, h))
            .input_gradient(SequenceMut::time_major(&mut training.input_gradient, t, b, x))
            .initial_hidden_gradient(MatrixMut::new(&mut training.initial_hidden_gradient, b, h))
            .initial_cell_gradient(MatrixMut::new(&mut training.initial_cell_gradient, b, h))
            .parameter_gradients(&mut training.parameter_gradients, GradientMode::Overwrite);
        lstm.backward(&mut self.workspace, &mut training.tape, call).expect(FITS);
    }
}
