//! What happened in one interval of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One interval of the run: a line of `ticks.ndjson`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Start of the interval, seconds into the run.
    pub at_s: f64,
    /// Length of the interval, seconds.
    pub width_s: f64,
    /// Heartbeats scheduled in the interval.
    pub offered: u64,
    /// Heartbeats handed to the link.
    pub sent: u64,
    /// Heartbeats acknowledged.
    pub acked: u64,
    /// Answers of every message type by code, `OK` included; honest devices only.
    pub codes: BTreeMap<String, u64>,
    /// Registered devices at the end of the interval.
    pub registered: u64,
    /// Requests in flight at the end of the interval.
    pub in_flight: u64,
    /// Send lag at the 99th percentile, milliseconds; none without a send.
    pub send_lag_p99_ms: Option<f64>,
    /// Heartbeat response time at the median, milliseconds; none without an answer.
    pub p50_ms: Option<f64>,
    /// Heartbeat response time at the 99th percentile, milliseconds.
    pub p99_ms: Option<f64>,
    /// Heartbeat response time at its greatest, milliseconds.
    pub max_ms: Option<f64>,
}
