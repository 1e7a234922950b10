//! The gated recurrent unit: a layer with the calls of an LSTM, and h as its only state.

use crate::config::GruConfig;
use crate::error::Error;
use crate::layer::layer_methods;
use crate::lstm::Lstm;
use crate::memory::tape::Tape;
use crate::memory::workspace::Workspace;
use crate::table::InputTable;
use crate::training::Backward;
use crate::view::Matrix;
use crate::weights::{GruGateOrder, GruWeights};

/// A single layer of gated recurrent units in one [direction](crate::Direction), with packed weights.
///
/// ```text
/// r = σ(W_r·x_t + R_r·h_{t−1} + b_r)        n = tanh(W_n·x_t + b_in + r ∘ (R_n·h_{t−1} + b_hn))
/// z = σ(W_z·x_t + R_z·h_{t−1} + b_z)        h_t = (1 − z) ∘ n + z ∘ h_{t−1}
/// ```
///
/// (Cho et al. 2014, with the reset gate after the product: PyTorch, cuDNN, Keras with `reset_after`, ONNX with
/// `linear_before_reset`, oneDNN's `lbr_gru`.) With [`ResetGate::BeforeProduct`](crate::ResetGate::BeforeProduct) it is
/// n = tanh(W_n·x_t + R_n·(r ∘ h_{t−1}) + b_n), as in that paper. [`GruConfig`] has options that change this cell:
/// other functions, a limit, layer normalization, zoneout and recurrent dropout. Calls take the same arguments as those
/// of [`Lstm`]; there is no c, so one that names c is refused.
///
/// ```
/// use quadgate::{Forward, Gru, GruConfig, GruWeights, Sequence, SequenceMut};
///
/// let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
/// let config = GruConfig::new(inputs, hidden);
/// let (weight_ih, weight_hh) = (vec![0.1; 3 * hidden * inputs], vec![0.2; 3 * hidden * hidden]);
/// let gru = Gru::new(&config, &GruWeights::pytorch(&config, &weight_ih, &weight_hh, None, None)?)?;
///
/// let x = vec![1.0; steps * batch * inputs];
/// let mut h = vec![0.0; steps * batch * hidden];
/// gru.forward(
///     &mut gru.workspace(batch)?,
///     Forward::new(Sequence::time_major(&x, steps, batch, inputs))
///         .output(SequenceMut::time_major(&mut h, steps, batch, hidden)),
/// )?;
/// let z = 1.0 / (1.0 + (-0.3f32).exp());
/// assert!((h[0] - (1.0 - z) * 0.3f32.tanh()).abs() < 1e-6);
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gru {
    config: GruConfig,
    layer: Lstm,
}

layer_methods!(Gru, GruConfig, GruWeights);

impl Gru {
    /// A table of s + b for each row s of a matrix of given W·x, `[N, 3H]`, with gates in this order; see
    /// [`Lstm::table_of_sums`]. The bias of R·h of the candidate stays apart.
    ///
    /// # Errors
    /// As there.
    pub fn table_of_sums(&self, sums: Matrix<'_>, order: GruGateOrder) -> Result<InputTable, Error> {
        self.layer.table_of_gates(sums, &order.positions())
    }

    /// Computes gradients of the sequence that `tape` recorded: backpropagation through time.
    ///
    /// With ĥ = R_n·h_{t−1} + b_hn:
    ///
    /// ```text
    /// dh_t  = R_rᵀ·dr_{t+1} + R_zᵀ·dz_{t+1} + R_nᵀ·dĥ_{t+1} + z_{t+1} ∘ dh_{t+1} + ∂ℓ/∂h_t
    /// dn_t  = dh_t ∘ (1 − z) ∘ (1 − n²)         dr_t = dn_t ∘ ĥ ∘ r ∘ (1 − r)
    /// dĥ_t  = dn_t ∘ r                          dz_t = dh_t ∘ (h_{t−1} − n) ∘ z ∘ (1 − z)
    /// dx_t  = W_rᵀ·dr_t + W_zᵀ·dz_t + W_nᵀ·dn_t
    /// ```
    ///
    /// With the reset gate before the product, d = R_nᵀ·dn_t takes the place of dĥ: dr_t = d ∘ h_{t−1} ∘ r ∘ (1 − r),
    /// and d ∘ r is added to dh_{t−1}.
    ///
    /// dW is the sum of products with x, dR of those with h_{t−1}, db of these themselves.
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
