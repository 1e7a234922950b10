//! Every level against the oracle in f64, over sizes around every tile and lane boundary.

use crate::common::{self, Case, Layout, Run, Sizes, assert_close, levels, runs};
use proptest::prelude::*;
use quadgate::{GateOrder, Lstm, LstmConfig, LstmWeights, Orientation, Schedule, Split};

/// States here stay within ±4, so this is about five units in their last place.
const TOLERANCE: f64 = 2e-6;

/// Sizes next to multiples of 4, 8 and 16 lanes.
fn units() -> impl Strategy<Value = usize> {
    prop_oneof![
        (0usize..6, 0usize..4).prop_map(|(blocks, over)| (blocks * 16 + over).saturating_sub(1).max(1)),
        1usize..40
    ]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    // 19 rows are four blocks of the tallest tile, with all heights from one to six below.
    (0usize..6, 0usize..20, 0usize..36, units()).prop_map(|(steps, batch, inputs, units)| Sizes {
        steps,
        batch,
        inputs,
        units,
    })
}

proptest! {
    #[test]
    fn forward_agrees_with_the_oracle(seed in any::<u64>(), sizes in sizes(), run in runs()) {
        let case = Case::random(seed, sizes);
        assert_close(&case.forward(run), &case.expected(), TOLERANCE, &(sizes, run));
    }

    #[test]
    fn steps_agree_with_the_oracle(seed in any::<u64>(), sizes in sizes(), run in runs()) {
        let case = Case::random(seed, sizes);
        assert_close(&case.step_by_step(run), &case.expected(), TOLERANCE, &(sizes, run));
    }

    #[test]
    fn any_gate_order_and_orientation_packs_the_same_layer(
        seed in any::<u64>(),
        order in Just([0usize, 1, 2, 3]).prop_shuffle(),
        by_columns in any::<bool>(),
        sizes in sizes(),
    ) {
        let case = Case::random(seed, sizes);
        let Sizes { inputs, units, .. } = sizes;
        let gates = order.map(|gate| quadgate::Gate::ALL[gate]);
        // Row p · H + u of the source is row order[p] · H + u of PyTorch.
        let rows = |matrix: &[f32], depth: usize| {
            let mut moved = vec![0.0; matrix.len()];
            for (position, gate) in order.into_iter().enumerate() {
                for unit in 0..units {
                    for k in 0..depth {
                        let row = position * units + unit;
                        let at = if by_columns { k * 4 * units + row } else { row * depth + k };
                        moved[at] = matrix[(gate * units + unit) * depth + k];
                    }
                }
            }
            moved
        };
        let config = LstmConfig::new(inputs, units);
        let orientation = if by_columns { Orientation::InputsByGates } else { Orientation::GatesByInputs };
        let (input, recurrent) = (rows(&case.weight_ih, inputs), rows(&case.weight_hh, units));
        let (bias_ih, bias_hh) = (rows(&case.bias_ih, 1), rows(&case.bias_hh, 1));
        let order = GateOrder::new(gates).unwrap();
        let biases = [Some(&bias_ih[..]), Some(&bias_hh[..])];
        let weights = LstmWeights::new(&config, order, orientation, &input, &recurrent, biases).unwrap();
        let lstm = Lstm::new(&config, &weights).unwrap();
        let mut workspace = lstm.workspace(sizes.batch).unwrap();
        let found = case.forward_with(&lstm, &mut workspace, Layout::TimeMajor);
        assert_close(&found, &case.expected(), TOLERANCE, &(sizes, gates, by_columns));
    }
}

#[test]
fn every_tile_height_and_lane_remainder_agrees_with_the_oracle() {
    let levels = levels();
    for batch in 1..=13 {
        for units in [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 50] {
            let case = Case::random(7, Sizes { steps: 2, batch, inputs: 5, units });
            let expected = case.expected();
            for &isa in &levels {
                for schedule in [Schedule::Fused, Schedule::Hoisted] {
                    let run = Run::on(isa).schedule(schedule);
                    assert_close(&case.forward(run), &expected, TOLERANCE, &(case.sizes, run));
                }
            }
        }
    }
}

#[test]
fn weights_of_many_mebibytes_agree_with_the_oracle() {
    // W has 9 MiB, and memory of its own kind.
    let case = Case::random(11, Sizes { steps: 2, batch: 2, inputs: 2400, units: 250 });
    let expected = case.expected();
    for isa in levels() {
        for run in [Run::on(isa), Run::on(isa).threads(2)] {
            assert_close(&case.forward(run), &expected, TOLERANCE, &run);
        }
    }
}

#[test]
fn sums_so_long_that_they_are_cut_agree_with_the_oracle_for_shared_rows_and_units() {
    // The portable level rounds each of 2240 terms twice.
    let tolerance = 2.0 * TOLERANCE;
    let case = Case::random(12, Sizes { steps: 2, batch: 13, inputs: 2200, units: 40 });
    let expected = case.expected();
    for isa in levels() {
        let threaded = Run::on(isa).threads(2);
        for run in [Run::on(isa), threaded.split(Split::Rows), threaded.split(Split::Units)] {
            let run = run.schedule(Schedule::Fused);
            assert_close(&case.forward(run), &expected, tolerance, &run);
        }
    }
}

#[test]
fn a_workspace_serves_smaller_batches_and_remembers_nothing() {
    for isa in levels() {
        let run = Run::on(isa);
        let wide = Case::random(1, Sizes { steps: 3, batch: 9, inputs: 4, units: 18 });
        let narrow = Case { sizes: Sizes { batch: 2, ..wide.sizes }, ..wide.clone() };
        let lstm = wide.lstm(run);
        let mut workspace = lstm.workspace(9).unwrap();
        for case in [&wide, &narrow, &wide] {
            let found = case.forward_with(&lstm, &mut workspace, Layout::TimeMajor);
            assert_close(&found, &case.expected(), TOLERANCE, &case.sizes);
        }
    }
}

#[test]
fn decaying_states_reach_zero_instead_of_denormal_numbers() {
    // Forget gate ½, input gate shut: c halves each step.
    let units = 20;
    let config = LstmConfig::new(0, units);
    let bias: Vec<f32> = (0..4 * units).map(|row| if row < units { -200.0 } else { 0.0 }).collect();
    let zeros = vec![0.0; 4 * units * units];
    for isa in levels() {
        let config = config.clone().isa(isa);
        let lstm =
            Lstm::new(&config, &LstmWeights::pytorch(&config, &[], &zeros, Some(&bias), None).unwrap())
                .unwrap();
        let mut state = lstm.state(1).unwrap();
        let ones = vec![1.0; units];
        state.set_cell(quadgate::Matrix::new(&ones, 1, units)).unwrap();
        for step in 1..300 {
            lstm.step(&mut state, quadgate::Matrix::new(&[], 1, 0)).unwrap();
            for (&c, &h) in state.cell(0).unwrap().iter().zip(state.hidden(0).unwrap()) {
                assert!(c == 0.0 || c.is_normal(), "c = {c:e} after {step} steps");
                assert!(h == 0.0 || h.is_normal(), "h = {h:e} after {step} steps");
                assert_eq!(c == 0.0, step > 63, "c = {c:e} after {step} steps");
            }
        }
    }
}

#[test]
fn a_nan_reaches_its_own_row_and_no_other() {
    let sizes = Sizes { steps: 4, batch: 7, inputs: 3, units: 21 };
    for isa in levels() {
        for schedule in [Schedule::Fused, Schedule::Hoisted] {
            let run = Run::on(isa).schedule(schedule);
            let clean = Case::random(3, sizes);
            let mut dirty = clean.clone();
            let position = (sizes.batch + 4) * sizes.inputs; // step 1, row 4
            dirty.x[position] = f32::NAN;
            let (clean, dirty) = (clean.forward(run), dirty.forward(run));
            for (index, (&a, &b)) in clean.output.iter().zip(&dirty.output).enumerate() {
                let (t, row) = (index / sizes.units / sizes.batch, index / sizes.units % sizes.batch);
                if row == 4 && t >= 1 {
                    assert!(b.is_nan());
                } else {
                    assert_eq!(a.to_bits(), b.to_bits());
                }
            }
        }
    }
}

#[test]
fn oracles_in_f32_and_f64_agree() {
    let case = Case::random(5, Sizes { steps: 5, batch: 2, inputs: 4, units: 6 });
    let naive = quadgate::reference::NaiveLstm {
        input_size: 4,
        hidden_size: 6,
        weight_ih: case.weight_ih.clone(),
        weight_hh: case.weight_hh.clone(),
        bias: case.bias_ih.iter().zip(&case.bias_hh).map(|(a, b)| a + b).collect(),
    };
    let found = naive.forward([5, 2], &case.x, &case.initial_hidden, &case.initial_cell);
    assert!(common::max_error(&found.output, &case.expected().output) < 1e-6);
}
