//! Packed weights: where each one lies, and copies into rows of another order.

use quadgate_kernels::{Blank, Isa, Kernels, PanelLayout, without_small};

#[test]
fn every_weight_has_a_position_of_its_own_inside_the_matrix() {
    for columns in 1..70 {
        let full = PanelLayout::of_gates(4, 8 * columns, 8, 3);
        for (layout, blank) in [
            (PanelLayout::of_columns(columns, 4, 3), None),
            (PanelLayout::of_gates(4, columns, 8, 3), None),
            (full.with_blank(Blank::First), Some(0)),
            (full.with_blank(Blank::Last), Some(3)),
        ] {
            let mut seen = vec![false; layout.elements().unwrap()];
            assert_eq!(layout.elements_before(layout.panels()), seen.len());
            let lanes = layout.lanes();
            for column in (0..layout.width()).filter(|column| Some(column / lanes % 4) != blank) {
                let (start, step) = layout.column(column);
                let panel = column / lanes / 4;
                assert!((layout.elements_before(panel)..layout.elements_before(panel + 1)).contains(&start));
                for k in 0..3 {
                    assert!(!std::mem::replace(&mut seen[start + k * step], true));
                }
            }
            assert!(seen.iter().all(|&seen| seen));
        }
    }
}

#[test]
fn gates_of_a_unit_lie_one_vector_apart() {
    let layout = PanelLayout::of_gates(4, 20, 8, 1);
    assert_eq!(layout.gate_column(0, 0), 0);
    assert_eq!(layout.gate_column(3, 7), 31);
    assert_eq!(layout.gate_column(1, 9), 32 + 8 + 1);
}

#[test]
fn gates_of_units_that_fill_no_panel_follow_each_other_without_gaps() {
    // Two panels of 8 units, then 4 gates of 2 units.
    let layout = PanelLayout::of_gates(4, 18, 8, 1);
    assert_eq!((layout.vectors(), layout.width()), (9, 72));
    assert_eq!([0, 1, 2, 3].map(|gate| layout.gate_column(gate, 17)), [65, 67, 69, 71]);
    assert_eq!(layout.columns_of(1..3), 32..72);
}

/// What the strides say, by plain indexing.
fn rearranged(from: &[f32], strides: [usize; 2], to: &[f32], to_row: usize, size: [usize; 2]) -> Vec<f32> {
    let mut to = to.to_vec();
    for row in 0..size[0] {
        for column in 0..size[1] {
            to[row * to_row + column] = without_small(from[row * strides[0] + column * strides[1]]);
        }
    }
    to
}

#[test]
fn every_element_lands_where_the_strides_say_and_nothing_else_is_written() {
    for kernels in Isa::ALL.iter().filter_map(|&isa| Kernels::new(isa)) {
        for rows in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
            for columns in [0, 1, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 48, 64, 67] {
                for strides in
                    [[1, rows + 2], [1, rows], [columns + 1, 1], [columns, 1], [3 * columns + 2, 3]]
                {
                    let [last_row, last_column] = [rows, columns].map(|n: usize| n.saturating_sub(1));
                    // As short as can be, so that a read past the end would be one past the slice.
                    let len = last_row * strides[0] + last_column * strides[1] + 1;
                    let from: Vec<f32> = (0..len).map(|n| n as f32).collect();
                    for (to_row, past_caches) in [(columns, false), (columns + 3, true), (80, true)] {
                        let to = vec![-1.0; last_row * to_row + columns];
                        // From a cache line on.
                        let mut room = vec![-1.0; to.len() + 16];
                        let start = room.as_ptr().align_offset(64);
                        let (found, size) = (&mut room[start..][..to.len()], [rows, columns]);
                        kernels.rearrange(&from, strides, found, to_row, size, past_caches);
                        let expected = rearranged(&from, strides, &to, to_row, size);
                        assert!(found == expected, "{rows} × {columns}, {strides:?}, {to_row}, {kernels:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_too_small_to_compute_with_become_zero_in_either_orientation() {
    let limit = f32::from_bits((127 - 63) << 23);
    let values = [
        0.0,
        -0.0,
        1.0,
        limit,
        -limit,
        limit.next_down(),
        -limit.next_down(),
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
    ];
    let (rows, columns) = (21, 35);
    let from: Vec<f32> = values.into_iter().cycle().take(rows * columns).collect();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for kernels in Isa::ALL.iter().filter_map(|&isa| Kernels::new(isa)) {
        for strides in [[1, rows], [columns, 1]] {
            let mut found = vec![-1.0; rows * columns];
            kernels.rearrange(&from, strides, &mut found, columns, [rows, columns], false);
            let expected = rearranged(&from, strides, &vec![-1.0; rows * columns], columns, [rows, columns]);
            assert_eq!(bits(&found), bits(&expected), "{strides:?}, {kernels:?}");
        }
    }
}

#[test]
fn slices_that_end_too_soon_panic_before_anything_is_written() {
    let kernels = Kernels::best();
    for (from_len, to_len, strides, to_row) in [
        (11, 12, [4, 1], 4),
        (12, 11, [4, 1], 4),
        (12, 12, [usize::MAX / 2, 2], 4),
        (12, 12, [4, 1], usize::MAX),
    ] {
        let (from, mut to) = (vec![1.0; from_len], vec![-1.0; to_len]);
        let call = std::panic::AssertUnwindSafe(|| {
            kernels.rearrange(&from, strides, &mut to, to_row, [3, 4], false)
        });
        assert!(std::panic::catch_unwind(call).is_err());
        assert!(to.iter().all(|&x| x == -1.0));
    }
}
