//! The one table of `ERR1` codes, and the document that carries one.

use serde::{Deserialize, Serialize};

use crate::{
    document::{self, DocumentError},
    id::Seq,
    time::UnixMs,
};

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $meaning:literal, $remedy:literal;)+) => {
        /// Why the server refused. A code is never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum RefusalCode {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)+
            /// A code that this program does not know yet; never sent.
            #[serde(other)]
            Unrecognised,
        }
        impl RefusalCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [RefusalCode] = &[$(RefusalCode::$variant,)+];
            /// The code as it stands after `ERR1: `.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ Self::Unrecognised => "UNRECOGNISED" }
            }
            /// The HTTP status that goes with the code.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ Self::Unrecognised => 500 }
            }
            /// What the code means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ Self::Unrecognised => "A code that this program does not know." }
            }
            /// What the device should do.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ Self::Unrecognised => "Retry with backoff." }
            }
        }
    };
}

refusal_codes! {
    Malformed = "MALFORMED", 400, "The document is not what this endpoint expects.", "Mend the client; do not retry the same bytes.";
    BadSignature = "BAD_SIGNATURE", 401, "SIG_DEV is not this device's signature over this document and path.", "Check the key and the signing input; do not retry the same bytes.";
    UnknownDevice = "UNKNOWN_DEVICE", 401, "No device of this name is whitelisted.", "Have an operator import the device.";
    Revoked = "REVOKED", 403, "The device is revoked; nothing was stored.", "Stop; an operator must re-provision the device with a new key.";
    NotRegistered = "NOT_REGISTERED", 403, "The device is whitelisted but has not registered.", "POST /register, then go on.";
    OtrtRequired = "OTRT_REQUIRED", 403, "This server registers devices with a one-time token only.", "Ask the factory for an OTRT and register with it.";
    OtrtInvalid = "OTRT_INVALID", 403, "The one-time token is unknown, expired, or bound to another device or model.", "Ask the factory for a new OTRT.";
    OtrtUsed = "OTRT_USED", 403, "The one-time token was used by another device or key.", "Ask the factory for a new OTRT.";
    KeyMismatch = "KEY_MISMATCH", 403, "The public key is not the one whitelisted for this device.", "Register with the key in the inventory, or have the device re-provisioned.";
    NotFound = "NOT_FOUND", 404, "There is no such endpoint.", "Check the path.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, "The endpoint does not take this HTTP method.", "Check the method.";
    RequestTimeout = "REQUEST_TIMEOUT", 408, "The request's body did not arrive in time.", "Retry with backoff.";
    KeyInUse = "KEY_IN_USE", 409, "A device has this public key, or had it before.", "Make a new key: none serves twice, also not on the same device.";
    StaleSequence = "STALE_SEQUENCE", 409, "(boot_epoch, seq) is not greater than the pair that is stored.", "Go on from server_boot_epoch and server_seq; if they are this device's own, the request was stored already.";
    TooLarge = "TOO_LARGE", 413, "The body is larger than this endpoint takes.", "Send less at a time.";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "The body is not text/toon in UTF-8.", "Send content-type: text/toon; charset=utf-8.";
    RateLimited = "RATE_LIMITED", 429, "Too many requests in too short a time.", "Wait retry_after_s, then go on.";
    Internal = "INTERNAL", 500, "The server failed; nothing is known to be stored.", "Retry with backoff.";
    Overloaded = "OVERLOADED", 503, "The server has more work than it can take in time.", "Wait retry_after_s, then retry.";
}

impl RefusalCode {
    /// Whether the server may send it before it has read SIG_DEV, bound to `-`. Such a refusal is a hint: it can have been
    /// the answer to another request.
    pub fn may_be_unbound(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::NotFound
                | Self::MethodNotAllowed
                | Self::RequestTimeout
                | Self::TooLarge
                | Self::UnsupportedMediaType
                | Self::RateLimited
                | Self::Internal
        )
    }
}

impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal as it is sent; its first line is `ERR1: CODE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDocument {
    /// The code.
    #[serde(rename = "ERR1")]
    pub code: RefusalCode,
    /// One sentence for a human.
    #[serde(default)]
    pub message: String,
    /// Seconds to wait before the next try, where waiting helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The stored boot_epoch, with STALE_SEQUENCE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_boot_epoch: Option<u32>,
    /// The stored seq, with STALE_SEQUENCE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_seq: Option<Seq>,
    /// The server's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<UnixMs>,
}

/// The longest wait, in seconds, that a device takes from a refusal which may be an old one.
pub const UNBOUND_RETRY_AFTER_S_MAX: u64 = 60;

impl RefusalDocument {
    /// What is left of a refusal that is not bound to the request, and may be an old one that somebody kept: no time, no pair,
    /// and a wait that nobody can be silenced with.
    #[must_use]
    pub fn unbound(self) -> Self {
        let retry_after_s = self.retry_after_s.map(|seconds| seconds.min(UNBOUND_RETRY_AFTER_S_MAX));
        Self { retry_after_s, server_boot_epoch: None, server_seq: None, server_time: None, ..self }
    }

    /// Reads `body` if it is a refusal; the compact `ERR1:CODE` is one too. None if it is something else.
    pub fn read(body: &str) -> Option<Result<Self, DocumentError>> {
        let rest = body.strip_prefix("ERR1:")?;
        Some(if rest.starts_with(' ') { document::decode(body) } else { document::decode(&format!("ERR1: {rest}")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_carry_their_text() {
        let mut texts: Vec<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), RefusalCode::ALL.len());
        for code in RefusalCode::ALL {
            let refusal = RefusalDocument {
                code: *code,
                message: code.meaning().to_owned(),
                retry_after_s: None,
                server_boot_epoch: None,
                server_seq: None,
                server_time: None,
            };
            let text = document::encode(&refusal).unwrap();
            assert!(text.starts_with(&format!("ERR1: {code}\n")), "{text}");
            assert_eq!(RefusalDocument::read(&text), Some(Ok(refusal)));
        }
    }

    #[test]
    fn the_compact_form_is_read_too() {
        let refusal = RefusalDocument::read("ERR1:REVOKED").unwrap().unwrap();
        assert_eq!(refusal.code, RefusalCode::Revoked);
        assert_eq!(RefusalDocument::read("type: heartbeat"), None);
        let newer = RefusalDocument::read("ERR1: FROM_THE_FUTURE").unwrap().unwrap();
        assert_eq!(newer.code, RefusalCode::Unrecognised);
    }
}
