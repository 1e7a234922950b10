//! The example with attention: its gradients are those of its loss, and it learns.

#[allow(dead_code)] // Its command line is not run here.
#[path = "../../examples/attention.rs"]
mod example;

use crate::short::is_short;
use example::{Batch, Model, Random, SEED, Sizes, UPDATES, train};

/// Along the gradient of a tensor, restricted to a random half of its elements, the loss changes by the length of that
/// part.
#[test]
fn gradients_are_differences_of_the_loss() {
    let sizes = Sizes { letters: 5, longest: 6, batch: 3, layers: 2, units: 7, keys: 9 };
    let mut model = Model::new(sizes, 4).unwrap();
    let mut random = Random(11);
    // So that α is far from uniform, and matters.
    model.parameters.iter_mut().for_each(|parameter| *parameter += 0.8 * (random.uniform() - 0.5));
    for (name, range) in model.tensors() {
        let factor = if ["v", "O", "encoder"].contains(&name) { 3.0 } else { 1.0 };
        model.parameters[range].iter_mut().for_each(|parameter| *parameter *= factor);
    }
    model.pack_weights().unwrap();
    let batch = Batch::random(sizes, &mut random, false);
    model.loss(&batch).unwrap();
    let mut gradients = vec![0.0; model.parameters.len()];
    model.backward(&batch, &mut gradients).unwrap();
    let parameters = model.parameters.clone();
    for (name, range) in model.tensors() {
        for case in 0..4 {
            let mut direction = vec![0.0f32; parameters.len()];
            for at in range.clone() {
                direction[at] = if random.uniform() < 0.5 { gradients[at] } else { 0.0 };
            }
            let length = direction.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            assert!(length > 1e-3, "{name}: the gradient is {length:e}");
            let mut loss = |step: f64| {
                for ((to, &from), &along) in model.parameters.iter_mut().zip(&parameters).zip(&direction) {
                    *to = (f64::from(from) + step * f64::from(along) / length) as f32;
                }
                model.pack_weights().unwrap();
                model.loss(&batch).unwrap()
            };
            // Richardson's extrapolation of two central differences.
            let mut difference = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
            let expected = (4.0 * difference(0.02) - difference(0.04)) / 3.0;
            let error = (expected - length).abs() / length;
            println!("{name}, case {case}: {length:.6} is {expected:.6} by differences");
            assert!(error < 3e-3, "{name}, case {case}: {length} should be {expected}");
        }
    }
}

#[test]
fn sequences_that_were_held_out_are_written_backwards() {
    // A short run shows that the loss falls.
    let is_short = is_short();
    let mut losses = Vec::new();
    let mut model = train(SEED, if is_short { 60 } else { UPDATES }, |progress| {
        losses.push(progress.loss);
        Ok(())
    })
    .unwrap();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.95 * first, "the loss went from {first} to {last}");
    if !is_short {
        let part_right = model.part_right(1000).unwrap();
        assert!(part_right >= 0.98, "{part_right} of 1000 sequences are right");
    }
}
