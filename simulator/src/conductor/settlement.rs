//! Whether a run can end before its time: nothing is left that could change its result.

use std::time::Duration;

use ks_server::rollout::policy::Policy;

use super::collector::Collector;
use crate::{
    invariants,
    scenario::{During, Expectation, Plan},
    timeline::Step,
};

/// When a run is settled.
pub(super) struct Settlement {
    /// Before this time a step, a fault or the phase of an expectation is still to come or has effects.
    not_before: Duration,
    /// How long everything must have been over.
    effects: Duration,
    /// How long a device that has died is not lost yet, if completed rollouts are watched. Later the watch sees nothing new.
    watch: Duration,
    /// Since when everything is over.
    over_since: Option<Duration>,
}

impl Settlement {
    /// For a plan with rollouts; `None` for one that has none, whose adversaries go on to the end, that sends commands (they may
    /// wait for a device, or expire, until the end), or that expects something of what devices send until the end.
    /// `is_judged`: the invariants are judged at the end.
    pub(super) fn of(plan: &Plan, is_judged: bool) -> Option<Self> {
        let sends_commands = plan.timeline.iter().any(|timed| matches!(timed.step, Step::SendCommand(_)));
        let lasts_to_the_end = plan.expectations.iter().any(Expectation::depends_on_the_length);
        if !plan.has_rollouts() || !plan.adversaries.is_empty() || sends_commands || lasts_to_the_end {
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
        // Long enough that the invariants can judge whether a device was starved after it.
        let judged = if is_judged { invariants::wait_limit(plan) } else { Duration::ZERO };
        let effects = judged + plan.interval() * 2;
        let unseen_s = |policy: &Policy| policy.watch_s().min(policy.lost_after_s);
        let watch = plan.policies.values().map(unseen_s).max().map(Duration::from_secs).unwrap_or_default();
        Some(Self { not_before: last + effects, effects, watch, over_since: None })
    }

    /// Whether every rollout is over and its watch sees nothing new, no device is updating, and none runs firmware that is going to break it.
    pub(super) fn is_reached(&mut self, now: Duration, collector: &Collector) -> bool {
        if !collector.watch.is_settled || collector.total.dying != 0 {
            self.over_since = None;
            return false;
        }
        let over_since = *self.over_since.get_or_insert(now);
        now >= self.not_before && now >= over_since + self.watch + self.effects
    }
}
