//! How often each policy finds a bug, by how many devices the bug hits: its operating characteristic.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel, Point, Series};
use super::canvas::pen::pens;
use crate::score::{Cell, Score, population, rate};

/// Margin on both sides of all rates, as a share of the axis: policies are drawn side by side at every rate.
const INSET: f64 = 0.06;

/// A line for each policy, with the limits of each point.
pub(crate) fn chart(score: &Score) -> Chart {
    let rates = score.rates();
    let most = rates.last().copied().unwrap_or(0).max(1);
    let place = |bp: u32| place(bp, most);
    let ticks = rates.iter().map(|bp| (place(*bp), rate(*bp))).collect();
    let point = |cell: &Cell| Point {
        at: place(cell.bug_rate_bp),
        low: cell.detected_limits.0 * 100.0,
        value: cell.detected_share() * 100.0,
        high: cell.detected_limits.1 * 100.0,
        text: String::new(),
    };
    let of_policy = || score.policies.iter().zip(pens());
    let series: Vec<Series> = of_policy()
        .map(|(policy, pen)| Series { pen, points: policy.cells.iter().map(point).collect(), is_joined: true })
        .collect();
    let words = score.policies.iter().flat_map(|of| of.cells.iter().map(move |cell| (of, cell)));
    let words: Vec<String> = words
        .map(|(of, cell)| {
            format!("{} finds {} of {} at {}", of.policy, cell.detected, cell.trials, rate(cell.bug_rate_bp))
        })
        .collect();
    let percent = (0..=5).map(|nth| (f64::from(nth) * 20.0, format!("{}%", nth * 20))).collect();
    Chart {
        title: "How often a bug is found".into(),
        subtitle: "Share of trials in which the engine stopped the release before it had reached everybody, with 95 % limits. At \
                   no bug, a false alarm. Policies stand side by side at each rate."
            .into(),
        description: format!("{}.", words.join(", ")),
        x: Axis::with_ticks(&format!("{} that the release really fails on, square-root scale", population(score)), 1.0, ticks),
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel {
            y: Axis::with_ticks("found", 103.0, percent),
            height: 1.0,
            marks: Vec::new(),
            empty: series.is_empty().then(|| "no trials".into()),
            series,
        }],
        legend: Vec::new(),
        pens: of_policy().map(|(policy, pen)| (policy.policy.clone(), pen)).collect(),
    }
}

/// Where a rate is on an axis from 0 to 1: the small ones, which matter, get more space, and no bug has its own place.
fn place(bug_rate_bp: u32, most_bp: u32) -> f64 {
    INSET + (1.0 - 2.0 * INSET) * (f64::from(bug_rate_bp) / f64::from(most_bp)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_keep_their_order_and_leave_room_at_both_ends() {
        let places = [0, 10, 50, 100, 1_000].map(|bp| place(bp, 1_000));
        assert!(places.is_sorted() && (places[0] - INSET).abs() < 1e-9 && (places[4] - 1.0 + INSET).abs() < 1e-9);
        assert!(places[1] - places[0] > 0.08, "a tenth of a per cent is visible next to ten");
    }
}
