//! What all targets draw, and how they compare what a call has written.

use crate::layout::{Layout, Verdict};
use crate::oracle::widen;
use libfuzzer_sys::arbitrary::{self, Unstructured};
use quadgate::Error;
use std::ops::RangeInclusive;

/// What outputs are filled with before a call.
pub const UNTOUCHED: f32 = 12_345.678;

/// An argument that is given half of the time.
pub fn draw_optional(
    u: &mut Unstructured<'_>,
    shape: [usize; 3],
    changeable: RangeInclusive<usize>,
) -> arbitrary::Result<Option<Layout>> {
    match u.arbitrary()? {
        false => Ok(None),
        true => Layout::draw(u, shape, changeable).map(Some),
    }
}

/// The worst of what is said of arguments that are read, and of those that are written, each with the shape that it
/// must have.
pub fn verdict<const R: usize, const W: usize>(
    read: [(Option<&Layout>, [usize; 3]); R],
    written: [(Option<&Layout>, [usize; 3]); W],
) -> Verdict {
    let read = read.into_iter().filter_map(|(layout, shape)| Some(layout?.for_reading(shape)));
    let written = written.into_iter().filter_map(|(layout, shape)| Some(layout?.for_writing(shape)));
    read.chain(written).max().unwrap_or(Verdict::Right)
}

/// Gives a call those of its arguments that have a layout.
#[macro_export]
macro_rules! given {
    ($call:expr, $($argument:ident = $layout:ident.$view:ident($($data:expr),*)),* $(,)?) => {{
        let mut call = $call;
        $(if let Some(layout) = $layout {
            call = call.$argument(layout.$view($($data),*));
        })*
        call
    }};
}

/// Whether a call succeeded, if that is what must or may become of it.
pub fn is_right(result: Result<(), Error>, verdict: Verdict) -> bool {
    match (result, verdict) {
        (Ok(()), Verdict::Right | Verdict::Exotic) => true,
        (Err(_), Verdict::Wrong) | (Err(Error::Overlap { .. }), Verdict::Exotic) => false,
        (result, _) => panic!("{result:?} for a call that is {verdict:?}"),
    }
}

pub fn len_of(layout: &Option<Layout>) -> usize {
    layout.as_ref().map_or(0, |layout| layout.len)
}

/// An output before a call.
pub fn untouched(layout: &Option<Layout>) -> Vec<f32> {
    vec![UNTOUCHED; len_of(layout)]
}

/// The rows of a layout one after the other; zeros without a layout.
pub fn dense(layout: Option<&Layout>, data: &[f32], [steps, batch]: [usize; 2], width: usize) -> Vec<f64> {
    let Some(layout) = layout else { return vec![0.0; steps * batch * width] };
    (0..steps)
        .flat_map(|t| (0..batch).flat_map(move |b| widen(&data[layout.start(t, b)..][..width])))
        .collect()
}

/// Writes rows, which lie one after the other, to where a layout has them.
pub fn write_rows(layout: &Option<Layout>, to: &mut [f32], [steps, batch]: [usize; 2], from: &[f64]) {
    let Some(layout) = layout else { return };
    let width = layout.shape[2];
    for t in 0..steps {
        for b in 0..batch {
            let row = &from[(t * batch + b) * width..][..width];
            for (to, &from) in to[layout.start(t, b)..].iter_mut().zip(row) {
                *to = from as f32;
            }
        }
    }
}

/// Panics unless all elements have the same bits, or are no numbers.
pub fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(same, "{what}, element {i}: expected {expected:?}, found {found:?}");
    }
}

/// Panics unless all elements are near, and untouched ones as they were. Errors grow through time as values and
/// gradients do, so the bound is relative to the largest.
pub fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().filter(|&&e| e != UNTOUCHED).fold(0.0f32, |a, b| a.max(b.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let near = if expected == UNTOUCHED {
            found == expected
        } else {
            (found - expected).abs() <= 1e-3 * largest + 1e-6
        };
        assert!(near, "{what}, element {i}: expected {expected}, found {found}");
    }
}
