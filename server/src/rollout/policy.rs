//! A rollout's policy: stages, gates, pace and timeouts, and its validation.

use ks_protocol::id::ReleaseId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::gate::WHOLE_BP;
use super::{
    gate::{self, Test},
    outcome::Outcome,
};
use crate::pace::SUSPECT_INTERVALS;

/// The most stages of a rollout.
const STAGES_MAX: usize = 20;
/// The most gates of a rollout.
const GATES_MAX: usize = 20;
/// The longest time that a policy can set, in seconds: 90 days.
const SECONDS_MAX: u64 = 90 * 86_400;
/// How long a completed rollout is watched unless its policy says otherwise, in seconds: a day, so that every device has lived
/// through each hour of it.
const WATCH_S: u64 = 86_400;

/// How a release reaches its population.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The stages in order; shares only grow.
    pub stages: Vec<Stage>,
    /// What stops the rollout. At least one.
    pub gates: Vec<Gate>,
    /// The most updates in flight at a time.
    #[serde(default = "default_in_flight_max")]
    pub in_flight_max: u32,
    /// The same as a share of all targets, in basis points: a count once the rollout is planned, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_max_bp: Option<u16>,
    /// The most updates started within a minute.
    #[serde(default = "default_starts_per_min")]
    pub starts_per_min: u32,
    /// The same as a share of all targets, in basis points: a count once the rollout is planned, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_per_min_bp: Option<u16>,
    /// The most devices of one site that may be out of service at a time because of the rollout: in flight, or lost.
    #[serde(default)]
    pub site_unavailable_max: Option<u32>,
    /// The same as a share of the targets at each site, in basis points, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_unavailable_max_bp: Option<u16>,
    /// How long heartbeats must report the new firmware until the update counts as CONFIRMED, in seconds.
    #[serde(default = "default_confirm_window_s")]
    pub confirm_window_s: u64,
    /// How long a download or an installation may make no progress until it counts as TIMED_OUT, in seconds.
    #[serde(default = "default_progress_timeout_s")]
    pub progress_timeout_s: u64,
    /// How long a device may be silent, once it has begun to install, until it counts as LOST, in seconds.
    #[serde(default = "default_lost_after_s")]
    pub lost_after_s: u64,
    /// How long a stage may take until the rollout pauses and records why, in seconds. Waiting for an approval does not count.
    #[serde(default = "default_max_wait_s")]
    pub max_wait_s: u64,
    /// How long devices are watched once the rollout is COMPLETED, in seconds; 0: not at all. By default a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_s: Option<u64>,
    /// What `abort_and_roll_back` installs: a release with a higher counter that brings the old firmware.
    #[serde(default)]
    pub roll_back_to: Option<ReleaseId>,
}

fn default_in_flight_max() -> u32 {
    500
}
fn default_starts_per_min() -> u32 {
    200
}
fn default_confirm_window_s() -> u64 {
    15 * 60
}
fn default_progress_timeout_s() -> u64 {
    3_600
}
fn default_lost_after_s() -> u64 {
    3_600
}
fn default_max_wait_s() -> u64 {
    14 * 86_400
}

/// Whether a count is left out, as one that a share takes the place of.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_absent(count: &u32) -> bool {
    *count == 0
}

/// One stage of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Share of the population that the release is offered to by the end of the stage, in basis points.
    pub share_bp: u16,
    /// Devices of the stage that must have an outcome before it can be promoted. Either this or `min_executed_bp` is required.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub min_executed: u32,
    /// The same as a share of the devices that the stage adds, in basis points: a count once the rollout is planned, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_executed_bp: Option<u16>,
    /// How long the stage is watched after that, in seconds.
    pub bake_s: u64,
    /// Who promotes it.
    #[serde(default)]
    pub approval: Approval,
}

/// Who promotes a stage whose gates pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The engine.
    #[default]
    Auto,
    /// A person.
    Manual,
}

/// What the outcomes must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Which outcomes count as failures; by default every one but CONFIRMED.
    #[serde(default = "every_failure")]
    pub outcomes: Vec<Outcome>,
    /// The share of failures among executed devices above which the gate fails, in basis points.
    pub threshold_bp: u16,
    /// The least number of executed devices for a PASS. Either this or `min_executed_bp` is required.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub min_executed: u32,
    /// The same as a share, in basis points: a count once the rollout is planned, rounded up. It refers to the fewest devices that
    /// the gate has to pass with: those of the first stage; for scope `stage`, those of the smallest stage; for groups, those of
    /// the largest group in the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_executed_bp: Option<u16>,
    /// How the share is judged.
    pub test: Test,
    /// Over which devices.
    #[serde(default)]
    pub scope: Scope,
    /// What a FAIL does.
    #[serde(default)]
    pub action: Action,
}

/// A share of these devices, rounded up, and at least one.
pub(super) fn count_of(share_bp: u16, devices: u32) -> u32 {
    let count = (u64::from(devices) * u64::from(share_bp)).div_ceil(u64::from(WHOLE_BP));
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// A site's limit, given as a count or as a share of its targets; none if there is neither.
pub fn site_max((count, share_bp): (Option<u32>, Option<u16>), targets: u32) -> Option<u32> {
    count.or_else(|| share_bp.map(|share_bp| count_of(share_bp, targets)))
}

/// Every outcome but CONFIRMED.
pub fn every_failure() -> Vec<Outcome> {
    Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()).collect()
}

/// Over which devices a gate judges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those that the current stage added.
    Stage,
    /// All that have an outcome.
    #[default]
    Cumulative,
    /// Those of each model on its own.
    Model,
    /// Those of each site on its own.
    Site,
    /// Those of each model at each site on its own.
    Stratum,
}

/// What a failed gate does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing more is offered until a person resumes the rollout.
    Pause,
    /// The rollout ends.
    #[default]
    Abort,
    /// The rollout ends, and devices that took the release get `roll_back_to`.
    AbortAndRollBack,
}

/// Checks that either a count or a share of devices is given.
fn count_or_share(count: u32, share_bp: Option<u16>) -> Result<(), String> {
    match (count, share_bp) {
        (0, None) => {
            Err("expected at least 1, or min_executed_bp, a share; completion alone proves nothing".to_owned())
        }
        (1.., Some(_)) => Err("expected either this or min_executed_bp, got both".to_owned()),
        (_, Some(share_bp)) if !(1..=WHOLE_BP).contains(&share_bp) => {
            Err(format!("expected min_executed_bp from 1 to {WHOLE_BP} basis points, got {share_bp}"))
        }
        _ => Ok(()),
    }
}

impl Policy {
    /// A policy of these stages and gates, with the defaults of everything else.
    pub fn new(stages: Vec<Stage>, gates: Vec<Gate>) -> Self {
        Self {
            stages,
            gates,
            in_flight_max: default_in_flight_max(),
            in_flight_max_bp: None,
            starts_per_min: default_starts_per_min(),
            starts_per_min_bp: None,
            site_unavailable_max: None,
            site_unavailable_max_bp: None,
            confirm_window_s: default_confirm_window_s(),
            progress_timeout_s: default_progress_timeout_s(),
            lost_after_s: default_lost_after_s(),
            max_wait_s: default_max_wait_s(),
            watch_s: None,
            roll_back_to: None,
        }
    }

    /// Validates the policy on its own; gives one sentence for each problem.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, sentence: &dyn Fn() -> String| {
            if !holds {
                wrong.push(sentence());
            }
        };
        expect((1..=STAGES_MAX).contains(&self.stages.len()), &|| {
            format!("stages: expected 1 to {STAGES_MAX}, got {}", self.stages.len())
        });
        expect((1..=GATES_MAX).contains(&self.gates.len()), &|| {
            format!(
                "gates: expected 1 to {GATES_MAX}, got {}; without one nothing could stop a bad release",
                self.gates.len()
            )
        });
        let mut before = 0;
        for (number, stage) in self.stages.iter().enumerate() {
            let name = |field: &str| format!("stages[{number}].{field}");
            expect((1..=WHOLE_BP).contains(&stage.share_bp), &|| {
                format!("{}: expected 1 to {WHOLE_BP} basis points, got {}", name("share_bp"), stage.share_bp)
            });
            expect(stage.share_bp > before, &|| {
                format!(
                    "{}: expected more than {before}, the share of the stage before, got {}",
                    name("share_bp"),
                    stage.share_bp
                )
            });
            if let Err(why) = count_or_share(stage.min_executed, stage.min_executed_bp) {
                expect(false, &|| format!("{}: {why}", name("min_executed")));
            }
            expect(stage.bake_s <= SECONDS_MAX, &|| {
                format!("{}: expected at most {SECONDS_MAX}, got {}", name("bake_s"), stage.bake_s)
            });
            before = stage.share_bp;
        }
        for (number, gate) in self.gates.iter().enumerate() {
            let name = |field: &str| format!("gates[{number}].{field}");
            expect(!gate.outcomes.is_empty() && !gate.outcomes.contains(&Outcome::Confirmed), &|| {
                format!("{}: expected at least one, and not CONFIRMED", name("outcomes"))
            });
            expect(gate.threshold_bp < WHOLE_BP, &|| {
                format!(
                    "{}: expected 0 to {} basis points, got {}",
                    name("threshold_bp"),
                    WHOLE_BP - 1,
                    gate.threshold_bp
                )
            });
            if let Err(why) = count_or_share(gate.min_executed, gate.min_executed_bp) {
                expect(false, &|| format!("{}: {why}", name("min_executed")));
            }
            if let Err(why) = gate::check(gate.test, gate.threshold_bp) {
                expect(false, &|| format!("{}: {why}", name("test")));
            }
            let can_roll_back = gate.action != Action::AbortAndRollBack || self.roll_back_to.is_some();
            expect(can_roll_back, &|| {
                format!("{}: abort_and_roll_back needs `roll_back_to`, a release with a higher counter", name("action"))
            });
        }
        for (name, value) in [("in_flight_max", self.in_flight_max), ("starts_per_min", self.starts_per_min)] {
            expect((1..=1_000_000).contains(&value), &|| format!("{name}: expected 1 to 1000000, got {value}"));
        }
        let in_flight = (self.in_flight_max != default_in_flight_max(), self.in_flight_max_bp);
        let starts = (self.starts_per_min != default_starts_per_min(), self.starts_per_min_bp);
        let at_site = (self.site_unavailable_max.is_some(), self.site_unavailable_max_bp);
        for (name, (is_counted, share_bp)) in
            [("in_flight_max", in_flight), ("starts_per_min", starts), ("site_unavailable_max", at_site)]
        {
            expect(share_bp.is_none_or(|share_bp| (1..=WHOLE_BP).contains(&share_bp)), &|| {
                format!("{name}_bp: expected 1 to {WHOLE_BP} basis points, got {}", share_bp.unwrap_or(0))
            });
            expect(!is_counted || share_bp.is_none(), &|| {
                format!("{name}: expected either this or {name}_bp, got both")
            });
        }
        expect(self.site_unavailable_max != Some(0), &|| {
            "site_unavailable_max: expected at least 1, or nothing; with 0 no site could ever update".to_owned()
        });
        for (name, value, least) in [
            ("confirm_window_s", self.confirm_window_s, 1),
            ("progress_timeout_s", self.progress_timeout_s, 60),
            ("lost_after_s", self.lost_after_s, 60),
            ("max_wait_s", self.max_wait_s, 60),
        ] {
            expect((least..=SECONDS_MAX).contains(&value), &|| {
                format!("{name}: expected {least} to {SECONDS_MAX}, got {value}")
            });
        }
        expect(self.watch_s() <= SECONDS_MAX, &|| {
            format!("watch_s: expected 0 to {SECONDS_MAX}, got {}", self.watch_s())
        });
        wrong
    }

    /// The policy with a pace in counts for so many targets.
    #[must_use]
    pub fn paced(mut self, targets: u32) -> Self {
        if let Some(share_bp) = self.in_flight_max_bp.take() {
            self.in_flight_max = count_of(share_bp, targets);
        }
        if let Some(share_bp) = self.starts_per_min_bp.take() {
            self.starts_per_min = count_of(share_bp, targets);
        }
        self
    }

    /// The most devices that may be out of service at a time at a site with so many targets; none if there is no limit.
    pub fn site_max(&self, targets: u32) -> Option<u32> {
        site_max((self.site_unavailable_max, self.site_unavailable_max_bp), targets)
    }

    /// How long devices are watched once the rollout is COMPLETED, in seconds.
    pub fn watch_s(&self) -> u64 {
        self.watch_s.unwrap_or(WATCH_S)
    }

    /// Validates the policy for this fleet; gives one sentence for each problem. `devices` are those that each stage adds.
    pub fn validate_for_fleet(&self, devices: &[u32], heartbeat_interval_s: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, (stage, devices)) in self.stages.iter().zip(devices).enumerate() {
            if stage.min_executed > *devices {
                let least = stage.min_executed;
                wrong.push(format!(
                    "stages[{number}].min_executed: expected at most {devices}, the devices that the stage adds, or it could never be promoted; got {least}"
                ));
            }
        }
        let least = u64::from(SUSPECT_INTERVALS) * heartbeat_interval_s;
        if self.lost_after_s < least {
            wrong.push(format!(
                "lost_after_s: expected at least {least}, three heartbeat intervals, or a device that is only late would count as lost, got {}",
                self.lost_after_s
            ));
        }
        wrong
    }

    /// The stage of a device that enters at this share; none if no stage reaches it.
    pub fn stage_of(&self, enters_bp: u16) -> Option<usize> {
        self.stages.iter().position(|stage| enters_bp <= stage.share_bp)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The playbook's policy: 5 % for a day, then all.
    pub(crate) fn playbook() -> Policy {
        let stage = |share_bp, min_executed, bake_s| Stage {
            share_bp,
            min_executed,
            min_executed_bp: None,
            bake_s,
            approval: Approval::Auto,
        };
        Policy {
            stages: vec![stage(500, 50, 86_400), stage(WHOLE_BP, 100, 3_600)],
            gates: vec![Gate {
                outcomes: every_failure(),
                threshold_bp: 50,
                min_executed: 50,
                min_executed_bp: None,
                test: Test::Raw,
                scope: Scope::Cumulative,
                action: Action::Abort,
            }],
            in_flight_max: 500,
            in_flight_max_bp: None,
            starts_per_min: 200,
            starts_per_min_bp: None,
            site_unavailable_max: None,
            site_unavailable_max_bp: None,
            confirm_window_s: 900,
            progress_timeout_s: 3_600,
            lost_after_s: 3_600,
            max_wait_s: 14 * 86_400,
            watch_s: Some(0),
            roll_back_to: None,
        }
    }

    #[test]
    fn the_playbook_is_valid_and_reads_back() {
        assert_eq!(playbook().validate(), Vec::<String>::new());
        let json = serde_json::to_string(&playbook()).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), playbook());
    }

    #[test]
    fn what_a_file_leaves_out_is_what_a_new_policy_has() {
        let Policy { stages, gates, .. } = playbook();
        let json = serde_json::json!({ "stages": stages, "gates": gates });
        assert_eq!(serde_json::from_value::<Policy>(json).unwrap(), Policy::new(stages, gates));
    }

    #[test]
    fn an_invalid_policy_is_refused_with_the_reason() {
        let wrong = |change: &dyn Fn(&mut Policy)| {
            let mut policy = playbook();
            change(&mut policy);
            policy.validate().join("; ")
        };
        for (problem, change) in [
            ("nothing could stop", (&|p: &mut Policy| p.gates.clear()) as &dyn Fn(&mut Policy)),
            ("stages: expected 1", &|p| p.stages.clear()),
            ("the share of the stage before", &|p| p.stages[1].share_bp = 500),
            ("completion alone proves nothing", &|p| p.stages[0].min_executed = 0),
            ("stages[1].min_executed: expected either this or min_executed_bp, got both", &|p| {
                p.stages[1].min_executed_bp = Some(9_000);
            }),
            ("gates[0].min_executed: expected min_executed_bp from 1 to 10000 basis points, got 10001", &|p| {
                (p.gates[0].min_executed, p.gates[0].min_executed_bp) = (0, Some(10_001));
            }),
            ("roll_back_to", &|p| p.gates[0].action = Action::AbortAndRollBack),
            ("not CONFIRMED", &|p| p.gates[0].outcomes = vec![Outcome::Confirmed]),
            ("no site could ever update", &|p| p.site_unavailable_max = Some(0)),
            ("in_flight_max", &|p| p.in_flight_max = 0),
            ("in_flight_max_bp: expected 1 to 10000 basis points, got 0", &|p| p.in_flight_max_bp = Some(0)),
            ("starts_per_min: expected either this or starts_per_min_bp, got both", &|p| {
                (p.starts_per_min, p.starts_per_min_bp) = (7, Some(100));
            }),
            ("site_unavailable_max: expected either this or site_unavailable_max_bp, got both", &|p| {
                (p.site_unavailable_max, p.site_unavailable_max_bp) = (Some(3), Some(100));
            }),
            ("watch_s: expected 0 to 7776000, got 7776001", &|p| p.watch_s = Some(7_776_001)),
            ("gates[0].test", &|p| {
                p.gates[0].test = Test::Sprt { p0_bp: 100, p1_bp: 50, alpha_bp: 500, beta_bp: 500 };
            }),
        ] {
            assert!(wrong(change).contains(problem), "{problem}: {}", wrong(change));
        }
    }

    #[test]
    fn a_stage_that_could_never_be_promoted_is_refused() {
        assert_eq!(playbook().validate_for_fleet(&[50, 950], 60), Vec::<String>::new());
        assert!(playbook().validate_for_fleet(&[49, 950], 60)[0].contains("at most 49"));
        assert!(playbook().validate_for_fleet(&[50, 950], 1_300)[0].contains("lost_after_s"));
    }
}
