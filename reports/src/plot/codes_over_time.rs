//! How requests ended, a second, by code: successes above, everything else below on a scale of its own.

use std::collections::BTreeMap;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel};
use super::canvas::theme;
use super::timeline::{Point, Timeline};
use crate::number;
use crate::run::Run;
use crate::run_folder::OK;

/// Codes other than `OK` that get a colour of their own; the rest are drawn together.
const NAMED_MAX: usize = 5;

/// Two panels, because one refusal in a thousand requests must not vanish under the successes.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "How requests ended, per second");
    chart.subtitle = format!(
        "By answer code or transport failure; all message types, honest devices only. Each point covers {}.",
        number::span(run.timeline.width_s)
    );
    let totals = totals(&run.timeline);
    let ok = totals.get(OK).copied().unwrap_or(0);
    let others = groups(&totals);
    let named: Vec<_> =
        [(OK.to_owned(), ok)].into_iter().chain(others.iter().map(|group| (group.name.clone(), group.total))).collect();
    let words: Vec<_> = named.iter().map(|(name, total)| format!("{} {name}", number::grouped(*total))).collect();
    chart.description = format!("Requests in all: {}.", words.join(", "));
    let colours = [theme::GOOD_AREA].into_iter().chain(others.iter().map(|group| group.colour));
    chart.legend =
        named.iter().map(|(name, total)| format!("{name} ({})", number::compact(*total as f64))).zip(colours).collect();
    chart.panels = vec![ok_panel(&run.timeline), others_panel(&run.timeline, &others)];
    chart
}

/// Height of a panel: an empty one is small.
fn height(max: f64) -> f64 {
    if max > 0.0 { 0.6 } else { 0.25 }
}

/// The panel of successes.
fn ok_panel(timeline: &Timeline) -> Panel {
    let rate = |point: &Point| point.rate(point.answers(OK), 1.0);
    let max = timeline.points.iter().filter_map(rate).fold(0.0, f64::max);
    let mut panel = Panel {
        y: Axis::from_zero("OK per second", max),
        height: height(max),
        marks: Vec::new(),
        series: Vec::new(),
        empty: (max <= 0.0).then(|| "no successful answers".into()),
    };
    for line in timeline.lines(rate) {
        let points = line.iter().map(|(x, y)| (*x, 0.0, *y)).collect();
        panel.marks.push(Mark::Area { points, colour: theme::GOOD_AREA });
        panel.marks.push(Mark::Line { points: line, width: 2.0, colour: theme::GOOD });
    }
    panel
}

/// The panel of refusals and failures, one area upon another.
fn others_panel(timeline: &Timeline, groups: &[Group]) -> Panel {
    let sum = |point: &Point, groups: &[Group]| {
        let count = groups.iter().flat_map(|group| &group.codes).map(|code| point.answers(code)).sum();
        point.rate(count, 1.0)
    };
    let max = timeline.points.iter().filter_map(|point| sum(point, groups)).fold(0.0, f64::max);
    let mut panel = Panel {
        y: Axis::from_zero("refusals and failures per second", max),
        height: height(max),
        marks: Vec::new(),
        series: Vec::new(),
        empty: (max <= 0.0).then(|| "no refusals or failures".into()),
    };
    if max <= 0.0 {
        return panel;
    }
    for (index, group) in groups.iter().enumerate() {
        let (below, with) = (groups.get(..index).unwrap_or_default(), groups.get(..=index).unwrap_or_default());
        let lower = timeline.lines(|point| sum(point, below));
        let upper = timeline.lines(|point| sum(point, with));
        for (lower, upper) in lower.into_iter().zip(upper) {
            let points = lower.iter().zip(&upper).map(|((x, low), (_, high))| (*x, *low, *high)).collect();
            panel.marks.push(Mark::Area { points, colour: group.colour });
        }
    }
    panel
}

/// Codes drawn in one colour.
struct Group {
    name: String,
    codes: Vec<String>,
    total: u64,
    colour: plotters::style::RGBColor,
}

/// Requests by code over the whole run.
fn totals(timeline: &Timeline) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::<String, u64>::new();
    for (code, count) in timeline.points.iter().flat_map(|point| &point.codes) {
        let total = totals.entry(code.clone()).or_default();
        *total = total.saturating_add(*count);
    }
    totals
}

/// The codes other than `OK`: the most frequent by name, the rest as one.
fn groups(totals: &BTreeMap<String, u64>) -> Vec<Group> {
    let mut others: Vec<_> = totals.iter().filter(|(code, count)| *code != OK && **count > 0).collect();
    others.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let named = if others.len() <= NAMED_MAX + 1 { others.len() } else { NAMED_MAX };
    let rest = others.split_off(named);
    let mut groups: Vec<Group> = others
        .into_iter()
        .zip(theme::REFUSALS)
        .map(|((code, total), colour)| Group { name: code.clone(), codes: vec![code.clone()], total: *total, colour })
        .collect();
    if let [.., colour] = theme::REFUSALS
        && !rest.is_empty()
    {
        let total = rest.iter().map(|(_, count)| **count).sum();
        let codes: Vec<String> = rest.into_iter().map(|(code, _)| code.clone()).collect();
        groups.push(Group { name: format!("{} other codes", codes.len()), codes, total, colour });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn many_codes_become_five_and_the_rest() {
        let totals = sample::codes(&[("OK", 9), ("A", 1), ("B", 2), ("C", 3), ("D", 4), ("E", 5), ("F", 6), ("G", 7)]);
        let groups = groups(&totals);
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["G", "F", "E", "D", "C", "2 other codes"]);
        assert_eq!(groups[5].total, 3);
    }
}
