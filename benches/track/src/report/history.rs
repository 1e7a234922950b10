//! How the records of a machine follow each other.

use super::plot::{self, GRID, INK, Plot};
use crate::error::Result;
use crate::record::Record;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// A line for each group: the geometric mean of its speed beside the first record that has it, on the benchmarks that
/// both have, each held against its own rate of multiply-adds. `None` of fewer than two records.
pub fn plot(records: &[&Record]) -> Result<Option<Plot>> {
    let Some((first, rest)) = records.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Ok(None);
    };
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (index, record) in std::iter::once(first).chain(rest).enumerate() {
        let mut logs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for row in &record.bench.results {
            let Some(before) = first.bench.results.iter().find(|before| before.id == row.id) else {
                continue;
            };
            let work = |row: &crate::bench::Row| (row.median_ms * row.fma_gflops_around.max(1e-9)).ln();
            logs.entry(&row.group).or_default().push(work(before) - work(row));
        }
        for (group, logs) in logs {
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            lines.entry(group).or_default().push((index as f64, mean));
        }
    }
    let all = || lines.values().flatten().map(|(_, speed)| *speed);
    let (low, high) = (all().fold(0.95, f64::min), all().fold(1.05, f64::max));
    let groups: Vec<&str> = lines.keys().copied().collect();
    let color = |group: &str| plot::color(groups.iter().position(|other| *other == group).unwrap_or(0));
    let commit = |place: &f64| {
        let index = place.round();
        let is_whole = (place - index).abs() < 1e-6;
        let record = records.get(index as usize).filter(|_| is_whole && index >= 0.0);
        record.map_or_else(String::new, |record| record.commit.chars().take(8).collect())
    };
    let svg = plot::svg([900, 360], |area| {
        plot::legend(
            area,
            &groups.iter().map(|group| ((*group).to_owned(), color(group))).collect::<Vec<_>>(),
        )?;
        let last = (records.len() - 1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(32)
            .margin_right(50)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, 0.98 * low..1.02 * high)?;
        chart
            .configure_mesh()
            .x_labels(records.len().min(10))
            .x_label_formatter(&commit)
            .x_desc("commit")
            .y_desc("times as fast as the first")
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(plot::text_style(13))
            .axis_desc_style(plot::text_style(14))
            .draw()?;
        for (group, points) in &lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), color(group).stroke_width(2)))?;
            chart.draw_series(points.iter().map(|&place| Circle::new(place, 4, color(group).filled())))?;
        }
        Ok(())
    })?;
    let caption = "Geometric means of each group, from the oldest record of this machine to the newest, each held against \
                   its own rate of multiply-adds. Higher is faster."
        .to_owned();
    Ok(Some(Plot { title: "History".to_owned(), caption, svg }))
}
