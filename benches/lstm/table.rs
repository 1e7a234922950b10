//! The report as plain text.

use crate::report::{Limit, Report, Row};
use crate::run::Extra;
use std::fmt::Write;

/// Where there is no figure.
const NONE: &str = "—";

/// Names of the columns; the first ones are aligned to the left, and so is the last.
const HEADER: [&str; 15] = [
    "group",
    "case",
    "isa",
    "schedule",
    "threads",
    "min ms",
    "median ms",
    "GFLOP/s",
    "GB/s",
    "% FMA",
    "% roof",
    "× naive",
    "× gemm",
    "× base",
    "",
];
const LEFT: usize = 4;

/// What the columns mean.
const LEGEND: &str = "\
case: T×B×X×H · GB/s: weights streamed, where that is the bound · % FMA: of the peak of the instruction set and threads
% roof: of the roofline, which also counts reading the weights · naive: the oracle · gemm: the same products alone with
matrixmultiply, one thread · base: the baseline of --baseline
";

/// A line for each result, then the machine.
pub(crate) fn render(report: &Report) -> String {
    let mut lines = vec![HEADER.map(str::to_owned)];
    lines.extend(report.results.iter().map(cells));
    let mut widths = [0; HEADER.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::from("\n");
    for line in &lines {
        let aligned: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let left = column < LEFT || column == HEADER.len() - 1;
                if left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            })
            .collect();
        text += aligned.join("  ").trim_end();
        text.push('\n');
    }
    text.push('\n');
    text += LEGEND;
    text += &machine(report);
    text
}

fn cells(row: &Row) -> [String; HEADER.len()] {
    let fixed = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.decimals$}"))
    };
    // The second part of the id: the shape, and what else tells the cases of a group apart.
    let case = row.id.split('/').nth(1).unwrap_or_default().to_owned();
    let (case, note) = match row.extra {
        None => (case, String::new()),
        Some(Extra::Latency { p50_ns, p99_ns }) => (case, format!("p50 {p50_ns:.0} ns, p99 {p99_ns:.0} ns")),
        Some(Extra::Elements { function, elements, gelements_per_s }) => {
            (format!("{function} {elements}"), format!("{gelements_per_s:.2} Gelements/s"))
        }
    };
    let note = match (row.time_ratio, &row.beside) {
        (Some(ratio), Some(beside)) => format!("{ratio:.2} × the time of {beside}"),
        _ => note,
    };
    [
        row.group.to_owned(),
        case,
        row.isa.to_owned(),
        row.schedule.clone().unwrap_or_else(|| NONE.to_owned()),
        row.threads.to_string(),
        significant(row.min_ms),
        significant(row.median_ms),
        fixed(row.gflops, 1),
        fixed(row.weights_gb_per_s, 1),
        fixed(row.limit_percent, 1),
        fixed(row.roofline_percent, 1),
        fixed(row.times_oracle, 1),
        fixed(row.times_matrixmultiply, 2),
        fixed(row.times_baseline, 2),
        note,
    ]
}

/// Four digits, or more before the point.
fn significant(value: f64) -> String {
    let decimals = (3.0 - value.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut text =
        format!("{}, {} threads at once; limits as 1 thread / all threads\n", machine.cpu, machine.cores);
    let mut line = |title: &str, limits: &mut dyn Iterator<Item = (&str, &Limit)>| {
        let limits: Vec<String> =
            limits.map(|(name, Limit { single, all })| format!("{name} {single:.0} / {all:.0}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title}: {}", limits.join(" · "));
    };
    line("FMA peak, GFLOP/s", &mut machine.limits.fma_peak_gflops.iter().map(|(name, limit)| (*name, limit)));
    line("reading, GB/s", &mut machine.limits.read_gb_per_s.iter().map(|(name, limit)| (*name, limit)));
    text
}
