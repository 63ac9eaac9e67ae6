//! The log that a device keeps until an operator asks for it. Pure.

use std::collections::VecDeque;

use ks_protocol::{
    message::{LINES_MAX, LogLevel, LogLine},
    text::Text,
    time::UnixMs,
};

/// Lines that a device keeps; the oldest go.
const KEPT_LINES: usize = 512;

/// A device's log.
#[derive(Debug)]
pub struct LogLines {
    /// Number of the first line that is kept.
    first_no: u64,
    lines: VecDeque<LogLine>,
    is_wanted: bool,
}

impl LogLines {
    /// Nothing was logged yet.
    pub(super) fn new() -> Self {
        Self { first_no: 1, lines: VecDeque::new(), is_wanted: false }
    }

    /// Writes a line.
    pub(super) fn note(&mut self, level: LogLevel, message: &str, now: UnixMs) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
            self.first_no += 1;
        }
        self.lines.push_back(LogLine { at: now, level, message: Text::truncated(message) });
    }

    /// An operator asks for it.
    pub(super) fn ask(&mut self) {
        self.is_wanted = true;
    }

    /// Whether lines are to be sent.
    pub(super) fn is_due(&self) -> bool {
        self.is_wanted && !self.lines.is_empty()
    }

    /// The oldest lines, as many as one request takes, and the number of the first of them.
    pub(super) fn oldest(&self) -> (u64, Vec<LogLine>) {
        (self.first_no, self.lines.iter().take(LINES_MAX).cloned().collect())
    }

    /// The server has all lines before this one; they can go.
    pub(super) fn stored_up_to(&mut self, next_no: u64) {
        while self.first_no < next_no && self.lines.pop_front().is_some() {
            self.first_no += 1;
        }
        self.is_wanted = !self.lines.is_empty();
    }
}
