//! POST /heartbeat: presence and telemetry up; next delay and commands down.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Ack, request, type_line};
use crate::{
    id::{CommandId, DeviceId, Seq},
    manifest::MANIFEST_BYTES_MAX,
    number::{integer, optional_integer},
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(HeartbeatType = "heartbeat");
type_line!(NextBeatType = "next_beat");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    #[serde(rename = "type")]
    pub kind: HeartbeatType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    /// Version of the keyset that the device holds.
    #[serde(deserialize_with = "integer")]
    pub keyset_version: u64,
    pub firmware: Firmware,
    /// Seconds since boot.
    #[serde(deserialize_with = "integer")]
    pub uptime_s: u64,
    /// Temperature of the processor, in degrees Celsius, from -100 to 200.
    #[serde(deserialize_with = "plausible_celsius", serialize_with = "to_the_millionth")]
    pub cpu_temp_c: f64,
    /// Free memory, in KiB.
    #[serde(deserialize_with = "integer")]
    pub free_mem_kib: u64,
    /// How the device reaches the network.
    pub network: Network,
    /// Strength of the radio signal, in dBm; radio networks only.
    #[serde(default, deserialize_with = "optional_integer", skip_serializing_if = "Option::is_none")]
    pub rssi_dbm: Option<i16>,
    /// Results of commands, piggybacked.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub acks: Rows<Ack, 64>,
}
request!(Heartbeat, "/heartbeat", 16 * 1024);

/// The documents' number format: no exponent, no negative zero.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn to_the_millionth<S: Serializer>(celsius: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((celsius * 1e6).round() / 1e6 + 0.0)
}

fn plausible_celsius<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let celsius = f64::deserialize(deserializer)?;
    if (-100.0..=200.0).contains(&celsius) {
        Ok(celsius)
    } else {
        Err(de::Error::custom(format!("{celsius} is out of range, expected -100 to 200")))
    }
}

/// The firmware that a device runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// Version, for people.
    pub version: Text<64>,
    /// Release counter, which only increases.
    #[serde(deserialize_with = "integer")]
    pub release_counter: u64,
}

/// How a device reaches the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// By cable.
    Ethernet,
    /// By wireless LAN.
    Wifi,
    /// By a mobile network.
    Cellular,
}

impl Network {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Wifi => "wifi",
            Self::Cellular => "cellular",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextBeat {
    #[serde(rename = "type")]
    pub kind: NextBeatType,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
    /// Milliseconds until the next heartbeat is due; differs from device to device, so that the fleet's heartbeats spread out.
    #[serde(deserialize_with = "integer")]
    pub next_beat_ms: u64,
    /// The keyset in force; see GET /keys.
    #[serde(deserialize_with = "integer")]
    pub keyset_version: u64,
    /// What to do, oldest first; delivered at least once.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub commands: Rows<Command, 16>,
    /// A release to install, if it is the device's turn; repeated in each response until the update has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Offer>,
}

/// A release that the device must update to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The signed manifest, byte for byte; see [`crate::manifest`].
    pub manifest: Text<MANIFEST_BYTES_MAX>,
}

/// A command for the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// A device ignores a command that it has seen, but ACKs it again.
    pub command_id: CommandId,
    /// What to do: `reboot`, `fetch_logs`, ...
    pub kind: Text<32>,
    /// The command's argument; may be empty.
    pub argument: Text<1024>,
    /// The command is void after this time.
    pub deadline_at: UnixMs,
}
