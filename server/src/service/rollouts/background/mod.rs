//! How often devices fail when no release is at fault: measured from the heartbeats of the last two weeks.
//!
//! A *silence* is a time without a heartbeat for longer than three intervals: from then on a device is suspected to be lost, gets no
//! offer and holds its stage. One that ends with a new boot was a power failure; one that ends without was a link that was down.
//! Silences of a whole site, time in which no server was listening, and updates are left out.
//!
//! Two weeks of a large fleet are too many heartbeats to read. Then the fleet is looked at for two intervals at a time, in which every
//! device that is not silent is heard, and not at all until the next look. Silences are so known less exactly, and the shortest
//! are missed; but nights, weekends and long silences are all there.

mod observation;
mod sites;
mod tables;

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::time::UnixMs;

pub use observation::Observation;
pub use sites::Hours;
pub(super) use tables::{FileNames, RehearsalStart, beginning, tables};

use crate::{
    clock::{is_ahead, ms},
    pace::SUSPECT_INTERVALS,
    service::presence::{self, Presence},
    store::{
        Reader, StoreError, StoreReader,
        devices::{DeviceStatus, Selector},
        heartbeats::HeartbeatRecord,
        presence::{LastSeenRecord, ObservationGap},
    },
};

/// How far back heartbeats are read.
const WINDOW: Duration = Duration::from_hours(14 * 24);
/// Least time of heartbeats from which anything is measured.
const WINDOW_MIN: Duration = Duration::from_hours(24);
/// Most heartbeats that are read. If there are more, the fleet is looked at only now and then.
const BEATS_MAX: i64 = 20_000_000;
/// Least time from look to look, in looks: with less, a device that is absent from one look is not surely silent.
const LOOKS_MIN: u32 = 3;
/// Heartbeats and devices read from the store at a time.
const PAGE: u16 = 20_000;
/// How far back lost devices are counted: as long as gaps are kept.
const LOST_WITHIN: Duration = Duration::from_hours(30 * 24);
/// Silences of a device in a day, on average, above which heartbeats simply don't come at the interval.
const SILENCES_PER_DAY_MAX: u64 = 4;

/// What is measured, and by which limits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two heartbeats of a device.
    pub interval: Duration,
    /// The policy's `lost_after_s`: a longer silence counts as a failure.
    pub lost_after: Duration,
}

/// When the fleet is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookSchedule {
    /// How long a look takes.
    pub lasts: Duration,
    /// From the begin of one to that of the next.
    pub every: Duration,
}

impl Limits {
    /// A longer time without a heartbeat is a silence.
    pub fn silence(self) -> Duration {
        SUSPECT_INTERVALS * self.interval
    }

    /// Looks with which of so many heartbeats at most [`BEATS_MAX`] are read; none if all can be, or if looks would be so rare that
    /// silences of `lost_after` were missed.
    fn looks(self, beats: i64) -> Option<LookSchedule> {
        let most = self.lost_after.as_millis() / (4 * self.interval).as_millis().max(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let parts = u32::try_from(beats / BEATS_MAX).unwrap_or(u32::MAX).saturating_add(1).max(LOOKS_MIN).min(most);
        let lasts = 2 * self.interval;
        (beats > BEATS_MAX && parts >= LOOKS_MIN).then(|| LookSchedule { lasts, every: lasts * parts })
    }
}

/// Silences of one kind and length.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Silences {
    pub ended: u32,
    /// How many there were, with those that had not ended by the end of the window: a silence of length `l` is seen to end only if it
    /// begins before the last `l` of the window's length `w`, so each that ended counts for `w / (w - l)`, and for 4 at most.
    pub estimated: f64,
    /// The length of all of them, in seconds, in the same way.
    pub length_s: f64,
}

impl Silences {
    fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.estimated += other.estimated;
        self.length_s += other.length_s;
    }

    /// Mean length in seconds; zero if there were none.
    pub fn mean_s(&self) -> f64 {
        if self.ended == 0 { 0.0 } else { self.length_s / self.estimated }
    }
}

/// Silences that are no failure in a rollout, and those that are.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct ByLength {
    /// Up to `lost_after`.
    pub short: Silences,
    pub long: Silences,
}

impl ByLength {
    fn add(&mut self, other: &Self) {
        self.short.add(&other.short);
        self.long.add(&other.long);
    }
}

/// Failures of the devices of a model.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct OfModel {
    /// Devices that were heard in the window.
    pub devices: u32,
    /// Time in which they were not silent and a server was listening, in seconds.
    pub observed_s: u64,
    /// Silences that ended with a new boot.
    pub unplugged: ByLength,
    /// Silences that ended without.
    pub link_down: ByLength,
    /// Devices that are lost, and have been for at most a month.
    pub removed: u32,
    /// Time of devices in which one that was removed would be known to be lost by now, in seconds.
    pub removal_s: u64,
}

impl OfModel {
    /// Adds those of another model.
    pub fn add(&mut self, other: &Self) {
        self.devices += other.devices;
        self.observed_s += other.observed_s;
        self.removed += other.removed;
        self.removal_s += other.removal_s;
        self.unplugged.add(&other.unplugged);
        self.link_down.add(&other.link_down);
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    /// The first and the last heartbeat that were read.
    pub from: UnixMs,
    pub to: UnixMs,
    /// When the fleet was looked at; none if all heartbeats between these were read.
    pub looks: Option<LookSchedule>,
    pub models: BTreeMap<String, OfModel>,
    /// The hours in which sites are closed, by site.
    pub closed: BTreeMap<String, Vec<Hours>>,
    pub left_out: LeftOut,
}

/// What is no background failure of a device, or can't be judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Outages of whole sites, and silences within them.
    pub outages: u32,
    pub in_outages: u32,
    /// Silences that began when a site closed.
    pub at_closing: u32,
    /// Silences after which the device ran other firmware.
    pub updates: u32,
    /// Silences that last, of devices that are not lost.
    pub lasting: u32,
    /// Lost devices whose update failed: a release may have broken them.
    pub lost_in_rollouts: u32,
}

/// Why nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMeasured {
    #[error("the heartbeats that are kept are of less than a day")]
    TooShort,
    #[error(
        "heartbeats came about every {every_s} s, which is less often than HEARTBEAT_INTERVAL_MS says, so a slow pace looks like silence; \
         plan again with HEARTBEAT_INTERVAL_MS={every_s}000, if the server has that setting too"
    )]
    TooRare { every_s: u64 },
}

/// Measures the heartbeats of a store. `progress` is called after each page with how many were read, of how many.
///
/// # Errors
/// The store fails.
pub async fn measure(
    reader: &Reader,
    limits: Limits,
    now: UnixMs,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Result<Background, NotMeasured>, StoreError> {
    let gaps = presence::gaps(reader, now).await?;
    let devices = devices(reader).await?;
    let since = now.minus_ms(ms(LOST_WITHIN));
    let failed = reader.ask(move |store| store.failed_since(since)).await?;
    let Window { mut after, last, from, looks } = reader.ask(move |store| window(store, now, limits)).await?;
    let mut observation = Observation::of(&devices, &gaps, limits, looks);
    let beats = u64::try_from(last - after).unwrap_or(0);
    let (mut read, mut look_at) = (0, from);
    while after < last {
        let look = looks.map_or(UnixMs(0)..UnixMs(u64::MAX), |looks| look_at..look_at + looks.lasts);
        let page = reader.ask(move |store| store.heartbeats(after, PAGE.into())).await?;
        let Some(end) = page.last() else { break };
        (after, read) = (end.row, read + u64::try_from(page.len()).unwrap_or(0));
        let is_within = |beat: &&HeartbeatRecord| look.contains(&beat.received_at) && !is_ahead(beat.received_at, now);
        page.iter().filter(is_within).for_each(|beat| observation.hear(beat));
        if observation.is_too_rare() {
            return Ok(Err(observation.too_rare()));
        }
        let mut of = beats;
        if let Some(looks) = looks {
            of = beats / (looks.every.as_secs() / looks.lasts.as_secs().max(1)).max(1);
            if end.received_at >= look.end {
                look_at = look_at + looks.every;
                after = reader.ask(move |store| row_before(store, (after - i64::from(PAGE), last), look_at)).await?;
            }
        }
        progress(read, of.max(read));
    }
    let mut measured = observation.end();
    if let Ok(background) = &mut measured {
        removals(background, &devices, &failed, &gaps, limits.interval);
    }
    Ok(measured)
}

/// All registered devices.
async fn devices(reader: &Reader) -> Result<Vec<LastSeenRecord>, StoreError> {
    let (mut devices, mut after) = (Vec::new(), 0);
    loop {
        let page = reader.ask(move |store| store.last_seen(&Selector::default(), after, PAGE.into())).await?;
        let Some(last) = page.last() else { return Ok(devices) };
        after = last.row;
        devices.extend(page.into_iter().filter(|device| device.status == DeviceStatus::Registered));
    }
}

/// The heartbeats that are read.
struct Window {
    /// The row before the first one, and the last row.
    after: i64,
    last: i64,
    from: UnixMs,
    looks: Option<LookSchedule>,
}

/// The last two weeks, or as much of them as can be read.
fn window(store: &mut dyn StoreReader, now: UnixMs, limits: Limits) -> Result<Window, StoreError> {
    let last = store.last_heartbeat_row()?;
    let to = store.newest_heartbeat_at()?.unwrap_or(now).min(now);
    let start = row_before(store, (0, last), to.minus_ms(ms(WINDOW)))?;
    let looks = limits.looks(last - start);
    let parts = looks.map_or(1, |looks| looks.every.as_millis() / looks.lasts.as_millis().max(1));
    let after = start.max(last - BEATS_MAX.saturating_mul(i64::try_from(parts).unwrap_or(i64::MAX)));
    let from = store.heartbeats(after, 1)?.first().map_or(to, |first| first.received_at);
    Ok(Window { after, last, from, looks })
}

/// The last row of those between these that was received before a time, or the first. Rows are in the order of commits, so it is found
/// by bisection.
fn row_before(store: &mut dyn StoreReader, (low, high): (i64, i64), at: UnixMs) -> Result<i64, StoreError> {
    let (mut before, mut within) = (low.max(0), high);
    while within - before > 1 {
        let middle = before + (within - before) / 2;
        match store.heartbeats(middle, 1)?.first() {
            Some(next) if next.received_at < at => before = next.row,
            _ => within = middle,
        }
    }
    Ok(before)
}

/// Adds the devices that are lost. They need no heartbeats: when each device was last seen is kept.
fn removals(
    background: &mut Background,
    devices: &[LastSeenRecord],
    failed: &[i64],
    gaps: &[ObservationGap],
    interval: Duration,
) {
    let now = background.to;
    let (earliest, latest) = (now.minus_ms(ms(LOST_WITHIN)), now.minus_ms(ms(presence::LOST)));
    for device in devices {
        let (Some(seen), Some(registered)) = (device.last_seen_at, device.registered_at) else { continue };
        let is_lost = presence::presence(Some(seen), now, gaps, interval) == Presence::Lost;
        let (known, until) = (earliest.max(registered), if is_lost { seen.min(latest) } else { latest });
        if is_lost && seen < earliest {
            continue; // it was lost before
        }
        let of_model = background.models.entry(device.model.clone()).or_default();
        of_model.removal_s += until.since_ms(known) / 1_000;
        match (is_lost, failed.binary_search(&device.row)) {
            (true, Ok(_)) => background.left_out.lost_in_rollouts += 1,
            (true, Err(_)) => of_model.removed += 1,
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
