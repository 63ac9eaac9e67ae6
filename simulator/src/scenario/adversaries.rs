//! The adversaries of a plan.

use std::time::Duration;

/// Attackers of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adversary {
    pub kind: AdversaryKind,
    /// How many: 1 to 10,000.
    pub count: u16,
    pub addresses: Addresses,
    /// How many honest devices it names, the first of the fleet; none for all.
    pub victims: Option<u32>,
    /// Time between two attempts of one of them, at least 1 ms.
    pub interval: Duration,
    /// How many attempts it makes then, at least 1.
    pub at_once: u16,
    pub from: Duration,
    /// No attempt from here on; after `from`, at most the run's duration.
    pub until: Duration,
}

/// The addresses that attackers of one table have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Each has its own.
    Own,
    /// The honest fleet's address: neighbors behind the same NAT.
    Fleet,
    /// This many, divided among all of them: 1 to 10,000.
    Some(u16),
}

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdversaryKind {
    /// Signs with a key that is not the device's.
    Forger,
    /// Repeats requests of honest devices byte for byte.
    Replayer,
    /// Sends for a device that is not whitelisted.
    UnknownDevice,
    /// Has a device's own key.
    ClonedKey,
    /// Changes an honest request in transit.
    Tamperer,
    /// Signs with a key that is not the device's, with a pair that the device could send next.
    PairGuesser,
    /// A registered device that sends far more than it may.
    FaultyDevice,
    /// Opens connections and sends half a head on each.
    HalfRequest,
    /// Sends a body byte by byte.
    SlowBody,
    /// Sends the largest bodies that are read, and larger ones.
    BigBody,
}

impl AdversaryKind {
    pub const ALL: [Self; 10] = [
        Self::Forger,
        Self::Replayer,
        Self::UnknownDevice,
        Self::ClonedKey,
        Self::Tamperer,
        Self::PairGuesser,
        Self::FaultyDevice,
        Self::HalfRequest,
        Self::SlowBody,
        Self::BigBody,
    ];

    /// Whether it attacks sockets, which a rehearsal does not have.
    pub fn needs_sockets(self) -> bool {
        matches!(self, Self::HalfRequest | Self::SlowBody | Self::BigBody)
    }

    /// Whether each of its requests must be refused. A faulty device's budget allows some requests; a half request asks for
    /// nothing.
    pub fn must_be_refused(self) -> bool {
        !matches!(self, Self::FaultyDevice | Self::HalfRequest | Self::SlowBody)
    }

    /// Whether it sends in the name of honest devices that it chooses.
    pub fn names_victims(self) -> bool {
        matches!(self, Self::Forger | Self::ClonedKey | Self::PairGuesser)
    }

    /// Whether it uses what it has captured.
    pub fn needs_captured(self) -> bool {
        matches!(self, Self::Replayer | Self::Tamperer | Self::PairGuesser)
    }

    /// The name, as in a scenario.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forger => "forger",
            Self::Replayer => "replayer",
            Self::UnknownDevice => "unknown_device",
            Self::ClonedKey => "cloned_key",
            Self::Tamperer => "tamperer",
            Self::PairGuesser => "pair_guesser",
            Self::FaultyDevice => "faulty_device",
            Self::HalfRequest => "half_request",
            Self::SlowBody => "slow_body",
            Self::BigBody => "big_body",
        }
    }
}
