//! Tables as plain text and as Markdown.

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Columns are aligned by spaces.
    Plain,
    /// As on GitHub.
    Markdown,
}

/// A header and rows of as many cells. The first column is aligned to the left, the others to the right.
pub fn render<const N: usize>(header: [&str; N], rows: &[[String; N]], style: Style) -> String {
    let header = header.map(str::to_owned);
    match style {
        Style::Plain => {
            let all = || std::iter::once(&header).chain(rows);
            let widths: [usize; N] =
                std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
            let line = |row: &[String; N]| {
                let cells: Vec<String> = (0..N)
                    .map(|column| {
                        let (cell, width) = (&row[column], widths[column]);
                        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned() + "\n"
            };
            all().map(line).collect()
        }
        Style::Markdown => {
            let line = |row: &[String; N]| {
                format!("| {} |\n", row.each_ref().map(|cell| cell.replace('|', "\\|")).join(" | "))
            };
            let rule = std::array::from_fn::<_, N, _>(|column| if column == 0 { "---" } else { "---:" });
            let body: String = rows.iter().map(line).collect();
            format!("{}| {} |\n{body}", line(&header), rule.join(" | "))
        }
    }
}

/// Four digits, or more before the point.
pub fn significant(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let decimals = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

/// A ratio as a change: `+3.1 %`.
pub fn change(ratio: f64) -> String {
    format!("{:+.1} %", 100.0 * (ratio - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_have_all_cells() {
        let rows = [["a|b".to_owned(), "1".to_owned()], ["c".to_owned(), "22".to_owned()]];
        assert_eq!(render(["x", "y"], &rows, Style::Plain), "x     y\na|b   1\nc    22\n");
        assert_eq!(
            render(["x", "y"], &rows, Style::Markdown),
            "| x | y |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 22 |\n"
        );
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!([0.012_344, 1.0, 123_456.7].map(significant), ["0.01234", "1.000", "123457"]);
        assert_eq!([1.031, 0.5].map(change), ["+3.1 %", "-50.0 %"]);
    }
}
