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
    pub device_id: DeviceId,
    pub sequence: Sequence,
    /// Number of the first line.
    pub first_line_no: u64,
    pub lines: Vec<LogLine>,
    /// When it was received.
    pub at: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Row; lines are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    /// When it was written, by the device's clock.
    pub at: UnixMs,
    /// When it was received.
    pub received_at: UnixMs,
    pub level: LogLevel,
    pub message: String,
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    pub device_id: Option<DeviceId>,
    /// Written at or after this.
    pub since: Option<UnixMs>,
    /// Written before this.
    pub until: Option<UnixMs>,
    /// Minimum severity.
    pub level: Option<LogLevel>,
    /// Text in the message, case-insensitive.
    pub text: Option<String>,
}

/// A page of lines, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The matching lines among those read.
    pub lines: Vec<LogRecord>,
    /// Where the next page begins; none when there are no older lines. An empty page can have one, if the read limit was reached.
    pub next_before: Option<i64>,
}

/// The result of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogsTaken {
    /// The first number not stored.
    pub next_line_no: u64,
    /// How many lines were new; these are the last ones of the batch.
    pub stored: usize,
}

/// The rows of log lines. The decisions are in [`crate::rules::logs`].
pub trait LogRows {
    /// The next line number of each of these devices, in this order.
    fn next_line_nos(&mut self, devices: &[i64]) -> Result<Vec<u64>, StoreError>;
    /// Stores it, each by its device's row.
    fn save_next_line_nos(&mut self, next: &[(i64, u64)]) -> Result<(), StoreError>;
    /// Adds lines, each with its device's row and when it was received, in this order.
    fn insert_lines(&mut self, lines: &[(i64, UnixMs, &LogLine)]) -> Result<(), StoreError>;
    /// The first lines with a row above `after`, at most `rows_max`, by when they were received.
    fn span_of_lines(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError>;
    /// Deletes lines with rows above `after` and up to `last` that were received before a time; returns how many.
    fn delete_lines(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError>;
}

/// Queries about log lines.
pub trait LogReads {
    /// Lines with a row below `before`, the newest first: at most `limit` of them, among at most `read_max`.
    fn logs(&mut self, which: &LogFilter, before: i64, limit: usize, read_max: usize) -> Result<LogPage, StoreError> {
        let text = which.text.as_ref().map(|text| text.to_lowercase());
        let mut page = LogPage { lines: Vec::new(), next_before: Some(before) };
        let (mut left, mut read_at_once) = (read_max, limit); // one read suffices where every line matches
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
