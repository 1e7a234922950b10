//! Group `forward`: the forward pass over whole sequences.

use crate::baseline::Baselines;
use crate::call::Call;
use crate::roofline::Roofline;
use crate::run::Work;
use crate::sequences::Pass;
use crate::shapes::Shape;
use quadgate::reference::NaiveLstm;
use quadgate::{Lstm, LstmConfig, Plan, Schedule};

/// A call of `Lstm::forward`.
pub(crate) struct ForwardPass;

impl Pass for ForwardPass {
    fn configure(config: LstmConfig) -> LstmConfig {
        config
    }

    fn work(shape: Shape, plan: Plan) -> Work {
        Work::Products {
            flops: shape.forward_flops(),
            roofline: Roofline::forward(shape),
            weight_bytes: weight_bytes(shape, plan),
        }
    }

    fn call(lstm: &Lstm, shape: Shape) -> impl FnMut() + Send {
        let mut call = Call::new(lstm, shape);
        move || call.run(lstm)
    }

    fn baselines(shape: Shape, naive: &NaiveLstm<f32>) -> Baselines {
        Baselines::forward(shape, naive)
    }
}

/// Bytes of weights that a pass reads: R each step; W each step too, or once for each block of steps.
pub(crate) fn weight_bytes(shape: Shape, plan: Plan) -> f64 {
    let steps = shape.t as f64;
    let input_passes = match plan.schedule {
        Schedule::Hoisted => (steps / plan.block_steps as f64).ceil(),
        _ => steps,
    };
    steps * shape.recurrent_weight_bytes() + input_passes * shape.input_weight_bytes()
}
