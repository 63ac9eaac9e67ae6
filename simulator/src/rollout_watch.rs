//! Watches rollouts while a run goes on, as an operator would, and writes down what is seen, beside what is really so.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::{DECISIONS, GateSample, ROLLOUTS, RolloutDecision, RolloutSample, RolloutSummary};

use crate::{
    measure::Measurements,
    operator::{Operator, OperatorError, SeenDecision, SeenGate, SeenRollout},
    scenario::Plan,
};

/// Samples that a run is cut into at most.
const SAMPLES_MAX: u32 = 300;

/// What is known of the rollouts of a run.
pub struct RolloutWatch {
    file: Option<BufWriter<File>>,
    every: Duration,
    next_at: Duration,
    devices: u64,
    first_broken_at: Option<Duration>,
    /// When it looked last, every rollout was over, and no device was under way any more.
    pub is_settled: bool,
    /// What was seen at the end.
    pub seen: Seen,
}

/// The rollouts of a run, as they were at its end.
#[derive(Debug, Default)]
pub struct Seen {
    /// Each rollout with its decisions, in the order they were made.
    pub rollouts: Vec<(SeenRollout, Vec<SeenDecision>)>,
    /// Since the start of the run until the first device was really broken.
    pub first_broken_at: Option<Duration>,
    /// Since the start of the run until the engine first acted against a release.
    pub detected_at: Option<Duration>,
}

impl Seen {
    /// Decisions of that kind in all rollouts.
    pub fn decisions(&self, what: &str) -> u64 {
        let all = self.rollouts.iter().flat_map(|(_, decisions)| decisions);
        u64::try_from(all.filter(|decision| decision.decision == what).count()).unwrap_or(u64::MAX)
    }
}

impl RolloutWatch {
    /// Ready to watch the plan's rollouts; a plan without any is not watched.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub fn new(plan: &Plan, folder: &Path) -> io::Result<Self> {
        let file = if plan.has_rollouts() { Some(BufWriter::new(File::create(folder.join(ROLLOUTS))?)) } else { None };
        Ok(Self {
            file,
            every: plan.duration / SAMPLES_MAX,
            next_at: Duration::ZERO,
            devices: plan.fleet.devices.into(),
            first_broken_at: None,
            is_settled: false,
            seen: Seen::default(),
        })
    }

    /// Looks, if it is time to; `total` is what was measured so far. An answer that does not come is no sample.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub async fn look(&mut self, operator: &Operator, at: Duration, total: &Measurements) -> io::Result<()> {
        if total.broken > 0 {
            self.first_broken_at.get_or_insert(at);
        }
        let Some(file) = self.file.as_mut().filter(|_| at >= self.next_at) else { return Ok(()) };
        self.next_at = at + self.every;
        let mut samples = Vec::new();
        let mut unsettled = 0;
        let each = |rollout: &SeenRollout| {
            samples.push(sample(rollout, at, total.broken));
            unsettled += u64::from(!is_settled(rollout));
        };
        // The server may be down just now.
        let heard = operator.rollouts(each).await;
        self.is_settled = heard.is_ok() && unsettled == 0 && !samples.is_empty();
        for sample in samples {
            serde_json::to_writer(&mut *file, &sample)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Looks a last time, and fetches every decision.
    ///
    /// # Errors
    /// The server does not say.
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
        let _ = self.look(operator, at, total).await; // what can't be written shows when the folder is
        let mut rollouts = Vec::new();
        operator.rollouts(|rollout| rollouts.push(rollout.clone())).await?;
        for rollout in rollouts {
            let mut decisions = Vec::new();
            operator.trace(&rollout.rollout_id, |decision| decisions.push(decision.clone())).await?;
            self.seen.rollouts.push((rollout, decisions));
        }
        let acted = self.seen.rollouts.iter().flat_map(|(_, decisions)| decisions);
        let acted = acted.filter(|decision| is_against_the_release(decision)).map(|decision| decision.at).min();
        self.seen.detected_at = acted.map(|at| Duration::from_millis(at.since_ms(epoch)));
        self.seen.first_broken_at = self.first_broken_at;
        Ok(())
    }

    /// Writes the decisions, and gives the summary of the rollout that went worst, or else of the first.
    ///
    /// # Errors
    /// The run folder can't be written.
    pub fn write(&mut self, folder: &Path, epoch: UnixMs, total: &Measurements) -> io::Result<Option<RolloutSummary>> {
        let Some(mut samples) = self.file.take() else { return Ok(None) };
        samples.flush()?;
        let mut file = BufWriter::new(File::create(folder.join(DECISIONS))?);
        for (rollout, decisions) in &self.seen.rollouts {
            for decision in decisions {
                let line = RolloutDecision {
                    at_s: Duration::from_millis(decision.at.since_ms(epoch)).as_secs_f64(),
                    rollout_id: rollout.rollout_id.to_string(),
                    decision: decision.decision.clone(),
                    stage: decision.stage,
                    why: decision.why.clone(),
                };
                serde_json::to_writer(&mut file, &line)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush()?;
        let stopped = self.seen.rollouts.iter().find(|(rollout, _)| rollout.status == "ABORTED");
        let told = stopped.or(self.seen.rollouts.first());
        Ok(told.map(|(rollout, decisions)| RolloutSummary {
            rollout_id: rollout.rollout_id.to_string(),
            release: rollout.version.clone(),
            state: rollout.status.clone(),
            targets: rollout.targets,
            updated_devices: total.updated.get(&rollout.version).copied().unwrap_or(0),
            broken_devices: total.broken,
            broken_share_of_fleet_bp: total.broken * 10_000 / self.devices.max(1),
            detected_at_s: self.seen.detected_at.map(|at| at.as_secs_f64()),
            first_broken_at_s: self.seen.first_broken_at.map(|at| at.as_secs_f64()),
            completed_at_s: decisions
                .iter()
                .find(|decision| decision.decision == "completed")
                .map(|completed| Duration::from_millis(completed.at.since_ms(epoch)).as_secs_f64()),
        }))
    }
}

fn is_settled(rollout: &SeenRollout) -> bool {
    let under_way = ["OFFERED", "DOWNLOADING", "INSTALLING", "CONFIRMING"];
    let is_over = matches!(rollout.status.as_str(), "ABORTED" | "COMPLETED");
    is_over && under_way.iter().all(|state| rollout.updates.get(*state).is_none_or(|count| *count == 0))
}

/// Whether the engine itself stopped a release.
fn is_against_the_release(decision: &SeenDecision) -> bool {
    decision.actor == "rollout-engine" && matches!(decision.decision.as_str(), "aborted" | "paused")
}

fn sample(rollout: &SeenRollout, at: Duration, broken: u64) -> RolloutSample {
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
        gate: worst(&rollout.gates),
    }
}

/// The gate that is nearest to stopping the release: the greatest share of failures against its threshold.
fn worst(gates: &[SeenGate]) -> Option<GateSample> {
    let judged = gates.iter().filter(|gate| gate.executed > 0);
    let worst = judged.max_by_key(|gate| gate.share_ppm.saturating_mul(1_000) / gate.threshold_bp.max(1))?;
    Some(GateSample {
        share_ppm: worst.share_ppm,
        lower_ppm: worst.lower_ppm,
        upper_ppm: worst.upper_ppm,
        threshold_ppm: worst.threshold_bp * 100,
        verdict: worst.verdict.clone(),
    })
}
