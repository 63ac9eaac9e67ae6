//! How often each policy finds a bug, by how many devices the bug breaks: its operating characteristic.

use super::axis::Axis;
use super::chart::{Chart, Mark, Panel};
use super::theme;
use crate::score::{Cell, Score, rate};

/// Width of a whisker, as a share of the axis.
const WHISKER: f64 = 0.002;

/// A line for each policy, with the limits of each point.
pub(crate) fn chart(score: &Score) -> Chart {
    let cells = || score.policies.iter().flat_map(|policy| &policy.cells);
    let most = cells().map(|cell| cell.bug_rate_bp).max().unwrap_or(0);
    let mut rates: Vec<u32> = cells().map(|cell| cell.bug_rate_bp).collect();
    rates.sort_unstable();
    rates.dedup();
    let ticks = rates.iter().map(|bp| (f64::from(*bp), rate(*bp))).collect();
    let mut marks = Vec::new();
    let mut legend = Vec::new();
    let mut words = Vec::new();
    let width = f64::from(most.max(1)) * WHISKER;
    let mut shift = width; // beside each other, or policies that find the same would hide one another
    for (policy, colour) in score.policies.iter().zip(theme::POLICIES.into_iter().cycle()) {
        let found = |cell: &Cell| 100.0 * cell.detected as f64 / cell.trials.max(1) as f64;
        let points: Vec<(f64, f64)> =
            policy.cells.iter().map(|cell| (f64::from(cell.bug_rate_bp) + shift, found(cell))).collect();
        shift += 5.0 * width;
        for (cell, (at, _)) in policy.cells.iter().zip(&points) {
            let (low, high) = cell.detected_limits;
            let ends = [at - width / 2.0, at + width / 2.0];
            let points = ends.map(|at| (at, low * 100.0, high * 100.0)).to_vec();
            marks.push(Mark::Area { points, colour });
            let found = format!("{} finds {} of {}", policy.policy, cell.detected, cell.trials);
            words.push(format!("{found} at {}", rate(cell.bug_rate_bp)));
        }
        marks.push(Mark::Line { points: points.clone(), width: 2.6, colour });
        marks.extend(points.into_iter().map(|at| Mark::Spot { at, text: String::new(), colour }));
        legend.push((policy.policy.clone(), colour));
    }
    let percent = (0..=5).map(|nth| (f64::from(nth) * 20.0, format!("{}%", nth * 20))).collect();
    Chart {
        title: "How often a bug is found".into(),
        subtitle: "Share of trials in which the engine stopped the release before it had reached everybody, with 95 % limits. At \
                   no bug, a false alarm."
            .into(),
        description: format!("{}.", words.join(", ")),
        x: Axis::with_ticks("devices that the release really breaks", f64::from(most.max(1)) * 1.06, ticks),
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel {
            y: Axis::with_ticks("found", 103.0, percent),
            height: 1.0,
            empty: marks.is_empty().then(|| "no trials".into()),
            marks,
        }],
        legend,
    }
}
