//! The same bits for any thread count, batch position, schedule and layout, and on every level with a fused
//! multiply-add: checksums of a set of cases, recorded here.

use crate::common::{
    Case, Layout, Outcome, Run, Sizes, bits, fnv, fused_levels, levels, outcome_bits, runs, small_sizes,
};
use proptest::prelude::*;
use quadgate::{Schedule, Split};

fn checksum(outcome: &Outcome) -> u64 {
    fnv(outcome_bits(outcome).into_iter().flat_map(u32::to_le_bytes))
}

fn sizes(steps: usize, batch: usize, inputs: usize, units: usize) -> Sizes {
    Sizes { steps, batch, inputs, units }
}

/// Sizes, scale of the weights relative to 1/√H, checksum.
fn recorded() -> [(Sizes, f32, u64); 8] {
    [
        (sizes(1, 1, 1, 1), 1.0, 0x8081_6bc2_9f40_2414),
        (sizes(7, 3, 5, 6), 1.0, 0x0275_6665_d0b6_5b5c),
        (sizes(13, 1, 17, 33), 1.0, 0x029d_1cb1_ffd3_5c32),
        (sizes(40, 2, 3, 8), 1.0, 0x0b18_aecf_71da_93bd),
        (sizes(5, 37, 8, 20), 1.0, 0x3933_8fb6_5960_53a7),
        (sizes(6, 9, 40, 100), 1.0, 0xe882_0836_8bdc_998c),
        (sizes(9, 4, 12, 16), 20.0, 0x9267_4f0f_11ab_e5bd),
        (sizes(3, 19, 128, 128), 1.0, 0xcd65_8b72_33ac_0ec6),
    ]
}

fn case(index: usize, sizes: Sizes, scale: f32) -> Case {
    let mut case = Case::random(index as u64, sizes);
    for weights in [&mut case.weight_ih, &mut case.weight_hh, &mut case.bias_ih, &mut case.bias_hh] {
        weights.iter_mut().for_each(|weight| *weight *= scale);
    }
    case
}

#[test]
fn recorded_checksums_hold_on_every_level_with_fused_multiply_add() {
    for isa in fused_levels() {
        let found: Vec<u64> = recorded()
            .into_iter()
            .enumerate()
            .map(|(index, (sizes, scale, _))| checksum(&case(index, sizes, scale).forward(Run::on(isa))))
            .collect();
        let expected: Vec<u64> = recorded().into_iter().map(|(_, _, checksum)| checksum).collect();
        assert_eq!(found, expected, "{isa}: {found:#x?}");
    }
}

proptest! {
    #[test]
    fn threads_schedule_layout_and_step_calls_do_not_change_the_bits(
        seed in any::<u64>(),
        steps in 0usize..12,
        batch in 0usize..16,
        inputs in 0usize..20,
        units in 1usize..40,
        threads in 1usize..6,
        layout in prop_oneof![Just(Layout::TimeMajor), Just(Layout::BatchMajor), Just(Layout::Gaps)],
    ) {
        let case = Case::random(seed, sizes(steps, batch, inputs, units));
        for isa in levels() {
            let plain = checksum(&case.forward(Run::on(isa)));
            for schedule in [Schedule::Fused, Schedule::Hoisted] {
                for split in [Split::Rows, Split::Units] {
                    let run = Run::on(isa).threads(threads).schedule(schedule).split(split).layout(layout);
                    prop_assert_eq!(checksum(&case.forward(run)), plain, "{:?}", run);
                }
            }
            prop_assert_eq!(checksum(&case.step_by_step(Run::on(isa).threads(threads))), plain);
        }
    }

    #[test]
    fn nan_left_in_a_state_changes_no_bit(seed in any::<u64>(), sizes in small_sizes(1..4), run in runs()) {
        let clean = Case::random(seed, sizes);
        let lstm = clean.lstm(run);
        let mut state = lstm.state(sizes.batch).unwrap();
        clean.clone().of_nan().step_by_step_with(&lstm, &mut state);
        let found = clean.step_by_step_with(&lstm, &mut state);
        prop_assert_eq!(outcome_bits(&found), outcome_bits(&clean.step_by_step(run)));
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_at_any_place_in_a_batch(
        seed in any::<u64>(),
        steps in 1usize..6,
        batch in 2usize..14,
        inputs in 0usize..20,
        units in 1usize..40,
        row in 0usize..14,
    ) {
        let row = row % batch;
        let together = Case::random(seed, sizes(steps, batch, inputs, units));
        let mut alone = together.clone();
        alone.sizes.batch = 1;
        alone.x = (0..steps).flat_map(|t| together.x[(t * batch + row) * inputs..][..inputs].to_vec()).collect();
        alone.initial_hidden = together.initial_hidden[row * units..][..units].to_vec();
        alone.initial_cell = together.initial_cell[row * units..][..units].to_vec();
        for isa in levels() {
            let (alone, together) = (alone.forward(Run::on(isa)), together.forward(Run::on(isa)));
            for t in 0..steps {
                prop_assert_eq!(
                    bits(&alone.output[t * units..][..units]),
                    bits(&together.output[(t * batch + row) * units..][..units])
                );
            }
        }
    }
}

#[test]
fn blocks_of_time_do_not_change_the_bits() {
    // Long enough for several blocks of the hoisted schedule.
    let case = Case::random(11, sizes(300, 2, 7, 70));
    for isa in levels() {
        let run = Run::on(isa);
        let hoisted = case.forward(run.schedule(Schedule::Hoisted));
        assert!(case.lstm(run.schedule(Schedule::Hoisted)).plan(300, 2).block_steps < 300);
        assert_eq!(checksum(&hoisted), checksum(&case.forward(run.schedule(Schedule::Fused))));
    }
}
