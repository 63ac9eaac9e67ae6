//! Devices in SQLite, with their keys, labels and one-time tokens.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    text::hex,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, list, parsed, parsed_if, rows, status_number, status_of, time, time_if, unsigned},
    filter::Filter,
};
use crate::store::{
    audit::chain::Audited,
    devices::{
        AuthRecord, DeviceChange, DeviceReads, DeviceRecord, DeviceRow, DeviceRows, DeviceState, NewDevice, NewOtrts,
        OtrtRow, Pair, Selector, WhitelistRows, Whitelisted,
    },
};

impl DeviceRows for Writes<'_> {
    fn states(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Option<DeviceState>>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT d.id, s.status, s.boot_epoch, s.seq, s.key_no FROM devices d JOIN device_states s ON s.device = d.id
             WHERE d.device_id = ?1",
        )?;
        let mut find = |device_id: &&DeviceId| {
            let state = statement.query_row([device_id.as_str()], |row| {
                let kept = Sequence::new(row.get(2)?, unsigned(row.get(3)?));
                Ok(DeviceState { row: row.get(0)?, key_no: row.get(4)?, status: status_of(row.get(1)?), kept })
            });
            Ok(state.optional()?)
        };
        device_ids.iter().map(&mut find).collect()
    }

    fn states_of(
        &mut self,
        which: &Selector,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceState)>, StoreError> {
        let mut filter = Filter::default();
        filter.and("d.id > ?", after);
        filter.of_devices(which)?;
        let sql = format!(
            "SELECT d.device_id, d.id, s.status, s.boot_epoch, s.seq, s.key_no
             FROM devices d JOIN device_states s ON s.device = d.id {} ORDER BY d.id LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            let kept = Sequence::new(row.get(3)?, unsigned(row.get(4)?));
            Ok((
                parsed(row, 0)?,
                DeviceState { row: row.get(1)?, key_no: row.get(5)?, status: status_of(row.get(2)?), kept },
            ))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn take_pairs(&mut self, pairs: &[Pair<'_>]) -> Result<Vec<Option<i64>>, StoreError> {
        let mut statement = self.0.prepare_cached(concat!(
            "UPDATE device_states SET boot_epoch = ?2, seq = ?3, last_seen_at = ?4
             WHERE device = ?1 AND key_no = ?5 AND status = ",
            status_number!(Registered),
            " AND (boot_epoch, seq) < (?2, ?3)
             RETURNING device"
        ))?;
        let mut take = |Pair { sender, sequence, at, .. }: &Pair<'_>| {
            let (boot_epoch, seq) = (sequence.boot_epoch, integer(sequence.seq.get()));
            let parameters = params![sender.row, boot_epoch, seq, integer(at.0), sender.key_no];
            Ok(statement.query_row(parameters, |row| row.get(0)).optional()?)
        };
        pairs.iter().map(&mut take).collect()
    }

    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT d.id, s.status, s.boot_epoch, s.seq, d.public_key, d.model, d.site, d.version, d.registered_at, s.key_no
             FROM devices d JOIN device_states s ON s.device = d.id WHERE d.device_id = ?1",
        )?;
        let found = statement.query_row([device_id.as_str()], |row| {
            let kept = Sequence::new(row.get(2)?, unsigned(row.get(3)?));
            Ok(DeviceRow {
                state: DeviceState { row: row.get(0)?, key_no: row.get(9)?, status: status_of(row.get(1)?), kept },
                public_key: PublicKey(row.get(4)?),
                model: row.get(5)?,
                site: row.get(6)?,
                version: unsigned(row.get(7)?),
                registered_at: time_if(row, 8)?,
            })
        });
        Ok(found.optional()?)
    }

    fn insert_devices(&mut self, devices: &[&NewDevice], at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO devices (device_id, public_key, serial, manufacturer, model, site, imported_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut inserted = Vec::with_capacity(devices.len());
        for device in devices {
            inserted.push(insert.insert(params![
                device.device_id.as_str(),
                device.public_key.0.as_slice(),
                device.serial,
                device.manufacturer,
                device.model,
                device.site,
                integer(at.0),
            ])?);
        }
        let inserted = list(&inserted)?;
        self.0
            .prepare_cached("INSERT INTO device_states (device) SELECT value FROM json_each(?1)")?
            .execute([&inserted])?;
        self.0
            .prepare_cached(
                "INSERT INTO device_keys (public_key, device, since)
                 SELECT public_key, id, ?2 FROM devices WHERE id IN (SELECT value FROM json_each(?1))",
            )?
            .execute(params![inserted, integer(at.0)])?;
        Ok(())
    }

    fn register_device(&mut self, row: i64, sequence: Sequence, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(concat!(
                "UPDATE device_states SET status = ",
                status_number!(Registered),
                ", boot_epoch = ?2, seq = ?3, last_seen_at = ?4
                 WHERE device = ?1"
            ))?
            .execute(params![row, sequence.boot_epoch, integer(sequence.seq.get()), integer(at.0)])?;
        self.0
            .prepare_cached("UPDATE devices SET registered_at = ?2 WHERE id = ?1")?
            .execute(params![row, integer(at.0)])?;
        Ok(())
    }

    fn revoke_devices(&mut self, devices: &[(i64, Audited)], reason: &str, at: UnixMs) -> Result<(), StoreError> {
        let devices: Vec<i64> = devices.iter().map(|(row, _)| *row).collect();
        let devices = list(&devices)?;
        self.0
            .prepare_cached(concat!(
                "UPDATE device_states SET status = ",
                status_number!(Revoked),
                " WHERE device IN (SELECT value FROM json_each(?1))"
            ))?
            .execute([&devices])?;
        self.0
            .prepare_cached(
                "UPDATE devices SET revoked_at = ?2, revoke_reason = ?3, version = version + 1
                 WHERE id IN (SELECT value FROM json_each(?1))",
            )?
            .execute(params![devices, integer(at.0), reason])?;
        Ok(())
    }

    fn restart_device(&mut self, row: i64, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(concat!(
                "UPDATE device_states SET status = ",
                status_number!(Whitelisted),
                ", boot_epoch = 0, seq = 0, keyset_version = 0, next_line_no = 1
                 WHERE device = ?1"
            ))?
            .execute([row])?;
        self.0
            .prepare_cached(
                "UPDATE devices SET registered_at = NULL, revoked_at = NULL, revoke_reason = NULL, version = version + 1
                 WHERE id = ?1",
            )?
            .execute([row])?;
        Ok(())
    }

    fn save_device(&mut self, row: i64, site: &str, version: u64, _: &Audited) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE devices SET site = ?2, version = ?3 WHERE id = ?1")?.execute(params![
            row,
            site,
            integer(version)
        ])?;
        Ok(())
    }

    fn save_labels(&mut self, row: i64, labels: &[String], _: &Audited) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM device_labels WHERE device = ?1")?.execute([row])?;
        self.0
            .prepare_cached("INSERT OR IGNORE INTO device_labels (device, label) SELECT ?1, value FROM json_each(?2)")?
            .execute(params![row, list(labels)?])?;
        Ok(())
    }

    fn is_known_key(&mut self, key: &PublicKey) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM device_keys WHERE public_key = ?1)";
        Ok(self.0.prepare_cached(sql)?.query_row([key.0.as_slice()], |row| row.get(0))?)
    }

    fn save_key(&mut self, row: i64, key: &PublicKey, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE device_keys SET until = ?2 WHERE device = ?1 AND until IS NULL")?
            .execute(params![row, integer(at.0)])?;
        self.0
            .prepare_cached("INSERT INTO device_keys (public_key, device, since) VALUES (?1, ?2, ?3)")?
            .execute(params![key.0.as_slice(), row, integer(at.0)])?;
        self.0
            .prepare_cached("UPDATE devices SET public_key = ?2 WHERE id = ?1")?
            .execute(params![row, key.0.as_slice()])?;
        self.0.prepare_cached("UPDATE device_states SET key_no = key_no + 1 WHERE device = ?1")?.execute([row])?;
        Ok(())
    }

    fn insert_changes(&mut self, devices: &[i64], at: UnixMs) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT INTO device_changes (device, at) SELECT value, ?2 FROM json_each(?1) ORDER BY key")?
            .execute(params![list(devices)?, integer(at.0)])?;
        Ok(())
    }

    fn otrt(&mut self, token_sha256: &[u8; 32]) -> Result<Option<OtrtRow>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT created_at, expires_at, bound_device_id, bound_model, used_key FROM otrts WHERE token_sha256 = ?1",
        )?;
        let found = statement.query_row([token_sha256.as_slice()], |row| {
            Ok(OtrtRow {
                created_at: time(row, 0)?,
                expires_at: time(row, 1)?,
                device_id: parsed_if(row, 2)?,
                model: row.get(3)?,
                used_key: row.get::<_, Option<[u8; 32]>>(4)?.map(PublicKey),
            })
        });
        Ok(found.optional()?)
    }

    fn use_otrt(
        &mut self,
        token_sha256: &[u8; 32],
        key: &PublicKey,
        at: UnixMs,
        _: &Audited,
    ) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE otrts SET used_key = ?2, used_at = ?3 WHERE token_sha256 = ?1")?
            .execute(params![token_sha256.as_slice(), key.0.as_slice(), integer(at.0)])?;
        Ok(())
    }

    fn insert_otrts(&mut self, otrts: &NewOtrts, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        let NewOtrts { tokens_sha256, expires_at, device_id, model } = otrts;
        self.0
            .prepare_cached(
                "INSERT INTO otrts (token_sha256, created_at, expires_at, bound_device_id, bound_model)
                 SELECT unhex(value), ?2, ?3, ?4, ?5 FROM json_each(?1)",
            )?
            .execute(params![
                hex_list(tokens_sha256)?,
                integer(at.0),
                integer(expires_at.0),
                device_id.as_ref().map(DeviceId::as_str),
                model
            ])?;
        Ok(())
    }

    fn count_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]]) -> Result<usize, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("SELECT count(*) FROM otrts WHERE {UNUSED_OF_THESE}"))?;
        let count = statement.query_row([hex_list(tokens_sha256)?], |row| row.get(0))?;
        Ok(usize::try_from(unsigned(count)).unwrap_or(usize::MAX))
    }

    fn delete_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]], _: &Audited) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM otrts WHERE {UNUSED_OF_THESE}");
        self.0.prepare_cached(&sql)?.execute([hex_list(tokens_sha256)?])?;
        Ok(())
    }

    fn end_otrts_of(&mut self, device_id: &DeviceId, _: &Audited) -> Result<(), StoreError> {
        let sql = "UPDATE otrts SET expires_at = 0 WHERE bound_device_id = ?1";
        self.0.prepare_cached(sql)?.execute([device_id.as_str()])?;
        Ok(())
    }

    fn forget_otrts(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM otrts WHERE token_sha256 IN
                     (SELECT token_sha256 FROM otrts WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }

    fn forget_changes(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        // Looks at the oldest only: each device has a row, and there is no index by time.
        let sql = "DELETE FROM device_changes WHERE id < (SELECT max(id) FROM device_changes) AND id IN
                     (SELECT id FROM (SELECT id, at FROM device_changes ORDER BY id LIMIT ?2) WHERE at < ?1)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }
}

/// Condition for the unused tokens of a list.
const UNUSED_OF_THESE: &str = "token_sha256 IN (SELECT unhex(value) FROM json_each(?1)) AND used_key IS NULL";

/// Keys or hashes as a list of hex digits.
fn hex_list(values: &[[u8; 32]]) -> Result<String, StoreError> {
    list(&values.iter().map(|value| hex(value)).collect::<Vec<_>>())
}

impl WhitelistRows for Writes<'_> {
    fn whitelisted(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Whitelisted>, StoreError> {
        whitelisted(&self.0, device_ids)
    }

    fn key_owners(&mut self, keys: &[PublicKey]) -> Result<Vec<(PublicKey, DeviceId)>, StoreError> {
        key_owners(&self.0, keys)
    }
}

impl WhitelistRows for SqliteReader {
    fn whitelisted(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Whitelisted>, StoreError> {
        whitelisted(&self.connection, device_ids)
    }

    fn key_owners(&mut self, keys: &[PublicKey]) -> Result<Vec<(PublicKey, DeviceId)>, StoreError> {
        key_owners(&self.connection, keys)
    }
}

fn whitelisted(connection: &Connection, device_ids: &[&DeviceId]) -> Result<Vec<Whitelisted>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT device_id, public_key, serial, manufacturer, model, site, revoked_at IS NOT NULL FROM devices
         WHERE device_id IN (SELECT value FROM json_each(?1))",
    )?;
    let found = statement.query_map([list(device_ids)?], |row| {
        Ok(Whitelisted {
            device_id: parsed(row, 0)?,
            public_key: PublicKey(row.get(1)?),
            serial: row.get(2)?,
            manufacturer: row.get(3)?,
            model: row.get(4)?,
            site: row.get(5)?,
            is_revoked: row.get(6)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn key_owners(connection: &Connection, keys: &[PublicKey]) -> Result<Vec<(PublicKey, DeviceId)>, StoreError> {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| key.0).collect();
    let mut statement = connection.prepare_cached(
        "SELECT k.public_key, d.device_id FROM device_keys k JOIN devices d ON d.id = k.device
         WHERE k.public_key IN (SELECT unhex(value) FROM json_each(?1))",
    )?;
    let found = statement.query_map([hex_list(&keys)?], |row| Ok((PublicKey(row.get(0)?), parsed(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

const DEVICE: &str = "SELECT d.id, d.device_id, d.public_key, d.serial, d.manufacturer, d.model, d.site, d.version,
    s.status, s.boot_epoch, s.seq, d.registered_at, d.revoked_at, d.revoke_reason, s.last_seen_at, s.firmware_version,
    s.release_counter, s.keyset_version,
    (SELECT group_concat(label, char(10)) FROM (SELECT label FROM device_labels l WHERE l.device = d.id ORDER BY label))
    FROM devices d JOIN device_states s ON s.device = d.id";

fn device(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    let labels: Option<String> = row.get(18)?;
    Ok(DeviceRecord {
        row: row.get(0)?,
        device_id: parsed(row, 1)?,
        public_key: PublicKey(row.get(2)?),
        serial: row.get(3)?,
        manufacturer: row.get(4)?,
        model: row.get(5)?,
        site: row.get(6)?,
        version: unsigned(row.get(7)?),
        status: status_of(row.get(8)?),
        sequence: Sequence::new(row.get(9)?, unsigned(row.get(10)?)),
        registered_at: time_if(row, 11)?,
        revoked_at: time_if(row, 12)?,
        revoke_reason: row.get(13)?,
        last_seen_at: time_if(row, 14)?,
        firmware_version: row.get(15)?,
        release_counter: unsigned(row.get(16)?),
        keyset_version: unsigned(row.get(17)?),
        labels: labels.map(|labels| labels.split('\n').map(str::to_owned).collect()).unwrap_or_default(),
    })
}

const AUTH_RECORD: &str =
    "SELECT d.id, d.device_id, d.public_key, s.status, s.boot_epoch, s.seq, s.open_commands > 0, s.key_no
    FROM devices d JOIN device_states s ON s.device = d.id";

fn auth_record(row: &Row<'_>) -> rusqlite::Result<AuthRecord> {
    Ok(AuthRecord {
        row: row.get(0)?,
        device_id: parsed(row, 1)?,
        public_key: PublicKey(row.get(2)?),
        status: status_of(row.get(3)?),
        sequence: Sequence::new(row.get(4)?, unsigned(row.get(5)?)),
        is_awaited: row.get(6)?,
        key_no: row.get(7)?,
    })
}

impl DeviceReads for SqliteReader {
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{DEVICE} WHERE d.device_id = ?1"))?;
        Ok(statement.query_row([device_id.as_str()], device).optional()?)
    }

    fn devices(&mut self, which: &Selector, after: i64, limit: usize) -> Result<Vec<DeviceRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("d.id > ?", after);
        filter.of_devices(which)?;
        let sql = format!("{DEVICE} {} ORDER BY d.id LIMIT {}", filter.clause(), rows(limit));
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), device)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn auth_record(&mut self, device_id: &DeviceId) -> Result<Option<AuthRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{AUTH_RECORD} WHERE d.device_id = ?1"))?;
        Ok(statement.query_row([device_id.as_str()], auth_record).optional()?)
    }

    fn auth_records(&mut self, after: i64, limit: usize) -> Result<Vec<AuthRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached(&format!("{AUTH_RECORD} WHERE d.id > ?1 ORDER BY d.id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], auth_record)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn changes(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceChange>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.id, d.device_id, d.public_key, s.status, s.boot_epoch, s.seq, s.open_commands > 0, s.key_no, c.id
             FROM device_changes c JOIN devices d ON d.id = c.device JOIN device_states s ON s.device = d.id
             WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| {
            Ok(DeviceChange { number: row.get(8)?, auth: auth_record(row)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
