//! What a forward and a backward call write.

use crate::call::{UNTOUCHED, assert_near, assert_same, untouched, write_rows};
use crate::layout::Layout;
use crate::oracle::Tensors;
use libfuzzer_sys::arbitrary::{self, Unstructured};

const NAMES: [&str; 7] = ["output", "last h", "last c", "gradient of x", "of h", "of c", "of the parameters"];

/// How many of these the first calls write: none, a forward call, a backward call too.
const COUNTS: [usize; 3] = [0, 3, 7];

/// The output, h, c, and the gradients of x, h and c; then those of the parameters.
#[derive(Clone)]
pub struct Written {
    pub outputs: [Vec<f32>; 6],
    pub parameters: Vec<f32>,
}

/// How many elements the buffer of parameter gradients is too long, if it is wanted.
pub fn draw_parameters(u: &mut Unstructured<'_>) -> arbitrary::Result<Option<usize>> {
    Ok(match u.int_in_range(0..=15)? {
        0 => None,
        15 => Some(1),
        _ => Some(0),
    })
}

impl Written {
    /// All of it before a call.
    pub fn untouched(outputs: &[Option<Layout>; 6], parameters: usize) -> Self {
        Self { outputs: outputs.each_ref().map(untouched), parameters: vec![UNTOUCHED; parameters] }
    }

    fn all(&self) -> [&[f32]; 7] {
        let [y, h, c, dx, dh, dc] = self.outputs.each_ref().map(|output| &output[..]);
        [y, h, c, dx, dh, dc, &self.parameters]
    }

    /// Panics unless all has the same bits.
    pub fn assert_same(&self, expected: &Self, what: &str) {
        self.assert_same_after(0, expected, what);
    }

    /// Panics unless what is written by the calls after `right` right ones has the same bits.
    pub fn assert_same_after(&self, right: usize, expected: &Self, what: &str) {
        let all = self.all().into_iter().zip(expected.all()).zip(NAMES);
        for ((found, expected), name) in all.skip(COUNTS[right]) {
            assert_same(found, expected, &format!("{name}, {what}"));
        }
    }

    /// Holds what `right` right calls wrote to the oracle, and what lies between its rows to what was there.
    pub fn assert_near(
        &self,
        outputs: &[Option<Layout>; 6],
        expected: &Tensors,
        [steps, batch, states]: [usize; 3],
        right: usize,
    ) {
        for which in 0..COUNTS[right].min(outputs.len()) {
            let mut rows = untouched(&outputs[which]);
            let shape = if which % 3 == 0 { [steps, batch] } else { [1, states] };
            write_rows(&outputs[which], &mut rows, shape, &expected[which]);
            assert_near(&self.outputs[which], &rows, NAMES[which]);
        }
        if right == 2 && !self.parameters.is_empty() {
            let expected: Vec<f32> = expected[6].iter().map(|&value| value as f32).collect();
            assert_near(&self.parameters, &expected, NAMES[6]);
        }
    }
}
