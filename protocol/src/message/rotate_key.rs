//! POST /rotate-key: a device's new key, signed by the old one.
//!
//! The document is signed (SIG_DEV) with the key that the server knows, and carries a proof that the device holds the
//! new one. A device that got no response sends it again signed with the *new* key: if the rotation was stored, the server knows that
//! key by now, and the response is the same.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq, Sequence},
    key::{PrivateKey, PublicKey},
    number::integer,
    signature::{Context, Signature, signing_input},
    text::Text,
    time::UnixMs,
};

type_line!(RotateKeyType = "rotate_key");
type_line!(KeyRotatedType = "key_rotated");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateKey {
    #[serde(rename = "type")]
    pub kind: RotateKeyType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    /// The key that the device signs with from now on; never used before by any device.
    pub new_public_key: PublicKey,
    /// Signature by the new key over `KS1 NEW-KEY DEVICE_ID\n`: 88 characters of base64.
    pub proof: Text<88>,
}
request!(RotateKey, "/rotate-key", 4 * 1024);

impl RotateKey {
    /// A request to replace the device's key by `new_key`, with the proof that the device holds it.
    pub fn new(device_id: DeviceId, sequence: Sequence, sent_at: UnixMs, new_key: &PrivateKey) -> Self {
        let Sequence { boot_epoch, seq } = sequence;
        let proof = Text::truncated(&new_key.sign(proof_input(&device_id).as_bytes()).to_string());
        let new_public_key = new_key.public_key();
        Self { kind: RotateKeyType::default(), device_id, boot_epoch, seq, sent_at, new_public_key, proof }
    }

    /// Whether the device holds the new key.
    pub fn is_proven(&self) -> bool {
        let Some(proof) = Signature::from_base64(self.proof.as_str()) else { return false };
        let input = proof_input(&self.device_id);
        self.new_public_key.verifier().is_ok_and(|key| key.verifies(input.as_bytes(), &proof))
    }
}

fn proof_input(device_id: &DeviceId) -> String {
    signing_input(Context::NewKey { device_id: device_id.as_str() }, "")
}

/// The response: the server accepts only the new key from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    #[serde(rename = "type")]
    pub kind: KeyRotatedType,
    /// The device's key, as stored by the server.
    pub public_key: PublicKey,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
