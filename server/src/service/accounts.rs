//! Users and tokens: valid names, new tokens, and both as the API and the command line show them.

use base64ct::{Base64UrlUnpadded, Encoding};
use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    rng::ServerRng,
    role::Role,
    store::accounts::{NewToken, TokenKind, TokenRecord, UserRecord},
};

/// Maximum lifetime of a token, in seconds: a year.
pub const TOKEN_TTL_S_MAX: u64 = 365 * 24 * 3_600;

/// Whether a text can name a user or a token. The characters are safe in logs, paths and URLs.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A user who can log in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct User {
    name: String,
    role: Role,
    /// Incremented by each edit.
    version: u64,
    created_at: UnixMs,
    disabled_at: Option<UnixMs>,
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        let UserRecord { name, role, version, created_at, disabled_at, .. } = record;
        Self { name, role, version, created_at, disabled_at }
    }
}

/// A token (without its secret) or a session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Token {
    row: i64,
    kind: TokenKind,
    name: String,
    role: Role,
    /// The user who logged in or created the token, directly or with another token; it is revoked when that user is disabled. Null for
    /// tokens created on the server's machine or with ADMIN_TOKEN.
    user: Option<String>,
    created_at: UnixMs,
    expires_at: UnixMs,
    revoked_at: Option<UnixMs>,
}

impl From<TokenRecord> for Token {
    fn from(record: TokenRecord) -> Self {
        let TokenRecord { row, kind, name, role, user, created_at, expires_at, revoked_at } = record;
        Self { row, kind, name, role, user, created_at, expires_at, revoked_at }
    }
}

/// Creates a token that belongs to no user: its secret, and its record for the store.
pub fn new_token(rng: &ServerRng, name: String, role: Role, expires_at: UnixMs) -> (String, NewToken) {
    let token = format!("ks_{}", Base64UrlUnpadded::encode_string(&rng.bytes_32()));
    let token_sha256 = token_sha256(&token);
    (token, NewToken { token_sha256, kind: TokenKind::Bearer, name, role, user: None, expires_at })
}

/// SHA-256 of a token. It is stored and compared instead of the token.
pub fn token_sha256(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
