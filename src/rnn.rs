//! The plain recurrent layer: the simplest cell behind the same seam as the LSTM.

use crate::config::RnnConfig;
use crate::error::Error;
use crate::layer::layer_methods;
use crate::lstm::Lstm;
use crate::memory::tape::Tape;
use crate::memory::workspace::Workspace;
use crate::table::InputTable;
use crate::training::Backward;
use crate::view::Matrix;
use crate::weights::RnnWeights;

/// A single plain recurrent layer in one [direction](crate::Direction), with packed weights.
///
/// ```text
/// h_t = φ(W·x_t + R·h_{t−1} + b)
/// ```
///
/// (Elman 1990.) φ is tanh, max(0, ·) or, with the other options of [`RnnConfig`], any function of ONNX's list. Calls
/// take the same arguments as those of [`Lstm`]; there is no c, so one that names c is refused.
///
/// ```
/// use quadgate::{Forward, Rnn, RnnConfig, RnnWeights, Sequence, SequenceMut};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = RnnConfig::new(inputs, hidden);
/// let (weight_ih, weight_hh) = (vec![0.1; hidden * inputs], vec![0.2; hidden * hidden]);
/// let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?)?;
///
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * hidden];
/// rnn.forward(
///     &mut rnn.workspace(batch)?,
///     Forward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, hidden)),
/// )?;
/// assert!((h[0] - 0.3f32.tanh()).abs() < 1e-6);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rnn {
    config: RnnConfig,
    layer: Lstm,
}

layer_methods!(Rnn, RnnConfig, RnnWeights);

impl Rnn {
    /// A table of s + b for each row s of a matrix of given W·x, `[N, H]`; see [`Lstm::table_of_sums`].
    ///
    /// # Errors
    /// As there.
    pub fn table_of_sums(&self, sums: Matrix<'_>) -> Result<InputTable, Error> {
        self.layer.table_of_gates(sums, &[0])
    }

    /// Computes gradients of the sequence that `tape` recorded: backpropagation through time.
    ///
    /// ```text
    /// dh_t = Rᵀ·dz_{t+1} + ∂ℓ/∂h_t         dz_t = dh_t ∘ φ′(z_t)
    /// dx_t = Wᵀ·dz_t                       dW = Σ dz_t·x_tᵀ,  dR = Σ dz_t·h_{t−1}ᵀ,  db = Σ dz_t
    /// ```
    ///
    /// # Errors
    /// As for [`Lstm::backward`]; [`Error::Unexpected`] for a c.
    pub fn backward(
        &self,
        workspace: &mut Workspace,
        tape: &mut Tape,
        call: Backward<'_>,
    ) -> Result<(), Error> {
        self.layer.backward(workspace, tape, call)
    }
}
