//! Devices as the API and the command line show them, and valid texts for their fields.

use ks_protocol::{
    id::{DeviceId, Seq},
    key::PublicKey,
    text::printable_char,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::devices::{DeviceRecord, DeviceStatus};

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
    /// Incremented by each edit.
    version: u64,
    /// First part of the last accepted replay pair.
    boot_epoch: u32,
    /// Second part of the last accepted replay pair.
    seq: Seq,
    registered_at: Option<UnixMs>,
    revoked_at: Option<UnixMs>,
    revoke_reason: Option<String>,
    pub(super) last_seen_at: Option<UnixMs>,
    /// Firmware version that it last reported; empty before its first heartbeat.
    firmware_version: String,
    release_counter: u64,
    /// Version of the server's keyset that it last reported.
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

/// Whether a text has 1 to `bytes_max` bytes and no characters that a terminal would interpret.
pub fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.chars().all(|c| printable_char(c) == c)
}
