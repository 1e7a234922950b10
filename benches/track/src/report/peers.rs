//! Other libraries beside quadgate, from a record of `benches/peers`.

use super::plot::{self, GRID, INK, Plot};
use crate::error::{Context, Result};
use crate::files;
use plotters::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Family by family, the ratios of a shape to quadgate's own time.
type Ratios = BTreeMap<String, f64>;

/// A record of `benches/peers`, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct Peers {
    date: String,
    results: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    /// Older records are of the LSTM alone.
    #[serde(default = "lstm")]
    cell: String,
    mode: String,
    threads: usize,
    shape: [usize; 4],
    family: String,
    min_ms: f64,
    p50_ns: Option<f64>,
}

fn lstm() -> String {
    "lstm".to_owned()
}

impl Peers {
    /// Whether there is anything of LSTMs in it.
    pub fn has_lstms(&self) -> bool {
        self.results.iter().any(|entry| entry.cell == lstm())
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        serde_json::from_str(&files::read(path)?)
            .context(format!("{name} is no record of peers, or only a part of it"))
    }

    /// Shape by shape, families as fast as their fastest members.
    fn ratios(&self, cell: &str, mode: &str, threads: usize) -> BTreeMap<[usize; 4], Ratios> {
        let mut times: BTreeMap<[usize; 4], Ratios> = BTreeMap::new();
        let wanted = (cell, mode, threads);
        let setting = |entry: &&Entry| (entry.cell.as_str(), entry.mode.as_str(), entry.threads) == wanted;
        for entry in self.results.iter().filter(setting) {
            let time = entry.p50_ns.map_or(entry.min_ms, |ns| 1e-6 * ns);
            let least = times.entry(entry.shape).or_default().entry(entry.family.clone()).or_insert(time);
            *least = least.min(time);
        }
        times.retain(|_, families| families.contains_key("quadgate") && families.len() > 1);
        for families in times.values_mut() {
            let own = families.remove("quadgate").unwrap_or(1.0);
            families.values_mut().for_each(|time| *time /= own);
        }
        times
    }

    /// A plot for each cell, mode and number of threads.
    pub fn plots(&self) -> Result<Vec<Plot>> {
        let setting = |entry: &Entry| (entry.cell.clone(), entry.mode.clone(), entry.threads);
        let mut settings: Vec<(String, String, usize)> = self.results.iter().map(setting).collect();
        settings.sort();
        settings.dedup();
        settings.retain(|(_, mode, _)| mode != "pack");
        let plot = |(cell, mode, threads): (String, String, usize)| {
            let ratios = self.ratios(&cell, &mode, threads);
            let mode = if cell == lstm() { mode } else { format!("{cell}, {mode}") };
            let s = if threads == 1 { "" } else { "s" };
            let title = format!("Peers: {mode}, {threads} thread{s}, of {}", self.date);
            (!ratios.is_empty()).then(|| plot(title, &ratios))
        };
        settings.into_iter().filter_map(plot).collect()
    }
}

fn plot(title: String, shapes: &BTreeMap<[usize; 4], Ratios>) -> Result<Plot> {
    let mut families: Vec<&String> = shapes.values().flat_map(BTreeMap::keys).collect();
    families.sort();
    families.dedup();
    let all = || shapes.values().flat_map(BTreeMap::values).map(|ratio| ratio.log2());
    let (low, high) = (all().fold(0.0, f64::min).floor(), all().fold(1.0, f64::max).ceil());
    const LEFT: i32 = 170;
    const RIGHT: i32 = 870;
    let x = |ratio: f64| LEFT + (f64::from(RIGHT - LEFT) * (ratio.log2() - low) / (high - low)) as i32;
    let bottom = 50 + 24 * shapes.len() as i32;
    let svg = plot::svg([900, bottom as u32 + 30], |area| {
        let names = families.iter().enumerate().map(|(index, name)| ((*name).clone(), plot::color(index)));
        plot::legend(area, &names.collect::<Vec<_>>())?;
        for power in low as i32..=high as i32 {
            let place = x(2f64.powi(power));
            let line = if power == 0 { INK } else { GRID };
            area.draw(&PathElement::new([(place, 32), (place, bottom)], line))?;
            area.draw(&Text::new(
                format!("{}×", 2f64.powi(power)),
                (place - 8, bottom + 6),
                plot::text_style(13),
            ))?;
        }
        for (index, (shape, ratios)) in shapes.iter().enumerate() {
            let y = 50 + 24 * index as i32;
            let name = shape.map(|size| size.to_string()).join("×");
            area.draw(&Text::new(name, (LEFT - 10, y), plot::right_aligned(13)))?;
            area.draw(&PathElement::new([(LEFT, y), (RIGHT, y)], GRID))?;
            for (family, &ratio) in ratios {
                let color = plot::color(families.iter().position(|other| *other == family).unwrap_or(0));
                area.draw(&Circle::new((x(ratio), y), 5, color.filled()))?;
            }
        }
        Ok(())
    })?;
    let caption =
        "Time of each library by quadgate's; right of 1× quadgate is faster. Shapes are T×B×X×H.".to_owned();
    Ok(Plot { title, caption, svg })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_as_fast_as_its_fastest_member() {
        let text = r#"{"date": "2026-11-25", "results": [
            {"mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "quadgate", "min_ms": 2.0},
            {"mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "torch", "min_ms": 6.0},
            {"mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "torch", "min_ms": 3.0},
            {"cell": "gru", "mode": "forward", "threads": 1, "shape": [1, 2, 3, 4], "family": "torch", "min_ms": 1.0},
            {"mode": "forward", "threads": 1, "shape": [9, 9, 9, 9], "family": "torch", "min_ms": 3.0}]}"#;
        let peers: Peers = serde_json::from_str(text).expect("it is right");
        let ratios = peers.ratios("lstm", "forward", 1);
        assert_eq!(ratios.len(), 1);
        assert_eq!(ratios[&[1, 2, 3, 4]]["torch"], 1.5);
    }
}
