//! A search for the load limit: latency, throughput and CPU time against the offered load.

use plotters::style::RGBColor;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Flag, Mark, Panel, Point};
use super::canvas::theme;
use crate::load_limit::{LoadLimit, Step, StepVerdict, knee};
use crate::number::{compact, millis};

/// The steps by load.
fn by_load(of: &LoadLimit) -> Vec<&Step> {
    let mut steps: Vec<&Step> = of.steps.iter().filter(|step| step.verdict != StepVerdict::Broken).collect();
    steps.sort_by(|one, other| one.planned_per_min.total_cmp(&other.planned_per_min));
    steps
}

/// Offered heartbeats a minute, a little beyond the highest.
fn offered(steps: &[&Step]) -> Axis {
    let most = steps.iter().map(|step| step.planned_per_min).fold(0.0, f64::max);
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
        let at = same.iter().map(|step| step.planned_per_min).sum::<f64>() / same.len() as f64;
        points.push(Point { at, low: *low, value: middle, high: *high, text: String::new() });
    }
    points
}

/// A curve through the points, each with a dot and its whisker. No shift of points at the same load: here the axis is a number.
fn curve(points: &[Point], colour: RGBColor) -> Vec<Mark> {
    let line = |points, width| Mark::Line { points, width, colour };
    let mut marks = vec![line(points.iter().map(|of| (of.at, of.value)).collect(), 2.4)];
    for of in points {
        if of.high > of.low {
            marks.push(line(vec![(of.at, of.low), (of.at, of.high)], 1.2));
        }
        marks.push(Mark::Spot { at: (of.at, of.value), text: String::new(), colour });
    }
    marks
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
    legend: Vec<(String, RGBColor)>,
) -> Chart {
    Chart {
        title: title.to_owned(),
        subtitle,
        description,
        x: offered(&by_load(of)),
        bands: Vec::new(),
        flags: ends(of),
        panels: vec![panel],
        legend,
        pens: Vec::new(),
    }
}

/// Latency against load: the hockey stick, with its knee.
pub(crate) fn latency(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let shown = [("p50", 0, theme::GOOD), ("p99", 1, theme::TAIL), ("p99.9", 2, theme::EXTREME)];
    let figure = |nth: usize| {
        move |step: &Step| step.latency_ms.map(|of| [of.p50, of.p99, of.p999].get(nth).copied().unwrap_or(of.max))
    };
    let lines: Vec<Vec<Point>> = shown.iter().map(|(_, nth, _)| points(&steps, figure(*nth))).collect();
    let first = lines.first().filter(|points| !points.is_empty())?;
    let words: Vec<String> = first
        .iter()
        .zip(lines.get(1)?)
        .map(|(p50, p99)| {
            format!("at {} a minute p50 {}, p99 {}", compact(p50.at), millis(p50.value), millis(p99.value))
        })
        .collect();
    let all = lines.iter().flatten().flat_map(|point| [point.low, point.high]);
    let mut marks: Vec<Mark> =
        lines.iter().zip(shown).flat_map(|(points, (_, _, colour))| curve(points, colour)).collect();
    let knee = knee(of);
    if let Some((at, p99)) = knee {
        marks.push(Mark::Spot { at: (at, p99), text: format!("knee: {}", compact(at)), colour: theme::INK });
    }
    let legend = shown.map(|(name, _, colour)| (name.to_owned(), colour)).into();
    let panel = Panel { y: Axis::log("response time, ms", all), height: 1.2, marks, series: Vec::new(), empty: None };
    let knee = knee.map_or_else(
        || "The knee was not reached.".to_owned(),
        |(at, _)| format!("The knee is at {} a minute.", compact(at)),
    );
    let subtitle = "Each point is a load, the middle of its runs, with the least and the greatest; from the moment a heartbeat was due.".to_owned();
    let description = format!("{}. {knee}", words.join("; "));
    Some(chart(of, ("Latency against offered load", subtitle, description), panel, legend))
}

/// Throughput against load: on the diagonal everything is answered.
pub(crate) fn throughput(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let answered = points(&steps, |step| Some(step.acked_per_min));
    let last = answered.last()?.at;
    let words: Vec<String> =
        answered.iter().map(|of| format!("{} answered of {} offered", compact(of.value), compact(of.at))).collect();
    let diagonal = Mark::Line { points: vec![(0.0, 0.0), (last, last)], width: 1.8, colour: theme::OFFERED };
    let most = greatest([&answered]).max(last);
    let panel = Panel {
        y: Axis::from_zero("answered OK, heartbeats a minute", most),
        height: 1.0,
        marks: std::iter::once(diagonal).chain(curve(&answered, theme::GOOD)).collect(),
        series: Vec::new(),
        empty: None,
    };
    let subtitle = "On the diagonal everything that was offered was answered OK.".to_owned();
    let legend = vec![("answered OK".to_owned(), theme::GOOD), ("all that was offered".to_owned(), theme::OFFERED)];
    Some(chart(of, ("Throughput against offered load", subtitle, words.join("; ") + "."), panel, legend))
}

/// CPU time of both sides for each answered heartbeat.
pub(crate) fn cpu(of: &LoadLimit) -> Option<Chart> {
    let steps = by_load(of);
    let sides = [
        ("server", theme::GOOD, points(&steps, |step| step.cpu_us_per_heartbeat(step.server_cores))),
        ("generator", theme::TAIL, points(&steps, |step| step.cpu_us_per_heartbeat(Some(step.generator_cores)))),
    ];
    let most = greatest(sides.iter().map(|(_, _, points)| points));
    if most <= 0.0 {
        return None;
    }
    let words: Vec<String> = sides
        .iter()
        .flat_map(|(name, _, points)| {
            points.iter().map(move |of| format!("{name} {} µs at {}", compact(of.value), compact(of.at)))
        })
        .collect();
    let drawn = || sides.iter().filter(|(_, _, points)| !points.is_empty());
    let legend: Vec<(String, RGBColor)> = drawn().map(|(name, colour, _)| ((*name).to_owned(), *colour)).collect();
    let is_unknown = legend.len() < sides.len();
    let panel = Panel {
        y: Axis::from_zero("CPU time a heartbeat, µs", most),
        height: 0.9,
        marks: drawn().flat_map(|(_, colour, points)| curve(points, *colour)).collect(),
        series: Vec::new(),
        empty: None,
    };
    let unknown = if is_unknown { " The server's is unknown: its process is not this search's own." } else { "" };
    let subtitle = format!("CPU time of each side's process, for each heartbeat that was answered OK.{unknown}");
    Some(chart(of, ("CPU time of a heartbeat", subtitle, words.join("; ") + "."), panel, legend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load_limit::sample, plot};

    #[test]
    fn repeated_runs_of_a_load_are_one_point_with_a_whisker() {
        let chart = latency(&sample::found()).unwrap();
        let dots = chart.panels[0].marks.iter().filter(|mark| matches!(mark, Mark::Spot { .. })).count();
        assert_eq!(dots, 3 * 6 + 1, "seven steps at six loads, three percentiles, and the knee");
        let repeated = points(&by_load(&sample::found()), |step| Some(step.latency_ms?.p99));
        let ends: Vec<(f64, f64)> = repeated.iter().filter(|of| of.high > of.low).map(|of| (of.low, of.high)).collect();
        assert_eq!(ends, [(38.0, 40.0)]);
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
                assert!(!figure.svg.contains("NaN") && figure.png().unwrap().starts_with(b"\x89PNG"), "{name}");
            }
        }
    }
}
