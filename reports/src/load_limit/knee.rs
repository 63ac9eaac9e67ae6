//! The knee of latency against load: the highest load whose tail latency is still near that of low loads.

use super::{LoadLimit, Step};

/// Up to this multiple of the lowest 99th percentile a load is before the knee.
pub(crate) const KNEE_FACTOR: f64 = 2.0;

/// The offered rate and the 99th percentile at the knee: of the loads whose 99th percentile is at most twice the lowest one, the
/// highest. A disk's bad moment at a lower load is no knee. None if no load is beyond it, so that the knee was not reached.
pub(crate) fn knee(of: &LoadLimit) -> Option<(f64, f64)> {
    let measured = |step: &Step| Some((step.planned_per_min, step.latency_ms?.p99));
    let mut points: Vec<(f64, f64)> = of.steps.iter().filter_map(measured).collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let lowest = points.iter().map(|(_, p99)| *p99).fold(f64::MAX, f64::min);
    let last = points.iter().rposition(|(_, p99)| *p99 <= lowest * KNEE_FACTOR)?;
    points.get(last).copied().filter(|_| last + 1 < points.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_limit::sample;

    /// By hand: 2, 2.4 and 3.1 ms are within 4 ms, 38 ms is not, so the knee is at 3.1 ms.
    #[test]
    fn the_knee_is_before_the_first_load_with_twice_the_lowest_latency() {
        let found = sample::found();
        let (rate, p99) = knee(&found).unwrap();
        assert!((rate - 450_000.0).abs() < 1.0 && (p99 - 3.1).abs() < 1e-9, "{rate} {p99}");
        let mut noisy = found.clone();
        let low =
            noisy.steps.iter_mut().min_by(|one, other| one.planned_per_min.total_cmp(&other.planned_per_min)).unwrap();
        low.latency_ms.as_mut().unwrap().p99 = 30.0;
        assert_eq!(knee(&noisy).map(|(rate, _)| rate), Some(rate), "one slow step at a low load");
        let mut flat = found;
        flat.steps.retain(|step| step.latency_ms.is_some_and(|of| of.p99 < 4.0));
        assert_eq!(knee(&flat), None, "it was not reached");
        flat.steps.clear();
        assert_eq!(knee(&flat), None);
    }
}
