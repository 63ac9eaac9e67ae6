//! A device's exchanges with the server: one file for each kind of message, and one list of them.
//!
//! An exchange is pure: it reads and changes the [`Machine`], and knows no clock, no timers and no network. The actor
//! decides when it takes place.

mod artifact;
mod attendance;
mod command_ack;
mod firmware_status;
pub(super) mod heartbeat;
mod keyset;
mod logs;
mod register;
mod rotate_key;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, Uri, header};
use ks_protocol::{
    MEDIA_TYPE,
    document::DocumentError,
    key::PrivateKey,
    message::Request as Message,
    refusal::{RefusalCode, RefusalDocument},
    signature::{OpenError, Reply, SignedRequest, sign_request},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use crate::link::HttpRequest;

/// One kind of exchange with the server.
pub trait Exchange: Sync {
    /// The name in reports and in the event log.
    fn name(&self) -> &'static str;

    /// Whether a registered device has such a message to send. Always false for messages started by timers or by the device's state.
    fn is_due(&self, machine: &Machine) -> bool;

    /// Whether a device counts as starved when this message is never accepted.
    fn must_get_through(&self) -> bool {
        true
    }

    /// The next request; none if there is nothing to send after all.
    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing>;

    /// Applies the answer to the machine.
    ///
    /// # Errors
    /// The answer can't be verified or read.
    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError>;
}

macro_rules! exchanges {
    ($($(#[$doc:meta])* $name:ident($exchange:path, $urgency:literal),)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum MessageType {
            $($(#[$doc])* $name,)*
        }

        impl MessageType {
            /// Every type, in the order of reports.
            pub const ALL: [Self; [$($urgency),*].len()] = [$(Self::$name),*];

            pub fn exchange(self) -> &'static dyn Exchange {
                match self {
                    $(Self::$name => &$exchange,)*
                }
            }

            /// Of several due messages, the one with the lowest number goes first.
            fn urgency(self) -> u8 {
                match self {
                    $(Self::$name => $urgency,)*
                }
            }
        }
    };
}

// The list, in the order of reports. The number says what goes first of several that are due: keys before what they sign.
exchanges! {
    /// POST /register.
    Register(register::Registration, 0),
    /// POST /heartbeat.
    Heartbeat(heartbeat::Beat, 0),
    /// POST /commands/ack.
    CommandAck(command_ack::Acks, 3),
    /// POST /attendance.
    Attendance(attendance::Attendances, 5),
    /// POST /logs.
    Logs(logs::Lines, 6),
    /// POST /rotate-key.
    RotateKey(rotate_key::NewKey, 2),
    /// GET /keys.
    Keyset(keyset::NextKeyset, 1),
    /// POST /firmware/status.
    FirmwareStatus(firmware_status::Status, 4),
    /// GET /firmware/artifacts/{sha256}.
    Artifact(artifact::Fetch, 7),
}

impl MessageType {
    /// The name in reports and in the event log.
    pub fn as_str(self) -> &'static str {
        self.exchange().name()
    }
}

/// All message kinds a registered device has to send now.
pub fn pending(machine: &Machine) -> impl Iterator<Item = MessageType> {
    MessageType::ALL.into_iter().filter(|kind| kind.exchange().is_due(machine))
}

/// The most urgent of them.
pub fn due(machine: &Machine) -> Option<MessageType> {
    most_urgent(pending(machine))
}

/// The most urgent of these.
pub fn most_urgent(kinds: impl IntoIterator<Item = MessageType>) -> Option<MessageType> {
    kinds.into_iter().min_by_key(|kind| kind.urgency())
}

/// Fields of an exchange in the event log, besides its outcome.
pub type Notes = Vec<(&'static str, Value)>;

/// A request ready to send.
pub struct Outgoing {
    pub http: HttpRequest,
    /// The document it carries; empty if none.
    pub wire: String,
    /// The signature that its answer is bound to.
    pub sig_dev: String,
    pub notes: Notes,
}

/// An answer, not verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub status: u16,
    /// The signature it must be bound to.
    pub sig_dev: &'a str,
    pub body: &'a [u8],
    /// Time since the request was sent.
    pub took: Duration,
}

/// The effect of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AnswerEffect {
    /// Why the request was refused; none if it succeeded.
    pub refusal: Option<RefusalCode>,
    /// Milliseconds until the next beat or retry, as the server asked.
    pub wait_ms: Option<u64>,
    pub done: ActionCounts,
    pub notes: Notes,
}

/// Counts of what answers made a device do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionCounts {
    /// Commands executed and acknowledged.
    pub commands_succeeded: u64,
    /// Commands executed a second time: a defect of the device.
    pub commands_applied_twice: u64,
    /// Rotations of its own key.
    pub keys_rotated: u64,
}

impl std::ops::AddAssign for ActionCounts {
    fn add_assign(&mut self, more: Self) {
        self.commands_succeeded += more.commands_succeeded;
        self.commands_applied_twice += more.commands_applied_twice;
        self.keys_rotated += more.keys_rotated;
    }
}

impl Outgoing {
    /// Signs a document. None if it can't be encoded, which never happens with ours and would show as a message that is never sent.
    pub(super) fn signed<R: Message>(key: &PrivateKey, document: &R) -> Option<Self> {
        Self::post(R::PATH, sign_request(key, document))
    }

    fn post(path: &'static str, signed: Result<SignedRequest, DocumentError>) -> Option<Self> {
        let SignedRequest { wire, sig_dev } = signed.ok()?;
        Some(Self { http: post(path, &wire), wire, sig_dev: sig_dev.to_string(), notes: Vec::new() })
    }
}

impl Incoming<'_> {
    /// Verifies the answer; a refusal about the device itself changes the machine's state.
    fn open<T: serde::de::DeserializeOwned>(&self, machine: &mut Machine) -> Result<Reply<T>, OpenError> {
        let Self { status, sig_dev, body, .. } = *self;
        machine.open(status, sig_dev, body)
    }
}

impl AnswerEffect {
    /// The effect of a reply that carries no wait, unless it is a refusal.
    fn of<T>(reply: &Reply<T>) -> Self {
        match reply {
            Reply::Answer(_) => Self::default(),
            Reply::Refused(refusal) => Self::refused(refusal),
        }
    }

    /// Whether a limit of the server refused the request.
    pub fn is_limited(&self) -> bool {
        matches!(self.refusal, Some(RefusalCode::RateLimited | RefusalCode::Overloaded))
    }

    fn refused(refusal: &RefusalDocument) -> Self {
        let wait_ms = refusal.retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
        Self { refusal: Some(refusal.code), wait_ms, ..Self::default() }
    }
}

/// A POST of a document.
pub fn post(path: &'static str, wire: &str) -> HttpRequest {
    let mut request = Request::new(Bytes::copy_from_slice(wire.as_bytes()).into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    request
}

/// A GET, which carries no document.
fn get(path: &str, otherwise: &'static str) -> HttpRequest {
    let mut request = Request::new(Bytes::new().into());
    *request.uri_mut() = path.parse().unwrap_or(Uri::from_static(otherwise));
    request
}
