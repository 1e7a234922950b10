//! How much faster more threads are.

use super::plot::{self, GRID, INK, Plot};
use crate::bench::Bench;
use crate::error::Result;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// The plot, if any benchmark was run with several numbers of threads.
pub fn plot(bench: &Bench) -> Result<Option<Plot>> {
    let mut cases: BTreeMap<(String, String, String), Vec<(f64, f64)>> = BTreeMap::new();
    for row in &bench.results {
        let case = row.id.split('/').nth(1).unwrap_or_default().to_owned();
        let key = (row.group.clone(), case, row.isa.clone());
        cases.entry(key).or_default().push((row.threads as f64, row.min_ms));
    }
    cases.retain(|_, times| times.len() > 1 && times.iter().any(|(threads, _)| *threads == 1.0));
    let Some(most) = cases.values().flatten().map(|(threads, _)| *threads).reduce(f64::max) else {
        return Ok(None);
    };
    let mut groups: Vec<String> = cases.keys().map(|(group, ..)| group.clone()).collect();
    groups.dedup();
    let color = |group: &String| plot::color(groups.iter().position(|other| other == group).unwrap_or(0));
    let svg = plot::svg([900, 400], |area| {
        plot::legend(area, &groups.iter().map(|group| (group.clone(), color(group))).collect::<Vec<_>>())?;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(32)
            .margin_right(220)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(1.0..most, 0.0..1.05 * most)?;
        chart
            .configure_mesh()
            .x_labels(most as usize)
            .x_label_formatter(&|threads| format!("{threads:.0}"))
            .x_desc("threads in use")
            .y_desc("times as fast as one thread")
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(plot::text_style(13))
            .axis_desc_style(plot::text_style(14))
            .draw()?;
        chart.draw_series(LineSeries::new([(1.0, 1.0), (most, most)], INK.mix(0.5)))?;
        chart.draw_series([Text::new("as many times", (most, most), plot::text_style(12))])?;
        for ((group, ..), times) in &cases {
            let mut times = times.clone();
            times.sort_by(|a, b| a.0.total_cmp(&b.0));
            let one = times[0].1;
            let speedups = times.iter().map(|&(threads, time)| (threads, one / time));
            chart.draw_series(LineSeries::new(speedups.clone(), color(group).mix(0.8)))?;
            chart.draw_series(speedups.map(|place| Circle::new(place, 3, color(group).filled())))?;
        }
        Ok(())
    })?;
    let caption = "Each benchmark beside itself on one thread.".to_owned();
    Ok(Some(Plot { title: "Thread scaling".to_owned(), caption, svg }))
}
