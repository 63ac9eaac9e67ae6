//! Provisioning in SQLite: whitelisting, registering, one-time tokens, revoking.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    time::UnixMs,
};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Denied, DeviceStatus, StoreError, audit, integer, standing, unsigned};
use crate::store::{FirstRegistered, ImportProblem, Imported, NewDevice, Revoked};

/// Rows of bad inventory that are reported at most; the first ones tell the pattern.
const PROBLEMS_MAX: usize = 1_000;

/// The one-time token of a registration.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) required: bool,
}

pub(super) fn register(
    transaction: &Transaction<'_>,
    device_id: &DeviceId,
    public_key: &PublicKey,
    sequence: Sequence,
    token: Token,
    at: UnixMs,
) -> Result<Result<FirstRegistered, Denied>, StoreError> {
    let Some(standing) = standing(transaction, device_id)? else { return Ok(Err(Denied::Unknown)) };
    let (key, model, registered_at): (Vec<u8>, String, Option<i64>) = transaction
        .prepare_cached("SELECT public_key, model, registered_at FROM devices WHERE id = ?1")?
        .query_row([standing.row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let denied = if standing.status == DeviceStatus::Revoked {
        Some(Denied::Revoked)
    } else if key != public_key.0 {
        Some(Denied::KeyMismatch)
    } else if sequence <= standing.kept {
        Some(Denied::Stale { kept: standing.kept })
    } else {
        match token {
            Token { sha256: Some(sha256), .. } => consume(transaction, &sha256, device_id, standing.row, &model, at)?,
            Token { required: true, .. } if standing.status == DeviceStatus::Whitelisted => Some(Denied::OtrtRequired),
            Token { .. } => None,
        }
    };
    if let Some(denied) = denied {
        return Ok(Err(denied));
    }
    transaction
        .prepare_cached(
            "UPDATE device_states SET status = 1, boot_epoch = ?2, seq = ?3, last_seen_at = ?4 WHERE device = ?1",
        )?
        .execute(params![standing.row, sequence.boot_epoch, integer(sequence.seq.get()), integer(at.0)])?;
    if let Some(first) = registered_at {
        return Ok(Ok(FirstRegistered(UnixMs(unsigned(first)))));
    }
    transaction
        .prepare_cached("UPDATE devices SET registered_at = ?2 WHERE id = ?1")?
        .execute(params![standing.row, integer(at.0)])?;
    audit(transaction, at, device_id.as_str(), "device.register", device_id.as_str(), "")?;
    Ok(Ok(FirstRegistered(at)))
}

/// Consumes a token in one conditional write. The device that used it gets the same answer again inside its life.
fn consume(
    transaction: &Transaction<'_>,
    sha256: &[u8; 32],
    device_id: &DeviceId,
    device: i64,
    model: &str,
    at: UnixMs,
) -> Result<Option<Denied>, StoreError> {
    let consumed = transaction
        .prepare_cached(
            "UPDATE otrts SET used_by = ?2, used_at = coalesce(used_at, ?5)
             WHERE token_sha256 = ?1 AND expires_at > ?5 AND (used_by IS NULL OR used_by = ?2)
               AND (bound_device_id IS NULL OR bound_device_id = ?3) AND (bound_model IS NULL OR bound_model = ?4)",
        )?
        .execute(params![sha256.as_slice(), device, device_id.as_str(), model, integer(at.0)])?;
    if consumed == 1 {
        return Ok(None);
    }
    let used_by: Option<Option<i64>> = transaction
        .prepare_cached("SELECT used_by FROM otrts WHERE token_sha256 = ?1")?
        .query_row([sha256.as_slice()], |row| row.get(0))
        .optional()?;
    let by_another = used_by.flatten().is_some_and(|by| by != device);
    Ok(Some(if by_another { Denied::OtrtUsed } else { Denied::OtrtInvalid }))
}

pub(super) fn add_otrts(
    transaction: &Transaction<'_>,
    tokens_sha256: &[[u8; 32]],
    expires_at: UnixMs,
    (device_id, model): (Option<&DeviceId>, Option<&str>),
    actor: &str,
    at: UnixMs,
) -> Result<(), StoreError> {
    for sha256 in tokens_sha256 {
        transaction
            .prepare_cached(
                "INSERT INTO otrts (token_sha256, created_at, expires_at, bound_device_id, bound_model) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![sha256.as_slice(), integer(at.0), integer(expires_at.0), device_id.map(DeviceId::as_str), model])?;
    }
    let subject = format!("{} tokens", tokens_sha256.len());
    audit(transaction, at, actor, "otrt.make", &subject, &format!("expires {expires_at}"))
}

/// Whitelists all of `devices` or none. A row that is there already, the same in every column, is left as it is.
pub(super) fn import(
    transaction: &Transaction<'_>,
    devices: &[NewDevice],
    actor: &str,
    at: UnixMs,
) -> Result<Result<Imported, Vec<ImportProblem>>, StoreError> {
    // Every row is looked at before the first is written, so that a refusal leaves nothing to undo.
    let (mut problems, mut new) = (Vec::new(), Vec::new());
    for device in devices {
        match compare(transaction, device)? {
            Comparison::New => new.push(device),
            Comparison::Same => {}
            Comparison::Conflict(problem) if problems.len() < PROBLEMS_MAX => problems.push(problem),
            Comparison::Conflict(_) => break,
        }
    }
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    for device in &new {
        insert(transaction, device, at)?;
    }
    let subject = format!("{} devices", new.len());
    audit(transaction, at, actor, "device.import", &subject, "")?;
    Ok(Ok(Imported { added: new.len(), unchanged: devices.len() - new.len() }))
}

enum Comparison {
    New,
    Same,
    Conflict(ImportProblem),
}

fn compare(transaction: &Transaction<'_>, device: &NewDevice) -> Result<Comparison, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT device_id, public_key, serial, manufacturer, model, site FROM devices WHERE device_id = ?1 OR public_key = ?2",
    )?;
    let mut rows = statement.query(params![device.device_id.as_str(), device.public_key.0.as_slice()])?;
    let mut same = false;
    while let Some(row) = rows.next()? {
        let (device_id, key): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let conflict = |field, what| Ok(Comparison::Conflict(ImportProblem { line: device.line, field, what }));
        if device_id != device.device_id.as_str() {
            return conflict("public_key", format!("device {device_id} has this key; no two devices may share one"));
        }
        if key != device.public_key.0 {
            let what = format!("device {device_id} is whitelisted with another key; re-provision it instead");
            return conflict("public_key", what);
        }
        let given = [&device.serial, &device.manufacturer, &device.model, &device.site];
        for ((index, field), given) in
            [(2, "serial"), (3, "manufacturer"), (4, "model"), (5, "site")].into_iter().zip(given)
        {
            let stored: String = row.get(index)?;
            if stored != *given {
                return conflict(
                    field,
                    format!("device {device_id} is whitelisted with {field} `{stored}`, got `{given}`"),
                );
            }
        }
        same = true;
    }
    Ok(if same { Comparison::Same } else { Comparison::New })
}

fn insert(transaction: &Transaction<'_>, device: &NewDevice, at: UnixMs) -> Result<(), StoreError> {
    let row = transaction
        .prepare_cached(
            "INSERT INTO devices (device_id, public_key, serial, manufacturer, model, site, imported_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
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
    Ok(())
}

pub(super) fn revoke(
    transaction: &Transaction<'_>,
    device_ids: &[DeviceId],
    reason: &str,
    actor: &str,
    at: UnixMs,
) -> Result<Revoked, StoreError> {
    let mut done = Revoked::default();
    for device_id in device_ids {
        match standing(transaction, device_id)? {
            None => done.unknown.push(device_id.clone()),
            Some(standing) if standing.status == DeviceStatus::Revoked => done.already += 1,
            Some(standing) => {
                transaction.execute("UPDATE device_states SET status = 2 WHERE device = ?1", [standing.row])?;
                transaction.execute(
                    "UPDATE devices SET revoked_at = ?2, revoke_reason = ?3 WHERE id = ?1",
                    params![standing.row, integer(at.0), reason],
                )?;
                audit(transaction, at, actor, "device.revoke", device_id.as_str(), reason)?;
                done.revoked.push(device_id.clone());
            }
        }
    }
    Ok(done)
}
