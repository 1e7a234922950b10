//! What `QUADGATE_ISA` says, each value in a process of its own, since tests of one process share its environment.

use quadgate::{Error, Isa, Lstm, LstmConfig, LstmWeights};
use std::env;
use std::process::Command;

/// Tells a process that it is to print what it finds.
const CHILD: &str = "QUADGATE_TEST_CHILD";

/// The instruction set of a layer that names none, or the error.
fn found() -> String {
    let config = LstmConfig::new(1, 1);
    let weights = LstmWeights::pytorch(&config, &[1.0; 4], &[1.0; 4], None, None).unwrap();
    match Lstm::new(&config, &weights) {
        Ok(lstm) => lstm.isa().name().to_string(),
        Err(Error::UnknownIsa { found, .. }) => format!("unknown {found}"),
        Err(Error::UnsupportedIsa { expected, .. }) => format!("unsupported {expected}"),
        Err(error) => panic!("{error}"),
    }
}

/// What a process finds whose environment has this value, or none.
fn found_with(value: Option<&str>) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "a_process_prints_what_it_finds", "--nocapture"]).env(CHILD, "1");
    match value {
        Some(value) => command.env("QUADGATE_ISA", value),
        None => command.env_remove("QUADGATE_ISA"),
    };
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let found = output.split("found: ").nth(1).and_then(|rest| rest.lines().next());
    found.unwrap_or_else(|| panic!("{output}")).to_string()
}

#[test]
fn a_process_prints_what_it_finds() {
    if env::var_os(CHILD).is_some() {
        println!("found: {}", found());
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    assert_eq!(found_with(Some("")), found_with(None));
}

#[test]
fn names_are_read_in_any_case_of_letters() {
    for &isa in Isa::ALL {
        let name = isa.name();
        let mixed = name[..1].to_uppercase() + &name[1..];
        let found = [name, &name.to_uppercase(), &mixed].map(|name| found_with(Some(name)));
        let is_known = [name.to_string(), format!("unsupported {name}")].contains(&found[0]);
        assert!(is_known && found.iter().all(|other| *other == found[0]), "{name}: {found:?}");
    }
    assert_eq!(found_with(Some("Portable")), "portable");
}

#[test]
fn any_other_name_is_refused_by_its_name() {
    for name in ["avx", "avx512f", " avx2", "none"] {
        assert_eq!(found_with(Some(name)), format!("unknown {name}"));
    }
}
