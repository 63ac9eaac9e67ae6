//! Presence of a device, as a pure function of when it was last seen; and presence counts of the fleet.
//!
//! | silence | presence |
//! | --- | --- |
//! | up to 2 heartbeat intervals | ONLINE |
//! | the same, but only because no server was listening meanwhile | UNKNOWN |
//! | more | LATE |
//! | 15 minutes (or 2 intervals, if that is longer) | OFFLINE |
//! | 7 days | LOST |
//!
//! Time in which no server was listening does not count as silence: a restart or a restored backup must not raise alerts for a whole
//! fleet. Nor does it count as a sign of life: only received heartbeats do. A time ahead of the clock is no evidence at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::{id::DeviceId, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    clock::{is_ahead, ms},
    store::{
        Reader, StoreError,
        devices::{DeviceStatus, Selector},
        presence::{LastSeenRecord, ObservationGap},
    },
};

/// Devices read from the store at a time.
const PAGE: usize = 10_000;
/// Most named devices that are listed as not selected.
const NOT_SELECTED_MAX: usize = 1_000;
/// Silence after which a device is OFFLINE.
const OFFLINE: Duration = Duration::from_mins(15);
/// Silence after which a device is LOST.
pub(super) const LOST: Duration = Duration::from_hours(7 * 24);

/// Presence of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    /// Seen in time.
    Online,
    /// Not seen in time, but no server could have received a heartbeat: none was listening, or a clock was wrong.
    Unknown,
    /// Overdue.
    Late,
    /// Silent for 15 minutes.
    Offline,
    /// Silent for a week.
    Lost,
    /// Never seen.
    Never,
}

impl Presence {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Unknown => "UNKNOWN",
            Self::Late => "LATE",
            Self::Offline => "OFFLINE",
            Self::Lost => "LOST",
            Self::Never => "NEVER",
        }
    }
}

/// Silence while a server was listening, in milliseconds; none if the device was last seen ahead of the clock. `gaps` are those that
/// ended after it was last seen.
pub fn silence_ms(last_seen_at: UnixMs, now: UnixMs, gaps: &[ObservationGap]) -> Option<u64> {
    if is_ahead(last_seen_at, now) {
        return None;
    }
    let unobserved: u64 = gaps.iter().map(|gap| gap.to.min(now).since_ms(gap.from.max(last_seen_at))).sum();
    Some(now.since_ms(last_seen_at).saturating_sub(unobserved))
}

/// Presence of a device by its silence.
pub fn presence(last_seen_at: Option<UnixMs>, now: UnixMs, gaps: &[ObservationGap], interval: Duration) -> Presence {
    let Some(seen) = last_seen_at else { return Presence::Never };
    let Some(silence_ms) = silence_ms(seen, now, gaps) else { return Presence::Unknown };
    let silence = Duration::from_millis(silence_ms);
    let late = 2 * interval;
    match silence {
        silence if silence > LOST.max(late) => Presence::Lost,
        silence if silence > OFFLINE.max(late) => Presence::Offline,
        silence if silence > late => Presence::Late,
        _ if now.since_ms(seen) > ms(late) => Presence::Unknown,
        _ => Presence::Online,
    }
}

/// Number of devices by presence.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Seen in time.
    online: u64,
    /// Not seen in time, but no server could have received a heartbeat: none was listening, or a clock was wrong.
    unknown: u64,
    /// Overdue.
    late: u64,
    /// Silent for 15 minutes.
    offline: u64,
    /// Silent for a week.
    lost: u64,
    /// Registered, but never seen.
    never: u64,
    /// Whitelisted, but not registered.
    whitelisted: u64,
    revoked: u64,
}

impl Counts {
    fn add(&mut self, status: DeviceStatus, presence: Presence) {
        *match (status, presence) {
            (DeviceStatus::Whitelisted, _) => &mut self.whitelisted,
            (DeviceStatus::Revoked, _) => &mut self.revoked,
            (_, Presence::Online) => &mut self.online,
            (_, Presence::Unknown) => &mut self.unknown,
            (_, Presence::Late) => &mut self.late,
            (_, Presence::Offline) => &mut self.offline,
            (_, Presence::Lost) => &mut self.lost,
            (_, Presence::Never) => &mut self.never,
        } += 1;
    }
}

/// A period in which no server was listening.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Gap {
    from: UnixMs,
    to: UnixMs,
}

/// Presence counts of the fleet.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FleetPresence {
    at: UnixMs,
    total: Counts,
    models: BTreeMap<String, Counts>,
    sites: BTreeMap<String, Counts>,
    /// Registered devices by the firmware version that they last reported; empty before the first heartbeat.
    firmware: BTreeMap<String, u64>,
    /// Periods of the last month in which no server was listening; they do not count as silence.
    observation_gaps: Vec<Gap>,
}

/// Counts devices by presence.
///
/// # Errors
/// The store fails.
pub async fn fleet(reader: &Reader, now: UnixMs, interval: Duration) -> Result<FleetPresence, StoreError> {
    let gaps = gaps(reader, now).await?;
    let (everybody, mut firmware) = (Selector::default(), BTreeMap::new());
    let counted = count(reader, (now, interval), &gaps, &everybody, |device| {
        if device.status == DeviceStatus::Registered {
            *firmware.entry(device.firmware_version.clone()).or_insert(0) += 1;
        }
    });
    let Counted { total, models, sites } = counted.await?;
    let observation_gaps = gaps.iter().map(|gap| Gap { from: gap.from, to: gap.to }).collect();
    Ok(FleetPresence { at: now, total, models, sites, firmware, observation_gaps })
}

/// Presence counts of selected devices: which of them an order would reach.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SelectedPresence {
    at: UnixMs,
    total: Counts,
    models: BTreeMap<String, Counts>,
    sites: BTreeMap<String, Counts>,
    /// Named devices that are not selected, because they are unknown or another condition excludes them; the first thousand.
    not_selected: Vec<DeviceId>,
    /// Total number of named devices that are not selected.
    not_selected_count: usize,
}

/// Counts selected devices by presence.
///
/// # Errors
/// The store fails.
pub async fn selected(
    reader: &Reader,
    now: UnixMs,
    interval: Duration,
    which: &Selector,
) -> Result<SelectedPresence, StoreError> {
    let gaps = gaps(reader, now).await?;
    let mut left: BTreeSet<DeviceId> = which.device_ids.iter().flatten().cloned().collect();
    let counted = count(reader, (now, interval), &gaps, which, |device| {
        left.remove(&device.device_id);
    });
    let Counted { total, models, sites } = counted.await?;
    let not_selected_count = left.len();
    let not_selected = left.into_iter().take(NOT_SELECTED_MAX).collect();
    Ok(SelectedPresence { at: now, total, models, sites, not_selected, not_selected_count })
}

/// Devices by presence, in all, by model and by site.
struct Counted {
    total: Counts,
    models: BTreeMap<String, Counts>,
    sites: BTreeMap<String, Counts>,
}

/// Counts the devices of a selector, each of which is also shown to `see`.
async fn count(
    reader: &Reader,
    (now, interval): (UnixMs, Duration),
    gaps: &[ObservationGap],
    which: &Selector,
    mut see: impl FnMut(&LastSeenRecord),
) -> Result<Counted, StoreError> {
    let (mut total, mut models, mut sites) = (Counts::default(), BTreeMap::new(), BTreeMap::new());
    let mut after = 0;
    loop {
        let which = which.clone();
        let page = reader.ask(move |store| store.last_seen(&which, after, PAGE)).await?;
        let Some(last) = page.last() else { return Ok(Counted { total, models, sites }) };
        after = last.row;
        for device in page {
            see(&device);
            let seen = presence(device.last_seen_at, now, gaps, interval);
            total.add(device.status, seen);
            models.entry(device.model).or_insert_with(Counts::default).add(device.status, seen);
            sites.entry(device.site).or_insert_with(Counts::default).add(device.status, seen);
        }
    }
}

/// The gaps of the last month. Older ones don't matter: a device silent that long is LOST in any case.
pub async fn gaps(reader: &Reader, now: UnixMs) -> Result<Vec<ObservationGap>, StoreError> {
    let since = now.minus_ms(30 * 24 * 3_600 * 1_000);
    reader.ask(move |store| store.gaps(since)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::AHEAD_MAX;

    const SEEN_AT: UnixMs = UnixMs(1_800_000_000_000);
    const INTERVAL: Duration = Duration::from_mins(1);

    fn after(silence: Duration, gaps: &[(u64, u64)]) -> Presence {
        let minute = |minute: u64| SEEN_AT + Duration::from_mins(minute);
        let gaps: Vec<_> =
            gaps.iter().map(|(from, to)| ObservationGap { from: minute(*from), to: minute(*to) }).collect();
        presence(Some(SEEN_AT), SEEN_AT + silence, &gaps, INTERVAL)
    }

    #[test]
    fn silence_turns_online_into_late_offline_and_lost() {
        let second = Duration::from_secs(1);
        assert_eq!(after(2 * INTERVAL, &[]), Presence::Online);
        assert_eq!(after(2 * INTERVAL + second, &[]), Presence::Late);
        assert_eq!(after(OFFLINE, &[]), Presence::Late);
        assert_eq!(after(OFFLINE + second, &[]), Presence::Offline);
        assert_eq!(after(LOST + second, &[]), Presence::Lost);
        let slow = presence(Some(SEEN_AT), SEEN_AT + Duration::from_mins(80), &[], Duration::from_hours(1));
        assert_eq!(slow, Presence::Online, "a slow fleet is not offline");
        assert_eq!(presence(None, SEEN_AT, &[], INTERVAL), Presence::Never);
    }

    #[test]
    fn downtime_is_neither_silence_nor_a_sign_of_life() {
        let hour = Duration::from_hours(1);
        assert_eq!(after(hour, &[(1, 59)]), Presence::Unknown);
        assert_eq!(after(2 * INTERVAL, &[(0, 1)]), Presence::Online, "a short restart makes no difference");
        assert_eq!(after(hour, &[(1, 30), (31, 58)]), Presence::Late);
        assert_eq!(after(hour, &[(40, 90)]), Presence::Offline, "the part of a gap after now does not count");
    }

    #[test]
    fn times_ahead_of_the_clock_are_no_evidence() {
        let ahead = |ahead: Duration| presence(Some(SEEN_AT + ahead), SEEN_AT, &[], INTERVAL);
        assert_eq!(ahead(AHEAD_MAX), Presence::Online, "clocks differ a little");
        assert_eq!(ahead(AHEAD_MAX + Duration::from_secs(1)), Presence::Unknown);
        assert_eq!(ahead(Duration::from_hours(240)), Presence::Unknown);
        assert_eq!(silence_ms(SEEN_AT + Duration::from_hours(240), SEEN_AT, &[]), None);
    }
}
