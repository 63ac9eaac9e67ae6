//! GET /firmware/artifacts/{sha256}: who asks for an image. A GET has no body, so the document travels in a header.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::{Request, type_line};
use crate::{
    id::{DeviceId, Seq, Sequence},
    number::whole,
    text::Sha256,
    time::UnixMs,
};

type_line!(FirmwareArtifactType = "firmware_artifact");

/// The header that carries the document, in base64.
pub const REQUEST_HEADER: &str = "ks-request";

/// The request. What it asks for is the path's business, which is signed along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareArtifact {
    /// `firmware_artifact`.
    #[serde(rename = "type")]
    pub kind: FirmwareArtifactType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
}

impl FirmwareArtifact {
    /// The path of the image with that hash.
    pub fn path_of(sha256: Sha256) -> String {
        format!("/firmware/artifacts/{sha256}")
    }
}

impl Request for FirmwareArtifact {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/firmware/artifacts/{sha256}";
    const BODY_BYTES_MAX: usize = 1024;
    fn device_id(&self) -> &DeviceId {
        &self.device_id
    }
    fn sequence(&self) -> Sequence {
        Sequence { boot_epoch: self.boot_epoch, seq: self.seq }
    }
}

/// A signed document as the value of [`REQUEST_HEADER`].
pub fn header_of_document(wire: &str) -> String {
    Base64::encode_string(wire.as_bytes())
}

/// The document that stands in the value of [`REQUEST_HEADER`]; none if it is no canonical base64.
pub fn document_of_header(value: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(value).ok()
}
