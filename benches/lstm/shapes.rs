//! The shapes that are measured, and the text form in which they are given and named.

use serde::Serialize;
use std::fmt;

/// The published list.
const PUBLISHED: [[usize; 4]; 12] = [
    [100, 1, 64, 64],
    [100, 1, 128, 128],
    [100, 1, 256, 256],
    [50, 1, 512, 512],
    [20, 1, 1024, 1024],
    [100, 16, 128, 128],
    [100, 32, 256, 256],
    [50, 64, 512, 512],
    [20, 128, 1024, 1024],
    [100, 8, 40, 100],
    [28, 32, 28, 50],
    // Silero VAD: 20 s of speech.
    [625, 1, 128, 128],
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

/// The published list, or what replaces it: `T,B,X,H;T,B,X,H;…`.
pub(crate) fn shapes(replacement: Option<&str>) -> Result<Vec<Shape>, String> {
    let Some(text) = replacement else { return Ok(PUBLISHED.map(Shape::from).to_vec()) };
    let mut shapes = Vec::new();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let shape = Shape::parse(part).ok_or_else(|| expected(part))?;
        // Criterion wants every id once.
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    if shapes.is_empty() { Err(expected(text)) } else { Ok(shapes) }
}

fn expected(found: &str) -> String {
    format!(
        "expected shapes T,B,X,H;T,B,X,H;… of whole numbers, T, B and H at least 1, X at least 0 and no tensor above \
         4 GiB, found {found:?}"
    )
}
