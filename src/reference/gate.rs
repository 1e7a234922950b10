//! What becomes of the sums of a gate, whichever cell it is of, and the options of cells whose only state is h.

use super::activation::NaiveActivation;
use super::real::{Real, add, masked};

/// The options of a plain recurrent layer or of gated recurrent units.
///
/// ```text
/// z = scale ⊙ (s − mean s) / √(var s + ε) + b,  or s + b without layer normalization
/// h′ = share ⊙ h̃ + (1 − share) ⊙ h
/// ```
///
/// The sums s are those with R·(mask ⊙ h) in them, and z enters an activation as clip z.
#[derive(Clone, Debug, PartialEq)]
pub struct NaiveOptions<R> {
    /// Limit of what enters the activations: ONNX's `clip`
    pub clip: Option<R>,
    /// Scales of the layer normalization of each sum, `[sums, H]`, and ε
    pub normalization: Option<(Vec<R>, R)>,
    /// Factors of h on its way into the sums, `[B, H]`
    pub recurrent_mask: Option<Vec<R>>,
    /// Zoneout: how much of the new h to take, `[T, B, H]`
    pub share: Option<Vec<R>>,
}

impl<R> Default for NaiveOptions<R> {
    /// None
    fn default() -> Self {
        Self { clip: None, normalization: None, recurrent_mask: None, share: None }
    }
}

impl<R: Real> NaiveOptions<R> {
    /// z of a sum of all units, with the bias of it.
    pub(super) fn preactivation(&self, which: usize, sum: &[R], bias: &[R]) -> Vec<R> {
        let mut z = match &self.normalization {
            Some((scale, epsilon)) => {
                masked(&normalize(sum, *epsilon).0, Some(part(scale, which, sum.len())))
            }
            None => sum.to_vec(),
        };
        add(&mut z, bias);
        z
    }

    /// φ(clip z)
    pub(super) fn value(&self, function: NaiveActivation<R>, z: &[R]) -> Vec<R> {
        z.iter().map(|&z| function.value(clip(z, self.clip))).collect()
    }

    /// From the cotangent of φ(clip z) to that of z.
    pub(super) fn value_backward(&self, function: NaiveActivation<R>, z: &[R], d: &[R]) -> Vec<R> {
        let slope = |z: R| function.derivative(clip(z, self.clip)) * passes(z, self.clip);
        d.iter().zip(z).map(|(&d, &z)| d * slope(z)).collect()
    }

    /// From the cotangent of z to that of the sum; those of bias and scales are added to what is there.
    pub(super) fn preactivation_backward(
        &self,
        which: usize,
        sum: &[R],
        d_z: &[R],
        d_bias: &mut [R],
        d_scales: &mut [R],
    ) -> Vec<R> {
        add(d_bias, d_z);
        let Some((scale, epsilon)) = &self.normalization else { return d_z.to_vec() };
        let (normal, deviation) = normalize(sum, *epsilon);
        let at = which * sum.len();
        add(&mut d_scales[at..at + sum.len()], &masked(d_z, Some(&normal)));
        normalize_backward(&normal, deviation, &masked(d_z, Some(part(scale, which, sum.len()))))
    }

    /// mask ⊙ h of row `b`; or with a cotangent for h the other way.
    pub(super) fn seen(&self, b: usize, h: &[R]) -> Vec<R> {
        masked(h, self.recurrent_mask.as_ref().map(|mask| part(mask, b, h.len())))
    }

    /// The share of row `row` of all steps.
    pub(super) fn share(&self, row: usize, units: usize) -> Option<&[R]> {
        self.share.as_ref().map(|share| part(share, row, units))
    }

    /// Room for the gradients of the scales.
    pub(super) fn zero_scales(&self) -> Vec<R> {
        self.normalization.as_ref().map_or(Vec::new(), |(scales, _)| vec![R::ZERO; scales.len()])
    }
}

/// Part number `index` of parts of `len` elements.
fn part<R>(all: &[R], index: usize, len: usize) -> &[R] {
    &all[index * len..][..len]
}

/// x, limited to ±limit.
pub(super) fn clip<R: Real>(x: R, limit: Option<R>) -> R {
    match limit {
        Some(limit) if x > limit => limit,
        Some(limit) if x < -limit => -limit,
        _ => x,
    }
}

/// The derivative of [`clip`]: 1 inside, 0 outside.
pub(super) fn passes<R: Real>(x: R, limit: Option<R>) -> R {
    if clip(x, limit) == x { R::ONE } else { R::ZERO }
}

/// 1 − x
pub(super) fn complement<R: Real>(x: &[R]) -> Vec<R> {
    x.iter().map(|&x| R::ONE - x).collect()
}

/// mask ⊙ new + (1 − mask) ⊙ old, or new without a mask.
pub(super) fn mix<R: Real>(new: &[R], old: &[R], mask: Option<&[R]>) -> Vec<R> {
    let Some(mask) = mask else { return new.to_vec() };
    let (new, old) = (masked(new, Some(mask)), masked(old, Some(&complement(mask))));
    new.iter().zip(old).map(|(&new, old)| new + old).collect()
}

/// (x − mean) / √(variance + ε), and √(variance + ε).
pub(super) fn normalize<R: Real>(x: &[R], epsilon: R) -> (Vec<R>, R) {
    let mean = mean(x.iter().copied());
    let centered: Vec<R> = x.iter().map(|&x| x - mean).collect();
    let deviation = (self::mean(centered.iter().map(|&x| x * x)) + epsilon).sqrt();
    (centered.iter().map(|&x| x / deviation).collect(), deviation)
}

/// The derivative of [`normalize`]: with n the normal values, dx = (dn − mean dn − n·mean(dn ⊙ n)) / deviation.
pub(super) fn normalize_backward<R: Real>(normal: &[R], deviation: R, d_normal: &[R]) -> Vec<R> {
    let mean_d = mean(d_normal.iter().copied());
    let mean_dn = mean(d_normal.iter().zip(normal).map(|(&d, &n)| d * n));
    d_normal.iter().zip(normal).map(|(&d, &n)| (d - mean_d - n * mean_dn) / deviation).collect()
}

fn mean<R: Real>(values: impl ExactSizeIterator<Item = R>) -> R {
    let count = R::of(values.len());
    values.fold(R::ZERO, |sum, value| sum + value) / count
}
