//! Background failures of a fleet, which no release causes: what `[[fleet.churn]]` declares.

use std::time::Duration;

use super::hours::Hours;

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChurnKind {
    /// It has no power for a while.
    Unplugged,
    /// It is gone for good.
    Removed,
    /// It has no power for a while, and then is at another site.
    Moved,
    /// It has no power in these hours of every day.
    SiteCloses,
    /// Its requests and answers are lost at times.
    FlakyLink,
    /// It is gone for good, and after a while another device takes its place.
    Swapped,
}

impl ChurnKind {
    pub const ALL: [Self; 6] =
        [Self::Unplugged, Self::Removed, Self::Moved, Self::SiteCloses, Self::FlakyLink, Self::Swapped];

    /// The word in scenarios, in the event log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Removed => "removed",
            Self::Moved => "moved",
            Self::SiteCloses => "site_closes",
            Self::FlakyLink => "flaky_link",
            Self::Swapped => "swapped",
        }
    }

    /// Whether the device never comes back.
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Removed | Self::Swapped)
    }
}

/// One kind of background failure, and the devices that it happens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Churn {
    pub kind: ChurnKind,
    pub when: ChurnTime,
    /// Share of requests, and of answers, that a flaky link loses, in basis points; otherwise 0.
    pub loss_bp: u16,
    /// It happens to this model only.
    pub only_model: Option<String>,
    /// It happens to devices of this site only: the site of the inventory, even if a device has moved.
    pub only_site: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChurnTime {
    /// At a random moment of the day, to this share of the devices on each day of the run, in basis points.
    PerDay {
        share_bp: u16,
        /// For about so long: from half of it to one and a half times as long. Zero: for good. Of a swapped device: until another
        /// one is in its place.
        lasts: Duration,
    },
    /// Every day in these hours.
    Daily(Hours),
}
