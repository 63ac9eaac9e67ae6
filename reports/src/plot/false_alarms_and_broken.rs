//! What each advised policy costs: good releases that it stops by mistake, against devices that the bug breaks.

use super::canary_size::{per_cent_axis, rehearsed};
use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel, Point, Series};
use super::canvas::pen::pens;
use super::canvas::theme;
use crate::advice::{Advice, AdvisedPolicy, words};

/// Title of the vertical axis.
const FALSE_ALARMS: &str = "good releases that are stopped by mistake, per cent";
/// From this on the vertical axis goes to 100 %.
const WHOLE_FROM: f64 = 50.0;

/// A policy with its false alarms; lines of the picture would strike such a number through.
fn named(of: &AdvisedPolicy) -> String {
    format!("{}: {}", of.name, words::chance(of.false_alarms, 1))
}

/// What a policy costs: good releases that it stops, against the devices that the bug breaks under it.
pub(crate) fn chart(of: &Advice) -> Chart {
    let most_hit = of.policies.iter().map(|of| f64::from(of.hit_at_most)).fold(0.0, f64::max);
    let tried = || of.rehearsed.iter().filter(|_| of.is_background_known).flat_map(|of| &of.policies);
    let most_hit = tried().map(|of| of.broken.0 as f64).fold(most_hit, f64::max);
    let x = Axis::count("devices that the bug breaks until the rollout is stopped", most_hit);
    let wanted = f64::from(of.question.false_alarms_bp) / 100.0;
    let (mut marks, mut series, mut words) = (vec![Mark::level(most_hit * 2.0, wanted)], Vec::new(), Vec::new());
    for (policy, pen) in of.policies.iter().zip(pens()) {
        let value = policy.false_alarms * 100.0;
        let points = vec![(policy.hit, value), (f64::from(policy.hit_at_most), value)];
        marks.push(Mark::Line { points, width: theme::LIMIT_LINE, colour: pen.colour() });
        series.push(Series::of_point(pen, Point::bare(policy.hit, value)));
        words.push(format!(
            "{} stops {} of good releases and breaks {:.1} devices",
            policy.name,
            words::chance(policy.false_alarms, 1),
            policy.hit
        ));
    }
    let mut most = of.policies.iter().map(|of| of.false_alarms * 100.0).fold(wanted, f64::max);
    for (of, pen) in tried().zip(pens()).filter(|(of, _)| of.false_alarms.of > 0) {
        most = most.max(of.false_alarms.limits.1 * 100.0);
        series.push(Series::of_point(pen, rehearsed(of.broken.0 as f64, &of.false_alarms)));
    }
    Chart {
        title: "What each policy costs".into(),
        subtitle: format!(
            "False alarms against the devices that the bug breaks before it is found: expected, with a line to the number that is not exceeded \
             with 95 %. Lower and further left is better.{}",
            if tried().next().is_some() {
                " Marks with a whisker: rehearsals, with 95 % limits of false alarms."
            } else {
                ""
            }
        ),
        description: format!("{}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel {
            y: if most > WHOLE_FROM { per_cent_axis(FALSE_ALARMS) } else { Axis::from_zero(FALSE_ALARMS, most) },
            height: 0.9,
            marks,
            series,
            empty: None,
        }],
        legend: vec![(format!("wanted: {} at most", words::percent(of.question.false_alarms_bp)), theme::ALARM)],
        pens: of.policies.iter().map(named).zip(pens()).collect(),
    }
}
