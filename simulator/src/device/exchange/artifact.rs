//! A piece of a firmware image: verified by the manifest's hash, not by a signature of the answer.

use hyper::header;
use ks_protocol::{
    document::DocumentError,
    id::Sequence,
    message::{FirmwareArtifact, REQUEST_HEADER, header_of_document},
    signature::{OpenError, Reply, SignedRequest, sign_request_to},
    time::UnixMs,
};
use serde::de::IgnoredAny;

use super::{AnswerEffect, Exchange, Incoming, Outgoing, get};
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

    /// Downloads are limited by design, so a wait is no starvation.
    fn must_get_through(&self) -> bool {
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

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let from = machine.firmware.wanted().map_or(0, |piece| piece.from);
        if answer.status == 206 || (answer.status == 200 && from == 0) {
            let took_ms = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
            machine.firmware.fetched(answer.body, took_ms);
            return Ok(AnswerEffect::default());
        }
        match answer.open::<IgnoredAny>(machine)? {
            Reply::Refused(refusal) => Ok(AnswerEffect::refused(&refusal)),
            Reply::Answer(_) => Err(DocumentError::Malformed { what: "no refusal".to_owned() }.into()),
        }
    }
}

/// GET of a piece, authorized by the document; `If-Range` keeps pieces of another artifact out.
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
