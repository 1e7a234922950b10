//! Group `tables`: calls that start from the entries of a table beside calls that read x, of layers for characters, on
//! the caller's thread. The operations that count are those of R alone for both, so that they can be compared.

use crate::forward::ForwardPass;
use crate::layer::{self, FITS};
use crate::run::Case;
use crate::sequences::Pass;
use crate::settings::Settings;
use crate::shapes::Shape;
use crate::suite::Group;
use quadgate::{Forward, Matrix, Sequence, SequenceMut, StepIndices, Threads};

/// A stream of characters, and a batch of texts.
const SHAPES: [[usize; 4]; 2] = [[100, 1, 64, 128], [100, 32, 64, 256]];

/// Entries of a table.
const ENTRIES: usize = 100;

pub(crate) fn run(group: &mut Group<'_>, _: &Settings) {
    for shape in SHAPES.map(Shape::from) {
        for read in ["inputs", "table"] {
            measure(group, shape, read);
        }
    }
}

/// A whole sequence, and a single step of all rows.
fn measure(group: &mut Group<'_>, shape: Shape, read: &str) {
    let names = ["forward", "step"].map(|call| format!("{read}-{call}-{shape}"));
    if names.iter().all(|name| group.skips(name)) {
        return;
    }
    let Shape { t, b, x, h } = shape;
    let lstm = layer::lstm(&layer::naive(shape), &layer::config(shape, Threads::Serial));
    let embedding = layer::random(ENTRIES * x, 1.0, 8);
    let table = lstm.table(Matrix::new(&embedding, ENTRIES, x)).expect(FITS);
    let indices: Vec<u32> = (0..t * b).map(|at| (at * 37 % ENTRIES) as u32).collect();
    let (input, mut output) = (layer::input(shape), vec![0.0; t * b * h]);
    let (mut workspace, mut state) = (lstm.workspace(b).expect(FITS), lstm.state(b).expect(FITS));
    let is_table = read == "table";
    let case = |name: String, steps: usize| {
        let counted = Shape { t: steps, x: 0, ..shape };
        Case::serial(name, &lstm, shape, ForwardPass::work(counted, lstm.plan(steps, b)))
    };
    let [forward, step] = names;
    let run = group.measure(case(forward, t), None, || {
        let call = match is_table {
            true => Forward::of_table(&table, StepIndices::time_major(&indices, t, b)),
            false => Forward::new(Sequence::time_major(&input, t, b, x)),
        };
        let call = call.output(SequenceMut::time_major(&mut output, t, b, h));
        lstm.forward(&mut workspace, call).expect(FITS);
    });
    group.keep(run);
    let run = group.measure(case(step, 1), None, || match is_table {
        true => lstm.step_of_table(&mut state, &table, &indices[..b]).expect(FITS),
        false => lstm.step(&mut state, Matrix::new(&input[..b * x], b, x)).expect(FITS),
    });
    group.keep(run);
}
