//! What all plots share: colors, the drawing area, and SVG that follows the page's light or dark scheme.

use crate::error::{Result, error};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A plot of a page.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Of the section.
    pub title: String,
    /// What is to be seen, and how it is read.
    pub caption: String,
    /// The picture.
    pub svg: String,
}

/// Stand for the colors of the page.
pub const INK: RGBColor = RGBColor(1, 1, 1);
/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(2, 2, 2);

/// Colors of series, which can be told apart on both backgrounds. Okabe and Ito's, without black and yellow.
pub const SERIES: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(128, 128, 128),
    RGBColor(120, 94, 240),
    RGBColor(160, 120, 60),
    RGBColor(64, 176, 166),
];

/// The area of a plot that is being drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The color of a series.
pub fn color(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// Text of the page.
pub fn text_style<'a>(size: u32) -> TextStyle<'a> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Text that ends at its place.
pub fn right_aligned<'a>(size: u32) -> TextStyle<'a> {
    text_style(size).pos(Pos::new(HPos::Right, VPos::Center))
}

/// Has something drawn, and lets the page choose the colors of ink and grid.
pub fn svg(
    [width, height]: [u32; 2],
    draw: impl FnOnce(&Area<'_>) -> std::result::Result<(), Box<dyn std::error::Error>>,
) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area)
            .and_then(|()| Ok(area.present()?))
            .map_err(|reason| error(format!("cannot draw a plot: {reason}")))?;
    }
    Ok(text.replace("\"#010101\"", "\"currentColor\"").replace("\"#020202\"", "\"var(--grid)\""))
}

/// A line of names beside their colors, at the top of an area.
pub fn legend(
    area: &Area<'_>,
    names: &[(String, RGBColor)],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut x = 40;
    for (name, color) in names {
        area.draw(&Rectangle::new([(x, 6), (x + 12, 18)], color.filled()))?;
        area.draw(&Text::new(name.clone(), (x + 18, 5), text_style(14)))?;
        x += 30 + 7 * name.chars().count() as i32;
    }
    Ok(())
}
