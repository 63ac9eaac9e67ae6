//! The server's keys in SQLite.

use ks_protocol::{key::PublicKey, time::UnixMs};
use rusqlite::{OptionalExtension, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, status_number, time, time_if, unsigned, word},
};
use crate::store::{
    audit::chain::Audited,
    keysets::{KEYSET_DEVICES_MAX, KeysetHolders, KeysetReads, KeysetRows, ServerKeyRecord, ServerKeyStatus},
};

impl KeysetRows for Writes<'_> {
    fn newest_keyset_version(&mut self) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT coalesce(max(version), 0) FROM keysets")?;
        Ok(statement.query_row([], |row| row.get(0).map(unsigned))?)
    }

    fn insert_keyset(&mut self, version: u64, document: &str, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT INTO keysets (version, document, created_at) VALUES (?1, ?2, ?3)")?
            .execute(params![integer(version), document, integer(at.0)])?;
        Ok(())
    }

    fn save_server_key(&mut self, key: &ServerKeyRecord, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO server_keys (key_id, public_key, state, announced_at, signing_at, removed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (key_id) DO UPDATE SET state = excluded.state, signing_at = excluded.signing_at,
                    removed_at = excluded.removed_at",
            )?
            .execute(params![
                key.key_id.as_str(),
                key.public_key.0.as_slice(),
                key.status.as_str(),
                integer(key.announced_at.0),
                key.signing_at.map(|at| integer(at.0)),
                key.removed_at.map(|at| integer(at.0))
            ])?;
        Ok(())
    }
}

impl KeysetReads for SqliteReader {
    fn server_keys(&mut self) -> Result<Vec<ServerKeyRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key_id, public_key, state, announced_at, signing_at, removed_at FROM server_keys
             ORDER BY announced_at, key_id",
        )?;
        let found = statement.query_map([], |row| {
            Ok(ServerKeyRecord {
                key_id: parsed(row, 0)?,
                public_key: PublicKey(row.get(1)?),
                status: word(row, 2, ServerKeyStatus::from_word)?,
                announced_at: time(row, 3)?,
                signing_at: time_if(row, 4)?,
                removed_at: time_if(row, 5)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn keyset_document(&mut self, version: u64) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT document FROM keysets WHERE version = ?1")?;
        Ok(statement.query_row([integer(version)], |row| row.get(0)).optional()?)
    }

    fn keyset_holders(&mut self, newest: u64, heard_since: UnixMs) -> Result<KeysetHolders, StoreError> {
        // A version above the newest was not published by this server.
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT count(*), coalesce(sum(keyset_version = ?1), 0) FROM device_states
             WHERE status = ",
            status_number!(Registered),
            " AND last_seen_at >= ?2"
        ))?;
        let (active, confirmed) = statement.query_row(params![integer(newest), integer(heard_since.0)], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
        })?;
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT d.device_id FROM device_states s JOIN devices d ON d.id = s.device
             WHERE s.status = ",
            status_number!(Registered),
            " AND s.last_seen_at >= ?2 AND s.keyset_version != ?1 ORDER BY d.id LIMIT ?3"
        ))?;
        let asked = params![integer(newest), integer(heard_since.0), rows(KEYSET_DEVICES_MAX)];
        let without_newest = statement.query_map(asked, |row| parsed(row, 0))?.collect::<Result<_, _>>()?;
        let mut statement = self.connection.prepare_cached(concat!(
            "SELECT d.device_id FROM device_states s JOIN devices d ON d.id = s.device
             WHERE s.status = ",
            status_number!(Registered),
            " AND s.keyset_version > ?1 ORDER BY d.id LIMIT ?2"
        ))?;
        let unknown_keyset =
            statement.query_map(params![integer(newest), rows(KEYSET_DEVICES_MAX)], |row| parsed(row, 0))?;
        let unknown_keyset = unknown_keyset.collect::<Result<_, _>>()?;
        Ok(KeysetHolders { active, confirmed, without_newest, unknown_keyset })
    }
}
