//! Users and tokens in SQLite.

use ks_protocol::time::UnixMs;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, rows, time, time_if, unsigned, word},
};
use crate::{
    clock::AHEAD_MAX,
    role::Role,
    store::{
        accounts::{AccountReads, AccountRows, NewToken, NewUser, TokenKind, TokenRecord, UserRecord},
        audit::chain::Audited,
    },
};

impl AccountRows for Writes<'_> {
    fn user(&mut self, name: &str) -> Result<Option<(UserRecord, String)>, StoreError> {
        user_named(&self.0, name)
    }

    fn insert_user(&mut self, new: &NewUser, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT INTO users (name, role, password_hash, created_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![new.name, new.role.as_str(), new.password_hash, integer(at.0)])?;
        Ok(())
    }

    fn save_user(&mut self, user: &UserRecord, password_hash: &str, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE users SET role = ?2, password_hash = ?3, disabled_at = ?4, version = ?5 WHERE id = ?1",
            )?
            .execute(params![
                user.row,
                user.role.as_str(),
                password_hash,
                user.disabled_at.map(|at| integer(at.0)),
                integer(user.version)
            ])?;
        Ok(())
    }

    fn insert_token(
        &mut self,
        token: &NewToken,
        user_row: Option<i64>,
        revoked_at: Option<UnixMs>,
        at: UnixMs,
        _: &Audited,
    ) -> Result<i64, StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO tokens (token_sha256, kind, name, role, user, created_at, expires_at, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        Ok(statement.insert(params![
            token.token_sha256.as_slice(),
            token.kind.as_str(),
            token.name,
            token.role.as_str(),
            user_row,
            integer(at.0),
            integer(token.expires_at.0),
            revoked_at.map(|at| integer(at.0))
        ])?)
    }

    fn token_name(&mut self, row: i64) -> Result<Option<String>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT name FROM tokens WHERE id = ?1")?;
        Ok(statement.query_row([row], |row| row.get(0)).optional()?)
    }

    fn revoke_token_row(&mut self, row: i64, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        let sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![row, integer(at.0)])?;
        Ok(())
    }

    fn count_valid_tokens(&mut self, user_row: i64, kind: TokenKind, now: UnixMs) -> Result<usize, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("SELECT count(*) FROM tokens WHERE {GOOD_OF_USER}"))?;
        let count = statement.query_row(params![user_row, kind.as_str(), integer(now.0)], |row| row.get(0))?;
        Ok(usize::try_from(unsigned(count)).unwrap_or(usize::MAX))
    }

    fn revoke_valid_tokens(
        &mut self,
        user_row: i64,
        kind: TokenKind,
        now: UnixMs,
        _: &Audited,
    ) -> Result<(), StoreError> {
        let sql = format!("UPDATE tokens SET revoked_at = ?3 WHERE {GOOD_OF_USER}");
        self.0.prepare_cached(&sql)?.execute(params![user_row, kind.as_str(), integer(now.0)])?;
        Ok(())
    }

    fn forget_tokens(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at < ?1 ORDER BY id LIMIT ?2)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }
}

/// Condition for a user's tokens of a kind that are valid at a time.
const GOOD_OF_USER: &str = "user = ?1 AND kind = ?2 AND revoked_at IS NULL AND expires_at > ?3";

fn user_named(connection: &Connection, name: &str) -> Result<Option<(UserRecord, String)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{USER} WHERE name = ?1"))?;
    Ok(statement.query_row([name], |row| Ok((user(row)?, row.get(6)?))).optional()?)
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
        user_named(&self.connection, name)
    }

    fn users(&mut self, after: i64, limit: usize) -> Result<Vec<UserRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{USER} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], user)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn valid_token(&mut self, token_sha256: &[u8; 32], now: UnixMs) -> Result<Option<TokenRecord>, StoreError> {
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
