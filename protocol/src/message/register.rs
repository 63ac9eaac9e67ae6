//! POST /register: a device's first word, with proof that it holds its private key.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    key::PublicKey,
    number::whole,
    text::Text,
    time::UnixMs,
};

type_line!(RegisterType = "register");
type_line!(RegisteredType = "registered");

/// The request; SIG_DEV is made with the key that it names, which proves possession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// `register`.
    #[serde(rename = "type")]
    pub kind: RegisterType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
    /// The device's public key; must be the whitelisted one.
    pub public_key: PublicKey,
    /// Version of the firmware that runs.
    pub firmware_version: Text<64>,
    /// The one-time registration token as it was shown: 43 characters of base64url. Where the server demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otrt: Option<Text<64>>,
}
request!(Register, "/register", 4 * 1024, public_key);

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// `registered`.
    #[serde(rename = "type")]
    pub kind: RegisteredType,
    /// The device.
    pub device_id: DeviceId,
    /// When the device first registered; the same in every later answer.
    pub registered_at: UnixMs,
    /// Milliseconds until the first heartbeat is due.
    #[serde(deserialize_with = "whole")]
    pub next_beat_ms: u64,
    /// The keyset in force; see GET /keys.
    #[serde(deserialize_with = "whole")]
    pub keyset_version: u64,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
