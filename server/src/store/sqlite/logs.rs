//! Log lines in SQLite.

use ks_protocol::{message::LogLevel, time::UnixMs};
use rusqlite::params;

use super::{
    Denied, SqliteReader, StoreError, Writes, advance, filter::Filter, integer, old_rows, parsed, rows, time, unsigned,
};
use crate::store::{
    Swept,
    logs::{LogBatch, LogFilter, LogPage, LogReads, LogRecord, LogWrites, LogsTaken},
};

/// 0 is the worst.
fn number_of(level: LogLevel) -> i64 {
    match level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Info => 2,
        LogLevel::Debug => 3,
    }
}

fn level_of(number: i64) -> LogLevel {
    match number {
        0 => LogLevel::Error,
        1 => LogLevel::Warn,
        2 => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

impl LogWrites for Writes<'_> {
    fn store_logs(&mut self, batch: &LogBatch, at: UnixMs) -> Result<Result<LogsTaken, Denied>, StoreError> {
        let device = match advance(&self.0, &batch.device_id, batch.sequence, at)? {
            Ok(device) => device,
            Err(denied) => return Ok(Err(denied)),
        };
        let next: i64 = self
            .0
            .prepare_cached("SELECT next_line_no FROM device_states WHERE device = ?1")?
            .query_row([device], |row| row.get(0))?;
        // What is stored already is left out. A gap in the numbers is the device's: it lost lines, and says so by it.
        let known = unsigned(next).saturating_sub(batch.first_line_no);
        let new = batch.lines.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        let mut insert = self.0.prepare_cached(
            "INSERT INTO device_logs (device, received_at, at, level, message) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut stored = 0;
        for line in new {
            stored += 1;
            insert.execute(params![
                device,
                integer(at.0),
                integer(line.at.0),
                number_of(line.level),
                line.message.as_str()
            ])?;
        }
        let lines = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
        let next = unsigned(next).max(batch.first_line_no.saturating_add(lines));
        self.0
            .prepare_cached("UPDATE device_states SET next_line_no = ?2 WHERE device = ?1")?
            .execute(params![device, integer(next)])?;
        Ok(Ok(LogsTaken { next_line_no: next, stored }))
    }

    fn prune_logs(&mut self, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError> {
        let Some((last, next_after)) = old_rows(&self.0, "device_logs", "received_at", before, after, rows_max)? else {
            return Ok(Swept::default());
        };
        let deleted = self
            .0
            .prepare_cached("DELETE FROM device_logs WHERE id > ?1 AND id <= ?2 AND received_at < ?3")?
            .execute(params![after, last, integer(before.0)])?;
        Ok(Swept { rows: deleted, next_after })
    }
}

impl LogReads for SqliteReader {
    fn logs(
        &mut self,
        which: &LogFilter,
        before: i64,
        limit: usize,
        looked_at_max: usize,
    ) -> Result<LogPage, StoreError> {
        let device = match &which.device_id {
            None => None,
            Some(device_id) => {
                let mut statement = self.connection.prepare_cached("SELECT id FROM devices WHERE device_id = ?1")?;
                match rusqlite::OptionalExtension::optional(
                    statement.query_row([device_id.as_str()], |row| row.get::<_, i64>(0)),
                )? {
                    Some(device) => Some(device),
                    None => return Ok(LogPage::default()),
                }
            }
        };
        let mut filter = Filter::default();
        filter.and("g.id < ?", before);
        filter.and_if("g.device = ?", device);
        let sql = format!(
            "SELECT g.id, d.device_id, g.at, g.received_at, g.level, g.message
             FROM (SELECT * FROM device_logs g {} ORDER BY g.id DESC LIMIT {}) g JOIN devices d ON d.id = g.device
             ORDER BY g.id DESC",
            filter.clause(),
            rows(looked_at_max)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut found = statement.query(filter.values().as_slice())?;
        let text = which.text.as_ref().map(|text| text.to_lowercase());
        let (mut page, mut looked_at) = (LogPage::default(), 0);
        while let Some(row) = found.next()? {
            looked_at += 1;
            let record = LogRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                at: time(row, 2)?,
                received_at: time(row, 3)?,
                level: level_of(row.get(4)?),
                message: row.get(5)?,
            };
            page.next_before = Some(record.row);
            let is_meant = which.since.is_none_or(|since| record.at >= since)
                && which.until.is_none_or(|until| record.at < until)
                && which.level.is_none_or(|level| record.level <= level)
                && text.as_ref().is_none_or(|text| record.message.to_lowercase().contains(text));
            if is_meant {
                page.lines.push(record);
            }
            if page.lines.len() == limit {
                return Ok(page);
            }
        }
        if looked_at < looked_at_max {
            page.next_before = None;
        }
        Ok(page)
    }
}
