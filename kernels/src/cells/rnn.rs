//! The plain recurrent cell, over the sums of a tile: a panel has the sums of four vectors of units.
//!
//! ```text
//! h' = φ(z)                                 φ is tanh, or max(0, ·)
//! ```

use crate::cells::activation::{GATE_CONSTANTS, tanh_fraction};
use crate::cells::lines::{Cell, Line};
use crate::gemm::sweep::Destination;
use crate::simd::{Arithmetic, Simd, Together, each, repeat};
use crate::views::RawRowsMut;

/// The function of a plain recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Nonlinearity {
    /// tanh
    #[default]
    Tanh,
    /// max(0, ·)
    Relu,
}

/// Where the cell writes, from the first unit of the sweep.
#[derive(Clone, Copy)]
pub(crate) struct RnnRows {
    /// Where h' goes, rows padded to whole vectors; what comes to stand in the padding means nothing.
    pub(crate) hidden: RawRowsMut,
    /// Where else h' goes, if anywhere.
    pub(crate) output: RawRowsMut,
    /// Units of `output`.
    pub(crate) units: usize,
    pub(crate) function: Nonlinearity,
}

impl Destination for RnnRows {}

impl<S: Simd<Element = f32>> Cell<S> for RnnRows {
    const GATES: usize = 1;

    fn units(&self) -> usize {
        self.units
    }

    #[inline(always)]
    unsafe fn lines<const W: usize>(&self, s: S, lines: &[Line; W]) {
        let (a, constants) = (Together::<S, W>(s), &GATE_CONSTANTS);
        let mut sums = repeat(s.zero());
        // SAFETY: the caller vouches for the sums; whoever made the sweep vouches, at each of its rows and units, for a
        // vector of `hidden`, and for `units` elements in each row of `output`.
        unsafe {
            each!(n in W => {
                sums[n] = s.load(lines[n].sums);
            });
            let hidden = match self.function {
                Nonlinearity::Tanh => {
                    let [m, denominator] = tanh_fraction(a, sums, constants);
                    a.mul(m, a.reciprocal(denominator))
                }
                Nonlinearity::Relu => a.at_least(repeat(s.zero()), sums),
            };
            let hidden = a.flush(hidden);
            each!(n in W => {
                let Line { row, unit, .. } = lines[n];
                s.store(self.hidden.at(row, unit), hidden[n]);
                if !self.output.is_none() {
                    s.store_first(self.output.at(row, unit), hidden[n], (self.units - unit).min(S::LANES));
                }
            });
        }
    }
}
