//! What the watch over a completed rollout has found so far: the part of its state that [`super::watch`] works on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::time::UnixMs;
use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// What a watch has found so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// When it began, which is when the rollout completed.
    pub since: UnixMs,
    /// Devices that had failed by then.
    pub failed_before: u32,
    /// Devices that have failed since, as far as the trace records them.
    pub late_reported: u32,
    /// Failed groups of each gate, by its number from 0, as far as the trace records them.
    pub groups_reported: BTreeMap<usize, u32>,
    /// Sites that look offline whose silent devices the trace records as not judged.
    #[serde(default)]
    pub sites_reported: BTreeSet<String>,
}

impl Watch {
    /// A watch that begins now.
    pub fn new(at: UnixMs, failed_before: u32) -> Self {
        Self {
            since: at,
            failed_before,
            late_reported: 0,
            groups_reported: BTreeMap::new(),
            sites_reported: BTreeSet::new(),
        }
    }

    /// Devices that have failed since it began, of those that have failed by now.
    pub fn late(&self, failed: u32) -> u32 {
        failed.saturating_sub(self.failed_before)
    }

    /// When it ends, if no further time passes unobserved.
    pub fn ends_at(&self, policy: &Policy, unobserved_ms: u64) -> UnixMs {
        self.since + Duration::from_secs(policy.watch_s()) + Duration::from_millis(unobserved_ms)
    }
}
