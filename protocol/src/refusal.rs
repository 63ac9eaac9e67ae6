//! The one table of `ERR1` codes, and the refusal document.

use serde::{Deserialize, Serialize};

use crate::{
    document::{self, DocumentError},
    id::Seq,
    time::UnixMs,
};

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $meaning:literal, $help:literal;)+) => {
        /// Why the server refused. A code is never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum RefusalCode {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)+
            /// An unknown code of a newer server; never sent.
            #[serde(other)]
            Unrecognised,
        }
        impl RefusalCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [RefusalCode] = &[$(RefusalCode::$variant,)+];
            /// The code as written after `ERR1: `.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ Self::Unrecognised => "UNRECOGNISED" }
            }
            /// The HTTP status of the code.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ Self::Unrecognised => 500 }
            }
            /// What the code means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ Self::Unrecognised => "An unknown code." }
            }
            /// What the device should do.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ Self::Unrecognised => "Retry with backoff." }
            }
        }
    };
}

refusal_codes! {
    Malformed = "MALFORMED", 400, "The document is not what this endpoint expects.", "Fix the client; do not retry the same bytes.";
    BadSignature = "BAD_SIGNATURE", 401, "SIG_DEV is not this device's signature over this document and path.", "Check the key and the signing input; do not retry the same bytes.";
    UnknownDevice = "UNKNOWN_DEVICE", 401, "No device with this id is whitelisted.", "Have an operator import the device.";
    Revoked = "REVOKED", 403, "The device is revoked; nothing was stored.", "Stop; an operator must re-provision the device with a new key.";
    NotRegistered = "NOT_REGISTERED", 403, "The device is whitelisted but has not registered.", "POST /register, then continue.";
    OtrtRequired = "OTRT_REQUIRED", 403, "This server registers devices with a one-time token only.", "Ask the factory for an OTRT and register with it.";
    OtrtInvalid = "OTRT_INVALID", 403, "The one-time token is unknown, expired, or bound to another device or model.", "Ask the factory for a new OTRT.";
    OtrtUsed = "OTRT_USED", 403, "The one-time token was used by another device or key.", "Ask the factory for a new OTRT.";
    KeyMismatch = "KEY_MISMATCH", 403, "The public key is not the one whitelisted for this device.", "Register with the key in the inventory, or have the device re-provisioned.";
    NotFound = "NOT_FOUND", 404, "There is no such endpoint.", "Check the path.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, "The endpoint does not support this HTTP method.", "Check the method.";
    RequestTimeout = "REQUEST_TIMEOUT", 408, "The request's body did not arrive in time.", "Retry with backoff.";
    KeyInUse = "KEY_IN_USE", 409, "This public key is, or was, in use by a device.", "Generate a new key; a key is never reused, not even on the same device.";
    StaleSequence = "STALE_SEQUENCE", 409, "(boot_epoch, seq) is not greater than the pair that is stored.", "Continue from server_boot_epoch and server_seq; if they are this device's own, the request is already stored.";
    TooLarge = "TOO_LARGE", 413, "The body is larger than this endpoint accepts.", "Send smaller batches.";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "The body is not text/toon in UTF-8.", "Send content-type: text/toon; charset=utf-8.";
    RateLimited = "RATE_LIMITED", 429, "Too many requests.", "Wait retry_after_s, then continue.";
    Internal = "INTERNAL", 500, "The server failed; the request may not be stored.", "Retry with backoff.";
    Overloaded = "OVERLOADED", 503, "The server is overloaded.", "Wait retry_after_s, then retry.";
}

impl RefusalCode {
    /// Whether the server may send it before it has parsed SIG_DEV, bound to `-`. Such a refusal is only a hint: it may have been
    /// the response to another request.
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

/// A refusal on the wire; its first line is `ERR1: CODE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDocument {
    #[serde(rename = "ERR1")]
    pub code: RefusalCode,
    /// One sentence for a human.
    #[serde(default)]
    pub message: String,
    /// Seconds to wait before retrying, where waiting helps.
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

/// The longest wait, in seconds, that a device accepts from an unbound refusal, which may be a replayed one.
pub const UNBOUND_RETRY_AFTER_S_MAX: u64 = 60;

impl RefusalDocument {
    /// The part of an unbound refusal that is safe to use, since it may be a replayed one: no time, no pair, and a bounded wait.
    #[must_use]
    pub fn unbound(self) -> Self {
        let retry_after_s = self.retry_after_s.map(|seconds| seconds.min(UNBOUND_RETRY_AFTER_S_MAX));
        Self { retry_after_s, server_boot_epoch: None, server_seq: None, server_time: None, ..self }
    }

    /// Parses `body` if it is a refusal, also in the compact form `ERR1:CODE`; none if it is anything else.
    pub fn read(body: &str) -> Option<Result<Self, DocumentError>> {
        let rest = body.strip_prefix("ERR1:")?;
        Some(if rest.starts_with(' ') { document::decode(body) } else { document::decode(&format!("ERR1: {rest}")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
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
    fn the_compact_form_is_accepted() {
        let refusal = RefusalDocument::read("ERR1:REVOKED").unwrap().unwrap();
        assert_eq!(refusal.code, RefusalCode::Revoked);
        assert_eq!(RefusalDocument::read("type: heartbeat"), None);
        let newer = RefusalDocument::read("ERR1: FROM_THE_FUTURE").unwrap().unwrap();
        assert_eq!(newer.code, RefusalCode::Unrecognised);
    }
}
