//! Views of strided memory: which shapes are refused, and that what they are cut into covers every element once.

use quadgate_kernels::{ReorderedMut, RowOrder, Rows, RowsMut, SequenceMut, ViewError};
use std::cmp::Reverse;
use std::collections::HashSet;

/// Whether the rows of the grid are disjoint, by visiting every element.
fn disjoint(shape: [usize; 3], strides: [usize; 2]) -> bool {
    let mut seen = HashSet::new();
    (0..shape[0]).all(|t| {
        (0..shape[1]).all(|b| (0..shape[2]).all(|u| seen.insert(t * strides[0] + b * strides[1] + u)))
    })
}

#[test]
fn a_mutable_sequence_is_refused_whenever_rows_share_elements() {
    let mut data = vec![0.0; 400];
    let mut accepted = 0;
    for steps in 0..4 {
        for batch in 0..4 {
            for time_stride in 0..20 {
                for batch_stride in 0..20 {
                    let (shape, strides) = ([steps, batch, 3], [time_stride, batch_stride]);
                    if SequenceMut::new(&mut data, shape, strides).is_ok() {
                        accepted += 1;
                        assert!(disjoint(shape, strides), "{shape:?} {strides:?}");
                    }
                }
            }
        }
    }
    assert!(accepted > 1000);
}

#[test]
fn contiguous_layouts_are_accepted_and_a_missing_element_is_not() {
    for (steps, batch, width) in [(1, 1, 1), (5, 3, 7), (1, 9, 4), (9, 1, 4)] {
        for strides in [[batch * width, width], [width, steps * width]] {
            let mut data = vec![0.0; steps * batch * width];
            assert!(SequenceMut::new(&mut data, [steps, batch, width], strides).is_ok());
            data.pop();
            assert_eq!(
                SequenceMut::new(&mut data, [steps, batch, width], strides).err(),
                Some(ViewError::TooShort { needed: data.len() + 1, found: data.len() })
            );
        }
    }
}

#[test]
fn parts_of_rows_are_those_rows() {
    for (rows, stride) in [(0, 3), (1, 3), (4, 3), (4, 5)] {
        for at in 0..6 {
            let mut data: Vec<f32> = (0..20).map(|n| n as f32).collect();
            let expected = |row: usize| [0.0, 1.0, 2.0].map(|n| (row * stride) as f32 + n);
            for end in at..6 {
                let part = Rows::new(&data, rows, 3, stride).unwrap().rows_of(at..end);
                assert_eq!(part.rows(), end.min(rows) - at.min(rows));
                for row in 0..part.rows() {
                    assert_eq!(part.row(row), expected(at + row));
                }
            }
            let (mut first, mut second) = RowsMut::new(&mut data, rows, 3, stride).unwrap().split(at);
            assert_eq!((first.rows(), first.rows() + second.rows()), (at.min(rows), rows));
            for row in 0..first.rows() {
                assert_eq!(first.row_mut(row), expected(row));
            }
            for row in 0..second.rows() {
                assert_eq!(second.read().row(row), expected(at + row));
                assert_eq!(second.row_mut(row), expected(at + row));
            }
        }
    }
}

#[test]
fn strides_of_a_sequence_without_elements_do_not_matter() {
    for shape in [[100, 4, 0], [100, 0, 4], [0, 100, 4]] {
        for strides in [[0, 0], [usize::MAX, 1], [1, usize::MAX], [usize::MAX; 2]] {
            let view = SequenceMut::new(&mut [], shape, strides).unwrap();
            let (mut first, second) = view.split_rows(shape[1] / 2);
            assert_eq!(first.batch() + second.batch(), shape[1]);
            assert_eq!(first.step(shape[0] / 2).is_some(), shape[0] > 0);
            assert_eq!(first.batch_row(0).is_some(), first.batch() > 0);
        }
    }
}

#[test]
fn columns_of_a_split_cover_every_element_once() {
    let (steps, batch, width) = (3, 2, 5);
    for strides in [[batch * width, width], [width, steps * width], [11, 40]] {
        for at in 0..=width + 1 {
            let mut data = vec![0.0; 100];
            let view = SequenceMut::new(&mut data, [steps, batch, width], strides).unwrap();
            let (left, right) = view.split_columns(at);
            assert_eq!((left.width(), right.width()), (at.min(width), width - at.min(width)));
            for (mut part, value) in [(left, 1.0), (right, 2.0)] {
                for t in 0..steps {
                    let mut rows = part.step(t).unwrap();
                    (0..batch).for_each(|row| rows.row_mut(row).iter_mut().for_each(|x| *x += value));
                }
            }
            for place in 0..data.len() {
                let column = (0..steps * batch)
                    .map(|row| (row / batch) * strides[0] + (row % batch) * strides[1])
                    .find(|&start| (start..start + width).contains(&place))
                    .map(|start| place - start);
                let expected = column.map_or(0.0, |column| if column < at { 1.0 } else { 2.0 });
                assert_eq!(data[place], expected, "{strides:?} {at} {place}");
            }
        }
    }
}

#[test]
fn pieces_of_a_split_cover_every_row_once() {
    let (steps, batch, width) = (3, 5, 2);
    for strides in [[batch * width, width], [width, steps * width], [11, 40]] {
        for at in 0..=batch + 1 {
            let mut data = vec![0.0; 400];
            let view = SequenceMut::new(&mut data, [steps, batch, width], strides).unwrap();
            let (first, second) = view.split_rows(at);
            let mut found: Vec<usize> = Vec::new();
            for mut part in [first, second] {
                for t in 0..steps {
                    let mut rows = part.step(t).unwrap();
                    for row in 0..rows.rows() {
                        found.push(rows.row_mut(row).as_ptr() as usize / 4);
                    }
                }
                assert!(part.step(steps).is_none());
            }
            let base = data.as_ptr() as usize / 4;
            let mut expected: Vec<usize> = (0..steps * batch)
                .map(|i| base + (i / batch) * strides[0] + (i % batch) * strides[1])
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn extents_that_overflow_are_refused() {
    let mut data = [0.0; 4];
    assert_eq!(SequenceMut::new(&mut data, [usize::MAX, 2, 1], [2, 1]).err(), Some(ViewError::Overflow));
    assert_eq!(Rows::new(&data, 3, 2, usize::MAX).err(), Some(ViewError::Overflow));
    assert!(Rows::new(&data, 0, 2, usize::MAX).is_ok());
}

#[test]
fn an_order_names_each_row_once_whatever_the_keys() {
    let mut order = RowOrder::new(9).unwrap();
    for rows in 0..12 {
        let mut keys = 7usize;
        let sorted = order.sort_by_key(rows, |_| {
            keys = keys.wrapping_mul(0x9e37_79b9).rotate_left(7);
            keys
        });
        let mut found = sorted.rows().to_vec();
        found.sort_unstable();
        assert_eq!(found, (0..rows.min(9)).collect::<Vec<_>>());
        assert_eq!(order.sorted().rows().len(), found.len());
    }
    assert_eq!(order.sort_by_key(4, |row| (Reverse([3, 9, 3, 5][row]), row)).rows(), [1, 3, 0, 2]);
}

#[test]
fn pieces_write_the_rows_of_their_positions_and_no_others() {
    let (steps, batch, width) = (3, 5, 2);
    let mut order = RowOrder::new(batch).unwrap();
    for strides in [[batch * width, width], [width, steps * width], [11, 40]] {
        for at in 0..=batch + 1 {
            let mut data = vec![0.0; 400];
            let sequence = SequenceMut::new(&mut data, [steps, batch, width], strides).unwrap();
            let rows = order.sort_by_key(batch, |row| (row * 3) % 5);
            let (first, second) = ReorderedMut::new(sequence, rows).unwrap().split_rows(at);
            for (mut piece, from) in [(first, 0), (second, at.min(batch))] {
                for t in 0..steps {
                    for position in 0..piece.rows() {
                        piece.row_mut(t, position).fill((t * batch + from + position + 1) as f32);
                    }
                }
                assert!(piece.row_mut(steps, 0).is_empty());
                let end = piece.rows();
                assert!(piece.row_mut(0, end).is_empty());
            }
            let mut expected = vec![0.0; 400];
            for t in 0..steps {
                for (position, &row) in rows.rows().iter().enumerate() {
                    expected[t * strides[0] + row * strides[1]..][..width]
                        .fill((t * batch + position + 1) as f32);
                }
            }
            assert_eq!(data, expected);
        }
    }
}

#[test]
fn an_order_of_another_batch_is_refused() {
    let mut order = RowOrder::new(4).unwrap();
    for rows in [0, 2, 4] {
        let mut data = [0.0; 3];
        let sequence = SequenceMut::new(&mut data, [1, 3, 1], [3, 1]).unwrap();
        assert!(ReorderedMut::new(sequence, order.sort_by_key(rows, |row| row)).is_none());
    }
}
