//! Rows of bars with names: throughput by shape and instruction set.

use super::plot::{self, GRID, INK, Plot};
use crate::bench::Bench;
use crate::error::Result;
use plotters::prelude::*;

/// Throughput of the forward and training passes by shape, one color for each instruction set and number of threads.
pub fn plot(bench: &Bench) -> Result<Option<Plot>> {
    let rows: Vec<_> = bench.results.iter().filter(|row| row.gflops.is_some()).collect();
    let Some(highest) = rows.iter().filter_map(|row| row.gflops).reduce(f64::max) else { return Ok(None) };
    let series_of = |row: &crate::bench::Row| format!("{}, {}", row.isa, row.threads);
    let mut series: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for row in &rows {
        let (this, name) = (series_of(row), case(&row.id));
        if !series.contains(&this) {
            series.push(this);
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    series.sort();
    const LEFT: i32 = 330;
    const RIGHT: i32 = 850;
    let bar = 9;
    let mut places = Vec::new();
    let mut y = 30;
    for name in &names {
        let bars = rows.iter().filter(|row| &case(&row.id) == name).count() as i32;
        places.push((name, y, bars));
        y += bar * bars + 7;
    }
    let scale = f64::from(RIGHT - LEFT) / highest;
    let svg = plot::svg([900, y as u32 + 30], |area| {
        let names = series.iter().enumerate().map(|(index, name)| (name.clone(), plot::color(index)));
        plot::legend(area, &names.collect::<Vec<_>>())?;
        for tick in 0..=4 {
            let rate = highest * f64::from(tick) / 4.0;
            let x = LEFT + (rate * scale) as i32;
            area.draw(&PathElement::new([(x, 26), (x, y)], GRID))?;
            area.draw(&Text::new(format!("{rate:.0}"), (x - 8, y + 6), plot::text_style(13)))?;
        }
        area.draw(&Text::new("GFLOP/s", (LEFT - 80, y + 6), plot::text_style(13)))?;
        for &(name, top, bars) in &places {
            area.draw(&Text::new(name.clone(), (LEFT - 8, top + bar * bars / 2), plot::right_aligned(13)))?;
            for (index, row) in rows.iter().filter(|row| &case(&row.id) == name).enumerate() {
                let color =
                    plot::color(series.iter().position(|other| *other == series_of(row)).unwrap_or(0));
                let (from, x) = (top + bar * index as i32, LEFT + (row.gflops.unwrap_or(0.0) * scale) as i32);
                area.draw(&Rectangle::new([(LEFT, from), (x, from + bar - 1)], color.filled()))?;
            }
        }
        area.draw(&PathElement::new([(LEFT, 26), (LEFT, y)], INK))?;
        Ok(())
    })?;
    Ok(Some(Plot {
        title: "Throughput by shape".to_owned(),
        caption: "GFLOP/s of the fastest sample, by instruction set and threads in use. Shapes are T×B×X×H."
            .to_owned(),
        svg,
    }))
}

/// The first two parts of an id.
fn case(id: &str) -> String {
    id.split('/').take(2).collect::<Vec<_>>().join(" ")
}
