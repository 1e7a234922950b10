//! The sweep as a picture: a line for each of some batches, GFLOP/s over H.

use crate::grid::{Grid, SIZES};
use std::fmt::Write as _;

/// Batches that get a line, and its colour.
const LINES: [(usize, &str); 10] = [
    (1, "#1b3a57"),
    (2, "#2f77b5"),
    (3, "#86b8dc"),
    (4, "#5a9e6f"),
    (6, "#a3c940"),
    (8, "#efb36b"),
    (12, "#d9772b"),
    (16, "#a33b20"),
    (24, "#8c8c8c"),
    (33, "#000000"),
];

/// Pixels.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 40.0;

/// The picture as SVG.
pub(crate) fn draw(grid: &Grid, title: &str) -> String {
    let highest = LINES
        .iter()
        .flat_map(|&(batch, _)| SIZES.map(move |units| grid.at(units, batch)))
        .fold(1.0, f64::max);
    let x = |units: usize| {
        LEFT + (WIDTH - LEFT - RIGHT) * (units - SIZES.start()) as f64 / (SIZES.end() - SIZES.start()) as f64
    };
    let y = |rate: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / highest;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">GFLOP/s over H for some batches. {title}</text>\n"
    );
    let mut add = |line: String| svg.push_str(&(line + "\n"));
    for rate in (0..=highest as usize).step_by(50) {
        let y = y(rate as f64);
        add(format!("<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - RIGHT));
        add(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{rate}</text>", LEFT - 6.0, y + 4.0));
    }
    for units in SIZES.filter(|units| units.is_multiple_of(32) || units == SIZES.start()) {
        let (x, foot) = (x(units), HEIGHT - BOTTOM);
        add(format!("<path d=\"M{x:.1} {TOP}V{foot:.1}\" stroke=\"#eee\"/>"));
        add(format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{units}</text>", foot + 18.0));
    }
    for (index, (batch, colour)) in LINES.into_iter().enumerate() {
        let mut points = String::new();
        for units in SIZES.filter(|&units| grid.at(units, batch).is_finite()) {
            write!(points, "{:.1},{:.1} ", x(units), y(grid.at(units, batch))).expect("text grows");
        }
        let label = TOP + 16.0 * (LINES.len() - index) as f64;
        add(format!("<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", points.trim_end()));
        add(format!(
            "<text x=\"{:.1}\" y=\"{label:.1}\" fill=\"{colour}\">B {batch}</text>",
            WIDTH - RIGHT + 10.0
        ));
    }
    svg + "</svg>\n"
}
