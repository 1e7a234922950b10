//! `bench.json`, what a run of the suite writes; `benches/README.md` describes it.

use crate::error::{Context, Result, error};
use crate::files;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The version of the schema that is understood.
const SCHEMA: u32 = 1;

/// A run of the suite. What this tool does not need is kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The machine and its limits.
    pub machine: Limits,
    /// By benchmark.
    pub results: Vec<Row>,
}

/// The machine, as the suite sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Name of the CPU.
    pub cpu: String,
    /// Threads that run at once.
    pub cores: usize,
    /// Measured.
    pub limits: Rates,
    /// Other fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What the machine can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// By instruction set.
    pub fma_peak_gflops: BTreeMap<String, Rate>,
    /// By level of the memory hierarchy.
    pub read_gb_per_s: BTreeMap<String, Rate>,
    /// Nanoseconds of a fork and join of all threads; older suites do not measure it.
    #[serde(default)]
    pub fork_join_ns: Option<f64>,
    /// Nanoseconds until another thread sees a value, and answers.
    #[serde(default)]
    pub round_trip_ns: Option<f64>,
}

/// Of one thread, and of all together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// One thread.
    pub single: f64,
    /// All threads.
    pub all: f64,
}

/// A shape of a layer and its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Steps.
    pub t: usize,
    /// Rows.
    pub b: usize,
    /// Features.
    pub x: usize,
    /// Units.
    pub h: usize,
}

/// A benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// First part of the id.
    pub group: String,
    /// `GROUP/CASE/ISA/THREADS`
    pub id: String,
    /// Of the layer.
    pub shape: Shape,
    /// Instruction set.
    pub isa: String,
    /// Threads in use.
    pub threads: usize,
    /// Milliseconds of a call in the fastest sample.
    pub min_ms: f64,
    /// Milliseconds of a call in the sample in the middle.
    pub median_ms: f64,
    /// GFLOP/s of the minimum.
    pub gflops: Option<f64>,
    /// Percent of the multiply-add peak.
    pub limit_percent: Option<f64>,
    /// Percent of the roofline.
    pub roofline_percent: Option<f64>,
    /// The multiply-add rate right before or after.
    pub fma_gflops_around: f64,
    /// All samples; older suites do not give them.
    #[serde(default)]
    pub samples_ms: Vec<f64>,
    /// Other fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Bench {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?, &path.display().to_string())
    }

    /// Checks a text; `name` says whose it is.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).context(format!("{name} is no JSON, or only a part of it"))?;
        check_schema(&value, SCHEMA, name)?;
        let bench: Self =
            serde_json::from_value(value).context(format!("{name} is no result of the suite"))?;
        bench.check(name)?;
        Ok(bench)
    }

    /// Whether the figures can be what they say.
    pub fn check(&self, name: &str) -> Result<()> {
        if self.results.is_empty() {
            return Err(error(format!("{name} has no results")));
        }
        for row in &self.results {
            let times = [row.min_ms, row.median_ms, row.fma_gflops_around];
            if !times.iter().chain(&row.samples_ms).all(|&value| value.is_finite() && value >= 0.0)
                || row.min_ms == 0.0
            {
                return Err(error(format!(
                    "{name}: {} has a time or rate that is no positive number",
                    row.id
                )));
            }
            if self.results.iter().filter(|other| other.id == row.id).count() > 1 {
                return Err(error(format!("{name} has {} more than once", row.id)));
            }
        }
        Ok(())
    }
}

/// An error where a document has another version.
pub fn check_schema(value: &Value, expected: u32, name: &str) -> Result<()> {
    match value.get("schema").and_then(Value::as_u64) {
        Some(found) if found == u64::from(expected) => Ok(()),
        Some(found) => {
            Err(error(format!("{name} has schema {found}, and this tool reads schema {expected}")))
        }
        None => Err(error(format!("{name} has no field schema"))),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Some benchmarks of a machine of two cores.
    pub fn sample() -> Bench {
        let row = |group: &str, shape: [usize; 4], threads: usize, min_ms: f64| {
            let [t, b, x, h] = shape;
            let flops = 8.0 * (t * b * h * (x + h)) as f64 * if group == "train" { 3.0 } else { 1.0 };
            let gflops = 1e-6 * flops / min_ms;
            Row {
                group: group.to_owned(),
                id: format!("{group}/{t}x{b}x{x}x{h}/avx2/{threads}"),
                shape: Shape { t, b, x, h },
                isa: "avx2".to_owned(),
                threads,
                min_ms,
                median_ms: 1.05 * min_ms,
                gflops: Some(gflops),
                limit_percent: Some(100.0 * gflops / (140.0 * threads as f64)),
                roofline_percent: Some(70.0),
                fma_gflops_around: 138.0 * threads as f64,
                samples_ms: (0..11).map(|i| min_ms * (1.0 + 0.01 * f64::from(i))).collect(),
                other: Map::new(),
            }
        };
        let rate = |single: f64| Rate { single, all: 1.9 * single };
        let of = |rates: &[(&str, f64)]| {
            rates.iter().map(|&(name, single)| (name.to_owned(), rate(single))).collect()
        };
        Bench {
            schema: SCHEMA,
            machine: Limits {
                cpu: "Some CPU".to_owned(),
                cores: 2,
                limits: Rates {
                    fma_peak_gflops: of(&[("portable", 70.0), ("avx2", 140.0)]),
                    read_gb_per_s: of(&[("l1", 500.0), ("l2", 250.0), ("l3", 120.0), ("memory", 40.0)]),
                    fork_join_ns: Some(900.0),
                    round_trip_ns: None,
                },
                other: Map::new(),
            },
            results: vec![
                row("forward", [100, 1, 64, 64], 1, 0.07),
                row("forward", [100, 16, 128, 128], 1, 4.0),
                row("forward", [100, 16, 128, 128], 2, 2.2),
                row("train", [100, 16, 128, 128], 1, 13.0),
                row("step", [1, 1, 32, 32], 1, 0.0003),
            ],
        }
    }

    #[test]
    fn what_is_written_can_be_read_with_all_its_fields() {
        let mut value = serde_json::to_value(sample()).expect("it has only numbers and words");
        value["results"][0]["times_oracle"] = 20.5.into();
        value["machine"]["features"] = vec!["avx2"].into();
        let text = value.to_string();
        let read = Bench::parse(&text, "it").expect("it is right");
        assert_eq!(serde_json::to_value(&read).expect("again"), value);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let text = serde_json::to_string(&sample()).expect("it has only numbers and words");
        let twice = {
            let mut bench = sample();
            bench.results.push(bench.results[0].clone());
            serde_json::to_string(&bench).expect("it has only numbers and words")
        };
        for (text, words) in [
            (&text[..text.len() / 2], "only a part"),
            ("", "only a part"),
            ("{}", "no field schema"),
            (&text.replacen("\"schema\":1", "\"schema\":7", 1), "schema 7, and this tool reads schema 1"),
            (&text.replacen("\"id\"", "\"name\"", 1), "missing field `id`"),
            (&text.replacen("\"min_ms\":0.07", "\"min_ms\":-1.0", 1), "no positive number"),
            (&text.replacen("\"min_ms\":0.07", "\"min_ms\":\"soon\"", 1), "no result of the suite"),
            (&twice, "more than once"),
        ] {
            let message = format!("{:?}", Bench::parse(text, "some.json").expect_err(words));
            assert!(message.contains("some.json") && message.contains(words), "{message}");
        }
    }
}
