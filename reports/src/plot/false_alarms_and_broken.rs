//! What each advised policy costs: good releases that it stops by mistake, against devices that the bug breaks.

use super::axis::Axis;
use super::canary_size::{per_cent_axis, rehearsed};
use super::chart::{Chart, Mark, Panel, Point, Series};
use super::pen::pens;
use super::theme;
use crate::advice::{Advice, words};

/// Width of the line to the 95 % limit.
const LIMIT: f64 = 1.8;

/// What a policy costs: good releases that it stops, against the devices that the bug breaks under it.
pub(crate) fn chart(of: &Advice) -> Chart {
    let most_hit = of.policies.iter().map(|of| f64::from(of.hit_at_most)).fold(0.0, f64::max);
    let tried = || of.rehearsed.iter().filter(|_| of.is_background_known).flat_map(|of| &of.policies);
    let most_hit = tried().map(|of| of.broken.0 as f64).fold(most_hit, f64::max);
    let x = Axis::count(
        "devices that the bug breaks until the rollout is stopped: expected, the line goes to the 95 % limit",
        most_hit,
    );
    let wanted = f64::from(of.question.false_alarms_bp) / 100.0;
    let (mut marks, mut series, mut words) = (vec![Mark::level(most_hit * 2.0, wanted)], Vec::new(), Vec::new());
    for (policy, pen) in of.policies.iter().zip(pens()) {
        let value = policy.false_alarms * 100.0;
        let points = vec![(policy.hit, value), (f64::from(policy.hit_at_most), value)];
        marks.push(Mark::Line { points, width: LIMIT, colour: pen.colour() });
        series.push(Series::of_point(pen, Point::bare(policy.hit, value, words::chance(policy.false_alarms, 1))));
        words.push(format!(
            "{} stops {} of good releases and breaks {:.1} devices",
            policy.name,
            words::chance(policy.false_alarms, 1),
            policy.hit
        ));
    }
    for (of, pen) in tried().zip(pens()).filter(|(of, _)| of.false_alarms.of > 0) {
        series.push(Series::of_point(pen, rehearsed(of.broken.0 as f64, &of.false_alarms)));
    }
    Chart {
        title: "What each policy costs".into(),
        subtitle: "Share of good releases that are stopped by mistake, against the devices that the bug breaks before it is found. Lower \
                   and further left is better."
            .into(),
        description: format!("{}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel { y: per_cent_axis("false alarms"), height: 0.9, marks, series, empty: None }],
        legend: vec![(format!("wanted: {} at most", words::percent(of.question.false_alarms_bp)), theme::ALARM)],
        pens: of.policies.iter().map(|of| of.name.clone()).zip(pens()).collect(),
    }
}
