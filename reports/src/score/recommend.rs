//! Recommends a policy in words, and says what the trials do not show.

use super::rank::{TRIALS_MAX, at, bugs, good, hinders, is_reliable, ranked, stops_good_releases, trials_needed};
use super::words::{about, at_least, percent, rate, trials};
use super::{Cell, Comparison, PolicyScore, compare::with, method::Method};
use crate::number::devices;

/// The rule, for the page and for the short form.
pub(super) const RULE: &str = "The rule of the recommendation: policies that stop good releases (provably more than 1 % of \
     them) or do not complete them within the scenario's time come last. The others are ranked by the smallest bug that they find in at least \
     90 % of the trials (and every larger one too), then by the fewest broken devices with that bug, then by the shortest time for \
     a good release.";

/// Which policy to take, and why not the others, in words.
///
/// The rule: policies that stop good releases (the lower limit of their false alarms is above 1 %) or leave more than one in ten
/// of them open come last. The others are ranked by the smallest bug that they find in at least 90 % of the trials, with every
/// larger one; then by the fewest broken devices; then by the shortest time for a good release. If none finds a bug that often,
/// the one that finds the most comes first. Of those that come last, the one that lets more good releases through. If the seeds that
/// two policies share don't show which finds a bug more often, the text says so, and how many trials would be enough.
pub(super) fn recommendation(policies: &[PolicyScore], comparisons: &[Comparison], method: Method) -> String {
    let ranking = ranked(policies);
    let Some((best, others)) = ranking.order.split_first() else {
        return "There are no trials to judge by.".to_owned();
    };
    let mut sentences = Vec::new();
    if hinders(best) {
        let whose = if others.is_empty() { "This policy" } else { "Every policy" };
        sentences.push(format!(
            "{whose} stops good releases, or does not complete them within the scenario's time: use none as it is."
        ));
    }
    let any_hinders = others.iter().any(|other| hinders(other));
    sentences.push(of_best(best, ranking.yardstick_bp, any_hinders && !hinders(best)));
    sentences.extend(others.iter().map(|other| {
        let doubt = not_distinguished(&with(best, other, comparisons), ranking.yardstick_bp, method);
        against(other, best, ranking.yardstick_bp, &doubt)
    }));
    if policies.iter().all(|policy| good(policy).is_none()) {
        sentences.push(
            "No good release was tried: a bug rate of 0 would show false alarms, and how long one takes.".to_owned(),
        );
    }
    sentences.join(" ")
}

fn of_best(best: &PolicyScore, yardstick_bp: Option<u32>, is_of_those_who_let_through: bool) -> String {
    let name = &best.policy;
    let what = match yardstick_bp.and_then(|bp| at(best, bp)) {
        Some(cell) => {
            let others = blind_to(best, |bp| bp != cell.bug_rate_bp);
            format!(
                "Policy `{name}` finds a {} bug in {} % of {} (at least {} % with 95 % confidence), with {} broken (p95 \
                 {}){}",
                rate(cell.bug_rate_bp),
                percent(cell.detected_share()),
                trials(cell.trials),
                at_least(cell.detected_limits.0),
                devices(cell.broken_median),
                cell.broken_p95,
                others.map(|missed| format!(", but {missed}")).unwrap_or_default()
            )
        }
        None if bugs(best).next().is_none() => {
            return format!(
                "No bug was tried, so nothing shows what policies find. Policy `{name}`{}.",
                of_good_release(best, false)
            );
        }
        None => {
            let who =
                if is_of_those_who_let_through { "No policy that lets good releases through" } else { "No policy" };
            let missed = blind_to(best, |_| true).unwrap_or_default();
            format!("{who} reliably finds even the largest bug; `{name}` comes nearest, and {missed}")
        }
    };
    what + &of_good_release(best, true) + "."
}

/// A policy's behaviour with a good release: a clause that follows one about bugs, or the policy's name.
fn of_good_release(policy: &PolicyScore, follows: bool) -> String {
    let Some(cell) = good(policy) else { return String::new() };
    let (and, it) = if follows { (", and", "; it") } else { ("", "") };
    let alarms = match cell.detected {
        0 => String::new(),
        count if stops_good_releases(policy) => {
            format!(
                " (it stopped {count}: at least {} % of all, with 95 % confidence)",
                at_least(cell.detected_limits.0)
            )
        }
        count => format!(" (it stopped {count} of them)"),
    };
    match cell.completion_median_s.map(about) {
        _ if cell.detected > 0 && cell.detected == cell.trials => format!("{it} stopped every good release"),
        Some(time) if cell.completed == cell.trials => format!("{and} takes {time} for a good release"),
        Some(time) => {
            let of = format!("{} of {} were complete in time", cell.completed, cell.trials);
            format!("{and} takes {time} for a good release, of which {of}{alarms}")
        }
        None => format!("{it} had completed none of {} good releases when the scenario was over{alarms}", cell.trials),
    }
}

/// Which of these bugs a policy misses, and how often; none if it misses none.
fn blind_to(policy: &PolicyScore, of: impl Fn(u32) -> bool) -> Option<String> {
    let missed = bugs(policy).filter(|cell| of(cell.bug_rate_bp) && !is_reliable(cell));
    let missed: Vec<String> = missed
        .map(|cell| format!("a {} bug in {} of {}", rate(cell.bug_rate_bp), missed_in(cell), cell.trials))
        .collect();
    match missed.as_slice() {
        [] => None,
        [one] => Some(format!("misses {one}")),
        [some @ .., last] => Some(format!("misses {} and {last}", some.join(", "))),
    }
}

fn missed_in(cell: &Cell) -> usize {
    cell.trials.saturating_sub(cell.detected)
}

/// `it`, unless other bugs were mentioned since.
fn that_bug(best: &PolicyScore, bp: u32) -> String {
    if blind_to(best, |other| other != bp).is_some() { format!("the {} bug", rate(bp)) } else { "it".to_owned() }
}

/// Why another policy is not recommended, with the doubt that the trials leave.
fn against(policy: &PolicyScore, best: &PolicyScore, yardstick_bp: Option<u32>, doubt: &str) -> String {
    let name = &policy.policy;
    let text = match yardstick_bp {
        Some(bp) => match at(policy, bp) {
            None => format!("Policy `{name}` was not tried with {}", that_bug(best, bp)),
            Some(own) if is_reliable(own) => format!(
                "Policy `{name}` finds {} in {} %, with {} broken (p95 {}){}",
                that_bug(best, bp),
                percent(own.detected_share()),
                devices(own.broken_median),
                own.broken_p95,
                blind_to(policy, |rate| rate > bp).map(|missed| format!(", but {missed}")).unwrap_or_default()
            ),
            Some(own) => {
                format!("Policy `{name}` misses {} in {} of {}", that_bug(best, bp), missed_in(own), own.trials)
            }
        },
        None => match blind_to(policy, |_| true) {
            Some(missed) => format!("Policy `{name}` {missed}"),
            None if bugs(policy).next().is_some() => format!("Policy `{name}` misses none of them"),
            None => return format!("Policy `{name}`{}.", of_good_release(policy, false)),
        },
    };
    let set_back = if hinders(policy) && !hinders(best) { "; that ranks it lower" } else { doubt };
    text + &of_good_release(policy, true) + set_back + "."
}

/// Says that the seeds two policies share don't show which of them finds a bug more often: the decisive one or, if there is
/// none, any; else empty.
fn not_distinguished(of_both: &[Comparison], yardstick_bp: Option<u32>, method: Method) -> String {
    let counts = |of: &&Comparison| of.bug_rate_bp > 0 && yardstick_bp.is_none_or(|bp| of.bug_rate_bp == bp);
    let of_bugs = || of_both.iter().filter(counts);
    let is_distinguished = of_bugs().any(|of| of.finds_more().is_some());
    let Some(first) = of_bugs().next().filter(|_| !is_distinguished) else { return String::new() };
    let bugs = if yardstick_bp.is_some() { "it" } else { "these" };
    let do_not = if first.seeds == 1 { "does not" } else { "do not" };
    let what = format!("; {} {do_not} show which of the two finds {bugs} more often", trials(first.seeds));
    if of_bugs().all(|of| of.found.only_policy == of.found.only_other) {
        return what;
    }
    match of_bugs().filter_map(|of| trials_needed(of, method)).min() {
        Some(needed) => format!("{what}: about {needed} of each would, if the shares stay the same"),
        None => format!("{what}, nor would {TRIALS_MAX}"),
    }
}

/// Cells and policies for unit tests: a hundred trials, in which a release that is not stopped is completed after 31 hours.
#[cfg(test)]
pub(super) mod sample {
    use crate::score::{Cell, Comparison, Difference, PolicyScore, limits, method::Method};

    /// Comparisons of policies of which the one that finds a bug more often finds it on every seed that the other finds it on, and
    /// which break equally many devices.
    pub(in crate::score) fn compared(policies: &[PolicyScore]) -> Vec<Comparison> {
        let mut all = Vec::new();
        for (nth, policy) in policies.iter().enumerate() {
            for other in policies.iter().skip(nth + 1) {
                let pairs = policy.cells.iter().filter_map(|own| {
                    Some((own, other.cells.iter().find(|cell| cell.bug_rate_bp == own.bug_rate_bp)?))
                });
                all.extend(pairs.map(|(own, others)| {
                    let seeds = own.trials.min(others.trials);
                    let more = |one: &Cell, other: &Cell| one.detected.saturating_sub(other.detected);
                    let difference = |only_policy, only_other| Difference {
                        only_policy,
                        only_other,
                        limits: Method::Fixed.difference(only_policy, only_other, seeds),
                    };
                    Comparison {
                        policy: policy.policy.clone(),
                        other: other.policy.clone(),
                        bug_rate_bp: own.bug_rate_bp,
                        seeds,
                        found: difference(more(own, others), more(others, own)),
                        broke_fewer: difference(0, 0),
                        broken_mean: 0.0,
                        broken_limits: Some((0.0, 0.0)),
                    }
                }));
            }
        }
        all
    }

    pub(in crate::score) fn cell(bug_rate_bp: u32, detected: usize, broken: u64) -> Cell {
        Cell {
            bug_rate_bp,
            trials: 100,
            detected,
            detected_limits: limits(detected, 100),
            completed: 100_usize.saturating_sub(detected),
            broken_median: broken,
            broken_p95: broken + 8,
            detection_median_s: (detected > 0).then_some(3_600.0),
            detection_p95_s: (detected > 0).then_some(7_200.0),
            completion_median_s: (detected < 100).then_some(111_600.0),
        }
    }

    pub(in crate::score) fn policy(name: &str, cells: Vec<Cell>) -> PolicyScore {
        PolicyScore { policy: name.to_owned(), cells }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{cell, compared, policy};
    use super::*;

    fn recommendation(policies: &[PolicyScore]) -> String {
        super::recommendation(policies, &compared(policies), Method::Fixed)
    }

    /// The same cell with fewer trials.
    fn few(bug_rate_bp: u32, detected: usize, trials: usize) -> Cell {
        let completed = trials - detected;
        Cell {
            trials,
            completed,
            detected_limits: super::super::limits(detected, trials),
            ..cell(bug_rate_bp, detected, 11)
        }
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
    fn a_policy_that_stops_good_releases_is_not_recommended() {
        let nervous = policy("nervous", vec![cell(0, 40, 0), cell(100, 100, 2)]);
        let calm = policy("calm", vec![cell(0, 1, 0), cell(100, 92, 11)]);
        let said = recommendation(&[nervous, calm]);
        assert!(said.starts_with("Policy `calm` finds a 1 % bug in 92 %"), "{said}");
        assert!(said.contains("of which 99 of 100 were complete in time (it stopped 1 of them)"), "{said}");
        let alarms =
            "of which 60 of 100 were complete in time (it stopped 40: at least 30 % of all, with 95 % confidence)";
        assert!(said.ends_with(&format!("{alarms}; that ranks it lower.")), "{said}");
    }

    #[test]
    fn where_every_policy_hinders_good_releases_none_is_to_be_taken() {
        let open = Cell { completed: 0, completion_median_s: None, ..cell(0, 0, 0) };
        let said = recommendation(&[policy("slow", vec![open, cell(100, 100, 2)])]);
        assert!(said.starts_with("This policy stops good releases, or does not complete them within"), "{said}");
        assert!(said.contains("it had completed none of 100 good releases when the scenario was over."), "{said}");
        let said = recommendation(&[policy("alarm", vec![cell(0, 100, 0), cell(100, 100, 2)])]);
        assert!(said.contains("use none as it is.") && said.ends_with("; it stopped every good release."), "{said}");
    }

    #[test]
    fn where_nothing_is_found_reliably_it_says_so_and_what_each_misses() {
        let a = policy("a", vec![cell(0, 0, 0), cell(50, 3, 9), cell(100, 40, 9)]);
        let b = policy("b", vec![cell(0, 0, 0), cell(50, 5, 9), cell(100, 80, 9)]);
        assert_eq!(
            recommendation(&[a, b]),
            "No policy reliably finds even the largest bug; `b` comes nearest, and misses a 0.5 % bug in 95 of 100 and a 1 % bug \
             in 20 of 100, and takes 31 h for a good release. Policy `a` misses a 0.5 % bug in 97 of 100 and a 1 % bug in 60 \
             of 100, and takes 31 h for a good release."
        );
        let nervous = policy("nervous", vec![cell(0, 50, 0), cell(50, 99, 9)]);
        let said = recommendation(&[nervous, policy("blind", vec![cell(0, 0, 0), cell(50, 3, 9)])]);
        assert!(said.starts_with("No policy that lets good releases through reliably finds even"), "{said}");
        assert_eq!(recommendation(&[]), "There are no trials to judge by.");
    }

    #[test]
    fn a_bug_that_the_best_policy_misses_is_named() {
        let said = recommendation(&[policy("a", vec![cell(0, 0, 0), cell(50, 20, 9), cell(100, 95, 9)])]);
        assert!(said.contains("(p95 17), but misses a 0.5 % bug in 80 of 100, and takes 31 h"), "{said}");
        let best = policy("a", vec![cell(50, 20, 9), cell(100, 95, 9)]);
        let said = recommendation(&[best, policy("b", vec![cell(100, 40, 9)]), policy("c", vec![cell(50, 20, 9)])]);
        assert!(said.contains("Policy `b` misses the 1 % bug in 60 of 100"), "{said}");
        assert!(said.contains("Policy `c` was not tried with the 1 % bug"), "{said}");
    }

    #[test]
    fn what_was_not_tried_is_not_judged() {
        let said = recommendation(&[policy("a", vec![cell(0, 0, 0)])]);
        assert_eq!(
            said,
            "No bug was tried, so nothing shows what policies find. Policy `a` takes 31 h for a good release."
        );
        let said = recommendation(&[policy("a", vec![cell(100, 97, 11)])]);
        assert!(
            said.ends_with(
                "No good release was tried: a bug rate of 0 would show false alarms, and how long one takes."
            )
        );
    }

    #[test]
    fn policies_that_the_trials_do_not_distinguish_are_called_so() {
        let said = recommendation(&[policy("a", vec![few(100, 9, 10)]), policy("b", vec![few(100, 7, 10)])]);
        assert!(
            said.contains(
                "misses it in 3 of 10; 10 trials do not show which of the two finds it more often: about 20 of each would"
            ),
            "{said}"
        );
        let said = recommendation(&[policy("a", vec![cell(100, 97, 11)]), policy("b", vec![cell(100, 97, 12)])]);
        assert!(said.contains("; 100 trials do not show which of the two finds it more often."), "{said}");
    }
}
