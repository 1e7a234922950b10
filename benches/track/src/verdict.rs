//! What the rounds of each benchmark say about it: slower, faster, the same, or nothing.

use crate::counters::Count;
use crate::statistics::{holm, signed_rank};
use serde::{Deserialize, Serialize};

/// When a difference counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// The probability of any false alarm in a run, over all its benchmarks.
    pub alpha: f64,
    /// Slowdowns and speedups up to this factor above 1 are nobody's concern: 0.01 is 1 %.
    pub margin: f64,
    /// A benchmark is called the same if its interval excludes changes of more than this.
    pub resolution: f64,
}

impl Default for Criteria {
    fn default() -> Self {
        Self { alpha: 0.05, margin: 0.01, resolution: 0.05 }
    }
}

/// The judgment of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A regression.
    Slower,
    /// An improvement.
    Faster,
    /// Neither, and the interval is narrow enough to say so.
    Same,
    /// Neither, but a change that matters is not excluded.
    Unclear,
}

impl Verdict {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::Same => "same",
            Self::Unclear => "unclear",
        }
    }
}

/// A benchmark that has been judged. Ratios are times of the new side divided by those of the old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgment {
    /// Of the benchmark.
    pub id: String,
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// The ratio that fits best.
    pub ratio: f64,
    /// The interval of all benchmarks together; `None` where there are too few rounds for one.
    pub interval: Option<[f64; 2]>,
    /// Holm's p-value of the test that it is no slower than the margin allows, where there was such a test.
    pub p_slower: Option<f64>,
    /// The same of the test that it is no faster.
    pub p_faster: Option<f64>,
    /// Milliseconds of a call before, the median of the rounds.
    pub old_ms: f64,
    /// Milliseconds of a call now.
    pub new_ms: f64,
    /// Rounds.
    pub rounds: usize,
    /// Events of a call, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Count>,
}

/// The rounds of a benchmark.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// Of the benchmark.
    pub id: String,
    /// Logarithms of the ratios, new to old.
    pub log_ratios: Vec<f64>,
    /// Milliseconds, the median of the rounds.
    pub old_ms: f64,
    /// The same of the new side.
    pub new_ms: f64,
    /// Events of a call.
    pub counts: Vec<Count>,
}

/// Judges all benchmarks of a run together.
pub fn judge(all: &[Rounds], criteria: Criteria) -> Vec<Judgment> {
    let margin = criteria.margin.ln_1p();
    let p = |test: fn(&[f64], f64) -> f64, shift: f64| {
        holm::adjusted(&all.iter().map(|rounds| test(&rounds.log_ratios, shift)).collect::<Vec<_>>())
    };
    let slower = p(signed_rank::p_above, margin);
    let faster = p(signed_rank::p_below, -margin);
    let tests = slower.into_iter().zip(faster);
    all.iter()
        .zip(tests)
        .map(|(rounds, (p_slower, p_faster))| {
            let log_interval = signed_rank::interval(&rounds.log_ratios, criteria.alpha / all.len() as f64);
            let resolution = criteria.resolution.ln_1p();
            let verdict = match () {
                () if p_slower <= criteria.alpha => Verdict::Slower,
                () if p_faster <= criteria.alpha => Verdict::Faster,
                () if log_interval.iter().all(|end| end.abs() <= resolution) => Verdict::Same,
                () => Verdict::Unclear,
            };
            let interval = log_interval.map(f64::exp);
            Judgment {
                id: rounds.id.clone(),
                verdict,
                ratio: signed_rank::center(&rounds.log_ratios).exp(),
                interval: log_interval.iter().all(|end| end.is_finite()).then_some(interval),
                p_slower: Some(p_slower),
                p_faster: Some(p_faster),
                old_ms: rounds.old_ms,
                new_ms: rounds.new_ms,
                rounds: rounds.log_ratios.len(),
                counts: rounds.counts.clone(),
            }
        })
        .collect()
}

/// Changes that more rounds are taken for.
const SOUGHT: f64 = 0.03;

/// Whether more rounds can be left out: the ratio that fits best lies within the margin, and the interval excludes
/// changes that are sought. Neither test finds anything then, so that looking again and again raises no alarm.
pub fn is_done(log_ratios: &[f64], benchmarks: usize, criteria: Criteria) -> bool {
    let interval = signed_rank::interval(log_ratios, criteria.alpha / benchmarks as f64);
    signed_rank::center(log_ratios).abs() <= criteria.margin.ln_1p()
        && interval.iter().all(|end| end.abs() < SOUGHT.ln_1p())
}

/// The least number of rounds in which anything can be found among `benchmarks`.
pub fn least_rounds(benchmarks: usize, criteria: Criteria) -> usize {
    signed_rank::least_values(0.5 * criteria.alpha / benchmarks.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// As many as a run takes by default.
    const ROUNDS: usize = 120;

    /// A run of a noisy machine: rounds scatter by 2 %, and one in eight is disturbed tenfold.
    fn run(random: &mut Random, slowdowns: &[f64], rounds: usize) -> Vec<Rounds> {
        let mut ratio = |slowdown: f64| {
            let wild = if random.uniform() < 0.125 { 10.0 } else { 1.0 };
            slowdown.ln() + 0.02 * wild * random.normal()
        };
        slowdowns
            .iter()
            .enumerate()
            .map(|(index, &slowdown)| Rounds {
                id: index.to_string(),
                log_ratios: (0..rounds).map(|_| ratio(slowdown)).collect(),
                old_ms: 1.0,
                new_ms: slowdown,
                counts: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn a_program_against_itself_raises_no_alarm() {
        let mut random = Random::new(11);
        for _ in 0..150 {
            let judgments = judge(&run(&mut random, &[1.0; 25], ROUNDS), Criteria::default());
            let changed = judgments
                .iter()
                .find(|judgment| matches!(judgment.verdict, Verdict::Slower | Verdict::Faster));
            assert_eq!(changed, None);
        }
    }

    #[test]
    fn a_planted_slowdown_is_found_and_nothing_else() {
        let mut random = Random::new(12);
        for (slowdown, least_found) in [(1.05, 50), (1.04, 50), (1.03, 49)] {
            let mut slowdowns = [1.0; 25];
            slowdowns[7] = slowdown;
            let mut found = 0;
            for _ in 0..50 {
                let judgments = judge(&run(&mut random, &slowdowns, ROUNDS), Criteria::default());
                for (index, judgment) in judgments.iter().enumerate() {
                    assert!(index == 7 || judgment.verdict != Verdict::Slower, "{judgment:?}");
                }
                found += usize::from(judgments[7].verdict == Verdict::Slower);
            }
            assert!(found >= least_found, "{slowdown}: found {found} times of 50");
        }
    }

    #[test]
    fn rounds_are_left_out_where_nothing_changes_and_not_where_something_does() {
        let mut random = Random::new(16);
        let mut ends_early = |slowdown: f64| {
            let rounds = &run(&mut random, &[slowdown], ROUNDS)[0].log_ratios;
            let end = (24..ROUNDS)
                .step_by(8)
                .find(|&so_far| is_done(&rounds[..so_far], 25, Criteria::default()))?;
            let (found, margin) = (&rounds[..end], 0.01f64.ln_1p());
            assert!(signed_rank::p_above(found, margin) > 0.4 && signed_rank::p_below(found, -margin) > 0.4);
            Some(end)
        };
        let [same, slower, much_slower, faster] = [1.0, 1.03, 1.05, 0.95]
            .map(|slowdown| (0..50).filter(|_| ends_early(slowdown).is_some()).count());
        assert!(
            same >= 48 && slower <= 1 && much_slower + faster == 0,
            "{same}, {slower}, {much_slower}, {faster}"
        );
    }

    #[test]
    fn an_improvement_is_none_of_a_regression() {
        let judgments = judge(&run(&mut Random::new(13), &[0.9, 1.0], ROUNDS), Criteria::default());
        assert_eq!(judgments[0].verdict, Verdict::Faster);
        assert!((judgments[0].ratio - 0.9).abs() < 0.02, "{judgments:?}");
        let [low, high] = judgments[0].interval.expect("enough rounds");
        assert!(low < judgments[0].ratio && judgments[0].ratio < high);
    }

    #[test]
    fn alarms_within_the_margin_are_as_rare_as_promised_at_its_edge() {
        // The worst case that must not be called a regression: all benchmarks slower by just the margin.
        let criteria = Criteria { alpha: 0.2, ..Criteria::default() };
        let mut random = Random::new(14);
        let runs = 300;
        let alarms = (0..runs)
            .filter(|_| {
                let judgments = judge(&run(&mut random, &[1.01; 10], 20), criteria);
                judgments.iter().any(|judgment| judgment.verdict == Verdict::Slower)
            })
            .count();
        // 60 expected at most; four standard deviations of a binomial are 28.
        assert!(alarms <= 88, "{alarms}");
    }

    #[test]
    fn the_least_rounds_are_those_with_which_a_clear_case_is_found() {
        let criteria = Criteria::default();
        let least = least_rounds(25, criteria);
        let of = |rounds: usize| {
            let mut all: Vec<Rounds> = run(&mut Random::new(1), &[1.0; 25], rounds);
            all[3].log_ratios = (0..rounds).map(|round| 0.5 + 0.001 * round as f64).collect();
            judge(&all, criteria)[3].verdict
        };
        assert_eq!(of(least), Verdict::Slower);
        assert_ne!(of(least - 3), Verdict::Slower);
    }

    #[test]
    fn rounds_that_scatter_too_much_are_called_unclear() {
        let mut random = Random::new(15);
        let log_ratios = (0..12).map(|_| 0.2 * random.normal()).collect();
        let rounds =
            Rounds { id: "wild".to_owned(), log_ratios, old_ms: 1.0, new_ms: 1.0, counts: Vec::new() };
        assert_eq!(judge(&[rounds], Criteria::default())[0].verdict, Verdict::Unclear);
    }
}
