//! How the fleet came back after each outage: the share of the affected devices that was served again, over time.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::theme;
use crate::number;
use crate::recovery::OutageRecovery;
use crate::run::Run;

/// A step line for each of the outages with the most affected devices.
pub(crate) fn chart(run: &Run) -> Chart {
    let outages = run.summary.recovery.iter().flat_map(|recovery| &recovery.outages);
    let mut drawn: Vec<&OutageRecovery> = outages.filter(|outage| outage.recovered.affected > 0).collect();
    drawn.sort_by_key(|outage| std::cmp::Reverse(outage.recovered.affected));
    drawn.truncate(theme::POLICIES.len());
    let last_s = drawn.iter().filter_map(|outage| outage.curve.last()).map(|(at_s, _)| *at_s).fold(0.0, f64::max);
    let (unit, unit_s) = if last_s > 600.0 { ("minutes", 60.0) } else { ("seconds", 1.0) };
    let x = Axis::from_zero(&format!("time since the outage ended, {unit}"), last_s / unit_s);
    let end = x.ticks.last().map_or(1.0, |(end, _)| *end);
    let ticks = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0].map(|percent| (percent, number::compact(percent)));
    let mut panel = Panel {
        y: Axis::with_ticks("per cent of the affected devices", 102.0, ticks.into()),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: drawn.is_empty().then(|| "no device was affected".into()),
    };
    let colours = || drawn.iter().zip(theme::POLICIES);
    for (outage, colour) in colours() {
        panel.add_lines(vec![steps(outage, unit_s, end)], 2.2, colour);
    }
    let words = |outage: &&OutageRecovery| {
        let (affected, never) = (outage.recovered.affected, outage.recovered.never_served);
        format!(
            "{}: {} affected, {} never served again",
            outage.name(),
            number::grouped(affected),
            number::grouped(never)
        )
    };
    Chart {
        title: "Recovery: share of the fleet that was served again".into(),
        subtitle: "A device is back with its first accepted heartbeat after the outage ended.".into(),
        description: drawn.iter().map(words).collect::<Vec<_>>().join("; ") + ".",
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![panel],
        legend: colours().map(|(outage, colour)| (outage.name(), colour)).collect(),
        pens: Vec::new(),
    }
}

/// The corners of the step line.
fn steps(outage: &OutageRecovery, unit_s: f64, end: f64) -> Vec<(f64, f64)> {
    let affected = outage.recovered.affected.max(1) as f64;
    let (mut corners, mut before) = (vec![(0.0, 0.0)], 0.0);
    for (at_s, devices) in &outage.curve {
        let (at, percent) = (at_s / unit_s, *devices as f64 / affected * 100.0);
        corners.extend([(at, before), (at, percent)]);
        before = percent;
    }
    corners.push((end, before));
    corners
}
