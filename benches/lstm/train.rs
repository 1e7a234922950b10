//! Group `train`: a training step over whole sequences, that is a forward pass with a tape and a backward pass that
//! takes all cotangents and yields all gradients. The weights stay as they are, and packed.

use crate::baseline::Baselines;
use crate::forward;
use crate::layer::{self, FITS};
use crate::roofline::Roofline;
use crate::run::Work;
use crate::sequences::Pass;
use crate::shapes::Shape;
use quadgate::reference::NaiveLstm;
use quadgate::{
    Backward, Forward, GradientMode, Lstm, LstmConfig, Matrix, MatrixMut, Plan, Sequence, SequenceMut,
};

/// A call of `Lstm::forward` and one of `Lstm::backward`.
pub(crate) struct TrainingStep;

impl Pass for TrainingStep {
    fn configure(config: LstmConfig) -> LstmConfig {
        config.training()
    }

    fn work(shape: Shape, plan: Plan) -> Work {
        // The backward pass reads R each step, and W for the gradient of x, many rows at once.
        let backward_bytes = shape.t as f64 * shape.recurrent_weight_bytes() + shape.input_weight_bytes();
        Work::Products {
            flops: shape.training_flops(),
            roofline: Roofline::training(shape),
            weight_bytes: forward::weight_bytes(shape, plan) + backward_bytes,
        }
    }

    fn call(lstm: &Lstm, shape: Shape) -> impl FnMut() + Send {
        let Shape { t, b, x, h } = shape;
        let input = layer::input(shape);
        let mut workspace = lstm.workspace(b).expect(FITS);
        let mut tape = lstm.tape(t, b).expect(FITS);
        let mut output = vec![0.0; t * b * h];
        let cotangents = layer::cotangents(shape);
        let mut input_gradient = vec![0.0; input.len()];
        let mut initial_hidden_gradient = vec![0.0; b * h];
        let mut initial_cell_gradient = vec![0.0; b * h];
        let mut parameter_gradients = vec![0.0; lstm.config().parameters().expect(FITS).total()];
        move || {
            let (input, output) =
                (Sequence::time_major(&input, t, b, x), SequenceMut::time_major(&mut output, t, b, h));
            lstm.forward(&mut workspace, Forward::new(input).output(output).tape(&mut tape)).expect(FITS);
            let call = Backward::new(input)
                .output_cotangent(Sequence::time_major(&cotangents.output, t, b, h))
                .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, b, h))
                .last_cell_cotangent(Matrix::new(&cotangents.last_cell, b, h))
                .input_gradient(SequenceMut::time_major(&mut input_gradient, t, b, x))
                .initial_hidden_gradient(MatrixMut::new(&mut initial_hidden_gradient, b, h))
                .initial_cell_gradient(MatrixMut::new(&mut initial_cell_gradient, b, h))
                .parameter_gradients(&mut parameter_gradients, GradientMode::Overwrite);
            lstm.backward(&mut workspace, &mut tape, call).expect(FITS);
        }
    }

    fn baselines(shape: Shape, naive: &NaiveLstm<f32>) -> Baselines {
        Baselines::training(shape, naive)
    }
}
