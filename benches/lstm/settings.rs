//! What the environment asks for: `QUADGATE_SHAPES`, `QUADGATE_THREADS`, `QUADGATE_ISA`, `QUADGATE_SWEEP` and
//! `QUADGATE_ORDER`.

use crate::grid::SIZES;
use crate::machine::{available_isas, available_threads};
use crate::runner::Runner;
use crate::shapes::{Shape, shapes};
use quadgate::Isa;
use std::ops::RangeInclusive;

/// More threads than this are a typing error.
const MAX_THREADS: usize = 1024;

/// The choices, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Shapes of the groups that run sequences.
    pub(crate) shapes: Vec<Shape>,
    /// Thread settings of those groups.
    pub(crate) runners: Vec<Runner>,
    /// The instruction set that is forced. The library reads the variable too.
    pub(crate) isa: Option<Isa>,
    /// Hidden units of the sweep.
    pub(crate) sweep_sizes: RangeInclusive<usize>,
    /// The seed of the order of benchmarks, if it is to be random.
    pub(crate) order_seed: Option<u64>,
}

impl Settings {
    /// Reads the environment. Where one number of threads is `served`, the caller's is the first of them.
    ///
    /// # Errors
    /// A sentence that names the variable, what was expected and what was found.
    pub(crate) fn from_environment(served: bool) -> Result<Self, String> {
        Ok(Self {
            shapes: read("QUADGATE_SHAPES", shapes)?,
            runners: read("QUADGATE_THREADS", |text| runners(text, served))?,
            isa: read("QUADGATE_ISA", isa)?,
            sweep_sizes: read("QUADGATE_SWEEP", sweep_sizes)?,
            order_seed: read("QUADGATE_ORDER", order_seed)?,
        })
    }
}

fn read<V>(variable: &str, parse: impl FnOnce(Option<&str>) -> Result<V, String>) -> Result<V, String> {
    let text = std::env::var_os(variable).map(|text| text.to_string_lossy().into_owned());
    parse(text.as_deref()).map_err(|message| format!("{variable}: {message}"))
}

/// One thread and all threads, or the numbers given.
fn runners(text: Option<&str>, served: bool) -> Result<Vec<Runner>, String> {
    let counts = match text {
        None => vec![1, available_threads()],
        Some(text) => text.split(',').map(|count| parse_threads(count, text)).collect::<Result<_, _>>()?,
    };
    let joining = served && counts.len() == 1;
    let mut runners: Vec<Runner> = Vec::new();
    for count in counts {
        if runners.iter().all(|runner| runner.requested() != count) {
            runners.push(Runner::new(count, joining)?);
        }
    }
    Ok(runners)
}

fn parse_threads(count: &str, text: &str) -> Result<usize, String> {
    count.trim().parse().ok().filter(|count| (1..=MAX_THREADS).contains(count)).ok_or_else(|| {
        format!("expected numbers of threads from 1 to {MAX_THREADS}, such as 1,2, found {text:?}")
    })
}

/// All sizes, or the first and the last of them.
fn sweep_sizes(text: Option<&str>) -> Result<RangeInclusive<usize>, String> {
    let Some(text) = text else { return Ok(SIZES) };
    let parse = |size: &str| size.trim().parse().ok().filter(|size| SIZES.contains(size));
    let sizes = text.split_once("..").and_then(|(first, last)| Some(parse(first)?..=parse(last)?));
    sizes.ok_or_else(|| format!("expected FIRST..LAST, both from {SIZES:?}, found {text:?}"))
}

/// `random`, or `random:SEED`.
fn order_seed(text: Option<&str>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    let seed = match text.split_once(':') {
        None if text == "random" => Some(1),
        Some(("random", seed)) => seed.parse().ok(),
        _ => None,
    };
    seed.map(Some).ok_or_else(|| format!("expected random or random:SEED, found {text:?}"))
}

fn isa(text: Option<&str>) -> Result<Option<Isa>, String> {
    let Some(text) = text else { return Ok(None) };
    let available = available_isas();
    match available.iter().find(|isa| isa.name() == text) {
        Some(&isa) => Ok(Some(isa)),
        None => {
            let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
            Err(format!(
                "expected an instruction set of this CPU, one of {}, found {text:?}",
                names.join(", ")
            ))
        }
    }
}
