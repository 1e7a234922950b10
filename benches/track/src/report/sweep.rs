//! The sweep over hidden units and batches as a heat map, from the CSV of `cargo bench -- sweep`.

use super::plot::{self, Plot};
use crate::error::{Result, error};
use crate::files;
use plotters::prelude::*;
use std::path::Path;

/// GFLOP/s: batches, and a row for each H.
#[derive(Debug, PartialEq)]
pub struct Sweep {
    batches: Vec<usize>,
    rows: Vec<(usize, Vec<f64>)>,
}

impl Sweep {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?).ok_or_else(|| {
            error(format!("{} is no sweep: expected lines H,RATE,… below H,BATCH,…", path.display()))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut header = lines.next()?.split(',');
        if header.next()? != "H" {
            return None;
        }
        let batches = header.map(|batch| batch.parse().ok()).collect::<Option<Vec<usize>>>()?;
        let row = |line: &str| {
            let (units, rates) = line.split_once(',')?;
            let rates = rates.split(',').map(|rate| rate.parse().ok()).collect::<Option<Vec<f64>>>()?;
            (rates.len() == batches.len()).then_some((units.parse().ok()?, rates))
        };
        let rows = lines.map(row).collect::<Option<Vec<_>>>()?;
        (!batches.is_empty() && !rows.is_empty()).then_some(Self { batches, rows })
    }

    /// The heat map.
    pub fn plot(&self) -> Result<Plot> {
        let highest = self.rows.iter().flat_map(|(_, rates)| rates).copied().fold(1.0, f64::max);
        let (width, height) = ((780 / self.rows.len()).clamp(1, 40) as i32, 11);
        const LEFT: i32 = 60;
        const TOP: i32 = 34;
        let bottom = TOP + height * self.batches.len() as i32;
        let svg = plot::svg([900, bottom as u32 + 50], |area| {
            for step in 0..=20 {
                let share = f64::from(step) / 20.0;
                let x = LEFT + 20 * step;
                area.draw(&Rectangle::new([(x, 8), (x + 20, 20)], heat(share).filled()))?;
            }
            area.draw(&Text::new(
                format!("0 to {highest:.0} GFLOP/s"),
                (LEFT + 430, 7),
                plot::text_style(14),
            ))?;
            for row in 0..self.batches.len() {
                let top = bottom - height * (row as i32 + 1);
                let shade =
                    |column: usize| self.rows.get(column).map(|(_, rates)| shade(rates[row] / highest));
                let mut first = 0;
                // Neighbors of one shade are one rectangle.
                for column in 1..=self.rows.len() {
                    if shade(column) != shade(first) {
                        let [from, to] = [first, column].map(|column| LEFT + width * column as i32);
                        if let Some(Some(color)) = shade(first) {
                            area.draw(&Rectangle::new([(from, top), (to, top + height)], color.filled()))?;
                        }
                        first = column;
                    }
                }
            }
            for (column, (units, _)) in self.rows.iter().enumerate().filter(|(_, (units, _))| units % 32 == 0)
            {
                let x = LEFT + width * column as i32;
                area.draw(&Text::new(units.to_string(), (x - 8, bottom + 6), plot::text_style(13)))?;
            }
            for (row, batch) in
                self.batches.iter().enumerate().filter(|(_, batch)| *batch % 8 == 0 || **batch == 1)
            {
                let y = bottom - height * row as i32 - height / 2;
                area.draw(&Text::new(format!("B {batch}"), (LEFT - 8, y), plot::right_aligned(13)))?;
            }
            area.draw(&Text::new("H, X = H", (LEFT, bottom + 26), plot::text_style(14)))?;
            Ok(())
        })?;
        let caption =
            "The forward pass on one thread at every number of hidden units and every batch.".to_owned();
        Ok(Plot { title: "Sweep".to_owned(), caption, svg })
    }
}

/// One of some thirty colors; none where nothing was measured.
fn shade(share: f64) -> Option<RGBColor> {
    share.is_finite().then(|| heat((32.0 * share).round() / 32.0))
}

/// From dark blue to yellow, brighter all the way.
fn heat(share: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 5] = [
        [48.0, 18.0, 95.0],
        [59.0, 82.0, 139.0],
        [33.0, 145.0, 140.0],
        [94.0, 201.0, 98.0],
        [253.0, 231.0, 37.0],
    ];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let [r, g, b] = std::array::from_fn(|i| {
        (STOPS[below][i] + (place - below as f64) * (STOPS[below + 1][i] - STOPS[below][i])) as u8
    });
    RGBColor(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_read_and_what_is_none_is_refused() {
        let sweep = Sweep::parse("H,1,2\n8,1.5,2.5\n9,3.5,NaN\n").expect("it is right");
        assert_eq!(sweep.batches, [1, 2]);
        assert_eq!(sweep.rows[0], (8, vec![1.5, 2.5]));
        for wrong in ["", "H,1\n", "X,1\n8,2\n", "H,1,2\n8,1\n", "H,1\n8,fast\n", "H,1\n8,1.0\n9"] {
            assert_eq!(Sweep::parse(wrong), None, "{wrong:?}");
        }
    }
}
