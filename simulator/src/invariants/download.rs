//! Downloads at the server's edge: which devices get images, and whether the bytes are those that were uploaded.

use std::time::Duration;

use crate::number::counted;

use hyper::{HeaderMap, header};
use ks_protocol::{
    document,
    message::{FirmwareArtifact, REQUEST_HEADER, document_of_header},
    number::digits,
    signature::SIG_DEV,
    text::hex,
};
use sha2::{Digest, Sha256};

use super::{Invariant, witness::Observations};

/// The path of an image, before its hash.
const PATH: &str = "/firmware/artifacts/";

/// A download request, before the server has answered.
#[derive(Debug, Clone)]
pub struct DownloadRequest {
    at: Duration,
    /// As the path says.
    sha256: String,
    /// The device in the request; none if it has no signed header.
    device_id: Option<String>,
    /// The first requested byte; none in a request for the whole image.
    from: Option<usize>,
}

impl DownloadRequest {
    /// None if the request is not for an image.
    pub fn of(at: Duration, path: &str, headers: &HeaderMap) -> Option<Self> {
        let sha256 = path.strip_prefix(PATH)?.to_owned();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let device_id = text(REQUEST_HEADER).and_then(document_of_header).and_then(|wire| {
            let body = document::split(&wire, SIG_DEV).ok()?.body;
            document::decode::<FirmwareArtifact>(body).ok().map(|asked| asked.device_id.to_string())
        });
        let range = text(header::RANGE.as_str()).and_then(|range| range.strip_prefix("bytes="));
        let from = range.and_then(|range| range.split_once('-')).and_then(|(from, _)| digits(from));
        Some(Self { at, sha256, device_id, from })
    }
}

impl Observations {
    /// An image was uploaded.
    pub(super) fn uploaded(&mut self, image: &[u8]) {
        self.images.insert(hex(&Sha256::digest(image)), image.to_vec());
    }

    /// The server sent the requested image, or the part of it.
    pub(super) fn downloaded(&mut self, at: Duration, asked: &DownloadRequest, is_part: bool, body: &[u8]) {
        let DownloadRequest { sha256, device_id, from, .. } = asked;
        let device = device_id.as_ref().and_then(|device_id| self.devices.get(device_id));
        let (is_registered, revoked_at) =
            device.map_or((false, None), |device| (device.is_registered, device.revoked_at));
        let who = device_id.as_deref().unwrap_or("an unknown device");
        if !is_registered {
            let what = format!("{who} never registered and was sent bytes of the image {sha256}");
            self.violation(Invariant::ImagesToDevices, at, what);
        }
        if revoked_at.is_some_and(|revoked_at| revoked_at < asked.at) {
            let what = format!("{who} was sent bytes of the image {sha256} after it was revoked");
            self.violation(Invariant::TerminalStays, at, what);
        }
        let from = if is_part { from.unwrap_or(0) } else { 0 };
        let is_right = match self.images.get(sha256) {
            Some(image) if is_part => !body.is_empty() && image.get(from..).is_some_and(|rest| rest.starts_with(body)),
            Some(image) => image == body,
            // The answer to its upload was lost; a whole image can be checked against its hash.
            None => is_part || hex(&Sha256::digest(body)) == *sha256,
        };
        if !is_right {
            let what = format!(
                "{who} was sent {} from {from} on, not those of the image {sha256}",
                counted(body.len(), "byte")
            );
            self.violation(Invariant::ImagesToDevices, at, what);
        }
    }
}
