//! The per-tick files of a run: `ticks.ndjson` and `latency.hlog`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use ks_protocol::time::UnixMs;
use ks_reports::{
    LatencyLogWriter,
    run_folder::{LATENCY, TICKS, Tick},
};

use crate::{
    device::exchange::MessageType,
    run::measure::{Measurements, histogram},
};

/// The two files of a run folder.
pub struct Record {
    ticks: BufWriter<File>,
    latency: LatencyLogWriter<BufWriter<File>>,
}

impl Record {
    /// Creates both; the run's time counts from `epoch`.
    ///
    /// # Errors
    /// They can't be created.
    pub fn begin(folder: &Path, epoch: UnixMs) -> io::Result<Self> {
        let create = |name| ks_reports::create_new(&folder.join(name)).map(BufWriter::new);
        Ok(Self { ticks: create(TICKS)?, latency: LatencyLogWriter::new(create(LATENCY)?, epoch.0)? })
    }

    /// Writes a tick and its response times.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn write(&mut self, tick: &Tick, measured: &Measurements) -> io::Result<()> {
        serde_json::to_writer(&mut self.ticks, tick)?;
        self.ticks.write_all(b"\n")?;
        // A tick without answers is an interval too: a stall must show in the latency log.
        match measured.of(MessageType::Heartbeat).accepted() {
            Some(times) => self.latency.write(tick.at_s, tick.width_s, &times.response_us),
            None => self.latency.write(tick.at_s, tick.width_s, &histogram()),
        }
    }

    /// Flushes and closes both.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.ticks.flush()?;
        self.latency.finish().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_without_an_answer_is_an_interval_of_the_latency_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::begin(folder.path(), UnixMs(0)).unwrap();
        for second in 0..3_u32 {
            let mut measured = Measurements::default();
            if second != 1 {
                measured.of_mut(MessageType::Heartbeat).end(crate::run::measure::OK, 900, Some(800));
            }
            let tick = Tick { at_s: f64::from(second), width_s: 1.0, ..Tick::default() };
            record.write(&tick, &measured).unwrap();
        }
        record.finish().unwrap();
        let log = std::fs::read_to_string(folder.path().join(LATENCY)).unwrap();
        let intervals: Vec<&str> =
            log.lines().filter(|line| line.starts_with(|sign: char| sign.is_ascii_digit())).collect();
        assert_eq!(intervals.len(), 3, "{log}");
        assert!(intervals[1].starts_with("1.000,1.000,0.000,"), "{log}");
        assert_eq!(ks_reports::read_latency(folder.path()).unwrap().unwrap().len(), 2);
    }
}
