//! The backward pass of every level against naive backpropagation in f64, and that against finite differences.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{
    self, Case, Cotangents, Gradients, Layout, Recording, Run, Sizes, assert_gradients_close, fnv,
    fused_levels, gradient_bits, levels, runs, small_sizes, widen,
};
use proptest::prelude::*;
use quadgate::reference::NaiveLstm;
use quadgate::{Backward, Forward, GradientMode, Isa, Lstm, Matrix, MatrixMut, Schedule, Sequence, Split};
use std::num::NonZeroUsize;

/// Relative to the largest entry of each tensor.
const TOLERANCE: f64 = 4e-6;

/// Twice that where sums round twice per term: a tensor of one element, at H = 1, can be the difference of larger terms
/// (4.2e-6 was seen).
fn tolerance(isa: Isa) -> f64 {
    if isa == Isa::Portable && !cfg!(target_arch = "aarch64") { 2.0 * TOLERANCE } else { TOLERANCE }
}

proptest! {
    #[test]
    fn gradients_agree_with_the_oracle(seed in any::<u64>(), sizes in small_sizes(0..8), run in runs()) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let found = case.gradients(run, Recording::Full, &cotangents, None);
        let expected = case.expected_gradients(&cotangents);
        assert_gradients_close(&found, &expected, tolerance(run.isa), &(sizes, run));
    }

    #[test]
    fn a_checkpointed_tape_yields_the_bits_of_a_full_one(
        seed in any::<u64>(),
        sizes in (0usize..20, 0usize..5, 0usize..9, 1usize..24)
            .prop_map(|(steps, batch, inputs, units)| Sizes { steps, batch, inputs, units }),
        every in proptest::option::of(1usize..25),
        run in runs(),
    ) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let full = case.gradients(run, Recording::Full, &cotangents, None);
        let every = every.and_then(NonZeroUsize::new);
        let checkpointed = case.gradients(run, Recording::Checkpoints(every), &cotangents, None);
        prop_assert_eq!(gradient_bits(&full), gradient_bits(&checkpointed));
    }

    #[test]
    fn threads_schedule_and_layout_do_not_change_the_bits(
        seed in any::<u64>(),
        sizes in small_sizes(0..8),
        threads in 1usize..6,
        layout in prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    ) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        for isa in levels() {
            let plain = gradient_bits(&case.gradients(Run::on(isa), Recording::Full, &cotangents, None));
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for split in [Split::Rows, Split::Units] {
                    let run = Run::on(isa).threads(threads).schedule(schedule).split(split).layout(layout);
                    prop_assert_eq!(&gradient_bits(&case.gradients(run, Recording::Full, &cotangents, None)), &plain);
                }
            }
        }
    }

    #[test]
    fn accumulating_adds_to_what_is_there(seed in any::<u64>(), sizes in small_sizes(0..8), run in runs()) {
        let (case, cotangents) = (Case::random(seed, sizes), Cotangents::random(seed, sizes));
        let alone = case.gradients(run, Recording::Full, &cotangents, None).parameters;
        let before = common::Random(seed).vec(alone.len(), 1.0);
        let together = case.gradients(run, Recording::Full, &cotangents, Some(before.clone())).parameters;
        for ((&a, &b), &sum) in alone.iter().zip(&before).zip(&together) {
            // Sums of blocks are added one by one, so the order may differ by a rounding.
            prop_assert!((a + b - sum).abs() <= 4.0 * f32::EPSILON * (a.abs() + b.abs() + 1.0));
        }
    }
}

#[test]
fn blocks_longer_and_shorter_than_the_sequence_agree_with_the_oracle() {
    // Blocks have 256 rows: 300 steps of one row, 9 of 100.
    for (steps, batch) in [(300, 1), (520, 1), (129, 3), (9, 100), (2, 300)] {
        let sizes = Sizes { steps, batch, inputs: 3, units: 9 };
        let (case, cotangents) = (Case::random(1, sizes), Cotangents::random(1, sizes));
        let expected = case.expected_gradients(&cotangents);
        for isa in levels() {
            let run = Run::on(isa);
            let full = case.gradients(run, Recording::Full, &cotangents, None);
            assert_gradients_close(&full, &expected, TOLERANCE, &(sizes, run));
            for every in [None, NonZeroUsize::new(7), NonZeroUsize::new(256), NonZeroUsize::new(300)] {
                let checkpointed = case.gradients(run, Recording::Checkpoints(every), &cotangents, None);
                assert_eq!(gradient_bits(&checkpointed), gradient_bits(&full), "{sizes:?} {every:?}");
            }
        }
    }
}

/// Columns of dZ are moved together there, see `plan::gathers_columns`: 288 rows of 800.
#[test]
fn a_large_block_agrees_with_the_oracle_on_any_number_of_threads() {
    let sizes = Sizes { steps: 18, batch: 16, inputs: 5, units: 200 };
    let (case, cotangents) = (Case::random(2, sizes), Cotangents::random(2, sizes));
    let expected = case.expected_gradients(&cotangents);
    for isa in levels() {
        let found = [1, 2, 5].map(|threads| {
            let run = Run::on(isa).threads(threads);
            let found = case.gradients(run, Recording::Full, &cotangents, None);
            assert_gradients_close(&found, &expected, tolerance(isa), &(sizes, run));
            gradient_bits(&found)
        });
        assert!(found.iter().all(|bits| *bits == found[0]), "{isa}");
    }
}

fn checksum(gradients: &Gradients) -> u64 {
    fnv(gradient_bits(gradients).into_iter().flat_map(u32::to_le_bytes))
}

#[test]
fn recorded_checksums_hold_on_every_level_with_fused_multiply_add() {
    let recorded = RECORDED;
    for isa in fused_levels() {
        let found = recorded.map(|([steps, batch, inputs, units], _)| {
            let sizes = Sizes { steps, batch, inputs, units };
            let (case, cotangents) = (Case::random(9, sizes), Cotangents::random(9, sizes));
            checksum(&case.gradients(Run::on(isa), Recording::Full, &cotangents, None))
        });
        assert_eq!(found, recorded.map(|(_, checksum)| checksum), "{isa}: {found:#x?}");
    }
}

/// Sizes and checksum.
const RECORDED: [([usize; 4], u64); 5] = [
    ([1, 1, 1, 1], 0x0de3_9c28_770f_5302),
    ([7, 3, 5, 6], 0x5a33_ae6b_2c12_d7f3),
    ([300, 1, 17, 33], 0xdd37_b984_05c1_2143),
    ([5, 37, 8, 20], 0x0b13_ca17_b3b0_3cc4),
    ([4, 19, 128, 128], 0x2b20_235e_a906_bac0),
];

#[test]
fn the_oracles_gradients_are_its_finite_differences() {
    let sizes = Sizes { steps: 4, batch: 2, inputs: 3, units: 3 };
    let (case, cotangents) = (Case::random(5, sizes), Cotangents::random(5, sizes));
    let gradients = case.expected_gradients(&cotangents);
    let cotangents = cotangents.widen();
    let (x, h, c) = (widen(&case.x), widen(&case.initial_hidden), widen(&case.initial_cell));
    let loss = |naive: &NaiveLstm<f64>, x: &[f64], h: &[f64], c: &[f64]| {
        let out = naive.forward([sizes.steps, sizes.batch], x, h, c);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&out.output, &cotangents.output)
            + dot(&out.last_hidden, &cotangents.last_hidden)
            + dot(&out.last_cell, &cotangents.last_cell)
    };
    let naive = case.naive();
    let check = |name: &str, gradient: &[f64], loss_at: &dyn Fn(usize, f64) -> f64| {
        for (index, &expected) in gradient.iter().enumerate() {
            let step = 1e-6;
            let difference = (loss_at(index, step) - loss_at(index, -step)) / (2.0 * step);
            assert!((difference - expected).abs() < 1e-8, "{name}[{index}]: {difference} against {expected}");
        }
    };
    let moved = |values: &[f64], index: usize, step: f64| {
        let mut values = values.to_vec();
        values[index] += step;
        values
    };
    check("x", &gradients.input, &|i, d| loss(&naive, &moved(&x, i, d), &h, &c));
    check("h0", &gradients.initial_hidden, &|i, d| loss(&naive, &x, &moved(&h, i, d), &c));
    check("c0", &gradients.initial_cell, &|i, d| loss(&naive, &x, &h, &moved(&c, i, d)));
    check("weight_ih", &gradients.weight_ih, &|i, d| {
        loss(&NaiveLstm { weight_ih: moved(&naive.weight_ih, i, d), ..naive.clone() }, &x, &h, &c)
    });
    check("weight_hh", &gradients.weight_hh, &|i, d| {
        loss(&NaiveLstm { weight_hh: moved(&naive.weight_hh, i, d), ..naive.clone() }, &x, &h, &c)
    });
    check("bias", &gradients.bias, &|i, d| {
        loss(&NaiveLstm { bias: moved(&naive.bias, i, d), ..naive.clone() }, &x, &h, &c)
    });
}

#[test]
fn decaying_gradients_reach_zero_instead_of_denormal_numbers() {
    // Forget gate ½, everything else shut: dc halves each step back.
    let sizes = Sizes { steps: 200, batch: 1, inputs: 1, units: 20 };
    let mut case = Case::random(0, sizes);
    for values in [&mut case.weight_ih, &mut case.weight_hh, &mut case.bias_ih, &mut case.bias_hh] {
        values.fill(0.0);
    }
    let mut cotangents = Cotangents::random(0, sizes);
    for values in [&mut cotangents.output, &mut cotangents.last_hidden] {
        values.fill(0.0);
    }
    for isa in levels() {
        let gradients = case.gradients(Run::on(isa), Recording::Full, &cotangents, None);
        for (name, values) in
            [("x", &gradients.input), ("c0", &gradients.initial_cell), ("W", &gradients.parameters)]
        {
            assert!(values.iter().all(|value| *value == 0.0 || value.is_normal()), "{isa}: {name}");
        }
    }
}

fn training_layer(case: &Case) -> Lstm {
    let config = Run::on(levels()[0]).config(case.sizes).training();
    Lstm::new(&config, &case.weights(&config)).unwrap()
}

#[test]
fn cotangents_that_are_not_given_count_as_zero() {
    let sizes = Sizes { steps: 3, batch: 2, inputs: 4, units: 5 };
    let case = Case::random(4, sizes);
    let mut cotangents = Cotangents::random(4, sizes);
    cotangents.output.fill(0.0);
    cotangents.last_cell.fill(0.0);
    let expected = case.expected_gradients(&cotangents);
    let lstm = training_layer(&case);
    let (mut workspace, mut tape) = (lstm.workspace(2).unwrap(), lstm.tape(3, 2).unwrap());
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    let forward = Forward::new(x)
        .initial_hidden(Matrix::new(&case.initial_hidden, 2, 5))
        .initial_cell(Matrix::new(&case.initial_cell, 2, 5))
        .tape(&mut tape);
    lstm.forward(&mut workspace, forward).unwrap();
    let mut dc0 = [0.0; 10];
    let backward = Backward::new(x)
        .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, 2, 5))
        .initial_cell_gradient(MatrixMut::new(&mut dc0, 2, 5));
    lstm.backward(&mut workspace, &mut tape, backward).unwrap();
    assert!(common::relative_error(&dc0, &expected.initial_cell) <= TOLERANCE);
}

#[test]
fn a_workspace_and_a_tape_serve_smaller_batches_and_fewer_steps() {
    // Blocks are cut after whole steps, so a smaller batch can have more rows in a block.
    let (most_steps, most_rows) = (20, 40);
    let largest = Case::random(6, Sizes { steps: most_steps, batch: most_rows, inputs: 2, units: 5 });
    let lstm = training_layer(&largest);
    let mut workspace = lstm.workspace(most_rows).unwrap();
    let mut tapes = [
        lstm.tape(most_steps, most_rows).unwrap(),
        lstm.checkpointed_tape(most_steps, most_rows, None).unwrap(),
    ];
    for batch in 0..=most_rows {
        let case = Case {
            x: Case::random(batch as u64, Sizes { steps: 19, batch, ..largest.sizes }).x,
            sizes: Sizes { steps: 19, batch, ..largest.sizes },
            initial_hidden: vec![0.0; batch * 5],
            initial_cell: vec![0.0; batch * 5],
            ..largest.clone()
        };
        let mut cotangents = Cotangents::random(batch as u64, case.sizes);
        cotangents.last_hidden.fill(0.0);
        cotangents.last_cell.fill(0.0);
        let expected = case.expected_gradients(&cotangents);
        for tape in &mut tapes {
            let x = Sequence::time_major(&case.x, 19, batch, 2);
            lstm.forward(&mut workspace, Forward::new(x).tape(tape)).unwrap();
            let mut parameters = vec![f32::NAN; lstm.config().parameters().unwrap().total()];
            let backward = Backward::new(x)
                .output_cotangent(Sequence::time_major(&cotangents.output, 19, batch, 5))
                .parameter_gradients(&mut parameters, GradientMode::Overwrite);
            lstm.backward(&mut workspace, tape, backward).unwrap();
            let weight_hh = &parameters[lstm.config().parameters().unwrap().weight_hh];
            assert!(common::relative_error(weight_hh, &expected.weight_hh) <= TOLERANCE, "{batch} rows");
        }
    }
}

#[test]
fn replaced_weights_are_those_of_both_passes() {
    let sizes = Sizes { steps: 3, batch: 2, inputs: 4, units: 21 };
    let (old, new) = (Case::random(1, sizes), Case::random(2, sizes));
    let cotangents = Cotangents::random(2, sizes);
    let mut lstm = training_layer(&old);
    let config = lstm.config().clone();
    lstm.set_weights(&new.weights(&config)).unwrap();
    let (mut workspace, mut tape) = (lstm.workspace(2).unwrap(), lstm.tape(3, 2).unwrap());
    let x = Sequence::time_major(&new.x, 3, 2, 4);
    let forward = Forward::new(x)
        .initial_hidden(Matrix::new(&new.initial_hidden, 2, 21))
        .initial_cell(Matrix::new(&new.initial_cell, 2, 21))
        .tape(&mut tape);
    lstm.forward(&mut workspace, forward).unwrap();
    let mut parameters = vec![0.0; config.parameters().unwrap().total()];
    let backward = Backward::new(x)
        .output_cotangent(Sequence::time_major(&cotangents.output, 3, 2, 21))
        .last_hidden_cotangent(Matrix::new(&cotangents.last_hidden, 2, 21))
        .last_cell_cotangent(Matrix::new(&cotangents.last_cell, 2, 21))
        .parameter_gradients(&mut parameters, GradientMode::Overwrite);
    lstm.backward(&mut workspace, &mut tape, backward).unwrap();
    let expected = new.gradients(Run::on(lstm.isa()), Recording::Full, &cotangents, None);
    assert_eq!(parameters, expected.parameters);
}

#[test]
fn memory_of_a_checkpointed_tape_grows_with_the_root_of_the_steps() {
    let lstm = training_layer(&Case::random(0, Sizes { steps: 1, batch: 1, inputs: 4, units: 64 }));
    for steps in [1, 10, 1000, 100_000] {
        assert_eq!(lstm.tape_bytes(steps, 3).unwrap(), lstm.tape(steps, 3).unwrap().bytes());
        let bytes = lstm.checkpointed_tape_bytes(steps, 3, None).unwrap();
        assert_eq!(bytes, lstm.checkpointed_tape(steps, 3, None).unwrap().bytes());
    }
    let (short, long) =
        (lstm.checkpointed_tape_bytes(1_000, 3, None), lstm.checkpointed_tape_bytes(100_000, 3, None));
    let ratio = long.unwrap() as f64 / short.unwrap() as f64;
    assert!((9.0..11.0).contains(&ratio), "100 times the steps take {ratio} times the memory");
}

#[test]
fn backward_names_what_does_not_fit() {
    let sizes = Sizes { steps: 3, batch: 2, inputs: 4, units: 5 };
    let case = Case::random(4, sizes);
    let lstm = training_layer(&case);
    let (mut workspace, mut tape) = (lstm.workspace(2).unwrap(), lstm.tape(3, 2).unwrap());
    let x = Sequence::time_major(&case.x, 3, 2, 4);
    let nothing = lstm.backward(&mut workspace, &mut tape, Backward::new(x));
    assert_refused(nothing, Refused::NothingRecorded { argument: "tape" });
    lstm.forward(&mut workspace, Forward::new(x).tape(&mut tape)).unwrap();

    let shorter = Sequence::time_major(&case.x, 2, 2, 4);
    assert_refused(
        lstm.backward(&mut workspace, &mut tape, Backward::new(shorter)),
        Refused::Dimension { argument: "tape", dimension: "steps", expected: 2, found: 3 },
    );
    let mut gradients = vec![7.0; 201];
    let call = Backward::new(x).parameter_gradients(&mut gradients, GradientMode::Overwrite);
    assert_refused(
        lstm.backward(&mut workspace, &mut tape, call),
        Refused::Length { argument: "parameter_gradients", expected: 200, found: 201 },
    );
    assert!(gradients.iter().all(|&gradient| gradient == 7.0));
    let call = Backward::new(x).output_cotangent(Sequence::time_major(&case.x, 3, 2, 4));
    assert_refused(
        lstm.backward(&mut workspace, &mut tape, call),
        Refused::Dimension { argument: "output_cotangent", dimension: "features", expected: 5, found: 4 },
    );
    let call = Backward::new(x).last_cell_cotangent(Matrix::new(&case.x[..9], 2, 5));
    assert_refused(
        lstm.backward(&mut workspace, &mut tape, call),
        Refused::TooShort { argument: "last_cell_cotangent", expected: 10, found: 9 },
    );
    let mut small = lstm.tape(2, 2).unwrap();
    assert_refused(
        lstm.forward(&mut workspace, Forward::new(x).tape(&mut small)),
        Refused::Dimension { argument: "tape", dimension: "steps", expected: 3, found: 2 },
    );

    let inference = case.lstm(Run::on(levels()[0]));
    assert_refused(
        inference.backward(&mut workspace, &mut tape, Backward::new(x)),
        Refused::NotForTraining { argument: "layer" },
    );
    let mut plain = inference.workspace(2).unwrap();
    assert_refused(
        lstm.backward(&mut plain, &mut tape, Backward::new(x)),
        Refused::NotForTraining { argument: "workspace" },
    );
}
