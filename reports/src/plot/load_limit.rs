//! A search for the load limit: latency, throughput and CPU time against the offered load.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::chart::{Chart, Flag, Mark, Panel, Point, Series};
use super::pen::pens;
use super::theme;
use crate::load_limit::{LoadLimit, Step, StepVerdict, knee};
use crate::number::{compact, millis};

/// The steps by load.
fn by_load(of: &LoadLimit) -> Vec<&Step> {
    let mut steps: Vec<&Step> = of.steps.iter().filter(|step| step.verdict != StepVerdict::Broken).collect();
    steps.sort_by(|one, other| one.offered_per_min.total_cmp(&other.offered_per_min));
    steps
}

/// Offered heartbeats a minute, a little beyond the highest.
fn offered(steps: &[&Step]) -> Axis {
    let most = steps.iter().map(|step| step.offered_per_min).fold(0.0, f64::max);
    Axis::from_zero("offered load, heartbeats a minute", most)
}

/// Points of one figure at each load: the middle of repeated runs, with the least and the greatest as whisker.
fn points(steps: &[&Step], figure: impl Fn(&Step) -> Option<f64>) -> Vec<Point> {
    let mut points = Vec::new();
    for same in steps.chunk_by(|one, other| one.devices == other.devices) {
        let mut values: Vec<f64> = same.iter().filter_map(|step| figure(step)).collect();
        values.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (values.first(), values.last()) else { continue };
        let middle = values.get((values.len() - 1) / 2).copied().unwrap_or(*low);
        let at = same.iter().map(|step| step.offered_per_min).sum::<f64>() / same.len() as f64;
        points.push(Point { at, low: *low, value: middle, high: *high, text: String::new() });
    }
    points
}

fn greatest<'a>(series: impl IntoIterator<Item = &'a Vec<Point>>) -> f64 {
    series.into_iter().flatten().map(|point| point.high).fold(0.0, f64::max)
}

/// Both ends of the interval, as flags.
fn ends(of: &LoadLimit) -> Vec<Flag> {
    let flag = |at: Option<f64>, name: &str, colour: RGBColor| {
        Some(Flag { at: at?, name: format!("{name} {}", compact(at?)), colour })
    };
    let held = if of.is_lower_bound { "at least" } else { "held" };
    [flag(of.interval.held_per_min, held, theme::GOOD), flag(of.interval.above_per_min, "did not hold", theme::ALARM)]
        .into_iter()
        .flatten()
        .collect()
}

fn chart(
    of: &LoadLimit,
    (title, subtitle, description): (&str, String, String),
    panel: Panel,
    pens: Vec<(String, super::pen::Pen)>,
) -> Chart {
    Chart {
        title: title.to_owned(),
        subtitle,
        description,
        x: offered(&by_load(of)),
        bands: Vec::new(),
        flags: ends(of),
        panels: vec![panel],
        legend: Vec::new(),
        pens,
    }
}

/// Latency against load: the hockey stick, with its knee.
pub(crate) fn latency(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let shown = [("p50", 0), ("p99", 1), ("p99.9", 2)];
    let figure = |nth: usize| {
        move |step: &Step| step.latency_ms.map(|of| [of.p50, of.p99, of.p999].get(nth).copied().unwrap_or(of.max))
    };
    let lines: Vec<Vec<Point>> = shown.iter().map(|(_, nth)| points(&steps, figure(*nth))).collect();
    let first = lines.first().filter(|points| !points.is_empty())?;
    let words: Vec<String> = first
        .iter()
        .zip(lines.get(1)?)
        .map(|(p50, p99)| {
            format!("at {} a minute p50 {}, p99 {}", compact(p50.at), millis(p50.value), millis(p99.value))
        })
        .collect();
    let all = lines.iter().flatten().flat_map(|point| [point.low, point.high]);
    let mut marks = Vec::new();
    let knee = knee(of);
    if let Some((at, p99)) = knee {
        marks.push(Mark::Spot { at: (at, p99), text: format!("knee: {}", compact(at)), colour: theme::INK });
    }
    let looks: Vec<_> = shown.iter().map(|(name, _)| (*name).to_owned()).zip(pens()).collect();
    let panel = Panel {
        y: Axis::log("response time, ms", all),
        height: 1.2,
        marks,
        series: looks
            .iter()
            .zip(lines)
            .map(|((_, pen), points)| Series { pen: *pen, points, is_joined: true })
            .collect(),
        empty: None,
    };
    let knee = knee.map_or_else(
        || "The knee was not reached.".to_owned(),
        |(at, _)| format!("The knee is at {} a minute.", compact(at)),
    );
    let subtitle = "Each point is a load, the middle of its runs, with the least and the greatest; from the moment a heartbeat was due.".to_owned();
    let description = format!("{}. {knee}", words.join("; "));
    Some(chart(of, ("Latency against offered load", subtitle, description), panel, looks))
}

/// Throughput against load: on the diagonal everything is answered.
pub(crate) fn throughput(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let answered = points(&steps, |step| Some(step.acked_per_min));
    let last = answered.last()?.at;
    let words: Vec<String> =
        answered.iter().map(|of| format!("{} answered of {} offered", compact(of.value), compact(of.at))).collect();
    let pen = pens().next()?;
    let panel = Panel {
        y: Axis::from_zero("answered OK, heartbeats a minute", greatest([&answered]).max(last)),
        height: 1.0,
        marks: vec![Mark::Line { points: vec![(0.0, 0.0), (last, last)], width: 1.8, colour: theme::OFFERED }],
        series: vec![Series { pen, points: answered, is_joined: true }],
        empty: None,
    };
    let subtitle = "On the diagonal everything that was offered was answered OK.".to_owned();
    let mut chart = chart(
        of,
        ("Throughput against offered load", subtitle, words.join("; ") + "."),
        panel,
        vec![("answered OK".to_owned(), pen)],
    );
    chart.legend = vec![("all that was offered".to_owned(), theme::OFFERED)];
    Some(chart)
}

/// CPU time of both sides for each answered heartbeat.
pub(crate) fn cpu(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let sides = [
        ("server", points(&steps, |step| step.cpu_us_per_heartbeat(step.server_cores))),
        ("generator", points(&steps, |step| step.cpu_us_per_heartbeat(Some(step.generator_cores)))),
    ];
    let most = greatest(sides.iter().map(|(_, points)| points));
    if most <= 0.0 {
        return None;
    }
    let words: Vec<String> = sides
        .iter()
        .flat_map(|(name, points)| {
            points.iter().map(move |of| format!("{name} {} µs at {}", compact(of.value), compact(of.at)))
        })
        .collect();
    let drawn: Vec<_> = sides.into_iter().filter(|(_, points)| !points.is_empty()).zip(pens()).collect();
    let looks = drawn.iter().map(|((name, _), pen)| ((*name).to_owned(), *pen)).collect();
    let is_unknown = drawn.len() < 2;
    let panel = Panel {
        y: Axis::from_zero("CPU time a heartbeat, µs", most),
        height: 0.9,
        marks: Vec::new(),
        series: drawn.into_iter().map(|((_, points), pen)| Series { pen, points, is_joined: true }).collect(),
        empty: None,
    };
    let unknown = if is_unknown { " The server's is unknown: it runs elsewhere." } else { "" };
    let subtitle = format!("CPU time of each side's process, for each heartbeat that was answered OK.{unknown}");
    Some(chart(of, ("CPU time of a heartbeat", subtitle, words.join("; ") + "."), panel, looks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load_limit::sample, plot};

    #[test]
    fn repeated_runs_of_a_load_are_one_point_with_a_whisker() {
        let chart = latency(&sample::found()).unwrap();
        let p99 = &chart.panels[0].series[1].points;
        assert_eq!(p99.len(), 6, "seven steps at six loads");
        assert!(p99.iter().any(|point| (point.low - 38.0).abs() < 1e-9 && (point.high - 40.0).abs() < 1e-9));
        assert!(chart.description.contains("The knee is at 450k"), "{}", chart.description);
        assert_eq!(chart.flags.len(), 2);
    }

    #[test]
    fn every_picture_of_every_state_is_drawn_or_left_out() {
        let mut unknown = sample::found();
        unknown.steps.iter_mut().for_each(|step| step.server_cores = None);
        let mut silent = sample::found();
        silent.steps.iter_mut().for_each(|step| (step.latency_ms, step.acked_per_min) = (None, 0.0));
        let mut one = sample::found();
        one.steps.truncate(1);
        for found in [sample::found(), unknown, silent, one] {
            for (name, chart) in plot::OF_LOAD_LIMIT {
                let Some(chart) = chart(&found) else { continue };
                let figure = plot::figure(name, chart, false).unwrap();
                assert!(!figure.svg.contains("NaN") && figure.png.starts_with(b"\x89PNG"), "{name}");
            }
        }
    }
}
