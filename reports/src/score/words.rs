//! A score in words: a table for a terminal, and which policy to take.

use super::{Cell, PolicyScore, Score};
use crate::number::span;

/// A policy that finds this share of bugs is relied on.
const RELIABLE: f64 = 0.9;

/// The table of a score, in columns, with a line for each policy and rate.
pub fn table(score: &Score) -> String {
    let mut rows = vec![
        ["policy", "bug rate", "trials", "found", "95 % limits", "broken (p95)", "found after", "complete after"]
            .map(str::to_owned),
    ];
    for PolicyScore { policy, cells } in &score.policies {
        rows.extend(cells.iter().map(|cell| row(policy, cell)));
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(nth, (text, width))| match nth {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a line of the table says of a cell.
pub(super) fn row(policy: &str, cell: &Cell) -> [String; 8] {
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), about);
    [
        policy.to_owned(),
        rate(cell.bug_rate_bp),
        cell.trials.to_string(),
        format!("{} of {}", cell.detected, cell.trials),
        format!("{:.0}-{:.0} %", cell.detected_limits.0 * 100.0, cell.detected_limits.1 * 100.0),
        format!("{} ({})", cell.broken_median, cell.broken_p95),
        time(cell.detection_median_s),
        time(cell.completion_median_s),
    ]
}

/// A time as people speak of it: `45 s`, `26 min`, `1 h 12 min`, `31 h`.
fn about(seconds: f64) -> String {
    let step = match seconds {
        36_000.0.. => 3_600.0,
        120.0.. => 60.0,
        _ => 1.0,
    };
    span((seconds / step).round() * step).replace('\u{a0}', " ")
}

/// `1 device`, `11 devices`.
fn devices(count: u64) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

/// Basis points as people say them: `none`, `0.5 %`, `2 %`.
pub(crate) fn rate(bp: u32) -> String {
    match bp {
        0 => "none".to_owned(),
        bp if bp.is_multiple_of(100) => format!("{} %", bp / 100),
        bp => format!("{} %", f64::from(bp) / 100.0),
    }
}

/// Which policy to take, and why the others not, in words.
///
/// The rule: whoever stops good releases (or never ends them) comes last; of the others the one that relies (finds at least 90
/// % in the trials) on the smallest bug, then breaks the fewest devices by it, then is the quickest with a good release.
pub fn recommendation(policies: &[PolicyScore]) -> String {
    let Some(best) = policies.iter().min_by(|one, other| order(one).total_cmp_with(&order(other))) else {
        return "There are no trials to tell from.".to_owned();
    };
    let mut sentences = vec![of_policy(best)];
    for other in policies.iter().filter(|policy| policy.policy != best.policy) {
        sentences.push(against(other, best));
    }
    sentences.join(" ")
}

/// By what policies are put in order: the less, the better.
#[derive(Debug, Clone, Copy)]
struct Order {
    /// Stops or never ends good releases: 1, else 0.
    hinders: f64,
    /// The smallest bug that it finds reliably, in basis points.
    smallest_bp: f64,
    /// Devices broken by it.
    broken: f64,
    /// How long a good release takes.
    completion_s: f64,
}

impl Order {
    fn total_cmp_with(&self, other: &Self) -> std::cmp::Ordering {
        let pairs = [
            (self.hinders, other.hinders),
            (self.smallest_bp, other.smallest_bp),
            (self.broken, other.broken),
            (self.completion_s, other.completion_s),
        ];
        pairs
            .into_iter()
            .map(|(one, other)| one.total_cmp(&other))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

fn share(cell: &Cell) -> f64 {
    if cell.trials == 0 { 0.0 } else { cell.detected as f64 / cell.trials as f64 }
}

fn good(policy: &PolicyScore) -> Option<&Cell> {
    policy.cells.iter().find(|cell| cell.bug_rate_bp == 0)
}

/// The smallest bug that a policy finds reliably.
fn found(policy: &PolicyScore) -> Option<&Cell> {
    policy.cells.iter().find(|cell| cell.bug_rate_bp > 0 && share(cell) >= RELIABLE)
}

fn order(policy: &PolicyScore) -> Order {
    let hinders = good(policy).is_some_and(|cell| cell.completed * 10 < cell.trials * 9);
    Order {
        hinders: if hinders { 1.0 } else { 0.0 },
        smallest_bp: found(policy).map_or(f64::MAX, |cell| cell.bug_rate_bp.into()),
        broken: found(policy).map_or(f64::MAX, |cell| cell.broken_median as f64),
        completion_s: good(policy).and_then(|cell| cell.completion_median_s).unwrap_or(f64::MAX),
    }
}

fn of_policy(policy: &PolicyScore) -> String {
    let name = &policy.policy;
    let what = match found(policy) {
        Some(cell) => format!(
            "Policy `{name}` finds a {} bug in {:.0} % of {} trials (at least {:.0} % with 95 % confidence), with {} broken (p95 {})",
            rate(cell.bug_rate_bp),
            share(cell) * 100.0,
            cell.trials,
            cell.detected_limits.0 * 100.0,
            devices(cell.broken_median),
            cell.broken_p95
        ),
        None => format!("No policy finds any of these bugs reliably; `{name}` comes nearest, and {}", blind_to(policy)),
    };
    what + &of_good_release(policy) + "."
}

/// What a policy does with a release that is good.
fn of_good_release(policy: &PolicyScore) -> String {
    let Some(cell) = good(policy) else { return String::new() };
    let time = cell.completion_median_s.map(about);
    match (cell.completed, time) {
        (0, _) => "; of good releases none was complete when the scenario was over".to_owned(),
        (completed, Some(time)) if completed == cell.trials => format!(", and takes {time} for a good release"),
        (completed, Some(time)) => {
            let alarms = match cell.detected {
                0 => String::new(),
                count => format!(" (it stopped {count} of them)"),
            };
            format!(
                ", and takes {time} for a good release, of which {completed} of {} were complete in time{alarms}",
                cell.trials
            )
        }
        (_, None) => String::new(),
    }
}

/// Which bugs a policy misses, and how often.
fn blind_to(policy: &PolicyScore) -> String {
    let missed = policy.cells.iter().filter(|cell| cell.bug_rate_bp > 0 && share(cell) < RELIABLE);
    let missed: Vec<String> = missed
        .map(|cell| {
            format!("misses a {} bug in {} of {}", rate(cell.bug_rate_bp), cell.trials - cell.detected, cell.trials)
        })
        .collect();
    if missed.is_empty() { "misses none of them".to_owned() } else { missed.join(", ") }
}

/// Why another policy is not the one to take.
fn against(policy: &PolicyScore, best: &PolicyScore) -> String {
    let name = &policy.policy;
    let at = found(best).and_then(|cell| policy.cells.iter().find(|own| own.bug_rate_bp == cell.bug_rate_bp));
    let is_apart = found(best).zip(at).is_none_or(|(cell, own)| {
        own.detected_limits.1 < cell.detected_limits.0 || own.broken_median != cell.broken_median
    });
    let mut text = match at {
        Some(own) if share(own) < RELIABLE => {
            format!("Policy `{name}` misses it in {} of {}", own.trials - own.detected, own.trials)
        }
        Some(own) => format!(
            "Policy `{name}` finds it in {:.0} %, with {} broken (p95 {})",
            share(own) * 100.0,
            devices(own.broken_median),
            own.broken_p95
        ),
        None => format!("Policy `{name}` {}", blind_to(policy)),
    };
    text += &of_good_release(policy);
    if !is_apart {
        text += "; so few trials do not tell the two apart";
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::interval;

    fn cell(bug_rate_bp: u32, detected: usize, broken: u64) -> Cell {
        Cell {
            bug_rate_bp,
            trials: 100,
            detected,
            detected_limits: interval::limits(detected, 100),
            completed: 100 - detected,
            broken_median: broken,
            broken_p95: broken + 8,
            detection_median_s: (detected > 0).then_some(3_600.0),
            completion_median_s: (detected < 100).then_some(111_600.0),
        }
    }

    fn policy(name: &str, cells: Vec<Cell>) -> PolicyScore {
        PolicyScore { policy: name.to_owned(), cells }
    }

    #[test]
    fn the_policy_that_finds_the_smaller_bug_is_recommended_with_its_cost() {
        let a = policy("a", vec![cell(0, 0, 0), cell(100, 60, 30), cell(200, 95, 25)]);
        let b = policy("b", vec![cell(0, 0, 0), cell(100, 97, 11), cell(200, 100, 10)]);
        assert_eq!(
            recommendation(&[a, b]),
            "Policy `b` finds a 1 % bug in 97 % of 100 trials (at least 91 % with 95 % confidence), with 11 devices \
             broken (p95 19), and takes 31 h for a good release. Policy `a` misses it in 40 of 100, and takes 31 h \
             for a good release."
        );
    }

    #[test]
    fn whoever_stops_good_releases_is_not_recommended() {
        let nervous = policy("nervous", vec![cell(0, 40, 0), cell(100, 100, 2)]);
        let calm = policy("calm", vec![cell(0, 1, 0), cell(100, 92, 11)]);
        let said = recommendation(&[nervous, calm]);
        assert!(said.starts_with("Policy `calm` finds a 1 % bug in 92 %"), "{said}");
        assert!(said.contains("of which 60 of 100 were complete in time (it stopped 40 of them)"), "{said}");
    }

    #[test]
    fn where_nothing_is_found_reliably_it_says_so() {
        let said = recommendation(&[policy("blind", vec![cell(0, 0, 0), cell(50, 3, 9)])]);
        assert!(said.starts_with("No policy finds any of these bugs reliably; `blind` comes nearest"), "{said}");
        assert!(said.contains("misses a 0.5 % bug in 97 of 100"), "{said}");
        assert_eq!(recommendation(&[]), "There are no trials to tell from.");
    }

    #[test]
    fn policies_that_the_trials_do_not_tell_apart_are_called_so() {
        let said = recommendation(&[policy("a", vec![cell(100, 97, 11)]), policy("b", vec![cell(100, 98, 11)])]);
        assert!(said.contains("so few trials do not tell the two apart"), "{said}");
    }

    #[test]
    fn the_table_is_in_columns() {
        let score = Score {
            scenario: "s".into(),
            devices: 1_000,
            first_seed: 1,
            signatures: "real".into(),
            policies: vec![policy("a", vec![cell(0, 0, 0), cell(50, 100, 11)])],
            broken_promises: 0,
            recommendation: String::new(),
        };
        let table = table(&score);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2].split_whitespace().next(), Some("a"));
        assert!(
            lines[2].contains("0.5 %") && lines[2].contains("100 of 100") && lines[2].contains("11 (19)"),
            "{table}"
        );
    }
}
