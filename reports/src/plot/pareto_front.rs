//! What each configuration of a sweep costs honest devices against what it lets through, and those that no other one beats in both.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel};
use super::canvas::theme;
use crate::number::compact;
use crate::sweep::{Sweep, TriedConfiguration, short, varied_names};

/// Width of the line through the front.
const FRONT: f64 = 2.2;

/// None if fewer than two configurations were tried.
pub(crate) fn chart(of: &Sweep) -> Option<Chart> {
    let point = |tried: &TriedConfiguration| tried.figures.as_ref()?.point(&of.setup);
    let points: Vec<(&TriedConfiguration, (f64, f64))> =
        of.tried.iter().filter_map(|tried| Some((tried, point(tried)?))).collect();
    if points.len() < 2 {
        return None;
    }
    let is_reaction = of.setup.varies_reactions_only();
    let has_outage = of.tried.iter().filter_map(|tried| tried.figures.as_ref()).any(|of| of.recovery_p99_s.is_some());
    let cost = if is_reaction && has_outage {
        "99 % of the devices back after, seconds"
    } else {
        "honest requests refused, per cent"
    };
    let load = match (is_reaction, of.setup.has_attackers) {
        (true, _) => "requests sent again after a refusal, per second at the peak",
        (false, true) => "attackers' requests let through",
        (false, false) => "requests let through at the peak, per second",
    };
    let x = Axis::log_from_zero(cost, points.iter().map(|(_, at)| at.0));
    let y = Axis::log_from_zero(load, points.iter().map(|(_, at)| at.1));
    let mut front: Vec<&(&TriedConfiguration, (f64, f64))> =
        points.iter().filter(|(tried, _)| tried.is_on_front).collect();
    front.sort_by(|one, other| one.1.0.total_cmp(&other.1.0).then_with(|| one.1.1.total_cmp(&other.1.1)));
    let corners: Vec<(f64, f64)> = front.iter().map(|(_, at)| *at).collect();
    let spot = |(tried, at): &(&TriedConfiguration, (f64, f64)), colour, has_text: bool| Mark::Spot {
        at: *at,
        text: if has_text { short(&of.setup, &tried.configuration) } else { String::new() },
        colour,
    };
    let is_it = |tried: &TriedConfiguration| of.recommended.as_ref() == Some(&tried.configuration.name);
    let mut marks = vec![Mark::Line { points: corners, width: FRONT, colour: theme::GOOD_AREA }];
    marks.extend(
        points
            .iter()
            .filter(|(tried, _)| !tried.is_on_front && !is_it(tried))
            .map(|of| spot(of, theme::EXTREME, false)),
    );
    marks.extend(front.iter().filter(|(tried, _)| !is_it(tried)).map(|of| spot(of, theme::GOOD, true)));
    marks.extend(points.iter().filter(|(tried, _)| is_it(tried)).map(|of| spot(of, theme::ALARM, true)));
    let words: Vec<String> = front
        .iter()
        .map(|(tried, at)| format!("{}: {} {cost}, {} {load}", tried.configuration.name, compact(at.0), compact(at.1)))
        .collect();
    let varied = varied_names(&of.setup);
    let labels = if varied.is_empty() { String::new() } else { format!(" Numbers at the dots: {varied}.") };
    Some(Chart {
        title: "Cost to honest devices against load let through".into(),
        subtitle: format!(
            "Each dot is a configuration, mean of its trials. Lower and further left is better; on the front no other one is better in both.{labels}"
        ),
        description: format!("On the front: {}.", words.join(", ")),
        x,
        bands: Vec::new(),
        flags: Vec::new(),
        panels: vec![Panel { y, height: 1.3, marks, series: Vec::new(), empty: None }],
        legend: vec![
            ("recommended".into(), theme::ALARM),
            ("on the front".into(), theme::GOOD),
            ("beaten by another one".into(), theme::EXTREME),
        ],
        pens: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plot, sweep::sample};

    #[test]
    fn the_front_goes_through_what_nothing_beats() {
        let chart = chart(&sample::sweep()).unwrap();
        let marks = &chart.panels[0].marks;
        let Some(Mark::Line { points, .. }) = marks.first() else { panic!("no front") };
        assert_eq!(points.len(), 2);
        let recommended = marks
            .iter()
            .filter(|mark| matches!(mark, Mark::Spot { colour, text, .. } if *colour == theme::ALARM && text == "8"));
        assert_eq!(recommended.count(), 1);
        assert_eq!(marks.iter().filter(|mark| matches!(mark, Mark::Spot { .. })).count(), 4);
        let figure = plot::figure("pareto_front", chart, false).unwrap();
        assert!(!figure.svg.contains("NaN") && figure.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_single_configuration_has_no_front() {
        let mut sweep = sample::sweep();
        sweep.tried.truncate(2);
        assert!(super::chart(&sweep).is_none());
    }
}
