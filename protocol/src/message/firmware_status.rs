//! POST /firmware/status: each step of an update, with the class of what went wrong.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, ReleaseId, Seq},
    number::whole,
    text::Text,
    time::UnixMs,
};

type_line!(FirmwareStatusType = "firmware_status");
type_line!(StatusRecordedType = "firmware_status_recorded");

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareStatus {
    /// `firmware_status`.
    #[serde(rename = "type")]
    pub kind: FirmwareStatusType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
    /// The release that the update is to; as the offer's manifest names it.
    pub release_id: ReleaseId,
    /// How far the update is.
    pub step: UpdateStep,
    /// Bytes of the artifact that are on the device.
    #[serde(deserialize_with = "whole")]
    pub received_bytes: u64,
    /// What went wrong, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<UpdateClass>,
    /// Anything that helps a human.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub detail: Text<256>,
}
request!(FirmwareStatus, "/firmware/status", 4 * 1024);

fn is_empty(text: &Text<256>) -> bool {
    text.as_str().is_empty()
}

/// How far an update is, as the device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateStep {
    /// The manifest holds; the artifact is being fetched.
    Downloading,
    /// The artifact is whole and goes into the other slot.
    Installing,
    /// The device boots into the other slot next.
    Rebooting,
    /// The device runs the new firmware. Believed only when its heartbeats say the same.
    Succeeded,
    /// It went wrong; `class` says how.
    Failed,
    /// The manifest or the artifact was refused; `class` says why.
    Rejected,
    /// The device runs the old firmware again.
    RolledBack,
    /// The update was stopped before anything was installed, as it was told to.
    Halted,
}

/// What went wrong with an update. The first ten name what an attacker would have to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpdateClass {
    /// FW_SIG is not by a key that may sign firmware.
    BadSignature,
    /// The manifest has expired: somebody holds newer ones back.
    Freeze,
    /// The manifest is not valid yet.
    NotYetValid,
    /// It is for another product or model.
    WrongModel,
    /// Its counter is lower than the one installed.
    Rollback,
    /// An earlier release must be installed first.
    NotReady,
    /// More bytes than the manifest says.
    EndlessData,
    /// The bytes drip too slowly.
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
    /// The word on the wire.
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

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareStatusRecorded {
    /// `firmware_status_recorded`.
    #[serde(rename = "type")]
    pub kind: StatusRecordedType,
    /// Whether to go on. If not, nothing of this release is to be installed: stop, and say HALTED.
    pub go_on: bool,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
