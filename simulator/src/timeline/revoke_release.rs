//! `do = "revoke_release"`: the operator revokes a release.

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::scenario::{problem::Problems, reader::Reader, release_id};

/// The operator revokes a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRelease {
    pub firmware: String,
}

pub(super) const KIND: Kind = kind! {
    "revoke_release", "a `revoke_release` step", order, read,
    "The operator revokes a release; its rollouts are aborted.",
    "firmware": "label", "required", "the version of a `[[firmware]]`", "the release's version";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let firmware = table.text("firmware", problems);
    Box::new(move |judge| {
        let firmware = judge.required(firmware, "firmware", "firmware = \"1.1.0\"");
        let firmware = judge.firmware(firmware)?;
        Some(Step::RevokeRelease(RevokeRelease { firmware }))
    })
}

impl StepBehavior for RevokeRelease {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let revoked = context.run_context.operator.revoke_release(&release_id(&self.firmware)).await;
        revoked.map_err(|error| error.to_string())
    }
}
