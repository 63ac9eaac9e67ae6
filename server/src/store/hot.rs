//! Hot work: the requests that every device of a fleet sends frequently. The writer runs it in batches, in which each device occurs
//! at most once.

use ks_protocol::{
    id::DeviceId,
    message::{FirmwareStatus, Heartbeat, Request as _},
};

use super::{
    commands::AckBatch,
    devices::{Pair, Sender},
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

/// Hot work with its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct HotRequest {
    pub sender: Sender,
    pub work: HotWork,
}

impl HotWork {
    /// The device that sends it.
    pub fn device_id(&self) -> &DeviceId {
        match self {
            Self::Beat(Beat { heartbeat: Heartbeat { device_id, .. }, .. })
            | Self::Acks(AckBatch { device_id, .. })
            | Self::Punches(PunchBatch { device_id, .. })
            | Self::Lines(LogBatch { device_id, .. })
            | Self::Status(StatusReport { status: FirmwareStatus { device_id, .. }, .. }) => device_id,
        }
    }
}

impl HotRequest {
    pub fn pair(&self) -> Pair<'_> {
        let (sequence, at) = match &self.work {
            HotWork::Beat(Beat { heartbeat, at }) => (heartbeat.sequence(), *at),
            HotWork::Acks(AckBatch { sequence, at, .. })
            | HotWork::Punches(PunchBatch { sequence, at, .. })
            | HotWork::Lines(LogBatch { sequence, at, .. }) => (*sequence, *at),
            HotWork::Status(StatusReport { status, at }) => (status.sequence(), *at),
        };
        Pair { sender: self.sender, device_id: self.work.device_id(), sequence, at }
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
