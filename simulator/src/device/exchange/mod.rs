//! What a device says to the server and takes from its answers: one file for each kind of message, and one list of them.
//!
//! An exchange is pure: it reads and changes the [`Machine`], and knows no clock, no timers and no network. When it takes place
//! is for the actor to say.

mod artifact;
mod attendance;
mod command_ack;
mod firmware_status;
mod heartbeat;
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
    message::Request as Message,
    refusal::{RefusalCode, RefusalDocument},
    signature::{OpenError, Reply, SignedRequest, sign_request},
    time::UnixMs,
};
use serde_json::Value;

use super::machine::Machine;
use crate::link::HttpRequest;

/// One kind of exchange with the server.
pub trait Exchange: Sync {
    /// The name in reports and in the event log.
    fn name(&self) -> &'static str;

    /// Whether a registered device has such a thing to say unasked. Never so of what its timers or its standing call for.
    fn is_due(&self, machine: &Machine) -> bool;

    /// Whether a device that can't get it through is starved.
    fn is_waited_for(&self) -> bool {
        true
    }

    /// The next request. None if there is nothing to say, after all.
    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing>;

    /// Takes the answer.
    ///
    /// # Errors
    /// It is not to be believed, or can't be read.
    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<Taken, OpenError>;
}

macro_rules! exchanges {
    ($($(#[$doc:meta])* $name:ident($exchange:path, $urgency:literal),)*) => {
        /// What kind of message a request carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum MessageType {
            $($(#[$doc])* $name,)*
        }

        impl MessageType {
            /// Every type, in the order of reports.
            pub const ALL: [Self; [$($urgency),*].len()] = [$(Self::$name),*];

            /// What is said and taken.
            pub fn exchange(self) -> &'static dyn Exchange {
                match self {
                    $(Self::$name => &$exchange,)*
                }
            }

            /// Of several that are due the least number goes first.
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

/// All that a registered device has to say unasked.
pub fn pending(machine: &Machine) -> impl Iterator<Item = MessageType> {
    MessageType::ALL.into_iter().filter(|kind| kind.exchange().is_due(machine))
}

/// The most pressing of it.
pub fn due(machine: &Machine) -> Option<MessageType> {
    pending(machine).min_by_key(|kind| kind.urgency())
}

/// What the event log says of an exchange besides its end.
pub type Notes = Vec<(&'static str, Value)>;

/// A request as it leaves.
pub struct Outgoing {
    /// For the link.
    pub http: HttpRequest,
    /// The document that it carries; empty where it carries none.
    pub wire: String,
    /// What its answer is bound to.
    pub sig_dev: String,
    /// For the event log.
    pub notes: Notes,
}

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// HTTP status.
    pub status: u16,
    /// What it must be bound to.
    pub sig_dev: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// From the moment the request was sent.
    pub took: Duration,
}

/// What an answer comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Why the request was refused; none where it was not.
    pub refusal: Option<RefusalCode>,
    /// Milliseconds until the next beat or the next try, as the server says.
    pub wait_ms: Option<u64>,
    /// What it made the device do.
    pub done: Done,
    /// For the event log.
    pub notes: Notes,
}

/// What answers made a device do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Commands carried out and acknowledged as such.
    pub commands_succeeded: u64,
    /// Commands carried out although they had been before: a defect of the device.
    pub commands_applied_twice: u64,
    /// Its own key was rotated.
    pub keys_rotated: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, more: Self) {
        self.commands_succeeded += more.commands_succeeded;
        self.commands_applied_twice += more.commands_applied_twice;
        self.keys_rotated += more.keys_rotated;
    }
}

impl Outgoing {
    /// Signs a document of the machine's; None if it can't be written, which would show as a message that is never sent: ours
    /// always can.
    fn signed<R: Message>(machine: &Machine, document: &R) -> Option<Self> {
        Self::post(R::PATH, sign_request(&machine.key, document))
    }

    fn post(path: &'static str, signed: Result<SignedRequest, DocumentError>) -> Option<Self> {
        let SignedRequest { wire, sig_dev } = signed.ok()?;
        Some(Self { http: post(path, &wire), wire, sig_dev: sig_dev.to_string(), notes: Vec::new() })
    }
}

impl Incoming<'_> {
    /// The answer, if the machine believes it; what a refusal says of the device itself is taken.
    fn open<T: serde::de::DeserializeOwned>(&self, machine: &mut Machine) -> Result<Reply<T>, OpenError> {
        let Self { status, sig_dev, body, .. } = *self;
        machine.open(status, sig_dev, body)
    }
}

impl Taken {
    /// A reply that says nothing of when to speak again, unless it is a refusal.
    fn of<T>(reply: &Reply<T>) -> Self {
        match reply {
            Reply::Answer(_) => Self::default(),
            Reply::Refused(refusal) => Self::refused(refusal),
        }
    }

    fn refused(refusal: &RefusalDocument) -> Self {
        let wait_ms = refusal.retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
        Self { refusal: Some(refusal.code), wait_ms, ..Self::default() }
    }
}

/// A document as an HTTP request.
pub fn post(path: &'static str, wire: &str) -> HttpRequest {
    let mut request = Request::new(Bytes::copy_from_slice(wire.as_bytes()).into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    request
}

/// A request without a document.
fn get(path: &str, otherwise: &'static str) -> HttpRequest {
    let mut request = Request::new(Bytes::new().into());
    *request.uri_mut() = path.parse().unwrap_or(Uri::from_static(otherwise));
    request
}
