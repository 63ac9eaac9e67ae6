//! Reading and writing the files of a run folder, `latency.hlog` apart.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::error::ReportError;
use crate::run_folder::{DECISIONS, FORMAT, ROLLOUTS, RolloutDecision, RolloutSample, SUMMARY, Summary, TICKS, Tick};

/// Reads `summary.json` of the folder.
///
/// Errors: it is missing (an unfinished run), damaged, or of a greater format than [`FORMAT`].
pub fn read_summary(dir: &Path) -> Result<Summary, ReportError> {
    /// The one field that every format has.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let file = dir.join(SUMMARY);
    let text = read(&file)?;
    let damaged = |cause: serde_json::Error| ReportError::Damaged {
        file: file.clone(),
        line: cause.line().max(1),
        expected: "the summary of a run as one JSON object",
        cause: cause.to_string(),
    };
    let found = serde_json::from_slice::<Versioned>(&text).map_err(damaged)?.format;
    if found > FORMAT {
        return Err(ReportError::Newer { file, found, known: FORMAT });
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
    // serde_json writes NaN as null, which nobody could read back: better to learn of it here.
    serde_json::from_slice::<Summary>(&text).map_err(unwritten)?;
    text.push(b'\n');
    replace(dir, SUMMARY, &text).map(|_| ())
}

/// Reads `ticks.ndjson` of the folder, in order of time.
///
/// Errors: it is missing, or a line is not a whole [`Tick`] (the last one of a killed run often is not).
pub fn read_ticks(dir: &Path) -> Result<Vec<Tick>, ReportError> {
    let file = dir.join(TICKS);
    lines(&file, &read(&file)?, "one tick as a JSON object", |tick: &Tick| tick.at_s)
}

/// Reads `rollouts.ndjson` of the folder, in order of time; nothing when it is not there.
///
/// Errors: it cannot be read, or a line is not a whole [`RolloutSample`].
pub fn read_rollouts(dir: &Path) -> Result<Vec<RolloutSample>, ReportError> {
    let file = dir.join(ROLLOUTS);
    lines(&file, &read_if_there(&file)?, "one sample of a rollout as a JSON object", |sample: &RolloutSample| {
        sample.at_s
    })
}

/// Reads `decisions.ndjson` of the folder, in order of time; nothing when it is not there.
///
/// Errors: it cannot be read, or a line is not a whole [`RolloutDecision`].
pub fn read_decisions(dir: &Path) -> Result<Vec<RolloutDecision>, ReportError> {
    let file = dir.join(DECISIONS);
    lines(&file, &read_if_there(&file)?, "one decision as a JSON object", |decision: &RolloutDecision| decision.at_s)
}

/// Each line of a file as JSON, blank ones left out, in order of time.
fn lines<T: DeserializeOwned>(
    file: &Path,
    text: &[u8],
    expected: &'static str,
    at_s: fn(&T) -> f64,
) -> Result<Vec<T>, ReportError> {
    let mut all = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        all.push(serde_json::from_slice(line).map_err(|cause| ReportError::Damaged {
            file: file.to_owned(),
            line: number + 1,
            expected,
            cause: without_line(&cause),
        })?);
    }
    all.sort_by(|a, b| at_s(a).total_cmp(&at_s(b)));
    Ok(all)
}

/// SHA-256 of a file, in lower-case hex; read piece by piece, because an event log can be large.
pub(crate) fn sha256(file: &Path) -> Result<String, ReportError> {
    let hashed = File::open(file).and_then(|mut opened| {
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match opened.read(&mut piece)? {
                0 => return Ok(hash.finalize()),
                read => hash.update(piece.get(..read).unwrap_or_default()),
            }
        }
    });
    match hashed {
        Ok(hash) => Ok(hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ReportError::Missing { file: file.to_owned() }),
        Err(cause) => Err(ReportError::Unreadable { file: file.to_owned(), cause }),
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('?') // four bits are always one
}

/// The message of a JSON error inside one line, where serde's own "line 1" would mislead.
fn without_line(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(what, _)| format!("{what} at column {}", cause.column()))
}

/// All bytes of a file that must be there.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, ReportError> {
    fs::read(file).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => ReportError::Missing { file: file.to_owned() },
        _ => ReportError::Unreadable { file: file.to_owned(), cause },
    })
}

/// All bytes of a file that may be absent.
fn read_if_there(file: &Path) -> Result<Vec<u8>, ReportError> {
    match read(file) {
        Err(ReportError::Missing { .. }) => Ok(Vec::new()),
        read => read,
    }
}

/// Writes `bytes` to `dir/name` by way of a temporary name, so that nobody ever sees half a file.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, ReportError> {
    let file = dir.join(name);
    let unfinished = dir.join(format!(".{name}.unfinished"));
    let written = File::create(&unfinished)
        .and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all()))
        .and_then(|()| fs::rename(&unfinished, &file));
    match written {
        Ok(()) => Ok(file),
        Err(cause) => {
            // Best effort: the error above is the one to tell.
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
