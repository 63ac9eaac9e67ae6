//! The pictures of a report. One file per plot defines what it shows (a [`Chart`]); `canvas/layout.rs` decides where each stroke
//! goes; `canvas/paint.rs` turns strokes into SVG and PNG. A new plot is a new file here and one line in [`ALL`].

mod blast_radius_and_duration;
mod canary_size;
pub(crate) mod canvas;
mod codes_over_time;
mod false_alarms_and_broken;
mod firmware_distribution;
mod gate_statistic;
mod heartbeats_per_min;
mod latency_over_time;
mod load_limit;
mod operating_characteristic;
mod pareto_front;
mod percentile_curve;
mod recovery;
mod rollout_outcomes;
mod rollout_stages;
pub(crate) mod rollouts;
mod sweep;
pub(crate) mod timeline;

use crate::advice::Advice;
use crate::load_limit::LoadLimit;
use crate::run::Run;
use crate::score::Score;
use crate::sweep::Sweep;
use canvas::{chart::Chart, layout, paint, theme};

/// Every plot, in the order of the report.
pub(crate) const ALL: &[Plot] = &[
    Plot { name: "rollout_stages", chart: rollout_stages::chart, needs: PlotNeeds::Rollout },
    Plot { name: "rollout_outcomes", chart: rollout_outcomes::chart, needs: PlotNeeds::Rollout },
    Plot { name: "gate_statistic", chart: gate_statistic::chart, needs: PlotNeeds::Gate },
    Plot { name: "firmware_distribution", chart: firmware_distribution::chart, needs: PlotNeeds::Rollout },
    Plot { name: "recovery", chart: recovery::chart, needs: PlotNeeds::Outage },
    Plot { name: "heartbeats_per_min", chart: heartbeats_per_min::chart, needs: PlotNeeds::Nothing },
    Plot { name: "latency_over_time", chart: latency_over_time::chart, needs: PlotNeeds::Latency },
    Plot { name: "percentile_curve", chart: percentile_curve::chart, needs: PlotNeeds::Latency },
    Plot { name: "codes_over_time", chart: codes_over_time::chart, needs: PlotNeeds::Nothing },
];

/// A kind of picture.
pub(crate) struct Plot {
    /// Its file name, without extension.
    pub(crate) name: &'static str,
    chart: fn(&Run) -> Chart,
    needs: PlotNeeds,
}

/// What a run must have for a plot to be drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlotNeeds {
    /// Every run has it, and a run in which nothing happened says so.
    Nothing,
    /// Something that took time.
    Latency,
    /// An outage that ended.
    Outage,
    /// Samples of a rollout.
    Rollout,
    /// Samples of a rollout whose gate was judged.
    Gate,
}

/// A picture of one run.
pub(crate) struct Figure {
    /// Its file name, without extension.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Whether it shows a rollout of firmware.
    pub(crate) is_of_rollout: bool,
    /// As an SVG document.
    pub(crate) svg: String,
    picture: layout::Picture,
}

impl Figure {
    /// As a PNG file, at twice the page's resolution. Painted when it is asked for: it takes several times as long as the rest, and pages do
    /// without.
    pub(crate) fn png(&self) -> Result<Vec<u8>, String> {
        paint::png(&self.picture)
    }
}

impl Plot {
    /// Whether the run has what this plot shows.
    pub(crate) fn is_drawn(&self, run: &Run) -> bool {
        match self.needs {
            PlotNeeds::Nothing => true,
            PlotNeeds::Latency => run.summary.has_latency,
            PlotNeeds::Outage => run.summary.recovery.is_some(),
            PlotNeeds::Rollout => run.rollouts.samples().next().is_some(),
            PlotNeeds::Gate => run.rollouts.samples().any(|sample| !sample.gates.is_empty()),
        }
    }

    /// Draws the picture of a run.
    pub(crate) fn draw(&self, run: &Run) -> Result<Figure, String> {
        figure(self.name, (self.chart)(run), matches!(self.needs, PlotNeeds::Rollout | PlotNeeds::Gate))
    }
}

/// A picture of a score: file name without extension, and what it shows.
type OfScore = (&'static str, fn(&Score) -> Chart);

/// The pictures of a score.
pub(crate) const OF_SCORE: [OfScore; 2] = [
    ("operating_characteristic", operating_characteristic::chart),
    ("blast_radius_and_duration", blast_radius_and_duration::chart),
];

/// A picture of advice: file name without extension, and what it shows.
type OfAdvice = (&'static str, fn(&Advice) -> Chart);

/// The pictures of advice.
pub(crate) const OF_ADVICE: [OfAdvice; 2] =
    [("canary_size", canary_size::chart), ("false_alarms_and_broken", false_alarms_and_broken::chart)];

/// A picture of a sweep: file name without extension, and what it shows, if it has anything to show.
type OfSweep = (&'static str, fn(&Sweep) -> Option<Chart>);

/// The pictures of a sweep of limits.
pub(crate) const OF_SWEEP: [OfSweep; 2] = [("limits", sweep::chart), ("pareto_front", pareto_front::chart)];

/// A picture of a search for the load limit: file name without extension, and what it shows, if it has anything to show.
type OfLoadLimit = (&'static str, fn(&LoadLimit) -> Option<Chart>);

/// The pictures of a search for the load limit.
pub(crate) const OF_LOAD_LIMIT: [OfLoadLimit; 3] = [
    ("latency_against_load", load_limit::latency),
    ("throughput_against_load", load_limit::throughput),
    ("cpu_per_heartbeat", load_limit::cpu),
];

pub(crate) fn figure(name: &'static str, chart: Chart, is_of_rollout: bool) -> Result<Figure, String> {
    theme::register_fonts()?;
    let picture = layout::compose(&chart);
    let description = format!("{}. {}", chart.title, chart.description);
    Ok(Figure { name, svg: paint::svg(&picture, &description)?, title: chart.title, is_of_rollout, picture })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::Tick;
    use crate::sample;

    /// A run with these ticks.
    fn run(ticks: &[Tick]) -> Run {
        Run::new(sample::summary(), ticks, None)
    }

    #[test]
    fn every_plot_draws_even_nothing_at_all() {
        let mut none = sample::summary();
        (none.simulated_s, none.phases) = (0.0, Vec::new());
        for run in [Run::new(none, &[], None), run(&[]), run(&[Tick::default()]), run(&[sample::tick(0.0, 1)])] {
            for plot in ALL {
                let figure = plot.draw(&run).unwrap();
                assert!(figure.svg.starts_with("<svg ") && figure.svg.trim_end().ends_with("</svg>"), "{}", plot.name);
                assert!(!figure.svg.contains("NaN") && !figure.svg.contains("inf\""), "{}", plot.name);
                assert!(figure.png().unwrap().starts_with(b"\x89PNG"), "{}", plot.name);
            }
        }
    }

    #[test]
    fn names_from_the_run_are_escaped_in_pictures() {
        let mut summary = sample::summary();
        summary.phases[1].name = "<script>&\u{1}".into();
        let ticks = [Tick { codes: sample::codes(&[("<b>", 5)]), ..sample::tick(0.0, 10) }];
        for plot in ALL {
            let svg = plot.draw(&Run::new(summary.clone(), &ticks, None)).unwrap().svg;
            assert!(!svg.contains("<script") && !svg.contains("<b>") && !svg.contains('\u{1}'), "{}", plot.name);
        }
    }
}
