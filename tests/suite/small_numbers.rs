//! Numbers below 2⁻⁶³ count as zero, so that no denormal number arises, which many CPUs compute slowly.

use crate::common::{
    Case, Cotangents, Recording, Run, Sizes, gradient_bits, levels, outcome_bits, runs, small_sizes,
};
use proptest::prelude::*;
use quadgate::{Lstm, LstmConfig, LstmWeights, Matrix};

/// What is smaller than this counts as zero.
const SMALLEST: f32 = 1.0842022e-19;

/// Some numbers replaced by small ones, and by zero.
fn replaced(values: &[f32], seed: u64) -> [Vec<f32>; 2] {
    let small = [f32::from_bits(1), 1e-40, -1e-37, 1e-25, -0.999 * SMALLEST];
    let mut copies = [values.to_vec(), values.to_vec()];
    for (at, n) in (seed as usize % 3..values.len()).step_by(3).enumerate() {
        copies[0][n] = small[at % small.len()];
        copies[1][n] = 0.0;
    }
    copies
}

proptest! {
    #[test]
    fn small_inputs_and_weights_have_the_bits_of_zeros(
        seed in any::<u64>(),
        sizes in small_sizes(1..5),
        run in runs(),
        every in proptest::option::of(1usize..4),
    ) {
        let case = Case::random(seed, sizes);
        let cotangents = Cotangents::random(seed, sizes);
        for which in 0..4 {
            let mut cases = [case.clone(), case.clone()];
            let values = |case: &mut Case| {
                std::mem::take([&mut case.x, &mut case.weight_ih, &mut case.weight_hh, &mut case.bias_ih][which])
            };
            for (case, values) in cases.iter_mut().zip(replaced(&values(&mut case.clone()), seed)) {
                *[&mut case.x, &mut case.weight_ih, &mut case.weight_hh, &mut case.bias_ih][which] = values;
                // Their sum is what is packed.
                case.bias_hh.fill(0.0);
            }
            let [small, zero] = cases;
            let bits = |case: &Case| outcome_bits(&case.forward(run));
            prop_assert_eq!(bits(&small), bits(&zero));
            prop_assert_eq!(outcome_bits(&small.step_by_step(run)), outcome_bits(&zero.step_by_step(run)));
            let recording = every.map_or(Recording::Full, |every| {
                Recording::Checkpoints(std::num::NonZeroUsize::new(every))
            });
            let bits = |case: &Case| gradient_bits(&case.gradients(run, recording, &cotangents, None));
            prop_assert_eq!(bits(&small), bits(&zero));
        }
    }
}

#[test]
fn shut_gates_and_fading_inputs_yield_zero_or_numbers_that_are_not_small() {
    let units = 19;
    let sizes = Sizes { steps: 40, batch: 3, inputs: 4, units };
    for isa in levels() {
        for (gate, bias) in [(0, -86.0), (0, -200.0), (1, -86.0), (3, -86.0), (3, -200.0), (2, 0.0)] {
            let mut case = Case::random(gate as u64, sizes);
            case.bias_ih[gate * units..][..units].fill(bias);
            for (t, x) in case.x.chunks_mut(3 * 4).enumerate() {
                x.iter_mut().for_each(|x| *x *= 0.5f32.powi(4 * t as i32));
            }
            let outcome = case.forward(Run::on(isa));
            let gradients =
                case.gradients(Run::on(isa), Recording::Full, &Cotangents::random(1, sizes), None);
            for &value in outcome.output.iter().chain(&outcome.last_cell) {
                assert!(value == 0.0 || value.abs() >= SMALLEST, "{isa}: {value:e}, gate {gate} at {bias}");
            }
            for value in [gradients.input, gradients.parameters, gradients.initial_cell].concat() {
                assert!(
                    value == 0.0 || value.is_normal(),
                    "{isa}: gradient {value:e}, gate {gate} at {bias}"
                );
            }
        }
    }
}

#[test]
fn a_gate_that_is_shut_lets_less_than_1e_19_through() {
    let config = LstmConfig::new(0, 1);
    let weights = LstmWeights::pytorch(&config, &[], &[0.0; 4], Some(&[-1e4, -1e4, 1.0, 1.0]), None).unwrap();
    for isa in levels() {
        let lstm = Lstm::new(&config.clone().isa(isa), &weights).unwrap();
        let mut state = lstm.state(1).unwrap();
        state.set_cell(Matrix::new(&[0.5], 1, 1)).unwrap();
        lstm.step(&mut state, Matrix::new(&[], 1, 0)).unwrap();
        assert!(state.cell(0).unwrap()[0].abs() < 1.5e-19, "{isa}: {:?}", state.cell(0));
    }
}
