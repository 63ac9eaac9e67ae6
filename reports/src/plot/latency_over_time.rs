//! Heartbeat response time over time: median, 99th percentile and greatest.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::theme;
use super::timeline::Point;
use crate::number;
use crate::run::Run;

/// Three lines on a logarithmic axis, because a tail a hundred times the median must not flatten it.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Heartbeat response time over time");
    let timeline = &run.timeline;
    let each = if timeline.is_gathered() {
        format!(
            ": the median of the p50, the greatest p99 and maximum of its intervals of {}",
            number::span(timeline.tick_s)
        )
    } else {
        String::new()
    };
    let width = number::span(timeline.width_s);
    chart.subtitle = format!("From the intended send to the verified answer. Each point covers {width}{each}.");
    let values = timeline.points.iter().flat_map(|point| [point.p50_ms(), point.p99_ms, point.max_ms]).flatten();
    let has_values = values.clone().next().is_some();
    let worst = |value: fn(&Point) -> Option<f64>| timeline.points.iter().filter_map(value).fold(0.0, f64::max);
    chart.description = if has_values {
        format!(
            "At worst, the median is {}, the 99th percentile {} and the greatest {}.",
            number::millis(worst(Point::p50_ms)),
            number::millis(worst(|point| point.p99_ms)),
            number::millis(worst(|point| point.max_ms)),
        )
    } else {
        "There were no answered heartbeats.".into()
    };
    let mut panel = Panel {
        y: Axis::log("milliseconds, log scale", values),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: (!has_values).then(|| "no answered heartbeats".into()),
    };
    panel.add_lines(timeline.lines(|point| point.max_ms), 1.6, theme::EXTREME);
    panel.add_lines(timeline.lines(|point| point.p99_ms), 2.2, theme::TAIL);
    panel.add_lines(timeline.lines(Point::p50_ms), 2.8, theme::GOOD);
    chart.panels.push(panel);
    chart.legend = [("max", theme::EXTREME), ("p99", theme::TAIL), ("p50 (median)", theme::GOOD)]
        .map(|(name, colour)| (name.to_owned(), colour))
        .into();
    chart
}
