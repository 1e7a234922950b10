//! The page: one file that needs no network.

use super::plot::Plot;
use crate::record::Record;
use crate::table;

/// Colors follow the reader's scheme; wide plots scroll on a phone instead of shrinking.
const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --ink: #1a1a1a; --grid: #ddd; --quiet: #666; }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --ink: #e4e4e4; --grid: #3a3d44; --quiet: #9a9a9a; } }
body { background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 0 auto; padding: 0 1rem 3rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p { color: var(--quiet); } .scroll { overflow-x: auto; }
svg { width: 100%; min-width: 40rem; height: auto; display: block; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: var(--quiet); } dd { margin: 0;
  overflow-wrap: anywhere; }
input { font: inherit; width: 100%; box-sizing: border-box; margin-bottom: .5rem; }
";

/// Hides rows that lack the words; notes errors and whether the page is wider than the window, for the test.
const SCRIPT: &str = "
window.addEventListener('error', event => { document.body.dataset.error = event.message; });
const filter = document.getElementById('filter');
filter.addEventListener('input', () => {
  const words = filter.value.toLowerCase().split(' ');
  for (const row of document.querySelectorAll('#results tbody tr')) {
    const id = row.firstElementChild.textContent.toLowerCase();
    row.hidden = !words.every(word => id.includes(word));
  }
});
document.body.dataset.overflow = document.documentElement.scrollWidth > window.innerWidth;
document.body.dataset.plots = document.querySelectorAll('svg').length;
";

/// The text of the page.
pub fn render(record: &Record, plots: &[Plot]) -> String {
    let mut sections = String::new();
    for Plot { title, caption, svg } in plots {
        let label = format!("<svg role=\"img\" aria-label=\"{}\"", escaped(title));
        let svg = svg.replacen("<svg", &label, 1);
        sections += &format!(
            "<section><h2>{}</h2>\n<p>{}</p>\n<div class=\"scroll\">{svg}</div></section>\n",
            escaped(title),
            escaped(caption)
        );
    }
    let warnings: String = record
        .warnings
        .iter()
        .map(|warning| format!("<dt>warning</dt><dd>{}</dd>\n", escaped(warning)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>quadgate: throughput</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>quadgate: throughput</h1>\n\
         <dl>\n{}{warnings}</dl>\n{sections}<section><h2>Results</h2>\n\
         <input id=\"filter\" placeholder=\"words of an id, such as forward avx2\" aria-label=\"filter\">\n\
         <div class=\"scroll\">{}</div></section>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        facts(record),
        results(record)
    )
}

fn facts(record: &Record) -> String {
    let Record { date, commit, clean, rustc, machine, .. } = record;
    let changed = if *clean { "" } else { ", with changes" };
    [
        ("machine", machine.cpu.clone()),
        ("threads", machine.threads.to_string()),
        ("caches", machine.caches.join(", ")),
        ("kernel", machine.kernel.clone()),
        ("commit", format!("{commit}{changed}")),
        ("date", date.clone()),
        ("compiler", rustc.clone()),
    ]
    .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(&value)))
    .concat()
}

fn results(record: &Record) -> String {
    let fixed = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
    let rows: String = record
        .bench
        .results
        .iter()
        .map(|row| {
            let cells = [
                escaped(&row.id),
                table::significant(row.min_ms),
                table::significant(row.median_ms),
                fixed(row.gflops),
                fixed(row.limit_percent),
                fixed(row.roofline_percent),
            ];
            format!("<tr>{}</tr>\n", cells.map(|cell| format!("<td>{cell}</td>")).concat())
        })
        .collect();
    let header = ["benchmark", "min ms", "median ms", "GFLOP/s", "% FMA", "% roof"]
        .map(|name| format!("<th>{name}</th>"))
        .concat();
    format!("<table id=\"results\"><thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table>")
}

/// Text that may stand between tags and in attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
