//! What the server must keep in every rehearsal, whatever its scenario expects.
//!
//! The [`Witness`] stands at the server's door and sees each exchange as the server meant it, before the network does what it
//! does to it; [`judge`] compares, at the end, what it saw with what is stored and with what was decided.

mod download;
mod judge;
#[cfg(test)]
mod tests;
mod witness;

use std::time::Duration;

pub use download::Asked;
pub use judge::{Ending, judge};
pub use witness::Witness;

/// Breaches that are told of one run at most: the first says what is wrong, and the rest follow from it.
const TOLD_MAX: usize = 20;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What was acknowledged is stored, and what was sent twice is accepted once.
    StoredOnce,
    /// A one-time token lets one device in.
    TokenOnce,
    /// What is over stays over: revoked devices, closed commands, ended rollouts.
    TerminalStays,
    /// A rollout that was aborted, and a release that was revoked, is offered to nobody.
    NothingAfterAbort,
    /// No stage is promoted before the outcomes, the time and the approval that its policy asks for.
    EvidenceFirst,
    /// Images go to registered devices alone, byte for byte as they were uploaded.
    ImagesToDevices,
    /// In fair weather every honest device is answered, and every command reaches its device.
    NoStarvation,
    /// No adversary has a success.
    NoAttackSucceeds,
    /// What the process holds in memory has a bound that does not grow with time.
    MemoryBounded,
}

impl Invariant {
    /// Every invariant.
    pub const ALL: [Self; 9] = [
        Self::StoredOnce,
        Self::TokenOnce,
        Self::TerminalStays,
        Self::NothingAfterAbort,
        Self::EvidenceFirst,
        Self::ImagesToDevices,
        Self::NoStarvation,
        Self::NoAttackSucceeds,
        Self::MemoryBounded,
    ];

    /// In words, for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoredOnce => "what was acknowledged is stored, once",
            Self::TokenOnce => "a one-time token is used once",
            Self::TerminalStays => "what is over stays over",
            Self::NothingAfterAbort => "what was aborted is offered to nobody",
            Self::EvidenceFirst => "no promotion without evidence",
            Self::ImagesToDevices => "images go to devices alone, byte for byte",
            Self::NoStarvation => "no honest device is starved",
            Self::NoAttackSucceeds => "no attack succeeds",
            Self::MemoryBounded => "memory stays bounded",
        }
    }
}

/// A invariant that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What happened.
    pub what: String,
    /// When it was seen, since the start of the run.
    pub at: Duration,
}
