//! Devices as the API and the command line show them, lists of them with their presence, and valid texts for their fields.

use std::time::Duration;

use ks_protocol::{
    id::{DeviceId, Seq},
    key::PublicKey,
    text::printable_char,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::presence::{Presence, gaps, presence};
use crate::store::{
    Reader, StoreError,
    devices::{DeviceRecord, DeviceStatus, Selector},
};

/// Devices read for one page if they are selected by presence, which is computed and not stored.
const SCANNED_MAX: usize = 10_000;

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

/// A device in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedDevice {
    #[serde(flatten)]
    device: Device,
    /// By its last heartbeat; without meaning unless the device is REGISTERED.
    presence: Presence,
}

/// Which presence the devices of a list have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PresenceFilter {
    Online,
    Unknown,
    Late,
    Offline,
    Lost,
    Never,
    /// LATE, OFFLINE or LOST.
    Missing,
}

impl PresenceFilter {
    fn includes(self, presence: Presence) -> bool {
        match self {
            Self::Online => presence == Presence::Online,
            Self::Unknown => presence == Presence::Unknown,
            Self::Late => presence == Presence::Late,
            Self::Offline => presence == Presence::Offline,
            Self::Lost => presence == Presence::Lost,
            Self::Never => presence == Presence::Never,
            Self::Missing => matches!(presence, Presence::Late | Presence::Offline | Presence::Lost),
        }
    }
}

/// Devices in the order of their rows, and the row after which the next page begins.
pub struct DevicesPage {
    pub devices: Vec<ListedDevice>,
    pub next_after: Option<i64>,
}

/// Lists devices after a row, registered ones of a presence if it is given: then a page may be empty and still have a next one.
///
/// # Errors
/// The store fails.
pub async fn list(
    reader: &Reader,
    (now, interval): (UnixMs, Duration),
    which: Selector,
    wanted: Option<PresenceFilter>,
    (after, limit): (i64, usize),
) -> Result<DevicesPage, StoreError> {
    let gaps = gaps(reader, now).await?;
    let scanned_max = if wanted.is_some() { SCANNED_MAX.max(limit) } else { limit };
    let records = reader.ask(move |store| store.devices(&which, after, scanned_max)).await?;
    let is_full = records.len() == scanned_max;
    let (mut devices, mut last, mut left) = (Vec::new(), None, records.len());
    for record in records {
        if devices.len() == limit {
            break;
        }
        left -= 1;
        last = Some(record.row);
        let presence = presence(record.last_seen_at, now, &gaps, interval);
        let is_wanted = |wanted: PresenceFilter| record.status == DeviceStatus::Registered && wanted.includes(presence);
        if wanted.is_none_or(is_wanted) {
            devices.push(ListedDevice { device: record.into(), presence });
        }
    }
    Ok(DevicesPage { devices, next_after: last.filter(|_| is_full || left > 0) })
}

/// Whether a text has 1 to `bytes_max` bytes and no characters that a terminal would interpret.
pub fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.chars().all(|c| printable_char(c) == c)
}
