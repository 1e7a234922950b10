//! The shapes that are measured, and the text form in which they are given and named.

use serde::Serialize;
use std::fmt;

/// Lists that have a name.
const LISTS: [(&str, &str); 4] = [
    ("@default", include_str!("shapes/default.txt")),
    ("@deepbench", include_str!("shapes/deepbench.txt")),
    ("@audio", include_str!("shapes/audio.txt")),
    ("@icu", include_str!("shapes/icu.txt")),
];

/// The largest tensor of a shape, in elements: 4 GiB.
const MAX_ELEMENTS: usize = 1 << 30;

/// Time steps, batch rows, input features and hidden units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    /// T
    pub(crate) t: usize,
    /// B
    pub(crate) b: usize,
    /// X
    pub(crate) x: usize,
    /// H
    pub(crate) h: usize,
}

impl From<[usize; 4]> for Shape {
    fn from([t, b, x, h]: [usize; 4]) -> Self {
        Self { t, b, x, h }
    }
}

impl Shape {
    /// Floating point operations of the two products of a forward pass: 2·T·B·4H·(X + H).
    pub(crate) fn forward_flops(&self) -> f64 {
        8.0 * self.rows() * self.h as f64 * (self.x + self.h) as f64
    }

    /// Floating point operations of the products of a training step: three times as many. Beside those of the forward
    /// pass, there is one of the same size for the gradient of each factor.
    pub(crate) fn training_flops(&self) -> f64 {
        3.0 * self.forward_flops()
    }

    /// Rows times steps.
    pub(crate) fn rows(&self) -> f64 {
        self.t as f64 * self.b as f64
    }

    /// Bytes of W.
    pub(crate) fn input_weight_bytes(&self) -> f64 {
        16.0 * self.h as f64 * self.x as f64
    }

    /// Bytes of R.
    pub(crate) fn recurrent_weight_bytes(&self) -> f64 {
        16.0 * self.h as f64 * self.h as f64
    }

    fn parse(text: &str) -> Option<Self> {
        let sizes: Vec<usize> =
            text.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>().ok()?;
        let [t, b, x, h] = sizes.try_into().ok()?;
        if t == 0 || b == 0 || h == 0 {
            return None;
        }
        let fits = |factors: [usize; 3]| {
            let elements = factors.into_iter().try_fold(1, usize::checked_mul);
            elements.is_some_and(|elements| elements <= MAX_ELEMENTS)
        };
        let fits_all = fits([t, b, x]) && fits([t, b, h]) && fits([4, h, x]) && fits([4, h, h]);
        fits_all.then_some(Self { t, b, x, h })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.t, self.b, self.x, self.h)
    }
}

/// The published list, or what replaces it: `T,B,X,H;T,B,X,H;…`, the name of a list, or the path of a file with a shape
/// on each line.
pub(crate) fn shapes(replacement: Option<&str>) -> Result<Vec<Shape>, String> {
    let text = replacement.unwrap_or(LISTS[0].0).trim();
    if let Some((name, list)) = LISTS.iter().find(|(name, _)| *name == text) {
        return parse_all(list.lines(), name);
    }
    if !text.starts_with('@') && !text.contains(',') {
        let list = std::fs::read_to_string(text).map_err(|error| format!("{}: {error}", expected(text)))?;
        return parse_all(list.lines(), text);
    }
    parse_all(text.split(';'), text)
}

/// Shapes of lines, of which what follows a `#` is left out.
fn parse_all<'a>(lines: impl Iterator<Item = &'a str>, source: &str) -> Result<Vec<Shape>, String> {
    let mut shapes = Vec::new();
    for line in lines {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let shape = Shape::parse(line).ok_or_else(|| expected(line))?;
        // Criterion wants every id once.
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    if shapes.is_empty() { Err(expected(source)) } else { Ok(shapes) }
}

fn expected(found: &str) -> String {
    format!(
        "expected shapes T,B,X,H;T,B,X,H;… of whole numbers, T, B and H at least 1, X at least 0 and no tensor above \
         4 GiB, or @default, @deepbench, @audio, @icu, or a file of such lines, found {found:?}"
    )
}
