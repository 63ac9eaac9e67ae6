//! Devices in SQLite: whitelisting, registering, tokens, keys, revoking, editing.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Denied, DeviceStatus, SqliteReader, StoreError, Writes, advance, audit::append, filter::Filter, integer, parsed,
    rollouts::take_out, rows, standing, status_of, take_pair, time_if, transaction::Transaction, unsigned,
};
use crate::{
    audit::note,
    clock::AHEAD_MAX,
    rollout::update::UpdateEvent,
    rules::{
        commands::cancel_open,
        devices::{denied, find},
    },
    store::{
        By,
        devices::{
            DeviceChange, DeviceEdit, DeviceReads, DeviceRecord, DeviceRows, DeviceWrites, EditRefused, ImportProblem,
            Imported, KeyRotation, NewDevice, NewOtrts, PROBLEMS_MAX, Part, Registration, Revoked, Selector, Standing,
            StandingRecord,
        },
    },
};

impl DeviceRows for Writes<'_> {
    fn standing(&mut self, device_id: &DeviceId) -> Result<Option<Standing>, StoreError> {
        standing(&self.0, device_id)
    }

    fn standings_of(
        &mut self,
        which: &Selector,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(DeviceId, Standing)>, StoreError> {
        let mut filter = Filter::default();
        filter.and("d.id > ?", after);
        filter.of_devices(which)?;
        let sql = format!(
            "SELECT d.device_id, d.id, s.status, s.boot_epoch, s.seq
             FROM devices d JOIN device_states s ON s.device = d.id {} ORDER BY d.id LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            let kept = Sequence::new(row.get(3)?, unsigned(row.get(4)?));
            Ok((parsed(row, 0)?, Standing { row: row.get(1)?, status: status_of(row.get(2)?), kept }))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn take_pair(&mut self, device_id: &DeviceId, sequence: Sequence, at: UnixMs) -> Result<Option<i64>, StoreError> {
        take_pair(&self.0, device_id, sequence, at)
    }
}

impl DeviceWrites for Writes<'_> {
    fn import(
        &mut self,
        devices: &[NewDevice],
        part: Part,
        by: &By,
    ) -> Result<Result<Imported, Vec<ImportProblem>>, StoreError> {
        // Every row is looked at before the first is written, so that a refusal leaves nothing to undo.
        let (mut problems, mut new, mut revoked) = (Vec::new(), Vec::new(), 0);
        for device in devices {
            match compare(&self.0, device)? {
                Comparison::New => new.push(device),
                Comparison::Same { is_revoked } => revoked += usize::from(is_revoked),
                Comparison::Conflict(problem) if problems.len() < PROBLEMS_MAX => problems.push(problem),
                Comparison::Conflict(_) => break,
            }
        }
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
        for device in &new {
            insert(&self.0, device, by.at)?;
        }
        let Part { before, total } = part;
        if before == 0 || !new.is_empty() {
            let rows = format!("rows {} to {} of {total}", before + 1, before + devices.len());
            let which = if devices.len() == total { "" } else { &rows };
            append(&self.0, "device.import", &format!("{} devices", new.len()), which, by)?;
        }
        Ok(Ok(Imported { added: new.len(), unchanged: devices.len() - new.len(), revoked }))
    }

    fn register(&mut self, registration: &Registration, by: &By) -> Result<Result<UnixMs, Denied>, StoreError> {
        let Registration { device_id, public_key, sequence, .. } = registration;
        let Some(standing) = standing(&self.0, device_id)? else { return Ok(Err(Denied::Unknown)) };
        let (key, model, registered_at): (Vec<u8>, String, Option<UnixMs>) = self
            .0
            .prepare_cached("SELECT public_key, model, registered_at FROM devices WHERE id = ?1")?
            .query_row([standing.row], |row| Ok((row.get(0)?, row.get(1)?, time_if(row, 2)?)))?;
        let denied = if standing.status == DeviceStatus::Revoked {
            Some(Denied::Revoked)
        } else if key != public_key.0 {
            Some(Denied::KeyMismatch)
        } else if *sequence <= standing.kept {
            Some(Denied::Stale { kept: standing.kept })
        } else {
            match registration.otrt_sha256 {
                Some(sha256) => consume(&self.0, &sha256, registration, &model, by.at)?,
                None if registration.otrt_required && standing.status == DeviceStatus::Whitelisted => {
                    Some(Denied::OtrtRequired)
                }
                None => None,
            }
        };
        if let Some(denied) = denied {
            return Ok(Err(denied));
        }
        self.0
            .prepare_cached(
                "UPDATE device_states SET status = 1, boot_epoch = ?2, seq = ?3, last_seen_at = ?4 WHERE device = ?1",
            )?
            .execute(params![standing.row, sequence.boot_epoch, integer(sequence.seq.get()), integer(by.at.0)])?;
        if let Some(first) = registered_at {
            return Ok(Ok(first));
        }
        self.0
            .prepare_cached("UPDATE devices SET registered_at = ?2 WHERE id = ?1")?
            .execute(params![standing.row, integer(by.at.0)])?;
        append(&self.0, "device.register", device_id.as_str(), "", by)?;
        Ok(Ok(by.at))
    }

    fn add_otrts(&mut self, otrts: &NewOtrts, by: &By) -> Result<(), StoreError> {
        let NewOtrts { tokens_sha256, expires_at, device_id, model } = otrts;
        for sha256 in tokens_sha256 {
            self.0
                .prepare_cached(
                    "INSERT INTO otrts (token_sha256, created_at, expires_at, bound_device_id, bound_model)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    sha256.as_slice(),
                    integer(by.at.0),
                    integer(expires_at.0),
                    device_id.as_ref().map(DeviceId::as_str),
                    model
                ])?;
        }
        let subject = format!("{} tokens", tokens_sha256.len());
        append(&self.0, "otrt.make", &subject, &format!("expires {expires_at}"), by)
    }

    fn revoke_otrts(&mut self, tokens_sha256: &[[u8; 32]], by: &By) -> Result<usize, StoreError> {
        let mut revoked = 0;
        for sha256 in tokens_sha256 {
            let sql = "DELETE FROM otrts WHERE token_sha256 = ?1 AND used_key IS NULL";
            revoked += self.0.prepare_cached(sql)?.execute([sha256.as_slice()])?;
        }
        append(&self.0, "otrt.revoke", &format!("{revoked} tokens"), "", by)?;
        Ok(revoked)
    }

    fn rotate_key(&mut self, rotation: &KeyRotation, by: &By) -> Result<Result<(), Denied>, StoreError> {
        let KeyRotation { device_id, sequence, signed_with, new_public_key } = rotation;
        let Some(standing) = standing(&self.0, device_id)? else { return Ok(Err(Denied::Unknown)) };
        if standing.status != DeviceStatus::Registered || *sequence <= standing.kept {
            return Ok(Err(denied(Some(standing))));
        }
        // Before the pair is taken: a refusal leaves everything as it was.
        let current: Vec<u8> = self
            .0
            .prepare_cached("SELECT public_key FROM devices WHERE id = ?1")?
            .query_row([standing.row], |row| row.get(0))?;
        if current != signed_with.0 {
            return Ok(Err(Denied::KeyMismatch)); // rotated in between, by somebody who has the old key too
        }
        let is_repeated = current == new_public_key.0;
        if !is_repeated && is_known_key(&self.0, new_public_key)? {
            return Ok(Err(Denied::KeyInUse));
        }
        let device = match advance(&self.0, device_id, *sequence, by.at)? {
            Ok(device) => device,
            Err(denied) => return Ok(Err(denied)),
        };
        if is_repeated {
            return Ok(Ok(()));
        }
        set_key(&self.0, device, new_public_key, by.at)?;
        append(&self.0, "device.rotate_key", device_id.as_str(), &new_public_key.to_string(), by)?;
        Ok(Ok(()))
    }

    fn revoke(&mut self, which: &Selector, reason: &str, by: &By) -> Result<Revoked, StoreError> {
        let (found, unknown) = find(self, which)?;
        let mut done = Revoked { unknown, ..Revoked::default() };
        for (device_id, standing) in found {
            if standing.status == DeviceStatus::Revoked {
                done.already += 1;
                continue;
            }
            let row = standing.row;
            self.0.prepare_cached("UPDATE device_states SET status = 2 WHERE device = ?1")?.execute([row])?;
            self.0
                .prepare_cached(
                    "UPDATE devices SET revoked_at = ?2, revoke_reason = ?3, version = version + 1 WHERE id = ?1",
                )?
                .execute(params![row, integer(by.at.0), reason])?;
            let noted = note(self, "device.revoke", device_id.as_str(), reason, by)?;
            cancel_open(self, &[row], "the device was revoked", by.at, &noted)?;
            take_out(&self.0, row, UpdateEvent::Revoked, by.at)?;
            changed(&self.0, row, by.at)?;
            done.revoked.push(device_id);
        }
        Ok(done)
    }

    fn reprovision(
        &mut self,
        device_id: &DeviceId,
        public_key: &PublicKey,
        reason: &str,
        by: &By,
    ) -> Result<Result<(), EditRefused>, StoreError> {
        let Some(Standing { row, .. }) = standing(&self.0, device_id)? else { return Ok(Err(EditRefused::Unknown)) };
        if is_known_key(&self.0, public_key)? {
            return Ok(Err(EditRefused::KeyInUse));
        }
        let noted = note(self, "device.reprovision", device_id.as_str(), &format!("{public_key}: {reason}"), by)?;
        cancel_open(self, &[row], "the device was re-provisioned", by.at, &noted)?;
        take_out(&self.0, row, UpdateEvent::Reprovisioned, by.at)?;
        set_key(&self.0, row, public_key, by.at)?;
        end_otrts(&self.0, device_id)?;
        // What the old key signed is worth nothing any more, so the pair may begin again.
        self.0
            .prepare_cached(
                "UPDATE device_states SET status = 0, boot_epoch = 0, seq = 0, keyset_version = 0, next_line_no = 1
                 WHERE device = ?1",
            )?
            .execute([row])?;
        self.0
            .prepare_cached(
                "UPDATE devices SET registered_at = NULL, revoked_at = NULL, revoke_reason = NULL, version = version + 1
                 WHERE id = ?1",
            )?
            .execute([row])?;
        Ok(Ok(()))
    }

    fn edit_device(
        &mut self,
        device_id: &DeviceId,
        edit: &DeviceEdit,
        if_version: Option<u64>,
        by: &By,
    ) -> Result<Result<u64, EditRefused>, StoreError> {
        let found: Option<(i64, i64)> = self
            .0
            .prepare_cached("SELECT id, version FROM devices WHERE device_id = ?1")?
            .query_row([device_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((row, version)) = found else { return Ok(Err(EditRefused::Unknown)) };
        let version = unsigned(version);
        if if_version.is_some_and(|expected| expected != version) {
            return Ok(Err(EditRefused::Changed { version }));
        }
        let mut told = Vec::new();
        if let Some(site) = &edit.site {
            self.0.prepare_cached("UPDATE devices SET site = ?2 WHERE id = ?1")?.execute(params![row, site])?;
            told.push(format!("site {site}"));
        }
        if let Some(labels) = &edit.labels {
            self.0.prepare_cached("DELETE FROM device_labels WHERE device = ?1")?.execute([row])?;
            for label in labels {
                self.0
                    .prepare_cached("INSERT OR IGNORE INTO device_labels (device, label) VALUES (?1, ?2)")?
                    .execute(params![row, label])?;
            }
            told.push(format!("labels {}", labels.join(", ")));
        }
        self.0.prepare_cached("UPDATE devices SET version = version + 1 WHERE id = ?1")?.execute([row])?;
        append(&self.0, "device.edit", device_id.as_str(), &told.join("; "), by)?;
        Ok(Ok(version + 1))
    }

    fn forget_otrts(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let sql = "DELETE FROM otrts WHERE token_sha256 IN
                     (SELECT token_sha256 FROM otrts WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }

    fn forget_changes(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let sql =
            "DELETE FROM device_changes WHERE id IN (SELECT id FROM device_changes WHERE at < ?1 ORDER BY id LIMIT ?2)";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(before.0), rows(rows_max)])?)
    }
}

/// Consumes a token in one conditional write. The key that used it gets the same answer again inside its life.
fn consume(
    transaction: &Transaction<'_>,
    sha256: &[u8; 32],
    registration: &Registration,
    model: &str,
    at: UnixMs,
) -> Result<Option<Denied>, StoreError> {
    let key = registration.public_key.0;
    let consumed = transaction
        .prepare_cached(
            "UPDATE otrts SET used_key = ?2, used_at = coalesce(used_at, ?5)
             WHERE token_sha256 = ?1 AND created_at <= ?6 AND expires_at > ?5 AND (used_key IS NULL OR used_key = ?2)
               AND (bound_device_id IS NULL OR bound_device_id = ?3) AND (bound_model IS NULL OR bound_model = ?4)",
        )?
        .execute(params![
            sha256.as_slice(),
            key.as_slice(),
            registration.device_id.as_str(),
            model,
            integer(at.0),
            integer((at + AHEAD_MAX).0)
        ])?;
    if consumed == 1 {
        return Ok(None);
    }
    let used_key: Option<Option<[u8; 32]>> = transaction
        .prepare_cached("SELECT used_key FROM otrts WHERE token_sha256 = ?1")?
        .query_row([sha256.as_slice()], |row| row.get(0))
        .optional()?;
    let by_another = used_key.flatten().is_some_and(|by| by != key);
    Ok(Some(if by_another { Denied::OtrtUsed } else { Denied::OtrtInvalid }))
}

/// Ends the tokens that were made for this device: they went to who held the old key. Those that it has used serve the old
/// key alone, which never returns.
fn end_otrts(transaction: &Transaction<'_>, device_id: &DeviceId) -> Result<(), StoreError> {
    let sql = "UPDATE otrts SET expires_at = 0 WHERE bound_device_id = ?1";
    transaction.prepare_cached(sql)?.execute([device_id.as_str()])?;
    Ok(())
}

enum Comparison {
    New,
    Same { is_revoked: bool },
    Conflict(ImportProblem),
}

fn compare(connection: &Connection, device: &NewDevice) -> Result<Comparison, StoreError> {
    let conflict = |field, what| Ok(Comparison::Conflict(ImportProblem { line: device.line, field, what }));
    let known = connection
        .prepare_cached(
            "SELECT public_key, serial, manufacturer, model, site, revoked_at IS NOT NULL FROM devices WHERE device_id = ?1",
        )?
        .query_row([device.device_id.as_str()], |row| {
            let texts: [String; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            Ok((row.get::<_, Vec<u8>>(0)?, texts, row.get::<_, bool>(5)?))
        })
        .optional()?;
    let device_id = &device.device_id;
    let Some((key, texts, is_revoked)) = known else {
        let owner = connection
            .prepare_cached(
                "SELECT d.device_id FROM device_keys k JOIN devices d ON d.id = k.device WHERE k.public_key = ?1",
            )?
            .query_row([device.public_key.0.as_slice()], |row| row.get::<_, String>(0))
            .optional()?;
        return match owner {
            Some(owner) => conflict("public_key", format!("device {owner} has or had this key; no key is used twice")),
            None => Ok(Comparison::New),
        };
    };
    if key != device.public_key.0 {
        let what = format!("device {device_id} is whitelisted with another key; re-provision it instead");
        return conflict("public_key", what);
    }
    let given = [&device.serial, &device.manufacturer, &device.model, &device.site];
    for ((field, given), stored) in ["serial", "manufacturer", "model", "site"].into_iter().zip(given).zip(texts) {
        if stored != *given {
            return conflict(
                field,
                format!("device {device_id} is whitelisted with {field} `{stored}`, got `{given}`"),
            );
        }
    }
    Ok(Comparison::Same { is_revoked })
}

fn insert(transaction: &Transaction<'_>, device: &NewDevice, at: UnixMs) -> Result<(), StoreError> {
    let row = transaction
        .prepare_cached(
            "INSERT INTO devices (device_id, public_key, serial, manufacturer, model, site, imported_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .insert(params![
            device.device_id.as_str(),
            device.public_key.0.as_slice(),
            device.serial,
            device.manufacturer,
            device.model,
            device.site,
            integer(at.0),
        ])?;
    transaction.prepare_cached("INSERT INTO device_states (device) VALUES (?1)")?.execute([row])?;
    add_key(transaction, row, &device.public_key, at)
}

fn add_key(transaction: &Transaction<'_>, device: i64, key: &PublicKey, at: UnixMs) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT INTO device_keys (public_key, device, since) VALUES (?1, ?2, ?3)")?
        .execute(params![key.0.as_slice(), device, integer(at.0)])?;
    Ok(())
}

/// Whether a key is or was any device's.
fn is_known_key(transaction: &Transaction<'_>, key: &PublicKey) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM device_keys WHERE public_key = ?1)";
    Ok(transaction.prepare_cached(sql)?.query_row([key.0.as_slice()], |row| row.get(0))?)
}

fn set_key(transaction: &Transaction<'_>, device: i64, key: &PublicKey, at: UnixMs) -> Result<(), StoreError> {
    transaction
        .prepare_cached("UPDATE device_keys SET until = ?2 WHERE device = ?1 AND until IS NULL")?
        .execute(params![device, integer(at.0)])?;
    add_key(transaction, device, key, at)?;
    transaction
        .prepare_cached("UPDATE devices SET public_key = ?2 WHERE id = ?1")?
        .execute(params![device, key.0.as_slice()])?;
    changed(transaction, device, at)
}

/// Tells every server to look at the device again.
fn changed(transaction: &Transaction<'_>, device: i64, at: UnixMs) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT INTO device_changes (device, at) VALUES (?1, ?2)")?
        .execute(params![device, integer(at.0)])?;
    Ok(())
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

const STANDING: &str = "SELECT d.id, d.device_id, d.public_key, s.status, s.boot_epoch, s.seq
    FROM devices d JOIN device_states s ON s.device = d.id";

fn standing_record(row: &Row<'_>) -> rusqlite::Result<StandingRecord> {
    Ok(StandingRecord {
        row: row.get(0)?,
        device_id: parsed(row, 1)?,
        public_key: PublicKey(row.get(2)?),
        status: status_of(row.get(3)?),
        sequence: Sequence::new(row.get(4)?, unsigned(row.get(5)?)),
    })
}

impl DeviceReads for SqliteReader {
    fn import_problems(&mut self, devices: &[NewDevice]) -> Result<Vec<ImportProblem>, StoreError> {
        let mut problems = Vec::new();
        for device in devices {
            if let Comparison::Conflict(problem) = compare(&self.connection, device)? {
                problems.push(problem);
            }
            if problems.len() == PROBLEMS_MAX {
                break;
            }
        }
        Ok(problems)
    }

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

    fn standing(&mut self, device_id: &DeviceId) -> Result<Option<StandingRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{STANDING} WHERE d.device_id = ?1"))?;
        Ok(statement.query_row([device_id.as_str()], standing_record).optional()?)
    }

    fn standings(&mut self, after: i64, limit: usize) -> Result<Vec<StandingRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached(&format!("{STANDING} WHERE d.id > ?1 ORDER BY d.id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], standing_record)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn changes(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceChange>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.id, d.device_id, d.public_key, s.status, s.boot_epoch, s.seq, c.id
             FROM device_changes c JOIN devices d ON d.id = c.device JOIN device_states s ON s.device = d.id
             WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| {
            Ok(DeviceChange { number: row.get(6)?, standing: standing_record(row)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
