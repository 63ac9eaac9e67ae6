//! `do = "revoke_release"`: the operator takes a release back for good.

use super::{Act, Check, Kind, Scene, Step, kind};
use crate::scenario::{problem::Problems, reader::Reader, release_id};

/// The operator takes a release back for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRelease {
    /// Its version.
    pub firmware: String,
}

pub(super) const KIND: Kind = kind! {
    "revoke_release", "a `revoke_release` step", order, read,
    "The operator takes a release back for good; its rollouts are aborted.",
    "firmware": "label", "required", "a version of the scenario's", "which";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let firmware = table.text("firmware", problems);
    Box::new(move |judge| {
        let firmware = judge.required(firmware, "firmware", "firmware = \"1.1.0\"");
        let firmware = judge.firmware(firmware)?;
        Some(Step::RevokeRelease(RevokeRelease { firmware }))
    })
}

impl Act for RevokeRelease {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        let revoked = scene.stage.operator.revoke_release(&release_id(&self.firmware)).await;
        revoked.map_err(|error| error.to_string())
    }
}
