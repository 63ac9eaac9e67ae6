//! What a policy costs: devices that a bug breaks, against the time that a good release takes.

use super::axis::Axis;
use super::chart::{Chart, Mark, Panel};
use super::theme;
use crate::number;
use crate::score::{Score, rate};

/// Half the width of a whisker, as a share of the axis.
const WHISKER: f64 = 0.001;

/// A dot for each policy and rate, at the time that the policy takes for its best release.
pub(crate) fn chart(score: &Score) -> Chart {
    let mut marks = Vec::new();
    let mut whiskers = Vec::new();
    let mut legend = Vec::new();
    let mut words = Vec::new();
    let (mut longest_s, mut most) = (0.0_f64, 0.0_f64);
    for (policy, colour) in score.policies.iter().zip(theme::POLICIES.into_iter().cycle()) {
        // The smallest rate at which releases got through says how long one takes.
        let Some(completion_s) = policy.cells.iter().find_map(|cell| cell.completion_median_s) else { continue };
        longest_s = longest_s.max(completion_s);
        for cell in policy.cells.iter().filter(|cell| cell.bug_rate_bp > 0) {
            let (median, p95) = (cell.broken_median as f64, cell.broken_p95 as f64);
            most = most.max(p95);
            whiskers.push((completion_s, median, p95, colour));
            marks.push(Mark::Spot { at: (completion_s, median), text: rate(cell.bug_rate_bp), colour });
            let takes = format!("{} takes {}", policy.policy, number::span(completion_s));
            words.push(format!("{takes} and breaks {} devices at {}", cell.broken_median, rate(cell.bug_rate_bp)));
        }
        legend.push((policy.policy.clone(), colour));
    }
    let width = longest_s * WHISKER;
    marks.splice(
        0..0,
        whiskers.into_iter().map(|(at, median, p95, colour)| Mark::Area {
            points: [at - width, at + width].map(|at| (at, median, p95)).to_vec(),
            colour,
        }),
    );
    let mut x = Axis::time(longest_s * 1.1, true);
    x.title = x.title.replace("time since the start", "time that a good release takes");
    Chart {
        title: "What it costs: devices broken, and time".into(),
        subtitle:
            "Each dot is a policy and a bug rate: the median of the devices that were really broken, up to the 95th \
                   percentile. Lower and further left is better."
                .into(),
        description: format!("{}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel {
            y: Axis::count("devices broken", most),
            height: 1.0,
            empty: marks.is_empty().then(|| "no policy completed a release, or no release had a bug".into()),
            marks,
        }],
        legend,
    }
}
