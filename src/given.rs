//! Calls that give W·x, by the entries of a table or as sums.

use crate::error::Error;
use crate::indices::{Indices, StepIndices};
use crate::lstm::{Forward, Lstm};
use crate::memory::state::State;
use crate::memory::views;
use crate::recurrence::given::Given;
use crate::table::{InputTable, pack_sums};
use crate::training::{Backward, GradientMode};
use crate::view::{Matrix, MatrixMut, Sequence, SequenceMut};
use crate::weights::GateOrder;
use quadgate_kernels::{Rows, Start};
use std::mem;

/// An input without features, of the shape of what is given in its place.
fn no_features<'a>(given: Given<'_>) -> Sequence<'a> {
    let [steps, batch] = given.shape();
    Sequence::time_major(&[], steps, batch, 0)
}

impl<'a> Forward<'a> {
    /// Starts each step of a layer from an entry of a table that the layer made: W·x + b of its index.
    ///
    /// The bits are those of a call for the rows from which the table was made. Of a layer, not of a stack.
    ///
    /// ```
    /// use quadgate::{Forward, Lstm, LstmConfig, LstmWeights, Matrix, SequenceMut, StepIndices};
    ///
    /// // Three words with an embedding of two features each.
    /// let embedding = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    /// let config = LstmConfig::new(2, 1);
    /// let lstm = Lstm::new(&config, &LstmWeights::pytorch(&config, &[0.5; 8], &[0.5; 4], None, None)?)?;
    /// let table = lstm.table(Matrix::new(&embedding, 3, 2))?;
    ///
    /// let (words, mut h) = ([2i64, 0, 0, 1], [0.0; 4]);
    /// let call = Forward::of_table(&table, StepIndices::time_major(&words, 4, 1));
    /// lstm.forward(&mut lstm.workspace(1)?, call.output(SequenceMut::time_major(&mut h, 4, 1, 1)))?;
    /// assert!(h[3] > h[1]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn of_table(table: &'a InputTable, indices: StepIndices<'a>) -> Self {
        Self::of(Given::Table(table, indices))
    }

    /// Starts each step of a layer from W·x itself, `[T, B, 4H]` in any strides, gates i, f, g, o (`[T, B, 3H]`, r, z,
    /// n; `[T, B, H]`), to which biases are added: where that is computed elsewhere, or several products are added up.
    ///
    /// Of a layer, not of a stack; one with X = 0 has no W of its own.
    pub fn of_sums(sums: Sequence<'a>) -> Self {
        Self::of(Given::Sums(sums))
    }

    fn of(given: Given<'a>) -> Self {
        Self { given: Some(given), ..Self::new(no_features(given)) }
    }
}

impl<'a> Backward<'a> {
    /// The table and the indices that the forward pass was given with [`Forward::of_table`].
    ///
    /// The gradient of W is zero, since the call did not read it; that of the biases is Σ dZ as ever.
    pub fn of_table(table: &'a InputTable, indices: StepIndices<'a>) -> Self {
        Self::of(Given::Table(table, indices))
    }

    /// The sums that the forward pass was given with [`Forward::of_sums`]. Nothing but their shape is read.
    pub fn of_sums(sums: Sequence<'a>) -> Self {
        Self::of(Given::Sums(sums))
    }

    fn of(given: Given<'a>) -> Self {
        Self { given: Some(given), ..Self::new(no_features(given)) }
    }

    /// Writes the gradient of W·x for each entry of a table, `[N, 4H]`, gates i, f, g, o (`[N, 3H]`, r, z, n;
    /// `[N, H]`): the sum of dZ over the steps that started from it, in one order for any threads and tape.
    ///
    /// For a table made of an embedding E, dT of this, the gradients of both are dE = dT·W and dW = dTᵀ·E.
    pub fn table_gradient(mut self, gradient: MatrixMut<'a>, mode: GradientMode) -> Self {
        self.table_gradient = Some((gradient, mode));
        self
    }

    /// Writes the gradient of given sums, `[T, B, 4H]` as they came: dZ of each step.
    pub fn sums_gradient(mut self, gradient: SequenceMut<'a>) -> Self {
        self.sums_gradient = Some(gradient);
        self
    }
}

impl Lstm {
    /// A table of W·x + b for each row x of a matrix, `[N, X]`, such as an embedding. Takes as long as N steps without
    /// R, once.
    ///
    /// See [`Forward::of_table`] and [`Lstm::step_of_table`].
    ///
    /// # Errors
    /// An [`Error`] that names what does not fit; [`Error::Overflow`] or [`Error::OutOfMemory`] if the table could not
    /// be had.
    #[doc(alias = "embedding")]
    pub fn table(&self, inputs: Matrix<'_>) -> Result<InputTable, Error> {
        let rows = inputs.checked("inputs", inputs.rows(), self.config.input_size())?;
        let threads = self.plan(1, rows.rows()).threads;
        InputTable::of_inputs(self.kernels, &self.weights, rows, threads)
    }

    /// A table of s + b for each row s of a matrix of given W·x, `[N, 4H]`, with gates in this order.
    ///
    /// A layer whose input is one of N has such a table in its weights: Keras' kernel, `[N, 4H]`, is it as it stands,
    /// with [`GateOrder::IFGO`].
    ///
    /// ```
    /// use quadgate::{GateOrder, Lstm, LstmConfig, LstmWeights, Matrix};
    ///
    /// // A layer without inputs of its own, and what the bytes of a text add to its gates.
    /// let config = LstmConfig::new(0, 1);
    /// let lstm = Lstm::new(&config, &LstmWeights::keras(&config, &[], &[0.5; 4], None)?)?;
    /// let kernel = [0.25; 256 * 4];
    /// let table = lstm.table_of_sums(Matrix::new(&kernel, 256, 4), GateOrder::IFGO)?;
    ///
    /// let mut state = lstm.state(1)?;
    /// for byte in b"text" {
    ///     lstm.step_of_table(&mut state, &table, &[*byte])?;
    /// }
    /// assert!(state.hidden(0).unwrap()[0] > 0.0);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Lstm::table`].
    pub fn table_of_sums(&self, sums: Matrix<'_>, order: GateOrder) -> Result<InputTable, Error> {
        self.table_of_gates(sums, &order.positions())
    }

    /// The same, in which the gates of the parameters stand at these positions.
    pub(crate) fn table_of_gates(&self, sums: Matrix<'_>, positions: &[usize]) -> Result<InputTable, Error> {
        let rows = sums.checked("sums", sums.rows(), self.shape().given_width())?;
        InputTable::of_sums(&self.weights, rows, positions)
    }

    /// Runs one time step that starts from an entry of a table for each row, `[B]`; see [`Lstm::step`].
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then. [`Error::NoSuchEntry`]
    /// for an index that is none of the table's, [`Error::OtherWeights`] for a table of other weights.
    pub fn step_of_table<'i>(
        &self,
        state: &mut State,
        table: &InputTable,
        indices: impl Into<Indices<'i>>,
    ) -> Result<(), Error> {
        let (indices, batch) = (indices.into(), state.batch());
        table.check(&self.weights)?;
        indices.check_rows(batch, table.entries())?;
        self.check_state(state, batch)?;
        if batch == 1 {
            let row = table.row(indices.of(0));
            self.run_step(state, Start::Sums(views::rows(row, 1, row.len())), None);
            return Ok(());
        }
        self.step_from(state, |row, to| to.copy_from_slice(table.row(indices.of(row))));
        Ok(())
    }

    /// Runs one time step that starts from W·x of each row, `[B, 4H]`, as [`Forward::of_sums`] has them; see
    /// [`Lstm::step`].
    ///
    /// # Errors
    /// An [`Error`] that names the argument that does not fit; nothing has been written then.
    pub fn step_of_sums(&self, state: &mut State, sums: Matrix<'_>) -> Result<(), Error> {
        let (batch, shape) = (state.batch(), self.shape());
        let sums: Rows<'_> = sums.checked("sums", batch, shape.given_width())?;
        self.check_state(state, batch)?;
        self.step_from(state, |row, to| {
            let gate = |gate: usize| &sums.row(row)[gate * shape.units..][..shape.units];
            pack_sums(&self.weights, gate, 0..shape.groups(), to);
        });
        Ok(())
    }

    /// One step of rows whose packed start is written first.
    fn step_from(&self, state: &mut State, write: impl Fn(usize, &mut [f32])) {
        let (batch, width) = (state.batch(), self.shape().sums_width());
        if batch == 0 {
            return;
        }
        // Out of the state meanwhile, since a step borrows that.
        let mut given = mem::take(&mut state.given);
        given.chunks_exact_mut(width).enumerate().for_each(|(row, to)| write(row, to));
        self.run_step(state, Start::Sums(views::rows(&given, batch, width)), None);
        state.given = given;
    }
}
