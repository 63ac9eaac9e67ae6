//! People who log in, and the tokens that they and scripts show.

use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use super::StoreError;
use crate::{role::Role, store::audit::chain::Audited};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Row; users are paged by it.
    pub row: i64,
    /// Name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Grows with each edit.
    pub version: u64,
    /// When the account was made.
    pub created_at: UnixMs,
    /// Since when it is disabled.
    pub disabled_at: Option<UnixMs>,
}

/// A new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password's hash.
    pub password_hash: String,
}

/// A change of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// Another role. Ends the tokens that the user made.
    pub role: Option<Role>,
    /// Another password's hash. Ends the user's sessions.
    pub password_hash: Option<String>,
    /// Disabled or enabled again. Disabling ends the user's sessions and the tokens that the user made.
    pub disabled: Option<bool>,
}

/// Why a user was not made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRefused {
    /// The name is taken.
    NameTaken,
    /// No such user.
    Unknown,
    /// It has another version by now.
    Changed {
        /// The version it has.
        version: u64,
    },
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenKind {
    /// A person's session in a browser, in a cookie.
    Session,
    /// A script's, in the `Authorization` header.
    Bearer,
}

impl TokenKind {
    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "SESSION",
            Self::Bearer => "BEARER",
        }
    }
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its SHA-256.
    pub token_sha256: [u8; 32],
    /// What it is for.
    pub kind: TokenKind,
    /// What it is called; of a session, the user's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose it is: the user who logged in, or who made the token, also by a token of theirs. None of one that was made on the
    /// server's machine or with ADMIN_TOKEN.
    pub user: Option<String>,
    /// Until when it is good.
    pub expires_at: UnixMs,
}

/// A token as the store knows it; the token itself is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Row; tokens are paged and named by it.
    pub row: i64,
    /// What it is for.
    pub kind: TokenKind,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose it is.
    pub user: Option<String>,
    /// When it was made.
    pub created_at: UnixMs,
    /// Until when it is good.
    pub expires_at: UnixMs,
    /// Since when it is no more.
    pub revoked_at: Option<UnixMs>,
}

/// The rows of users and tokens. Within a transaction, [`crate::rules::accounts`] decides over them.
pub trait AccountRows {
    /// One user, with the password's hash.
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError>;
    /// Adds a user, whose name nobody has.
    fn insert_user(&mut self, new: &NewUser, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores role, version and `disabled_at` of a user, and the password's hash.
    fn save_user(&mut self, user: &UserRecord, password_hash: &str, noted: &Audited) -> Result<(), StoreError>;
    /// Adds a token of this user, which ends at `revoked_at` if there is one; gives its row.
    fn insert_token(
        &mut self,
        token: &NewToken,
        user_row: Option<i64>,
        revoked_at: Option<UnixMs>,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<i64, StoreError>;
    /// What a token is called.
    fn token_name(&mut self, row: i64) -> Result<Option<String>, StoreError>;
    /// Ends a token, if it has not ended.
    fn end_token(&mut self, row: i64, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// How many tokens of a kind a user has that have neither ended nor expired.
    fn count_good_tokens(&mut self, user_row: i64, kind: TokenKind, now: UnixMs) -> Result<usize, StoreError>;
    /// Ends them.
    fn end_good_tokens(
        &mut self,
        user_row: i64,
        kind: TokenKind,
        now: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// Deletes tokens that expired before a time, at most `rows_max`; gives how many.
    fn forget_tokens(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
}

/// What can be asked of accounts.
pub trait AccountReads {
    /// One user, with the password's hash.
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError>;
    /// Users with a row above `after`, at most `limit`.
    fn users(&mut self, after: i64, limit: usize) -> Result<Vec<UserRecord>, StoreError>;
    /// The token of this SHA-256, if it is good at `now`: made, neither expired nor revoked, and its user not disabled. A session's
    /// role is the user's of now.
    fn good_token(&mut self, token_sha256: &[u8; 32], now: UnixMs) -> Result<Option<TokenRecord>, StoreError>;
    /// Tokens with a row above `after`, at most `limit`.
    fn tokens(&mut self, after: i64, limit: usize) -> Result<Vec<TokenRecord>, StoreError>;
}
