//! The LSTM cell, over the sums of a tile of gates.
//!
//! ```text
//! c' = σ(f) · c + σ(i) · tanh(g)
//! h' = σ(o) · tanh(c')
//! ```
//!
//! The sums of i, f, g and o of the same units lie side by side; beside them only c and h are read or written.
//!
//! 1. σ and tanh are fractions ([`sigmoid_denominator`], [`tanh_fraction`]), so three reciprocals do for all of a cell:
//!    σ(i) · tanh(g) = m / ((1 + e⁻ⁱ) · (|m| + 2)), and so for h'. What is to be recorded comes from the same
//!    fractions.
//! 2. The cell is cut into two pieces, which run one after the other over several lines side by side
//!    ([`super::lines`]), or beside the K loops of the next tile (see [`Deferred`]).
//! 3. States that decay become zero before they are denormal numbers, see [`Arithmetic::flush`].

use crate::cells::activation::{Constants, GATE_CONSTANTS, sigmoid_denominator, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::cells::row::RowCell;
use crate::gemm::micro::Deferred;
use crate::gemm::panel::PANEL_VECTORS;
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};
use core::hint::black_box;

/// Gates of an LSTM, in the order of the packed weights: i, f, g, o.
pub(crate) const LSTM_GATES: usize = PANEL_VECTORS;

/// Where the cell reads and writes, from the first unit of the sweep. Rows are padded to whole vectors but those of
/// `output`; what comes to stand in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct LstmRows {
    /// c.
    pub(crate) previous_cell: RawRows,
    /// Where c' goes; may be where c is.
    pub(crate) cell: RawRowsMut,
    /// Where h' goes.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `output`.
    pub(crate) units: usize,
    /// Where σ(i), σ(f), tanh(g) and σ(o) go, if anywhere, as packed rows.
    pub(crate) gates: RawRowsMut,
}

impl Destination for LstmRows {}

/// c of a row that is led through its steps, replaced.
pub(crate) struct LstmRowCell(pub(crate) RawRowsMut);

impl<S: Simd<Element = f32>> RowCell<S> for LstmRowCell {
    const IS_STAGGERED: bool = false;
    type Step = LstmRows;

    #[inline(always)]
    fn step(&self, _previous: RawRows, hidden: RawRowsMut, output: RawRowsMut, units: usize) -> LstmRows {
        let Self(cell) = *self;
        LstmRows { previous_cell: cell.to_read(), cell, hidden, output, units, gates: RawRowsMut::NONE }
    }
}

/// What the first piece of the cell yields: c', and what [`Update::gates`] makes gates of.
pub(crate) struct Update<V> {
    cell: V,
    /// c' before it was flushed: h' is the same for it, since tanh(c') · σ(o) is as small, and need not wait.
    pub(crate) unflushed: V,
    input_denominator: V,
    candidate: [V; 2],
    reciprocal: V,
    forget: V,
}

impl<V: Copy> Update<V> {
    /// The denominators of σ(i) and σ(f), the sum of g, and c.
    #[inline(always)]
    pub(crate) fn new<A: Arithmetic<Element = f32, Vector = V>>(
        a: A,
        [input_denominator, forget_denominator]: [V; 2],
        candidate: V,
        previous: V,
        constants: &Constants,
    ) -> Self {
        let candidate = tanh_fraction(a, candidate, constants);
        let reciprocal = a.reciprocal(a.mul(input_denominator, candidate[1]));
        let forget = a.reciprocal(forget_denominator);
        let kept = a.mul_add(forget, previous, a.splat(constants.normal));
        let unflushed = a.mul_add(candidate[0], reciprocal, kept);
        Self { cell: a.flush(unflushed), unflushed, input_denominator, candidate, reciprocal, forget }
    }

    /// σ(i), σ(f) and tanh(g).
    #[inline(always)]
    pub(crate) fn gates<A: Arithmetic<Element = f32, Vector = V>>(&self, a: A) -> [V; 3] {
        let [m, denominator] = self.candidate;
        let input = a.mul(denominator, self.reciprocal);
        [input, self.forget, a.mul(m, a.mul(self.input_denominator, self.reciprocal))]
    }
}

/// The second piece, of the denominator of σ(o) and of c': h', σ(o) and tanh(c').
#[inline(always)]
pub(crate) fn expose<A: Arithmetic<Element = f32>>(
    a: A,
    output_denominator: A::Vector,
    cell: A::Vector,
    constants: &Constants,
) -> [A::Vector; 3] {
    let [m, denominator] = tanh_fraction(a, cell, constants);
    let reciprocal = a.reciprocal(a.mul(output_denominator, denominator));
    let tanh = a.mul(m, a.mul(output_denominator, reciprocal));
    [a.flush(a.mul(m, reciprocal)), a.mul(denominator, reciprocal), tanh]
}

impl<S: Simd<Element = f32>> Cell<S> for LstmRows {
    const GATES: usize = LSTM_GATES;

    fn units(&self) -> usize {
        self.units
    }

    /// Where a tape is written: it is far away, and the CPU cannot hold as many stores as a group has.
    #[inline(always)]
    unsafe fn fetch(&self, s: S, &Line { row, unit, .. }: &Line) {
        if self.gates.is_none() {
            return;
        }
        // SAFETY: the caller vouches for the row and unit, of which there is a vector in each array.
        unsafe {
            let gates = self.gates.at(row, unit * LSTM_GATES);
            each!(gate in LSTM_GATES => {
                s.prefetch(gates.add(gate * S::LANES));
            });
            s.prefetch(self.cell.at(row, unit));
            s.prefetch(self.hidden.at(row, unit));
        }
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let mut sums = repeat(repeat(s.zero()));
        let mut previous = repeat(s.zero());
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a
        // vector of either cell state and of `hidden`, for four of `gates`, if there are any, and for `units` elements
        // in each row of `output`, if there is one.
        unsafe {
            each!(n in W => {
                each!(gate in LSTM_GATES => {
                    sums[gate][n] = s.load(lines[n].sums.add(gate * S::LANES));
                });
                previous[n] = s.load(self.previous_cell.at(lines[n].row, lines[n].unit));
            });
            let [input, forget, candidate, output] = sums;
            let [input, forget, output] =
                sigmoid_denominator(Together::<_, 3>(a), [input, forget, output], constants);
            let update = Update::new(a, [input, forget], candidate, previous, constants);
            let [hidden, output, _] = expose(a, output, update.unflushed, constants);
            each!(n in W => {
                let Line { row, unit, .. } = lines[n];
                s.store(self.cell.at(row, unit), update.cell[n]);
                s.store(self.hidden.at(row, unit), hidden[n]);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden[n], (self.units - unit).min(S::LANES));
                }
            });
            if !self.gates.is_none() {
                let [input, forget, candidate] = update.gates(a);
                each!(n in W => {
                    let gates = self.gates.at(lines[n].row, lines[n].unit * LSTM_GATES);
                    for (gate, value) in [input, forget, candidate, output].iter().enumerate() {
                        s.store(gates.add(gate * S::LANES), value[n]);
                    }
                });
            }
        }
    }
}

impl<S: Simd<Element = f32>> Deferred<S> for LstmRows {
    const PIECES: usize = 2;

    /// Piece 0 is c', which takes the place of the sum of g; piece 1 is h'.
    #[inline(always)]
    unsafe fn piece(&self, s: S, piece: usize, row: usize, vector: usize, sums: *mut f32) {
        let unit = vector / LSTM_GATES * S::LANES;
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gate * S::LANES);
        debug_assert!(piece < 2 && unit < self.units);
        let constants = black_box(&GATE_CONSTANTS);
        // SAFETY: the caller vouches for the sums, and for the rows as of `lines`.
        unsafe {
            if piece == 0 {
                let previous = s.load(self.previous_cell.at(row, unit));
                let gates = [s.load(sums.add(i)), s.load(sums.add(f))];
                let denominators = sigmoid_denominator(Together::<_, 2>(s), gates, constants);
                let update = Update::new(s, denominators, s.load(sums.add(g)), previous, constants);
                s.store(self.cell.at(row, unit), update.cell);
                s.store(sums.add(g), update.cell);
                if !self.gates.is_none() {
                    let gates = self.gates.at(row, unit * LSTM_GATES);
                    for (gate, value) in update.gates(s).into_iter().enumerate() {
                        s.store(gates.add(gate * S::LANES), value);
                    }
                }
            } else {
                let denominator = sigmoid_denominator(s, s.load(sums.add(o)), constants);
                let [hidden, output, _] = expose(s, denominator, s.load(sums.add(g)), constants);
                s.store(self.hidden.at(row, unit), hidden);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden, (self.units - unit).min(S::LANES));
                }
                if !self.gates.is_none() {
                    s.store(self.gates.at(row, unit * LSTM_GATES + o), output);
                }
            }
        }
    }
}
