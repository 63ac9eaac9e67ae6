//! POST /register: a device's first request, with proof that it holds its private key.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    key::PublicKey,
    number::integer,
    text::Text,
    time::UnixMs,
};

type_line!(RegisterType = "register");
type_line!(RegisteredType = "registered");

/// The request. SIG_DEV is made with the key that it contains, which proves possession.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    #[serde(rename = "type")]
    pub kind: RegisterType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    /// Must be the whitelisted one.
    pub public_key: PublicKey,
    /// Version of the running firmware.
    pub firmware_version: Text<64>,
    /// The one-time registration token as it was shown: 43 characters of base64url. Required if the server is so configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otrt: Option<Text<64>>,
}
request!(Register, "/register", 4 * 1024, public_key);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    #[serde(rename = "type")]
    pub kind: RegisteredType,
    pub device_id: DeviceId,
    /// When the device first registered; the same in every later response.
    pub registered_at: UnixMs,
    /// Milliseconds until the first heartbeat is due.
    #[serde(deserialize_with = "integer")]
    pub next_beat_ms: u64,
    /// The keyset in force; see GET /keys.
    #[serde(deserialize_with = "integer")]
    pub keyset_version: u64,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
