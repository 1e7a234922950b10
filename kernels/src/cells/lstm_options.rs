//! The LSTM cell with options, over the sums of a tile.
//!
//! ```text
//! s_i += p_i · c,  s_f += p_f · c                            peepholes
//! i = f(clip z_i),  f = f(clip z_f),  g = g(clip z_g)        z = s, or normalized over the units of a gate
//! f = 1 − i,  or i = 1 − f                                   if they are coupled
//! c̃ = clip(f · c + i · g)
//! c′ = m · c̃ + (1 − m) · c                                   zoneout
//! s_o += p_o · c̃
//! o = f(clip z_o)
//! exposed = o · h(c̃)
//! ```
//!
//! 1. Where f, g and h are σ, tanh and tanh, they are the fractions of the plain cell, see
//!    [`lstm`](crate::cells::lstm). Other functions are looked up, once for what some lines have of a gate.
//! 2. What is to be recorded are the values of i, f, g and o, where the backward pass needs no more, else their sums
//!    with the peepholes' terms. It computes all else again.
//! 3. Layer normalization needs all units of a gate before its first activation. So it has a pass of its own, made of
//!    the same parts, over sums in memory: [`lstm_normalized`](crate::cells::lstm_normalized).

use crate::cells::activation::{GATE_CONSTANTS, sigmoid_denominator, tanh_fraction};
use crate::cells::function::ActivationFunction;
use crate::cells::gates::{GateLayout, Gates, Place, clip, load, store};
use crate::cells::lines::{Cell, Line};
use crate::cells::lstm::{LSTM_GATES, Update, expose};
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::{RawRows, RawRowsMut};

/// The gates in a packed row.
pub(crate) const INPUT: usize = 0;
pub(crate) const FORGET: usize = 1;
pub(crate) const CANDIDATE: usize = 2;
pub(crate) const OUTPUT: usize = 3;

/// Whether the gates i and f are two, or one and its complement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Coupling {
    /// Two gates.
    #[default]
    Independent,
    /// f = 1 − i: ONNX's `input_forget`. The weights of f are not read.
    ForgetFromInput,
    /// i = 1 − f: TensorFlow Lite, where the input gate then has no tensors. The weights of i are not read.
    InputFromForget,
}

/// The three activation functions of a cell, which ONNX calls f, g and h.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Activations {
    /// f, of the gates i, f and o.
    pub gate: ActivationFunction,
    /// g, of the candidate.
    pub candidate: ActivationFunction,
    /// h, of the cell state on its way out.
    pub cell: ActivationFunction,
}

impl Default for Activations {
    /// σ, tanh, tanh
    fn default() -> Self {
        use ActivationFunction::{Sigmoid, Tanh};
        Self { gate: Sigmoid, candidate: Tanh, cell: Tanh }
    }
}

/// The options of a cell that are not tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellOptions {
    /// f, g and h.
    pub activations: Activations,
    /// Whether i and f are one.
    pub coupling: Coupling,
    /// Limit of what enters the activations of the gates; infinite for none.
    pub gate_limit: f32,
    /// Limit of c̃; infinite for none.
    pub cell_limit: f32,
    /// Limit of what enters h(c̃); infinite for none.
    pub hidden_limit: f32,
}

/// What the cell and its backward pass have in common.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) gates: Gates<LstmPanels>,
    pub(crate) options: CellOptions,
    /// Whether its functions are σ, tanh and tanh.
    pub(crate) has_usual_functions: bool,
    /// p_i, p_f and p_o, padded, if there are any.
    pub(crate) peepholes: RawRows,
    /// How much of c̃ to take; all, if there are no such rows. One element per unit.
    pub(crate) cell_share: RawRows,
}

/// The panels of an LSTM, as in `PanelLayout::gate_column`: units share vectors where that saves one.
#[derive(Clone, Copy)]
pub(crate) struct LstmPanels;

impl GateLayout for LstmPanels {
    #[cfg_attr(not(unoptimized), inline(always))]
    fn gates(self) -> usize {
        LSTM_GATES
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn place<S: Simd>(self, unit: usize, count: usize) -> Place {
        let is_shared = (count * LSTM_GATES).div_ceil(S::LANES) < LSTM_GATES;
        Place { unit, count, first: unit * LSTM_GATES, width: if is_shared { count } else { S::LANES } }
    }
}

/// What becomes of c.
pub(crate) struct Updated<V> {
    /// i and f after coupling, and g.
    pub(crate) gates: [V; 3],
    /// f · c + i · g
    pub(crate) update: V,
    /// c̃
    pub(crate) cell: V,
}

/// What becomes of c̃.
pub(crate) struct Exposed<V> {
    pub(crate) output: V,
    /// h(c̃), and what enters h.
    pub(crate) shown: V,
    pub(crate) entering: V,
    /// o · h(c̃)
    pub(crate) exposed: V,
}

impl Family {
    /// Adds the terms of a peephole (of i, f, o) to the sums of some vectors of units.
    ///
    /// # Safety
    /// - If there are peepholes, they have a vector at each of the units.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn see<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        peephole: usize,
        places: &[(usize, Place); W],
        seen: [S::Vector; W],
        mut sums: [S::Vector; W],
    ) -> [S::Vector; W] {
        if !self.peepholes.is_none() {
            each!(n in W => {
                // SAFETY: the caller vouches for it.
                let peephole = unsafe { s.load(self.peepholes.at(peephole, places[n].1.unit)) };
                sums[n] = s.mul_add(peephole, seen[n], sums[n]);
            });
        }
        sums
    }

    /// From z of i, f and g after the limit to c̃.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn update<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        [input, forget, candidate]: [[S::Vector; W]; 3],
        previous: [S::Vector; W],
    ) -> Updated<[S::Vector; W]> {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let CellOptions { activations, coupling, cell_limit, .. } = self.options;
        let (gates, independent) = if self.has_usual_functions {
            // tanh(g) comes of a fraction with i, so nothing may be known of an i that is not read.
            let input = if coupling == Coupling::InputFromForget { forget } else { input };
            let denominators = sigmoid_denominator(Together::<_, 2>(a), [input, forget], constants);
            let update = Update::new(a, denominators, candidate, previous, constants);
            (update.gates(a), update.unflushed)
        } else {
            let [input, forget] = self.gates.values(s, activations.gate, [input, forget]);
            let [candidate] = self.gates.values(s, activations.candidate, [candidate]);
            let gates = [input, forget, candidate];
            (gates, sum(a, gates, previous))
        };
        let ([input, forget, candidate], one) = (gates, a.splat(1.0));
        let (gates, update) = match coupling {
            Coupling::Independent => (gates, independent),
            Coupling::ForgetFromInput => {
                let gates = [input, a.sub(one, input), candidate];
                (gates, sum(a, gates, previous))
            }
            Coupling::InputFromForget => {
                let gates = [a.sub(one, forget), forget, candidate];
                (gates, sum(a, gates, previous))
            }
        };
        Updated { gates, update, cell: a.flush(clip(a, update, cell_limit)) }
    }

    /// c′ of a vector of units.
    ///
    /// # Safety
    /// - If there are shares, row `row` has the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn kept<S: Simd<Element = f32>>(
        &self,
        s: S,
        (row, place): (usize, Place),
        cell: S::Vector,
        previous: S::Vector,
    ) -> S::Vector {
        // SAFETY: the caller vouches for it.
        let Some(share) = (unsafe { self.share(s, row, place) }) else { return cell };
        let before = s.neg_mul_add(share, previous, previous);
        s.flush(s.mul_add(share, cell, before))
    }

    /// From z of o after the limit, and c̃, to what is exposed.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn expose<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        output: [S::Vector; W],
        cell: [S::Vector; W],
    ) -> Exposed<[S::Vector; W]> {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let CellOptions { activations, hidden_limit, .. } = self.options;
        let entering = clip(a, cell, hidden_limit);
        let [exposed, output, shown] = if self.has_usual_functions {
            expose(a, sigmoid_denominator(a, output, constants), entering, constants)
        } else {
            let [output] = self.gates.values(s, activations.gate, [output]);
            let [shown] = self.gates.values(s, activations.cell, [entering]);
            [a.flush(a.mul(output, shown)), output, shown]
        };
        Exposed { output, shown, entering, exposed }
    }

    /// Whether the values of the gates are recorded rather than their sums: what the backward pass needs of the usual
    /// functions, where nothing lies between a sum and its gate.
    pub(crate) fn records_values(&self) -> bool {
        self.has_usual_functions && self.gates.limit == f32::INFINITY && self.gates.normalization.is_none()
    }

    /// The same as [`Family::update`], from what was recorded of the gates.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn updated<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        gates: [[S::Vector; W]; 3],
        previous: [S::Vector; W],
    ) -> Updated<[S::Vector; W]> {
        let a = Together::<S, W>(s);
        let update = sum(a, gates, previous);
        Updated { gates, update, cell: a.flush(clip(a, update, self.options.cell_limit)) }
    }

    /// The same as [`Family::expose`], from what was recorded of o.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn exposed<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        output: [S::Vector; W],
        cell: [S::Vector; W],
    ) -> Exposed<[S::Vector; W]> {
        let a = Together::<S, W>(s);
        let entering = clip(a, cell, self.options.hidden_limit);
        let [m, denominator] = tanh_fraction(a, entering, &GATE_CONSTANTS);
        let shown = a.mul(m, a.reciprocal(denominator));
        Exposed { output, shown, entering, exposed: a.flush(a.mul(output, shown)) }
    }

    /// φ′ of limited z, or of what enters h, given φ.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) fn slopes<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        function: ActivationFunction,
        x: [[S::Vector; W]; N],
        values: [[S::Vector; W]; N],
    ) -> [[S::Vector; W]; N] {
        let a = Together::<_, N>(Together::<S, W>(s));
        match function {
            ActivationFunction::Sigmoid => a.neg_mul_add(values, values, values),
            ActivationFunction::Tanh => a.neg_mul_add(values, values, a.splat(1.0)),
            ActivationFunction::HardSigmoid { alpha, beta } => {
                let (zero, one) = (a.splat(0.0), a.splat(1.0));
                let line = a.mul_add(a.splat(alpha), x, a.splat(beta));
                let slope = a.select_less(line, zero, zero, a.splat(alpha));
                a.select_less(one, line, zero, slope)
            }
            _ => self.gates.slopes_of(s, function, x, values),
        }
    }

    /// How much of c̃ to take, if not all.
    ///
    /// # Safety
    /// - If there are shares, row `row` has the units of `place`.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn share<S: Simd<Element = f32>>(
        &self,
        s: S,
        row: usize,
        place: Place,
    ) -> Option<S::Vector> {
        if self.cell_share.is_none() {
            return None;
        }
        // SAFETY: the caller vouches for it.
        Some(unsafe { s.load_first(self.cell_share.at(row, place.unit), place.count) })
    }
}

/// f · c + i · g
#[cfg_attr(not(unoptimized), inline(always))]
fn sum<A: Arithmetic<Element = f32>>(
    a: A,
    [input, forget, candidate]: [A::Vector; 3],
    previous: A::Vector,
) -> A::Vector {
    let kept = a.mul_add(forget, previous, a.splat(GATE_CONSTANTS.normal));
    a.mul_add(input, candidate, kept)
}

/// The cell without normalization, where it reads and writes, from the first unit of the sweep. States are padded to
/// whole vectors; what comes to stand in the padding means nothing.
#[derive(Clone, Copy)]
pub(crate) struct LstmOptionsRows {
    pub(crate) family: Family,
    /// c.
    pub(crate) previous_cell: RawRows,
    /// Where c′ goes; may be where c is.
    pub(crate) cell: RawRowsMut,
    /// Where o · h(c̃) goes.
    pub(crate) exposed: RawRowsMut,
    /// Where else it goes, if anywhere, one element per unit.
    pub(crate) output: RawRowsMut,
    /// Where what the backward pass needs goes, if anywhere: packed rows of values or sums, see
    /// [`Family::records_values`].
    pub(crate) recorded: RawRowsMut,
}

impl Destination for LstmOptionsRows {}

impl LstmOptionsRows {
    /// Records what some vectors have of some gates.
    ///
    /// # Safety
    /// - If anything is to be recorded, there are packed rows with these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    unsafe fn record<S: Simd<Element = f32>, const N: usize, const W: usize>(
        &self,
        s: S,
        gates: [usize; N],
        places: &[(usize, Place); W],
        vectors: [[S::Vector; W]; N],
    ) {
        if !self.recorded.is_none() {
            each!(n in W => {
                let (row, place) = places[n];
                each!(m in N => {
                    // SAFETY: the caller vouches for it.
                    unsafe {
                        let to = self.recorded.at(row, place.column(gates[m]));
                        s.store_first(to, vectors[m][n], place.count);
                    }
                });
            });
        }
    }

    /// Writes what is exposed once more.
    ///
    /// # Safety
    /// - If there is an output, its rows have the units of these places.
    #[cfg_attr(not(unoptimized), inline(always))]
    pub(crate) unsafe fn store_output<S: Simd<Element = f32>, const W: usize>(
        &self,
        s: S,
        places: &[(usize, Place); W],
        exposed: [S::Vector; W],
    ) {
        if !self.output.is_none() {
            each!(n in W => {
                let (row, place) = places[n];
                // SAFETY: the caller vouches for it.
                unsafe { s.store_first(self.output.at(row, place.unit), exposed[n], place.count) };
            });
        }
    }
}

impl<S: Simd<Element = f32>> Cell<S> for LstmOptionsRows {
    const GATES: usize = LSTM_GATES;

    fn units(&self) -> usize {
        self.family.gates.units
    }

    /// Where a tape is written, as the plain cell does.
    #[inline(always)]
    unsafe fn fetch(&self, s: S, &Line { row, unit, .. }: &Line) {
        if self.recorded.is_none() {
            return;
        }
        // SAFETY: the caller vouches for the row and unit, of which there is something in each array.
        unsafe {
            let recorded = self.recorded.at(row, unit * LSTM_GATES);
            each!(gate in LSTM_GATES => {
                s.prefetch(recorded.wrapping_add(gate * S::LANES));
            });
            s.prefetch(self.cell.at(row, unit));
            s.prefetch(self.exposed.at(row, unit));
        }
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, family) = (Together::<S, W>(s), &self.family);
        let mut sums = repeat(repeat(s.zero()));
        let places = family.gates.places_of::<S, W>(lines);
        let records_values = family.records_values();
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a
        // vector of the states, of `exposed` and of the peepholes, if there are any, for the units in each row of
        // `output` and of the shares, and for packed rows of recorded sums.
        unsafe {
            each!(n in W => {
                each!(gate in LSTM_GATES => {
                    sums[gate][n] = s.load(lines[n].sums.add(gate * S::LANES));
                });
            });
            let previous = load(s, self.previous_cell, &places);
            let [input, forget, candidate, sum] = sums;
            let input = family.see(s, 0, &places, previous, input);
            let forget = family.see(s, 1, &places, previous, forget);
            let sums = [input, forget, candidate];
            if !records_values {
                self.record(s, [INPUT, FORGET, CANDIDATE], &places, sums);
            }
            let z = family.gates.clipped(Together::<_, 3>(a), sums);
            let Updated { cell, gates, .. } = family.update(s, z, previous);
            if records_values {
                self.record(s, [INPUT, FORGET, CANDIDATE], &places, gates);
            }
            let sum = family.see(s, 2, &places, cell, sum);
            let Exposed { exposed, output, .. } = family.expose(s, family.gates.clipped(a, sum), cell);
            self.record(s, [OUTPUT], &places, [if records_values { output } else { sum }]);
            store(s, self.exposed, &places, exposed);
            self.store_output(s, &places, exposed);
            each!(n in W => {
                let (row, place) = places[n];
                s.store(self.cell.at(row, place.unit), family.kept(s, places[n], cell[n], previous[n]));
            });
        }
    }
}
