//! Packed weights to bytes and back: every number in the order in which it lies, little-endian.

use super::PackedWeights;

/// The buffers that weights are packed into, in an order that is part of the format, borrowed to read or, with `mut`,
/// to write.
macro_rules! buffers {
    ($packed:expr $(, $mutable:tt)?) => {{
        let PackedWeights { input, recurrent, bias, transposed, options, .. } = $packed;
        let mut all: [&$($mutable)? [f32]; 11] = Default::default();
        (all[0], all[1], all[2]) = (input, recurrent, bias);
        if let Some(transposed) = transposed {
            (all[3], all[4]) = (&$($mutable)? transposed.input, &$($mutable)? transposed.recurrent);
        }
        if let Some(options) = options {
            let [scale, shift] = &$($mutable)? options.normalization;
            (all[5], all[6], all[7]) = (&$($mutable)? options.peepholes, scale, shift);
            (all[8], all[9]) = (&$($mutable)? options.projection, &$($mutable)? options.projection_bias);
            all[10] = &$($mutable)? options.transposed_projection;
        }
        all.into_iter()
    }};
}

impl PackedWeights {
    /// Bytes of all numbers that were packed.
    pub(crate) fn stored_len(&self) -> usize {
        buffers!(self).map(size_of_val::<[f32]>).sum()
    }

    /// Writes all numbers that were packed.
    pub(crate) fn store(&self, mut bytes: &mut [u8]) {
        for buffer in buffers!(self) {
            let to = bytes.split_off_mut(..size_of_val(buffer)).unwrap_or_default();
            for (to, number) in to.as_chunks_mut::<4>().0.iter_mut().zip(buffer) {
                *to = number.to_le_bytes();
            }
        }
    }

    /// Reads them again, in a layer of the same shape and options.
    pub(crate) fn load(&mut self, mut bytes: &[u8]) {
        for buffer in buffers!(self, mut) {
            let from = bytes.split_off(..size_of_val(buffer)).unwrap_or_default();
            for (number, from) in buffer.iter_mut().zip(from.as_chunks::<4>().0) {
                *number = f32::from_le_bytes(*from);
            }
        }
    }
}
