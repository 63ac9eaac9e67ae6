//! Users who log in, and the tokens that their sessions and scripts present.

use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use super::StoreError;
use crate::{role::Role, store::audit::chain::Audited};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Row; users are paged by it.
    pub row: i64,
    pub name: String,
    pub role: Role,
    /// Increases with each edit.
    pub version: u64,
    /// When the account was created.
    pub created_at: UnixMs,
    /// When the account was disabled.
    pub disabled_at: Option<UnixMs>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    pub name: String,
    pub role: Role,
    pub password_hash: String,
}

/// A change of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// New role. Revokes the tokens that the user created.
    pub role: Option<Role>,
    /// Hash of a new password. Ends the user's sessions.
    pub password_hash: Option<String>,
    /// Disables or enables the user. Disabling ends the user's sessions and revokes the tokens that the user created.
    pub disabled: Option<bool>,
}

/// Why a user was not created or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRefused {
    NameTaken,
    Unknown,
    /// It was changed in the meantime.
    Changed {
        version: u64,
    },
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenKind {
    /// A user's browser session, in a cookie.
    Session,
    /// A script's, in the `Authorization` header.
    Bearer,
}

impl TokenKind {
    /// Its name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "SESSION",
            Self::Bearer => "BEARER",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    pub token_sha256: [u8; 32],
    /// What it is for.
    pub kind: TokenKind,
    /// Its name; for a session, the user's name.
    pub name: String,
    pub role: Role,
    /// Its owner: the user who logged in, or who created the token, possibly with another token. None for tokens created on the
    /// server's machine or with ADMIN_TOKEN.
    pub user: Option<String>,
    pub expires_at: UnixMs,
}

/// A stored token; only its hash is kept, never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Row; tokens are paged and named by it.
    pub row: i64,
    /// What it is for.
    pub kind: TokenKind,
    pub name: String,
    pub role: Role,
    /// The user that it belongs to; none if it belongs to nobody.
    pub user: Option<String>,
    /// When it was created.
    pub created_at: UnixMs,
    pub expires_at: UnixMs,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
}

/// The rows of users and tokens. The decisions are in [`crate::rules::accounts`].
pub trait AccountRows {
    /// One user, with the password's hash.
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError>;
    /// Adds a user, whose name must be unused.
    fn insert_user(&mut self, new: &NewUser, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores role, version and `disabled_at` of a user, and the password's hash.
    fn save_user(&mut self, user: &UserRecord, password_hash: &str, noted: &Audited) -> Result<(), StoreError>;
    /// Adds a token of this user, revoked at `revoked_at` if given; returns its row.
    fn insert_token(
        &mut self,
        token: &NewToken,
        user_row: Option<i64>,
        revoked_at: Option<UnixMs>,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<i64, StoreError>;
    /// The name of a token.
    fn token_name(&mut self, row: i64) -> Result<Option<String>, StoreError>;
    /// Revokes a token, unless it is revoked.
    fn revoke_token_row(&mut self, row: i64, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Number of a user's valid tokens of a kind: neither revoked nor expired.
    fn count_valid_tokens(&mut self, user_row: i64, kind: TokenKind, now: UnixMs) -> Result<usize, StoreError>;
    /// Revokes a user's tokens of a kind that are valid at `now`.
    fn revoke_valid_tokens(
        &mut self,
        user_row: i64,
        kind: TokenKind,
        now: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// Deletes tokens that expired before a time, at most `rows_max`; returns how many.
    fn forget_tokens(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
}

pub trait AccountReads {
    /// One user, with the password's hash.
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError>;
    /// Users with a row above `after`, at most `limit`.
    fn users(&mut self, after: i64, limit: usize) -> Result<Vec<UserRecord>, StoreError>;
    /// The token with this SHA-256, if it is valid at `now`: neither expired nor revoked, and its user not disabled. A session has
    /// the user's current role.
    fn valid_token(&mut self, token_sha256: &[u8; 32], now: UnixMs) -> Result<Option<TokenRecord>, StoreError>;
    /// Tokens with a row above `after`, at most `limit`.
    fn tokens(&mut self, after: i64, limit: usize) -> Result<Vec<TokenRecord>, StoreError>;
}
