//! `do = "revoke"`: the operator revokes devices that are not revoked yet.

use std::collections::BTreeSet;

use crate::number::{counted, grouped};

use ks_protocol::id::DeviceId;
use serde_json::json;

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::scenario::{
    problem::{Problem, Problems},
    reader::Reader,
};

/// The operator revokes devices that are not revoked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    /// Number of devices; all `revoke` steps together at most the fleet.
    pub devices: u32,
}

pub(super) const KIND: Kind = kind! {
    "revoke", "a `revoke` step", order, read,
    "The operator revokes devices, chosen by the seed among those that are not revoked yet.",
    "devices": "whole number", "required", "1 to the fleet; all `revoke` steps together at most the fleet", "how many";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let devices = table.integer("devices", problems);
    Box::new(move |judge| {
        let devices = judge.required(devices, "devices", "devices = 10");
        let devices = judge.devices(devices)?;
        judge.seen.revoked = judge.seen.revoked.saturating_add(devices.value);
        let revoked = judge.seen.revoked;
        if let Some(fleet) = judge.known.devices.filter(|fleet| revoked > *fleet) {
            let message = format!("the steps up to this one revoke {}", counted(revoked, "device"));
            let expected = format!("at most the fleet's {}", grouped(fleet));
            judge.problems.push(Problem::new(devices.at, message).expected(expected));
            return None;
        }
        Some(Step::Revoke(Revoke { devices: devices.value }))
    })
}

impl StepBehavior for Revoke {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let chosen = context.choose("revoke", self.devices);
        context.revoked.extend(chosen.iter().cloned());
        let new: BTreeSet<&DeviceId> = chosen.iter().collect();
        context.note("devices", json!(new));
        context.run_context.revocations.add(&chosen);
        let own = context.run_context.own(chosen);
        context.run_context.operator.revoke(&own).await.map_err(|error| error.to_string())
    }
}
