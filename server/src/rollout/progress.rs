//! What a rollout waits for, and when it goes on at the earliest if nothing fails from now on.
//!
//! "At the earliest" is a lower limit: offers take until a device's next heartbeat, downloads take their time, and an evaluation
//! comes up to half a minute after what it waits for.

mod distance;

use std::time::Duration;

use ks_protocol::{text::counted, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

pub use self::distance::GateProgress;
use super::{
    gate::Verdict,
    offline::OfflineSite,
    plan::started_s,
    policy::{Approval, Policy, Scope, Stage},
    reading::{GateReading, group_of, passes_without_suspects},
    status::Status,
    step::State,
    tally::{Cell, Tally},
    update::UpdateState,
};

/// A device in CONFIRMING.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirming {
    /// Its stage, model and site; the count is 1.
    pub cell: Cell,
    /// Since when its heartbeats show the release.
    pub since: UnixMs,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Progress {
    /// Devices that the current stage adds.
    pub devices: u32,
    /// How many of them have an outcome.
    pub executed: u32,
    /// How many must have one before the stage can be promoted.
    pub executed_needed: u32,
    /// Each gate on the groups that it judges: at most ten of each gate, the worst first.
    pub gates: Vec<GateProgress>,
    /// What comes next, and when at the earliest. None if that does not depend on time alone.
    pub next: Option<Next>,
    /// What it waits for, each in a sentence.
    pub waits_for: Vec<String>,
    /// When the stage pauses if it is still undecided.
    pub pauses_at: Option<UnixMs>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Next {
    pub what: NextStep,
    /// At the earliest, if nothing fails.
    pub at: UnixMs,
}

/// A step of a rollout that time leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NextStep {
    /// The next stage begins.
    Promoted,
    /// A person is asked to approve the stage.
    Waiting,
    /// The rollout is complete.
    Completed,
    /// The watch over its devices ends.
    Watched,
}

impl NextStep {
    /// The words in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promotes",
            Self::Waiting => "asks for approval",
            Self::Completed => "completes",
            Self::Watched => "watched until",
        }
    }
}

/// How far a rollout is at this time. `confirming` are the devices that are CONFIRMING.
pub fn progress(policy: &Policy, state: &State, tally: &Tally, confirming: &[Confirming], now: UnixMs) -> Progress {
    let view = View { policy, state, tally, confirming, now };
    let of_stage = |cell: &Cell| cell.stage == state.stage;
    let stage = policy.stages.get(state.stage).copied();
    let mut progress = Progress {
        devices: tally.count(of_stage),
        executed: tally.count(|cell| of_stage(cell) && cell.state.outcome().is_some()),
        executed_needed: stage.map_or(0, |stage| stage.min_executed),
        gates: distance::gates(policy, state.stage, tally),
        next: None,
        waits_for: Vec::new(),
        pauses_at: None,
    };
    let in_flight = tally.count(|cell| cell.state.is_in_flight());
    match (state.status, stage) {
        (Status::Aborted, _) if in_flight > 0 => {
            progress.waits_for.push(format!("{} in flight to end", counted(in_flight, "update")));
        }
        (Status::Completed, _) => {
            progress.next = state.watch_ends_at(policy).map(|at| Next { what: NextStep::Watched, at: at.max(now) });
        }
        (Status::Paused, _) => progress.waits_for.push("an operator to resume it".to_owned()),
        (Status::Waiting, _) => {
            progress.waits_for.push(format!("an operator to approve stage {}", state.stage + 1));
        }
        (Status::Running, Some(stage)) => view.running(stage, &mut progress),
        (Status::Aborted | Status::Running, _) => {}
    }
    progress
}

/// What progress is computed from.
struct View<'a> {
    policy: &'a Policy,
    state: &'a State,
    tally: &'a Tally,
    confirming: &'a [Confirming],
    now: UnixMs,
}

impl View<'_> {
    fn running(&self, stage: Stage, progress: &mut Progress) {
        let (policy, state, now) = (self.policy, self.state, self.now);
        progress.pauses_at = Some(state.stage_began_at + Duration::from_secs(policy.max_wait_s));
        let waits_for = &mut progress.waits_for;
        let missing = stage.min_executed.saturating_sub(progress.executed);
        let mut evidence_at = Some(state.evidence_at.unwrap_or(now));
        if missing > 0 {
            let so_far = progress.executed;
            evidence_at = self.outcomes_at(missing, |cell| cell.stage == state.stage);
            waits_for.push(self.missing_outcomes(stage, (missing, so_far), evidence_at.is_some()));
        }
        let mut ready_at =
            evidence_at.map(|at| at + Duration::from_secs(stage.bake_s) + Duration::from_millis(state.unobserved_ms));
        if let Some(baked_at) = ready_at.filter(|baked_at| missing == 0 && *baked_at > now) {
            waits_for.push(format!("the bake time, until {baked_at}"));
        }
        for gate in
            progress.gates.iter().filter(|gate| gate.is_required && gate.reading.judged.verdict != Verdict::Pass)
        {
            let GateReading { gate: number, of, .. } = &gate.reading;
            let scope = policy.gates.get(*number).map_or(Scope::Cumulative, |gate| gate.scope);
            let is_of = |cell: &Cell| group_of(scope, state.stage, cell.place()).as_ref() == Some(of);
            let passes_at = gate.clean_to_pass.and_then(|more| self.outcomes_at(more, is_of));
            let name = format!("gate {} of {of}", number + 1);
            waits_for.push(match (gate.clean_to_pass, passes_at) {
                (Some(more), Some(_)) => format!("{name}: {} without a failure", counted(more, "more device")),
                (Some(more), None) => format!(
                    "{name}, which can't pass in this stage any more: it needs {} without a failure",
                    counted(more, "more device")
                ),
                (None, _) => format!("{name}, which can't pass any more"),
            });
            ready_at = ready_at.zip(passes_at).map(|(one, other)| one.max(other));
        }
        if !passes_without_suspects(policy, state.stage, self.tally) {
            let silent = counted(self.tally.silent(), "silent device");
            waits_for.push(format!("{silent} to be seen again; if lost, the gates would not pass"));
        }
        waits_for.extend(self.offline_sites());
        let is_last = state.stage + 1 == policy.stages.len();
        if is_last {
            ready_at = ready_at.and_then(|at| Some(at.max(self.all_done_at(waits_for)?)));
        }
        let needs_approval = stage.approval == Approval::Manual && !state.approved;
        if needs_approval {
            waits_for.push("an operator's approval, once that is so".to_owned());
        }
        let what = match (needs_approval, is_last) {
            (true, _) => NextStep::Waiting,
            (false, true) => NextStep::Completed,
            (false, false) => NextStep::Promoted,
        };
        progress.next = ready_at.map(|at| Next { what, at: at.max(now) });
    }

    /// The outcomes that a stage still needs, in words.
    fn missing_outcomes(&self, stage: Stage, (missing, so_far): (u32, u32), can_come: bool) -> String {
        let why_not = ", and too few devices are left: abort it, and create another rollout for the rest";
        format!(
            "{} of stage {}: {so_far} of {} that it needs{}",
            counted(missing, "more outcome"),
            self.state.stage + 1,
            stage.min_executed,
            if can_come { "" } else { why_not }
        )
    }

    /// The offline sites whose devices it waits for, each in a sentence.
    fn offline_sites(&self) -> Vec<String> {
        let holds = |of: &OfflineSite| {
            let is_due =
                |cell: &Cell| cell.site == of.site && cell.stage <= self.state.stage && is_undecided(cell.state);
            of.not_judged > 0 || self.tally.count(is_due) > 0
        };
        let sites = self.state.offline_sites(self.tally, self.now).into_iter().filter(holds);
        let in_words = |OfflineSite { site, since, until_at_most, .. }| {
            format!(
                "site {site}, offline since {since}, at most until {until_at_most}; if it is gone for good, revoke its devices"
            )
        };
        sites.map(in_words).collect()
    }

    /// When every device has its outcome, at the earliest.
    fn all_done_at(&self, waits_for: &mut Vec<String>) -> Option<UnixMs> {
        let in_flight = self.tally.count(|cell| cell.state.is_in_flight());
        let pending = self.tally.count(|cell| cell.state == UpdateState::Pending);
        if in_flight > 0 {
            waits_for.push(format!("{} in flight to end", counted(in_flight, "update")));
        }
        if pending > 0 {
            waits_for.push(format!(
                "{} that {} not been offered it yet",
                counted(pending, "device"),
                if pending == 1 { "has" } else { "have" }
            ));
        }
        self.outcomes_at(in_flight + pending, |_| true)
    }

    /// When so many more devices of these have an outcome, at the earliest; none if there are not so many.
    fn outcomes_at(&self, count: u32, is_of: impl Fn(&Cell) -> bool) -> Option<UnixMs> {
        let window = Duration::from_secs(self.policy.confirm_window_s);
        let of_them = self.confirming.iter().filter(|confirming| is_of(&confirming.cell));
        let mut confirmed_at: Vec<UnixMs> =
            of_them.map(|confirming| (confirming.since + window).max(self.now)).collect();
        confirmed_at.sort_unstable();
        let Some(last) = count.checked_sub(1) else { return Some(self.now) };
        if let Some(at) = usize::try_from(last).ok().and_then(|last| confirmed_at.get(last)) {
            return Some(*at);
        }
        let in_flight = self.tally.count(|cell| is_of(cell) && cell.state.is_in_flight());
        let pending = self.tally.count(|cell| is_of(cell) && cell.state == UpdateState::Pending);
        let to_start = count.saturating_sub(in_flight);
        let started_s = if to_start > 0 { started_s(self.policy, to_start) } else { 0 };
        (to_start <= pending).then(|| self.now + Duration::from_secs(started_s) + window)
    }
}

/// Whether it has no outcome, and may have one.
fn is_undecided(state: UpdateState) -> bool {
    state.is_in_flight() || state == UpdateState::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        order::Order,
        tests::{Rollout, at, cell, small},
        update::UpdateState as S,
        watched::Watch,
    };

    const KIND: (&str, &str) = ("KS-100", "north");

    fn tally(counts: &[(usize, S, u32)]) -> Tally {
        Tally {
            cells: counts.iter().map(|(stage, state, count)| cell(*stage, KIND, *state, *count)).collect(),
            ..Tally::default()
        }
    }

    fn since(stage: usize, seconds: &[u64]) -> Vec<Confirming> {
        let one = |second: &u64| Confirming { cell: cell(stage, KIND, S::Confirming, 1), since: at(*second) };
        seconds.iter().map(one).collect()
    }

    /// A stage of 100 devices: 4 confirmed, 2 confirming, 3 downloading, 91 pending.
    fn under_way() -> Tally {
        tally(&[
            (0, S::Confirmed, 4),
            (0, S::Confirming, 2),
            (0, S::Downloading, 3),
            (0, S::Pending, 91),
            (1, S::Pending, 900),
        ])
    }

    #[test]
    fn the_earliest_promotion_is_the_last_outcome_needed_and_the_bake_time() {
        let mut rollout = Rollout::new(small());
        let of =
            |rollout: &Rollout| progress(&rollout.policy, &rollout.state, &under_way(), &since(0, &[300, 0]), at(600));
        // 10 outcomes are needed. Those that confirm have 15 minutes at 900 s and 1,200 s; the others at 1,500 s at best, if they
        // boot the release this second; then 600 s of bake time.
        let shown = of(&rollout);
        assert_eq!((shown.devices, shown.executed, shown.executed_needed), (100, 4, 10));
        assert_eq!(shown.next, Some(Next { what: NextStep::Promoted, at: at(2_100) }));
        assert_eq!(
            shown.waits_for,
            ["6 more outcomes of stage 1: 4 of 10 that it needs", "gate 1 of all: 6 more devices without a failure",]
        );
        assert_eq!(shown.pauses_at, Some(at(14 * 86_400)));
        // 6 are needed: the second that confirms is the sixth, at 1,200 s.
        rollout.policy.stages[0].min_executed = 6;
        rollout.policy.gates[0].min_executed = 6;
        assert_eq!(of(&rollout).next.map(|next| next.at), Some(at(1_800)));
        // 40 are needed: 31 must be started yet, 2 a minute, so that the last starts 15 minutes from now.
        rollout.policy.stages[0].min_executed = 40;
        rollout.policy.starts_per_min = 2;
        assert_eq!(of(&rollout).next.map(|next| next.at), Some(at(600 + 900 + 900 + 600)));
        rollout.policy.stages[0].approval = Approval::Manual;
        let shown = of(&rollout);
        assert_eq!(shown.next.map(|next| next.what), Some(NextStep::Waiting));
        assert_eq!(shown.waits_for.last().unwrap(), "an operator's approval, once that is so");
    }

    #[test]
    fn the_time_shown_is_when_the_rollout_is_promoted() {
        let mut rollout = Rollout::new(small());
        let good = tally(&[(0, S::Confirmed, 100), (1, S::Pending, 900)]);
        rollout.watch(0..=240, &good);
        let next = progress(&rollout.policy, &rollout.state, &good, &[], at(240)).next;
        assert_eq!(next, Some(Next { what: NextStep::Promoted, at: at(600) }));
        assert_eq!(rollout.watch(300..=600, &good), [(600, "promoted")]);
        // The second stage is the last: all 900 have to be started, at 200 a minute and 500 at a time.
        let shown = progress(&rollout.policy, &rollout.state, &good, &[], at(600));
        // 10 outcomes after 900 s and 600 s of bake time are 1,500 s; the 900th device starts when the first 500 are
        // confirmed, and is confirmed after 2 x 900 s.
        assert_eq!(shown.next, Some(Next { what: NextStep::Completed, at: at(600 + 1_800) }));
        assert_eq!(shown.waits_for.last().unwrap(), "900 devices that have not been offered it yet");
    }

    #[test]
    fn a_gap_and_silence_are_shown() {
        let mut rollout = Rollout::new(small());
        let good = tally(&[(0, S::Confirmed, 100), (1, S::Pending, 900)]);
        rollout.watch(0..=240, &good);
        rollout.evaluate(540, &good);
        let silent = Tally { suspects: vec![cell(0, KIND, S::Confirmed, 12)], ..good };
        let shown = progress(&rollout.policy, &rollout.state, &silent, &[], at(540));
        assert_eq!(shown.next.map(|next| next.at), Some(at(900)), "300 s were not observed");
        let bake = format!("the bake time, until {}", at(900));
        assert_eq!(
            shown.waits_for,
            [bake.as_str(), "12 silent devices to be seen again; if lost, the gates would not pass"]
        );
    }

    #[test]
    fn an_offline_site_that_holds_the_stage_is_named_with_what_to_do() {
        let mut rollout = Rollout::new(small());
        rollout.state.mark_offline(["north".to_owned(), "elsewhere".to_owned()], at(60));
        let waiting = tally(&[(0, S::Confirmed, 9), (0, S::Installing, 1), (1, S::Pending, 90)]);
        let shown = progress(&rollout.policy, &rollout.state, &waiting, &[], at(120));
        let said: Vec<_> = shown.waits_for.iter().filter(|what| what.contains("offline")).collect();
        let until = at(60) + super::super::offline::OFFLINE_MAX;
        let north = format!(
            "site north, offline since {}, at most until {until}; if it is gone for good, revoke its devices",
            at(60)
        );
        assert_eq!(said, [&north]);
    }

    #[test]
    fn a_gate_that_can_not_pass_any_more_is_named() {
        let rollout = Rollout::new(small());
        let few = tally(&[(0, S::Confirmed, 8), (0, S::Rejected, 1), (0, S::Withdrawn, 91), (1, S::Pending, 900)]);
        let shown = progress(&rollout.policy, &rollout.state, &few, &[], at(60));
        assert_eq!(shown.next, None);
        assert_eq!(
            shown.waits_for,
            [
                "1 more outcome of stage 1: 9 of 10 that it needs, and too few devices are left: abort it, and create another rollout for the rest",
                "gate 1 of all, which can't pass in this stage any more: it needs 1 more device without a failure",
            ]
        );
    }

    #[test]
    fn what_a_person_or_the_end_is_waited_for_is_said() {
        let mut rollout = Rollout::new(small());
        let seen = under_way();
        rollout.watch(0..=60, &seen);
        rollout.order(61, &Order::Pause).unwrap();
        let waits = |rollout: &Rollout| progress(&rollout.policy, &rollout.state, &seen, &[], at(120));
        assert_eq!(
            (waits(&rollout).next, &waits(&rollout).waits_for[..]),
            (None, &["an operator to resume it".to_owned()][..])
        );
        rollout.order(62, &Order::Abort { roll_back: false }).unwrap();
        assert_eq!(waits(&rollout).waits_for, ["5 updates in flight to end"]);
        rollout.state.status = Status::Completed;
        rollout.state.watch = Some(Watch::new(at(100), 0));
        rollout.policy.watch_s = Some(7_200);
        assert_eq!(waits(&rollout).next, Some(Next { what: NextStep::Watched, at: at(7_300) }));
    }
}
