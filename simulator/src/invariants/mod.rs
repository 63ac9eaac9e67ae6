//! Invariants that the server must hold in every rehearsal, whatever its scenario expects.
//!
//! The [`Witness`] observes each exchange at the server's edge, before the simulated network can lose, delay or repeat
//! it; [`judge`] compares, at the end, what it observed with what is stored and with what was decided.

mod download;
mod judge;
mod orders;
#[cfg(test)]
mod tests;
mod witness;

use std::time::Duration;

pub use download::DownloadRequest;
pub use judge::{RunEnd, judge, wait_limit};
pub use witness::{OpenQuestion, Witness};

/// Most violations that are reported of one run: the first shows what is wrong, and the rest follow from it.
const REPORTED_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Acknowledged data is stored, and a request that was sent twice is accepted once.
    StoredOnce,
    /// A one-time token registers one device.
    TokenOnce,
    /// Terminal states do not change: revoked devices, closed commands, ended rollouts.
    TerminalStays,
    /// An aborted rollout and a revoked release are offered to no device.
    NothingAfterAbort,
    /// No stage is promoted before the outcomes, the time and the approval that its policy asks for.
    EvidenceFirst,
    /// Images go only to registered devices, byte for byte as they were uploaded.
    ImagesToDevices,
    /// Without faults every honest device is answered, and every command reaches its device.
    NoStarvation,
    /// No adversary succeeds.
    NoAttackSucceeds,
    /// Memory usage has a bound that does not grow with time.
    MemoryBounded,
    /// Rate limits refuse and admit each request as docs/rate-limits.md says.
    LimitsAsDocumented,
}

impl Invariant {
    pub const ALL: [Self; 10] = [
        Self::StoredOnce,
        Self::TokenOnce,
        Self::TerminalStays,
        Self::NothingAfterAbort,
        Self::EvidenceFirst,
        Self::ImagesToDevices,
        Self::NoStarvation,
        Self::NoAttackSucceeds,
        Self::MemoryBounded,
        Self::LimitsAsDocumented,
    ];

    /// In words, for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoredOnce => "acknowledged data is stored exactly once",
            Self::TokenOnce => "a one-time token is used once",
            Self::TerminalStays => "terminal states do not change",
            Self::NothingAfterAbort => "aborted releases are not offered",
            Self::EvidenceFirst => "no promotion without evidence",
            Self::ImagesToDevices => "images go only to devices, byte for byte",
            Self::NoStarvation => "no honest device is starved",
            Self::NoAttackSucceeds => "no attack succeeds",
            Self::MemoryBounded => "memory stays bounded",
            Self::LimitsAsDocumented => "limits decide as documented",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
    /// When it was observed, since the start of the run.
    pub at: Duration,
}
