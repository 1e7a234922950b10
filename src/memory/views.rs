//! Views of the crate's own buffers. Their sizes follow from a shape that was checked when the call began, so none of
//! these can fail; should one, it says what was asked for.

use quadgate_kernels::{Rows, RowsMut, SequenceMut};
use std::ops::Range;

/// The first `rows` dense rows of `width` elements.
#[inline]
#[track_caller]
pub(crate) fn rows(data: &[f32], rows: usize, width: usize) -> Rows<'_> {
    match Rows::new(data, rows, width, width) {
        Ok(view) => view,
        Err(error) => panic!("{rows} rows of {width} in {} elements: {error:?}", data.len()),
    }
}

/// `rows` rows of `width` elements, `stride` apart.
#[track_caller]
pub(crate) fn strided_rows(data: &[f32], rows: usize, width: usize, stride: usize) -> Rows<'_> {
    match Rows::new(data, rows, width, stride) {
        Ok(view) => view,
        Err(error) => panic!("{rows} rows of {width}, {stride} apart, in {} elements: {error:?}", data.len()),
    }
}

/// No rows.
pub(crate) fn no_rows<'a>() -> Rows<'a> {
    rows(&[], 0, 0)
}

/// The same as [`rows`], to write.
#[inline]
#[track_caller]
pub(crate) fn rows_mut(data: &mut [f32], rows: usize, width: usize) -> RowsMut<'_> {
    let len = data.len();
    match RowsMut::new(data, rows, width, width) {
        Ok(view) => view,
        Err(error) => panic!("{rows} rows of {width} in {len} elements: {error:?}"),
    }
}

/// `slots` slots of dense rows, `[slots, rows, width]`, which lie `stride` elements apart.
#[inline]
#[track_caller]
pub(crate) fn strided_slots(data: &mut [f32], shape: [usize; 3], stride: usize) -> SequenceMut<'_> {
    let (len, width) = (data.len(), shape[2]);
    match SequenceMut::new(data, shape, [stride, width]) {
        Ok(view) => view,
        Err(error) => panic!("{shape:?}, {stride} elements apart, in {len} elements: {error:?}"),
    }
}

/// `slots` slots of dense rows, `[slots, rows, width]`, one after the other.
#[inline]
#[track_caller]
pub(crate) fn slots(data: &mut [f32], shape: [usize; 3]) -> SequenceMut<'_> {
    strided_slots(data, shape, shape[1] * shape[2])
}

/// The same, or none if there is no such buffer.
#[inline]
#[track_caller]
pub(crate) fn slots_if_any(data: &mut [f32], shape: [usize; 3]) -> SequenceMut<'_> {
    if data.is_empty() { SequenceMut::empty() } else { slots(data, shape) }
}

/// The rows of a slot.
#[inline]
#[track_caller]
pub(crate) fn slot<'a>(slots: &'a mut SequenceMut<'_>, slot: usize) -> RowsMut<'a> {
    let count = slots.slots();
    present(slots.step(slot), "slot", slot, count)
}

/// The rows of a slot, to read.
#[inline]
#[track_caller]
pub(crate) fn read_slot<'a>(slots: &'a SequenceMut<'_>, slot: usize) -> Rows<'a> {
    present(slots.read(slot), "slot", slot, slots.slots())
}

/// The rows of a slot, and those of another one to read.
#[inline]
#[track_caller]
pub(crate) fn slot_beside<'a>(
    slots: &'a mut SequenceMut<'_>,
    slot: usize,
    other: usize,
) -> (RowsMut<'a>, Rows<'a>) {
    let count = slots.slots();
    present(slots.step_beside(slot, other), "slot", slot, count)
}

/// What is there, as number `index` of `count`.
#[inline]
#[track_caller]
pub(crate) fn present<T>(found: Option<T>, what: &str, index: usize, count: usize) -> T {
    match found {
        Some(found) => found,
        None => panic!("{what} {index} of {count}"),
    }
}

/// Both of two slots.
///
/// # Panics
/// If there are fewer.
pub(crate) fn two_slots<'a>(slots: &'a mut SequenceMut<'_>) -> [RowsMut<'a>; 2] {
    let count = slots.slots();
    let (first, second) = slots.all().split_steps(1);
    [first, second].map(|slot| present(slot.into_step(0), "slot", 1, count))
}

/// The first row of the batch at some steps.
///
/// # Panics
/// If there is none.
pub(crate) fn row_of_steps<'a>(sequence: &'a mut SequenceMut<'_>, steps: Range<usize>) -> RowsMut<'a> {
    let count = steps.len();
    present(sequence.steps(steps).into_batch_row(0), "row", 0, count)
}
