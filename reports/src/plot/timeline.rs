//! Ticks gathered into as many points as a picture can show, without inventing or hiding anything.
//!
//! Counts are added up and divided by the time really covered, so a rate stays true at any width. Of the ticks' latencies
//! a point keeps the median p50 (each weighted by its answers), the greatest p99 and the greatest maximum: a slow second
//! within an hour stays visible. A gap between ticks stays a gap.

use std::collections::BTreeMap;

use crate::run_folder::Tick;

/// Most points along the time axis.
const POINTS_MAX: f64 = 360.0;
/// Minimum of scheduled heartbeats per point: below that a steady device looks like noise.
const BEATS_PER_POINT_MIN: f64 = 5.0;
/// Sparse runs still get this many points.
const POINTS_MIN: f64 = 12.0;
/// Readable widths, in seconds.
const WIDTHS_S: [f64; 20] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
    14_400.0, 43_200.0, 86_400.0,
];

/// Corners of a line: seconds and values.
pub(crate) type Line = Vec<(f64, f64)>;

/// The run over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Points in order of time.
    pub(crate) points: Vec<Point>,
    /// End of the time axis, seconds into the run; above 0.
    pub(crate) end_s: f64,
    /// Width of a point, seconds.
    pub(crate) width_s: f64,
    /// Usual width of the ticks below it, seconds.
    pub(crate) tick_s: f64,
}

/// What happened in one stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Point {
    /// Start, seconds into the run.
    pub(crate) from_s: f64,
    /// End, seconds into the run.
    pub(crate) to_s: f64,
    /// Seconds covered by ticks.
    covered_s: f64,
    /// Whether it starts where the point before ended.
    pub(crate) touches_previous: bool,
    /// Heartbeats scheduled.
    pub(crate) offered: u64,
    /// Heartbeats acknowledged.
    pub(crate) acked: u64,
    /// Answers by code.
    pub(crate) codes: BTreeMap<String, u64>,
    /// Each tick's p50 and how many answers it represents.
    medians: Vec<(f64, u64)>,
    /// Greatest p99 of a tick, milliseconds.
    pub(crate) p99_ms: Option<f64>,
    /// Greatest response time, milliseconds.
    pub(crate) max_ms: Option<f64>,
}

impl Point {
    /// A count of this point as a rate per `seconds`; none when no time was covered.
    pub(crate) fn rate(&self, count: u64, seconds: f64) -> Option<f64> {
        (self.covered_s > 0.0).then(|| count as f64 / self.covered_s * seconds)
    }

    pub(crate) fn answers(&self, code: &str) -> u64 {
        self.codes.get(code).copied().unwrap_or(0)
    }

    /// Median of the ticks' p50, each weighted by its answers; milliseconds.
    pub(crate) fn p50_ms(&self) -> Option<f64> {
        let mut medians = self.medians.clone();
        medians.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half: u64 = medians.iter().map(|(_, weight)| weight).sum::<u64>().div_ceil(2);
        let mut seen = 0;
        medians
            .iter()
            .find(|(_, weight)| {
                seen += weight;
                seen >= half
            })
            .map(|(p50, _)| *p50)
    }

    /// The point of one tick.
    fn of(tick: &Tick, touches_previous: bool) -> Point {
        let width_s = tick.width_s.max(0.0);
        Point {
            from_s: tick.at_s,
            to_s: tick.at_s + width_s,
            covered_s: width_s,
            touches_previous,
            offered: tick.offered,
            acked: tick.acked,
            codes: tick.codes.clone(),
            medians: tick.p50_ms.map(|p50| (p50, tick.acked.max(1))).into_iter().collect(),
            p99_ms: tick.p99_ms,
            max_ms: tick.max_ms,
        }
    }

    /// Takes in the point that follows.
    fn absorb(&mut self, next: Point) {
        self.to_s = self.to_s.max(next.to_s);
        self.covered_s += next.covered_s;
        self.offered = self.offered.saturating_add(next.offered);
        self.acked = self.acked.saturating_add(next.acked);
        for (code, count) in next.codes {
            let sum = self.codes.entry(code).or_default();
            *sum = sum.saturating_add(count);
        }
        self.medians.extend(next.medians);
        self.p99_ms = greatest(self.p99_ms, next.p99_ms);
        self.max_ms = greatest(self.max_ms, next.max_ms);
    }
}

impl Timeline {
    /// Gathers `ticks`, which are in order of time; the axis reaches at least to `least_end_s`.
    pub(crate) fn gather(ticks: &[Tick], least_end_s: f64) -> Timeline {
        let covered_to_s = ticks.iter().map(|tick| tick.at_s + tick.width_s.max(0.0)).fold(least_end_s, f64::max);
        let end_s = if covered_to_s > 0.0 { covered_to_s } else { 1.0 };
        let usual_s = usual_width_s(ticks).unwrap_or(end_s);
        let width_s = point_width_s(ticks, end_s).max(usual_s);
        let mut points: Vec<Point> = Vec::new();
        for tick in ticks {
            let last = points.last();
            let touches = last.is_some_and(|last| tick.at_s - last.to_s <= usual_s / 2.0);
            let same_slot =
                last.is_some_and(|last| slot(last.from_s, width_s, usual_s) == slot(tick.at_s, width_s, usual_s));
            let sliver = tick.width_s < usual_s / 2.0;
            let point = Point::of(tick, touches);
            match points.last_mut().filter(|_| touches && (same_slot || sliver)) {
                Some(last) => last.absorb(point),
                None => points.push(point),
            }
        }
        join_short_end(&mut points, width_s);
        Timeline { points, end_s, width_s, tick_s: usual_s }
    }

    /// Whether a point represents more than one tick.
    pub(crate) fn is_gathered(&self) -> bool {
        self.width_s > self.tick_s * 1.5
    }

    /// Lines through `value` of each point, broken where there is a gap or no value: seconds and values.
    ///
    /// A line reaches from the start of its first point to the end of its last one; between, it goes through the middles.
    pub(crate) fn lines(&self, value: impl Fn(&Point) -> Option<f64>) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut open: Option<(Line, (f64, f64))> = None;
        for point in &self.points {
            let Some(value) = value(point) else {
                lines.extend(open.take().map(closed));
                continue;
            };
            if !point.touches_previous {
                lines.extend(open.take().map(closed));
            }
            let (line, end) = open.get_or_insert_with(|| (vec![(point.from_s, value)], (0.0, 0.0)));
            line.push((f64::midpoint(point.from_s, point.to_s), value));
            *end = (point.to_s, value);
        }
        lines.extend(open.map(closed));
        lines
    }
}

/// A line with its last position added.
fn closed((mut line, end): (Line, (f64, f64))) -> Line {
    line.push(end);
    line
}

/// Which slot of the given width a time falls in; a slot of one tick is the tick itself.
fn slot(at_s: f64, width_s: f64, tick_s: f64) -> u64 {
    let position = if width_s > tick_s * 1.5 { at_s / width_s + 1e-6 } else { at_s * 1e6 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, which is right here"
    )]
    let slot = position.max(0.0) as u64;
    slot
}

/// Lets a last point of less than half a width join the one before: rates of slivers jump.
fn join_short_end(points: &mut Vec<Point>, width_s: f64) {
    let is_short = |last: &Point| last.touches_previous && last.covered_s < width_s / 2.0;
    if points.len() > 1
        && points.last().is_some_and(is_short)
        && let Some(last) = points.pop()
        && let Some(before) = points.last_mut()
    {
        before.absorb(last);
    }
}

/// Median width of the ticks.
fn usual_width_s(ticks: &[Tick]) -> Option<f64> {
    let mut widths: Vec<f64> = ticks.iter().map(|tick| tick.width_s).filter(|width| *width > 0.0).collect();
    widths.sort_by(f64::total_cmp);
    widths.get(widths.len() / 2).copied()
}

/// Width of a point: few enough to draw, wide enough to hold a few heartbeats.
fn point_width_s(ticks: &[Tick], end_s: f64) -> f64 {
    let offered: u64 = ticks.iter().map(|tick| tick.offered).sum();
    let steady_s = if offered > 0 { BEATS_PER_POINT_MIN * end_s / offered as f64 } else { 0.0 };
    let wanted_s = (end_s / POINTS_MAX).max(steady_s.min(end_s / POINTS_MIN));
    let days = (wanted_s / 86_400.0).ceil() * 86_400.0;
    WIDTHS_S.into_iter().find(|width| *width >= wanted_s * 0.999).unwrap_or(days)
}

/// The greater of two values that may be missing.
fn greatest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn thirty_seconds_stay_thirty_points() {
        let ticks: Vec<Tick> = (0..30).map(|at| sample::tick(f64::from(at), 1_000)).collect();
        let timeline = Timeline::gather(&ticks, 30.0);
        assert_eq!(timeline.points.len(), 30);
        assert!(!timeline.is_gathered());
        assert_eq!(timeline.points[3].rate(timeline.points[3].acked, 60.0), Some(60_000.0));
        assert_eq!(timeline.lines(|point| point.p99_ms).len(), 1);
    }

    #[test]
    fn three_days_of_minutes_are_gathered_and_lose_nothing() {
        let minute = |at: i32| Tick { at_s: f64::from(at) * 60.0, width_s: 60.0, ..sample::tick(0.0, 100) };
        let mut ticks: Vec<Tick> = (0..4_320).map(minute).collect();
        ticks[2_000].p99_ms = Some(900.0);
        let timeline = Timeline::gather(&ticks, 259_200.0);
        assert!(timeline.points.len() <= 360, "{} points", timeline.points.len());
        assert_eq!(timeline.points.iter().map(|point| point.acked).sum::<u64>(), 432_000);
        assert_eq!(timeline.points.iter().filter(|point| point.p99_ms == Some(900.0)).count(), 1);
    }

    #[test]
    fn a_gap_and_a_tick_without_answers_break_the_line() {
        let mut ticks: Vec<Tick> = [0.0, 1.0, 2.0, 9.0, 10.0].iter().map(|at| sample::tick(*at, 1_000)).collect();
        ticks[1].p50_ms = None;
        let timeline = Timeline::gather(&ticks, 11.0);
        assert_eq!(timeline.lines(|point| Some(point.offered as f64)).len(), 2);
        assert_eq!(timeline.lines(Point::p50_ms).len(), 3);
    }

    #[test]
    fn one_device_beating_now_and_then_is_gathered_to_a_steady_rate() {
        let ticks: Vec<Tick> = (0..600).map(|at| sample::tick(f64::from(at), u64::from(at % 10 == 0))).collect();
        let timeline = Timeline::gather(&ticks, 600.0);
        let rates: Vec<f64> = timeline.points.iter().filter_map(|point| point.rate(point.offered, 60.0)).collect();
        assert!(rates.iter().all(|rate| (rate - 6.0).abs() < 0.1), "{rates:?}");
    }

    #[test]
    fn a_sliver_at_the_end_joins_the_tick_before() {
        let ticks = [sample::tick(0.0, 100), sample::tick(1.0, 100), Tick { width_s: 0.01, ..sample::tick(2.0, 20) }];
        let timeline = Timeline::gather(&ticks, 2.01);
        assert_eq!(timeline.points.len(), 2);
        assert_eq!(timeline.points[1].acked, 120);
    }

    #[test]
    fn nothing_at_all_still_has_a_time_axis() {
        assert!(Timeline::gather(&[], 0.0).end_s > 0.0);
        let only = Timeline::gather(&[Tick::default()], 0.0);
        assert_eq!(only.points[0].rate(5, 60.0), None);
    }
}
