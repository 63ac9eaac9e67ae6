//! What the oracle gets to know of a request and of its answer: facts of the protocol, none of the limiter.

use hyper::{HeaderMap, Method};
use ks_protocol::{
    document,
    id::Sequence,
    message::{
        AcksRecorded, Attendance, CommandAck, FirmwareArtifact, FirmwareStatus, Heartbeat, Logs, LogsStored,
        PunchesStored, REQUEST_HEADER, Register, Request, RotateKey, document_of_header,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{SIG_DEV, SIG_SERV},
};

use super::{device::Charges, values::LimitName};

/// What a row that is stored counts, for the limit of stored bytes.
const ROW_BYTES: u64 = 128;
/// What a log line counts in addition to its message.
const LINE_BYTES: u64 = 64;

/// How the message of a refusal by the limit on writes in progress begins.
const OVERLOAD: &str = "the server is overloaded: ";

/// An endpoint whose requests are signed by devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Register,
    Heartbeat,
    CommandAck,
    FirmwareStatus,
    Logs,
    Attendance,
    RotateKey,
    Artifact,
}

impl Endpoint {
    /// The endpoint of a request; none if it is none of these.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        if method == Method::GET {
            return path.starts_with("/firmware/artifacts/").then_some(Self::Artifact);
        }
        let endpoint = match path {
            Register::PATH => Self::Register,
            Heartbeat::PATH => Self::Heartbeat,
            CommandAck::PATH => Self::CommandAck,
            FirmwareStatus::PATH => Self::FirmwareStatus,
            Logs::PATH => Self::Logs,
            Attendance::PATH => Self::Attendance,
            RotateKey::PATH => Self::RotateKey,
            _ => return None,
        };
        (method == Method::POST).then_some(endpoint)
    }

    /// Its path, for people.
    pub fn path(self) -> &'static str {
        match self {
            Self::Register => Register::PATH,
            Self::Heartbeat => Heartbeat::PATH,
            Self::CommandAck => CommandAck::PATH,
            Self::FirmwareStatus => FirmwareStatus::PATH,
            Self::Logs => Logs::PATH,
            Self::Attendance => Attendance::PATH,
            Self::RotateKey => RotateKey::PATH,
            Self::Artifact => FirmwareArtifact::PATH,
        }
    }

    fn body_bytes_max(self) -> usize {
        match self {
            Self::Register => Register::BODY_BYTES_MAX,
            Self::Heartbeat => Heartbeat::BODY_BYTES_MAX,
            Self::CommandAck => CommandAck::BODY_BYTES_MAX,
            Self::FirmwareStatus => FirmwareStatus::BODY_BYTES_MAX,
            Self::Logs => Logs::BODY_BYTES_MAX,
            Self::Attendance => Attendance::BODY_BYTES_MAX,
            Self::RotateKey => RotateKey::BODY_BYTES_MAX,
            Self::Artifact => FirmwareArtifact::BODY_BYTES_MAX,
        }
    }

    /// Whether a document is a valid message of the endpoint.
    fn reads(self, body: &str) -> bool {
        match self {
            Self::Register => document::decode::<Register>(body).is_ok(),
            Self::Heartbeat => document::decode::<Heartbeat>(body).is_ok(),
            Self::CommandAck => document::decode::<CommandAck>(body).is_ok(),
            Self::FirmwareStatus => document::decode::<FirmwareStatus>(body).is_ok(),
            Self::Logs => document::decode::<Logs>(body).is_ok(),
            Self::Attendance => document::decode::<Attendance>(body).is_ok(),
            Self::RotateKey => document::decode::<RotateKey>(body).is_ok(),
            Self::Artifact => document::decode::<FirmwareArtifact>(body).is_ok(),
        }
    }
}

/// A request as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub endpoint: Endpoint,
    /// The document; none if the message was handed over as a value.
    pub wire: Option<&'a [u8]>,
    /// The device that it names, and its pair, as far as a quick look shows; a malformed document may show them too.
    pub named: Option<(&'a str, Sequence)>,
    /// The heartbeat, if it was handed over as a value.
    pub beat: Option<&'a Heartbeat>,
}

impl<'a> Sent<'a> {
    /// A request with this document.
    pub fn of(endpoint: Endpoint, wire: &'a [u8]) -> Self {
        let named = std::str::from_utf8(wire).ok().and_then(named_in);
        Self { endpoint, wire: Some(wire), named, beat: None }
    }

    /// A heartbeat that was handed over as a value.
    pub fn value(beat: &'a Heartbeat) -> Self {
        let named = Some((beat.device_id.as_str(), beat.sequence()));
        Self { endpoint: Endpoint::Heartbeat, wire: None, named, beat: Some(beat) }
    }

    /// Whether its body is larger than the endpoint accepts: it is refused before any limit is asked.
    pub fn is_too_large(&self) -> bool {
        let bytes_max = self.endpoint.body_bytes_max();
        self.endpoint != Endpoint::Artifact && self.wire.is_some_and(|wire| wire.len() > bytes_max)
    }

    /// Whether it is a heartbeat with ACKs.
    pub fn has_acks(&self) -> bool {
        let has_acks = |beat: &Heartbeat| !beat.acks.as_slice().is_empty();
        let in_wire = || {
            let signed = document::split(self.wire?, SIG_DEV).ok()?;
            document::decode::<Heartbeat>(signed.body).ok()
        };
        self.beat.map_or_else(|| in_wire().is_some_and(|beat| has_acks(&beat)), has_acks)
    }

    /// Whether the whole document is valid.
    pub fn is_well_formed(&self) -> bool {
        let Some(wire) = self.wire else { return true };
        document::split(wire, SIG_DEV).is_ok_and(|signed| self.endpoint.reads(signed.body))
    }
}

/// The document of a GET.
pub fn document_in(headers: &HeaderMap) -> Option<Vec<u8>> {
    document_of_header(headers.get(REQUEST_HEADER)?.to_str().ok()?)
}

/// The device and the pair in a document: they come in this order.
fn named_in(document: &str) -> Option<(&str, Sequence)> {
    let mut lines = document.lines();
    let mut field = |name: &str| lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let device_id = field("device_id")?.trim_matches('"');
    let (boot_epoch, seq) = (field("boot_epoch")?.parse().ok()?, field("seq")?.parse().ok()?);
    Some((device_id, Sequence::new(boot_epoch, seq)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Accepted, with what was stored.
    Accepted(Stored),
    Refused(Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub code: RefusalCode,
    pub retry_after_s: Option<u64>,
    /// The limit that its message names.
    pub limit: Option<LimitName>,
    /// Its message is that of the limit on writes in progress.
    pub is_overload: bool,
    /// The last pair of the device, with STALE_SEQUENCE.
    pub kept: Option<Sequence>,
}

impl Refused {
    /// What a refusal says; none if it can't be read.
    pub fn read(body: &[u8]) -> Option<Self> {
        let signed = document::split(body, SIG_SERV).ok()?;
        document::decode::<RefusalDocument>(signed.body).ok().map(|refusal| Self::of(&refusal))
    }

    /// The same of a refusal that was handed over as a value.
    pub fn of(refusal: &RefusalDocument) -> Self {
        let kept = refusal.server_boot_epoch.zip(refusal.server_seq);
        Self {
            code: refusal.code,
            retry_after_s: refusal.retry_after_s,
            limit: LimitName::of_message(&refusal.message),
            is_overload: refusal.code == RefusalCode::Overloaded && refusal.message.starts_with(OVERLOAD),
            kept: kept.map(|(boot_epoch, seq)| Sequence { boot_epoch, seq }),
        }
    }
}

/// What an accepted request has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stored {
    /// Nothing: a download.
    #[default]
    Nothing,
    /// So many rows of equal cost.
    Rows(u64),
    Beat {
        has_commands: bool,
    },
    /// New punches.
    Punches(u64),
    /// Log lines: the number after the last that the server has now.
    Lines {
        next_line_no: u64,
    },
}

impl Stored {
    /// What a request has stored, by its answer.
    pub fn by(sent: &Sent<'_>, answer: &[u8]) -> Self {
        match sent.endpoint {
            Endpoint::Artifact => Self::Nothing,
            Endpoint::CommandAck => {
                let recorded: Option<AcksRecorded> = answered(answer);
                Self::Rows(recorded.map_or(0, |recorded| count(recorded.acks.as_slice().len())))
            }
            Endpoint::Attendance => {
                let stored: Option<PunchesStored> = answered(answer);
                Self::Punches(stored.map_or(0, |stored| stored.stored))
            }
            Endpoint::Logs => {
                let stored: Option<LogsStored> = answered(answer);
                Self::Lines { next_line_no: stored.map_or(0, |stored| stored.next_line_no.get()) }
            }
            Endpoint::Heartbeat => {
                let answer = std::str::from_utf8(answer).unwrap_or_default();
                let commands = answer.lines().find_map(|line| line.strip_prefix("commands["));
                Self::Beat { has_commands: commands.is_some_and(|count| !count.starts_with("0]")) }
            }
            _ => Self::Rows(1),
        }
    }

    /// The bytes of `rows` stored rows.
    pub(super) fn bytes_of(rows: u64) -> u64 {
        rows * ROW_BYTES
    }
}

impl Charges {
    /// The most that a request is charged for what it stores: as if all of it were new.
    pub(super) fn most_of(sent: &Sent<'_>) -> Self {
        let rows = |rows: usize| Stored::bytes_of(count(rows));
        let body = || Some(document::split(sent.wire?, SIG_DEV).ok()?.body);
        match sent.endpoint {
            Endpoint::Artifact => Self::default(),
            Endpoint::CommandAck => {
                let acks = body().and_then(|body| document::decode::<CommandAck>(body).ok());
                Self { bytes: rows(acks.map_or(0, |ack| ack.acks.as_slice().len())), ..Self::default() }
            }
            Endpoint::Attendance => {
                let punches = body().and_then(|body| document::decode::<Attendance>(body).ok());
                let punches = punches.map_or(0, |attendance| attendance.punches.as_slice().len());
                Self { bytes: rows(punches), punches: count(punches), ..Self::default() }
            }
            Endpoint::Logs => {
                let bytes = new_line_bytes(sent, 0).unwrap_or(0);
                Self { bytes, lines: bytes, ..Self::default() }
            }
            _ => Self { bytes: rows(1), ..Self::default() },
        }
    }
}

fn answered<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Option<T> {
    document::decode(document::split(answer, SIG_SERV).ok()?.body).ok()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The bytes of the new lines of a request, which are its last ones, if the server had all lines before `next_before`.
pub(super) fn new_line_bytes(sent: &Sent<'_>, next_before: u64) -> Option<u64> {
    let signed = document::split(sent.wire?, SIG_DEV).ok()?;
    let logs: Logs = document::decode(signed.body).ok()?;
    let known = usize::try_from(next_before.saturating_sub(logs.first_line_no.get())).unwrap_or(usize::MAX);
    let new = logs.lines.as_slice().get(known..).unwrap_or_default();
    Some(new.iter().map(|line| count(line.message.as_str().len()) + LINE_BYTES).sum())
}
