//! What releases really did to a device, as it notes it for the end of the run: ground truth.

use std::time::Duration;

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
    /// It was in the slot, and the device booted into it for the first time, whatever came of it.
    Installed,
    /// The device did not come back from that boot.
    Bricked,
    /// The device stopped for ever while it ran the release.
    Died,
}

impl FateEvent {
    /// The word in the event log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Bricked => "bricked",
            Self::Died => "died",
        }
    }
}
