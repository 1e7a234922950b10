//! Every benchmark under the roofs of the machine.

use super::plot::{self, GRID, INK, Plot};
use crate::bench::{Bench, Row};
use crate::error::Result;
use plotters::prelude::*;

/// Operations for each byte of weights that a call must read at least: R each step, W once; a single step reads both.
fn intensity(row: &Row) -> Option<f64> {
    let (steps, x, h) = (row.shape.t as f64, row.shape.x as f64, row.shape.h as f64);
    let passes = if row.id.contains("train") { 2.0 } else { 1.0 };
    let flops = row.gflops? * row.min_ms * 1e6;
    Some(flops / (passes * 16.0 * h * (steps * h + x)))
}

/// The plot, if any benchmark has operations.
pub fn plot(bench: &Bench) -> Result<Option<Plot>> {
    let points: Vec<(&Row, f64, f64)> =
        bench.results.iter().filter_map(|row| Some((row, intensity(row)?, row.gflops?))).collect();
    let limits = &bench.machine.limits;
    let peak = limits.fma_peak_gflops.values().map(|rate| rate.all).fold(0.0, f64::max);
    if points.is_empty() || peak <= 0.0 {
        return Ok(None);
    }
    let of = |value: fn(&(&Row, f64, f64)) -> f64| points.iter().map(value);
    let left = of(|point| point.1).fold(f64::INFINITY, f64::min).min(0.25) / 1.5;
    let right = of(|point| point.1).fold(0.0, f64::max) * 1.5;
    let bottom = of(|point| point.2).fold(f64::INFINITY, f64::min) / 1.5;
    let mut groups: Vec<&str> = Vec::new();
    points.iter().for_each(|(row, ..)| {
        if !groups.contains(&row.group.as_str()) {
            groups.push(&row.group);
        }
    });
    let color = |group: &str| plot::color(groups.iter().position(|other| *other == group).unwrap_or(0));
    let svg = plot::svg([900, 460], |area| {
        plot::legend(
            area,
            &groups.iter().map(|group| ((*group).to_owned(), color(group))).collect::<Vec<_>>(),
        )?;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(32)
            .margin_right(90)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((left..right).log_scale(), (bottom..1.5 * peak).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("operations for each byte of weights")
            .y_desc("GFLOP/s")
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(plot::text_style(13))
            .axis_desc_style(plot::text_style(14))
            .draw()?;
        for (isa, rate) in &limits.fma_peak_gflops {
            for (threads, rate) in [("1", rate.single), ("all", rate.all)] {
                if rate > bottom {
                    chart.draw_series(LineSeries::new([(left, rate), (right, rate)], INK.mix(0.5)))?;
                    let label = Text::new(format!("{isa}, {threads}"), (right, rate), plot::text_style(12));
                    chart.draw_series([label])?;
                }
            }
        }
        for (level, rate) in &limits.read_gb_per_s {
            let roof = |x: f64| (x, x * rate.single);
            // Between the sides of the plot and the highest peak.
            let (from, to) = ((bottom / rate.single).max(left), (peak / rate.single).min(right));
            if from < to {
                chart.draw_series(LineSeries::new([roof(from), roof(to)], INK.mix(0.5)))?;
                chart.draw_series([Text::new(level.clone(), roof(1.15 * from), plot::text_style(12))])?;
            }
        }
        chart.draw_series(
            points.iter().map(|(row, x, y)| Circle::new((*x, *y), 4, color(&row.group).mix(0.8).filled())),
        )?;
        Ok(())
    })?;
    Ok(Some(Plot {
        title: "Roofline".to_owned(),
        caption: "Each benchmark by the operations that it does for each byte of weights. Level lines are the \
                  multiply-add peaks of each instruction set, with one thread and with all; slanted ones what one thread \
                  reads from each level of the memory hierarchy."
            .to_owned(),
        svg,
    }))
}
