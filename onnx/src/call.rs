//! Running a node.

use crate::Error;
use crate::node::{Initial, OnnxNode, RowLengths};
use quadgate::{Forward, Matrix, MatrixMut, Sequence, SequenceMut};

/// What a call gives a node.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    x: &'a [f32],
    steps: usize,
    batch: usize,
    lengths: Option<&'a [i32]>,
    initial: [Option<&'a [f32]>; 2],
}

impl<'a> Call<'a> {
    /// x, `[T, B, X]`, or `[B, T, X]` if the node is [batch-major](OnnxNode::is_batch_major).
    pub fn new(x: &'a [f32], steps: usize, batch: usize) -> Self {
        Self { x, steps, batch, lengths: None, initial: [None; 2] }
    }

    /// The node's `sequence_lens`, `[B]`, in place of what the file says.
    pub fn lengths(self, lengths: &'a [i32]) -> Self {
        Self { lengths: Some(lengths), ..self }
    }

    /// The node's `initial_h`, `[D, B, H]` or `[B, D, H]`, in place of what the file says.
    pub fn initial_h(mut self, hidden: &'a [f32]) -> Self {
        self.initial[0] = Some(hidden);
        self
    }

    /// The `initial_c` of an LSTM, in the same shape.
    pub fn initial_c(mut self, cell: &'a [f32]) -> Self {
        self.initial[1] = Some(cell);
        self
    }
}

/// What a node answers, with D directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `[T, D, B, H]`, or `[B, T, D, H]` if the node is [batch-major](OnnxNode::is_batch_major).
    pub y: Vec<f32>,
    /// `[D, B, H]`, or `[B, D, H]`.
    pub y_h: Vec<f32>,
    /// In the same shape, of an LSTM; else empty.
    pub y_c: Vec<f32>,
}

impl OnnxNode {
    /// Runs the node.
    ///
    /// # Errors
    /// Names what does not fit: a slice of another length, lengths or a state that the node needs and the call does not
    /// give.
    pub fn run(&self, call: &Call<'_>) -> Result<Output, Error> {
        let Call { x, steps, batch, lengths, initial } = *call;
        let (inputs, units, count) = (self.input_size(), self.hidden_size(), self.layers().len());
        let product = |sizes: &[usize]| {
            let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
            product.ok_or_else(|| Error::new("expected a size that can be addressed, found a larger one"))
        };
        check("X", product(&[steps, batch, inputs])?, x.len())?;
        let lengths = match (lengths, self.lengths()) {
            (Some(lengths), _) => Some(lengths),
            (None, RowLengths::Full) => None,
            (None, RowLengths::Stored(lengths)) => Some(lengths.as_slice()),
            (None, RowLengths::Given { name }) => {
                return Err(Error::new(format!("sequence_lens: expected {name} with the call, found none")));
            }
        };
        let has_cell = self.operator().has_cell();
        if !has_cell && initial[1].is_some() {
            return Err(Error::new(format!(
                "initial_c: expected none of a node {}, found one",
                self.operator()
            )));
        }
        let state_len = product(&[count, batch, units])?;
        let state = |which: usize, what: &str| -> Result<Vec<f32>, Error> {
            let Some(from_file) = self.initial().get(which) else { return Ok(Vec::new()) };
            let state = match (initial[which], from_file) {
                (Some(state), _) => state.to_vec(),
                (None, Initial::Filled(value)) => filled(state_len, *value)?,
                (None, Initial::Stored(state)) => state.clone(),
                (None, Initial::Given { name, from }) => {
                    return Err(
                        Error::new(format!("expected {name}, {from}, with the call, found none")).of(what)
                    );
                }
            };
            check(what, state_len, state.len())?;
            Ok(state)
        };
        let initial = [state(0, "initial_h")?, state(1, "initial_c")?];
        let mut output = Output {
            y: filled(product(&[steps, count, batch, units])?, 0.0)?,
            y_h: filled(state_len, 0.0)?,
            y_c: filled(if has_cell { state_len } else { 0 }, 0.0)?,
        };
        let x = match self.is_batch_major() {
            false => Sequence::time_major(x, steps, batch, inputs),
            true => Sequence::batch_major(x, batch, steps, inputs),
        };
        // From one direction to the next, and from one row of the batch to the next; from one step to the next.
        let (between, by_row) =
            if self.is_batch_major() { (units, count * units) } else { (batch * units, units) };
        let strides = if self.is_batch_major() {
            // Without rows of the batch there may be more steps than can be addressed.
            [count * units, steps.saturating_mul(count * units)]
        } else {
            [count * batch * units, units]
        };
        for (direction, layer) in self.layers().iter().enumerate() {
            let first = direction * between;
            let from = |state: &'_ [f32]| -> usize { first.min(state.len()) };
            let states = initial
                .each_ref()
                .map(|state| Matrix::new(&state[from(state)..], batch, units).stride(by_row));
            let start = from(&output.y);
            let y = SequenceMut::with_strides(&mut output.y[start..], [steps, batch, units], strides);
            let start = from(&output.y_h);
            let mut call = Forward::new(x)
                .initial_hidden(states[0])
                .output(y)
                .last_hidden(MatrixMut::new(&mut output.y_h[start..], batch, units).stride(by_row));
            if has_cell {
                let last = MatrixMut::new(&mut output.y_c[start..], batch, units).stride(by_row);
                call = call.initial_cell(states[1]).last_cell(last);
            }
            let call = lengths.into_iter().fold(call, |call, lengths| call.lengths(lengths));
            layer.forward(batch, call)?;
        }
        Ok(output)
    }
}

/// So many elements, if there is memory for them.
fn filled(len: usize, value: f32) -> Result<Vec<f32>, Error> {
    let mut elements = Vec::new();
    let reserved = elements.try_reserve_exact(len);
    reserved
        .map_err(|_| Error::new(format!("expected a size that there is memory for, found {len} elements")))?;
    elements.resize(len, value);
    Ok(elements)
}

fn check(what: &str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::new(format!("expected {expected} elements, found {found}")).of(what))
    }
}
