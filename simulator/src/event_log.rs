//! The event log: what happened, in order, one JSON object a line. A rehearsal's holds every exchange and is hashed.
//!
//! It holds only what the run decided: no addresses, durations of real work, temporary paths or process ids.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use ks_protocol::text::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A log that is being written.
pub struct EventLog {
    file: BufWriter<File>,
    hash: Sha256,
    failed: Option<io::Error>,
}

impl EventLog {
    /// Creates the file; an existing one is replaced.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, ks_reports::create_new(path)?),
            hash: Sha256::new(),
            failed: None,
        })
    }

    /// Appends an event at a time since the run's start. A write that fails is reported by [`EventLog::finish`].
    pub fn event(&mut self, at: Duration, event: &str, fields: &[(&str, Value)]) {
        // Written by hand, so that the field order does not depend on a JSON library's features.
        let mut text = format!("{{\"at_ms\":{},\"event\":{}", at.as_millis(), json!(event));
        for (name, value) in fields {
            text += &format!(",{}:{value}", json!(name));
        }
        text.push_str("}\n");
        self.hash.update(&text);
        if self.failed.is_none() {
            self.failed = self.file.write_all(text.as_bytes()).err();
        }
    }

    /// Ends the log; gives the SHA-256 of the whole file in lower-case hex.
    pub fn finish(mut self) -> io::Result<String> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.file.flush()?;
        Ok(hex(&self.hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let mut log = EventLog::create(&path).unwrap();
        log.event(Duration::from_millis(1_500), "heartbeat", &[("device_id", json!("SIM-1")), ("code", json!("OK"))]);
        let hash = log.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"at_ms\":1500,\"event\":\"heartbeat\",\"device_id\":\"SIM-1\",\"code\":\"OK\"}\n");
        let expected = hex(&Sha256::digest(&text));
        assert_eq!(hash, expected);
    }
}
