//! Log lines in SQLite.

use ks_protocol::{
    id::DeviceId,
    message::{LogLevel, LogLine},
    time::UnixMs,
};
use rusqlite::params;

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, span, time, unsigned},
    filter::Filter,
};
use crate::store::{
    Span,
    logs::{LogReads, LogRecord, LogRows},
};

/// 0 is the most severe.
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
    fn next_line_nos(&mut self, devices: &[i64]) -> Result<Vec<u64>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT next_line_no FROM device_states WHERE device = ?1")?;
        devices.iter().map(|device| Ok(unsigned(statement.query_row([device], |row| row.get(0))?))).collect()
    }

    fn save_next_line_nos(&mut self, next: &[(i64, u64)]) -> Result<(), StoreError> {
        let mut save = self.0.prepare_cached("UPDATE device_states SET next_line_no = ?2 WHERE device = ?1")?;
        for (device, next_line_no) in next {
            save.execute(params![device, integer(*next_line_no)])?;
        }
        Ok(())
    }

    fn insert_lines(&mut self, lines: &[(i64, UnixMs, &LogLine)]) -> Result<(), StoreError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO device_logs (device, received_at, at, level, message) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (device, received_at, LogLine { at, level, message }) in lines {
            let (received_at, at) = (integer(received_at.0), integer(at.0));
            insert.execute(params![device, received_at, at, number_of(*level), message.as_str()])?;
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
    fn lines_before(
        &mut self,
        device_id: Option<&DeviceId>,
        before: i64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("g.id < ?", before);
        if let Some(device_id) = device_id {
            filter.and("g.device = (SELECT id FROM devices WHERE device_id = ?)", device_id.as_str().to_owned());
        }
        let sql = format!(
            "SELECT g.id, d.device_id, g.at, g.received_at, g.level, g.message
             FROM (SELECT * FROM device_logs g {} ORDER BY g.id DESC LIMIT {}) g JOIN devices d ON d.id = g.device
             ORDER BY g.id DESC",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            Ok(LogRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                at: time(row, 2)?,
                received_at: time(row, 3)?,
                level: level_of(row.get(4)?),
                message: row.get(5)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
