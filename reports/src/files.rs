//! Reading and writing the files of a run folder, except `latency.hlog`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::bounded::{self, FILE_BYTES_MAX, Lines};
use crate::error::ReportError;
use crate::review::{REVIEW, Review};
use crate::run_folder::{DECISIONS, FORMAT, ROLLOUTS, RolloutDecision, RolloutSample, SUMMARY, Summary, TICKS, Tick};

/// Limit of rows per file: about ten times what the longest run writes.
const ROWS_MAX: usize = 1_000_000;

/// Reads `summary.json` of the folder.
///
/// Errors: it is missing (an unfinished run), damaged, or of a greater format than [`FORMAT`].
pub fn read_summary(dir: &Path) -> Result<Summary, ReportError> {
    read_versioned(dir.join(SUMMARY), FORMAT, "the summary of a run as one JSON object")
}

/// Reads a file that is one JSON object with a `format`.
///
/// # Errors
/// It is missing, too large, or not what was `expected`, or its format is greater than `known`.
pub(crate) fn read_versioned<T: DeserializeOwned>(
    file: PathBuf,
    known: u32,
    expected: &'static str,
) -> Result<T, ReportError> {
    /// The one field that every format has.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let damaged = |cause: serde_json::Error| ReportError::Damaged {
        file: file.clone(),
        line: cause.line().max(1),
        expected,
        cause: cause.to_string(),
    };
    let text = read(&file)?;
    let found = serde_json::from_slice::<Versioned>(&text).map_err(damaged)?.format;
    if found > known {
        return Err(ReportError::Newer { file, found, known });
    }
    serde_json::from_slice(&text).map_err(damaged)
}

/// Writes `summary.json` under a temporary name, then renames it: this is what makes a folder a finished run.
///
/// Errors: a number is infinite or not a number, which JSON cannot hold, or the folder cannot be written.
pub fn write_summary(dir: &Path, summary: &Summary) -> Result<(), ReportError> {
    let unwritten =
        |cause: serde_json::Error| ReportError::Unwritten { file: dir.join(SUMMARY), cause: cause.to_string() };
    let mut text = serde_json::to_vec_pretty(summary).map_err(unwritten)?;
    // serde_json writes NaN as null, which can't be read back: better to fail here.
    serde_json::from_slice::<Summary>(&text).map_err(unwritten)?;
    text.push(b'\n');
    replace(dir, SUMMARY, &text).map(|_| ())
}

/// Reads `ticks.ndjson` of the folder, in order of time.
///
/// Errors: it is missing, or a line is not a whole [`Tick`] (the last one of a killed run often is not).
pub fn read_ticks(dir: &Path) -> Result<Vec<Tick>, ReportError> {
    let file = dir.join(TICKS);
    rows(&file, "one tick as a JSON object", |tick: &Tick| tick.at_s)
}

/// Reads `rollouts.ndjson` of the folder, in order of time; nothing when it is not there.
///
/// Errors: it cannot be read, or a line is not a whole [`RolloutSample`].
pub fn read_rollouts(dir: &Path) -> Result<Vec<RolloutSample>, ReportError> {
    let file = dir.join(ROLLOUTS);
    if_there(rows(&file, "one sample of a rollout as a JSON object", |sample: &RolloutSample| sample.at_s))
}

/// Reads `decisions.ndjson` of the folder, in order of time; nothing when it is not there.
///
/// Errors: it cannot be read, or a line is not a whole [`RolloutDecision`].
pub fn read_decisions(dir: &Path) -> Result<Vec<RolloutDecision>, ReportError> {
    let file = dir.join(DECISIONS);
    if_there(rows(&file, "one decision as a JSON object", |decision: &RolloutDecision| decision.at_s))
}

/// Reads `review.json` of the folder; none when it is not there.
///
/// Errors: it cannot be read, or is not a whole [`Review`].
pub fn read_review(dir: &Path) -> Result<Option<Review>, ReportError> {
    let file = dir.join(REVIEW);
    let damaged = |cause: serde_json::Error| ReportError::Damaged {
        file: file.clone(),
        line: cause.line().max(1),
        expected: "the review of rollouts as one JSON object",
        cause: cause.to_string(),
    };
    let text = if_there(read(&file).map(Some))?;
    text.map(|text| serde_json::from_slice(&text).map_err(damaged)).transpose()
}

/// Writes `review.json`.
///
/// # Errors
/// The folder can't be written.
pub fn write_review(dir: &Path, review: &Review) -> io::Result<()> {
    let mut file = BufWriter::new(create_new(&dir.join(REVIEW))?);
    serde_json::to_writer(&mut file, review)?;
    file.write_all(b"\n")?;
    file.flush()
}

/// Each line of a file as JSON, blank ones left out, in order of time.
fn rows<T: DeserializeOwned>(file: &Path, expected: &'static str, at_s: fn(&T) -> f64) -> Result<Vec<T>, ReportError> {
    let unreadable = |cause| unread(file, cause);
    let mut lines = Lines::open(file, FILE_BYTES_MAX).map_err(unreadable)?;
    let mut all = Vec::new();
    while let Some((line, text)) = lines.next_line().map_err(unreadable)? {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let damaged = |cause| ReportError::Damaged { file: file.to_owned(), line, expected, cause };
        if all.len() >= ROWS_MAX {
            return Err(damaged(format!("there are more than {ROWS_MAX} before it")));
        }
        all.push(serde_json::from_slice(text).map_err(|cause| damaged(without_line(&cause)))?);
    }
    all.sort_by(|a, b| at_s(a).total_cmp(&at_s(b)));
    Ok(all)
}

/// Turns a missing optional file into nothing.
fn if_there<T: Default>(read: Result<T, ReportError>) -> Result<T, ReportError> {
    match read {
        Err(ReportError::Missing { .. }) => Ok(T::default()),
        read => read,
    }
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('?') // four bits are always one
}

/// The message of a JSON error inside one line, where serde's own "line 1" would mislead.
fn without_line(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(what, _)| format!("{what} at column {}", cause.column()))
}

/// All bytes of a required file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, ReportError> {
    bounded::read(file, FILE_BYTES_MAX).map_err(|cause| unread(file, cause))
}

/// Why a file could not be read.
pub(crate) fn unread(file: &Path, cause: io::Error) -> ReportError {
    match cause.kind() {
        io::ErrorKind::NotFound => ReportError::Missing { file: file.to_owned() },
        _ => ReportError::Unreadable { file: file.to_owned(), cause },
    }
}

/// The name of a file while it is being written.
pub(crate) fn unfinished(name: &str) -> String {
    format!(".{name}.unfinished")
}

/// Creates a new file; an existing one of that name is removed first, and a link is not followed.
///
/// # Errors
/// The name belongs to something other than a file, or the folder can't be written.
pub fn create_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    File::options().write(true).create_new(true).open(path)
}

/// Writes a result as JSON to `dir/name`, as [`replace`] does.
pub(crate) fn replace_json(dir: &Path, name: &str, result: &impl Serialize) -> Result<(), ReportError> {
    let unwritten =
        |cause: serde_json::Error| ReportError::Unwritten { file: dir.join(name), cause: cause.to_string() };
    replace(dir, name, &serde_json::to_vec_pretty(result).map_err(unwritten)?).map(drop)
}

/// Writes `bytes` to `dir/name` by way of a temporary name, so that readers never see half a file. Neither name is followed if it is
/// a link.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, ReportError> {
    let file = dir.join(name);
    let unfinished = dir.join(unfinished(name));
    let written = create_new(&unfinished)
        .and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()))
        .and_then(|()| fs::rename(&unfinished, &file));
    match written {
        Ok(()) => Ok(file),
        Err(cause) => {
            // Best effort: report the error above.
            fs::remove_file(&unfinished).ok();
            Err(ReportError::Unwritable { file, cause })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_written_summary_reads_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let summary = sample::summary();
        write_summary(dir.path(), &summary).unwrap();
        assert_eq!(read_summary(dir.path()).unwrap(), summary);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [SUMMARY], "no temporary file is left");
    }

    #[test]
    fn links_in_a_folder_are_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in [SUMMARY.to_owned(), unfinished(SUMMARY)] {
            std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
        }
        write_summary(dir.path(), &sample::summary()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!dir.path().join(SUMMARY).is_symlink() && !dir.path().join(unfinished(SUMMARY)).exists());
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(TICKS)).unwrap();
        let error = read_ticks(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ticks.ndjson cannot be read (it is not a regular file)"), "{error}");
    }

    #[test]
    fn a_number_that_json_cannot_hold_is_refused_when_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut summary = sample::summary();
        summary.heartbeats.per_min = f64::NAN;
        let error = write_summary(dir.path(), &summary).unwrap_err().to_string();
        assert!(error.contains("expected finite numbers"), "{error}");
        assert!(!dir.path().join(SUMMARY).exists());
    }

    #[test]
    fn a_newer_format_is_refused_even_when_its_fields_differ() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SUMMARY), br#"{"format": 9, "new": true}"#).unwrap();
        let error = read_summary(dir.path()).unwrap_err().to_string();
        assert!(error.contains("has format 9") && error.contains("up to 1"), "{error}");
    }

    #[test]
    fn ticks_come_back_in_order_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let line = |at_s| serde_json::to_string(&Tick { at_s, width_s: 1.0, ..Tick::default() }).unwrap();
        fs::write(dir.path().join(TICKS), format!("{}\n{}\n\n", line(1.0), line(0.0))).unwrap();
        let starts: Vec<f64> = read_ticks(dir.path()).unwrap().iter().map(|tick| tick.at_s).collect();
        assert_eq!(starts, [0.0, 1.0]);
    }
}
