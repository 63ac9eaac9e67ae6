//! Devices as they are shown, and the texts that describe them.

use ks_protocol::{
    id::{DeviceId, Seq},
    key::PublicKey,
    text::printable_char,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::devices::{DeviceRecord, DeviceStatus};

/// A device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Device {
    pub(super) device_id: DeviceId,
    public_key: PublicKey,
    serial: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) site: String,
    labels: Vec<String>,
    pub(super) status: DeviceStatus,
    /// Grows with each edit.
    version: u64,
    /// Greatest replay pair stored, first part.
    boot_epoch: u32,
    /// Second part.
    seq: Seq,
    registered_at: Option<UnixMs>,
    revoked_at: Option<UnixMs>,
    revoke_reason: Option<String>,
    pub(super) last_seen_at: Option<UnixMs>,
    /// The firmware that it last said it runs; empty before its first heartbeat.
    firmware_version: String,
    release_counter: u64,
    /// The server's keyset that it last said it holds.
    pub(super) keyset_version: u64,
}

impl From<DeviceRecord> for Device {
    fn from(record: DeviceRecord) -> Self {
        Self {
            device_id: record.device_id,
            public_key: record.public_key,
            serial: record.serial,
            manufacturer: record.manufacturer,
            model: record.model,
            site: record.site,
            labels: record.labels,
            status: record.status,
            version: record.version,
            boot_epoch: record.sequence.boot_epoch,
            seq: record.sequence.seq,
            registered_at: record.registered_at,
            revoked_at: record.revoked_at,
            revoke_reason: record.revoke_reason,
            last_seen_at: record.last_seen_at,
            firmware_version: record.firmware_version,
            release_counter: record.release_counter,
            keyset_version: record.keyset_version,
        }
    }
}

/// Text of so many bytes, without characters that a terminal would obey.
pub fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.chars().all(|c| printable_char(c) == c)
}
