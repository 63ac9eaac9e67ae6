//! `do = "start_rollout"`: the operator releases firmware, and rolls it out.

use ks_protocol::id::{InvalidId, RolloutId};
use serde_json::json;

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::{
    fleet::{self, ground_truth},
    operator::NewRelease,
    scenario::{
        check::value::named,
        problem::{Problem, Problems},
        reader::{At, Reader},
        release_id,
    },
};

/// The operator releases firmware, and rolls it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRollout {
    /// A version of the scenario's.
    pub firmware: String,
    /// A policy name of the scenario's.
    pub policy: String,
    pub rollout_id: RolloutId,
}

pub(super) const KIND: Kind = kind! {
    "start_rollout", "a `start_rollout` step", order, read,
    "The operator releases a `[[firmware]]` (and what its policy would roll back to), and rolls it out to the whole fleet: [section 16](#16-firmware-and-rollouts).",
    "firmware": "label", "required", "the version of a `[[firmware]]`", "the release's version";
    "policy": "name", "required", "the name of a `[[policy]]`", "the rollout's policy";
    "rollout": "text", "`\"rollout-VERSION\"`", "an identifier, never used twice", "the rollout's id";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let firmware = table.text("firmware", problems);
    let policy = table.text("policy", problems);
    let rollout = table.text("rollout", problems);
    Box::new(move |judge| {
        let firmware = judge.required(firmware, "firmware", "firmware = \"1.1.0\"");
        let firmware = judge.firmware(firmware);
        let policy = judge.required(policy, "policy", "policy = \"careful\"");
        let policy = policy
            .and_then(|policy| named(&policy, "the scenario has no [[policy]]", &judge.known.policies, judge.problems));
        let default = firmware.as_ref().map_or_else(|| "rollout".to_owned(), |version| format!("rollout-{version}"));
        let rollout = judge.or_default(rollout, default);
        let rollout_id = rollout_id(rollout, judge.problems);
        let (firmware, policy, rollout_id) = (firmware?, policy?, rollout_id?);
        judge.seen.rollouts.push(At { at: judge.place, value: rollout_id.clone() });
        Some(Step::StartRollout(StartRollout { firmware, policy, rollout_id }))
    })
}

fn rollout_id(rollout: Option<At<String>>, problems: &mut Problems) -> Option<RolloutId> {
    let rollout = rollout?;
    let parsed = rollout.value.parse();
    let refused = |error: InvalidId| problems.push(Problem::new(rollout.at, format!("`rollout`: {error}")));
    parsed.map_err(refused).ok()
}

impl StepBehavior for StartRollout {
    /// Creates the release and the policy's roll-back release unless they exist, then starts the rollout.
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        context.note("rollout_id", json!(self.rollout_id));
        let StepContext { plan, run_context, released, .. } = context;
        let policy = plan.policies.get(&self.policy).ok_or("the scenario has no such policy")?;
        let wanted = release_id(&self.firmware);
        let back = policy.roll_back_to.as_ref().map(ToString::to_string);
        let models = fleet::names(&plan.fleet.models);
        for release_id in [Some(wanted.clone()), back].into_iter().flatten() {
            let Some(firmware) = plan.firmware.iter().find(|firmware| firmware.release_id() == release_id) else {
                continue; // then the server says that there is none
            };
            if !released.insert(release_id.clone()) {
                continue;
            }
            let release = NewRelease {
                release_id: &release_id,
                version: &firmware.version,
                release_counter: firmware.release_counter,
                models: &models,
            };
            let image = ground_truth::image(plan.seed, firmware);
            run_context.operator.release(&release, image).await.map_err(|error| error.to_string())?;
        }
        run_context.operator.roll_out(&self.rollout_id, &wanted, policy).await.map_err(|error| error.to_string())
    }
}
