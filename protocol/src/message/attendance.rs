//! POST /attendance: a batch of punches, each stored exactly once however often it is sent.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    number::whole,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(AttendanceType = "attendance");
type_line!(PunchesStoredType = "punches_stored");

/// Punches of one batch at most.
pub const PUNCHES_MAX: usize = 256;

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    /// `attendance`.
    #[serde(rename = "type")]
    pub kind: AttendanceType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
    /// The punches.
    pub punches: Rows<Punch, PUNCHES_MAX>,
}
request!(Attendance, "/attendance", 60 * 1024);

/// One punch: somebody came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punch {
    /// Number of the punch on this device; never used for another one. With the device it names the punch for ever.
    pub punch_no: Seq,
    /// When it was made, by the device's clock, which is set from `server_time`.
    pub at: UnixMs,
    /// What was held to the reader, or who it stands for.
    pub badge: Text<64>,
    /// Which way.
    pub direction: Direction,
    /// How the person was known.
    pub method: PunchMethod,
}

/// Which way somebody went.
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
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Unknown => "unknown",
        }
    }
}

/// How a person was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PunchMethod {
    /// By a card.
    Card,
    /// By a number that was keyed in.
    Pin,
    /// By a finger.
    Fingerprint,
    /// By the face.
    Face,
    /// Otherwise.
    Other,
}

impl PunchMethod {
    /// The word on the wire.
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

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PunchesStored {
    /// `punches_stored`.
    #[serde(rename = "type")]
    pub kind: PunchesStoredType,
    /// Punches that are stored because of this request.
    #[serde(deserialize_with = "whole")]
    pub stored: u64,
    /// Punches that were stored before, the same in every column.
    #[serde(deserialize_with = "whole")]
    pub known: u64,
    /// Numbers under which another punch is stored already: these were not, and never will be. The device must give them
    /// a new number.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub conflicts: Rows<Seq, PUNCHES_MAX>,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
