//! Punches in SQLite: the primary key (device, punch_no) makes each unique.

use ks_protocol::id::DeviceId;
use rusqlite::params;

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, time, unsigned},
    filter::Filter,
};
use crate::store::punches::{NewPunch, PunchCursor, PunchFilter, PunchReads, PunchRecord, PunchRows, StoredPunch};

impl PunchRows for Writes<'_> {
    fn insert_punches(&mut self, punches: &[NewPunch<'_>]) -> Result<Vec<bool>, StoreError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO punches (device, punch_no, at, received_at, badge, direction, method)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (device, punch_no) DO NOTHING",
        )?;
        let mut is_new = Vec::with_capacity(punches.len());
        for NewPunch { device, at, punch } in punches {
            let inserted = insert.execute(params![
                device,
                integer(punch.punch_no.get()),
                integer(punch.at.0),
                integer(at.0),
                punch.badge.as_str(),
                punch.direction.as_str(),
                punch.method.as_str()
            ])?;
            is_new.push(inserted == 1);
        }
        Ok(is_new)
    }

    fn stored_punches(&mut self, numbers: &[(i64, u64)]) -> Result<Vec<StoredPunch>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT device, punch_no, at, badge, direction, method FROM punches WHERE device = ?1 AND punch_no = ?2",
        )?;
        let mut stored = Vec::with_capacity(numbers.len());
        for (device, number) in numbers {
            let found = statement.query_map(params![device, integer(*number)], |row| {
                Ok(StoredPunch {
                    device: row.get(0)?,
                    punch_no: unsigned(row.get(1)?),
                    at: time(row, 2)?,
                    badge: row.get(3)?,
                    direction: row.get(4)?,
                    method: row.get(5)?,
                })
            })?;
            for punch in found {
                stored.push(punch?);
            }
        }
        Ok(stored)
    }
}

impl PunchReads for SqliteReader {
    fn punches_after(
        &mut self,
        which: &PunchFilter,
        after: Option<PunchCursor>,
        limit: usize,
    ) -> Result<Vec<(PunchRecord, i64)>, StoreError> {
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
        let found = statement.query_map(filter.values().as_slice(), |row| {
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
            Ok((record, row.get(8)?))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
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
