//! A rollout as a pure state machine: (policy, state, event, time) -> (state, effects, decisions). No clock, store or randomness.
//!
//! | status | what it means |
//! | --- | --- |
//! | RUNNING | devices of the stage are offered the release; gates are judged |
//! | WAITING | every gate passes and the bake time is over; a person must approve |
//! | PAUSED | nothing more is offered; gates are still judged |
//! | ABORTED | nothing is offered again; updates in flight are watched to their end |
//! | COMPLETED | every stage passed; devices are watched for `watch_s`, and gates are still judged: [`super::watch`] |
//!
//! A stage is promoted when enough of its devices have an outcome, every gate says PASS, the bake time has passed since then
//! without a gap in observation, and the gates would pass even if every silent confirmed device were lost. Completion alone promotes
//! nothing; INCONCLUSIVE waits.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{id::ReleaseId, text::counted, time::UnixMs};
use serde::{Deserialize, Serialize};

use super::{
    order::{InvalidTransition, Observed, OperatorOrder, Order},
    policy::{Action, Approval, Policy, Stage},
    reading::{GateReading, passes, passes_without_suspects, read_gates, strongest_failure},
    status::Status,
    tally::{Tally, failed},
    update::UpdateState,
    watched::Watch,
};
use crate::clock::{is_ahead, ms};

/// The longest time between two evaluations: more is a gap, in which heartbeats may have been missed.
pub const GAP_MS: u64 = 3 * 60_000;
/// The time over which starts are counted: no minute, wherever it begins, sees more than `starts_per_min`.
const MINUTE_MS: u64 = 60_000;

/// The state of a rollout, apart from its devices' updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// The stage, from 0.
    pub stage: usize,
    /// When the stage began.
    pub stage_began_at: UnixMs,
    /// When enough of its devices had an outcome.
    pub evidence_at: Option<UnixMs>,
    /// Gaps since then, in milliseconds.
    pub unobserved_ms: u64,
    /// A person approved the stage.
    pub approved: bool,
    /// When it was last evaluated.
    pub evaluated_at: UnixMs,
    /// Since when there was no gap.
    pub observing_since: UnixMs,
    /// Updates started within the last minute: when, and how many.
    pub starts: Vec<(UnixMs, u32)>,
    /// Until when a site's silence does not count, because the whole site was offline.
    pub dark_until: BTreeMap<String, UnixMs>,
    /// Since when each of these sites was offline.
    #[serde(default)]
    pub dark_since: BTreeMap<String, UnixMs>,
    /// Its devices are no longer watched.
    pub is_closed: bool,
    /// Incremented with each decision. Orders name the revision that the operator saw.
    pub revision: u64,
    /// Withdrawn devices, as far as the trace records them.
    pub withdrawn: u32,
    /// Devices that had failed when an approval was last requested.
    pub failed_when_asked: u32,
    /// Since it is COMPLETED: what the watch over its devices has found.
    pub watch: Option<Watch>,
}

impl State {
    /// A rollout that begins now.
    pub fn new(now: UnixMs) -> Self {
        Self {
            status: Status::Running,
            stage: 0,
            stage_began_at: now,
            evidence_at: None,
            unobserved_ms: 0,
            approved: false,
            evaluated_at: now,
            observing_since: now,
            starts: Vec::new(),
            dark_until: BTreeMap::new(),
            dark_since: BTreeMap::new(),
            is_closed: false,
            revision: 1,
            withdrawn: 0,
            failed_when_asked: 0,
            watch: None,
        }
    }

    /// The share that the release is offered to, in basis points.
    pub fn share_bp(&self, policy: &Policy) -> u16 {
        policy.stages.get(self.stage).map_or(0, |stage| stage.share_bp)
    }
}

/// What happens to a rollout.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// An evaluation of its devices.
    Evaluation(&'a Tally),
    /// An order of an operator.
    Order(&'a OperatorOrder),
}

/// An effect for the caller to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Offer the release to at most this many more devices.
    Offer(u32),
    /// Stop devices that have not begun to install.
    Halt,
    /// Start a rollout of this release to those that took the one that was aborted.
    RollBack(ReleaseId),
    /// Stop watching the devices.
    Close,
}

/// A decision, with the numbers behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided: `promoted`, `aborted`, ...
    pub what: &'static str,
    pub stage: usize,
    /// The rollout's revision from then on.
    pub revision: u64,
    /// The order that it carries out.
    pub ordered: Option<&'static str>,
    /// Why, in a sentence.
    pub why: String,
    /// Silent devices, in a promotion or completion: every gate passes even if all of them are lost.
    pub silent: u32,
    /// The verdict of every gate.
    pub gates: Vec<GateReading>,
}

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    /// An effect for the caller to apply.
    pub effects: Vec<Effect>,
    pub decisions: Vec<Decision>,
}

/// One step of a rollout. The new state must be stored together with the effects and decisions.
///
/// # Errors
/// The order is invalid.
pub fn step(policy: &Policy, before: &State, event: &Event<'_>, at: UnixMs) -> Result<Step, InvalidTransition> {
    let step = Step { state: before.clone(), effects: Vec::new(), decisions: Vec::new() };
    match event {
        Event::Order(order) => step.on_order(policy, order),
        Event::Evaluation(tally) => Ok(step.evaluate(policy, tally, at)),
    }
}

/// Whether silent devices can matter to an evaluation: only once the stage's bake time, its longest time, or the watch may be
/// over. Until then nobody needs to count them.
pub fn suspects_matter(policy: &Policy, state: &State, at: UnixMs) -> bool {
    let is_over = |since: UnixMs, length_s: u64| at.since_ms(since) >= ms(Duration::from_secs(length_s));
    if state.status == Status::Completed {
        let is_watched = |watch: &Watch| is_over(watch.since, policy.watch_s());
        return state.watch.as_ref().is_some_and(is_watched) || state.is_offline_unreported(policy, at);
    }
    let Some(stage) = policy.stages.get(state.stage) else { return false };
    let bakes_since = state.evidence_at.unwrap_or(at); // the evidence may be there now
    is_over(bakes_since, stage.bake_s) || is_over(state.stage_began_at, policy.max_wait_s)
}

impl Step {
    pub(super) fn decide(&mut self, what: &'static str, why: String, gates: Vec<GateReading>) {
        self.decisions.push(self.state.decision(what, why, gates));
    }

    /// A decision to go on, although this many devices are silent.
    fn decide_despite(&mut self, silent: u32, what: &'static str, why: String, gates: Vec<GateReading>) {
        self.decisions.push(Decision { silent, ..self.state.decision(what, why, gates) });
    }

    fn pause(mut self, what: &'static str, why: String, gates: Vec<GateReading>) -> Self {
        if matches!(self.state.status, Status::Running | Status::Waiting) {
            self.state.status = Status::Paused;
            self.decide(what, why, gates);
        }
        self
    }

    pub(super) fn abort(mut self, policy: &Policy, why: String, roll_back: bool, gates: Vec<GateReading>) -> Self {
        self.state.status = Status::Aborted;
        self.decide("aborted", why, gates);
        self.effects.push(Effect::Halt);
        if let Some(release_id) = policy.roll_back_to.as_ref().filter(|_| roll_back) {
            // From here on, the devices belong to the rollout that rolls them back.
            self.state.is_closed = true;
            self.effects.extend([Effect::Close, Effect::RollBack(release_id.clone())]);
        }
        self
    }

    /// Stops watching the devices.
    pub(super) fn close(mut self) -> Self {
        if !self.state.is_closed {
            self.state.is_closed = true;
            self.effects.push(Effect::Close);
        }
        self
    }

    fn on_order(self, policy: &Policy, given: &OperatorOrder) -> Result<Self, InvalidTransition> {
        let OperatorOrder { order, seen, why } = given;
        let now = Observed::of(&self.state);
        match *seen {
            Some(seen) if seen != now => return Err(InvalidTransition::Changed { order: order.as_str(), seen, now }),
            None if order.lets_go_on() => return Err(InvalidTransition::RevisionMissing { order: order.as_str() }),
            _ => {}
        }
        let mut step = self.apply_order(policy, order, why.clone())?;
        for decision in &mut step.decisions {
            decision.ordered = Some(order.as_str());
        }
        Ok(step)
    }

    fn apply_order(mut self, policy: &Policy, order: &Order, why: String) -> Result<Self, InvalidTransition> {
        use Status as S;
        match (order, self.state.status) {
            (Order::Pause, S::Running | S::Waiting) => Ok(self.pause("paused", why, Vec::new())),
            (Order::Resume, S::Paused) => {
                self.state.status = S::Running;
                // The stage's time starts again; otherwise an overdue stage would pause again immediately.
                self.state.stage_began_at = self.state.evaluated_at;
                self.decide("resumed", why, Vec::new());
                Ok(self)
            }
            // Only a stage with its evidence, whose gates pass, can be approved.
            (Order::Approve, S::Waiting) => {
                self.state.approved = true;
                self.state.status = S::Running;
                // The time until the approval does not count for the stage.
                self.state.stage_began_at = self.state.evaluated_at;
                self.decide("approved", why, Vec::new());
                Ok(self)
            }
            (Order::Abort { roll_back: true }, _) if policy.roll_back_to.is_none() => {
                Err(InvalidTransition::NoRollBackRelease)
            }
            (Order::Abort { roll_back }, S::Running | S::Waiting | S::Paused) => {
                Ok(self.abort(policy, why, *roll_back, Vec::new()))
            }
            // As long as its devices are watched, they can go back.
            (Order::Abort { roll_back }, S::Completed) if !self.state.is_closed => {
                Ok(self.abort(policy, why, *roll_back, Vec::new()))
            }
            (order, status) => Err(InvalidTransition::Status { status, order: order.as_str() }),
        }
    }

    /// The clock was ahead at the last evaluation, or is behind now: the time measured by it proves nothing.
    fn on_clock_set_back(&mut self, at: UnixMs) {
        let why = format!(
            "the clock went back by {} s: observations since then prove nothing, so the bake time starts again",
            self.state.evaluated_at.since_ms(at) / 1_000
        );
        let state = &mut self.state;
        (state.evaluated_at, state.observing_since, state.unobserved_ms) = (at, at, 0);
        state.stage_began_at = state.stage_began_at.min(at);
        state.evidence_at = state.evidence_at.map(|_| at);
        state.starts.iter_mut().for_each(|(started_at, _)| *started_at = (*started_at).min(at));
        let of_sites = state.dark_until.values_mut().chain(state.dark_since.values_mut());
        of_sites.for_each(|moment| *moment = (*moment).min(at));
        state.watch.iter_mut().for_each(|watch| watch.since = at);
        self.decide("gap", why, Vec::new());
    }

    fn evaluate(mut self, policy: &Policy, tally: &Tally, at: UnixMs) -> Self {
        if is_ahead(self.state.evaluated_at, at) {
            self.on_clock_set_back(at);
        }
        let passed_ms = at.since_ms(self.state.evaluated_at);
        self.state.evaluated_at = self.state.evaluated_at.max(at);
        if passed_ms > GAP_MS {
            self.state.observing_since = at;
            self.state.unobserved_ms += if self.state.evidence_at.is_some() { passed_ms } else { 0 };
            let why = format!("no observation for {} s, which proves nothing", passed_ms / 1_000);
            self.decide("gap", why, Vec::new());
        }
        self.record_withdrawn(tally);
        let in_flight = tally.count(|cell| cell.state.is_in_flight());
        if self.state.status == Status::Completed && !self.state.is_closed {
            return self.keep_watch(policy, tally, at);
        }
        if self.state.status.is_over() {
            return if in_flight == 0 { self.close() } else { self };
        }
        let Some(stage) = policy.stages.get(self.state.stage).copied() else {
            return self.pause("paused", "the policy has no stage of this number".to_owned(), Vec::new());
        };
        let executed = tally.count(|cell| cell.stage == self.state.stage && cell.state.outcome().is_some());
        if executed >= stage.min_executed && self.state.evidence_at.is_none() {
            self.state.evidence_at = Some(at);
        }
        let readings = match read_gates(policy, self.state.stage, tally) {
            Ok(readings) => readings,
            Err(why) => {
                return self.pause("paused", format!("the gates could not be judged: {why}"), Vec::new());
            }
        };
        if let Some((action, failed)) = strongest_failure(policy, &readings) {
            let why = failed.to_string();
            return match action {
                Action::Pause => self.pause("paused", why, readings),
                Action::Abort => self.abort(policy, why, false, readings),
                Action::AbortAndRollBack => self.abort(policy, why, true, readings),
            };
        }
        if self.state.status == Status::Paused {
            return self;
        }
        self.promote(policy, stage, tally, executed, readings, at).offer(policy, tally, in_flight)
    }

    /// Records withdrawn devices in the trace, because they may change the verdicts.
    fn record_withdrawn(&mut self, tally: &Tally) {
        let withdrawn = tally.count(|cell| cell.state == UpdateState::Withdrawn);
        if withdrawn > self.state.withdrawn {
            let more = withdrawn - self.state.withdrawn;
            self.state.withdrawn = withdrawn;
            let (more, were) = (counted(more, "device"), if more == 1 { "was" } else { "were" });
            let why = format!(
                "{more} {were} revoked or re-provisioned before a failure was known; no gate counts {withdrawn} of this rollout"
            );
            self.decide("withdrawn", why, Vec::new());
        }
    }

    /// Advances to the next stage, or completes, if all requirements are met. `executed` devices of the stage have an outcome now:
    /// fewer than when the bake time began, if some were withdrawn since.
    fn promote(
        mut self,
        policy: &Policy,
        stage: Stage,
        tally: &Tally,
        executed: u32,
        gates: Vec<GateReading>,
        at: UnixMs,
    ) -> Self {
        let waited_ms = at.since_ms(self.state.stage_began_at);
        let is_overdue = waited_ms > ms(Duration::from_secs(policy.max_wait_s));
        let baked_ms = self.state.evidence_at.map(|since| at.since_ms(since).saturating_sub(self.state.unobserved_ms));
        let is_baked = baked_ms.is_some_and(|baked_ms| baked_ms >= ms(Duration::from_secs(stage.bake_s)));
        let has_evidence =
            is_baked && executed >= stage.min_executed && passes(policy, self.state.stage, tally, &gates);
        let silent = tally.silent();
        let of_outcomes = format!("{executed} of {}", counted(stage.min_executed, "outcome"));
        if self.state.is_approval_requested() && !has_evidence {
            // The evidence of the requested approval is no longer there, so the request and the approval lapse.
            (self.state.status, self.state.approved, self.state.stage_began_at) = (Status::Running, false, at);
            self.decide(
                "lapsed",
                format!("the stage no longer has the evidence that it requires: {of_outcomes}"),
                gates,
            );
            return self;
        }
        if !has_evidence || !passes_without_suspects(policy, self.state.stage, tally) {
            if is_overdue && self.state.status != Status::Waiting {
                let if_lost = if has_evidence { ", and if lost, the gates would not pass" } else { "" };
                let why = format!(
                    "the stage is not decided after {} s: {of_outcomes}, {} silent{}{if_lost}",
                    waited_ms / 1_000,
                    counted(silent, "device"),
                    self.state.offline_sites_in_words(at)
                );
                return self.pause("paused", why, gates);
            }
            return self;
        }
        if stage.approval == Approval::Manual && self.needs_approval(tally, &gates) {
            return self;
        }
        let even_if = match silent {
            0 => String::new(),
            1 => ", even if 1 device that is silent is lost".to_owned(),
            _ => format!(", even if {} that are silent are lost", counted(silent, "device")),
        };
        let why = format!(
            "every gate passes{even_if}, {} of the stage {} an outcome, and it was watched for {} s since",
            counted(executed, "device"),
            if executed == 1 { "has" } else { "have" },
            baked_ms.unwrap_or_default() / 1_000
        );
        if self.state.stage + 1 < policy.stages.len() {
            self.decide_despite(silent, "promoted", why, gates);
            self.state.stage += 1;
            self.state.stage_began_at = at;
            (self.state.evidence_at, self.state.unobserved_ms, self.state.approved) = (None, 0, false);
            return self;
        }
        let of = |state| tally.count(|cell| cell.state == state);
        let unreached = of(UpdateState::Pending);
        let in_flight_now = tally.count(|cell| cell.state.is_in_flight());
        if is_overdue && in_flight_now > 0 {
            let left = counted(in_flight_now, "device");
            let offline = self.state.offline_sites_in_words(at);
            let why =
                format!("the last stage is not complete after {} s: {left} still updating{offline}", waited_ms / 1_000);
            return self.pause("paused", why, gates);
        }
        if in_flight_now == 0 && (unreached == 0 || is_overdue) {
            let without = [
                (unreached, "never reached"),
                (of(UpdateState::Halted), "stopped before installing it"),
                (of(UpdateState::Withdrawn), "withdrawn"),
            ];
            let without = without.into_iter().filter(|(devices, _)| *devices > 0);
            let mut rest = String::new();
            for (devices, what) in without {
                rest += &format!("; {} {what}", counted(devices, "device"));
            }
            self.state.status = Status::Completed;
            (self.state.watch, self.state.unobserved_ms) = (Some(Watch::new(at, failed(tally))), 0);
            self.decide_despite(silent, "completed", why + &rest, gates);
        }
        self
    }

    /// Whether a stage with all its evidence still needs an approval. Requests it the first time, and again whenever more devices
    /// have failed since: an approval covers what the operator saw.
    fn needs_approval(&mut self, tally: &Tally, gates: &[GateReading]) -> bool {
        let failed = failed(tally);
        let is_approval_requested = self.state.is_approval_requested();
        let more = if is_approval_requested { failed.saturating_sub(self.state.failed_when_asked) } else { 0 };
        if is_approval_requested && more == 0 {
            return !self.state.approved;
        }
        let since = if more == 0 { String::new() } else { format!("{} failed since; ", counted(more, "more device")) };
        (self.state.status, self.state.approved, self.state.failed_when_asked) = (Status::Waiting, false, failed);
        self.decide("waiting", format!("{since}every gate passes; a person must approve"), gates.to_vec());
        true
    }

    fn offer(mut self, policy: &Policy, tally: &Tally, in_flight: u32) -> Self {
        if self.state.status.is_over() || self.state.status == Status::Paused {
            return self;
        }
        let now = self.state.evaluated_at;
        self.state.starts.retain(|(at, _)| now.since_ms(*at) < MINUTE_MS);
        let started: u32 = self.state.starts.iter().map(|(_, count)| count).sum();
        let pending = tally.count(|cell| cell.stage <= self.state.stage && cell.state == UpdateState::Pending);
        let count = pending
            .min(policy.starts_per_min.saturating_sub(started))
            .min(policy.in_flight_max.saturating_sub(in_flight));
        if count > 0 {
            self.effects.push(Effect::Offer(count));
        }
        self
    }
}

impl State {
    /// A decision in this state, and the next revision.
    pub fn decision(&mut self, what: &'static str, why: String, gates: Vec<GateReading>) -> Decision {
        self.revision += 1;
        Decision { what, stage: self.stage, revision: self.revision, ordered: None, why, silent: 0, gates }
    }

    /// Whether an approval of the stage has been requested or given.
    fn is_approval_requested(&self) -> bool {
        self.status == Status::Waiting || self.approved
    }

    /// Records how many devices were actually offered the release in this evaluation.
    pub fn offered(&mut self, count: u32) {
        if count > 0 {
            self.starts.push((self.evaluated_at, count));
        }
    }
}

impl Observed {
    /// Those of a state.
    pub fn of(state: &State) -> Self {
        Self { stage: state.stage, revision: state.revision }
    }
}
