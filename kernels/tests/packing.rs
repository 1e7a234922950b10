//! Packed weights: where each one lies, and copies into rows of another order.

use quadgate_kernels::{PanelLayout, rearrange};

#[test]
fn every_weight_has_a_position_of_its_own_inside_the_matrix() {
    for columns in 1..70 {
        for layout in [PanelLayout::of_columns(columns, 4, 3), PanelLayout::of_gates(4, columns, 8, 3)] {
            let mut seen = vec![false; layout.elements().unwrap()];
            for column in 0..layout.width() {
                let (start, step) = layout.column(column);
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

#[test]
fn every_element_lands_where_the_strides_say_and_nothing_else_is_written() {
    for rows in 0..10 {
        for columns in [0, 1, 3, 4, 8, 16] {
            for (from_row, from_column) in [(1, rows + 2), (columns + 1, 1), (3 * columns + 2, 3)] {
                let from: Vec<f32> = (0..2000).map(|n| n as f32).collect();
                let to_row = columns + 2;
                let mut to = vec![-1.0; (rows + 1) * to_row];
                rearrange(&from, [from_row, from_column], &mut to, to_row, [rows, columns]);
                for (at, &found) in to.iter().enumerate() {
                    let (row, column) = (at / to_row, at % to_row);
                    let inside = row < rows && column < columns;
                    let expected = if inside { (row * from_row + column * from_column) as f32 } else { -1.0 };
                    assert_eq!(found, expected, "{rows} × {columns}, strides {from_row}, {from_column}");
                }
            }
        }
    }
}
