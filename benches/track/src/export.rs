//! `export`: a record or an outcome in the formats of others.

use crate::ab::{self, Outcome};
use crate::bench;
use crate::error::{Context, Result};
use crate::files;
use crate::record::Record;
use crate::table::{self, Style};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Options of `export`.
#[derive(Args, Debug)]
pub struct Options {
    /// A record, or the JSON of ab, count or compare
    file: PathBuf,
    /// Whose format
    #[arg(long, value_enum)]
    format: Format,
    /// Where to write it; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// github-action-benchmark, tool customSmallerIsBetter
    Github,
    /// Bencher Metric Format
    Bencher,
    /// A line for each benchmark
    Csv,
    /// A table, for a comment
    Markdown,
}

/// What can be exported.
#[derive(Debug)]
enum Document {
    Record(Box<Record>),
    Outcome(Box<Outcome>),
}

/// A benchmark with what all formats need.
struct Entry {
    id: String,
    /// Median of a call, or instructions.
    value: f64,
    /// Quarter and three quarters.
    range: Option<[f64; 2]>,
    unit: &'static str,
    gflops: Option<f64>,
    remark: String,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let text = Document::read(&options.file)?.export(options.format);
    match &options.output {
        Some(path) => files::write(path, &text),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

impl Document {
    fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let value: Value = serde_json::from_str(&files::read(path)?)
            .context(format!("{name} is no JSON, or only a part of it"))?;
        if value.get("judgments").is_none() {
            return Ok(Self::Record(Box::new(Record::read(path)?)));
        }
        bench::check_schema(&value, ab::SCHEMA, &name.to_string())?;
        Ok(Self::Outcome(Box::new(serde_json::from_value(value).context(format!("{name} is no outcome"))?)))
    }

    fn export(&self, format: Format) -> String {
        let json = |value: &Value| format!("{value:#}\n");
        match format {
            Format::Github => json(&github(&self.entries())),
            Format::Bencher => json(&bencher(&self.entries())),
            Format::Csv => csv(&self.entries()),
            Format::Markdown => match self {
                Self::Record(record) => record_table(record, &self.entries()),
                Self::Outcome(outcome) => ab::render(outcome, Style::Markdown),
            },
        }
    }

    fn entries(&self) -> Vec<Entry> {
        match self {
            Self::Record(record) => {
                let rows = record.bench.results.iter().zip(&record.quantiles_ms);
                rows.map(|(row, quantiles)| Entry {
                    id: row.id.clone(),
                    value: row.median_ms,
                    range: quantiles.map(|quantiles| [quantiles.p25, quantiles.p75]),
                    unit: "ms",
                    gflops: row.gflops,
                    remark: row
                        .roofline_percent
                        .map_or_else(String::new, |share| format!("{share:.1} % of the roofline")),
                })
                .collect()
            }
            Self::Outcome(outcome) => outcome
                .judgments
                .iter()
                .map(|judgment| Entry {
                    id: judgment.id.clone(),
                    value: judgment.new_ms,
                    range: None,
                    unit: if outcome.unit == ab::Unit::Instructions { "instructions" } else { "ms" },
                    gflops: None,
                    remark: format!("{} ({})", judgment.verdict.name(), table::change(judgment.ratio)),
                })
                .collect(),
        }
    }
}

/// An array of name, unit, value, range and extra.
fn github(entries: &[Entry]) -> Value {
    let entry = |entry: &Entry| {
        let mut value =
            json!({ "name": entry.id, "unit": entry.unit, "value": entry.value, "extra": entry.remark });
        if let Some([low, high]) = entry.range {
            value["range"] = format!("± {}", table::significant(0.5 * (high - low))).into();
        }
        value
    };
    entries.iter().map(entry).collect()
}

/// An object of benchmarks, each of measures, each of a value and its bounds.
fn bencher(entries: &[Entry]) -> Value {
    let mut all = Map::new();
    for entry in entries {
        // Bencher's latency is in nanoseconds.
        let (measure, scale) = if entry.unit == "ms" { ("latency", 1e6) } else { ("instructions", 1.0) };
        let mut metric = json!({ "value": scale * entry.value });
        if let Some([low, high]) = entry.range {
            metric["lower_value"] = (scale * low).into();
            metric["upper_value"] = (scale * high).into();
        }
        let mut measures = json!({ measure: metric });
        if let Some(gflops) = entry.gflops {
            measures["gflops"] = json!({ "value": gflops });
        }
        all.insert(entry.id.clone(), measures);
    }
    Value::Object(all)
}

fn csv(entries: &[Entry]) -> String {
    let mut text = String::from("benchmark,value,unit,p25,p75,gflops,remark\n");
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for Entry { id, value, range, unit, gflops, remark } in entries {
        let [low, high] = [range.map(|range| range[0]), range.map(|range| range[1])].map(number);
        text += &format!("{id},{value},{unit},{low},{high},{},{}\n", number(*gflops), quoted(remark));
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn record_table(record: &Record, entries: &[Entry]) -> String {
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| {
            let range = entry.range.map_or_else(String::new, |range| {
                let [low, high] = range.map(table::significant);
                format!("{low} … {high}")
            });
            let gflops = entry.gflops.map_or_else(String::new, |gflops| format!("{gflops:.1}"));
            [entry.id.clone(), table::significant(entry.value), range, gflops, entry.remark.clone()]
        })
        .collect();
    let header = ["benchmark", "median ms", "quartiles", "GFLOP/s", ""];
    let Record { commit, date, machine, .. } = record;
    format!("{}, {commit}, {date}\n\n{}", machine.cpu, table::render(header, &rows, Style::Markdown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> [Document; 2] {
        let record = crate::record::tests::sample("m", "ab", 1.0);
        [Document::Record(Box::new(record)), Document::Outcome(Box::new(ab::tests::sample()))]
    }

    #[test]
    fn the_format_of_github_action_benchmark_is_met() {
        for document in documents() {
            let value: Value = serde_json::from_str(&document.export(Format::Github)).expect("it is JSON");
            let entries = value.as_array().expect("an array");
            assert!(!entries.is_empty());
            for entry in entries {
                assert!(entry["name"].is_string() && entry["unit"].is_string() && entry["value"].is_number());
                assert!(
                    entry["extra"].is_string() && (entry["range"].is_string() || entry["range"].is_null())
                );
            }
        }
    }

    #[test]
    fn the_format_of_bencher_is_met_in_nanoseconds() {
        let [record, _] = documents();
        let value: Value = serde_json::from_str(&record.export(Format::Bencher)).expect("it is JSON");
        let latency = &value["forward/100x1x64x64/avx2/1"]["latency"];
        let [low, found, high] =
            ["lower_value", "value", "upper_value"].map(|name| latency[name].as_f64().expect("a number"));
        assert!((found - 73_500.0).abs() < 1e-6 && low < found && found < high, "{latency}");
        for measures in value.as_object().expect("benchmarks").values() {
            for metric in measures.as_object().expect("measures").values() {
                assert!(metric["value"].is_number());
            }
        }
    }

    #[test]
    fn each_line_of_csv_has_as_many_fields() {
        for document in documents() {
            let text = document.export(Format::Csv);
            assert!(
                text.lines().count() > 1 && text.lines().all(|line| line.split(',').count() == 7),
                "{text}"
            );
        }
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }

    #[test]
    fn markdown_has_a_row_for_each_benchmark() {
        for document in documents() {
            let text = document.export(Format::Markdown);
            let entries = document.entries();
            assert!(entries.iter().all(|entry| text.contains(&format!("| {} |", entry.id))), "{text}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.json");
        for (text, words) in [
            ("{\"judgments\": [], \"schema\": 9}", "schema 9"),
            ("[1]", "no field schema"),
            ("{\"schema\": 1", "part"),
        ] {
            std::fs::write(&path, text).expect("a file");
            let message = format!("{:?}", Document::read(&path).expect_err(words));
            assert!(message.contains("other.json") && message.contains(words), "{message}");
        }
    }
}
