//! Group `train`: a training step over whole sequences, that is a forward pass with a tape and a backward pass that
//! takes all cotangents and yields all gradients. The weights stay as they are, and packed.

use crate::baseline::Baselines;
use crate::call::Call;
use crate::forward;
use crate::roofline::Roofline;
use crate::run::Work;
use crate::sequences::Pass;
use crate::shapes::Shape;
use quadgate::reference::NaiveLstm;
use quadgate::{Lstm, LstmConfig, Plan};

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
        let mut call = Call::new(lstm, shape);
        move || call.run(lstm)
    }

    fn baselines(shape: Shape, naive: &NaiveLstm<f32>) -> Baselines {
        Baselines::training(shape, naive)
    }
}
