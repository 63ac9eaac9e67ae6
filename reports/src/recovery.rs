//! How devices recovered from outages: a part of `summary.json`.

use serde::{Deserialize, Serialize};

/// All outages of a run that ended within it, and how long devices waited after them until a heartbeat was accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Over all outages; a device counts once for each that affected it.
    pub all: Recovered,
    /// Each of them, in the order of their ends.
    pub outages: Vec<OutageRecovery>,
}

/// How long devices took to be served again. Times are in seconds from the end of the outage, by nearest rank; none if devices
/// that were never served again are in the way, or if no device was affected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    /// Devices that were switched on before the outage ended and had no heartbeat accepted since.
    pub affected: u64,
    /// Those of them that were not served again within the run, without having been revoked, broken or unplugged.
    pub never_served: u64,
    pub p50_s: Option<f64>,
    pub p99_s: Option<f64>,
    pub max_s: Option<f64>,
}

/// One outage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutageRecovery {
    /// The step that caused it: `outage`, `restart_server`.
    pub what: String,
    /// The site affected; none for all.
    pub site: Option<String>,
    /// Seconds into the run.
    pub from_s: f64,
    pub to_s: f64,
    pub recovered: Recovered,
    /// Seconds since its end, and how many devices had been served again by then.
    pub curve: Vec<(f64, u64)>,
}

impl OutageRecovery {
    /// What happened, in words: `restart_server, 60 s to 90 s`.
    pub(crate) fn name(&self) -> String {
        let site = self.site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default();
        let [from, to] = [self.from_s, self.to_s].map(crate::number::span);
        format!("{}{site}, {from} to {to}", self.what)
    }
}
