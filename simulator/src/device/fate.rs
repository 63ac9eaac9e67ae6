//! What releases really did to a device, as it notes it for the end of the run: ground truth.

use std::time::Duration;

use ks_protocol::{id::DeviceId, time::UnixMs};

use super::machine::DeviceState;
use crate::fleet::ground_truth::{InstallOutcome, InstallingDevice};

/// What a device noted for the end of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FateNotes {
    pub fates: Vec<Fate>,
    /// Where it was, what it ran and since when it had been up, from each change of that on; only of a run with a fault that looks
    /// at it.
    pub stays: Vec<DevicePeriod>,
    /// Its condition when the run ended.
    pub at_end: Condition,
    /// Why it was no longer in service by then, if no release broke it.
    pub gone: Option<OutOfService>,
}

/// Why a device is no longer in service, other than by a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfService {
    Removed,
    /// The server revoked it, and it knows.
    Revoked,
}

impl OutOfService {
    /// Of a device in this state, with these notes.
    pub fn of(state: DeviceState, notes: &FateNotes) -> Option<Self> {
        match state {
            DeviceState::Revoked => Some(Self::Revoked),
            DeviceState::Dead if notes.broken_by().is_none() => Some(Self::Removed),
            _ => None,
        }
    }
}

impl FateNotes {
    /// The release that broke the device, with the time; none if none did.
    pub fn broken_by(&self) -> Option<Fate> {
        self.fates.iter().find(|fate| fate.what.breaks()).copied()
    }

    /// The device's condition at some moment of the run, `now` by the wall clock.
    pub fn condition(&self, at: Duration, now: UnixMs) -> Condition {
        let stay = self.stays.iter().rev().find(|stay| stay.from <= at).or(self.stays.first());
        let Some(stay) = stay else { return self.at_end.clone() };
        Condition {
            model: self.at_end.model.clone(),
            site: stay.site.clone(),
            version: stay.version.clone(),
            uptime: Duration::from_millis(now.since_ms(stay.booted_at)),
        }
    }
}

/// What was true of a device from a moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePeriod {
    /// Since the start of the run.
    pub from: Duration,
    /// Where it really was.
    pub site: Box<str>,
    /// The version that it ran.
    pub version: Box<str>,
    /// When it had booted.
    pub booted_at: UnixMs,
}

/// The condition of a device, which decides whether a fault may hit it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    pub model: Box<str>,
    /// Where it really is.
    pub site: Box<str>,
    /// The version that it runs.
    pub version: Box<str>,
    pub uptime: Duration,
}

impl Condition {
    /// The device with this name, in this condition at this time.
    pub fn subject<'a>(&'a self, device_id: &'a DeviceId, now: UnixMs) -> InstallingDevice<'a> {
        let Self { model, site, version, uptime } = self;
        InstallingDevice { device_id, model, site, version, uptime: *uptime, now }
    }
}

/// Something that a release did to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Since the start of the run.
    pub at: Duration,
    /// The release, by its counter.
    pub release_counter: u64,
    pub what: FateEvent,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FateEvent {
    /// It was written into the slot, with this outcome to come.
    Written(InstallOutcome),
    /// It was in the slot, and the device booted, whatever came of it.
    Installed,
    /// The device did not come back from that boot.
    Bricked,
    /// The device stopped for ever while it ran the release.
    Died,
}

impl FateEvent {
    /// Whether the device was lost by it.
    pub fn breaks(self) -> bool {
        matches!(self, Self::Bricked | Self::Died)
    }

    /// The word in the event log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Installed => "installed",
            Self::Bricked => "bricked",
            Self::Died => "died",
        }
    }
}
