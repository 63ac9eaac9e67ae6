//! Whether a rehearsal can end before its time: nothing is left that could change its result.

use std::time::Duration;

use super::collector::Collector;
use crate::scenario::{During, Plan};

/// Heartbeat intervals in which the effects of the last step, fault or decision reach every device: a command is delivered with one
/// heartbeat, its ACK may come with the next.
const EFFECT_INTERVALS: u32 = 3;

/// When a rehearsal is settled.
pub(super) struct Settlement {
    /// Before this time a step, a fault or the phase of an expectation is still to come or has effects.
    not_before: Duration,
    /// How long everything must have been over.
    effects: Duration,
    /// Since when everything is over.
    over_since: Option<Duration>,
}

impl Settlement {
    /// For a plan with rollouts; `None` for one that has none, or whose adversaries go on to the end.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        if !plan.has_rollouts() || !plan.adversaries.is_empty() {
            return None;
        }
        let steps = plan.timeline.iter().map(|timed| timed.at + timed.step.fault(plan.interval()).unwrap_or_default());
        let phases = plan.phases();
        let is_awaited = |phase: &String| {
            let is_it = |during: &During| matches!(during, During::Phase(name) if name == phase);
            phase != Plan::STEADY && plan.expectations.iter().any(|expectation| is_it(&expectation.during))
        };
        let awaited = phases.iter().filter(|(phase, _, _)| is_awaited(phase)).map(|(_, _, end)| *end);
        let last = steps.chain(awaited).chain([plan.ramp]).max().unwrap_or_default();
        let effects = plan.interval() * EFFECT_INTERVALS;
        Some(Self { not_before: last + effects, effects, over_since: None })
    }

    /// Whether every rollout is over, no device is updating, and none runs firmware that is going to break it.
    pub(super) fn is_reached(&mut self, now: Duration, collector: &Collector) -> bool {
        if !collector.watch.is_settled || collector.total.dying != 0 {
            self.over_since = None;
            return false;
        }
        let over_since = *self.over_since.get_or_insert(now);
        now >= self.not_before && now >= over_since + self.effects
    }
}
