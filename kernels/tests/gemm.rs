//! Every level × rows × panels × width of the last panel × epilogue, against loops over scalars.
//!
//! Sums must have the bits of chains of fused multiply-adds on every level that has one. Whatever is lent as scratch or
//! is to be written holds NaN before.

use quadgate_kernels::{
    Blank, ColumnProduct, Isa, Kernels, LstmBackwardStep, LstmStep, Order, PART_BYTES, Packed, PanelLayout,
    Product, Rows, RowsMut, Start, Tape, Term,
};

/// The levels of this CPU.
fn levels() -> impl Iterator<Item = &'static Kernels> {
    Isa::ALL.iter().filter_map(|&isa| Kernels::new(isa))
}

/// Numbers between −1 and 1 that look random.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A dense matrix, `[depth, columns]`, packed.
fn pack(layout: PanelLayout, matrix: &[f32], column_of: impl Fn(usize) -> usize, columns: usize) -> Vec<f32> {
    let mut packed = vec![0.0; layout.elements().unwrap()];
    let blank = match layout.blank() {
        Blank::None => None,
        Blank::First => Some(0),
        Blank::Last => Some(layout.group() - 1),
    };
    for column in (0..columns).filter(|column| Some(column / layout.lanes() % layout.group()) != blank) {
        let (start, step) = layout.column(column_of(column));
        for k in 0..layout.depth() {
            packed[start + k * step] = matrix[k * columns + column];
        }
    }
    packed
}

/// Asserts the bits of chains of fused multiply-adds, or on the portable level, which may have none, nearness.
fn assert_sum(kernels: &Kernels, found: f32, expected: f32, what: impl FnOnce() -> String) {
    let is_right = if kernels.isa() == Isa::Portable {
        (found - expected).abs() <= 1e-4 * expected.abs().max(1.0)
    } else {
        found.to_bits() == expected.to_bits()
    };
    assert!(is_right, "{}: {}: {found} is not {expected}", kernels.isa(), what());
}

/// start + Σ a·b, as chains of 256 products each, added in order.
fn chains<'a>(start: f32, terms: impl Iterator<Item = (&'a f32, &'a f32)>) -> f32 {
    let terms: Vec<_> = terms.collect();
    let chain = |terms: &[(&f32, &f32)]| terms.iter().fold(0.0, |sum: f32, (a, b)| a.mul_add(**b, sum));
    terms.chunks(256).fold(start, |sum, terms| sum + chain(terms))
}

struct Matrices {
    rows: usize,
    depths: [usize; 2],
    columns: usize,
    left: [Vec<f32>; 2],
    right: [Vec<f32>; 2],
}

impl Matrices {
    fn new(rows: usize, depths: [usize; 2], columns: usize) -> Self {
        Self {
            rows,
            depths,
            columns,
            left: [numbers(rows * depths[0], 1), numbers(rows * depths[1], 2)],
            right: [numbers(depths[0] * columns, 3), numbers(depths[1] * columns, 4)],
        }
    }

    fn expected(&self, start: f32, row: usize, column: usize) -> f32 {
        (0..2).fold(start, |sum, term| {
            let left = self.left[term][row * self.depths[term]..][..self.depths[term]].iter();
            chains(
                sum,
                left.zip(self.right[term][column.min(self.columns - 1)..].iter().step_by(self.columns)),
            )
        })
    }

    /// The product of some vectors of columns.
    fn check(&self, kernels: &Kernels, vectors: std::ops::Range<usize>, starts: usize) {
        let lanes = kernels.lanes();
        let layouts = self.depths.map(|depth| PanelLayout::of_columns(self.columns, lanes, depth));
        let packed = [0, 1].map(|term| pack(layouts[term], &self.right[term], |column| column, self.columns));
        let first = vectors.start * lanes;
        let columns = self.columns.min(vectors.end * lanes) - first;
        let padded = vectors.len() * lanes;
        let (bias, sums) = (numbers(padded, 5), numbers(padded * self.rows, 6));
        let start = match starts {
            0 => Start::Zero,
            1 => Start::Bias(&bias),
            _ => Start::Sums(Rows::new(&sums, self.rows, padded, padded).unwrap()),
        };
        let term = |term: usize| {
            let depth = self.depths[term];
            let rows = Rows::new(&self.left[term], self.rows, depth, depth).unwrap();
            Some(Term { rows, weights: Packed::new(layouts[term], &packed[term]).unwrap(), from: 0 })
        };
        let stride = columns + 3;
        let mut to = vec![f32::NAN; self.rows * stride];
        let mut scratch = vec![f32::NAN; self.rows * 4 * lanes];
        kernels.product(Product {
            start,
            terms: [term(0), term(1)],
            vectors: vectors.clone(),
            to: RowsMut::new(&mut to, self.rows, columns, stride).unwrap(),
            scratch: &mut scratch,
        });
        for row in 0..self.rows {
            for column in 0..columns {
                let start = [0.0, bias[column], sums[row * padded + column]][starts];
                let what = || format!("{} rows, {vectors:?}, row {row}, column {column}", self.rows);
                assert_sum(
                    kernels,
                    to[row * stride + column],
                    self.expected(start, row, first + column),
                    what,
                );
            }
            assert!(to[row * stride + columns..][..3].iter().all(|x| x.is_nan()), "past the columns");
        }
    }
}

#[test]
fn a_product_is_its_chains_for_any_rows_and_any_part_of_panels() {
    for kernels in levels() {
        for rows in 1..14 {
            for all in 1..10 {
                for missing in [0, 1] {
                    let matrices = Matrices::new(rows, [3, 5], all * kernels.lanes() - missing);
                    for first in 0..all.min(6) {
                        matrices.check(kernels, first..all, (rows + first) % 3);
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_product_is_the_same_chains_though_it_is_cut_into_parts() {
    for kernels in levels() {
        let most = PART_BYTES / 4 / (4 * kernels.lanes());
        for depths in [[most, 1], [3, most], [2 * most + 7, most + 1]] {
            for rows in [1, 4, 7, 13] {
                Matrices::new(rows, depths, 5 * kernels.lanes() - 1).check(kernels, 0..5, 1);
            }
        }
    }
}

#[test]
fn a_product_by_columns_is_its_chains_and_adds_to_what_is_there() {
    for kernels in levels() {
        let lanes = kernels.lanes();
        for depth in [1, 63, 70, 256, 520] {
            for rows in [1, 2, 3, 5, 6, 11, 12] {
                for columns in [1, lanes, 2 * lanes + 1, 4 * lanes, 5 * lanes - 1] {
                    let padded = columns.next_multiple_of(lanes);
                    let (left, right) = (numbers(depth * (rows + 2), 1), numbers(depth * padded, 2));
                    let before = numbers(rows * columns, 3);
                    for add in [false, true] {
                        let mut to = if add { before.clone() } else { vec![f32::NAN; rows * columns] };
                        kernels.column_product(ColumnProduct {
                            left: Rows::new(&left, depth, rows + 2, rows + 2).unwrap(),
                            from: 2,
                            right: Rows::new(&right, depth, padded, padded).unwrap(),
                            to: RowsMut::new(&mut to, rows, columns, columns).unwrap(),
                            add,
                        });
                        for row in 0..rows {
                            for column in 0..columns {
                                let a = left[row + 2..].iter().step_by(rows + 2);
                                let sum = chains(0.0, a.zip(right[column..].iter().step_by(padded)));
                                let at = row * columns + column;
                                let expected = if add { before[at] + sum } else { sum };
                                assert_sum(kernels, to[at], expected, || {
                                    format!("{rows} {columns} {at} {add}")
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// An LSTM step of some rows on one level: deep enough that epilogues are deferred where they ever are.
fn check_lstm_step(kernels: &Kernels, rows: usize, units: usize, has_tape: bool, order: Order) {
    let (lanes, depth) = (kernels.lanes(), 61);
    let layout = PanelLayout::of_gates(4, units, lanes, depth);
    let matrix: Vec<f32> = numbers(depth * 4 * units, 1).iter().map(|w| 0.3 * w).collect();
    let gate_column = |column: usize| layout.gate_column(column / units, column % units);
    let packed = pack(layout, &matrix, gate_column, 4 * units);
    let (inputs, bias) = (numbers(rows * depth, 2), numbers(layout.width(), 3));
    let padded = layout.panels() * lanes;
    let before = numbers(rows * padded, 4);
    let mut cell = if has_tape { vec![f32::NAN; rows * padded] } else { before.clone() };
    let mut hidden = vec![f32::NAN; rows * padded];
    let mut output = vec![f32::NAN; rows * units];
    let mut gates = vec![f32::NAN; rows * 4 * padded];
    let mut scratch = vec![f32::NAN; rows * 4 * lanes];
    let weights = Packed::new(layout, &packed).unwrap();
    kernels.lstm_step(LstmStep {
        start: Start::Bias(&bias),
        terms: [Some(Term { rows: Rows::new(&inputs, rows, depth, depth).unwrap(), weights, from: 0 }), None],
        panels: 0..layout.panels(),
        order,
        cell: RowsMut::new(&mut cell, rows, padded, padded).unwrap(),
        hidden: RowsMut::new(&mut hidden, rows, padded, padded).unwrap(),
        output: Some(RowsMut::new(&mut output, rows, units, units).unwrap()),
        tape: has_tape.then(|| Tape {
            previous_cell: Rows::new(&before, rows, padded, padded).unwrap(),
            gates: RowsMut::new(&mut gates, rows, 4 * padded, 4 * padded).unwrap(),
        }),
        units,
        scratch: &mut scratch,
    });
    for row in 0..rows {
        for unit in 0..units {
            let sum = |gate: usize| {
                let column = gate * units + unit;
                let products = (0..depth)
                    .map(|k| f64::from(inputs[row * depth + k]) * f64::from(matrix[k * 4 * units + column]));
                f64::from(bias[gate_column(column)]) + products.sum::<f64>()
            };
            let values = [sigmoid(sum(0)), sigmoid(sum(1)), sum(2).tanh(), sigmoid(sum(3))];
            let [i, f, g, o] = values;
            let c = f * f64::from(before[row * padded + unit]) + i * g;
            let near = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 3e-6;
            let at = row * padded + unit;
            let what = format!("{}: {rows} rows of {units} units, row {row}, unit {unit}", kernels.isa());
            assert!(near(cell[at], c), "c of {what}: {} is not {c}", cell[at]);
            assert!(near(hidden[at], o * c.tanh()), "h of {what}");
            assert_eq!(output[row * units + unit].to_bits(), hidden[at].to_bits(), "output of {what}");
            if has_tape {
                for (gate, value) in values.into_iter().enumerate() {
                    let at = row * 4 * padded + unit / lanes * 4 * lanes + gate * lanes + unit % lanes;
                    assert!(near(gates[at], value), "gate {gate} of {what}");
                }
            }
        }
    }
}

#[test]
fn an_lstm_step_is_the_cell_of_its_sums_for_any_rows_and_units() {
    for kernels in levels() {
        let lanes = kernels.lanes();
        for rows in 1..15 {
            for units in [1, 2, lanes - 1, lanes, lanes + lanes / 2, 2 * lanes, 3 * lanes + 1, 5 * lanes] {
                for (has_tape, order) in
                    [(false, Order::Forward), (false, Order::Backward), (true, Order::Backward)]
                {
                    check_lstm_step(kernels, rows, units, has_tape, order);
                }
            }
        }
    }
}

#[test]
fn a_backward_lstm_step_is_the_derivative_of_the_cell_for_any_rows_and_units() {
    for kernels in levels() {
        let lanes = kernels.lanes();
        for rows in [1, 2, 3, 4, 6, 7, 13] {
            for units in [1, lanes - 1, lanes, 2 * lanes + 1, 4 * lanes, 5 * lanes + 1, 9 * lanes] {
                check_lstm_backward_step(kernels, rows, units);
            }
        }
    }
}

fn check_lstm_backward_step(kernels: &Kernels, rows: usize, units: usize) {
    let (lanes, depth) = (kernels.lanes(), 4 * units);
    let layout = PanelLayout::of_columns(units, lanes, depth);
    let matrix = numbers(depth * units, 1);
    let packed = pack(layout, &matrix, |column| column, units);
    let padded = layout.width();
    let after: Vec<f32> = numbers(rows * depth, 2).iter().map(|x| 0.1 * x).collect();
    let cotangent = numbers(rows * units, 3);
    // Values of gates: i, f and o between 0 and 1.
    let mut gates = numbers(rows * 4 * padded, 4);
    for row in 0..rows {
        for column in (0..4 * padded).filter(|column| column / lanes % 4 != 2) {
            let gate = &mut gates[row * 4 * padded + column];
            *gate = 0.5 + 0.5 * *gate;
        }
    }
    let (cell, previous_cell) = (numbers(rows * padded, 5), numbers(rows * padded, 6));
    let carry = numbers(rows * padded, 7);
    let mut cell_gradient = carry.clone();
    let mut gate_gradients = vec![f32::NAN; rows * 4 * units];
    let rows_of = |data| Rows::new(data, rows, padded, padded).unwrap();
    kernels.lstm_backward_step(LstmBackwardStep {
        start: Start::Zero,
        recurrent: Some(Term {
            rows: Rows::new(&after, rows, depth, depth).unwrap(),
            weights: Packed::new(layout, &packed).unwrap(),
            from: 0,
        }),
        vectors: 0..layout.vectors(),
        cotangent: Some(Rows::new(&cotangent, rows, units, units).unwrap()),
        gates: Rows::new(&gates, rows, 4 * padded, 4 * padded).unwrap(),
        cell: rows_of(&cell),
        previous_cell: rows_of(&previous_cell),
        cell_gradient: RowsMut::new(&mut cell_gradient, rows, padded, padded).unwrap(),
        gate_gradients: RowsMut::new(&mut gate_gradients, 4 * rows, units, units).unwrap(),
        units,
        scratch: &mut vec![f32::NAN; rows * 4 * lanes],
    });
    for row in 0..rows {
        for unit in 0..units {
            let at = row * padded + unit;
            let gate = |gate: usize| {
                let column = unit / lanes * 4 * lanes + gate * lanes + unit % lanes;
                f64::from(gates[row * 4 * padded + column])
            };
            let [i, f, g, o] = [0, 1, 2, 3].map(gate);
            let products =
                (0..depth).map(|k| f64::from(after[row * depth + k]) * f64::from(matrix[k * units + unit]));
            let dh = products.sum::<f64>() + f64::from(cotangent[row * units + unit]);
            let tanh = f64::from(cell[at]).tanh();
            let dc = f64::from(carry[at]) + dh * o * (1.0 - tanh * tanh);
            let expected = [
                dc * g * i * (1.0 - i),
                dc * f64::from(previous_cell[at]) * f * (1.0 - f),
                dc * i * (1.0 - g * g),
                dh * tanh * o * (1.0 - o),
            ];
            let near = |found: f32, expected: f64| {
                (f64::from(found) - expected).abs() < 2e-5 * expected.abs().max(1.0)
            };
            let what = format!("{}: {rows} rows of {units} units, row {row}, unit {unit}", kernels.isa());
            for (gate, expected) in expected.into_iter().enumerate() {
                let found = gate_gradients[(row * 4 + gate) * units + unit];
                assert!(near(found, expected), "dZ of gate {gate}, {what}: {found} is not {expected}");
            }
            assert!(near(cell_gradient[at], dc * f), "dc of {what}");
        }
    }
}

#[test]
#[should_panic(expected = "units")]
fn units_whose_padded_width_would_wrap_are_refused() {
    let kernels = Kernels::best();
    kernels.lstm_step(LstmStep {
        start: Start::Zero,
        terms: [None, None],
        panels: 0..usize::MAX / kernels.lanes() + 1,
        order: Order::Forward,
        cell: RowsMut::new(&mut [], 1, 0, 0).unwrap(),
        hidden: RowsMut::new(&mut [], 1, 0, 0).unwrap(),
        output: None,
        tape: None,
        units: usize::MAX,
        scratch: &mut [],
    });
}

#[test]
fn a_product_of_no_rows_writes_nothing_however_wide_it_is() {
    let kernels = Kernels::best();
    let width = 16 * kernels.lanes();
    kernels.product(Product {
        start: Start::Sums(Rows::new(&[], 0, width, width).unwrap()),
        terms: [None, None],
        vectors: 0..16,
        to: RowsMut::new(&mut [], 0, width, width).unwrap(),
        scratch: &mut [],
    });
}

#[test]
fn reciprocals_have_the_bits_of_divisions_for_every_significand() {
    for kernels in levels() {
        for exponent in [1, 100, 127, 163, 252] {
            let numbers: Vec<f32> = (0..1 << 23).map(|bits| f32::from_bits(exponent << 23 | bits)).collect();
            let mut found = numbers.clone();
            kernels.reciprocals(&mut found);
            for (x, found) in numbers.into_iter().zip(found) {
                assert_eq!(found.to_bits(), (1.0 / x).to_bits(), "{}: 1 / {x:e}", kernels.isa());
            }
        }
    }
}

/// W and R each leave out a vector of each panel: the last and the first.
#[test]
fn staggered_terms_leave_out_a_vector_of_each_panel() {
    for kernels in levels() {
        let lanes = kernels.lanes();
        let long = PART_BYTES / size_of::<f32>() / (4 * lanes) + 30;
        for (rows, panels, depths) in (1..14)
            .flat_map(|rows| (1..4).map(move |panels| (rows, panels)))
            .flat_map(|(rows, panels)| [[5, 7], [0, 9], [9, 0]].map(|depths| (rows, panels, depths)))
            .chain([(13, 2, [long, 40]), (13, 2, [40, long]), (13, 2, [0, long])])
        {
            let columns = panels * 4 * lanes;
            let matrices = Matrices::new(rows, depths, columns);
            let blanks = [Blank::Last, Blank::First];
            let is_blank = |term: usize, column: usize| column / lanes % 4 == [3, 0][term];
            let layouts = [0, 1].map(|term| {
                PanelLayout::of_gates(4, panels * lanes, lanes, depths[term]).with_blank(blanks[term])
            });
            let packed = [0, 1].map(|term| {
                let packed = pack(layouts[term], &matrices.right[term], |column| column, columns);
                assert_eq!(packed.len(), depths[term] * columns / 4 * 3);
                packed
            });
            let bias = numbers(columns, 5);
            let term = |term: usize| {
                let depth = depths[term];
                let rows = Rows::new(&matrices.left[term], rows, depth, depth).unwrap();
                let weights = Packed::new(layouts[term], &packed[term]).unwrap();
                (depth > 0).then_some(Term { rows, weights, from: 0 })
            };
            let terms = if depths[0] == 0 { [term(1), None] } else { [term(0), term(1)] };
            let mut to = vec![f32::NAN; rows * columns];
            let mut scratch = vec![f32::NAN; rows * 4 * lanes];
            kernels.product(Product {
                start: Start::Bias(&bias),
                terms,
                vectors: 0..panels * 4,
                to: RowsMut::new(&mut to, rows, columns, columns).unwrap(),
                scratch: &mut scratch,
            });
            for (at, &found) in to.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let expected =
                    (0..2).filter(|&term| !is_blank(term, column)).fold(bias[column], |sum, term| {
                        let left = &matrices.left[term][row * depths[term]..][..depths[term]];
                        let right = matrices.right[term].iter().skip(column).step_by(columns);
                        chains(sum, left.iter().zip(right))
                    });
                let what = || format!("{rows} rows, {panels} panels, {depths:?}, row {row}, column {column}");
                assert_sum(kernels, found, expected, what);
            }
        }
    }
}

#[test]
#[should_panic(expected = "terms with a vector of each panel missing")]
fn staggered_terms_in_the_wrong_order_are_refused() {
    let kernels = Kernels::best();
    let lanes = kernels.lanes();
    let (data, left) = (vec![0.0; 3 * lanes], [0.0]);
    let term = |blank: Blank| {
        let layout = PanelLayout::of_gates(4, lanes, lanes, 1).with_blank(blank);
        let weights = Packed::new(layout, &data).unwrap();
        Some(Term { rows: Rows::new(&left, 1, 1, 1).unwrap(), weights, from: 0 })
    };
    let mut to = vec![0.0; 4 * lanes];
    kernels.product(Product {
        start: Start::Zero,
        terms: [term(Blank::First), term(Blank::Last)],
        vectors: 0..4,
        to: RowsMut::new(&mut to, 1, 4 * lanes, 4 * lanes).unwrap(),
        scratch: &mut [],
    });
}
