//! The log that a device keeps until an operator requests it. Pure.

use std::collections::VecDeque;

use ks_protocol::{
    message::{LINES_MAX, LogLevel, LogLine},
    text::Text,
    time::UnixMs,
};

/// Lines kept per device; the oldest are dropped.
const KEPT_LINES: usize = 512;

#[derive(Debug)]
pub struct LogLines {
    /// Number of the oldest kept line.
    first_no: u64,
    lines: VecDeque<LogLine>,
    is_wanted: bool,
}

impl LogLines {
    pub(super) fn new() -> Self {
        Self { first_no: 1, lines: VecDeque::new(), is_wanted: false }
    }

    pub(super) fn note(&mut self, level: LogLevel, message: &str, now: UnixMs) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
            self.first_no += 1;
        }
        self.lines.push_back(LogLine { at: now, level, message: Text::truncated(message) });
    }

    /// An operator requested the log.
    pub(super) fn ask(&mut self) {
        self.is_wanted = true;
    }

    /// Whether there are lines to send.
    pub(super) fn is_due(&self) -> bool {
        self.is_wanted && !self.lines.is_empty()
    }

    /// The oldest lines, as many as fit one request, and the number of the first.
    pub(super) fn oldest(&self) -> (u64, Vec<LogLine>) {
        (self.first_no, self.lines.iter().take(LINES_MAX).cloned().collect())
    }

    /// The server has stored all lines before `next_no`; they are dropped.
    pub(super) fn stored_up_to(&mut self, next_no: u64) {
        while self.first_no < next_no && self.lines.pop_front().is_some() {
            self.first_no += 1;
        }
        self.is_wanted = !self.lines.is_empty();
    }
}
