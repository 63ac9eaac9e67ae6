//! Monitors rollouts during a run through the admin API, and records them together with the ground truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use ks_protocol::{id::RolloutId, time::UnixMs};
use ks_reports::review::{Cell, Review, RolloutReview};
use ks_reports::run_folder::{
    ActionTime, DECISIONS, GateSample, ROLLOUTS, RolloutDecision, RolloutSample, RolloutSummary,
};
use ks_server::rollout::{
    gate::{Test, Verdict, judge},
    policy::Policy,
};

use crate::{
    operator::{ObservedDecision, ObservedGate, ObservedRollout, ObservedUpdate, Operator, OperatorError},
    run::measure::Measurements,
    scenario::Plan,
    timeline::Step,
};

/// Most samples of a run.
const SAMPLES_MAX: u32 = 300;
/// Most gate readings per sample: a gate by model and site has one for each of their pairs.
const GATES_MAX: usize = 24;

/// Most rollouts of a run, and most decisions of each, that are recorded: more than any scenario has.
const ROLLOUTS_MAX: usize = 10_000;
const DECISIONS_MAX: usize = 100_000;

/// Samples the rollouts of a run.
pub struct RolloutMonitor {
    file: Option<BufWriter<File>>,
    /// The rollouts that the plan starts: an external target may have others.
    own: BTreeSet<RolloutId>,
    every: Duration,
    next_at: Duration,
    /// Whether each device's update is read at the end.
    is_reviewed: bool,
    /// At the last sample every rollout had ended and no device was updating.
    pub is_settled: bool,
    /// The rollouts at the end.
    pub seen: ObservedRollouts,
}

/// The rollouts of a run, at its end.
#[derive(Debug, Default)]
pub struct ObservedRollouts {
    /// Each rollout with its decisions, oldest first.
    pub rollouts: Vec<(ObservedRollout, Vec<ObservedDecision>)>,
    /// Each rollout's devices with their updates; not of trials.
    pub updates: BTreeMap<RolloutId, Vec<ObservedUpdate>>,
    /// When each version broke its first device, since the start of the run: ground truth.
    pub first_broken_at: BTreeMap<String, Duration>,
    /// Wall-clock time of the start of the run.
    pub epoch: UnixMs,
}

impl ObservedRollouts {
    /// Number of decisions of a kind in all rollouts.
    pub fn decisions(&self, what: &str) -> u64 {
        let all = self.rollouts.iter().flat_map(|(_, decisions)| decisions);
        u64::try_from(all.filter(|decision| decision.decision == what).count()).unwrap_or(u64::MAX)
    }

    /// Seconds from the first device that a release broke until the engine stopped one of its rollouts, for the release
    /// that took longest; below 0 if the engine was first. None if no release both broke devices and was stopped.
    pub fn detection_s(&self) -> Option<f64> {
        let of_release = |(version, broken_at): (&String, &Duration)| {
            let of_it = self.rollouts.iter().filter(|(rollout, _)| rollout.version == *version);
            let acted_s = of_it.filter_map(|(_, decisions)| self.first_s(decisions, is_against_the_release));
            Some(acted_s.min_by(f64::total_cmp)? - broken_at.as_secs_f64())
        };
        self.first_broken_at.iter().filter_map(of_release).max_by(f64::total_cmp)
    }

    /// Time of the first matching decision, seconds into the run.
    fn first_s(&self, decisions: &[ObservedDecision], is_such: impl Fn(&ObservedDecision) -> bool) -> Option<f64> {
        let first = decisions.iter().filter(|decision| is_such(decision)).map(|decision| decision.at).min()?;
        Some(Duration::from_millis(first.since_ms(self.epoch)).as_secs_f64())
    }

    fn action_time(&self, decision: &ObservedDecision) -> ActionTime {
        ActionTime {
            at_s: Duration::from_millis(decision.at.since_ms(self.epoch)).as_secs_f64(),
            decision: decision.decision.clone(),
            by: by(decision),
        }
    }

    /// The rollout whose release broke most devices, else one that was stopped, else the first. A rollback comes after the rollouts
    /// that broke something: it is their consequence.
    fn worst(
        &self,
        total: &Measurements,
        review: Option<&Review>,
    ) -> Option<&(ObservedRollout, Vec<ObservedDecision>)> {
        let is_stopped = |rollout: &ObservedRollout| matches!(rollout.status.as_str(), "ABORTED" | "PAUSED");
        let severity = |(rollout, _): &&(ObservedRollout, Vec<ObservedDecision>)| {
            let of_release = total.broken_by(&rollout.version);
            let broken = shared(review, rollout).map_or(of_release, |of| of.count(Cell::is_broken));
            (broken > 0 && !self.is_rollback(&rollout.rollout_id), broken, is_stopped(rollout))
        };
        self.rollouts.iter().rev().max_by_key(severity)
    }

    /// Whether the server started it to roll another one back.
    fn is_rollback(&self, rollout_id: &RolloutId) -> bool {
        let of = rollout_id.as_str().strip_suffix("-back");
        of.is_some_and(|of| self.rollouts.iter().any(|(other, _)| other.rollout_id.as_str() == of))
    }

    /// The summaries of all rollouts: the worst one, and then the others in the order of their start.
    fn summaries(&self, total: &Measurements, review: Option<&Review>) -> Vec<RolloutSummary> {
        let worst = self.worst(total, review).map(|(rollout, _)| &rollout.rollout_id);
        let (first, others): (Vec<_>, Vec<_>) =
            self.rollouts.iter().partition(|(rollout, _)| Some(&rollout.rollout_id) == worst);
        first.into_iter().chain(others).map(|of| self.summary(of, total, review)).collect()
    }

    /// The summary of a rollout. If its release had others, it counts the devices that it installed the release on itself, as far
    /// as the rollouts were reviewed.
    fn summary(
        &self,
        (rollout, decisions): &(ObservedRollout, Vec<ObservedDecision>),
        total: &Measurements,
        review: Option<&Review>,
    ) -> RolloutSummary {
        let own = shared(review, rollout);
        let of_release = total.installed.get(&rollout.version).copied().unwrap_or(0);
        let first_broken_at_s = self.first_broken_at.get(&rollout.version).map(Duration::as_secs_f64);
        let is_action =
            |decision: &ObservedDecision| matches!(decision.decision.as_str(), "paused" | "aborted" | "alert");
        let is_state = |decision: &ObservedDecision| {
            is_action(decision) && decision.decision.eq_ignore_ascii_case(&rollout.status)
        };
        RolloutSummary {
            rollout_id: rollout.rollout_id.to_string(),
            release: rollout.version.clone(),
            state: rollout.status.clone(),
            targets: rollout.targets,
            is_one_of_several: own.is_some(),
            installed_devices: own.map_or(of_release, |own| own.count(|cell| cell.is_installed)),
            broken_devices: own.map_or_else(|| total.broken_by(&rollout.version), |own| own.count(Cell::is_broken)),
            started_at_s: self.first_s(decisions, |decision| decision.decision == "created"),
            detected_at_s: self.first_s(decisions, is_against_the_release),
            first_action: decisions.iter().find(|decision| is_action(decision)).map(|first| self.action_time(first)),
            last_action: decisions.iter().rfind(|decision| is_state(decision)).map(|last| self.action_time(last)),
            first_broken_at_s: own.map_or(first_broken_at_s, |own| own.first_broke_at_s),
            completed_at_s: self.first_s(decisions, |decision| decision.decision == "completed"),
        }
    }
}

impl RolloutMonitor {
    /// A monitor for the plan's rollouts; it does nothing for a plan without any. `is_reviewed`: they are reviewed at the end.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub fn new(plan: &Plan, folder: &Path, is_reviewed: bool) -> io::Result<Self> {
        let file = if plan.has_rollouts() {
            Some(BufWriter::new(ks_reports::create_new(&folder.join(ROLLOUTS))?))
        } else {
            None
        };
        let started = plan.timeline.iter().filter_map(|timed| match &timed.step {
            Step::StartRollout(start) => Some(start.rollout_id.clone()),
            _ => None,
        });
        Ok(Self {
            file,
            own: started.collect(),
            every: plan.duration / SAMPLES_MAX,
            next_at: Duration::ZERO,
            is_reviewed,
            is_settled: false,
            seen: ObservedRollouts::default(),
        })
    }

    /// Takes a sample, if one is due; `total` is what was measured so far. Without an answer there is no sample.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub async fn sample(&mut self, operator: &Operator, at: Duration, total: &Measurements) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| at >= self.next_at) else { return Ok(()) };
        self.next_at = at + self.every;
        let mut samples = Vec::new();
        let mut unsettled = 0;
        let own = &self.own;
        let each = |rollout: &ObservedRollout| {
            if !is_own(own, &rollout.rollout_id) {
                return;
            }
            if samples.len() < ROLLOUTS_MAX {
                samples.push(sample(rollout, at, total.broken_by(&rollout.version)));
            }
            unsettled += u64::from(!is_settled(rollout));
        };
        // The server may be down.
        let listed = operator.rollouts(each).await;
        self.is_settled = listed.is_ok() && unsettled == 0 && !samples.is_empty();
        for sample in samples {
            serde_json::to_writer(&mut *file, &sample)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Takes a last sample and fetches every decision.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn finish(
        &mut self,
        operator: &Operator,
        epoch: UnixMs,
        at: Duration,
        total: &Measurements,
    ) -> Result<(), OperatorError> {
        if self.file.is_none() {
            return Ok(());
        }
        self.next_at = Duration::ZERO;
        let _ = self.sample(operator, at, total).await; // a write error shows again when the run folder is completed
        let mut rollouts = Vec::new();
        let own = &self.own;
        let each = |rollout: &ObservedRollout| {
            if is_own(own, &rollout.rollout_id) {
                keep(&mut rollouts, rollout, ROLLOUTS_MAX);
            }
        };
        operator.rollouts(each).await?;
        for rollout in rollouts {
            let mut decisions = Vec::new();
            operator.trace(&rollout.rollout_id, |decision| keep(&mut decisions, decision, DECISIONS_MAX)).await?;
            if self.is_reviewed {
                let updates = operator.updates(&rollout.rollout_id).await?;
                self.seen.updates.insert(rollout.rollout_id.clone(), updates);
            }
            self.seen.rollouts.push((rollout, decisions));
        }
        self.seen.first_broken_at =
            total.broken.iter().map(|(version, broken)| (version.clone(), broken.first_at)).collect();
        self.seen.epoch = epoch;
        Ok(())
    }

    /// Writes the decisions and the review, and returns the summaries of all rollouts, the worst first.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub fn write(
        &mut self,
        folder: &Path,
        total: &Measurements,
        review: impl FnOnce(&ObservedRollouts) -> Review,
    ) -> io::Result<Vec<RolloutSummary>> {
        let Some(mut samples) = self.file.take() else { return Ok(Vec::new()) };
        samples.flush()?;
        let mut file = BufWriter::new(ks_reports::create_new(&folder.join(DECISIONS))?);
        for (rollout, decisions) in &self.seen.rollouts {
            for decision in decisions {
                let line = RolloutDecision {
                    at_s: Duration::from_millis(decision.at.since_ms(self.seen.epoch)).as_secs_f64(),
                    rollout_id: rollout.rollout_id.to_string(),
                    decision: decision.decision.clone(),
                    stage: decision.stage,
                    why: decision.why.clone(),
                    gate: decided_by(decision),
                };
                serde_json::to_writer(&mut file, &line)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush()?;
        let review = self.is_reviewed.then(|| review(&self.seen));
        if let Some(review) = &review {
            ks_reports::write_review(folder, review)?;
        }
        Ok(self.seen.summaries(total, review.as_ref()))
    }
}

/// The review of a rollout whose release had other rollouts too; none if it had none, or was not reviewed.
fn shared<'r>(review: Option<&'r Review>, rollout: &ObservedRollout) -> Option<&'r RolloutReview> {
    let mut reviewed = review?.rollouts.iter();
    reviewed.find(|of| of.rollout_id == rollout.rollout_id.as_str() && of.rollouts_of_release > 1)
}

/// Appends a clone of `item`, up to `max` items.
fn keep<T: Clone>(kept: &mut Vec<T>, item: &T, max: usize) {
    if kept.len() < max {
        kept.push(item.clone());
    }
}

/// Whether the run started a rollout, or the server did to roll one of the run's back: its name ends in `-back`.
fn is_own(own: &BTreeSet<RolloutId>, rollout_id: &RolloutId) -> bool {
    let name = rollout_id.as_str();
    own.contains(rollout_id) || name.strip_suffix("-back").is_some_and(|of| own.iter().any(|own| own.as_str() == of))
}

fn is_settled(rollout: &ObservedRollout) -> bool {
    let under_way = ["OFFERED", "DOWNLOADING", "INSTALLING", "CONFIRMING"];
    let is_over = matches!(rollout.status.as_str(), "ABORTED" | "COMPLETED");
    is_over && under_way.iter().all(|state| rollout.updates.get(*state).is_none_or(|count| *count == 0))
}

/// Whether the engine acted or alerted people because a gate failed: whether it found something, and did not just wait too long.
pub fn is_by_a_gate(decision: &ObservedDecision) -> bool {
    let acts = matches!(decision.decision.as_str(), "paused" | "aborted" | "alert");
    acts && decision.is_engines() && decided_by(decision).is_some()
}

/// Who made a decision: `gate 1 of all`, `the engine`, `a person`.
fn by(decision: &ObservedDecision) -> String {
    match decided_by(decision).filter(|_| is_by_a_gate(decision)) {
        Some(gate) => format!("gate {} of {}", gate.gate + 1, gate.of),
        None if decision.is_engines() => "the engine".to_owned(),
        None => "a person".to_owned(),
    }
}

/// Whether the engine stopped a release.
fn is_against_the_release(decision: &ObservedDecision) -> bool {
    decision.is_engines() && matches!(decision.decision.as_str(), "aborted" | "paused")
}

fn sample(rollout: &ObservedRollout, at: Duration, broken: u64) -> RolloutSample {
    let lower =
        |counts: &BTreeMap<String, u64>| counts.iter().map(|(word, count)| (word.to_lowercase(), *count)).collect();
    RolloutSample {
        at_s: at.as_secs_f64(),
        rollout_id: rollout.rollout_id.to_string(),
        state: rollout.status.clone(),
        stage: rollout.stage,
        stages: rollout.stages,
        share_bp: rollout.share_bp,
        targets: rollout.targets,
        counts: lower(&rollout.updates),
        versions: rollout.versions.clone(),
        broken,
        gates: worst_first(&rollout.gates, &rollout.policy),
    }
}

/// Readings of gates that have outcomes, those nearest to stopping the release first: the greatest share of
/// failures against its threshold.
fn worst_first(gates: &[ObservedGate], policy: &Policy) -> Vec<GateSample> {
    let mut judged: Vec<&ObservedGate> = gates.iter().filter(|gate| gate.executed > 0).collect();
    let severity = |gate: &ObservedGate| (gate.verdict == "FAIL", gate.share_ppm * 1_000 / gate.threshold_bp.max(1));
    judged.sort_by_key(|gate| std::cmp::Reverse(severity(gate))); // stable: equal ones keep the order of the policy
    let reading = |gate: &ObservedGate| GateSample { fails_from_ppm: fails_from_ppm(gate, policy), ..reading(gate) };
    judged.into_iter().take(GATES_MAX).map(reading).collect()
}

/// The smallest share of failures at which a gate fails with as many executed devices; none if its band says it.
fn fails_from_ppm(reading: &ObservedGate, policy: &Policy) -> Option<u64> {
    let gate = policy.gates.get(usize::try_from(reading.gate).ok()?)?;
    if matches!(gate.test, Test::ClopperPearson { .. }) {
        return None;
    }
    let executed = u32::try_from(reading.executed).ok()?;
    let fails = |failed: u32| {
        let judged = judge(gate.test, gate.threshold_bp, gate.min_executed, failed, executed);
        judged.is_ok_and(|judged| judged.verdict == Verdict::Fail)
    };
    // More failures never look better.
    let (mut low, mut high) = (1, executed.saturating_add(1));
    while low < high {
        let middle = low.midpoint(high);
        if fails(middle) { high = middle } else { low = middle + 1 }
    }
    (low <= executed).then(|| u64::from(low) * 1_000_000 / u64::from(executed))
}

/// The gate that caused a decision: of the failed gates, the one that its reason names; none for an operator's decision.
pub fn decided_by(decision: &ObservedDecision) -> Option<GateSample> {
    let mut failed = decision.gates.iter().filter(|gate| gate.verdict == "FAIL");
    let is_named = |gate: &&ObservedGate| decision.why.contains(&format!("gate {} of {}:", gate.gate + 1, gate.of));
    failed.clone().find(is_named).or_else(|| failed.next()).map(reading)
}

fn reading(gate: &ObservedGate) -> GateSample {
    GateSample {
        gate: gate.gate,
        of: gate.of.clone(),
        failed: gate.failed,
        executed: gate.executed,
        share_ppm: gate.share_ppm,
        lower_ppm: gate.lower_ppm,
        upper_ppm: gate.upper_ppm,
        threshold_ppm: gate.threshold_bp * 100,
        fails_from_ppm: None,
        verdict: gate.verdict.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::measure::BrokenDevices;

    fn gate(number: u32, of: &str, failed: u64, verdict: &str) -> ObservedGate {
        let share_ppm = failed * 1_000_000 / 40;
        ObservedGate {
            gate: number,
            of: of.to_owned(),
            threshold_bp: 100,
            verdict: verdict.to_owned(),
            failed,
            executed: 40,
            share_ppm,
            lower_ppm: share_ppm,
            upper_ppm: share_ppm,
        }
    }

    #[test]
    fn rollouts_of_other_clients_of_a_target_are_ignored() {
        let own: BTreeSet<RolloutId> = ["spring".parse().unwrap()].into();
        let is_own = |name: &str| is_own(&own, &name.parse().unwrap());
        assert!(is_own("spring") && is_own("spring-back"));
        assert!(!is_own("winter") && !is_own("winter-back") && !is_own("spring-2") && !is_own("back"));
    }

    fn policy() -> Policy {
        let gates = r#"[{"threshold_bp": 50, "min_executed": 120, "test": {"kind": "raw"}}]"#;
        serde_json::from_str(&format!(r#"{{"stages": [], "gates": {gates}}}"#)).unwrap()
    }

    /// Below 120 devices one failure is enough, from 200 on two are: 0.5 % of 200 devices is one.
    #[test]
    fn a_gate_fails_from_the_first_whole_device_above_its_threshold() {
        let from = |executed: u64| {
            let reading = ObservedGate { executed, ..gate(0, "all", 0, "INCONCLUSIVE") };
            fails_from_ppm(&reading, &policy())
        };
        assert_eq!([10, 120, 199, 200, 400].map(from), [100_000, 8_333, 5_025, 10_000, 7_500].map(Some));
    }

    /// What broke most devices is reported first, but a rollback only if the release that it takes back broke none.
    #[test]
    fn the_worst_rollout_is_not_the_rollback_of_one_that_broke_devices() {
        let rollout = |name: &str, version: &str| ObservedRollout {
            rollout_id: name.parse().unwrap(),
            version: version.to_owned(),
            status: "RUNNING".to_owned(),
            stage: 0,
            stages: 2,
            share_bp: 10_000,
            targets: 9,
            updates: BTreeMap::new(),
            versions: BTreeMap::new(),
            gates: Vec::new(),
            policy: policy(),
        };
        let rollouts = [("r", "2"), ("r-back", "1b"), ("s", "3")];
        let seen = ObservedRollouts {
            rollouts: rollouts.map(|(name, version)| (rollout(name, version), Vec::new())).into(),
            ..ObservedRollouts::default()
        };
        let worst = |broken: &[(&str, u64)]| {
            let mut total = Measurements::default();
            for (version, devices) in broken {
                total.broke(version, BrokenDevices { devices: *devices, first_at: Duration::ZERO });
            }
            seen.worst(&total, None).unwrap().0.rollout_id.as_str().to_owned()
        };
        assert_eq!(worst(&[("2", 2), ("1b", 3)]), "r");
        assert_eq!(worst(&[("2", 2), ("1b", 9), ("3", 4)]), "s");
        assert_eq!((worst(&[("1b", 3)]).as_str(), worst(&[]).as_str()), ("r-back", "r"));
    }

    #[test]
    fn a_decision_is_recorded_with_the_gate_that_it_names() {
        let gates = vec![gate(0, "KS-100", 9, "FAIL"), gate(1, "all", 2, "FAIL"), gate(2, "all", 0, "PASS")];
        let decision = ObservedDecision {
            at: UnixMs(0),
            actor: "rollout-engine".to_owned(),
            decision: "aborted".to_owned(),
            stage: 0,
            why: "gate 2 of all: 2 of 40 executed devices failed".to_owned(),
            silent: 0,
            gates: gates.clone(),
        };
        let by = decided_by(&decision).unwrap();
        assert_eq!((by.gate, by.of.as_str(), by.failed), (1, "all", 2));
        assert_eq!(decided_by(&ObservedDecision { gates: Vec::new(), ..decision }), None, "an operator decided it");
        let kept: Vec<u64> = worst_first(&gates, &policy()).iter().map(|gate| gate.failed).collect();
        assert_eq!(kept, [9, 2, 0]);
    }
}
