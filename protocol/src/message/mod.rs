//! The messages, one file per endpoint.

mod artifact;
mod attendance;
mod command;
mod command_ack;
mod firmware_status;
mod heartbeat;
mod keyset;
mod logs;
mod register;
mod rotate_key;

pub use artifact::{FirmwareArtifact, REQUEST_HEADER, document_of_header, header_of_document};
pub use attendance::{Attendance, Direction, PUNCHES_MAX, Punch, PunchMethod, PunchesStored};
pub use command::{
    ARGUMENT_BYTES_MAX, AddKey, CommandOrder, Custom, FetchLogs, HaltUpdates, InvalidCommand, SetConfig,
};
pub use command_ack::{Ack, AckRecorded, AckState, AcksRecorded, CommandAck};
pub use firmware_status::{FirmwareStatus, FirmwareStatusRecorded, UpdateClass, UpdateStep};
pub use heartbeat::{Command, Firmware, Heartbeat, Network, NextBeat, Offer};
pub use keyset::{Keyset, KeysetEntry, KeysetError, KeysetSignature, ServerKeyState, Trust};
pub use logs::{LINES_MAX, LogLevel, LogLine, Logs, LogsStored};
pub use register::{Register, Registered};
pub use rotate_key::{KeyRotated, RotateKey};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    id::{DeviceId, Sequence},
    key::PublicKey,
};

/// What all signed requests have in common.
pub trait Request: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The HTTP method. The document of a GET request is sent in [`REQUEST_HEADER`].
    const METHOD: &'static str = "POST";
    /// The route.
    const PATH: &'static str;
    /// Size limit of the document, in bytes.
    const BODY_BYTES_MAX: usize;
    /// The device that claims to send it.
    fn device_id(&self) -> &DeviceId;
    fn sequence(&self) -> Sequence;
    /// The public key that the message claims for the device, if any.
    fn claimed_key(&self) -> Option<&PublicKey> {
        None
    }
}

/// Declares the `type:` line of a message: a type with a single value.
macro_rules! type_line {
    ($name:ident = $word:literal) => {
        /// The `type:` line of the message; it has a single value.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            #[default]
            #[serde(rename = $word)]
            It,
        }
    };
}
pub(crate) use type_line;

/// Implements [`Request`] for a message with the usual fields.
macro_rules! request {
    ($name:ident, $path:literal, $bytes_max:expr $(, $claimed_key:ident)?) => {
        impl crate::message::Request for $name {
            const PATH: &'static str = $path;
            const BODY_BYTES_MAX: usize = $bytes_max;
            fn device_id(&self) -> &crate::id::DeviceId {
                &self.device_id
            }
            fn sequence(&self) -> crate::id::Sequence {
                crate::id::Sequence { boot_epoch: self.boot_epoch, seq: self.seq }
            }
            $(fn claimed_key(&self) -> Option<&crate::key::PublicKey> {
                Some(&self.$claimed_key)
            })?
        }
    };
}
use request;
