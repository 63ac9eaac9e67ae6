//! Heartbeat response time by percentile: how the tail grows, one decade of rarity after another.

use hdrhistogram::Histogram;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel};
use super::canvas::theme;
use crate::number;
use crate::run::Run;

/// Percentiles with a label on the axis, and with a dot on the curve where `true`.
const LABELS: [(f64, &str, bool); 7] = [
    (0.5, "50%", true),
    (0.9, "90%", true),
    (0.99, "99%", true),
    (0.999, "99.9%", true),
    (0.999_9, "99.99%", true),
    (0.999_99, "99.999%", false),
    (0.999_999, "99.9999%", false),
];
/// Most corners of the curve: two a pixel.
const CORNERS_MAX: f64 = 1_600.0;

/// The whole distribution as a step curve over `1 / (1 - percentile)`.
pub(crate) fn chart(run: &Run) -> Chart {
    let count = run.latency.as_ref().map_or(0, Histogram::len);
    // The greatest sample represents the last 1 in `count`: the axis ends a little after it, and never before 99 %.
    let high = (2.0 * count.max(1) as f64).log10().clamp(2.0, 7.3);
    let ticks =
        LABELS.iter().map(|(p, label, _)| (rarity(*p), (*label).to_owned())).filter(|(at, _)| *at <= high + 1e-9);
    let mut chart = Chart {
        title: "Heartbeat response time by percentile".into(),
        subtitle: format!(
            "{} answered {}, from the intended send to the verified answer.",
            number::grouped(count),
            if count == 1 { "heartbeat" } else { "heartbeats" }
        ),
        description: "There were no answered heartbeats.".into(),
        x: Axis::with_ticks(
            "share of answers at least this fast; the slower rest on a log scale",
            high,
            ticks.collect(),
        ),
        bands: Vec::new(),
        flags: Vec::new(),
        panels: Vec::new(),
        legend: Vec::new(),
        pens: Vec::new(),
    };
    let millis = |micros: u64| micros as f64 / 1_000.0;
    // Twice the greatest leaves space for its label.
    let ends = run.latency.iter().flat_map(|micros| [millis(micros.min()), millis(micros.max()) * 2.0]);
    let mut panel = Panel {
        y: Axis::log("milliseconds, log scale", ends),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: run.latency.is_none().then(|| "no answered heartbeats".into()),
    };
    if let Some(micros) = &run.latency {
        panel.marks.push(Mark::Line { points: curve(micros, high), width: 2.6, colour: theme::GOOD });
        let spots = spots(micros, high);
        let words: Vec<String> =
            spots.iter().map(|(_, value, name)| format!("{name} {}", number::millis(*value))).collect();
        chart.description = format!("{}.", words.join(", "));
        panel.marks.extend(spots.into_iter().map(|(at, value, name)| {
            let text = if name == "max" { format!("max {}", number::millis(value)) } else { number::millis(value) };
            Mark::Spot { at: (at, value), text, colour: theme::INK }
        }));
    }
    chart.panels.push(panel);
    chart
}

/// Position of a percentile on the axis: decades of rarity.
fn rarity(p: f64) -> f64 {
    -(1.0 - p).log10()
}

/// The step curve: each recorded value over the shares of answers that it represents.
fn curve(micros: &Histogram<u64>, high: f64) -> Vec<(f64, f64)> {
    let (count, apart) = (micros.len() as f64, high / CORNERS_MAX);
    let mut points: Vec<(f64, f64)> = Vec::new();
    let (mut seen, mut from) = (0_u64, 0.0);
    for step in micros.iter_recorded() {
        seen += step.count_since_last_iteration();
        let to = if seen >= micros.len() { high } else { rarity(seen as f64 / count).min(high) };
        let value = step.value_iterated_to() as f64 / 1_000.0;
        let is_last = seen >= micros.len();
        if to - from >= apart || is_last || points.is_empty() {
            points.extend([(from, value), (to, value)]);
            from = to;
        }
    }
    points
}

/// The named percentiles that the samples reach, and the greatest: position, milliseconds, name.
fn spots(micros: &Histogram<u64>, high: f64) -> Vec<(f64, f64, String)> {
    // A percentile needs ten samples beyond it to mean much; the median is always given.
    let reached = |p: f64| p <= 0.5 || (1.0 - p) * micros.len() as f64 >= 10.0 - 1e-6;
    let named = LABELS.iter().filter(|(p, _, has_spot)| *has_spot && reached(*p));
    let mut spots: Vec<(f64, f64, String)> = named
        .map(|(p, label, _)| (rarity(*p), micros.value_at_quantile(*p) as f64 / 1_000.0, (*label).to_owned()))
        .collect();
    spots.push((high, micros.max() as f64 / 1_000.0, "max".into()));
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_from_the_least_to_the_greatest() {
        let mut micros = Histogram::<u64>::new(3).unwrap();
        for sample in 1..=100_000 {
            micros.record(sample).unwrap();
        }
        let points = curve(&micros, 5.0);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!(points.len() < 4_000, "{} corners", points.len());
        assert!((points[points.len() - 1].1 - 100.0).abs() < 0.2);
        let names: Vec<_> = spots(&micros, 5.0).into_iter().map(|(_, _, name)| name).collect();
        assert_eq!(names, ["50%", "90%", "99%", "99.9%", "99.99%", "max"]);
    }

    #[test]
    fn one_sample_is_a_level_line() {
        let mut micros = Histogram::<u64>::new(3).unwrap();
        micros.record(1_000).unwrap();
        assert_eq!(curve(&micros, 2.0), [(0.0, 1.0), (2.0, 1.0)]);
        assert_eq!(spots(&micros, 2.0).len(), 2);
    }
}
