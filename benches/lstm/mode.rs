//! What Criterion was asked to do, as far as the suite must know: Criterion keeps its mode to itself.

/// Whether there will be samples.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    /// Benchmarks are timed and their samples kept. False for `--test`, `--list` and others: then there is nothing to
    /// hold against limits, and nothing is printed or written.
    pub(crate) measuring: bool,
    /// The time of a benchmark counts from before its first call, so that nothing else may happen in between.
    pub(crate) quick: bool,
    /// The command line sets the number of samples.
    pub(crate) samples_given: bool,
    /// The saved samples that these are compared with.
    pub(crate) baseline: Option<String>,
}

impl Mode {
    /// Reads the arguments by Criterion's rules, which has already refused those that it does not know.
    pub(crate) fn from_arguments() -> Self {
        let arguments: Vec<String> =
            std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
        let given = |name: &str| {
            arguments.iter().any(|argument| {
                argument.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        // `cargo bench` adds `--bench`; `cargo test --benches` does not, and only wants to see that all of it runs.
        let runs = given("--bench") && !["--test", "--list", "--profile-time"].into_iter().any(given);
        let baseline = arguments.iter().enumerate().find_map(|(index, argument)| {
            let rest = argument
                .strip_prefix("--baseline")
                .or_else(|| argument.strip_prefix("--baseline-lenient"))?;
            if rest.is_empty() {
                arguments.get(index + 1).cloned()
            } else {
                Some(rest.strip_prefix('=')?.to_owned())
            }
        });
        // cargo-criterion takes the samples for itself.
        let keeps = !["--load-baseline", "--discard-baseline"].into_iter().any(given)
            && std::env::var_os("CARGO_CRITERION_PORT").is_none();
        Self {
            measuring: runs && keeps,
            quick: given("--quick"),
            samples_given: given("--sample-size"),
            baseline,
        }
    }
}
