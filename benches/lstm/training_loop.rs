//! Group `training-loop`: a training step and new weights for the layer, as each round of an optimizer has it, on the
//! caller's thread. The optimizer itself is left out, so the weights stay the same numbers.

use crate::call::Call;
use crate::layer::{self, FITS};
use crate::run::Case;
use crate::sequences::Pass;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use crate::train::TrainingStep;
use quadgate::{LstmWeights, Threads};

/// Batches 1 and 16 of shapes of the group `train`.
const SHAPES: [[usize; 4]; 2] = [[100, 1, 128, 128], [100, 16, 128, 128]];

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for shape in SHAPES.map(Shape::from) {
        let name = shape.to_string();
        if group.skips(&name) {
            continue;
        }
        let naive = layer::naive(shape);
        let config = layer::config(shape, Threads::Serial).training();
        let mut lstm = layer::lstm(&naive, &config);
        let weights =
            LstmWeights::pytorch(&config, &naive.weight_ih, &naive.weight_hh, Some(&naive.bias), None);
        let weights = weights.expect(FITS);
        let work = TrainingStep::work(shape, lstm.plan(shape.t, shape.b));
        let case = Case::serial(name, &lstm, shape, work);
        let mut call = Call::new(&lstm, shape);
        let run = group.measure(case, None, || {
            call.run(&lstm);
            lstm.set_weights(&weights).expect(FITS);
        });
        group.keep(run.map(|run| run.beside(format!("train/{shape}"))));
    }
}
