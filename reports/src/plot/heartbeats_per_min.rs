//! Heartbeats a minute over time: what was offered, and what was acknowledged.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::theme;
use super::timeline::Point;
use crate::number;
use crate::run::Run;

/// Offered as a broad pale line, acknowledged as a thin dark one upon it: where the pale one shows alone, beats went missing.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Heartbeats per minute: offered and acknowledged");
    // After the end nothing is offered: the last answers are no rate.
    let is_within = |point: &Point| point.from_s < run.summary.simulated_s || point.from_s <= 0.0;
    let offered = |point: &Point| point.rate(point.offered, 60.0).filter(|_| is_within(point));
    let acked = |point: &Point| point.rate(point.acked, 60.0).filter(|_| is_within(point));
    let peak = |rate: &dyn Fn(&Point) -> Option<f64>| run.timeline.points.iter().filter_map(rate).fold(0.0, f64::max);
    let (offered_max, acked_max) = (peak(&offered), peak(&acked));
    let beats = run.summary.heartbeats;
    chart.subtitle = format!(
        "Over the steady part: {} acknowledged a minute of {} offered. Each point covers {}.",
        number::whole(beats.per_min),
        number::whole(beats.offered_per_min),
        number::span(run.timeline.width_s),
    );
    chart.description = format!(
        "Offered heartbeats peak at {} a minute, acknowledged ones at {}.",
        number::compact(offered_max),
        number::compact(acked_max),
    );
    let mut panel = Panel {
        y: Axis::from_zero("heartbeats per minute", offered_max.max(acked_max)),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: (offered_max.max(acked_max) <= 0.0).then(|| "no heartbeats".into()),
    };
    panel.add_lines(run.timeline.lines(offered), 6.0, theme::OFFERED);
    panel.add_lines(run.timeline.lines(acked), 2.2, theme::GOOD);
    chart.panels.push(panel);
    chart.legend = vec![("offered (scheduled)".into(), theme::OFFERED), ("acknowledged".into(), theme::GOOD)];
    chart
}
