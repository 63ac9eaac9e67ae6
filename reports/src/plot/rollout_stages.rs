//! Progress of a rollout: the share of its targets that its stage reaches, and the share confirmed.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::theme;
use crate::number;
use crate::run::Run;
use crate::run_folder::RolloutSample;

/// The stage as a broad pale step line, confirmed devices as a thin dark one that climbs up to it.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Rollout: what each stage reaches, and what is confirmed");
    let rollouts = &run.rollouts;
    let last = rollouts.samples().next_back();
    chart.subtitle = last.map_or("No sample.".into(), |last| {
        let (stage, stages) = (u64::from(last.stage) + 1, last.stages);
        let (confirmed, targets) = (number::grouped(confirmed(last)), number::grouped(last.targets));
        let state = last.state.replace('_', " ").to_lowercase();
        format!("At the end: {state}, stage {stage} of {stages}, {confirmed} of {targets} devices confirmed.")
    }) + &rollouts.how_to_read();
    let peak = rollouts.peak(stage_percent).max(rollouts.peak(confirmed_percent));
    chart.description = format!(
        "The widest stage reaches {} % of the targets; at most {} % are confirmed.",
        number::whole(rollouts.peak(stage_percent)),
        number::whole(rollouts.peak(confirmed_percent)),
    );
    let mut panel = Panel {
        y: percent_axis("per cent of the rollout's targets", peak),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: last.is_none().then(|| "no rollout".into()),
    };
    panel.add_lines(rollouts.steps(|sample| Some(stage_percent(sample))), 6.0, theme::OFFERED);
    panel.add_lines(rollouts.lines(|sample| Some(confirmed_percent(sample))), 2.2, theme::GOOD);
    chart.panels.push(panel);
    chart.flags = rollouts.flags();
    chart.legend = vec![("reached by the stage".into(), theme::OFFERED), ("confirmed".into(), theme::GOOD)];
    chart
}

/// From zero to a little over `max`, exceeding 100 by the line's width at most.
fn percent_axis(title: &str, max: f64) -> Axis {
    if max <= 75.0 {
        return Axis::from_zero(title, max);
    }
    let ticks = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0].map(|percent| (percent, number::compact(percent)));
    Axis::with_ticks(title, 102.0, ticks.into())
}

/// Share of the targets that the stage reaches, per cent.
fn stage_percent(sample: &RolloutSample) -> f64 {
    f64::from(sample.share_bp) / 100.0
}

/// Devices whose update is confirmed.
fn confirmed(sample: &RolloutSample) -> u64 {
    sample.counts.get("confirmed").copied().unwrap_or(0)
}

/// Share of the targets that is confirmed, per cent.
fn confirmed_percent(sample: &RolloutSample) -> f64 {
    confirmed(sample) as f64 / sample.targets.max(1) as f64 * 100.0
}
