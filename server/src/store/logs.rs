//! Log lines of devices: each stored once, by its number.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{LogLevel, LogLine},
    time::UnixMs,
};

use super::{Span, StoreError};

/// A verified batch of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Who.
    pub device_id: DeviceId,
    /// Its replay pair.
    pub sequence: Sequence,
    /// Number of the first line.
    pub first_line_no: u64,
    /// The lines.
    pub lines: Vec<LogLine>,
    /// When it was received.
    pub at: UnixMs,
}

/// A stored line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Row; lines are paged by it.
    pub row: i64,
    /// Whose.
    pub device_id: DeviceId,
    /// When it was written, by the device's clock.
    pub at: UnixMs,
    /// When it was received.
    pub received_at: UnixMs,
    /// How bad it is.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Of this device.
    pub device_id: Option<DeviceId>,
    /// Written at or after this.
    pub since: Option<UnixMs>,
    /// Written before this.
    pub until: Option<UnixMs>,
    /// Of this level or a worse one.
    pub level: Option<LogLevel>,
    /// With this in the message; case does not matter.
    pub text: Option<String>,
}

/// A page of lines, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The lines that were meant, among those that were looked at.
    pub lines: Vec<LogRecord>,
    /// Where to go on; none when there are no older ones. A page can be empty and have one: so many lines were looked at.
    pub next_before: Option<i64>,
}

/// What was taken of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogsTaken {
    /// The first number that is not there.
    pub next_line_no: u64,
    /// How many of the batch, the last ones, were not there before.
    pub stored: usize,
}

/// The rows of log lines. Within a transaction, [`crate::rules::logs`] decides over them.
pub trait LogRows {
    /// The first number of each of these devices' lines that is not there, in this order.
    fn next_line_nos(&mut self, devices: &[i64]) -> Result<Vec<u64>, StoreError>;
    /// Stores it, each by its device's row.
    fn save_next_line_nos(&mut self, next: &[(i64, u64)]) -> Result<(), StoreError>;
    /// Adds lines, each with its device's row and when it was received, in this order.
    fn insert_lines(&mut self, lines: &[(i64, UnixMs, &LogLine)]) -> Result<(), StoreError>;
    /// The first lines with a row above `after`, at most `rows_max`, by when they were received.
    fn span_of_lines(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError>;
    /// Deletes lines with rows above `after` and up to `last` that were received before a time; gives how many.
    fn delete_lines(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError>;
}

/// What can be asked of log lines.
pub trait LogReads {
    /// Lines with a row below `before`, the newest first: at most `limit` of them, among at most `looked_at_max`.
    fn logs(
        &mut self,
        which: &LogFilter,
        before: i64,
        limit: usize,
        looked_at_max: usize,
    ) -> Result<LogPage, StoreError> {
        let text = which.text.as_ref().map(|text| text.to_lowercase());
        let mut page = LogPage { lines: Vec::new(), next_before: Some(before) };
        let (mut left, mut read_at_once) = (looked_at_max, limit); // enough, where every line matches
        while let Some(before) = page.next_before.filter(|_| left > 0 && page.lines.len() < limit) {
            let rows_max = read_at_once.min(left);
            read_at_once = limit.max(READ_AT_ONCE);
            let found = self.lines_before(which.device_id.as_ref(), before, rows_max)?;
            let is_last = found.len() < rows_max;
            left -= found.len();
            for record in found {
                page.next_before = Some(record.row);
                if which.includes(&record, text.as_deref()) {
                    page.lines.push(record);
                }
                if page.lines.len() == limit {
                    return Ok(page);
                }
            }
            if is_last {
                page.next_before = None;
            }
        }
        Ok(page)
    }
    /// Lines with a row below `before`, of one device or of all, the newest first, at most `limit`.
    fn lines_before(
        &mut self,
        device_id: Option<&DeviceId>,
        before: i64,
        limit: usize,
    ) -> Result<Vec<LogRecord>, StoreError>;
}

/// Lines read at a time by a search.
const READ_AT_ONCE: usize = 1_000;

impl LogFilter {
    /// Whether a line of the right device matches; `text` is the text to find, in lower case.
    fn includes(&self, line: &LogRecord, text: Option<&str>) -> bool {
        self.since.is_none_or(|since| line.at >= since)
            && self.until.is_none_or(|until| line.at < until)
            && self.level.is_none_or(|level| line.level <= level)
            && text.is_none_or(|text| line.message.to_lowercase().contains(text))
    }
}
