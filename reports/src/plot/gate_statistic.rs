//! What the gate sees: the observed failure share, the band in which the true one is, and the share that is allowed.

use super::axis::Axis;
use super::chart::{Chart, Mark, Panel};
use super::theme;
use crate::number;
use crate::run::Run;
use crate::run_folder::{GateSample, RolloutSample};

/// A logarithmic axis, because the band begins near 100 % and the threshold is often below 1 %.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Gate: observed failure share against its threshold");
    let rollouts = &run.rollouts;
    let gates = || rollouts.samples().filter_map(|sample| sample.gate.as_ref());
    let last = gates().next_back();
    let told = last.map_or("The gate was not judged.".into(), |gate| {
        let verdict = gate.verdict.replace('_', " ");
        let (share, lower) = (percent_text(gate.share_ppm), percent_text(gate.lower_ppm));
        let (upper, threshold) = (percent_text(gate.upper_ppm), percent_text(gate.threshold_ppm));
        format!("At the end: {verdict}, {share} observed, band {lower} to {upper}, threshold {threshold}.")
    });
    chart.subtitle = format!("{told} A share of 0 lies on the lower edge.{}", rollouts.how_to_read());
    chart.description.clone_from(&told);
    let values = gates().flat_map(|gate| [gate.share_ppm, gate.lower_ppm, gate.upper_ppm, gate.threshold_ppm]);
    let mut panel = Panel {
        y: Axis::log("per cent of devices with an outcome, log scale", values.map(percent)),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: last.is_none().then(|| "the gate was not judged".into()),
    };
    let value = |of: fn(&GateSample) -> u64| move |sample: &RolloutSample| sample.gate.as_ref().map(of).map(percent);
    let band = |gate: &GateSample| (percent(gate.lower_ppm), percent(gate.upper_ppm));
    let areas = rollouts.areas(|sample| sample.gate.as_ref().map(band)).into_iter();
    panel.marks.extend(areas.map(|points| Mark::Area { points, colour: theme::GOOD_AREA }));
    panel.add_lines(rollouts.steps(value(|gate| gate.threshold_ppm)), 2.0, theme::ALARM);
    panel.add_lines(rollouts.lines(value(|gate| gate.share_ppm)), 2.8, theme::GOOD);
    chart.panels.push(panel);
    chart.flags = rollouts.flags();
    chart.legend =
        [("observed", theme::GOOD), ("band of the true share", theme::GOOD_AREA), ("threshold", theme::ALARM)]
            .map(|(name, colour)| (name.to_owned(), colour))
            .into();
    chart
}

/// Parts per million as per cent.
fn percent(ppm: u64) -> f64 {
    ppm as f64 / 10_000.0
}

/// Parts per million as per cent, for people: `0.5 %`.
fn percent_text(ppm: u64) -> String {
    format!("{}\u{a0}%", number::measured((percent(ppm) * 100.0).round() / 100.0))
}
