//! Users and tokens in SQLite.

use ks_protocol::time::UnixMs;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    SqliteReader, StoreError, Writes, audit::append, integer, rows, time, time_if, transaction::Transaction, unsigned,
    word,
};
use crate::{
    clock::AHEAD_MAX,
    role::Role,
    store::{
        By,
        accounts::{AccountReads, AccountWrites, NewToken, TokenKind, TokenRecord, UserEdit, UserRecord, UserRefused},
    },
};

impl AccountWrites for Writes<'_> {
    fn create_user(
        &mut self,
        name: &str,
        role: Role,
        password_hash: &str,
        by: &By,
    ) -> Result<Result<(), UserRefused>, StoreError> {
        let inserted = self
            .0
            .prepare_cached(
                "INSERT INTO users (name, role, password_hash, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![name, role.as_str(), password_hash, integer(by.at.0)])?;
        if inserted == 0 {
            return Ok(Err(UserRefused::NameTaken));
        }
        append(&self.0, "user.create", name, role.as_str(), by)?;
        Ok(Ok(()))
    }

    fn edit_user(
        &mut self,
        name: &str,
        edit: &UserEdit,
        if_version: Option<u64>,
        by: &By,
    ) -> Result<Result<u64, UserRefused>, StoreError> {
        let found: Option<(i64, i64, Role)> = self
            .0
            .prepare_cached("SELECT id, version, role FROM users WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, word(row, 2, Role::from_word)?)))
            .optional()?;
        let Some((row, version, role)) = found else { return Ok(Err(UserRefused::Unknown)) };
        let version = unsigned(version);
        if if_version.is_some_and(|expected| expected != version) {
            return Ok(Err(UserRefused::Changed { version }));
        }
        let disabled_at = match edit.disabled {
            Some(true) => "coalesce(disabled_at, ?4)",
            Some(false) => "NULL",
            None => "disabled_at",
        };
        let sql = format!(
            "UPDATE users SET role = coalesce(?2, role), password_hash = coalesce(?3, password_hash),
                disabled_at = {disabled_at}, version = version + (?4 = ?4) WHERE id = ?1"
        );
        let parameters = params![row, edit.role.map(Role::as_str), edit.password_hash, integer(by.at.0)];
        self.0.prepare_cached(&sql)?.execute(parameters)?;
        let is_disabled = edit.disabled == Some(true);
        if edit.password_hash.is_some() || is_disabled {
            end_all(&self.0, row, TokenKind::Session, by.at)?;
        }
        let mut told = told(edit);
        if is_disabled || edit.role.is_some_and(|new| new != role) {
            let ended = end_all(&self.0, row, TokenKind::Bearer, by.at)?;
            if ended > 0 {
                told = format!("{told}, {ended} tokens revoked");
            }
        }
        append(&self.0, "user.edit", name, &told, by)?;
        Ok(Ok(version + 1))
    }

    fn add_token(&mut self, token: &NewToken, by: &By) -> Result<i64, StoreError> {
        let row = self
            .0
            .prepare_cached(
                // One whose user was disabled a moment ago is over before it begins.
                "INSERT INTO tokens (token_sha256, kind, name, role, user, created_at, expires_at, revoked_at)
                 VALUES (?1, ?2, ?3, ?4, (SELECT id FROM users WHERE name = ?5), ?6, ?7,
                         (SELECT disabled_at FROM users WHERE name = ?5))",
            )?
            .insert(params![
                token.token_sha256.as_slice(),
                token.kind.as_str(),
                token.name,
                token.role.as_str(),
                token.user,
                integer(by.at.0),
                integer(token.expires_at.0)
            ])?;
        let action = match token.kind {
            TokenKind::Session => "session.begin",
            TokenKind::Bearer => "token.create",
        };
        append(&self.0, action, &token.name, &format!("{}, expires {}", token.role.as_str(), token.expires_at), by)?;
        Ok(row)
    }

    fn begin_session(&mut self, session: &NewToken, password_hash: &str, by: &By) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT 1 FROM users WHERE name = ?1 AND password_hash = ?2 AND disabled_at IS NULL";
        if !self.0.prepare_cached(sql)?.exists(params![session.user, password_hash])? {
            return Ok(None);
        }
        self.add_token(session, by).map(Some)
    }

    fn revoke_token(&mut self, row: i64, by: &By) -> Result<bool, StoreError> {
        let ended: Option<String> = self
            .0
            .prepare_cached("UPDATE tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1 RETURNING name")?
            .query_row(params![row, integer(by.at.0)], |row| row.get(0))
            .optional()?;
        if let Some(name) = &ended {
            append(&self.0, "token.revoke", name, &format!("token {row}"), by)?;
        }
        Ok(ended.is_some())
    }

    fn forget_tokens(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at < ?1 ORDER BY id LIMIT ?2)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }
}

/// What an edit does, without a secret in it.
fn told(edit: &UserEdit) -> String {
    let role = edit.role.map(|role| format!("role {}", role.as_str()));
    let password = edit.password_hash.as_ref().map(|_| "password changed".to_owned());
    let disabled = edit.disabled.map(|disabled| if disabled { "disabled" } else { "enabled" }.to_owned());
    [role, password, disabled].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Ends a user's tokens of a kind; gives how many might still have been good.
fn end_all(transaction: &Transaction<'_>, user: i64, kind: TokenKind, at: UnixMs) -> Result<usize, StoreError> {
    let ended = transaction
        .prepare_cached("UPDATE tokens SET revoked_at = ?3 WHERE user = ?1 AND kind = ?2 AND revoked_at IS NULL AND expires_at > ?3")?
        .execute(params![user, kind.as_str(), integer(at.0)])?;
    Ok(ended)
}

const USER: &str = "SELECT id, name, role, version, created_at, disabled_at, password_hash FROM users";

fn user(row: &Row<'_>) -> rusqlite::Result<UserRecord> {
    Ok(UserRecord {
        row: row.get(0)?,
        name: row.get(1)?,
        role: word(row, 2, Role::from_word)?,
        version: unsigned(row.get(3)?),
        created_at: time(row, 4)?,
        disabled_at: time_if(row, 5)?,
    })
}

const TOKEN: &str =
    "SELECT t.id, t.kind, t.name, CASE t.kind WHEN 'SESSION' THEN coalesce(u.role, t.role) ELSE t.role END,
        t.created_at, t.expires_at, t.revoked_at, u.name
    FROM tokens t LEFT JOIN users u ON u.id = t.user";

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    let kind: String = row.get(1)?;
    Ok(TokenRecord {
        row: row.get(0)?,
        kind: if kind == "SESSION" { TokenKind::Session } else { TokenKind::Bearer }, // the CHECK allows these two
        name: row.get(2)?,
        role: word(row, 3, Role::from_word)?,
        created_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        revoked_at: time_if(row, 6)?,
        user: row.get(7)?,
    })
}

impl AccountReads for SqliteReader {
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{USER} WHERE name = ?1"))?;
        Ok(statement.query_row([name], |row| Ok((user(row)?, row.get(6)?))).optional()?)
    }

    fn users(&mut self, after: i64, limit: usize) -> Result<Vec<UserRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{USER} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], user)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn good_token(&mut self, token_sha256: &[u8; 32], now: UnixMs) -> Result<Option<TokenRecord>, StoreError> {
        let sql = format!(
            "{TOKEN} WHERE t.token_sha256 = ?1 AND t.created_at <= ?3 AND t.expires_at > ?2 AND t.revoked_at IS NULL AND u.disabled_at IS NULL"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement
            .query_row(params![token_sha256.as_slice(), integer(now.0), integer((now + AHEAD_MAX).0)], token)
            .optional()?)
    }

    fn tokens(&mut self, after: i64, limit: usize) -> Result<Vec<TokenRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached(&format!("{TOKEN} WHERE t.id > ?1 ORDER BY t.id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], token)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
