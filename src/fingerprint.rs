//! The checksum FNV-1a, a word at a time: another word in any place makes another checksum.

/// That of no words.
pub(crate) const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// That of one word more.
pub(crate) fn with(fingerprint: u64, word: u64) -> u64 {
    (fingerprint ^ word).wrapping_mul(0x0100_0000_01b3)
}
