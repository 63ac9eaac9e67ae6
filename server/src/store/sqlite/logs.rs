//! Log lines in SQLite.

use ks_protocol::{
    message::{LogLevel, LogLine},
    time::UnixMs,
};
use rusqlite::params;

use super::{SqliteReader, StoreError, Writes, filter::Filter, integer, parsed, rows, span, time, unsigned};
use crate::store::{
    Span,
    logs::{LogFilter, LogPage, LogReads, LogRecord, LogRows},
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

impl LogRows for Writes<'_> {
    fn next_line_no(&mut self, device: i64) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT next_line_no FROM device_states WHERE device = ?1")?;
        Ok(unsigned(statement.query_row([device], |row| row.get(0))?))
    }

    fn save_next_line_no(&mut self, device: i64, next_line_no: u64) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE device_states SET next_line_no = ?2 WHERE device = ?1")?
            .execute(params![device, integer(next_line_no)])?;
        Ok(())
    }

    fn insert_lines(&mut self, device: i64, lines: &[LogLine], at: UnixMs) -> Result<(), StoreError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO device_logs (device, received_at, at, level, message) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for line in lines {
            insert.execute(params![
                device,
                integer(at.0),
                integer(line.at.0),
                number_of(line.level),
                line.message.as_str()
            ])?;
        }
        Ok(())
    }

    fn span_of_lines(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError> {
        span(&self.0, "device_logs", "received_at", after, rows_max)
    }

    fn delete_lines(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError> {
        let sql = "DELETE FROM device_logs WHERE id > ?1 AND id <= ?2 AND received_at < ?3";
        Ok(self.0.prepare_cached(sql)?.execute(params![after, last, integer(before.0)])?)
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
