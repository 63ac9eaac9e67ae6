//! How large a canary must be: the chance to find the bug by its size, with the advised policies on the curves of their gates.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Flag, Mark, Panel, Point, Series};
use super::canvas::pen::pens;
use super::canvas::theme;
use crate::advice::{Advice, AdvisedPolicy, Share, words};
use crate::number::grouped;

/// Width of a curve.
const CURVE: f64 = 2.6;

/// The chance to find the bug by the size of the canary, with the advised policies on the curves of their gates.
pub(crate) fn chart(of: &Advice) -> Chart {
    let chances = &of.chances;
    let most = chances.devices.last().copied().unwrap_or(0);
    let line = |values: &[f64]| {
        chances.devices.iter().map(|at| f64::from(*at)).zip(values.iter().map(|of| of * 100.0)).collect()
    };
    let wanted = f64::from(of.question.with_bp) / 100.0;
    let mut marks = vec![Mark::level(f64::from(most), wanted)];
    let mut legend = vec![
        (format!("wanted: {}", words::percent(of.question.with_bp)), theme::ALARM),
        ("no policy finds more".to_owned(), theme::EXTREME),
    ];
    marks.push(Mark::Line { points: line(&chances.at_most), width: theme::LIMIT_LINE, colour: theme::EXTREME });
    for (curve, colour) in chances.found.iter().zip(theme::CURVES.into_iter().cycle()) {
        marks.push(Mark::Line { points: line(&curve.chances), width: CURVE, colour });
        let failures = if curve.failures == 1 { "failure" } else { "failures" };
        legend.push((format!("stops at {} {failures}", curve.failures), colour));
    }
    let flag = format!("{}: the smallest possible", grouped(of.smallest.into()));
    let flags = vec![Flag { at: f64::from(of.smallest), name: flag, colour: theme::DECISION }];
    let series = found(of);
    let words: Vec<String> = of
        .policies
        .iter()
        .map(|policy| {
            let canary = grouped(policy.canary_of_group.into());
            format!("{} has {canary} in its canary and finds {}", policy.name, words::at_least(policy.found))
        })
        .collect();
    let title = format!("devices{} in the canary", words::of_group(&of.question.group));
    let ticks = Axis::count(&title, f64::from(most)).ticks;
    let ticks = ticks.into_iter().filter(|(at, _)| *at <= f64::from(most)).collect();
    Chart {
        title: "How large a canary must be".into(),
        subtitle: format!(
            "Chance that a canary finds a bug of {}, if only {} of its devices have an outcome. Grey: all have one, and the first failure \
             stops.{}",
            words::percent(of.question.detect_bp),
            percent(of.executed_bp),
            if of.rehearsed.is_some() { " Marks with a whisker: share of rehearsals, with 95 % limits." } else { "" }
        ),
        description: format!("{}.", words.join(", ")),
        x: Axis::with_ticks(&title, f64::from(most).max(1.0), ticks),
        bands: Vec::new(),
        flags,
        panels: vec![Panel { y: per_cent_axis("chance to find the bug"), height: 1.2, marks, series, empty: None }],
        legend,
        pens: of.policies.iter().map(named).zip(pens()).collect(),
    }
}

/// A policy with the size of its canary.
fn named(of: &AdvisedPolicy) -> String {
    format!("{}: {}", of.name, words::devices(of.canary_of_group))
}

/// For each policy what was calculated and, beside it, what was rehearsed.
fn found(of: &Advice) -> Vec<Series> {
    let mut series = Vec::new();
    for (number, (policy, pen)) in of.policies.iter().zip(pens()).enumerate() {
        let at = f64::from(policy.canary_of_group);
        series.push(Series::of_point(pen, Point::bare(at, policy.found * 100.0)));
        let tried = of.rehearsed.as_ref().and_then(|all| all.policies.get(number));
        if let Some(share) = tried.map(|of| &of.found_in_canary).filter(|share| share.of > 0) {
            series.push(Series::of_point(pen, rehearsed(at, share)));
        }
    }
    series
}

/// The share of rehearsals that found it, with its limits.
pub(super) fn rehearsed(at: f64, share: &Share) -> Point {
    let (low, high) = share.limits;
    let value = share.count as f64 / share.of.max(1) as f64 * 100.0;
    Point { at, low: low * 100.0, value, high: high * 100.0, text: String::new() }
}

/// A vertical axis from 0 to 100 %.
pub(super) fn per_cent_axis(title: &str) -> Axis {
    let ticks = (0..=5).map(|nth| (f64::from(nth) * 20.0, format!("{}%", nth * 20))).collect();
    Axis::with_ticks(title, 103.0, ticks)
}

fn percent(bp: u32) -> String {
    u16::try_from(bp).map_or_else(|_| "all".to_owned(), words::percent)
}
