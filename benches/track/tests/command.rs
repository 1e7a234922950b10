//! The command as it is called, in a small checkout whose suite says what times it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A suite that answers as the real one does, with the times of the library and some noise.
const SUITE: &str = r#"
use std::io::BufRead;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", "list"] => {
            let ids = ["forward/1x1x1x1/portable/1", "step/1x1x1x1/portable/1"];
            let list: Vec<String> =
                ids.iter().map(|id| format!("{{\"id\": \"{id}\", \"threads\": 1, \"flops\": 1.0}}")).collect();
            println!("[{}]", list.join(","));
        }
        ["serve", id] => {
            println!("{{\"protocol\": 1}}");
            let time = if id.starts_with("step") { sample::STEP } else { sample::FORWARD };
            // A percent or so, from the number of the process and the turn.
            let mut noise = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for line in std::io::stdin().lock().lines() {
                let milliseconds: u64 = line.unwrap()[4..].parse().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                noise = (noise ^ noise >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let factor = 1.0 + 0.01 * ((noise >> 40) as f64 / (1 << 24) as f64 - 0.5);
                println!("{{\"quartile_ns\": {}}}", time * factor);
            }
        }
        // A run of the suite, for long.
        [] => std::thread::sleep(std::time::Duration::from_secs(1000)),
        _ => std::process::exit(2),
    }
}
"#;

/// A checkout in a folder of its own.
struct Checkout(tempfile::TempDir);

impl Checkout {
    /// With the commits `first`, `slow`, whose step takes 5 % longer, and `broken`, which does not build; the working
    /// tree is that of `first`.
    fn new() -> Self {
        let checkout = Self(tempfile::tempdir().expect("a folder"));
        let manifest = "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[[bench]]\nname = \"lstm\"\n\
                        harness = false\n\n[workspace]\n";
        checkout.write("Cargo.toml", manifest);
        checkout.write(".gitignore", "/target\nCargo.lock\n");
        checkout.write("benches/lstm/main.rs", SUITE);
        checkout.git(&["init", "--quiet"]);
        checkout.git(&["config", "user.name", "someone"]);
        checkout.git(&["config", "user.email", "someone@example.org"]);
        for (name, step) in [("slow", "1050.0"), ("broken", "fast"), ("first", "1000.0")] {
            let text = format!("pub const FORWARD: f64 = 500.0;\npub const STEP: f64 = {step};\n");
            checkout.write("src/lib.rs", &text);
            checkout.git(&["add", "."]);
            checkout.git(&["commit", "--quiet", "--message", name]);
            checkout.git(&["tag", name]);
        }
        checkout
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn git(&self, words: &[&str]) -> String {
        let output =
            Command::new("git").arg("-C").arg(self.path()).args(words).output().expect("there is git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quadgate-track"));
        command.args(words).current_dir(self.path()).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it is built")
    }

    fn outcome(&self) -> PathBuf {
        self.path().join("target/track/ab.json")
    }

    /// Whether a process of a suite is there.
    fn is_running(&self) -> bool {
        let mut processes = fs::read_dir("/proc").expect("Linux has it").flatten();
        processes.any(|entry| {
            fs::read_link(entry.path().join("exe")).is_ok_and(|program| program.starts_with(self.path()))
        })
    }

    /// No tree but the checkout, and no process of a suite.
    fn is_tidy(&self) -> bool {
        self.git(&["worktree", "list"]).lines().count() == 1 && !self.is_running()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until something has happened, and says so if it does not.
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const BRIEF: [&str; 4] = ["--turn-ms", "1", "--rounds", "24"];

#[test]
fn a_planted_slowdown_fails_and_its_reverse_does_not() {
    let checkout = Checkout::new();
    // From the working tree, which is as fast as first, to slow.
    let output = checkout.run(&[&["ab", "first", "slow"], &BRIEF[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = fs::read_to_string(checkout.outcome()).expect("it is written");
    let outcome: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let verdict = |id: &str| {
        let all = outcome["judgments"].as_array().expect("an array");
        all.iter().find(|judgment| judgment["id"] == id).expect("it was judged")["verdict"].clone()
    };
    assert_eq!(verdict("step/1x1x1x1/portable/1"), "slower");
    assert_eq!(verdict("forward/1x1x1x1/portable/1"), "same");
    let output = checkout.run(&[&["ab", "slow"], &BRIEF[..]].concat());
    assert!(output.status.code() == Some(0) && said(&output).contains("faster"), "{}", said(&output));
    let output = checkout.run(&[&["ab", "first"], &BRIEF[..]].concat());
    assert!(
        output.status.code() == Some(0) && said(&output).contains("0 slower, 0 faster"),
        "{}",
        said(&output)
    );
    assert!(checkout.is_tidy());
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let checkout = Checkout::new();
    checkout.write("target/track/ab.json", "kept");
    for (words, expected) in [
        (&["ab", "nowhere"][..], "nowhere is no revision"),
        (&["ab", "broken"], "the suite of broken"),
        (&["ab", "first", "--bench", "gru"], "no benchmark matches \"gru\""),
        (&["ab", "first", "--bench", "("], "no regular expression"),
        (&["ab", "first", "--rounds", "3"], "3 rounds of 2 benchmarks can say nothing"),
        (&["ab", "first", "--alpha", "2"], "--alpha: expected a probability"),
        (&["ab", "first", "--threads", "0"], "found 0"),
        (&["ab", "first", "--cores", "0,0"], "--cores: expected different cores"),
        (&["ab", "first", "--cores", "100000"], "--cores: expected different cores"),
        (&["compare", "a.json", "b.json"], "cannot read a.json"),
        (&["export", "Cargo.toml", "--format", "csv"], "no JSON"),
        (&["report"], "there are no records"),
        (&["record", "--from", "nowhere.json"], "cannot read nowhere.json"),
    ] {
        let output = checkout.run(words);
        assert!(
            output.status.code() == Some(2) && said(&output).contains(expected),
            "{words:?}: {}",
            said(&output)
        );
    }
    assert_eq!(fs::read_to_string(checkout.outcome()).expect("it is there"), "kept");
    assert!(!checkout.path().join("benches/record").exists() && checkout.is_tidy());
}

#[test]
fn a_full_disk_is_named() {
    let checkout = Checkout::new();
    let output = checkout.run(&[&["ab", "first", "--json", "/dev/full/ab.json"], &BRIEF[..]].concat());
    assert!(
        output.status.code() == Some(2) && said(&output).contains("/dev/full/ab.json"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_signal_ends_everything_and_keeps_what_was() {
    let checkout = Checkout::new();
    checkout.write("target/track/ab.json", "kept");
    let mut child: Child = checkout
        .command(&["ab", "first", "--turn-ms", "50", "--rounds", "10000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    wait_until("the first turn", || {
        assert_eq!(child.try_wait().expect("it can be asked"), None);
        !checkout.is_tidy() && checkout.path().join("target/track/suites/working-tree").exists() && {
            // In the middle of the rounds: a revision is kept too, and its tree is gone.
            let suites =
                fs::read_dir(checkout.path().join("target/track/suites")).expect("it is there").count();
            suites >= 2 && checkout.git(&["worktree", "list"]).lines().count() == 1
        }
    });
    let id = child.id().to_string();
    // Not that of Ctrl-C, which what a shell runs in the background ignores.
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("there is kill").success());
    wait_until("the end of the run", || child.try_wait().expect("it can be asked").is_some());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("interrupted: nothing was written"), "{}", said(&output));
    assert_eq!(fs::read_to_string(checkout.outcome()).expect("it is there"), "kept");
    wait_until("the end of all workers", || checkout.is_tidy());
}

#[test]
fn a_signal_ends_a_run_of_the_suite_and_nothing_is_recorded() {
    let checkout = Checkout::new();
    let mut child = checkout
        .command(&["record"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    wait_until("the run", || {
        assert_eq!(child.try_wait().expect("it can be asked"), None);
        checkout.is_running()
    });
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("there is kill").success());
    wait_until("the end of the run", || child.try_wait().expect("it can be asked").is_some());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    wait_until("the end of the suite", || checkout.is_tidy());
    assert!(!checkout.path().join("benches/record").exists());
}
