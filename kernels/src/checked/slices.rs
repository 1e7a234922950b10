//! Activation functions over slices, and loops that measure the machine.

use crate::cells::function::ActivationFunction;
use crate::dispatch::Kernels;
use crate::probe::{FmaLoop, Read};
use crate::small::without_small;

/// Numbers up to which a loop over them takes less time than the call of a kernel.
const FEW: usize = 4;

impl Kernels {
    /// Replaces each x by σ(x) = 1 / (1 + e⁻ˣ).
    pub fn sigmoid(&self, values: &mut [f32]) {
        self.activate(ActivationFunction::Sigmoid, values);
    }

    /// Replaces each x by 1/x as cells compute it. Where that is a normal number, it is what a division yields.
    pub fn reciprocals(&self, values: &mut [f32]) {
        // SAFETY: the table exists, so the CPU has its instruction set.
        unsafe { (self.reciprocals)(values) }
    }

    /// Whether any number is not zero but below 2⁻⁶³, see [`without_small`].
    pub fn has_small(&self, values: &[f32]) -> bool {
        if values.len() <= FEW {
            return values.iter().any(|&x| without_small(x) != x && !x.is_nan());
        }
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.has_small)(values) }
    }

    /// Replaces each x by tanh(x).
    pub fn tanh(&self, values: &mut [f32]) {
        self.activate(ActivationFunction::Tanh, values);
    }

    /// Replaces each x by φ(x).
    pub fn activate(&self, function: ActivationFunction, values: &mut [f32]) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.activate)(values, function) }
    }

    /// Multiply-adds on registers alone, to find the peak of one core.
    ///
    /// Returns how many floating point operations it did, and a value to keep alive.
    pub fn fma_loop(&self, iterations: usize, seed: f32) -> (u64, f32) {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.fma_loop)(FmaLoop { iterations, seed }) }
    }

    /// Reads `data` from end to end, to find the bandwidth of the cache that holds it. Returns a value to keep alive.
    pub fn read(&self, data: &[f32]) -> f32 {
        // SAFETY: holding the table is the proof that the CPU has the instruction set.
        unsafe { (self.read)(Read(data)) }
    }
}
