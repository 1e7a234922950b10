//! `report`: one page of records with plots, which needs no network.

mod bars;
mod history;
mod page;
mod peers;
mod plot;
mod roofline;
mod scaling;
mod sweep;

use crate::error::{Result, error};
use crate::files;
use crate::record::{self, Record};
use crate::repository::Repository;
use clap::Args;
use peers::Peers;
use plot::Plot;
use std::path::{Path, PathBuf};
use sweep::Sweep;

/// Options of `report`.
#[derive(Args, Debug)]
pub struct Options {
    /// Records of one machine, of which the newest is shown [default: those of the machine that has the newest]
    records: Vec<PathBuf>,
    /// Folder of records, by machine [default: benches/record]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// A record of benches/peers [default: the newest there that has LSTMs]
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// The CSV of a sweep [default: the newest in benches/record]
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,
    /// Where to write the page
    #[arg(short, long, value_name = "FILE", default_value = "target/track/report.html")]
    output: PathBuf,
}

/// Options of `sweep`.
#[derive(Args, Debug)]
pub struct SweepOptions {
    /// What `cargo bench -- sweep` wrote
    csv: PathBuf,
    /// Where to write the picture
    svg: PathBuf,
}

/// Runs `report`.
pub fn run(options: &Options) -> Result<()> {
    let repository = Repository::here()?;
    let kept = repository.root.join(record::FOLDER);
    let folder = options.folder.as_ref().unwrap_or(&kept);
    let paths = if options.records.is_empty() { newest_machine(folder)? } else { options.records.clone() };
    let mut records = paths.iter().map(|path| Record::read(path)).collect::<Result<Vec<_>>>()?;
    records.sort_by(|a, b| a.date.cmp(&b.date));
    let Some(newest) = records.last() else {
        return Err(error(format!(
            "there are no records in {}; `cargo track record` makes one",
            folder.display()
        )));
    };
    if let Some(other) = records.iter().find(|record| record.machine.name != newest.machine.name) {
        let (a, b) = (&newest.machine.name, &other.machine.name);
        return Err(error(format!("the records are of different machines, {a} and {b}; name those of one")));
    }
    let peers = match &options.peers {
        Some(path) => Some(Peers::read(path)?),
        None => newest_peers(&repository.root.join("benches/peers/record"))?,
    };
    let sweep = match &options.sweep {
        Some(path) => Some(path.clone()),
        None => files::with_extension(&kept, "csv")?.pop(),
    };
    let sweep = sweep.map(|path| Sweep::read(&path)).transpose()?;
    let page =
        page::render(newest, &plots(&records.iter().collect::<Vec<_>>(), peers.as_ref(), sweep.as_ref())?);
    files::write(&options.output, &page)?;
    println!("written: {}", options.output.display());
    Ok(())
}

/// Runs `sweep`.
pub fn draw_sweep(options: &SweepOptions) -> Result<()> {
    let plot = Sweep::read(&options.csv)?.plot()?;
    // On its own it has no page to take colors from.
    let svg = plot.svg.replace("currentColor", "#777").replace("var(--grid)", "#777");
    files::write(&options.svg, &svg)
}

/// The newest record of LSTMs beside other people's, but for that of whole sets of shapes.
fn newest_peers(folder: &Path) -> Result<Option<Peers>> {
    for path in files::with_extension(folder, "json")?.into_iter().rev() {
        let peers = Peers::read(&path)?;
        if peers.has_lstms() && !path.to_string_lossy().ends_with("-sets.json") {
            return Ok(Some(peers));
        }
    }
    Ok(None)
}

/// All plots that there is data for.
fn plots(records: &[&Record], peers: Option<&Peers>, sweep: Option<&Sweep>) -> Result<Vec<Plot>> {
    let bench = &records.last().expect("there is one").bench;
    let mut plots = Vec::new();
    plots.extend(roofline::plot(bench)?);
    plots.extend(bars::plot(bench)?);
    plots.extend(scaling::plot(bench)?);
    plots.extend(history::plot(records)?);
    if let Some(peers) = peers {
        plots.extend(peers.plots()?);
    }
    if let Some(sweep) = sweep {
        plots.push(sweep.plot()?);
    }
    Ok(plots)
}

/// The records of the machine that has the newest.
fn newest_machine(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut best: Vec<PathBuf> = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(best) };
    for machine in entries.flatten().map(|entry| entry.path()) {
        let records = files::with_extension(&machine, "json")?;
        let newest =
            |records: &[PathBuf]| records.last().and_then(|path| path.file_name().map(ToOwned::to_owned));
        if newest(&records) > newest(&best) {
            best = records;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    fn sample() -> (Vec<Record>, Peers, Sweep) {
        let records = vec![record::tests::sample("m", "ab", 1.1), record::tests::sample("m", "cd", 1.0)];
        let folder = tempfile::tempdir().expect("a folder");
        let (peers, sweep) = (folder.path().join("peers.json"), folder.path().join("sweep.csv"));
        std::fs::write(
            &peers,
            r#"{"date": "2026-11-25", "results": [
            {"mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "quadgate", "min_ms": 2.0},
            {"mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "onednn", "min_ms": 3.0}]}"#,
        )
        .expect("a file");
        std::fs::write(&sweep, "H,1,8\n32,1.5,2.5\n64,3.5,NaN\n").expect("a file");
        (records, Peers::read(&peers).expect("it is right"), Sweep::read(&sweep).expect("it is right"))
    }

    fn page() -> String {
        let (records, peers, sweep) = sample();
        let records: Vec<&Record> = records.iter().collect();
        page::render(records[1], &plots(&records, Some(&peers), Some(&sweep)).expect("they can be drawn"))
    }

    #[test]
    fn a_page_stands_alone_and_has_all_plots() {
        let page = page();
        assert_eq!(page.matches("<svg").count(), 6);
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
        for words in
            ["Roofline", "Throughput by shape", "Thread scaling", "History", "Peers: forward", "Sweep"]
        {
            assert!(page.contains(&format!("<h2>{words}")), "{words}");
        }
        assert!(!page.contains("#010101") && !page.contains("NaN"));
    }

    #[test]
    fn words_of_a_record_cannot_become_tags() {
        let mut record = record::tests::sample("m", "ab", 1.0);
        record.machine.cpu = "<script>alert(1)</script>".to_owned();
        record.bench.results[0].id = "forward/<b>/avx2/1".to_owned();
        let text = page::render(&record, &[]);
        assert!(!text.contains("<script>alert") && !text.contains("<b>"));
    }

    #[test]
    fn plots_without_data_are_left_out() {
        let mut record = record::tests::sample("m", "ab", 1.0);
        record.bench.results.iter_mut().for_each(|row| row.gflops = None);
        record.bench.results.truncate(1);
        assert!(plots(&[&record], None, None).expect("nothing to draw").is_empty());
    }

    #[test]
    fn a_browser_shows_all_of_it_without_errors_and_a_phone_does_not_scroll_sideways() {
        let names = ["chromium", "chromium-headless-shell", "google-chrome"];
        let exists = |name: &&&str| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        };
        let Some(browser) = names.iter().find(exists) else {
            // Past the test harness, which keeps what tests print.
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: there is no Chromium, the page was not looked at by a browser"
            );
            return;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.html");
        std::fs::write(&path, page()).expect("a file");
        for size in ["1280,900", "500,900"] {
            let output = Command::new(browser)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--enable-logging=stderr",
                    "--dump-dom",
                ])
                .arg(format!("--window-size={size}"))
                .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
                .arg(format!("file://{}", path.display()))
                .output()
                .expect("it is there");
            let (dom, log) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(!dom.contains("data-error") && !log.contains("CONSOLE"), "{log}");
            assert!(
                dom.contains("data-plots=\"6\"") && dom.contains("data-overflow=\"false\""),
                "{size}: {log}"
            );
            for label in ["GFLOP/s", "threads in use", "onednn", "avx2, 1", "B 8", "abababab", "memory"] {
                assert!(dom.contains(label), "{label}");
            }
        }
    }
}
