//! Dropout between layers: its factors, and what they depend on. That passes multiply with them is in `stack.rs`.

use crate::common::refused::{Refused, assert_refused};
use proptest::prelude::*;
use quadgate::Dropout;

/// A block of the key stream of ChaCha8: RFC 8439's block function with four double rounds, and a counter of 64 bits in
/// the place of one of 32 bits and a part of the nonce, as Bernstein has it.
fn chacha8(key: [u64; 4], counter: u64) -> [u32; 16] {
    let words = |number: u64| [number as u32, (number >> 32) as u32];
    let mut state = [0; 16];
    for (to, bytes) in state.iter_mut().zip(b"expand 32-byte k".chunks(4)) {
        *to = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    state[4..12].copy_from_slice(key.map(words).as_flattened());
    state[12..14].copy_from_slice(&words(counter));
    let start = state;
    let mut quarter = |[a, b, c, d]: [usize; 4]| {
        for (to, from, rotated, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[to] = u32::wrapping_add(state[to], state[from]);
            state[rotated] = (state[rotated] ^ state[to]).rotate_left(by);
        }
    };
    for _ in 0..4 {
        for column in 0..4 {
            quarter([0, 4, 8, 12].map(|row| row + column));
        }
        for column in 0..4 {
            quarter([0, 1, 2, 3].map(|row| 4 * row + (column + row) % 4));
        }
    }
    std::array::from_fn(|word| start[word].wrapping_add(state[word]))
}

fn factors(dropout: Dropout, layer: usize, shape: [usize; 3]) -> Vec<f32> {
    let mut factors = vec![f32::NAN; shape.iter().product()];
    dropout.factors(layer, shape, &mut factors).unwrap();
    factors
}

#[test]
fn the_block_function_of_this_file_is_that_of_chacha8() {
    // The well-known stream of the key of zeros, 3e00ef2f895f40d6…, as little-endian words.
    let expected =
        [0x2fef003e, 0xd6405f89, 0xe8b85b7f, 0xa1a5091f, 0xc30e842c, 0x3b7f9ace, 0x88e11b18, 0x1e1a71ef];
    assert_eq!(chacha8([0; 4], 0)[..8], expected);
}

proptest! {
    #[test]
    fn factors_are_the_documented_words_of_chacha8(
        seed in any::<u64>(),
        probability in 0.0f32..1.0,
        layer in 0usize..100,
        shape in [0usize..4, 0usize..4, 1usize..150],
    ) {
        let found = factors(Dropout::new(probability, seed).unwrap(), layer, shape);
        let [_, batch, width] = shape;
        for (place, &factor) in found.iter().enumerate() {
            let (row, unit) = (place / width, place % width);
            let key = [seed, layer as u64, (row / batch) as u64, (row % batch) as u64];
            let word = chacha8(key, unit as u64 / 16)[unit % 16];
            let is_zero = f64::from(word) < f64::from(probability) * 4294967296.0;
            let expected = if is_zero { 0.0 } else { (1.0 / (1.0 - f64::from(probability))) as f32 };
            prop_assert_eq!(factor, expected);
        }
    }
}

#[test]
fn as_many_elements_are_zero_as_the_probability_says() {
    for probability in [0.0, 0.1, 0.5, 0.9] {
        let found = factors(Dropout::new(probability, 3).unwrap(), 1, [50, 20, 100]);
        let zeros = found.iter().filter(|&&factor| factor == 0.0).count() as f64 / found.len() as f64;
        // Six standard deviations of 100 000 draws.
        assert!((zeros - f64::from(probability)).abs() < 6.0 * 0.5 / 100_000f64.sqrt());
    }
}

#[test]
fn a_probability_of_one_or_none_at_all_is_refused() {
    for found in [1.0, 1.5, -0.1, f32::NAN, f32::INFINITY] {
        let refused = Dropout::new(found, 0).unwrap_err();
        let expected = "dropout: expected at least 0, less than 1, found";
        assert!(refused.to_string().starts_with(expected), "{refused}");
    }
    assert!(Dropout::new(0.0, 0).is_ok() && Dropout::new(1.0f32.next_down(), 0).is_ok());
}

#[test]
fn factors_for_another_shape_are_refused_and_left_alone() {
    let dropout = Dropout::new(0.5, 0).unwrap();
    let mut found = [7.0; 5];
    let refused = dropout.factors(0, [1, 2, 3], &mut found);
    assert_refused(refused, Refused::Length { argument: "factors", expected: 6, found: 5 });
    let refused = dropout.factors(0, [usize::MAX, 2, 3], &mut found);
    assert_refused(refused, Refused::Overflow { argument: "factors" });
    assert_eq!(found, [7.0; 5]);
}
