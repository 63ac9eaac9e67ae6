//! One run as read from its folder: the only input of a report.

use std::path::Path;

use hdrhistogram::Histogram;

use crate::error::ReportError;
use crate::event_log::{self, LogEnd};
use crate::files;
use crate::latency_log;
use crate::plot::rollouts::Rollouts;
use crate::plot::timeline::Timeline;
use crate::review::{REVIEW, Review, RolloutReview};
use crate::run_folder::{EVENTS, LATENCY, Phase, RolloutDecision, RolloutSample, SUMMARY, Summary, TICKS, Tick};

/// A run, ready to be drawn.
pub(crate) struct Run {
    /// The run in numbers.
    pub(crate) summary: Summary,
    /// Its ticks, merged into as many points as a picture can show.
    pub(crate) timeline: Timeline,
    /// Phases within the time drawn, in order of their start.
    pub(crate) phases: Vec<Phase>,
    /// Heartbeat response times in microseconds; none when no heartbeat was answered.
    pub(crate) latency: Option<Histogram<u64>>,
    /// Its rollouts of firmware, one after the other.
    pub(crate) rollouts: Rollouts,
    /// Their review; none of runs without rollouts.
    pub(crate) review: Option<Review>,
}

impl Run {
    /// Reads the folder. Its files must be of the same run: a report drawn from a mixture would look complete.
    pub(crate) fn read(dir: &Path) -> Result<Run, ReportError> {
        let summary = files::read_summary(dir)?;
        let ticks = files::read_ticks(dir)?;
        let latency = latency_log::read_latency(dir)?;
        let differs = |name: &str, cause: String| ReportError::Inconsistent { file: dir.join(name), cause };
        if !(summary.simulated_s >= 0.0 && summary.simulated_s.is_finite()) {
            return Err(differs(SUMMARY, format!("it says that the run took {} s", summary.simulated_s)));
        }
        let acked = ticks.iter().fold(0_u64, |sum, tick| sum.saturating_add(tick.acked));
        if acked != summary.heartbeats.acked {
            let expected = summary.heartbeats.acked;
            return Err(differs(TICKS, format!("it has {acked} acknowledged heartbeats, the summary {expected}")));
        }
        let sampled = latency.as_ref().map_or(0, Histogram::len);
        let expected = summary.latency_ms.get("heartbeat").map_or(0, |of| of.count);
        if sampled != expected {
            return Err(differs(LATENCY, format!("it has {sampled} response times, the summary {expected}")));
        }
        if let Some(expected) = &summary.event_log_sha256 {
            let (found, end) = event_log::content_sha256(dir)?;
            if end == LogEnd::CutShort {
                return Err(differs(EVENTS, "it is cut short, and the run finished".to_owned()));
            }
            if found != *expected {
                return Err(differs(
                    EVENTS,
                    format!("the SHA-256 of its lines is {found}, the summary has {expected}"),
                ));
            }
        }
        let (samples, decisions) = (files::read_rollouts(dir)?, files::read_decisions(dir)?);
        let review = files::read_review(dir)?;
        for of in summary.rollouts() {
            let mut reviewed = review.iter().flat_map(|review| &review.rollouts);
            let found = reviewed.find(|reviewed| reviewed.rollout_id == of.rollout_id).map(RolloutReview::targets);
            if let Some(found) = found.filter(|found| *found != of.targets) {
                return Err(differs(REVIEW, format!("it has {found} targets, the summary {}", of.targets)));
            }
        }
        let run = Run::new(summary, &ticks, latency).with_rollouts(&samples, decisions);
        Ok(Run { review, ..run })
    }

    /// A run of these parts.
    pub(crate) fn new(summary: Summary, ticks: &[Tick], latency: Option<Histogram<u64>>) -> Run {
        let timeline = Timeline::gather(ticks, summary.simulated_s);
        let within = |phase: &Phase| phase.from_s < timeline.end_s && phase.to_s > phase.from_s;
        let mut phases: Vec<Phase> = summary.phases.iter().filter(|phase| within(phase)).cloned().collect();
        phases.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        for phase in &mut phases {
            phase.from_s = phase.from_s.max(0.0);
            phase.to_s = phase.to_s.min(timeline.end_s);
        }
        // Where the run's time was up and the last answers were waited for.
        let is_visible = timeline.end_s - summary.simulated_s > timeline.end_s / 100.0;
        if !phases.is_empty() && is_visible {
            phases.push(Phase {
                name: "drain".to_owned(),
                from_s: summary.simulated_s,
                to_s: timeline.end_s,
                figures: None,
            });
        }
        Run { summary, timeline, phases, latency, rollouts: Rollouts::default(), review: None }
    }

    /// The same run with these rollouts, both in order of time. The time axis reaches to the last of them.
    pub(crate) fn with_rollouts(mut self, samples: &[RolloutSample], decisions: Vec<RolloutDecision>) -> Run {
        let last_s = samples.last().map_or(0.0, |sample| sample.at_s);
        let last_s = decisions.last().map_or(last_s, |decision| last_s.max(decision.at_s));
        self.timeline.end_s = self.timeline.end_s.max(last_s);
        self.rollouts = Rollouts::gather(samples, decisions, self.timeline.end_s);
        self
    }
}
