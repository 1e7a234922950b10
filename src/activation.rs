//! Activation functions over slices.

use crate::environment;
use crate::error::Error;
use quadgate_kernels::{ActivationFunction, Isa, Kernels};

/// The activation functions of an instruction set.
///
/// σ and tanh are within 2 ULP of the real function wherever that is a normal number, and zero or denormal where it is
/// smaller; NaN gives NaN; 0 ≤ σ ≤ 1; tanh is odd and |tanh| ≤ 1. All levels with a fused multiply-add give the same
/// bits.
///
/// ```
/// let activation = quadgate::Activation::new()?;
/// let mut x = [0.0, 1.0, f32::INFINITY];
/// activation.sigmoid(&mut x);
/// assert_eq!((x[0], x[2]), (0.5, 1.0));
/// # Ok::<(), quadgate::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    kernels: &'static Kernels,
}

impl Activation {
    /// On the instruction set that `QUADGATE_ISA` names, else on the best of the CPU.
    ///
    /// # Errors
    /// [`Error::UnsupportedIsa`] or [`Error::UnknownIsa`] if the variable demands what cannot be had.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { kernels: environment::kernels(None, usize::MAX)? })
    }

    /// On the given instruction set.
    ///
    /// # Errors
    /// [`Error::UnsupportedIsa`] if this CPU or this build lacks it.
    pub fn with_isa(isa: Isa) -> Result<Self, Error> {
        Ok(Self { kernels: environment::kernels(Some(isa), usize::MAX)? })
    }

    /// Replaces each x by σ(x) = 1 / (1 + e⁻ˣ).
    pub fn sigmoid(&self, values: &mut [f32]) {
        self.kernels.sigmoid(values);
    }

    /// Replaces each x by tanh(x).
    pub fn tanh(&self, values: &mut [f32]) {
        self.kernels.tanh(values);
    }

    /// Replaces each x by φ(x), within 4 ULP wherever that is a normal number; NaN gives NaN.
    ///
    /// ```
    /// use quadgate::{Activation, ActivationFunction};
    ///
    /// let mut x = [-1.0, 0.0, 2.0];
    /// Activation::new()?.apply(ActivationFunction::LeakyRelu { alpha: 0.5 }, &mut x);
    /// assert_eq!(x, [-0.5, 0.0, 2.0]);
    /// # Ok::<(), quadgate::Error>(())
    /// ```
    pub fn apply(&self, function: ActivationFunction, values: &mut [f32]) {
        self.kernels.activate(function, values);
    }
}
