//! Hot work: the requests that every device of a fleet sends frequently. The writer runs it in batches, in which each device occurs
//! at most once.

use super::{
    commands::AckBatch,
    devices::Pair,
    heartbeats::{Beat, Due},
    logs::{LogBatch, LogsTaken},
    punches::{PunchBatch, PunchesTaken},
    updates::{StatusReport, StatusTaken},
};
use crate::command::CommandState;

/// A verified request of a device, with its replay pair and when it was received. The decisions are in [`crate::rules::hot`].
#[derive(Debug, Clone, PartialEq)]
pub enum HotWork {
    Beat(Beat),
    Acks(AckBatch),
    Punches(PunchBatch),
    Lines(LogBatch),
    Status(StatusReport),
}

/// The result of hot work, of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub enum HotDone {
    Beat(Due),
    /// The state of each command, none where the device has no such command.
    Acks(Vec<Option<CommandState>>),
    Punches(PunchesTaken),
    Lines(LogsTaken),
    Status(StatusTaken),
}

impl HotWork {
    /// Which device sends it, its replay pair, and when it was received.
    pub fn pair(&self) -> Pair<'_> {
        match self {
            Self::Beat(beat) => beat.pair(),
            Self::Acks(AckBatch { device_id, sequence, at, .. })
            | Self::Punches(PunchBatch { device_id, sequence, at, .. })
            | Self::Lines(LogBatch { device_id, sequence, at, .. }) => Pair { device_id, sequence: *sequence, at: *at },
            Self::Status(report) => report.pair(),
        }
    }
}

/// One kind of hot work, with the type of its result.
pub trait Hot: Into<HotWork> {
    type Done;
    /// The result, if it is one of this kind.
    fn done(done: HotDone) -> Option<Self::Done>;
}

macro_rules! hot {
    ($($kind:ident: $work:ty => $done:ty;)+) => {$(
        impl From<$work> for HotWork {
            fn from(work: $work) -> Self {
                Self::$kind(work)
            }
        }

        impl Hot for $work {
            type Done = $done;

            fn done(done: HotDone) -> Option<Self::Done> {
                if let HotDone::$kind(done) = done { Some(done) } else { None }
            }
        }
    )+};
}

hot! {
    Beat: Beat => Due;
    Acks: AckBatch => Vec<Option<CommandState>>;
    Punches: PunchBatch => PunchesTaken;
    Lines: LogBatch => LogsTaken;
    Status: StatusReport => StatusTaken;
}
