//! Punches in SQLite: the primary key (device, punch_no) is what makes each exactly one.

use ks_protocol::{id::DeviceId, message::Punch, time::UnixMs};
use rusqlite::params;

use super::{
    Denied, SqliteReader, StoreError, Writes, advance, filter::Filter, integer, parsed, rows, time,
    transaction::Transaction, unsigned,
};
use crate::store::punches::{PunchBatch, PunchFilter, PunchPlace, PunchReads, PunchRecord, PunchWrites, PunchesTaken};

impl PunchWrites for Writes<'_> {
    fn store_punches(&mut self, batch: &PunchBatch, at: UnixMs) -> Result<Result<PunchesTaken, Denied>, StoreError> {
        let device = match advance(&self.0, &batch.device_id, batch.sequence, at)? {
            Ok(device) => device,
            Err(denied) => return Ok(Err(denied)),
        };
        let mut taken = PunchesTaken::default();
        for punch in &batch.punches {
            if insert(&self.0, device, punch, at)? {
                taken.stored += 1;
            } else if is_stored(&self.0, device, punch)? {
                taken.known += 1;
            } else {
                taken.conflicts.push(punch.punch_no.get());
            }
        }
        Ok(Ok(taken))
    }
}

/// Whether the number was free, and is the punch's now.
fn insert(transaction: &Transaction<'_>, device: i64, punch: &Punch, at: UnixMs) -> Result<bool, StoreError> {
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO punches (device, punch_no, at, received_at, badge, direction, method)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (device, punch_no) DO NOTHING",
        )?
        .execute(params![
            device,
            integer(punch.punch_no.get()),
            integer(punch.at.0),
            integer(at.0),
            punch.badge.as_str(),
            punch.direction.as_str(),
            punch.method.as_str()
        ])?;
    Ok(inserted == 1)
}

/// Whether what is stored under the number is this very punch.
fn is_stored(transaction: &Transaction<'_>, device: i64, punch: &Punch) -> Result<bool, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT at = ?3 AND badge = ?4 AND direction = ?5 AND method = ?6 FROM punches WHERE device = ?1 AND punch_no = ?2",
    )?;
    let parameters = params![
        device,
        integer(punch.punch_no.get()),
        integer(punch.at.0),
        punch.badge.as_str(),
        punch.direction.as_str(),
        punch.method.as_str()
    ];
    Ok(statement.query_row(parameters, |row| row.get(0))?)
}

impl PunchReads for SqliteReader {
    fn punches(
        &mut self,
        which: &PunchFilter,
        after: Option<PunchPlace>,
        limit: usize,
    ) -> Result<(Vec<PunchRecord>, Option<PunchPlace>), StoreError> {
        let mut filter = Filter::default();
        filter.and("p.at >= ?", integer(which.since.0));
        filter.and("p.at < ?", integer(which.until.0));
        filter.and_if("d.site = ?", which.site.clone());
        filter.and_if("d.device_id = ?", which.device_id.as_ref().map(|id| id.as_str().to_owned()));
        if let Some((at, device, punch_no)) = after {
            let place = format!("({}, {device}, {})", integer(at.0), integer(punch_no));
            filter.and_that(&format!("(p.at, p.device, p.punch_no) > {place}"));
        }
        let sql = format!(
            "SELECT d.device_id, p.punch_no, d.site, p.at, p.received_at, p.badge, p.direction, p.method, p.device
             FROM punches p JOIN devices d ON d.id = p.device {} ORDER BY p.at, p.device, p.punch_no LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement
            .query_map(filter.values().as_slice(), |row| {
                let record = PunchRecord {
                    device_id: parsed(row, 0)?,
                    punch_no: unsigned(row.get(1)?),
                    site: row.get(2)?,
                    at: time(row, 3)?,
                    received_at: time(row, 4)?,
                    badge: row.get(5)?,
                    direction: row.get(6)?,
                    method: row.get(7)?,
                };
                Ok((record, row.get::<_, i64>(8)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let is_full = found.len() == limit;
        let place = found.last().filter(|_| is_full).map(|(last, device)| (last.at, *device, last.punch_no));
        Ok((found.into_iter().map(|(record, _)| record).collect(), place))
    }

    fn punch_numbers(&mut self, after: (i64, u64), limit: usize) -> Result<Vec<(i64, DeviceId, u64)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT p.device, d.device_id, p.punch_no FROM punches p JOIN devices d ON d.id = p.device
             WHERE (p.device, p.punch_no) > (?1, ?2) ORDER BY p.device, p.punch_no LIMIT ?3",
        )?;
        let found = statement.query_map(params![after.0, integer(after.1), rows(limit)], |row| {
            Ok((row.get(0)?, parsed(row, 1)?, unsigned(row.get(2)?)))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
