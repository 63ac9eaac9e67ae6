//! POST /firmware/status: each step of an update, and the class of a failure.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, ReleaseId, Seq},
    number::integer,
    text::Text,
    time::UnixMs,
};

type_line!(FirmwareStatusType = "firmware_status");
type_line!(StatusRecordedType = "firmware_status_recorded");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareStatus {
    #[serde(rename = "type")]
    pub kind: FirmwareStatusType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    /// The release being installed, from the offer's manifest.
    pub release_id: ReleaseId,
    /// Progress of the update.
    pub step: UpdateStep,
    /// Bytes of the artifact that are on the device.
    #[serde(deserialize_with = "integer")]
    pub received_bytes: u64,
    /// The class of the failure, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<UpdateClass>,
    /// Free text for diagnosis.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub detail: Text<256>,
}
request!(FirmwareStatus, "/firmware/status", 4 * 1024);

fn is_empty(text: &Text<256>) -> bool {
    text.as_str().is_empty()
}

/// Progress of an update, as reported by the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateStep {
    /// The manifest was accepted; the artifact is being downloaded.
    Downloading,
    /// The artifact is complete and is being written to the other slot.
    Installing,
    /// The device boots into the other slot next.
    Rebooting,
    /// The device runs the new firmware. Counts only once its heartbeats confirm it.
    Succeeded,
    /// It failed; `class` says why.
    Failed,
    /// The manifest or the artifact was refused; `class` says why.
    Rejected,
    /// The device runs the old firmware again.
    RolledBack,
    /// The update was stopped on the server's request before anything was installed.
    Halted,
}

/// Why an update failed. The first ten are what an attack would have to cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpdateClass {
    /// FW_SIG is not by a key that may sign firmware.
    BadSignature,
    /// The manifest has expired: newer ones may be withheld.
    Freeze,
    /// The manifest is not valid yet.
    NotYetValid,
    /// For another product or model.
    WrongModel,
    /// Its counter is lower than the installed one.
    Rollback,
    /// An earlier release must be installed first.
    NotReady,
    /// More bytes than the manifest says.
    EndlessData,
    /// The bytes arrive too slowly.
    SlowRetrieval,
    /// The bytes are not those that were signed.
    HashMismatch,
    /// It could not be written into the slot.
    InstallFailed,
    /// The new slot did not boot; the old one runs again.
    BootFailed,
    /// A class that this program does not know yet.
    #[serde(other)]
    Unrecognised,
}

impl UpdateClass {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Freeze => "freeze",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongModel => "wrong_model",
            Self::Rollback => "rollback",
            Self::NotReady => "not_ready",
            Self::EndlessData => "endless_data",
            Self::SlowRetrieval => "slow_retrieval",
            Self::HashMismatch => "hash_mismatch",
            Self::InstallFailed => "install_failed",
            Self::BootFailed => "boot_failed",
            Self::Unrecognised => "unrecognised",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareStatusRecorded {
    #[serde(rename = "type")]
    pub kind: StatusRecordedType,
    /// Whether to continue. If not, the device must not install this release: stop and report HALTED.
    pub go_on: bool,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
