//! Threads that take steps together or lead blocks through stages: what they compute does not depend on how many come.
#![cfg(not(loom))]

use quadgate_kernels::{
    BlockOrder, Progress, SequenceMut, Shared, Slots, Stepped, Team, VisitParts, Wavefront,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Slot s + 1 of each column becomes the sum of all columns of slot s, plus the step; with `members` threads, of which
/// the last ones come late or not at all.
fn sums_of_team(members: usize, pieces: usize, late: usize) -> Vec<f32> {
    const STEPS: usize = 40;
    const COLUMNS: usize = 7;
    let mut data = vec![1.0; (STEPS + 1) * COLUMNS];
    let mut progress = vec![Progress::default(); pieces];
    let sequence = SequenceMut::new(&mut data, [STEPS + 1, 1, COLUMNS], [COLUMNS, COLUMNS]).unwrap();
    let team = Team::new(&mut progress, STEPS, 4, [Shared::new(sequence, 2, Slots::Up { first: 1 })], []);
    let started = AtomicBool::new(false);
    let member = |member| {
        team.join(member, |turn| {
            started.store(true, Ordering::Release);
            let step = turn.step();
            let ([Stepped { before, now }], []) = turn.parts();
            let total: f32 = before.unwrap().row(0).iter().sum();
            now.unwrap().row_mut(0).fill(total % 8.0 + step as f32);
        });
    };
    thread::scope(|scope| {
        for number in 0..members {
            let (member, started) = (&member, &started);
            scope.spawn(move || {
                while number >= members - late && !started.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                member(number);
            });
        }
    });
    data
}

#[test]
fn a_turn_at_a_sequence_without_elements_has_none() {
    let empty = SequenceMut::new(&mut [], [0, 1, 1000], [0, 0]).unwrap();
    let mut progress = vec![Progress::default(); 2];
    let team = Team::new(&mut progress, 1, 2, [], [Shared::new(empty, 500, Slots::Up { first: 0 })]);
    team.join(0, |turn| {
        let ([], [mut owned]) = turn.parts();
        assert!(owned.step(0).is_none());
    });
}

#[test]
fn every_step_sees_all_of_the_one_before_for_any_number_of_members() {
    let mut expected = vec![vec![1.0f32; 7]];
    for step in 0..40 {
        let total: f32 = expected[step].iter().sum();
        expected.push(vec![total % 8.0 + step as f32; 7]);
    }
    for (members, pieces, late) in [(1, 1, 0), (1, 3, 0), (2, 2, 0), (3, 3, 1), (2, 5, 1), (4, 4, 3)] {
        assert_eq!(
            sums_of_team(members, pieces, late),
            expected.concat(),
            "{members} members, {pieces} pieces"
        );
    }
}

/// In the first half of a step each column of what lies between becomes the sum of all columns of the step before, plus
/// its number; in the second half each column of the step becomes the sum of all of these.
fn sums_of_halves(members: usize, pieces: usize) -> Vec<f32> {
    const STEPS: usize = 20;
    const COLUMNS: usize = 5;
    let (mut data, mut between) = (vec![1.0; (STEPS + 1) * COLUMNS], vec![f32::NAN; 2 * COLUMNS]);
    let mut progress = vec![Progress::default(); pieces];
    let sequence = |data, slots| SequenceMut::new(data, [slots, 1, COLUMNS], [COLUMNS, COLUMNS]).unwrap();
    let stepped = [
        Shared::new(sequence(&mut data, STEPS + 1), 1, Slots::Up { first: 1 }),
        Shared::new(sequence(&mut between, 2), 1, Slots::EachTurn),
    ];
    let team = Team::new(&mut progress, STEPS, COLUMNS, stepped, []).in_halves(true);
    let member = |member| {
        team.join(member, |turn| {
            let (is_second, first) = (turn.is_second_half(), turn.blocks().start);
            let ([states, between], []) = turn.parts();
            let (from, to) =
                if is_second { (between.before, states.now) } else { (states.before, between.now) };
            let total: f32 = from.unwrap().row(0).iter().sum();
            for (column, to) in to.unwrap().row_mut(0).iter_mut().enumerate() {
                *to = (total + (first + column) as f32) % 16.0;
            }
        });
    };
    thread::scope(|scope| {
        for number in 0..members {
            let member = &member;
            scope.spawn(move || member(number));
        }
    });
    data
}

#[test]
fn the_second_half_of_a_step_sees_all_of_the_first_for_any_number_of_members() {
    let half = |from: &[f32]| -> Vec<f32> {
        let total: f32 = from.iter().sum();
        (0..5).map(|column| (total + column as f32) % 16.0).collect()
    };
    let mut expected = vec![vec![1.0f32; 5]];
    for step in 0..20 {
        expected.push(half(&half(&expected[step])));
    }
    for (members, pieces) in [(1, 1), (1, 3), (2, 2), (3, 3), (2, 5), (4, 6)] {
        assert_eq!(sums_of_halves(members, pieces), expected.concat(), "{members} members, {pieces} pieces");
    }
}

#[test]
fn slots_go_round_or_down_and_never_coincide_with_the_one_before() {
    // Slots that hold their own number: that of each of three steps, and that of the step before it.
    let shared = |slots: usize, order| {
        let mut data: Vec<f32> = (0..slots).map(|slot| slot as f32).collect();
        let sequence = SequenceMut::new(&mut data, [slots, 1, 1], [1, 1]).unwrap();
        let mut progress = [Progress::default()];
        let team = Team::new(&mut progress, 3, 1, [Shared::new(sequence, 1, order)], []);
        let mut found = [[None; 2]; 3];
        team.join(0, |turn| {
            let step = turn.step();
            let ([Stepped { before, now }], []) = turn.parts();
            let [now, before] = [now.map(|mut now| now.row_mut(0)[0]), before.map(|before| before.row(0)[0])];
            found[step] = [now, before].map(|slot| slot.map(|slot| slot as usize));
        });
        found
    };
    let ring = shared(2, Slots::Up { first: 1 });
    assert_eq!(ring, [[Some(1), Some(0)], [Some(0), Some(1)], [Some(1), Some(0)]]);
    assert_eq!(shared(1, Slots::Up { first: 0 }), [[Some(0), None]; 3]);
    assert_eq!(shared(0, Slots::Up { first: 0 }), [[None, None]; 3]);
    let down = shared(3, Slots::Down { first: 1 });
    assert_eq!(down, [[Some(1), Some(2)], [Some(0), Some(1)], [None, None]]);
}

/// Elements in a buffer after a stage, and in a block of it: buffers of wider and narrower blocks, the last one of
/// which is short.
fn buffer_lens(stage: usize) -> [usize; 2] {
    let block_len = [5, 7, 3, 5, 1usize][stage];
    [4 * block_len + block_len.div_ceil(2), block_len]
}

/// Each stage adds what it has seen so far to what it reads, with `members` threads, of which some come late or not at
/// all. Yields the buffers, and what each stage noted.
fn sums_of_wavefront(
    stages: usize,
    members: usize,
    late: usize,
    order: BlockOrder,
) -> (Vec<Vec<f32>>, Vec<(f32, String)>) {
    let blocks = 5;
    let mut buffers: Vec<_> = (0..5).map(|stage| vec![0.0; buffer_lens(stage)[0]]).collect();
    let mut notes = vec![(0.0, String::new()); stages];
    let mut progress = vec![Progress::default(); stages];
    let mut rest = buffers.iter_mut();
    let buffered = std::array::from_fn(|stage| (&mut rest.next().unwrap()[..], buffer_lens(stage)[1]));
    let wavefront: Wavefront<'_, _, 5> = Wavefront::new(&mut progress, &mut notes, blocks, order, buffered);
    let started = AtomicBool::new(false);
    let member = |member| {
        wavefront.join(member, members, |visit| {
            started.store(true, Ordering::Release);
            let block = visit.block();
            let VisitParts { stage: (sum, seen), before, after } = visit.parts();
            *seen += &format!("{block} ");
            *sum += before.map_or(block as f32, |before| before.iter().sum());
            after.iter_mut().enumerate().for_each(|(i, to)| *to = (*sum + i as f32) % 64.0);
        });
    };
    thread::scope(|scope| {
        for number in 0..members {
            let (member, started) = (&member, &started);
            scope.spawn(move || {
                while number >= members - late && !started.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                member(number);
            });
        }
    });
    (buffers, notes)
}

#[test]
fn every_stage_sees_each_block_once_in_order_and_after_the_stage_before() {
    for order in [BlockOrder::Ascending, BlockOrder::Descending] {
        for stages in 1..=5 {
            let expected = sums_of_wavefront(stages, 1, 0, order);
            assert!(expected.1.iter().all(|(_, seen)| seen == "0 1 2 3 4 "));
            // Block 0 of the first stage: sum 0, so its elements count up from the start of the buffer or of its end.
            let first = if order == BlockOrder::Ascending { 1 } else { buffer_lens(0)[0] - 2 };
            assert_eq!(expected.0[0][first], 1.0);
            for (members, late) in [(2, 0), (2, 1), (3, 0), (5, 2), (7, 0)] {
                assert!(
                    sums_of_wavefront(stages, members, late, order) == expected,
                    "{stages} {members} {late}"
                );
            }
        }
    }
}

#[test]
fn without_stages_or_blocks_nothing_is_done() {
    let mut progress = vec![Progress::default(); 3];
    for (stages, blocks) in [(0, 4), (3, 0)] {
        let mut notes = vec![0; stages];
        let wavefront: Wavefront<'_, _, 3> = Wavefront::new(
            &mut progress,
            &mut notes,
            blocks,
            BlockOrder::Ascending,
            std::array::from_fn(|_| (&mut [][..], 1)),
        );
        wavefront.join(0, 1, |_| panic!("nothing to do"));
    }
}
