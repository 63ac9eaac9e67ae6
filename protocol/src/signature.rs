//! Signing and opening documents, each signature bound to one context (domain separation).
//!
//! | signature | over |
//! | --- | --- |
//! | `SIG_DEV` | `KS1 METHOD PATH\n`, then the document's bytes before the signature line |
//! | `SIG_SERV` | `KS1 RESPONSE STATUS SIG_DEV\n`, then the document's bytes before the signature line |
//! | a keyset's | `KS1 KEYSET\n`, then the keyset's bytes before its signatures |
//! | `FW_SIG` | `KS1 FIRMWARE\n`, then the manifest's bytes before the signature line |
//! | a new key's proof | `KS1 NEW-KEY DEVICE_ID\n` |
//!
//! A response is bound to its request through that request's `SIG_DEV`; for a request without one (GET /keys, or a malformed
//! document), it is `-`.

use std::fmt;

use base64ct::{Base64, Encoding};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    document::{self, DocumentError},
    id::KeyId,
    key::{PrivateKey, Verifier},
    message::Request,
    refusal::RefusalDocument,
};

/// Label of a device's signature line.
pub const SIG_DEV: &str = "SIG_DEV";
/// Label of the server's signature line.
pub const SIG_SERV: &str = "SIG_SERV";
/// Takes the place of SIG_DEV in a response's context if the request had none.
pub const NO_SIG_DEV: &str = "-";

/// The 64 bytes of an Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Parses 88 characters of canonical base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = [0; 64];
        match Base64::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 64 => Some(Self(bytes)),
            _ => None,
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 88];
        f.write_str(Base64::encode(&self.0, &mut text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a signature covers besides the document, so that it is valid nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context<'a> {
    /// A device's request.
    Request {
        /// HTTP method, upper case.
        method: &'a str,
        /// Path, without a query.
        path: &'a str,
    },
    /// The server's answer.
    Response {
        status: u16,
        /// The request's SIG_DEV as received, or [`NO_SIG_DEV`].
        sig_dev: &'a str,
    },
    Keyset,
    /// A firmware manifest.
    Firmware,
    /// A device's proof of possession of a new key.
    NewKey {
        device_id: &'a str,
    },
}

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { method, path } => writeln!(f, "KS1 {method} {path}"),
            Self::Response { status, sig_dev } => writeln!(f, "KS1 RESPONSE {status} {sig_dev}"),
            Self::Keyset => writeln!(f, "KS1 KEYSET"),
            Self::Firmware => writeln!(f, "KS1 FIRMWARE"),
            Self::NewKey { device_id } => writeln!(f, "KS1 NEW-KEY {device_id}"),
        }
    }
}

/// The exact bytes that a signature covers.
pub fn signing_input(context: Context<'_>, body: &str) -> String {
    let mut input = String::with_capacity(body.len() + 160);
    let _ = fmt::Write::write_fmt(&mut input, format_args!("{context}")); // writing to a String does not fail
    input.push_str(body);
    input
}

/// Appends the signature line to `body`, which must end in a line feed.
fn sealed(key: &PrivateKey, context: Context<'_>, label: &str, body: String) -> (String, Signature) {
    let signature = key.sign(signing_input(context, &body).as_bytes());
    let mut wire = body;
    wire.reserve_exact(label.len() + 90);
    let _ = fmt::Write::write_fmt(&mut wire, format_args!("{label}: {signature}"));
    (wire, signature)
}

/// A request ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The bytes to send.
    pub wire: String,
    /// The signature, which the response is bound to.
    pub sig_dev: Signature,
}

/// Signs `request` with the device's `key`.
pub fn sign_request<R: Request>(key: &PrivateKey, request: &R) -> Result<SignedRequest, DocumentError> {
    sign_request_to(key, R::PATH, request)
}

/// Like [`sign_request`], for an endpoint with a parameter in its path.
pub fn sign_request_to<R: Request>(key: &PrivateKey, path: &str, request: &R) -> Result<SignedRequest, DocumentError> {
    let mut body = document::encode(request)?;
    body.push('\n');
    let context = Context::Request { method: R::METHOD, path };
    let (wire, sig_dev) = sealed(key, context, SIG_DEV, body);
    Ok(SignedRequest { wire, sig_dev })
}

/// Signs a response or a refusal: appends `key_id` and `SIG_SERV`.
pub fn seal_response<T: Serialize>(
    key: &PrivateKey,
    key_id: &KeyId,
    status: u16,
    sig_dev: &str,
    answer: &T,
) -> Result<String, DocumentError> {
    Ok(seal_document(key, key_id, status, sig_dev, document::encode(answer)?))
}

/// Like [`seal_response`], for a document that is already encoded, without a trailing line feed.
pub fn seal_document(key: &PrivateKey, key_id: &KeyId, status: u16, sig_dev: &str, document: String) -> String {
    let mut body = document;
    let _ = fmt::Write::write_fmt(&mut body, format_args!("\nkey_id: {key_id}\n")); // writing to a String does not fail
    sealed(key, Context::Response { status, sig_dev }, SIG_SERV, body).0
}

/// A verified response: the requested document, or a refusal.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<T> {
    Answer(T),
    Refused(RefusalDocument),
}

/// Why a response is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a document, or not the expected one.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Signed by a key that this client does not trust.
    #[error("the response names server key `{0}`, which is not in this keyset")]
    UnknownKey(String),
    /// The signature does not match this response to this request.
    #[error("SIG_SERV does not verify")]
    BadSignature,
}

/// Verifies and parses a response. `keys` are the server keys that this client trusts.
pub fn open_response<T: DeserializeOwned>(
    keys: &[(KeyId, Verifier)],
    status: u16,
    sig_dev: &str,
    wire: &[u8],
) -> Result<Reply<T>, OpenError> {
    open_as(keys, status, sig_dev, wire, Check::Signature)
}

/// The same without the check of the signature, for a load generator that verifies a sample: an answer that names a trusted key is
/// believed, unless it is a refusal, whose signature says what it is bound to. Never for a device.
///
/// # Errors
/// As [`open_response`], except for the signature of an answer that is no refusal.
#[cfg(feature = "modelled")]
pub fn open_unverified<T: DeserializeOwned>(
    keys: &[(KeyId, Verifier)],
    status: u16,
    sig_dev: &str,
    wire: &[u8],
) -> Result<Reply<T>, OpenError> {
    open_as(keys, status, sig_dev, wire, Check::OfRefusals)
}

/// Which answers' signatures are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Signature,
    #[cfg(feature = "modelled")]
    OfRefusals,
}

fn open_as<T: DeserializeOwned>(
    keys: &[(KeyId, Verifier)],
    status: u16,
    sig_dev: &str,
    wire: &[u8],
    check: Check,
) -> Result<Reply<T>, OpenError> {
    let signed = document::split(wire, SIG_SERV)?;
    let named = signed.body.trim_end_matches('\n').rsplit('\n').next().and_then(|line| line.strip_prefix("key_id: "));
    let named = named.ok_or_else(|| DocumentError::Malformed { what: "no key_id before SIG_SERV".to_owned() })?;
    let (_, key) = keys
        .iter()
        .find(|(key_id, _)| key_id.as_str() == named)
        .ok_or_else(|| OpenError::UnknownKey(named.chars().take(80).collect()))?;
    let is_bound_to = |sig_dev| {
        let input = signing_input(Context::Response { status, sig_dev }, signed.body);
        key.verifies(input.as_bytes(), &signed.signature)
    };
    let refusal = RefusalDocument::read(signed.body);
    let is_bound = (check != Check::Signature && refusal.is_none()) || is_bound_to(sig_dev);
    match refusal {
        Some(Ok(refusal)) if is_bound => Ok(Reply::Refused(refusal)),
        Some(Ok(refusal)) if refusal.code.may_be_unbound() && is_bound_to(NO_SIG_DEV) => {
            Ok(Reply::Refused(refusal.unbound()))
        }
        None if is_bound => Ok(Reply::Answer(document::decode(signed.body)?)),
        Some(Err(error)) if is_bound => Err(error.into()),
        _ => Err(OpenError::BadSignature),
    }
}
