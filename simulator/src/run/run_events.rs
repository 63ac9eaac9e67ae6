//! The event log of a run folder, line by line, for commands: says what is not in it, and what to do.

use std::path::{Path, PathBuf};

use ks_reports::{EventLogReader, LogEnd, ReportError, read_summary, run_folder::EventsKept};
use memchr::{memchr_iter, memmem::Finder};

/// Why a run's events can't be read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The log is missing, damaged or something else.
    #[error(transparent)]
    Log(#[from] ReportError),
    /// The run was made without a log.
    #[error("{folder} has no event log: the run was made with --events none")]
    NotKept {
        folder: PathBuf,
        /// A command that repeats the run with its events.
        again: String,
    },
    /// The run finished, and its log has no end.
    #[error("{folder}: the event log is cut short after {lines} lines, and the run finished")]
    CutShort {
        folder: PathBuf,
        lines: usize,
        /// A command that repeats the run.
        again: String,
    },
    /// A line is not what a run writes.
    #[error("{folder}, line {line} of the event log: {why}; expected an event as a JSON object")]
    Line {
        folder: PathBuf,
        /// Which line, from 1.
        line: usize,
        why: String,
    },
}

impl EventsError {
    /// How to fix it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotKept { again, .. } => format!("repeat the run with its events: `{again}`"),
            Self::CutShort { again, .. } => format!("copy the folder again, or repeat the run: `{again}`"),
            Self::Line { .. } | Self::Log(_) => "name the folder of a rehearsal, or repeat the run".to_owned(),
        }
    }
}

/// Which of the following lines a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFilter {
    All,
    /// Lines in which the device's name occurs, and lines about no device.
    OfDevice,
    /// None: reading ends.
    Nothing,
}

/// The event log of a run folder.
pub struct RunEvents {
    folder: PathBuf,
    log: EventLogReader,
    /// A command that repeats the run with all events; none if it did not finish.
    again: Option<String>,
}

impl RunEvents {
    /// Opens the log of a run folder.
    ///
    /// # Errors
    /// There is none, or it is something else.
    pub fn open(folder: &Path) -> Result<Self, EventsError> {
        let summary = match read_summary(folder) {
            Err(ReportError::Missing { .. }) => None, // the run did not finish
            read => Some(read?),
        };
        let again = summary.as_ref().map(|run| {
            let option = format!(" --events {}", run.events_kept.as_str());
            run.replay.replacen(&option, "", 1)
        });
        let log = match (EventLogReader::open(folder), &summary, &again) {
            (Err(ReportError::Missing { .. }), Some(run), Some(again)) if run.events_kept == EventsKept::None => {
                return Err(EventsError::NotKept { folder: folder.to_owned(), again: again.clone() });
            }
            (log, ..) => log?,
        };
        Ok(Self { folder: folder.to_owned(), log, again })
    }

    /// Passes lines to `take`, which says which ones it wants from there on. Returns a note if the log ends in the middle
    /// because the run did.
    ///
    /// # Errors
    /// A line can't be read, or `take` says what is wrong with it.
    pub fn each(
        mut self,
        device_id: &str,
        mut take: impl FnMut(&str) -> Result<LineFilter, String>,
    ) -> Result<Option<String>, EventsError> {
        let (a_device, ours) = (Finder::new("\"device_id\":"), Finder::new(device_id));
        let mut wanted = LineFilter::All;
        let mut lines = 0;
        while let Some(piece) = self.log.next_lines()? {
            let mut start = 0;
            let last = if piece.ends_with(b"\n") { None } else { Some(piece.len()) };
            for end in memchr_iter(b'\n', piece).chain(last) {
                let line = piece.get(start..end).unwrap_or_default();
                (start, lines) = (end + 1, lines + 1);
                // Most lines are about other devices; parsing them all would take minutes.
                if wanted == LineFilter::OfDevice && a_device.find(line).is_some() && ours.find(line).is_none() {
                    continue;
                }
                if wanted == LineFilter::Nothing {
                    return Ok(None);
                }
                let text = std::str::from_utf8(line).map_err(|_| "it is not text in UTF-8".to_owned());
                wanted = text.and_then(&mut take).map_err(|why| EventsError::Line {
                    folder: self.folder.clone(),
                    line: lines,
                    why,
                })?;
            }
        }
        match (self.log.end(), self.again) {
            (LogEnd::Whole, _) => Ok(None),
            (LogEnd::CutShort, Some(again)) => Err(EventsError::CutShort { folder: self.folder, lines, again }),
            (LogEnd::CutShort, None) => Ok(Some(format!(
                "the run did not finish: its event log ends after {lines} lines, and what happened last is missing"
            ))),
        }
    }
}
