//! The diagnosis of one device: everything stored that helps to find out why it is silent.

use std::{cmp::Ordering, time::Duration};

use ks_protocol::{id::DeviceId, text::counted, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    commands::Command,
    devices::Device,
    logs::LogLine,
    presence::{Presence, gaps, presence, silence_ms},
};
use crate::store::{
    Reader, StoreError, StoreReader,
    commands::CommandFilter,
    devices::{DeviceStatus, Selector},
    heartbeats::{FirmwareRecord, LastHeartbeat},
    logs::LogFilter,
    presence::ObservationGap,
    rollouts::QUARANTINE_FAILURES,
};

/// A clock before 2020-01-01 was never set.
const CLOCK_SET_AFTER: UnixMs = UnixMs(1_577_836_800_000);
/// Devices read from the store at a time.
const PAGE: usize = 10_000;

/// Details of the last heartbeat.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HeartbeatDetails {
    received_at: UnixMs,
    /// By the device's clock.
    sent_at: UnixMs,
    /// How far the device's clock was ahead of the server's, in milliseconds.
    clock_ahead_ms: i64,
    uptime_s: u64,
    cpu_temp_c: f64,
    free_mem_kib: u64,
    network: String,
    rssi_dbm: Option<i64>,
    firmware_version: String,
}

impl From<LastHeartbeat> for HeartbeatDetails {
    fn from(record: LastHeartbeat) -> Self {
        let ms = |at: UnixMs| i64::try_from(at.0).unwrap_or(i64::MAX);
        Self {
            received_at: record.received_at,
            sent_at: record.sent_at,
            clock_ahead_ms: ms(record.sent_at).saturating_sub(ms(record.received_at)),
            uptime_s: record.uptime_s,
            cpu_temp_c: record.cpu_temp_c,
            free_mem_kib: record.free_mem_kib,
            network: record.network,
            rssi_dbm: record.rssi_dbm,
            firmware_version: record.firmware_version,
        }
    }
}

/// A firmware version, and when the device first reported it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FirmwareRun {
    firmware_version: String,
    release_counter: u64,
    since: UnixMs,
}

impl From<FirmwareRecord> for FirmwareRun {
    fn from(record: FirmwareRecord) -> Self {
        let FirmwareRecord { firmware_version, release_counter, since } = record;
        Self { firmware_version, release_counter, since }
    }
}

/// Everything stored that helps to diagnose one device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Investigation {
    at: UnixMs,
    device: Device,
    presence: Presence,
    /// Silence while a server was listening, in seconds; null if it was last seen ahead of the server's clock.
    silence_s: Option<u64>,
    /// When the next heartbeat was expected.
    expected_at: Option<UnixMs>,
    last_heartbeat: Option<HeartbeatDetails>,
    /// Registered devices of the same site that are OFFLINE or LOST. If many are, the problem is the site, not the device.
    site_offline: u64,
    /// Registered devices of the same site.
    site_devices: u64,
    /// Commands that have not ended, at most 100.
    pending_commands: Vec<Command>,
    /// The newest 50 lines.
    recent_logs: Vec<LogLine>,
    /// Reported firmware versions, newest first.
    firmware_history: Vec<FirmwareRun>,
    /// Version of the newest keyset. `device` has the version that the device holds.
    newest_keyset: u64,
    /// Updates of it that have failed; after three it is in quarantine: rollouts leave it out.
    failed_updates: u32,
    /// What to check first, as sentences.
    findings: Vec<String>,
}

/// What the store has about one device.
struct StoredDevice {
    last: Option<LastHeartbeat>,
    commands: Vec<Command>,
    logs: Vec<LogLine>,
    firmware: Vec<FirmwareRun>,
    newest_keyset: u64,
    failed_updates: u32,
}

fn load(store: &mut dyn StoreReader, device_id: &DeviceId) -> Result<StoredDevice, StoreError> {
    let open = CommandFilter { device_id: Some(device_id.clone()), open_only: true, ..CommandFilter::default() };
    let of_device = LogFilter { device_id: Some(device_id.clone()), ..LogFilter::default() };
    Ok(StoredDevice {
        last: store.last_heartbeat(device_id)?,
        commands: store.commands(&open, 0, 100)?.into_iter().map(Command::from).collect(),
        logs: store.logs(&of_device, i64::MAX, 50, 50)?.lines.into_iter().map(LogLine::from).collect(),
        firmware: store.firmware_history(device_id, 20)?.into_iter().map(FirmwareRun::from).collect(),
        newest_keyset: store.newest()?.keyset_version,
        failed_updates: store.failed_updates(device_id)?,
    })
}

/// Gathers what an operator needs first about a silent device; none if the device is unknown.
pub async fn gather(
    reader: &Reader,
    now: UnixMs,
    interval: Duration,
    device_id: &DeviceId,
) -> Result<Option<Investigation>, StoreError> {
    let wanted = device_id.clone();
    let Some(record) = reader.ask(move |store| store.device(&wanted)).await? else { return Ok(None) };
    let gaps = gaps(reader, now).await?;
    let wanted = device_id.clone();
    let stored = reader.ask(move |store| load(store, &wanted)).await?;
    let silence = record.last_seen_at.and_then(|seen| silence_ms(seen, now, &gaps));
    let seen = presence(record.last_seen_at, now, &gaps, interval);
    let site = site(reader, &record.site, now, interval, &gaps).await?;
    let mut investigation = Investigation {
        at: now,
        presence: seen,
        silence_s: silence.map(|silence| silence / 1_000),
        expected_at: record.last_seen_at.map(|seen| seen + interval),
        last_heartbeat: stored.last.map(HeartbeatDetails::from),
        site_devices: site.0,
        site_offline: site.1,
        pending_commands: stored.commands,
        recent_logs: stored.logs,
        firmware_history: stored.firmware,
        newest_keyset: stored.newest_keyset,
        failed_updates: stored.failed_updates,
        findings: Vec::new(),
        device: record.into(),
    };
    investigation.findings = findings(&investigation);
    Ok(Some(investigation))
}

/// Counts the registered devices of a site, and the silent ones among them.
async fn site(
    reader: &Reader,
    site: &str,
    now: UnixMs,
    interval: Duration,
    gaps: &[ObservationGap],
) -> Result<(u64, u64), StoreError> {
    let selector =
        Selector { site: Some(site.to_owned()), status: Some(DeviceStatus::Registered), ..Default::default() };
    let (mut devices, mut silent, mut after) = (0, 0, 0);
    loop {
        let selector = selector.clone();
        let page = reader.ask(move |store| store.devices(&selector, after, PAGE)).await?;
        let Some(last) = page.last() else { return Ok((devices, silent)) };
        after = last.row;
        devices += page.len() as u64;
        let is_silent = |seen| (Presence::Offline..Presence::Never).contains(&presence(seen, now, gaps, interval));
        silent += page.iter().filter(|device| is_silent(device.last_seen_at)).count() as u64;
    }
}

impl Investigation {
    /// Text lines for the command line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {}, {}; {} {} at {}",
            self.device.device_id,
            self.device.status.as_str(),
            self.presence.as_str(),
            self.device.manufacturer,
            self.device.model,
            self.device.site
        )];
        match (self.device.last_seen_at, self.expected_at, self.silence_s) {
            (Some(seen), Some(expected), Some(silence_s)) => lines.push(format!(
                "last seen {seen}, next heartbeat expected by {expected}; silent for {silence_s} s while a server was listening"
            )),
            (Some(seen), ..) => lines.push(format!("last seen {seen}, which is ahead of the server's clock")),
            _ => lines.push("never seen".to_owned()),
        }
        lines.push(format!(
            "silent at its site: {} of {}",
            self.site_offline,
            counted(self.site_devices, "registered device")
        ));
        if let Some(last) = &self.last_heartbeat {
            let rssi = last.rssi_dbm.map_or_else(String::new, |rssi| format!(" {rssi} dBm"));
            lines.push(format!(
                "last heartbeat: {}{rssi}, up {} s, {} degrees Celsius, {} KiB free, clock {} ms ahead, firmware {}",
                last.network,
                last.uptime_s,
                last.cpu_temp_c,
                last.free_mem_kib,
                last.clock_ahead_ms,
                last.firmware_version
            ));
        }
        section(&mut lines, "check first", self.findings.iter().cloned());
        section(&mut lines, "pending commands", self.pending_commands.iter().map(Command::to_string));
        section(
            &mut lines,
            "firmware",
            self.firmware_history
                .iter()
                .map(|run| format!("{}  {} (release {})", run.since, run.firmware_version, run.release_counter)),
        );
        section(&mut lines, "recent log lines, newest first", self.recent_logs.iter().map(LogLine::to_string));
        lines
    }
}

fn section(lines: &mut Vec<String>, title: &str, entries: impl Iterator<Item = String>) {
    let entries: Vec<String> = entries.map(|entry| format!("  {entry}")).collect();
    if !entries.is_empty() {
        lines.push(format!("{title}:"));
        lines.extend(entries);
    }
}

/// What is wrong with the device's keyset.
fn keyset_finding(about: &Investigation) -> Option<String> {
    let (held, newest) = (about.device.keyset_version, about.newest_keyset);
    about.last_heartbeat.as_ref()?; // before the first heartbeat its keyset is unknown
    match held.cmp(&newest) {
        Ordering::Equal => None,
        Ordering::Less => Some(format!("it has not confirmed keyset {newest}: it holds keyset {held}")),
        Ordering::Greater => Some(format!(
            "it holds keyset {held}, but {newest} is the newest here: either someone with a key of this server published it, or this \
             database was restored from an older state; provision the device with a pinned key again, as at the factory"
        )),
    }
}

/// That rollouts leave the device out.
fn quarantine_finding(failed_updates: u32) -> Option<String> {
    let is_left_out = failed_updates >= QUARANTINE_FAILURES;
    is_left_out
        .then(|| format!("it is in quarantine: rollouts leave it out, because {failed_updates} of its updates failed"))
}

/// That a device fell silent soon after an update, which may be why.
fn firmware_finding(presence: Presence, history: &[FirmwareRun], last_seen_at: UnixMs) -> Option<String> {
    let [run, _before, ..] = history else { return None };
    let is_silent = presence >= Presence::Late;
    let is_new = last_seen_at.since_ms(run.since) < 24 * 3_600 * 1_000;
    let version = &run.firmware_version;
    (is_silent && is_new).then(|| format!("it installed firmware {version} within a day before it was last seen"))
}

fn findings(about: &Investigation) -> Vec<String> {
    let mut findings = Vec::new();
    match about.device.status {
        DeviceStatus::Revoked => findings.push("it is revoked: all its requests are refused".to_owned()),
        DeviceStatus::Whitelisted => findings.push("it has not registered yet".to_owned()),
        DeviceStatus::Registered => findings.extend(keyset_finding(about)),
    }
    findings.extend(quarantine_finding(about.failed_updates));
    if about.presence == Presence::Unknown {
        findings.push(
            "no heartbeat since a server is listening again, or a clock was wrong; wait for two heartbeat intervals"
                .to_owned(),
        );
    }
    if about.presence >= Presence::Offline && about.site_offline > 1 && about.site_offline * 2 > about.site_devices {
        let (offline, devices) = (about.site_offline, about.site_devices);
        findings.push(format!("{offline} of {devices} devices at its site are silent: check the site's network first"));
    }
    if let Some(last) = &about.last_heartbeat {
        if last.sent_at < CLOCK_SET_AFTER {
            findings.push("its clock was not set at its last heartbeat".to_owned());
        } else if last.clock_ahead_ms.abs() > 5 * 60 * 1_000 {
            findings.push(format!("its clock was {} s off at its last heartbeat", last.clock_ahead_ms / 1_000));
        }
        if last.rssi_dbm.is_some_and(|rssi| rssi < -80) {
            findings.push("its radio signal was weak at its last heartbeat".to_owned());
        }
        if last.cpu_temp_c > 80.0 {
            findings.push(format!("it was hot at its last heartbeat: {} degrees Celsius", last.cpu_temp_c));
        }
        if last.free_mem_kib < 4_096 {
            findings.push(format!("it was low on memory at its last heartbeat: {} KiB free", last.free_mem_kib));
        }
        findings.extend(firmware_finding(about.presence, &about.firmware_history, last.received_at));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_in_quarantine_after_three_failed_updates() {
        assert_eq!(quarantine_finding(QUARANTINE_FAILURES - 1), None);
        assert!(quarantine_finding(3).is_some_and(|finding| finding.contains("because 3 of its updates failed")));
    }

    #[test]
    fn firmware_is_looked_at_first_where_a_device_fell_silent_within_a_day_of_its_update() {
        const DAY_MS: u64 = 24 * 3_600 * 1_000;
        let installed = |version: &str, since| FirmwareRun {
            firmware_version: version.to_owned(),
            release_counter: 1,
            since: UnixMs(since),
        };
        let history = [installed("2.0.0", DAY_MS), installed("1.0.0", 0)];
        let finding = |presence, last_seen| firmware_finding(presence, &history, UnixMs(last_seen));
        assert!(finding(Presence::Late, 2 * DAY_MS - 1).is_some_and(|finding| finding.contains("firmware 2.0.0")));
        assert_eq!(finding(Presence::Late, 2 * DAY_MS), None);
        assert_eq!(finding(Presence::Online, DAY_MS), None);
        assert_eq!(firmware_finding(Presence::Lost, &history[..1], UnixMs(DAY_MS)), None, "it was made with it");
    }
}
