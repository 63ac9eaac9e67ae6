//! Creation of one-time registration tokens.

use base64ct::{Base64UrlUnpadded, Encoding};
use ks_protocol::{id::DeviceId, time::UnixMs};

use super::accounts::token_sha256;
use crate::{rng::ServerRng, store::devices::NewOtrts};

/// Creates tokens: their secrets, and their record for the store.
pub fn otrts(
    rng: &ServerRng,
    count: usize,
    expires_at: UnixMs,
    device_id: Option<DeviceId>,
    model: Option<String>,
) -> (Vec<String>, NewOtrts) {
    let tokens: Vec<String> = (0..count).map(|_| Base64UrlUnpadded::encode_string(&rng.bytes_32())).collect();
    let tokens_sha256 = tokens.iter().map(|token| token_sha256(token)).collect();
    (tokens, NewOtrts { tokens_sha256, expires_at, device_id, model })
}
