//! Packed weights as bytes: they come back as they were, on the same level and for the same layer, and never as
//! anything else.

use crate::common::refused::{Refused, assert_refused};
use crate::common::{Random, bits, fnv, levels};
use proptest::prelude::*;
use quadgate::{
    Coupling, Error, Gru, GruConfig, GruWeights, Isa, Lstm, LstmConfig, LstmWeights, Matrix, ResetGate, Rnn,
    RnnConfig, RnnWeights, Zoneout,
};

/// Bytes before the numbers.
const HEADER: usize = 12 * 8;

fn configs() -> impl Strategy<Value = LstmConfig> {
    let sizes = (0usize..20, 1usize..40, any::<u8>(), any::<bool>(), proptest::sample::select(levels()));
    sizes.prop_map(|(inputs, units, options, training, isa)| {
        let config = LstmConfig::new(inputs, units).isa(isa);
        let config = if training { config.training() } else { config };
        let config = if options & 1 > 0 { config.projection(3) } else { config };
        let config = if options & 3 == 3 { config.projection_bias() } else { config };
        let config = if options & 4 > 0 { config.peepholes() } else { config };
        let config = if options & 8 > 0 { config.layer_normalization(0.1) } else { config };
        let config = if options & 16 > 0 { config.coupling(Coupling::InputFromForget) } else { config };
        if options & 32 > 0 { config.zoneout(Zoneout { hidden: 0.25, cell: 0.5 }) } else { config }
    })
}

fn lstm(config: &LstmConfig, seed: u64) -> Lstm {
    let parameters = Random(seed).vec(config.parameters().unwrap().total(), 1.0);
    Lstm::new(config, &LstmWeights::from_parameters(config, &parameters).unwrap()).unwrap()
}

fn saved(lstm: &Lstm) -> Vec<u8> {
    let mut bytes = vec![0x55; lstm.saved_packed_len()];
    lstm.save_packed(&mut bytes).unwrap();
    bytes
}

/// h after two steps, and all parameters.
fn answers(lstm: &Lstm) -> [Vec<u32>; 2] {
    let config = lstm.config();
    let (mut state, x) = (lstm.state(1).unwrap(), Random(9).vec(config.input_size(), 1.0));
    for _ in 0..2 {
        lstm.step(&mut state, Matrix::new(&x, 1, x.len())).unwrap();
    }
    let mut parameters = vec![0.0; config.parameters().unwrap().total()];
    lstm.read_parameters(&mut parameters).unwrap();
    [bits(state.hidden(0).unwrap()), bits(&parameters)]
}

/// What differs, of bytes that were refused.
fn property(result: Result<Lstm, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::StoredWeights { property, .. } => property,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn packed_weights_come_back_as_they_were(config in configs(), seed in any::<u64>()) {
        let lstm = lstm(&config, seed);
        let bytes = saved(&lstm);
        let again = Lstm::from_packed(&config, &bytes).unwrap();
        prop_assert_eq!(answers(&again), answers(&lstm));
        prop_assert_eq!(saved(&again), bytes);
    }

    #[test]
    fn damaged_bytes_are_refused(
        config in configs(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in any::<prop::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 1..9),
    ) {
        let bytes = saved(&lstm(&config, 1));
        let mut damaged = bytes.clone();
        changes.iter().for_each(|(at, by)| *at.get_mut(&mut damaged) ^= by);
        if damaged != bytes {
            prop_assert!(Lstm::from_packed(&config, &damaged).is_err());
        }
        prop_assert!(Lstm::from_packed(&config, &bytes[..cut.index(bytes.len())]).is_err());
        prop_assert_eq!(property(Lstm::from_packed(&config, &[&bytes[..], &more].concat())), "length");
        prop_assert!(Lstm::from_packed(&config, &more).is_err());
    }

    #[test]
    fn packed_weights_of_another_layer_are_refused(config in configs(), other in configs()) {
        let bytes = saved(&lstm(&config, 1));
        let result = Lstm::from_packed(&other, &bytes);
        // Zoneout is no part of what was packed.
        let stored = |config: LstmConfig| config.zoneout(Zoneout::default());
        if stored(config) == stored(other) {
            prop_assert!(result.is_ok());
        } else {
            prop_assert!(["level", "options", "coupling", "training", "input size", "hidden size", "output size"]
                .contains(&property(result)));
        }
    }
}

#[test]
fn every_cell_has_packed_weights_and_refuses_those_of_another() {
    let gru = |reset_gate| {
        let config = GruConfig::new(3, 18).reset_gate(reset_gate);
        let parameters = Random(2).vec(config.parameters().unwrap().total(), 1.0);
        let gru = Gru::new(&config, &GruWeights::from_parameters(&config, &parameters).unwrap()).unwrap();
        let mut bytes = vec![0; gru.saved_packed_len()];
        gru.save_packed(&mut bytes).unwrap();
        let (mut found, again) = (vec![0.0; parameters.len()], Gru::from_packed(&config, &bytes).unwrap());
        again.read_parameters(&mut found).unwrap();
        assert_eq!(found, parameters);
        (config, bytes)
    };
    let (_, after) = gru(ResetGate::AfterProduct);
    let (config, _) = gru(ResetGate::BeforeProduct);
    let refused = |expected: &str, found: &str| Refused::StoredWeights {
        argument: "bytes",
        property: "cell",
        expected: expected.into(),
        found: found.into(),
    };
    assert_refused(Gru::from_packed(&config, &after), refused("2", "1"));

    let config = RnnConfig::new(3, 18);
    let (w, r, b) = (Random(3).vec(54, 1.0), Random(4).vec(324, 1.0), Random(5).vec(18, 1.0));
    let rnn = Rnn::new(&config, &RnnWeights::pytorch(&config, &w, &r, Some(&b), None).unwrap()).unwrap();
    let mut bytes = vec![0; rnn.saved_packed_len()];
    rnn.save_packed(&mut bytes).unwrap();
    let mut found = vec![0.0; 54 + 324 + 18];
    Rnn::from_packed(&config, &bytes).unwrap().read_parameters(&mut found).unwrap();
    assert_eq!(found, [w, r, b].concat());
    assert_refused(Lstm::from_packed(&LstmConfig::new(3, 18), &bytes), refused("0", "3"));
}

#[test]
fn another_level_is_named() {
    let of = |isa| LstmConfig::new(2, 3).isa(isa);
    let bytes = saved(&lstm(&of(Isa::Portable), 1));
    for isa in levels().into_iter().filter(|&isa| isa != Isa::Portable) {
        let found = Lstm::from_packed(&of(isa), &bytes).unwrap_err().to_string();
        assert_eq!(found, format!("bytes: expected packed weights of level {isa}, found portable"));
    }
}

#[test]
fn a_buffer_of_another_length_is_refused_before_anything_is_written() {
    let lstm = lstm(&LstmConfig::new(2, 3), 1);
    let len = lstm.saved_packed_len();
    let mut bytes = vec![7; len + 1];
    assert_refused(
        lstm.save_packed(&mut bytes),
        Refused::Length { argument: "bytes", expected: len, found: len + 1 },
    );
    assert!(bytes.iter().all(|&byte| byte == 7));
    assert_refused(Lstm::from_packed(&LstmConfig::new(2, 0), &[]), Refused::Zero { argument: "hidden size" });
}

#[test]
fn packed_weights_of_a_layer_too_large_for_memory_are_refused() {
    for units in [usize::MAX, usize::MAX / 3, usize::MAX / 4, 1 << 40] {
        for inputs in [0, 1, usize::MAX] {
            assert!(Lstm::from_packed(&LstmConfig::new(inputs, units), &[0; HEADER]).is_err());
            assert!(Gru::from_packed(&GruConfig::new(inputs, units), &[0; HEADER]).is_err());
            assert!(Rnn::from_packed(&RnnConfig::new(inputs, units), &[0; HEADER]).is_err());
        }
    }
}

/// Where this fails, the layout of packed weights has changed: then the version in their header must change too.
#[test]
fn the_layout_of_packed_weights_is_that_of_its_version() {
    let config = LstmConfig::new(3, 6).isa(Isa::Portable).training().peepholes().projection(5);
    if levels().contains(&Isa::Portable) {
        let bytes = saved(&lstm(&config, 1));
        assert_eq!((bytes[8], fnv(bytes[HEADER..].iter().copied())), (1, 0x7857_a7e5_96f6_abcc));
    }
}
