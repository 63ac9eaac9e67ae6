//! POST /attendance: a batch of punches, each stored exactly once, however often it is sent.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    number::integer,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(AttendanceType = "attendance");
type_line!(PunchesStoredType = "punches_stored");

/// Limit of punches in one batch.
pub const PUNCHES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    #[serde(rename = "type")]
    pub kind: AttendanceType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    pub punches: Rows<Punch, PUNCHES_MAX>,
}
request!(Attendance, "/attendance", 60 * 1024);

/// One punch: a person came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punch {
    /// Number of the punch on this device, never reused: device and number identify the punch permanently.
    pub punch_no: Seq,
    /// When the person punched, by the device's clock, which is set from `server_time`.
    pub at: UnixMs,
    /// The badge that was read, or the person's id.
    pub badge: Text<64>,
    /// In or out.
    pub direction: Direction,
    /// How the person was identified.
    pub method: PunchMethod,
}

/// In or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Came.
    In,
    /// Went.
    Out,
    /// The device does not know.
    Unknown,
}

impl Direction {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Unknown => "unknown",
        }
    }
}

/// How a person was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PunchMethod {
    Card,
    /// By a number that was keyed in.
    Pin,
    Fingerprint,
    Face,
    Other,
}

impl PunchMethod {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Pin => "pin",
            Self::Fingerprint => "fingerprint",
            Self::Face => "face",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PunchesStored {
    #[serde(rename = "type")]
    pub kind: PunchesStoredType,
    /// Punches newly stored by this request.
    #[serde(deserialize_with = "integer")]
    pub stored: u64,
    /// Punches that were already stored with identical fields.
    #[serde(deserialize_with = "integer")]
    pub known: u64,
    /// Numbers under which a different punch is already stored: these punches were not stored. The device must give them new
    /// numbers.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub conflicts: Rows<Seq, PUNCHES_MAX>,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
