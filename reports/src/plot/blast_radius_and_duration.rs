//! The cost of a policy: devices that a bug breaks, against the time a good release takes; a panel for each rate of bugs.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel, Point, Series};
use super::canvas::pen::pens;
use crate::number;
use crate::score::{PolicyScore, Score, rate};

/// A point for each policy, in each panel.
pub(crate) fn chart(score: &Score) -> Chart {
    // The time is that of the smallest rate at which releases completed.
    let takes_s = |policy: &PolicyScore| policy.cells.iter().find_map(|cell| cell.completion_median_s);
    let timed: Vec<_> =
        score.policies.iter().zip(pens()).filter_map(|(policy, pen)| Some((policy, takes_s(policy)?, pen))).collect();
    let longest_s = timed.iter().map(|(_, takes_s, _)| *takes_s).fold(0.0, f64::max);
    let (mut panels, mut words) = (Vec::new(), Vec::new());
    for bp in score.rates().into_iter().filter(|bp| *bp > 0 && !timed.is_empty()) {
        let mut series = Vec::new();
        let mut most = 0.0_f64;
        for (policy, at, pen) in &timed {
            let Some(cell) = policy.cells.iter().find(|cell| cell.bug_rate_bp == bp) else { continue };
            let (median, p95) = (cell.broken_median as f64, cell.broken_p95 as f64);
            most = most.max(p95);
            let text = number::grouped(cell.broken_median);
            let points = vec![Point { at: *at, low: median, value: median, high: p95, text }];
            series.push(Series { pen: *pen, points, is_joined: false });
            let takes = format!("{} takes {}", policy.policy, number::span(*at));
            words.push(format!("{takes} and breaks {} at {}", number::devices(cell.broken_median), rate(bp)));
        }
        let title = format!("devices broken by a {} bug", rate(bp));
        panels.push(Panel { y: Axis::count(&title, most), height: 0.5, marks: Vec::new(), series, empty: None });
    }
    if panels.is_empty() {
        let empty = Some("no policy completed a release, or no release had a bug".into());
        panels.push(Panel {
            y: Axis::count("devices broken", 0.0),
            height: 1.0,
            marks: Vec::new(),
            series: Vec::new(),
            empty,
        });
    }
    let mut x = Axis::time(longest_s * 1.1, true);
    x.title = x.title.replace("time since the start", "time that a good release takes");
    Chart {
        title: "What it costs: devices broken, and time".into(),
        subtitle:
            "Each mark is a policy: the median of the devices that were really broken; the line goes up to the 95th \
                   percentile. Lower and further left is better. Policies of the same time stand side by side."
                .into(),
        description: format!("{}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels,
        legend: Vec::new(),
        pens: timed.iter().map(|(policy, _, pen)| (policy.policy.clone(), *pen)).collect(),
    }
}
