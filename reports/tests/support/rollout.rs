//! Runs that roll firmware out: 3,000 devices, five stages, looked at every five minutes of virtual time.

use ks_reports::run_folder::{ActionTime, GateSample, Mode, RolloutDecision, RolloutSample, RolloutSummary, Verdict};

use super::{Folder, Random, codes, phases};

const TARGETS: u64 = 3_000;
const LOOK_S: f64 = 300.0;

/// One rollout as it is made up.
struct Play {
    id: &'static str,
    from: &'static str,
    to: &'static str,
    /// Hour at which each stage begins, and its share in basis points.
    stages: Vec<(f64, u32)>,
    /// Share of updated devices that break.
    broken_share: f64,
    /// Hour at which it is aborted.
    aborted_h: Option<f64>,
    end_h: f64,
}

impl Play {
    /// The sample at an hour of the run.
    fn sample(&self, hour: f64) -> RolloutSample {
        let judged_h = self.aborted_h.map_or(hour, |aborted| hour.min(aborted));
        let begun = self.stages.iter().filter(|(from, _)| *from <= judged_h).count().max(1);
        let reached = |delay_h: f64| -> f64 {
            let mut done = 0.0;
            for (nth, (from, share_bp)) in self.stages.iter().enumerate() {
                let before = if nth == 0 { 0 } else { self.stages[nth - 1].1 };
                let devices = TARGETS as f64 * f64::from(share_bp - before) / 10_000.0;
                done += devices * ((judged_h - from - delay_h) / 2.0).clamp(0.0, 1.0);
            }
            done
        };
        let [offered, downloading, installing, confirming, done] =
            [0.0, 0.1, 0.4, 0.5, 1.0].map(|at| reached(at) as u64);
        let broken = (done as f64 * self.broken_share) as u64;
        let (lost, failed) = (broken - broken / 3, done / 250);
        let confirmed = done - lost - failed - broken / 3;
        let stage = begun - 1;
        let is_last = begun == self.stages.len();
        let state = match self.aborted_h {
            Some(aborted) if hour >= aborted => "ABORTED",
            _ if is_last && done >= TARGETS => "COMPLETED",
            _ => "RUNNING",
        };
        RolloutSample {
            at_s: (hour * 3_600.0).round(),
            rollout_id: self.id.into(),
            state: state.into(),
            stage: stage as u32,
            stages: self.stages.len() as u32,
            share_bp: self.stages[stage].1,
            targets: TARGETS,
            counts: codes(&[
                ("pending", TARGETS - offered),
                ("offered", offered - downloading),
                ("downloading", downloading - installing),
                ("installing", installing - confirming),
                ("confirming", confirming - done),
                ("confirmed", confirmed),
                ("failed", failed),
                ("lost", lost),
                ("false_success", broken / 3),
            ]),
            versions: codes(&[(self.from, TARGETS - confirming), (self.to, confirming)]),
            broken,
            gates: (done > 0).then(|| gate(lost + failed + broken / 3, done)).into_iter().collect(),
        }
    }
}

/// A gate's look: Wilson's band, which is near enough for a picture.
fn gate(failed: u64, executed: u64) -> GateSample {
    let (n, z) = (executed as f64, 1.645);
    let share = failed as f64 / n;
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let [share_ppm, lower_ppm, upper_ppm] =
        [share, (middle - half).max(0.0), middle + half].map(|share| (share * 1e6) as u64);
    let verdict = if lower_ppm > 10_000 { "FAIL" } else { "INCONCLUSIVE" };
    let verdict = if upper_ppm <= 10_000 { "PASS" } else { verdict };
    let (of, verdict) = ("all".into(), verdict.into());
    GateSample {
        gate: 0,
        of,
        failed,
        executed,
        share_ppm,
        lower_ppm,
        upper_ppm,
        threshold_ppm: 10_000,
        fails_from_ppm: None,
        verdict,
    }
}

/// A decision at an hour of the run.
fn decided(hour: f64, id: &str, decision: &str, stage: u32, why: &str) -> RolloutDecision {
    let (rollout_id, decision, why) = (id.into(), decision.into(), why.into());
    RolloutDecision { at_s: (hour * 3_600.0).round(), rollout_id, decision, stage, why, gate: None }
}

/// A rehearsal of so many hours with beats, and no rollout yet.
fn rehearsal_of(hours: u32, scenario: &str, goal: &str) -> Folder {
    let mut folder = Folder::empty(scenario, goal, Mode::Rehearse, hours * 60, 60.0);
    let mut random = Random(4);
    for nth in 0..folder.ticks.len() {
        folder.beat(nth, 200, 200, &[], 45_000.0, &mut random);
    }
    folder.sum_up();
    folder.summary.devices = TARGETS;
    folder
}

/// Adds the samples of a rollout.
fn play(folder: &mut Folder, from_h: f64, play: &Play) {
    let looks = ((play.end_h - from_h) * 3_600.0 / LOOK_S) as u32;
    folder.rollouts.extend((0..=looks).map(|nth| play.sample(from_h + f64::from(nth) * LOOK_S / 3_600.0)));
}

/// What the gate did, and when.
fn action(at_s: f64, decision: &str) -> ActionTime {
    ActionTime { at_s, decision: decision.into(), by: "gate 1 of all".into() }
}

/// Firmware that breaks one device in twenty, caught in the first stage but one.
pub(crate) fn bad_rollout() -> Folder {
    let mut folder = rehearsal_of(24, "canary-catches-brick", "The gate stops firmware that bricks devices.");
    let stages = vec![(1.0, 100), (6.0, 500), (14.0, 2_500), (18.0, 10_000)];
    let bad =
        Play { id: "rol-1", from: "1.0.0", to: "1.1.0", stages, broken_share: 0.06, aborted_h: Some(8.5), end_h: 24.0 };
    play(&mut folder, 1.0, &bad);
    folder.decisions = vec![
        decided(1.0, "rol-1", "created", 0, "by an operator: 4 stages, threshold 1 %"),
        decided(6.0, "rol-1", "promoted", 1, "30 executed, gate PASS, baked for 2 h"),
        decided(8.2, "rol-1", "paused", 1, "9 of 130 executed failed: lower limit 3.8 % > 1 %"),
        decided(8.5, "rol-1", "aborted", 1, "9 of 142 executed failed: lower limit 3.9 % > 1 %"),
    ];
    folder.decisions[3].gate = Some(gate(9, 142));
    let last = bad.sample(24.0);
    let summary = &mut folder.summary;
    summary.phases = phases(&[("ramp", 3_600.0), ("steady", 86_400.0)]);
    summary.rollout = Some(RolloutSummary {
        is_one_of_several: false,
        rollout_id: "rol-1".into(),
        release: "1.1.0".into(),
        state: last.state,
        targets: TARGETS,
        installed_devices: 150,
        broken_devices: last.broken,
        started_at_s: Some(3_600.0),
        detected_at_s: Some(29_520.0),
        first_action: Some(action(29_520.0, "paused")),
        last_action: Some(action(30_600.0, "aborted")),
        first_broken_at_s: Some(9_000.0),
        completed_at_s: None,
    });
    (summary.verdict, summary.exit_code) = (Verdict::Fail, 99);
    summary.reasons = vec!["rollout.broken_devices was 7, expected <= 5".into()];
    folder
}

/// Firmware that breaks nothing and reaches every device.
pub(crate) fn good_rollout() -> Folder {
    let mut folder = rehearsal_of(48, "canary-lets-good-pass", "Good firmware reaches all devices.");
    let stages = vec![(1.0, 100), (8.0, 500), (18.0, 2_500), (30.0, 10_000)];
    let good =
        Play { id: "rol-7", from: "1.0.0", to: "1.1.0", stages, broken_share: 0.0, aborted_h: None, end_h: 40.0 };
    play(&mut folder, 1.0, &good);
    folder.decisions = [
        (1.0, "created", 0),
        (8.0, "promoted", 1),
        (17.0, "waiting", 1),
        (17.2, "waiting", 1),
        (17.9, "approved", 1),
        (18.0, "promoted", 2),
        (30.0, "promoted", 3),
        (34.0, "completed", 3),
    ]
    .map(|(hour, decision, stage)| decided(hour, "rol-7", decision, stage, "every gate PASS"))
    .into();
    folder.summary.rollout = Some(RolloutSummary {
        is_one_of_several: false,
        rollout_id: "rol-7".into(),
        release: "1.1.0".into(),
        state: "COMPLETED".into(),
        targets: TARGETS,
        installed_devices: TARGETS,
        broken_devices: 0,
        started_at_s: Some(3_600.0),
        detected_at_s: None,
        first_action: None,
        last_action: None,
        first_broken_at_s: None,
        completed_at_s: None,
    });
    folder
}

/// The bad firmware, then a second rollout that mends it.
pub(crate) fn hotfix() -> Folder {
    let mut folder = bad_rollout();
    let stages = vec![(10.0, 500), (13.0, 10_000)];
    let fix = Play { id: "rol-2", from: "1.0.0", to: "1.1.1", stages, broken_share: 0.0, aborted_h: None, end_h: 24.0 };
    play(&mut folder, 10.0, &fix);
    for (hour, decision, stage) in [(10.0, "created", 0), (13.0, "promoted", 1), (16.0, "completed", 1)] {
        folder.decisions.push(decided(hour, "rol-2", decision, stage, "a hotfix"));
    }
    folder
}
