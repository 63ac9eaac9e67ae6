//! What is written down of a run tick by tick: `ticks.ndjson` and `latency.hlog`.

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

use crate::measure::{Measurements, MessageType};

/// The two files of a run folder.
pub struct Record {
    ticks: BufWriter<File>,
    latency: LatencyLogWriter<BufWriter<File>>,
}

impl Record {
    /// Begins both; the run's time counts from `epoch`.
    ///
    /// # Errors
    /// They can't be made.
    pub fn begin(folder: &Path, epoch: UnixMs) -> io::Result<Self> {
        let create = |name| File::create(folder.join(name)).map(BufWriter::new);
        Ok(Self { ticks: create(TICKS)?, latency: LatencyLogWriter::new(create(LATENCY)?, epoch.0)? })
    }

    /// Writes a tick, and the response times that were measured in it.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn write(&mut self, tick: &Tick, measured: &Measurements) -> io::Result<()> {
        serde_json::to_writer(&mut self.ticks, tick)?;
        self.ticks.write_all(b"\n")?;
        match measured.of(MessageType::Heartbeat).honoured() {
            Some(times) => self.latency.write(tick.at_s, tick.width_s, &times.response_us),
            None => Ok(()),
        }
    }

    /// Ends both.
    ///
    /// # Errors
    /// The last of it can't be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.ticks.flush()?;
        self.latency.finish().map(|_| ())
    }
}
