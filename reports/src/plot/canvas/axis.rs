//! An axis: its range, its ticks, and where a value falls.

use crate::number;

/// Share of a logarithmic axis between zero and its least value.
const ZERO_ROOM: f64 = 0.12;

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Quantity and unit.
    pub(crate) title: String,
    /// Positions with their labels; an empty label is a grid line only.
    pub(crate) ticks: Vec<(f64, String)>,
    low: f64,
    high: f64,
    is_log: bool,
    /// Share of the axis that is reserved below its least value for zero.
    zero_share: f64,
}

impl Axis {
    /// From zero to a little over `max`, with short numbers; only zero if there is no value.
    pub(crate) fn from_zero(title: &str, max: f64) -> Axis {
        if max <= 0.0 || !max.is_finite() {
            return Axis {
                title: title.into(),
                ticks: vec![(0.0, "0".into())],
                low: 0.0,
                high: 1.0,
                is_log: false,
                zero_share: 0.0,
            };
        }
        Axis::in_steps(title, max, human_step(max / 5.0))
    }

    /// The same with whole steps, for countable things.
    pub(crate) fn count(title: &str, max: f64) -> Axis {
        if max <= 0.0 || !max.is_finite() {
            return Axis::from_zero(title, max);
        }
        Axis::in_steps(title, max, one_two_five(max / 5.0, true).max(1.0))
    }

    /// From zero in steps to a little over `max`.
    fn in_steps(title: &str, max: f64, step: f64) -> Axis {
        let count = (max * 1.02 / step).ceil();
        let ticks = steps(count).map(|nth| (nth * step, number::compact(nth * step))).collect();
        Axis { title: title.into(), ticks, low: 0.0, high: count * step, is_log: false, zero_share: 0.0 }
    }

    /// Logarithmic, around all positive `values`; what is not positive falls on the lower edge.
    pub(crate) fn log(title: &str, values: impl Iterator<Item = f64>) -> Axis {
        let positive = |value: &f64| *value > 0.0 && value.is_finite();
        let (least, most) = values
            .filter(positive)
            .fold((f64::MAX, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
        if most <= 0.0 {
            return Axis {
                title: title.into(),
                ticks: Vec::new(),
                low: 1.0,
                high: 10.0,
                is_log: true,
                zero_share: 0.0,
            };
        }
        let (low, high) = (one_two_five(least / 1.05, false), one_two_five(most * 1.05, true));
        let (low, high) = if high / low < 9.9 {
            (one_two_five(low / 2.0, false), one_two_five(high * 2.0, true))
        } else {
            (low, high)
        };
        Axis { title: title.into(), ticks: log_ticks(low, high), low, high, is_log: true, zero_share: 0.0 }
    }

    /// The same with a place of its own for 0, which no logarithm has, below a gap.
    pub(crate) fn log_from_zero(title: &str, values: impl Iterator<Item = f64>) -> Axis {
        let axis = Axis { zero_share: ZERO_ROOM, ..Axis::log(title, values) };
        Axis { ticks: std::iter::once((0.0, "0".to_owned())).chain(axis.ticks).collect(), ..axis }
    }

    /// Time since the start of the run, in the unit that suits the span.
    pub(crate) fn time(end_s: f64, is_virtual: bool) -> Axis {
        let (unit, unit_s, word) = match end_s {
            end_s if end_s <= 180.0 => ("s", 1.0, "seconds"),
            end_s if end_s <= 10_800.0 => ("min", 60.0, "minutes"),
            _ => ("h", 3_600.0, "hours"),
        };
        let span = end_s / unit_s;
        let clock = if is_virtual { ", virtual clock" } else { "" };
        let step = time_step(span, unit);
        let ticks =
            steps((span / step + 1e-9).floor()).map(|nth| (nth * step * unit_s, number::compact(nth * step))).collect();
        Axis {
            title: format!("time since the start, {word}{clock}"),
            ticks,
            low: 0.0,
            high: end_s,
            is_log: false,
            zero_share: 0.0,
        }
    }

    /// Linear, with ready ticks.
    pub(crate) fn with_ticks(title: &str, high: f64, ticks: Vec<(f64, String)>) -> Axis {
        Axis { title: title.into(), ticks, low: 0.0, high, is_log: false, zero_share: 0.0 }
    }

    /// Where a value falls: 0 at the start of the axis, 1 at its end, never outside.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            let share = (value / self.low).ln() / (self.high / self.low).ln();
            if value > 0.0 { self.zero_share + (1.0 - self.zero_share) * share.max(0.0) } else { 0.0 }
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// 0, 1, 2 ... up to `last` inclusive.
fn steps(last: f64) -> impl Iterator<Item = f64> {
    (0_u32..1_000).map(f64::from).take_while(move |nth| *nth <= last)
}

/// The least of 1, 2, 2.5, 5 times a power of ten that is not below `least`.
fn human_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= least * 0.999).unwrap_or(power)
}

/// The nearest of 1, 2, 5 times a power of ten, downwards or upwards.
fn one_two_five(value: f64, up: bool) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let found = if up {
        steps.into_iter().find(|step| *step >= value * 0.999_999)
    } else {
        steps.into_iter().rev().find(|step| *step <= value * 1.000_001)
    };
    found.unwrap_or(power)
}

/// Ticks of a logarithmic axis: 1, 2, 5 over fewer than three decades, then 1 and 3, then tens.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let decades = (high / low).log10();
    let labelled: &[f64] = match decades {
        decades if decades <= 2.8 => &[1.0, 2.0, 5.0],
        decades if decades <= 4.2 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let lined: &[f64] = if decades > 4.2 && decades <= 6.0 { &[1.0, 2.0, 5.0] } else { labelled };
    let mut ticks = Vec::new();
    for nth in steps(decades.ceil() + 1.0) {
        let power = 10_f64.powf(low.log10().floor() + nth);
        for factor in lined {
            let value = factor * power;
            let is_labelled = labelled.iter().any(|label| (label - factor).abs() < 0.1);
            if value >= low * 0.999 && value <= high * 1.001 {
                ticks.push((value, if is_labelled { number::measured(value) } else { String::new() }));
            }
        }
    }
    ticks
}

/// Step of a time axis: at most ten, in steps a clock has.
fn time_step(span: f64, unit: &str) -> f64 {
    let of_hours: &[f64] = &[0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 72.0, 168.0];
    let of_sixty: &[f64] = &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0];
    let steps = if unit == "h" { of_hours } else { of_sixty };
    let found = steps.iter().copied().find(|step| span / step <= 10.0);
    found.unwrap_or_else(|| human_step(span / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of an axis, with plain spaces.
    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(_, label)| label.replace('\u{a0}', " ")).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn an_axis_from_zero_reads_well_at_any_size() {
        assert_eq!(labels(&Axis::from_zero("", 60_000.0)), ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(labels(&Axis::from_zero("", 6_000_000.0)), ["0", "2M", "4M", "6M", "8M"]);
        assert_eq!(labels(&Axis::from_zero("", 0.0)), ["0"]);
        assert_eq!(labels(&Axis::from_zero("", 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]);
        assert_eq!(labels(&Axis::from_zero("", 4.0)), ["0", "1", "2", "3", "4", "5"]);
    }

    #[test]
    fn whole_things_are_counted_in_whole_steps() {
        assert_eq!(labels(&Axis::count("", 12.0)), ["0", "5", "10", "15"]);
        assert_eq!(labels(&Axis::count("", 1.0)), ["0", "1", "2"]);
        assert_eq!(labels(&Axis::count("", 0.0)), ["0"]);
    }

    #[test]
    fn a_log_axis_spans_its_values_and_survives_none() {
        let axis = Axis::log("", [0.4, 48.0, 0.0].into_iter());
        assert_eq!(labels(&axis), ["0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"]);
        assert!(axis.place(0.4) > 0.0 && axis.place(48.0) < 1.0);
        assert!(axis.place(0.0) <= 0.0);
        assert!(labels(&Axis::log("", std::iter::empty())).is_empty());
        assert!(labels(&Axis::log("", [3.0].into_iter())).len() >= 3);
        assert!(labels(&Axis::log("", [0.001, 100_000.0].into_iter())).len() <= 10);
    }

    #[test]
    fn a_log_axis_can_have_a_zero_of_its_own() {
        let axis = Axis::log_from_zero("", [0.5, 48.0, 0.0].into_iter());
        assert_eq!(labels(&axis)[..3], ["0", "0.2", "0.5"]);
        let [zero, least, most] = [0.0, 0.2, 100.0].map(|value| axis.place(value));
        assert!(zero <= 0.0 && least > 0.1 && (most - 1.0).abs() < 1e-9, "{zero} {least} {most}");
    }

    #[test]
    fn time_is_in_the_unit_that_suits_the_span() {
        assert_eq!(labels(&Axis::time(10.0, false)), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
        assert_eq!(labels(&Axis::time(600.0, false)), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
        let days = Axis::time(259_200.0, true);
        assert_eq!(labels(&days), ["0", "12", "24", "36", "48", "60", "72"]);
        assert_eq!(days.title, "time since the start, hours, virtual clock");
    }
}
