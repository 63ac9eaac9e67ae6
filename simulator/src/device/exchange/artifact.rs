//! A piece of a firmware image: the manifest's hash vouches for it, not a signature of the answer.

use hyper::header;
use ks_protocol::{
    document::DocumentError,
    id::Sequence,
    message::{FirmwareArtifact, REQUEST_HEADER, header_of_document},
    signature::{OpenError, Reply, SignedRequest, sign_request_to},
    time::UnixMs,
};
use serde::de::IgnoredAny;

use super::{Exchange, Incoming, Outgoing, Taken, get};
use crate::{
    device::{firmware::Piece, machine::Machine},
    link::HttpRequest,
};

pub(super) struct Fetch;

impl Exchange for Fetch {
    fn name(&self) -> &'static str {
        "artifact"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.firmware.wanted().is_some()
    }

    /// Pieces share a budget by design.
    fn is_waited_for(&self) -> bool {
        false
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let piece = machine.firmware.wanted()?;
        let path = FirmwareArtifact::path_of(piece.sha256);
        let Sequence { boot_epoch, seq } = machine.advance();
        let device_id = machine.device_id.clone();
        let request = FirmwareArtifact { kind: Default::default(), device_id, boot_epoch, seq, sent_at: now };
        let SignedRequest { wire, sig_dev } = sign_request_to(&machine.key, &path, &request).ok()?;
        Some(Outgoing { http: ranged(&path, piece, &wire), wire, sig_dev: sig_dev.to_string(), notes: Vec::new() })
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<Taken, OpenError> {
        let from = machine.firmware.wanted().map_or(0, |piece| piece.from);
        if answer.status == 206 || (answer.status == 200 && from == 0) {
            let took_ms = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
            machine.firmware.fetched(answer.body, took_ms);
            return Ok(Taken::default());
        }
        match answer.open::<IgnoredAny>(machine)? {
            Reply::Refused(refusal) => Ok(Taken::refused(&refusal)),
            Reply::Answer(_) => Err(DocumentError::Malformed { what: "no refusal".to_owned() }.into()),
        }
    }
}

/// GET of a piece, asked for by that document; the rest of another artifact would be worth nothing.
fn ranged(path: &str, piece: Piece, wire: &str) -> HttpRequest {
    let Piece { sha256, from, to } = piece;
    // Hex digits never make it no path, nor no header; base64 neither.
    let mut request = get(path, "/firmware/artifacts/");
    let headers = [
        (header::RANGE, format!("bytes={from}-{to}")),
        (header::IF_RANGE, format!("\"{sha256}\"")),
        (header::HeaderName::from_static(REQUEST_HEADER), header_of_document(wire)),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    request
}
