//! Configurations as data: they come back as they were, and are refused where a layer would refuse them.

use proptest::prelude::*;
use quadgate::{
    ActivationFunction, Activations, Arrangement, Clip, Coupling, Direction, Directions, GruConfig, Isa,
    LstmConfig, Nonlinearity, ResetGate, RnnConfig, Schedule, Split, StackConfig, Threads, Zoneout,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::num::NonZeroUsize;

/// The same after a way through text.
fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// Why text is no such configuration.
fn refused<T: DeserializeOwned + Debug>(text: &str) -> String {
    serde_json::from_str::<T>(text).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn a_configuration_comes_back_as_it_was(
        sizes in (0usize..99, 0usize..99),
        options in any::<u16>(),
        threads in 0usize..4,
        isa in proptest::option::of(proptest::sample::select(Isa::ALL)),
        limit in 1e-30f32..1e30,
    ) {
        let has = |bit: u16| options >> bit & 1 > 0;
        let mut config = LstmConfig::new(sizes.0, sizes.1);
        if let Some(isa) = isa {
            config = config.isa(isa);
        }
        if let Some(threads) = NonZeroUsize::new(threads) {
            config = config.threads(if threads.get() == 3 { Threads::Serial } else { Threads::Exactly(threads) });
        }
        for (bit, change) in [
            (0, (|config: LstmConfig| config.projection(7).projection_bias()) as fn(LstmConfig) -> LstmConfig),
            (1, |config| config.peepholes().coupling(Coupling::InputFromForget)),
            (2, |config| config.layer_normalization(1e-8)),
            (3, |config| config.zoneout(Zoneout { hidden: 0.1, cell: 0.7 }).recurrent_dropout()),
            (4, |config| config.direction(Direction::Reverse).training()),
            (5, |config| config.schedule(Schedule::Hoisted).split(Split::Rows)),
        ] {
            config = if has(bit) { change(config) } else { config };
        }
        if has(6) {
            config = config.clip(Clip { gate: Some(limit), ..Clip::default() });
        }
        if has(7) {
            let gate = ActivationFunction::HardSigmoid { alpha: limit, beta: 0.1 };
            config = config.activations(Activations { gate, cell: ActivationFunction::Relu, ..Activations::default() });
        }
        prop_assert_eq!(&again(&config), &config);
        let gru = GruConfig::new(sizes.0, sizes.1).reset_gate(ResetGate::BeforeProduct).training().clip(limit);
        prop_assert_eq!(&again(&gru), &gru);
        let rnn = RnnConfig::new(sizes.0, sizes.1).nonlinearity(Nonlinearity::Relu).zoneout(0.25).layer_normalization(0.1);
        prop_assert_eq!(&again(&rnn), &rnn);
    }
}

#[test]
fn what_is_not_there_is_as_in_new() {
    let text = r#"{"kind": "lstm", "input_size": 3, "hidden_size": 5, "options": {"clip": {"gate": 2.0}}}"#;
    let config: LstmConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config, LstmConfig::new(3, 5).clip(Clip::onnx_runtime(2.0)));
    let text = r#"{"kind": {"gru": "before_product"}, "input_size": 3, "hidden_size": 5, "isa": "avx512"}"#;
    let config: GruConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config, GruConfig::new(3, 5).reset_gate(ResetGate::BeforeProduct).isa(Isa::Avx512));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let lstm = |more: &str| format!(r#"{{"kind": "lstm", "input_size": 3, "hidden_size": 5, {more}}}"#);
    for (more, expected) in [
        (r#""options": {"projection": 0}"#, "projection: expected at least 1, found 0"),
        (r#""options": {"clip": {"cell": -1.0}}"#, "cell clip: expected a limit above 0, found -1"),
        (r#""options": {"projection_bias": true}"#, "projection bias: expected none, found some"),
        (r#""options": {"normalization": 0.1}, "split": "units""#, "split over units: cannot be had with"),
        (r#""sizes": 7"#, "unknown field `sizes`"),
        (r#""threads": {"exactly": 0}"#, "nonzero"),
    ] {
        let found = refused::<LstmConfig>(&lstm(more));
        assert!(found.contains(expected), "{found}");
    }
    let gru = serde_json::to_string(&GruConfig::new(3, 5)).unwrap();
    assert!(refused::<LstmConfig>(&gru).contains("kind: expected an LSTM"));
    assert!(refused::<RnnConfig>(&gru).contains("kind: expected a plain recurrent cell"));
    assert!(
        refused::<GruConfig>(&lstm(r#""training": true"#)).contains("kind: expected a gated recurrent unit")
    );
    let optional = gru.replace(r#""peepholes":false"#, r#""peepholes":true"#);
    assert!(refused::<GruConfig>(&optional).contains("options of an LSTM"), "{optional}");
}

#[test]
fn stacks_come_back_as_they_were_and_layers_that_do_not_fit_are_refused() {
    let like_one = StackConfig::of(GruConfig::new(40, 100).clip(2.0), 7, Directions::Concatenated);
    let like_one = like_one.arrangement(Arrangement::InTurn).training();
    assert_eq!(again(&like_one), like_one);
    let layers = [LstmConfig::new(40, 200), LstmConfig::new(200, 100).peepholes(), LstmConfig::new(100, 50)];
    let listed = StackConfig::of_layers(layers, Directions::Forward).unwrap();
    assert_eq!(again(&listed), listed);
    let text = serde_json::to_string(&listed).unwrap();
    for (from, to, expected) in [
        (r#""input_size":200"#, r#""input_size":199"#, "expected input size = 200, found 199"),
        (r#""layers":3"#, r#""layers":2"#, "expected layers = 2, found 3"),
        (r#""layers":3"#, r#""layers":4"#, "expected input size = 50, found 100"),
        (r#""training":false"#, r#""training":true"#, "training"),
    ] {
        let found = refused::<StackConfig>(&text.replacen(from, to, 1));
        assert!(found.contains(expected), "{found}");
    }
}
