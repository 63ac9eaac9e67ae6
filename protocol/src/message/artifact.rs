//! GET /firmware/artifacts/{sha256}: a signed request for an image. A GET has no body, so the document is sent in a header.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::{Request, type_line};
use crate::{
    id::{DeviceId, Seq, Sequence},
    number::integer,
    text::Sha256,
    time::UnixMs,
};

type_line!(FirmwareArtifactType = "firmware_artifact");

/// The header that carries the document, in base64.
pub const REQUEST_HEADER: &str = "ks-request";

/// The request. The path, which is signed too, says what is requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareArtifact {
    #[serde(rename = "type")]
    pub kind: FirmwareArtifactType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
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

/// The document in the value of [`REQUEST_HEADER`]; none if that is not canonical base64.
pub fn document_of_header(value: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(value).ok()
}
