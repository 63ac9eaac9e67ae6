//! `latency.hlog`: heartbeat response times as an HdrHistogram V2 interval log, in microseconds.
//!
//! The file is the one that HdrHistogram's own tools read (compressed V2 histograms in base64, one interval a line), so
//! other tools can plot it too. Interval starts count from the run's start, which the header gives.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, IntervalLogWriterBuilder, IntervalLogWriterError, LogEntry,
    LogIteratorError,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::error::ReportError;
use crate::files;
use crate::run_folder::LATENCY;

/// Significant decimal digits of a merged histogram.
const DIGITS: u8 = 3;
/// Column names, as HdrHistogram's own writer gives them; readers skip this line.
const COLUMNS: &[u8] = b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// Expected content of a line, for errors.
const EXPECTED: &str = "an interval of an HdrHistogram log";

/// Writes `latency.hlog`: a header, then one interval after another. Same calls, same bytes.
pub struct LatencyLogWriter<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
}

impl<W: Write> LatencyLogWriter<W> {
    /// Writes the header. `started_unix_ms` is the start of the run in Unix milliseconds (a rehearsal's virtual epoch).
    pub fn new(mut out: W, started_unix_ms: u64) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(started_unix_ms)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the start of the run is beyond any calendar")
        })?;
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("Heartbeat response times in microseconds, one interval a tick; starts count from BaseTime")
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut out, &mut serializer)?;
        out.write_all(COLUMNS)?;
        Ok(Self { out, serializer })
    }

    /// Appends one interval: `start_s` seconds into the run, `width_s` long, with response times in microseconds.
    ///
    /// Errors: a time is negative or not a number, or the file cannot be written.
    pub fn write(&mut self, start_s: f64, width_s: f64, micros: &Histogram<u64>) -> io::Result<()> {
        let (start, width) = (seconds(start_s)?, seconds(width_s)?);
        IntervalLogWriterBuilder::new() // without settings it writes no header, and it borrows: so one a line
            .begin_log_with(&mut self.out, &mut self.serializer)?
            .write_histogram(micros, start, width, None)
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(cause) => cause,
                IntervalLogWriterError::SerializeError(cause) => io::Error::other(cause.to_string()),
            })
    }

    /// Flushes and returns the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn seconds(value: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, format!("{value} s is no time span: {cause}")))
}

/// Reads `latency.hlog` of the folder and merges its intervals; in microseconds.
///
/// None when the file is missing or holds no sample: a run in which no heartbeat was answered.
/// Errors: the file cannot be read, or a line is cut short or damaged.
pub fn read_latency(dir: &Path) -> Result<Option<Histogram<u64>>, ReportError> {
    let file = dir.join(LATENCY);
    let bytes = match files::read(&file) {
        Err(ReportError::Missing { .. }) => return Ok(None),
        read => read?,
    };
    let damaged = |line, cause| ReportError::Damaged { file: file.clone(), line, expected: EXPECTED, cause };
    merge(&bytes).map_err(|(line, cause)| damaged(line, cause))
}

/// Sum of all intervals of a log; errors carry the line, counted from 1.
fn merge(log: &[u8]) -> Result<Option<Histogram<u64>>, (usize, String)> {
    let mut merged = Histogram::<u64>::new(DIGITS).map_err(|cause| (1, cause.to_string()))?;
    let mut decoder = Deserializer::new();
    let mut interval_nth = 0;
    for entry in IntervalLogIterator::new(log) {
        let entry = entry.map_err(|LogIteratorError::ParseError { offset }| {
            (line_at(log, offset), "the line can't be parsed".into())
        })?;
        if let LogEntry::Interval(interval) = entry {
            interval_nth += 1;
            let part = decode(&interval, &mut decoder).map_err(|cause| (line_of_interval(log, interval_nth), cause))?;
            merged.add(&part).map_err(|cause| (line_of_interval(log, interval_nth), cause.to_string()))?;
        }
    }
    Ok((!merged.is_empty()).then_some(merged))
}

/// The histogram of one interval.
fn decode(interval: &IntervalLogHistogram<'_>, decoder: &mut Deserializer) -> Result<Histogram<u64>, String> {
    let bytes = Base64::decode_vec(interval.encoded_histogram())
        .map_err(|cause| format!("its base64 is not valid: {cause}"))?;
    decoder.deserialize(&mut bytes.as_slice()).map_err(|cause| format!("its histogram is not valid: {cause}"))
}

/// Line of a byte offset, counted from 1.
fn line_at(log: &[u8], offset: usize) -> usize {
    log.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Line of the nth interval: the lines that are neither comment nor column names.
fn line_of_interval(log: &[u8], nth: usize) -> usize {
    let is_interval = |line: &&[u8]| !line.starts_with(b"#") && !line.starts_with(b"\"");
    let lines = log.split(|byte| *byte == b'\n').enumerate();
    lines.filter(|(_, line)| is_interval(line)).nth(nth.saturating_sub(1)).map_or(1, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of two intervals: 1 to 1000 ms, and a single answer of 5 s.
    fn two_intervals() -> Vec<u8> {
        let mut writer = LatencyLogWriter::new(Vec::new(), 1_800_000_000_250).unwrap();
        let mut first = Histogram::<u64>::new(3).unwrap();
        for ms in 1..=1_000 {
            first.record(ms * 1_000).unwrap();
        }
        let mut second = Histogram::<u64>::new_with_bounds(1, 60_000_000, 2).unwrap();
        second.record(5_000_000).unwrap();
        writer.write(0.0, 1.0, &first).unwrap();
        writer.write(1.0, 0.5, &second).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn the_same_calls_write_the_same_bytes_with_a_readable_header() {
        let log = two_intervals();
        assert_eq!(log, two_intervals());
        let text = String::from_utf8(log).unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
        assert!(text.contains("#[StartTime: 1800000000.250 (seconds since epoch)]\n"), "{text}");
        assert!(text.contains("\n0.000,1.000,"), "{text}");
        assert!(text.contains("\n1.000,0.500,"), "{text}");
        assert_eq!(text.matches("StartTime:").count(), 1);
    }

    #[test]
    fn merged_intervals_keep_every_sample_to_three_digits() {
        let merged = merge(&two_intervals()).unwrap().unwrap();
        assert_eq!(merged.len(), 1_001);
        assert!(merged.value_at_quantile(0.5).abs_diff(501_000) <= 1_000);
        assert!(merged.max().abs_diff(5_000_000) <= 50_000);
    }

    #[test]
    fn a_log_without_samples_is_none() {
        assert!(merge(b"").unwrap().is_none());
        let header = LatencyLogWriter::new(Vec::new(), 0).unwrap().finish().unwrap();
        assert!(merge(&header).unwrap().is_none());
    }

    #[test]
    fn a_log_cut_short_names_its_line() {
        let log = two_intervals();
        let (line, _) = merge(&log[..log.len() - 20]).unwrap_err();
        assert_eq!(line, 7, "five lines of header, one whole interval");
        let broken = String::from_utf8(log).unwrap().replacen("0.000,1.000,", "0.000,1.000,1,!!\n0.1,1.0,", 1);
        assert_eq!(merge(broken.as_bytes()).unwrap_err().0, 6);
    }

    #[test]
    fn a_negative_start_is_refused() {
        let mut writer = LatencyLogWriter::new(Vec::new(), 0).unwrap();
        assert!(writer.write(-1.0, 1.0, &Histogram::<u64>::new(3).unwrap()).is_err());
    }
}
