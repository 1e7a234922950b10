//! What spoils measurements on this machine.

use std::fs;
use std::path::Path;

/// Sentences, none on a quiet machine that is set up well.
pub fn of_this_machine() -> Vec<String> {
    of(&Facts::read())
}

/// What the kernel says. `None` where it says nothing.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Processes that ran or waited for a core, on average over the last minute.
    load: Option<f64>,
    cores: usize,
    governor: Option<String>,
    /// The threads of the first core, as `0,4`.
    siblings: Option<String>,
    /// Cores' worth of time that the control group may use.
    quota: Option<f64>,
    turbo_is_off: bool,
}

impl Facts {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let load = text("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            load,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            siblings: text("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list"),
            quota: text("/proc/self/cgroup").and_then(|groups| {
                let limits = of_groups(&groups).into_iter().filter_map(|path| quota(&text(&path)?));
                limits.reduce(f64::min)
            }),
            turbo_is_off: text("/sys/devices/system/cpu/intel_pstate/no_turbo")
                .is_some_and(|text| text == "1"),
        }
    }
}

/// Where limits of this process may be: of its control group and of those around it, `0::/user.slice/some.scope`.
fn of_groups(groups: &str) -> Vec<String> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let around = Path::new(group).ancestors().map(|group| group.display().to_string());
    around.map(|group| format!("/sys/fs/cgroup{}/cpu.max", group.trim_end_matches('/'))).collect()
}

/// `200000 100000`, or `max 100000`.
fn quota(text: &str) -> Option<f64> {
    let (most, period) = text.split_once(' ')?;
    Some(most.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn of(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(load) = facts.load
        && load > 0.3
    {
        warnings.push(format!("others are busy on this machine: load {load:.2} on {} cores", facts.cores));
    }
    if let Some(governor) = &facts.governor
        && governor != "performance"
    {
        warnings.push(format!(
            "the governor is {governor}: the clock follows the load; performance keeps it high"
        ));
    }
    if let Some(siblings) = &facts.siblings
        && siblings.contains([',', '-'])
    {
        warnings.push(format!("the threads {siblings} share a core; name one of each core with --cores"));
    }
    if let Some(quota) = facts.quota {
        warnings.push(format!("a control group limits this process to {quota:.2} cores' worth of time"));
    }
    if facts.turbo_is_off {
        warnings.push("turbo is off: times are steadier, and longer than users see".to_owned());
    }
    warnings
}

/// Of a clock that was lower at some time than at others: rates of the same work, all over a run.
pub fn of_clock(rates: &[f64]) -> Option<String> {
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    (highest > 0.0 && lowest < 0.9 * highest).then(|| {
        format!("the clock dropped: the same work ran at {:.0} % of its best rate", 100.0 * lowest / highest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_machine_gets_no_warning_and_each_trouble_gets_one() {
        let quiet = Facts {
            load: Some(0.05),
            cores: 2,
            governor: Some("performance".to_owned()),
            siblings: Some("0".to_owned()),
            ..Facts::default()
        };
        assert_eq!(of(&quiet), [""; 0]);
        for (facts, words) in [
            (Facts { load: Some(2.5), ..quiet.clone() }, "load 2.50 on 2 cores"),
            (Facts { governor: Some("powersave".to_owned()), ..quiet.clone() }, "governor is powersave"),
            (Facts { siblings: Some("0,4".to_owned()), ..quiet.clone() }, "0,4 share a core"),
            (Facts { quota: quota("150000 100000"), ..quiet.clone() }, "1.50 cores"),
            (Facts { turbo_is_off: true, ..quiet }, "turbo is off"),
        ] {
            let found = of(&facts);
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
        assert_eq!(quota("max 100000"), None);
        let expected =
            ["/sys/fs/cgroup/a/b.scope/cpu.max", "/sys/fs/cgroup/a/cpu.max", "/sys/fs/cgroup/cpu.max"];
        assert_eq!(of_groups("1:cpu:/x\n0::/a/b.scope\n"), expected);
        assert_eq!(of_groups(""), expected[2..]);
    }

    #[test]
    fn a_clock_that_drops_is_noticed() {
        assert_eq!(of_clock(&[100.0, 95.0, 99.0]), None);
        assert!(of_clock(&[100.0, 70.0]).is_some_and(|text| text.contains("70 %")));
        assert_eq!(of_clock(&[]), None);
    }
}
