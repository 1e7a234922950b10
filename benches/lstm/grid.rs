//! The cells of the sweep, and the file that keeps them.

use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// Hidden units and batches.
pub(crate) const SIZES: RangeInclusive<usize> = 8..=264;
pub(crate) const BATCHES: RangeInclusive<usize> = 1..=33;

/// GFLOP/s by size and batch; `NaN` where nothing was measured.
pub(crate) struct Grid(Vec<Vec<f64>>);

impl Grid {
    /// The cell of `units` and `batch`.
    pub(crate) fn at(&self, units: usize, batch: usize) -> f64 {
        self.0[units - SIZES.start()][batch - BATCHES.start()]
    }

    /// Puts a rate into a cell that has none or a lower one.
    pub(crate) fn keep_best(&mut self, units: usize, batch: usize, rate: f64) {
        let cell = &mut self.0[units - SIZES.start()][batch - BATCHES.start()];
        *cell = cell.max(rate);
    }

    /// The grid of a file; of cells that it lacks, `NaN`.
    pub(crate) fn read(path: &Path) -> Self {
        let mut grid = Self(vec![vec![f64::NAN; BATCHES.count()]; SIZES.count()]);
        for line in fs::read_to_string(path).unwrap_or_default().lines().skip(1) {
            let mut numbers = line.split(',').map(|number| number.parse().unwrap_or(f64::NAN));
            let units = numbers.next().map_or(0, |units| units as usize);
            if SIZES.contains(&units) {
                BATCHES.zip(numbers).for_each(|(batch, rate)| grid.keep_best(units, batch, rate));
            }
        }
        grid
    }

    /// The text of such a file.
    pub(crate) fn to_csv(&self) -> String {
        let mut text = String::from("H");
        BATCHES.for_each(|batch| write!(text, ",{batch}").expect("text grows"));
        for units in SIZES {
            write!(text, "\n{units}").expect("text grows");
            BATCHES.for_each(|batch| write!(text, ",{:.1}", self.at(units, batch)).expect("text grows"));
        }
        text + "\n"
    }
}
